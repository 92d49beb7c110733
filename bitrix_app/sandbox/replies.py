"""Answers on the socket: JSON as the portal sends it, and connections that end badly on purpose."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from typing import Any

from starlette.applications import Starlette
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from bitrix_app.sandbox.errors import ConnectionDropped
from bitrix_app.sandbox.faults import Fault

JSON_TYPE = "application/json; charset=utf-8"
_RAW_SEND = "sandbox.send"


class SandboxApp(Starlette):
    """A Starlette app that remembers the server's own `send`, to be able to cut the connection."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        scope[_RAW_SEND] = send
        await super().__call__(scope, receive, send)


def encode(body: Any) -> bytes:
    """JSON bytes, non-ASCII kept."""
    return json.dumps(body, ensure_ascii=False, separators=(",", ":")).encode()


def json_reply(body: Any, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    """A JSON answer with the portal's content type."""
    return Response(encode(body), status, headers=dict(headers or {}), media_type=JSON_TYPE)


class DroppedReply(Response):
    """No answer at all, or only the beginning of one, then the connection is cut.

    uvicorn hands its request cycle's bound `send` to the app, and the cycle knows the transport:
    aborting that closes the socket without a byte. Servers without one (in-process transports)
    see `ConnectionDropped` instead.
    """

    def __init__(self, head: bytes = b"", full_length: int = 0, status: int = 200) -> None:
        super().__init__(b"", status)
        self._head = head
        self._full_length = full_length

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        del receive  # what the client still had to say does not matter
        raw_send = scope.get(_RAW_SEND)
        transport: Any = getattr(getattr(raw_send, "__self__", None), "transport", None)
        if transport is None:
            raise ConnectionDropped("the sandbox dropped the connection")
        if self._head:
            length = str(self._full_length).encode()
            headers = [(b"content-type", JSON_TYPE.encode()), (b"content-length", length)]
            await send({"type": "http.response.start", "status": self.status_code, "headers": headers})
            await send({"type": "http.response.body", "body": self._head, "more_body": True})
            transport.close()  # a clean close: what was written still arrives
        else:
            transport.abort()
        for _ in range(5):  # let the server notice, else it would write a 500 of its own
            await asyncio.sleep(0)


def spoil(fault: Fault, good: Response) -> Response:
    """What the client sees when the work was done but the answer goes wrong."""
    if fault.kind in ("lost", "late"):
        return DroppedReply()
    if fault.kind == "empty":
        return Response(b"", fault.status or 200, media_type=JSON_TYPE)
    if fault.kind == "truncated":
        body = bytes(good.body)
        return DroppedReply(body[: max(1, len(body) // 2)], len(body), good.status_code)
    if fault.kind == "slow":
        return good
    return bad_reply(fault)


def bad_reply(fault: Fault) -> Response:
    """The answer of a fault that says no instead of working."""
    status, body = fault.error()
    if isinstance(body, str):
        return Response(body, status, headers=dict(fault.headers), media_type="text/html; charset=utf-8")
    return json_reply(body, status, fault.headers)
