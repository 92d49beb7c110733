"""What a call's recordings owe: one after the other, each kept before the next replaces it. Pure."""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from bitrix_app.core.call import Call, Kept, Recording
from bitrix_app.core.commands import AttachRecording, CopyRecording, FetchRecording, Priority
from bitrix_app.core.transition import Owed, Rules


def recording_of(call: Call, rules: Rules) -> tuple[Call, list[Owed]]:
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
