"""Makers of calls and PBX reports for the core's tests; numbers and names are invented."""

from __future__ import annotations

from typing import Any

from bitrix_app.core.advance import Owed, Rules, Transition, advance
from bitrix_app.core.call import Call
from bitrix_app.core.commands import Command
from bitrix_app.core.events import CallEvent, Direction, Facts, PbxReport, Step
from bitrix_app.core.outcome import Outcome

NOW = 1_788_333_300.0
CLIENT = "+380440000011"
LINK = "https://api.unitalk.cloud:8443/tracking/rec/1.1/2026-02-10"
RULES = Rules()


def new_call() -> Call:
    return Call(id="c1", portal="p1", first_seen_at=NOW)


def report(step: Step, *extensions: str, **facts: Any) -> PbxReport:
    base: dict[str, Any] = {
        "pbx_id": "1091001",
        "direction": Direction.IN,
        "number": CLIENT,
        "raw_number": CLIENT[1:],
        "line": "380440000001",
        "started_at": NOW - 1,
    }
    return PbxReport(step, Facts(**{**base, "extensions": extensions, **facts}))


def ended(*extensions: str, **facts: Any) -> PbxReport:
    base: dict[str, Any] = {
        "pbx_dbid": "27501",
        "state": "ANSWER",
        "outcome": Outcome.ANSWERED,
        "talk_seconds": 83,
        "full_seconds": 95,
        "link": LINK,
    }
    return report(Step.ENDED, *extensions, **{**base, **facts})


def missed(*extensions: str) -> PbxReport:
    return ended(
        *extensions, state="NOANSWER", outcome=Outcome.MISSED, talk_seconds=0, full_seconds=41, link=None
    )


class Story:
    """A call, what it owes and when it wants to be woken, as events go by."""

    def __init__(self, rules: Rules = RULES) -> None:
        self.call = new_call()
        self.rules = rules
        self.now = NOW
        self.owed: dict[str, Owed] = {}
        self.wakes: dict[str, float] = {}
        self.cancelled: set[str] = set()

    def tell(self, *events: CallEvent) -> Transition:
        transition = Transition(self.call)
        for event in events:
            transition = advance(self.call, event, self.now, self.rules)
            self.call = transition.call
            for owed in transition.owed:
                self.owed.setdefault(owed.key, owed)
            for reason in transition.unwake:
                self.wakes.pop(reason, None)
            self.wakes |= {wake.reason: wake.at for wake in transition.wakes}
            self.cancelled |= set(transition.cancel)
        return transition

    def command(self, key: str) -> Command:
        return self.owed[key].command
