"""Single values of an event: numbers, instants, texts, seconds, links. Pure.

What is not said, or is nonsense, is `None`: a bad value costs its field, never the event.
"""

from __future__ import annotations

import datetime as dt
import json
import re
from collections.abc import Mapping
from functools import lru_cache
from typing import Final
from zoneinfo import ZoneInfo

from bitrix_app.core.addresses import is_loopback_host, read_url

MAX_LINK: Final = 2048
MAX_SECONDS: Final = 86_400
"""A call of more than a day is a mistake of whoever counted."""

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


def text_of(value: object, longest: int) -> str | None:
    """A scalar as text, cut to `longest`; unset, blank and nested values are `None`."""
    if isinstance(value, Mapping):
        value = json.dumps(value, ensure_ascii=False, sort_keys=True)
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        return None
    return str(value).strip()[:longest] or None


def list_of(value: object) -> list[str]:
    """`to` as a list; it may come as one text, also one with commas or brackets (§3.7)."""
    if isinstance(value, str):
        value = [part.strip(" \t\"'") for part in re.split(r"[,;]", value.strip().strip("[]"))]
    if not isinstance(value, list):
        value = [value]
    texts = (None if isinstance(x, Mapping) else text_of(x, 64) for x in value[:64])
    return [text for text in texts if text is not None]


def identity_of(value: object) -> str | None:
    """An id as text. A zero is a database's word for «not set», and would join strangers' calls."""
    text = None if isinstance(value, Mapping) else text_of(value, 64)
    return None if text is None or not text.strip("0") else text


def whole_of(value: object, most: int) -> int | None:
    text = text_of(value, 32)
    if text is None or not re.fullmatch(r"[0-9]{1,9}(\.0+)?", text):
        return None
    number = int(text.partition(".")[0])
    return number if number <= most else None


def seconds_of(value: object) -> int | None:
    """Whole seconds; negative, absurd or unreadable durations are not said."""
    return whole_of(value, MAX_SECONDS)


def simple_name(name: object) -> str:
    """A field's name without case, underscores and brackets: all spellings of one name are one."""
    return re.sub(r"[^a-z0-9]", "", str(name).lower())


def line_of(outer: str | None) -> str | None:
    """The external line as digits, or `None` for what is no number: a site's name (§3.3)."""
    compact = re.sub(r"[\s()+.\-\u00a0]", "", outer or "")
    if not re.fullmatch(r"[0-9]{3,20}", compact):
        return None
    return (to_e164(outer) or compact).removeprefix("+")


def link_of(value: object) -> str | None:
    """Only what a fetcher could ever be allowed to take (§3.6); it judges host and port itself."""
    text = text_of(value, MAX_LINK + 1)
    if text is None or len(text) > MAX_LINK:
        return None  # a link that was cut leads nowhere
    try:
        url = read_url(text)
    except ValueError:
        return None
    return text if url.scheme == "https" or is_loopback_host(url.host) else None


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
