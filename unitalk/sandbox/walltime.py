"""The PBX's wall clock: times without a zone, as the vendor writes them (unitalk.md §2)."""

from __future__ import annotations

from datetime import datetime
from zoneinfo import ZoneInfo

FORMAT = "%Y-%m-%d %H:%M:%S"


def wall(instant: float, zone: ZoneInfo) -> str:
    """`2026-02-10 10:00:12`: what the PBX's clock on the wall showed, fractions cut off."""
    return datetime.fromtimestamp(int(instant), zone).strftime(FORMAT)


def is_wall(text: object) -> bool:
    """True for the one spelling the vendor takes in `dateFrom` and `dateTo`."""
    if not isinstance(text, str):
        return False
    try:
        # A wall-clock value has no zone by its nature; giving it one here would be the very lie to avoid.
        return datetime.strptime(text, FORMAT).strftime(FORMAT) == text  # noqa: DTZ007
    except ValueError:
        return False
