"""Working time: clocking in and out, and `timeman.status` (bitrix24.md §12)."""

from __future__ import annotations

from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

from bitrix_app.sandbox.errors import RestError
from bitrix_app.sandbox.registry import METHODS
from bitrix_app.sandbox.state import User, WorkDay
from bitrix_app.sandbox.wire import to_int
from bitrix_app.sandbox.world import Hit, World

OPENED, CLOSED, PAUSED, EXPIRED = "OPENED", "CLOSED", "PAUSED", "EXPIRED"
_DAY_BEFORE = WorkDay(4500.0, 300.0, 1073.0)
"""Seconds before now, for users whose status a test has simply set: the samples' day."""


def clock_in(world: World, user_id: int) -> None:
    """Begin the working day, or go on after a pause. Raises ValueError when it runs already."""
    user = world.user(user_id)
    day = world.state.workdays.get(user_id)
    if user.time_status == OPENED and day is not None:
        raise ValueError(f"User {user_id} is clocked in already.")
    if user.time_status == PAUSED and day is not None and day.finished is not None:
        day.pauses += world.now() - day.finished
        day.finished = None
    else:
        world.state.workdays[user_id] = WorkDay(world.now())
    user.time_status = OPENED


def clock_pause(world: World, user_id: int) -> None:
    """A break. Raises ValueError when the day does not run."""
    _stop(world, user_id, PAUSED, (OPENED,))


def clock_out(world: World, user_id: int) -> None:
    """The end of the day. Raises ValueError when it is over or has not begun."""
    _stop(world, user_id, CLOSED, (OPENED, PAUSED, EXPIRED))


def expire(world: World, user_id: int) -> None:
    """Somebody went home without clocking out: the day stays open and is none any more."""
    user = world.user(user_id)
    world.state.workdays.setdefault(user_id, WorkDay(world.now()))
    user.time_status = EXPIRED


def _stop(world: World, user_id: int, status: str, before: tuple[str, ...]) -> None:
    user = world.user(user_id)
    if user.time_status not in before:
        raise ValueError(f"User {user_id} is {user.time_status}, so the day cannot become {status}.")
    now = world.now()
    day = world.state.workdays.setdefault(user_id, WorkDay(now))
    if user.time_status != PAUSED or day.finished is None:
        day.finished = now
    user.time_status = status


@METHODS.add("timeman.status", "timeman")
def timeman_status(hit: Hit) -> dict[str, Any]:
    """One user per call; only OPENED means clocked in."""
    user = hit.state.users.get(to_int(hit.arg("USER_ID")) or hit.user_id)
    if hit.user.extranet or (user is not None and user.extranet):
        raise RestError("allowed_only_intranet_user")
    if user is None:
        raise RestError("", "User not found", status=400)
    return _row(hit.world, user)


def _row(world: World, user: User) -> dict[str, Any]:
    day = world.state.workdays.get(user.id)
    if day is None:
        now = world.now()
        finished = now - (_DAY_BEFORE.finished or 0.0)
        day = WorkDay(now - _DAY_BEFORE.started, finished, _DAY_BEFORE.pauses)
    running = user.time_status in (OPENED, EXPIRED)
    finish = day.started if day.finished is None else day.finished
    row: dict[str, Any] = {
        "STATUS": user.time_status,
        "TIME_START": world.iso(day.started),
        "TIME_FINISH": None if running else world.iso(finish),
        "DURATION": "00:00:00" if running else _clock(finish - day.started - day.pauses),
        "TIME_LEAKS": _clock(day.pauses),
        "ACTIVE": user.time_status != EXPIRED,
        "IP_OPEN": "",
        "IP_CLOSE": None if running else "",
        "LAT_OPEN": 0,
        "LON_OPEN": 0,
        "LAT_CLOSE": 0,
        "LON_CLOSE": 0,
        "TZ_OFFSET": _offset(world, user),
    }
    if user.time_status == EXPIRED:
        row["TIME_FINISH_DEFAULT"] = world.iso(day.started + 9 * 3600)
    return row


def _offset(world: World, user: User) -> int:
    zone = ZoneInfo(user.time_zone or world.timezone)
    offset = datetime.fromtimestamp(world.now(), zone).utcoffset()
    return 0 if offset is None else int(offset.total_seconds())


def _clock(seconds: float) -> str:
    whole = max(0, int(seconds))
    return f"{whole // 3600:02d}:{whole // 60 % 60:02d}:{whole % 60:02d}"
