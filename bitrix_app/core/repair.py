"""A repair: an extension gets its user, and the calls that a default user has for it are moved. Pure.

Counted first, confirmed by the count, undone as a whole. What cannot be changed in Bitrix24 is said.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from typing import Any, Final

from bitrix_app.core.call import Call
from bitrix_app.core.commands import MoveCall, Priority
from bitrix_app.core.portal import PortalSettings
from bitrix_app.core.transition import Owed, Transition

MOST: Final = 1000
"""Calls of one repair; the rest is left for the next one, so that no transaction grows without end."""


@dataclass(frozen=True, slots=True)
class Repair:
    """`calls` are our ids, `froms` in the same order the users who had them. `before` is the user whom
    our own map gave the extension earlier.
    """

    id: str
    portal: str
    created_at: float
    by_user: int
    extension: str
    user_id: int
    calls: tuple[str, ...] = ()
    froms: tuple[int, ...] = ()
    mapped: bool = False
    """Whether our own map was changed by it; only then an undo changes it back."""
    before: int | None = None
    undone_at: float | None = None

    @property
    def move_key(self) -> str:
        return f"move:{self.id}"

    @property
    def undo_key(self) -> str:
        return f"unmove:{self.id}"


def pack(repair: Repair) -> dict[str, Any]:
    return asdict(repair)


def unpack(data: Mapping[str, Any]) -> Repair:
    known = {f.name for f in fields(Repair)}
    values: dict[str, Any] = {
        k: tuple(v) if isinstance(v, list) else v for k, v in data.items() if k in known
    }
    return Repair(**values)


def move(repair: Repair, call: Call) -> Transition | None:
    """The call with the job that moves it; an earlier repair that has not begun gives way."""
    if call.unmatched != repair.extension or not call.finished:
        return None  # it found its person in the meantime
    return _step(repair, replace(call, repair=repair.id, moved=None), undo=False)


def undo(repair: Repair, call: Call) -> Transition | None:
    """The call with the job that gives it back, if it still is under this repair."""
    if call.repair != repair.id or call.id not in repair.calls:
        return None
    return _step(repair, replace(call, repair=None), undo=True)


def _step(repair: Repair, call: Call, *, undo: bool) -> Transition:
    had = dict(zip(repair.calls, repair.froms, strict=True))[call.id]
    one, other = (repair.user_id, had) if undo else (had, repair.user_id)
    command = MoveCall(repair=repair.id, from_user=one, to_user=other, extension=repair.extension, undo=undo)
    key = repair.undo_key if undo else repair.move_key
    return Transition(call, (Owed(key, command, Priority.BACKFILL),), cancel=(MoveCall.kind,))


def with_extension(settings: PortalSettings, extension: str, user_id: int | None) -> PortalSettings:
    """Our own map with this extension given to a user, or with `None` no longer decided by us."""
    users = {k: v for k, v in settings.extension_users.items() if k != extension}
    if user_id is not None:
        users[extension] = user_id
    return replace(settings, extension_users=users)
