"""The doors for events: durable first, then 200 (interface.md «Addresses», reliability.md §4.1).

`StoreUnavailable` passes through: `problems.on_store_unavailable` makes it 503 with Retry-After.
"""

from __future__ import annotations

from typing import Final

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from bitrix_app.bitrix.events import BitrixEvent, read_app_version, read_event
from bitrix_app.bitrix.frames import language_of
from bitrix_app.core.portal import Portal, PortalState
from bitrix_app.portals import FrameTokens
from bitrix_app.web.bodies import WEBHOOK_BYTES, pairs_of, read_body
from bitrix_app.web.deps import WebDeps
from bitrix_app.web.envelope import envelope
from bitrix_app.web.frames import forged, profile_of, verify
from bitrix_app.web.problems import Problem

IN_FLIGHT: Final = 1000
"""Webhooks that may wait for the disk at once; beyond it the sender is asked to come back (W4)."""
PROVABLE: Final = frozenset({"ONAPPINSTALL", "ONAPPUPDATE"})
"""Events that bring an access token and may bring a new application_token (bitrix24.md §1.5)."""


class Webhooks:
    """Both doors. `in_flight` bounds the memory that a flood can take."""

    def __init__(self, deps: WebDeps) -> None:
        self._deps = deps
        self._in_flight = 0

    async def unitalk(self, request: Request) -> Response:
        """`POST|GET /unitalk/events/{token}`: 200 as soon as it is durable, also when unreadable."""
        if request.method == "OPTIONS":
            return Response(status_code=204, headers={"Allow": "GET, HEAD, OPTIONS, POST"})
        if self._in_flight >= IN_FLIGHT:
            raise Problem.not_stored()
        self._in_flight += 1
        try:
            token = request.path_params["token"]
            portal = await self._deps.store.webhook_portal(token, self._deps.clock.now())
            if portal is None or portal.state is PortalState.UNINSTALLED:
                raise Problem.not_found()
            if request.method == "HEAD":
                return Response()
            body = await read_body(request, WEBHOOK_BYTES)
            await self._deps.intake.pbx(
                portal,
                body=body,
                content_type=request.headers.get("content-type", ""),
                query=dict(request.query_params),
                method=request.method,
                correlation_id=envelope(request).correlation_id,
            )
        finally:
            self._in_flight -= 1
        return JSONResponse({"status": "stored"})

    async def bitrix(self, request: Request) -> Response:
        """`POST /bitrix/events`: believed by application_token, before anything is done with it."""
        body = await read_body(request, WEBHOOK_BYTES)
        try:
            event = read_event(pairs_of(body))
        except ValueError as fault:
            raise Problem.malformed(str(fault)) from None
        portal = await self._proven(event)
        await self._deps.intake.bitrix(portal, event, body, envelope(request).correlation_id)
        return JSONResponse({"status": "stored"})

    async def _proven(self, event: BitrixEvent) -> Portal:
        """The portal that really sent it, or a `Problem`."""
        portal = await self._deps.store.portal(event.auth.member_id)
        known = portal is not None and portal.state is not PortalState.UNINSTALLED
        right = event.token_matches(portal.application_token if portal else "")
        if portal is not None and known and right:
            return portal
        if event.name in PROVABLE and event.auth.access_token:
            return await self._prove_by_token(event, event.auth.access_token)
        raise forged("wrong application_token" if known else "unknown portal")

    async def _prove_by_token(self, event: BitrixEvent, token: str) -> Portal:
        """An installation that we have not seen, or a token that changed: ask the auth server."""
        verified = await verify(self._deps, token, event.auth.server_endpoint)
        if verified.member_id != event.auth.member_id:
            raise forged("another portal's token")
        profile = await profile_of(self._deps, verified, token)
        if not profile.is_admin:
            raise forged("not an administrator's token")
        return await self._deps.portals.installed(
            verified,
            profile,
            FrameTokens(token, event.auth.refresh_token or "", event.auth.expires_in or 3600),
            application_token=event.auth.application_token,
            language=language_of(read_app_version(event).language),
        )
