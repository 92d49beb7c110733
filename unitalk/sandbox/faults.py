"""Faults that a test adds to the emulator: what shall go wrong, where and how often.

They cover what unitalk.md §1.1 and §3.6 expect of a bad day: envelopes with HTTP 200, HTML pages, proxies'
5xx, lost answers of requests that did their work, recordings of every broken kind.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Any, Literal

from starlette.responses import HTMLResponse, JSONResponse, Response

from bitrix_app.core.ports import Clock
from unitalk.sandbox.drop import Drip, Dropped, Flood, How, Truncated

RECORDING = "recording"

Kind = Literal[
    "status",  # an HTTP status (`status`, `content`): a proxy's answer; with `effect` the work was done
    "error",  # the error envelope with `text` (and `data`), HTTP 200
    "auth",  # the envelope "Authorization invalid"
    "unauthorized",  # HTTP 401
    "missing",  # HTTP 404
    "html",  # a page with HTTP 200
    "empty",  # zero bytes with HTTP 200
    "redirect",  # HTTP 302 to `location`
    "lost",  # the work is done, the answer is not sent
    "refused_before",  # the connection drops and nothing was done
    "late",  # the answer is lost, the work is done `seconds` later
    "hang",  # no answer for `seconds`, then the connection drops; nothing was done
    "slow",  # the work is done, the answer comes `seconds` later
    "truncated",  # the work is done, the answer is cut (`keep` of it comes)
    "drip",  # the answer comes `chunk` bytes at a time, every `seconds`
    "too_big",  # `size` bytes
]

PAGE = "<!DOCTYPE html><html><head><title>{0}</title></head><body><h1>{0}</h1></body></html>"


@dataclass(slots=True)
class Fault:
    """`match`: a glob over methods (`phones/*`, `history/get`, `autodial/action:START`), or `recording`.

    `skip` lets so many matching requests pass first; `times` None is for ever; `where` looks at the
    parameters, `number` is a glob over the one called `number` (the client of `phones/directCall`, the
    inner line of `phones/inner/setStatus`). `how` is the way a lost connection ends.
    """

    match: str
    kind: Kind
    times: int | None = 1
    skip: int = 0
    where: Callable[[Mapping[str, Any]], bool] | None = None
    number: str | None = None
    status: int = 502
    content: Literal["html", "json"] = "html"
    effect: bool = False
    text: str = "Internal error"
    data: Any = None
    headers: Mapping[str, str] = field(default_factory=dict)
    location: str = "https://elsewhere.example/file.mp3"
    seconds: float = 5.0
    how: How = "reset"
    keep: float = 0.5
    chunk: int = 64
    size: int = 300 * 1024 * 1024
    announce: bool = True
    """Whether a flood tells its size in Content-Length."""
    hits: int = 0
    """How often it struck; for the test to read."""


class Faults:
    """The faults in force, first match first."""

    def __init__(self) -> None:
        self.active: list[Fault] = []

    def add(self, fault: Fault) -> Fault:
        self.active.append(fault)
        return fault

    def clear(self) -> None:
        self.active.clear()

    def take(self, names: tuple[str, ...], params: Mapping[str, Any]) -> Fault | None:
        """The fault that strikes this request. `names` are its spellings, the exact one last."""
        for fault in self.active:
            if fault.times == 0 or not any(fnmatchcase(name, fault.match) for name in names):
                continue
            if fault.where is not None and not fault.where(params):
                continue
            if fault.number is not None and not fnmatchcase(str(params.get("number", "")), fault.number):
                continue
            if fault.skip:
                fault.skip -= 1
                continue
            if fault.times is not None:
                fault.times -= 1
            fault.hits += 1
            return fault
        return None


async def respond(
    fault: Fault | None,
    work: Callable[[], Response],
    clock: Clock,
    later: Callable[[float, Callable[[], Response]], None],
) -> Response:
    """Do the work, or not, and answer as the fault wants it."""
    if fault is None:
        return work()
    if fault.kind == "hang":
        await clock.sleep(fault.seconds)
        return Dropped(fault.how)
    before = _without_work(fault)
    if before is not None:
        if fault.effect:
            work()
        return before
    if fault.kind == "late":
        later(fault.seconds, work)
        return Dropped(fault.how)
    whole = work()
    if fault.kind == "slow":
        await clock.sleep(fault.seconds)
        return whole
    return _broken(fault, whole, clock)


def _without_work(fault: Fault) -> Response | None:
    """Answers that somebody gives before the PBX has worked (unless `effect` says that it has)."""
    headers = dict(fault.headers)
    match fault.kind:
        case "refused_before":
            return Dropped(fault.how)
        case "auth":
            return JSONResponse({"status": "Error", "message": "Authorization invalid"}, headers=headers)
        case "error":
            envelope = {"status": "Error", "message": fault.text}
            return JSONResponse(
                envelope if fault.data is None else envelope | {"data": fault.data}, headers=headers
            )
        case "html":
            return HTMLResponse(PAGE.format("Service temporarily unavailable"), headers=headers)
        case "empty":
            return Response(b"", headers=headers)
        case "redirect":
            return Response(b"", 302, headers=headers | {"Location": fault.location})
        case "status" | "missing" | "unauthorized":
            status = {"missing": 404, "unauthorized": 401}.get(fault.kind, fault.status)
            if fault.content == "json":
                return JSONResponse({"status": "Error", "message": fault.text}, status, headers)
            return HTMLResponse(PAGE.format(f"HTTP {status}"), status, headers)
        case _:
            return None


def _broken(fault: Fault, whole: Response, clock: Clock) -> Response:
    match fault.kind:
        case "truncated":
            return Truncated(whole, fault.keep)
        case "drip":
            return Drip(whole, clock, fault.seconds, fault.chunk)
        case "too_big":
            return Flood(whole, fault.size, fault.announce)
        case _:
            return Dropped(fault.how)
