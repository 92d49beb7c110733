"""The two clocks."""

from __future__ import annotations

import asyncio
import time

import pytest

from bitrix_app.clock import SystemClock, VirtualClock

pytestmark = pytest.mark.anyio


async def test_the_machines_clock_tells_the_machines_time() -> None:
    clock = SystemClock()
    assert abs(clock.now() - time.time()) < 1
    before = clock.monotonic()
    await clock.sleep(0.02)
    assert clock.monotonic() - before >= 0.019


async def test_sleeping_for_nothing_returns_at_once() -> None:
    await asyncio.wait_for(SystemClock().sleep(-5), 1)
    await asyncio.wait_for(VirtualClock().sleep(0), 1)
    await asyncio.wait_for(VirtualClock().sleep(-5), 1)


async def test_virtual_time_passes_only_when_told_to() -> None:
    clock = VirtualClock(1000.0)
    task = asyncio.create_task(clock.sleep(1.0))
    await asyncio.sleep(0.02)
    assert (clock.now(), clock.monotonic(), task.done()) == (1000.0, 0.0, False)
    await clock.advance(1.0)
    assert (clock.now(), clock.monotonic(), task.done()) == (1001.0, 1.0, True)


async def test_sleepers_wake_at_their_own_instants_in_order() -> None:
    clock = VirtualClock(0.0)
    woken: list[tuple[str, float]] = []

    async def sleeper(name: str, *naps: float) -> None:
        for nap in naps:
            await clock.sleep(nap)
            woken.append((name, clock.now()))

    tasks = [asyncio.create_task(sleeper("a", 3, 3)), asyncio.create_task(sleeper("b", 1, 2))]
    tasks.append(asyncio.create_task(sleeper("c", 100)))
    await clock.advance(10)
    assert woken == [("b", 1), ("a", 3), ("b", 3), ("a", 6)]
    assert clock.now() == 10
    tasks[-1].cancel()
    await clock.advance(200)
    assert len(woken) == 4, "whoever was cancelled does not come back"


async def test_real_work_gets_its_time_to_come_back() -> None:
    clock = VirtualClock(0.0, settle=0.05)
    done: list[float] = []

    async def worker() -> None:
        await clock.sleep(1)
        await asyncio.to_thread(time.sleep, 0.01)
        done.append(clock.now())

    task = asyncio.create_task(worker())
    await clock.advance(2)
    assert done == [1.0]
    await task
