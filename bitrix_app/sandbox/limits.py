"""The portal's limits: leaky bucket per source address, operating time per method (bitrix24.md §5)."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from fnmatch import fnmatchcase

from bitrix_app.core.ports import Clock
from bitrix_app.sandbox.errors import RestError

# Sample figures of the vendor's documentation (shared/reliability.md §2): how long an answer takes,
# and how much of it counts as operating time.
SAMPLE_DURATIONS: dict[str, float] = {
    "telephony.externalcall.searchcrmentities": 0.40,
    "telephony.externalcall.register": 1.12,
    "telephony.externalcall.finish": 2.30,
    "telephony.externalcall.attachrecord": 2.40,
    "crm.lead.add": 3.40,
    "crm.item.add": 3.40,
}
SAMPLE_OPERATING: dict[str, float] = {
    "telephony.externalcall.searchcrmentities": 0.250,
    "telephony.externalcall.register": 0.222,
    "telephony.externalcall.finish": 1.412,
    "telephony.externalcall.attachrecord": 1.944,
    "crm.lead.add": 3.308,
    "crm.item.add": 3.308,
}
WINDOW_SECONDS = 600
UNCOUNTED_SECONDS = 0.1  # [src] short calls do not count


class Limits:
    """Everything that makes the portal say "not now".

    `bucket` is (blocks above, drains per second). `durations` and `operating` map method patterns to
    seconds; both are empty by default, so tests are fast and nothing is counted. `operating_limit`
    None switches the budget off, as self-hosted portals do.
    """

    def __init__(self, clock: Clock, bucket: tuple[float, float]) -> None:
        self._clock = clock
        self.capacity, self.drain = bucket
        self.durations: Mapping[str, float] = {}
        self.operating: Mapping[str, float] = {}
        self.operating_limit: float | None = None
        self.request_seconds: float | None = 60.0
        self._levels: dict[str, tuple[float, float]] = {}
        self._spent: dict[str, dict[int, float]] = defaultdict(dict)

    def use_samples(self, *, speed: float = 1.0, operating_limit: float | None = 480.0) -> None:
        """Answer as slowly as the samples, divided by `speed`, with the operating budget on."""
        self.durations = {name: seconds / speed for name, seconds in SAMPLE_DURATIONS.items()}
        self.operating = dict(SAMPLE_OPERATING)
        self.operating_limit = operating_limit

    def level(self, source: str) -> float:
        """How full that source's bucket is."""
        level, at = self._levels.get(source, (0.0, 0.0))
        return max(0.0, level - (self._clock.monotonic() - at) * self.drain)

    def admit(self, source: str, count: int = 1) -> None:
        """One HTTP request; refused with 503 when the bucket is full. A refusal adds nothing."""
        level = self.level(source)
        if level + count > self.capacity:
            raise RestError("QUERY_LIMIT_EXCEEDED")
        self._levels[source] = (level + count, self._clock.monotonic())

    def fill(self, source: str, level: float) -> None:
        """Pretend other apps behind the same address have used that much."""
        self._levels[source] = (level, self._clock.monotonic())

    def spent(self, method: str) -> float:
        """Operating seconds of the method in the current window."""
        minutes = self._spent[method]
        oldest = int(self._clock.now() // 60) - WINDOW_SECONDS // 60
        for minute in [one for one in minutes if one <= oldest]:
            del minutes[minute]
        return sum(minutes.values(), 0.0)

    def reset_at(self, method: str) -> int:
        """When the oldest minute leaves the window."""
        self.spent(method)
        minutes = self._spent[method]
        first = min(minutes) if minutes else int(self._clock.now() // 60)
        return first * 60 + WINDOW_SECONDS

    def check(self, method: str) -> None:
        """The check precedes the call: the call that overruns finishes, the next is refused."""
        if self.operating_limit is not None and self.spent(method) >= self.operating_limit:
            raise RestError("OPERATION_TIME_LIMIT")

    def charge(self, method: str) -> None:
        """Count one call of the method."""
        seconds = _find(self.operating, method)
        if seconds > UNCOUNTED_SECONDS:
            minute = int(self._clock.now() // 60)
            self._spent[method][minute] = self._spent[method].get(minute, 0.0) + seconds

    def duration(self, method: str) -> float:
        """How long the method takes."""
        return _find(self.durations, method)


def _find(table: Mapping[str, float], method: str) -> float:
    exact = table.get(method)
    if exact is not None:
        return exact
    return next((seconds for pattern, seconds in table.items() if fnmatchcase(method, pattern)), 0.0)
