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
_OF_PHONE: Final = frozenset({"number", "e164", "meta"})


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
        raise BadTemplate(f"{name}: the placeholder {{{unknown[0]}}} is not known.")
    if "dialer" not in gaps:
        raise BadTemplate(f"{name}: the placeholder {{dialer}} is missing.")
    if name == "add_phones":
        _check_phones(template, gaps)


def _check_phones(template: Mapping[str, Any], gaps: set[str]) -> None:
    if not gaps & {"number", "e164"} or "meta" not in gaps:
        raise BadTemplate("add_phones: each phone needs the placeholders {number} and {meta}.")
    lists = list(_phone_lists(template))
    if len(lists) != 1 or len(lists[0]) != 1:
        raise BadTemplate("add_phones: exactly one list must hold one element that stands for each phone.")
    if set(_gaps(lists[0])) & _OF_PHONE != gaps & _OF_PHONE:
        raise BadTemplate("add_phones: {number} and {meta} belong into the list's element only.")


def body(templates: Mapping[str, Any], name: str, dialer: str | int, phones: Sequence[Phone] = ()) -> Any:
    """The body of a request of that name; `dialer` as the PBX gave it."""
    return _filled(templates.get(name) or DEFAULTS[name], {"dialer": dialer}, phones)


def _filled(part: Any, values: Mapping[str, str | int], phones: Sequence[Phone]) -> Any:
    if isinstance(part, Mapping):
        return {key: _filled(inner, values, phones) for key, inner in part.items()}
    if isinstance(part, list | tuple):
        if set(_gaps(part)) & _OF_PHONE and not any(map(_holds_phones, part)):
            return [_filled(part[0], {**values, **_of_phone(phone)}, ()) for phone in phones]
        return [_filled(inner, values, phones) for inner in part]
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


def _phone_lists(part: Any) -> Iterator[Sequence[Any]]:
    """Innermost lists in which a phone's placeholder stands."""
    if isinstance(part, Mapping):
        for inner in part.values():
            yield from _phone_lists(inner)
    elif isinstance(part, list | tuple) and set(_gaps(part)) & _OF_PHONE:
        if any(map(_holds_phones, part)):
            for inner in part:
                yield from _phone_lists(inner)
        else:
            yield part


def _holds_phones(part: Any) -> bool:
    return next(_phone_lists(part), None) is not None
