"""crm.lead|deal|contact|company.*: the old methods. Strings, errors with an empty code (bitrix24.md §7.3)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from bitrix_app.sandbox import crm
from bitrix_app.sandbox.crm_fields import (
    COMPANY,
    CONTACT,
    DEAL,
    DEFAULTS,
    LEAD,
    SERVICE_FIELDS,
    STAGE_FIELDS,
    TYPE_NAMES,
    classic_value,
    is_user_field,
    new_name,
    old_name,
)
from bitrix_app.sandbox.errors import RestError
from bitrix_app.sandbox.query import Page, matches, page_of, sort_rows
from bitrix_app.sandbox.registry import METHODS
from bitrix_app.sandbox.state import CrmItem
from bitrix_app.sandbox.wire import as_list, to_int
from bitrix_app.sandbox.world import Hit

_MULTI = ("PHONE", "EMAIL", "WEB", "IM", "LINK")


def show(item: CrmItem) -> dict[str, Any]:
    """A record as crm.lead.get answers it: strings, and the multifields it has."""
    values: dict[str, Any] = {"ID": str(item.id)}
    for name in (*DEFAULTS[item.type_id], *SERVICE_FIELDS):
        if name != "id" and (item.type_id in STAGE_FIELDS or not name.startswith("moved")):
            values[old_name(item.type_id, name)] = classic_value(name, item.fields.get(name))
    for name, value in item.fields.items():
        if is_user_field(name):
            values[old_name(item.type_id, name)] = None if value is None else str(value)
    for kind in _MULTI:
        rows = _multi(item, kind)
        if rows:
            values[kind] = rows
    return values


def _multi(item: CrmItem, kind: str) -> list[dict[str, str]]:
    return [
        {"ID": str(row["id"]), "VALUE_TYPE": row["valueType"], "VALUE": row["value"], "TYPE_ID": kind}
        for row in item.fm
        if row["typeId"] == kind
    ]


def _field(item: CrmItem, name: str) -> Any:
    """A value to filter and sort by; multifields match exactly, any of them."""
    if name in _MULTI:
        return [row["value"] for row in item.fm if row["typeId"] == name]
    return item.fields.get(new_name(item.type_id, name))


def _fields(hit: Hit, type_id: int) -> dict[str, Any]:
    raw = hit.arg("fields")
    if not isinstance(raw, Mapping):
        raise RestError("", "Parameter 'fields' must be array.", status=400)
    values: dict[str, Any] = {}
    communications: list[dict[str, Any]] = []
    for name, value in raw.items():
        if name in _MULTI:
            communications += [
                {
                    "typeId": name,
                    "id": to_int(row.get("ID")),
                    "value": row.get("VALUE"),
                    "valueType": row.get("VALUE_TYPE"),
                }
                for row in as_list(value)
                if isinstance(row, Mapping)
            ]
        else:
            values[new_name(type_id, str(name))] = value
    if communications:
        values["fm"] = communications
    return values


def _item(hit: Hit, type_id: int) -> CrmItem:
    item = crm.get(hit.world, type_id, hit.arg("id"))
    if item is None:
        raise RestError("", "Not found", status=400)
    if not crm.may_read(hit.user, item):
        raise RestError("", "Access denied.", status=400)
    return item


def _write(work: Callable[[], Any]) -> Any:
    try:
        return work()
    except RestError as error:  # the old methods have no codes
        raise RestError("", error.text, status=400) from error


def _list(hit: Hit, type_id: int) -> Page:
    select = [str(name) for name in as_list(hit.arg("select"))]
    everything = not select or "*" in select
    order = hit.arg("order")
    rows = [item for item in hit.state.items[type_id].values() if crm.may_read(hit.user, item)]
    conditions = hit.arg("filter") or {}
    found = [item for item in rows if matches(partial(_field, item), conditions)]
    found = sort_rows(found, _field, order if isinstance(order, Mapping) and order else {"ID": "ASC"})

    def shape(item: CrmItem) -> dict[str, Any]:
        full = show(item)
        if everything:  # multifields and user fields have to be named
            kept = {
                name: value for name, value in full.items() if name not in _MULTI and not is_user_field(name)
            }
            named = {name: full[name] for name in full if name in select}
            users = {name: full[name] for name in full if "UF_*" in select and is_user_field(name)}
            return kept | named | users
        return {name: full[name] for name in dict.fromkeys(["ID", *select]) if name in full}

    return page_of(found, hit.arg("start", 0), shape)


def _register(type_id: int) -> None:
    family = f"crm.{TYPE_NAMES[type_id].lower()}"

    @METHODS.add(f"{family}.get", "crm")
    def get(hit: Hit) -> dict[str, Any]:
        return show(_item(hit, type_id))

    @METHODS.add(f"{family}.list", "crm")
    def rows(hit: Hit) -> Page:
        return _list(hit, type_id)

    @METHODS.add(f"{family}.add", "crm")
    def add(hit: Hit) -> int:
        fields = _fields(hit, type_id)
        created: CrmItem = _write(lambda: crm.create(hit.world, type_id, fields, hit.user_id))
        return created.id

    @METHODS.add(f"{family}.update", "crm")
    def update(hit: Hit) -> bool:
        item, fields = _item(hit, type_id), _fields(hit, type_id)
        _write(lambda: crm.update(hit.world, item, fields, hit.user_id))
        return True

    @METHODS.add(f"{family}.delete", "crm")
    def delete(hit: Hit) -> bool:
        crm.delete(hit.world, _item(hit, type_id), hit.user_id)
        return True


for _type_id in (LEAD, DEAL, CONTACT, COMPANY):
    _register(_type_id)
