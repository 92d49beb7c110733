"""Whose request goes next: one key's pace, the urgent first, nobody for ever (unitalk.md §1.2).

The vendor asks for few requests and says no limit, so each key has a pace of its own. Within it an agent
who waits with the receiver in his hand goes before a status, and a status before what only reads.
"""

from __future__ import annotations

import asyncio
import heapq
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Final

from bitrix_app.core.ports import Clock

REQUESTS_PER_SECOND: Final = 1.0
"""Per key, until the portal's own setting is told (`Turns.pace`)."""
AGING: Final = 30.0
"""Seconds by which a more urgent request may have been asked later and still go first: so a status waits
at most this long for calls that come after it, and a read twice as long."""
TICK: Final = 0.001
"""Seconds that nobody waits for: a clock of floats may never pass a smaller rest."""


class Turn(IntEnum):
    """How urgent a request is; lower goes first."""

    LIVE = 0
    """Somebody waits for a call to start."""
    STATUS = 1
    REST = 2
    """Reads, the history, the autodialer's commands."""


@dataclass
class _Key:
    """One key's waiting list, ordered by the latest instant at which each should have gone."""

    gap: float
    free_at: float = 0.0
    waiting: list[tuple[float, int, asyncio.Future[None]]] = field(default_factory=list)
    giving: asyncio.Task[None] | None = None
    asked: int = 0


class Turns:
    """Gives turns to ask, per key. Within one urgency in the order of asking."""

    def __init__(self, clock: Clock, requests_per_second: float = REQUESTS_PER_SECOND) -> None:
        self._clock = clock
        self._gap = 1.0 / requests_per_second
        self._keys: dict[str, _Key] = {}

    def pace(self, key: str, requests_per_second: float) -> None:
        """The pace of a key from its next turn on."""
        self._of(key).gap = 1.0 / requests_per_second

    async def take(self, key: str, turn: Turn = Turn.REST) -> None:
        """Wait until it is this request's turn; then it must be sent, or `give_back` be called."""
        mine = self._of(key)
        now = self._clock.monotonic()
        if not mine.waiting and mine.free_at - now <= TICK:
            mine.free_at = now + mine.gap
            return
        granted: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        mine.asked += 1
        heapq.heappush(mine.waiting, (now + AGING * turn, mine.asked, granted))
        if mine.giving is None or mine.giving.done():
            mine.giving = asyncio.create_task(self._give(mine), name="turns")
        await granted

    def give_back(self, key: str) -> None:
        """Nothing was sent after all: the next one need not wait for it."""
        mine = self._of(key)
        mine.free_at = self._clock.monotonic()
        if mine.giving is not None and not mine.giving.done():
            mine.giving.cancel()  # it sleeps until a moment that no longer counts
            mine.giving = asyncio.create_task(self._give(mine), name="turns")

    async def _give(self, mine: _Key) -> None:
        """One turn after the other, as long as somebody waits."""
        while mine.waiting:
            wait = mine.free_at - self._clock.monotonic()
            if wait > TICK:
                await self._clock.sleep(wait)
                continue  # a turn may have been given back, or the pace been changed, meanwhile
            _, _, granted = heapq.heappop(mine.waiting)
            if granted.done():
                continue  # whoever waited was cancelled
            mine.free_at = self._clock.monotonic() + mine.gap
            granted.set_result(None)

    def _of(self, key: str) -> _Key:
        return self._keys.setdefault(key, _Key(self._gap))
