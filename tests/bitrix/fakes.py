"""Small stand-ins for the ports: an Http that answers from a script, a Store with the verbs we use."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar, cast
from urllib.parse import parse_qsl, urlsplit

from bitrix_app.bitrix.auth import PortalVerifier
from bitrix_app.bitrix.client import BitrixClient
from bitrix_app.bitrix.limiter import Limiter
from bitrix_app.bitrix.servers import AuthServers
from bitrix_app.bitrix.tokens import TokenRefresher
from bitrix_app.clock import VirtualClock
from bitrix_app.core.call import Call
from bitrix_app.core.errors import Trouble
from bitrix_app.core.events import Direction
from bitrix_app.core.portal import Portal, PortalState, TokenPair
from bitrix_app.core.ports import Download, HttpRequest, HttpResponse
from bitrix_app.core.store import Store, Unit, VendorRequest

T = TypeVar("T")

SAMPLES = Path(__file__).parent.parent / "samples" / "bitrix24"
MEMBER = "0f1e2d3c4b5a69788796a5b4c3d2e1f0"
CLIENT_ID = "local.66d5a1c0f0e1d2.10203040"
SECRET = "CanaryClientSecret0000000000"
ENDPOINT = "https://some-domain.bitrix24.com/rest/"
NOW = 1_788_333_300.0


def sample(name: str) -> dict[str, Any]:
    return cast(dict[str, Any], json.loads((SAMPLES / f"{name}.json").read_text()))


def response(name: str) -> HttpResponse:
    told = sample(name)
    body = json.dumps(told["json"]) if "json" in told else told.get("text", "")
    headers = {key.lower(): value for key, value in told.get("headers", {}).items()}
    return HttpResponse(told["status"], headers, body.encode())


def answered(result: Any, status: int = 200, **more: Any) -> HttpResponse:
    return HttpResponse(status, {}, json.dumps({"result": result, **more}).encode())


def refused(code: str, status: int = 400, text: str = "") -> HttpResponse:
    return HttpResponse(status, {}, json.dumps({"error": code, "error_description": text}).encode())


Script = Callable[[HttpRequest], HttpResponse | Trouble | Awaitable[HttpResponse]]


class FakeHttp:
    """Every request goes to `script`; what was sent stays in `sent`."""

    def __init__(self, script: Script) -> None:
        self.script = script
        self.sent: list[HttpRequest] = []

    async def send(self, request: HttpRequest) -> HttpResponse:
        self.sent.append(request)
        await asyncio.sleep(0)
        outcome = self.script(request)
        if isinstance(outcome, Trouble):
            raise outcome
        return outcome if isinstance(outcome, HttpResponse) else await outcome

    async def download(
        self, request: HttpRequest, target: Path, *, max_bytes: int, max_seconds: float
    ) -> Download:
        raise NotImplementedError

    def methods(self) -> list[str]:
        return [method_of(request) for request in self.sent]


def method_of(request: HttpRequest) -> str:
    return urlsplit(request.url).path.removeprefix("/rest/").removesuffix(".json")


def body_of(request: HttpRequest) -> dict[str, Any]:
    return cast(dict[str, Any], json.loads(request.body)) if request.body else {}


def query_of(request: HttpRequest) -> dict[str, str]:
    return dict(parse_qsl(urlsplit(request.url).query))


class FakeStore:
    """Portals and pairs in memory; a work that raises changes nothing."""

    def __init__(self, *pairs: TokenPair, portal: Portal | None = None) -> None:
        self.stored: list[TokenPair] = list(pairs)
        self.saved: dict[str, Portal] = {portal.member_id: portal} if portal else {}
        self.fail: list[Exception] = []
        self.swaps = 0

    async def transact(self, work: Callable[[Unit], Awaitable[T]]) -> T:
        await asyncio.sleep(0)
        before = (list(self.stored), dict(self.saved))
        try:
            result = await work(cast(Unit, self))
            self._commit()
        except BaseException:
            self.stored, self.saved = before
            raise
        return result

    def _commit(self) -> None:
        if self.fail and self.swaps:
            raise self.fail.pop()

    async def portal(self, member_id: str) -> Portal | None:
        return self.saved.get(member_id)

    async def save_portal(self, portal: Portal) -> None:
        self.saved[portal.member_id] = portal

    async def pairs(self, member_id: str) -> Sequence[TokenPair]:
        living = [p for p in self.stored if p.portal == member_id and not p.dead]
        return sorted(living, key=lambda p: (not p.is_admin, -p.refreshed_at))

    async def swap_tokens(self, old: TokenPair, new: TokenPair) -> bool:
        for index, pair in enumerate(self.stored):
            if pair.user_id == old.user_id and pair.generation == old.generation and not pair.dead:
                self.stored[index] = new
                self.swaps += 1
                return True
        return False

    async def kill_pair(self, pair: TokenPair) -> None:
        self.stored = [p for p in self.stored if p.refresh != pair.refresh]


def pair(
    user_id: int = 1, *, access: str = "", expires_in: float = 3600, is_admin: bool = True, age: float = 0
) -> TokenPair:
    name = access or f"access-{user_id}"
    return TokenPair(
        MEMBER, user_id, name, f"refresh-{user_id}", NOW + expires_in, is_admin, refreshed_at=NOW - age
    )


def portal(**more: Any) -> Portal:
    fields: dict[str, Any] = {
        "member_id": MEMBER,
        "domain": "some-domain.bitrix24.com",
        "client_endpoint": ENDPOINT,
        "auth_server": "https://oauth.bitrix24.tech",
        "state": PortalState.ACTIVE,
    }
    return Portal(**{**fields, **more})


def call(**more: Any) -> Call:
    fields: dict[str, Any] = {
        "id": "01j9zq3k7d9f3ac21b07",
        "portal": MEMBER,
        "first_seen_at": NOW,
        "started_at": NOW,
        "direction": Direction.IN,
        "number": "+380440000011",
        "line": "380440000900",
    }
    return Call(**{**fields, **more})


class House:
    """The room put together on a virtual clock."""

    def __init__(self, script: Script, *pairs: TokenPair, **portal_fields: Any) -> None:
        self.clock = VirtualClock(NOW)
        self.http = FakeHttp(script)
        self.portal = portal(**portal_fields)
        self.store = FakeStore(*(pairs or (pair(),)), portal=self.portal)
        self.servers = AuthServers()
        store = cast(Store, self.store)
        self.refresher = TokenRefresher(self.http, self.clock, store, self.servers, CLIENT_ID, SECRET)
        self.verifier = PortalVerifier(self.http, self.clock, CLIENT_ID, self.servers)
        self.limiter = Limiter(self.clock, jitter=lambda: 0.0)
        self.log: list[VendorRequest] = []
        self.client = BitrixClient(
            self.http,
            self.clock,
            store,
            self.refresher,
            self.verifier,
            lambda _: self.limiter,
            on_request=self.log.append,
            jitter=lambda: 1.0,
        )

    async def run(self, work: Awaitable[T], seconds: float = 300.0) -> T:
        """The result of `work` while the clock runs as far as it needs."""
        task = asyncio.ensure_future(work)
        step = 0.5
        for _ in range(int(seconds / step)):
            await self.clock.advance(0)
            if task.done():
                break
            await self.clock.advance(step)
        assert task.done(), "the work is still waiting"
        return task.result()


def token_answer(user_id: int = 1, generation: int = 2, **more: Any) -> HttpResponse:
    body: Mapping[str, Any] = {
        "access_token": f"access-{user_id}-{generation}",
        "refresh_token": f"refresh-{user_id}-{generation}",
        "expires_in": 3600,
        "member_id": MEMBER,
        **more,
    }
    return HttpResponse(200, {}, json.dumps(body).encode())
