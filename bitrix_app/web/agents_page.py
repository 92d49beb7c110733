"""The page of agents' statuses: everybody sets his own, managers anybody's (interface.md `GET /agents`).

What is shown is the JSON's; only the order differs: extensions that nobody has come first, because their
calls go to the default user.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from starlette.responses import Response

from bitrix_app.core.agents import Page, Want
from bitrix_app.web.deps import WebDeps
from bitrix_app.web.pages import render
from bitrix_app.web.session import Visit
from bitrix_app.web.shell import shell
from bitrix_app.words import mark

WANTS: Final = {Want.WORK.value: mark("Available"), Want.PAUSE.value: mark("Pause")}
BADGES: Final = {Want.WORK.value: "done", Want.PAUSE.value: "waiting"}
CHOSEN: Final = {
    Page.AVAILABLE.value: mark("Available"),
    Page.PAUSE.value: mark("Pause"),
    Page.AFTER_CALL.value: mark("Pause after this call"),
}
SUGGESTED: Final = {
    "email": mark("Perhaps {name}: the e-mail is the same."),
    "name": mark("Perhaps {name}: the name is the same."),
}
"""Why somebody is suggested for an extension (core/matching.py `Suggestion.by`)."""


def own_page(deps: WebDeps, seen: Visit, told: Mapping[str, Any]) -> Response:
    """One's own extensions. `told` is the answer of `GET /agents/{user_id}`."""
    mine = {"user_id": seen.session.user_id, "name": None, "state": "matched", "suggestions": ()}
    return _page(deps, seen, [{**mine, **item} for item in told["items"]], told, everybody=False)


def everybodys_page(deps: WebDeps, seen: Visit, told: Mapping[str, Any]) -> Response:
    """All extensions. `told` is the JSON answer of `GET /agents`."""
    items = sorted(told["items"], key=lambda item: item["state"] == "matched")
    return _page(deps, seen, items, told, everybody=True)


def _page(
    deps: WebDeps,
    seen: Visit,
    items: Sequence[Mapping[str, Any]],
    told: Mapping[str, Any],
    *,
    everybody: bool,
) -> Response:
    values = {
        "items": items,
        "everybody": everybody,
        "sync": told["status_sync"],
        "wants": WANTS,
        "badges": BADGES,
        "chosen": CHOSEN,
        "suggested": SUGGESTED,
    }
    return render("agents.html", shell(deps, seen, "agents") | values)
