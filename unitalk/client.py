"""The PBX's API as coroutines: the pace of one key, retries within seconds, the request log.

Longer outages are the queue's (core/retry.py); this room gives up after three tries.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

import backoff

from bitrix_app.core.errors import AnswerLost, NotSent, Refused, Trouble, Unavailable, VendorBroken
from bitrix_app.core.ports import Clock, Http, HttpResponse
from bitrix_app.core.store import VendorRequest
from unitalk import wire
from unitalk.turns import REQUESTS_PER_SECOND, Turn, Turns
from unitalk.wire import PbxUser, Said

TRIES: Final = 3
PAUSE_CAP: Final = 30.0


@dataclass(frozen=True, slots=True)
class Origin:
    """Whose request it is, for the log only."""

    portal: str = ""
    correlation_id: str = ""


NOBODY: Final = Origin()


class UnitalkClient:
    """One per process, for all keys. `on_request` hears of every try, masked."""

    def __init__(
        self,
        http: Http,
        clock: Clock,
        base_url: str,
        *,
        requests_per_second: float = REQUESTS_PER_SECOND,
        on_request: Callable[[VendorRequest], None] | None = None,
        jitter: Callable[[float], float] = backoff.full_jitter,
    ) -> None:
        self._http = http
        self._clock = clock
        self._base_url = base_url
        self._turns = Turns(clock, requests_per_second)
        self._on_request = on_request
        self._jitter = jitter
        self._page: dict[str, int] = {}

    def pace(self, key: str, requests_per_second: float) -> None:
        """How often this key may ask: its portal's setting, from the next request on."""
        self._turns.pace(key, requests_per_second)

    # --- what can be asked -------------------------------------------------------------------------

    async def request(
        self,
        key: str,
        path: str,
        *,
        reads: bool,
        data: Any = None,
        form: Mapping[str, str] | None = None,
        query: Mapping[str, str] | None = None,
        origin: Origin = NOBODY,
        turn: Turn = Turn.REST,
    ) -> Any:
        """Any method of the API; its answer as `wire.read_answer` gives it, its troubles too.

        A read is tried again for whatever is transient and never ends in doubt; a write is tried again
        only when nothing of it was sent.
        """
        return await self._ask(key, Said(path, reads, data, form, query), origin, turn)

    async def users(self, key: str, origin: Origin = NOBODY) -> list[PbxUser]:
        """All operators of the PBX (unitalk.md §4.5)."""
        return wire.read_users(await self._ask(key, wire.users_list(), origin))

    async def history(
        self, key: str, date_from: float, date_to: float, timezone: str, origin: Origin = NOBODY
    ) -> AsyncIterator[dict[str, Any]]:
        """Rows of the calls that began in the period (unix seconds), newest first, each once (§4.4).

        `timezone` is the PBX's. `date_to` stays fixed, so new calls do not shift the pages; rows that
        are saved meanwhile do, which shows as repeats and is dropped here.
        """
        begin, end = wire.wall_window(date_from, date_to, timezone)
        seen: set[str] = set()
        offset = 0
        while True:
            page = await self._history_page(key, begin, end, offset, origin)
            fresh = {wire.row_key(row): row for row in page.rows if wire.row_key(row) not in seen}
            seen.update(fresh)
            for row in fresh.values():
                yield row
            offset += page.taken
            if not page.taken or (page.total is not None and offset >= page.total):
                return
            if page.total is None and not fresh:
                return  # a server that knows neither total nor offset would give this page for ever

    async def direct_call(
        self, key: str, line: str, number: str, meta: str | None = None, origin: Origin = NOBODY
    ) -> None:
        """Ring the inner line, then the client (§4.1). `AnswerLost` means: it may be ringing."""
        await self._ask(key, wire.direct_call(line, number, meta), origin, Turn.LIVE)

    async def set_status(self, key: str, line: str, status: str, origin: Origin = NOBODY) -> None:
        """Set an operator's status (§4.3), `WORK` or the portal's word for a pause."""
        await self._ask(key, wire.set_status(line, status), origin, Turn.STATUS)

    async def set_status_in_turn(
        self, key: str, line: str, choose: Callable[[], Awaitable[str | None]], origin: Origin = NOBODY
    ) -> None:
        """Set the status that `choose` names when it is our turn, which may be much later than now; `None`
        leaves it. One try only: whoever asks knows better than we when a status is worth repeating.
        """
        await self._turns.take(key, Turn.STATUS)
        try:
            status = await choose()
        except BaseException:
            self._turns.give_back(key)
            raise
        if status is None:
            self._turns.give_back(key)
            return
        await self._say(key, wire.set_status(line, status), origin)

    async def autodial(self, key: str, body: Mapping[str, Any], origin: Origin = NOBODY) -> Any:
        """The autodialer's raw method (§4.6); whether it reads follows from its action."""
        return await self._ask(key, wire.autodial(body), origin)

    # --- how it is asked ---------------------------------------------------------------------------

    async def _history_page(
        self, key: str, begin: str, end: str, offset: int, origin: Origin
    ) -> wire.HistoryPage:
        limit = self._page.get(key, wire.PAGE)
        try:
            data = await self._ask(key, wire.history_get(begin, end, limit, offset), origin)
        except Refused as refused:
            if refused.code != "LIMIT_RANGE" or limit == wire.OLD_PAGE:
                raise
            self._page[key] = wire.OLD_PAGE
            data = await self._ask(key, wire.history_get(begin, end, wire.OLD_PAGE, offset), origin)
        return wire.read_history(data)

    async def _ask(self, key: str, said: Said, origin: Origin, turn: Turn = Turn.REST) -> Any:
        # backoff's decorators sleep by asyncio and cannot be told another clock, so only its arithmetic
        # is used here: the pauses pass on our Clock, and a day runs in seconds on the virtual one.
        pauses = backoff.expo(base=2, factor=1, max_value=PAUSE_CAP)
        next(pauses)  # its first value only starts the generator
        again = (NotSent, AnswerLost, VendorBroken, Unavailable) if said.reads else (NotSent,)
        for left in reversed(range(TRIES)):
            try:
                await self._turns.take(key, turn)
                return await self._say(key, said, origin)
            except again as trouble:
                if not left and said.reads and isinstance(trouble, AnswerLost):
                    # a read whose answer was lost changed nothing: there is nothing to find out
                    raise Unavailable(trouble.message, code=trouble.code) from trouble
                if not left:
                    raise
            await self._clock.sleep(self._jitter(next(pauses)))
        raise AssertionError("the last try returns or raises")

    async def _say(self, key: str, said: Said, origin: Origin) -> Any:
        """One request, now: its turn was waited for."""
        at, began = self._clock.now(), self._clock.monotonic()
        answer: HttpResponse | None = None
        code, told = "", ""
        try:
            answer = await self._http.send(wire.request(self._base_url, key, said))
            data = wire.read_answer(answer.status, answer.headers, answer.body, reads=said.reads)
            told = wire.summary(data)
        except Trouble as trouble:
            code, told = trouble.code, trouble.message
            raise
        else:
            return data
        finally:
            if self._on_request is not None:
                entry = VendorRequest(
                    portal=origin.portal,
                    platform="unitalk",
                    operation=said.operation,
                    at=at,
                    seconds=self._clock.monotonic() - began,
                    status=answer.status if answer else None,
                    code=code,
                    request=wire.masked(json.dumps(said.data or said.form or said.query or {}), key),
                    answer=wire.masked(told, key),
                    correlation_id=origin.correlation_id,
                )
                self._on_request(entry)
