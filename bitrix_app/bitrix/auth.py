"""Who a frame's token belongs to: asked of the auth server, never of the request.

bitrix24.md §2.3. The refresher lives in `tokens.py`; both are imported from here.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final, Generic, TypeVar
from urllib.parse import quote

from bitrix_app.bitrix.answers import read_answer
from bitrix_app.bitrix.servers import AuthServers, read_app_info
from bitrix_app.bitrix.tokens import TokenRefresher as TokenRefresher
from bitrix_app.bitrix.values import as_bool, as_id, as_mapping, as_text
from bitrix_app.bitrix.wire import USER_AGENT, RestCall, rest_request
from bitrix_app.core.errors import (
    ExpiredToken,
    Forbidden,
    NotSent,
    PaymentNeeded,
    PortalGone,
    Refused,
    Trouble,
    Unavailable,
    UserRevoked,
)
from bitrix_app.core.ports import Clock, Http, HttpRequest, Profile, Verified

T = TypeVar("T")

VERIFY_SECONDS: Final = 3.0
CACHE_SECONDS: Final = 600.0
CACHE_SIZE: Final = 10_000


@dataclass(frozen=True, slots=True)
class _Kept(Generic[T]):
    value: T
    until: float


class PortalVerifier:
    """`core.ports.Verifier`. Verdicts are kept by a hash of the token, ≤ 10 min and never longer
    than the token lives. `spend` tells the portal's limiter that `profile` took a place.
    """

    def __init__(
        self,
        http: Http,
        clock: Clock,
        client_id: str,
        servers: AuthServers,
        *,
        spend: Callable[[str], None] | None = None,
    ) -> None:
        self._http = http
        self._clock = clock
        self._client_id = client_id
        self._servers = servers
        self._spend = spend
        self._verdicts: dict[bytes, _Kept[Verified]] = {}
        self._profiles: dict[bytes, _Kept[Profile]] = {}

    async def verify(self, access_token: str, auth_server_hint: str = "", *, fresh: bool = False) -> Verified:
        """As `core.ports.Verifier.verify`; `fresh` asks again even if we know (a renamed portal)."""
        key = _hash(access_token)
        if not fresh and (known := self._known(self._verdicts, key)):
            return known
        verified = await self._within(self._ask(access_token, auth_server_hint))
        now = self._clock.now()
        until = now + CACHE_SECONDS
        if verified.expires_at is not None:
            until = min(until, verified.expires_at)
        if until > now:
            _keep(self._verdicts, key, _Kept(verified, until))
        return verified

    async def profile(self, verified: Verified, access_token: str) -> Profile:
        """As `core.ports.Verifier.profile`; asked of the verified endpoint only."""
        key = _hash(f"{verified.member_id}:{access_token}")
        if known := self._known(self._profiles, key):
            return known
        if self._spend is not None:
            self._spend(verified.member_id)
        profile = await self._within(self._ask_profile(verified, access_token))
        _keep(self._profiles, key, _Kept(profile, self._clock.now() + CACHE_SECONDS))
        return profile

    async def _ask(self, access_token: str, hint: str) -> Verified:
        if not access_token or len(access_token) > 4096:
            raise Forbidden("The request carries no token.", code="NO_TOKEN")
        for server in self._servers.order(hint):
            request = HttpRequest(
                "GET",
                f"{server}/rest/app.info?auth={quote(access_token, safe='')}",
                headers={"Accept": "application/json", "User-Agent": USER_AGENT},
                timeout=VERIFY_SECONDS,
            )
            try:
                response = await self._http.send(request)
            except NotSent:
                continue  # the other server is for this case alone (§3.1)
            answer = read_answer(response, reads=True, now=self._clock.now())
            return read_app_info(answer.result, self._client_id, server, self._servers)
        raise Unavailable("No auth server of Bitrix24 could be reached.")

    async def _ask_profile(self, verified: Verified, access_token: str) -> Profile:
        request = rest_request(verified.client_endpoint, RestCall("profile", reads=True), access_token)
        answer = read_answer(await self._http.send(request), reads=True, now=self._clock.now())
        row = as_mapping(answer.result)
        user_id = as_id(row.get("ID"))
        if user_id is None or user_id != verified.user_id:
            raise Forbidden("The portal does not know this user as active.", code="NO_USER")
        name = " ".join(part for k in ("NAME", "LAST_NAME") if (part := as_text(row.get(k))))
        return Profile(user_id, as_bool(row.get("ADMIN")), name, as_text(row.get("TIME_ZONE")))

    async def _within(self, asking: Awaitable[T]) -> T:
        """The answer within 3 s of our clock, in the two troubles that the port promises."""
        task = asyncio.ensure_future(asking)
        timer = asyncio.ensure_future(self._clock.sleep(VERIFY_SECONDS))
        try:
            await asyncio.wait({task, timer}, return_when=asyncio.FIRST_COMPLETED)
            if task.done():
                return task.result()
        except (Refused, ExpiredToken, UserRevoked, PortalGone, PaymentNeeded) as no:
            raise Forbidden(no.message, code=no.code, hint=no.hint, who=no.who) from no
        except Trouble as trouble:
            raise Unavailable(trouble.message, code=trouble.code, retry_at=trouble.retry_at) from trouble
        finally:
            task.cancel()
            timer.cancel()
        raise Unavailable("Bitrix24 did not answer in time.")

    def _known(self, kept: dict[bytes, _Kept[T]], key: bytes) -> T | None:
        entry = kept.get(key)
        return entry.value if entry and entry.until > self._clock.now() else None


def _keep(kept: dict[bytes, _Kept[T]], key: bytes, entry: _Kept[T]) -> None:
    kept.pop(key, None)
    kept[key] = entry
    while len(kept) > CACHE_SIZE:
        del kept[next(iter(kept))]


def _hash(text: str) -> bytes:
    return hashlib.sha256(text.encode("utf-8", "replace")).digest()
