"""Faults do what they say, on real sockets where it is about sockets (unitalk.md §1.1)."""

from __future__ import annotations

import time
from typing import Any

import httpx
import pytest
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.gzip import GZipMiddleware
from starlette.routing import Mount

from bitrix_app.clock import VirtualClock
from tests.unitalk.sandbox.conftest import KEY, Api, served
from unitalk.sandbox import ConnectionDropped, Facts, Fault, SandboxPbx

pytestmark = pytest.mark.anyio

AUTH = {"Authorization": KEY}
DIAL = {"sip": "2001", "number": "380440000011", "meta": "m1"}


async def raw(api: Api, method: str = "users/list") -> httpx.Response:
    return await api.http.post(f"/api/{method}", json={}, headers=AUTH)


async def test_statuses_and_bodies(api: Api, pbx: SandboxPbx) -> None:
    pbx.faults.add(Fault("users/*", "status", status=503, headers={"Retry-After": "7"}))
    answer = await raw(api)
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "7")
    assert answer.text.startswith("<!DOCTYPE html>")
    pbx.faults.add(Fault("*", "status", status=500, content="json"))
    answer = await raw(api)
    assert (answer.status_code, answer.json()["message"]) == (500, "Internal error")
    pbx.faults.add(Fault("*", "html"))
    assert (await raw(api)).status_code == 200
    pbx.faults.add(Fault("*", "empty"))
    assert (await raw(api)).content == b""
    pbx.faults.add(Fault("*", "redirect", location="https://elsewhere.example/"))
    assert (await raw(api)).is_redirect
    assert "users" in (await raw(api)).json()


async def test_envelopes(api: Api, pbx: SandboxPbx) -> None:
    pbx.faults.add(Fault("history/get", "error", text="Wrong FROM date", data="dateFrom"))
    pbx.faults.add(Fault("users/list", "auth"))
    assert await api("users/list", {}) == {"status": "Error", "message": "Authorization invalid"}
    assert await api("history/get", {}) == {
        "status": "Error",
        "message": "Wrong FROM date",
        "data": "dateFrom",
    }
    assert [line.outcome for line in pbx.requests] == ["fault auth", "fault error"]


async def test_times_skip_and_where(api: Api, pbx: SandboxPbx) -> None:
    fault = pbx.faults.add(
        Fault("autodial/action:START", "error", times=2, skip=1, where=lambda params: params["id"] == 77)
    )

    async def start(dialer: int) -> str:
        return str((await api("autodial/action", {"action": "START", "id": dialer}))["status"])

    assert await start(78) == "Error"  # there is no such dialer
    assert fault.hits == 0
    assert [await start(77) for _ in range(4)] == ["Success", "Error", "Error", "Success"]
    assert fault.hits == 2
    assert (await api("autodial/action", {"action": "STOP", "id": 77}))["status"] == "Success"
    pbx.faults.add(Fault("*", "error", times=None))
    assert [await start(77) for _ in range(3)] == ["Error"] * 3
    pbx.faults.clear()
    assert await start(77) == "Success"


async def test_a_proxy_may_fail_after_the_work(api: Api, pbx: SandboxPbx) -> None:
    pbx.faults.add(Fault("phones/directCall", "status", status=504))
    assert (await api.http.post("/api/phones/directCall", data=DIAL, headers=AUTH)).status_code == 504
    assert pbx.rings == []
    pbx.faults.add(Fault("phones/directCall", "status", status=504, effect=True))
    assert (await api.http.post("/api/phones/directCall", data=DIAL, headers=AUTH)).status_code == 504
    assert len(pbx.rings) == 1


async def test_in_process_a_lost_answer_is_raised(api: Api, pbx: SandboxPbx) -> None:
    pbx.faults.add(Fault("phones/directCall", "lost"))
    with pytest.raises(ConnectionDropped):
        await api.dial("2001", "380440000011")
    assert len(pbx.rings) == 1
    pbx.faults.add(Fault("phones/directCall", "refused_before"))
    with pytest.raises(ConnectionDropped):
        await api.dial("2001", "380440000011")
    assert len(pbx.rings) == 1


async def test_late(api: Api, pbx: SandboxPbx, clock: VirtualClock) -> None:
    pbx.faults.add(Fault("phones/directCall", "late", seconds=30))
    async with pbx.running():
        with pytest.raises(ConnectionDropped):
            await api.dial("2001", "380440000011")
        await clock.advance(29)
        assert pbx.rings == []
        await clock.advance(2)
        assert [ring.meta for ring in pbx.rings] == [None]
        assert pbx.requests[0].outcome == "fault late, done: ok"


