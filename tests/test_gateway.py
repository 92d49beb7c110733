"""The gateway against real sockets: what is certain, what is doubt, what never leaves."""

from __future__ import annotations

import asyncio
import datetime
import gc
import json
import logging
import socket
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, TypeAlias

import pytest
import uvicorn
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, RedirectResponse, Response
from starlette.routing import Route

from bitrix_app.clock import SystemClock
from bitrix_app.core.errors import AnswerLost, NotSent, Refused, Trouble, Unavailable
from bitrix_app.core.ports import Download, FilePart, HttpRequest, HttpResponse
from bitrix_app.gateway import HttpGateway
from unitalk import recordings
from unitalk.sandbox.audio import recording

pytestmark = pytest.mark.anyio
SECRET = "s3cret-token"
Reader: TypeAlias = asyncio.StreamReader
Writer: TypeAlias = asyncio.StreamWriter
Handler = Callable[[Reader, Writer], Awaitable[None]]


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@asynccontextmanager
async def gateway(**settings: Any) -> AsyncIterator[HttpGateway]:
    built = HttpGateway(**({"allow_loopback": True} | settings))
    try:
        yield built
    finally:
        await built.close(patience=1.0)


class Raw:
    """A server that does to a connection whatever the test wants; `heads` are the requests' heads."""

    def __init__(self, behave: Handler) -> None:
        self._behave = behave
        self.heads: list[bytes] = []
        self.connections = 0

    async def __call__(self, reader: Reader, writer: Writer) -> None:
        self.connections += 1
        try:
            self.heads.append(await reader.readuntil(b"\r\n\r\n"))
            await self._behave(reader, writer)
        except (ConnectionError, asyncio.IncompleteReadError):
            self.heads.append(b"")
        finally:
            writer.close()


@asynccontextmanager
async def listening(server: Raw, tls: ssl.SSLContext | None = None) -> AsyncIterator[int]:
    listener = await asyncio.start_server(server, "127.0.0.1", 0, ssl=tls)
    try:
        yield int(listener.sockets[0].getsockname()[1])
    finally:
        listener.close()


def files(folder: Path) -> list[str]:
    return sorted(x.name for x in folder.iterdir())


def says(text: bytes, *, then_reset: bool = False) -> Handler:
    async def behave(_: Reader, writer: Writer) -> None:
        writer.write(text)
        await writer.drain()
        if then_reset:
            await asyncio.sleep(0.05)
            reset(writer)

    return behave


def reset(writer: Writer) -> None:
    sock: socket.socket = writer.get_extra_info("socket")
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\0\0\0\0\0\0\0")
    writer.transport.abort()


async def resets(_: Reader, writer: Writer) -> None:
    reset(writer)


async def closes(_: Reader, writer: Writer) -> None:
    writer.close()


async def sleeps(_: Reader, __: Writer) -> None:
    await asyncio.sleep(30)


async def drips(_: Reader, writer: Writer) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n")
    for _i in range(1000):
        writer.write(b"x")
        await writer.drain()
        await asyncio.sleep(0.02)


async def drips_headers(_: Reader, writer: Writer) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\nX-Long: ")
    for _i in range(1000):
        writer.write(b"x")
        await writer.drain()
        await asyncio.sleep(0.02)


OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def ask(port: int, timeout: float = 2.0, **more: Any) -> HttpRequest:
    return HttpRequest(
        "POST", f"http://127.0.0.1:{port}/rest/1/{SECRET}/x?auth={SECRET}", timeout=timeout, **more
    )


def silent(trouble: BaseException) -> None:
    """No text of the whole chain of exceptions tells the address."""
    seen: BaseException | None = trouble
    while seen is not None:
        assert SECRET not in str(seen)
        assert SECRET not in repr(seen)
        seen = seen.__cause__ or (None if seen.__suppress_context__ else seen.__context__)


# --- send: a well-behaved server -----------------------------------------------------------------


