"""Agents' statuses inside transactions: what an event changes is stored with what is owed for it.

A call that begins or ends, a choice on our page, the time clock, an answer of the PBX: each loads the
agent, asks `core.agents` and `core.agent_saying` what follows, and keeps it. No vendor is spoken to here.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Final

from loguru import logger

from bitrix_app.core import agent_saying, agents
from bitrix_app.core.agent_saying import Acknowledged, Failed, Unneeded, lane_of
from bitrix_app.core.agents import AgentStatus, Clock, Page
from bitrix_app.core.call import Call
from bitrix_app.core.commands import Notify, Priority
from bitrix_app.core.errors import Who
from bitrix_app.core.events import GivenUp
from bitrix_app.core.jobs import Job, JobError
from bitrix_app.core.mapping import By
from bitrix_app.core.matching import State, match_extensions
from bitrix_app.core.portal import Agent, Portal, Snapshot
from bitrix_app.core.store import Unit
from bitrix_app.core.transition import Owed
from bitrix_app.words import mark

NOTICES: Final = "portal:notices"
NEWS_FOR: Final = 900.0
"""Seconds after which nobody needs to be told any more."""
TOGETHER: Final = 5.0
"""Seconds for which the notice to the administrators waits, so that a storm is one."""
ALL_TAG: Final = "unitalk:agents"


def mapped_agents(people: Snapshot | None, pbx: Snapshot | None, portal: Portal) -> dict[str, int] | None:
    """Extension → user of everybody who is an agent; `None` before the people were read for the first
    time. An extension that the PBX's own list lacks has no status there."""
    if people is None:
        return None
    users = [Agent(**item) for item in people.items]
    found = match_extensions(users, pbx.items if pbx else (), portal.settings)
    return {
        match.extension: match.user_id
        for match in found
        if match.state is State.MATCHED
        and match.user_id is not None
        and (match.known_to_pbx is not False or match.by is By.OVERRIDE)
    }


def new_agent(portal: Portal, extension: str, user_id: int) -> AgentStatus:
    return AgentStatus(portal.member_id, extension, user_id)


async def keep(
    unit: Unit, portal: Portal, status: AgentStatus, now: float, before: AgentStatus | None = None
) -> int:
    """Store the status, if it is not as `before`, with the job that it owes; the number of jobs added."""
    if status != before:
        await unit.save_agent_status(status)
    if not portal.tells_statuses:
        return 0
    words = portal.settings.status_words
    owed = agent_saying.due(status, words, now)
    added = await unit.owe(portal.member_id, lane_of(status.extension), owed, now)
    if not added and agent_saying.hurries(status, words, now):
        added = await unit.hasten_agents(portal.member_id, [status.extension], now)
    return added


# --- calls ----------------------------------------------------------------------------------------


async def call_settled(unit: Unit, portal: Portal, before: Call, after: Call, now: float) -> int:
    """A call's event was applied: who came to the phone or left it. In the event's own transaction.

    Returns the number of jobs added. With the synchronisation off only agents are followed of whom
    something was chosen on our page («after this call»), so that calls cost nothing.
    """
    was, is_ = agents.busy_in(before), agents.busy_in(after)
    added = 0
    for extension in sorted(was ^ is_):
        status = await unit.agent_status(portal.member_id, extension)
        if status is None:
            continue  # nobody's extension, or the minute's round has not met it yet
        if extension in is_:
            status = agents.in_calls(status, begun=after.id)
        else:
            status = agents.in_calls(status, ended=after.id)
        status = _settled(status, portal, now, "call")
        added += await keep(unit, portal, status, now)
    return added


def _settled(status: AgentStatus, portal: Portal, now: float, by: str, note: str = "") -> AgentStatus:
    return agents.settled(status, portal.status_sources, portal.settings.status_words, now, by, note)


# --- our page -------------------------------------------------------------------------------------


async def choose(
    unit: Unit,
    portal: Portal,
    extensions: Sequence[str],
    user_id: int,
    page: Page,
    reason: str,
    by: int,
    live: Iterable[Call],
    now: float,
) -> list[AgentStatus]:
    """The choice on our page for all extensions of a user; `live` are calls for agents whom nobody
    followed so far."""
    kept = []
    for extension in extensions:
        status = await unit.agent_status(portal.member_id, extension)
        if status is None:
            status = _followed(new_agent(portal, extension, user_id), live)
        status = replace(status, user_id=user_id)
        status = agents.chosen(status, page, reason)
        status = _settled(status, portal, now, f"user:{by}", reason)
        await keep(unit, portal, status, now)
        kept.append(status)
    return kept


def _followed(status: AgentStatus, live: Iterable[Call]) -> AgentStatus:
    for call in live:
        if status.extension in agents.busy_in(call):
            status = agents.in_calls(status, begun=call.id)
    return status


# --- the minute's round ---------------------------------------------------------------------------


