"""The two deliveries of agents' statuses: telling the PBX, and the minute's look at everybody."""

from __future__ import annotations

from typing import Final

from loguru import logger

from bitrix_app import agents
from bitrix_app.bitrix import timeman
from bitrix_app.bitrix.client import BitrixClient
from bitrix_app.core import agent_saying
from bitrix_app.core.agent_saying import Acknowledged, Failed, Unneeded
from bitrix_app.core.agents import AgentStatus, Clock
from bitrix_app.core.call import Call
from bitrix_app.core.chores import AGENTS_SEEN
from bitrix_app.core.commands import LookAtAgents, Priority, SetStatus
from bitrix_app.core.errors import Forbidden, NotSent, PortalPaused, Refused, Trouble, Verdict
from bitrix_app.core.jobs import Job, JobError
from bitrix_app.core.portal import Portal, Snapshot
from bitrix_app.core.ports import Clock as Time
from bitrix_app.core.store import Store, StoreUnavailable, Unit
from bitrix_app.prepared import our_fault
from unitalk.client import Origin, UnitalkClient

BATCH: Final = 50
"""Users of one batch (bitrix24.md §4.2)."""
LIVE_CALLS: Final = 200
"""The newest calls, among which an agent whom we just met may be talking."""


class StatusRoom:
    """Tells the PBX an agent's status (unitalk.md §4.3)."""

    kinds = frozenset({SetStatus.kind})

    def __init__(self, store: Store, pbx: UnitalkClient, clock: Time) -> None:
        self._store = store
        self._pbx = pbx
        self._clock = clock

    async def deliver(self, portal: Portal, job: Job, call: Call | None) -> object:  # noqa: ARG002
        """One try. What became of it is always an event, for the agent's own plan says when the next one
        is: so a failing status is never buried, and there is never a second job beside it.
        """
        saying = _Saying(self._store, self._clock, portal, job.lane.partition(":")[2])
        origin = Origin(portal.member_id, job.correlation_id)
        try:
            await self._pbx.set_status_in_turn(portal.unitalk_key, saying.extension, saying.choose, origin)
        except StoreUnavailable:
            raise
        except Trouble as trouble:
            return saying.failed(trouble)
        except Exception as bug:  # noqa: BLE001 - the agent must come back by himself after our own fault
            return saying.failed(our_fault(bug))
        return Unneeded() if saying.word is None else Acknowledged(saying.word)


class _Saying:
    """One try of one agent: which word, and whether it was in doubt before."""

    def __init__(self, store: Store, clock: Time, portal: Portal, extension: str) -> None:
        self._store = store
        self._clock = clock
        self._member = portal.member_id
        self.extension = extension
        self.word: str | None = None
        self._fresh = True

    async def choose(self) -> str | None:
        """The word that is desired at this moment; that it may hold from now on is durable on return."""
        now = self._clock.now()

        async def work(unit: Unit) -> tuple[str | None, bool]:
            portal = await unit.portal(self._member)
            status = await unit.agent_status(self._member, self.extension)
            if portal is None or status is None or not portal.tells_statuses:
                return None, True
            word = agent_saying.to_say(status, portal.settings.status_words, now)
            if word is None:
                return None, True
            await unit.save_agent_status(agent_saying.saying(status, word, now))
            return word, word not in status.doubtful

        self.word, self._fresh = await self._store.transact(work)
        return self.word

    def failed(self, trouble: Trouble) -> Failed:
        error = JobError(trouble.code, trouble.category, trouble.message, trouble.hint, trouble.who.value)
        return Failed(
            word=self.word or "",
            error=error,
            undone=self.word is None or isinstance(trouble, Refused | NotSent),
            refused=trouble.verdict is Verdict.PERSON,
            key=isinstance(trouble, Forbidden),
            fresh=self._fresh,
        )


class AgentsRound:
    """Once a minute: who is an agent, who is clocked in, whose status differs (`agents.look`)."""

    kinds = frozenset({LookAtAgents.kind})

    def __init__(self, store: Store, client: BitrixClient, clock: Time) -> None:
        self._store = store
        self._client = client
        self._clock = clock

    async def deliver(self, portal: Portal, job: Job, call: Call | None) -> object:  # noqa: ARG002
        """The repair comes first: it needs no vendor. A time clock that cannot be asked keeps what it
        told last, until the next minute. Raises `PortalPaused`.
        """
        member = portal.member_id
        people = await self._store.snapshot(member, "agents")
        pbx = await self._store.snapshot(member, "pbx_users")
        live = [one for one in await self._store.calls(member, limit=LIVE_CALLS) if one.is_live]
        now = self._clock.now()

        async def repair(unit: Unit) -> list[AgentStatus]:
            known = await unit.portal(member)
            if known is None or not known.tells_statuses:
                return []
            mapped = agents.mapped_agents(people, pbx, known)
            return await agents.look(unit, known, mapped, live, now)

        statuses = await self._store.transact(repair)
        await self._store.save_snapshot(member, Snapshot(AGENTS_SEEN, now, ({"agents": len(statuses)},)))
        if statuses and "timeman" in portal.status_sources:
            told = await self._clocks(portal, sorted({one.user_id for one in statuses}))

            async def heed(unit: Unit) -> None:
                known = await unit.portal(member)
                if known is not None and known.tells_statuses:
                    await agents.clock(unit, known, told, self._clock.now())

            await self._store.transact(heed)
        return None

    async def _clocks(self, portal: Portal, users: list[int]) -> dict[int, Clock | None]:
        told: dict[int, Clock | None] = {}
        for start in range(0, len(users), BATCH):
            requests = {f"u{user}": timeman.status_of(user) for user in users[start : start + BATCH]}
            try:
                answers = await self._client.batch(portal, requests, Priority.BACKFILL)
            except PortalPaused:
                raise
            except Trouble as trouble:
                logger.warning("the time clock of {} was not told: {}", portal.domain, trouble.code)
                continue
            for key, answer in answers.items():
                user = int(key[1:])
                try:
                    if isinstance(answer, Trouble):
                        raise answer
                    told[user] = timeman.read_status(answer.result)
                except Trouble as trouble:
                    if timeman.never_clocks(trouble):
                        told[user] = None
                    else:
                        logger.warning("the time clock did not tell of user {}: {}", user, trouble.code)
        return told