async def _echo(request: Request) -> Response:
    body = await request.body()
    pairs = [[k, v] for k, v in request.headers.items()]
    return JSONResponse(
        {
            "method": request.method,
            "query": request.url.query,
            "headers": pairs,
            "body": body.decode("latin-1"),
        },
        status_code=int(request.query_params.get("status", "200")),
        headers={"Set-Cookie": "session=abc; Path=/", "X-Twice": "1"},
    )


async def _redirect(_: Request) -> Response:
    return RedirectResponse("/echo")


@pytest.fixture
async def site() -> AsyncIterator[int]:
    app = Starlette(
        routes=[
            Route("/echo", _echo, methods=["GET", "POST"]),
            Route("/away", _redirect, methods=["GET", "POST"]),
        ]
    )
    server = uvicorn.Server(uvicorn.Config(app, port=0, log_level="critical", lifespan="off", ws="none"))
    task = asyncio.create_task(server.serve())
    while not server.started:  # noqa: ASYNC110  # uvicorn has no event for it
        await asyncio.sleep(0.01)
    yield int(server.servers[0].sockets[0].getsockname()[1])
    server.should_exit = True
    await task


def json_of(answer: HttpResponse) -> dict[str, Any]:
    return dict(json.loads(answer.body))


async def test_a_request_arrives_as_it_is(site: int) -> None:
    async with gateway() as http:
        url = f"http://127.0.0.1:{site}/echo?a=1%2F2&status=418"
        answer = await http.send(HttpRequest("POST", url, {"X-Key": "k"}, b'{"a":1}'))
    told = json_of(answer)
    headers = dict(told["headers"])
    assert answer.status == 418
    assert answer.headers["x-twice"] == "1"
    assert (told["method"], told["query"], told["body"]) == ("POST", "a=1%2F2&status=418", '{"a":1}')
    assert headers["x-key"] == "k"
    assert headers["user-agent"] == "unitalk-bitrix24"


async def test_no_cookie_is_kept_and_no_redirect_followed(site: int) -> None:
    async with gateway() as http:
        url = f"http://127.0.0.1:{site}"
        await http.send(HttpRequest("GET", url + "/echo"))
        told = json_of(await http.send(HttpRequest("GET", url + "/echo")))
        assert "cookie" not in dict(told["headers"])
        answer = await http.send(HttpRequest("GET", url + "/away"))
    assert (answer.status, answer.headers["location"]) == (307, "/echo")


