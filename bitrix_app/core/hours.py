"""When calls may be made: a portal's working hours and a client's decent ones. Pure; zones by IANA name."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Final
from zoneinfo import ZoneInfo

DAYS: Final = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
DAY: Final = 24 * 60
LOOK: Final = 15
"""Days ahead that are searched: two weeks and a day, whatever the holidays."""

Spans = tuple[tuple[int, int], ...]
"""Minutes from midnight, half open, in order."""


@dataclass(frozen=True, slots=True)
class Hours:
    """Open spans for each weekday in a zone's wall clock; without any span it is always open."""

    zone: str
    days: Mapping[str, Spans] = field(default_factory=dict)

    @property
    def always(self) -> bool:
        return not any(self.days.values())


def every_day(zone: str, start: int, end: int) -> Hours:
    """The same minutes from midnight on every day."""
    return Hours(zone, dict.fromkeys(DAYS, ((start, end),)))


_SPAN: Final = re.compile(r"\s*([0-9]{1,2}):([0-9]{2})\s*[-–]\s*([0-9]{1,2}):([0-9]{2})\s*")


def read_spans(text: str) -> Spans:
    """`09:00-13:00, 14:00-18:00`; empty for a closed day. Raises `ValueError` with what to write."""
    spans: list[tuple[int, int]] = []
    for part in filter(None, (p.strip() for p in text.split(","))):
        found = _SPAN.fullmatch(part)
        times = [int(x) for x in found.groups()] if found else []
        start, end = (times[0] * 60 + times[1], times[2] * 60 + times[3]) if times else (0, 0)
        minutes = times and times[1] < 60 and times[3] < 60
        if not (minutes and 0 <= start < end <= DAY) or (spans and start < spans[-1][1]):
            raise ValueError(f"«{part}» is no span of a day. Write 09:00-18:00, several with commas.")
        spans.append((start, end))
    return tuple(spans)


def read_days(days: Mapping[str, str], zone: str) -> Hours:
    """Hours from a setting's `{"mon": "09:00-18:00", …}`. Raises `ValueError`."""
    unknown = [day for day in days if day not in DAYS]
    if unknown:
        raise ValueError(f"«{unknown[0]}» is no day. Days are {', '.join(DAYS)}.")
    return Hours(zone, {day: read_spans(text) for day, text in days.items()})


def is_open(hours: Hours, at: float) -> bool:
    return opens(hours, at) == at


def opens(hours: Hours, at: float) -> float:
    """The first instant from `at` on at which it is open; `at` itself when it is open then."""
    if hours.always:
        return at
    for begin, end in _spans_from(hours, at):
        if end > at:
            return max(begin, at)
    return at


def all_open(several: Iterable[Hours], at: float) -> float:
    """The first instant from `at` on at which all are open at once; `at` + the search's span when never."""
    known = tuple(several)
    limit = at + LOOK * DAY * 60
    moment = at
    while moment < limit:
        later = max((opens(hours, moment) for hours in known), default=moment)
        if later == moment:
            return moment
        moment = later
    return limit


def after_open(hours: Hours, at: float, seconds: float) -> float:
    """When `seconds` of open time have passed since `at`."""
    if hours.always:
        return at + seconds
    left = seconds
    moment = at
    for begin, end in _spans_from(hours, at):
        if end <= moment:
            continue
        moment = max(begin, moment)
        if end - moment >= left:
            return moment + left
        left -= end - moment
        moment = end
    return moment + left


def _spans_from(hours: Hours, at: float) -> Iterable[tuple[float, float]]:
    """Open spans as unix seconds, from the day before `at` on. An hour that the clock skips or repeats
    is taken as the zone database has it.
    """
    zone = ZoneInfo(hours.zone)
    first = datetime.fromtimestamp(at, zone).date() - timedelta(days=1)
    for ahead in range(LOOK + 2):
        day = first + timedelta(days=ahead)
        midnight = datetime(day.year, day.month, day.day)  # noqa: DTZ001 - a wall clock, its zone follows
        for start, end in hours.days.get(DAYS[day.weekday()], ()):
            begins, ends = (
                (midnight + timedelta(minutes=m)).replace(tzinfo=zone).timestamp() for m in (start, end)
            )
            if ends > begins:
                yield begins, ends
