"""CRM records: create, change, find by number, and the events of each change (bitrix24.md §7, §6.1)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from bitrix_app.sandbox.crm_fields import (
    COMPANY,
    CONTACT,
    DEAL,
    DEFAULTS,
    LEAD,
    READ_ONLY,
    STAGE_FIELDS,
    TYPE_IDS,
    TYPE_NAMES,
)
from bitrix_app.sandbox.errors import RestError
from bitrix_app.sandbox.state import CrmItem, User
from bitrix_app.sandbox.wire import as_list, to_float, to_int
from bitrix_app.sandbox.world import World

__all__ = ["TYPE_IDS", "TYPE_NAMES", "create", "find_clients", "may_read", "title_of", "update"]

_KIND = {LEAD: "lead", DEAL: "deal", CONTACT: "contact", COMPANY: "company"}
_NUMBERS = frozenset({"assignedById", "companyId", "contactId", "leadId", "categoryId"})


def create(world: World, type_id: int, fields: Mapping[str, Any], author: int | None) -> CrmItem:
    """A new record and its ADD event."""
    number = world.state.next_id(_KIND[type_id])
    now = world.now_iso()
    by = author or 1
    values: dict[str, Any] = {
        **DEFAULTS[type_id],
        "id": number, "createdTime": now, "updatedTime": now, "createdBy": by, "updatedBy": by,
        "movedBy": by, "movedTime": now, "lastActivityBy": by, "lastActivityTime": now,
        "utmSource": None, "utmMedium": None, "utmCampaign": None, "utmContent": None, "utmTerm": None,
        "assignedById": by,
    }  # fmt: skip
    item = CrmItem(type_id, number, values)
    if type_id == DEAL and "categoryId" in fields:
        category = to_int(fields["categoryId"])
        values["stageId"] = f"C{category}:NEW" if category else "NEW"
    values.update(_writable(world, item, fields))
    _put_communications(world, item, fields.get("fm"))
    _settle_stage(world, item)
    world.state.items[type_id][number] = item
    world.emit(f"ONCRM{TYPE_NAMES[type_id]}ADD", {"FIELDS": {"ID": number}}, author)
    return item


def update(world: World, item: CrmItem, fields: Mapping[str, Any], author: int | None) -> bool:
    """Change a record. Nothing different: nothing happens, no event (§7.2)."""
    changes = {
        name: value
        for name, value in _writable(world, item, fields).items()
        if item.fields.get(name) != value
    }
    before = [dict(row) for row in item.fm]
    if "fm" in fields:
        _put_communications(world, item, fields["fm"])
    if not changes and before == item.fm:
        return False
    item.fields.update(changes)
    now = world.now_iso()
    item.fields.update({"updatedTime": now, "updatedBy": author or 1})
    if "stageId" in changes:
        item.fields.update({"movedTime": now, "movedBy": author or 1})
        if item.type_id == DEAL:
            item.fields["isNew"] = "N"
    _settle_stage(world, item)
    world.emit(f"ONCRM{TYPE_NAMES[item.type_id]}UPDATE", {"FIELDS": {"ID": item.id}}, author)
    return True


def delete(world: World, item: CrmItem, author: int | None) -> None:
    """Remove a record and tell."""
    del world.state.items[item.type_id][item.id]
    world.emit(f"ONCRM{TYPE_NAMES[item.type_id]}DELETE", {"FIELDS": {"ID": item.id}}, author)


def _writable(world: World, item: CrmItem, fields: Mapping[str, Any]) -> dict[str, Any]:
    values: dict[str, Any] = {}
    for name, value in fields.items():
        if name == "fm" or name in READ_ONLY:
            continue
        if name in _NUMBERS:
            value = to_int(value)
        elif name == "opportunity":
            amount = to_float(value)
            value = int(amount) if amount.is_integer() else amount
        values[name] = value
    if "contactIds" in values:
        linked = [to_int(one) for one in as_list(values.pop("contactIds"))]
        values["contactId"] = linked[0] if linked else 0
    stage = values.get("stageId")
    category = values.get("categoryId", item.fields.get("categoryId", 0))
    if stage is not None and stage_row(world, item.type_id, str(stage), to_int(category)) is None:
        raise RestError("INVALID_ARG_VALUE", f"Invalid value of field 'stageId': '{stage}'")
    return values


def stage_row(world: World, type_id: int, stage: str, category: int = 0) -> dict[str, Any] | None:
    """The directory row of a stage."""
    entity = "STATUS" if type_id == LEAD else ("DEAL_STAGE" if not category else f"DEAL_STAGE_{category}")
    rows = world.state.statuses
    return next((row for row in rows if row["ENTITY_ID"] == entity and row["STATUS_ID"] == stage), None)


def _settle_stage(world: World, item: CrmItem) -> None:
    """Meaning of the stage, and what follows from it."""
    if item.type_id not in STAGE_FIELDS:
        return
    category = to_int(item.fields.get("categoryId", 0))
    row = stage_row(world, item.type_id, str(item.fields["stageId"]), category)
    semantics = (row or {}).get("SEMANTICS") or "P"
    item.fields["stageSemanticId"] = semantics
    if item.type_id == DEAL:
        item.fields["closed"] = "N" if semantics == "P" else "Y"
    else:
        item.fields["dateClosed"] = "" if semantics == "P" else item.fields["updatedTime"]


def _put_communications(world: World, item: CrmItem, rows: Any) -> None:
    """A row with a known id changes or (empty value) goes; one without an id is added (§7.3)."""
    for row in as_list(rows) if not isinstance(rows, Mapping) else list(rows.values()):
        if not isinstance(row, Mapping):
            continue
        known = next((one for one in item.fm if one["id"] == to_int(row.get("id"))), None)
        value = str(row.get("value") or "")
        if known is not None and not value:
            item.fm.remove(known)
        elif known is not None:
            known["value"] = value
            known["valueType"] = str(row.get("valueType") or known["valueType"])
        elif value:
            item.fm.append(
                {
                    "id": world.state.next_id("multifield"),
                    "valueType": str(row.get("valueType") or "WORK"),
                    "value": value,
                    "typeId": str(row.get("typeId") or "PHONE"),
                }
            )
    for kind, flag in (("PHONE", "hasPhone"), ("EMAIL", "hasEmail")):
        if flag in item.fields:
            item.fields[flag] = "Y" if any(one["typeId"] == kind for one in item.fm) else "N"


def find_clients(world: World, number: str) -> list[CrmItem]:
    """Contacts, open leads, companies with that number, in this order (findings §3)."""
    found: list[CrmItem] = []
    for type_id in (CONTACT, LEAD, COMPANY):
        for item in world.state.items[type_id].values():
            if type_id == LEAD and item.fields["stageSemanticId"] != "P":
                continue
            if any(world.normalise(phone) == number for phone in item.phones()):
                found.append(item)
    return found


def may_read(user: User, item: CrmItem) -> bool:
    """Administrators and people with the right see all, others their own."""
    return user.admin or user.sees_all_crm or item.assigned_by == user.id


def get(world: World, type_id: int, number: Any) -> CrmItem | None:
    """The record, if there is one."""
    return world.state.items.get(type_id, {}).get(to_int(number))


def title_of(item: CrmItem) -> str:
    """The name a person reads."""
    name = f"{item.fields.get('name') or ''} {item.fields.get('lastName') or ''}".strip()
    if item.type_id == CONTACT:
        return name or f"Contact #{item.id}"
    return str(item.fields.get("title") or "") or name
