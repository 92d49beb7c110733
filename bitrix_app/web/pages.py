"""Templates and who wants a page: server-rendered HTML, escaped by default, no inline script."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, tzinfo
from pathlib import Path
from typing import Any, Final
from zoneinfo import ZoneInfo

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from starlette.requests import Request
from starlette.responses import HTMLResponse

from bitrix_app import vocabulary
from bitrix_app.words import Words

HERE: Final = Path(__file__).parent
STATIC: Final = HERE / "static"


def iso(at: float | None) -> str | None:
    """RFC 3339 UTC, as all our JSON says time."""
    if at is None:
        return None
    return datetime.fromtimestamp(at, UTC).isoformat(timespec="seconds").replace("+00:00", "Z")


def zone_of(name: str) -> tzinfo:
    """The viewer's zone; UTC when the portal did not name one that we know."""
    try:
        return ZoneInfo(name) if name else UTC
    except (ValueError, OSError, KeyError):
        return UTC


def when(at: float | None, zone: str = "") -> str:
    """A moment for people, in the viewer's zone."""
    if at is None:
        return "–"
    return datetime.fromtimestamp(at, zone_of(zone)).strftime("%d.%m.%Y %H:%M:%S")


def clock_of(seconds: int | None) -> str:
    """A duration for people: 1:05, 1:00:05."""
    if seconds is None:
        return "–"
    minutes, rest = divmod(seconds, 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


_ENVIRONMENT: Final = Environment(
    loader=FileSystemLoader(HERE / "templates"),
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)
_ENVIRONMENT.filters.update(iso=iso, when=when, clock=clock_of)
_ENVIRONMENT.globals["vocabulary"] = vocabulary


def render(
    template: str,
    values: Mapping[str, Any],
    status: int = 200,
    headers: Mapping[str, str] | None = None,
) -> HTMLResponse:
    """The page as an answer. `values` must name the `language` of the reader; templates speak it
    with `say` and `retell` and keep the full code as `locale` for dates.
    """
    words = Words(values["language"])
    spoken = {
        "locale": values["language"],
        "language": words.language,
        "say": words.say,
        "retell": words.retell,
    }
    html = _ENVIRONMENT.get_template(template).render({**values, **spoken})
    return HTMLResponse(html, status, {**(headers or {}), "Content-Language": words.language})


def wants_html(request: Request) -> bool:
    """People's browsers name text/html; programs name JSON or take anything."""
    kinds = [part.split(";")[0].strip().lower() for part in request.headers.get("accept", "").split(",")]
    if "text/html" not in kinds:
        return False
    json_kinds = [kinds.index(k) for k in ("application/json", "application/problem+json") if k in kinds]
    return not json_kinds or kinds.index("text/html") < min(json_kinds)
