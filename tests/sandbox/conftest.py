"""A seeded portal on a virtual clock, and a small REST client for it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from bitrix_app.clock import VirtualClock
from bitrix_app.core.ports import Download, HttpRequest, HttpResponse
from bitrix_app.sandbox.portal import AppCard, SandboxPortal
from bitrix_app.sandbox.seed import seed_demo

BASE = "http://127.0.0.1:9000"
HANDLER = "http://127.0.0.1:8000/b24/events"
SCOPES = ("crm", "telephony", "im", "disk", "placement", "user_basic", "department", "timeman", "pull")
CARD = AppCard(
    client_id="local.66d5a1c0f0e1d2.10203040",
    client_secret="FictionalClientSecret",
    app_url="http://127.0.0.1:8000/b24/app",
    install_url="http://127.0.0.1:8000/b24/install",
    scopes=SCOPES,
)


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


class Net:
    """The portal's way out: remembers requests, answers from a table by URL."""

    def __init__(self) -> None:
        self.sent: list[HttpRequest] = []
        self.answers: dict[str, HttpResponse | Exception] = {}

    async def send(self, request: HttpRequest) -> HttpResponse:
        self.sent.append(request)
        answer = self.answers.get(request.url, HttpResponse(200, {}, b"ok"))
        if isinstance(answer, Exception):
            raise answer
        return answer

    async def download(
        self, request: HttpRequest, target: Path, *, max_bytes: int, max_seconds: float
    ) -> Download:
        raise AssertionError("the portal never streams to a file")


class Api:
    """Calls the portal's REST as one user."""

    def __init__(self, portal: SandboxPortal, http: httpx.AsyncClient, user_id: int = 1) -> None:
        self.portal = portal
        self.http = http
        self.user_id = user_id
        self.token, self.refresh_token = portal.issue_tokens(user_id)

    def as_user(self, user_id: int) -> Api:
        return Api(self.portal, self.http, user_id)

    async def post(self, method: str, **params: Any) -> httpx.Response:
        return await self.http.post(f"/rest/{method}.json", json={**params, "auth": self.token})

    async def call(self, method: str, **params: Any) -> Any:
        """The result of a call that has to succeed."""
        answer = await self.post(method, **params)
        body = answer.json()
        assert answer.status_code == 200, body
        assert "error" not in body, body
        return body["result"]

    async def refuse(self, method: str, **params: Any) -> tuple[int, str, str]:
        """Status, code and text of a call that has to be refused."""
        answer = await self.post(method, **params)
        body = answer.json()
        assert "error" in body, body
        return answer.status_code, body["error"], body["error_description"]

    async def register(self, **params: Any) -> Any:
        facts: dict[str, Any] = {"USER_ID": 11, "PHONE_NUMBER": "+380440000001", "TYPE": 2, "SHOW": 1}
        return await self.call("telephony.externalcall.register", **(facts | params))

    async def finished(self, **params: Any) -> str:
        """A registered and finished call; its CALL_ID."""
        call_id: str = (await self.register(**params))["CALL_ID"]
        await self.call("telephony.externalcall.finish", CALL_ID=call_id, USER_ID=11, DURATION=10)
        return call_id


@pytest.fixture
def clock() -> VirtualClock:
    return VirtualClock()


@pytest.fixture
def net() -> Net:
    return Net()


@pytest.fixture
def portal(clock: VirtualClock, net: Net) -> SandboxPortal:
    made = SandboxPortal(clock, net, base_url=BASE, card=CARD, bucket=(10_000, 2.0))
    seed_demo(made)
    return made


@pytest.fixture
async def api(portal: SandboxPortal) -> AsyncIterator[Api]:
    async with httpx.AsyncClient(transport=httpx.ASGITransport(portal.asgi), base_url=BASE) as http:
        yield Api(portal, http)
