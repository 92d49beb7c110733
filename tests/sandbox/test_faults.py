"""Faults on demand, seen by a client over real sockets (bitrix24.md §4.3, reliability.md §3.3)."""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import httpx
import pytest
import uvicorn

from bitrix_app.clock import SystemClock, VirtualClock
from bitrix_app.sandbox.errors import STATUS_OF_CODE, ConnectionDropped
from bitrix_app.sandbox.portal import Fault, SandboxPortal
from bitrix_app.sandbox.replies import SandboxApp
from bitrix_app.sandbox.seed import seed_demo
from tests.sandbox.conftest import CARD, Api, Net

pytestmark = pytest.mark.anyio

REGISTER = "telephony.externalcall.register"
FINISH = "telephony.externalcall.finish"


@asynccontextmanager
async def served(app: SandboxApp, http: str, loop_socket: socket.socket) -> AsyncIterator[None]:
    config = uvicorn.Config(app, http=http, log_level="error", lifespan="off")
    server = uvicorn.Server(config)
    task = asyncio.create_task(server.serve(sockets=[loop_socket]))
    while not server.started:  # noqa: ASYNC110 - uvicorn has no event for it
        await asyncio.sleep(0.005)
    try:
        yield
    finally:
        server.should_exit = True
        await task
        loop_socket.close()


@pytest.fixture(params=["httptools", "h11"])
async def live(request: pytest.FixtureRequest) -> AsyncIterator[Api]:
    """The portal behind uvicorn, with both of its HTTP implementations."""
    sock = socket.socket()
    sock.bind(("127.0.0.1", 0))
    base = f"http://127.0.0.1:{sock.getsockname()[1]}"
    portal = SandboxPortal(SystemClock(), Net(), base_url=base, card=CARD, bucket=(10_000, 2.0))
    seed_demo(portal)
    async with served(portal.asgi, request.param, sock), httpx.AsyncClient(base_url=base, timeout=5) as http:
        yield Api(portal, http)


async def test_lost_answer_has_its_effect(live: Api, caplog: pytest.LogCaptureFixture) -> None:
    live.portal.faults.add(Fault(REGISTER, "lost"))
    with caplog.at_level(logging.ERROR), pytest.raises((httpx.ReadError, httpx.RemoteProtocolError)):
        await live.register(EXTERNAL_CALL_ID="X1")
    assert live.portal.effects("X1").registered == 1
    assert caplog.records == []  # the server did not try to write a 500 of its own
    assert (await live.register(EXTERNAL_CALL_ID="X1"))["CALL_ID"] == live.portal.pending_calls[0].call_id
    assert [one.status for one in live.portal.requests_of(REGISTER)] == [0, 200]


async def test_refused_before_has_none(live: Api) -> None:
    live.portal.faults.add(Fault(REGISTER, "refused_before"))
    with pytest.raises((httpx.ReadError, httpx.RemoteProtocolError)):
        await live.register(EXTERNAL_CALL_ID="X1")
    assert live.portal.effects("X1").registered == 0


async def test_late_effect_lands_after_the_answer_was_lost(live: Api) -> None:
    live.portal.faults.add(Fault(REGISTER, "late", seconds=0.05))
    with pytest.raises((httpx.ReadError, httpx.RemoteProtocolError)):
        await live.register(EXTERNAL_CALL_ID="X1")
    assert live.portal.effects("X1").registered == 0
    await asyncio.sleep(0.1)
    assert live.portal.effects("X1").registered == 1


async def test_truncated_answer(live: Api) -> None:
    live.portal.faults.add(Fault("profile", "truncated"))
    with pytest.raises(httpx.RemoteProtocolError, match="peer closed"):
        await live.post("profile")
    assert (await live.post("profile")).status_code == 200


async def test_lost_refresh(live: Api) -> None:
    """The worst moment: the pair is rotated, nobody has the new one."""
    live.portal.faults.add(Fault("oauth.token", "lost"))
    params = {"grant_type": "refresh_token", "client_id": CARD.client_id, "client_secret": CARD.client_secret}
    with pytest.raises((httpx.ReadError, httpx.RemoteProtocolError)):
        await live.http.get(
            "/auth-server/oauth/token/", params=params | {"refresh_token": live.refresh_token}
        )
    again = await live.http.get(
        "/auth-server/oauth/token/", params=params | {"refresh_token": live.refresh_token}
    )
    assert again.json()["error"] == "invalid_grant"


async def test_lost_upload(live: Api) -> None:
    call_id = await live.finished()
    step = await live.call("telephony.externalcall.attachrecord", CALL_ID=call_id, FILENAME="a.mp3")
    live.portal.faults.add(Fault("upload", "lost"))
    file = {"file": ("a.mp3", b"ID3" + bytes(20))}
    with pytest.raises((httpx.ReadError, httpx.RemoteProtocolError, httpx.WriteError)):
        await live.http.post(step["uploadUrl"], files=file)
    assert live.portal.calls[0].recordings == 1


