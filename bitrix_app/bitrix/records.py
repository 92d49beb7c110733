"""CRM records in the portal's words: read one, change one; pipelines and their stages. Pure.

bitrix24.md §7.2 and §7.5. User fields go by their original names (`UF_CRM_…`), because those are what
the portal shows to administrators.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

from bitrix_app.bitrix.values import as_int, as_mapping, as_rows, as_text
from bitrix_app.bitrix.wire import RestCall
from bitrix_app.core.disposing import Record, plain_name
from bitrix_app.core.record_memory import RECORD_TYPES, STAGE, reference

DEAL: Final = RECORD_TYPES["DEAL"]


def read(record: str) -> RestCall:
    """`crm.item.get` of `LEAD:1205`."""
    return RestCall("crm.item.get", _address(record), reads=True)


def update(record: str, fields: Mapping[str, str]) -> RestCall:
    """`crm.item.update`: all fields in one request, so that they change together or not at all."""
    return RestCall("crm.item.update", {**_address(record), "fields": dict(fields)})


def _address(record: str) -> dict[str, Any]:
    kind, number = reference(record)
    return {"entityTypeId": RECORD_TYPES[kind], "id": number, "useOriginalUfNames": "Y"}


def read_record(record: str, result: Any) -> Record:
    """The item of `crm.item.get`; an answer without an item reads as a record without values."""
    item = _item(result)
    return Record(
        type=reference(record)[0],
        stage=as_text(item.get(STAGE)),
        semantics=as_text(item.get("stageSemanticId")).upper(),
        category=as_int(item.get("categoryId")),
        values=item,
    )


def not_taken(fields: Iterable[str], result: Any) -> list[str]:
    """Fields that the portal dropped from an update: it answers the whole item, and a field that the
    type does not know is not in it. An answer without an item tells nothing.
    """
    item = _item(result)
    known = {plain_name(name) for name in item}
    return [name for name in fields if item and plain_name(name) not in known]


def _item(result: Any) -> Mapping[str, Any]:
    return as_mapping(as_mapping(result).get("item"))


def pipelines() -> dict[str, RestCall]:
    """The CRM mode and the pipelines of deals, as one batch; both are absent on old portals."""
    return {
        "crm_mode": RestCall("crm.settings.mode.get", {}, reads=True),
        "deal_categories": RestCall("crm.category.list", {"entityTypeId": DEAL}, reads=True),
    }


def read_categories(result: Any) -> tuple[dict[str, Any], ...]:
    """Pipelines as `{"id", "name"}`; the first one has the id 0."""
    rows = as_rows(as_mapping(result).get("categories"))
    return tuple({"id": as_int(row.get("id")), "name": as_text(row.get("name"))} for row in rows)


def stages_of(categories: Iterable[Mapping[str, Any]]) -> dict[str, RestCall]:
    """Stages of every pipeline but the first, whose stages the directories hold already."""
    return {
        f"c{category['id']}": RestCall(
            "crm.status.list", {"filter": {"ENTITY_ID": f"DEAL_STAGE_{category['id']}"}}, reads=True
        )
        for category in categories
        if category["id"]
    }
