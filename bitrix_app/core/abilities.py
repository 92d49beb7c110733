"""What a portal lets us do: the scopes that it granted, and which effects need which. Pure.

Portals differ in age, plan and in what their administrator agreed to (bitrix24.md §14, §16.9). What
cannot work is not owed, or is skipped with its reason; it never becomes a job for a person, because
no retry can grant a scope.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Final

USERS: Final = ("user_basic", "user_brief", "user")
"""Any of these opens the list of employees; the smallest is enough for extensions."""

WANTED: Final[tuple[tuple[str, ...], ...]] = (
    ("telephony",),
    ("crm",),
    ("placement",),
    USERS,
    ("im",),
    ("disk",),
)
"""The scopes that we use; of each group one is enough, the first is the one that we ask for."""

OPTIONAL: Final[Mapping[str, str]] = MappingProxyType(
    {
        "layout": "crm",
        "update_record": "crm",
        "move_call": "crm",
        "notify": "im",
        "drive_copy": "disk",
        "drive_document": "disk",
    }
)
"""Kinds of commands that a call can do without, and the scope that each needs."""


def grants(granted: Iterable[str], *any_of: str) -> bool:
    """Whether one of these scopes is granted. Nothing granted at all means that we were not told
    yet (an old portal, a broken answer): then everything is tried.
    """
    known = {scope.strip().lower() for scope in granted if scope.strip()}
    return not known or any(scope in known for scope in any_of)


def missing(granted: Iterable[str]) -> tuple[str, ...]:
    """The scopes that we use and do not have, by the name under which we ask for them."""
    known = tuple(granted)
    return tuple(group[0] for group in WANTED if not grants(known, *group))


def absent_for(kind: str, granted: Iterable[str]) -> str | None:
    """The scope whose absence makes this kind of command pointless; `None` when it can be said."""
    scope = OPTIONAL.get(kind)
    return None if scope is None or grants(granted, scope) else scope
