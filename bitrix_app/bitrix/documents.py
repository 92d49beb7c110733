"""What we leave in the portal about a call besides its record. Pure (bitrix24.md §7.6, §8).

The JSON document on Drive holds association and details of one call; its name, the recording's name
and the month's folder are made by us from safe characters. Nothing here carries the PBX's recording
link: that is a secret.
"""

from __future__ import annotations

import json
from datetime import UTC, datetime
from types import MappingProxyType
from typing import Any, Final
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from bitrix_app.bitrix.wire import RestCall
from bitrix_app.core.call import Call, Recording
from bitrix_app.core.events import Direction
from bitrix_app.core.outcome import Outcome
from bitrix_app.core.portal import Portal
from bitrix_app.vocabulary import DIRECTIONS, OUTCOMES, RECORDINGS
from bitrix_app.words import Words

SCHEMA_VERSION: Final = 1
ENTITY_TYPE_ID: Final = MappingProxyType(
    {"LEAD": 1, "DEAL": 2, "CONTACT": 3, "COMPANY": 4, "QUOTE": 7, "ORDER": 14, "SMART_INVOICE": 31}
)
SLIDER_WIDTH: Final = 900


def document(call: Call, portal: Portal, timezone: str) -> dict[str, Any]:
    """The call's document. Times are RFC 3339 in `timezone`, durations whole seconds."""

    def at(instant: float | None) -> str | None:
        return None if instant is None else _local(instant, timezone).isoformat(timespec="seconds")

    return {
        "schema": "unitalk-call",
        "schema_version": SCHEMA_VERSION,
        "association": {
            "portal": portal.member_id,
            "domain": portal.domain,
            "call_id": call.id,
            "pbx_id": call.pbx_id,
            "pbx_dbid": call.pbx_dbid,
            "bitrix24_call_id": call.bitrix_call_id,
            "activity_id": call.activity_id,
            "crm": {"type": call.crm_type, "id": call.crm_id} if call.crm_type and call.crm_id else None,
            "crm_created": list(call.created),
            "user_id": call.user_id,
            "user_matched": call.matched,
            "extension": call.owner,
            "dialer_id": call.dialer_id,
            "meta": call.meta,
        },
        "details": {
            "direction": str(call.direction) if call.direction else None,
            "number": call.number or call.raw_number,
            "line": call.line,
            "site": call.site,
            "group": call.group,
            "source": call.source,
            "dial_attempts": call.dial_attempts,
            "wait_seconds": call.wait_seconds,
            "started_at": at(call.start),
            "ended_at": at(call.ended_at),
            "full_seconds": call.full_seconds,
            "talk_seconds": call.talk_seconds,
            "outcome": str(call.outcome) if call.outcome else None,
            "pbx_state": call.pbx_state,
            "ringing": list(call.ringing),
            "legs": [{"extension": leg.extension, "answered_at": at(leg.answered_at)} for leg in call.legs],
            "recording": {
                "state": str(call.recording),
                "file_name": call.drive_copy_name or _recording_name(call, timezone),
                "size": call.recording_size,
                "drive_file_id": call.recording_file_id,
                "drive_copy_id": call.drive_copy_id,
                "earlier": [
                    {"file_name": one.name, "size": one.size, "drive_copy_id": one.file_id}
                    for one in call.kept
                ],
            },
            "notes": list(call.notes),
        },
    }


def document_bytes(call: Call, portal: Portal, timezone: str) -> bytes:
    """The document as it lies on Drive: UTF-8, indented for people, ending with a newline."""
    text = json.dumps(document(call, portal, timezone), ensure_ascii=False, indent=2)
    return (text + "\n").encode("utf-8", "replace")


