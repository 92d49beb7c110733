"""The gate against an exact leaky bucket, and its manners."""

from __future__ import annotations

import asyncio
import random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bitrix_app.bitrix.limiter import Limiter, bucket_of
from bitrix_app.bitrix.operating import OperatingBudget
from bitrix_app.clock import VirtualClock
from bitrix_app.core.commands import Priority
from bitrix_app.core.errors import Throttled
from tests.bitrix.fakes import NOW

pytestmark = pytest.mark.anyio

LIVE, FINISH, CRM, BACKFILL = Priority.LIVE, Priority.FINISH, Priority.CRM, Priority.BACKFILL


class Vendor:
    """The vendor's own bucket: refuses what would not fit, at the instant at which it arrives."""

    def __init__(self, clock: VirtualClock, capacity: float, drain: float) -> None:
        self.clock, self.capacity, self.drain = clock, capacity, drain
        self.level, self.at, self.taken, self.refused, self.peak = 0.0, clock.now(), 0, 0, 0.0

    def request(self) -> bool:
        now = self.clock.now()
        self.level = max(0.0, self.level - (now - self.at) * self.drain)
        self.at = now
        if self.level + 1 > self.capacity:
            self.refused += 1
            return False
        self.level += 1
        self.peak = max(self.peak, self.level)
        self.taken += 1
        return True


def _limiter(clock: VirtualClock, **more: Any) -> Limiter:
    return Limiter(clock, jitter=lambda: 0.0, **more)


@pytest.mark.parametrize("family", ["pro", "ent"])
async def test_at_least_95_percent_of_the_bucket_and_never_over(family: str) -> None:
    clock = VirtualClock(NOW)
    bucket = bucket_of(family)
    vendor = Vendor(clock, bucket.capacity, bucket.drain)
    limiter = _limiter(clock, bucket=bucket, concurrency=3)
    chance = random.Random(7)

    async def worker(priority: Priority) -> None:
        while True:
            async with limiter.slot(priority, ["m"]):
                await clock.sleep(chance.uniform(0.0, 0.3))  # on its way
                vendor.request()
                await clock.sleep(chance.uniform(0.0, 0.2))

    workers = [asyncio.ensure_future(worker(p)) for p in (LIVE, FINISH, CRM, BACKFILL, CRM, LIVE)]
    seconds = 1000.0
    await clock.advance(seconds)
    for task in workers:
        task.cancel()
    await asyncio.gather(*workers, return_exceptions=True)
    assert vendor.refused == 0
    assert vendor.taken >= 0.95 * (bucket.capacity + bucket.drain * seconds)


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.tuples(st.sampled_from(list(Priority)), st.floats(0, 3)), min_size=1, max_size=120), st.data()
)
def test_no_history_of_requests_is_ever_refused(
    asked: list[tuple[Priority, float]], data: st.DataObject
) -> None:
    delays = data.draw(st.lists(st.floats(0, 2), min_size=len(asked), max_size=len(asked)))

    async def play() -> None:
        clock = VirtualClock(NOW)
        vendor = Vendor(clock, 50, 2)
        limiter = _limiter(clock)
        limiter.restore(50, NOW, clean=True)
        vendor.level = 50

        async def one(priority: Priority, after: float, delay: float) -> None:
            await clock.sleep(after)
            async with limiter.slot(priority, ["m"]):
                await clock.sleep(delay)
                assert vendor.request()

        at = 0.0
        tasks = []
        for (priority, pause), delay in zip(asked, delays, strict=True):
            at += pause
            tasks.append(asyncio.ensure_future(one(priority, at, delay)))
        await clock.advance(at + 400)
        assert vendor.refused == 0
        assert all(task.done() and task.exception() is None for task in tasks)

    asyncio.run(play())


async def _order(limiter: Limiter, clock: VirtualClock, asked: list[tuple[Priority, str]]) -> list[str]:
    """Admit in the order in which the limiter wishes, one at a time."""
    done: list[str] = []
    blocker = [await _taken(limiter) for _ in range(2)]

    async def one(priority: Priority, name: str) -> None:
        async with limiter.slot(priority, [name]):
            done.append(name)
            await clock.sleep(0.01)

    tasks = []
    for priority, name in asked:
        tasks.append(asyncio.ensure_future(one(priority, name)))
        await asyncio.sleep(0)
    for release in blocker:
        limiter.release(release)
    await clock.advance(60)
    await asyncio.gather(*tasks)
    return done


