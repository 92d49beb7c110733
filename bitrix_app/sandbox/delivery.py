"""The event queue: who is told, with which tokens, once and without retries (bitrix24.md §11.1)."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlencode

from bitrix_app.core.ports import HttpRequest
from bitrix_app.sandbox.oauth import ACCESS_SECONDS
from bitrix_app.sandbox.state import Handler, OfflineEvent
from bitrix_app.sandbox.wire import flatten
from bitrix_app.sandbox.world import World

WITH_REFRESH = frozenset({"ONAPPINSTALL", "ONAPPUPDATE", "ONOFFLINEEVENT"})
WITHOUT_TOKENS = frozenset({"ONAPPUNINSTALL", "ONAPPPAYMENT", "ONAPPMETHODCONFIRM"})
_TIMEOUT = 5.0


@dataclass
class Delivery:
    """One POST of the queue: what was sent, and what came back (`status` None: no answer)."""

    event: str
    url: str
    form: dict[str, str]
    queued: float
    due: float = 0.0
    """Not to be sent before; later than `queued` only where a test delays it."""
    sent: float | None = None
    status: int | None = None
    error: str = ""
    body: bytes = field(default=b"", repr=False)


class EventQueue:
    """Events waiting for delivery. Test hooks: `hold`, `release`, `duplicate`, `reorder`, `lose`, `delay`,
    `without_token`.
    """

    def __init__(self, world: World) -> None:
        self._world = world
        self.log: list[Delivery] = []
        self.waiting: deque[Delivery] = deque()
        self.held = False
        self._wake = asyncio.Event()
        self._quiet = asyncio.Event()
        self._quiet.set()
        self._copies: dict[str, int] = {}
        self._lost: dict[str, int] = {}
        self._delays: dict[str, tuple[float, int]] = {}
        self._tokenless: dict[str, int] = {}
        self._ripening: set[asyncio.Task[None]] = set()
        self.late: list[Delivery] = []
        self._shuffle = False

    # -- what happened ---------------------------------------------------------------------------

    def fire(
        self, event: str, data: Mapping[str, Any], user_id: int | None, *, while_not_installed: bool = False
    ) -> None:
        """Queue a POST for each handler bound to the event.

        Skipped while the app is not installed or its payment expired (§1.2); `ONAPPUNINSTALL` and
        `ONAPPPAYMENT` are the exceptions that have to pass.
        """
        world = self._world
        name = event.upper()
        if not while_not_installed and not (world.present and world.installed and not world.payment_expired):
            return
        handlers = [one for one in world.state.handlers if one.event == name]
        anonymous = bool(handlers) and _take_one(self._tokenless, name)
        for handler in handlers:
            if handler.offline:
                self._keep_offline(handler, name, data, user_id)
            else:
                teller = None if anonymous else handler.auth_type or user_id
                self._queue(self._delivery(handler, name, data, teller))

    def _delivery(
        self, handler: Handler, name: str, data: Mapping[str, Any], user_id: int | None
    ) -> Delivery:
        body: dict[str, Any] = {
            "event": name,
            "event_handler_id": handler.id,
            "data": dict(data),
            "ts": int(self._world.now()),
            "auth": self.auth_block(name, user_id),
        }
        return Delivery(name, handler.url, dict(flatten(body)), self._world.now())

    def auth_block(self, name: str, user_id: int | None) -> dict[str, Any]:
        """Tokens of the user who triggered (or of the fixed one); none when there is no user."""
        world = self._world
        place = {
            "domain": world.domain,
            "server_endpoint": world.auth.server_endpoint,
            "client_endpoint": world.client_endpoint,
            "member_id": world.member_id,
        }
        if name in WITHOUT_TOKENS or user_id is None or not world.user_active(user_id):
            return {**place, "application_token": world.application_token}
        pair = world.issue(user_id)
        block: dict[str, Any] = {
            "access_token": pair.access,
            "expires": pair.expires,
            "expires_in": ACCESS_SECONDS,
            "scope": pair.scope,
            "domain": place["domain"],
            "server_endpoint": place["server_endpoint"],
            "status": world.status_letter,
            "client_endpoint": place["client_endpoint"],
            "member_id": place["member_id"],
            "user_id": user_id,
        }
        if name in WITH_REFRESH:
            block["refresh_token"] = pair.refresh
        block["application_token"] = world.application_token
        return block

    def _keep_offline(
        self, handler: Handler, name: str, data: Mapping[str, Any], user_id: int | None
    ) -> None:
        """The queue stores the last state per object, not history (§11.2)."""
        rows = self._world.state.offline_events
        rows[:] = [
            row
            for row in rows
            if not (
                row.event == name
                and row.data == data
                and row.connector == handler.connector
                and not row.process_id
            )
        ]
        world = self._world
        number = world.state.next_id("offline")
        rows.append(OfflineEvent(number, name, dict(data), world.now(), world.md5(), handler.connector))
        self.fire("ONOFFLINEEVENT", {}, user_id)

    def _queue(self, delivery: Delivery) -> None:
        name = delivery.event
        if _take_one(self._lost, name):
            delivery.error = "lost on purpose"
            self.log.append(delivery)
            return
        seconds, times = self._delays.get(name, (0.0, 0))
        if times:
            self._delays[name] = (seconds, times - 1)
        delivery.due = delivery.queued + (seconds if times else 0.0)
        copies = 1 + self._copies.pop(name, 0)
        for _ in range(copies):
            line = self.late if times else self.waiting
            line.append(Delivery(name, delivery.url, dict(delivery.form), delivery.queued, delivery.due))
        if self._shuffle:
            mixed = list(self.waiting)
            self._world.rng.shuffle(mixed)
            self.waiting = deque(mixed)
        self._rouse()

    def _rouse(self) -> None:
        if (self.waiting or self.late) and not self.held:
            if self.waiting:
                self._quiet.clear()
            self._wake.set()

    def _ripen(self) -> None:
        """Move what is due from `late` to `waiting`."""
        now = self._world.now()
        self.waiting.extend(one for one in self.late if one.due <= now)
        self.late[:] = [one for one in self.late if one.due > now]

    async def _alarm(self, due: float) -> None:
        await self._world.clock.sleep(due - self._world.now())
        self._ripen()
        self._rouse()

    # -- test hooks ------------------------------------------------------------------------------

    def hold(self) -> None:
        """Collect deliveries instead of sending them."""
        self.held = True

    def release(self, *, order: list[int] | None = None) -> None:
        """Send what was held; `order` gives the positions in the order to be sent."""
        if order is not None:
            waiting = list(self.waiting)
            chosen = [waiting[index] for index in order]
            rest = [one for index, one in enumerate(waiting) if index not in order]
            self.waiting = deque(chosen + rest)
        self.held = False
        self._rouse()

    def duplicate(self, event: str, copies: int = 1) -> None:
        """Send the next delivery of that event `copies` times more."""
        self._copies[event.upper()] = copies

    def lose(self, event: str, times: int = 1) -> None:
        """Never send the next deliveries of that event: any loss is final (§11.1)."""
        self._lost[event.upper()] = times

    def delay(self, event: str, seconds: float, times: int = 1) -> None:
        """Deliver the next ones so much later; `ts` still says when it happened. `idle` does not wait."""
        self._delays[event.upper()] = (seconds, times)

    def without_token(self, event: str, times: int = 1) -> None:
        """Tell the next ones as nobody's: no user could be determined (§11.1)."""
        self._tokenless[event.upper()] = times

    def calm(self, event: str) -> None:
        """Take back the hooks of that event; what is held or late stays so."""
        self._copies.pop(event.upper(), None)
        self._lost.pop(event.upper(), None)
        self._delays.pop(event.upper(), None)
        self._tokenless.pop(event.upper(), None)

    def reorder(self, on: bool = True) -> None:
        """Shuffle what waits whenever something is added."""
        self._shuffle = on

    # -- sending ---------------------------------------------------------------------------------

    async def run(self) -> None:
        """Deliver for ever; `SandboxPortal.running` owns the task."""
        timed: set[float] = set()
        try:
            while True:
                await self._wake.wait()
                self._wake.clear()
                for due in {one.due for one in self.late} - timed:
                    timed.add(due)
                    alarm = asyncio.create_task(self._alarm(due))
                    self._ripening.add(alarm)
                    alarm.add_done_callback(self._ripening.discard)
                while self.waiting and not self.held:
                    await self.post(self.waiting.popleft())
                self._quiet.set()
        finally:
            for alarm in self._ripening:
                alarm.cancel()

    async def flush(self) -> None:
        """Deliver everything that waits, here and now (for tests without the background task)."""
        self._ripen()
        while self.waiting and not self.held:
            await self.post(self.waiting.popleft())

    async def idle(self) -> None:
        """Wait until the background task has nothing left to send."""
        await self._quiet.wait()

    async def post(self, delivery: Delivery) -> None:
        """One POST, whatever comes of it."""
        delivery.sent = self._world.now()
        self.log.append(delivery)
        request = HttpRequest(
            "POST",
            delivery.url,
            {"Content-Type": "application/x-www-form-urlencoded", "User-Agent": "Bitrix24 Webhook Engine"},
            urlencode(delivery.form).encode(),
            timeout=_TIMEOUT,
        )
        try:
            answer = await self._world.http.send(request)
        # The port's own errors live in core.errors, which the sandbox does not know; whatever it
        # was, the event is lost: there are no retries (§11.1).
        except Exception as error:  # noqa: BLE001
            delivery.error = f"{type(error).__name__}: {error}"
            return
        delivery.status = answer.status
        delivery.body = answer.body


def _take_one(left: dict[str, int], name: str) -> bool:
    """Use up one of the times that a hook still has for this event."""
    if left.get(name, 0) <= 0:
        return False
    left[name] -= 1
    return True
