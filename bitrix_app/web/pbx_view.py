"""What the watch and the daily look at the PBX found, for `GET /settings`. No value of anybody's is in it."""

from __future__ import annotations

from typing import Any

from bitrix_app.core.portal import Portal
from bitrix_app.core.store import Store
from bitrix_app.web.pages import iso
from bitrix_app.words import Words


async def pbx_json(store: Store, portal: Portal, words: Words) -> dict[str, Any]:
    """`drift`, `timezone_check`, `pbx_structure` (what the PBX answers) and `pbx_events` (what it sends)."""
    member = portal.member_id
    drift = await store.snapshot(member, "drift")
    structure = await store.snapshot(member, "pbx_structure")
    events = await store.snapshot(member, "pbx_events")
    return {
        "drift": [
            {
                "finding": words.retell(item["finding"]),
                "kind": item["kind"],
                "name": item["name"],
                "event": item["event"],
                "first_seen": iso(item["first_seen"]),
                "last_seen": iso(item["last_seen"]),
                "count": item["count"],
                "sample": item["sample"],
            }
            for item in sorted(drift.items if drift else (), key=lambda item: -item["first_seen"])
        ],
        "timezone_check": await _zone(store, portal),
        "pbx_structure": (
            {"checked_at": iso(structure.taken_at), "answers": dict(structure.items[0])}
            if structure and structure.items
            else None
        ),
        "pbx_events": sorted(
            (
                {"event": item["event"], "seen": item["seen"], "structure": item["structure"]}
                for item in (events.items if events else ())
            ),
            key=lambda item: str(item["event"]),
        ),
    }


async def _zone(store: Store, portal: Portal) -> dict[str, Any]:
    """`state` is `ok`, `wrong`, or `unknown` until enough calls ended since the zone was set."""
    zone = portal.settings.pbx_timezone
    found = await store.snapshot(portal.member_id, "timezone_check")
    told = found.items[0] if found and found.items else {}
    if told.get("zone") != zone:
        return {
            "zone": zone,
            "state": "unknown",
            "hours_off": None,
            "proposed": None,
            "calls": 0,
            "checked_at": None,
        }
    return {
        "zone": zone,
        "state": "wrong" if told["hours_off"] else "ok",
        "hours_off": told["hours_off"],
        "proposed": told["proposed"],
        "calls": told["calls"],
        "checked_at": iso(told["checked_at"]),
    }