async def _taken(limiter: Limiter, priority: Priority = CRM) -> Priority:
    await limiter.acquire(priority, ["x"])
    return priority


async def test_strictly_by_priority_and_in_order_within_one() -> None:
    clock = VirtualClock(NOW)
    asked = [(BACKFILL, "b"), (CRM, "c1"), (FINISH, "f1"), (CRM, "c2"), (LIVE, "l"), (FINISH, "f2")]
    assert await _order(_limiter(clock), clock, asked) == ["l", "f1", "f2", "c1", "c2", "b"]


async def test_a_slot_in_flight_is_kept_for_live_work() -> None:
    clock = VirtualClock(NOW)
    limiter = _limiter(clock, concurrency=2)
    await _taken(limiter)
    await _taken(limiter)
    crm = asyncio.ensure_future(limiter.acquire(CRM, ["m"]))
    live = asyncio.ensure_future(limiter.acquire(LIVE, ["m"]))
    await clock.advance(5)
    assert live.done()
    assert not crm.done()
    limiter.release(CRM)
    await clock.advance(0)
    assert crm.done()
    second = asyncio.ensure_future(limiter.acquire(LIVE, ["m"]))
    await clock.advance(5)
    assert not second.done()
    limiter.release(LIVE)
    await clock.advance(0)
    assert second.done()


@pytest.mark.parametrize(("priority", "most"), [(LIVE, 47), (CRM, 37), (BACKFILL, 25)])
async def test_what_each_priority_leaves_to_the_others(priority: Priority, most: int) -> None:
    clock = VirtualClock(NOW)
    limiter = _limiter(clock, concurrency=100)
    tasks = [asyncio.ensure_future(limiter.acquire(priority, ["m"])) for _ in range(60)]
    await clock.advance(0)
    assert sum(task.done() for task in tasks) == most
    await clock.advance(1.01)
    assert sum(task.done() for task in tasks) == most + 2
    for task in tasks:
        task.cancel()


async def test_whoever_leaves_gives_the_place_to_the_next() -> None:
    clock = VirtualClock(NOW)
    limiter = _limiter(clock, concurrency=1)
    await _taken(limiter)
    first = asyncio.ensure_future(limiter.acquire(CRM, ["m"]))
    second = asyncio.ensure_future(limiter.acquire(CRM, ["m"]))
    await clock.advance(0)
    assert limiter.waiting == 2
    first.cancel()
    await clock.advance(0)
    assert limiter.waiting == 1
    limiter.release(CRM)
    second_admitted_then_cancelled = second
    second_admitted_then_cancelled.cancel()  # admitted, but cancelled before it could run
    third = asyncio.ensure_future(limiter.acquire(CRM, ["m"]))
    await clock.advance(10)
    assert second.cancelled()
    assert third.done()
    assert limiter.waiting == 0


async def test_503_pauses_longer_each_time_and_narrows() -> None:
    clock = VirtualClock(NOW)
    limiter = _limiter(clock)
    pauses = []
    for _ in range(8):
        began = clock.now()
        until = limiter.filled()
        assert limiter.filled() == until  # requests that left together count once
        pauses.append(until - began)
        await clock.advance(until - began)
    assert pauses == [1, 2, 4, 8, 16, 32, 32, 32]
    first = asyncio.ensure_future(limiter.acquire(CRM, ["m"]))
    second = asyncio.ensure_future(limiter.acquire(CRM, ["m"]))
    await clock.advance(7)
    assert (first.done(), second.done()) == (True, False)
    limiter.succeeded()
    assert limiter.filled() - clock.now() == 1
    limiter.release(CRM)
    await clock.advance(10)
    assert second.done()


async def test_a_long_block_is_told_not_waited_for() -> None:
    clock = VirtualClock(NOW)
    limiter = _limiter(clock, concurrency=1)
    await _taken(limiter)
    waiting = asyncio.ensure_future(limiter.acquire(CRM, ["m"]))
    await clock.advance(0)
    limiter.block(NOW + 3600)
    await clock.advance(0)
    for task in (waiting, asyncio.ensure_future(limiter.acquire(LIVE, ["m"]))):
        with pytest.raises(Throttled) as met:
            await task
        assert met.value.retry_at == NOW + 3600
    limiter.release(CRM)
    await clock.advance(3600)
    await limiter.acquire(CRM, ["m"])


