"""The book of calls: makes every call as a plan on the clock and finds it again.

Lives of calls follow unitalk.md §5: NEW → REDIRECT* → ANSWER* → END. The live `id` is random, the lasting
`dbid` is given in the order of the calls' *ends* (a row is saved when the call is over, §4.4).
"""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from random import Random
from zoneinfo import ZoneInfo

from bitrix_app.core.ports import Clock
from unitalk.sandbox.model import CAUSES, TERMINAL, CallKind, Direction, SandboxCall, Step
from unitalk.sandbox.walltime import wall

FIRST_DBID = 27501
GREETING_SECONDS = 1.0
TRANSFER_RING_SECONDS = 2.0


@dataclass(slots=True)
class Draft:
    """The steps of a call while it is being planned; `at` walks along the clock."""

    start: float
    at: float
    steps: list[Step] = field(default_factory=list)
    talk: float = 0.0
    answered_by: list[str] = field(default_factory=list)

    def step(self, event: str, from_: str, to: Sequence[str], group: str | None = None) -> None:
        self.steps.append(Step(self.at, event, from_, tuple(to), group))

    def talks(self, line: str, seconds: float) -> None:
        self.answered_by.append(line)
        self.talk += seconds
        self.at += seconds


@dataclass(frozen=True, slots=True)
class Facts:
    """What a call has beside its course. `at` may lie in the past: then the call is history already."""

    at: float | None = None
    meta: str | int | None = None
    live_id: int | None = None
    source: str = "REGULAR"
    callback: bool = False
    tracking: Mapping[str, str] | None = None
    dialer_id: int | None = None
    wait_operator: int | None = None
    pressed_digit: int | None = None
    deliver: bool = True
    in_history: bool = True


