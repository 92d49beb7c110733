"""The portal's own stages, and a ready proposal of dispositions made from them. Pure.

Rows are those of `crm.status.list` (bitrix24.md §7.5) as the snapshots hold them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from bitrix_app.core.dispositions import Rule, category_of

COUNTER: Final = "UF_CRM_UNITALK_ATTEMPTS"
"""Stands in the proposal for the field that an administrator has to choose."""
SIMPLE_MODE: Final = 2
"""`crm.settings.mode.get` of a portal without leads."""


@dataclass(frozen=True, slots=True)
class Stage:
    """`semantics`: `S` won, `F` lost, empty while in process. `sort` is the order on the board."""

    id: str
    name: str
    semantics: str
    sort: int

    @property
    def is_final(self) -> bool:
        return self.semantics in ("S", "F")


@dataclass(frozen=True, slots=True)
class Stages:
    """Stages by code, in the board's order; empty while nobody has read them."""

    lead: Mapping[str, Stage] = field(default_factory=dict)
    deal: Mapping[str, Stage] = field(default_factory=dict)

    def of(self, record: str | None) -> Mapping[str, Stage]:
        return {"LEAD": self.lead, "DEAL": self.deal}.get(record or "", {})


def read_stages(rows: Iterable[Mapping[str, Any]]) -> dict[str, Stage]:
    """Rows without a code are left out; `EXTRA` says the semantics where `SEMANTICS` is absent."""
    found: list[Stage] = []
    for row in rows:
        code = row.get("STATUS_ID")
        if not isinstance(code, str) or not code:
            continue
        extra = row.get("EXTRA")
        told = extra.get("SEMANTICS") if isinstance(extra, Mapping) else None
        semantics = str(row.get("SEMANTICS") or _EXTRA.get(str(told), "")).upper()
        sort = str(row.get("SORT") or "")
        found.append(
            Stage(
                code,
                str(row.get("NAME") or code),
                semantics if semantics in ("S", "F") else "",
                int(sort) if sort.isascii() and sort.isdigit() else 0,
            )
        )
    found.sort(key=lambda stage: (category_of(stage.id), stage.sort))
    return {stage.id: stage for stage in found}


_EXTRA: Final = {"success": "S", "failure": "F", "apology": "F"}


def proposal(stages: Stages, crm_mode: int | None = None) -> tuple[Rule, ...]:
    """Rules that fit most portals, all switched off: an administrator takes over what is wanted.

    Leads, or in the simple mode deals of the first pipeline. Answered moves a new record on, a number
    that does not exist closes a new record, attempts that reached nobody are counted.
    """
    record = "DEAL" if crm_mode == SIMPLE_MODE else "LEAD"
    board = [stage for stage in stages.of(record).values() if category_of(stage.id) == 0]
    working = [stage for stage in board if not stage.is_final]
    lost = next((stage for stage in board if stage.semantics == "F"), None)
    rules: list[Rule] = []
    if len(working) > 1:
        rules.append(
            Rule(
                id="answered",
                name=f"Answered: {working[0].name} → {working[1].name}",
                outcomes=("answered",),
                record=record,
                stage=working[1].id,
                from_stages=(working[0].id,),
                outside="leave",
            )
        )
    rules.append(
        Rule(
            id="attempts",
            name="Nobody reached: count the attempt (name a field of type number)",
            outcomes=("not_reached",),
            direction="out",
            record=record,
            counter=COUNTER,
        )
    )
    if working and lost:
        rules.append(
            Rule(
                id="invalid-number",
                name=f"No such number: {working[0].name} → {lost.name}",
                outcomes=("invalid_number",),
                record=record,
                stage=lost.id,
                from_stages=(working[0].id,),
            )
        )
    return tuple(rules)
