"""How an agent's desired status gets to the PBX: what is said, what an answer means, who is tried when.

Pure. One job per agent says the status that is desired *when it is said*, so a newer wish replaces an
older one by itself. Setting the same status twice harms nobody (unitalk.md §4.3 knows no other effect),
so an answer that was lost is simply asked for again, at once; only a lost request with *another* word is
dangerous, because it may land late: then the status is said once more after it can no longer.

When the whole PBX seems down, the agents in trouble are tried in turn, one every few seconds: however many
they are, the PBX hears one question, and the first good answer sets all of them due.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Final

from bitrix_app.core.agents import AgentStatus, Words, diverging, noted
from bitrix_app.core.commands import Priority, SetStatus
from bitrix_app.core.jobs import JobError
from bitrix_app.core.retry import DOUBT_MATURES
from bitrix_app.core.transition import Owed

LANE: Final = "agent"
"""The first word of an agent's lane: `agent:<extension>`."""
KEY: Final = "status"
PAUSES: Final = (1.0, 3.0, 10.0, 30.0)
"""Pauses between the tries for one agent; when they are used up he is taken out of our dialer sending."""
PATIENCE: Final = sum(PAUSES)
"""Seconds after the first failure at which he is taken out in any case."""
SLOW: Final = 60.0
"""Seconds between the tries for an agent who is out while the PBX serves others, and between those of a
whole portal whose key the PBX refuses."""
SCOUT: Final = 3.0
"""Seconds between the tries of a portal while its whole PBX seems down."""
GROWTH: Final = 0.05
"""Share of an outage after which a single agent in trouble is tried again."""
ALONE: Final = 2
"""Failures while others were served, after which the trouble is this agent's."""
ALARM: Final = 60.0
"""Seconds, and one turn of the PBX for each agent, for which a status may differ before it is an alarm."""


def lane_of(extension: str) -> str:
    return f"{LANE}:{extension}"


# --- what a try told ------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Unneeded:
    """There was nothing to say."""


@dataclass(frozen=True, slots=True)
class Acknowledged:
    """The PBX took this word."""

    word: str


@dataclass(frozen=True, slots=True)
class Failed:
    """The PBX did not take it, or we do not know."""

    word: str
    error: JobError
    undone: bool
    """Certainly nothing happened: not sent, or refused."""
    refused: bool
    """A verdict: repeating it soon cannot help."""
    key: bool = False
    """It is the portal's key that is refused: nobody's status can be set."""
    fresh: bool = True
    """Whether this word was not in doubt before this try."""


# --- saying ---------------------------------------------------------------------------------------


def to_say(status: AgentStatus, words: Words, now: float) -> str | None:
    """The word that the PBX must be told; `None` when it acknowledged it and nothing casts doubt on that."""
    word = words.of(status.desired)
    confirm = status.confirm_at is not None and now >= status.confirm_at
    return word if status.acknowledged != word or status.doubtful or confirm else None


def saying(status: AgentStatus, word: str, now: float) -> AgentStatus:
    """Before `word` leaves: from here on it may hold at the PBX, whatever becomes of the answer."""
    if status.flying is not None:  # nobody came back from the last try
        status = _lost(status, status.flying, now)
    others = tuple(other for other in status.doubtful if other != word)
    return replace(status, doubtful=(*others, word), flying=word)


def _lost(status: AgentStatus, word: str, now: float) -> AgentStatus:
    kept = tuple((one, until) for one, until in status.lost if one != word)
    return replace(status, lost=(*kept, (word, now + DOUBT_MATURES)))


def acknowledged(status: AgentStatus, event: Acknowledged, words: Words, now: float) -> AgentStatus:
    """The PBX took the word: the trouble is over, and who was out comes back."""
    if status.out:
        status = noted(status, now, "back", "pbx")
    lost = tuple((word, until) for word, until in status.lost if until > now)
    confirm_at = max((until for word, until in lost if word != event.word), default=None)
    status = replace(
        status,
        acknowledged=event.word,
        acknowledged_at=now,
        doubtful=(),
        flying=None,
        lost=lost,
        confirm_at=confirm_at,
    )
    return diverging(_healthy(status), words, now)


