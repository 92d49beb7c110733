"""An answer is lost: what comes meanwhile, and when the way to find out is closed."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from bitrix_app.sandbox.faults import Fault
from tests.faults.house import assert_exactly_once, house
from tests.faults.table import ATTACH, FINISH, REGISTER, arm, bad
from unitalk.sandbox import Facts

pytestmark = pytest.mark.anyio

DAY = 86_400.0
HALF_HOUR = 1_860.0


@pytest.mark.parametrize("name", ["lost-done", "lost-before", "late-20", "500-json-done"])
@pytest.mark.parametrize("step", [REGISTER, FINISH, ATTACH, "upload"])
async def test_duplicates_while_in_doubt_change_nothing(tmp_path: Path, name: str, step: str) -> None:
    async with house(tmp_path) as up:
        struck = arm(up, bad(name), step)
        told = up.past_call()
        await up.end_alone(told)
        for _ in range(3):
            for body in up.pbx.webhooks_for(told):
                assert await up.post(body) == 200
            await up.run_for(25.0)
        await up.settle(calls=1)
        assert struck() == 1
        await assert_exactly_once(up, [told])


@pytest.mark.parametrize("name", ["lost-done", "lost-before", "late-20", "slow-70", "empty-200"])
@pytest.mark.parametrize("second", ["past", "live"])
async def test_a_second_call_of_a_stranger_in_doubt_makes_no_second_lead(
    tmp_path: Path, name: str, second: str
) -> None:
    async with house(tmp_path) as up:
        number = up.number()
        arm(up, bad(name), REGISTER)
        first = up.past_call(number, ago=60.0)
        await up.end_alone(first)
        await up.run_for(3.0)
        if second == "past":
            other = up.past_call(number, ago=15.0)
            await up.end_alone(other)
        else:
            other = up.live_call(number)
            await up.run_for(30.0)
        await up.settle(calls=2)
        assert len(up.portal.leads) == 4
        await assert_exactly_once(up, [first, other])


async def test_a_live_card_behind_a_doubt_of_its_number_opens_within_the_minute(tmp_path: Path) -> None:
    async with house(tmp_path) as up:
        number = up.number()
        arm(up, bad("lost-before"), REGISTER)
        first = up.past_call(number)
        await up.end_alone(first)
        second = up.live_call(number, talk=120.0)
        await up.run_until(lambda: bool(up.portal.open_cards()), 65.0, "the card")
        await up.settle(calls=2)
        await assert_exactly_once(up, [first, second])


async def test_fifty_calls_of_one_stranger_make_one_lead(tmp_path: Path) -> None:
    async with house(tmp_path) as up:
        calls = await up.ends_in_one_moment(50, number=up.number())
        await up.settle(calls=50, most_seconds=7_200.0)
        assert len(up.portal.leads) == 4
        await assert_exactly_once(up, calls)


@pytest.mark.parametrize("name", ["lost-done", "late-20", "lost-before"])
@pytest.mark.parametrize("init", ["heard", "init-lost"])
@pytest.mark.parametrize("ago", [20.0, 1_500.0])
async def test_a_doubt_within_the_matching_window_leaves_nothing(
    tmp_path: Path, name: str, init: str, ago: float
) -> None:
    async with house(tmp_path) as up:
        if init == "init-lost":
            up.portal.events.lose("ONVOXIMPLANTCALLINIT")
        arm(up, bad(name), REGISTER)
        told = up.past_call(ago=ago)
        await up.end_alone(told)
        await up.settle(calls=1)
        await assert_exactly_once(up, [told])


@pytest.mark.parametrize("name", ["lost-done", "late-20", "lost-before"])
async def test_the_doubt_of_yesterdays_call_is_settled_by_the_portals_event(
    tmp_path: Path, name: str
) -> None:
    async with house(tmp_path) as up:
        arm(up, bad(name), REGISTER)
        told = up.past_call(ago=DAY)
        await up.end_alone(told)
        await up.settle(calls=1)
        await assert_exactly_once(up, [told])


@pytest.mark.parametrize("name", ["lost-done", "late-20", "lost-before"])
async def test_without_the_event_yesterdays_call_leaves_at_most_a_row_nobody_sees(
    tmp_path: Path, name: str
) -> None:
    async with house(tmp_path) as up:
        up.portal.events.lose("ONVOXIMPLANTCALLINIT")
        arm(up, bad(name), REGISTER)
        told = up.past_call(ago=DAY)
        await up.end_alone(told)
        await up.settle(calls=1)
        await assert_exactly_once(up, [told], strays=True)


@pytest.mark.parametrize("name", ["lost-done", "late-20", "lost-before"])
async def test_a_register_that_is_answered_only_after_31_minutes(tmp_path: Path, name: str) -> None:
    async with house(tmp_path) as up:
        arm(up, bad(name), REGISTER)
        told = up.live_call()
        await up.run_for(4.0)
        until = up.clock.now() + HALF_HOUR
        up.http.refuse = lambda step: step == REGISTER and up.clock.now() < until
        await up.settle(calls=1, most_seconds=4 * 3_600.0)
        await assert_exactly_once(up, [told])


@pytest.mark.parametrize("seconds", [5.0, 20.0, 45.0, 59.0])
async def test_the_end_comes_while_register_is_in_flight(tmp_path: Path, seconds: float) -> None:
    async with house(tmp_path) as up:
        up.portal.faults.add(Fault(REGISTER, "slow", seconds=seconds))
        told = up.live_call()
        await up.settle(calls=1)
        await assert_exactly_once(up, [told])


@pytest.mark.parametrize("seed", range(6))
async def test_webhooks_in_any_order_and_half_an_hour_late(tmp_path: Path, seed: int) -> None:
    chance = random.Random(seed)
    async with house(tmp_path) as up:
        told = up.past_call()
        bodies = up.pbx.webhooks_for(told)
        chance.shuffle(bodies)
        for body in bodies:
            assert await up.post(body) == 200
            await up.run_for(chance.choice([0.0, 1.0, 40.0, 1_900.0]))
        await up.settle(calls=1, most_seconds=5 * 3_600.0)
        await assert_exactly_once(up, [told])


@pytest.mark.parametrize("direction", ["in", "out"])
async def test_a_click_on_the_number_in_doubt_stays_another_call(tmp_path: Path, direction: str) -> None:
    async with house(tmp_path) as up:
        number = up.number()
        arm(up, bad("lost-before"), REGISTER)
        if direction == "in":
            told = up.past_call(number)
        else:
            facts = Facts(at=up.clock.now() - 20.0, deliver=False)
            told = up.pbx.outgoing("2002", number, talk=8, facts=facts)
        await up.end_alone(told)
        await up.run_for(5.0)
        click = up.portal.people.click_to_call(11, f"+{number}")
        await up.settle(calls=2)
        clicked, call = sorted(await up.calls(), key=lambda one: one.bitrix_call_id != click.call_id)
        assert (clicked.bitrix_call_id, call.bitrix_call_id != click.call_id) == (click.call_id, True)
        assert up.portal.effects(call.id).finished == 1


async def test_the_portal_is_away_for_two_hours(tmp_path: Path) -> None:
    async with house(tmp_path) as up:
        until = up.clock.now() + 7_200.0
        up.http.refuse = lambda step: step != "recording" and up.clock.now() < until
        told = [up.past_call()]
        await up.end_alone(told[0])
        for _ in range(2):
            told.append(up.live_call())
            await up.run_for(60.0)
        await up.settle(calls=3, most_seconds=12 * 3_600.0)
        await assert_exactly_once(up, told)
