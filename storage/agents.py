"""Agents' statuses on SQLite: the mixins of the unit and of the store."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from typing import Final

from bitrix_app.core import agents
from bitrix_app.core.agent_saying import KEY, lane_of
from bitrix_app.core.agents import AgentStatus, AgentTrouble, is_available, trouble_of
from storage.portals import PortalBook
from storage.queries import load
from storage.reading import Reading
from storage.rows import clean, decode, encode

_Q: Final = load("agents")


def _all(db: sqlite3.Connection, portal: str) -> list[AgentStatus]:
    return [agents.unpack(decode(doc)) for (doc,) in db.execute(_Q["all"], (portal,))]


class AgentUnitMixin:
    """See `core.agents_store.AgentUnit`."""

    _db: sqlite3.Connection

    async def agent_status(self, portal: str, extension: str) -> AgentStatus | None:
        row = self._db.execute(_Q["one"], (portal, clean(extension))).fetchone()
        return agents.unpack(decode(row[0])) if row else None

    async def agent_statuses(self, portal: str) -> Sequence[AgentStatus]:
        return _all(self._db, portal)

    async def save_agent_status(self, status: AgentStatus) -> None:
        doc = encode(agents.pack(status))
        self._db.execute(_Q["save"], (status.portal, clean(status.extension), status.user_id, doc))

    async def drop_agent_status(self, portal: str, extension: str) -> None:
        self._db.execute(_Q["drop"], (portal, clean(extension)))

    async def hasten_agents(self, portal: str, extensions: Sequence[str], now: float) -> int:
        lanes = [{"portal": portal, "lane": lane_of(one), "key": KEY, "now": now} for one in extensions]
        return self._db.executemany(_Q["hasten"], lanes).rowcount if lanes else 0


class AgentReaderMixin:
    """See `core.agents_store.AgentReader`."""

    _reading: Reading
    _book: PortalBook

    async def agent_statuses(self, portal: str) -> Sequence[AgentStatus]:
        return await self._reading.house(lambda db: _all(db, portal))

    async def available_agents(self, portal: str) -> Sequence[AgentStatus]:
        def ask(db: sqlite3.Connection) -> Sequence[AgentStatus]:
            known = self._book.read(db, portal)
            if known is None or not known.tells_statuses:
                return ()
            words = known.settings.status_words
            return [one for one in _all(db, portal) if is_available(one, words)]

        return await self._reading.house(ask)

    async def agent_troubles(self, portal: str) -> Sequence[AgentTrouble]:
        found = (trouble_of(one) for one in await self.agent_statuses(portal))
        return [one for one in found if one is not None]
