"""The list of calls to make: who sees what, filters, pages, numbers in any notation, plans in words."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

import pytest

from bitrix_app.core import intent as entries
from bitrix_app.core.dial import Failure
from bitrix_app.core.events import DialFailed
from bitrix_app.core.intent import Kind
from bitrix_app.core.jobs import JobState
from bitrix_app.starting import LOST
from bitrix_app.web.retries import needle
from tests.web.calling import BARE, CLIENT, MANAGER, REFUSED, UNREACHABLE, Office, json_of
from tests.web.fakes import ADMIN, AGENT, OTHER_AGENT

pytestmark = pytest.mark.anyio
HTML = "text/html"


async def ids(here: Office, user: int = ADMIN, query: str = "") -> list[str]:
    return [item["id"] for item in json_of(await here.get(user, f"/retries?{query}"))["items"]]


async def test_an_entry_has_the_public_shape(here: Office) -> None:
    at = here.clock.now() + 60
    await here.listed(
        state=JobState.RETRYING,
        failure=UNREACHABLE,
        due_at=at,
        calls=("c1", "c2"),
        attempts=2,
        crm_type="LEAD",
        crm_id=12,
        line="380440000001",
    )
    shown = json_of(await here.get(ADMIN, "/retries"))
    entry = shown["items"][0]
    public = {
        "id": "e1",
        "kind": "call_start",
        "state": "retrying",
        "call_id": "c2",
        "number": CLIENT,
        "agent_user_id": AGENT,
        "crm": {"type": "LEAD", "id": 12},
        "attempts": 2,
        "max_attempts": 4,
        "next_attempt_at": "2026-09-02T07:16:00Z",
        "created_at": "2026-09-02T07:15:00Z",
        "updated_at": "2026-09-02T07:15:00Z",
    }
    assert {name: entry[name] for name in public} == public
    assert entry["error"] == {
        "code": "PBX_UNREACHABLE",
        "category": "connection",
        "message": "Unitalk could not be reached.",
        "hint": "It is tried again.",
        "who": "agent",
    }
    assert shown["next"] is None
    assert shown["counts"] == {
        "attention": 0, "retrying": 1, "waiting": 0, "running": 0, "done": 0, "cancelled": 0,
    }  # fmt: skip


# --- whose ------------------------------------------------------------------------------------------


async def test_agents_see_their_own_and_nobodys_and_managers_all(here: Office) -> None:
    await here.listed("mine", agent=AGENT)
    await here.listed("others", agent=OTHER_AGENT)
    await here.listed("nobodys", agent=None)
    assert set(await ids(here, AGENT)) == {"mine", "nobodys"}
    assert set(await ids(here, BARE)) == {"nobodys"}
    for user in (MANAGER, ADMIN):
        assert set(await ids(here, user)) == {"mine", "others", "nobodys"}
    counts = json_of(await here.get(AGENT, "/retries"))["counts"]
    assert counts["attention"] == 2
    assert (await here.get(AGENT, "/retries/others")).status_code == 404
    assert (await here.get(AGENT, "/retries/nobodys")).status_code == 200
    assert (await here.get(MANAGER, "/retries/others")).status_code == 200
    assert await ids(here, AGENT, f"agent={OTHER_AGENT}") == []


async def test_who_is_manager_no_longer_sees_his_own_only(here: Office) -> None:
    await here.listed("others", agent=OTHER_AGENT)
    await here.set(managers=())
    assert await ids(here, MANAGER) == []


# --- filters ----------------------------------------------------------------------------------------


async def test_without_a_state_all_open_entries_come_the_newest_first(here: Office) -> None:
    now = here.clock.now()
    for place, state in enumerate(JobState):
        if state is not JobState.BLOCKED:
            await here.listed(state.value, state=state, created_at=now + place, number=f"+38044000001{place}")
    assert await ids(here) == ["attention", "retrying", "running", "waiting"]
    assert await ids(here, query="state=cancelled") == ["cancelled"]
    assert await ids(here, query="state=done") == ["done"]


async def test_kind_and_agent_narrow_the_list(here: Office) -> None:
    await here.listed("start")
    await here.listed("missed", kind=Kind.MISSED, state=JobState.WAITING, agent=OTHER_AGENT, due_at=1.8e9)
    assert await ids(here, query="kind=missed_call") == ["missed"]
    assert await ids(here, query="kind=call_start") == ["start"]
    assert await ids(here, query=f"agent={OTHER_AGENT}") == ["missed"]
    assert await ids(here, query=f"agent={OTHER_AGENT}&kind=call_start") == []


@pytest.mark.parametrize(
    "q",
    [
        "+380440000011",
        "380440000011",
        "0440000011",
        "044 000-00-11",
        "(044) 000 00 11",
        "+38 (044) 000.00.11",
        "00380440000011",
        "00011",
        "044 000",
        "38044",
    ],
)
async def test_a_number_is_found_in_any_notation(here: Office, q: str) -> None:
    await here.listed("wanted")
    await here.listed("other", number="+380670000099")
    found = json_of(
        await here.web.get("/retries", params={"q": q}, headers=here.heads(ADMIN))  # quoted by the client
    )
    assert [item["id"] for item in found["items"]] == ["wanted"]


def test_words_and_single_digits_are_no_part_of_a_number() -> None:
    assert [needle(q, "UA") for q in ("", "7", "Petro", "lead 12", "c1f2")] == [None] * 5
    assert needle("0049 30 901820", "UA") == needle("+49 30 901820", "DE") == "30901820"
    assert needle("030 90", "DE") == "3090", "the trunk zero is not in +49 30 90…"


@pytest.mark.parametrize("q", ["petro", "PBX_REFUSED", "refused to START", "lead 12", "e1", "c7"])
async def test_names_causes_records_and_ids_are_found_in_words(here: Office, q: str) -> None:
    await here.listed("e1", crm_type="LEAD", crm_id=12, calls=("c7",))
    await here.listed("other", agent=OTHER_AGENT, failure=UNREACHABLE, number="+380670000099")
    assert await ids(here, query=f"q={q}") == ["e1"]


@pytest.mark.parametrize(
    "query",
    [
        "state=lost",
        "state=blocked",
        "kind=crm_update",
        "agent=me",
        "agent=-1",
        "cursor=x",
        "limit=0",
        "limit=101",
        "q=" + "x" * 101,
    ],
)
async def test_what_cannot_be_meant_is_refused(here: Office, query: str) -> None:
    problem = json_of(await here.get(ADMIN, f"/retries?{query}"), 400)
    assert problem["code"] == "malformed_request"
    assert problem["detail"]


async def test_an_entry_that_is_not_there_is_404(here: Office) -> None:
    assert (await here.get(ADMIN, "/retries/nothing")).status_code == 404


# --- pages ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("limit", [1, 2, 3, 5, 7])
async def test_pages_follow_each_other_without_gap_or_repeat(here: Office, limit: int) -> None:
    states = (JobState.ATTENTION, JobState.WAITING, JobState.RUNNING)
    at = here.clock.now()
    for n in range(7):  # two of each instant, in different states
        await here.listed(f"e{n}", state=states[n % 3], created_at=at + n // 2, number=f"+38044000010{n}")
    seen: list[str] = []
    cursor = ""
    for _ in range(10):
        page = json_of(await here.get(ADMIN, f"/retries?limit={limit}&cursor={cursor}"))
        assert len(page["items"]) <= limit
        seen += [item["id"] for item in page["items"]]
        await here.listed(f"new{len(seen)}", created_at=at + 1000, number="+380670000001")  # shifts nothing
        if page["next"] is None:
            break
        cursor = page["next"]
    assert seen == ["e6", "e5", "e4", "e3", "e2", "e1", "e0"]


async def test_a_search_in_words_goes_on_over_many_entries(here: Office) -> None:
    at = here.clock.now()
    for n in range(8):
        name = "wanted" if n % 4 == 0 else "other"
        await here.listed(f"{name}{n}", created_at=at + n, agent=AGENT if n % 4 == 0 else OTHER_AGENT)
    first = json_of(await here.get(ADMIN, "/retries?q=petro&limit=1"))
    assert [item["id"] for item in first["items"]] == ["wanted4"]
    second = json_of(await here.get(ADMIN, f"/retries?q=petro&limit=1&cursor={first['next']}"))
    assert [item["id"] for item in second["items"]] == ["wanted0"]
    assert second["next"] is None


# --- one entry --------------------------------------------------------------------------------------


async def test_the_story_has_tries_and_deeds_with_names(here: Office) -> None:
    here.settles(DialFailed(REFUSED, certain=True))
    call = json_of(await here.post(AGENT, "/calls", {"number": CLIENT}), 202)
    entry_id = call["start"]["entry"]
    await here.post(ADMIN, f"/retries/{entry_id}/edit", {"agent": OTHER_AGENT})
    story = json_of(await here.get(ADMIN, f"/retries/{entry_id}"))
    assert [(one["call_id"], one["origin"], one["state"]) for one in story["tries"]] == [
        (call["id"], "page", "failed")
    ]
    assert story["tries"][0]["error"]["code"] == "PBX_REFUSED"
    assert story["tries"][0]["at"] == "2026-09-02T07:15:00Z"
    told = [(deed["act"], deed["words"], deed["name"]) for deed in story["history"]]
    assert told == [
        ("listed", "Put on the list", "Petro"),
        ("failed", "It did not come about", None),
        ("moved", "Given to Iryna", "Olena"),
    ]


def planned(here: Office, **changes: Any) -> dict[str, Any]:
    return {"state": JobState.RETRYING, "failure": UNREACHABLE, "due_at": here.clock.now() + 60, **changes}


@pytest.mark.parametrize(
    ("changes", "reason", "who"),
    [
        ({}, "Waiting alone does not mend this", "agent"),
        ({"failure": LOST, "certain": False}, "may have rung", "agent"),
        ({"failure": replace(REFUSED, who="admin")}, "Waiting alone", "admin"),
        ({"failure": UNREACHABLE, "attempts": 4}, "used up", "agent"),
        ({"failure": UNREACHABLE, "agent": None}, "not known who", "agent"),
        ({"failure": replace(UNREACHABLE, who="nobody"), "agent": None}, "not known who", "manager"),
        ({"kind": Kind.MISSED, "failure": entries.OVERDUE, "escalation": 2}, "time to call", "manager"),
    ],
)
async def test_what_needs_a_person_says_why_and_whom(
    here: Office, changes: dict[str, Any], reason: str, who: str
) -> None:
    await here.listed(**changes)
    plan = json_of(await here.get(ADMIN, "/retries/e1"))["plan"]
    assert reason in plan["reason"]
    assert (plan["who"], plan["at"]) == (who, None)


async def test_a_planned_try_says_when_and_why_then(here: Office) -> None:
    now = here.clock.now()
    entry = await here.listed()

    async def plan(**changes: Any) -> dict[str, Any]:
        failed = entries.failed(entry, UNREACHABLE, now, certain=True, next_at=now + 60)
        await here.listed(
            **{**{f: getattr(failed, f) for f in ("state", "due_at", "deeds", "failure")}, **changes}
        )
        shown = json_of(await here.get(ADMIN, "/retries/e1"))
        assert shown["plan"]["at"] == shown["next_attempt_at"]
        return dict(shown["plan"])

    assert (await plan())["reason"] == "1 minute after the last try; nothing rang then."
    assert (await plan(attempts=2, due_at=now + 300))["reason"].startswith("5 minutes after")
    assert "Another call to this client" in (await plan(due_at=now + 120))["reason"]
    await here.set(hours={"wed": "14:00-18:00"})
    closed = await plan()  # the settings changed after it was planned: nothing rings before they allow it
    assert (closed["at"], closed["reason"]) == (
        "2026-09-02T11:00:00Z",
        "Before that it is outside working hours.",
    )
    assert "outside working hours" in (await plan(due_at=1_788_346_800.0))["reason"]
    await here.set(hours={}, client_hours="14:00-18:00")
    assert "for the client" in (await plan())["reason"]


async def test_a_missed_client_says_who_should_call_until_when(here: Office) -> None:
    missed: dict[str, Any] = {
        "kind": Kind.MISSED,
        "state": JobState.WAITING,
        "due_at": here.clock.now() + 900,
        "missed": 3,
    }
    await here.listed(**missed, failure=None)
    shown = json_of(await here.get(AGENT, "/retries/e1"))
    assert shown["cause"] == "The client called 3 times and reached nobody."
    assert shown["plan"]["text"].startswith("By then Petro calls the client")
    assert shown["plan"]["reason"].startswith("15 working minutes")
    assert (shown["plan"]["at"], shown["next_attempt_at"]) == ("2026-09-02T07:30:00Z", None)
    await here.listed(**missed, agent=None)
    assert json_of(await here.get(AGENT, "/retries/e1"))["plan"]["text"].startswith("Whoever is free")
    await here.listed(**missed, agent=None, escalation=1)
    assert json_of(await here.get(AGENT, "/retries/e1"))["plan"]["text"].startswith("It is overdue")


# --- the page ---------------------------------------------------------------------------------------


async def test_the_page_has_tabs_with_counts_and_the_entry_with_its_buttons(here: Office) -> None:
    await here.listed(crm_type="LEAD", crm_id=12)
    page = (await here.get(ADMIN, "/retries", Accept=HTML)).text
    tabs = dict(re.findall(r'href="/retries\?state=(\w+)"[^>]*>[^<]*<span class="count">(\d+)', page))
    assert tabs == {
        "open": "1", "attention": "1", "retrying": "0", "waiting": "0", "running": "0", "done": "0",
        "cancelled": "0",
    }  # fmt: skip
    for text in (CLIENT, "Petro", "Unitalk refused to start the call", "the employee", "Lead 12", "1 / 4"):
        assert text in page
    assert 'data-retry="/retries/e1/retry"' in page
    assert "<script>" not in page
    assert not re.search(r"\son\w+=|style=", page)
    one = (await here.get(ADMIN, "/retries/e1", Accept=HTML)).text
    acts = set(re.findall(r'data-act="/retries/e1/(\w+)"', one))
    assert acts == {"reschedule", "edit", "done", "cancel"}
    assert "Iryna (202)" in one
    assert "Bohdan" not in one, "nobody without a phone can be chosen"


async def test_an_agent_may_only_take_over(here: Office) -> None:
    await here.listed(agent=None)
    page = (await here.get(AGENT, "/retries/e1", Accept=HTML)).text
    assert "Take it over" in page
    assert "Iryna" not in page
    assert 'name="agent"' not in (await here.get(AGENT, "/retries", Accept=HTML)).text


async def test_what_is_running_or_over_has_no_buttons_but_undo(here: Office) -> None:
    await here.listed(state=JobState.RUNNING)
    assert "data-act" not in (await here.get(ADMIN, "/retries/e1", Accept=HTML)).text
    assert "data-retry" not in (await here.get(ADMIN, "/retries", Accept=HTML)).text
    entry = await here.listed()
    await here.act(ADMIN, entry, "cancel", reason="Wrong client")
    over = (await here.get(ADMIN, "/retries/e1", Accept=HTML)).text
    assert 'data-act="/retries/e1/undo"' in over
    assert "Cancelled by Olena: Wrong client" in over
    here.clock.to(here.clock.now() + 11)
    assert "data-act" not in (await here.get(ADMIN, "/retries/e1", Accept=HTML)).text


async def test_there_are_three_kinds_of_empty(here: Office) -> None:
    assert "Nothing here yet" in (await here.get(ADMIN, "/retries", Accept=HTML)).text
    await here.listed(state=JobState.DONE)
    assert "All done" in (await here.get(ADMIN, "/retries", Accept=HTML)).text
    assert "nothing in this state" in (await here.get(ADMIN, "/retries?state=waiting", Accept=HTML)).text
    assert "Clear the filters" in (await here.get(ADMIN, "/retries?q=nobody", Accept=HTML)).text


async def test_a_vendors_words_cannot_become_markup(here: Office) -> None:
    bad = Failure("X", "validation", "<img src=x onerror=alert(1)>", "<b>")
    await here.listed(failure=bad, text="<script>", number='"><i>', reason="<u>")
    for address in ("/retries", "/retries/e1"):
        page = (await here.get(ADMIN, address, Accept=HTML)).text
        for markup in ("<img", "<b>", "<script>", "<i>", "<u>"):
            assert markup not in page
