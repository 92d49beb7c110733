"""The limiters in use, one a portal, with their levels brought over a restart."""

from __future__ import annotations

from collections.abc import Iterable

from bitrix_app.bitrix.limiter import Limiter, bucket_of
from bitrix_app.core.portal import Portal
from bitrix_app.core.ports import Clock
from bitrix_app.core.store import Store


class Limiters:
    """One per process. `restore` comes first, so that a burst before a restart is not forgotten."""

    def __init__(self, store: Store, clock: Clock) -> None:
        self._store = store
        self._clock = clock
        self._limiters: dict[str, Limiter] = {}

    async def restore(self) -> None:
        """Take up the saved levels of all portals."""
        for portal in await self._store.portals():
            saved = await self._store.level(portal.member_id)
            if saved is not None:
                level, at, clean = saved
                self.of(portal).restore(level, at, clean)

    def of(self, portal: Portal) -> Limiter:
        limiter = self._limiters.get(portal.member_id)
        if limiter is None:
            bucket = bucket_of(portal.license_family, self._clock.now())
            limiter = Limiter(self._clock, bucket, concurrency=portal.settings.concurrency)
            self._limiters[portal.member_id] = limiter
        return limiter

    def spend(self, member_id: str) -> None:
        """A request went past the gate (the web side's `profile`)."""
        if member_id in self._limiters:
            self._limiters[member_id].spend()

    def items(self) -> Iterable[tuple[str, Limiter]]:
        return list(self._limiters.items())
