"""What an event of the PBX holds that the contract does not know, or lacks that it always had. Pure.

The vendor's interface is documented in part only and changes without notice (unitalk.md §3, §6). A
finding is for people: nothing is lost by it, the event was kept and read as far as it could be.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

from unitalk import names, states
from unitalk.events import Readable, ReadEvent
from unitalk.structure import safe_name, shape
from unitalk.values import simple_name

ALWAYS: Final = 20
"""Events in a row that had a field, after which its absence is a finding."""
MOST_FIELDS: Final = 80
"""Fields of one kind of event that are counted."""

_CALL_FIELDS: Final = frozenset(
    re.findall(
        r"\w+",
        "id dbid from to lastgroupname outernumber direction date secondsfulltime secondstalk callback state"
        " source link cause meta",
    )
)
_OPTIONAL: Final = frozenset(
    re.findall(
        r"\w+",
        "comment hasseparaterecords utmsource utmmedium utmcampaign utmterm utmcontent googleid"
        " facebookclientid gclid cdid referer ip lasturl secondsclientwaitoperator realcalledcount"
        " autodialerid autodialid autodial phone number",
    )
)
"""Known, and not always there: call tracking, the dialer's own (§3.3, §3.8)."""
_AROUND: Final = frozenset({"event", "call", "presseddigit", "name", "status"})
KNOWN: Final = _CALL_FIELDS | _OPTIONAL | _AROUND
"""All field names of the contract, simplified; `call_id`, `callState` and `to_0` count as `id`, …"""


class Kind(StrEnum):
    FIELD = "field"
    EVENT = "event"
    STATE = "state"
    VANISHED = "vanished"
    HANDLER = "handler"
    """The code in our address contradicts the event's own name: a handler was copied in the cabinet."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is new. `sample` is the event's structure, masked."""

    kind: Kind
    name: str
    event: str
    sample: Any

    @property
    def key(self) -> str:
        """The same finding has the same key; an unknown field is one finding in whatever event it is."""
        if self.kind in (Kind.VANISHED, Kind.HANDLER):
            return f"{self.kind}:{self.event}:{self.name}"
        return f"{self.kind}:{self.name}"


Presence = Mapping[str, int]
"""Field → in how many events in a row it was, at most `ALWAYS`."""


def sort_of(event: ReadEvent) -> str:
    """Which events are alike: one kind, told in one shape, of one direction, by a dialer or not. A call
    between colleagues has no outer line, so its lack there says nothing of the others (§3.3)."""
    nested = any(k.lower() == "call" and isinstance(v, Mapping) for k, v in event.fields.items())
    words = [safe_name(event.event_name) or "-", *([] if nested else ["flat"])]
    if isinstance(event, Readable):
        facts = event.report.facts
        words += [str(facts.direction)] if facts.direction else []
        words += ["dialer"] if facts.dialer_id is not None else []
    return " ".join(words)


def look(event: ReadEvent, before: Presence) -> tuple[list[Finding], Presence]:
    """What is new in `event`, and the presence of fields after it; `before` is that of its sort."""
    name = safe_name(event.event_name)
    found: list[Finding] = []

    def note(kind: Kind, what: str) -> None:
        found.append(Finding(kind, what, name, shape(event.fields)))

    if event.event_name and not names.is_known(event.event_name):
        note(Kind.EVENT, name)
    if not isinstance(event, Readable):
        return found, before  # of what is not about a call we know too little to miss anything
    state = event.report.facts.state
    if state and not states.is_known(state):
        note(Kind.STATE, safe_name(state))
    told = names.step_of(event.ev) if event.ev else None
    if told is not None and event.ev != event.event_name and told is not event.report.step:
        note(Kind.HANDLER, safe_name(event.ev))
    paths = dict(_paths(event.fields))
    for path, simple in paths.items():
        if not _is_known(simple):
            note(Kind.FIELD, path)
    there = {_short(simple) for simple in paths.values()}
    for path, count in before.items():
        # another spelling of its name is read as the same, so the field is still there
        if count >= ALWAYS and _short(simple_name(path.removeprefix("call."))) not in there:
            note(Kind.VANISHED, path)
    counted = [path for path, simple in paths.items() if not _is_optional(simple)][:MOST_FIELDS]
    return found, {path: min(ALWAYS, before.get(path, 0) + 1) for path in counted}


def _paths(fields: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """(path, simplified name) of the event's fields; values do not matter, an unset one is there."""
    for name, value in fields.items():
        if str(name).lower() == "call" and isinstance(value, Mapping):
            for inner in value:
                yield f"call.{safe_name(inner)}", simple_name(inner)
        else:
            yield safe_name(name), simple_name(name)


def _short(simple: str) -> str:
    short = simple.removeprefix("call")
    return "to" if re.fullmatch(r"to[0-9]{1,2}", short) else short


def _is_known(simple: str) -> bool:
    return simple in KNOWN or _short(simple) in KNOWN


def _is_optional(simple: str) -> bool:
    """`to_0`, `to_1` … come and go with the number of lines."""
    return _short(simple) in _OPTIONAL or _short(simple) == "to" != simple
