"""Giving what Bitrix24 made of a call to another user: requests and readers. Pure.

bitrix24.md §7.2 (items), §7.6 (activities). The call's row in the statistics has no method that
changes it.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from bitrix_app.bitrix.documents import ENTITY_TYPE_ID
from bitrix_app.bitrix.values import as_id, as_mapping
from bitrix_app.bitrix.wire import RestCall
from bitrix_app.core.call import Call

ACTIVITY = "ACTIVITY"


@dataclass(frozen=True, slots=True)
class Record:
    """Something with a responsible person; `name` is `ACTIVITY:77` or `LEAD:1205`."""

    name: str
    kind: str
    id: int

    def read(self) -> RestCall:
        if self.kind == ACTIVITY:
            return RestCall("crm.activity.get", {"id": self.id}, reads=True)
        return RestCall(
            "crm.item.get", {"entityTypeId": ENTITY_TYPE_ID[self.kind], "id": self.id}, reads=True
        )

    def responsible(self, result: Any) -> int | None:
        """Whose it is, from the answer to `read`."""
        row = as_mapping(result)
        if self.kind == ACTIVITY:
            return as_id(row.get("RESPONSIBLE_ID"))
        return as_id(as_mapping(row.get("item")).get("assignedById"))

    def give(self, user_id: int) -> RestCall:
        if self.kind == ACTIVITY:
            return RestCall("crm.activity.update", {"id": self.id, "fields": {"RESPONSIBLE_ID": user_id}})
        params = {
            "entityTypeId": ENTITY_TYPE_ID[self.kind],
            "id": self.id,
            "fields": {"assignedById": user_id},
        }
        return RestCall("crm.item.update", params)


def records(call: Call) -> list[Record]:
    """What can change hands: the call's activity, and the records that Bitrix24 made for this call.

    A client's record that was there before the call keeps its responsible person.
    """
    names = [f"{ACTIVITY}:{call.activity_id}"] if call.activity_id else []
    return named([*names, *call.created])


def named(names: Iterable[str]) -> list[Record]:
    """Records from their names; kinds that we cannot address are left out."""
    found: list[Record] = []
    for name in names:
        kind, _, number = name.partition(":")
        record_id = as_id(number)
        if record_id and (kind == ACTIVITY or kind in ENTITY_TYPE_ID):
            found.append(Record(name, kind, record_id))
    return found
