"""A portal comes, comes back, or is healed by an administrator's frame.

Nothing here trusts a request: every value that matters is from `Verified` and `Profile`, which the
auth server and the verified portal vouched for (bitrix24.md §2.3).
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Callable
from dataclasses import dataclass, replace

from loguru import logger

from bitrix_app.core.chores import portal_work
from bitrix_app.core.portal import Portal, PortalSettings, PortalState, TokenPair
from bitrix_app.core.ports import Clock, Profile, Verified
from bitrix_app.core.store import Store, Unit, WebhookToken

ADMIN_PAIRS = 3
"""How many administrators' pairs are kept for failover (design.md §6)."""


@dataclass(frozen=True, slots=True)
class Prefill:
    """Settings of the environment for the one portal that it names."""

    portal: str = ""
    unitalk_key: str = ""
    webhook_token: str = ""
    timezone: str = "Europe/Kyiv"

    def is_for(self, verified: Verified) -> bool:
        return bool(self.portal) and self.portal.lower() in (verified.member_id, verified.domain.lower())


@dataclass(frozen=True, slots=True)
class FrameTokens:
    """The pair that a frame or an install event brought. `expires_in` is seconds."""

    access: str
    refresh: str
    expires_in: float


class Portals:
    """See the module. `nudge` and `forget` as in `Intake`."""

    def __init__(
        self,
        store: Store,
        clock: Clock,
        nudge: Callable[[str], None],
        forget: Callable[[str], None],
        prefill: Prefill,
    ) -> None:
        self._store = store
        self._clock = clock
        self._nudge = nudge
        self._forget = forget
        self._prefill = prefill
        self._making_tokens = asyncio.Lock()

    async def installed(
        self,
        verified: Verified,
        profile: Profile,
        tokens: FrameTokens,
        *,
        application_token: str = "",
        language: str = "en",
    ) -> Portal:
        """Store a verified portal with its administrator's pair and owe it its bindings."""
        now = self._clock.now()
        prefill = self._prefill if self._prefill.is_for(verified) else Prefill()

        async def work(unit: Unit) -> Portal:
            known = await unit.portal(verified.member_id)
            portal = _merged(known, verified, profile, application_token, language, now)
            is_new = known is None or not known.client_endpoint  # nothing is left of an erased one
            portal = _prefilled(portal, prefill, self._prefill.timezone, is_new=is_new)
            await unit.save_portal(portal)
            await unit.keep_pair(_pair(verified, profile, tokens, now), ADMIN_PAIRS)
            if known is not None and known.state is PortalState.UNINSTALLED:
                await unit.revive_stopped(portal.member_id, now)
            for lane, owed in portal_work():
                await unit.owe(portal.member_id, lane, (owed,), now)
            return portal

        portal = await self._store.transact(work)
        await self._ensure_webhook_token(portal.member_id, prefill.webhook_token)
        logger.info("portal {} installed by user {}", portal.domain, profile.user_id)
        self._forget(portal.member_id)
        self._nudge(portal.member_id)
        return portal

    async def heal(
        self,
        verified: Verified,
        profile: Profile,
        tokens: FrameTokens,
        *,
        application_token: str = "",
        language: str = "en",
    ) -> Portal:
        """An administrator opened the app: keep the pair, follow a rename, end a pause."""
        now = self._clock.now()

        async def work(unit: Unit) -> tuple[Portal, bool]:
            known = await unit.portal(verified.member_id)
            portal = _merged(known, verified, profile, application_token, language, now)
            changed = known is None or replace(portal, updated_at=known.updated_at) != known
            if changed:
                await unit.save_portal(portal)
            if profile.is_admin:
                await unit.keep_pair(_pair(verified, profile, tokens, now), ADMIN_PAIRS)
            if known is None or known.version != portal.version:
                # each version drops our handlers and placements (bitrix24.md §1.3)
                for lane, owed in portal_work():
                    await unit.owe(portal.member_id, lane, (owed,), now)
            return portal, known is not None and not known.works

        portal, was_paused = await self._store.transact(work)
        if was_paused:
            logger.info("portal {} works again", portal.domain)
            self._forget(portal.member_id)
        self._nudge(portal.member_id)
        return portal

    async def _ensure_webhook_token(self, member_id: str, wanted: str) -> None:
        async with self._making_tokens:
            await self._make_webhook_token(member_id, wanted)

    async def _make_webhook_token(self, member_id: str, wanted: str) -> None:
        tokens = await self._store.webhook_tokens(member_id)
        now = self._clock.now()
        living = [t for t in tokens if t.expires_at is None or t.expires_at > now]
        if wanted and any(t.token == wanted for t in living):
            return
        if living and not wanted:
            return
        token = WebhookToken(member_id, wanted or secrets.token_urlsafe(24), created_at=now)
        await self._store.add_webhook_token(token, overlap_until=now + 86_400)


def _merged(
    known: Portal | None,
    verified: Verified,
    profile: Profile,
    application_token: str,
    language: str,
    now: float,
) -> Portal:
    """The portal's row after a verified frame; settings and history of an earlier one stay."""
    returning = known is not None and known.state is PortalState.UNINSTALLED
    base = known or Portal(
        verified.member_id, verified.domain, verified.client_endpoint, verified.auth_server
    )
    state = PortalState.ACTIVE if verified.installed else PortalState.INSTALLING
    return replace(
        base,
        domain=verified.domain,
        client_endpoint=verified.client_endpoint,
        auth_server=verified.auth_server,
        application_token=_token(base, profile, application_token, returning=returning),
        scope=verified.scope,
        status=verified.status,
        version=verified.version,
        state=state,
        state_reason="",
        state_since=base.state_since if base.state is state else now,
        language=language or base.language,
        installed_by=base.installed_by or (profile.user_id if profile.is_admin else None),
        created_at=now if known is None or returning else base.created_at,
        updated_at=now,
    )


def _token(base: Portal, profile: Profile, offered: str, *, returning: bool) -> str:
    """Only an administrator's frame may bring a new application_token: the frame itself is not
    signed, and a wrong token would make us refuse the portal's real events.
    """
    if offered and profile.is_admin:
        return offered
    return "" if returning else base.application_token


def _prefilled(portal: Portal, prefill: Prefill, timezone: str, *, is_new: bool) -> Portal:
    if is_new:
        portal = replace(portal, settings=PortalSettings(pbx_timezone=timezone))
    return replace(portal, unitalk_key=prefill.unitalk_key) if prefill.unitalk_key else portal


def _pair(verified: Verified, profile: Profile, tokens: FrameTokens, now: float) -> TokenPair:
    return TokenPair(
        portal=verified.member_id,
        user_id=verified.user_id,
        access=tokens.access,
        refresh=tokens.refresh,
        expires_at=now + tokens.expires_in,
        is_admin=profile.is_admin,
        refreshed_at=now,
    )