async def test_the_environments_proxy_is_ignored(site: int, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.setenv(name, f"http://127.0.0.1:{free_port()}")
    async with gateway() as http:
        assert (await http.send(HttpRequest("GET", f"http://127.0.0.1:{site}/echo"))).status == 200


async def test_a_file_is_streamed_as_multipart(site: int, tmp_path: Path) -> None:
    path = tmp_path / "call.mp3"
    path.write_bytes(b"ID3" + b"\xfe" * 300_000)
    part = FilePart("file", path, "20260210 дзвінок.mp3", "audio/mpeg")
    async with gateway() as http:
        answer = await http.send(HttpRequest("POST", f"http://127.0.0.1:{site}/echo", files=(part,)))
    told = json_of(answer)
    headers = dict(told["headers"])
    assert headers["content-type"].startswith("multipart/form-data; boundary=")
    assert 300_000 < int(headers["content-length"]) < 301_000
    assert "ID3" + "þ" * 300_000 in told["body"]
    assert 'name="file"' in told["body"]
    assert "Content-Type: audio/mpeg" in told["body"]


@pytest.mark.parametrize(
    ("request_", "code"),
    [
        (HttpRequest("GET", f"ftp://example.com/{SECRET}"), "BAD_ADDRESS"),
        (HttpRequest("GET", f"https://u:{SECRET}@example.com/"), "BAD_ADDRESS"),
        (HttpRequest("GET", f"http://example.com/{SECRET}"), "PLAIN_HTTP"),
        (HttpRequest("GET", f"http://127.0.0.1.nip.io/{SECRET}"), "PLAIN_HTTP"),
        (HttpRequest("GET", f"https://127.0.0.1:1/{SECRET}", {"X": "ї" + SECRET}), "BAD_REQUEST"),
        (
            HttpRequest(
                "GET", "https://127.0.0.1:1/", body=b"x", files=(FilePart("f", Path(__file__), "f", "x/y"),)
            ),
            "BAD_REQUEST",
        ),
        (
            HttpRequest("GET", "https://127.0.0.1:1/", files=(FilePart("f", Path("/no/such"), "f", "x/y"),)),
            "FILE_MISSING",
        ),
    ],
)
async def test_what_cannot_be_asked_is_refused_before_it_leaves(request_: HttpRequest, code: str) -> None:
    async with gateway() as http:
        with pytest.raises(Refused) as refused:
            await http.send(request_)
    assert refused.value.code == code
    silent(refused.value)


async def test_plain_http_to_loopback_needs_the_setting() -> None:
    server = Raw(says(OK))
    async with listening(server) as port, gateway(allow_loopback=False) as http:
        for work in (
            http.send(ask(port)),
            http.download(ask(port), Path("/no/such"), max_bytes=9, max_seconds=9),
        ):
            with pytest.raises(Refused):
                await work
    assert server.connections == 0


# --- send: everything else -----------------------------------------------------------------------


async def test_nothing_listening_is_certain() -> None:
    async with gateway() as http:
        with pytest.raises(NotSent) as not_sent:
            await http.send(ask(free_port()))
        silent(not_sent.value)
        with pytest.raises(NotSent):
            await http.send(HttpRequest("GET", f"https://no-such-host.invalid/{SECRET}", timeout=5))


@pytest.mark.parametrize(
    "behave",
    [
        resets,
        closes,
        sleeps,
        says(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf"),
        says(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf", then_reset=True),
        says(b"HTTP/1.1 200 OK\r\nContent-Le", then_reset=True),
        says(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhal"),
        says(b"garbage\r\n\r\n"),
        says(b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 4\r\n\r\nnope"),
    ],
)
async def test_whatever_breaks_after_sending_began_is_doubt(behave: Handler) -> None:
    server = Raw(behave)
    async with listening(server) as port, gateway() as http:
        with pytest.raises(AnswerLost) as lost:
            await http.send(ask(port, timeout=0.3, body=b"x"))
    assert type(lost.value) is AnswerLost
    assert server.connections == 1
    silent(lost.value)


async def test_an_answer_cut_at_any_byte_is_doubt_and_the_next_one_is_whole() -> None:
    sizes = iter(range(len(OK) + 1))

    async def cuts(_: Reader, writer: Writer) -> None:
        writer.write(OK[: next(sizes)])
        await writer.drain()

    async with listening(Raw(cuts)) as port, gateway() as http:
        for _ in range(len(OK)):
            with pytest.raises(AnswerLost):
                await http.send(ask(port))
        assert (await http.send(ask(port))).body == b"ok"


async def test_an_answer_that_is_too_large_is_not_read() -> None:
    big = b"HTTP/1.1 200 OK\r\nContent-Length: 3000\r\n\r\n" + b"x" * 3000
    async with listening(Raw(says(big))) as port:
        async with gateway(max_answer=3000) as http:
            assert len((await http.send(ask(port))).body) == 3000
        async with gateway(max_answer=2999) as http:
            with pytest.raises(AnswerLost) as lost:
                await http.send(ask(port))
    assert lost.value.code == "ANSWER_TOO_LARGE"


@pytest.mark.parametrize("behave", [drips, drips_headers])
async def test_an_endless_drip_ends(behave: Handler) -> None:
    async with listening(Raw(behave)) as port, gateway() as http:
        began = asyncio.get_running_loop().time()
        with pytest.raises(AnswerLost) as lost:
            await http.send(ask(port, timeout=0.2))
        assert 0.7 < asyncio.get_running_loop().time() - began < 5
        assert lost.value.code == "ANSWER_TOO_SLOW"


async def test_a_cancelled_caller_does_not_cancel_the_request() -> None:
    arrived, finished = asyncio.Event(), asyncio.Event()

    async def slow(_: Reader, writer: Writer) -> None:
        arrived.set()
        await asyncio.sleep(0.2)
        writer.write(OK)
        await writer.drain()
        finished.set()

    async with listening(Raw(slow)) as port, gateway() as http:
        caller = asyncio.create_task(http.send(ask(port)))
        await arrived.wait()
        caller.cancel()
        with pytest.raises(asyncio.CancelledError):
            await caller
        await asyncio.wait_for(finished.wait(), 2)
        await asyncio.gather(*http._tasks, return_exceptions=True)
        assert not http._tasks
    gc.collect()  # an exception that nobody took would be warned of here


async def test_a_caller_who_left_the_queue_sends_nothing() -> None:
    release = asyncio.Event()

    async def held(_: Reader, writer: Writer) -> None:
        await release.wait()
        writer.write(OK)
        await writer.drain()

    server = Raw(held)
    async with listening(server) as port, gateway(max_connections=1) as http:
        first = asyncio.create_task(http.send(ask(port)))
        second = asyncio.create_task(http.send(ask(port)))
        await asyncio.sleep(0.1)
        second.cancel()
        with pytest.raises(asyncio.CancelledError):
            await second
        release.set()
        assert (await first).status == 200
        await asyncio.wait_for(asyncio.gather(*http._tasks, return_exceptions=True), 2)
    assert server.connections == 1


async def test_waiting_too_long_for_a_turn_is_certain() -> None:
    async with listening(Raw(sleeps)) as port, gateway(max_connections=1) as http:
        first = asyncio.create_task(http.send(ask(port, timeout=1.0)))
        await asyncio.sleep(0.05)
        with pytest.raises(NotSent):
            await http.send(ask(port, timeout=0.05))
        with pytest.raises(AnswerLost):
            await first


async def test_churn_of_cancelled_callers_leaves_the_pool_healthy() -> None:
    async def brief(_: Reader, writer: Writer) -> None:
        await asyncio.sleep(0.005)
        writer.write(OK)
        await writer.drain()

    async with listening(Raw(brief)) as port, gateway(max_connections=5, pool_timeout=0.5) as http:
        for round_ in range(60):
            callers = [asyncio.create_task(http.send(ask(port))) for _ in range(8)]
            await asyncio.sleep(0.0007 * (round_ % 12))
            for caller in callers:
                caller.cancel()
            await asyncio.gather(*callers, return_exceptions=True)
        answers = await asyncio.gather(*(http.send(ask(port)) for _ in range(10)))
        assert [x.status for x in answers] == [200] * 10
        assert http.rebuilt == 0


def closed(generation: Any) -> bool:
    return bool(generation.client.is_closed)


async def test_a_poisoned_pool_is_replaced_and_the_old_one_closed_when_it_is_idle() -> None:
    release = asyncio.Event()

    async def held(_: Reader, writer: Writer) -> None:
        await release.wait()
        writer.write(OK)
        await writer.drain()

    async with (
        listening(Raw(held)) as slow,
        listening(Raw(says(OK))) as quick,
        gateway(max_connections=5, pool_timeout=0.2) as http,
    ):
        held_up = [asyncio.create_task(http.send(ask(slow))) for _ in range(2)]
        await asyncio.sleep(0.1)
        generation = http._requests._now
        assert generation is not None
        # what httpcore's lost slots look like: nothing is free though the semaphore has room
        pool = generation.client._transport._pool  # type: ignore[attr-defined]
        pool._max_connections = 2
        troubles = await asyncio.gather(*(http.send(ask(quick)) for _ in range(2)), return_exceptions=True)
        assert [type(x) for x in troubles] == [NotSent, NotSent]
        assert http.rebuilt == 1  # once, though two met it
        assert (await http.send(ask(quick))).status == 200
        assert not closed(generation)  # two requests are still on it
        release.set()
        assert [x.status for x in await asyncio.gather(*held_up)] == [200, 200]
        assert closed(generation)
        assert (await http.send(ask(quick))).status == 200


async def test_closing_does_not_wait_for_ever() -> None:
    async with listening(Raw(sleeps)) as port:
        http = HttpGateway(allow_loopback=True)
        caller = asyncio.create_task(http.send(ask(port, timeout=60)))
        await asyncio.sleep(0.1)
        await http.close(patience=0.1)
        with pytest.raises((Trouble, asyncio.CancelledError)):
            await caller


async def test_the_log_never_tells_an_address(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    async with listening(Raw(says(OK))) as port, gateway() as http:
        await http.send(ask(port))
    assert SECRET not in caplog.text


# --- download ------------------------------------------------------------------------------------

AUDIO = recording("mp3", 5.0)


def file_answer(body: bytes, length: int | None = None) -> bytes:
    return b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % (len(body) if length is None else length) + body


async def fetch(
    http: HttpGateway,
    port: int,
    target: Path,
    *,
    host: str = "127.0.0.1",
    most: int = 10**6,
    seconds: float = 5.0,
) -> Download:
    request = HttpRequest("GET", f"http://{host}:{port}/{SECRET}", timeout=3.0)
    return await http.download(request, target, max_bytes=most, max_seconds=seconds)


async def test_a_file_is_streamed_to_disk(tmp_path: Path) -> None:
    server = Raw(says(file_answer(AUDIO)))
    async with listening(server) as port, gateway() as http:
        got = await fetch(http, port, tmp_path / "a", host="localhost")
    assert (got.status, got.size, got.head) == (200, len(AUDIO), AUDIO[:512])
    assert got.headers["content-length"] == str(len(AUDIO))
    assert (tmp_path / "a").read_bytes() == AUDIO
    head = server.heads[0].lower()
    assert b"\r\nhost: localhost:%d\r\n" % port in head
    assert b"\r\naccept-encoding: identity\r\n" in head


async def test_an_empty_file_is_a_file(tmp_path: Path) -> None:
    async with listening(Raw(says(file_answer(b"")))) as port, gateway() as http:
        assert (await fetch(http, port, tmp_path / "a")).size == 0
    assert (tmp_path / "a").read_bytes() == b""


@pytest.mark.parametrize(
    "status", [b"404 No", b"302 Found\r\nLocation: http://127.0.0.1:1/", b"206 Part", b"401 Who"]
)
async def test_other_answers_only_leave_their_head(tmp_path: Path, status: bytes) -> None:
    text = b"HTTP/1.1 " + status + b"\r\nContent-Length: 2000\r\n\r\n" + b"x" * 2000
    server = Raw(says(text))
    async with listening(server) as port, gateway() as http:
        got = await fetch(http, port, tmp_path / "a")
    assert (got.status, got.size, got.head) == (int(status[:3]), 0, b"x" * 512)
    assert files(tmp_path) == []
    assert server.connections == 1


@pytest.mark.parametrize(
    ("behave", "branch", "most"),
    [
        (says(file_answer(AUDIO, len(AUDIO) + 1)), Unavailable, 10**6),
        (says(file_answer(AUDIO[:1000], 5000), then_reset=True), Unavailable, 10**6),
        (says(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhalf"), Unavailable, 10**6),
        (resets, Unavailable, 10**6),
        (closes, Unavailable, 10**6),
        (says(file_answer(AUDIO, 10**7)), Refused, 10**6),
        (says(file_answer(AUDIO)), Refused, len(AUDIO) - 1),
        (says(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n" + AUDIO), Refused, len(AUDIO) - 1),
    ],
)
async def test_what_does_not_come_whole_leaves_nothing(
    tmp_path: Path, behave: Handler, branch: type[Trouble], most: int
) -> None:
    async with listening(Raw(behave)) as port, gateway() as http:
        with pytest.raises(branch) as trouble:
            await fetch(http, port, tmp_path / "a", most=most)
    assert type(trouble.value) is branch
    assert files(tmp_path) == []
    silent(trouble.value)


@pytest.mark.parametrize("behave", [drips, drips_headers, sleeps])
async def test_a_slow_file_ends_in_time(tmp_path: Path, behave: Handler) -> None:
    async with listening(Raw(behave)) as port, gateway() as http:
        began = asyncio.get_running_loop().time()
        with pytest.raises(Unavailable):
            await fetch(http, port, tmp_path / "a", seconds=0.4)
        assert 0.3 < asyncio.get_running_loop().time() - began < 5
        assert files(tmp_path) == []
        await asyncio.sleep(0.3)
        assert files(tmp_path) == []  # the abandoned task writes nothing afterwards


async def test_an_abandoned_download_gives_its_slot_back(tmp_path: Path) -> None:
    async with listening(Raw(drips)) as port, gateway() as http:
        with pytest.raises(Unavailable):
            await fetch(http, port, tmp_path / "a", seconds=0.2)
        # the drip would last 20 s; the task has to see at the next byte that nobody waits
        await asyncio.wait_for(asyncio.gather(*http._tasks, return_exceptions=True), 2)


async def test_a_cancelled_download_leaves_nothing(tmp_path: Path) -> None:
    async with listening(Raw(drips)) as port, gateway() as http:
        caller = asyncio.create_task(fetch(http, port, tmp_path / "a"))
        while not files(tmp_path):  # noqa: ASYNC110  # the file system has no event either
            await asyncio.sleep(0.01)
        caller.cancel()
        with pytest.raises(asyncio.CancelledError):
            await caller
        assert files(tmp_path) == []


async def test_our_own_disk_is_told_apart(tmp_path: Path) -> None:
    async with listening(Raw(says(file_answer(AUDIO)))) as port, gateway() as http:
        with pytest.raises(Unavailable) as trouble:
            await fetch(http, port, tmp_path / "no folder" / "a")
    assert trouble.value.code == "DISK"


class Names:
    """A resolver that may answer differently the second time."""

    def __init__(self, *answers: Sequence[str]) -> None:
        self.answers = list(answers)
        self.asked: list[str] = []

    async def __call__(self, host: str, port: int) -> Sequence[str]:
        self.asked.append(host)
        return self.answers.pop(0)


@pytest.mark.parametrize(
    "addresses",
    [
        ["127.0.0.1"],
        ["::1"],
        ["10.0.0.1"],
        ["169.254.169.254"],
        ["::ffff:10.0.0.1"],
        ["::ffff:127.0.0.1"],
        ["64:ff9b::7f00:1"],
        ["8.8.8.8", "127.0.0.1"],
        ["2606:4700::1111", "fd00::1"],
    ],
)
async def test_a_name_that_points_inwards_opens_no_connection(tmp_path: Path, addresses: list[str]) -> None:
    server = Raw(says(file_answer(AUDIO)))
    names = Names(addresses)
    async with listening(server) as port, gateway(allow_loopback=False, resolve=names) as http:
        request = HttpRequest("GET", f"https://rec.unitalk.cloud:{port}/{SECRET}", timeout=1.0)
        with pytest.raises(Refused) as refused:
            await http.download(request, tmp_path / "a", max_bytes=9, max_seconds=2)
    assert refused.value.code == "FORBIDDEN_ADDRESS"
    assert server.connections == 0
    assert names.asked == ["rec.unitalk.cloud"]
    silent(refused.value)


@pytest.mark.parametrize("host", ["0x7f000001", "2130706433", "127.1", "0177.0.0.1", "[::1]", "localhost"])
async def test_other_spellings_of_loopback_open_no_connection(tmp_path: Path, host: str) -> None:
    server = Raw(says(file_answer(AUDIO)))
    async with listening(server) as port, gateway(allow_loopback=False) as http:
        request = HttpRequest("GET", f"https://{host}:{port}/", timeout=1.0)
        with pytest.raises((Refused, NotSent)):
            await http.download(request, tmp_path / "a", max_bytes=9, max_seconds=2)
    assert server.connections == 0


async def test_a_name_without_an_address_is_not_sent(tmp_path: Path) -> None:
    async with gateway(resolve=Names([])) as http:
        with pytest.raises(NotSent):
            await http.download(
                HttpRequest("GET", "https://x.example/"), tmp_path / "a", max_bytes=9, max_seconds=2
            )
    async with gateway() as http:
        for host in ("no-such-host.invalid", "a" * 70 + ".example"):
            with pytest.raises(NotSent):
                await http.download(
                    HttpRequest("GET", f"https://{host}/"), tmp_path / "a", max_bytes=9, max_seconds=9
                )


# --- TLS: the name's certificate at the checked address ------------------------------------------


def certificate(folder: Path, name: str) -> tuple[ssl.SSLContext, ssl.SSLContext]:
    """A server context with a certificate for `name`, and a client context that trusts it."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "test")])
    now = datetime.datetime.now(datetime.UTC)
    built = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(key, hashes.SHA256())
    )
    pem = folder / "server.pem"
    pem.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        + built.public_bytes(serialization.Encoding.PEM)
    )
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(pem)
    return server, ssl.create_default_context(cadata=built.public_bytes(serialization.Encoding.PEM).decode())


async def test_tls_is_for_the_name_while_the_connection_goes_to_the_checked_address(tmp_path: Path) -> None:
    server_tls, trusted = certificate(tmp_path, "rec.unitalk.cloud")
    asked_for: list[str | None] = []
    server_tls.sni_callback = lambda _socket, name, _context: asked_for.append(name)
    server = Raw(says(file_answer(AUDIO)))
    names = Names(["127.0.0.1"], ["127.0.0.1"])
    async with listening(server, server_tls) as port, gateway(verify=trusted, resolve=names) as http:
        request = HttpRequest("GET", f"https://REC.unitalk.cloud:{port}/{SECRET}?a=%2F", timeout=3.0)
        got = await http.download(request, tmp_path / "a", max_bytes=10**6, max_seconds=5)
        assert got.size == len(AUDIO)
        assert asked_for == ["rec.unitalk.cloud"]
        assert server.heads[0].startswith(f"GET /{SECRET}?a=%2F HTTP/1.1\r\n".encode())
        assert b"\r\nHost: rec.unitalk.cloud:%d\r\n" % port in server.heads[0]

        wrong = HttpRequest("GET", f"https://other.unitalk.cloud:{port}/", timeout=3.0)
        with pytest.raises(NotSent) as refused:
            await http.download(wrong, tmp_path / "b", max_bytes=10**6, max_seconds=5)
        silent(refused.value)
    assert names.asked == ["rec.unitalk.cloud", "other.unitalk.cloud"]
    assert len(server.heads) == 1


async def test_an_untrusted_certificate_is_refused_before_anything_is_said(tmp_path: Path) -> None:
    server_tls, _ = certificate(tmp_path, "localhost")
    server = Raw(says(OK))
    async with listening(server, server_tls) as port, gateway() as http:
        with pytest.raises(NotSent):
            await http.send(HttpRequest("POST", f"https://localhost:{port}/", body=b"x", timeout=3.0))
    assert server.heads == []


async def test_the_next_address_is_tried_when_the_first_does_not_connect(tmp_path: Path) -> None:
    names = Names(["127.0.0.2", "127.0.0.1"])
    async with listening(Raw(says(file_answer(AUDIO)))) as port, gateway(resolve=names) as http:
        got = await fetch(http, port, tmp_path / "a", host="localhost")
    assert got.size == len(AUDIO)


# --- the recordings' room on real sockets --------------------------------------------------------


async def test_a_recording_from_socket_to_spool(tmp_path: Path) -> None:
    seen: list[bytes] = []

    async def guarded(_: Reader, writer: Writer) -> None:
        with_key = b"authorization: k3y\r\n" in server.heads[-1].lower()
        seen.append(b"key" if with_key else b"no key")
        body = AUDIO if with_key else b'{"status":"Error","message":"Authorization invalid"}'
        writer.write(file_answer(body))
        await writer.drain()

    server = Raw(guarded)
    async with listening(server) as port, gateway() as http:
        got = await recordings.fetch(
            http,
            SystemClock(),
            f"http://127.0.0.1:{port}/tracking/rec/1.2/2026-02-10",
            tmp_path / "call.audio",
            hosts=("unitalk.cloud",),
            key="k3y",
            allow_loopback=True,
        )
    assert seen == [b"no key", b"key"]
    assert (got.size, got.media) == (len(AUDIO), "mp3")
    assert files(tmp_path) == ["call.audio"]
    assert (tmp_path / "call.audio").read_bytes() == AUDIO
