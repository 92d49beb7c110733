"""What the PBX tells us: a webhook or a history row, read into one `PbxReport`. Pure.

Bodies are read by content (unitalk.md §3.1): Standard JSON, flat JSON, templates composed by the
customer, forms, and variables in the query. Names are compared without case, underscores and the
prefix `call`, so `call.id`, `call_id` and `call[id]` are one name. What is not said is `None`.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from bitrix_app.core.dialers import DialerNews
from bitrix_app.core.events import Direction, Facts, PbxReport, Step
from bitrix_app.core.outcome import Outcome
from unitalk import names, states
from unitalk.bodies import UnreadableEvent, check, parse
from unitalk.states import outcome_of
from unitalk.values import (
    identity_of,
    line_of,
    link_of,
    list_of,
    seconds_of,
    simple_name,
    text_of,
    to_e164,
    wall_instant,
    whole_of,
)

__all__ = [
    "Ignorable",
    "ReadEvent",
    "Readable",
    "UnreadableEvent",
    "outcome_of",
    "read_event",
    "read_history_row",
    "to_e164",
    "wall_instant",
]


@dataclass(frozen=True, slots=True)
class Readable:
    """The event says something of a call. A repeat of the event has the same `digest`.

    `fields` are the event as it came, for whoever looks at more than its meaning (unitalk/drift.py).
    """

    report: PbxReport
    digest: str
    event_name: str
    ev: str = ""
    """The code in our address, tidy."""
    fields: Mapping[str, Any] = field(default_factory=dict, compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class Ignorable:
    """Understood, and nothing follows from it, because `reason`."""

    reason: str
    digest: str
    event_name: str
    ev: str = ""
    fields: Mapping[str, Any] = field(default_factory=dict, compare=False, repr=False)
    news: DialerNews | None = None
    """What it tells of a dialer as a whole."""


ReadEvent = Readable | Ignorable


def read_event(
    body: bytes,
    content_type: str,  # noqa: ARG001  # the header is not believed (§3.1); it is in the port for the log
    query: Mapping[str, str],
    method: str,
    received_at: float,
    timezone: str,
) -> ReadEvent:
    """The meaning of one webhook; `received_at` in unix seconds, `timezone` the PBX's (IANA name).

    Raises `UnreadableEvent` for any body that cannot be understood, and nothing else because of what
    came from outside; an unknown `timezone` is our own fault and raises `ZoneInfoNotFoundError`.
    """
    try:
        root = parse(body, query, method)
        return _judge(root, query, received_at, timezone)
    except UnreadableEvent as trouble:
        trouble.digest = _digest("unreadable", body.hex(), query)
        raise


def read_history_row(row: Mapping[str, Any], received_at: float, timezone: str) -> PbxReport:
    """A row of `history/get` (§4.4) as the end of its call.

    Raises `UnreadableEvent` for a row that names no call or says that the call still goes on.
    """
    check(row)
    fields = _normalised(row)
    facts = _facts(fields, Step.ENDED, received_at, timezone, dialer=_is_dialer(fields, ""))
    if facts.state == "DIALING" and facts.outcome is Outcome.UNKNOWN:
        raise UnreadableEvent("The history's row says that the call still goes on")
    return PbxReport(Step.ENDED, facts)


def _digest(kind: str, content: object, query: Mapping[str, str]) -> str:
    # The whole query, not `ev` alone: a handler may carry its variables there beside a constant body.
    # ASCII output, so that nothing in it can fail to be encoded.
    canonical = json.dumps([kind, content, dict(query)], sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(canonical.encode("ascii")).hexdigest()


# --- fields to meaning ---------------------------------------------------------------------------

_NAMES: Final = frozenset(
    re.findall(
        r"\w+",
        "id dbid from to outernumber direction date state link"
        " secondstalk secondsfulltime meta source cause lastgroupname",
    )
)


def _judge(root: Mapping[str, Any], query: Mapping[str, str], received_at: float, timezone: str) -> ReadEvent:
    ev = names.tidy(text_of(query.get("ev"), 64))
    digest = _digest("event", root, query)
    call = next((v for k, v in root.items() if k.lower() == "call" and isinstance(v, Mapping)), None)
    fields = _normalised(root)
    if call is not None:
        fields.pop("id", None)  # beside `call` it is the dialer's (§3.8)
        fields |= _normalised(call)
    event = names.tidy(text_of(fields.get("event"), 64))
    name = event or ev
    dialer = _is_dialer(fields, f"{event} {ev}")
    root_id = next((v for k, v in root.items() if simple_name(k) == "id"), None)
    if dialer and root_id is not None and (call is not None or names.is_dialers(f"{event} {ev}")):
        fields.setdefault("autodialerid", root_id)
        if call is None and "callid" not in fields:
            fields.pop("id", None)  # a flat dialer event's `id` is the dialer's too
    if names.is_of_no_call(name):
        news = _news(name, fields, root_id)
        return Ignorable(f"{name} is not an event of a call", digest, name, ev, root, news)
    # The vendor's own word first: a handler that was copied in the cabinet keeps the other's `ev`.
    step = names.step_of(event) or names.step_of(ev)
    if step is None and _is_message(name, fields):
        return Ignorable("It is about a text message, not about a call", digest, name, ev, root)
    if step is None and _proves_an_end(fields, name):
        step = Step.ENDED
    if step is None:
        known = f"the event {name} is unknown" if name else "the event has no name"
        return Ignorable(f"{known}, and nothing in it says that a call ended", digest, name, ev, root)
    if step is Step.ENDED and "state" not in fields and (told := names.state_in(event) or names.state_in(ev)):
        fields["state"] = told
    report = PbxReport(step, _facts(fields, step, received_at, timezone, dialer=dialer))
    return Readable(report, digest, name, ev, root)


_DIALERS_OWN: Final = (
    "autodialerid",
    "autodialid",
    "autodial",
    "realcalledcount",
    "secondsclientwaitoperator",
)


def _is_dialer(fields: Mapping[str, Any], names_: str) -> bool:
    told = any(fields.get(x) is not None for x in _DIALERS_OWN)
    return told or names.is_dialers(names_) or (text_of(fields.get("source"), 64) or "").upper() == "AUTODIAL"


def _dialer_id(fields: Mapping[str, Any]) -> str | None:
    nested = fields.get("autodial")
    if isinstance(nested, Mapping):
        nested = nested.get("id")
    told = (fields.get("autodialerid"), fields.get("autodialid"), nested)
    return next((found for x in told if (found := identity_of(x))), None)


def _news(name: str, fields: Mapping[str, Any], root_id: object) -> DialerNews | None:
    """A dialer that started, stopped or finished (§3.8); its id may stand at the root."""
    dialer = _dialer_id(fields) or identity_of(root_id)
    if dialer is None or not names.is_dialers(name):
        return None
    status = text_of(fields.get("status"), 60) or text_of(fields.get("state"), 60) or ""
    return DialerNews(dialer, status, finished=names.is_finish(name))


def _is_message(name: str, fields: Mapping[str, Any]) -> bool:
    """An SMS also has a number and a state, and must never be taken for a call (§3.8)."""
    if names.is_message(name):
        return True
    about_text = any(x in fields for x in ("text", "messagetype", "messageid", "smsid"))
    return about_text and not any(x in fields for x in ("secondstalk", "secondsfulltime", "link"))


def _proves_an_end(fields: Mapping[str, Any], name: str) -> bool:
    """§3.7: only a call that is over has durations, a link or an outcome. `ANSWER` alone may as well
    come with «somebody picked up» (§3.2), and closing a live call by mistake cannot be undone. A state
    that nobody knows proves something only without an event name and beside a call's own fields."""
    if any(text_of(fields.get(x), 32) is not None for x in ("secondstalk", "secondsfulltime", "link")):
        return True
    state = _state(fields)
    if state is None or states.is_known(state):
        return states.is_final(state)
    return not name and any(x in fields for x in ("id", "dbid")) and "from" in fields


