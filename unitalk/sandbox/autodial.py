"""`autodial/action` and the dialer itself (unitalk.md §4.6; all but the path and `audios` is assumed).

A running dialer takes its numbers one by one over a few channels, asks `Outcomes` what becomes of each
attempt, tries "nobody there" again after a pause, and tells when it is done.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Mapping
from typing import Any

from bitrix_app.core.ports import Clock
from unitalk.sandbox.book import CallBook
from unitalk.sandbox.delivery import Deliveries, Event
from unitalk.sandbox.envelope import SUCCESS, ApiError, ApiRequest
from unitalk.sandbox.model import Dialer, DialerPhone, SandboxCall
from unitalk.sandbox.tasks import Tasks

TRY_AGAIN = frozenset({"NOANSWER", "BUSY", "UNREACHABLE", "FAIL", "BUSYOUT", "ANSWERING_MACHINE"})

Call = Callable[[Dialer, DialerPhone], SandboxCall]


class Autodial:
    """All dialers of the project. `dial` makes one attempt's call and lets it play."""

    def __init__(
        self, clock: Clock, book: CallBook, deliveries: Deliveries, tasks: Tasks, dial: Call
    ) -> None:
        self._clock = clock
        self._book = book
        self._deliveries = deliveries
        self._tasks = tasks
        self._dial = dial
        self._runs: dict[int, asyncio.Task[None]] = {}
        self.dialers: dict[int, Dialer] = {77: Dialer(77, "Demo autodialer", audios=[501])}
        self.audios: dict[int, str] = {501: "demo-1"}

    # -- the API -------------------------------------------------------------------------------------

    def action(self, request: ApiRequest) -> Any:
        match request.body.get("action"):
            case "GET_WITH_DATA":
                return self._with_data()
            case "GET_CALLS_HISTORY":
                return self._calls_history(request.body)
            case "ADD_PHONES":
                return self._add_phones(request.body)
            case "START":
                return self.start(self._dialer(request.body))
            case "STOP":
                return self.stop(self._dialer(request.body))
            case "DELETE":
                dialer = self._dialer(request.body)
                self.stop(dialer)
                del self.dialers[dialer.id]
                return SUCCESS
            case _:
                # SAVE too: dialers are made in the cabinet, and a client must never try (design rule 3).
                raise ApiError("Unknown action")

    def start(self, dialer: Dialer) -> Mapping[str, Any]:
        if dialer.status != "RUNNING":
            dialer.status = "RUNNING"
            self._told_status(dialer)
            self.resume(dialer)
        return SUCCESS

    def stop(self, dialer: Dialer) -> Mapping[str, Any]:
        if dialer.status == "RUNNING":
            dialer.status = "STOPPED"
            self._told_status(dialer)
        return SUCCESS

    def resume(self, dialer: Dialer) -> None:
        """Let a running dialer work; calls in flight when it stopped have ended by themselves."""
        old = self._runs.get(dialer.id)
        if self._tasks.running and dialer.status == "RUNNING" and (old is None or old.done()):
            self._runs[dialer.id] = self._tasks.spawn(self._run(dialer))

    def _dialer(self, body: Mapping[str, Any]) -> Dialer:
        dialer = self.dialers.get(body["id"]) if isinstance(body.get("id"), int) else None
        if dialer is None:
            raise ApiError("Autodial not found")
        return dialer

    def _with_data(self) -> dict[str, Any]:
        autodials = [
            {
                "id": dialer.id,
                "name": dialer.name,
                "status": dialer.status,
                "audios": [{"id": audio} for audio in dialer.audios],
                "phones": [
                    {
                        "number": phone.number,
                        "meta": phone.meta,
                        "realCalledCount": phone.attempts,
                        "callState": phone.call_state,
                    }
                    for phone in dialer.phones
                ],
            }
            for dialer in self.dialers.values()
        ]
        return {
            "autodials": autodials,
            "audios": [{"id": id_, "name": name} for id_, name in self.audios.items()],
        }

    def _add_phones(self, body: Mapping[str, Any]) -> Mapping[str, Any]:
        dialer, phones = self._dialer(body), body.get("phones")
        if not isinstance(phones, list) or not phones:
            raise ApiError("Phones are empty")
        if len(phones) > 1000:
            raise ApiError("Too many phones")
        new = [DialerPhone(_number(phone), phone.get("meta")) for phone in phones if isinstance(phone, dict)]
        if len(new) != len(phones):
            raise ApiError("Wrong phone")
        dialer.phones += new
        self.resume(dialer)
        return SUCCESS

    def _calls_history(self, body: Mapping[str, Any]) -> dict[str, Any]:
        dialer = self._dialer(body)
        asked = body.get("callHistoryRequest") or {}
        wanted = (asked.get("filter") or {}).get("id")
        ids = None if wanted is None else {str(item) for item in wanted}
        now = self._clock.now()
        self._book.save_ended()
        ended = (call for call in self._book.calls if call.dialer_id == dialer.id and call.ended(now))
        return {
            "items": [
                {
                    "id": call.live_id,
                    "phone": call.number,
                    "callState": call.state,
                    "secondsClientWaitOperator": call.wait_operator or 0,
                    "secondsFullTime": call.seconds_full,
                    "secondsTalk": call.seconds_talk,
                    "date": call.date,
                    "meta": call.meta,
                }
                for call in ended
                if ids is None or {str(call.live_id), str(call.dbid)} & ids
            ]
        }

    # -- the work ------------------------------------------------------------------------------------

    async def _run(self, dialer: Dialer) -> None:
        todo: deque[tuple[float, DialerPhone]] = deque()
        known = 0
        active = 0

        async def attempt(phone: DialerPhone) -> None:
            nonlocal active
            call = self._dial(dialer, phone)
            phone.attempts += 1
            await self._clock.sleep(call.ended_at - self._clock.now())
            phone.call_state = call.state
            phone.done = call.state not in TRY_AGAIN or phone.attempts >= dialer.max_attempts
            if not phone.done:
                todo.append((self._clock.now() + dialer.retry_pause, phone))
            active -= 1

        while dialer.status == "RUNNING" or active:
            todo.extend((0.0, phone) for phone in dialer.phones[known:] if not phone.done)
            known = len(dialer.phones)
            while dialer.status == "RUNNING" and active < dialer.channels and todo:
                due, phone = todo[0]
                if due > self._clock.now():
                    break
                todo.popleft()
                active += 1
                self._tasks.spawn(attempt(phone))
            if not active and not todo and dialer.status == "RUNNING":
                dialer.status = "STOPPED"
                self._told_status(dialer)
                self._tell("AUTODIAL_FINISH", {"id": dialer.id, "name": dialer.name})
                return
            # A tick instead of a signal: half a second is finer than any call is long.
            await self._clock.sleep(0.5)

    def _told_status(self, dialer: Dialer) -> None:
        self._tell("AUTODIAL_STATUS_CHANGED", {"id": dialer.id, "name": dialer.name, "status": dialer.status})

    def _tell(self, event: str, words: Mapping[str, Any]) -> None:
        if self._tasks.running:
            body = {"event": event, **words}
            template = {name: str(value) for name, value in body.items()}
            self._tasks.spawn(self._deliveries.tell([Event(event, body, template)]))


def _number(phone: Mapping[str, Any]) -> str:
    number = phone.get("number")
    if not (isinstance(number, str) and number.isdigit()):
        raise ApiError("Wrong phone")
    return number
