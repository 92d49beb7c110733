"""PHP's loose values as ours: ids as text or number, maps as `[]`, dates as `{}`. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def as_text(value: Any) -> str:
    """Text or a number as text; everything else (`{}`, `null`, `false`) is empty."""
    if isinstance(value, str):
        return value.strip()
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return str(value)
    return ""


def as_id(value: Any) -> int | None:
    """A positive id from an int or a decimal text; `0`, empty and anything else are no id."""
    if isinstance(value, bool):
        return None
    if isinstance(value, int):
        return value if value > 0 else None
    if isinstance(value, str) and len(value) < 20:
        text = value.strip()
        if text.isascii() and text.isdigit() and int(text) > 0:
            return int(text)
    return None


def as_int(value: Any, default: int = 0) -> int:
    """A whole number that may be zero or negative."""
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return int(value) if abs(value) < 1e15 else default
    if isinstance(value, str) and len(value) < 20:
        try:
            return int(float(value))
        except (ValueError, OverflowError):
            return default
    return default


def as_bool(value: Any) -> bool:
    """True for `true`, `1`, `Y` in any notation that the portal uses."""
    return value is True or as_text(value).upper() in ("1", "Y", "YES", "TRUE")


def as_mapping(value: Any) -> Mapping[str, Any]:
    """A map; PHP's empty list (and anything else) is an empty map."""
    return value if isinstance(value, Mapping) else {}


def as_rows(value: Any) -> list[Mapping[str, Any]]:
    """The maps of a list; a PHP list with gaps comes as a map with numeric keys."""
    if isinstance(value, Mapping):
        value = list(value.values())
    return [row for row in value if isinstance(row, Mapping)] if isinstance(value, list) else []


def same_digits(one: str, other: str) -> bool:
    """Whether two notations are the same number."""
    left, right = ("".join(c for c in text if c.isdigit()) for text in (one, other))
    return left == right if left or right else one.strip().lower() == other.strip().lower()