# -- without sockets -----------------------------------------------------------------------------


async def test_without_a_socket_the_drop_is_an_exception(api: Api) -> None:
    api.portal.faults.add(Fault("*", "lost"))
    with pytest.raises(ConnectionDropped):
        await api.register(EXTERNAL_CALL_ID="X1")
    assert api.portal.effects("X1").registered == 1


@pytest.mark.parametrize("code", sorted(STATUS_OF_CODE))
async def test_every_code_of_the_contract(api: Api, code: str) -> None:
    api.portal.faults.add(Fault.code(code, "profile"))
    answer = await api.post("profile")
    assert (answer.status_code, answer.json()["error"]) == (STATUS_OF_CODE[code], code)
    assert (await api.post("profile")).status_code == 200


async def test_kinds_without_effect(api: Api) -> None:
    faults = api.portal.faults
    for kind, status in (("status", 500), ("error_200", 200), ("expired_token", 401), ("throttled", 503)):
        faults.add(Fault(REGISTER, kind))  # type: ignore[arg-type]
        answer = await api.post(REGISTER, USER_ID=11, PHONE_NUMBER="+380440000001", TYPE=2)
        assert answer.status_code == status
        assert "error" in answer.json()
    faults.add(Fault(REGISTER, "html"))
    page = await api.post(REGISTER, USER_ID=11, PHONE_NUMBER="+380440000001", TYPE=2)
    assert (page.status_code, page.headers["content-type"]) == (502, "text/html; charset=utf-8")
    assert api.portal.pending_calls == []


async def test_bad_answers_with_effect(api: Api) -> None:
    api.portal.faults.add(Fault(REGISTER, "empty"))
    answer = await api.post(REGISTER, USER_ID=11, PHONE_NUMBER="+380440000001", TYPE=2)
    assert (answer.status_code, answer.content) == (200, b"")
    api.portal.faults.add(Fault(REGISTER, "html", status=504, effect=True))
    await api.post(REGISTER, USER_ID=11, PHONE_NUMBER="+380440000002", TYPE=2)
    assert len(api.portal.pending_calls) == 2


async def test_times_after_when_and_wildcards(api: Api) -> None:
    fault = api.portal.faults.add(Fault("telephony.*", "status", times=2, after=1))
    statuses = [(await api.post("telephony.externalLine.get")).status_code for _ in range(4)]
    assert statuses == [200, 500, 500, 200]
    assert fault.hits == 2
    api.portal.faults.add(
        Fault(REGISTER, "status", times=None, when=lambda one: one.get("EXTERNAL_CALL_ID") == "X2")
    )
    await api.register(EXTERNAL_CALL_ID="X1")
    assert (await api.refuse(REGISTER, EXTERNAL_CALL_ID="X2"))[0] == 500
    api.portal.faults.clear()
    await api.register(EXTERNAL_CALL_ID="X2")


async def test_slow(clock: VirtualClock, api: Api) -> None:
    api.portal.faults.add(Fault("profile", "slow", seconds=30))
    running = asyncio.create_task(api.post("profile"))
    await clock.advance(29)
    assert not running.done()
    await clock.advance(1)
    assert (await running).status_code == 200


# -- inside a batch ------------------------------------------------------------------------------


def commands(*numbers: str) -> dict[str, str]:
    start = f"{REGISTER}?USER_ID=11&TYPE=2&EXTERNAL_CALL_ID="
    return {number: f"{start}{number}&PHONE_NUMBER=%2B3804400000{number}" for number in numbers}


async def test_inner_command_refused(api: Api) -> None:
    api.portal.faults.add(Fault.code("OPERATION_TIME_LIMIT", REGISTER, after=1))
    result = await api.call("batch", cmd=commands("01", "02", "03"))
    assert list(result["result"]) == ["01", "03"]
    assert result["result_error"]["02"]["error"] == "OPERATION_TIME_LIMIT"


@pytest.mark.parametrize(("kind", "done"), [("lost", 3), ("refused_before", 1), ("late", 1)])
async def test_inner_command_cuts_the_batch(clock: VirtualClock, api: Api, kind: str, done: int) -> None:
    api.portal.faults.add(Fault(REGISTER, kind, after=1, seconds=60))  # type: ignore[arg-type]
    with pytest.raises(ConnectionDropped):
        await api.call("batch", cmd=commands("01", "02", "03"))
    assert len(api.portal.pending_calls) == done
    await clock.advance(61)
    assert len(api.portal.pending_calls) == (3 if kind == "late" else done)