def _normalised(fields: Mapping[str, Any]) -> dict[str, Any]:
    """Fields by simplified names, unset ones left out; `to_0`, `to_1` … become the list `to`."""
    plain: dict[str, Any] = {}
    prefixed: dict[str, Any] = {}
    numbered: dict[int, Any] = {}
    for name, value in fields.items():
        if value is None or value == "" or value == "null":
            continue
        simple = simple_name(name)
        short = simple.removeprefix("call")
        if place := re.fullmatch(r"to([0-9]{1,2})", short):
            numbered[int(place[1])] = value
        elif short != simple and short in _NAMES:
            prefixed[short] = value
            if short == "id":
                plain["callid"] = value
        else:
            plain[simple] = value
    if numbered:
        plain.setdefault("to", [numbered[i] for i in sorted(numbered)])
    if states.is_known(text_of(plain.get("state"), 64)):
        prefixed.pop("state", None)  # §3.8: `state` before `callState`, unless it is a word of another thing
    return plain | prefixed


def _facts(
    fields: Mapping[str, Any], step: Step, received_at: float, timezone: str, *, dialer: bool
) -> Facts:
    ended = step is Step.ENDED
    pbx_id, dbid = identity_of(fields.get("id")), identity_of(fields.get("dbid"))
    if pbx_id == dbid:
        pbx_id = None  # history may repeat the lasting id there (§4.4); as a live id it would join others
    caller = text_of(fields.get("from"), 64)
    to = list_of(fields.get("to")) or list_of(fields.get("phone")) or list_of(fields.get("number"))
    outer = text_of(fields.get("outernumber"), 128)
    line = line_of(outer)
    direction = _direction(fields, caller, to, dialer=dialer)
    raw, named = _sides(direction, caller, to, outer)
    extensions = tuple(x for x in named if any(c.isdigit() for c in x))
    groups = [x for x in named if x not in extensions]  # a call offered to a group may name it here (§3.2)
    if pbx_id is None and dbid is None and raw is None:
        raise UnreadableEvent("The event names no call: no id, no dbid, no number")
    full, talk = seconds_of(fields.get("secondsfulltime")), seconds_of(fields.get("secondstalk"))
    state = _state(fields)
    outcome = outcome_of(state, direction, talk) if ended else None
    return Facts(
        pbx_id=pbx_id,
        pbx_dbid=dbid,
        direction=direction,
        number=to_e164(raw),
        raw_number=raw,
        line=line,
        # a callback from a web site names the site where others name the line (§3.3)
        site=outer if line is None else None,
        extensions=extensions,
        group=text_of(fields.get("lastgroupname"), 255) or (groups[0] if groups else None),
        # the date is the call's start, so an end came that much later (matters in autumn's double hour)
        started_at=wall_instant(text_of(fields.get("date"), 40), received_at - (full or 0), timezone),
        full_seconds=full if ended else None,
        talk_seconds=talk if ended else None,
        state=state,
        outcome=outcome,
        link=link_of(fields.get("link")) if _has_recording(outcome, talk) else None,
        cause=whole_of(fields.get("cause"), 999),
        meta=text_of(fields.get("meta"), 1000),
        source=text_of(fields.get("source"), 64) or ("AUTODIAL" if dialer else None),
        dialer_id=_dialer_id(fields) if dialer else None,
        dial_attempts=whole_of(fields.get("realcalledcount"), 9999),
        wait_seconds=seconds_of(fields.get("secondsclientwaitoperator")),
    )


