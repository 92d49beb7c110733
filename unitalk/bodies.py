"""Bytes → fields: what a webhook's body holds, whatever template it was composed by. Pure.

Parsed by content, not by header (unitalk.md §3.1), within bounds, so that no body can cost more than
a refusal.
"""

from __future__ import annotations

import contextlib
import json
import math
from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import parse_qsl

MAX_DEPTH: Final = 32
MAX_FORM_FIELDS: Final = 1000
MAX_DIGITS: Final = 40
"""No number of the PBX is longer; longer ones only cost time."""


class UnreadableEvent(ValueError):
    """The body cannot be understood. `reason` is for people, `digest` names the body for a receipt."""

    def __init__(self, reason: str, digest: str = "") -> None:
        super().__init__(reason)
        self.reason = reason
        self.digest = digest


def parse(body: bytes, query: Mapping[str, str], method: str) -> Mapping[str, Any]:
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
    root = _opened(root)
    check(root)
    return root


def _opened(root: Mapping[str, Any]) -> Mapping[str, Any]:
    """A form, an address or a template can carry the whole call as one text of JSON (§3.1, §3.7). What
    begins like JSON and is none stays the text that it is."""
    opened = dict(root)
    for name, value in root.items():
        if name.lower() == "call" and isinstance(value, str) and value.lstrip().startswith("{"):
            with contextlib.suppress(UnreadableEvent):
                opened[name] = _json(value)
    return opened


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


def check(root: object) -> None:
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
