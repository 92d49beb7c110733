"""Writes down what need not be durable at once: the vendor request log and the limiters' levels.

Both are gathered in memory and stored about once a second, so that a request costs no commit of its
own. What a crash loses here is a second of diagnostics; after an unclean end a limiter assumes a
full bucket (`bitrix.limiter`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Final

from loguru import logger

from bitrix_app.bitrix.limiter import Limiter
from bitrix_app.core.ports import Clock
from bitrix_app.core.store import Store, StoreUnavailable, VendorRequest

EVERY: Final = 1.0
MOST: Final = 5_000
"""Entries kept in memory while the store is away; the oldest are dropped beyond it."""


class Recorder:
    """See the module. `limiters` lists the limiters in use by portal."""

    def __init__(
        self, store: Store, clock: Clock, limiters: Callable[[], Iterable[tuple[str, Limiter]]]
    ) -> None:
        self._store = store
        self._clock = clock
        self._limiters = limiters
        self._entries: list[VendorRequest] = []
        self._saved: dict[str, float] = {}

    def add(self, entry: VendorRequest) -> None:
        self._entries.append(entry)
        if len(self._entries) > MOST:
            del self._entries[: len(self._entries) - MOST]

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            await self._clock.sleep(EVERY)
            try:
                await self.flush(clean=False)
            except Exception:  # noqa: BLE001 - diagnostics must not end with one bad line
                logger.opt(exception=True).error("the request log could not be written")

    async def flush(self, *, clean: bool) -> None:
        """Store what is new; with `clean` say that the process ends in good order."""
        entries, self._entries = self._entries, []
        try:
            if entries:
                await self._store.log_requests(entries)
                entries = []
            for portal, limiter in self._limiters():
                level, at = limiter.level()
                if clean or level > 0.0 or self._saved.get(portal, 0.0) > 0.0:
                    self._saved[portal] = level
                    await self._store.save_level(portal, level, at, clean=clean)
        except StoreUnavailable as away:
            self._entries = entries + self._entries
            logger.warning("the request log waits: {}", away.reason)
