"""The dialers at work: numbers taken one by one over a few channels, nobody there tried again later.

A callee who picks up is given to an operator who is free *at that moment* (status WORK, on-line, on no
other call); without one he is lost as ANSW_NF_OP (unitalk.md §3.5). Nothing here ticks: the next attempt
begins when one ends or when a pause is over, so that thousands of numbers cost little on a virtual clock.
"""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from bitrix_app.core.ports import Clock
from unitalk.sandbox.delivery import Deliveries, Event
from unitalk.sandbox.model import Dialer, DialerPhone, DialOutcome, SandboxCall
from unitalk.sandbox.tasks import Tasks

RUNNING, STOPPED = "RUNNING", "STOPPED"
FINISH_AFTER = 0.5
"""Seconds from the last call's end until the dialer says that it is done."""

Dial = Callable[[Dialer, DialerPhone], tuple[SandboxCall, DialOutcome]]
Connect = Callable[[SandboxCall, DialOutcome], None]


@dataclass(slots=True)
class _Run:
    """One dialer's work in progress. `todo` holds (due, order, phone); `wake` is the alarm that is set."""

    active: int = 0
    known: int = 0
    todo: list[tuple[float, int, DialerPhone]] = field(default_factory=list)
    wake: float | None = None
    finishing: bool = False


class Dialling:
    """`dial` begins one attempt; `connect` finds its callee an operator, at the instant he picks up."""

    def __init__(
        self, clock: Clock, deliveries: Deliveries, tasks: Tasks, dial: Dial, connect: Connect
    ) -> None:
        self._clock = clock
        self._deliveries = deliveries
        self._tasks = tasks
        self._dial = dial
        self._connect = connect
        self._runs: dict[int, _Run] = {}
        self._order = itertools.count()

    def start(self, dialer: Dialer) -> None:
        if dialer.status != RUNNING:
            dialer.status = RUNNING
            self._told_status(dialer)
            self.resume(dialer)

    def stop(self, dialer: Dialer) -> None:
        """Calls in flight end by themselves."""
        if dialer.status == RUNNING:
            dialer.status = STOPPED
            self._told_status(dialer)

    def forget(self) -> None:
        """What was in flight died with the emulator's last `running()`; all unfinished begins anew."""
        self._runs.clear()

    def resume(self, dialer: Dialer) -> None:
        """Begin as many attempts as channels and pauses allow; finish when nothing is left."""
        if not (self._tasks.running and dialer.status == RUNNING):
            return
        run = self._runs.setdefault(dialer.id, _Run())
        for phone in dialer.phones[run.known :]:
            if not phone.done:
                heapq.heappush(run.todo, (0.0, next(self._order), phone))
        run.known = len(dialer.phones)
        now = self._clock.now()
        while run.active < dialer.channels and run.todo and run.todo[0][0] <= now:
            run.active += 1
            self._tasks.spawn(self._attempt(dialer, run, heapq.heappop(run.todo)[2]))
        if run.todo and run.active < dialer.channels:
            self._alarm(dialer, run, run.todo[0][0])
        elif not (run.todo or run.active or run.finishing) and dialer.stops_when_done:
            run.finishing = True
            self._tasks.spawn(self._finish(dialer, run))

    async def _attempt(self, dialer: Dialer, run: _Run, phone: DialerPhone) -> None:
        try:
            call, outcome = self._dial(dialer, phone)
            phone.attempts += 1
            if outcome.state == "ANSWER":
                await self._clock.sleep(call.steps[1].at - self._clock.now())
                self._connect(call, outcome)
            while (left := call.ended_at - self._clock.now()) > 0:  # a transfer may move the end
                await self._clock.sleep(left)
        finally:
            run.active -= 1
        phone.call_state = call.state
        phone.done = call.state not in dialer.try_again or phone.attempts >= dialer.max_attempts
        if not phone.done:
            due = self._clock.now() + dialer.retry_pause
            heapq.heappush(run.todo, (due, next(self._order), phone))
        self.resume(dialer)

    async def _finish(self, dialer: Dialer, run: _Run) -> None:
        await self._clock.sleep(FINISH_AFTER)
        run.finishing = False
        if dialer.status != RUNNING or run.todo or run.active:
            return
        if run.known < len(dialer.phones):  # something was added meanwhile
            self.resume(dialer)
            return
        self.stop(dialer)
        self._tell("AUTODIAL_FINISH", {"id": dialer.id, "name": dialer.name})

    def _alarm(self, dialer: Dialer, run: _Run, due: float) -> None:
        if run.wake is not None and run.wake <= due:
            return
        run.wake = due

        async def ring() -> None:
            while (left := due - self._clock.now()) > 0:
                await self._clock.sleep(left)
            if run.wake == due:
                run.wake = None
            self.resume(dialer)

        self._tasks.spawn(ring())

    def _told_status(self, dialer: Dialer) -> None:
        self._tell("AUTODIAL_STATUS_CHANGED", {"id": dialer.id, "name": dialer.name, "status": dialer.status})

    def _tell(self, event: str, words: Mapping[str, Any]) -> None:
        if self._tasks.running:
            body = {"event": event, **words}
            template = {name: str(value) for name, value in body.items()}
            self._tasks.spawn(self._deliveries.tell([Event(event, body, template)]))
