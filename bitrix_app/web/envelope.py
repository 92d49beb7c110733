"""What every answer carries: a correlation id, the security headers, and a last resort.

Plain ASGI, so that streaming and background work stay as they are (reliability.md §4.3, §4.7).
"""

from __future__ import annotations

import re
import uuid
from dataclasses import dataclass
from typing import Final
from urllib.parse import urlsplit

from loguru import logger
from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from bitrix_app.logs import correlated
from bitrix_app.web.problems import Problem, problem_response

ID_SHAPE: Final = re.compile(r"[A-Za-z0-9._-]{1,64}")
_KEY: Final = "envelope"


@dataclass(slots=True)
class Envelope:
    """Filled while a request is answered. `frame_ancestors` and `script_sources` are origins."""

    correlation_id: str
    frame_ancestors: tuple[str, ...] = ()
    script_sources: tuple[str, ...] = ()
    language: str = ""
    """The reader's language once it is known; see `languages.asked_language` for before."""


def envelope(request: Request) -> Envelope:
    """This request's envelope."""
    found: Envelope = request.scope["state"][_KEY]
    return found


def origin_of(url: str) -> str:
    """Scheme and host of an address, as browsers write an origin: no default port."""
    parts = urlsplit(url)
    port = "" if parts.port in (None, {"https": 443, "http": 80}.get(parts.scheme)) else f":{parts.port}"
    host = f"[{parts.hostname}]" if ":" in (parts.hostname or "") else parts.hostname
    return f"{parts.scheme}://{host}{port}"


class EnvelopeMiddleware:
    """See the module."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        given = Headers(scope=scope).get("x-request-id", "")
        carried = Envelope(given if ID_SHAPE.fullmatch(given) else uuid.uuid4().hex)
        scope.setdefault("state", {})[_KEY] = carried
        started = False

        async def finish(message: Message) -> None:
            nonlocal started
            if message["type"] == "http.response.start":
                started = True
                _seal(MutableHeaders(scope=message), carried)
            await send(message)

        with correlated(carried.correlation_id):
            try:
                await self.app(scope, receive, finish)
            except Exception:
                logger.opt(exception=True).error("{} {} failed", scope["method"], scope["path"])
                if started:
                    raise
                request = Request(scope, receive)
                await problem_response(request, Problem.internal())(scope, receive, finish)


def _seal(headers: MutableHeaders, carried: Envelope) -> None:
    headers["X-Request-ID"] = carried.correlation_id
    headers["X-Content-Type-Options"] = "nosniff"
    headers["Referrer-Policy"] = "no-referrer"
    headers.setdefault("Cache-Control", "no-store")
    scripts = " ".join(("'self'", *carried.script_sources))
    ancestors = " ".join(carried.frame_ancestors) or "'none'"
    headers["Content-Security-Policy"] = (
        f"default-src 'none'; script-src {scripts}; style-src 'self'; img-src 'self' data:; "
        "connect-src 'self'; media-src 'self' blob:; font-src 'self'; base-uri 'none'; "
        f"form-action 'none'; frame-ancestors {ancestors}"
    )
