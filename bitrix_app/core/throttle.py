"""The vendor's leaky bucket as arithmetic: a value with `now` in and a wait out.

Bitrix24 drains a portal's bucket by 2 requests a second and blocks above 50 (Enterprise: 5 and
250), per portal and source address (bitrix24.md §5).
"""

from __future__ import annotations

from dataclasses import dataclass, replace


@dataclass(frozen=True, slots=True)
class Bucket:
    """`level` requests stood in the bucket at instant `at` (unix seconds)."""

    capacity: float
    drain: float
    level: float
    at: float

    def level_at(self, now: float) -> float:
        """What is left after draining; a clock that went back drains nothing."""
        return max(0.0, self.level - max(0.0, now - self.at) * self.drain)

    def wait(self, now: float, reserve: float = 0.0) -> float:
        """Seconds until one more request fits while `reserve` places stay free."""
        excess = self.level_at(now) + 1.0 - (self.capacity - reserve)
        return max(0.0, excess / self.drain)

    def take(self, now: float, requests: float = 1.0) -> Bucket:
        """The bucket after sending; never moves `at` back, so a clock jump cannot refill it."""
        return replace(self, level=self.level_at(now) + requests, at=max(now, self.at))

    def filled(self, now: float) -> Bucket:
        """The vendor said «too many»: whatever we believed, the bucket is full."""
        return replace(self, level=self.capacity, at=max(now, self.at))

    def resized(self, capacity: float, drain: float, now: float) -> Bucket:
        """The same fill in a bucket of another tariff."""
        return Bucket(capacity, drain, min(self.level_at(now), capacity), max(now, self.at))
