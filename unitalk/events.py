"""What the PBX tells us: a webhook or a history row, read into one `PbxReport`. Pure.

Bodies are read by content (unitalk.md §3.1): Standard JSON, flat JSON, templates composed by the
customer, forms, and variables in the query. Names are compared without case, underscores and the
prefix `call`, so `call.id`, `call_id` and `call[id]` are one name. What is not said is `None`.
"""

from __future__ import annotations

import datetime as dt
import hashlib
import json
import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final
from urllib.parse import parse_qsl
from zoneinfo import ZoneInfo

from bitrix_app.core.addresses import is_loopback_host, read_url
from bitrix_app.core.events import Direction, Facts, PbxReport, Step
from bitrix_app.core.outcome import Outcome

MAX_DEPTH: Final = 32
MAX_FORM_FIELDS: Final = 1000
MAX_DIGITS: Final = 40
"""No number of the PBX is longer; longer ones only cost time."""
MAX_LINK: Final = 2048
MAX_SECONDS: Final = 86_400
"""A call of more than a day is a mistake of whoever counted."""


class UnreadableEvent(ValueError):
    """The body cannot be understood. `reason` is for people, `digest` names the body for a receipt."""

    def __init__(self, reason: str, digest: str = "") -> None:
        super().__init__(reason)
        self.reason = reason
        self.digest = digest


@dataclass(frozen=True, slots=True)
class Readable:
    """The event says something of a call. A repeat of the event has the same `digest`."""

    report: PbxReport
    digest: str
    event_name: str


@dataclass(frozen=True, slots=True)
class Ignorable:
    """Understood, and nothing follows from it, because `reason`."""

    reason: str
    digest: str
    event_name: str


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
        root = _parse(body, query, method)
        return _judge(root, query, received_at, timezone)
    except UnreadableEvent as trouble:
        trouble.digest = _digest("unreadable", body.hex(), query)
        raise


def read_history_row(row: Mapping[str, Any], received_at: float, timezone: str) -> PbxReport:
    """A row of `history/get` (§4.4) as the end of its call.

    Raises `UnreadableEvent` for a row that names no call or says that the call still goes on.
    """
    _check(row)
    fields = _normalised(row)
    facts = _facts(fields, Step.ENDED, received_at, timezone, dialer=_is_dialer(fields, ""))
    if facts.state == "DIALING" and facts.outcome is Outcome.UNKNOWN:
        raise UnreadableEvent("The history's row says that the call still goes on")
    return PbxReport(Step.ENDED, facts)


# --- bytes to fields -----------------------------------------------------------------------------


def _parse(body: bytes, query: Mapping[str, str], method: str) -> Mapping[str, Any]:
    try:
        text = body.decode("utf-8-sig").strip()
    except UnicodeDecodeError:
        raise UnreadableEvent("The body is not UTF-8") from None
    if text[:1] in ("{", "[", '"'):
        root = _json(text)
    elif text:
        root = _form(text)
    else:
        root = {name: value for name, value in query.items() if name != "ev"}
        if not root:
            raise UnreadableEvent("The request is empty" if method == "GET" else "The body is empty")
    _check(root)
    return root


def _json(text: str) -> Mapping[str, Any]:
    try:
        root = json.loads(text, parse_int=_bounded_int, parse_constant=_no_constant)
    except UnreadableEvent:
        raise
    except RecursionError:
        raise UnreadableEvent("The JSON is nested too deep") from None
    except ValueError:
        raise UnreadableEvent("The body begins like JSON but is not") from None
    if not isinstance(root, dict):
        raise UnreadableEvent("The JSON is not an object")
    return root


def _bounded_int(digits: str) -> int:
    if len(digits) > MAX_DIGITS:
        raise UnreadableEvent("A number in the JSON is absurdly long")
    return int(digits)


def _no_constant(name: str) -> float:
    raise UnreadableEvent(f"{name} is not JSON")


def _form(text: str) -> Mapping[str, Any]:
    try:
        pairs = parse_qsl(text, keep_blank_values=True, errors="strict", max_num_fields=MAX_FORM_FIELDS)
    except ValueError:
        raise UnreadableEvent("The form has too many fields or is not UTF-8") from None
    if "=" not in text:
        raise UnreadableEvent("The body is neither JSON nor a form")
    root: dict[str, Any] = {}
    for name, value in pairs:
        if name in root:
            before = root[name]
            root[name] = [*before, value] if isinstance(before, list) else [before, value]
        else:
            root[name] = value
    return root


