"""From a PBX extension to the person in Bitrix24 who gets the call."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from bitrix_app.core.portal import Agent, PortalSettings


@dataclass(frozen=True, slots=True)
class Choice:
    """`matched` is false when nobody has the extension and a default user stands in."""

    user_id: int
    matched: bool


def choose(
    extension: str | None,
    line: str | None,
    agents: Iterable[Agent],
    settings: PortalSettings,
    last_resort: int | None,
) -> Choice | None:
    """Who gets a call: the extension's user, else the line's default, else the portal's default,
    else `last_resort` (the administrator who installed). `None` when there is nobody at all.
    """
    active = {a.user_id: a for a in agents if a.active}
    if extension:
        for agent in active.values():
            if agent.extension == extension:
                return Choice(agent.user_id, matched=True)
    matched = not extension  # nobody was named, so nobody was missed
    candidates = (settings.line_users.get(line or ""), settings.default_user, last_resort)
    for user_id in candidates:
        if user_id and (not active or user_id in active):
            return Choice(user_id, matched)
    return Choice(last_resort, matched) if last_resort else None
