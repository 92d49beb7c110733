"""Is the time zone right that we read the PBX's wall clock with? Pure arithmetic (unitalk.md §2).

A closing event arrives soon after its call ended, so `date + secondsFullTime` should be near its
arrival. A wrong zone shifts that by the same whole number of hours, call after call.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Final

RECENT: Final = 12
"""Calls that are looked at, the last ones."""
ENOUGH: Final = 5
"""Calls that must agree."""
NEAR: Final = 300.0
"""Seconds that an event may be under way."""
MOST_HOURS: Final = 14
"""No zone is farther; what is, came late by itself."""


def hours_off(differences: Sequence[float]) -> int | None:
    """By how many whole hours arrivals are later than the call's end as we read it; 0 when the zone is
    right, `None` when the calls are too few or do not agree. `differences` in seconds, newest last.
    """
    recent = differences[-RECENT:]
    told: Counter[int] = Counter()
    for difference in recent:
        hours = round(difference / 3600)
        if abs(difference - hours * 3600) <= NEAR and abs(hours) <= MOST_HOURS:
            told[hours] += 1
    if not told:
        return None
    hours, agree = told.most_common(1)[0]
    return hours if agree >= ENOUGH and agree * 4 >= len(recent) * 3 else None


def proposed(offsets: Mapping[str, float], current: str, hours: int) -> str | None:
    """The first of the zones in `offsets` (seconds east of Greenwich, now) in which the PBX's clock
    would be right, `None` when none fits. `current` is the zone that is `hours` off.
    """
    wanted = offsets[current] - hours * 3600
    return next((zone for zone, offset in offsets.items() if offset == wanted), None)
