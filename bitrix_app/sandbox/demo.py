"""The demo: a portal, a PBX and the app on this machine, with traffic. No accounts, nothing kept.

Everything is real but the two vendors: the app runs as `serve` runs it, on sockets, with its own
database in a folder that is removed at the end.
"""

from __future__ import annotations

import asyncio
import secrets
import signal
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final
from urllib.parse import urlencode

from rich.console import Console

from bitrix_app import logs
from bitrix_app.app import House, compose
from bitrix_app.clock import SystemClock
from bitrix_app.core.chores import BIND_ANEW, BINDINGS_LANE
from bitrix_app.core.ports import Clock, HttpRequest
from bitrix_app.core.store import StoreUnavailable, Unit
from bitrix_app.gateway import HttpGateway
from bitrix_app.sandbox.demo_clients import add_demo_clients
from bitrix_app.sandbox.fault_buttons import calls_out, fault_panel
from bitrix_app.sandbox.oauth import AppCard
from bitrix_app.sandbox.portal import SandboxPortal
from bitrix_app.sandbox.seed import ADMIN, AGENTS, seed_demo
from bitrix_app.serving import listen, serving
from bitrix_app.settings import alone
from unitalk.sandbox import SandboxPbx, Traffic

HOST: Final = "127.0.0.1"
SCOPES: Final = ("telephony", "crm", "placement", "user_basic", "im", "disk", "department", "timeman")
INSTALL_WITHIN: Final = 20.0
UNKNOWN_PHONE_AFTER: Final = 9.0

_say = Console(highlight=False, soft_wrap=True)


@dataclass(frozen=True, slots=True)
class Stage:
    """Everything that the demo put up."""

    portal: SandboxPortal
    pbx: SandboxPbx
    house: House
    portal_url: str
    app_url: str
    webhook_url: str


async def run_demo(port: int) -> None:
    """Put all up, make traffic until Ctrl-C, take all down."""
    logs.setup("WARNING", "text")
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    with tempfile.TemporaryDirectory(prefix="unitalk-demo-") as folder:
        async with stage(port, Path(folder)) as up:
            _say.print()
            _say.print("  Unitalk for Bitrix24 – demo", style="bold")
            _say.print(f"  Portal (open this):  [bold]{up.portal_url}[/bold]")
            _say.print(f"  Application:         {up.app_url}")
            _say.print("  Calls, cards, recordings and Drive files appear within half a minute.")
            _say.print("  Buttons at the top of the page make things go wrong; watch them heal.")
            if calls_out(up.portal):
                add_demo_clients(up.portal, up.pbx, AGENTS[0])
                _say.print("  Clients named “Call me: …” show what becomes of a call that you start there.")
            _say.print("  Ctrl-C stops everything; nothing is kept.")
            _say.print()
            await _choose_dialer(up)
            traffic = Traffic(up.pbx, clients=_clients())
            calls = asyncio.create_task(traffic.run())
            stranger = asyncio.create_task(_unknown_phone(up))
            try:
                await stop.wait()
            finally:
                calls.cancel()
                stranger.cancel()
                await asyncio.gather(calls, stranger, return_exceptions=True)
                _say.print("Stopping …")


async def _choose_dialer(up: Stage) -> None:
    """What an administrator does on the page of the autodialer: its places in Bitrix24 then appear."""
    store, now = up.house.store, up.house.clock.now()

    async def work(unit: Unit) -> None:
        portal = await unit.portal(up.portal.world.member_id)
        if portal is None:
            return
        settings = replace(portal.settings, dialers=tuple(str(number) for number in up.pbx.dialers))
        await unit.save_portal(replace(portal, settings=settings))
        await unit.owe(portal.member_id, BINDINGS_LANE, (BIND_ANEW,), now)

    await store.transact(work)
    up.house.worker.nudge(up.portal.world.member_id)


async def _unknown_phone(up: Stage) -> None:
    """A phone that nobody entered in Bitrix24 makes a call: the administrator gets a notice."""
    await up.house.clock.sleep(UNKNOWN_PHONE_AFTER)
    up.pbx.outgoing("2006", "380670000031", talk=4.0, ring_seconds=2.0)


