"""How we read a portal's answer: body first, then status. Pure (bitrix24.md §4.2–§4.4)."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from bitrix_app.bitrix.verdicts import PortalMoved, lost, read_error, retry_after
from bitrix_app.bitrix.wire import RestCall
from bitrix_app.core.errors import AnswerLost, NotSent, Throttled, Trouble, Unreadable
from bitrix_app.core.ports import HttpResponse


@dataclass(frozen=True, slots=True)
class Operating:
    """Seconds that the method has consumed in its 10-minute window; `reset_at` is unix seconds."""

    seconds: float
    reset_at: float


@dataclass(frozen=True, slots=True)
class Answer:
    """A good answer. `total` and `next` only for lists; `time` only in the cloud."""

    result: Any
    total: int | None = None
    next: int | None = None
    time: Operating | None = None
    duration: float | None = None


def read_answer(response: HttpResponse, *, reads: bool, now: float) -> Answer:
    """The answer's meaning. Raises a branch of `core.errors.Trouble`, see `verdicts.py`.

    What cannot be understood is `AnswerLost` for a write (it may have happened) and `VendorBroken`
    or `Unreadable` for a read. `PortalMoved` for a redirect.
    """
    body = _parsed(response.body)
    if isinstance(body, dict):
        if "error" in body and (body["error"] or "result" not in body):
            raise read_error(body, response, reads=reads, now=now)
        if response.status < 300:
            if "result" in body:
                return _answer(body)
            if "success" in body:  # layout.blocks.set without its envelope (findings §1 no. 25)
                return Answer(body)
    if response.status in (301, 302, 303, 307, 308):
        raise PortalMoved(response.headers.get("location", ""))
    if response.status == 429:
        raise Throttled(
            "The portal answered «too many requests».",
            code="HTTP_429",
            retry_at=retry_after(response.headers, now) or now + 60.0,
        )
    if response.status < 300 and body is not None and reads:
        raise Unreadable("The portal's answer has neither a result nor an error.")
    raise lost(f"HTTP {response.status} without a verdict.", response, reads=reads, now=now)


def read_batch(
    answer: Answer, calls: Mapping[str, RestCall], *, now: float, halt: int = 0
) -> dict[str, Answer | Trouble]:
    """Each inner call settled alone; a batch is HTTP 200 even if all of them failed.

    Raises `AnswerLost` or `Unreadable` when the envelope itself is not a batch's.
    """
    envelope = answer.result
    writes = not all(call.reads for call in calls.values())
    if not isinstance(envelope, dict) or not ("result" in envelope or "result_error" in envelope):
        kind = AnswerLost if writes else Unreadable
        raise kind("The portal's answer to a batch is not a batch's.")
    results, errors = _map(envelope, "result"), _map(envelope, "result_error")
    totals, nexts, times = (_map(envelope, f"result_{name}") for name in ("total", "next", "time"))
    settled: dict[str, Answer | Trouble] = {}
    failed = False
    for key, call in calls.items():
        if key in errors:
            failed = True
            settled[key] = _inner_error(errors[key], call, now)
        elif key in results:
            settled[key] = _answer(
                {
                    "result": results[key],
                    "total": totals.get(key),
                    "next": nexts.get(key),
                    "time": times.get(key),
                }
            )
        elif halt and failed:
            settled[key] = NotSent("The batch stopped before this command.")
        elif call.reads:
            settled[key] = Unreadable("The batch's answer does not mention this command.")
        else:
            settled[key] = AnswerLost("The batch's answer does not mention this command.")
    return settled


def _inner_error(error: Any, call: RestCall, now: float) -> Trouble:
    body = error if isinstance(error, dict) else {"error": str(error)}
    # an inner error has no status of its own: 200 leaves the decision to the body
    return read_error(body, HttpResponse(200, {}, b""), reads=call.reads, now=now)


def _answer(body: Mapping[str, Any]) -> Answer:
    time = body.get("time")
    operating, duration = _operating(time) if isinstance(time, dict) else (None, None)
    return Answer(body["result"], _int(body.get("total")), _int(body.get("next")), operating, duration)


def _operating(time: Mapping[str, Any]) -> tuple[Operating | None, float | None]:
    seconds, reset = _number(time.get("operating")), _number(time.get("operating_reset_at"))
    known = Operating(seconds, reset) if seconds is not None and reset is not None else None
    return known, _number(time.get("duration"))


def _map(envelope: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    value = envelope.get(name)
    if isinstance(value, dict):
        return value
    # PHP: an empty map is [], and a map with keys 0, 1, 2… is a list
    return {str(i): v for i, v in enumerate(value)} if isinstance(value, list) else {}


def _parsed(body: bytes) -> Any:
    """The JSON value, or `None` when it is not JSON that anybody could have meant."""
    try:
        return json.loads(body)
    except (ValueError, RecursionError):
        return None


def _int(value: Any) -> int | None:
    number = _number(value)
    return int(number) if number is not None else None


def _number(value: Any) -> float | None:
    if isinstance(value, bool) or not isinstance(value, (int, float, str)):
        return None
    try:
        number = float(value)
    except (ValueError, OverflowError):
        return None
    return number if abs(number) < 1e15 else None
