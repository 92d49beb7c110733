"""An agent's status: what the PBX should be told (desired), and what it last acknowledged (actual).

Pure. Here stand the value and the rules by which the sources decide; `core.agent_saying` says how it is
told to the PBX. «Actual» is never more than what the PBX acknowledged last: it cannot be asked
(unitalk.md §4.3). An agent is a PBX extension bound to a Bitrix24 user.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass, fields, replace
from enum import StrEnum
from typing import Any, Final

from bitrix_app.core.call import Call
from bitrix_app.core.events import Direction
from bitrix_app.core.jobs import JobError
from bitrix_app.core.lifecycle import Phase

HISTORY: Final = 40
"""Changes of one agent that are remembered."""
SOURCES: Final = ("calls", "timeman", "page")
"""What an agent's status may follow; the portal's settings choose."""


class Want(StrEnum):
    WORK = "work"
    PAUSE = "pause"


class Page(StrEnum):
    """What the agent, or a manager for him, chose on our page."""

    AVAILABLE = "available"
    PAUSE = "pause"
    AFTER_CALL = "pause_after_call"
    """Becomes `PAUSE` at the end of the call that the agent is in."""


class Why(StrEnum):
    """Which rule decided what is desired."""

    AVAILABLE = "available"
    CLOCKED_OUT = "clocked_out"
    BREAK = "break"
    """A pause of the working day in Bitrix24."""
    PAUSED = "paused"
    ON_CALL = "on_call"
    PAUSE_AFTER_CALL = "pause_after_call"
    """Works on until his call ends."""


class Clock(StrEnum):
    """The working day as `timeman.status` says it (bitrix24.md §12); only `OPENED` is clocked in."""

    OPENED = "OPENED"
    CLOSED = "CLOSED"
    PAUSED = "PAUSED"
    EXPIRED = "EXPIRED"


@dataclass(frozen=True, slots=True)
class Words:
    """What the PBX is told for working and for a pause: the portal's settings (unitalk.md §4.3)."""

    work: str = "WORK"
    pause: str = "PAUS"

    def of(self, want: Want) -> str:
        return self.work if want is Want.WORK else self.pause

    def meaning(self, word: str | None) -> Want | None:
        return {self.work: Want.WORK, self.pause: Want.PAUSE}.get(word or "")


@dataclass(frozen=True, slots=True)
class Change:
    """One line of an agent's history. `by` is `user:7`, `call`, `timeman`, `pbx` or `settings`; `what` a
    word of `Why`, or `out`, `back`."""

    at: float
    what: str
    by: str
    note: str = ""


@dataclass(frozen=True, slots=True)
class AgentStatus:
    """See the module. Instants are unix seconds; words in `acknowledged` and `doubtful` are the PBX's."""

    portal: str
    extension: str
    user_id: int
    # what the sources say
    page: Page = Page.AVAILABLE
    page_reason: str = ""
    clock: Clock | None = None
    """`None`: this user does not clock in (unknown to the time clock, an extranet user), or not asked yet."""
    clock_at: float | None = None
    calls: tuple[str, ...] = ()
    """Our ids of the calls that the agent is in."""
    # desired
    desired: Want = Want.WORK
    why: Why = Why.AVAILABLE
    since: float = 0.0
    # actual: last acknowledged by the PBX
    acknowledged: str | None = None
    acknowledged_at: float | None = None
    doubtful: tuple[str, ...] = ()
    """Words that were said and not answered: any of them may hold, or `acknowledged` still."""
    flying: str | None = None
    """The word of the try in flight; still here at the next try, it tells of a crash."""
    lost: tuple[tuple[str, float], ...] = ()
    """(word, until): a request whose answer was lost may still land until that instant."""
    confirm_at: float | None = None
    """A lost request with another word may undo the acknowledged one until then: after it the status is
    said once more."""
    # trouble
    diverged_at: float | None = None
    """Since when the acknowledged status is not the desired one."""
    failing_since: float | None = None
    failed_at: float | None = None
    tries: int = 0
    alone: int = 0
    """Failures of this trouble between which the PBX took another agent's status."""
    next_at: float | None = None
    wide: bool = False
    """The trouble seems to be the whole PBX's, not this agent's."""
    out: bool = False
    """Taken out of our dialer sending, because the PBX does not take his status."""
    error: JobError | None = None
    history: tuple[Change, ...] = ()

    @property
    def on_call(self) -> bool:
        return bool(self.calls)


# --- the rules ------------------------------------------------------------------------------------


def decide(status: AgentStatus, sources: Iterable[str]) -> tuple[Want, Why]:
    """What is desired by the sources that count; the first rule that applies decides."""
    counts = frozenset(sources)
    if "timeman" in counts and status.clock is not None and status.clock is not Clock.OPENED:
        return Want.PAUSE, (Why.BREAK if status.clock is Clock.PAUSED else Why.CLOCKED_OUT)
    if "page" in counts and status.page is Page.PAUSE:
        return Want.PAUSE, Why.PAUSED
    if "calls" in counts and status.on_call:
        return Want.PAUSE, Why.ON_CALL
    if "page" in counts and status.page is Page.AFTER_CALL:
        return Want.WORK, Why.PAUSE_AFTER_CALL
    return Want.WORK, Why.AVAILABLE


