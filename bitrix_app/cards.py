"""Cards in the portal's words: for whom Show and Hide are said, who is responsible for a client, strays.

Who is to see a card is decided by `core.cards` from the call as it is at this moment.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from loguru import logger

from bitrix_app.bitrix import telephony
from bitrix_app.bitrix.client import BitrixClient
from bitrix_app.bitrix.wire import RestCall
from bitrix_app.core import cards
from bitrix_app.core.call import Call
from bitrix_app.core.commands import FindResponsible, Hide, Priority, Show, SweepCard
from bitrix_app.core.errors import PortalPaused, Throttled, Trouble, Verdict
from bitrix_app.core.events import CallEvent, CardsHidden, Done, ResponsibleFound
from bitrix_app.core.jobs import Job, JobState, Moot
from bitrix_app.core.mapping import Choice
from bitrix_app.core.portal import Portal
from bitrix_app.core.ports import Clock
from bitrix_app.core.store import Store, Unit
from bitrix_app.directory import Directory
from bitrix_app.owners import Owners
from bitrix_app.strays import WINDOW, could_be

AT_ONCE: Final = 500
"""Users that one Hide names at most."""
SWEEP_AGAIN: Final = 60.0
"""Seconds until a stray is looked at again while a registration of its number is under way."""
UNDER_WAY: Final = (JobState.BLOCKED, JobState.WAITING, JobState.RUNNING, JobState.RETRYING)


async def card_request(
    directory: Directory, portal: Portal, job: Job, call: Call
) -> tuple[RestCall | None, CallEvent]:
    """What a Show or Hide says now (`None`: nothing needs to be said) and what it means when it is done.

    Raises `Moot` for a Show that nobody wants any more.
    """
    command = job.command
    if isinstance(command, Show):
        return await _show(directory, portal, job, call, command)
    if not isinstance(command, Hide):
        raise TypeError(f"{job.kind} is no card")
    call_id = cards.card_id(call)
    if call.finished or call_id is None:
        raise Moot("Bitrix24 shows no card of this call")
    extensions, users = cards.to_hide(call, command)
    told = CardsHidden(extensions, users)
    stay = {*await directory.users_of(portal, call.shown), *call.shown_users}
    those = [u for u in await _users(directory, portal, extensions, users) if u not in stay]
    return (telephony.hide(call_id, those) if those else None), told


async def _show(
    directory: Directory, portal: Portal, job: Job, call: Call, command: Show
) -> tuple[RestCall | None, CallEvent]:
    extensions, users = cards.to_show(call, command) if call.is_live else ((), ())
    those = await _users(directory, portal, extensions, users)
    if those:
        return telephony.show(call.bitrix_call_id or "", those), Done(job.key)
    if job.doubt:
        return None, Done(job.key)  # the earlier try may have opened it, so this must be heard of
    if not call.is_live:
        raise Moot("the call is over")
    if extensions:
        raise Moot("none of the extensions has a user in Bitrix24")
    raise Moot("somebody else has answered")


async def _users(
    directory: Directory, portal: Portal, extensions: Sequence[str], users: Sequence[int]
) -> list[int]:
    return list(dict.fromkeys([*await directory.users_of(portal, extensions), *users]))


class Cards:
    """A room of the outbox; see the module."""

    kinds = frozenset({FindResponsible.kind, SweepCard.kind})

    def __init__(
        self, store: Store, client: BitrixClient, directory: Directory, owners: Owners, clock: Clock
    ) -> None:
        self._store = store
        self._client = client
        self._directory = directory
        self._owners = owners
        self._clock = clock

    async def deliver(self, portal: Portal, job: Job, call: Call | None) -> object:
        """See `bitrix_app.outbox.Room`."""
        match job.command:
            case FindResponsible():
                if call is None:
                    raise Moot("the call was erased")
                return await self._find(portal, call)
            case SweepCard() as command:
                await self._sweep(portal, command)
                return None
        raise Moot(f"nobody delivers {job.kind}")

    async def _find(self, portal: Portal, call: Call) -> ResponsibleFound:
        """Whether he has clocked in is not asked: in many portals nobody clocks in although they could,
        and a card on the screen of somebody who is away costs nothing.
        """
        if not call.is_live or call.legs:
            raise Moot("somebody has answered" if call.legs else "the call is over")
        try:
            user = await self._owners.responsible(portal, call, Priority.LIVE)
        except (Throttled, PortalPaused):
            raise
        except Trouble as trouble:
            if trouble.verdict is not Verdict.PERSON:
                raise
            logger.warning("the responsible person was not told: {}", trouble.code)
            raise Moot(f"the responsible person could not be asked for: {trouble.message}") from None
        if user is None:
            raise Moot("nobody who works here is responsible for this client")
        if user in await _users(self._directory, portal, call.shown, call.shown_users):
            raise Moot("the responsible person sees the card already")
        return ResponsibleFound(user)

    async def _sweep(self, portal: Portal, command: SweepCard) -> None:
        if await self._owned(portal, command):
            raise Moot("the CALL_ID belongs to a call of ours")
        everybody = await self._everybody(portal)
        logger.warning("{} belongs to no call of ours: its card is closed", command.call_id)
        for start in range(0, len(everybody), AT_ONCE):
            request = telephony.hide(command.call_id, everybody[start : start + AT_ONCE])
            await self._client.call(portal, request, Priority.CRM)

    async def _owned(self, portal: Portal, command: SweepCard) -> bool:
        """Raises `Throttled` while a registration is under way that may turn out to be this one."""
        now = self._clock.now()

        async def work(unit: Unit) -> tuple[bool, list[str]]:
            owner = await unit.call_by_bitrix_id(portal.member_id, command.call_id)
            calls = await could_be(unit, portal.member_id, command.number, now - WINDOW)
            return owner is not None, [call.id for call in calls]

        owned, waiting = await self._store.transact(work)
        for lane in [] if owned else waiting:
            for one in await self._store.lane(portal.member_id, lane):
                if one.key == "register" and one.state in UNDER_WAY:
                    raise Throttled(
                        "A call of this number is being registered; it may be this one.",
                        code="REGISTERING",
                        hint="It is looked at again by itself.",
                        retry_at=now + SWEEP_AGAIN,
                    )
        return owned

    async def _everybody(self, portal: Portal) -> list[int]:
        """The event does not say who sees the card: whoever works here may."""
        agents = await self._directory.agents(portal.member_id)
        default = await self._directory.user_for(portal, None, None)
        users = [agent.user_id for agent in agents if agent.active]
        return list(dict.fromkeys([*users, *_ids(default)]))


def _ids(choice: Choice | None) -> list[int]:
    return [choice.user_id] if choice else []
