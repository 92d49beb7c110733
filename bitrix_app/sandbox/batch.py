"""batch: up to 50 commands, references to earlier results, and PHP's empty maps (bitrix24.md §4.4)."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from bitrix_app.sandbox.wire import parse_query

MAX_COMMANDS = 50
_REFERENCE = re.compile(r"\$result((?:\[[^\]]*\])+)")
_STEP = re.compile(r"\[([^\]]*)\]")


def commands(raw: Any) -> list[tuple[str, str]]:
    """Key and command text of each command; `cmd` may be a map, a list or form fields."""
    if isinstance(raw, Mapping):
        return [(str(key), str(value)) for key, value in raw.items()]
    if isinstance(raw, list | tuple):
        return [(str(index), str(value)) for index, value in enumerate(raw)]
    return []


def split(command: str) -> tuple[str, dict[str, Any]]:
    """Method and parameters of `method?a=b&c[d]=e`."""
    method, _, query = command.partition("?")
    return method.strip().lower(), parse_query(query)


def resolve(value: Any, results: Mapping[str, Any]) -> Any:
    """Put earlier results in place of `$result[key][field]`.

    [src] A path that leads nowhere silently becomes the deepest container that exists; inside a
    longer string a value that is no scalar is left as it is.
    """
    if isinstance(value, dict):
        return {key: resolve(item, results) for key, item in value.items()}
    if isinstance(value, list):
        return [resolve(item, results) for item in value]
    if not isinstance(value, str) or "$result" not in value:
        return value
    whole = _REFERENCE.fullmatch(value)
    if whole:
        return _walk(whole.group(1), results)

    def inline(found: re.Match[str]) -> str:
        target = _walk(found.group(1), results)
        return found.group() if isinstance(target, dict | list | None) else str(target)

    return _REFERENCE.sub(inline, value)


def _walk(path: str, results: Mapping[str, Any]) -> Any:
    here: Any = results
    for step in _STEP.findall(path):
        if isinstance(here, Mapping) and step in here:
            here = here[step]
        elif isinstance(here, list) and step.isdigit() and int(step) < len(here):
            here = here[int(step)]
        else:
            return here  # the documented silliness
    return here
