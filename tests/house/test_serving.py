"""An application on a socket and off again; the whole server up and down."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
from pathlib import Path
from typing import Any

import pytest

from bitrix_app import app as root
from bitrix_app import logs, serving
from bitrix_app.core.ports import HttpRequest
from bitrix_app.core.store import StoreUnavailable
from bitrix_app.gateway import HttpGateway
from bitrix_app.serving import PortInUse, listen
from bitrix_app.settings import Settings, load
from tests.house.making import KEY

pytestmark = pytest.mark.anyio


async def hello(scope: Any, receive: Any, send: Any) -> None:
    """A small application that answers with its path."""
    headers = [(b"content-type", b"text/plain")]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": scope["path"].encode()})


async def get(url: str, **headers: str) -> Any:
    http = HttpGateway(allow_loopback=True)
    try:
        return await http.send(HttpRequest("GET", url, headers, timeout=5.0))
    finally:
        await http.close()


def free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


# --- a socket ------------------------------------------------------------------------------------


async def test_an_application_is_served_for_the_length_of_the_block() -> None:
    sock = listen("127.0.0.1", 0)
    async with serving.serving(hello, sock) as address:
        answer = await get(f"{address}/x")
        assert (answer.status, answer.body) == (200, b"/x")
        assert "server" not in answer.headers, "the name and version of our server are nobody's business"
    assert sock.fileno() == -1
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", int(address.rsplit(":", 1)[1])), 1)


async def test_the_processs_signals_are_left_alone() -> None:
    before = signal.getsignal(signal.SIGTERM)
    async with serving.serving(hello, listen("127.0.0.1", 0)):
        assert signal.getsignal(signal.SIGTERM) == before


async def test_an_address_of_the_new_internet_is_written_with_brackets() -> None:
    try:
        sock = listen("::1", 0)
    except PortInUse:
        pytest.skip("this machine has no ::1")
    async with serving.serving(hello, sock) as address:
        assert address.startswith("http://[::1]:")
        assert (await get(f"{address}/six")).body == b"/six"


def test_a_port_that_is_in_use_is_told_with_what_to_do() -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        with pytest.raises(PortInUse, match=f"127.0.0.1:{port} .*another --port"):
            listen("127.0.0.1", port)


def test_of_two_servers_that_start_together_the_second_is_told_as_well() -> None:
    first = listen("127.0.0.1", 0)
    try:
        with pytest.raises(PortInUse):
            listen("127.0.0.1", first.getsockname()[1]).close()
    finally:
        first.close()


async def test_a_server_that_cannot_begin_says_why() -> None:
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.bind(("127.0.0.1", 0))
    with pytest.raises(ValueError, match="Stream Socket"):
        async with serving.serving(hello, sock):
            raise AssertionError("it must not begin")
    sock.close()


async def test_a_server_that_ends_before_it_began_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    class Shy:
        started = should_exit = False

        async def serve(self, sockets: Any) -> None:
            return None

    monkeypatch.setattr(serving, "server", lambda _: Shy())
    with pytest.raises(RuntimeError, match="ended before"):
        async with serving.serving(hello, listen("127.0.0.1", 0)):
            raise AssertionError("it must not begin")


async def test_a_block_that_fails_takes_the_server_down_too() -> None:
    sock = listen("127.0.0.1", 0)
    with pytest.raises(ValueError, match="the block's own"):
        async with serving.serving(hello, sock):
            raise ValueError("the block's own")
    assert sock.fileno() == -1


# --- the whole server ----------------------------------------------------------------------------


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return load(
        serving=True,
        env_file=tmp_path / "none.env",
        app_base_url="https://calls.example.com",
        app_secret_keys=KEY,
        bitrix_client_id="local.1",
        bitrix_client_secret="secret",
        database_url=f"sqlite:///{tmp_path}/unitalk.db",
    )


@pytest.fixture
def quiet(monkeypatch: pytest.MonkeyPatch) -> None:
    """Logging stays as the tests have it."""
    monkeypatch.setattr(logs, "setup", lambda *_: None)


@pytest.mark.usefixtures("quiet")
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_serve_answers_until_a_signal_and_ends_in_good_order(
    settings: Settings, number: signal.Signals, tmp_path: Path
) -> None:
    port = free_port()
    task = asyncio.create_task(root.run_server(settings, "127.0.0.1", port))
    try:
        for _ in range(400):
            try:
                answer = await get(f"http://127.0.0.1:{port}/healthz/live")
                break
            except Exception:  # noqa: BLE001 - not up yet
                await asyncio.sleep(0.01)
        assert answer.status < 500
        os.kill(os.getpid(), number)
        await asyncio.wait_for(task, 10)
    finally:
        for one in (signal.SIGINT, signal.SIGTERM):
            asyncio.get_running_loop().remove_signal_handler(one)
        signal.signal(signal.SIGINT, signal.default_int_handler)
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
    assert not (tmp_path / "unitalk.db-wal").exists(), "closed in good order"


@pytest.mark.usefixtures("quiet")
async def test_migrate_brings_the_schema_up_to_date_and_lets_go(settings: Settings, tmp_path: Path) -> None:
    for _ in range(2):
        await root.run_migrate(settings)
    assert (tmp_path / "unitalk.db").stat().st_size > 0


async def test_a_second_house_on_the_same_database_is_refused_with_the_reason(settings: Settings) -> None:
    async with root.compose(settings) as house:
        assert house.worker.alive
        with pytest.raises(StoreUnavailable, match=r"in use|another process"):
            async with root.compose(settings):
                raise AssertionError("it must not begin")


async def test_a_house_leaves_no_task_behind(settings: Settings) -> None:
    before = asyncio.all_tasks()
    async with root.compose(settings):
        await asyncio.sleep(0.05)
    await asyncio.sleep(0)
    assert asyncio.all_tasks() == before


def test_recordings_lie_beside_the_database() -> None:
    assert root.spool_beside("sqlite:///data/unitalk.db") == Path("data/recordings")
    assert root.spool_beside("sqlite:////var/lib/u.db") == Path("/var/lib/recordings")
    assert root.spool_beside("postgresql://x/y") == Path("data/recordings")
