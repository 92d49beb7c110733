"""The pages of calling out speak the reader's language: every state, plan, deed and empty list."""

from __future__ import annotations

from typing import Any

import pytest

from bitrix_app import vocabulary
from bitrix_app.core import intent as entries
from bitrix_app.core.dial import DialState, Failure, Origin
from bitrix_app.core.events import DialAccepted, DialFailed
from bitrix_app.core.intent import Act, Deed, Kind
from bitrix_app.core.jobs import JobState
from bitrix_app.web.retries import needle
from tests.web.calling import Office
from tests.web.fakes import ADMIN, AGENT
from tests.web.test_languages import TRANSLATED, english

pytestmark = pytest.mark.anyio
FOREIGN = Failure("X", "connection", "Несправність", "Зачекайте", "unitalk")
"""What a vendor said: nobody translates that."""


def test_every_code_has_its_word() -> None:
    assert set(vocabulary.STARTS) == {state.value for state in DialState}
    assert set(vocabulary.START_SIGNS) == set(vocabulary.START_BADGES) == set(vocabulary.STARTS)
    assert set(vocabulary.ORIGINS) == {origin.value for origin in Origin}
    assert set(vocabulary.ENTRY_KINDS) == {kind.value for kind in Kind} | {"campaign", "agent_status"}
    assert set(vocabulary.ACTS) == {act.value for act in Act}


async def furnished(here: Office) -> list[str]:
    """Entries in every state with every plan; the addresses of all pages."""
    await here.snapshot("agents", {"user_id": AGENT, "name": "Петро", "extension": "201"})
    now = here.clock.now()
    deeds = tuple(Deed(now, act, AGENT, "7" if act in (Act.MOVED, Act.GIVEN) else "") for act in Act)
    hours = tuple(Deed(now, act, AGENT) for act in (Act.FAILED, Act.RESCHEDULED))
    shapes: list[dict[str, Any]] = [
        {"state": state, "due_at": now + 60, "deeds": deeds} for state in entries.OPEN
    ]
    shapes += [{"state": JobState.RETRYING, "due_at": now + 60, "deeds": hours[:1]}]
    shapes += [{"state": JobState.RETRYING, "due_at": now + 600, "deeds": hours[:1]}]
    shapes += [{"state": JobState.RETRYING, "due_at": now + 60_000, "deeds": hours}]
    shapes += [
        {"certain": False},
        {"agent": None},
        {"attempts": 9},
        {"text": "Подзвоніть"},
        {"failure": None},
    ]
    shapes += [{"failure": Failure("X", "validation", "Ні", who="nobody")}]
    shapes += [
        {
            "kind": Kind.MISSED,
            "state": state,
            "due_at": now + 60,
            "missed": n,
            "escalation": level,
            "agent": who,
        }
        for n, (state, level, who) in enumerate(
            [
                (JobState.WAITING, 0, AGENT),
                (JobState.WAITING, 0, None),
                (JobState.WAITING, 1, None),
                (JobState.ATTENTION, 2, None),
            ]
        )
    ]
    shapes += [
        {"state": state, "before": before, "closed_at": now, "reason": "Так"}
        for state in (JobState.DONE, JobState.CANCELLED)
        for before in ("waiting", None)
    ]
    pages = []
    for place, shape in enumerate(shapes):
        entry = {"failure": FOREIGN, "number": f"+3804400001{place:02}"} | shape
        await here.listed(f"3{place:02}", **entry)
        pages.append(f"/retries/3{place:02}")
    lists = [f"/retries?state={state.value}" for state in JobState if state is not JobState.BLOCKED]
    return [*pages, *lists, "/retries", "/retries?limit=1", "/retries?q=0000", "/calls"]


@pytest.fixture
async def calls(here: Office) -> list[str]:
    """Calls whose starts stand in different states."""
    made = []
    for place, event in enumerate((None, DialAccepted(), DialFailed(FOREIGN, certain=False))):
        here.clock.turn = None
        if event is not None:
            here.settles(event)
        made.append((await here.post(AGENT, "/calls", {"number": f"+38044000090{place}"})).json()["id"])
    return [f"/calls/{call_id}" for call_id in made]


@pytest.mark.parametrize("language", TRANSLATED)
async def test_no_page_of_calling_out_speaks_english(here: Office, calls: list[str], language: str) -> None:
    for address in [*await furnished(here), *calls]:
        for user in (ADMIN, AGENT):
            heads = here.heads(user, language) | {"Accept": "text/html"}
            answer = await here.web.get(address, headers=heads)
            assert answer.status_code == 200, address
            assert english(answer.text) == set(), (address, user)
    await here.set(hours={"sun": "09:00-18:00"}, repeat_starts=False)
    for address in await furnished(here):
        answer = await here.web.get(address, headers=here.heads(ADMIN, language) | {"Accept": "text/html"})
        assert english(answer.text) == set(), address


@pytest.mark.parametrize("language", TRANSLATED)
async def test_refusals_are_in_the_visitors_language(here: Office, language: str) -> None:
    entry = await here.listed()
    said = []
    for name, body in (
        ("edit", {"number": ""}),
        ("edit", {}),
        ("edit", {"agent": 12}),
        ("reschedule", {"at": "soon"}),
        ("reschedule", {"at": "2030-01-01T00:00"}),
        ("cancel", {"reason": 5}),
        ("cancel", {"why": "x"}),
    ):
        answer = await here.post(ADMIN, f"/retries/{entry.id}/{name}", body, language)
        problem = answer.json()
        said += [problem["title"], problem["detail"], *(error["message"] for error in problem["errors"])]
    problem = (await here.post(AGENT, f"/retries/{entry.id}/edit", {"agent": 9}, language)).json()
    said += [problem["title"], problem["detail"]]
    assert [text for text in said if english(text.replace("2026-09-02T15:30", ""))] == []


async def test_a_record_is_found_by_its_name_in_the_readers_language(here: Office) -> None:
    await here.listed(crm_type="LEAD", crm_id=12)
    found = await here.web.get("/retries", params={"q": "Лід 12"}, headers=here.heads(ADMIN, "uk"))
    assert [item["id"] for item in found.json()["items"]] == ["e1"]
    assert needle("Лід 12", "UA") is None