def unneeded(status: AgentStatus, words: Words, now: float) -> AgentStatus:
    """Nothing was to be said: if so still, the desired status was acknowledged before the trouble."""
    if to_say(status, words, now) is not None:
        return status
    if status.out:
        status = noted(status, now, "back", "pbx")
    return diverging(_healthy(status), words, now)


def failed(
    status: AgentStatus, event: Failed, others: Iterable[AgentStatus], words: Words, now: float
) -> AgentStatus:
    """One more failure. `others` are the portal's other agents: with a PBX that is down they take turns."""
    status = replace(status, flying=None)
    if not event.undone:
        status = _lost(status, event.word, now)
    elif event.fresh:
        status = replace(status, doubtful=tuple(x for x in status.doubtful if x != event.word))
    if to_say(status, words, now) is None:
        return unneeded(status, words, now)  # what failed is not desired any more, and did nothing
    others = tuple(others)
    since = status.failing_since if status.failing_since is not None else now
    served = max((one.acknowledged_at or 0.0 for one in others), default=0.0)
    alone = status.alone + (status.failed_at is not None and served > status.failed_at)
    tries = status.tries + 1
    status = replace(status, failing_since=since, failed_at=now, tries=tries, alone=alone, error=event.error)
    status = replace(status, wide=event.key or not (event.refused or alone >= ALONE))
    if event.refused or tries > len(PAUSES) or now - since >= PATIENCE:
        status = _out(status, now)
    return diverging(replace(status, next_at=_next(status, event, others, now)), words, now)


def _next(status: AgentStatus, event: Failed, others: Iterable[AgentStatus], now: float) -> float:
    pause = PAUSES[status.tries - 1] if status.tries <= len(PAUSES) else SLOW
    if not status.wide:
        return now + (SLOW if event.refused else pause)
    queue = [one.next_at for one in others if one.wide and one.next_at is not None]
    if event.key:
        return max(now, *queue) + SLOW if queue else now + SLOW
    if queue:
        return max(now, *queue) + SCOUT
    # he may be the only one whom the PBX fails: the longer it lasts, the less he is worth its time
    gap = min(SLOW, max(SCOUT, GROWTH * (now - (status.failing_since or now))))
    return now + min(pause, gap)


def overdue(status: AgentStatus, agents: int, requests_per_second: float, now: float) -> bool:
    """Whether the status differs for longer than any backlog of the PBX explains."""
    if status.diverged_at is None or status.out:
        return False
    return now - status.diverged_at > ALARM + agents / requests_per_second


def alarmed(status: AgentStatus, now: float) -> AgentStatus:
    """Overdue: out, so that nobody relies on it."""
    error = status.error or JobError(
        "DIVERGED",
        "availability",
        "Unitalk did not acknowledge the agent's status for a long time.",
        "It is tried again by itself.",
        "nobody",
    )
    return _out(replace(status, error=error, failing_since=status.failing_since or now), now)


def doubted(status: AgentStatus) -> AgentStatus:
    """Forget what was acknowledged: the words changed, or statuses were not synchronised for a while."""
    return replace(status, acknowledged=None, acknowledged_at=None, doubtful=(), confirm_at=None)


def due(status: AgentStatus, words: Words, now: float) -> tuple[Owed, ...]:
    """The agent's only job, if the PBX must be told something now, at the next try or to make sure."""
    command = SetStatus(extension=status.extension)
    if to_say(status, words, now) is not None:
        return (Owed(KEY, command, Priority.FINISH, not_before=status.next_at),)
    if status.confirm_at is not None:
        return (Owed(KEY, command, Priority.FINISH, not_before=status.confirm_at),)
    return ()


def hurries(status: AgentStatus, words: Words, now: float) -> bool:
    """Whether a job that waits already, to make sure of an older status, must go now."""
    return status.next_at is None and to_say(status, words, now) is not None


def waits_for_the_pbx(status: AgentStatus) -> bool:
    """Whether one good answer of the PBX is reason enough to try this agent at once."""
    return status.wide and status.next_at is not None


def _out(status: AgentStatus, now: float) -> AgentStatus:
    if status.out:
        return status
    note = status.error.message if status.error else ""
    return noted(replace(status, out=True), now, "out", "pbx", note)


def _healthy(status: AgentStatus) -> AgentStatus:
    return replace(
        status,
        failing_since=None,
        failed_at=None,
        tries=0,
        alone=0,
        next_at=None,
        wide=False,
        out=False,
        error=None,
    )
