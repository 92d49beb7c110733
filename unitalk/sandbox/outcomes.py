"""What will come of the calls that the API starts: planned by a test, else the default."""

from __future__ import annotations

import itertools
from collections import deque
from dataclasses import dataclass
from fnmatch import fnmatchcase

from unitalk.sandbox.model import DialOutcome

_GLOB = frozenset("*?[")


@dataclass(slots=True)
class _Plan:
    order: int
    number: str
    outcome: DialOutcome
    times: int | None


class Outcomes:
    """First match wins; `number` is a glob over the client's number, `times` None is for ever.

    Plans for whole numbers are found at once, so thousands of them cost nothing.
    """

    def __init__(self) -> None:
        self._order = itertools.count()
        self._exact: dict[str, deque[_Plan]] = {}
        self._globs: list[_Plan] = []
        self.default = DialOutcome()

    def plan(self, outcome: DialOutcome, number: str = "*", times: int | None = 1) -> None:
        """What the next `times` calls to such a number come to."""
        plan = _Plan(next(self._order), number, outcome, times)
        if _GLOB.isdisjoint(number):
            self._exact.setdefault(number, deque()).append(plan)
        else:
            self._globs.append(plan)

    def script(self, number: str, *outcomes: DialOutcome) -> None:
        """One outcome per call to that number, in order; the last one for every call after that."""
        for outcome in outcomes[:-1]:
            self.plan(outcome, number)
        for outcome in outcomes[-1:]:
            self.plan(outcome, number, times=None)

    def clear(self) -> None:
        """Forget all plans; the default stays."""
        self._exact.clear()
        self._globs.clear()

    def pick(self, number: str) -> DialOutcome:
        """The outcome of a call to `number` that begins now; used up where a plan says how often."""
        plan = self._first(number)
        if plan is None:
            return self.default
        if plan.times is not None:
            plan.times -= 1
            if plan.times <= 0:
                self._drop(plan)
        return plan.outcome

    def _first(self, number: str) -> _Plan | None:
        exact = next(iter(self._exact.get(number, ())), None)
        glob = next((plan for plan in self._globs if fnmatchcase(number, plan.number)), None)
        if exact is None or glob is None:
            return exact or glob
        return exact if exact.order < glob.order else glob

    def _drop(self, plan: _Plan) -> None:
        if plan in self._globs:
            self._globs = [one for one in self._globs if one is not plan]
        else:
            self._exact[plan.number].popleft()
