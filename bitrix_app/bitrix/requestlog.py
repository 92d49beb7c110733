"""One masked line of the vendor request log per request (bitrix24.md §15: kept ≥ 3 days)."""

from __future__ import annotations

import json
from typing import Any, Final

from bitrix_app.bitrix.masking import mask
from bitrix_app.bitrix.wire import RestCall
from bitrix_app.core.errors import Trouble
from bitrix_app.core.ports import HttpResponse
from bitrix_app.core.store import VendorRequest

READABLE: Final = 64 * 1024
"""Bytes of an answer that are worth parsing for the log."""


def entry(
    portal: str,
    call: RestCall,
    *,
    at: float,
    seconds: float,
    response: HttpResponse | None,
    trouble: Trouble | None,
    correlation_id: str = "",
) -> VendorRequest:
    """`at` unix seconds; `response` is `None` when none came; `trouble` what the answer meant."""
    return VendorRequest(
        portal=portal,
        platform="bitrix24",
        operation=call.method,
        at=at,
        seconds=round(seconds, 4),
        status=response.status if response is not None else None,
        code=trouble.code if trouble is not None else "",
        request=mask(call.params),
        answer=_answer(response),
        correlation_id=correlation_id,
    )


def _answer(response: HttpResponse | None) -> str:
    if response is None:
        return ""
    if len(response.body) > READABLE:
        return f"({len(response.body)} bytes)"
    try:
        body: Any = json.loads(response.body)
    except (ValueError, RecursionError):
        return f"({len(response.body)} bytes that are not JSON)"
    return mask(body)
