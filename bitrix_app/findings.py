"""What the watch over the PBX's events tells people, in words."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Final

from bitrix_app.core.advance import Owed
from bitrix_app.core.commands import Notify, Priority
from bitrix_app.words import mark

NOTICES_LANE: Final = "portal:notices"
SAMPLE: Final = 600
"""Characters of the sample in a notice; the whole stands in the settings."""

SENTENCES: Final[Mapping[str, str]] = MappingProxyType(
    {
        "field": "The PBX sends a field that we do not know: {name} (event {event}).",
        "event": "The PBX sends an event that we do not know: {name}.",
        "state": "The PBX reports an outcome that we do not know: {name} (event {event}).",
        "vanished": "The PBX no longer sends a field that it always sent: {name} (event {event}).",
        "handler": "An address in the PBX's cabinet belongs to another event: the address says {name},"
        " the PBX says {event}.",
    }
)
MENDS: Final[Mapping[str, str]] = MappingProxyType(
    {
        "field": "No call is lost by it. Please send the sample to the support of this application.",
        "event": "It is kept, but no call follows from it. Please send the sample to the support of this"
        " application.",
        "state": "Calls with it are written without an exact outcome. Please send the sample to the support"
        " of this application.",
        "vanished": "Calls may lack what this field told. Check the event handlers in the PBX's cabinet: the"
        " body should be Standard JSON.",
        "handler": "The PBX's own word counts. Copy the right address from the settings into this handler.",
    }
)


def sentence(kind: str, name: str, event: str) -> str:
    return SENTENCES[kind].format(name=name, event=event or "–")


def notice_of_finding(finding: Mapping[str, Any]) -> Owed:
    """One notice for one finding, for the administrators."""
    sample = json.dumps(finding["sample"], ensure_ascii=False).replace("[", "(").replace("]", ")")
    text = f"{finding['finding']}\n{MENDS[finding['kind']]}\n{sample[:SAMPLE]}"
    return _notice(f"drift:{finding['key']}", text)


def notice_of_more(count: int, at: float) -> Owed:
    """Instead of a flood: the rest stands in the settings."""
    text = mark(
        f"The PBX sends {count} more things that we do not know. They are listed in the settings of Unitalk."
    )
    return _notice(f"drift:more:{int(at)}", text)


def notice_of_zone(zone: str, hours: int, proposed: str | None, count: int) -> Owed:
    """The PBX's clock is `hours` away from `zone`, by its last `count` calls."""
    off = abs(hours)
    if hours > 0:
        found = mark(
            f"The PBX's clock is probably not in the time zone {zone}: its last {count} calls ended"
            f" {off} h later than its events say, so calls are shown at a wrong time."
        )
    else:
        found = mark(
            f"The PBX's clock is probably not in the time zone {zone}: its last {count} calls ended"
            f" {off} h earlier than its events say, so calls are shown at a wrong time."
        )
    if proposed:
        mend = mark(f"Set the time zone of the PBX to {proposed} in the settings of Unitalk.")
    else:
        mend = mark("Set the time zone of the PBX in the settings of Unitalk.")
    return _notice("timezone", f"{found}\n{mend}")


def _notice(tag: str, message: str) -> Owed:
    if len(tag) > 100:
        tag = f"{tag[:80]}:{hashlib.sha256(tag.encode()).hexdigest()[:16]}"
    return Owed(f"notify:{tag}", Notify(tag=tag, message=message), Priority.CRM)
