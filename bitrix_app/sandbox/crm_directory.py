"""CRM directories, mode and duplicates (bitrix24.md §7.4, §7.5)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from bitrix_app.sandbox.crm_fields import COMPANY, CONTACT, LEAD, TYPE_IDS, TYPE_NAMES
from bitrix_app.sandbox.errors import RestError
from bitrix_app.sandbox.query import Page, matches, sort_rows
from bitrix_app.sandbox.registry import METHODS
from bitrix_app.sandbox.state import State
from bitrix_app.sandbox.wire import as_list, php_map, to_int
from bitrix_app.sandbox.world import Hit

_ENOUGH_HITS = 20
_EXTRA = {None: "process", "S": "success", "F": "failure"}
_BLUE, _CYAN, _GREEN, _RED = "#39A8EF", "#2FC6F6", "#7BD500", "#FF5752"

_LEAD_STAGES = [
    ("NEW", "New", None, _BLUE),
    ("IN_PROCESS", "In progress", None, _CYAN),
    ("CONVERTED", "Good lead", "S", _GREEN),
    ("JUNK", "Junk lead", "F", _RED),
]
_DEAL_STAGES = [
    ("NEW", "New", None, _BLUE),
    ("PREPARATION", "Document preparation", None, _CYAN),
    ("EXECUTING", "In progress", None, _CYAN),
    ("WON", "Deal won", "S", _GREEN),
    ("LOSE", "Deal lost", "F", _RED),
]
_REPEAT_STAGES = [
    ("C9:NEW", "New", None, _BLUE),
    ("C9:PREPARATION", "Document preparation", None, _CYAN),
    ("C9:WON", "Deal won", "S", _GREEN),
    ("C9:LOSE", "Deal lost", "F", _RED),
]
_SOURCES = [
    ("CALL", "Call"),
    ("EMAIL", "E-mail"),
    ("WEB", "Website"),
    ("CALLBACK", "Callback"),
    ("OTHER", "Other"),
]


def fill(state: State) -> None:
    """The directories of a fresh portal."""
    for entity, category, stages in (
        ("STATUS", None, _LEAD_STAGES),
        ("DEAL_STAGE", "0", _DEAL_STAGES),
        ("DEAL_STAGE_9", "9", _REPEAT_STAGES),
    ):
        for index, (code, name, semantics, color) in enumerate(stages):
            add_status(state, entity, code, name, (index + 1) * 10, category, semantics, color)
    for index, (code, name) in enumerate(_SOURCES):
        add_status(state, "SOURCE", code, name, (index + 1) * 10)
    state.categories = [
        {"id": 9, "name": "Repeat sales", "sort": 200, "entityTypeId": 2, "isDefault": "N", "originId": "",
         "originatorId": ""},
        {"id": 0, "name": "General", "sort": 300, "entityTypeId": 2, "isDefault": "Y"},
    ]  # fmt: skip


def add_status(
    state: State,
    entity: str,
    code: str,
    name: str,
    sort: int,
    category: str | None = None,
    semantics: str | None = None,
    color: str | None = None,
) -> None:
    """One row of a directory."""
    system = "Y" if code.rpartition(":")[2] in ("NEW", "CONVERTED", "JUNK", "WON", "LOSE") else "N"
    state.statuses.append(
        {
            "ID": str(len(state.statuses) * 2 + 1),
            "ENTITY_ID": entity,
            "STATUS_ID": code,
            "NAME": name,
            "NAME_INIT": name if system == "Y" else "",
            "SORT": str(sort),
            "SYSTEM": system,
            "CATEGORY_ID": category,
            "COLOR": color,
            "SEMANTICS": semantics,
            "EXTRA": {"SEMANTICS": _EXTRA[semantics], "COLOR": color},
        }
    )


@METHODS.add("crm.status.list", "crm")
def status_list(hit: Hit) -> Page:
    """All rows at once: directories are not paged."""
    order = hit.arg("order")
    conditions = hit.arg("filter") or {}
    found = [row for row in hit.state.statuses if matches(row.get, conditions)]
    found = sort_rows(
        found, lambda row, name: row.get(name), order if isinstance(order, Mapping) else {"SORT": "ASC"}
    )
    return Page(found, total=len(found))


@METHODS.add("crm.category.list", "crm")
def category_list(hit: Hit) -> Page:
    type_id = to_int(hit.params.get("entityTypeId"))
    found = [row for row in hit.state.categories if row["entityTypeId"] == type_id]
    if not found:
        raise RestError("NOT_FOUND", "SPA is not found")
    return Page({"categories": found}, total=len(found))


@METHODS.add("crm.settings.mode.get", "crm")
def mode(hit: Hit) -> int:
    """1 classic (leads), 2 simple."""
    return hit.world.crm_mode


@METHODS.add("crm.duplicate.findbycomm", "crm")
def find_by_communication(hit: Hit) -> dict[str, list[int]] | list[Any]:
    """Ids by type; ≥ 20 hits in one type hide the following types; nothing at all is `[]`."""
    kind = str(hit.arg("type") or "").upper()
    if kind not in ("PHONE", "EMAIL"):
        raise RestError("Communication type is not defined", "Parameter 'type' is required.", status=400)
    values = [str(one) for one in as_list(hit.arg("values"))][:20]
    if not values:
        raise RestError("Values are not defined", "Parameter 'values' is required.", status=400)
    only = str(hit.arg("entity_type") or "").upper()
    wanted = {_key(hit, kind, one) for one in values} - {None}
    found: dict[str, list[int]] = {}
    for type_id in (LEAD, CONTACT, COMPANY):
        if only and TYPE_IDS.get(only) != type_id:
            continue
        hits = [
            item.id
            for item in hit.state.items[type_id].values()
            if any(_key(hit, kind, str(row["value"])) in wanted for row in item.fm if row["typeId"] == kind)
        ]
        if hits:
            found[TYPE_NAMES[type_id]] = hits[:_ENOUGH_HITS]
        if len(hits) >= _ENOUGH_HITS:
            break
    return php_map(found)


def _key(hit: Hit, kind: str, value: str) -> str | None:
    return hit.world.normalise(value) if kind == "PHONE" else value.strip().lower()
