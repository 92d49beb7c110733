"""A PBX on a virtual clock whose webhooks land in a list, and a client for its API."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import anyio
import httpx
import pytest
import uvicorn
from starlette.applications import Starlette

from bitrix_app.clock import SystemClock, VirtualClock
from bitrix_app.core.ports import Download, HttpRequest, HttpResponse
from unitalk.sandbox import SandboxPbx

KEY = "sandbox-key12"
HOOK = "http://app.test/unitalk/events/very-long-secret-token"
# 2026-09-01 17:55:00 in Kyiv, summer time
START = 1_788_274_500.0


@dataclass
class Receiver:
    """Stands where the app's address would be. `status` may be an exception to raise."""

    status: int | Exception = 200
    hold: Callable[[], Awaitable[None]] | None = None
    """Awaited before each answer: a slow receiver."""
    requests: list[HttpRequest] = field(default_factory=list)

    async def send(self, request: HttpRequest) -> HttpResponse:
        self.requests.append(request)
        if self.hold is not None:
            await self.hold()
        if isinstance(self.status, Exception):
            raise self.status
        return HttpResponse(self.status, {}, b"")

    async def download(
        self, request: HttpRequest, target: Path, *, max_bytes: int, max_seconds: float
    ) -> Download:
        raise AssertionError("the PBX downloads nothing")

    @property
    def bodies(self) -> list[dict[str, Any]]:
        return [json.loads(request.body) for request in self.requests]

    @property
    def events(self) -> list[str]:
        return [body["event"] for body in self.bodies]

    def query(self, index: int) -> dict[str, str]:
        return dict(parse_qsl(urlsplit(self.requests[index].url).query, keep_blank_values=True))


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
def clock() -> VirtualClock:
    return VirtualClock(START)


@pytest.fixture
def receiver() -> Receiver:
    return Receiver()


@pytest.fixture
def pbx(clock: VirtualClock, receiver: Receiver) -> SandboxPbx:
    pbx = SandboxPbx(clock, receiver, base_url="http://pbx.test")
    pbx.connect(HOOK)
    return pbx


@dataclass
class Api:
    """Calls methods the way the contract says."""

    http: httpx.AsyncClient

    async def __call__(self, method: str, body: Any = None, key: str = KEY) -> Any:
        answer = await self.http.post(f"/api/{method}", json=body, headers={"Authorization": key})
        assert answer.status_code == 200, answer.text
        return answer.json()

    async def dial(self, sip: str, number: str, meta: str | None = None) -> Any:
        form = {"sip": sip, "number": number} | ({} if meta is None else {"meta": meta})
        answer = await self.http.post("/api/phones/directCall", data=form, headers={"Authorization": KEY})
        assert answer.status_code == 200
        return answer.json()

    async def history(self, date_from: str, date_to: str, **more: Any) -> Any:
        body = {"dateFrom": date_from, "dateTo": date_to, "limit": 1000, "offset": 0, "filter": {}} | more
        return await self("history/get", body)


@pytest.fixture
async def api(pbx: SandboxPbx) -> AsyncIterator[Api]:
    transport = httpx.ASGITransport(app=pbx.asgi)
    async with httpx.AsyncClient(transport=transport, base_url="http://pbx.test") as http:
        yield Api(http)


@asynccontextmanager
async def served(app: Starlette, http: str = "httptools") -> AsyncIterator[str]:
    """The emulator behind a real uvicorn on a free loopback port; gives its base URL."""
    config = uvicorn.Config(
        app,
        host="127.0.0.1",
        port=0,
        http=http,
        ws="none",
        lifespan="off",
        log_level="error",
        log_config=None,  # uvicorn's own set-up would hide its complaints from `caplog`
    )
    socket = config.bind_socket()
    server = uvicorn.Server(config)
    try:
        async with anyio.create_task_group() as group:
            group.start_soon(lambda: server.serve(sockets=[socket]))
            while not server.started:  # noqa: ASYNC110  uvicorn offers no event for this
                await anyio.sleep(0.005)
            try:
                yield f"http://127.0.0.1:{socket.getsockname()[1]}"
            finally:
                server.should_exit = True
    finally:
        socket.close()


@pytest.fixture
def live_pbx(receiver: Receiver) -> SandboxPbx:
    """On the machine's clock, for tests with real sockets."""
    return SandboxPbx(SystemClock(), receiver, base_url="http://pbx.test")