class CallBook:
    """All calls that the PBX made or has planned, in the order in which they were made."""

    def __init__(self, clock: Clock, random: Random, zone: ZoneInfo, base_url: str) -> None:
        self._clock = clock
        self._random = random
        self._zone = zone
        self._base_url = base_url.rstrip("/")
        self._by_unique_id: dict[str, SandboxCall] = {}
        self._unsaved: list[tuple[float, int, SandboxCall]] = []
        self._next_dbid = FIRST_DBID
        self._entry = itertools.count()  # keeps the heap from ever comparing two calls
        self._alive: list[SandboxCall] = []
        self.calls: list[SandboxCall] = []

    # -- finding -------------------------------------------------------------------------------------

    def by_recording(self, unique_id: str) -> SandboxCall | None:
        return self._by_unique_id.get(unique_id)

    def busy_lines(self) -> set[str]:
        """Numbers that ring or talk at this moment, and the lines that are going to answer."""
        now = self._clock.now()
        busy: set[str] = set()
        self._alive = [call for call in self._alive if call.ended_at > now]
        for call in self._alive:
            if call.started_at > now:  # the operator's phone rings first (§4.1)
                busy.add(call.steps[0].from_)
            else:
                current = [step for step in call.steps if step.at <= now][-1]
                busy.update((call.number, current.from_, *current.to, *call.answered_by))
        return busy

    def save_ended(self) -> None:
        """Give the calls that are over by now their `dbid`, in the order in which they ended."""
        now = self._clock.now()
        while self._unsaved and self._unsaved[0][0] <= now:
            ended_at, _, call = heapq.heappop(self._unsaved)
            if call.ended_at == ended_at:  # else a transfer moved the end and a newer entry waits
                self.save(call)

    def save(self, call: SandboxCall) -> None:
        """Give one call its `dbid` now; repeats do nothing."""
        if call.dbid is None:
            call.dbid = self._next_dbid
            self._next_dbid += 1

    # -- making --------------------------------------------------------------------------------------

    def draft(self, facts: Facts) -> Draft:
        start = self._clock.now() if facts.at is None else facts.at
        return Draft(start, start)

    def add(
        self,
        draft: Draft,
        facts: Facts,
        *,
        kind: CallKind,
        direction: Direction,
        number: str,
        line: str | None,
        state: str,
        cause: int | None,
        group: str | None = None,
    ) -> SandboxCall:
        """Close the draft into a call of the book. The last step must be the terminal one."""
        start = draft.start
        unique_id = f"{int(start)}.{101 + len(self.calls)}"
        call = SandboxCall(
            live_id=self._random.randrange(1_000_000, 10_000_000) if facts.live_id is None else facts.live_id,
            kind=kind,
            direction=direction,
            number=number,
            line=line,
            started_at=start,
            date=wall(start, self._zone),
            ended_at=draft.at,
            state=state,
            cause=cause,
            seconds_full=round(draft.at - start),
            seconds_talk=round(draft.talk),
            unique_id=unique_id,
            steps=draft.steps,
            answered_by=draft.answered_by,
            group=group,
            meta=facts.meta,
            source=facts.source,
            callback=facts.callback,
            tracking=facts.tracking,
            dialer_id=facts.dialer_id,
            wait_operator=facts.wait_operator,
            pressed_digit=facts.pressed_digit,
            delivered=facts.deliver,
            in_history=facts.in_history,
        )
        if state == "ANSWER" and direction != "INNER":
            call.link = self._recording(call)
        self.calls.append(call)
        self._alive.append(call)
        self._by_unique_id[unique_id] = call
        self._expect_end(call)
        return call

    # -- changing a call that is going on --------------------------------------------------------------

    def transfer(self, call: SandboxCall, to: str, talk: float, ring_seconds: float) -> None:
        """Hand a talking call over to another line: a REDIRECT and a second ANSWER (§5)."""
        now = self._clock.now()
        draft = self._cut(call, now)
        outbound = call.direction == "OUT"
        draft.step("CALL_REDIRECT", call.end.from_, [to], call.group)
        draft.at += ring_seconds
        from_, target = (to, call.number) if outbound else (call.end.from_, to)
        draft.step("CALL_ANSWER", from_, [target], call.group)
        draft.talks(to, talk)
        draft.step(TERMINAL, from_, [target], call.group)
        self._replan(call, draft)

    def connect(self, call: SandboxCall, operator: str, wait: float, talk: float) -> None:
        """A dialer's callee, who picked up at `steps[1]`, is given to an operator for `talk` seconds."""
        draft = Draft(call.started_at, call.steps[1].at + wait, call.steps[:2])
        draft.step("CALL_ANSWER", operator, [call.number])
        draft.talks(operator, talk)
        draft.step(TERMINAL, operator, [call.number])
        call.state, call.cause, call.wait_operator = "ANSWER", CAUSES["ANSWER"], round(wait)
        call.link = self._recording(call)
        self._replan(call, draft)

    def hang_up(self, call: SandboxCall) -> None:
        """End a talking call at once."""
        end = call.end
        draft = self._cut(call, self._clock.now())
        draft.step(TERMINAL, end.from_, end.to, end.group)
        self._replan(call, draft)

    def _cut(self, call: SandboxCall, now: float) -> Draft:
        """The call's past as a draft that ends now; talk is recounted from the answers."""
        past = [step for step in call.steps if step.at <= now]
        answers = [step.at for step in past if _operator_answers(call, step)]
        if not answers or past[-1].event != "CALL_ANSWER" or call.ended(now):
            raise ValueError("only a call that is talking can be changed")
        planned_after = sum(1 for step in call.steps if _operator_answers(call, step)) - len(answers)
        lines = call.answered_by[: len(call.answered_by) - planned_after]
        rings = [step.at for step in past if step.event == "CALL_REDIRECT" and step.at > answers[0]]
        pauses = sum(answer - ring for ring, answer in zip(rings, answers[1:], strict=False))
        return Draft(call.started_at, now, past, now - answers[0] - pauses, lines)

    def _replan(self, call: SandboxCall, draft: Draft) -> None:
        call.steps = draft.steps
        call.answered_by = draft.answered_by
        call.ended_at = draft.at
        call.seconds_full = round(draft.at - draft.start)
        call.seconds_talk = round(draft.talk)
        self._expect_end(call)

    def _recording(self, call: SandboxCall) -> str:
        return f"{self._base_url}/tracking/rec/{call.unique_id}/{call.date[:10]}"

    def _expect_end(self, call: SandboxCall) -> None:
        heapq.heappush(self._unsaved, (call.ended_at, next(self._entry), call))


def _operator_answers(call: SandboxCall, step: Step) -> bool:
    """A dialer's call has two answers; talk begins with the operator's, not with the callee's."""
    return step.event == "CALL_ANSWER" and not (call.kind == "autodial" and step.from_ == call.line)


def cause_of(state: str) -> int | None:
    """The Q.850 cause that the samples show for an outcome; null for what they do not show."""
    return CAUSES.get(state)
