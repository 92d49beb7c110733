"""A frame's POST proves nothing by itself: here it is believed or refused (bitrix24.md §2.3).

The auth server says whose the token is; only its words are used afterwards. Neither a token nor a
secret is ever sent to an address that a request named.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final
from urllib.parse import urlsplit

from loguru import logger
from starlette.requests import Request

from bitrix_app.bitrix.events import FrameRequest, read_frame
from bitrix_app.core.errors import Forbidden, Trouble
from bitrix_app.core.ports import Profile, Verified
from bitrix_app.portals import FrameTokens
from bitrix_app.web.bodies import WEBHOOK_BYTES, pairs_of, read_body
from bitrix_app.web.deps import WebDeps
from bitrix_app.web.envelope import envelope, origin_of
from bitrix_app.web.problems import RETRY_AFTER, Problem

CLOUD_ZONES: Final = tuple(
    f"https://*.bitrix24.{zone}"
    for zone in (
        "com", "eu", "de", "fr", "it", "pl", "es", "ua", "ru", "by", "kz", "uk", "in", "jp", "vn", "id",
        "com.br", "com.tr", "mx", "co", "cn", "tech",
    )
)  # fmt: skip
"""Who may frame the one page that is shown before anybody could be verified (bitrix24.md §2.2)."""


@dataclass(frozen=True, slots=True)
class Opened:
    """A frame that is believed: the auth server knows its token, the portal knows its user."""

    frame: FrameRequest
    verified: Verified
    profile: Profile

    @property
    def tokens(self) -> FrameTokens:
        return FrameTokens(self.frame.access_token, self.frame.refresh_token, self.frame.expires_in)


async def open_frame(request: Request, deps: WebDeps) -> Opened:
    """Read and verify. Raises `Problem`: 400 unreadable, 403 forged, 503 nobody could vouch."""
    body = await read_body(request, WEBHOOK_BYTES)
    try:
        frame = read_frame(request.query_params, dict(pairs_of(body)))
    except ValueError as fault:
        raise Problem.malformed(str(fault)) from None
    verified = await verify(deps, frame.access_token, frame.server_endpoint, request)
    if verified.member_id != frame.member_id:
        raise forged("another portal's token")
    if not same_host(frame.domain, verified.client_endpoint):
        raise forged("another portal's domain")
    profile = await profile_of(deps, verified, frame.access_token, request)
    ancestors = [origin_of(verified.client_endpoint)]
    if not frame.is_https:
        # a self-hosted portal opened over http (PROTOCOL=0) frames us from there, though its REST is https
        ancestors.append(f"http://{frame.domain}")
    envelope(request).frame_ancestors = tuple(dict.fromkeys(ancestors))
    return Opened(frame, verified, profile)


async def verify(deps: WebDeps, access_token: str, server: str, request: Request | None = None) -> Verified:
    """Whose token it is, or the `Problem`."""
    try:
        return await deps.verifier.verify(access_token, server)
    except Forbidden as refused:
        if refused.code == "INSECURE_PORTAL":
            raise Problem.forbidden(refused.message, "insecure_portal", refused.hint) from None
        raise forged(refused.code) from None
    except Trouble as trouble:
        raise _nobody_vouches(trouble, request) from None


async def profile_of(
    deps: WebDeps, verified: Verified, access_token: str, request: Request | None = None
) -> Profile:
    """The user's rights by the verified portal, or the `Problem`."""
    try:
        profile = await deps.verifier.profile(verified, access_token)
    except Forbidden as refused:
        raise forged(refused.code) from None
    except Trouble as trouble:
        raise _nobody_vouches(trouble, request) from None
    if profile.user_id != verified.user_id:
        raise forged("another user's profile")
    return profile


def forged(reason: str) -> Problem:
    """The refusal; the reason is for our log, not for who tries."""
    logger.bind(reason=reason).warning("an unproven request was refused")
    return Problem.forbidden(
        "Bitrix24 does not confirm this request. Open the application from your portal's menu.",
        "not_confirmed",
    )


def same_host(domain: str, endpoint: str) -> bool:
    """Whether a posted DOMAIN (a host name, its port only when unusual) is a verified address's."""
    ours = urlsplit(endpoint)
    host, _, port = domain.lower().partition(":")
    usual = {"https": 443, "http": 80}.get(ours.scheme, 0)
    return host == ours.hostname and (int(port) if port.isdigit() else usual) == (ours.port or usual)


def _nobody_vouches(trouble: Trouble, request: Request | None) -> Problem:
    logger.bind(code=trouble.code, category=trouble.category).warning("verification is not possible now")
    if request is not None:
        envelope(request).frame_ancestors = CLOUD_ZONES
    return Problem(
        503,
        "verification_unavailable",
        "Bitrix24 does not answer at the moment",
        "We could not ask Bitrix24 who you are. Please reload the page in a minute.",
        retryable=True,
        headers={"Retry-After": RETRY_AFTER},
    )
