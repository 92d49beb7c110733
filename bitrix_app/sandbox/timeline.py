"""Timeline: our blocks on the call's record, comments, log messages (bitrix24.md §7.6)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from bitrix_app.sandbox import crm
from bitrix_app.sandbox.crm_fields import TYPE_IDS
from bitrix_app.sandbox.errors import RestError
from bitrix_app.sandbox.registry import METHODS
from bitrix_app.sandbox.state import Activity, CrmItem, TimelineNote
from bitrix_app.sandbox.wire import to_int
from bitrix_app.sandbox.world import Hit

MAX_BLOCKS = 20
_REQUIRED: dict[str, tuple[str, ...]] = {
    "text": ("value",),
    "largeText": ("value",),
    "link": ("text", "action"),
    "withTitle": ("title", "block"),
    "lineOfBlocks": ("blocks",),
    "deadline": (),
}
_KEY_SYMBOLS = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_")


def _record(hit: Hit, type_id: int, number: int) -> CrmItem:
    item = crm.get(hit.world, type_id, number)
    if item is None:
        raise RestError("OWNER_NOT_FOUND", "Owner was not found", status=400)
    if not crm.may_read(hit.user, item):
        raise RestError("ACCESS_DENIED", "Access denied.", status=400)
    return item


def _activity(hit: Hit) -> Activity:
    if not hit.app:
        raise RestError("ERROR_WRONG_CONTEXT", "Method works only in application context", status=400)
    item = _record(hit, to_int(hit.params.get("entityTypeId")), to_int(hit.params.get("entityId")))
    activity = hit.state.activities.get(to_int(hit.params.get("activityId")))
    if activity is None or (item.type_id, item.id) not in activity.bindings:
        raise RestError("NOT_FOUND", "Activity not found")
    return activity


@METHODS.add("crm.activity.layout.blocks.set", "crm")
def blocks_set(hit: Hit) -> dict[str, bool]:
    """Overwrites our own set; configurable activities are not suitable."""
    activity = _activity(hit)
    if activity.fields["PROVIDER_ID"] == "CONFIGURABLE_REST_APP":
        text = "The activity type is not suitable for additional content blocks"
        raise RestError("UNSUITABLE_ACTIVITY_TYPE_ERROR", text, status=400)
    layout = hit.params.get("layout")
    blocks = layout.get("blocks") if isinstance(layout, Mapping) else None
    if not isinstance(blocks, Mapping) or not blocks:
        raise RestError("FIELD_IS_REQUIRED", "Field blocks is required", status=400)
    if len(blocks) > MAX_BLOCKS:
        raise RestError("TOO_MANY_ITEMS", f"Too many items in blocks. Maximum is {MAX_BLOCKS}", status=400)
    for key, block in blocks.items():
        _check_block(str(key), block)
    activity.blocks = dict(blocks)
    return {"success": True}


def _check_block(key: str, block: Any) -> None:
    if not set(key) <= _KEY_SYMBOLS:
        raise RestError("KEY_CONTAIN_WRONG_SYMBOLS", f"Key {key} contains wrong symbols", status=400)
    kind = block.get("type") if isinstance(block, Mapping) else None
    if kind not in _REQUIRED:
        raise RestError("ENUM_FIELD", f"Field type of block {key} has a wrong value", status=400)
    properties = block.get("properties")
    facts: Mapping[str, Any] = properties if isinstance(properties, Mapping) else {}
    for name in _REQUIRED[kind]:
        if facts.get(name) in (None, "", {}, []):
            raise RestError("FIELD_IS_REQUIRED", f"Field {name} of block {key} is required", status=400)
    if kind == "withTitle":
        _check_block(key, facts["block"])
    elif kind == "lineOfBlocks" and isinstance(facts["blocks"], Mapping):
        for inner_key, inner in facts["blocks"].items():
            _check_block(str(inner_key), inner)


@METHODS.add("crm.activity.layout.blocks.get", "crm")
def blocks_get(hit: Hit) -> dict[str, Any]:
    activity = _activity(hit)
    return {"layout": {"blocks": activity.blocks} if activity.blocks else None}


@METHODS.add("crm.activity.layout.blocks.delete", "crm")
def blocks_delete(hit: Hit) -> dict[str, bool]:
    _activity(hit).blocks = None
    return {"success": True}


@METHODS.add("crm.timeline.comment.add", "crm")
def comment_add(hit: Hit) -> int:
    """ENTITY_TYPE is written in lower case here."""
    fields = hit.params.get("fields")
    facts: Mapping[str, Any] = fields if isinstance(fields, Mapping) else {}
    if not facts.get("COMMENT"):
        raise RestError("100", "Could not find value for parameter {COMMENT}", status=400)
    type_id = TYPE_IDS.get(str(facts.get("ENTITY_TYPE") or "").upper(), 0)
    item = _record(hit, type_id, to_int(facts.get("ENTITY_ID")))
    number = hit.state.next_id("comment")
    note = TimelineNote(
        number, "comment", item.type_id, item.id, hit.user_id, hit.world.now(), "", str(facts["COMMENT"])
    )
    hit.state.notes.append(note)
    hit.emit("ONCRMTIMELINECOMMENTADD", {"FIELDS": {"ID": number}})
    return number


@METHODS.add("crm.timeline.logmessage.add", "crm")
def log_message_add(hit: Hit) -> dict[str, Any]:
    """A neutral one-way record."""
    fields = hit.params.get("fields")
    facts: Mapping[str, Any] = fields if isinstance(fields, Mapping) else {}
    item = _record(hit, to_int(facts.get("entityTypeId")), to_int(facts.get("entityId")))
    for name in ("title", "text"):
        if not facts.get(name):
            raise RestError("100", f"Could not find value for parameter {{{name}}}", status=400)
    note = TimelineNote(
        hit.state.next_id("log_message"),
        "log",
        item.type_id,
        item.id,
        hit.user_id,
        hit.world.now(),
        str(facts["title"]),
        str(facts["text"]),
    )
    hit.state.notes.append(note)
    return {
        "logMessage": {
            "id": note.id,
            "created": hit.world.iso(note.created),
            "authorId": note.author_id,
            "title": note.title,
            "text": note.text,
            "iconCode": str(facts.get("iconCode") or "info"),
        }
    }
