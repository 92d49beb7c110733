"""One living token pair per portal: refreshed once, stored before it is used, replaced when it dies.

bitrix24.md §3.3, §3.4; reliability.md §3.3 K7, A2, A3. The client secret goes to allow-listed auth
servers only, in a query that is never logged.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Coroutine, Sequence
from dataclasses import replace
from typing import Any, Final
from urllib.parse import urlencode

from loguru import logger

from bitrix_app.bitrix.servers import AuthServers, read_pair_fields
from bitrix_app.bitrix.verdicts import read_error
from bitrix_app.bitrix.wire import USER_AGENT
from bitrix_app.core.errors import (
    AnswerLost,
    ExpiredToken,
    Forbidden,
    NeedsReauth,
    NotSent,
    PaymentNeeded,
    PortalGone,
    PortalPaused,
    Refused,
    Trouble,
    Unavailable,
    UserRevoked,
    Who,
)
from bitrix_app.core.portal import Portal, PortalState, TokenPair
from bitrix_app.core.ports import Clock, Http, HttpRequest
from bitrix_app.core.store import Store, Unit

REFRESH_SECONDS: Final = 20.0
NOTED: Final[dict[type[Trouble], PortalState]] = {
    NeedsReauth: PortalState.NEEDS_REAUTH,
    PaymentNeeded: PortalState.SUSPENDED,
    # only ONAPPUNINSTALL uninstalls: a portal can say this wrongly for a while, and calls go on
    PortalGone: PortalState.SUSPENDED,
}


class TokenRefresher:
    """Keeps the pair in use of each portal in memory; the store has the truth."""

    def __init__(
        self,
        http: Http,
        clock: Clock,
        store: Store,
        servers: AuthServers,
        client_id: str,
        client_secret: str,
    ) -> None:
        self._http = http
        self._clock = clock
        self._store = store
        self._servers = servers
        self._client_id = client_id
        self._client_secret = client_secret
        self._using: dict[str, TokenPair] = {}
        self._locks: dict[str, asyncio.Lock] = {}
        self._unstored: dict[str, TokenPair] = {}
        self._running: set[asyncio.Task[TokenPair]] = set()

    async def token(self, portal: Portal) -> TokenPair:
        """The administrator's pair to speak with; refreshed first when its hour is known to be over.

        Raises `NeedsReauth` (and saves the portal so) when no administrator's pair is alive, else as
        `refresh`.
        """
        pair = self._using.get(portal.member_id)
        if pair is None or pair.expires_at <= self._clock.now():
            pair = await self._whole(self._renew(portal, pair))
        return pair

    async def refresh(self, portal: Portal, used: TokenPair) -> TokenPair:
        """After `expired_token`: a pair that is newer than `used`, refreshed by us or by another.

        Raises `NeedsReauth`, `PaymentNeeded`, `PortalGone` (each saved as the portal's state),
        `PortalPaused` for wrong application keys, `Unavailable` when no auth server answered, and
        `core.store.StoreUnavailable` when the new pair could not be stored (it is kept for the next try).
        """
        return await self._whole(self._renew(portal, used))

    async def revoke(self, portal: Portal, used: TokenPair) -> TokenPair:
        """After `authorization_error`: this user's pair is dead, the next administrator's takes over."""
        return await self._whole(self._replace_dead(portal, used))

    async def pairs(self, portal: Portal) -> Sequence[TokenPair]:
        """Living pairs, the administrators' first, as stored."""
        member_id = portal.member_id

        async def work(unit: Unit) -> Sequence[TokenPair]:
            return await unit.pairs(member_id)

        return [pair for pair in await self._store.transact(work) if not pair.dead]

    def forget(self, member_id: str) -> None:
        """After an uninstall or a re-installation: nothing in memory counts any more."""
        self._using.pop(member_id, None)

    async def note(self, portal: Portal, trouble: Trouble) -> None:
        """Save what a `PortalPaused` means for the portal; other troubles mean nothing for it."""
        state = NOTED.get(type(trouble))
        if state is None:
            return
        self.forget(portal.member_id)
        if trouble.code == "PORTAL_DELETED":
            state = PortalState.SUSPENDED  # a portal may only be closed for a while (§4.3: days)
        now, member_id, reason = self._clock.now(), portal.member_id, trouble.code

        async def work(unit: Unit) -> bool:
            known = await unit.portal(member_id)
            if known is None or known.state in (state, PortalState.UNINSTALLED):
                return False
            await unit.save_portal(
                replace(known, state=state, state_reason=reason, state_since=now, updated_at=now)
            )
            return True

        if await self._store.transact(work):
            logger.warning("portal {} is now {}: {}", portal.domain, state, reason)

    async def aclose(self) -> None:
        """Wait for refreshes in flight: a rotated pair that is not stored would be lost."""
        if self._running:
            await asyncio.gather(*self._running, return_exceptions=True)

    # --- inside ----------------------------------------------------------------------------------

    async def _whole(self, work: Coroutine[Any, Any, TokenPair]) -> TokenPair:
        """Run to the end even if whoever waits is cancelled: between the answer and the swap the
        only copy of the new refresh token is ours.
        """
        task = asyncio.ensure_future(work)
        self._running.add(task)
        task.add_done_callback(self._over)
        return await asyncio.shield(task)

    def _over(self, task: asyncio.Task[TokenPair]) -> None:
        self._running.discard(task)
        if not task.cancelled():
            task.exception()  # taken, so that a waiter that left does not leave a warning

    async def _renew(self, portal: Portal, used: TokenPair | None) -> TokenPair:
        async with self._locks.setdefault(portal.member_id, asyncio.Lock()):
            stored = await self.pairs(portal)
            now = self._clock.now()
            if used is None:
                same: list[TokenPair] = []
            else:
                same = [p for p in stored if p.user_id == used.user_id]
                for pair in same:
                    if pair.access != used.access and pair.expires_at > now:
                        return self._use(pair)  # another waiter, process or frame was faster
            others = [p for p in stored if p.is_admin and p not in same]
            if used is None and others and others[0].expires_at > now:
                return self._use(others[0])
            return await self._refresh_first(portal, [*same, *others], used)

    async def _replace_dead(self, portal: Portal, used: TokenPair) -> TokenPair:
        async with self._locks.setdefault(portal.member_id, asyncio.Lock()):
            for pair in await self._admins(portal):
                if pair.access == used.access:
                    await self._kill(portal, pair, "the user was revoked")
            return await self._refresh_first(portal, await self._admins(portal), used)

    async def _refresh_first(
        self, portal: Portal, pairs: Sequence[TokenPair], used: TokenPair | None
    ) -> TokenPair:
        """The first pair that lives or can be refreshed; those found dead on the way are killed."""
        for pair in pairs:
            if used is not None and pair.user_id != used.user_id and pair.expires_at > self._clock.now():
                return self._use(pair)
            try:
                return self._use(await self._rotate(portal, pair))
            except UserRevoked as dead:
                await self._kill(portal, pair, dead.code)
            except (PaymentNeeded, PortalGone) as paused:
                await self.note(portal, paused)
                raise
            except Refused as no:
                # our application's own keys or scopes: no job can help it, so all of them wait
                logger.error("the auth server refuses to refresh: {}", no.code)
                raise PortalPaused(no.message, code=no.code, hint=no.hint, who=Who.US) from no
        nobody = NeedsReauth("No administrator's token of this portal is alive.")
        await self.note(portal, nobody)
        raise nobody

    async def _rotate(self, portal: Portal, pair: TokenPair) -> TokenPair:
        """Ask for the next pair and store it; only then it may be used."""
        new = self._unstored.get(pair.refresh)
        if new is None:
            access, refresh, expires_at = await self._exchange(portal, pair)
            new = replace(
                pair,
                access=access,
                refresh=refresh,
                expires_at=expires_at,
                refreshed_at=self._clock.now(),
                generation=pair.generation + 1,
            )
            # if the store fails now, the next try stores this pair instead of spending a dead one
            self._unstored[pair.refresh] = new

        async def work(unit: Unit) -> tuple[bool, Sequence[TokenPair]]:
            swapped = await unit.swap_tokens(pair, new)
            return swapped, (() if swapped else await unit.pairs(pair.portal))

        swapped, stored = await self._store.transact(work)
        self._unstored.pop(pair.refresh, None)
        if swapped:
            return new
        # someone else's pair of this user is in the store: theirs is the one that others use
        for other in stored:
            if other.user_id == pair.user_id and not other.dead:
                return other
        raise Unavailable("The token pair changed while it was refreshed.", code="REFRESH_RACE")

    async def _exchange(self, portal: Portal, pair: TokenPair) -> tuple[str, str, float]:
        query = urlencode(
            {
                "grant_type": "refresh_token",
                "client_id": self._client_id,
                "client_secret": self._client_secret,
                "refresh_token": pair.refresh,
            }
        )
        again = True
        for server in self._servers.order(portal.auth_server):
            request = HttpRequest(
                "GET",
                f"{server}/oauth/token/?{query}",
                headers={"Accept": "application/json", "User-Agent": USER_AGENT},
                timeout=REFRESH_SECONDS,
            )
            while True:
                try:
                    return await self._answered(portal, request)
                except NotSent:
                    break  # the other server is for this case alone (§3.1)
                except AnswerLost as lost:
                    # the pair may be rotated already: said once more, then the truth is known (K7)
                    if not again:
                        raise Unavailable("The auth server's answer was lost.", code=lost.code) from lost
                    again = False
        raise Unavailable("No auth server of Bitrix24 could be reached.", code="NOT_SENT")

    async def _answered(self, portal: Portal, request: HttpRequest) -> tuple[str, str, float]:
        response = await self._http.send(request)
        now = self._clock.now()
        try:
            body = json.loads(response.body)
        except (ValueError, RecursionError):
            body = None
        if not isinstance(body, dict):
            raise AnswerLost(f"The auth server answered HTTP {response.status} without a verdict.")
        if body.get("error"):
            trouble = read_error(body, response, reads=False, now=now)
            if isinstance(trouble, ExpiredToken):
                raise UserRevoked(trouble.message, code=trouble.code) from trouble
            raise trouble
        fields = read_pair_fields(body, now)
        if fields is None:
            raise AnswerLost("The auth server's answer holds no token pair.")
        named = body.get("member_id")
        if named and str(named).lower() != portal.member_id.lower():
            raise Forbidden("The auth server answered for another portal.", code="FOREIGN_TOKEN")
        return fields

    async def _admins(self, portal: Portal) -> list[TokenPair]:
        return [pair for pair in await self.pairs(portal) if pair.is_admin]

    async def _kill(self, portal: Portal, pair: TokenPair, why: str) -> None:
        async def work(unit: Unit) -> None:
            await unit.kill_pair(pair)

        await self._store.transact(work)
        logger.warning("portal {}: the pair of user {} is dead: {}", portal.domain, pair.user_id, why)

    def _use(self, pair: TokenPair) -> TokenPair:
        self._using[pair.portal] = pair
        return pair
