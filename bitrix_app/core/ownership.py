"""Whose a call is: what the portal's answers say of it, and moving calls to the right person. Pure."""

from __future__ import annotations

from dataclasses import replace

from bitrix_app.core.call import Call
from bitrix_app.core.commands import Notify, Priority
from bitrix_app.core.events import Finished, Moved
from bitrix_app.core.transition import Owed


def owned(call: Call, event: Finished) -> Call:
    """The call with its final owner; an answer that cannot tell leaves what registering said."""
    if event.matched is None:
        return call
    return replace(
        call,
        matched=event.matched,
        unmatched=None if event.matched else event.extension,
        owner_by=event.by or call.owner_by,
    )


def unmatched_notice(call: Call) -> tuple[Owed, ...]:
    """Tell the administrators that an extension is nobody's; one notice for each extension."""
    extension = call.unmatched
    if not extension:
        return ()
    notice = Notify(
        tag=f"unmatched:{extension}",
        message=(
            f"Calls of the PBX extension {extension} have no user in Bitrix24 and are given "
            "to the line's default user. Enter the extension as the inner phone number of the "
            "right employee."
        ),
    )
    return (Owed(f"notify:unmatched:{extension}", notice, Priority.CRM),)


def moved(call: Call, event: Moved) -> Call:
    """The call after its owner was changed, or changed back."""
    notes = tuple(note for note in event.notes if note not in call.notes)
    if event.undo:
        return replace(
            call,
            user_id=event.user_id,
            unmatched=event.extension,
            matched=event.extension is None,
            moved=None,
            notes=(*call.notes, *notes),
        )
    return replace(
        call,
        user_id=event.user_id,
        unmatched=None,
        matched=True,
        owner_by=event.by,
        moved=event.records,
        notes=(*call.notes, *notes),
    )
