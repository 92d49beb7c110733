"""A portal and a PBX to practise the set-up on: `python -m bitrix_app.sandbox` (docs/setup.md).

The two vendors of the demo without the application: that one is started, installed and connected by
whoever practises, as against a real portal. Nothing is kept.
"""

from __future__ import annotations

import argparse
import asyncio
import signal
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Final
from urllib.parse import urlsplit

from rich.console import Console

from bitrix_app import logs
from bitrix_app.clock import SystemClock
from bitrix_app.core.addresses import is_loopback_host
from bitrix_app.gateway import HttpGateway
from bitrix_app.sandbox.demo import HOST, SCOPES
from bitrix_app.sandbox.fault_buttons import fault_panel
from bitrix_app.sandbox.oauth import AppCard
from bitrix_app.sandbox.portal import SandboxPortal
from bitrix_app.sandbox.seed import seed_demo
from bitrix_app.serving import PortInUse, listen, serving
from unitalk.sandbox import SandboxPbx
from unitalk.sandbox.cabinet import Cabinet

_say = Console(highlight=False, soft_wrap=True)

SECRET: Final = "for-practice-only-1a2b3c4d5e6f7a8b9c0d"  # noqa: S105
"""The same in every run, so that `.env` stays good after a restart; it opens nothing but this sandbox."""
KNOWN: Final = ("department", "timeman")
"""Scopes that the demo's portal grants and that setup.md does not ask for."""


@dataclass(frozen=True, slots=True)
class Ground:
    """What was put up, and the lines of `.env` that name it."""

    portal: SandboxPortal
    pbx: SandboxPbx
    portal_url: str
    cabinet_url: str
    env: dict[str, str]


@asynccontextmanager
async def ground(port: int, app_url: str) -> AsyncIterator[Ground]:
    """Portal, auth server and PBX on three ports from `port` (0: free ones), nothing installed.

    Raises `serving.PortInUse`.
    """
    socks = [listen(HOST, port + n if port else 0) for n in range(3)]
    portal_url, auth_url, pbx_url = (f"http://{HOST}:{s.getsockname()[1]}" for s in socks)
    clock = SystemClock()
    http = HttpGateway(allow_loopback=True)
    card = AppCard(
        client_id="local.5f0c1e9a7b42d6.10203040",
        client_secret=SECRET,
        app_url=f"{app_url}/bitrix/app",
        install_url=f"{app_url}/bitrix/install",
        scopes=tuple(scope for scope in SCOPES if scope not in KNOWN),
    )
    portal = SandboxPortal(clock, http, base_url=portal_url, auth_url=auth_url, card=card)
    seed_demo(portal)
    pbx = SandboxPbx(clock, http, base_url=pbx_url)
    pbx.asgi.router.routes.extend(Cabinet(pbx).routes())
    portal.fault_buttons = fault_panel(portal, pbx)
    env = {
        "ALLOW_LOOPBACK": "1",
        "APP_BASE_URL": app_url,
        "BITRIX_CLIENT_ID": card.client_id,
        "BITRIX_CLIENT_SECRET": card.client_secret,
        "BITRIX_AUTH_SERVERS": auth_url,
        "BX24_JS_URL": f"{portal_url}/bx24.js",
        "UNITALK_API_URL": pbx.api_url,
        "UNITALK_RECORDING_HOSTS": HOST,
    }
    async with (
        serving(portal.asgi, socks[0]),
        serving(portal.auth.asgi, socks[1]),
        serving(pbx.asgi, socks[2]),
        portal.running(),
        pbx.running(),
    ):
        try:
            yield Ground(portal, pbx, portal_url, pbx_url, env)
        finally:
            await http.close()


async def run_practice(port: int, app_url: str) -> None:
    """Put all up, say what to write into `.env`, and stay until Ctrl-C."""
    logs.setup("WARNING", "text")
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    async with ground(port, app_url) as up:
        _say.print()
        _say.print("  A portal and a PBX to practise on – without the application", style="bold")
        _say.print(f"  Portal:       [bold]{up.portal_url}[/bold]")
        _say.print(f"  PBX cabinet:  [bold]{up.cabinet_url}[/bold]")
        _say.print("  Into .env, beside an APP_SECRET_KEYS of your own:")
        _say.print()
        for name, value in up.env.items():
            _say.print(f"{name}={value}", markup=False)
        _say.print()
        _say.print("  Then start the application, and follow docs/setup.md from chapter 3.")
        _say.print("  Ctrl-C stops both; nothing is kept.")
        _say.print()
        await stop.wait()
        _say.print("Stopping …")


def main(arguments: Sequence[str] | None = None) -> int:
    """Exit status: 0 stopped, 1 a port is taken, 2 wrong arguments."""
    parser = argparse.ArgumentParser(prog="python -m bitrix_app.sandbox", description=__doc__)
    parser.add_argument("--port", type=int, default=8000, help="first of three ports (default 8000)")
    parser.add_argument(
        "--app",
        default="http://127.0.0.1:8080",
        metavar="ADDRESS",
        help="where the application will be (default http://127.0.0.1:8080)",
    )
    given = parser.parse_args(arguments)
    app = given.app.rstrip("/")
    if not 1 <= given.port <= 65533:
        parser.error("--port must be from 1 to 65533")
    if urlsplit(app).scheme != "http" or not is_loopback_host(urlsplit(app).hostname or ""):
        parser.error("--app must be an address of this machine, such as http://127.0.0.1:8080")
    try:
        asyncio.run(run_practice(given.port, app))
    except PortInUse as refusal:
        Console(stderr=True, highlight=False, soft_wrap=True).print(str(refusal), style="red")
        return 1
    return 0
