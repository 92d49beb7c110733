"""`POST /session {"auth_id"}`: a page that stays open proves its user anew (design.md §9)."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from bitrix_app.core.portal import PortalState
from bitrix_app.web.bodies import read_json
from bitrix_app.web.deps import WebDeps
from bitrix_app.web.envelope import envelope, origin_of
from bitrix_app.web.frames import profile_of, verify
from bitrix_app.web.problems import Problem
from bitrix_app.web.session import LIFETIME, Role, bearer, check_origin, session_over


class Renewal:
    """See the module."""

    def __init__(self, deps: WebDeps) -> None:
        self._deps = deps

    async def renew(self, request: Request) -> Response:
        """The old token, also when it is over, only tells language and that nobody else took over."""
        check_origin(request, self._deps)
        old = self._deps.signer.read(bearer(request), expired_too=True)
        envelope(request).language = old.language if old else ""
        auth_id = (await read_json(request)).get("auth_id")
        if not isinstance(auth_id, str) or not 1 <= len(auth_id) <= 500:
            raise Problem.malformed("auth_id must be the text that Bitrix24 gave.")
        verified = await verify(self._deps, auth_id, "")
        portal = await self._deps.store.portal(verified.member_id)
        if portal is None or portal.state is PortalState.UNINSTALLED:
            raise session_over()
        if old and (old.member_id, old.user_id) != (verified.member_id, verified.user_id):
            raise Problem.forbidden("This page belongs to another user. Reload it.", "other_user")
        profile = await profile_of(self._deps, verified, auth_id)
        role = Role.ADMIN if profile.is_admin else Role.AGENT
        language = old.language if old else portal.language
        token = self._deps.signer.issue(portal, verified.user_id, role, language, profile.timezone)
        envelope(request).frame_ancestors = (origin_of(portal.client_endpoint),)
        return JSONResponse({"session": token, "expires_in": int(LIFETIME), "role": role.value})
