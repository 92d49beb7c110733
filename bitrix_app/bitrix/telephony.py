"""A call's saga in the portal's words: register, show, hide, finish, attach, look up. Pure.

bitrix24.md §6. Readers take the `result` of a good answer.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from bitrix_app.bitrix.statistics import Statistic as Statistic
from bitrix_app.bitrix.statistics import read_statistic as read_statistic
from bitrix_app.bitrix.statistics import statistic as statistic
from bitrix_app.bitrix.values import as_id, as_mapping, as_rows, as_text
from bitrix_app.bitrix.wire import RestCall
from bitrix_app.core.call import Call
from bitrix_app.core.errors import AnswerLost, Refused, Trouble, Who
from bitrix_app.core.events import Direction, Finished, Registered

LINE_LENGTH: Final = 50
FALLBACK_LINE: Final = "Unitalk"
"""Stands for the line that the PBX did not name, because LINE_NUMBER is always sent; the portal
makes such a line by itself when it is first seen (bitrix24.md §6.1)."""


def iso(at: float, timezone: str) -> str:
    """ISO-8601 with the zone's offset; an unknown zone gives UTC, which is as exact."""
    try:
        zone: Any = ZoneInfo(timezone)
    except (ZoneInfoNotFoundError, ValueError):
        zone = UTC
    return datetime.fromtimestamp(int(at), zone).isoformat()


def line_number(line: str | None) -> str:
    """LINE_NUMBER as `register` and `externalLine.add` must both say it."""
    return (line or "").strip()[:LINE_LENGTH] or FALLBACK_LINE


def register(
    call: Call,
    *,
    user_id: int,
    show: bool,
    crm_create: bool,
    crm: tuple[str, int] | None,
    timezone: str,
    callback: bool = False,
) -> RestCall:
    """`telephony.externalcall.register` (§6.1). `crm` names the client and skips the search;
    `callback` makes it TYPE 4. Raises `Refused` (`NO_NUMBER`) for a call without any number.
    """
    number = call.number or call.raw_number
    if not number:
        raise Refused(
            "The PBX did not tell the client's number, and Bitrix24 takes no call without one.",
            code="NO_NUMBER",
            hint="See the call's page; the number may be hidden by the operator.",
            who=Who.MANAGER,
        )
    kind = 4 if callback else 1 if call.direction is Direction.OUT else 2
    params: dict[str, Any] = {
        "USER_ID": user_id,
        "PHONE_NUMBER": number,
        "TYPE": kind,
        "CALL_START_DATE": iso(call.start, timezone),
        "CRM_CREATE": int(crm_create),
        "SHOW": int(show),
        "LINE_NUMBER": line_number(call.line),
        "EXTERNAL_CALL_ID": call.id,
    }
    if crm_create:
        params["CRM_SOURCE"] = "CALL"
    if crm is not None:
        params["CRM_ENTITY_TYPE"], params["CRM_ENTITY_ID"] = crm
    return RestCall("telephony.externalcall.register", params)


def read_registered(
    result: Any, user_id: int, extension: str | None = None, matched: bool = True
) -> Registered:
    """Raises `AnswerLost` when the answer names no CALL_ID: something was registered, but what?"""
    row = as_mapping(result)
    call_id = as_text(row.get("CALL_ID"))
    if not call_id:
        raise AnswerLost("The portal registered the call without telling its CALL_ID.")
    created = [
        f"{as_text(entity.get('ENTITY_TYPE'))}:{entity_id}"
        for entity in as_rows(row.get("CRM_CREATED_ENTITIES"))
        if (entity_id := as_id(entity.get("ENTITY_ID")))
    ]
    lead = as_id(row.get("CRM_CREATED_LEAD"))
    if lead and f"LEAD:{lead}" not in created:
        created.append(f"LEAD:{lead}")
    return Registered(
        bitrix_call_id=call_id,
        user_id=user_id,
        extension=extension,
        matched=matched,
        crm_type=as_text(row.get("CRM_ENTITY_TYPE")) or None,
        crm_id=as_id(row.get("CRM_ENTITY_ID")),
        created=tuple(created),
        note=f"Bitrix24 made no client for this call: {why}" if (why := lead_error(result)) else None,
    )


def lead_error(result: Any) -> str | None:
    """Why the portal made no CRM object, said inside a good answer to `register` [src]."""
    return as_text(as_mapping(result).get("LEAD_CREATION_ERROR")) or None


def finish(call: Call, *, user_id: int, duration: int, status_code: str, failed_reason: str) -> RestCall:
    """`telephony.externalcall.finish` (§6.2). `duration` is talk time in whole seconds.

    Raises `ValueError` for a call that Bitrix24 has not named.
    """
    params: dict[str, Any] = {
        "CALL_ID": _named(call),
        "USER_ID": user_id,
        "DURATION": max(0, duration),
        "STATUS_CODE": status_code,
        "ADD_TO_CHAT": 0,  # the default differs between the doc and the source
    }
    if failed_reason:
        params["FAILED_REASON"] = failed_reason
    return RestCall("telephony.externalcall.finish", params)


