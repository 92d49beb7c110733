"""The emulated portal: its ASGI app and the handle by which tests and the demo hold it."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import BaseRoute, Mount, Route

from bitrix_app.core.ports import Clock, Http

# Importing a methods module fills the registry.
from bitrix_app.sandbox import (  # noqa: F401
    app_methods,
    crm,
    crm_classic,
    crm_directory,
    crm_items,
    disk,
    drive,
    events,
    im,
    lines,
    placements,
    recordings,
    statistics,
    telephony,
    timeline,
    users,
)
from bitrix_app.sandbox.crm_fields import TYPE_IDS
from bitrix_app.sandbox.delivery import EventQueue
from bitrix_app.sandbox.errors import ConnectionDropped
from bitrix_app.sandbox.faults import Fault, Faults
from bitrix_app.sandbox.inspection import Effects, Inspection
from bitrix_app.sandbox.lifecycle import Frame, Lifecycle
from bitrix_app.sandbox.limits import Limits
from bitrix_app.sandbox.oauth import AppCard, SandboxAuthServer
from bitrix_app.sandbox.pages import FaultButtons, Pages
from bitrix_app.sandbox.people import People
from bitrix_app.sandbox.replies import SandboxApp
from bitrix_app.sandbox.rest import Rest
from bitrix_app.sandbox.state import CrmItem, Department, State, User
from bitrix_app.sandbox.timeman import TimeClock
from bitrix_app.sandbox.transfers import Transfers
from bitrix_app.sandbox.world import World

__all__ = ["AppCard", "ConnectionDropped", "Effects", "Fault", "Frame", "SandboxAuthServer", "SandboxPortal"]

DEFAULT_MEMBER = "0f1e2d3c4b5a69788796a5b4c3d2e1f0"


class SandboxPortal(Inspection, TimeClock):
    """A Bitrix24 portal. `asgi` goes on one socket, `auth.asgi` on another.

    Without `auth` the portal brings its own auth server; give `auth_url`, the address where
    `auth.asgi` will listen. By default that is `<base_url>/auth-server`, which `asgi` serves too, so
    that one socket is enough. Several portals may share one `SandboxAuthServer`.
    """

    def __init__(
        self,
        clock: Clock,
        http: Http,
        *,
        base_url: str,
        card: AppCard,
        member_id: str = DEFAULT_MEMBER,
        seed: int = 1,
        bucket: tuple[float, float] = (50, 2.0),
        license_family: str = "pro",
        crm_mode: int = 1,
        language: str = "en",
        timezone: str = "Europe/Kyiv",
        auth: SandboxAuthServer | None = None,
        auth_url: str | None = None,
        self_hosted: bool = False,
        legacy_frames: bool = False,
    ) -> None:
        base_url = base_url.rstrip("/")
        self.faults = Faults()
        self.auth = auth or SandboxAuthServer(
            clock, base_url=auth_url or f"{base_url}/auth-server", seed=seed, faults=self.faults
        )
        self.world = World(
            clock=clock,
            http=http,
            rng=random.Random(seed),
            card=card,
            auth=self.auth,
            member_id=member_id,
            base_url=base_url,
            language=language,
            timezone=timezone,
            license_family=license_family,
            crm_mode=crm_mode,
            self_hosted=self_hosted,
            legacy_frames=legacy_frames,
        )
        self.auth.attach(self.world)
        self.events = EventQueue(self.world)
        self.world.events = self.events
        self.limits = Limits(clock, bucket)
        self.rest = Rest(self.world, self.limits, self.faults)
        self.life = Lifecycle(self.world)
        self.people = People(self.world)
        self._transfers = Transfers(self.world, self.limits, self.faults, self.rest)
        self.fault_buttons: FaultButtons | None = None  # fault buttons on the page, when somebody brings them
        self._old_hosts: dict[str, str] = {}
        crm_directory.fill(self.state)
        drive.common_storage(self.world)
        self.asgi = SandboxApp(routes=self._routes())

    # -- HTTP ------------------------------------------------------------------------------------

    def _routes(self) -> list[BaseRoute]:
        everything = ["GET", "POST", "HEAD"]
        return [
            Route("/rest/{path:path}", self._rest, methods=everything),
            Route("/oauth/authorize/", self._authorize),
            Route("/bitrix/tools/crm_show_file.php", self._show_file),
            *self.auth.asgi.routes[:2],
            Mount("/auth-server", routes=self.auth.asgi.routes),
            *Pages(self).routes(),
        ]

    async def _rest(self, request: Request) -> Response:
        new_base = self._old_hosts.get(request.headers.get("host", "").lower())
        if new_base is not None:  # renamed: the answer is no JSON (§4.1)
            query = f"?{request.url.query}" if request.url.query else ""
            return Response(
                "", 302, headers={"Location": f"{new_base}{request.url.path}{query}"}, media_type="text/html"
            )
        path = request.path_params["path"]
        name = path.strip("/").lower().removesuffix(".json")
        if name in ("upload", "download"):
            return await self._transfers.handle(request, name)
        return await self.rest.handle(request, path)

    async def _authorize(self, request: Request) -> Response:
        """The full protocol, for an administrator who has agreed (§3.2)."""
        admin = next((one.id for one in self.state.users.values() if one.admin and one.active), None)
        if request.query_params.get("client_id") != self.world.card.client_id or admin is None:
            return Response("Unable to authorize the application", 400, media_type="text/html")
        query = {
            "code": self.auth.issue_code(self.world.member_id, admin),
            "state": request.query_params.get("state", ""),
            "domain": self.world.domain,
            "member_id": self.world.member_id,
            "scope": ",".join(self.world.card.scopes),
            "server_domain": self.auth.host,
        }
        return RedirectResponse(f"{self.world.card.app_url}?{urlencode(query)}", 302)

    async def _show_file(self, request: Request) -> Response:
        """Files of an activity; the address of crm.activity.list wants a token behind `auth=`."""
        params = parse_qs(request.url.query)
        pair = self.auth.find(params.get("auth", [""])[0])
        stored = self.state.objects.get(int(request.query_params.get("fileId", "0")))
        if pair is None or self.auth.expired(pair) or stored is None:
            return Response("Access denied", 403, media_type="text/html")
        return Response(stored.content, media_type="audio/mpeg")

    @asynccontextmanager
    async def running(self) -> AsyncIterator[SandboxPortal]:
        """Deliver events in the background while inside."""
        task = asyncio.create_task(self.events.run())
        try:
            yield self
        finally:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task
            await self.rest.close()

    # -- people, records -------------------------------------------------------------------------

    @property
    def state(self) -> State:
        """The tables, for tests that need more than the views."""
        return self.world.state

    def add_user(self, user: User, by: int | None = None) -> User:
        """An employee, invited `by` another; told to ONUSERADD handlers."""
        self.state.users[user.id] = user
        data = {"ID": user.id, "ACTIVE": "Y", "EMAIL": user.email, "NAME": user.name,
                "LAST_NAME": user.last_name, "PERSONAL_GENDER": "", "PERSONAL_BIRTHDAY": "",
                "UF_DEPARTMENT": user.departments, "DATE_REGISTER": self.world.now_iso(),
                "WORK_POSITION": user.position, "UF_EMPLOYMENT_DATE": ""}  # fmt: skip
        self.world.emit("ONUSERADD", data, by)
        return user

    def add_department(self, department: Department) -> Department:
        self.state.departments[department.id] = department
        return department

    def add_item(self, kind: str, fields: Mapping[str, Any], user_id: int = 1) -> CrmItem:
        """A record by kind (LEAD, DEAL, CONTACT, COMPANY) with fields named as in crm.item.*."""
        return crm.create(self.world, TYPE_IDS[kind], fields, user_id)

    def add_webhook(self, user_id: int, secret: str, scopes: tuple[str, ...]) -> str:
        """An inbound webhook; returns its address. It has no app context (§6, WRONG_AUTH_TYPE)."""
        self.world.webhooks[f"{user_id}/{secret}"] = (user_id, scopes)
        return f"{self.world.base_url}/rest/{user_id}/{secret}/"

    # -- life of the app -------------------------------------------------------------------------

    def frame_form(
        self, user_id: int, placement: str = "DEFAULT", options: Mapping[str, Any] | None = None
    ) -> tuple[dict[str, str], dict[str, str]]:
        """Query and form that the browser POSTs (§2.1)."""
        return self.life.frame_form(user_id, placement, options)

    def open_frame(
        self,
        user_id: int,
        placement: str = "DEFAULT",
        options: Mapping[str, Any] | None = None,
        handler: str | None = None,
    ) -> Frame | None:
        """The frame that user sees, or None when there is nothing to show."""
        return self.life.open_frame(user_id, placement, options, handler)

    def finish_install(self, user_id: int = 1) -> bool:
        """BX24.installFinish by that user."""
        return self.life.finish_install(user_id)

    def uninstall(self, clean: bool = True) -> None:
        self.life.uninstall(clean)

    def reinstall(self) -> None:
        self.life.reinstall()

    def update(self, version: int) -> None:
        self.life.update(version)

    def rename(self, base_url: str) -> None:
        """A new address; the old host answers 302 to REST from now on (§4.1)."""
        self._old_hosts[urlsplit(self.world.base_url).netloc.lower()] = base_url.rstrip("/")
        self.world.base_url = base_url.rstrip("/")
        self._old_hosts.pop(urlsplit(base_url).netloc.lower(), None)

    # -- tokens ----------------------------------------------------------------------------------

    def issue_tokens(self, user_id: int = 1) -> tuple[str, str]:
        """A fresh (access, refresh) pair of that user."""
        pair = self.world.issue(user_id)
        return pair.access, pair.refresh

    def expire_tokens(self) -> None:
        """All access tokens expire now."""
        self.auth.expire(self.world.member_id)

    def revoke(self, user_id: int | None = None) -> None:
        """Refresh tokens of that user (or of all) answer invalid_grant from now on."""
        self.auth.revoke(self.world.member_id, user_id)

    def dismiss(self, user_id: int) -> None:
        """An employee leaves: authorization_error, and no refresh."""
        self.state.users[user_id].active = False
