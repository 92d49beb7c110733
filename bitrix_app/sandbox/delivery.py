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
    sent: float | None = None
    status: int | None = None
    error: str = ""
    body: bytes = field(default=b"", repr=False)


class EventQueue:
    """Events waiting for delivery. Test hooks: `hold`, `release`, `duplicate`, `reorder`, `lose`."""

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
        for handler in [one for one in world.state.handlers if one.event == name]:
            if handler.offline:
                self._keep_offline(handler, name, data, user_id)
            else:
                self._queue(self._delivery(handler, name, data, user_id))

    def _delivery(
        self, handler: Handler, name: str, data: Mapping[str, Any], user_id: int | None
    ) -> Delivery:
        body: dict[str, Any] = {
            "event": name,
            "event_handler_id": handler.id,
            "data": dict(data),
            "ts": int(self._world.now()),
            "auth": self.auth_block(name, handler.auth_type or user_id),
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
        if self._lost.get(name, 0) > 0:
            self._lost[name] -= 1
            delivery.error = "lost on purpose"
            self.log.append(delivery)
            return
        copies = 1 + self._copies.pop(name, 0)
        for _ in range(copies):
            self.waiting.append(Delivery(name, delivery.url, dict(delivery.form), delivery.queued))
        if self._shuffle:
            mixed = list(self.waiting)
            self._world.rng.shuffle(mixed)
            self.waiting = deque(mixed)
        self._rouse()

    def _rouse(self) -> None:
        if self.waiting and not self.held:
            self._quiet.clear()
            self._wake.set()

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

    def reorder(self, on: bool = True) -> None:
        """Shuffle what waits whenever something is added."""
        self._shuffle = on

    # -- sending ---------------------------------------------------------------------------------

    async def run(self) -> None:
        """Deliver for ever; `SandboxPortal.running` owns the task."""
        while True:
            await self._wake.wait()
            self._wake.clear()
            while self.waiting and not self.held:
                await self.post(self.waiting.popleft())
            self._quiet.set()

    async def flush(self) -> None:
        """Deliver everything that waits, here and now (for tests without the background task)."""
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
