"""One portal's gate: who may send next, and when (bitrix24.md §5, reliability.md §2).

Three limits are kept before the vendor has to: the leaky bucket, the requests in flight, and each
method's operating seconds (`operating.py`). Waiters go strictly by priority, in order within one.
Waits are measured on the monotonic clock; only what is stored or said to others is unix time.
"""

from __future__ import annotations

import asyncio
import heapq
import itertools
import random
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Final

from bitrix_app.bitrix.operating import OperatingBudget
from bitrix_app.core.commands import Priority
from bitrix_app.core.errors import Throttled
from bitrix_app.core.ports import Clock
from bitrix_app.core.throttle import Bucket

USUAL: Final = (50.0, 2.0)
ENTERPRISE: Final = (250.0, 5.0)
LATENCY_MARGIN: Final = 3.0
"""Places never used: requests in flight may reach the vendor closer together than we sent them."""
LIVE_RESERVE: Final = 10.0
BACKFILL_SHARE: Final = 0.5
PAUSE_FIRST: Final = 1.0
PAUSE_LONGEST: Final = 32.0
NARROW_AFTER: Final = 30.0
"""Seconds after a pause in which only one request is in flight."""
TICK: Final = 0.001
"""The shortest wait: below it a clock may not move at all, and the gate would spin."""
PATIENCE: Final = 20.0
"""A pause longer than this is told to the caller instead of waited for."""


def bucket_of(license_family: str, at: float = 0.0) -> Bucket:
    """The empty bucket of a tariff; only `ent` has the large one."""
    capacity, drain = ENTERPRISE if license_family.lower() == "ent" else USUAL
    return Bucket(capacity, drain, 0.0, at)


@dataclass(order=True, slots=True)
class _Waiter:
    priority: int
    order: int
    methods: Sequence[str] = field(compare=False)
    requests: int = field(compare=False)
    admitted: asyncio.Future[None] = field(compare=False)