def _check(root: object) -> None:
    """Refuse what would break a store, a hash or a stack later. Not recursive: depth is the danger."""
    waiting: list[tuple[object, int]] = [(root, 1)]
    while waiting:
        value, depth = waiting.pop()
        if depth > MAX_DEPTH:
            raise UnreadableEvent("The JSON is nested too deep")
        if isinstance(value, str):
            if "\0" in value:
                raise UnreadableEvent("The body holds a NUL character")
            if not value.isascii() and any("\ud800" <= c <= "\udfff" for c in value):
                raise UnreadableEvent("The body holds half a character (a lone surrogate)")
        elif isinstance(value, float) and not math.isfinite(value):
            raise UnreadableEvent("A number in the JSON is out of range")
        elif isinstance(value, Mapping):
            waiting += [(x, depth + 1) for pair in value.items() for x in pair]
        elif isinstance(value, list):
            waiting += [(x, depth + 1) for x in value]


def _digest(kind: str, content: object, query: Mapping[str, str]) -> str:
    # The whole query, not `ev` alone: a handler may carry its variables there beside a constant body.
    # ASCII output, so that nothing in it can fail to be encoded.
    canonical = json.dumps([kind, content, dict(query)], sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(canonical.encode("ascii")).hexdigest()


# --- fields to meaning ---------------------------------------------------------------------------

_STEPS: Final = {
    "NEW": Step.NEW,
    "REDIRECT": Step.OFFERED,
    "ANSWER": Step.ANSWERED,
    "END": Step.ENDED,
    "ENDED": Step.ENDED,
}
_NOT_OF_A_CALL: Final = {"IVR_ACTION", "AUTODIAL_STATUS_CHANGED", "AUTODIAL_FINISH"}
_NAMES: Final = frozenset(
    re.findall(
        r"\w+",
        "id dbid from to outernumber direction date state link"
        " secondstalk secondsfulltime meta source cause lastgroupname",
    )
)


def _judge(root: Mapping[str, Any], query: Mapping[str, str], received_at: float, timezone: str) -> ReadEvent:
    ev = (_text(query.get("ev"), 64) or "").upper()
    digest = _digest("event", root, query)
    call = next((v for k, v in root.items() if k.lower() == "call" and isinstance(v, Mapping)), None)
    fields = _normalised(root)
    if call is not None:
        fields.pop("id", None)  # beside `call` it is the dialer's (§3.8)
        fields |= _normalised(call)
    event = (_text(fields.get("event"), 64) or "").upper()
    name = event or ev
    dialer = _is_dialer(fields, f"{event} {ev}")
    if dialer and call is None and "AUTODIAL" in f"{event} {ev}" and "callid" not in fields:
        fields.pop("id", None)  # a flat dialer event's `id` is the dialer's too
    if name in _NOT_OF_A_CALL:
        return Ignorable(f"{name} is not an event of a call", digest, name)
    # The vendor's own word first: a handler that was copied in the cabinet keeps the other's `ev`.
    step = _step(event) or _step(ev)
    if step is None and _proves_an_end(fields):
        step = Step.ENDED
    if step is None:
        known = f"the event {name} is unknown" if name else "the event has no name"
        return Ignorable(f"{known}, and nothing in it says that a call ended", digest, name)
    report = PbxReport(step, _facts(fields, step, received_at, timezone, dialer=dialer))
    return Readable(report, digest, name)


def _step(name: str) -> Step | None:
    return _STEPS.get(name.replace("-", "_").removeprefix("AUTODIAL_").removeprefix("CALL_"))


def _is_dialer(fields: Mapping[str, Any], names: str) -> bool:
    told = any(fields.get(x) is not None for x in ("autodialerid", "autodialid", "autodial"))
    return told or "AUTODIAL" in names or _text(fields.get("source"), 64) == "AUTODIAL"


def _proves_an_end(fields: Mapping[str, Any]) -> bool:
    """§3.7: only a call that is over has durations, a link or an outcome. `ANSWER` alone may as well
    come with «somebody picked up» (§3.2), and closing a live call by mistake cannot be undone."""
    if any(_text(fields.get(x), 32) is not None for x in ("secondstalk", "secondsfulltime", "link")):
        return True
    state = _state(fields)
    return state is not None and state not in ("ANSWER", "ANSWERED", "DIALING")


def _normalised(fields: Mapping[str, Any]) -> dict[str, Any]:
    """Fields by simplified names, unset ones left out; `to_0`, `to_1` … become the list `to`."""
    plain: dict[str, Any] = {}
    prefixed: dict[str, Any] = {}
    numbered: dict[int, Any] = {}
    for name, value in fields.items():
        if value is None or value == "" or value == "null":
            continue
        simple = re.sub(r"[^a-z0-9]", "", str(name).lower())
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
    return plain | prefixed


def _facts(
    fields: Mapping[str, Any], step: Step, received_at: float, timezone: str, *, dialer: bool
) -> Facts:
    ended = step is Step.ENDED
    pbx_id, dbid = _identity(fields.get("id")), _identity(fields.get("dbid"))
    if pbx_id == dbid:
        pbx_id = None  # history may repeat the lasting id there (§4.4); as a live id it would join others
    caller = _text(fields.get("from"), 64)
    to = _list(fields.get("to")) or _list(fields.get("phone")) or _list(fields.get("number"))
    line = _text(fields.get("outernumber"), 128)
    direction = _direction(fields, caller, to, dialer=dialer)
    raw, extensions = _sides(direction, caller, to, line)
    if pbx_id is None and dbid is None and raw is None:
        raise UnreadableEvent("The event names no call: no id, no dbid, no number")
    full, talk = _seconds(fields.get("secondsfulltime")), _seconds(fields.get("secondstalk"))
    state = _state(fields)
    outcome = outcome_of(state, direction, talk) if ended else None
    return Facts(
        pbx_id=pbx_id,
        pbx_dbid=dbid,
        direction=direction,
        number=to_e164(raw),
        raw_number=raw,
        line=(to_e164(line) or line or "").removeprefix("+") or None,
        extensions=extensions,
        group=_text(fields.get("lastgroupname"), 255),
        # the date is the call's start, so an end came that much later (matters in autumn's double hour)
        started_at=wall_instant(_text(fields.get("date"), 40), received_at - (full or 0), timezone),
        full_seconds=full if ended else None,
        talk_seconds=talk if ended else None,
        state=state,
        outcome=outcome,
        link=_link(fields.get("link")) if outcome is Outcome.ANSWERED else None,
        cause=_whole(fields.get("cause"), 999),
        meta=_text(fields.get("meta"), 1000),
        source=_text(fields.get("source"), 64),
    )


# --- who -----------------------------------------------------------------------------------------


def to_e164(raw: str | None) -> str | None:
    """A client's number with plus, by the vendor's convention (§2), or `None` when it is none.

    Digits with country code; ten digits with a leading zero are the old national form; fewer than
    seven digits are an inner or a service number.
    """
    if raw is None:
        return None
    compact = re.sub(r"[\s\-().\u00a0]", "", raw)
    has_plus = compact.startswith("+")
    digits = compact[1:] if has_plus else compact
    if not re.fullmatch(r"[0-9]{7,20}", digits):
        return None
    if not has_plus:
        if len(digits) == 10 and digits.startswith("0") and not digits.startswith("00"):
            digits = "38" + digits
        digits = digits.removeprefix("00")
    return f"+{digits}" if 7 <= len(digits) <= 15 and not digits.startswith("0") else None


def _is_short(line: str) -> bool:
    """An inner line: four digits today, seven in 2017 (§2)."""
    return re.fullmatch(r"[0-9]{1,7}", line) is not None


def _direction(
    fields: Mapping[str, Any], caller: str | None, to: list[str], *, dialer: bool
) -> Direction | None:
    said = (_text(fields.get("direction"), 16) or "").lower()
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
    return (caller if caller and not _is_short(caller) else None), ()


def _unique(lines: Iterable[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(lines))


# --- how it ended --------------------------------------------------------------------------------

_OUTCOMES: Final = {
    "ANSWER": Outcome.ANSWERED,
    "ANSWERED": Outcome.ANSWERED,
    "BUSY": Outcome.BUSY,
    "FAIL": Outcome.FAILED,
    "FAILED": Outcome.FAILED,
    "CHANUNAVAIL": Outcome.UNAVAILABLE,
    "UNREACHABLE": Outcome.UNAVAILABLE,
    "NOTEXIST": Outcome.INVALID_NUMBER,
    "NOMONEY": Outcome.NO_MONEY,
    "BUSYOUT": Outcome.NO_CAPACITY,
    "WRONGDIR": Outcome.BAD_DIRECTION,
    "BLOCKED": Outcome.BLOCKED,
    "ANSWNFOP": Outcome.LOST_BY_US,
    "ANSWRJCT": Outcome.LOST_BY_US,
    "ANSWOPNA": Outcome.LOST_BY_US,
    "ANSWERINGMACHINE": Outcome.MACHINE,
    "AUDIOERR": Outcome.FAILED,
    "CLIENTCALLED": Outcome.CALLED_ELSEWHERE,
    "CANCEL": Outcome.CANCELLED,
    "AUTOCANCEL": Outcome.CANCELLED,
}
"""Tables §3.4 and §3.5, without underscores: the vendor spells WRONGDIR and WRONG_DIR."""


def outcome_of(state: str | None, direction: Direction | None, talk: int | None) -> Outcome:
    """What a closing event's state means; `talk` in seconds decides where the state says nothing."""
    plain = re.sub(r"[^A-Z]", "", (state or "").upper())
    if plain in _OUTCOMES:
        return _OUTCOMES[plain]
    talked = (talk or 0) > 0
    if plain in ("", "DIALING") and talked:
        return Outcome.ANSWERED
    if plain == "NOANSWER":
        return Outcome.MISSED if direction is Direction.IN else Outcome.NO_ANSWER
    if plain == "DIALING" or talked:
        return Outcome.UNKNOWN  # not final, or a new word against the clock: history may tell more
    return Outcome.MISSED if direction is Direction.IN else Outcome.UNKNOWN


def _state(fields: Mapping[str, Any]) -> str | None:
    said = _text(fields.get("state"), 64)
    return said.upper() if said else None


# --- single values -------------------------------------------------------------------------------

_WALL: Final = re.compile(
    r"(\d{4})-(\d\d)-(\d\d)[ T](\d\d):(\d\d)(?::(\d\d)(?:\.\d{1,9})?)?\s?(Z|[+-]\d\d:?\d\d)?", re.ASCII
)
_ZONE: Final = lru_cache(maxsize=64)(ZoneInfo)


def wall_instant(text: str | None, near: float, zone: str) -> float | None:
    """The PBX's wall clock as unix seconds; `None` for nonsense or a year outside 2000–2100.

    In autumn's repeated hour the reading nearer to `near` is taken (§2).
    """
    found = _WALL.fullmatch(text or "")
    if found is None or not 2000 <= int(found[1]) <= 2100:
        return None
    year, month, day, hour, minute, second = (int(x or 0) for x in found.groups()[:6])
    try:
        place = _offset(found[7]) if found[7] else _ZONE(zone)
        wall = dt.datetime(year, month, day, hour, minute, second, tzinfo=place)
    except ValueError:
        return None
    return min((wall.replace(fold=fold).timestamp() for fold in (0, 1)), key=lambda at: abs(at - near))


def _offset(text: str) -> dt.tzinfo:
    if text == "Z":
        return dt.UTC
    away = dt.timedelta(hours=int(text[1:3]), minutes=int(text[-2:]))
    return dt.timezone(-away if text[0] == "-" else away)


def _text(value: object, longest: int) -> str | None:
    """A scalar as text, cut to `longest`; unset, blank and nested values are `None`."""
    if isinstance(value, Mapping):
        value = json.dumps(value, ensure_ascii=False, sort_keys=True)
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        return None
    return str(value).strip()[:longest] or None


def _list(value: object) -> list[str]:
    """`to` as a list; it may come as one text, also one with commas or brackets (§3.7)."""
    if isinstance(value, str):
        value = [part.strip(" \t\"'") for part in re.split(r"[,;]", value.strip().strip("[]"))]
    if not isinstance(value, list):
        value = [value]
    texts = (None if isinstance(x, Mapping) else _text(x, 64) for x in value[:64])
    return [text for text in texts if text is not None]


def _identity(value: object) -> str | None:
    """An id as text. A zero is a database's word for «not set», and would join strangers' calls."""
    text = None if isinstance(value, Mapping) else _text(value, 64)
    return None if text is None or not text.strip("0") else text


def _whole(value: object, most: int) -> int | None:
    text = _text(value, 32)
    if text is None or not re.fullmatch(r"[0-9]{1,9}(\.0+)?", text):
        return None
    number = int(text.partition(".")[0])
    return number if number <= most else None


def _seconds(value: object) -> int | None:
    """Whole seconds; negative, absurd or unreadable durations are not said."""
    return _whole(value, MAX_SECONDS)


def _link(value: object) -> str | None:
    """Only what a fetcher could ever be allowed to take (§3.6); it judges host and port itself."""
    text = _text(value, MAX_LINK + 1)
    if text is None or len(text) > MAX_LINK:
        return None  # a link that was cut leads nowhere
    try:
        url = read_url(text)
    except ValueError:
        return None
    return text if url.scheme == "https" or is_loopback_host(url.host) else None
