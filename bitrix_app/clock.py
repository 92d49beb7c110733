"""The two clocks: the machine's, and one that a test or the demo turns by hand."""

from __future__ import annotations

import asyncio
import heapq
import itertools
import time


class SystemClock:
    """The machine's clock."""

    def now(self) -> float:
        return time.time()

    def monotonic(self) -> float:
        return time.monotonic()

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(max(0.0, seconds))


class VirtualClock:
    """Time that passes only when told to, so that a day of calls runs in seconds.

    Sleepers wake in the order of their due times. `advance` lets everything that becomes due run
    until it is idle or asleep again before time moves on; work that waits for real sockets or
    threads is given `settle` seconds of real time to come back.
    """

    def __init__(self, start: float = 1_788_333_300.0, settle: float = 0.0) -> None:
        self._now = start
        self._start = start
        self._settle = settle
        self._sleepers: list[tuple[float, int, asyncio.Future[None]]] = []
        self._order = itertools.count()

    def now(self) -> float:
        return self._now

    def monotonic(self) -> float:
        return self._now - self._start

    async def sleep(self, seconds: float) -> None:
        if seconds <= 0:
            await asyncio.sleep(0)
            return
        woken: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        heapq.heappush(self._sleepers, (self._now + seconds, next(self._order), woken))
        await woken

    async def advance(self, seconds: float) -> None:
        """Let `seconds` pass, waking each sleeper at its own instant."""
        end = self._now + seconds
        await self._drain()
        while self._sleepers and self._sleepers[0][0] <= end:
            due, _, woken = heapq.heappop(self._sleepers)
            self._now = max(self._now, due)
            if not woken.done():
                woken.set_result(None)
                await self._drain()
        self._now = end
        await self._drain()

    async def _drain(self) -> None:
        for _ in range(50):
            await asyncio.sleep(0)
        if self._settle:
            await asyncio.sleep(self._settle)
