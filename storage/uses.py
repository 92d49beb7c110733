"""How often a webhook token was used: counted in memory, written once a minute."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable
from typing import Any, Final

from storage.queries import load

_COUNT: Final = load("portals")["count_uses"]
PAUSE: Final = 60.0
_Counts = dict[tuple[str, bytes], tuple[int, float]]


class Uses:
    """A crash may forget the last minute's counts; nothing depends on them."""

    def __init__(self) -> None:
        self._counts: _Counts = {}
        self._written: _Counts = {}
        self._next_at: float | None = None

    @property
    def pending(self) -> bool:
        return bool(self._counts)

    def count(self, portal: str, hash_: bytes, now: float) -> None:
        uses, last = self._counts.get((portal, hash_), (0, now))
        self._counts[portal, hash_] = (uses + 1, max(last, now))

    def of(self, portal: str, hash_: bytes) -> tuple[int, float | None]:
        """What is not written yet."""
        key = (portal, hash_)
        some, last = self._counts.get(key, (0, None))
        more, before = self._written.get(key, (0, None))
        return some + more, last if last is not None else before

    def is_due(self, now: float) -> bool:
        if self._written:
            return False
        if self._next_at is None:
            self._next_at = now + PAUSE
        if now < self._next_at:
            return False
        self._next_at = now + PAUSE
        return True

    def taken(self) -> Callable[[sqlite3.Connection], None]:
        """The work that writes what was counted so far."""
        self._written, self._counts = self._counts, {}
        lines = [(uses, last, *key) for key, (uses, last) in self._written.items()]

        def write(db: sqlite3.Connection) -> None:
            db.executemany(_COUNT, lines)

        return write

    def settled(self, done: asyncio.Future[Any]) -> None:
        if done.cancelled() or done.exception() is not None:
            self.give_back()
        self._written = {}

    def give_back(self) -> None:
        for (portal, hash_), (uses, last) in self._written.items():
            some, later = self._counts.get((portal, hash_), (0, last))
            self._counts[portal, hash_] = (some + uses, max(last, later))
        self._written = {}