def settled(
    status: AgentStatus, sources: Iterable[str], words: Words, now: float, by: str, note: str = ""
) -> AgentStatus:
    """The status after something was changed in its sources, `by` somebody or something."""
    if status.page is Page.AFTER_CALL and not status.on_call:
        status = replace(status, page=Page.PAUSE)
    desired, why = decide(status, sources)
    first = not status.history
    if first or (desired, why) != (status.desired, status.why):
        since = status.since if desired is status.desired and not first else now
        status = replace(status, desired=desired, why=why, since=since)
        status = noted(status, now, why.value, by, note)
    return diverging(status, words, now)


def diverging(status: AgentStatus, words: Words, now: float) -> AgentStatus:
    """Keeps the instant from which acknowledged and desired differ."""
    same = status.acknowledged == words.of(status.desired) and not status.doubtful
    if same:
        return replace(status, diverged_at=None) if status.diverged_at is not None else status
    return replace(status, diverged_at=now) if status.diverged_at is None else status


def noted(status: AgentStatus, now: float, what: str, by: str, note: str = "") -> AgentStatus:
    return replace(status, history=(*status.history, Change(now, what, by, note))[-HISTORY:])


def chosen(status: AgentStatus, page: Page, reason: str) -> AgentStatus:
    """The choice on our page. «After this call» without a call is a pause at once."""
    if page is Page.AFTER_CALL and not status.on_call:
        page = Page.PAUSE
    return replace(status, page=page, page_reason="" if page is Page.AVAILABLE else reason)


def clocked(status: AgentStatus, clock: Clock | None, now: float) -> AgentStatus:
    return replace(status, clock=clock, clock_at=now)


def in_calls(status: AgentStatus, *, begun: str = "", ended: str = "") -> AgentStatus:
    calls = tuple(call for call in status.calls if call not in (begun, ended))
    return replace(status, calls=(*calls, begun) if begun else calls)


def busy_in(call: Call) -> frozenset[str]:
    """The extensions that are on the phone in this call: who talks, and who dialled out himself.

    A dialer's call is nobody's until an operator answers; a colleague who merely rings is free.
    """
    if not call.is_live:
        return frozenset()
    talking = call.phase is Phase.TALKING
    if call.direction is Direction.INNER:
        # who answered of several is not told: then only the caller is certain
        return frozenset(call.ringing if talking and len(call.ringing) == 2 else call.ringing[:1])
    busy = {call.legs[-1].extension} if call.legs and talking else set()
    if call.direction is Direction.OUT and call.dialer_id is None and len(call.legs) < 2:
        busy |= set(call.ringing[:1])  # until he hands the client over to somebody else
    return frozenset(busy)


# --- who may be offered to the dialer -------------------------------------------------------------


def is_available(status: AgentStatus, words: Words) -> bool:
    """Whether the PBX acknowledged that he works, nothing said since may have changed it, and he is in."""
    return (
        status.desired is Want.WORK
        and not status.out
        and not status.on_call
        and status.acknowledged == words.work
        and not status.doubtful
        and status.confirm_at is None
    )


@dataclass(frozen=True, slots=True)
class AgentTrouble:
    """An entry of the retry list, kind `agent_status`. `state` is `attention` once the agent is out."""

    id: str
    extension: str
    user_id: int
    state: str
    attempts: int
    next_attempt_at: float | None
    error: JobError
    created_at: float
    updated_at: float


def trouble_of(status: AgentStatus) -> AgentTrouble | None:
    """The agent's entry of the retry list; `None` when the PBX takes his status."""
    if status.error is None or status.failing_since is None:
        return None
    return AgentTrouble(
        id=f"agent:{status.extension}",
        extension=status.extension,
        user_id=status.user_id,
        state="attention" if status.out else "retrying",
        attempts=status.tries,
        next_attempt_at=status.next_at,
        error=status.error,
        created_at=status.failing_since,
        updated_at=status.failed_at or status.failing_since,
    )


# --- as stored ------------------------------------------------------------------------------------


def pack(status: AgentStatus) -> dict[str, Any]:
    """JSON-able; fields at their default are left out."""
    data: dict[str, Any] = {}
    for f in fields(status):
        value = getattr(status, f.name)
        if value != f.default:
            data[f.name] = value
    if status.error is not None:
        data["error"] = asdict(status.error)
    if status.history:
        data["history"] = [[one.at, one.what, one.by, one.note] for one in status.history]
    return data


def unpack(data: dict[str, Any]) -> AgentStatus:
    """The status back from `pack`; unknown keys (of a newer version) are ignored."""
    names = {f.name for f in fields(AgentStatus)}
    known: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in data.items() if k in names}
    for name, read in _READ.items():
        if known.get(name) is not None:
            known[name] = read(known[name])
    return AgentStatus(**known)


_READ: Final[dict[str, Any]] = {
    "page": Page,
    "clock": Clock,
    "desired": Want,
    "why": Why,
    "error": lambda error: JobError(**error),
    "lost": lambda lines: tuple((str(word), float(until)) for word, until in lines),
    "history": lambda lines: tuple(Change(*line) for line in lines),
}
