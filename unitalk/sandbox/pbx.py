"""`SandboxPbx`: a Unitalk PBX good enough to trust, in one process with the app.

It serves the vendor's API, lives the calls on the given clock, posts their webhooks through the given
`Http`, and remembers the truth (`calls`) against which a test or the demo reconciles. Contract: unitalk.md.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from random import Random
from zoneinfo import ZoneInfo

from starlette.applications import Starlette

from bitrix_app.core.ports import Clock, Http
from unitalk.sandbox.autodial import Autodial
from unitalk.sandbox.delivery import Delivery, Handler, Mishap, Shape
from unitalk.sandbox.dialling import Dialling
from unitalk.sandbox.envelope import RequestLine
from unitalk.sandbox.exchange import DIALER, Exchange
from unitalk.sandbox.faults import Faults
from unitalk.sandbox.history import History
from unitalk.sandbox.methods import Message, Methods
from unitalk.sandbox.model import Dialer, Operator
from unitalk.sandbox.operators import Offer, StatusChange
from unitalk.sandbox.recordings import Recordings
from unitalk.sandbox.server import Server


def demo_operators() -> list[Operator]:
    """Five lines; one number arrives as an integer and one user has no line, as in the samples."""
    names = ("One", "Two", "Three", "Four", "Five")
    operators = [Operator(n + 1, "Operator", name, str(2001 + n)) for n, name in enumerate(names)]
    operators[2].line = 2003
    return [*operators, Operator(6, "Manager", "Without line", None)]


class SandboxPbx(Exchange):
    """The facade. `asgi` answers at any time; webhooks are told only inside `running()`."""

    def __init__(
        self,
        clock: Clock,
        http: Http,
        *,
        base_url: str,
        api_key: str = "sandbox-key12",
        timezone: str = "Europe/Kyiv",
        seed: int = 1,
    ) -> None:
        operators = demo_operators()
        super().__init__(
            clock,
            http,
            base_url,
            ZoneInfo(timezone),
            Random(seed),  # noqa: S311  repeatable demo traffic, no secrets
            operators,
        )
        self.base_url = base_url.rstrip("/")
        self.api_key = api_key
        self.faults = Faults()
        self.webhook_url: str | None = None
        self._dialling = Dialling(clock, self._deliveries, self._tasks, self._dial_phone, self._connect)
        self._autodial = Autodial(clock, self._book, self.options, self._dialling)
        self._methods = Methods(
            self.options,
            self.desk,
            History(clock, self._book, self.options, self._one_more_call),
            self._autodial,
            self._direct_call,
            self._originate_call,
        )
        recordings = Recordings(clock, self._book, self.options)
        self._server = Server(
            clock, lambda: self.api_key, self._methods, recordings, self.faults, self._tasks
        )

    # -- the emulator's life ----------------------------------------------------------------------------

    @property
    def asgi(self) -> Starlette:
        return self._server.asgi

    @property
    def api_url(self) -> str:
        """What goes into the app's setting "base URL"."""
        return f"{self.base_url}/api"

    @asynccontextmanager
    async def running(self) -> AsyncIterator[SandboxPbx]:
        """Calls made inside are lived: their webhooks leave at their times; dialers work."""
        self._tasks.running = True
        self._dialling.forget()
        for dialer in self.dialers.values():
            self._dialling.resume(dialer)
        try:
            yield self
        finally:
            await self._tasks.close()

    def connect(
        self,
        url: str,
        events: Sequence[str] | None = None,
        with_ev: bool = False,
        *,
        shape: Shape = "json",
        headers: Mapping[str, str] | None = None,
        keep: bool = False,
    ) -> None:
        """Enter the address in the cabinet. `events` are globs over handler codes; `keep` adds a handler."""
        handler = Handler(url, None if events is None else tuple(events), with_ev, shape, headers or {})
        if not keep:
            self._deliveries.handlers.clear()
        self._deliveries.handlers.append(handler)
        self.webhook_url = url

    def disconnect(self) -> None:
        """Take all handlers out of the cabinet."""
        self._deliveries.handlers.clear()
        self.webhook_url = None

    # -- acts of the cabinet ------------------------------------------------------------------------------

    def start_dialer(self, dialer: int = DIALER) -> None:
        """The cabinet's button; the API has START."""
        self._dialling.start(self.dialers[dialer])

    def stop_dialer(self, dialer: int = DIALER) -> None:
        """The cabinet's button; the API has STOP. Calls in flight end by themselves."""
        self._dialling.stop(self.dialers[dialer])

    # -- inspection ---------------------------------------------------------------------------------------

    @property
    def dialers(self) -> dict[int, Dialer]:
        return self._autodial.dialers

    @property
    def offers(self) -> list[Offer]:
        """Each callee of a dialer who was given to an operator, in order."""
        return self.desk.offers

    @property
    def status_changes(self) -> list[StatusChange]:
        """What `phones/inner/setStatus` has changed, in order; repeats of the same status are in it."""
        return self.desk.changes

    @property
    def status_errors(self) -> dict[str, str]:
        """Inner line → the text with which `setStatus` refuses it; write to it."""
        return self.desk.errors

    @property
    def messages(self) -> list[Message]:
        return self._methods.messages

    @property
    def deliveries(self) -> list[Delivery]:
        """The log of webhooks."""
        return self._deliveries.log

    @property
    def mishaps(self) -> list[Mishap]:
        """What shall go wrong on the way of webhooks; append to it."""
        return self._deliveries.mishaps

    @property
    def requests(self) -> list[RequestLine]:
        return self._server.requests

    @property
    def counters(self) -> Counter[str]:
        """Requests per method."""
        return self._server.counters
