"""How values travel: PHP's bracket keys, PHP's truth, ISO dates of the portal's zone (bitrix24.md §4.1)."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any
from urllib.parse import parse_qsl
from zoneinfo import ZoneInfo

_BRACKET = re.compile(r"\[([^\]]*)\]")
_MAX_DEPTH = 32


def unflatten(pairs: Iterable[tuple[str, str]]) -> dict[str, Any]:
    """Nest `a[b][0]=x` the way PHP's parse_str does; consecutive number keys become lists."""
    tree: dict[str, Any] = {}
    for key, value in pairs:
        head, _, rest = key.partition("[")
        path = [head, *_BRACKET.findall("[" + rest if rest else "")][:_MAX_DEPTH]
        node = tree
        for step in path[:-1]:
            name = step if step != "" else str(_next_index(node))
            child = node.get(name)
            if not isinstance(child, dict):
                child = {}
                node[name] = child
            node = child
        last = path[-1] if path[-1] != "" else str(_next_index(node))
        node[last] = value
    return {key: _listed(value) for key, value in tree.items()}


def _next_index(node: Mapping[str, Any]) -> int:
    numbers = [int(key) for key in node if key.isdigit()]
    return max(numbers) + 1 if numbers else 0


def _listed(value: Any) -> Any:
    if not isinstance(value, dict):
        return value
    inner = {key: _listed(item) for key, item in value.items()}
    if inner and list(inner) == [str(index) for index in range(len(inner))]:
        return list(inner.values())
    return inner


def parse_query(query: str) -> dict[str, Any]:
    """The parameters of a query string or a form body."""
    return unflatten(parse_qsl(query, keep_blank_values=True))


def flatten(data: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Bracket keys of a nested map; empty arrays vanish, leaves become strings (§11.1)."""
    pairs: list[tuple[str, str]] = []

    def walk(prefix: str, value: Any) -> None:
        if isinstance(value, Mapping):
            for key, item in value.items():
                walk(f"{prefix}[{key}]" if prefix else str(key), item)
        elif isinstance(value, list | tuple):
            for index, item in enumerate(value):
                walk(f"{prefix}[{index}]", item)
        elif value is not None:
            pairs.append((prefix, php_string(value)))

    walk("", data)
    return pairs


def php_string(value: Any) -> str:
    """A leaf value as PHP prints it."""
    if value is True:
        return "1"
    if value is False or value is None:
        return "0" if value is False else ""
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return str(value)


def php_true(value: Any) -> bool:
    """PHP's truth: "N" and "false" are true, "0" and "" are not (§4.1)."""
    return value not in (None, False, 0, 0.0, "", "0", [], {})


def to_int(value: Any) -> int:
    """PHP's (int): leading digits, else 0."""
    if isinstance(value, bool):
        return int(value)
    if isinstance(value, int | float):
        return int(value)
    found = re.match(r"\s*[-+]?\d+", str(value)) if value is not None else None
    return int(found.group()) if found else 0


def to_float(value: Any) -> float:
    """PHP's (float): leading number, else 0."""
    if isinstance(value, int | float):
        return float(value)
    found = re.match(r"\s*[-+]?\d+(\.\d+)?", str(value)) if value is not None else None
    return float(found.group()) if found else 0.0


def as_list(value: Any) -> list[Any]:
    """One value or many, as PHP's (array) has it."""
    if value is None:
        return []
    if isinstance(value, dict):
        return list(value.values())
    return list(value) if isinstance(value, list | tuple) else [value]


def iso(at: float, zone: str) -> str:
    """An instant in the portal's zone: `2026-09-02T10:15:00+03:00`."""
    return datetime.fromtimestamp(int(at), ZoneInfo(zone)).isoformat()


def parse_iso(text: Any, zone: str) -> float | None:
    """The instant of an ISO-8601 text; without an offset the portal's zone counts. None if it is none."""
    if not isinstance(text, str) or not re.match(r"\d{4}-\d{2}-\d{2}", text):
        return None
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=ZoneInfo(zone))
    return moment.timestamp()


def php_map(value: dict[str, Any]) -> dict[str, Any] | list[Any]:
    """PHP has one array type: an empty map comes back as `[]` (§4.1)."""
    return value or []
