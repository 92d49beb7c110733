"""PHP's bracket keys unfolded within bounds. Pure (bitrix24.md §11.1)."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

MAX_DEPTH: Final = 8
MAX_FIELDS: Final = 1000
MAX_KEY: Final = 500


class BadForm(ValueError):
    """The form is not one that Bitrix24 sends; the text says why and quotes no value."""


def unfold(pairs: Iterable[tuple[str, str]]) -> dict[str, Any]:
    """`data[A][0]=x` → `{"data": {"A": {"0": "x"}}}`; lists stay maps with numeric keys.

    Of two values at one place the later counts, as in PHP. Raises `BadForm` over 1,000 fields, for
    a key nested deeper than 8 or longer than 500 characters.
    """
    root: dict[str, Any] = {}
    for count, (key, value) in enumerate(pairs, 1):
        if count > MAX_FIELDS:
            raise BadForm(f"more than {MAX_FIELDS} fields")
        *path, last = _path(key)
        node = root
        for part in path:
            inner = node.get(part)
            if not isinstance(inner, dict):
                inner = node[part] = {}
            node = inner
        if last == "":  # `a[]=x`: the next free number
            last = str(len(node))
        node[last] = value
    return root


def _path(key: str) -> list[str]:
    if len(key) > MAX_KEY:
        raise BadForm("a field name is too long")
    head, bracket, rest = key.partition("[")
    if not bracket or not rest.endswith("]"):
        return [key]
    parts = [head, *rest[:-1].split("][")]
    if len(parts) > MAX_DEPTH:
        raise BadForm(f"fields are nested deeper than {MAX_DEPTH}")
    return parts
