"""External lines of a portal: those of the settings and those that calls came by (bitrix24.md §6.7).

A line that calls use is made in Bitrix24 before anybody looks for it there: `register` makes it silently
on newer portals only, and without a name.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Mapping
from typing import Final

from loguru import logger

from bitrix_app.core.chores import BINDINGS_LANE, portal_work
from bitrix_app.core.portal import Portal, Snapshot
from bitrix_app.core.ports import Clock
from bitrix_app.core.store import Store, StoreUnavailable, Unit

SEEN: Final = "seen_lines"
MOST: Final = 500
"""Lines of one portal that are remembered from calls; a template gone wild must not make thousands."""


class Lines:
    """See the module. What was seen survives restarts."""

    def __init__(self, store: Store, clock: Clock) -> None:
        self._store = store
        self._clock = clock
        self._seen: dict[str, set[str]] = {}
        self._lock = asyncio.Lock()

    async def seen(self, portal: Portal, line: str | None) -> None:
        """A call came by `line`; the first time, Bitrix24 is to learn of it. Never fails a call."""
        if not is_number(line) or line in self._seen.get(portal.member_id, ()):
            return
        async with self._lock:
            try:
                await self._note(portal, line or "")
            except StoreUnavailable as away:
                logger.warning("line of {} not noted: {}", portal.domain, away.reason)

    async def wanted(self, portal: Portal) -> Mapping[str, str]:
        """Every line that should stand in Bitrix24 with its name; an empty one stays as it is there."""
        settings = portal.settings
        known = {line for line in await self._known(portal.member_id) if is_number(line)}
        named = {*known, *settings.line_names, *settings.line_users, *settings.line_zones}
        return {line: settings.line_names.get(line, "") for line in sorted(named)}

    def forget(self, member_id: str) -> None:
        self._seen.pop(member_id, None)

    async def _known(self, member_id: str) -> set[str]:
        if member_id not in self._seen:
            snapshot = await self._store.snapshot(member_id, SEEN)
            items = snapshot.items if snapshot else ()
            self._seen[member_id] = {str(item["line"]) for item in items if item.get("line")}
        return self._seen[member_id]

    async def _note(self, portal: Portal, line: str) -> None:
        known = await self._known(portal.member_id)
        if line in known or len(known) >= MOST:
            return
        now = self._clock.now()
        items = tuple({"line": one} for one in sorted({*known, line}))
        await self._store.save_snapshot(portal.member_id, Snapshot(SEEN, now, items))
        known.add(line)
        owed = tuple(owed for lane, owed in portal_work() if lane == BINDINGS_LANE)

        async def work(unit: Unit) -> int:
            return await unit.owe(portal.member_id, BINDINGS_LANE, owed, now)

        await self._store.transact(work)


def is_number(line: str | None) -> bool:
    """A line is a number; a site callback brings the site's name there (unitalk.md §3.3)."""
    return bool(line) and re.fullmatch(r"[0-9]{3,20}", line or "") is not None
