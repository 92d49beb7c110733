"""The one way in which requests leave for a portal.

limiter → gateway → verdict → at most one refresh, one change of administrator, one change of address
→ up to three tries within seconds. Longer patience is the queue's (design.md §6).
"""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Final, TypeVar

import backoff
from loguru import logger

from bitrix_app.bitrix import requestlog
from bitrix_app.bitrix.answers import Answer, read_answer, read_batch
from bitrix_app.bitrix.auth import PortalVerifier
from bitrix_app.bitrix.limiter import Limiter
from bitrix_app.bitrix.tokens import TokenRefresher
from bitrix_app.bitrix.verdicts import PortalMoved
from bitrix_app.bitrix.wire import (
    BATCH_LIMIT,
    RestCall,
    batchable,
    encode_batch,
    host_of,
    origin,
    rest_request,
    upload_request,
)
from bitrix_app.core.commands import Priority
from bitrix_app.core.errors import (
    AnswerLost,
    ExpiredToken,
    Forbidden,
    NotSent,
    PortalPaused,
    Throttled,
    Trouble,
    Unavailable,
    UserRevoked,
    VendorBroken,
)
from bitrix_app.core.portal import Portal, TokenPair
from bitrix_app.core.ports import Clock, FilePart, Http, HttpRequest
from bitrix_app.core.store import Store, Unit, VendorRequest

T = TypeVar("T")

TRIES: Final = 3
PAUSE_BASE: Final = 1.0
PAUSE_CAP: Final = 30.0


