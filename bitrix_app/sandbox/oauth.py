"""Tokens and the auth server: issue, rotate, tell who a token belongs to (bitrix24.md §3, §2.3)."""

from __future__ import annotations

import random
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Protocol
from urllib.parse import urlsplit

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from bitrix_app.core.ports import Clock
from bitrix_app.sandbox.errors import RestError
from bitrix_app.sandbox.faults import Faults
from bitrix_app.sandbox.replies import DroppedReply, SandboxApp, bad_reply, json_reply, spoil

ACCESS_SECONDS = 3600
REFRESH_SECONDS = 180 * 86_400
CODE_SECONDS = 30


@dataclass(frozen=True)
class AppCard:
    """The app as it is registered in the portal (§1.1). An empty `install_url` means: no installer."""

    client_id: str
    client_secret: str
    app_url: str
    install_url: str
    scopes: tuple[str, ...]
    code: str = "unitalk.bitrix24"
    name: str = "Unitalk for Bitrix24"


@dataclass
class TokenPair:
    """An access token with the refresh token issued beside it."""

    access: str
    refresh: str
    member_id: str
    client_id: str
    user_id: int
    scope: str
    expires: int
    refresh_expires: int
    refresh_dead: bool = False


class AuthClient(Protocol):
    """What the auth server knows of a portal."""

    member_id: str
    card: AppCard
    installed: bool
    present: bool
    version: int
    status_letter: str
    payment_expired: bool

    @property
    def base_url(self) -> str: ...
    @property
    def domain(self) -> str: ...
    def user_active(self, user_id: int) -> bool: ...


