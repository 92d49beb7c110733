"""Answers that break on the wire: dropped connections, cut bodies, drips, floods.

What really works with uvicorn (tried with httptools and h11, on asyncio and uvloop): raising, or returning
without an answer, makes uvicorn send a tidy `500`, which a client must not mistake for doubt. So the socket
itself is taken from the server's own `send` and broken. Without a socket (ASGITransport) there is nothing to
break and `ConnectionDropped` is raised through the app to the caller.
"""

from __future__ import annotations

import asyncio
import socket
import struct
from typing import Literal

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from bitrix_app.core.ports import Clock

How = Literal["reset", "eof", "partial"]
"""reset: RST, a read error. eof: closed without a byte. partial: closed in the middle of the answer."""


class ConnectionDropped(ConnectionResetError):
    """The connection broke, where there is no connection: the app was called in process."""


class Dropped(Response):
    """No answer at all, or the first bytes of one."""

    def __init__(self, how: How = "reset", body: bytes = b'{"status": "Succ', promised: int = 500) -> None:
        super().__init__()
        self._how = how
        self._body = body
        self._promised = promised

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG002  ASGI
        transport = find_transport(send)
        if transport is None:
            raise ConnectionDropped(f"the sandbox dropped the connection ({self._how})")
        if self._how == "partial":
            await _start(send, 200, "application/json", self._promised)
            await send({"type": "http.response.body", "body": self._body, "more_body": True})
            transport.close()  # close, unlike abort, sends out what was written
        elif self._how == "eof":
            transport.close()
        else:
            _linger_zero(transport)
            transport.abort()
        await _until_gone(receive)


class Truncated(Response):
    """A body shorter than its Content-Length; then the connection ends."""

    def __init__(self, whole: Response, keep: float = 0.5) -> None:
        super().__init__()
        self._whole = whole
        self._keep = keep

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG002  ASGI
        body = bytes(self._whole.body)
        kind = _kind(self._whole)
        await _start(send, self._whole.status_code, kind, len(body))
        part = body[: int(len(body) * self._keep)]
        transport = find_transport(send)
        if transport is None:
            # In process the mismatch itself is what a careful client can see.
            await send({"type": "http.response.body", "body": part, "more_body": False})
            return
        await send({"type": "http.response.body", "body": part, "more_body": True})
        transport.close()
        await _until_gone(receive)


class Drip(Response):
    """The whole body, a few bytes at a time."""

    def __init__(self, whole: Response, clock: Clock, pause: float, chunk: int) -> None:
        super().__init__()
        self._whole = whole
        self._clock = clock
        self._pause = pause
        self._chunk = max(1, chunk)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG002  ASGI
        body = bytes(self._whole.body)
        kind = _kind(self._whole)
        await _start(send, self._whole.status_code, kind, len(body))
        for at in range(0, len(body), self._chunk):
            await send({"type": "http.response.body", "body": body[at : at + self._chunk], "more_body": True})
            if at + self._chunk < len(body) and await _gone_while(receive, self._clock, self._pause):
                return
        await send({"type": "http.response.body", "body": b"", "more_body": False})


class Flood(Response):
    """Far more bytes than anybody wants, beginning like the real thing. Nothing big is ever held."""

    def __init__(self, whole: Response, size: int, announce: bool) -> None:
        super().__init__()
        self._whole = whole
        self._size = size
        self._announce = announce

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG002  ASGI
        block = bytes(self._whole.body) or b"\0" * 1024
        kind = _kind(self._whole)
        await _start(send, 200, kind, self._size if self._announce else None)
        transport = find_transport(send)
        left = self._size
        while left > 0 and not (transport is not None and transport.is_closing()):
            part = block[:left]
            left -= len(part)
            await send({"type": "http.response.body", "body": part, "more_body": left > 0})


def find_transport(send: object, depth: int = 12) -> asyncio.Transport | None:
    """The socket behind an ASGI `send`.

    uvicorn's own is a bound method of an object that has it; middleware wraps that in closures or keeps it
    in an object's `send`.
    """
    owner = getattr(send, "__self__", None)
    transport = getattr(owner, "transport", None)
    if transport is not None and hasattr(transport, "abort"):
        return transport  # type: ignore[no-any-return]  # a server's own attribute has no type here
    if depth:
        cells = (cell.cell_contents for cell in getattr(send, "__closure__", None) or ())
        for inner in (getattr(owner, "send", None), *cells):
            if callable(inner) and (found := find_transport(inner, depth - 1)) is not None:
                return found
    return None


def _kind(whole: Response) -> str:
    return whole.media_type or whole.headers.get("content-type", "application/octet-stream")


async def _start(send: Send, status: int, kind: str, length: int | None) -> None:
    headers = [(b"content-type", kind.encode("latin-1"))]
    if length is not None:
        headers.append((b"content-length", str(length).encode()))
    await send({"type": "http.response.start", "status": status, "headers": headers})


def _linger_zero(transport: asyncio.Transport) -> None:
    """Makes the close a reset: the peer must see an error, not a polite end."""
    raw = transport.get_extra_info("socket")
    if raw is not None:
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


async def _until_gone(receive: Receive) -> None:
    """Returning before the server has noticed would make it complain and try to answer 500."""
    while (await receive())["type"] != "http.disconnect":
        pass


async def _gone_while(receive: Receive, clock: Clock, seconds: float) -> bool:
    """Wait, but stop waiting when the reader leaves."""
    gone = asyncio.ensure_future(_until_gone(receive))
    pause = asyncio.ensure_future(clock.sleep(seconds))
    try:
        await asyncio.wait({gone, pause}, return_when=asyncio.FIRST_COMPLETED)
        return gone.done()
    finally:
        for waiting in (gone, pause):
            waiting.cancel()
        await asyncio.gather(gone, pause, return_exceptions=True)
