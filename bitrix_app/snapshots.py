"""Directories that survive bad answers: the last good snapshot stays, a doubtful one is offered.

A fresh list that lost too much (`core.shrink`) is kept beside the good one with its difference; people
are told, and one call (`POST /agents/accept`) takes it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from loguru import logger

from bitrix_app.core.chores import DIRECTORY_LANE
from bitrix_app.core.commands import Notify, Priority
from bitrix_app.core.portal import Portal, Snapshot
from bitrix_app.core.ports import Clock
from bitrix_app.core.shrink import Difference
from bitrix_app.core.store import Store, Unit
from bitrix_app.core.transition import Owed
from bitrix_app.words import mark

KINDS: Final[Mapping[str, tuple[str, str]]] = {
    "agents": ("user_id", mark("The employees of this portal")),
    "pbx_users": ("line", mark("The operators of the PBX")),
    "lines": ("NUMBER", mark("The external lines")),
    "lead_stages": ("STATUS_ID", mark("The stages of leads")),
    "deal_stages": ("STATUS_ID", mark("The stages of deals")),
    "deal_categories": ("id", mark("The pipelines of deals")),
    "category_stages": ("STATUS_ID", mark("The stages of further pipelines")),
}
"""Directories: the field that names an entry, and the list's name for people."""


def offered(kind: str) -> str:
    """The snapshot that holds a doubtful list: its first item is the difference, the list follows."""
    return f"{kind}:offered"


class Snapshots:
    """See the module."""

    def __init__(self, store: Store, clock: Clock) -> None:
        self._store = store
        self._clock = clock

    async def items(self, member_id: str, kind: str) -> tuple[Mapping[str, Any], ...]:
        snapshot = await self._store.snapshot(member_id, kind)
        return snapshot.items if snapshot else ()

    async def take(self, member_id: str, kind: str, items: Sequence[Mapping[str, Any]]) -> None:
        """A good list; an offer that stood beside the old one is over."""
        now = self._clock.now()
        await self._store.save_snapshot(member_id, Snapshot(kind, now, tuple(items)))
        if await self.items(member_id, offered(kind)):
            await self._store.save_snapshot(member_id, Snapshot(offered(kind), now, ()))

    async def offer(
        self, portal: Portal, kind: str, items: Sequence[Mapping[str, Any]], difference: Difference
    ) -> None:
        """Keep a doubtful list aside and tell the administrators, once for each difference."""
        head = {
            "reason": difference.reason or "",
            "known": difference.known,
            "lost": list(difference.lost),
            "bare": list(difference.bare),
            "added": list(difference.added),
            "confirm": difference.missing,
        }
        before = await self.items(portal.member_id, offered(kind))
        now = self._clock.now()
        snapshot = Snapshot(offered(kind), now, (head, *items))
        await self._store.save_snapshot(portal.member_id, snapshot)
        logger.warning("{} of {} are not believed: {}", kind, portal.domain, difference.reason)
        if before and all(before[0].get(part) == head[part] for part in ("lost", "bare")):
            return  # they were told
        name, reason = KINDS[kind][1], difference.reason
        notice = Notify(
            tag=f"directory:{kind}",
            message=(
                f"{name} came back incomplete: {reason} "
                "The last good list goes on serving. If the change is real, accept it on the page of agents."
            ),
        )
        owed = Owed(f"notify:{kind}", notice, Priority.CRM)

        async def work(unit: Unit) -> int:
            return await unit.owe(portal.member_id, DIRECTORY_LANE, (owed,), now)

        await self._store.transact(work)

    async def accept(self, member_id: str, kind: str, confirm: int) -> tuple[Mapping[str, Any], ...] | None:
        """The offered list as the good one, if it still lacks `confirm` entries; `None` otherwise."""
        items = await self.items(member_id, offered(kind))
        if not items or items[0].get("confirm") != confirm:
            return None
        await self.take(member_id, kind, items[1:])
        return items[1:]
