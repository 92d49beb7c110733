"""People, lines and numbers over real sockets: the right owner, mended matches, lists that survive."""

from __future__ import annotations

import json
import re
from typing import Any
from urllib.parse import urlencode

import pytest

from bitrix_app.core.chores import DIRECTORY_LANE
from bitrix_app.core.commands import Priority, RefreshDirectory
from bitrix_app.core.jobs import JobState
from bitrix_app.core.ports import HttpRequest
from bitrix_app.core.transition import Owed
from bitrix_app.sandbox.seed import ADMIN
from tests.journeys.world import CLIENT, World

pytestmark = pytest.mark.anyio

KNOWN = "380440000002"
"""Leo Martin, a contact whose responsible person is user 12."""


class Office:
    """The administrator's page as a program uses it."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.headers: dict[str, str] = {}

    async def open(self) -> Office:
        frame = self.world.stage.portal.open_frame(ADMIN)
        assert frame is not None
        form = {"Content-Type": "application/x-www-form-urlencoded", "Accept": "text/html"}
        body = urlencode(frame.form).encode()
        page = await self.world.http.send(HttpRequest("POST", frame.address, form, body, timeout=15.0))
        found = re.search(rb'name="frame-session" content="([^"]+)"', page.body)
        assert found is not None
        self.headers = {"Authorization": f"Bearer {found[1].decode()}", "Accept": "application/json"}
        return self

    async def ask(self, method: str, path: str, data: Any = None) -> tuple[int, Any]:
        body = b"" if data is None else json.dumps(data).encode()
        headers = {**self.headers, "Content-Type": "application/json"}
        request = HttpRequest(method, self.world.stage.app_url + path, headers, body, timeout=15.0)
        answer = await self.world.http.send(request)
        return answer.status, json.loads(answer.body)

    async def get(self, path: str) -> Any:
        status, data = await self.ask("GET", path)
        assert status == 200, data
        return data

    async def extension(self, extension: str) -> dict[str, Any]:
        items = (await self.get("/agents"))["items"]
        (found,) = [item for item in items if item["extension"] == extension]
        return dict(found)


async def call_from(world: World, extension: str, client: str = CLIENT) -> None:
    """An outgoing call of a phone with that extension."""
    bodies = world.bodies(world.call("outgoing", "2001", client, talk=4))
    for body in bodies:
        body["call"]["from"] = extension
    await world.post_all(bodies)


def holders(world: World) -> list[tuple[int, int]]:
    """(responsible of the activity, responsible of the lead) of each call in the portal."""
    portal = world.stage.portal
    leads = {lead.id: lead for lead in portal.leads}
    return [
        (
            int(portal.state.activities[call.activity_id or 0].fields["RESPONSIBLE_ID"]),
            leads[call.entity_id].assigned_by,
        )
        for call in portal.calls
    ]


async def test_an_unmatched_extension_is_repaired_with_its_calls_and_back(world: World) -> None:
    for number in ("380670000071", "380670000072"):
        await call_from(world, "2099", number)
    await world.settled(2)
    office = await Office(world).open()
    assert holders(world) == [(ADMIN, ADMIN)] * 2
    found = await office.extension("2099")
    assert (found["state"], found["calls_on_default"]) == ("unmatched", 2)

    wish = {"extension": "2099", "user_id": 13}
    status, plan = await office.ask("POST", "/agents/repair", {**wish, "dry_run": True})
    assert (status, plan["confirm"]) == (200, 2)
    assert plan["changes"] == {"activities": 2, "records": 2, "extension": {"from": None, "to": 13}}
    assert any("statistics" in sentence for sentence in plan["cannot"])
    assert (await office.extension("2099"))["calls_on_default"] == 2, "a dry run changes nothing"
    status, refused = await office.ask("POST", "/agents/repair", {**wish, "confirm": 3})
    assert (status, refused["confirm"]) == (409, 2)

    status, repair = await office.ask("POST", "/agents/repair", {**wish, "confirm": 2})
    assert status == 202
    await world.settled(2)
    assert holders(world) == [(13, 13)] * 2
    assert [row.user_id for row in world.stage.portal.calls] == [ADMIN] * 2, "statistics stay"
    assert {call.user_id for call in await world.calls()} == {13}
    progress = await office.get(f"/agents/repair/{repair['id']}")
    assert progress["progress"]["moves"] == {"done": 2}
    mended = await office.extension("2099")
    assert (mended["state"], mended["by"], mended["calls_on_default"]) == ("matched", "override", 0)

    await call_from(world, "2099", "380670000073")
    await world.settled(3)
    assert world.stage.portal.calls[-1].user_id == 13, "the next call is right"

    status, _ = await office.ask("POST", f"/agents/repair/{repair['id']}/undo")
    assert status == 202
    await world.settled(3)
    assert holders(world) == [(ADMIN, ADMIN), (ADMIN, ADMIN), (13, 13)]
    back = await office.extension("2099")
    assert (back["state"], back["calls_on_default"]) == ("unmatched", 2)
    status, _ = await office.ask("POST", f"/agents/repair/{repair['id']}/undo")
    assert status == 409


async def test_what_a_person_changed_by_hand_is_not_moved(world: World) -> None:
    await call_from(world, "2099")
    await world.settled()
    portal = world.stage.portal
    (row,) = portal.calls
    portal.people.change("LEAD", row.entity_id, {"assignedById": 15})
    office = await Office(world).open()
    wish = {"extension": "2099", "user_id": 13, "confirm": 1}
    assert (await office.ask("POST", "/agents/repair", wish))[0] == 202
    await world.settled()
    assert holders(world) == [(13, 15)]
    story = await office.get(f"/calls/{(await world.only_call()).id}")
    assert any(f"LEAD:{row.entity_id} was left with user 15" in note for note in story["notes"])


async def test_a_missed_call_goes_to_the_clients_responsible_person(world: World) -> None:
    told = world.call("incoming", KNOWN, ring=("2003", "2004"), answered_by=None)
    await world.post_all(world.bodies(told))
    await world.settled()
    (row,) = world.stage.portal.calls
    assert (row.user_id, row.status_code) == (12, "304"), "2002 is user 12, whom the call never rang"
    story = await (await Office(world).open()).get(f"/calls/{(await world.only_call()).id}")
    assert (story["owner"]["user_id"], story["owner"]["by"]) == (12, "responsible")


async def test_the_portals_rule_for_missed_calls_decides(world: World) -> None:
    office = await Office(world).open()
    rules = {"missed_owner": "line", "line_users": {"380440000001": 15}}
    status, _ = await office.ask("PUT", "/settings", rules)
    assert status == 200
    told = world.call("incoming", KNOWN, ring=("2003",), answered_by=None)
    bodies = world.bodies(told)
    for body in bodies:
        body["call"]["outerNumber"] = "380440000001"
    await world.post_all(bodies)
    await world.settled()
    (row,) = world.stage.portal.calls
    assert row.user_id == 15


async def test_a_shrunken_list_of_people_is_kept_aside_until_somebody_accepts_it(world: World) -> None:
    await world.settled(0)
    portal, house = world.stage.portal, world.stage.house
    gone = {user: portal.state.users.pop(user) for user in (13, 14, 15)}
    assert gone

    async def refresh() -> None:
        owed = Owed("directory", RefreshDirectory(), Priority.FINISH)
        now = house.clock.now()
        await house.store.transact(lambda unit: unit.owe(world.member_id, DIRECTORY_LANE, (owed,), now))
        house.worker.nudge(world.member_id)
        await world.settled(0)

    await refresh()
    office = await Office(world).open()
    (offer,) = (await office.get("/agents"))["offers"]
    assert (offer["directory"], offer["confirm"]) == ("agents", 3)
    assert [one["user_id"] for one in offer["lost"]] == [13, 14, 15]
    assert (await office.extension("2003"))["user_id"] == 13, "the last good list serves"
    assert any("incomplete" in notice.message for notice in portal.notifications)

    status, _ = await office.ask("POST", "/agents/accept", {"directory": "agents", "confirm": 2})
    assert status == 409
    status, _ = await office.ask("POST", "/agents/accept", {"directory": "agents", "confirm": 3})
    assert status == 202
    await world.settled(0)
    assert (await office.get("/agents"))["offers"] == []
    assert (await office.extension("2003"))["state"] != "matched"


async def test_a_hidden_caller_stands_on_the_list_with_the_reason(world: World) -> None:
    told = world.call("incoming", CLIENT, ring=("2001",), answered_by="2001", talk=5)
    bodies = world.bodies(told)
    for body in bodies:
        body["call"]["from"] = "anonymous"
    await world.post_all(bodies)

    async def waits() -> bool:
        calls = await world.calls()
        jobs = await world.jobs(calls[0]) if calls else []
        return any(job.state is JobState.ATTENTION for job in jobs)

    for _ in range(200):
        if await waits():
            break
        await world.stage.house.clock.sleep(0.05)
    call = await world.only_call()
    (register,) = [job for job in await world.jobs(call) if job.key == "register"]
    assert register.error is not None
    assert (register.error.code, register.error.who) == ("HIDDEN_NUMBER", "manager")
    story = await (await Office(world).open()).get(f"/calls/{call.id}")
    assert "hidden" in story["number_reason"]
    assert (story["number"], story["raw_number"]) == ("anonymous", "anonymous")
    assert any("hidden" in note for note in story["notes"])
    assert world.stage.portal.calls == []


async def test_a_stranger_is_told_to_be_one(world: World) -> None:
    told = world.call("incoming", CLIENT, ring=("2001",), answered_by="2001", talk=5)
    await world.post_all(world.bodies(told))
    await world.settled()
    (note,) = (await world.only_call()).notes
    assert note.startswith(f"No record in the CRM had the number +{CLIENT}, 0670000077")
    assert "LEAD:" in note


async def test_a_line_of_a_call_and_a_line_of_the_settings_stand_in_the_portal(world: World) -> None:
    office = await Office(world).open()
    names = {"380440000777": "Hotline"}
    zones = {"380440000001": "Asia/Almaty"}
    await office.ask("PUT", "/settings", {"line_names": names, "line_zones": zones})
    told = world.call("incoming", CLIENT, ring=("2001",), answered_by="2001", talk=5)
    bodies = world.bodies(told)
    for body in bodies:
        body["call"]["outerNumber"] = "380440000001"
    await world.post_all(bodies)
    await world.settled()
    lines = world.stage.portal.state.lines
    assert lines["380440000777"].name == "Hotline"
    assert lines["380440000001"].name == "380440000001"
    assert (await office.get("/settings"))["lines"] == ["380440000001", "380440000777"]
    (said,) = world.stage.portal.requests_of("telephony.externalcall.register")
    start = said.params["CALL_START_DATE"]
    assert start.endswith("+05:00"), "the zone of the line, not of the PBX"
