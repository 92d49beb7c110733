"""Working time: people clock in, pause and go home, and `timeman.status` tells it (bitrix24.md §12)."""

from __future__ import annotations

from typing import Any

import pytest

from bitrix_app.clock import VirtualClock
from bitrix_app.sandbox.portal import SandboxPortal
from tests.sandbox.conftest import Api

pytestmark = pytest.mark.anyio
USER = 12


async def status(api: Api) -> dict[str, Any]:
    row: dict[str, Any] = await api.as_user(1).call("timeman.status", USER_ID=USER)
    return row


async def test_a_day_from_clocking_in_to_clocking_out(
    api: Api, portal: SandboxPortal, clock: VirtualClock
) -> None:
    begin = portal.world.now_iso()
    portal.clock_in(USER)
    await clock.advance(3600)
    row = await status(api)
    assert (row["STATUS"], row["TIME_START"], row["TIME_FINISH"], row["ACTIVE"]) == (
        "OPENED",
        begin,
        None,
        True,
    )
    portal.clock_pause(USER)
    noon = portal.world.now_iso()
    await clock.advance(600)
    row = await status(api)
    assert (row["STATUS"], row["TIME_FINISH"], row["DURATION"]) == ("PAUSED", noon, "01:00:00")
    portal.clock_in(USER)
    await clock.advance(1800)
    assert (await status(api))["STATUS"] == "OPENED"
    assert (await status(api))["TIME_LEAKS"] == "00:10:00"
    portal.clock_out(USER)
    await clock.advance(1000)
    row = await status(api)
    assert (row["STATUS"], row["TIME_START"], row["DURATION"], row["TIME_LEAKS"]) == (
        "CLOSED",
        begin,
        "01:30:00",
        "00:10:00",
    )
    portal.clock_in(USER)  # a new day
    assert (await status(api))["TIME_START"] == portal.world.now_iso()


async def test_a_day_that_nobody_closed_is_expired_and_not_active(api: Api, portal: SandboxPortal) -> None:
    portal.clock_in(USER)
    portal.clock_expire(USER)
    row = await status(api)
    assert (row["STATUS"], row["ACTIVE"], row["TIME_FINISH"]) == ("EXPIRED", False, None)
    assert "TIME_FINISH_DEFAULT" in row
    portal.clock_out(USER)
    assert (await status(api))["STATUS"] == "CLOSED"


async def test_who_goes_home_from_a_break_left_when_it_began(
    api: Api, portal: SandboxPortal, clock: VirtualClock
) -> None:
    portal.clock_in(USER)
    await clock.advance(1800)
    portal.clock_pause(USER)
    await clock.advance(600)
    portal.clock_out(USER)
    assert (await status(api))["DURATION"] == "00:30:00"


def test_what_the_day_does_not_allow_is_refused(portal: SandboxPortal) -> None:
    portal.clock_in(USER)
    with pytest.raises(ValueError, match="clocked in already"):
        portal.clock_in(USER)
    portal.clock_out(USER)
    for act in (portal.clock_out, portal.clock_pause):
        with pytest.raises(ValueError, match="is CLOSED"):
            act(USER)


async def test_the_search_by_number_tells_the_same_status(api: Api, portal: SandboxPortal) -> None:
    portal.clock_in(11)
    portal.clock_pause(11)
    (row, *_) = await api.call("telephony.externalcall.searchcrmentities", PHONE_NUMBER="+380440000001")
    assert row["ASSIGNED_BY"]["TIMEMAN_STATUS"] == "PAUSED"


async def test_extranet_users_have_no_working_time(api: Api, portal: SandboxPortal) -> None:
    portal.state.users[13].extranet = True
    refused = (403, "allowed_only_intranet_user", "Only intranet users are allowed")
    assert await api.refuse("timeman.status", USER_ID=13) == refused
    assert await api.as_user(13).refuse("timeman.status", USER_ID=USER) == refused
    rows = await api.call("user.get", FILTER={"USER_TYPE": "extranet"})
    assert [row["ID"] for row in rows] == ["13"]
    assert await api.refuse("timeman.status", USER_ID=999) == (400, "", "User not found")


async def test_one_batch_tells_of_many_and_of_who_is_gone(api: Api, portal: SandboxPortal) -> None:
    portal.clock_in(11)
    portal.clock_in(12)
    portal.clock_pause(12)
    cmd = {f"u{user}": f"timeman.status?USER_ID={user}" for user in (11, 12, 999)}
    answer = await api.call("batch", halt=0, cmd=cmd)
    assert {key: row["STATUS"] for key, row in answer["result"].items()} == {
        "u11": "OPENED",
        "u12": "PAUSED",
    }
    assert answer["result_error"]["u999"]["error"] == ""


async def test_the_pages_buttons_clock_the_chosen_user(api: Api, portal: SandboxPortal) -> None:
    async def press(act: str, user: int = USER) -> tuple[int, dict[str, Any]]:
        answer = await api.http.post("/sandbox/clock", json={"user": user, "act": act})
        return answer.status_code, answer.json()

    assert await press("pause") == (200, {"time_status": "PAUSED"})
    assert await press("in") == (200, {"time_status": "OPENED"})
    assert await press("out") == (200, {"time_status": "CLOSED"})
    assert (await press("out"))[0] == 409
    assert (await press("dance"))[0] == 400
    assert (await press("in", 999))[0] == 400
    feed = (await api.http.get("/events-feed")).json()
    assert {one["id"]: one["time_status"] for one in feed["users"]}[USER] == "CLOSED"
