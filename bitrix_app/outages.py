"""Notices that events of the PBX did not come, and tells people once what became of the calls.

Our own downtime shows by the last heartbeat in the store; the PBX's silence by calls in its history of
which no webhook came. Rules: `core.outage`. The gap itself is filled by `reconcile.py`.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Final
from zoneinfo import ZoneInfo

from loguru import logger

from bitrix_app.core.commands import Notify, Priority
from bitrix_app.core.history import How
from bitrix_app.core.ledger import Standing, entries_of
from bitrix_app.core.outage import BEAT_EVERY, Kind, Outage, downtime, may_tell, silent_since
from bitrix_app.core.portal import Portal, PortalState
from bitrix_app.core.ports import Clock
from bitrix_app.core.store import Store, StoreUnavailable, Unit
from bitrix_app.core.transition import Owed

NOTICES_LANE: Final = "portal:notices"
NAME: Final = "house"
SLACK: Final = 120.0
"""Seconds around an outage whose calls count as recovered from it."""


class Outages:
    """See the module."""

    def __init__(self, store: Store, clock: Clock, nudge: Callable[[str], None]) -> None:
        self._store = store
        self._clock = clock
        self._nudge = nudge
        self.up_since = clock.now()

    async def began(self) -> None:
        """The process starts: was nobody there for a while?"""
        now = self.up_since = self._clock.now()
        gap = downtime(await self._store.beat(NAME, now), now)
        if gap is None:
            return
        logger.warning("nobody took events in for {:.0f} s; the PBX's history fills the gap", now - gap[0])
        portals = [p for p in await self._store.portals() if p.state is not PortalState.UNINSTALLED]

        async def work(unit: Unit) -> None:
            for portal in portals:
                await unit.save_outage(Outage(portal.member_id, Kind.DOWN, gap[0], gap[1]))

        await self._store.transact(work)

    async def run(self) -> None:
        """Until cancelled: leave signs of life."""
        while True:
            await self._clock.sleep(BEAT_EVERY)
            try:
                await self._store.beat(NAME, self._clock.now())
            except StoreUnavailable as away:
                logger.warning("the heartbeat waits: {}", away.reason)

    async def look(self, portal: Portal, missed: Sequence[tuple[float, float]], covered_until: float) -> None:
        """After a reading of the history: `missed` are (start, end) of calls without any webhook."""
        now = self._clock.now()
        heard = await self._store.last_heard(portal.member_id)
        known = await self._store.outages(portal.member_id)
        since = silent_since(heard, self.up_since, missed, now)
        silent = next((one for one in known if one.kind is Kind.SILENT and one.ended_at is None), None)
        if silent is None and since is not None:
            silent = Outage(portal.member_id, Kind.SILENT, since, warned=True)
            known = [*known, silent]
            await self._save(portal, silent, [_silence(portal, silent)])
        elif silent is not None and heard is not None and heard > silent.began_at:
            over = replace(silent, ended_at=heard)
            known = [over if one is silent else one for one in known]
            await self._save(portal, over, [])
        for outage in known:
            await self._tell(portal, outage, covered_until, now)

    async def _tell(self, portal: Portal, outage: Outage, covered_until: float, now: float) -> None:
        if outage.told or outage.ended_at is None:
            return
        rows = await self._store.recovered(portal.member_id, outage.began_at - SLACK, outage.ended_at + SLACK)
        entries = entries_of(rows, await self._store.material_of(portal.member_id, rows))
        waiting = sum(1 for entry in entries if entry.standing is Standing.WAITING)
        if not may_tell(outage, covered_until, waiting, now):
            return
        back = [row for row in rows if row.how is not How.FAILED]
        lost = (Standing.NEEDS_PERSON, Standing.UNEXPLAINED)
        needs = sum(1 for entry in entries if entry.standing in lost)
        told = replace(outage, told=True, recovered=len(back), needs=needs)
        await self._save(portal, told, _recovered(portal, told) if rows or outage.warned else [])

    async def _save(self, portal: Portal, outage: Outage, notices: Sequence[Owed]) -> None:
        async def work(unit: Unit) -> None:
            await unit.save_outage(outage)
            await unit.owe(portal.member_id, NOTICES_LANE, notices, self._clock.now())

        await self._store.transact(work)
        if notices:
            self._nudge(portal.member_id)


def _silence(portal: Portal, outage: Outage) -> Owed:
    """For the administrators, while it goes on: the addresses in the PBX's cabinet are theirs to mend."""
    said = (
        f"Unitalk has sent no events since {_clock_of(portal, outage.began_at)}, though its history has"
        " calls. They are taken from the history meanwhile, some minutes late and without a card."
        " Check the event handlers in the Unitalk cabinet."
    )
    return Owed(f"notify:silence:{int(outage.began_at)}", Notify(_tag(outage), said), Priority.CRM)


def _recovered(portal: Portal, outage: Outage) -> list[Owed]:
    """One message for each manager, else for the administrators."""
    begin = _clock_of(portal, outage.began_at)
    end = _clock_of(portal, outage.ended_at or outage.began_at, outage.began_at)
    count, needs = outage.recovered, outage.needs
    if count == 0 and needs == 0:
        said = f"Events of Unitalk come again. From {begin} to {end} no call was missed."
    elif needs == 0:
        said = f"Calls from {begin} to {end} recovered: {count}. Nobody has to do anything."
    elif count == 1:
        said = f"1 call from {begin} to {end} recovered, {needs} need you. The ledger tells which."
    else:
        said = f"{count} calls from {begin} to {end} recovered, {needs} need you. The ledger tells which."
    people: tuple[int | None, ...] = portal.settings.managers or (None,)
    key = f"notify:outage:{int(outage.began_at)}"
    return [
        Owed(f"{key}:{user or 'admins'}", Notify(_tag(outage), said, user), Priority.CRM) for user in people
    ]


def _tag(outage: Outage) -> str:
    return f"outage:{outage.kind}:{int(outage.began_at)}"


def _clock_of(portal: Portal, at: float, beside: float | None = None) -> str:
    """A moment on the PBX's clock; with its day unless it is the day of `beside`."""
    zone = ZoneInfo(portal.settings.pbx_timezone)
    moment = dt.datetime.fromtimestamp(at, zone)
    if beside is not None and moment.date() == dt.datetime.fromtimestamp(beside, zone).date():
        return f"{moment:%H:%M}"
    return f"{moment:%d.%m. %H:%M}"
