"""What the portal can: requests that ask for it, and the snapshot that remembers the answers.

bitrix24.md §12, §16.9: `scope`, `placement.list`, `events`, `app.info`, `crm.settings.mode.get`. A part
that the portal cannot tell keeps what it told last.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Final

from bitrix_app.bitrix.answers import Answer
from bitrix_app.bitrix.bindings import ALWAYS, EVENTS
from bitrix_app.bitrix.values import as_int, as_mapping, as_text
from bitrix_app.bitrix.wire import RestCall
from bitrix_app.core.abilities import WANTED, missing
from bitrix_app.core.errors import Trouble

KIND: Final = "abilities"
CRM_MODES: Final = MappingProxyType({1: "classic", 2: "simple"})

READS: Final = MappingProxyType(
    {
        "scopes": RestCall("scope", reads=True),
        "placements": RestCall("placement.list", reads=True),
        "events": RestCall("events", reads=True),
        "crm_mode": RestCall("crm.settings.mode.get", reads=True),
    }
)


def read_abilities(
    answers: Mapping[str, Answer | Trouble], info: object, last: Mapping[str, Any]
) -> dict[str, Any]:
    """The snapshot's item from the answers to `READS`, `app.info` and the item before it."""
    app = as_mapping(info)
    scopes = _words(answers, "scopes", str.lower)
    told = {
        # a list without any scope of ours cannot be about us: believing it would switch everything off
        "scopes": scopes if scopes and len(missing(scopes)) < len(WANTED) else None,
        "placements": _words(answers, "placements", str.upper),
        "events": _words(answers, "events", str.upper),
        "crm_mode": CRM_MODES.get(as_int(_result(answers, "crm_mode"))),
        "license_family": as_text(app.get("LICENSE_FAMILY")) or None,
        "version": as_text(app.get("VERSION")) or None,
    }
    known = {name: last.get(name) if value is None else value for name, value in told.items()}
    return {
        **known,
        "missing_placements": _without(ALWAYS, known["placements"]),
        "missing_events": _without(EVENTS, known["events"]),
    }


def _result(answers: Mapping[str, Answer | Trouble], name: str) -> Any:
    answer = answers.get(name)
    return answer.result if isinstance(answer, Answer) else None


def _words(answers: Mapping[str, Answer | Trouble], name: str, spelling: Any) -> list[str] | None:
    """A list of names; empty or anything else is no answer (a portal always has some of each)."""
    rows = _result(answers, name)
    if isinstance(rows, Mapping):  # a PHP list with gaps
        rows = list(rows.values())
    words = [spelling(as_text(row)) for row in rows if as_text(row)] if isinstance(rows, list) else []
    return words or None


def _without(wanted: Any, known: Any) -> list[str]:
    return [name for name in wanted if name not in known] if isinstance(known, list) else []
