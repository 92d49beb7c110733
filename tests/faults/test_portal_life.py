"""Tokens, the app and the Drive folder go away in the middle of a call."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from bitrix_app.bitrix.limiter import Limiter
from bitrix_app.clock import VirtualClock
from bitrix_app.core.errors import Throttled
from bitrix_app.core.jobs import JobState
from bitrix_app.core.portal import Portal, PortalState, TokenPair
from bitrix_app.core.retry import RetryAt, decide
from bitrix_app.core.store import Unit
from bitrix_app.sandbox import drive
from bitrix_app.sandbox.faults import Fault
from bitrix_app.sandbox.state import User
from tests.faults.house import CARDS, House, assert_exactly_once, house
from tests.faults.table import BAD, FINISH, RECORDING, REGISTER, STEPS, arm, bad

pytestmark = pytest.mark.anyio

ROTATED = ("500-json-done", "502-html-done", "lost-done", "late-20", "late-90", "truncated", "empty-200")
"""The auth server gave the next pair away and we did not get it (reliability.md K7)."""


async def portal_of(up: House) -> Portal:
    portal = await up.app.store.portal(up.member_id)
    assert portal is not None
    return portal


async def in_attention(up: House) -> list[str]:
    calls = await up.calls()
    return [job.key for call in calls for job in await up.jobs(call) if job.state is JobState.ATTENTION]


# --- tokens ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("step", [step for step in STEPS if step not in (RECORDING, "upload")])
async def test_needs_reauth_in_the_middle_of_each_step_waits_and_heals(tmp_path: Path, step: str) -> None:
    async with house(tmp_path) as up:
        fault = up.portal.faults.add(Fault(step, "expired_token"))
        up.portal.revoke()
        told = up.live_call()
        await up.run_for(1_200.0)
        assert fault.hits == 1
        assert (await portal_of(up)).state is PortalState.NEEDS_REAUTH
        assert await up.open_app() == 200
        await up.settle(calls=1)
        (call,) = await up.calls()
        tries = {job.key: job.attempts for job in await up.jobs(call) if job.kind not in CARDS}
        assert set(tries.values()) == {1}, "waiting for a person must not use up the tries"
        await assert_exactly_once(up, [told])


async def test_thirty_calls_wait_for_the_administrator(tmp_path: Path) -> None:
    async with house(tmp_path) as up:
        up.portal.expire_tokens()
        up.portal.revoke()
        told = [up.past_call() for _ in range(30)]
        for call in told:
            await up.end_alone(call)
        await up.run_for(3_000.0)
        assert await up.open_app() == 200
        await up.settle(calls=30)
        await assert_exactly_once(up, told)


@pytest.mark.parametrize("name", [one.name for one in BAD if one.name not in ("not-sent", "expired-token")])
async def test_a_refresh_that_goes_wrong_loses_no_call(tmp_path: Path, name: str) -> None:
    async with house(tmp_path) as up:
        up.portal.expire_tokens()
        struck = arm(up, bad(name), "oauth.token")
        told = up.past_call()
        await up.end_alone(told)
        await up.run_for(1_500.0)
        assert struck() == 1
        wanted = PortalState.NEEDS_REAUTH if name in ROTATED else PortalState.ACTIVE
        assert (await portal_of(up)).state is wanted
        if wanted is PortalState.NEEDS_REAUTH:
            assert await up.open_app() == 200
        await up.settle(calls=1)
        await assert_exactly_once(up, [told])


# --- the app comes and goes -----------------------------------------------------------------------


async def test_an_uninstall_while_in_doubt_ends_all_requests(tmp_path: Path) -> None:
    async with house(tmp_path) as up:
        arm(up, bad("lost-done"), FINISH)
        await up.end_alone(up.past_call())
        await up.run_for(3.0)
        up.portal.uninstall(clean=False)
        await up.run_for(5.0)
        trips = len(up.http.trips)
        await up.run_for(3_600.0)
        assert len(up.http.trips) == trips
        assert await up.is_settled()
        await up.reinstalled()
        await up.end_alone(up.past_call())
        await up.settle()
        assert len(up.portal.calls) == 2
        assert up.troubles == []


async def test_a_call_that_lives_over_a_reinstallation_is_not_blocked_for_ever(tmp_path: Path) -> None:
    async with house(tmp_path) as up:
        up.http.refuse = lambda step: step == REGISTER
        told = up.live_call(talk=600.0)
        await up.run_for(20.0)
        up.portal.uninstall(clean=False)
        await up.run_for(5.0)
        up.http.refuse = None
        await up.reinstalled()
        await up.run_for(700.0)
        await up.settle(calls=1)
        await assert_exactly_once(up, [told])


async def test_a_call_whose_end_fell_into_the_uninstalled_time_is_closed_after_three_hours(
    tmp_path: Path,
) -> None:
    async with house(tmp_path) as up:
        up.live_call(talk=100.0)
        await up.run_for(20.0)
        up.portal.uninstall(clean=False)
        await up.run_for(200.0)
        await up.reinstalled()
        await up.run_for(4 * 3_600.0)
        assert up.portal.open_cards() == []
        assert up.portal.pending_calls == []


async def test_one_false_word_that_the_app_is_gone_does_not_refuse_webhooks(tmp_path: Path) -> None:
    async with house(tmp_path) as up:
        up.portal.faults.add(Fault.code("APPLICATION_NOT_FOUND", REGISTER))
        first, second = up.past_call(), up.past_call()
        await up.end_alone(first)
        await up.run_for(60.0)
        await up.end_alone(second)
        await up.settle(calls=2, most_seconds=7_200.0)
        await assert_exactly_once(up, [first, second])


async def test_a_stop_of_jobs_deletes_the_tokens(tmp_path: Path) -> None:
    async with house(tmp_path) as up:
        up.portal.uninstall(clean=False)
        await up.run_for(5.0)

        async def pairs(unit: Unit) -> Sequence[TokenPair]:
            return await unit.pairs(up.member_id)

        assert await up.app.store.transact(pairs) == []


# --- people and Drive -----------------------------------------------------------------------------


async def test_a_failed_look_up_does_not_give_the_call_to_somebody_else(tmp_path: Path) -> None:
    async with house(tmp_path) as up:
        newcomer = User(16, "New", "Comer", "new@example.com", inner="2006", departments=[4])
        up.portal.add_user(newcomer)
        arm(up, bad("502-html"), "user.get", times=6)
        await up.end_alone(up.past_call(ring=("2006",), answered_by="2006"))
        await up.settle(calls=1)
        (row,) = up.portal.calls
        assert row.user_id == newcomer.id
        assert up.portal.notifications == []


@pytest.mark.parametrize("how", ["deleted", "binned"])
async def test_our_folder_on_drive_is_made_again(tmp_path: Path, how: str) -> None:
    async with house(tmp_path) as up:
        await up.end_alone(up.past_call())
        await up.settle(calls=1)
        root = next(one for one in up.portal.state.objects.values() if one.name == "Unitalk")
        if how == "deleted":
            drive.remove(up.portal.world, root.id)
        else:
            drive.to_bin(up.portal.world, root, 1)
            await up.run_for(3_700.0)  # where our folder is, is believed for an hour
        second = up.past_call()
        await up.end_alone(second)
        await up.settle(calls=2)
        assert await in_attention(up) == []
        assert sum(up.files().values()) >= 2, "copy and document of the second call"


# --- time -----------------------------------------------------------------------------------------


async def test_who_comes_back_when_told_is_let_in_or_asked_to_wait() -> None:
    """Unix seconds as floats are coarse: by the limiter's own clock it may be a hair too early. Then the
    job must not come back at the same instant, or it goes round in a circle until the clock moves.
    """
    refused = 0
    for number in range(200):
        clock = VirtualClock(1_788_333_300.0 + number / 7)
        limiter = Limiter(clock, jitter=lambda number=number: number / 200)  # type: ignore[misc]
        until = limiter.park("m")
        await clock.advance(until - clock.now())
        clock._now = until
        again = limiter.parked("m")
        if again is not None:
            refused += 1
            plan = decide("register", Throttled("parked", retry_at=again), 1, until, 0.0)
            assert isinstance(plan, RetryAt)
            assert plan.at > until + 0.01
    assert refused, "this test tests nothing any more"
