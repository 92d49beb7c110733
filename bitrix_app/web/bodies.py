"""Reading what was posted, with limits before parsing (reliability.md §4.7)."""

from __future__ import annotations

import asyncio
import json
from typing import Any, Final
from urllib.parse import parse_qsl

from starlette.requests import ClientDisconnect, Request

from bitrix_app.web.problems import Problem

WEBHOOK_BYTES: Final = 64 * 1024
PAGE_BYTES: Final = 256 * 1024
SECONDS: Final = 15.0
"""How long a body may take to come; slower senders are cut off (fault W3)."""
FIELDS: Final = 1000


async def read_body(request: Request, limit: int = PAGE_BYTES) -> bytes:
    """The whole body, or a `Problem`: 413 over `limit`, 408 when it drips, 400 when it was cut."""
    try:
        announced = int(request.headers.get("content-length") or 0)
    except ValueError:
        raise Problem.malformed("Content-Length is not a number.") from None
    if announced > limit:
        raise _too_long(limit)
    parts: list[bytes] = []
    size = 0
    try:
        async with asyncio.timeout(SECONDS):
            async for part in request.stream():
                size += len(part)
                if size > limit:
                    raise _too_long(limit)
                parts.append(part)
    except TimeoutError:
        raise Problem(
            408,
            "body_too_slow",
            "The body came too slowly",
            retryable=True,
            headers={"Connection": "close"},
        ) from None
    except ClientDisconnect:
        raise Problem.malformed("The body was cut short.") from None
    return b"".join(parts)


def pairs_of(body: bytes) -> list[tuple[str, str]]:
    """The fields of an urlencoded form; broken UTF-8 is replaced, too many fields are a `Problem`."""
    try:
        return parse_qsl(
            body.decode("utf-8", "replace"), keep_blank_values=True, max_num_fields=FIELDS, separator="&"
        )
    except ValueError:
        raise Problem.malformed(f"A form may have {FIELDS} fields at most.") from None


async def read_json(request: Request) -> dict[str, Any]:
    """The body as a JSON object."""
    body = await read_body(request)
    try:
        data = json.loads(body)
    except (ValueError, RecursionError):
        raise Problem.malformed("The body is not JSON.") from None
    if not isinstance(data, dict):
        raise Problem.malformed("The body must be a JSON object.")
    return data


def _too_long(limit: int) -> Problem:
    return Problem(
        413,
        "body_too_long",
        "The body is too long",
        f"At most {limit // 1024} KiB are taken here.",
        headers={"Connection": "close"},
    )
