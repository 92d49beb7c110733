"""An agent's status on the page: who may see and change what, and how it is worded."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from httpx import AsyncClient

from bitrix_app.core.agents import AgentStatus, Clock, Page, Want
from bitrix_app.core.commands import LookAtAgents, SetStatus
from bitrix_app.core.events import Direction
from bitrix_app.core.jobs import JobError
from bitrix_app.core.lifecycle import Phase
from bitrix_app.core.portal import PortalSettings, Snapshot
from bitrix_app.web.session import ROLE_FRESH, Role
from tests.web.fakes import ADMIN, AGENT, MEMBER, OTHER_AGENT, Stage, call, portal

pytestmark = pytest.mark.anyio
ERROR = JobError("UNITALK_REFUSED", "validation", "Number not found", "See the reason.", "manager")


@pytest.fixture(autouse=True)
def people(st: Stage) -> None:
    rows = (
        {"user_id": ADMIN, "name": "Olena", "extension": "200"},
        {"user_id": AGENT, "name": "Petro", "extension": "201"},
        {"user_id": OTHER_AGENT, "name": "Ivan"},
    )
    st.store.snapshots["agents"] = Snapshot("agents", 1.0, rows)
    sync(st)


def sync(st: Stage, **settings: Any) -> None:
    st.store.portals_[MEMBER] = portal(settings=PortalSettings(**({"status_sync": True} | settings)))


async def put(web: AsyncClient, st: Stage, user: int, data: Any, role: Role = Role.AGENT) -> Any:
    return await web.put(f"/agents/{user}", json=data, headers=st.session(role))


async def test_an_agent_pauses_himself_and_the_pbx_is_told(web: AsyncClient, st: Stage) -> None:
    answer = await put(web, st, AGENT, {"status": "pause", "reason": "lunch"})
    assert answer.status_code == 200
    (item,) = answer.json()["items"]
    told = item["status"]
    assert (item["extension"], told["desired"], told["why"], told["why_text"], told["reason"]) == (
        "201",
        "pause",
        "paused",
        "Pause",
        "lunch",
    )
    assert (told["actual"], told["actual_at"], told["actual_is_certain"]) == (None, None, False)
    assert told["actual_label"] == "Last acknowledged by the PBX"
    assert told["history"][0] | {"at": ""} == {
        "at": "",
        "what": "paused",
        "text": "Pause",
        "by": f"user:{AGENT}",
        "note": "lunch",
    }
    assert st.store.owed == [("agent:201", "status")]
    assert st.store.owed_commands[0].command == SetStatus("201")
    assert st.nudged == [MEMBER]
    await put(web, st, AGENT, {"status": "available"})
    assert st.store.statuses_["201"].page is Page.AVAILABLE
    assert st.store.statuses_["201"].page_reason == ""


async def test_an_agent_changes_and_sees_only_himself(web: AsyncClient, st: Stage) -> None:
    refused = await put(web, st, ADMIN, {"status": "pause"})
    assert (refused.status_code, refused.json()["code"]) == (403, "manager_only")
    assert (await put(web, st, AGENT, {"extension": "299"})).status_code == 403
    assert (await put(web, st, AGENT, {"status": "pause", "extension": "299"})).status_code == 403
    assert st.store.statuses_ == {}
    agent = st.session(Role.AGENT)
    assert (await web.get(f"/agents/{ADMIN}", headers=agent)).status_code == 403
    assert (await web.get("/agents", headers=agent)).status_code == 403
    mine = (await web.get(f"/agents/{AGENT}", headers=agent)).json()
    assert mine["items"] == [{"extension": "201", "status": None}]
    assert mine["status_sync"] == {"on": True, "sources": ["calls", "timeman", "page"], "note": ""}
    assert (await web.get(f"/agents/{AGENT}")).status_code == 401


async def test_an_administrator_changes_anybody_with_a_fresh_role(web: AsyncClient, st: Stage) -> None:
    answer = await put(web, st, AGENT, {"status": "pause"}, Role.ADMIN)
    assert answer.status_code == 200
    found = {one["extension"]: one["status"] for one in answer.json()["items"]}
    assert found["201"]["desired"] == "pause"
    assert found["200"] is None
    assert st.store.statuses_["201"].history[-1].by == f"user:{ADMIN}"
    old = st.session()
    await st.clock.advance(ROLE_FRESH + 1)
    answer = await web.put(f"/agents/{AGENT}", json={"status": "available"}, headers=old)
    assert answer.status_code == 401


async def test_extension_and_status_may_come_together(web: AsyncClient, st: Stage) -> None:
    answer = await put(web, st, OTHER_AGENT, {"extension": "209", "status": "pause"}, Role.ADMIN)
    assert answer.status_code == 200
    assert st.store.portals_[MEMBER].settings.extension_users == {"209": OTHER_AGENT}
    assert st.store.statuses_["209"].desired is Want.PAUSE


async def test_who_has_no_extension_has_no_status(web: AsyncClient, st: Stage) -> None:
    answer = await put(web, st, OTHER_AGENT, {"status": "pause"}, Role.ADMIN)
    assert (answer.status_code, answer.json()["code"]) == (409, "no_extension")


@pytest.mark.parametrize(
    ("data", "field"),
    [
        ({"status": "away"}, "status"),
        ({"status": None}, "status"),
        ({"status": ["pause"]}, "status"),
        ({"status": "pause", "reason": 5}, "reason"),
        ({"status": "pause", "reason": "x" * 201}, "reason"),
        ({"status": "pause", "reason": "a\nb"}, "reason"),
        ({"status": "pause", "colour": "red"}, "extension"),
        ({"reason": "lunch"}, "extension"),
        ({}, "extension"),
    ],
)
async def test_a_faulty_wish_is_named_and_changes_nothing(
    web: AsyncClient, st: Stage, data: dict[str, Any], field: str
) -> None:
    answer = await put(web, st, AGENT, data, Role.ADMIN)
    assert answer.status_code == 422
    assert [one["field"] for one in answer.json()["errors"]] == [field]
    assert st.store.statuses_ == {}


async def test_after_this_call_waits_for_a_call_that_nobody_followed_so_far(
    web: AsyncClient, st: Stage
) -> None:
    sync(st, status_sources=("page",))
    st.store.calls_ = [
        call("live", direction=Direction.OUT, phase=Phase.RINGING, ringing=("201",)),
        call("over", direction=Direction.OUT, phase=Phase.ENDED, ringing=("201",)),
    ]
    await put(web, st, AGENT, {"status": "pause_after_call", "reason": "lunch"})
    kept = st.store.statuses_["201"]
    assert (kept.page, kept.calls, kept.desired) == (Page.AFTER_CALL, ("live",), Want.WORK)


async def test_the_list_shows_desired_and_actual_with_since_when(web: AsyncClient, st: Stage) -> None:
    kept = AgentStatus(
        MEMBER,
        "201",
        AGENT,
        clock=Clock.CLOSED,
        clock_at=4.0,
        desired=Want.PAUSE,
        since=5.0,
        acknowledged="WORK",
        acknowledged_at=3.0,
        doubtful=("PAUS",),
        out=True,
        error=ERROR,
        tries=5,
        next_at=60.0,
    )
    st.store.statuses_ = {"201": kept}
    items = (await web.get("/agents", headers=st.session())).json()["items"]
    told = next(one["status"] for one in items if one["extension"] == "201")
    assert (told["desired"], told["since"]) == ("pause", "1970-01-01T00:00:05Z")
    assert (told["actual"], told["actual_at"]) == ("work", "1970-01-01T00:00:03Z")
    assert told["actual_is_certain"] is False
    assert (told["working_day"], told["out"], told["attempts"]) == ("CLOSED", True, 5)
    assert told["error"] == {
        "code": "UNITALK_REFUSED",
        "category": "validation",
        "message": "Number not found",
        "hint": "See the reason.",
        "who": "manager",
    }
    sync(st, status_sync=False)
    items = (await web.get("/agents", headers=st.session())).json()
    told = next(one["status"] for one in items["items"] if one["extension"] == "201")
    assert (told["actual"], told["actual_word"]) == (None, None), "nobody vouches for it any more"
    assert "switched off" in items["status_sync"]["note"]


async def test_with_the_synchronisation_off_a_wish_is_kept_and_the_pbx_is_left_alone(
    web: AsyncClient, st: Stage
) -> None:
    sync(st, status_sync=False)
    assert (await put(web, st, AGENT, {"status": "pause"})).status_code == 200
    assert st.store.statuses_["201"].desired is Want.PAUSE
    assert st.store.owed == []


# --- the settings ---------------------------------------------------------------------------------


async def change(web: AsyncClient, st: Stage, **data: Any) -> Any:
    return await web.put("/settings", json=data, headers=st.session())


async def test_it_is_off_by_default_and_the_settings_say_why(web: AsyncClient, st: Stage) -> None:
    st.store.portals_[MEMBER] = portal()
    data = (await web.get("/settings", headers=st.session())).json()
    assert (data["status_sync"], data["status_work"], data["status_pause"]) == (False, "WORK", "PAUS")
    assert data["status_sources"] == ["calls", "timeman", "page"]
    assert data["pbx_requests_per_second"] == 1.0
    assert "does not confirm" in data["status_note"]
    page = await web.get("/settings", headers=st.session() | {"Accept": "text/html"})
    assert "not confirmed by the vendor" in page.text


async def test_switching_it_on_looks_at_everybody_and_believes_nothing_old(
    web: AsyncClient, st: Stage
) -> None:
    st.store.portals_[MEMBER] = portal()
    st.store.statuses_ = {"201": AgentStatus(MEMBER, "201", AGENT, acknowledged="WORK", out=True)}
    assert (await change(web, st, status_sync=True)).status_code == 200
    assert st.store.statuses_["201"].acknowledged is None
    assert st.store.owed == [("agent:201", "status"), ("portal:agents", "agents")]
    assert isinstance(st.store.owed_commands[1].command, LookAtAgents)


@pytest.mark.parametrize(
    "data", [{"status_pause": "AWAY"}, {"unitalk_key": "another-key-1234"}, {"status_sources": ["page"]}]
)
async def test_other_words_keys_or_sources_say_everything_anew(
    web: AsyncClient, st: Stage, data: dict[str, Any]
) -> None:
    st.store.statuses_ = {"201": AgentStatus(MEMBER, "201", AGENT, acknowledged="WORK")}
    assert (await change(web, st, **data)).status_code == 200
    assert st.store.statuses_["201"].acknowledged is None
    assert st.store.hastened[-1] == "201"


async def test_other_settings_leave_the_statuses_alone(web: AsyncClient, st: Stage) -> None:
    kept = AgentStatus(MEMBER, "201", AGENT, acknowledged="WORK")
    st.store.statuses_ = {"201": kept}
    assert (await change(web, st, crm_create_in=False, pbx_requests_per_second=5)).status_code == 200
    assert st.store.statuses_ == {"201": kept}
    assert st.store.portals_[MEMBER].settings.pbx_requests_per_second == 5.0


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("status_sync", "yes"),
        ("status_work", ""),
        ("status_work", "TWO WORDS"),
        ("status_pause", "WORK"),
        ("status_pause", 5),
        ("status_sources", "page"),
        ("status_sources", ["moon"]),
        ("pbx_requests_per_second", 0.05),
        ("pbx_requests_per_second", 21),
        ("pbx_requests_per_second", True),
        ("pbx_requests_per_second", "fast"),
    ],
)
async def test_a_faulty_setting_is_named(web: AsyncClient, st: Stage, name: str, value: Any) -> None:
    before = replace(st.store.portals_[MEMBER])
    answer = await change(web, st, **{name: value})
    assert answer.status_code == 422
    assert [one["field"] for one in answer.json()["errors"]] == [name]
    assert st.store.portals_[MEMBER] == before


async def test_a_manager_sees_and_changes_anybodys_status_and_gives_nobody_an_extension(
    web: AsyncClient, st: Stage
) -> None:
    sync(st, managers=(AGENT,))
    manager = st.session(Role.AGENT)
    answer = await put(web, st, ADMIN, {"status": "pause"})
    assert (answer.status_code, st.store.statuses_["200"].history[-1].by) == (200, f"user:{AGENT}")
    shown = (await web.get("/agents", headers=manager)).json()
    assert {one["extension"]: (one["status"] or {}).get("desired") for one in shown["items"]}[
        "200"
    ] == "pause"
    assert (await web.get(f"/agents/{ADMIN}", headers=manager)).json()["user_id"] == ADMIN
    for data in ({"extension": "299"}, {"status": "pause", "extension": "299"}):
        refused = await put(web, st, ADMIN, data)
        assert (refused.status_code, refused.json()["code"]) == (403, "admin_only")
    await st.clock.advance(ROLE_FRESH + 1)
    stale = await web.put(f"/agents/{ADMIN}", json={"status": "available"}, headers=manager)
    assert stale.status_code == 401


async def test_who_may_read_our_files_on_the_drive_manages_nobody(web: AsyncClient, st: Stage) -> None:
    sync(st, drive_managers=(AGENT,))
    assert (await put(web, st, ADMIN, {"status": "pause"})).status_code == 403
