"""crm.item.*: the universal methods (bitrix24.md §7.2)."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

from bitrix_app.sandbox import crm
from bitrix_app.sandbox.crm_fields import (
    CONTACT,
    DEAL,
    DEFAULTS,
    ITEM_KEYS,
    LEAD,
    is_user_field,
    known_fields,
    new_name,
    old_name,
)
from bitrix_app.sandbox.errors import RestError
from bitrix_app.sandbox.query import Page, matches, page_of, sort_rows, split_key
from bitrix_app.sandbox.registry import METHODS
from bitrix_app.sandbox.state import CrmItem
from bitrix_app.sandbox.wire import as_list, to_int
from bitrix_app.sandbox.world import Hit


def show(item: CrmItem, *, communications: bool = True) -> dict[str, Any]:
    """An item as crm.item.get answers it."""
    values: dict[str, Any] = {name: item.fields.get(name) for name in ITEM_KEYS[item.type_id]}
    for name, value in item.fields.items():
        unusual = name in DEFAULTS[item.type_id] and value != DEFAULTS[item.type_id][name]
        if name not in values and (unusual or is_user_field(name)):
            values[name] = value
    if item.type_id == CONTACT:
        values |= _flat_communications(item)
    if communications and item.type_id != DEAL:
        values["fm"] = [dict(row) for row in item.fm]
    values["observers"] = []
    if item.type_id in (LEAD, DEAL):
        contact = item.fields.get("contactId")
        values["contactIds"] = [contact] if contact else []
    elif item.type_id == CONTACT:
        company = item.fields.get("companyId")
        values["companyIds"] = [company] if company else []
    values["entityTypeId"] = item.type_id
    return values


def _flat_communications(item: CrmItem) -> dict[str, str]:
    def first(kind: str, value_type: str | None) -> str:
        rows = [one for one in item.fm if one["typeId"] == kind and value_type in (None, one["valueType"])]
        return str(rows[0]["value"]) if rows else ""

    return {
        "phoneMobile": first("PHONE", "MOBILE"),
        "phoneWork": first("PHONE", "WORK"),
        "emailWork": first("EMAIL", "WORK"),
        "email": first("EMAIL", None),
        "phone": first("PHONE", None),
    }


def _type(hit: Hit) -> int:
    type_id = to_int(hit.params.get("entityTypeId"))
    if type_id not in hit.state.items:
        raise RestError("NOT_FOUND", "SPA is not found")
    return type_id


def _item(hit: Hit) -> CrmItem:
    item = crm.get(hit.world, _type(hit), hit.params.get("id"))
    if item is None:
        raise RestError("NOT_FOUND", "Element not found")
    if not crm.may_read(hit.user, item):
        raise RestError("ACCESS_DENIED", "Access denied.", status=400)
    return item


def _fields(hit: Hit, type_id: int) -> dict[str, Any]:
    raw = hit.params.get("fields")
    if not isinstance(raw, Mapping):
        raise RestError("INVALID_ARG_VALUE", "Parameter 'fields' must be array.")
    original = _original(hit)
    values: dict[str, Any] = {}
    for name, value in raw.items():
        if original and str(name).startswith("UF_CRM_"):
            name = new_name(type_id, str(name))
        if name == "fm" or name in known_fields(type_id) or is_user_field(str(name)):
            values[str(name)] = value  # names the type does not know are dropped silently
    return values


def _original(hit: Hit) -> bool:
    """Whether user fields go by their original names, in both directions (§7.2)."""
    return str(hit.params.get("useOriginalUfNames", "N")) == "Y"


def _named(hit: Hit, type_id: int, values: dict[str, Any]) -> dict[str, Any]:
    if not _original(hit):
        return values
    return {(old_name(type_id, k) if is_user_field(k) else k): v for k, v in values.items()}


@METHODS.add("crm.item.get", "crm")
def get(hit: Hit) -> dict[str, Any]:
    item = _item(hit)
    return {"item": _named(hit, item.type_id, show(item))}


@METHODS.add("crm.item.add", "crm")
def add(hit: Hit) -> dict[str, Any]:
    type_id = _type(hit)
    created = crm.create(hit.world, type_id, _fields(hit, type_id), hit.user_id)
    return {"item": _named(hit, type_id, show(created))}


@METHODS.add("crm.item.update", "crm")
def update(hit: Hit) -> dict[str, Any]:
    item = _item(hit)
    crm.update(hit.world, item, _fields(hit, item.type_id), hit.user_id)
    return {"item": _named(hit, item.type_id, show(item))}


@METHODS.add("crm.item.delete", "crm")
def delete(hit: Hit) -> list[Any]:
    crm.delete(hit.world, _item(hit), hit.user_id)
    return []


@METHODS.add("crm.item.list", "crm")
def items(hit: Hit) -> Page:
    """Pages of 50; `fm` only with select `*`; an unknown filter field is refused."""
    type_id = _type(hit)
    conditions = hit.params.get("filter") or {}
    _check_filter(type_id, conditions)
    select = [str(name) for name in as_list(hit.params.get("select"))]
    order = hit.params.get("order")
    rows = [item for item in hit.state.items[type_id].values() if crm.may_read(hit.user, item)]
    found = [item for item in rows if matches(partial(_field, item), conditions)]
    found = sort_rows(found, _field, order if isinstance(order, Mapping) and order else {"id": "ASC"})

    def shape(item: CrmItem) -> dict[str, Any]:
        full = show(item, communications="*" in select)
        if not select or "*" in select:
            return full
        return {name: full.get(name, item.fields.get(name)) for name in dict.fromkeys(["id", *select])}

    return page_of(found, hit.params.get("start", 0), shape, wrap="items")


def _field(item: CrmItem, name: str) -> Any:
    if name == "phone":
        return item.phones()
    if name == "contactIds":
        return [item.fields.get("contactId")]
    return item.fields.get(name)


def _check_filter(type_id: int, conditions: Any) -> None:
    if not isinstance(conditions, Mapping):
        return
    known = known_fields(type_id)
    for key, value in conditions.items():
        _, name = split_key(str(key))
        if name.isdigit() or name.lower() == "logic":
            _check_filter(type_id, value)
        elif name not in known and not is_user_field(name) and name != "phone":
            raise RestError("INVALID_ARG_VALUE", f"Invalid filter: field '{name}' is not allowed in filter")