async def test_a_parked_method_waits_alone() -> None:
    clock = VirtualClock(NOW)
    limiter = _limiter(clock)
    limiter.learn("Finish", 470, NOW + 120)
    assert limiter.parked("finish") == NOW + 120
    with pytest.raises(Throttled) as met:
        await limiter.acquire(FINISH, ["register", "finish"])
    assert met.value.retry_at == NOW + 120
    await limiter.acquire(FINISH, ["register"])
    await clock.advance(120)
    await limiter.acquire(FINISH, ["finish"])


async def test_whoever_waits_for_a_method_hears_that_it_was_parked() -> None:
    clock = VirtualClock(NOW)
    limiter = _limiter(clock, concurrency=1)
    await _taken(limiter)
    finish = asyncio.ensure_future(limiter.acquire(FINISH, ["finish"]))
    register = asyncio.ensure_future(limiter.acquire(FINISH, ["register"]))
    await clock.advance(0)
    limiter.learn("finish", 479, NOW + 120)
    await clock.advance(0)
    with pytest.raises(Throttled):
        await finish
    limiter.release(CRM)
    await clock.advance(0)
    assert register.done()


async def test_a_refused_method_waits_for_its_last_reset_else_a_minute() -> None:
    clock = VirtualClock(NOW)
    limiter = _limiter(clock)
    assert limiter.park("a") == NOW + 60
    assert limiter.park("b", NOW + 200) == NOW + 200
    limiter.learn("c", 100, NOW + 90)
    assert limiter.park("c", NOW + 60) == NOW + 90
    assert limiter.park("d", NOW + 10 * 86_400) == NOW + 60


async def test_no_429_with_the_vendors_operating_budget() -> None:
    """480 s in ten one-minute buckets; the vendor refuses once the budget is used up."""
    clock = VirtualClock(NOW)
    limiter = _limiter(clock)
    spent: list[tuple[float, float]] = []
    refused = used = 0

    def operating() -> tuple[float, float]:
        minutes = [(at // 60 * 60, cost) for at, cost in spent if at // 60 * 60 > clock.now() - 600]
        return sum(c for _, c in minutes), min((m for m, _ in minutes), default=clock.now()) + 600

    while clock.now() < NOW + 6000:
        try:
            await limiter.acquire(FINISH, ["finish"])
        except Throttled as parked:
            await clock.advance(max(0.1, (parked.retry_at or 0.0) - clock.now()))
            continue
        if operating()[0] >= 480:
            refused += 1
        else:
            used += 1
            spent.append((clock.now(), 1.4))
            await clock.advance(1.4)
            limiter.learn("finish", *operating())
        limiter.release(FINISH)
    assert refused == 0
    assert used * 1.4 >= 0.9 * 6000 * 480 / 600


def test_a_batch_must_fit_into_what_is_left() -> None:
    budget = OperatingBudget(480)
    budget.learn("f", 100, 500, 0)
    budget.learn("f", 102, 500, 1)
    assert budget.parked("f", 2, count=50) is None
    budget.learn("f", 440, 500, 3, share=169)
    assert budget.parked("f", 4, count=5) is None
    assert budget.parked("f", 4, count=50) == 500
    assert budget.parked("f", 501, count=50) is None


async def test_its_level_survives_a_restart() -> None:
    clock = VirtualClock(NOW)
    before = _limiter(clock, concurrency=100)
    for _ in range(40):
        await before.acquire(LIVE, ["m"])
    level, at = before.level()
    assert (level, at) == (40, NOW)
    await clock.advance(5)
    clean, unclean, fresh = (_limiter(clock) for _ in range(3))
    clean.restore(level, at, clean=True)
    unclean.restore(level, at, clean=False)
    assert clean.level()[0] == 30
    assert unclean.level()[0] == 50
    fresh.restore(40, NOW + 9e9, clean=True)  # the wall clock was set back since
    assert fresh.level()[0] == 40


async def test_the_tariff_can_become_known_later() -> None:
    clock = VirtualClock(NOW)
    limiter = _limiter(clock, concurrency=300)
    tasks = [asyncio.ensure_future(limiter.acquire(LIVE, ["m"])) for _ in range(100)]
    await clock.advance(0)
    assert sum(t.done() for t in tasks) == 47
    limiter.resize("ENT")
    await clock.advance(0)
    assert all(t.done() for t in tasks)
    limiter.spend(5)
    assert limiter.level()[0] == 105
