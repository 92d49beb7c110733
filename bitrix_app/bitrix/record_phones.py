"""Phone numbers of many CRM records: what is asked and how it is read. Pure (bitrix24.md §7.2).

Numbers stand in `fm`, which comes only with `select: ["*"]`. Deals have none: their contacts' count,
then their company's.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from bitrix_app.bitrix.values import as_id, as_mapping, as_rows, as_text
from bitrix_app.bitrix.wire import RestCall
from bitrix_app.core.record_memory import RECORD_TYPES

PAGE: Final = 50
"""Items of one `crm.item.list` (bitrix24.md §4.2)."""


def listed(kind: str, ids: Sequence[int]) -> dict[str, RestCall]:
    """Records by their ids, as calls of one batch."""
    pages = [ids[start : start + PAGE] for start in range(0, len(ids), PAGE)]
    return {f"{kind}{number}": _list(kind, {"@id": list(page)}) for number, page in enumerate(pages)}


def staged(kind: str, stage: str, after: int) -> RestCall:
    """The next page of the records that stand in a stage; ids grow, so none is met twice."""
    return _list(kind, {"=stageId": stage, ">id": after})


def _list(kind: str, conditions: Mapping[str, Any]) -> RestCall:
    params = {
        "entityTypeId": RECORD_TYPES[kind],
        "select": ["id", "*"],
        "filter": dict(conditions),
        "order": {"id": "ASC"},
        "start": -1,
    }
    return RestCall("crm.item.list", params, reads=True)


def items(result: Any) -> dict[int, Mapping[str, Any]]:
    """The page's items by their ids, in the portal's order."""
    rows = as_rows(as_mapping(result).get("items"))
    return {number: row for row in rows if (number := as_id(row.get("id"))) is not None}


def phones(item: Mapping[str, Any]) -> list[str]:
    """An item's phone numbers as people wrote them, in the portal's order."""
    rows = as_rows(item.get("fm"))
    return [as_text(row.get("value")) for row in rows if as_text(row.get("typeId")).lower() == "phone"]


def clients(item: Mapping[str, Any]) -> list[tuple[str, int]]:
    """Whose numbers stand in for a deal's: its contacts in order, then its company."""
    many = item.get("contactIds")
    contacts = [as_id(one) for one in many] if isinstance(many, list) else []
    contacts.append(as_id(item.get("contactId")))
    found = [("CONTACT", one) for one in dict.fromkeys(contacts) if one is not None]
    company = as_id(item.get("companyId"))
    return [*found, ("COMPANY", company)] if company is not None else found


def ids_of(records: Iterable[tuple[str, int]], kind: str) -> list[int]:
    return list(dict.fromkeys(number for one, number in records if one == kind))
