"""What of a request or an answer may be written into our log: an allow-list, not a block-list.

Unknown fields are hidden, tokens and signed addresses never pass, phone numbers keep their last
four digits, also inside a batch's command strings (reliability.md §4.5).
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import parse_qsl

LIMIT: Final = 4000
"""Characters of one side that are kept."""
DEPTH: Final = 8
ITEMS: Final = 50
HIDDEN: Final = "***"

# fmt: off
CLEAR: Final = frozenset((
    "result", "result_error", "result_total", "result_next", "result_time", "error",
    "error_description", "argument", "time", "total", "next", "start", "operating",
    "operating_reset_at", "duration", "halt", "cmd", "count", "success", "filter", "order", "sort",
    "id", "data", "type", "size", "parent_id", "storage_id", "entity_type", "entity_id",
    "deleted_type", "file_id", "root_object_id", "targetfolderid", "generateuniquename", "field",
    "fieldname", "call_id", "external_call_id", "user_id", "portal_user_id", "call_start_date",
    "crm_create", "crm_source", "crm_entity_type", "crm_entity_id", "crm_created_lead",
    "crm_created_entities", "crm_activity_id", "show", "status_code", "call_failed_code",
    "call_failed_reason", "failed_reason", "call_duration", "call_status", "add_to_chat", "incoming",
    "errors", "activity_creation", "lead_creation_error", "record_file_id", "rest_app_id",
    "assigned_by_id", "transcript_id", "entitytypeid", "entityid", "activityid", "placement", "event",
    "auth_type", "offline", "crm_auto_create", "status", "version", "installed", "license_family",
    "admin", "tag", "sub_tag", "active", "uf_department", "select",
))
"""Field names, lower case, whose plain values are shown."""
PHONES: Final = frozenset((
    "phone_number", "line_number", "portal_number", "number", "phone_number_international",
    "uf_phone_inner", "caller_id",
))
# fmt: on

_SECRET = re.compile(
    r"(?i)\b(auth|access_token|refresh_token|client_secret|application_token|auth_id|refresh_id|token|code|sig)"
    r"(=|%3D|\"?\s*:\s*\"?)[^&\s\"']+"
)
_BEARER = re.compile(r"(?i)\bbearer\s+\S+")
_QUERY = re.compile(r"(https?://[^\s?\"'<>]+)\?[^\s\"'<>]*")
_LONG_HEX = re.compile(r"\b[0-9a-fA-F]{40,}\b")
_CONTROL = re.compile(r"[\x00-\x1f\x7f\u2028\u2029]+")
_PHONE = re.compile(r"(?<![\w.])\+?\d{9,15}(?![\w.])")


def scrub(text: str) -> str:
    """A vendor's words without secrets and control characters; safe in exceptions and logs."""
    text = _QUERY.sub(r"\1?***", text)
    text = _SECRET.sub(r"\1\2***", text)
    text = _BEARER.sub("Bearer ***", text)
    return _CONTROL.sub(" ", _LONG_HEX.sub(HIDDEN, text))


def last4(number: str) -> str:
    digits = "".join(c for c in number if c.isdigit())
    return f"…{digits[-4:]}" if len(digits) > 4 else number[:4]


def mask(value: Any) -> str:
    """The value as JSON for the log: allow-listed, at most `LIMIT` characters."""
    text = json.dumps(_masked(value, "", 0), ensure_ascii=False, separators=(",", ":"), default=str)
    return text if len(text) <= LIMIT else text[: LIMIT - 1] + "…"


def _masked(value: Any, key: str, depth: int) -> Any:
    if depth > DEPTH:
        return HIDDEN
    if isinstance(value, Mapping):
        items = list(value.items())[:ITEMS]
        if key == "cmd":
            return {str(k): _command(v) if isinstance(v, str) else HIDDEN for k, v in items}
        return {str(k): _named(str(k), v, depth) for k, v in items}
    if isinstance(value, (list, tuple)):
        return [_masked(v, key, depth + 1) for v in list(value)[:ITEMS]]
    if isinstance(value, str):
        if key not in CLEAR:
            return HIDDEN
        return _PHONE.sub(lambda m: last4(m.group()), scrub(value))[:500]
    return value


def _named(name: str, value: Any, depth: int) -> Any:
    key = re.sub(r"^[!=<>@%?]+", "", name).lower()
    if key in PHONES:
        if isinstance(value, (list, tuple)):
            return [last4(str(v)) for v in value]
        return last4(str(value)) if value else value
    if key in CLEAR or isinstance(value, (Mapping, list, tuple)):
        return _masked(value, key, depth + 1)
    if value is None or isinstance(value, bool) or value == "":
        return value
    return HIDDEN


def _command(text: str) -> str:
    """A batch's `method?query`, each field masked as if it stood alone."""
    method, _, query = text.partition("?")
    try:
        pairs = parse_qsl(query, keep_blank_values=True, max_num_fields=500)
    except ValueError:
        return f"{method}?{HIDDEN}"
    shown = []
    for name, value in pairs[:ITEMS]:
        parts = [p for p in re.split(r"[\[\]]+", name) if p]
        named = next((p for p in reversed(parts) if not p.isdigit()), "")
        shown.append(f"{name}={_named(named, value, 0)}")
    return f"{method}?" + "&".join(shown)