def base_name(call: Call, timezone: str) -> str:
    """`2026-02-10_10-00-12_in_380440000011_9f3ac21b07`: start, direction, number, end of our id."""
    start = _local(call.start, timezone).strftime("%Y-%m-%d_%H-%M-%S")
    number = "".join(c for c in (call.number or call.raw_number or "") if c.isascii() and c.isdigit())
    short = "".join(c for c in call.id if c.isascii() and c.isalnum())[-10:].lower() or "0"
    return f"{start}_{call.direction or 'unknown'}_{number[:20] or 'unknown'}_{short}"


def month_folder(call: Call, timezone: str) -> str:
    """`2026-02`, by the start of the call."""
    return _local(call.start, timezone).strftime("%Y-%m")


def layout_blocks(call: Call, timezone: str, language: str = "en") -> RestCall:
    """Our summary and a link to our page on the call's activity; said again it overwrites itself.

    Texts are plain strings in the portal's language: a map with a language that the portal lacks
    is refused. Raises `ValueError` for a call without an activity on a CRM record.
    """
    entity_type = _entity_type(call.crm_type)
    if entity_type is None or not call.crm_id or not call.activity_id:
        raise ValueError(f"call {call.id} has no activity on a CRM record")
    words = Words(language)
    blocks: dict[str, Any] = {"summary": _titled("Unitalk", _summary(call, words))}
    blocks["when"] = _titled(
        words.say("Began"), _local(call.start, timezone).strftime("%Y-%m-%d %H:%M:%S %Z")
    )
    if call.line or call.site:
        blocks["line"] = _titled(words.say("Line"), call.line or call.site or "")
    if call.legs:
        blocks["agents"] = _titled(words.say("Extensions"), " → ".join(leg.extension for leg in call.legs))
    if call.recording is Recording.MISSING:
        # only a lasting state is worth a block: Bitrix24 itself shows the player when the file comes
        blocks["recording"] = _titled(words.say("Recording"), words.say(RECORDINGS[call.recording]))
    blocks["open"] = {
        "type": "link",
        "properties": {
            "text": words.say("Open in Unitalk"),
            "bold": True,
            "action": {
                "type": "openRestApp",
                "actionParams": {"call": call.id},
                "sliderParams": {"title": words.say("Unitalk call"), "width": SLIDER_WIDTH},
            },
        },
    }
    return RestCall(
        "crm.activity.layout.blocks.set",
        {
            "entityTypeId": entity_type,
            "entityId": call.crm_id,
            "activityId": call.activity_id,
            "layout": {"blocks": blocks},
        },
    )


def _titled(title: str, value: str) -> dict[str, Any]:
    text = {"type": "text", "properties": {"value": value[:1000], "multiline": True}}
    return {"type": "withTitle", "properties": {"title": title, "inline": True, "block": text}}


def _summary(call: Call, words: Words) -> str:
    parts = [words.say(DIRECTIONS[call.direction or Direction.IN])]
    parts.append(words.say(OUTCOMES[call.outcome or Outcome.UNKNOWN]))
    if call.outcome is Outcome.ANSWERED and call.talk_seconds:
        minutes, seconds = divmod(call.talk_seconds, 60)
        parts.append(f"{minutes}:{seconds:02d}")
    return ", ".join(parts)


def _entity_type(crm_type: str | None) -> int | None:
    """`CONTACT` → 3; smart processes are written `DYNAMIC_<n>`."""
    if not crm_type:
        return None
    known = ENTITY_TYPE_ID.get(crm_type.upper())
    if known is None and crm_type.upper().startswith("DYNAMIC_") and crm_type[8:].isdecimal():
        return int(crm_type[8:])
    return known


def _recording_name(call: Call, timezone: str) -> str | None:
    if call.recording is Recording.NONE or not call.recording_media:
        return None
    part = "" if call.recording_part == 1 else f"_{call.recording_part}"
    return f"{base_name(call, timezone)}{part}.{call.recording_media}"


def _local(instant: float, timezone: str) -> datetime:
    try:
        return datetime.fromtimestamp(int(instant), ZoneInfo(timezone))
    except (ZoneInfoNotFoundError, ValueError):
        return datetime.fromtimestamp(int(instant), UTC)
