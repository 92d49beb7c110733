"""What an event means for a call: call + event → call′ + what is now owed.

Pure: no I/O, no clock, no chance. `now` is an argument. See design.md §5 for the rules and
unitalk.md §5 for the life of a call.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from bitrix_app.core import cards, dialling, lifecycle
from bitrix_app.core.call import Call, Recording
from bitrix_app.core.commands import (
    AssignCallback,
    AttachRecording,
    CopyRecording,
    Dial,
    FetchRecording,
    FileDocument,
    Finish,
    LayoutBlocks,
    Priority,
    Register,
    TraceDial,
    UpdateRecord,
)
from bitrix_app.core.dial import Failure
from bitrix_app.core.dispositions import is_autodial, pasts_of, records_owed, status_code
from bitrix_app.core.events import (
    CallbackAssigned,
    CallEvent,
    CardsHidden,
    DialAccepted,
    DialFailed,
    Direction,
    Disposed,
    DocumentFiled,
    Done,
    Due,
    Finished,
    GivenUp,
    Heard,
    Moved,
    PbxReport,
    RecordingAttached,
    RecordingCopied,
    RecordingFetched,
    Registered,
    ResponsibleFound,
    Step,
    Traced,
    Unheard,
)
from bitrix_app.core.facts import merged, with_report
from bitrix_app.core.lifecycle import IllegalMove, Move, Phase
from bitrix_app.core.outcome import FAILED_REASON, NOBODY_REACHED, STATUS_CODE, Outcome
from bitrix_app.core.ownership import moved, owned, unmatched_notice
from bitrix_app.core.recordings import ONLY_ONE as ONLY_ONE
from bitrix_app.core.recordings import recording_of
from bitrix_app.core.telling import told
from bitrix_app.core.transition import Owed, Rules, Transition, Wake

__all__ = ["Owed", "Rules", "Transition", "Wake", "advance"]

REGISTER_AFTER: Final = 3.0
"""Seconds after the first event at which a call without a known extension is registered."""
NO_END_AFTER: Final = 3 * 3600.0
"""Seconds after which a call that never ended is closed as unknown (unitalk.md §5)."""
DOCUMENT_AFTER: Final = 600.0
"""Seconds after Finish at which the document is filed even though the recording is not there."""


def advance(call: Call, event: CallEvent, now: float, rules: Rules) -> Transition:
    """The meaning of `event`. Raises `IllegalMove` when the lifecycle forbids it."""
    moved = _advance(call, event, now, rules)
    return replace(moved, news=(*moved.news, *told(call, moved.call)))


def _advance(call: Call, event: CallEvent, now: float, rules: Rules) -> Transition:
    match event:
        case PbxReport():
            known = dialling.claimed(call, event.facts.line)
            moved = _reported(known, event, now, rules)
            if known is call:
                return moved
            return replace(
                moved,
                unwake=(*moved.unwake, *dialling.CLAIM_ENDS),
                cancel=(*moved.cancel, TraceDial.kind, AssignCallback.kind),
            )
        case DialAccepted():
            return dialling.accepted(call)
        case DialFailed():
            return dialling.refused(call, event, now)
        case CallbackAssigned():
            return dialling.assigned(call, event, now)
        case GivenUp(kind=Dial.kind):
            lost = Failure(event.code, "unknown", event.message)
            return dialling.refused(call, DialFailed(lost, certain=False), now)
        case GivenUp(kind=AssignCallback.kind) | Due(reason="assign"):
            return dialling.unassigned(call, now)
        case Due(reason="trace"):
            return dialling.trace(call, now)
        case Due(reason="untraced"):
            return dialling.give_up(call, now)
        case Due(reason="late_trace"):
            return dialling.late_trace(call, now)
        case Due(reason=cards.WAKE):
            return cards.swept(call, now)
        case Due(reason="register"):
            return _register(call, rules) if call.is_live else Transition(call)
        case Due(reason="no_end"):
            return _never_ended(call, now, rules)
        case Due(reason="stranded"):
            over = call.is_live or call.finished or bool(call.skipped)
            return Transition(call) if over else _ended(call, now, rules)
        case Due(reason="document"):
            return _document(call, rules) if call.finished and not call.documents_owed else Transition(call)
        case Heard():
            if call.bitrix_call_id or call.heard_bitrix_id:
                return Transition(call)
            return Transition(replace(call, heard_bitrix_id=event.bitrix_call_id))
        case Unheard():
            is_so = call.heard_bitrix_id == event.bitrix_call_id
            return Transition(replace(call, heard_bitrix_id=None) if is_so else call)
        case Registered():
            return _registered(call, event, now, rules)
        case ResponsibleFound():
            return cards.found(call, event, now)
        case CardsHidden():
            return cards.hidden(call, event, now)
        case Finished():
            return cards.closed(_finished(call, event, now, rules))
        case RecordingFetched():
            state = Recording.FETCHED if call.recording in _UNFETCHED else call.recording
            return Transition(
                replace(
                    call,
                    recording=state,
                    recording_file=event.file,
                    recording_size=event.size,
                    recording_media=event.media,
                )
            )
        case RecordingAttached():
            return _attached(call, event, rules)
        case RecordingCopied():
            copied = replace(
                call,
                recording=Recording.COPIED,
                drive_copy_id=event.file_id,
                drive_copy_name=event.name,
            )
            documented = _document(copied, rules)
            further, recording = recording_of(documented.call, rules)
            return replace(documented, call=further, owed=(*documented.owed, *recording))
        case DocumentFiled():
            filed = replace(
                call,
                document_id=event.file_id,
                document_name=event.name,
                document_folder_id=event.folder_id,
            )
            return Transition(_closed_if_complete(filed, rules))
        case Moved():
            return _moved(call, event, rules)
        case Disposed():
            notes = (*call.notes, event.note) if event.note and event.note not in call.notes else call.notes
            return Transition(replace(call, notes=notes), remember=(event.past,))
        case GivenUp(kind="show"):
            return cards.shown(call, event, now)
        case Done(key=key) if key in call.shows_open or event.doubted_at is not None:
            return cards.shown(call, event, now)
        case GivenUp():
            return _given_up(call, event, rules)
        case Due() | Done() | Traced():
            return Transition(call)


_UNFETCHED: Final = (Recording.NONE, Recording.EXPECTED, Recording.MISSING)
_MOVES: Final = {
    Step.NEW: Move.ANNOUNCE,
    Step.OFFERED: Move.OFFER,
    Step.ANSWERED: Move.ANSWER,
    Step.ENDED: Move.END,
}


# --- told by the PBX -----------------------------------------------------------------------------


def _reported(call: Call, event: PbxReport, now: float, rules: Rules) -> Transition:
    was_live = call.is_live
    if call.dial is not None:  # we asked for it, so it goes out, whatever a leg of it is called
        event = replace(event, facts=replace(event.facts, direction=None))
    known = with_report(call, event, now)
    known = replace(known, phase=lifecycle.step(call.phase, _MOVES[event.step]))
    if known.direction is Direction.INNER:
        return Transition(replace(known, skipped="inner call"), unwake=("register", "no_end"))
    if not was_live:
        return _late(call, known, rules)
    if event.step is Step.ENDED:
        return _ended(known, now, rules)
    moved = _cards(known, event, now, rules)
    wakes = moved.wakes
    if call.phase is Phase.ANNOUNCED and call.pbx_id is None:  # the first we hear of it
        wakes = (*wakes, Wake(now + NO_END_AFTER, "no_end"))
        if not moved.call.register_owed and not _may_fold(moved.call, rules):
            wakes = (*wakes, Wake(now + REGISTER_AFTER, "register"))
    return replace(moved, wakes=wakes)


def _cards(call: Call, event: PbxReport, now: float, rules: Rules) -> Transition:
    """A live call: register it when an agent is known, then keep the cards where it rings."""
    who = cards.wanted(call, event, now)
    if not who:
        return Transition(call)
    if call.register_owed:
        return cards.moved(call, event, who, now)
    registered = _register(call, rules, who[0])
    shown = cards.moved(registered.call, event, who, now)
    return replace(shown, owed=(*registered.owed, *shown.owed))


def _register(call: Call, rules: Rules, extension: str | None = None) -> Transition:
    if call.register_owed or call.skipped:
        return Transition(call)
    create = rules.crm_create_out if call.direction is Direction.OUT else rules.crm_create_in
    show = call.is_live
    owed = Owed(
        "register",
        Register(extension=extension, show=show, crm_create=create, group=call.group),
        Priority.LIVE if show else Priority.FINISH,
        mutex=f"number:{number}" if create and (number := call.number or call.raw_number) else None,
    )
    opened = (extension,) if extension and show else ()
    registered = replace(
        call,
        register_owed=True,
        register_extension=extension,
        shown=merged(call.shown, opened),
        carded=merged(call.carded, opened),
    )
    return Transition(registered, (owed,), unwake=("register",))


def _may_fold(call: Call, rules: Rules) -> bool:
    """Whether the portal wants no word of this call if it reaches nobody: then it is not announced either,
    until an agent has it."""
    return rules.fold_unanswered_dials and not call.register_owed and is_autodial(call)


def _folded(call: Call, rules: Rules) -> Transition:
    """Only the outcome goes to the CRM record; Bitrix24 hears of no call."""
    folded = replace(call, shown=(), skipped="skipped by rule: an unanswered call of the autodialer")
    owed = tuple(replace(_update(record), needs=()) for record in records_owed(folded, rules.dispositions))
    return Transition(folded, owed, (), ("register", "no_end"), remember=pasts_of(folded))


def _ended(call: Call, now: float, rules: Rules) -> Transition:
    if call.outcome in NOBODY_REACHED and _may_fold(call, rules):
        return _folded(call, rules)
    registered = _register(call, rules, call.owner)
    call, wakes = cards.ending(registered.call, now)
    outcome = call.outcome or Outcome.UNKNOWN
    answered = outcome is Outcome.ANSWERED
    finish = Finish(
        extension=call.owner,
        duration=(call.talk_seconds or 0) if answered else 0,
        status_code=status_code(call, rules.dispositions) or STATUS_CODE[outcome],
        failed_reason=FAILED_REASON[outcome],
    )
    owed = [*registered.owed, Owed("finish", finish, Priority.FINISH, needs=dialling.after_register(call))]
    call, recording = recording_of(call, rules)
    owed += recording
    return Transition(call, tuple(owed), wakes, ("register", "no_end"), cards.KINDS)


def _late(before: Call, known: Call, rules: Rules) -> Transition:
    """After the end: facts are kept, a link that came late is fetched, nothing is reopened."""
    call, owed = recording_of(replace(known, shown=before.shown), rules)
    return Transition(call, tuple(owed))


def _never_ended(call: Call, now: float, rules: Rules) -> Transition:
    if not call.is_live or call.skipped:
        return Transition(call)
    note = "The PBX never reported the end of this call"
    ended = replace(
        call,
        phase=lifecycle.step(call.phase, Move.END),
        outcome=Outcome.UNKNOWN,
        ended_at=now,
        notes=(*call.notes, note),
    )
    return _ended(ended, now, rules)


# --- told by the portal's answers ----------------------------------------------------------------


def _registered(call: Call, event: Registered, now: float, rules: Rules) -> Transition:
    if call.bitrix_call_id == event.bitrix_call_id:
        return Transition(call)
    if call.bitrix_call_id is not None:
        raise IllegalMove(call.phase, Move.REGISTER, f"it already is {call.bitrix_call_id}")
    call, sweep = cards.strayed(call, event.bitrix_call_id, now)
    registered = replace(
        call,
        phase=lifecycle.step(call.phase, Move.REGISTER),
        bitrix_call_id=event.bitrix_call_id,
        user_id=event.user_id,
        register_doubted_at=event.doubted_at,
        matched=event.matched,
        unmatched=None if event.matched else event.extension,
        crm_type=event.crm_type,
        crm_id=event.crm_id,
        created=event.created,
        notes=(*call.notes, event.note) if event.note else call.notes,
    )
    told = Transition(registered, (*unmatched_notice(registered), *sweep))
    return cards.registered(told, event, now, rules)


def _finished(call: Call, event: Finished, now: float, rules: Rules) -> Transition:
    if call.finished:
        return Transition(call)
    finished = replace(
        call,
        phase=lifecycle.step(call.phase, Move.FINISH),
        finished=True,
        activity_id=event.activity_id,
        crm_type=event.crm_type or call.crm_type,
        crm_id=event.crm_id or call.crm_id,
        user_id=event.user_id or call.user_id,
        notes=(*call.notes, *(note for note in (event.note, event.owner_note) if note)),
    )
    finished = owned(finished, event)
    owed = [*unmatched_notice(finished), *_layout(finished, rules, "layout")]
    owed += [_update(record) for record in records_owed(finished, rules.dispositions)]
    remember = pasts_of(finished)
    waits_for_recording = finished.recording in (Recording.EXPECTED, Recording.FETCHED)
    if waits_for_recording:
        wakes = (Wake(now + DOCUMENT_AFTER, "document"),) if rules.drive else ()
        return Transition(finished, tuple(owed), wakes, remember=remember)
    documented = _document(finished, rules)
    return replace(documented, owed=(*owed, *documented.owed), remember=remember)


def _update(record: str) -> Owed:
    """One record is written by one call at a time, so that each reads what the others left."""
    key = f"record:{record}"
    return Owed(key, UpdateRecord(record), Priority.CRM, ("finish",), mutex=key)


def _attached(call: Call, event: RecordingAttached, rules: Rules) -> Transition:
    attached = replace(
        call,
        phase=lifecycle.step(call.phase, Move.ATTACH),
        recording=Recording.ATTACHED,
        recording_file_id=event.file_id,
    )
    owed: list[Owed] = []
    if call.said_missing:
        attached = replace(attached, said_missing=False)
        owed = _layout(attached, rules, "layout:found")
    if rules.drive and rules.drive_recordings:
        return Transition(attached, tuple(owed))  # the document follows the copy
    documented = _document(attached, rules)
    return replace(documented, owed=(*owed, *documented.owed))


def _given_up(call: Call, event: GivenUp, rules: Rules) -> Transition:
    if event.kind not in (FetchRecording.kind, AttachRecording.kind, CopyRecording.kind):
        return Transition(call)
    note = f"Recording: {event.message}"
    known = replace(call, notes=call.notes if note in call.notes else (*call.notes, note))
    owed: list[Owed] = []
    if known.recording in (Recording.EXPECTED, Recording.FETCHED):
        known = replace(known, recording=Recording.MISSING)
        if known.recording_part == 1:  # else an earlier one hangs on the record, and it has a player
            known = replace(known, said_missing=True)
            owed = _layout(known, rules, "layout:missing")
        known, further = recording_of(known, rules)
        owed += further
    if not known.finished or known.documents_owed:
        return Transition(known, tuple(owed))
    documented = _document(known, rules)
    return replace(documented, owed=(*owed, *documented.owed))


def _moved(call: Call, event: Moved, rules: Rules) -> Transition:
    """The document on Drive tells whose call it is, so it is said again."""
    after = moved(call, event)
    return _document(after, rules) if after.documents_owed else Transition(after)


def _layout(call: Call, rules: Rules, key: str) -> list[Owed]:
    """Say the summary on the activity; each key is one saying, the last one stands."""
    if not (rules.layout and call.finished and call.activity_id and call.crm_type and call.crm_id):
        return []
    return [Owed(key, LayoutBlocks(), Priority.CRM, ("finish",))]


def _document(call: Call, rules: Rules) -> Transition:
    """Owe the Drive document; each later one is a new version of the same file."""
    if not rules.drive:
        return Transition(_closed_if_complete(call, rules))
    count = call.documents_owed + 1
    key = "drive_document" if count == 1 else f"drive_document:{count}"
    before = "drive_document" if count == 2 else f"drive_document:{count - 1}"
    needs = ("finish",) if count == 1 else (before,)
    owed = Owed(key, FileDocument(), Priority.RECORDING, needs)
    return Transition(replace(call, documents_owed=count), (owed,), unwake=("document",))


def _closed_if_complete(call: Call, rules: Rules) -> Call:
    settled = {Recording.NONE, Recording.COPIED}
    if not (rules.drive and rules.drive_recordings):
        settled.add(Recording.ATTACHED)
    filed = call.document_id is not None or not rules.drive
    complete = call.finished and filed and call.recording in settled
    if complete and call.phase in (Phase.ENDED, Phase.RECORDED):
        return replace(call, phase=lifecycle.step(call.phase, Move.CLOSE))
    return call
