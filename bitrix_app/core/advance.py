"""What an event means for a call: call + event → call′ + what is now owed.

Pure: no I/O, no clock, no chance. `now` is an argument. See design.md §5 for the rules and
unitalk.md §5 for the life of a call.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from bitrix_app.core import dialling, lifecycle
from bitrix_app.core.call import Call, Kept, Recording
from bitrix_app.core.commands import (
    AssignCallback,
    AttachRecording,
    CopyRecording,
    Dial,
    FetchRecording,
    FileDocument,
    Finish,
    Hide,
    LayoutBlocks,
    Priority,
    Register,
    Show,
    TraceDial,
    UpdateRecord,
)
from bitrix_app.core.dial import Failure
from bitrix_app.core.dispositions import pasts_of, records_owed, status_code
from bitrix_app.core.events import (
    CallbackAssigned,
    CallEvent,
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
    Step,
    Traced,
)
from bitrix_app.core.facts import merged, with_report
from bitrix_app.core.lifecycle import IllegalMove, Move, Phase
from bitrix_app.core.outcome import FAILED_REASON, STATUS_CODE, Outcome
from bitrix_app.core.ownership import moved, owned, unmatched_notice
from bitrix_app.core.telling import told
from bitrix_app.core.transition import Owed, Rules, Transition, Wake

__all__ = ["Owed", "Rules", "Transition", "Wake", "advance"]

REGISTER_AFTER: Final = 3.0
"""Seconds after the first event at which a call without a known extension is registered."""
NO_END_AFTER: Final = 3 * 3600.0
"""Seconds after which a call that never ended is closed as unknown (unitalk.md §5)."""
CARD_LIFE: Final = 60.0
"""Seconds after which opening or closing a card is no longer worth saying."""
DOCUMENT_AFTER: Final = 600.0
"""Seconds after Finish at which the document is filed even though the recording is not there."""


def advance(call: Call, event: CallEvent, now: float, rules: Rules) -> Transition:
    """The meaning of `event`. Raises `IllegalMove` when the lifecycle forbids it."""
    moved = _advance(call, event, now, rules)
    return replace(moved, news=(*moved.news, *told(call, moved.call)))


def _advance(call: Call, event: CallEvent, now: float, rules: Rules) -> Transition:
    match event:
        case PbxReport():
            known = dialling.claimed(call)
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
        case Due(reason="register"):
            return _register(call, rules) if call.is_live else Transition(call)
        case Due(reason="no_end"):
            return _never_ended(call, now, rules)
        case Due(reason="stranded"):
            over = call.is_live or call.finished or bool(call.skipped)
            return Transition(call) if over else _ended(call, rules)
        case Due(reason="document"):
            return _document(call, rules) if call.finished and not call.documents_owed else Transition(call)
        case Heard():
            if call.bitrix_call_id or call.heard_bitrix_id:
                return Transition(call)
            return Transition(replace(call, heard_bitrix_id=event.bitrix_call_id))
        case Registered():
            return _registered(call, event)
        case Finished():
            return _finished(call, event, now, rules)
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
            further, recording = _recording(documented.call, rules)
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
    known = with_report(call, event, now)
    known = replace(known, phase=lifecycle.step(call.phase, _MOVES[event.step]))
    if known.direction is Direction.INNER:
        return Transition(replace(known, skipped="inner call"), unwake=("register", "no_end"))
    if not was_live:
        return _late(call, known, rules)
    if event.step is Step.ENDED:
        return _ended(known, rules)
    moved = _cards(known, event, now, rules)
    wakes = moved.wakes
    if call.phase is Phase.ANNOUNCED and call.pbx_id is None:  # the first we hear of it
        wakes = (*wakes, Wake(now + NO_END_AFTER, "no_end"))
        if not moved.call.register_owed:
            wakes = (*wakes, Wake(now + REGISTER_AFTER, "register"))
    return replace(moved, wakes=wakes)


def _cards(call: Call, event: PbxReport, now: float, rules: Rules) -> Transition:
    """A live call: register it when an agent is known, then keep the cards where it rings."""
    if event.step is Step.ANSWERED and call.legs:
        wanted: tuple[str, ...] = (call.legs[-1].extension,)
    elif event.step is Step.OFFERED or call.direction is Direction.OUT:
        wanted = event.facts.extensions
    else:
        wanted = event.facts.extensions if not call.legs else ()
    if not wanted:
        return Transition(call)
    owed: list[Owed] = []
    needs = dialling.after_register(call)
    if not call.register_owed:
        registered = _register(call, rules, wanted[0])
        call, owed = registered.call, list(registered.owed)
    fresh = tuple(x for x in wanted if x not in call.shown)
    if fresh:
        owed.append(_card(Show(extensions=fresh), "show:" + ",".join(fresh), needs, now))
        call = replace(call, shown=call.shown + fresh)
    if event.step is Step.ANSWERED:
        others = tuple(x for x in call.shown if x not in wanted)
        if others:
            # the answer's own number in the key: a transfer back and forth hides each time anew
            owed.append(_card(Hide(extensions=others), f"hide:{len(call.legs)}", needs, now))
            call = replace(call, shown=wanted)
    return Transition(call, tuple(owed), unwake=("register",))


def _card(command: Show | Hide, key: str, needs: tuple[str, ...], now: float) -> Owed:
    return Owed(key, command, Priority.LIVE, needs=needs, expires_at=now + CARD_LIFE)


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
    registered = replace(
        call,
        register_owed=True,
        register_extension=extension,
        shown=merged(call.shown, (extension,)) if extension and show else call.shown,
    )
    return Transition(registered, (owed,), unwake=("register",))


def _ended(call: Call, rules: Rules) -> Transition:
    registered = _register(call, rules, call.owner)
    call = replace(registered.call, shown=())
    outcome = call.outcome or Outcome.UNKNOWN
    answered = outcome is Outcome.ANSWERED
    finish = Finish(
        extension=call.owner,
        duration=(call.talk_seconds or 0) if answered else 0,
        status_code=status_code(call, rules.dispositions) or STATUS_CODE[outcome],
        failed_reason=FAILED_REASON[outcome],
    )
    owed = [*registered.owed, Owed("finish", finish, Priority.FINISH, needs=dialling.after_register(call))]
    call, recording = _recording(call, rules)
    owed += recording
    return Transition(call, tuple(owed), (), ("register", "no_end"), ("show", "hide"))


def _recording(call: Call, rules: Rules) -> tuple[Call, list[Owed]]:
    """Fetch what has a link: the first recording, then each further one (a transfer's next leg).

    Attaching replaces (bitrix24.md §6.4), so a further recording is begun only when the one before
    lies on Drive, or will not come at all.
    """
    if not call.link or call.skipped:
        return call, []
    copies = rules.drive and rules.drive_recordings
    part = call.recording_part
    if call.recording is not Recording.NONE:
        over = call.recording in (Recording.COPIED, Recording.MISSING)
        if len(call.links) <= part or not (over or not copies):
            return call, []
        if not copies:
            return (call if ONLY_ONE in call.notes else replace(call, notes=(*call.notes, ONLY_ONE))), []
        call, part = _set_aside(call), part + 1
    suffix = "" if part == 1 else f":{part}"
    fetch, attach = f"fetch_recording{suffix}", f"attach_recording{suffix}"
    owed = [
        Owed(fetch, FetchRecording(link=call.links[part - 1]), Priority.RECORDING),
        Owed(attach, AttachRecording(), Priority.RECORDING, ("finish", fetch)),
    ]
    if copies:
        owed.append(Owed(f"drive_copy{suffix}", CopyRecording(), Priority.RECORDING, (attach,)))
    return replace(call, recording=Recording.EXPECTED, recording_part=part), owed


ONLY_ONE: Final = (
    "The PBX sent a second recording of this call. Bitrix24 keeps one per call, and copies to Drive are "
    "switched off, so only the first was kept."
)


def _set_aside(call: Call) -> Call:
    """The recording in hand is done with; its copy on Drive is remembered."""
    kept = call.kept
    if call.drive_copy_id is not None:
        kept = (*kept, Kept(call.drive_copy_name or "", call.drive_copy_id, call.recording_size))
    return replace(
        call,
        kept=kept,
        recording_file=None,
        recording_media=None,
        recording_size=None,
        drive_copy_id=None,
        drive_copy_name=None,
    )


def _late(before: Call, known: Call, rules: Rules) -> Transition:
    """After the end: facts are kept, a link that came late is fetched, nothing is reopened."""
    call, owed = _recording(replace(known, shown=before.shown), rules)
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
    return _ended(ended, rules)


# --- told by the portal's answers ----------------------------------------------------------------


def _registered(call: Call, event: Registered) -> Transition:
    if call.bitrix_call_id == event.bitrix_call_id:
        return Transition(call)
    if call.bitrix_call_id is not None:
        raise IllegalMove(call.phase, Move.REGISTER, f"it already is {call.bitrix_call_id}")
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
    return Transition(registered, unmatched_notice(registered))


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
        known, further = _recording(known, rules)
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
