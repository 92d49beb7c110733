"""Waiting for a moment or a nudge, whichever comes first."""

from __future__ import annotations

import asyncio

import pytest

from bitrix_app.clock import VirtualClock
from bitrix_app.waiting import sleep_or_nudge

pytestmark = pytest.mark.anyio


async def test_it_ends_when_the_time_is_over() -> None:
    clock = VirtualClock()
    task = asyncio.create_task(sleep_or_nudge(clock, 10.0, asyncio.Event()))
    await clock.advance(9.9)
    assert not task.done()
    await clock.advance(0.2)
    assert task.done()


async def test_a_nudge_ends_it_at_once() -> None:
    clock, nudged = VirtualClock(), asyncio.Event()
    task = asyncio.create_task(sleep_or_nudge(clock, 10.0, nudged))
    await clock.advance(1)
    nudged.set()
    await clock.advance(0)
    assert task.done()
    assert clock.monotonic() == 1.0


async def test_a_nudge_that_came_before_is_not_slept_over() -> None:
    nudged = asyncio.Event()
    nudged.set()
    before = asyncio.all_tasks()
    await sleep_or_nudge(VirtualClock(), 10.0, nudged)
    assert asyncio.all_tasks() == before


@pytest.mark.parametrize("how", ["time", "nudge", "cancelled"])
async def test_it_leaves_no_task_behind(how: str) -> None:
    clock, nudged = VirtualClock(), asyncio.Event()
    before = asyncio.all_tasks()
    task = asyncio.create_task(sleep_or_nudge(clock, 10.0, nudged))
    await clock.advance(0)
    if how == "cancelled":
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    else:
        if how == "nudge":
            nudged.set()
        await clock.advance(10.0)
        await task
    assert asyncio.all_tasks() == before
