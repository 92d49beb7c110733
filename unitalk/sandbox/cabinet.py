"""The PBX's cabinet as a page: the API key, the handlers of "Event handling", calls to try (unitalk.md §3.1).

Only whoever practises the set-up opens it; the application never does. Plain forms, no script.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from html import escape
from typing import Final
from urllib.parse import parse_qs, urlsplit

from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response
from starlette.routing import BaseRoute, Route

from unitalk.sandbox.delivery import Delivery
from unitalk.sandbox.pbx import SandboxPbx

EVENTS: Final = {
    "CALL_NEW": "New call",
    "CALL_REDIRECT": "Call offered to a line or group",
    "CALL_ANSWER": "Call answered",
    "CALL_END": "Call ended",
    "AUTODIAL_CALL_END": "Dialer call completed",
}
"""Events for which the page takes a handler; the real cabinet has more of the dialer's (§3.8)."""
CLIENT: Final = "380670000077"
LOG_ROWS: Final = 12

_PAGE: Final = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>Sandbox PBX</title><link rel="icon" href="data:,"><style>
body {{ font: 15px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem }}
label {{ display: block; margin: .6rem 0 }} input {{ width: 100%; font: 13px monospace; padding: .4rem }}
button {{ padding: .4rem .8rem; margin: .3rem .3rem .3rem 0 }}
td, th {{ text-align: left; padding-right: 2rem }}
.error {{ color: #b00020 }} input, button {{ box-sizing: border-box }}
</style></head><body>
<h1>Sandbox PBX: the cabinet</h1>
<p>Everything here is invented; no phone rings.</p>
<h2>API</h2><p>Key: <code>{key}</code></p>
<h2>Event handling</h2>
<p>One handler for each event, method POST, body “Standard JSON”. An empty field is no handler.</p>
{fault}
<form method="post" action="/handlers">{fields}<button>Save the handlers</button></form>
<h2>Test calls</h2>
<form method="post" action="/calls">{calls}</form>
<h2>Last webhooks</h2>
{log}
</body></html>"""


class Cabinet:
    """Mount `routes` beside the PBX's own."""

    def __init__(self, pbx: SandboxPbx) -> None:
        self._pbx = pbx
        self._addresses: dict[str, str] = {}
        self._acts: dict[str, tuple[str, Callable[[], object]]] = {
            "in": ("A client calls, 2001 answers", lambda: pbx.incoming(
                CLIENT, ring=["2001", "2002"], answered_by="2001")),
            "missed": ("A client calls, nobody answers", lambda: pbx.incoming(
                CLIENT, ring=["2001", "2002"])),
            "out": ("2002 calls a client", lambda: pbx.outgoing("2002", CLIENT)),
            "stranger": ("2006, an extension that nobody has, calls a client", lambda: pbx.outgoing(
                "2006", CLIENT)),
            "dialer": ("The autodialer reaches a client", lambda: pbx.autodial(CLIENT, operator="2003")),
        }  # fmt: skip

    def routes(self) -> list[BaseRoute]:
        return [
            Route("/", self._show),
            Route("/handlers", self._save, methods=["POST"]),
            Route("/calls", self._call, methods=["POST"]),
        ]

    async def _show(self, request: Request) -> Response:
        del request
        return self._page()

    async def _save(self, request: Request) -> Response:
        asked = await _fields(request)
        wanted = {code: asked.get(code, "").strip() for code in EVENTS}
        for code, url in wanted.items():
            if url and (urlsplit(url).scheme not in ("http", "https") or not urlsplit(url).hostname):
                return self._page(
                    f"{EVENTS[code]}: this is not an address. Copy it whole, with http://", wanted
                )
        self._addresses = {code: url for code, url in wanted.items() if url}
        self._pbx.disconnect()
        for code, url in self._addresses.items():
            self._pbx.connect(url, [code], keep=True)
        return RedirectResponse("/", 303)

    async def _call(self, request: Request) -> Response:
        known = self._acts.get((await _fields(request)).get("act", ""))
        if known is None:
            return self._page("There is no such call.", status=404)
        known[1]()
        return RedirectResponse("/", 303)

    def _page(self, fault: str = "", typed: dict[str, str] | None = None, status: int = 200) -> Response:
        shown = self._addresses if typed is None else typed
        fields = "".join(
            f'<label>{escape(name)} <input name="{code}" autocomplete="off" spellcheck="false"'
            f' value="{escape(shown.get(code, ""))}"></label>'
            for code, name in EVENTS.items()
        )
        calls = "".join(
            f'<button name="act" value="{code}">{escape(title)}</button>'
            for code, (title, _) in self._acts.items()
        )
        told = f'<p class="error" role="alert">{escape(fault)}</p>' if fault else ""
        page = _PAGE.format(
            key=escape(self._pbx.api_key), fault=told, fields=fields, calls=calls, log=self._log()
        )
        return HTMLResponse(page, 400 if fault and status == 200 else status)

    def _log(self) -> str:
        rows = "".join(map(_row, reversed(self._pbx.deliveries[-LOG_ROWS:])))
        if not rows:
            return "<p>None was sent yet. A call tells nobody as long as there is no handler.</p>"
        head = "<tr><th>Time (UTC)</th><th>Event</th><th>Answer</th></tr>"
        return f"<p>Reload the page to see more.</p><table>{head}{rows}</table>"


def _row(one: Delivery) -> str:
    at = datetime.fromtimestamp(one.at, UTC).strftime("%H:%M:%S")
    said = "no answer" if one.status is None else str(one.status)
    return f"<tr><td>{at}</td><td>{escape(one.code)}</td><td>{escape(f'{said} {one.note}'.strip())}</td></tr>"


async def _fields(request: Request) -> dict[str, str]:
    text = (await request.body()).decode("utf-8", "replace")
    return {name: values[-1] for name, values in parse_qs(text, keep_blank_values=True).items()}
