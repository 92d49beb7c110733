"""The structure of what the PBX sends, without its values: types and lengths only. Pure.

For everything that the contract marks unknown (unitalk.md §6): an administrator may see and send this
to anybody, because nobody's number, name or link is in it. Only the vendor's own words are shown, in
fields that hold nothing else: which there are is one of the unknowns.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final

from unitalk.values import simple_name

FIELDS: Final = 60
"""Fields of one object that are shown."""
SAMPLED: Final = 20
"""Elements of a list that are looked at."""
DEPTH: Final = 6
NAME: Final = 60

KINDS: Final = 24
"""Kinds of values that are shown of one field: more than the contract knows states."""
WORDED: Final = frozenset({"event", "state", "direction", "source", "status", "type"})
"""Fields, by simplified names with or without `call`, whose values are words of a list that is closed and
that nobody has published."""
_WORD: Final = re.compile(r"[A-Z][A-Z_]{1,39}", re.ASCII)
_WALL: Final = re.compile(r"\d{4}-\d\d-\d\d([ T]\d\d:\d\d(:\d\d)?.*)?", re.ASCII | re.DOTALL)


def safe_name(name: object) -> str:
    """A field's or event's name that may be shown: no markup, and no numbers that could be somebody's."""
    return re.sub(r"\d{3,}", "#", re.sub(r"[^A-Za-z0-9_.\-]", "?", str(name))[:NAME])


def shape(value: Any, depth: int = 0) -> Any:
    """JSON of the same structure: `text(12)`, `digits(12)`, `number(5)`, `date(19)`, `link(63)`, `true`,
    `null`, and `word(IN)` in a field of words; a list is its length and what its elements have in common.
    """
    if isinstance(value, Mapping):
        if depth >= DEPTH:
            return f"object({len(value)})"
        shown: dict[str, Any] = {}
        for name, inner in list(value.items())[:FIELDS]:
            safe, word = safe_name(name), _word(name, inner)
            told = word or shape(inner, depth + 1)
            shown[safe] = merged(shown[safe], told) if safe in shown else told
        if len(value) > FIELDS:
            shown["…"] = f"{len(value) - FIELDS} more"
        return shown
    if isinstance(value, list):
        if not value or depth >= DEPTH:
            return {"list_of": len(value)}
        each: Any = shape(value[0], depth + 1)
        for element in value[1:SAMPLED]:
            each = merged(each, shape(element, depth + 1))
        return {"list_of": len(value), "each": each}
    return _scalar(value)


def _word(name: object, value: Any) -> str | None:
    if simple_name(name).removeprefix("call") in WORDED and isinstance(value, str) and _WORD.fullmatch(value):
        return f"word({value})"
    return None


def _scalar(value: Any) -> str:
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        return f"number({len(str(abs(value)))})"
    text = str(value)
    if not text:
        return "empty text"
    if re.match(r"https?:", text, re.IGNORECASE):
        return f"link({len(text)})"
    if _WALL.fullmatch(text):
        return f"date({len(text)})"
    return f"digits({len(text)})" if text.isascii() and text.isdigit() else f"text({len(text)})"


def merged(one: Any, other: Any) -> Any:
    """What two structures have in common, and each for itself; at most `KINDS` of each value."""
    if one == other:
        return one
    if isinstance(one, dict) and isinstance(other, dict):
        both = {**one}
        for name, told in other.items():
            if name in both or len(both) <= FIELDS:
                both[name] = merged(both[name], told) if name in both else told
        return both
    told = dict.fromkeys(part for x in (one, other) for part in _parts(x))
    return " | ".join(list(told)[:KINDS])


def _parts(told: Any) -> list[str]:
    if isinstance(told, str):
        return told.split(" | ")
    return [str(told)] if isinstance(told, int) else ["object"]
