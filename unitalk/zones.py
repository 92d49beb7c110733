"""Zones that a PBX of this vendor may keep, and their offsets at an instant (unitalk.md §2)."""

from __future__ import annotations

import datetime as dt
from typing import Final
from zoneinfo import ZoneInfo

LIKELY: Final = (
    "Europe/Kyiv",
    "UTC",
    "Europe/Warsaw",
    "Europe/London",
    "Europe/Istanbul",
    "Asia/Tbilisi",
    "Asia/Tashkent",
    "Asia/Almaty",
    "America/New_York",
    "America/Chicago",
    "America/Los_Angeles",
    *(f"Etc/GMT{sign}{hours}" for hours in range(1, 13) for sign in "-+"),
)
"""The vendor's own first; the last ones are fixed offsets, so that there is a proposal for each."""


def offsets(current: str, at: float) -> dict[str, float]:
    """Seconds east of Greenwich at `at` (unix seconds) of `current` and of the likely zones."""
    when = dt.datetime.fromtimestamp(at, dt.UTC)
    told: dict[str, float] = {}
    for zone in dict.fromkeys((*LIKELY, current)):
        east = when.astimezone(ZoneInfo(zone)).utcoffset()
        told[zone] = east.total_seconds() if east is not None else 0.0
    return told
