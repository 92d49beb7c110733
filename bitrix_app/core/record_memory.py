"""What we remember of each finished call on each CRM record that it concerns.

Bitrix24 tells a record's state and nothing of how it came about. So our own memory says which calls
were on the record, in which order they ended, and what was written for each of them, with the value
that stood there before: that tells after a lost answer whether the write happened.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from enum import StrEnum
from types import MappingProxyType
from typing import Any, Final

from bitrix_app.core.outcome import Outcome

STAGE: Final = "stageId"
"""The stage's name in `crm.item.*` (bitrix24.md §7.2)."""
RECORD_TYPES: Final = MappingProxyType({"LEAD": 1, "DEAL": 2, "CONTACT": 3, "COMPANY": 4})
"""Records that a disposition can go to, with their entityTypeId (bitrix24.md §7.1)."""
META: Final = re.compile(r"(?:b24:)?(lead|deal|contact|company):([1-9][0-9]{0,14})(?::.*)?", re.IGNORECASE)
"""Our text in a call's `meta` that names the record a call was made for: `b24:deal:301:…` or `lead:520`."""


class Stand(StrEnum):
    """How far a call's disposition on a record is."""

    KNOWN = "known"
    """The call is over; nothing was written for it."""
    PLANNED = "planned"
    """The write was decided and may be on its way."""
    WRITTEN = "written"
    SUPERSEDED = "superseded"
    """A newer call had already written the same."""
    NOTHING = "nothing"
    """Looked at, and nothing was to be written."""


@dataclass(frozen=True, slots=True)
class Effect:
    """One field that a call's disposition changes: what was read, and what was to stand there.

    `counted`: one more than before, so that effects of several calls add up.
    """

    field: str
    before: str
    value: str
    counted: bool = False


@dataclass(frozen=True, slots=True)
class Past:
    """A finished call as one record's memory holds it. `record` is `LEAD:1205`; unix seconds."""

    record: str
    call_id: str
    ended_at: float
    outcome: Outcome
    direction: str | None = None
    autodial: bool = False
    stand: Stand = Stand.KNOWN
    effects: tuple[Effect, ...] = ()
    """What was written or may be on its way; empty in every other stand."""
    turn: int = 0
    """The record's plans are numbered as they were made: a clock may stand still or jump."""
    reached: tuple[str, ...] = ()
    """Rules with a threshold that this call reached; a row reaches it once."""
    owed: bool = False
    """Its job is still open. Told by the store, not stored here."""

    @property
    def order(self) -> tuple[float, str]:
        """By the call's end; ids settle a tie the same way each time."""
        return self.ended_at, self.call_id


def reference(record: str) -> tuple[str, int]:
    """`LEAD:1205` → (LEAD, 1205). Raises `ValueError` for anything else."""
    kind, _, number = record.partition(":")
    if kind not in RECORD_TYPES or not (number.isascii() and number.isdigit() and int(number) > 0):
        raise ValueError(f"{record!r} names no CRM record")
    return kind, int(number)


def named_in(meta: str | None) -> str | None:
    """The record that the call's own text names, as `DEAL:301`."""
    found = META.fullmatch((meta or "").strip())
    return f"{found[1].upper()}:{found[2]}" if found else None


def concerned(
    meta: str | None, crm_type: str | None, crm_id: int | None, created: tuple[str, ...]
) -> tuple[str, ...]:
    """Records that a call concerns: the one it was made for, the one that it hangs on, and what
    Bitrix24 created for it (a deal beside the contact in the simple CRM mode, bitrix24.md §6.1).
    """
    hangs_on = f"{crm_type.upper()}:{crm_id}" if crm_type and crm_id else ""
    records: list[str] = []
    for record in (named_in(meta) or "", hangs_on, *created):
        try:
            reference(record)
        except ValueError:
            continue  # an employee, a smart process, nothing: no rule can name it
        if record not in records:
            records.append(record)
    return tuple(records)


def pack(past: Past) -> dict[str, Any]:
    """JSON-able; `unpack` takes it back."""
    data = asdict(past)
    del data["owed"]
    return {name: value for name, value in data.items() if value not in (None, (), False, 0)}


def unpack(data: Mapping[str, Any], *, owed: bool = False) -> Past:
    """Unknown keys (of a newer version) are ignored."""
    known = {f.name for f in fields(Past)}
    values = {name: value for name, value in data.items() if name in known}
    values["outcome"] = Outcome(values["outcome"])
    values["stand"] = Stand(values.get("stand", Stand.KNOWN))
    values["effects"] = tuple(Effect(**one) for one in values.get("effects", ()))
    values["reached"] = tuple(values.get("reached", ()))
    return Past(**{**values, "owed": owed})
