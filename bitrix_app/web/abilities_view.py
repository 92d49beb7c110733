"""The portal's rights in words: which are granted, what each is for, what works without it.

For administrators: on the overview what is missing, in `GET /settings` all of it (`abilities`).
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Final

from bitrix_app.core.abilities import WANTED, grants
from bitrix_app.core.portal import Portal, Snapshot
from bitrix_app.web.pages import iso
from bitrix_app.words import Words, mark

WORDS: Final[Mapping[str, tuple[str, str]]] = MappingProxyType(
    {
        "telephony": (
            mark("Registers and finishes calls, shows cards, attaches recordings, keeps the lines."),
            mark("Nothing can be written: calls are kept here, and each of them needs a person."),
        ),
        "crm": (
            mark("Puts our summary and link on a call's record, reads stages, applies your dispositions."),
            mark("Calls, records made by Bitrix24, recordings: as usual. No summary and no dispositions."),
        ),
        "placement": (
            mark("Adds “Unitalk calls” to the telephony menu and lets links open a call here."),
            mark("Everything works; the application is opened from the list of applications only."),
        ),
        "user_basic": (
            mark("Reads employees with their inner numbers, to give each call to the right one."),
            mark("Calls are written, but all of them go to the default user of the line or portal."),
        ),
        "im": (
            mark("Sends notices to administrators inside Bitrix24."),
            mark("Nobody gets notices; this page and the call log still say everything."),
        ),
        "disk": (
            mark("Files a document per call and a copy of the recording on the company Drive."),
            mark("Recordings stay attached to the calls in the CRM; nothing is filed on Drive."),
        ),
    }
)
"""Scope → what we use it for, and what still works without it (also in docs/setup.md)."""
CRM_MODES: Final = MappingProxyType(
    {"classic": "Unknown callers become leads.", "simple": "Unknown callers become a contact with a deal."}
)


def abilities_json(portal: Portal, snapshot: Snapshot | None, words: Words) -> dict[str, Any]:
    """What the portal lets us do. `granted` is what the last frame or refresh told; `checked_at` says
    when the rest was asked for, `null`: not yet.
    """
    item = snapshot.items[0] if snapshot and snapshot.items else {}
    return {
        "checked_at": iso(snapshot.taken_at) if snapshot else None,
        "scopes": [
            {
                "scope": group[0],
                "granted": grants(portal.scope, *group),
                "used_for": words.say(WORDS[group[0]][0]),
                "without": words.say(WORDS[group[0]][1]),
            }
            for group in WANTED
        ],
        "crm_mode": item.get("crm_mode"),
        "license_family": item.get("license_family"),
        "missing_placements": list(item.get("missing_placements") or ()),
        "missing_events": list(item.get("missing_events") or ()),
    }
