"""The rounds of reconciliation: every five minutes the last three hours, each night the last two days.

How far the history was read is remembered after each piece, so that a restart goes on where it was. While
the PBX does not answer, a round is left out; the next one reads the gap.
"""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass
from typing import Any, Final
from zoneinfo import ZoneInfo

from loguru import logger

from bitrix_app.comparing import compare_anew
from bitrix_app.core.call import Call
from bitrix_app.core.chores import LEDGER_LANE, RECONCILED
from bitrix_app.core.commands import FileLedger, Priority, ReconcileHistory
from bitrix_app.core.errors import Trouble
from bitrix_app.core.history import NIGHT_HOUR, How, windows
from bitrix_app.core.jobs import Job, Moot
from bitrix_app.core.portal import Portal, Snapshot
from bitrix_app.core.ports import Clock
from bitrix_app.core.store import Store, Unit
from bitrix_app.core.transition import Owed
from bitrix_app.outages import Outages
from bitrix_app.reconcile import Reconciler, Tally

FILED_DAYS: Final = 3
"""Days whose ledgers are looked at again each night: what still waited then may be written now."""


@dataclass(frozen=True, slots=True)
class Mark:
    """How far the reading went (unix seconds). `since`: calls that began before are not ours to create.
    `night` is the day of the last nightly reading. `trouble`: why the last round read nothing.
    """

    since: float
    covered_until: float | None = None
    night: str = ""
    trouble: dict[str, str] | None = None

    def item(self) -> dict[str, Any]:
        return {
            "since": self.since,
            "covered_until": self.covered_until,
            "night": self.night,
            "trouble": self.trouble,
        }


def read_mark(snapshot: Snapshot | None, portal: Portal, now: float) -> Mark:
    """Where the reading stands. It begins when a portal is first read: calls from before this
    application was there may have been written by others. A new installation begins anew.
    """
    if snapshot is None or not snapshot.items:
        return Mark(since=now)
    item = snapshot.items[0]
    covered = item.get("covered_until")
    return Mark(
        since=max(float(item.get("since") or now), portal.created_at),
        covered_until=float(covered) if covered is not None else None,
        night=str(item.get("night") or ""),
        trouble=item.get("trouble"),
    )


class Reconciling:
    """See the module; a room of the outbox."""

    kinds: frozenset[str] = frozenset({ReconcileHistory.kind})

    def __init__(self, store: Store, clock: Clock, reconciler: Reconciler, outages: Outages) -> None:
        self._store = store
        self._clock = clock
        self._reconciler = reconciler
        self._outages = outages

    async def deliver(self, portal: Portal, job: Job, _call: Call | None) -> None:
        """One round. A trouble of the PBX is remembered, not raised: the next round is five minutes away."""
        if not isinstance(job.command, ReconcileHistory):
            raise Moot(f"nobody delivers {job.kind}")
        now = self._clock.now()
        mark = read_mark(await self._store.snapshot(portal.member_id, RECONCILED), portal, now)
        if not portal.unitalk_key:
            await self._save(portal, Mark(mark.since, mark.covered_until, mark.night))
            return
        night = self._night(portal, mark, now)
        total = Tally()
        for window in windows(mark.covered_until, now, night=bool(night)):
            try:
                total.add(await self._reconciler.read(portal, window, not_before=mark.since))
            except Trouble as trouble:
                logger.warning("the PBX's history of {} was not read: {}", portal.domain, trouble.code)
                said = {"code": trouble.code, "message": trouble.message, "hint": trouble.hint}
                await self._save(portal, Mark(mark.since, mark.covered_until, mark.night, said))
                return
            covered = max(window.until, mark.covered_until or window.until)
            mark = Mark(mark.since, covered, mark.night)
            await self._save(portal, mark)
        if night:
            mark = Mark(mark.since, mark.covered_until, night)
            await self._save(portal, mark, night=True)
        if total.counts[How.CREATED] or total.counts[How.FILLED]:
            told = (total.counts[How.CREATED], total.counts[How.FILLED], portal.domain)
            logger.info("{} calls created and {} filled from the PBX's history for {}", *told)
        await self._outages.look(portal, total.missed, mark.covered_until or now)

    def _night(self, portal: Portal, mark: Mark, now: float) -> str:
        """The day whose nightly reading is due, else nothing; a missed one is made later that day."""
        local = dt.datetime.fromtimestamp(now, ZoneInfo(portal.settings.pbx_timezone))
        day = local.date().isoformat()
        return day if local.hour >= NIGHT_HOUR and mark.night < day else ""

    async def _save(self, portal: Portal, mark: Mark, *, night: bool = False) -> None:
        now = self._clock.now()

        async def work(unit: Unit) -> None:
            await unit.save_snapshot(portal.member_id, Snapshot(RECONCILED, now, (mark.item(),)))
            if night:
                await compare_anew(unit, portal, now)
                await unit.owe(portal.member_id, LEDGER_LANE, _filings(mark.night), now)

        await self._store.transact(work)


def _filings(night: str) -> list[Owed]:
    """The last days' ledgers, for Drive."""
    day = dt.date.fromisoformat(night)
    days = [(day - dt.timedelta(days=back)).isoformat() for back in range(FILED_DAYS, 0, -1)]
    return [Owed(f"ledger:{text}", FileLedger(text), Priority.BACKFILL) for text in days]