def _has_recording(outcome: Outcome | None, talk: int | None) -> bool:
    """§3.3: only an answered call has one. Who talked under a state that nobody knows yet may well be
    one that was answered, and a link that leads nowhere costs less than a recording that is lost."""
    return outcome is Outcome.ANSWERED or (outcome is Outcome.UNKNOWN and (talk or 0) > 0)


def _state(fields: Mapping[str, Any]) -> str | None:
    said = text_of(fields.get("state"), 64)
    return said.upper() if said else None


# --- who -----------------------------------------------------------------------------------------


def _is_short(line: str) -> bool:
    """An inner line: four digits today, seven in 2017 (§2)."""
    return re.fullmatch(r"[0-9]{1,7}", line) is not None


def _direction(
    fields: Mapping[str, Any], caller: str | None, to: list[str], *, dialer: bool
) -> Direction | None:
    said = (text_of(fields.get("direction"), 16) or "").lower()
    if said in tuple(Direction):
        return Direction(said)
    if dialer:
        return Direction.OUT
    if caller is None or not to:
        return None
    # Not said: seven digits could be either, so only what is clearly short or clearly long decides.
    inner, outer = _is_short(caller), len(to_e164(caller) or "") > 9
    to_inner, to_outer = all(map(_is_short, to)), len(to_e164(to[0]) or "") > 9
    if outer and to_inner:
        return Direction.IN
    if inner and to_outer:
        return Direction.OUT
    return Direction.INNER if inner and to_inner else None


def _sides(
    direction: Direction | None, caller: str | None, to: list[str], line: str | None
) -> tuple[str | None, tuple[str, ...]]:
    """The client's number as it came, and the inner lines (§3.3)."""
    if direction is Direction.INNER:
        return None, _unique([caller, *to] if caller else to)
    if direction is Direction.OUT:
        # A dialer's `from` is our own outer number: nobody's extension (§3.8).
        return to[0] if to else None, (caller,) if caller and _is_short(caller) and caller != line else ()
    if direction is Direction.IN:
        return caller, _unique(x for x in to if x != line)
    alone = caller or (to[0] if to else None)  # a template that tells nothing but the `phone`
    return (alone if alone and not _is_short(alone) else None), ()


def _unique(lines: Iterable[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(lines))