def read_finished(result: Any) -> Finished:
    """The statistics row that `finish` returns; an activity that failed becomes a note."""
    row = as_mapping(result)
    activity_id = as_id(row.get("CRM_ACTIVITY_ID"))
    error = as_text(as_mapping(row.get("ERRORS")).get("ACTIVITY_CREATION"))
    note = None
    if error:
        note = f"Bitrix24 made no activity for this call: {error}"
    elif activity_id is None:
        note = "Bitrix24 made no activity for this call and did not say why"
    return Finished(
        activity_id=activity_id,
        crm_type=as_text(row.get("CRM_ENTITY_TYPE")) or None,
        crm_id=as_id(row.get("CRM_ENTITY_ID")),
        user_id=as_id(row.get("PORTAL_USER_ID")),
        note=note,
    )


def show(call_id: str, user_ids: Sequence[int]) -> RestCall:
    """Open the card for several users; true or false comes back (§6.3)."""
    return RestCall("telephony.externalcall.show", {"CALL_ID": call_id, "USER_ID": list(user_ids)})


def hide(call_id: str, user_ids: Sequence[int]) -> RestCall:
    return RestCall("telephony.externalcall.hide", {"CALL_ID": call_id, "USER_ID": list(user_ids)})


def attach(call_id: str, filename: str) -> RestCall:
    """Step one of hanging the recording on the call; the file follows by upload (§6.4).

    The portal compares the extension by case, so the name goes out in lower case.
    """
    return RestCall("telephony.externalcall.attachRecord", {"CALL_ID": call_id, "FILENAME": filename.lower()})


@dataclass(frozen=True, slots=True)
class UploadPlace:
    """Where a file is to be posted. The address carries a token: a secret, and short-lived."""

    url: str
    field: str

    def __repr__(self) -> str:
        return f"UploadPlace(field={self.field!r})"


def read_upload(result: Any) -> UploadPlace:
    """Step one's answer of telephony (`fieldName`) and of Drive (`field`). Raises `AnswerLost`."""
    row = as_mapping(result)
    url = as_text(row.get("uploadUrl")) or as_text(row.get("UploadUrl"))
    if not url:
        raise AnswerLost("The portal offered no address for the upload.")
    return UploadPlace(url, as_text(row.get("fieldName")) or as_text(row.get("field")) or "file")


def read_file_id(result: Any) -> int:
    """The Drive object id of the attached recording. Raises `AnswerLost` when it is not said."""
    file_id = as_id(as_mapping(result).get("FILE_ID"))
    if file_id is None:
        raise AnswerLost("The portal took the recording without telling its FILE_ID.")
    return file_id


@dataclass(frozen=True, slots=True)
class Client:
    """A CRM record that a number belongs to, with the one responsible for it (§6.6)."""

    crm_type: str
    crm_id: int
    name: str
    responsible: int | None
    extension: str | None


def search(number: str) -> RestCall:
    return RestCall("telephony.externalCall.searchCrmEntities", {"PHONE_NUMBER": number}, reads=True)


def read_clients(result: Any) -> list[Client]:
    """In the portal's own order: contact, lead, company."""
    return [
        Client(
            as_text(row.get("CRM_ENTITY_TYPE")),
            crm_id,
            as_text(row.get("NAME")),
            as_id(row.get("ASSIGNED_BY_ID")),
            as_text(as_mapping(row.get("ASSIGNED_BY")).get("USER_PHONE_INNER")) or None,
        )
        for row in as_rows(result)
        if (crm_id := as_id(row.get("CRM_ENTITY_ID")))
    ]


def read_search(result: Any) -> tuple[str, int] | None:
    """The record that a call of this number belongs to: the portal's first."""
    found = read_clients(result)
    return (found[0].crm_type, found[0].crm_id) if found else None


CALL_LOST: Final = "call should be registered prior to finishing"
NOT_FINISHED: Final = ("is not found in the statistic table", "is it finished?")


def is_not_found(trouble: BaseException) -> bool:
    """The portal does not know this call: it was finished already, or never registered (§6.2, §6.4)."""
    return isinstance(trouble, Trouble) and (CALL_LOST in trouble.message.lower() or is_not_finished(trouble))


def is_user_gone(trouble: BaseException) -> bool:
    """USER_ID names nobody active: our snapshot of the people is older than a dismissal (§6.1)."""
    return isinstance(trouble, Trouble) and "user is not found or is not active" in trouble.message.lower()


def is_not_finished(trouble: BaseException) -> bool:
    """The call is not in the statistics (yet): attach and transcription come after finish."""
    return isinstance(trouble, Trouble) and any(text in trouble.message.lower() for text in NOT_FINISHED)


def _named(call: Call) -> str:
    if not call.bitrix_call_id:
        raise ValueError(f"call {call.id} has no CALL_ID yet")
    return call.bitrix_call_id
