"""What nobody told us about the PBX reaches the administrator's notices and the settings, over sockets."""

from __future__ import annotations

import json
import re
from datetime import datetime, timedelta
from typing import Any
from urllib.parse import urlencode

import pytest

from bitrix_app.core.ports import HttpRequest
from bitrix_app.sandbox.seed import ADMIN
from tests.journeys.world import CLIENT, World

pytestmark = pytest.mark.anyio


async def settings(world: World) -> dict[str, Any]:
    """`GET /settings` as a program of the administrator asks it."""
    frame = world.stage.portal.open_frame(ADMIN)
    assert frame is not None
    headers = {"Content-Type": "application/x-www-form-urlencoded", "Accept": "text/html"}
    body = urlencode(frame.form).encode()
    page = await world.http.send(HttpRequest("POST", frame.address, headers, body, timeout=15.0))
    token = re.search(r'name="frame-session" content="([^"]+)"', page.body.decode())
    assert token is not None
    asked = HttpRequest(
        "GET",
        f"{world.stage.app_url}/settings",
        {"Authorization": f"Bearer {token[1]}", "Accept": "application/json"},
    )
    answer = await world.http.send(asked)
    assert answer.status == 200, answer.body
    told: dict[str, Any] = json.loads(answer.body)
    return told


def notices(world: World, about: str) -> list[str]:
    return [n.message for n in world.stage.portal.notifications if about in n.message]


def answered(world: World, **shift: Any) -> list[dict[str, Any]]:
    return world.bodies(world.call("incoming", CLIENT, ring=("2001",), answered_by="2001", talk=5, **shift))


async def test_an_unknown_field_is_one_notice_with_a_masked_sample_and_stands_in_the_settings(
    world: World,
) -> None:
    for _ in range(3):
        bodies = answered(world)
        for body in bodies:
            body["call"]["queueScore"] = "canary-of-a-client"
        await world.post_all(bodies)
    await world.until(lambda: bool(notices(world, "call.queueScore")), "the administrator is told")
    await world.settled(3)
    (told,) = notices(world, "call.queueScore")
    assert '"queueScore": "text(18)"' in told
    assert "canary" not in told
    assert CLIENT not in told
    (drift,) = (await settings(world))["drift"]
    assert (drift["kind"], drift["name"]) == ("field", "call.queueScore")
    assert drift["sample"]["call"]["queueScore"] == "text(18)"
    assert "canary" not in json.dumps(drift)


async def test_an_unknown_event_and_an_unknown_state_are_told_and_cost_no_call(world: World) -> None:
    bodies = answered(world)
    bodies[-1]["call"] |= {"state": "SOME_NEW_STATE", "link": None}
    await world.post_all([{"event": "CALL_PARKED", "call": bodies[0]["call"]}, *bodies])
    await world.until(
        lambda: bool(notices(world, "CALL_PARKED") and notices(world, "SOME_NEW_STATE")), "both notices"
    )
    (call,) = await world.settled()
    assert world.stage.portal.effects(call.id).finished == 1


async def test_a_pbx_on_another_clock_is_one_notice_with_the_zone_to_set(world: World) -> None:
    """The sandbox PBX writes the wall clock of Kyiv; here its events are two hours behind it."""
    assert (await settings(world))["timezone_check"]["state"] == "unknown"
    for _ in range(6):
        end = answered(world)[-1]
        there = datetime.fromisoformat(end["call"]["date"]) - timedelta(hours=2)
        end["call"]["date"] = str(there)
        await world.post_all([end])
    await world.until(lambda: bool(notices(world, "time zone")), "the administrator is told")
    (told,) = notices(world, "time zone")
    check = (await settings(world))["timezone_check"]
    assert (check["state"], check["hours_off"], check["zone"]) == ("wrong", 2, "Europe/Kyiv")
    assert f"Set the time zone of the PBX to {check['proposed']}" in told


async def test_the_structure_of_the_pbxs_answers_stands_in_the_settings(world: World) -> None:
    await world.settled(0)
    shown = (await settings(world))["pbx_structure"]["answers"]
    assert shown["users/list"]["users"]["each"]["line"] == "digits(4) | number(4) | null"
    assert shown["autodial/action GET_WITH_DATA"]["autodials"]["each"]["name"] == "text(15)"
    assert "count" in shown["history/get"]
    assert shown["autodial/action GET_CALLS_HISTORY"] == {"items": {"list_of": 0}}
    assert "Operator" not in json.dumps(shown)


async def test_the_structure_of_the_pbxs_events_and_recordings_stands_in_the_settings(world: World) -> None:
    await world.post_all(answered(world))
    await world.post_all(world.bodies(world.call("inner", "2001", "2002")))
    await world.settled(2)

    async def shown() -> dict[str, Any]:
        return {item["event"]: item["structure"] for item in (await settings(world))["pbx_events"]}

    for _ in range(200):
        if "recording, when it was fetched" in (told := await shown()):
            break
        await world.stage.house.clock.sleep(0.5)
    assert {"CALL_NEW in", "CALL_ANSWER in", "CALL_END in", "CALL_END inner"} <= told.keys()
    assert told["CALL_END inner"]["call"]["direction"] == "word(INNER)"
    assert told["CALL_END in"]["call"]["state"] == "word(ANSWER)"
    assert told["recording, when it was fetched"]["key"] == "not asked for"
    assert CLIENT not in json.dumps(told)
