"""Where the answer of `ADD_PHONES` or `START` is lost, or the process dies with it.

It is looked for and never guessed.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from bitrix_app.campaign_book import owe_sending, put
from bitrix_app.core.campaigns import Batch, BatchState, PhoneState, by_hand
from bitrix_app.core.store import Unit
from tests.faults.campaigns import (
    ADD,
    DIALER,
    adds,
    assert_true,
    counts,
    killed_at,
    phones,
    ready,
    start,
    until,
    wish,
)
from tests.faults.house import House, house

pytestmark = pytest.mark.anyio


async def batch(up: House) -> Batch:
    (one,) = await up.app.store.campaign_batches(up.member_id, DIALER)
    return one


async def settled_by_hand(up: House, *, sent: bool) -> None:
    before = await batch(up)

    async def work(unit: Unit) -> None:
        after = by_hand(before, sent=sent, user_id=1, now=up.clock.now())
        await put(unit, up.member_id, before, after, up.clock.now())
        if not sent:
            await owe_sending(unit, up.member_id, after, up.clock.now())

    await up.app.store.transact(work)
    up.app.worker.nudge(up.member_id)


async def works_to_the_end(up: House, count: int) -> None:
    await start(up)
    await until(up, [PhoneState.FINISHED], count, 1800.0)
    await up.settle()


async def test_a_lost_answer_is_found_in_the_dialers_list(tmp_path: Path) -> None:
    async with house(tmp_path) as up:
        leads = await ready(up, 8)
        up.http.later = [(ADD, 5.0)]
        await wish(up, leads)
        await until(up, [PhoneState.SENT], 8, 300.0)
        assert (adds(up), (await batch(up)).proof) == (1, "check")
        await works_to_the_end(up, 8)
        await assert_true(up, leads)


@pytest.mark.parametrize("after", [False, True], ids=["before it left", "with its answer in hand"])
async def test_a_kill_at_the_request_is_doubt(tmp_path: Path, after: bool) -> None:
    """Whatever did not leave stands in attention until a person says so; nothing is said on a guess."""
    async with house(tmp_path) as up:
        leads = await ready(up, 8)
        await wish(up, leads)
        await killed_at(up, ADD, after=after)
        if after:
            await until(up, [PhoneState.SENT], 8, 300.0)
        else:
            await until(up, [PhoneState.ATTENTION], 8, 300.0)
            await up.run_for(24 * 3600.0)
            assert adds(up) == 0
            assert {phone.reason for phone in await phones(up)} == {"batch_in_doubt"}
            assert (await counts(up))["attention"] == 8
            await settled_by_hand(up, sent=False)
            await until(up, [PhoneState.SENT], 8, 300.0)
        assert adds(up) == 1
        await works_to_the_end(up, 8)
        await assert_true(up, leads)


async def test_a_request_that_lands_after_the_check_is_proved_by_its_calls(tmp_path: Path) -> None:
    """Beyond the vendor's own time: in attention as a batch in doubt, until the first call tells."""
    async with house(tmp_path) as up:
        leads = await ready(up, 8)
        up.http.later = [(ADD, 200.0)]
        await wish(up, leads)
        await until(up, [PhoneState.ATTENTION], 8, 300.0)
        assert (await batch(up)).state is BatchState.DOUBT
        await up.run_for(200.0)
        await start(up)
        await until(up, [PhoneState.FINISHED], 8, 3600.0)
        assert ((await batch(up)).proof, adds(up)) == ("call", 1)
        await up.settle()
        await assert_true(up, leads)


async def test_what_cannot_be_sent_is_sent_later_and_once(tmp_path: Path) -> None:
    async with house(tmp_path) as up:
        leads = await ready(up, 8)
        up.http.refuse = lambda name: name == ADD
        await wish(up, leads)
        await up.run_for(300.0)
        assert (adds(up), (await counts(up))["waiting"]) == (0, 8)
        up.http.refuse = None
        await until(up, [PhoneState.SENT], 8, 900.0)
        assert adds(up) == 1


async def test_a_start_whose_answer_was_lost_is_found_in_the_status(tmp_path: Path) -> None:
    async with house(tmp_path) as up:
        leads = await ready(up, 40)
        up.pbx.dialers[int(DIALER)].channels = 1
        await wish(up, leads)
        await until(up, [PhoneState.SENT], 40, 300.0)
        up.http.later = [("START", 5.0)]
        await start(up)
        await up.run_for(120.0)
        assert sum(1 for line in up.pbx.requests if line.params.get("action") == "START") == 1
        (campaign,) = await up.app.store.campaigns(up.member_id)
        assert (campaign.settled, campaign.status, campaign.code) == (True, "RUNNING", "")


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("step", range(8))
async def test_a_kill_at_any_request_loses_and_repeats_nothing(tmp_path: Path, step: int, when: str) -> None:
    """From the moment when the leads are put in, at every request of the way."""
    async with house(tmp_path) as up:
        leads = await ready(up, 6)
        number = len(up.http.trips) + step
        if when == "before":
            up.http.crash_before = number
        else:
            up.http.crash_after = number
        await wish(up, leads)
        if not await up.restarted_at_the_crash(60.0):
            await start(up)
            assert await up.restarted_at_the_crash(600.0)
        await until(up, [PhoneState.SENT, PhoneState.ATTENTION, PhoneState.FINISHED], 6, 600.0)
        if (await batch(up)).state is BatchState.DOUBT:
            assert adds(up) == 0
            await settled_by_hand(up, sent=False)
            await until(up, [PhoneState.SENT], 6, 300.0)
        assert adds(up) == 1
        await works_to_the_end(up, 6)
        await assert_true(up, leads)
