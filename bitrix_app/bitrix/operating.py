"""Each method's operating seconds in its ten-minute window, learned from the answers. Pure.

bitrix24.md §5: the portal refuses a method (429) once it has consumed its budget; the call that
overruns still finishes. All instants here are on the caller's monotonic clock.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

NEAR: Final = 0.97
"""Share of the budget at which a method is parked: the rest is for calls in flight."""
WINDOW: Final = 600.0
PARK_DEFAULT: Final = 60.0
JITTER: Final = 3.0
"""Seconds by which a refused method comes back later than said, at most."""


@dataclass(slots=True)
class _Method:
    seconds: float = 0.0
    reset_at: float = 0.0
    learned_at: float = 0.0
    cost: float = 0.0
    """Seconds that one call adds, a moving average."""
    until: float = 0.0


class OperatingBudget:
    """`limit` is believed until a refusal shows that this portal's is lower."""

    def __init__(self, limit: float = 480.0) -> None:
        self._limit = limit
        self._methods: dict[str, _Method] = {}

    def learn(self, method: str, seconds: float, reset_at: float, now: float, share: int = 1) -> None:
        """`operating` and `operating_reset_at` of a good answer with `share` calls of the method."""
        known = self._methods.setdefault(method.lower(), _Method())
        added = seconds - known.seconds
        if added >= 0 and known.learned_at:
            each = added / max(1, share)
            known.cost = each if not known.cost else 0.8 * known.cost + 0.2 * each
        known.seconds, known.learned_at = seconds, now
        known.reset_at = min(reset_at, now + WINDOW)
        if seconds >= self._limit * NEAR and known.reset_at > now:
            known.until = max(known.until, known.reset_at)

    def park(self, method: str, now: float, wish: float | None, jitter: float) -> float:
        """Refused: until the last known reset, else the vendor's wish, else a minute; with jitter."""
        known = self._methods.setdefault(method.lower(), _Method())
        until = now + PARK_DEFAULT
        if known.reset_at > now:
            until = known.reset_at
        elif wish is not None and now < wish <= now + WINDOW:
            until = wish
        if 0 < known.seconds < self._limit:
            self._limit = max(60.0, known.seconds)  # this portal's budget is smaller than we thought
        known.until = max(known.until, until + JITTER * jitter)
        return known.until

    def parked(self, method: str, now: float, count: int = 1) -> float | None:
        """Until when `count` more calls would not fit; `None` when they may go now."""
        known = self._methods.get(method.lower())
        if known is None:
            return None
        if now < known.until:
            return known.until
        if now < known.reset_at and count > 1:
            wanted = min(count * known.cost, self._limit / 2)  # a large batch must fit some day
            if known.seconds + wanted > self._limit:
                return known.reset_at
        return None
