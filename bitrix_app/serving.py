"""Puts an ASGI application on a socket and takes it off again in good order."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

import uvicorn
from starlette.types import ASGIApp

HEADERS_MOST: Final = 64 * 1024
GRACE: Final = 5
BACKLOG: Final = 2048


class PortInUse(Exception):
    """The address cannot be listened on; `reason` says what to do."""


def listen(host: str, port: int) -> socket.socket:
    """A listening socket; port 0 takes a free one. Raises `PortInUse`."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    sock = socket.socket(family, socket.SOCK_STREAM)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        sock.bind((host, port))
        sock.listen(BACKLOG)  # bound alone would still let a second process bind it
    except OSError as error:
        sock.close()
        raise PortInUse(
            f"Cannot listen on {host}:{port} ({error.strerror}). Stop what uses it or choose another --port."
        ) from error
    sock.set_inheritable(True)
    return sock


class _Server(uvicorn.Server):
    """Leaves the process's signals alone: whoever runs us decides about them."""

    @contextlib.contextmanager
    def capture_signals(self):  # type: ignore[no-untyped-def]
        yield


def server(app: ASGIApp) -> uvicorn.Server:
    config = uvicorn.Config(
        app,
        log_config=None,
        access_log=False,
        lifespan="off",
        server_header=False,
        date_header=True,
        proxy_headers=False,
        timeout_keep_alive=15,
        timeout_graceful_shutdown=GRACE,
        h11_max_incomplete_event_size=HEADERS_MOST,
    )
    return _Server(config)


@asynccontextmanager
async def serving(app: ASGIApp, sock: socket.socket) -> AsyncIterator[str]:
    """The application on `sock` for the length of the block; yields its base address."""
    running = server(app)
    task = asyncio.create_task(running.serve(sockets=[sock]), name="uvicorn")
    host, port = sock.getsockname()[:2]
    try:
        while not running.started:
            if task.done():
                task.result()
                raise RuntimeError("the server ended before it had begun")
            await asyncio.sleep(0.01)
        yield f"http://{f'[{host}]' if ':' in host else host}:{port}"
    finally:
        running.should_exit = True
        await task
        sock.close()
