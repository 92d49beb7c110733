"""Batches of the autodialer and agents' statuses on the retry list: who sees them, where one acts."""

from __future__ import annotations

import pytest

from bitrix_app.core.agents import AgentStatus
from bitrix_app.core.campaigns import Batch, denied, doubted, said
from bitrix_app.core.jobs import JobError
from bitrix_app.core.store import Unit
from bitrix_app.web import retries
from tests.web.calling import BARE, MANAGER, Office, json_of
from tests.web.fakes import ADMIN, AGENT, MEMBER, OTHER_AGENT

pytestmark = pytest.mark.anyio
ERROR = JobError("UNITALK_REFUSED", "validation", "Number not found", "See the reason.", "manager")
ACTS = ("retry", "cancel", "done", "undo", "reschedule", "edit")


async def batch(here: Office, name: str = "b1", *, refused: bool = False, ago: float = 0.0) -> None:
    at = here.clock.now() - ago
    sent = said(Batch(name, "77", 3, at), at)
    one = denied(sent, "X", "Autodial not found", "") if refused else None
    one = one or doubted(sent, "The answer was lost.", "Look into the cabinet.")
    found = one
    await here.store.transact(lambda unit: unit.save_batch(MEMBER, found))


async def agent(here: Office, extension: str = "201", user: int = AGENT, *, out: bool = True) -> None:
    now = here.clock.now()
    status = AgentStatus(
        MEMBER,
        extension,
        user,
        error=ERROR,
        failing_since=now - 60,
        failed_at=now - 5,
        tries=4,
        next_at=now + 60,
        out=out,
    )

    async def work(unit: Unit) -> None:
        await unit.save_agent_status(status)

    await here.store.transact(work)


async def ids(here: Office, user: int = ADMIN, query: str = "") -> list[str]:
    return [item["id"] for item in json_of(await here.get(user, f"/retries?{query}"))["items"]]


async def test_both_have_the_public_shape_of_an_entry(here: Office) -> None:
    await batch(here)
    await agent(here)
    doubt, status = json_of(await here.get(MANAGER, "/retries"))["items"]
    assert doubt | {"created_at": "", "updated_at": ""} == {
        "id": "batch:b1",
        "kind": "campaign",
        "state": "attention",
        "call_id": None,
        "number": None,
        "subject": "3 phones for the autodialer 77",
        "agent_user_id": None,
        "crm": None,
        "attempts": 1,
        "max_attempts": None,
        "next_attempt_at": None,
        "due_at": None,
        "error": {
            "code": "BATCH_IN_DOUBT",
            "category": "timeout",
            "message": "The answer was lost.",
            "hint": "Look into the cabinet.",
            "who": "manager",
        },
        "cause": "The answer was lost.",
        "plan": {
            "text": "Nothing happens by itself: somebody has to decide.",
            "reason": "",
            "at": None,
            "who": "manager",
        },
        "read_only": True,
        "acts": "Say on the page Autodialer whether the batch was sent. Nothing is done with it here.",
        "page": "/campaigns/77",
        "closed": None,
        "created_at": "",
        "updated_at": "",
    }
    assert (status["id"], status["kind"], status["state"]) == ("agent:201", "agent_status", "attention")
    assert (status["agent_user_id"], status["attempts"]) == (AGENT, 4)
    assert (status["next_attempt_at"], status["updated_at"]) == (
        "2026-09-02T07:16:00Z",
        "2026-09-02T07:14:55Z",
    )
    assert status["error"]["message"] == "Number not found."
    assert status["plan"]["reason"] == "Until Unitalk takes it, the autodialer counts without this agent."


async def test_managers_see_all_and_an_agent_his_own_status_only(here: Office) -> None:
    await batch(here)
    await agent(here)
    await agent(here, "202", OTHER_AGENT, out=False)
    everything = {"batch:b1", "agent:201", "agent:202"}
    for user in (ADMIN, MANAGER):
        assert set(await ids(here, user)) == everything
    assert await ids(here, AGENT) == ["agent:201"]
    assert await ids(here, BARE) == []
    counts = json_of(await here.get(MANAGER, "/retries"))["counts"]
    assert (counts["attention"], counts["retrying"]) == (2, 1)
    counts = json_of(await here.get(AGENT, "/retries"))["counts"]
    assert (counts["attention"], counts["retrying"]) == (1, 0)
    assert (await here.get(AGENT, "/retries/batch:b1")).status_code == 404
    assert (await here.get(AGENT, "/retries/agent:202")).status_code == 404
    assert json_of(await here.get(AGENT, "/retries/agent:201"))["id"] == "agent:201"