@pytest.mark.parametrize("http", ["httptools", "h11"])
@pytest.mark.parametrize(
    ("how", "error"),
    [
        ("reset", httpx.ReadError),
        ("eof", httpx.RemoteProtocolError),
        ("partial", httpx.RemoteProtocolError),
    ],
)
async def test_lost_on_a_socket_is_a_read_error_and_no_500(
    live_pbx: SandboxPbx, caplog: pytest.LogCaptureFixture, http: str, how: Any, error: type[Exception]
) -> None:
    live_pbx.faults.add(Fault("phones/directCall", "lost", how=how))
    async with served(live_pbx.asgi, http) as base, httpx.AsyncClient(base_url=base) as client:
        with pytest.raises(error):
            await client.post("/api/phones/directCall", data=DIAL, headers=AUTH)
        assert [ring.meta for ring in live_pbx.rings] == ["m1"]
        again = await client.post("/api/phones/directCall", data=DIAL, headers=AUTH)
        assert again.json()["status"] == "Success"
        assert len(live_pbx.rings) == 2
    assert caplog.records == []  # the server has nothing to complain about


async def test_lost_behind_a_mount_and_middleware(live_pbx: SandboxPbx) -> None:
    """The demo serves everything from one app: the socket must be found through its layers."""
    outer = Starlette(routes=[Mount("/pbx", live_pbx.asgi)], middleware=[Middleware(GZipMiddleware)])
    live_pbx.faults.add(Fault("*", "lost"))
    async with served(outer) as base, httpx.AsyncClient(base_url=base) as client:
        with pytest.raises(httpx.ReadError):
            await client.post("/pbx/api/phones/directCall", data=DIAL, headers=AUTH)
    assert len(live_pbx.rings) == 1


async def test_refused_before_on_a_socket(live_pbx: SandboxPbx) -> None:
    live_pbx.faults.add(Fault("*", "refused_before", how="eof"))
    async with served(live_pbx.asgi) as base, httpx.AsyncClient(base_url=base) as client:
        with pytest.raises(httpx.RemoteProtocolError, match="without sending a response"):
            await client.post("/api/phones/directCall", data=DIAL, headers=AUTH)
    assert live_pbx.rings == []


async def test_slow_works_at_once_and_answers_late(live_pbx: SandboxPbx) -> None:
    live_pbx.faults.add(Fault("phones/directCall", "slow", seconds=0.6))
    async with served(live_pbx.asgi) as base, httpx.AsyncClient(base_url=base, timeout=0.2) as client:
        with pytest.raises(httpx.ReadTimeout):
            await client.post("/api/phones/directCall", data=DIAL, headers=AUTH)
        assert len(live_pbx.rings) == 1


def recording_path(pbx: SandboxPbx) -> str:
    """Of a call that was over a minute ago."""
    facts = Facts(at=pbx.clock.now() - 60)
    link = pbx.incoming("380440000011", answered_by="2001", talk=2, facts=facts).link
    assert link is not None
    return link.removeprefix("http://pbx.test")


async def read_into(client: httpx.AsyncClient, path: str, got: list[bytes]) -> None:
    async with client.stream("GET", path) as answer:
        assert answer.headers["content-length"] == "8097"
        async for part in answer.aiter_bytes():
            got.append(part)


@pytest.mark.parametrize("http", ["httptools", "h11"])
async def test_truncated_file(live_pbx: SandboxPbx, caplog: pytest.LogCaptureFixture, http: str) -> None:
    path = recording_path(live_pbx)
    live_pbx.faults.add(Fault("recording", "truncated", keep=0.25))
    async with served(live_pbx.asgi, http) as base, httpx.AsyncClient(base_url=base) as client:
        got: list[bytes] = []
        with pytest.raises(httpx.RemoteProtocolError, match="without sending complete message body"):
            await read_into(client, path, got)
    assert len(b"".join(got)) == 8097 // 4
    assert caplog.records == []


async def test_drip_and_leaving_it(live_pbx: SandboxPbx) -> None:
    path = recording_path(live_pbx)
    live_pbx.faults.add(Fault("recording", "drip", seconds=0.02, chunk=1000, times=None))
    async with served(live_pbx.asgi) as base, httpx.AsyncClient(base_url=base) as client:
        began = time.monotonic()
        whole = await client.get(path)
        assert time.monotonic() - began > 0.1
        assert len(whole.content) > 8000
        live_pbx.faults.active[0].seconds = 60
        with pytest.raises(httpx.ReadTimeout):
            await client.get(path, timeout=0.1)
    # leaving `served` waits for its requests: a drip that ignored the reader's leaving would take minutes
    assert time.monotonic() - began < 3


async def test_flood_stops_when_the_reader_leaves(live_pbx: SandboxPbx) -> None:
    path = recording_path(live_pbx)
    live_pbx.faults.add(Fault("recording", "too_big", size=2**50))
    async with (
        served(live_pbx.asgi) as base,
        httpx.AsyncClient(base_url=base) as client,
        client.stream("GET", path) as answer,
    ):
        assert int(answer.headers["content-length"]) == 2**50
        async for part in answer.aiter_bytes():
            assert part[:3] == b"ID3"
            break
