"""Lists: filters with prefixes, order, pages of 50 (bitrix24.md §4.2, §6.9)."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from bitrix_app.sandbox.wire import as_list, parse_iso, to_int

PAGE_SIZE = 50

_PREFIX = re.compile(r"^(!><|><|>=|<=|!=%|!%=|!=|!@|!%|=%|%=|!|=|>|<|@|%|\?)?(.*)$", re.DOTALL)

Field = Callable[[str], Any]
T = TypeVar("T")


@dataclass(frozen=True)
class Page:
    """A page of a list: the dispatcher puts `total` and `next` beside `result`."""

    result: Any
    total: int | None = None
    next: int | None = None


def split_key(key: str) -> tuple[str, str]:
    """Operator and field name of a filter key."""
    found = _PREFIX.match(key)
    if found is None:  # the pattern accepts everything; this is for the type checker
        return "", key
    return found.group(1) or "", found.group(2)


def matches(field: Field, conditions: Any, zone: str = "UTC") -> bool:
    """Whether a row passes the filter; nested maps with LOGIC are understood."""
    if not isinstance(conditions, Mapping):
        return all(matches(field, item, zone) for item in as_list(conditions) if isinstance(item, Mapping))
    any_of = str(conditions.get("logic", conditions.get("LOGIC", "AND"))).upper() == "OR"
    verdicts: list[bool] = []
    for key, wanted in conditions.items():
        if str(key).upper() == "LOGIC":
            continue
        if isinstance(wanted, Mapping) and str(key).isdigit():
            verdicts.append(matches(field, wanted, zone))
            continue
        operator, name = split_key(str(key))
        verdicts.append(_passes(operator, field(name), wanted, zone))
    return (any(verdicts) if any_of else all(verdicts)) if verdicts else True


def _passes(operator: str, value: Any, wanted: Any, zone: str) -> bool:
    if operator.startswith("!"):
        return not _passes(operator[1:] or "=", value, wanted, zone)
    if isinstance(value, list | tuple):  # a multiple field: any of its values will do
        return any(_passes(operator, item, wanted, zone) for item in value) or (
            not value and wanted in ("", None)
        )
    if operator == "><":
        bounds = as_list(wanted)
        return len(bounds) > 1 and _order(value, bounds[0], zone) >= 0 and _order(value, bounds[1], zone) <= 0
    if operator in (">", ">=", "<", "<="):
        sign = _order(value, wanted, zone)
        return {">": sign > 0, ">=": sign >= 0, "<": sign < 0, "<=": sign <= 0}[operator]
    if operator in ("%", "?"):
        return any(_text(item).lower() in _text(value).lower() for item in as_list(wanted))
    if operator in ("=%", "%="):
        return any(_like(_text(value), _text(item)) for item in as_list(wanted))
    candidates = as_list(wanted) if isinstance(wanted, list | tuple | dict) else [wanted]
    return any(_order(value, item, zone) == 0 for item in candidates)


def _like(value: str, pattern: str) -> bool:
    return (
        re.fullmatch(".*".join(re.escape(part) for part in pattern.split("%")), value, re.I | re.S)
        is not None
    )


def _text(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "Y" if value else "N"
    return str(value)


def _order(left: Any, right: Any, zone: str) -> int:
    """-1, 0, 1: numbers as numbers, dates as instants, the rest as text."""
    a: Any
    b: Any
    if isinstance(left, bool):
        truth = right in (True, 1, "1", "Y", "y", "true")
        return (left > truth) - (left < truth)
    one, two = _text(left), _text(right)
    try:
        a, b = float(one), float(two)
    except ValueError:
        a, b = parse_iso(one, zone), parse_iso(two, zone)
        if a is None or b is None:
            a, b = one.lower(), two.lower()
    return int(a > b) - int(a < b)


def sort_rows(rows: Sequence[T], field: Callable[[T, str], Any], order: Mapping[str, Any]) -> list[T]:
    """Rows in the asked order; the last key weighs least."""
    found = list(rows)
    for name, direction in reversed(list(order.items())):
        found.sort(key=lambda row: _sort_key(field(row, str(name))), reverse=str(direction).upper() == "DESC")
    return found


def _sort_key(value: Any) -> tuple[int, float, str]:
    text = _text(value)
    try:
        return (0, float(text), "")
    except ValueError:
        return (1, 0.0, text.lower())


def page_of(rows: Sequence[T], start: Any, shape: Callable[[T], Any], *, wrap: str | None = None) -> Page:
    """50 rows from `start`; `start=-1` gives the first 50 without a count and without `next`."""
    offset = to_int(start)
    counted = offset >= 0
    offset = max(0, offset)
    if counted:
        offset -= offset % PAGE_SIZE  # the portal thinks in whole pages
    chosen = [shape(row) for row in rows[offset : offset + PAGE_SIZE]]
    result: Any = {wrap: chosen} if wrap else chosen
    if not counted:
        return Page(result)
    following = offset + PAGE_SIZE
    return Page(result, total=len(rows), next=following if following < len(rows) else None)