class SandboxAuthServer:
    """The central auth server: serves any number of portals, keeps the only copy of the tokens."""

    def __init__(self, clock: Clock, *, base_url: str, seed: int = 1, faults: Faults | None = None) -> None:
        self.base_url = base_url.rstrip("/")
        self.faults = Faults() if faults is None else faults
        self.refreshes = 0
        self.invalid_grants = 0
        self.app_infos = 0
        self._clock = clock
        self._rng = random.Random(seed ^ 0x0A07)
        self._portals: dict[str, AuthClient] = {}
        self._by_access: dict[str, TokenPair] = {}
        self._by_refresh: dict[str, TokenPair] = {}
        self._codes: dict[str, tuple[str, int, float]] = {}
        routes = [
            Route("/oauth/token/", self._token, methods=["GET", "POST"]),
            Route("/oauth/token", self._token, methods=["GET", "POST"]),
            Route("/rest/app.info", self._app_info, methods=["GET", "POST"]),
            Route("/rest/app.info.json", self._app_info, methods=["GET", "POST"]),
        ]
        self.asgi = SandboxApp(routes=routes)

    @property
    def server_endpoint(self) -> str:
        """What portals hand out as SERVER_ENDPOINT."""
        return f"{self.base_url}/rest/"

    @property
    def host(self) -> str:
        """The `domain` of a token answer is this server's host, not the portal's (§3.3)."""
        return urlsplit(self.base_url).netloc

    # -- in process, for the portals -------------------------------------------------------------

    def attach(self, portal: AuthClient) -> None:
        """Serve that portal."""
        self._portals[portal.member_id] = portal

    def issue(self, member_id: str, user_id: int) -> TokenPair:
        """A fresh pair for a user of the portal."""
        portal = self._portals[member_id]
        now = int(self._clock.now())
        expires = now + ACCESS_SECONDS
        pair = TokenPair(
            access=f"{expires:08x}{self._rng.getrandbits(248):062x}",
            refresh=f"{now + REFRESH_SECONDS:08x}{self._rng.getrandbits(248):062x}",
            member_id=member_id,
            client_id=portal.card.client_id,
            user_id=user_id,
            scope=",".join(portal.card.scopes),
            expires=expires,
            refresh_expires=now + REFRESH_SECONDS,
        )
        self._by_access[pair.access] = pair
        self._by_refresh[pair.refresh] = pair
        return pair

    def issue_code(self, member_id: str, user_id: int) -> str:
        """A code of the full protocol: one use, 30 seconds (§3.2)."""
        code = f"{self._rng.getrandbits(160):040x}"
        self._codes[code] = (member_id, user_id, self._clock.now() + CODE_SECONDS)
        return code

    def find(self, access: str) -> TokenPair | None:
        """The pair of an access token, expired or not."""
        return self._by_access.get(access)

    def expired(self, pair: TokenPair) -> bool:
        """Whether the access token's hour is over."""
        return self._clock.now() >= pair.expires

    def expire(self, member_id: str) -> None:
        """End all access tokens of a portal now."""
        for pair in self._by_access.values():
            if pair.member_id == member_id:
                pair.expires = min(pair.expires, int(self._clock.now()))

    def revoke(self, member_id: str, user_id: int | None = None) -> None:
        """Kill the refresh tokens of one user or of all."""
        for pair in self._by_refresh.values():
            if pair.member_id == member_id and user_id in (None, pair.user_id):
                pair.refresh_dead = True

    def forget(self, member_id: str) -> None:
        """After an uninstall all tokens are dead (§1.3)."""
        for table in (self._by_access, self._by_refresh):
            for key in [key for key, pair in table.items() if pair.member_id == member_id]:
                del table[key]

    # -- over HTTP -------------------------------------------------------------------------------

    async def _token(self, request: Request) -> Response:
        params = dict(request.query_params)
        if request.method == "POST":
            async with request.form() as form:
                params |= {key: value for key, value in form.items() if isinstance(value, str)}
        return await self._answer("oauth.token", params, lambda: self._grant(params))

    async def _app_info(self, request: Request) -> Response:
        params = dict(request.query_params)
        return await self._answer("oauth.app.info", params, lambda: self._who(params.get("auth", "")))

    async def _answer(self, name: str, params: dict[str, str], work: Work) -> Response:
        fault = self.faults.take(name, params)
        if fault is not None and fault.kind == "slow":
            await self._clock.sleep(fault.seconds)
        if fault is not None and fault.kind in ("refused_before", "late"):
            # a late refresh is as good as a lost one: the pair is rotated, nobody hears of it
            if fault.kind == "late":
                self._settle(work)
            return DroppedReply()
        if fault is not None and not fault.has_effect:
            return bad_reply(fault)
        good = self._settle(work)
        return good if fault is None else spoil(fault, good)

    def _settle(self, work: Work) -> Response:
        try:
            return json_reply(work())
        except RestError as error:
            return json_reply(error.body(), error.status)

    def _grant(self, params: dict[str, str]) -> dict[str, object]:
        client_id = params.get("client_id", "")
        known = [portal for portal in self._portals.values() if portal.card.client_id == client_id]
        if not client_id or params.get("grant_type") not in ("refresh_token", "authorization_code"):
            raise RestError("invalid_request", "Required parameter is missing or invalid")
        if not known:
            raise RestError("wrong_client")
        if params.get("client_secret") != known[0].card.client_secret:
            raise RestError("invalid_client")
        if params["grant_type"] == "refresh_token":
            return self._refresh(params, known)
        return self._exchange(params)

    def _refresh(self, params: dict[str, str], known: list[AuthClient]) -> dict[str, object]:
        if not params.get("refresh_token"):
            raise RestError("invalid_request")
        old = self._by_refresh.get(params["refresh_token"])
        if old is None and not any(portal.present for portal in known):
            raise RestError("NOT_INSTALLED")
        if (
            old is None
            or old.client_id != params["client_id"]
            or old.refresh_dead
            or self._clock.now() >= old.refresh_expires
        ):
            self.invalid_grants += 1
            raise RestError("invalid_grant")
        portal = self._present(old.member_id)
        if not portal.user_active(old.user_id):  # §3.3: a dismissed user's pair dies
            self.invalid_grants += 1
            raise RestError("invalid_grant")
        old.refresh_dead = True
        self.refreshes += 1
        pair = self.issue(old.member_id, old.user_id)
        return {**self._token_answer(portal, pair), "expires": pair.expires, "user_id": pair.user_id}

    def _exchange(self, params: dict[str, str]) -> dict[str, object]:
        if not params.get("code"):
            raise RestError("invalid_request", 'No "code" parameter found')
        member_id, user_id, until = self._codes.pop(params["code"], ("", 0, 0.0))
        if not member_id or self._clock.now() >= until:
            raise RestError("invalid_grant", "Invalid code.")
        return self._token_answer(self._present(member_id), self.issue(member_id, user_id))

    def _present(self, member_id: str) -> AuthClient:
        portal = self._portals[member_id]
        if not portal.present:
            raise RestError("NOT_INSTALLED")
        if portal.payment_expired:
            raise RestError("PAYMENT_REQUIRED", "Payment required")
        return portal

    def _token_answer(self, portal: AuthClient, pair: TokenPair) -> dict[str, object]:
        return {
            "access_token": pair.access,
            "client_endpoint": f"{portal.base_url}/rest/",
            "domain": self.host,
            "expires_in": ACCESS_SECONDS,
            "member_id": pair.member_id,
            "refresh_token": pair.refresh,
            "scope": pair.scope,
            "server_endpoint": self.server_endpoint,
            "status": portal.status_letter,
        }

    def _who(self, access: str) -> dict[str, object]:
        self.app_infos += 1
        pair = self.find(access)
        if not access:
            raise RestError("NO_AUTH_FOUND")
        if pair is None:
            raise RestError("invalid_token")
        if self.expired(pair):
            raise RestError("expired_token")
        portal = self._portals[pair.member_id]
        if not portal.present:
            raise RestError("NOT_INSTALLED")
        now = self._clock.now()
        stamp = datetime.fromtimestamp(int(now), UTC).isoformat()
        install = {
            "installed": portal.installed,
            "version": str(portal.version),
            "status": portal.status_letter,
            "scope": pair.scope,
            "domain": portal.domain,
            "uri": portal.base_url,
            "client_endpoint": f"{portal.base_url}/rest/",
            "member_id": portal.member_id,
            "member_type": "bitrix24",
        }
        result = {
            "client_id": pair.client_id,
            "scope": pair.scope,
            "expires": datetime.fromtimestamp(pair.expires, UTC).isoformat(),
            "install": install,
            "user_id": str(pair.user_id),
        }
        time = {
            "start": now,
            "finish": now,
            "duration": 0.0,
            "processing": 0.0,
            "date_start": stamp,
            "date_finish": stamp,
            "operating_reset_at": int(now) + 600,
            "operating": 0.0,
        }
        return {"result": result, "time": time}


class Work(Protocol):
    """What a request of the auth server does, once."""

    def __call__(self) -> dict[str, object]: ...