class Limiter:
    """See the module. `concurrency` is for non-live work; live work has one slot of its own."""

    def __init__(
        self,
        clock: Clock,
        bucket: Bucket | None = None,
        *,
        concurrency: int = 2,
        operating_limit: float = 480.0,
        jitter: Callable[[], float] | None = None,
    ) -> None:
        self._clock = clock
        started = bucket or bucket_of("")
        # what a bucket says of unix time is translated: its level counts, its instant does not
        self._bucket = Bucket(started.capacity, started.drain, started.level, clock.monotonic())
        self._concurrency = max(1, concurrency)
        self._jitter = jitter or random.SystemRandom().random
        self._budget = OperatingBudget(operating_limit)
        self._waiters: list[_Waiter] = []
        self._order = itertools.count()
        self._in_flight = 0
        self._live_in_flight = 0
        self._pause = 0.0
        self._paused_until = 0.0
        self._paused_code = ""
        self._narrow_until = 0.0
        self._timer: asyncio.Task[None] | None = None

    # --- asking ----------------------------------------------------------------------------------

    @asynccontextmanager
    async def slot(
        self, priority: Priority, methods: Sequence[str], requests: int = 1
    ) -> AsyncIterator[None]:
        """`acquire` and `release` around one request."""
        await self.acquire(priority, methods, requests)
        try:
            yield
        finally:
            self.release(priority)

    async def acquire(self, priority: Priority, methods: Sequence[str], requests: int = 1) -> None:
        """Wait for the turn of one HTTP request (of a batch with these inner `methods`).

        Raises `Throttled` with `retry_at` when one of the methods is parked, or when the portal is
        blocked for longer than is worth waiting. Cancelling gives the place to the next.
        """
        self._refuse_hopeless(methods)
        waiter = _Waiter(
            int(priority),
            next(self._order),
            tuple(methods),
            requests,
            asyncio.get_running_loop().create_future(),
        )
        heapq.heappush(self._waiters, waiter)
        self._pump()
        try:
            await waiter.admitted
        except asyncio.CancelledError:
            if waiter.admitted.done() and not waiter.admitted.cancelled() and not waiter.admitted.exception():
                self.release(priority)
            else:
                waiter.admitted.cancel()
                self._pump()
            raise

    def release(self, priority: Priority) -> None:
        """The request is over, whatever came of it."""
        self._in_flight -= 1
        if priority is Priority.LIVE:
            self._live_in_flight -= 1
        self._pump()

    def spend(self, requests: float = 1.0) -> None:
        """A request went out past the gate (the web side's `profile`): it is only counted."""
        self._bucket = self._bucket.take(self._clock.monotonic(), requests)

    # --- told by the vendor ----------------------------------------------------------------------

    def filled(self) -> float:
        """503 QUERY_LIMIT_EXCEEDED: the bucket is full whatever we believed. Pauses 1, 2, 4 … 32 s
        with jitter and drops to one request in flight. Returns when to come back, unix seconds.
        """
        now = self._clock.monotonic()
        if now >= self._paused_until:  # answers of requests that left together count once
            self._pause = min(PAUSE_LONGEST, max(PAUSE_FIRST, self._pause * 2))
            self._hold(now + self._pause * (1 + 0.25 * self._jitter()), "QUERY_LIMIT_EXCEEDED")
        self._bucket = self._bucket.filled(now)
        self._narrow_until = self._paused_until + NARROW_AFTER
        return self._unix(self._paused_until)

    def block(self, until: float) -> None:
        """The whole portal is closed until `until` (unix seconds): OVERLOAD_LIMIT, Retry-After."""
        self._hold(self._mono(until), "OVERLOAD_LIMIT")

    def succeeded(self) -> None:
        """An answer that is no limit: the next pause begins at a second again."""
        if self._clock.monotonic() >= self._paused_until:
            self._pause = 0.0

    def learn(self, method: str, operating: float, reset_at: float, share: int = 1) -> None:
        """`time.operating` of a good answer; `share` calls of the method were in it."""
        now = self._clock.monotonic()
        self._budget.learn(method, operating, self._mono(reset_at), now, share)
        if self._waiters and self._budget.parked(method, now) is not None:
            self._fail_parked()

    def park(self, method: str, reset_at: float | None = None) -> float:
        """429 OPERATION_TIME_LIMIT. Returns when to come back, unix seconds."""
        now = self._clock.monotonic()
        wish = self._mono(reset_at) if reset_at is not None else None
        until = self._budget.park(method, now, wish, self._jitter())
        self._fail_parked()
        return self._unix(until)

    def parked(self, method: str, count: int = 1) -> float | None:
        """Until when (unix seconds) `count` more calls of the method would not fit; `None`: now."""
        until = self._budget.parked(method, self._clock.monotonic(), count)
        return None if until is None else self._unix(until)

    # --- kept across restarts --------------------------------------------------------------------

    def level(self) -> tuple[float, float]:
        """(level, unix instant) to be saved."""
        return self._bucket.level_at(self._clock.monotonic()), self._clock.now()

    def restore(self, level: float, at: float, clean: bool) -> None:
        """What was saved. After an unclean end the bucket is taken as full now: nobody knows how
        long after the save the process still sent, and full costs a live card two seconds at most.
        """
        now = self._clock.monotonic()
        if clean:
            drained = max(0.0, self._clock.now() - at) * self._bucket.drain
            level = max(0.0, min(level, self._bucket.capacity) - drained)
        else:
            level = self._bucket.capacity
        level = max(level, self._bucket.level_at(now))
        self._bucket = Bucket(self._bucket.capacity, self._bucket.drain, level, now)

    def resize(self, license_family: str) -> None:
        """The tariff became known or changed; the fill stays."""
        wanted = bucket_of(license_family)
        if (wanted.capacity, wanted.drain) != (self._bucket.capacity, self._bucket.drain):
            self._bucket = self._bucket.resized(wanted.capacity, wanted.drain, self._clock.monotonic())
            self._pump()

    def set_concurrency(self, concurrency: int) -> None:
        self._concurrency = max(1, concurrency)
        self._pump()

    @property
    def waiting(self) -> int:
        return sum(1 for w in self._waiters if not w.admitted.done())

    # --- inside ----------------------------------------------------------------------------------

    def _pump(self) -> None:
        """Admit whoever may go; set the timer for the first who may not yet."""
        while self._waiters:
            head = self._waiters[0]
            if head.admitted.done():
                heapq.heappop(self._waiters)
                continue
            if not self._has_slot(head.priority):
                return  # a release comes back here; lower priorities have no more slots than this one
            wait = self._wait(head)
            if wait > 0:
                self._wake_in(wait)
                return
            heapq.heappop(self._waiters)
            self._bucket = self._bucket.take(self._clock.monotonic(), head.requests)
            self._in_flight += 1
            if head.priority == Priority.LIVE:
                self._live_in_flight += 1
            head.admitted.set_result(None)
        self._stop_timer()

    def _has_slot(self, priority: int) -> bool:
        if self._clock.monotonic() < self._narrow_until:
            return self._in_flight < 1
        if priority == Priority.LIVE:
            return self._in_flight < self._concurrency + 1
        return self._in_flight - self._live_in_flight < self._concurrency and (
            self._in_flight < self._concurrency + 1
        )

    def _wait(self, waiter: _Waiter) -> float:
        now = self._clock.monotonic()
        capacity = self._bucket.capacity
        reserve = LATENCY_MARGIN
        if waiter.priority != Priority.LIVE:
            reserve += LIVE_RESERVE
        if waiter.priority == Priority.BACKFILL:
            reserve = max(reserve, capacity * (1 - BACKFILL_SHARE))
        fits = self._bucket.wait(now, reserve + waiter.requests - 1)
        return max(fits, self._paused_until - now)

    def _wake_in(self, seconds: float) -> None:
        self._stop_timer()
        self._timer = asyncio.get_running_loop().create_task(self._ring(seconds))

    async def _ring(self, seconds: float) -> None:
        await self._clock.sleep(max(seconds, TICK))
        self._timer = None
        self._pump()

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _hold(self, until: float, code: str) -> None:
        if until > self._paused_until:
            self._paused_until, self._paused_code = until, code
        if self._paused_until - self._clock.monotonic() > PATIENCE:
            self._fail_all()

    def _refuse_hopeless(self, methods: Sequence[str]) -> None:
        now = self._clock.monotonic()
        if self._paused_until - now > PATIENCE:
            raise self._closed()
        for method in set(methods):
            until = self._budget.parked(method, now, methods.count(method))
            if until is not None:
                raise _parked(method, self._unix(until))

    def _closed(self) -> Throttled:
        return Throttled(
            "The portal does not take requests for now.",
            code=self._paused_code,
            retry_at=self._unix(self._paused_until),
        )

    def _fail_all(self) -> None:
        for waiter in self._waiters:
            if not waiter.admitted.done():
                waiter.admitted.set_exception(self._closed())
        self._pump()

    def _fail_parked(self) -> None:
        now = self._clock.monotonic()
        for waiter in self._waiters:
            for method in set(waiter.methods):
                until = self._budget.parked(method, now, waiter.methods.count(method))
                if until is not None and not waiter.admitted.done():
                    waiter.admitted.set_exception(_parked(method, self._unix(until)))
        self._pump()

    def _unix(self, monotonic: float) -> float:
        return self._clock.now() + (monotonic - self._clock.monotonic())

    def _mono(self, unix: float) -> float:
        return self._clock.monotonic() + (unix - self._clock.now())


def _parked(method: str, until: float) -> Throttled:
    return Throttled(
        f"{method} has used up its operating time in this portal.",
        code="OPERATION_TIME_LIMIT",
        retry_at=until,
    )
