"""Handlers of the cabinet's section "Event handling" and the posting of webhooks (unitalk.md §3.1, §3.7).

The PBX posts and forgets: whether the vendor retries is unknown, so nothing is said twice unless
`Options.webhook_retries` or a mishap says so. Events of one call leave in order unless a mishap breaks it.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Any, Literal
from urllib.parse import urlencode, urlsplit

from bitrix_app.core.errors import Trouble
from bitrix_app.core.ports import Clock, Http, HttpRequest
from unitalk.sandbox.options import Options
from unitalk.sandbox.tasks import Tasks

Shape = Literal["json", "form", "get", "template_json"]
"""Standard JSON, or one of the customer's own templates of variables (§3.7)."""


@dataclass(frozen=True, slots=True)
class Event:
    """One thing to tell. `code` is the cabinet's handler: finer than the body's `event` for dialers.

    `direction` and `number` are the call's, for mishaps that strike some calls only.
    """

    code: str
    body: Mapping[str, Any]
    template: Mapping[str, str]
    call_id: int | None = None
    direction: str = ""
    number: str = ""


@dataclass(frozen=True, slots=True)
class Handler:
    """One address in the cabinet. `events` are globs over codes; None takes all."""

    url: str
    events: tuple[str, ...] | None = None
    with_ev: bool = False
    shape: Shape = "json"
    headers: Mapping[str, str] = field(default_factory=dict)

    def wants(self, code: str) -> bool:
        return self.events is None or any(fnmatchcase(code, glob) for glob in self.events)

    def request(self, event: Event, timeout: float) -> HttpRequest:
        query = {"ev": event.code} if self.with_ev else {}
        headers = dict(self.headers)
        if self.shape == "get":
            return HttpRequest(
                "GET", _with_query(self.url, query | dict(event.template)), headers, b"", (), timeout
            )
        if self.shape == "form":
            body, kind = urlencode(event.template).encode(), "application/x-www-form-urlencoded"
        else:
            words = event.body if self.shape == "json" else event.template
            body, kind = json.dumps(words, ensure_ascii=False).encode(), "application/json"
        headers["Content-Type"] = kind
        return HttpRequest("POST", _with_query(self.url, query), headers, body, (), timeout)


@dataclass(slots=True)
class Mishap:
    """What goes wrong on the way of webhooks whose code matches `event`; `times` None is for ever.

    `direction` (IN, OUT) and `number` (a glob over the client's number) narrow it to some calls.

    drop: never sent. duplicate: sent `count` times more. delay: sent `seconds` later, others overtake it.
    reorder: held until another webhook has gone out, at the latest `seconds` later.
    """

    event: str
    kind: Literal["drop", "duplicate", "delay", "reorder"]
    times: int | None = 1
    count: int = 1
    seconds: float = 2.0
    direction: str | None = None
    number: str = "*"

    def strikes(self, event: Event) -> bool:
        return (
            self.times != 0
            and fnmatchcase(event.code, self.event)
            and self.direction in (None, event.direction)
            and fnmatchcase(event.number, self.number)
        )


@dataclass(frozen=True, slots=True)
class Delivery:
    """One line of the log of webhooks. `status` is None where no answer came."""

    at: float
    code: str
    call_id: int | None
    method: str
    url: str
    status: int | None
    seconds: float
    note: str = ""


class Deliveries:
    """Posts events to the handlers and remembers what became of them."""

    def __init__(self, clock: Clock, http: Http, options: Options, tasks: Tasks) -> None:
        self._clock = clock
        self._http = http
        self._options = options
        self._tasks = tasks
        self._held: list[tuple[Handler, Event]] = []
        self.handlers: list[Handler] = []
        self.mishaps: list[Mishap] = []
        self.log: list[Delivery] = []

    async def tell(self, events: Iterable[Event]) -> None:
        """Send each event to every handler that wants it, in order, each awaited."""
        for event in events:
            for handler in list(self.handlers):
                if handler.wants(event.code):
                    await self._one(handler, event)

    async def _one(self, handler: Handler, event: Event) -> None:
        mishap = self._take(event)
        kind = None if mishap is None else mishap.kind
        if mishap is None or kind == "duplicate":
            for _ in range(1 if mishap is None else 1 + mishap.count):
                await self._post(handler, event, kind or "")
            await self._release()
        elif kind == "drop":
            self._note(handler, event, None, 0.0, "drop")
        elif kind == "delay":
            self._tasks.spawn(self._later(handler, event, mishap.seconds))
        else:
            self._held.append((handler, event))
            self._tasks.spawn(self._release_after(event, mishap.seconds))

    def _take(self, event: Event) -> Mishap | None:
        for mishap in self.mishaps:
            if mishap.strikes(event):
                if mishap.times is not None:
                    mishap.times -= 1
                return mishap
        return None

    async def _later(self, handler: Handler, event: Event, seconds: float) -> None:
        await self._clock.sleep(seconds)
        await self._post(handler, event, "delay")

    async def _release_after(self, event: Event, seconds: float) -> None:
        await self._clock.sleep(seconds)
        if any(held is event for _, held in self._held):
            await self._release()

    async def _release(self) -> None:
        held, self._held = self._held, []
        for handler, event in held:
            await self._post(handler, event, "reorder")

    async def _post(self, handler: Handler, event: Event, note: str) -> None:
        request = handler.request(event, self._options.webhook_timeout)
        for attempt in range(1 + self._options.webhook_retries):
            if attempt:
                await self._clock.sleep(self._options.webhook_retry_pause)
            began = self._clock.monotonic()
            try:
                status: int | None = (await self._http.send(request)).status
                told = note
            except (Trouble, OSError) as error:  # a PBX outlives every receiver; the log says what it was
                status, told = None, f"{note} {type(error).__name__}".strip()
            self._note(handler, event, status, self._clock.monotonic() - began, told)
            if status is not None and status < 300:
                return

    def _note(self, handler: Handler, event: Event, status: int | None, seconds: float, note: str) -> None:
        method = "GET" if handler.shape == "get" else "POST"
        url = masked_url(handler.url)
        self.log.append(
            Delivery(self._clock.now(), event.code, event.call_id, method, url, status, seconds, note)
        )


def masked_url(url: str) -> str:
    """The address without its secret: the last part of the path is the token, and queries may hold more."""
    parts = urlsplit(url)
    head = parts.path.rstrip("/").rpartition("/")[0]
    return f"{parts.scheme}://{parts.hostname}{f':{parts.port}' if parts.port else ''}{head}/***"


def _with_query(url: str, query: Mapping[str, str]) -> str:
    if not query:
        return url
    return f"{url}{'&' if '?' in url else '?'}{urlencode(query)}"