async def look(
    unit: Unit, portal: Portal, mapped: Mapping[str, int] | None, live: Sequence[Call], now: float
) -> list[AgentStatus]:
    """Meet new agents, let go of those who are none any more, repair what differs, alarm."""
    known = {one.extension: one for one in await unit.agent_statuses(portal.member_id)}
    stored = dict(known)
    if mapped is not None:
        for extension in known.keys() - mapped.keys():
            await unit.drop_agent_status(portal.member_id, extension)
        for extension, user_id in mapped.items():
            if extension not in known or known[extension].user_id != user_id:
                known[extension] = _followed(_moved(known.get(extension), portal, extension, user_id), live)
    kept: list[AgentStatus] = []
    late = False
    for extension in sorted(known if mapped is None else mapped):
        status = _settled(await _living(unit, known[extension]), portal, now, "settings")
        rate = portal.settings.pbx_requests_per_second
        if agent_saying.overdue(status, len(known), rate, now):
            logger.error("the status of agent {} was not acknowledged for too long", extension)
            status = agent_saying.alarmed(status, now)
            await _tell(unit, status, out=True, now=now)
            late = True
        await keep(unit, portal, status, now, stored.get(extension))
        kept.append(status)
    if late:
        await _tell_all(unit, portal, kept, now)
    return kept


def _moved(known: AgentStatus | None, portal: Portal, extension: str, user_id: int) -> AgentStatus:
    """The extension is another person's now: what the last one chose is not his."""
    if known is None:
        return new_agent(portal, extension, user_id)
    return replace(known, user_id=user_id, page=Page.AVAILABLE, page_reason="", clock=None, clock_at=None)


async def _living(unit: Unit, status: AgentStatus) -> AgentStatus:
    """Without calls that are over or were erased."""
    for call_id in status.calls:
        call = await unit.call(status.portal, call_id)
        if call is None or status.extension not in agents.busy_in(call):
            status = agents.in_calls(status, ended=call_id)
    return status


async def clock(unit: Unit, portal: Portal, told: Mapping[int, Clock | None], now: float) -> None:
    """What the time clock says of users; who is not in `told` keeps what was known."""
    for status in await unit.agent_statuses(portal.member_id):
        if status.user_id in told:
            status = agents.clocked(status, told[status.user_id], now)
            await keep(unit, portal, _settled(status, portal, now, "timeman"), now)


async def forget_acknowledged(unit: Unit, portal: Portal, now: float) -> None:
    """The words, the key or the switch changed: whatever the PBX took before says nothing now."""
    statuses = await unit.agent_statuses(portal.member_id)
    for status in statuses:
        status = _settled(agent_saying.doubted(status), portal, now, "settings")
        await keep(unit, portal, status, now)
    await unit.hasten_agents(portal.member_id, [one.extension for one in statuses], now)


# --- what the PBX answered ------------------------------------------------------------------------


class AgentHearer:
    """Hears what became of an agent's job (lanes `agent:…`)."""

    async def told(self, unit: Unit, portal: Portal, job: Job, event: object, now: float) -> None:
        portal = await unit.portal(job.portal) or portal
        words = portal.settings.status_words
        status = await unit.agent_status(job.portal, job.lane.partition(":")[2])
        if status is None:
            return
        was_out = status.out
        others = [one for one in await unit.agent_statuses(job.portal) if one.extension != status.extension]
        match event:
            case Acknowledged():
                status = agent_saying.acknowledged(status, event, words, now)
                waiting = [one.extension for one in others if agent_saying.waits_for_the_pbx(one)]
                await unit.hasten_agents(job.portal, waiting, now)
            case Failed():
                status = agent_saying.failed(status, event, others, words, now)
            case Unneeded():
                status = agent_saying.unneeded(status, words, now)
            case GivenUp(code=code, message=message):
                # our own fault or the like; a person sees the job, the agent must not be relied on
                error = JobError(code, "unknown", message, "", Who.US.value)
                word = status.flying or ""
                failure = Failed(word, error, undone=not word, refused=True)
                status = agent_saying.failed(status, failure, others, words, now)
            case _:
                raise TypeError(f"{type(event).__name__} is no event of an agent")
        await keep(unit, portal, status, now)
        if status.out is not was_out:
            await _tell(unit, status, out=status.out, now=now)
            await _tell_all(unit, portal, [*others, status], now)


# --- people are told ------------------------------------------------------------------------------


async def _tell(unit: Unit, status: AgentStatus, *, out: bool, now: float) -> None:
    """The agent, once when he goes out and once when he is back; the later notice replaces the earlier."""
    if out:
        cause = status.error.message if status.error else ""
        text = mark(
            f"Unitalk does not take your status: {cause} Until it does, the autodialer counts without you. "
            "It is tried again by itself."
        )
    else:
        text = mark("Unitalk takes your status again. The autodialer counts on you as before.")
    notice = Notify(tag=f"unitalk:agent:{status.extension}", message=text, user_id=status.user_id)
    key = f"agent:{status.extension}:{'out' if out else 'back'}"
    await unit.owe(status.portal, NOTICES, (Owed(key, notice, Priority.CRM, expires_at=now + NEWS_FOR),), now)


async def _tell_all(unit: Unit, portal: Portal, statuses: Sequence[AgentStatus], now: float) -> None:
    """Administrators and managers: one notice for a storm, and one when all are back."""
    out = any(one.out for one in statuses)
    if out:
        text = mark(
            "Unitalk does not take the status of some agents. The autodialer counts without them until it "
            "does. The page “Agents” says who and why."
        )
    else:
        text = mark("Unitalk takes the status of all agents again.")
    key = f"agents:{'out' if out else 'back'}"
    owed = [
        Owed(
            key if user is None else f"{key}:{user}",
            Notify(tag=ALL_TAG, message=text, user_id=user),
            Priority.CRM,
            expires_at=now + NEWS_FOR,
            not_before=now + TOGETHER,
        )
        for user in (None, *portal.settings.managers)
    ]
    await unit.owe(portal.member_id, NOTICES, owed, now)
