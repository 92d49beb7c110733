"""From a PBX extension, a group or a line to the person in Bitrix24 who gets the call."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final

from bitrix_app.core.call import Call
from bitrix_app.core.events import Direction
from bitrix_app.core.outcome import Outcome
from bitrix_app.core.portal import Agent, PortalSettings

MISSED_OWNERS: Final = ("responsible", "last_agent", "line")
"""A missed call goes first to the client's responsible person, to the agent whom it rang last, or to
the default user of its line."""
TRANSFER_OWNERS: Final = ("last", "first")


class By(StrEnum):
    """By which rule somebody got a call."""

    OVERRIDE = "override"
    """Our own map of extensions."""
    EXTENSION = "extension"
    """The inner number of the user in Bitrix24."""
    RESPONSIBLE = "responsible"
    GROUP = "group"
    LINE = "line"
    DEFAULT = "default"
    INSTALLER = "installer"


@dataclass(frozen=True, slots=True)
class Choice:
    """`matched` is false when nobody has the extension and a default user stands in."""

    user_id: int
    matched: bool
    by: By | None = field(default=None, compare=False)


def choose(
    extension: str | None,
    line: str | None,
    agents: Iterable[Agent],
    settings: PortalSettings,
    last_resort: int | None,
    group: str | None = None,
) -> Choice | None:
    """Who gets a call: the extension's user, else the group's default, else the line's, else the
    portal's, else `last_resort` (the administrator who installed). `None` when there is nobody at all.
    """
    active = {a.user_id: a for a in agents if a.active}

    def works(user_id: int | None) -> bool:
        return bool(user_id) and (not active or user_id in active)

    if extension:
        own = settings.extension_users.get(extension)
        if own is not None and works(own):
            return Choice(own, True, By.OVERRIDE)
        for agent in active.values():
            if agent.extension == extension:
                return Choice(agent.user_id, True, By.EXTENSION)
    matched = not extension  # nobody was named, so nobody was missed
    candidates = (
        (group_user(group, settings), By.GROUP),
        (settings.line_users.get(line or ""), By.LINE),
        (settings.default_user, By.DEFAULT),
        (last_resort, By.INSTALLER),
    )
    for user_id, by in candidates:
        if user_id is not None and works(user_id):
            return Choice(user_id, matched, by)
    return Choice(last_resort, matched, By.INSTALLER) if last_resort else None


def extension_of(user_id: int, agents: Iterable[Agent], settings: PortalSettings) -> str | None:
    """The extension that rings this user: our own map wins, then his inner number in Bitrix24. One that
    the map gives to somebody else is not his.
    """
    own = [extension for extension, user in settings.extension_users.items() if user == user_id]
    if own:
        return sorted(own)[0]
    for agent in agents:
        if agent.user_id == user_id and agent.active and agent.extension:
            taken = settings.extension_users.get(agent.extension)
            return agent.extension if taken in (None, user_id) else None
    return None


def group_user(group: str | None, settings: PortalSettings) -> int | None:
    """The default user of a PBX group; names are compared without case and outer spaces."""
    if not group:
        return None
    return _by_name(settings.group_users).get(group_key(group), settings.queue_user)


def group_key(name: str) -> str:
    return " ".join(name.split()).casefold()


def _by_name(users: Mapping[str, int]) -> dict[str, int]:
    return {group_key(name): user for name, user in users.items()}


# --- whose a call is in the end ------------------------------------------------------------------


class Wish(StrEnum):
    """A step of the way to a call's owner; the first that leads to somebody decides."""

    RESPONSIBLE = "responsible"
    GROUP = "group"
    AGENT = "agent"
    """The extension's user, else the default users as `choose` has them."""


@dataclass(frozen=True, slots=True)
class Plan:
    """Whom to look for when a call is closed. `extension` is `AGENT`'s."""

    wishes: tuple[Wish, ...]
    extension: str | None


def is_missed(call: Call) -> bool:
    """A client wanted us and reached nobody."""
    if call.legs or call.outcome in (None, Outcome.ANSWERED):
        return False
    return call.direction is Direction.IN or call.outcome is Outcome.LOST_BY_US


def _first_talker(call: Call) -> str | None:
    """Who of several talked first: by the end where it names them all, since webhooks overtake each
    other; an end that names one names the last (unitalk.md §5).
    """
    if call.outcome is Outcome.ANSWERED and len(call.last_operators) > 1:
        return call.last_operators[0]
    return call.legs[0].extension if len(call.legs) > 1 else call.owner


def closing_plan(call: Call, settings: PortalSettings, extension: str | None = None) -> Plan:
    """Whose `call` is by the portal's rules, now that it is over (field: missed, queued, transferred).

    Who talked owns the call. A missed one of a known client belongs to the client's responsible
    person; one of a group to the group's default user; else to the agent whom it rang last. All other
    calls are `extension`'s, or who the call itself says.
    """
    if call.legs:
        first = settings.transfer_owner == "first"
        return Plan((Wish.AGENT,), _first_talker(call) if first else call.owner)
    if not is_missed(call):
        return Plan((Wish.AGENT,), extension or call.owner)
    last = call.ringing[-1] if call.ringing else None
    match settings.missed_owner:
        case "line":
            return Plan((Wish.AGENT,), None)
        case "last_agent" if last is not None:
            return Plan((Wish.AGENT,), last)
        case "last_agent":
            return Plan((Wish.GROUP, Wish.AGENT), None)
    # a record that Bitrix24 made for this very call has no responsible person but ourselves
    known = () if call.created else (Wish.RESPONSIBLE,)
    return Plan((*known, Wish.GROUP, Wish.AGENT), last)