class BitrixClient:
    """See the module. `on_request` gets one masked entry per request; `correlation` its id."""

    def __init__(
        self,
        http: Http,
        clock: Clock,
        store: Store,
        refresher: TokenRefresher,
        verifier: PortalVerifier,
        limiter_for: Callable[[Portal], Limiter],
        *,
        on_request: Callable[[VendorRequest], None] | None = None,
        correlation: Callable[[], str] | None = None,
        jitter: Callable[[], float] | None = None,
    ) -> None:
        self._http = http
        self._clock = clock
        self._store = store
        self._refresher = refresher
        self._verifier = verifier
        self._limiter_for = limiter_for
        self._on_request = on_request
        self._correlation = correlation or (lambda: "")
        self._jitter = jitter or random.SystemRandom().random
        self._moved: dict[str, tuple[str, str]] = {}
        """member_id → (the endpoint that our callers may still hold, the one that is true)."""

    # --- what the house says ---------------------------------------------------------------------

    async def call(self, portal: Portal, request: RestCall, priority: Priority = Priority.CRM) -> Answer:
        """Say one call. Raises a `Trouble` branch; `AnswerLost` means that a write may have happened."""

        async def once(pair: TokenPair, endpoint: str) -> Answer:
            return await self._patiently(
                request.reads, lambda: self._once(portal, endpoint, pair, request, priority)
            )

        return await self._with_token(portal, once)

    async def batch(
        self, portal: Portal, requests: Mapping[str, RestCall], priority: Priority = Priority.CRM
    ) -> dict[str, Answer | Trouble]:
        """Say up to 50 calls in one request; each is settled alone, in the order given.

        What must not or cannot share a batch is settled too: calls of a parked method as `Throttled`,
        calls with a `$result[` in a value by a request of their own. Inner calls that met an expired
        token are said once more after one refresh. Raises a `Trouble` when the batch as a whole
        failed, `ValueError` for more than 50 calls.
        """
        if len(requests) > BATCH_LIMIT:
            raise ValueError(f"a batch holds at most {BATCH_LIMIT} calls, not {len(requests)}")
        settled: dict[str, Answer | Trouble] = {}
        together, alone = self._sorted(portal, requests, settled)
        if together:
            settled |= await self._together(portal, together, priority)
        for key, request in alone.items():
            try:
                settled[key] = await self.call(portal, request, priority)
            except Trouble as trouble:
                settled[key] = trouble
        return {key: settled[key] for key in requests}

    async def upload(
        self,
        portal: Portal,
        upload_url: str,
        field: str,
        path: Path,
        filename: str,
        content_type: str,
        priority: Priority = Priority.RECORDING,
    ) -> Any:
        """Step two of an upload; the result of the answer. The address must be of the portal's own
        verified host (`Forbidden` otherwise) and is never logged. Repeated only where nothing was
        sent: after an expired token step one must be said again, because the address carries it.
        """
        endpoint = self._endpoint(portal)
        if origin(upload_url) != origin(endpoint):
            raise Forbidden("The portal's upload address is on another host.", code="FOREIGN_UPLOAD_HOST")
        request = upload_request(endpoint, upload_url, FilePart(field, path, filename, content_type))
        named = RestCall("upload", {"FILENAME": filename})

        async def once() -> Answer:
            return await self._send(portal, request, named, priority, ("upload",))

        try:
            return (await self._patiently(False, once)).result
        except ExpiredToken as late:
            raise Unavailable("The upload address ran out before it was used.", code=late.code) from late

    def tariff(self, portal: Portal) -> None:
        """The portal's licence became known: its limiter follows."""
        self._limiter_for(portal).resize(portal.license_family)

    # --- a batch ---------------------------------------------------------------------------------

    def _sorted(
        self, portal: Portal, requests: Mapping[str, RestCall], settled: dict[str, Answer | Trouble]
    ) -> tuple[dict[str, RestCall], dict[str, RestCall]]:
        limiter = self._limiter_for(portal)
        together: dict[str, RestCall] = {}
        alone: dict[str, RestCall] = {}
        counts: dict[str, int] = {}
        for key, request in requests.items():
            counts[request.method] = counts.get(request.method, 0) + 1
            until = limiter.parked(request.method, counts[request.method])
            if until is not None:
                counts[request.method] -= 1
                settled[key] = Throttled(
                    f"{request.method} has used up its operating time in this portal.",
                    code="OPERATION_TIME_LIMIT",
                    retry_at=until,
                )
            else:
                (together if batchable(request) else alone)[key] = request
        if len(together) == 1:
            alone, together = {**together, **alone}, {}
        return together, alone

    async def _together(
        self, portal: Portal, requests: Mapping[str, RestCall], priority: Priority
    ) -> dict[str, Answer | Trouble]:
        settled, pair = await self._batch_once(portal, requests, priority)
        tokens = {k: s for k, s in settled.items() if isinstance(s, (ExpiredToken, UserRevoked))}
        if tokens:
            # the token ended in the middle: those that met it did nothing and may be said again
            try:
                if any(isinstance(s, UserRevoked) for s in tokens.values()):
                    await self._refresher.revoke(portal, pair)
                else:
                    await self._refresher.refresh(portal, pair)
                again, _ = await self._batch_once(portal, {k: requests[k] for k in tokens}, priority)
            except Trouble as trouble:
                # the others were answered: their outcome must not go down with these
                again = dict.fromkeys(tokens, trouble)
            settled |= again
        return settled

    async def _batch_once(
        self, portal: Portal, requests: Mapping[str, RestCall], priority: Priority
    ) -> tuple[dict[str, Answer | Trouble], TokenPair]:
        whole = encode_batch(requests)
        methods = tuple(request.method for request in requests.values())
        limiter = self._limiter_for(portal)

        async def once(pair: TokenPair, endpoint: str) -> tuple[Answer, TokenPair]:
            answer = await self._patiently(
                whole.reads, lambda: self._once(portal, endpoint, pair, whole, priority, methods)
            )
            return answer, pair

        answer, pair = await self._with_token(portal, once)
        settled = read_batch(answer, requests, now=self._clock.now())
        for key, outcome in settled.items():
            method = requests[key].method
            if isinstance(outcome, Answer):
                if outcome.time is not None:
                    limiter.learn(method, outcome.time.seconds, outcome.time.reset_at)
            elif isinstance(outcome, Throttled):
                outcome.retry_at = limiter.park(method, outcome.retry_at)
        return settled, pair

    # --- tokens and addresses --------------------------------------------------------------------

    async def _with_token(self, portal: Portal, once: Callable[[TokenPair, str], Awaitable[T]]) -> T:
        """`once` with a living pair at the true address; each kind of trouble is mended once."""
        mended: set[type[Trouble]] = set()
        try:
            pair = await self._refresher.token(portal)
            while True:
                try:
                    return await once(pair, self._endpoint(portal))
                except (ExpiredToken, UserRevoked, PortalMoved) as trouble:
                    if type(trouble) in mended:
                        raise
                    mended.add(type(trouble))
                    pair = await self._mend(portal, pair, trouble)
        except PortalPaused as paused:
            await self._refresher.note(portal, paused)
            raise

    async def _mend(self, portal: Portal, pair: TokenPair, trouble: Trouble) -> TokenPair:
        if isinstance(trouble, ExpiredToken):
            return await self._refresher.refresh(portal, pair)
        if isinstance(trouble, UserRevoked):
            return await self._refresher.revoke(portal, pair)
        await self._follow(portal, pair, trouble)
        return pair

    def _endpoint(self, portal: Portal) -> str:
        old, new = self._moved.get(portal.member_id, ("", ""))
        return new if old == portal.client_endpoint else portal.client_endpoint

    async def _follow(self, portal: Portal, pair: TokenPair, trouble: Trouble) -> None:
        """A redirect is believed only when the auth server names that host for this very portal."""
        host = trouble.host if isinstance(trouble, PortalMoved) else ""
        try:
            verified = await self._verifier.verify(pair.access, portal.auth_server, fresh=True)
        except Forbidden as no:
            raise trouble from no
        if (
            not host
            or verified.member_id != portal.member_id
            or verified.domain != host_of(f"https://{host}")
        ):
            logger.warning("portal {} redirects to a host that is not confirmed", portal.domain)
            raise trouble
        domain, endpoint = verified.domain, verified.client_endpoint

        async def work(unit: Unit) -> None:
            known = await unit.portal(portal.member_id)
            if known is not None:
                await unit.save_portal(
                    replace(known, domain=domain, client_endpoint=endpoint, updated_at=self._clock.now())
                )

        await self._store.transact(work)
        self._moved[portal.member_id] = (portal.client_endpoint, endpoint)
        logger.info("portal {} is now {}", portal.domain, domain)

    # --- one request -----------------------------------------------------------------------------

    async def _patiently(self, reads: bool, once: Callable[[], Awaitable[T]]) -> T:
        """The seconds tier: writes are repeated only where nothing was sent, reads after any
        transient trouble. `backoff` gives the pauses; the waiting is on our clock.
        """
        transient: tuple[type[Trouble], ...] = (NotSent,)
        if reads:
            transient = (NotSent, AnswerLost, VendorBroken)
        pauses = backoff.expo(base=2, factor=PAUSE_BASE, max_value=PAUSE_CAP)
        next(pauses)  # the generator's first value is its handshake
        for attempt in range(1, TRIES + 1):
            try:
                return await once()
            except transient as trouble:
                if attempt == TRIES:
                    if reads and isinstance(trouble, AnswerLost):
                        raise Unavailable(trouble.message, code=trouble.code) from trouble
                    raise
                await self._clock.sleep(float(next(pauses)) * self._jitter())
        raise AssertionError("unreachable")

    async def _once(
        self,
        portal: Portal,
        endpoint: str,
        pair: TokenPair,
        call: RestCall,
        priority: Priority,
        methods: Sequence[str] = (),
    ) -> Answer:
        request = rest_request(endpoint, call, pair.access)
        return await self._send(portal, request, call, priority, methods or (call.method,))

    async def _send(
        self, portal: Portal, request: HttpRequest, call: RestCall, priority: Priority, methods: Sequence[str]
    ) -> Answer:
        limiter = self._limiter_for(portal)
        async with limiter.slot(priority, methods):
            at, started = self._clock.now(), self._clock.monotonic()
            response = None
            trouble: Trouble | None = None
            try:
                response = await self._http.send(request)
                answer = read_answer(response, reads=call.reads, now=self._clock.now())
            except Trouble as met:
                trouble = met
                if isinstance(met, Throttled):
                    self._slow_down(limiter, call, met)
                raise
            finally:
                if self._on_request is not None:
                    self._on_request(
                        requestlog.entry(
                            portal.member_id,
                            call,
                            at=at,
                            seconds=self._clock.monotonic() - started,
                            response=response,
                            trouble=trouble,
                            correlation_id=self._correlation(),
                        )
                    )
        limiter.succeeded()
        if answer.time is not None and call.method != "batch":
            limiter.learn(call.method, answer.time.seconds, answer.time.reset_at)
        return answer

    def _slow_down(self, limiter: Limiter, call: RestCall, met: Throttled) -> None:
        if met.code == "OPERATION_TIME_LIMIT":
            met.retry_at = limiter.park(call.method, met.retry_at)
        elif met.code == "QUERY_LIMIT_EXCEEDED":
            met.retry_at = max(limiter.filled(), met.retry_at or 0.0)
        elif met.retry_at is not None:
            limiter.block(met.retry_at)
