"""What will come of the calls that the API starts: planned by a test, else the default."""

from __future__ import annotations

from dataclasses import dataclass
from fnmatch import fnmatchcase

from unitalk.sandbox.model import DialOutcome


@dataclass(slots=True)
class _Plan:
    number: str
    outcome: DialOutcome
    times: int | None


class Outcomes:
    """First match wins; `number` is a glob over the client's number, `times` None is for ever."""

    def __init__(self) -> None:
        self._plans: list[_Plan] = []
        self.default = DialOutcome()

    def plan(self, outcome: DialOutcome, number: str = "*", times: int | None = 1) -> None:
        self._plans.append(_Plan(number, outcome, times))

    def pick(self, number: str) -> DialOutcome:
        for plan in self._plans:
            if plan.times != 0 and fnmatchcase(number, plan.number):
                if plan.times is not None:
                    plan.times -= 1
                return plan.outcome
        return self.default
