"""The start of a call: asked, taken by the PBX, claimed by its webhooks – or failed, or never traced.

The rule above all: the PBX is asked once for one wish (unitalk.md §1.1 no. 5). When its answer is lost,
webhooks and the history tell whether it rang; nobody asks it again on a guess. Pure.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from bitrix_app.core import cards, lifecycle
from bitrix_app.core.call import Call
from bitrix_app.core.commands import AssignCallback, Dial, Finish, Notify, Priority, Register, TraceDial
from bitrix_app.core.dial import OPEN, Dialling, DialState, Failure, Origin
from bitrix_app.core.events import CallbackAssigned, DialFailed, Direction
from bitrix_app.core.lifecycle import Move
from bitrix_app.core.news import StartFailed
from bitrix_app.core.outcome import Outcome
from bitrix_app.core.transition import Owed, Transition, Wake

STALE_AFTER: Final = 20.0
"""Seconds after the click for which a call is worth starting by itself (design.md §5)."""
TRACE_AT: Final = (30.0, 75.0, 110.0)
"""Seconds after the asking at which the history is read, while no webhook told of a ring."""
UNTRACED_AFTER: Final = 120.0
"""Seconds after which nobody waits for a ring any more (unitalk.md §5)."""
ASK_AGAIN: Final = 60.0
"""Seconds by which the end of waiting is put off while the PBX is still being asked."""
ASKED_AT_MOST: Final = 600.0
"""Seconds after which nobody is asking any more, whatever became of the job: a request takes seconds, and
a job that is found later asks nobody, because the call is over by then."""
LATE_TRACES: Final = (600.0, 3_600.0, 3 * 3_600.0)
"""Seconds after the asking at which the history is read once more: a long call without webhooks
stands there only after its end (unitalk.md §4.4)."""

UNTRACED: Final = Failure(
    "UNTRACED",
    "unknown",
    "Nothing shows that the phone rang: the PBX sent no event of this call and has none in its history.",
    "Look at your phone. If it did not ring, call again from the list.",
    "agent",
    "OTHER",
)


def after_register(call: Call) -> tuple[str, ...]:
    """What a card and Finish need: our Register, unless Bitrix24 had registered the call itself."""
    return () if call.given_id else ("register",)


def begin(call: Call, failure: Failure | None, now: float) -> Transition:
    """A new call whose `dial` is asked: ask the PBX, or say at once why not."""
    dial = _dial(call)
    if failure is not None:
        return fail(call, failure, now)
    owed = Owed("dial", Dial(dial.extension or "", call.number or ""), Priority.LIVE)
    wakes = (Wake(dial.asked_at + TRACE_AT[0], "trace"), Wake(dial.asked_at + UNTRACED_AFTER, "untraced"))
    return Transition(call, (owed,), wakes)


def join(call: Call, first: Call, now: float) -> Transition:
    """A second press: its card goes, its CALL_ID is never finished, so that Bitrix24 writes no second
    record of one conversation and drops it by itself (bitrix24.md §6.1).
    """
    dial = _dial(call)
    joined = replace(
        call,
        phase=lifecycle.step(lifecycle.step(call.phase, Move.END), Move.CLOSE),
        outcome=Outcome.NOT_STARTED,
        ended_at=now,
        shown=(),
        shown_users=(),
        skipped="The button was pressed twice; the first press makes the call",
        dial=replace(dial, state=DialState.JOINED, joined=first.id),
    )
    if not (joined.carded or joined.carded_users):
        return Transition(joined)
    joined, hiding, wake = cards.hide(joined, now)
    return Transition(joined, (hiding,), (wake,))


def accepted(call: Call) -> Transition:
    """The PBX took the wish."""
    if _dial(call).state is not DialState.ASKED:
        return Transition(call)
    return Transition(_in_state(call, DialState.ACCEPTED))


def refused(call: Call, event: DialFailed, now: float) -> Transition:
    """The PBX did not take it, or its answer was lost."""
    if _dial(call).state is not DialState.ASKED:
        return Transition(call)  # it rang meanwhile, or was given up: that stands
    if event.certain:
        return fail(call, event.failure, now)
    doubted = _in_state(call, DialState.DOUBTED)
    return Transition(replace(doubted, dial=replace(_dial(doubted), failure=event.failure)))


def claimed(call: Call, line: str | None = None) -> Call:
    """A call of the PBX turned out to be this one. Its `line` is what the PBX says: which one is shown to
    the client its own scenarios decide (unitalk.md §4.1).
    """
    if call.dial is None or call.dial.state not in OPEN:
        return call
    return replace(call, line=line or call.line, dial=replace(call.dial, state=DialState.RANG, failure=None))


CLAIM_ENDS: Final = ("trace", "untraced", "late_trace")
"""Timers that a claimed call no longer needs."""


def trace(call: Call, now: float) -> Transition:
    """No webhook so far: read the history."""
    dial = _dial(call)
    if dial.state not in OPEN:
        return Transition(call)
    traces = dial.traces + 1
    left = [dial.asked_at + seconds for seconds in TRACE_AT if dial.asked_at + seconds > now]
    wakes = (Wake(left[0], "trace"),) if left else ()
    return Transition(replace(call, dial=replace(dial, traces=traces)), (_asked_history(traces),), wakes)


def late_trace(call: Call, now: float) -> Transition:
    """The start was given up as untraced; perhaps a long call stands in the history by now."""
    dial = _dial(call)
    if dial.state is not DialState.UNTRACED:
        return Transition(call)
    traces = dial.traces + 1
    return Transition(
        replace(call, dial=replace(dial, traces=traces)), (_asked_history(traces),), _next_late(dial, now)
    )


def give_up(call: Call, now: float) -> Transition:
    """Two minutes without a ring: close the card, let a person look."""
    dial = _dial(call)
    if dial.state is DialState.ASKED and now - dial.asked_at < ASKED_AT_MOST:
        # the PBX is still being asked, or will be: its answer decides, and nothing may overtake it
        return Transition(call, wakes=(Wake(now + ASK_AGAIN, "untraced"),))
    if dial.state not in OPEN:
        return Transition(call)
    return fail(call, UNTRACED, now, DialState.UNTRACED)


def fail(call: Call, failure: Failure, now: float, state: DialState = DialState.FAILED) -> Transition:
    """The call is not started: close its card with the reason, tell whoever asked, put it on the list."""
    dial = replace(_dial(call), state=state, failure=failure)
    call, wakes = cards.ending(call, now)
    ended = replace(
        call,
        phase=lifecycle.step(call.phase, Move.END),
        outcome=Outcome.NOT_STARTED,
        ended_at=now,
        talk_seconds=0,
        dial=dial,
    )
    owed: list[Owed] = []
    if call.given_id or call.register_owed:
        finish = Finish(
            extension=dial.extension,
            status_code=failure.status_code,
            failed_reason=failure.message,
            user_id=dial.by or call.user_id,
        )
        owed.append(Owed("finish", finish, Priority.FINISH, needs=after_register(call)))
    else:
        ended = replace(ended, phase=lifecycle.step(ended.phase, Move.CLOSE), skipped=failure.message)
    if dial.by is not None and dial.origin is not Origin.RULE:
        # of a try by itself the list tells, once, when it tries no more
        owed.append(Owed("notify:start", start_notice(call, failure, dial.by), Priority.FINISH))
    if state is DialState.UNTRACED:
        wakes = (*wakes, *_next_late(dial, now))
    return Transition(
        ended,
        tuple(owed),
        wakes,
        ("trace", "untraced", "register", "no_end"),
        (*cards.KINDS, TraceDial.kind, Dial.kind),
        news=(StartFailed(failure, certain=state is DialState.FAILED),),
    )


def start_notice(call: Call, failure: Failure, user_id: int) -> Notify:
    """What the agent is told; later tries of the same entry of the list replace the notice."""
    number = call.number or call.raw_number or "–"
    said = f"The call to {number} was not started.\n{failure.message}\n{failure.hint or '–'}"
    wish = (call.dial.intent if call.dial else None) or call.id
    return Notify(tag=f"start:{wish}", message=said, user_id=user_id)


def _asked_history(number: int) -> Owed:
    return Owed(f"trace_dial:{number}", TraceDial(), Priority.CRM)


def _next_late(dial: Dialling, now: float) -> tuple[Wake, ...]:
    left = [dial.asked_at + seconds for seconds in LATE_TRACES if dial.asked_at + seconds > now]
    return (Wake(left[0], "late_trace"),) if left else ()


def _in_state(call: Call, state: DialState) -> Call:
    return replace(call, dial=replace(_dial(call), state=state))


def _dial(call: Call) -> Dialling:
    if call.dial is None or call.direction is not Direction.OUT:
        raise ValueError(f"nobody asked us for the call {call.id}")
    return call.dial


# --- a callback form -------------------------------------------------------------------------------


ASSIGN_WITHIN: Final = 60.0
"""Seconds after which a callback no longer waits for its responsible person to be found."""

NOBODY: Final = Failure(
    "NO_AGENT",
    "not_found",
    "Nobody could be found who calls this client back.",
    "Take the call from the list.",
    "manager",
    "OTHER",
)


def begin_callback(call: Call, now: float) -> Transition:
    """A client asks by a form to be called: first find whose client he is."""
    owed = Owed("assign_callback", AssignCallback(), Priority.LIVE)
    return Transition(call, (owed,), (Wake(now + ASSIGN_WITHIN, "assign"),))


def assigned(call: Call, event: CallbackAssigned, now: float) -> Transition:
    """Whose the callback is: register it (TYPE 4), then ring him and the client, or put it on the list."""
    dial = _dial(call)
    if call.register_owed:
        return Transition(call)
    owned = replace(
        call,
        user_id=event.user_id,
        register_owed=True,
        register_extension=event.extension,
        # the PBX is asked only now: its call begins after this, however long ago the client asked
        dial=replace(dial, extension=event.extension, by=event.user_id, asked_at=max(dial.asked_at, now)),
        shown=(event.extension,) if event.extension and event.failure is None else (),
        carded=(event.extension,) if event.extension and event.failure is None else (),
    )
    return _registered_first(owned, begin(owned, event.failure, now), event.user_id)


def unassigned(call: Call, now: float) -> Transition:
    """Nobody could be asked in time: the callback is written by the line's rule and stands on the list."""
    if call.register_owed or not call.is_live:
        return Transition(call)
    owned = replace(call, register_owed=True)
    return _registered_first(owned, fail(owned, NOBODY, now), None)


def _registered_first(call: Call, then: Transition, user_id: int | None) -> Transition:
    command = Register(
        extension=call.register_extension,
        show=bool(call.shown),
        crm_create=True,
        user_id=user_id,
    )
    owed = Owed("register", command, Priority.LIVE, mutex=f"number:{call.number or call.raw_number}")
    return replace(then, owed=(owed, *then.owed), unwake=(*then.unwake, "assign"))
