"""The operators' desk: who works, whose status was set to what, who may be given a dialer's callee.

Unitalk knows WORK and PAUS (unitalk.md §4.3); nothing else is confirmed, so nothing else is taken.
"""

from __future__ import annotations

from dataclasses import dataclass
from random import Random

from bitrix_app.core.ports import Clock
from unitalk.sandbox.book import CallBook
from unitalk.sandbox.envelope import ApiError
from unitalk.sandbox.model import Operator

WORK, PAUS = "WORK", "PAUS"
STATUSES = frozenset({WORK, PAUS})


@dataclass(frozen=True, slots=True)
class Offer:
    """A callee of a dialer was given to an operator; the truth about "was he available?"."""

    at: float
    line: str
    number: str


@dataclass(frozen=True, slots=True)
class StatusChange:
    """One `setStatus` that took effect."""

    at: float
    line: str
    status: str


class Operators:
    """`statuses` may be written to by a test: an operator who presses the button on his phone."""

    def __init__(self, clock: Clock, book: CallBook, operators: list[Operator], random: Random) -> None:
        self._clock = clock
        self._book = book
        self._random = random
        self.operators = operators
        self.statuses = {one.extension: WORK for one in operators if one.extension is not None}
        self.errors: dict[str, str] = {}
        self.changes: list[StatusChange] = []
        self.offers: list[Offer] = []

    def find(self, line: str) -> Operator | None:
        return next((one for one in self.operators if line and one.extension == line), None)

    def set_status(self, line: str, status: str) -> None:
        """What `phones/inner/setStatus` does; the refusals are `ApiError`s."""
        if line not in self.statuses:
            raise ApiError("Number not found")
        if status not in STATUSES:
            raise ApiError("Wrong status")
        if line in self.errors:
            raise ApiError(self.errors[line])
        self.statuses[line] = status
        self.changes.append(StatusChange(self._clock.now(), line, status))

    def take(self, number: str, planned: str | None = None) -> str | None:
        """An operator for a callee, now: the planned one, else any free one; None when nobody works.

        A planned operator is taken though he is on another call, never though he does not work.
        """
        working = [line for line, status in self.statuses.items() if status == WORK and self._online(line)]
        if planned is None:
            busy = self._book.busy_lines()
            free = [line for line in working if line not in busy]
        else:
            free = [line for line in working if line == planned]
        if not free:
            return None
        line = self._random.choice(free)
        self.offers.append(Offer(self._clock.now(), line, number))
        return line

    def _online(self, line: str) -> bool:
        operator = self.find(line)
        return operator is None or operator.online
