"""Dispositions in the settings' JSON: the rules, what can be chosen for them, and a ready proposal."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from bitrix_app.core import dispositions
from bitrix_app.core.disposition_form import STATUS_CODES
from bitrix_app.core.dispositions import GROUPS, category_of
from bitrix_app.core.outcome import OF_CALLS, STATUS_CODE, Outcome
from bitrix_app.core.portal import Portal, Snapshot
from bitrix_app.core.record_memory import RECORD_TYPES
from bitrix_app.core.stages import Stage, Stages, proposal, read_stages
from bitrix_app.core.store import Store
from bitrix_app.web.pages import iso
from bitrix_app.words import Words


async def stages_of(store: Store, portal: str) -> Stages:
    """The portal's stages by its last good snapshots; empty before the first."""
    kinds = ("lead_stages", "deal_stages", "category_stages")
    lead, deal, more = [_rows(await store.snapshot(portal, kind)) for kind in kinds]
    return Stages(read_stages(lead), read_stages([*deal, *more]))


async def dispositions_json(store: Store, portal: Portal, words: Words) -> dict[str, Any]:
    """`dispositions` can be written back as it is; the others are for choosing."""
    stages = await stages_of(store, portal.member_id)
    taken = await store.snapshot(portal.member_id, "lead_stages")
    told = _rows(await store.snapshot(portal.member_id, "crm_mode"))
    mode = {"1": 1, "2": 2}.get(str(told[0].get("mode"))) if told else None
    return {
        "dispositions": [dispositions.pack(rule) for rule in portal.settings.dispositions],
        "dispositions_proposal": [
            dispositions.pack(replace(rule, name=words.retell(rule.name))) for rule in proposal(stages, mode)
        ],
        "dispositions_choices": {
            "outcomes": [
                {"id": str(one), "status_code": STATUS_CODE[one]} for one in Outcome if one in OF_CALLS
            ],
            "groups": {name: sorted(str(one) for one in group) for name, group in GROUPS.items()},
            "directions": ["in", "out"],
            "sources": ["regular", "autodial"],
            "status_codes": {code: words.say(meaning) for code, meaning in STATUS_CODES.items()},
            "records": list(RECORD_TYPES),
            "crm_mode": {1: "classic", 2: "simple"}.get(mode or 0),
            "lead_stages": [_stage(one) for one in stages.lead.values()],
            "deal_categories": await _categories(store, portal.member_id, stages),
            "stages_at": iso(taken.taken_at) if taken else None,
        },
    }


async def _categories(store: Store, portal: str, stages: Stages) -> list[dict[str, Any]]:
    """Pipelines of deals with their stages; the first one is there even if nobody told its name."""
    rows = _rows(await store.snapshot(portal, "deal_categories"))
    names = {int(row["id"]): str(row.get("name") or "") for row in rows}
    known = dict.fromkeys([*names, *(category_of(stage) for stage in stages.deal)])
    return [
        {
            "id": number,
            "name": names.get(number, ""),
            "stages": [_stage(one) for one in stages.deal.values() if category_of(one.id) == number],
        }
        for number in sorted(known)
    ]


def _stage(stage: Stage) -> dict[str, Any]:
    return {"id": stage.id, "name": stage.name, "final": {"S": "won", "F": "lost"}.get(stage.semantics)}


def _rows(snapshot: Snapshot | None) -> list[Mapping[str, Any]]:
    return list(snapshot.items) if snapshot else []
