"""The app as `serve` in a process of its own that a test can kill, with the emulators beside it."""

from __future__ import annotations

import asyncio
import os
import secrets
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlencode

import bitrix_app
from bitrix_app.clock import SystemClock
from bitrix_app.core.errors import Trouble
from bitrix_app.core.ports import HttpRequest
from bitrix_app.gateway import HttpGateway
from bitrix_app.sandbox.demo import HOST, SCOPES
from bitrix_app.sandbox.oauth import AppCard
from bitrix_app.sandbox.portal import SandboxPortal
from bitrix_app.sandbox.seed import ADMIN, seed_demo
from bitrix_app.serving import listen, serving
from unitalk.sandbox import SandboxPbx

START_WITHIN = 20.0


@dataclass
class Killable:
    """`kill` is SIGKILL: no handler runs, nothing is flushed."""

    portal: SandboxPortal
    pbx: SandboxPbx
    http: HttpGateway
    app_url: str
    webhook_url: str
    environment: dict[str, str]
    folder: Path
    process: asyncio.subprocess.Process | None = field(default=None)

    async def start(self) -> None:
        """Start `serve` and wait until it answers."""
        port = self.app_url.rsplit(":", 1)[1]
        log = (self.folder / "app.log").open("ab")
        self.process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "bitrix_app",
            "serve",
            "--port",
            port,
            env=self.environment,
            cwd=self.folder,
            stdout=log,
            stderr=log,
        )
        log.close()
        for _ in range(int(START_WITHIN / 0.02)):
            if self.process.returncode is not None:
                break
            try:
                if (await self.http.send(HttpRequest("GET", f"{self.app_url}/health/live"))).status == 200:
                    return
            except Trouble:
                await asyncio.sleep(0.02)
        raise AssertionError(f"the app did not start: {(self.folder / 'app.log').read_text()[-2000:]}")

    async def kill(self, number: signal.Signals = signal.SIGKILL) -> None:
        if self.process is None or self.process.returncode is not None:
            return
        self.process.send_signal(number)
        await self.process.wait()

    async def install(self) -> None:
        """The administrator's browser: open the installer, wait for the bindings, finish."""
        frame = self.portal.open_frame(ADMIN)
        assert frame is not None
        headers = {"Content-Type": "application/x-www-form-urlencoded", "Accept": "text/html"}
        body = urlencode(frame.form).encode()
        answer = await self.http.send(HttpRequest("POST", frame.address, headers, body, timeout=15.0))
        assert answer.status == 200, answer.body
        for _ in range(500):
            if any(handler.event == "ONAPPUNINSTALL" for handler in self.portal.state.handlers):
                self.portal.finish_install(ADMIN)
                return
            await asyncio.sleep(0.02)
        raise AssertionError("the installer bound nothing")


@asynccontextmanager
async def killable(folder: Path) -> AsyncIterator[Killable]:
    """Emulators on sockets, the app not yet started."""
    socks = [listen(HOST, 0) for _ in range(4)]
    portal_url, auth_url, pbx_url, app_url = (f"http://{HOST}:{s.getsockname()[1]}" for s in socks)
    socks[3].close()  # the app's own process will listen there
    clock = SystemClock()
    http = HttpGateway(allow_loopback=True)
    card = AppCard(
        client_id="local.5f0c1e9a7b42d6.10203040",
        client_secret=secrets.token_urlsafe(32),
        app_url=f"{app_url}/bitrix/app",
        install_url=f"{app_url}/bitrix/install",
        scopes=SCOPES,
    )
    portal = SandboxPortal(
        clock,
        http,
        base_url=portal_url,
        auth_url=auth_url,
        card=card,
        bucket=(250, 50.0),
        license_family="ent",
    )
    seed_demo(portal)
    pbx = SandboxPbx(clock, http, base_url=pbx_url)
    token = secrets.token_urlsafe(24)
    environment = {
        "PATH": os.environ["PATH"],
        "PYTHONPATH": str(Path(bitrix_app.__file__).parents[1]),  # the code under test, whatever is installed
        "ALLOW_LOOPBACK": "1",
        "APP_BASE_URL": app_url,
        "APP_SECRET_KEYS": secrets.token_urlsafe(48),
        "DATABASE_URL": f"sqlite:///{folder}/unitalk.db",
        "BITRIX_CLIENT_ID": card.client_id,
        "BITRIX_CLIENT_SECRET": card.client_secret,
        "BITRIX_AUTH_SERVERS": auth_url,
        "UNITALK_API_URL": pbx.api_url,
        "UNITALK_PORTAL": portal.world.member_id,
        "UNITALK_API_KEY": pbx.api_key,
        "UNITALK_WEBHOOK_TOKEN": token,
        "UNITALK_RECORDING_HOSTS": HOST,
        "BX24_JS_URL": f"{portal_url}/bx24.js",
    }
    async with (
        serving(portal.asgi, socks[0]),
        serving(portal.auth.asgi, socks[1]),
        serving(pbx.asgi, socks[2]),
        portal.running(),
        pbx.running(),
    ):
        app = Killable(portal, pbx, http, app_url, f"{app_url}/unitalk/events/{token}", environment, folder)
        try:
            yield app
        finally:
            await app.kill()
            await http.close()