async def test_kind_state_agent_and_words_narrow_them_as_they_do_calls(here: Office) -> None:
    await here.listed()
    await batch(here, refused=True)
    await agent(here)
    await agent(here, "202", OTHER_AGENT, out=False)
    assert await ids(here, query="kind=campaign") == ["batch:b1"]
    assert set(await ids(here, query="kind=agent_status")) == {"agent:201", "agent:202"}
    assert await ids(here, query="kind=call_start") == ["e1"]
    assert await ids(here, query="state=retrying") == ["agent:202"]
    assert await ids(here, query="state=waiting") == []
    assert await ids(here, query=f"agent={OTHER_AGENT}") == ["agent:202"]
    assert await ids(here, query="q=Autodial+not+found") == ["batch:b1"]
    assert await ids(here, query="q=Iryna") == ["agent:202"]
    assert await ids(here, query="q=201") == ["agent:201"]


@pytest.mark.parametrize("limit", [1, 2, 3, 5, 6])
async def test_pages_show_each_entry_once_in_order_of_time(here: Office, limit: int) -> None:
    now = here.clock.now()
    for place in range(3):
        await here.listed(f"e{place}", created_at=now - 20 * place, number=f"+38044000001{place}")
        await batch(here, f"b{place}", ago=20 * place + 10)
    wanted = ["e0", "batch:b0", "e1", "batch:b1", "e2", "batch:b2"]
    seen: list[str] = []
    cursor = ""
    while True:
        page = json_of(await here.get(ADMIN, f"/retries?limit={limit}&cursor={cursor}"))
        assert len(page["items"]) <= limit
        seen += [item["id"] for item in page["items"]]
        if page["next"] is None:
            break
        cursor = page["next"]
    assert seen == wanted


@pytest.mark.parametrize("act", ACTS)
async def test_an_act_on_them_is_refused_in_words_that_say_where_to_act(here: Office, act: str) -> None:
    await batch(here)
    await agent(here)
    for entry, place in (("batch:b1", "Autodialer"), ("agent:201", "among the agents")):
        refused = await here.post(MANAGER, f"/retries/{entry}/{act}")
        assert (refused.status_code, refused.json()["code"]) == (409, "acts_elsewhere")
        assert place in refused.json()["detail"]
    assert (await here.post(AGENT, f"/retries/batch:b1/{act}")).status_code == 404
    assert (await here.post(MANAGER, f"/retries/batch:none/{act}")).status_code == 404


async def test_pages_show_them_without_a_button_to_call(here: Office) -> None:
    await batch(here)
    await agent(here)
    page = (await here.get(MANAGER, "/retries", Accept="text/html")).text
    assert "3 phones for the autodialer 77" in page
    assert "Extension 201" in page
    assert 'href="/campaigns/77"' in page
    assert "data-retry" not in page
    for entry in ("batch:b1", "agent:201"):
        story = (await here.get(MANAGER, f"/retries/{entry}", Accept="text/html")).text
        assert "data-act" not in story
        assert "data-retry" not in story


async def test_a_search_that_is_read_in_parts_shows_each_once(
    here: Office, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retries, "SCANNED", 1)
    now = here.clock.now()
    for place in range(3):
        await here.listed(f"e{place}", created_at=now - 20 * place, number=f"+38044000001{place}")
    await batch(here, ago=30, refused=True)
    seen: list[str] = []
    cursor = ""
    for _ in range(9):
        page = json_of(await here.get(ADMIN, f"/retries?limit=1&q=Autodial+not+found&cursor={cursor}"))
        seen += [item["id"] for item in page["items"]]
        if page["next"] is None:
            break
        cursor = page["next"]
    assert seen == ["batch:b1"]
