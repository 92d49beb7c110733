"""What the web side is given; the composition root fills it in, nothing here is built by the web."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol

from bitrix_app.bitrix.events import BitrixEvent
from bitrix_app.core.portal import Portal
from bitrix_app.core.ports import Clock, Profile, Verified, Verifier
from bitrix_app.core.store import Store
from bitrix_app.portals import FrameTokens
from bitrix_app.settings import Settings
from bitrix_app.web.session import SessionSigner


class Intake(Protocol):
    """The door for events. Both return when the event is durable.

    They raise `core.store.StoreUnavailable` when it is not: then the sender must hear so.
    """

    async def pbx(
        self,
        portal: Portal,
        *,
        body: bytes,
        content_type: str,
        query: Mapping[str, str],
        method: str,
        correlation_id: str,
    ) -> None: ...

    async def bitrix(self, portal: Portal, event: BitrixEvent, body: bytes, correlation_id: str) -> None: ...


class Portals(Protocol):
    """The door for portals: everything handed in was vouched for by the auth server."""

    async def installed(
        self,
        verified: Verified,
        profile: Profile,
        tokens: FrameTokens,
        *,
        application_token: str = "",
        language: str = "en",
    ) -> Portal:
        """Store the portal with its administrator's pair and owe it its bindings."""
        ...

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
        ...


@dataclass(frozen=True, slots=True)
class WebDeps:
    """The web side's collaborators.

    `nudge(member_id)` tells the worker that a portal has something to do. `worker_alive()` says
    whether this process's worker has turned lately, `None` when the process has none (role `web`).
    """

    settings: Settings
    store: Store
    clock: Clock
    verifier: Verifier
    intake: Intake
    portals: Portals
    signer: SessionSigner
    nudge: Callable[[str], None]
    worker_alive: Callable[[], bool | None]
