"""kill -9 at every request, every commit and in between; a full disk; leases that run out."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from bitrix_app.core.call import Call
from bitrix_app.core.store import StoreUnavailable
from bitrix_app.sandbox.faults import Fault
from tests.faults.house import assert_exactly_once, house
from tests.faults.table import ATTACH, FINISH, REGISTER

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("number", range(16))
@pytest.mark.parametrize("way", [pytest.param("in-time", marks=pytest.mark.slow), "end-alone"])
async def test_a_kill_at_each_request(tmp_path: Path, when: str, number: int, way: str) -> None:
    """`before`: claimed, nothing left. `after`: the effect is there and nobody wrote it down."""
    async with house(tmp_path) as up:
        setattr(up.http, f"crash_{when}", len(up.http.trips) + number)
        told = up.live_call() if way == "in-time" else up.past_call()
        posting = up.posting(told) if way == "end-alone" else None
        crashed = await up.restarted_at_the_crash()
        assert crashed or number > 13
        if posting is not None:
            assert (await posting).status == 200
        await up.settle(calls=1)
        await assert_exactly_once(up, [told])


@pytest.mark.parametrize("number", range(24))
async def test_a_kill_after_each_commit(tmp_path: Path, number: int) -> None:
    """It is on the disk, and nobody who waited for it heard so."""
    async with house(tmp_path) as up:
        writer: Any = getattr(up.app.store, "_writer")  # noqa: B009 - looks inside on purpose
        first, commit = writer.commits, writer._commit

        async def counted(group: Any) -> None:
            if writer.commits - first < number:
                await commit(group)
                return
            if writer.commits - first == number:
                works = [waiting.work for waiting in group]
                await writer._line.on_thread(lambda db: writer._group(db, works))
                up.http.crashed.set()
            await asyncio.get_running_loop().create_future()

        writer._commit = counted
        told = up.past_call()
        posting = up.posting(told)
        await up.restarted_at_the_crash()
        posting.cancel()
        await up.settle(calls=1)
        await assert_exactly_once(up, [told])


@pytest.mark.parametrize("seconds", [8.0, 40.0])
@pytest.mark.parametrize(
    "step",
    [
        REGISTER,
        FINISH,
        ATTACH,
        "upload",
        "disk.storage.addfolder",
        "disk.file.copyto",
        "disk.folder.uploadfile",
    ],
)
async def test_a_kill_while_the_portal_still_works_on_it(tmp_path: Path, step: str, seconds: float) -> None:
    async with house(tmp_path) as up:
        fault = up.portal.faults.add(Fault(step, "slow", seconds=seconds))
        told = up.past_call()
        await up.end_alone(told)
        await up.run_until(lambda: fault.hits == 1, 60.0)
        await up.run_for(1.0)
        await up.crash()
        await up.start()
        await up.settle(calls=1)
        await assert_exactly_once(up, [told])


@pytest.mark.parametrize("number", range(13))
async def test_a_graceful_stop_at_each_request(tmp_path: Path, number: int) -> None:
    async with house(tmp_path) as up:
        up.portal.limits.durations = {"*": 0.5}
        at = len(up.http.trips) + number
        told = up.past_call()
        posting = up.posting(told)
        await up.run_until(lambda: len(up.http.trips) > at, 60.0)
        await up.stop()
        await up.start()
        assert (await posting).status == 200
        await up.settle(calls=1)
        await assert_exactly_once(up, [told])


async def test_a_disk_that_is_full_for_two_minutes(tmp_path: Path) -> None:
    async with house(tmp_path) as up:
        writer: Any = getattr(up.app.store, "_writer")  # noqa: B009 - looks inside on purpose
        group = writer._group
        up.portal.faults.add(Fault(REGISTER, "slow", seconds=5.0))
        told = up.live_call()
        await up.run_for(2.0)
        until = up.clock.now() + 120.0

        def full(db: Any, works: Any) -> Any:
            if up.clock.now() < until:
                raise writer._refuse("disk is full", latch=False)
            return group(db, works)

        writer._group = full
        await up.run_for(200.0)
        assert await up.post(up.pbx.webhooks_for(told)[-1]) == 200
        await up.settle(calls=1)
        up.troubles.clear()
        await assert_exactly_once(up, [told])


async def test_a_read_that_fails_once_does_not_hold_the_job_for_its_lease(tmp_path: Path) -> None:
    async with house(tmp_path) as up:
        store: Any = up.app.store
        read, failures = store.call, [StoreUnavailable("a moment")]

        async def once_away(portal: str, call_id: str) -> Call | None:
            if failures:
                raise failures.pop()
            found: Call | None = await read(portal, call_id)
            return found

        store.call = once_away
        await up.end_alone(up.past_call())
        await up.run_until(lambda: bool(up.portal.calls), 60.0, "the call in the portal")


async def test_an_upload_longer_than_the_lease_is_not_begun_a_second_time(tmp_path: Path) -> None:
    """200 MB at 1 Mbit/s take 27 minutes; the gateway allows 34 (UPLOAD_PATIENCE)."""
    async with house(tmp_path) as up:
        up.http.patience["upload"] = 2_040.0
        up.portal.faults.add(Fault("upload", "slow", seconds=1_000.0))
        told = up.past_call()
        await up.end_alone(told)
        await up.settle(calls=1, most_seconds=7_200.0)
        (call,) = await up.calls()
        await assert_exactly_once(up, [told])
        assert up.portal.effects(call.id).files == 1


@pytest.mark.parametrize("ago", [86_400.0, 3_600.0])
async def test_a_backlog_of_late_calls_at_a_slow_portal_is_registered_once(
    tmp_path: Path, ago: float
) -> None:
    async with house(tmp_path) as up:
        calls = await up.ends_in_one_moment(40, ago=ago)
        up.portal.faults.add(Fault(REGISTER, "slow", times=None, seconds=30.0))
        await up.settle(calls=40, most_seconds=6 * 3_600.0)
        await assert_exactly_once(up, calls)