def _clients() -> list[tuple[str, str]]:
    """People of the CRM and strangers, so that both known and new clients call."""
    known = [
        (phone.lstrip("+"), name)
        for name, phone in (
            ("Emma Stone", "+380440000001"),
            ("Leo Martin", "+380440000002"),
            ("Nadia Green", "+380440000003"),
            ("Oskar Blum", "+380440000004"),
        )
    ]
    return known + [(f"3806700000{n:02}", f"Stranger {n}") for n in range(11, 31)]


@asynccontextmanager
async def stage(
    port: int,
    folder: Path,
    *,
    scopes: tuple[str, ...] = SCOPES,
    crm_mode: int = 1,
    clock: Clock | None = None,
) -> AsyncIterator[Stage]:
    """The servers on four ports from `port` (0: free ones), the app installed and connected.

    `scopes` are granted by the portal, `crm_mode` is 1 (classic) or 2 (simple).
    """
    socks = [listen(HOST, port + n if port else 0) for n in range(4)]
    portal_url, auth_url, pbx_url, app_url = (f"http://{HOST}:{s.getsockname()[1]}" for s in socks)
    clock = clock or SystemClock()
    http = HttpGateway(allow_loopback=True)
    card = AppCard(
        client_id="local.5f0c1e9a7b42d6.10203040",
        client_secret=secrets.token_urlsafe(32),
        app_url=f"{app_url}/bitrix/app",
        install_url=f"{app_url}/bitrix/install",
        scopes=scopes,
    )
    portal = SandboxPortal(clock, http, base_url=portal_url, auth_url=auth_url, card=card, crm_mode=crm_mode)
    seed_demo(portal)
    pbx = SandboxPbx(clock, http, base_url=pbx_url)
    portal.fault_buttons = fault_panel(portal, pbx)
    token = secrets.token_urlsafe(24)
    settings = alone(
        allow_loopback=True,
        app_base_url=app_url,
        app_secret_keys=secrets.token_urlsafe(48),
        database_url=f"sqlite:///{folder}/unitalk.db",
        bitrix_client_id=card.client_id,
        bitrix_client_secret=card.client_secret,
        bitrix_auth_servers=auth_url,
        unitalk_api_url=pbx.api_url,
        unitalk_portal=portal.world.member_id,
        unitalk_api_key=pbx.api_key,
        unitalk_webhook_token=token,
        unitalk_recording_hosts=HOST,
        unitalk_timezone="Europe/Kyiv",
        bx24_js_url=f"{portal_url}/bx24.js",
    )
    async with (
        serving(portal.asgi, socks[0]),
        serving(portal.auth.asgi, socks[1]),
        serving(pbx.asgi, socks[2]),
        portal.running(),
        pbx.running(),
        compose(settings, clock) as house,
        serving(house.asgi, socks[3]),
    ):
        try:
            await install(portal, http, house)
            webhook_url = f"{app_url}/unitalk/events/{token}"
            pbx.connect(webhook_url)
            yield Stage(portal, pbx, house, portal_url, app_url, webhook_url)
        finally:
            await http.close()


async def install(portal: SandboxPortal, http: HttpGateway, house: House) -> None:
    """What an administrator's browser does: open the installer, wait for it, finish.

    Raises `StoreUnavailable` with the reason when the installer does not get through.
    """
    frame = portal.open_frame(ADMIN)
    if frame is None:
        raise StoreUnavailable("The sandbox portal shows no installer.")
    answer = await http.send(
        HttpRequest(
            "POST",
            frame.address,
            {"Content-Type": "application/x-www-form-urlencoded", "Accept": "text/html"},
            urlencode(frame.form).encode(),
            timeout=15.0,
        )
    )
    if answer.status != 200:
        raise StoreUnavailable(f"The installer answered {answer.status}: {answer.body[:300]!r}")
    deadline = house.clock.monotonic() + INSTALL_WITHIN
    while house.clock.monotonic() < deadline:
        jobs = await house.store.lane(portal.world.member_id, "portal:bindings")
        if jobs and all(job.state == "done" for job in jobs):
            portal.finish_install(ADMIN)
            return
        await house.clock.sleep(0.1)
    reasons = [f"{job.kind}: {job.state} {job.error.message if job.error else ''}" for job in jobs]
    raise StoreUnavailable(f"The installer did not get through: {'; '.join(reasons)}")
