"""Cards when things go wrong: who sees which while it rings and is talked, and that none stays open."""

from __future__ import annotations

from pathlib import Path

import pytest

from bitrix_app.core.cards import FINISH_WAITS, STRAY_AFTER
from bitrix_app.core.chores import CARDS_LANE
from bitrix_app.core.jobs import JobState
from bitrix_app.sandbox.faults import Fault
from tests.faults.house import House, assert_exactly_once, assert_no_card_is_open, house
from tests.faults.table import FINISH, REGISTER, arm, bad
from unitalk.sandbox import SandboxCall

pytestmark = pytest.mark.anyio

SHOW = "telephony.externalcall.show"
HIDE = "telephony.externalcall.hide"
SEARCH = "telephony.externalcall.searchcrmentities"
NADIA = "380440000003"
"""A contact whose responsible person is user 13, extension 2003."""


def seeing(up: House) -> set[int]:
    return {user for _, user in up.portal.open_cards()}


async def over(up: House, told: SandboxCall) -> None:
    await up.run_until(lambda: told.ended(up.clock.now()), 3_600.0, "the end")
    await up.run_for(5.0)
    await up.settle(calls=1)


async def test_the_responsible_person_sees_the_card_until_somebody_else_answers(tmp_path: Path) -> None:
    async with house(tmp_path) as up:
        told = up.live_call(NADIA)
        await up.run_for(1.5)
        assert seeing(up) == {11, 12, 13}
        await up.run_for(5.0)
        assert seeing(up) == {12}
        await up.settle(calls=1)
        await assert_exactly_once(up, [told])
        assert up.portal.counts[SEARCH] == 1
        assert up.portal.counts[HIDE] == 1


async def test_the_responsible_person_who_rings_anyway_is_shown_nothing_twice(tmp_path: Path) -> None:
    async with house(tmp_path) as up:
        told = up.live_call(NADIA, ring=("2001", "2003"), answered_by="2003")
        await up.run_for(6.0)
        assert seeing(up) == {13}
        await up.settle(calls=1)
        await assert_exactly_once(up, [told])
        assert up.portal.counts[SHOW] == 1


async def test_a_missed_call_of_a_known_client_is_asked_about_once(tmp_path: Path) -> None:
    async with house(tmp_path) as up:
        told = up.pbx.incoming(NADIA, ring=("2001",), ring_seconds=100.0)
        await over(up, told)
        await assert_exactly_once(up, [told], recordings=False)
        assert up.portal.counts[SEARCH] == 1
        assert [row.user_id for row in up.portal.calls] == [13]


@pytest.mark.parametrize("step", [SHOW, HIDE, SEARCH])
@pytest.mark.parametrize("name", ["lost-done", "late-20", "500-json", "503-limit", "slow-30"])
async def test_in_a_long_talk_only_the_talker_keeps_a_card(tmp_path: Path, step: str, name: str) -> None:
    async with house(tmp_path) as up:
        struck = arm(up, bad(name), step)
        told = up.live_call(NADIA, talk=400.0)
        await up.run_for(250.0)
        assert struck() == 1
        assert seeing(up) == {12}
        await over(up, told)
        await assert_exactly_once(up, [told])


async def test_a_hide_that_the_portal_refuses_for_minutes_is_said_again(tmp_path: Path) -> None:
    async with house(tmp_path) as up:
        until = up.clock.now() + 200.0
        up.http.refuse = lambda name: name == HIDE and up.clock.now() < until
        up.live_call(NADIA, talk=900.0)
        await up.run_for(30.0)
        assert seeing(up) == {11, 12, 13}
        await up.run_for(400.0)
        assert seeing(up) == {12}


@pytest.mark.parametrize("crash", [None, "talking", "over", "swept"])
async def test_cards_close_two_minutes_after_the_end_though_finish_is_refused(
    tmp_path: Path, crash: str | None
) -> None:
    """A kill on the way changes nothing: the timer is in the store."""
    async with house(tmp_path) as up:
        until = up.clock.now() + 3_600.0
        up.http.refuse = lambda name: name == FINISH and up.clock.now() < until
        told = up.live_call(NADIA)
        await up.run_for(7.0)
        assert seeing(up) == {12}
        if crash == "talking":
            await up.crash()
            await up.start()
        await up.run_until(lambda: told.ended(up.clock.now()), 60.0, "the end")
        await up.run_for(20.0)
        assert seeing(up) == {12}, "Finish may still come through"
        if crash == "over":
            await up.crash()
            await up.run_for(600.0)
            assert seeing(up) == {12}, "nobody is there to hide it"
            await up.start()
        elif crash == "swept":
            hiding = up.portal.faults.add(Fault(HIDE, "slow", seconds=8.0))
            await up.run_until(lambda: hiding.hits == 1, FINISH_WAITS, "the hide under way")
            await up.crash()
            await up.start()
        await up.run_for(FINISH_WAITS + 5.0)
        assert_no_card_is_open(up)
        assert up.portal.calls == [], "not finished yet"
        await up.settle(calls=1, most_seconds=4 * 3_600.0)
        await assert_exactly_once(up, [told])


async def stray(up: House) -> str:
    """A registration that takes effect 90 s after its answer was lost, when its call is long written."""
    arm(up, bad("late-90"), REGISTER)
    up.live_call()
    await up.run_until(lambda: len(up.portal.calls) == 1, 85.0, "the call in the portal")
    await up.run_until(lambda: bool(up.portal.open_cards()), 30.0, "the stray card")
    ((call_id, _),) = up.portal.open_cards()
    return call_id


@pytest.mark.parametrize("crash", [False, True])
async def test_a_strays_card_is_closed_and_it_is_never_finished(tmp_path: Path, crash: bool) -> None:
    async with house(tmp_path) as up:
        call_id = await stray(up)
        await up.run_for(5.0)
        if crash:
            await up.crash()
            await up.start()
        await up.run_for(STRAY_AFTER - 10.0)
        assert [one for one, _ in up.portal.open_cards()] == [call_id], "it may still be somebody's"
        await up.run_for(10.0)
        assert_no_card_is_open(up)
        assert [one.call_id for one in up.portal.pending_calls] == [call_id]
        assert len(up.portal.calls) == 1


async def test_a_click_whose_event_got_lost_leaves_no_card(tmp_path: Path) -> None:
    async with house(tmp_path) as up:
        up.portal.events.lose("ONEXTERNALCALLSTART")
        up.portal.people.click_to_call(14, "+380670009999")
        assert seeing(up) == {14}
        await up.run_for(STRAY_AFTER + 10.0)
        assert_no_card_is_open(up)


async def test_calls_that_go_well_leave_nothing_to_sweep(tmp_path: Path) -> None:
    async with house(tmp_path) as up:
        calls = [up.live_call() for _ in range(3)]
        await up.settle(calls=3)
        await assert_exactly_once(up, calls)
        lane = await up.app.store.lane(up.member_id, CARDS_LANE)
        assert all(one.state is JobState.CANCELLED for one in lane), "each was known in the end"
        assert up.portal.counts[HIDE] == 3


async def test_a_portal_that_is_slow_to_finish_keeps_no_card(tmp_path: Path) -> None:
    async with house(tmp_path) as up:
        up.portal.faults.add(Fault(FINISH, "slow", times=3, seconds=70.0))
        told = up.live_call(NADIA)
        await up.run_for(7.0 + 8.0 + FINISH_WAITS + 20.0)
        assert_no_card_is_open(up)
        await up.settle(calls=1)
        await assert_exactly_once(up, [told])
