"""The frame's session: a short signed token in a header, no cookie (design.md §9).

It binds portal, user, role, language and time zone. It dies after 15 minutes, with the portal's
uninstallation, and with a new installation (`created_at` is its generation). Administrators' doors
want a role that was read in the last 10 minutes (reliability.md §4.3).
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Final

from itsdangerous import BadData, URLSafeSerializer
from starlette.requests import Request

from bitrix_app.core.portal import Portal, PortalState
from bitrix_app.core.ports import Clock
from bitrix_app.web.envelope import envelope, origin_of
from bitrix_app.web.problems import Problem

if TYPE_CHECKING:
    from bitrix_app.web.deps import WebDeps

LIFETIME: Final = 15 * 60.0
ROLE_FRESH: Final = 10 * 60.0


class Role(StrEnum):
    AGENT = "agent"
    ADMIN = "admin"


@dataclass(frozen=True, slots=True)
class Session:
    """Who is looking. `issued_at` is unix seconds: role and user were verified then."""

    member_id: str
    user_id: int
    role: Role
    language: str
    timezone: str
    generation: str
    issued_at: float

    @property
    def is_admin(self) -> bool:
        return self.role is Role.ADMIN


@dataclass(frozen=True, slots=True)
class Visit:
    """A request with a living session, and the portal that it belongs to."""

    session: Session
    portal: Portal
    token: str

    @property
    def manages(self) -> bool:
        """Administrators, and whom the settings name as managers: one rule for lists, dialers, statuses."""
        return self.session.is_admin or self.session.user_id in self.portal.settings.managers


class SessionSigner:
    """Issues and reads tokens. `keys` is the key ring: the first signs, all are accepted."""

    def __init__(self, keys: Sequence[str], clock: Clock) -> None:
        # itsdangerous wants the oldest first and signs with the last
        self._serializer = URLSafeSerializer(
            list(reversed(keys)),
            salt="frame-session",
            signer_kwargs={"key_derivation": "hmac", "digest_method": hashlib.sha256},
        )
        self._clock = clock

    def issue(self, portal: Portal, user_id: int, role: Role, language: str, timezone: str) -> str:
        """A new token, good for `LIFETIME` from now."""
        data = [portal.member_id, user_id, role.value, language, timezone, _generation(portal)]
        return str(self._serializer.dumps([*data, self._clock.now()]))

    def read(self, token: str, *, expired_too: bool = False) -> Session | None:
        """The session, or `None` for a token that we did not sign or that is over."""
        try:
            data: Any = self._serializer.loads(token)
            member_id, user_id, role, language, timezone, generation, issued_at = data
            session = Session(member_id, user_id, Role(role), language, timezone, generation, issued_at)
        except (BadData, ValueError, TypeError):
            return None
        age = self._clock.now() - session.issued_at
        return session if expired_too or -60.0 <= age < LIFETIME else None


def _generation(portal: Portal) -> str:
    return f"{portal.created_at:.3f}"


def bearer(request: Request) -> str:
    """The token of the `Authorization` header, or nothing."""
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    return token.strip() if scheme.lower() == "bearer" else ""


async def visit(request: Request, deps: WebDeps, *, admin: bool = False, manager: bool = False) -> Visit:
    """The living session behind a request, or the `Problem` that sends the page to renew it.

    Writes are also checked to come from our own page. With `admin` or `manager` the role must be fresh.
    """
    if request.method not in ("GET", "HEAD", "OPTIONS"):
        check_origin(request, deps)
    token = bearer(request)
    session = deps.signer.read(token) if token else None
    if session is None:
        known = deps.signer.read(token, expired_too=True) if token else None
        envelope(request).language = known.language if known else ""
        raise session_over()
    envelope(request).language = session.language
    portal = await deps.store.portal(session.member_id)
    if portal is None or portal.state is PortalState.UNINSTALLED or session.generation != _generation(portal):
        raise session_over()
    envelope(request).frame_ancestors = (origin_of(portal.client_endpoint),)
    if admin and not session.is_admin:
        raise Problem.forbidden("Only administrators of the portal may do this.", "admin_only")
    seen = Visit(session, portal, token)
    if manager and not seen.manages:
        raise Problem.forbidden("Only managers and administrators of the portal may do this.", "manager_only")
    if (admin or manager) and deps.clock.now() - session.issued_at > ROLE_FRESH:
        raise session_over()
    return seen


def session_over() -> Problem:
    """401 with what to do; our own page renews by itself and asks again."""
    return Problem(
        401,
        "session_expired",
        "This page has been open too long",
        "Reload the page in Bitrix24 to go on. Nothing is lost.",
        headers={"WWW-Authenticate": "Bearer"},
        extra={"hint": "reload"},
    )


def check_origin(request: Request, deps: WebDeps) -> None:
    """A write must come from our own page; programs, which name no origin, bring the token alone."""
    site = request.headers.get("sec-fetch-site", "")
    origin = request.headers.get("origin")
    base = deps.settings.app_base_url
    ours = {origin_of(base)} if base else {f"{request.url.scheme}://{request.headers.get('host', '')}"}
    if (site and site not in ("same-origin", "none")) or (origin is not None and origin not in ours):
        raise Problem.forbidden("This request came from another site.", "foreign_origin")
