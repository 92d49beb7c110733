"""The portal's people as the worker sees them: the last good snapshot, asked again on a miss."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict

from loguru import logger

from bitrix_app.bitrix.client import BitrixClient
from bitrix_app.bitrix.users import agent_of, users_by_extension, users_page
from bitrix_app.bitrix.values import as_rows
from bitrix_app.core.commands import Priority
from bitrix_app.core.errors import Refused
from bitrix_app.core.mapping import Choice, choose
from bitrix_app.core.portal import Agent, Portal, Snapshot
from bitrix_app.core.ports import Clock
from bitrix_app.core.shrink import compare_agents, merge_agents
from bitrix_app.core.store import Store
from bitrix_app.snapshots import Snapshots

MISS_TTL = 60.0
"""Seconds for which «nobody has this extension» is believed."""
PAGES = 200
"""A portal of more than 10,000 users is cut here; the rest is found one by one on a miss."""


class Directory:
    """Agents per portal. The snapshot survives restarts and bad answers."""

    def __init__(self, store: Store, client: BitrixClient, clock: Clock) -> None:
        self._store = store
        self._client = client
        self._clock = clock
        self._agents: dict[str, list[Agent]] = {}
        self._misses: dict[tuple[str, str], float] = {}
        self._snapshots = Snapshots(store, clock)

    async def agents(self, portal: str) -> Sequence[Agent]:
        if portal not in self._agents:
            snapshot = await self._store.snapshot(portal, "agents")
            self._agents[portal] = [Agent(**item) for item in snapshot.items] if snapshot else []
        return self._agents[portal]

    def forget(self, portal: str) -> None:
        """The portal went away or was installed anew."""
        self._agents.pop(portal, None)
        for key in [k for k in self._misses if k[0] == portal]:
            del self._misses[key]

    async def user_for(
        self, portal: Portal, extension: str | None, line: str | None, group: str | None = None
    ) -> Choice | None:
        """Who gets the call now; an unknown extension is asked for before a default stands in."""
        agents = await self.agents(portal.member_id)
        choice = choose(extension, line, agents, portal.settings, portal.installed_by, group)
        if extension and not (choice and choice.matched) and await self._found(portal, extension):
            agents = await self.agents(portal.member_id)
            choice = choose(extension, line, agents, portal.settings, portal.installed_by, group)
        return choice

    async def works(self, portal: Portal, user_id: int) -> bool:
        """Whether this user can be given a call; before the first snapshot everybody can."""
        agents = await self.agents(portal.member_id)
        return not agents or any(a.user_id == user_id and a.active for a in agents)

    async def distrust(self, portal: Portal, user_id: int) -> None:
        """The portal does not know this user as active: whoever had the extension is asked for anew."""
        agents = await self.agents(portal.member_id)
        gone = {a.extension for a in agents if a.user_id == user_id and a.extension}
        self._agents[portal.member_id] = [a for a in agents if a.user_id != user_id]
        for extension in gone:
            self._misses.pop((portal.member_id, extension), None)

    async def users_of(self, portal: Portal, extensions: Sequence[str]) -> list[int]:
        """Users who really have one of these extensions: cards are shown to nobody else."""
        users: list[int] = []
        for extension in extensions:
            choice = await self.user_for(portal, extension, None)
            if choice and choice.matched and choice.user_id not in users:
                users.append(choice.user_id)
        return users

    async def _found(self, portal: Portal, extension: str) -> bool:
        key = (portal.member_id, extension)
        now = self._clock.now()
        if self._misses.get(key, 0.0) > now:
            return False
        try:
            answer = await self._client.call(portal, users_by_extension(extension), Priority.LIVE)
        except Refused as refused:
            # no right to read users: then the default is the best that can be done
            logger.warning("extension look-up was refused: {}", refused.code)
            return False
        found = [agent for item in as_rows(answer.result) if (agent := agent_of(item))]
        if not found:
            self._misses[key] = now + MISS_TTL
            return False
        known = self._agents.setdefault(portal.member_id, [])
        fresh = {agent.user_id for agent in found}
        # an extension can move to another person: whoever held it by our snapshot no longer does
        self._agents[portal.member_id] = [
            a for a in known if a.user_id not in fresh and a.extension != extension
        ] + found
        return True

    async def refresh(self, portal: Portal) -> int:
        """Take a new snapshot of all users; a failing, empty or shrunken answer keeps the old one.

        Of a list that is not believed, who is new or changed is taken all the same. The number of
        people that the portal named.
        """
        agents: list[Agent] = []
        start: int | None = 0
        for _ in range(PAGES):
            answer = await self._client.call(portal, users_page(start or 0), Priority.BACKFILL)
            agents += [agent for item in as_rows(answer.result) if (agent := agent_of(item))]
            start = answer.next
            if start is None:
                break
        known = await self._snapshots.items(portal.member_id, "agents")
        old = [Agent(**item) for item in known]
        if not agents and not old:
            logger.warning("the portal named no users")
            return 0
        difference = compare_agents(old, agents)
        items = [asdict(agent) for agent in agents]
        if difference.reason is None:
            await self._snapshots.take(portal.member_id, "agents", items)
        else:
            await self._snapshots.offer(portal, "agents", items, difference)
            if agents:
                agents = merge_agents(old, agents)
                kept = Snapshot("agents", self._clock.now(), tuple(asdict(a) for a in agents))
                await self._store.save_snapshot(portal.member_id, kept)
            else:
                agents = old
        self._remember(portal.member_id, agents)
        return len(items)

    async def accept(self, portal: Portal, confirm: int) -> bool:
        """An administrator says that the shrunken list is right; false when it changed meanwhile."""
        items = await self._snapshots.accept(portal.member_id, "agents", confirm)
        if items is None:
            return False
        self._remember(portal.member_id, [Agent(**item) for item in items])
        return True

    def _remember(self, member_id: str, agents: list[Agent]) -> None:
        self._agents[member_id] = agents
        for key in [k for k in self._misses if k[0] == member_id]:
            del self._misses[key]
