"""Plays the planned calls on the clock: each step becomes webhooks at its own instant (unitalk.md §5)."""

from __future__ import annotations

import asyncio

from bitrix_app.core.ports import Clock
from unitalk.sandbox.bodies import Body, template_fields, webhook_body, without_dialer
from unitalk.sandbox.book import CallBook
from unitalk.sandbox.delivery import Deliveries, Event
from unitalk.sandbox.model import TERMINAL, SandboxCall, Step
from unitalk.sandbox.options import Options
from unitalk.sandbox.tasks import Tasks


class Player:
    """One task per living call. A slow receiver delays the telling, never the call itself."""

    def __init__(
        self,
        clock: Clock,
        book: CallBook,
        options: Options,
        deliveries: Deliveries,
        tasks: Tasks,
    ) -> None:
        self._clock = clock
        self._book = book
        self._options = options
        self._deliveries = deliveries
        self._tasks = tasks
        self._playing: dict[str, asyncio.Task[None]] = {}
        self._played: dict[str, int] = {}
        self._order: dict[str, asyncio.Lock] = {}

    def play(self, call: SandboxCall) -> None:
        """Tell the call's steps as they fall due. Calls made while the emulator rests are never told."""
        if not (self._tasks.running and call.delivered):
            call.delivered = False
            return
        if call.kind == "inner" and not self._options.inner_events:
            return
        self._playing[call.unique_id] = self._tasks.spawn(self._run(call))

    def replay(self, call: SandboxCall) -> None:
        """Go on with a call whose further course has changed."""
        task = self._playing.get(call.unique_id)
        if task is not None:
            task.cancel()
            self._playing[call.unique_id] = self._tasks.spawn(self._run(call))

    def bodies(self, call: SandboxCall) -> list[Body]:
        """The Standard JSON of all steps, in order, for a test that posts them by itself."""
        return [dict(event.body) for step in call.steps for event in self._events(call, step)]

    async def _run(self, call: SandboxCall) -> None:
        order = self._order.setdefault(call.unique_id, asyncio.Lock())
        while (index := self._played.get(call.unique_id, 0)) < len(call.steps):
            step = call.steps[index]
            await self._clock.sleep(step.at - self._clock.now())
            self._played[call.unique_id] = index + 1
            self._book.save_ended()
            self._tasks.spawn(self._tell(order, self._events(call, step)))
        for memory in (self._playing, self._played, self._order):
            memory.pop(call.unique_id, None)

    async def _tell(self, order: asyncio.Lock, events: list[Event]) -> None:
        # asyncio's Lock is fair, so the steps of one call leave in the order in which they were spawned.
        async with order:
            await self._deliveries.tell(events)

    def _events(self, call: SandboxCall, step: Step) -> list[Event]:
        if step.event == TERMINAL:
            self._book.save(call)
        body = webhook_body(call, step, self._options)
        words = template_fields(call, step, self._options)
        facts = (words, call.live_id, call.direction, call.number)
        events = [Event(handler_code(call, step), body, *facts)]
        if call.dialer_id is not None and self._options.autodial_also_plain:
            plain = without_dialer(body)
            events.append(Event(str(plain["event"]), plain, *facts))
        return events


def handler_code(call: SandboxCall, step: Step) -> str:
    """The cabinet's handler for a step; dialers have handlers of their own (§3.8), named here by us."""
    if call.dialer_id is None:
        return step.event
    if step.event == "CALL_ANSWER":
        return "AUTODIAL_CLIENT_ANSWER" if step.from_ == call.line else "AUTODIAL_OPERATOR_ANSWER"
    return f"AUTODIAL_{step.event}"
