"""JSON bodies of the autodialer's requests: the assumed ones, and what a portal says instead. Pure.

The vendor's bodies are not published (unitalk.md §4.6). A template is the body with placeholders:
`"{dialer}"` is the dialer's id as the PBX gave it; in `add_phones` one list holds a single element that
stands for each phone, with `"{number}"` (digits), `"{e164}"` (with plus) and `"{meta}"` (our own text).
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import Any, Final

from bitrix_app.core.campaigns import Phone

DEFAULTS: Final[Mapping[str, Mapping[str, Any]]] = MappingProxyType(
    {
        "add_phones": {
            "action": "ADD_PHONES",
            "id": "{dialer}",
            "phones": [{"number": "{number}", "meta": "{meta}"}],
        },
        "start": {"action": "START", "id": "{dialer}"},
        "stop": {"action": "STOP", "id": "{dialer}"},
        "calls_history": {
            "action": "GET_CALLS_HISTORY",
            "id": "{dialer}",
            "callHistoryRequest": {"filter": {}},
        },
    }
)
"""All of them are assumptions but the names of the actions."""
READS: Final[Mapping[str, Any]] = MappingProxyType({"action": "GET_WITH_DATA"})
"""The one body that the vendor shows."""
MOST: Final = 4000
"""Characters of one template."""
READING: Final = frozenset({"GET_WITH_DATA", "GET_CALLS_HISTORY"})
NEVER: Final = frozenset({"SAVE", "DELETE"})
"""Dialers are made and removed in the PBX's cabinet alone."""

_GAP: Final = re.compile(r"\{(\w+)\}")
_NUMBERS: Final = frozenset({"number", "e164"})
_OF_PHONE: Final = _NUMBERS | {"meta"}


class BadTemplate(ValueError):
    """Why a template cannot be used, in words for whoever wrote it."""


def read_templates(value: Any) -> dict[str, dict[str, Any]]:
    """Templates as a portal may set them, by name; those equal to the assumed ones are left out.

    Raises `BadTemplate`.
    """
    if not isinstance(value, Mapping):
        raise BadTemplate("It must be an object with a template for each request.")
    templates: dict[str, dict[str, Any]] = {}
    for name, template in value.items():
        if name not in DEFAULTS:
            raise BadTemplate(f"There is no template of this name; there are: {', '.join(DEFAULTS)}.")
        if template is None or template == DEFAULTS[name]:
            continue
        _check(name, template)
        templates[name] = dict(template)
    return templates


def _check(name: str, template: Any) -> None:
    if not isinstance(template, Mapping):
        raise BadTemplate(f"{name}: the template must be a JSON object.")
    if len(json.dumps(template)) > MOST:
        raise BadTemplate(f"{name}: the template has more than {MOST} characters.")
    action = template.get("action")
    if not isinstance(action, str) or not re.fullmatch(r"[A-Z][A-Z_]{1,39}", action):
        raise BadTemplate(f"{name}: it needs an action in capital letters, such as ADD_PHONES.")
    if action in NEVER:
        raise BadTemplate(f"{name}: the action {action} changes dialers; that is done in the cabinet.")
    if (action in READING) != (name == "calls_history"):
        raise BadTemplate(f"{name}: the action {action} does not do what this template is for.")
    gaps = set(_gaps(template))
    known = {"dialer"} | (_OF_PHONE if name == "add_phones" else set())
    if unknown := sorted(gaps - known):
        raise BadTemplate(f"{name}: the placeholder «{unknown[0]}» is not known.")
    if "dialer" not in gaps:
        raise BadTemplate(f"{name}: the placeholder {{dialer}} is missing.")
    if name == "add_phones":
        _check_phones(template, gaps)


def _check_phones(template: Mapping[str, Any], gaps: set[str]) -> None:
    if not gaps & _NUMBERS or "meta" not in gaps:
        raise BadTemplate("add_phones: each phone needs the placeholders {number} and {meta}.")
    place = _phone_list(template)
    if place is None:
        raise BadTemplate("add_phones: one list must hold a single element that stands for each phone.")
    if _count(place) != _count(template):
        raise BadTemplate("add_phones: {number} and {meta} belong into that one list only.")


def body(templates: Mapping[str, Any], name: str, dialer: str | int, phones: Sequence[Phone] = ()) -> Any:
    """The body of a request of that name; `dialer` as the PBX gave it."""
    template = templates.get(name) or DEFAULTS[name]
    return _filled(template, {"dialer": dialer}, _phone_list(template), phones)


def _filled(part: Any, values: Mapping[str, str | int], place: Any, phones: Sequence[Phone]) -> Any:
    if isinstance(part, Mapping):
        return {key: _filled(inner, values, place, phones) for key, inner in part.items()}
    if isinstance(part, list | tuple):
        if part is place:
            return [_filled(part[0], {**values, **_of_phone(phone)}, None, ()) for phone in phones]
        return [_filled(inner, values, place, phones) for inner in part]
    if not isinstance(part, str):
        return part
    whole = _GAP.fullmatch(part)
    if whole and whole[1] in values:
        return values[whole[1]]
    return _GAP.sub(lambda gap: str(values.get(gap[1], gap[0])), part)


def _of_phone(phone: Phone) -> dict[str, str]:
    return {"number": phone.number.removeprefix("+"), "e164": phone.number, "meta": phone.meta}


def _gaps(part: Any) -> Iterator[str]:
    if isinstance(part, Mapping):
        part = list(part.values())
    if isinstance(part, list | tuple):
        for inner in part:
            yield from _gaps(inner)
    elif isinstance(part, str):
        yield from _GAP.findall(part)


def _phone_list(part: Any) -> Any:
    """The innermost list of one element in which a phone's number and mark stand, or `None`."""
    inside = part.values() if isinstance(part, Mapping) else part if isinstance(part, list | tuple) else ()
    for inner in inside:
        if (found := _phone_list(inner)) is not None:
            return found
    gaps = set(_gaps(part))
    single = isinstance(part, list | tuple) and len(part) == 1
    return part if single and gaps & _NUMBERS and "meta" in gaps else None


def _count(part: Any) -> int:
    return sum(1 for gap in _gaps(part) if gap in _OF_PHONE)
