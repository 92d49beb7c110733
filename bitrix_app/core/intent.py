"""A call that somebody wants made and that has not come about: an entry of the retry list.

Kinds: a call start that failed, and a client who called and reached nobody. One entry for a client and
an agent (call start) or for a client (missed). Pure; instants are unix seconds, numbers E.164 where read.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from enum import StrEnum
from typing import Any, Final

from bitrix_app.core.dial import Failure, unpack_failure
from bitrix_app.core.jobs import JobState


class Kind(StrEnum):
    CALL_START = "call_start"
    MISSED = "missed_call"


class Act(StrEnum):
    """What was done with an entry, by a person or by itself."""

    LISTED = "listed"
    TRIED = "tried"
    FAILED = "failed"
    MISSED_AGAIN = "missed_again"
    GIVEN = "given"
    MOVED = "moved"
    EDITED = "edited"
    RESCHEDULED = "rescheduled"
    OVERDUE = "overdue"
    CLOSED = "closed"
    DONE = "done"
    CANCELLED = "cancelled"
    UNDONE = "undone"


@dataclass(frozen=True, slots=True)
class Deed:
    """One line of an entry's history. `by` is the user, `None` for the list itself."""

    at: float
    act: Act
    by: int | None = None
    detail: str = ""


OPEN: Final = frozenset({JobState.WAITING, JobState.RUNNING, JobState.RETRYING, JobState.ATTENTION})
UNDO_WITHIN: Final = 10.0
"""Seconds for which an entry that a person closed can be opened again (interface.md)."""
PAUSES: Final = (60.0, 300.0, 900.0)
"""Seconds before each automatic try; only after failures in which certainly nothing rang."""
BY_ITSELF: Final = frozenset({"connection", "availability", "rate_limit", "hours"})
"""Categories of failures that time mends without a person."""
MOST_DEEDS: Final = 50


@dataclass(frozen=True, slots=True)
class Intent:
    """See the module. `agent` is the Bitrix24 user who is to call, `None` for whoever is free.

    `due_at`: when it is tried by itself (`retrying`) or should have been called by a person
    (`waiting`). `calls` are our calls of it, the newest last. `escalation`: 0 the owner's, 1 anybody's,
    2 the manager was told.
    """

    id: str
    portal: str
    kind: Kind
    state: JobState
    number: str
    created_at: float
    updated_at: float
    agent: int | None = None
    line: str | None = None
    crm_type: str | None = None
    crm_id: int | None = None
    calls: tuple[str, ...] = ()
    attempts: int = 0
    due_at: float | None = None
    failure: Failure | None = None
    certain: bool = True
    """Whether certainly nothing rang at the last try."""
    since: float = 0.0
    """When it was wanted last: a conversation before that does not settle it."""
    missed: int = 0
    """How often the client called in vain."""
    escalation: int = 0
    text: str = ""
    closed_by: str | None = None
    """The call that settled it."""
    reason: str = ""
    """Why a person closed it."""
    closed_at: float | None = None
    before: str | None = None
    """The state before a person closed it, for the undo."""
    deeds: tuple[Deed, ...] = ()

    @property
    def is_open(self) -> bool:
        return self.state in OPEN

    @property
    def max_attempts(self) -> int:
        """Automatic tries included; people may try as often as they like."""
        return len(PAUSES) + 1


class Wrong(Exception):
    """An act that would be wrong now. `reason` says why, in words, and what to do."""

    def __init__(self, code: str, reason: str) -> None:
        super().__init__(reason)
        self.code = code
        self.reason = reason


# --- what happens to it ----------------------------------------------------------------------------


def noted(intent: Intent, now: float, act: Act, by: int | None = None, detail: str = "") -> Intent:
    deeds = (*intent.deeds, Deed(now, act, by, detail[:500]))[-MOST_DEEDS:]
    return replace(intent, updated_at=now, deeds=deeds)


def tried(intent: Intent, call_id: str, now: float, by: int | None) -> Intent:
    """A call is being started for it."""
    going = replace(
        intent,
        state=JobState.RUNNING,
        calls=(*intent.calls, call_id),
        attempts=intent.attempts + 1,
        due_at=None,
    )
    return noted(going, now, Act.TRIED, by, call_id)


def failed(intent: Intent, failure: Failure, now: float, *, certain: bool, next_at: float | None) -> Intent:
    """A start failed. `next_at`: when it is tried by itself, when that is allowed at all."""
    if not intent.is_open:
        return intent
    state = JobState.ATTENTION if next_at is None else JobState.RETRYING
    stands = replace(intent, state=state, failure=failure, certain=certain, due_at=next_at)
    return noted(stands, now, Act.FAILED, None, failure.code)


def may_repeat(intent: Intent, failure: Failure, *, certain: bool) -> float | None:
    """The pause in seconds before a try by itself, or `None` when a person must decide."""
    if not certain or failure.category not in BY_ITSELF:
        return None
    if failure.category == "hours":
        return 0.0  # the opening decides, and however often it was pressed before, nothing was tried
    if intent.attempts > len(PAUSES):
        return None
    return PAUSES[max(0, intent.attempts - 1)]


def not_reached(
    intent: Intent, failure: Failure | None, now: float, *, certain: bool, due_at: float
) -> Intent:
    """A try to call a missed client back did not reach him; he is due anew, for whoever has him, and who
    must look when nobody calls is asked from the beginning.
    """
    if not intent.is_open:
        return intent
    back = replace(
        intent, state=JobState.WAITING, failure=failure, certain=certain, due_at=due_at, escalation=0
    )
    return noted(back, now, Act.FAILED, None, failure.code if failure else "NOT_REACHED")


