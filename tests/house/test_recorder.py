"""The request log and the limiters' levels: about once a second, and none is lost for a full disk."""

from __future__ import annotations

import asyncio
import contextlib
from typing import Any, cast

import pytest

from bitrix_app import recorder as room
from bitrix_app.bitrix.limiter import Limiter
from bitrix_app.core.store import Store, VendorRequest
from bitrix_app.recorder import MOST, Recorder
from tests.house.making import MEMBER, NOW, Bench, Failing, Through, away

pytestmark = pytest.mark.anyio


def line(number: int = 1) -> VendorRequest:
    return VendorRequest(MEMBER, "bitrix24", f"m{number}", NOW + number, 0.1, 200, "", "{}", "{}")


def recorder(bench: Bench, *limiters: tuple[str, Limiter], store: Any = None) -> Recorder:
    return Recorder(cast(Store, store or bench.store), bench.clock, lambda: limiters)


async def logged(bench: Bench) -> list[str]:
    return [entry.operation for entry in await bench.store.requests(MEMBER)]


async def test_entries_are_stored_by_the_second_and_once(bench: Bench) -> None:
    mine = recorder(bench)
    task = asyncio.create_task(mine.run())
    mine.add(line(1))
    mine.add(line(2))
    await bench.clock.advance(0.9)
    assert await logged(bench) == []
    await bench.clock.advance(0.2)
    await asyncio.sleep(0.02)
    assert sorted(await logged(bench)) == ["m1", "m2"]
    await bench.clock.advance(5)
    assert len(await logged(bench)) == 2
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task


async def test_nothing_to_say_costs_no_commit(bench: Bench) -> None:
    store = Through(bench.store)
    idle = Limiter(bench.clock)
    mine = recorder(bench, (MEMBER, idle), store=store)
    for _ in range(3):
        await mine.flush(clean=False)
    assert store.asked == {}


async def test_a_level_is_saved_until_it_is_empty_and_once_more(bench: Bench) -> None:
    store = Through(bench.store)
    busy = Limiter(bench.clock)
    busy.spend(2)
    mine = recorder(bench, (MEMBER, busy), store=store)
    await mine.flush(clean=False)
    assert await bench.store.level(MEMBER) == (2.0, NOW, False)
    await bench.clock.advance(10)
    await mine.flush(clean=False)
    assert await bench.store.level(MEMBER) == (0.0, NOW + 10, False)
    await mine.flush(clean=False)
    assert store.asked == {"save_level": 2}


async def test_a_graceful_end_says_so_for_every_limiter(bench: Bench) -> None:
    mine = recorder(bench, (MEMBER, Limiter(bench.clock)))
    await mine.flush(clean=True)
    assert await bench.store.level(MEMBER) == (0.0, NOW, True)


async def test_entries_wait_in_order_while_the_store_is_away(bench: Bench) -> None:
    store = Through(bench.store, log_requests=Failing(bench.store.log_requests, away()))
    mine = recorder(bench, store=store)
    mine.add(line(1))
    await mine.flush(clean=False)
    mine.add(line(2))
    await mine.flush(clean=False)
    assert await logged(bench) == ["m2", "m1"], "newest first, none lost"


async def test_entries_are_not_logged_twice_when_only_a_level_could_not_be_saved(bench: Bench) -> None:
    busy = Limiter(bench.clock)
    busy.spend(2)
    store = Through(bench.store, save_level=Failing(bench.store.save_level, away()))
    mine = recorder(bench, (MEMBER, busy), store=store)
    mine.add(line(1))
    await mine.flush(clean=False)
    await mine.flush(clean=False)
    assert await logged(bench) == ["m1"]


async def test_only_the_newest_entries_are_kept_while_the_store_is_away(bench: Bench) -> None:
    mine = recorder(bench)
    for number in range(MOST + 3):
        mine.add(line(number))
    await mine.flush(clean=False)
    stored = await bench.store.requests(MEMBER, limit=MOST + 10)
    assert len(stored) == MOST
    assert "m2" not in {entry.operation for entry in stored}
    assert f"m{MOST + 2}" in {entry.operation for entry in stored}


async def test_one_bad_line_does_not_end_the_recorder(bench: Bench) -> None:
    store = Through(
        bench.store, log_requests=Failing(bench.store.log_requests, ValueError("a fault of ours"))
    )
    mine = recorder(bench, store=store)
    task = asyncio.create_task(mine.run())
    mine.add(line(1))
    await bench.clock.advance(room.EVERY + 0.1)
    mine.add(line(2))
    await bench.clock.advance(room.EVERY + 0.1)
    await asyncio.sleep(0.02)
    assert await logged(bench) == ["m2"]
    assert not task.done()
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task