def missed_again(intent: Intent, call_id: str, since: float, now: float) -> Intent:
    """The client called in vain once more; the first call's due time stands."""
    if call_id in intent.calls:
        return intent
    more = replace(
        intent, calls=(*intent.calls, call_id), missed=intent.missed + 1, since=max(since, intent.since)
    )
    return noted(more, now, Act.MISSED_AGAIN, None, call_id)


def given(intent: Intent, user_id: int, now: float) -> Intent:
    """The rules named an owner; whoever a person chose stays."""
    by_hand = any(deed.act is Act.MOVED for deed in intent.deeds)
    if not intent.is_open or by_hand or intent.escalation or intent.agent == user_id:
        return intent
    return noted(replace(intent, agent=user_id), now, Act.GIVEN, None, str(user_id))


def settled(intent: Intent, call_id: str, now: float) -> Intent:
    """A later call with the client settles it by itself."""
    if not intent.is_open:
        return intent
    over = replace(intent, state=JobState.DONE, closed_by=call_id, closed_at=now, due_at=None)
    return noted(over, now, Act.CLOSED, None, call_id)


def overdue(intent: Intent, now: float, next_at: float | None) -> Intent:
    """Nobody called in time: first anybody may, then the manager has to look."""
    if intent.state is not JobState.WAITING or intent.escalation >= 2:
        return intent
    level = intent.escalation + 1
    more = replace(
        intent,
        escalation=level,
        agent=None if level == 1 else intent.agent,
        state=JobState.WAITING if level == 1 else JobState.ATTENTION,
        due_at=next_at,
        failure=OVERDUE if level == 2 else intent.failure,
    )
    return noted(more, now, Act.OVERDUE, None, str(level))


OVERDUE: Final = Failure(
    "OVERDUE",
    "availability",
    "Nobody has called this client back in time.",
    "Call the client, or give the call to somebody.",
    "manager",
)


# --- what people do with it ------------------------------------------------------------------------


def check_open(intent: Intent) -> None:
    """Raises `Wrong` for an entry that is settled."""
    if intent.state is JobState.CANCELLED:
        raise Wrong(
            "CANCELLED", "This entry was cancelled. Undo that within ten seconds, or call from the CRM."
        )
    if intent.state is JobState.DONE:
        raise Wrong("SETTLED", "This entry is settled already.")


def check_idle(intent: Intent) -> None:
    """Raises `Wrong` for an entry that is settled, or whose call is just being made."""
    check_open(intent)
    if intent.state is JobState.RUNNING:
        raise Wrong("RUNNING", "A call of this entry is being made just now. Wait until it is over.")


def moved(intent: Intent, agent: int, now: float, by: int) -> Intent:
    check_idle(intent)
    return noted(replace(intent, agent=agent), now, Act.MOVED, by, str(agent))


def edited(intent: Intent, number: str, now: float, by: int) -> Intent:
    check_idle(intent)
    return noted(replace(intent, number=number), now, Act.EDITED, by, f"{intent.number} → {number}")


def rescheduled(intent: Intent, at: float, now: float, by: int) -> Intent:
    """A call start is tried by itself then; a missed call is then due."""
    check_idle(intent)
    if at <= now:
        raise Wrong("PAST", "This time is over. Choose a later one.")
    if intent.kind is Kind.CALL_START and intent.agent is None:
        raise Wrong("NO_AGENT", "Nobody has this call yet. Give it to somebody first, then choose a time.")
    state = JobState.RETRYING if intent.kind is Kind.CALL_START else JobState.WAITING
    return noted(replace(intent, state=state, due_at=at, escalation=0), now, Act.RESCHEDULED, by)


def cancelled(intent: Intent, reason: str, now: float, by: int) -> Intent:
    check_idle(intent)
    return noted(_closed(intent, JobState.CANCELLED, reason, now), now, Act.CANCELLED, by, reason)


def done(intent: Intent, reason: str, now: float, by: int) -> Intent:
    check_idle(intent)
    return noted(_closed(intent, JobState.DONE, reason, now), now, Act.DONE, by, reason)


def undone(intent: Intent, now: float, by: int) -> Intent:
    """Open again what a person closed a moment ago."""
    if intent.is_open or intent.before is None or intent.closed_at is None:
        raise Wrong("NOTHING_TO_UNDO", "There is nothing to undo.")
    if now - intent.closed_at > UNDO_WITHIN:
        raise Wrong("TOO_LATE", "This can be undone for ten seconds only.")
    back = replace(intent, state=JobState(intent.before), before=None, closed_at=None, reason="")
    return noted(back, now, Act.UNDONE, by)


def _closed(intent: Intent, state: JobState, reason: str, now: float) -> Intent:
    if not reason.strip():
        raise Wrong("NO_REASON", "Say why, in a word or two: others will read it.")
    return replace(intent, state=state, reason=reason.strip()[:500], before=intent.state.value, closed_at=now)


# --- as data ---------------------------------------------------------------------------------------


def pack(intent: Intent) -> dict[str, Any]:
    """JSON-able; fields at their default are left out."""
    data = asdict(intent)
    return {f.name: data[f.name] for f in fields(intent) if getattr(intent, f.name) != f.default}


def unpack(data: Mapping[str, Any]) -> Intent:
    """The entry back from `pack`; unknown keys (of a newer version) are ignored."""
    known = {f.name: data[f.name] for f in fields(Intent) if f.name in data}
    known["kind"], known["state"] = Kind(known["kind"]), JobState(known["state"])
    known["calls"] = tuple(known.get("calls", ()))
    known["deeds"] = tuple(
        Deed(d["at"], Act(d["act"]), d.get("by"), d.get("detail", "")) for d in known.get("deeds", ())
    )
    known["failure"] = unpack_failure(known.get("failure"))
    return Intent(**known)
