"""Our written calls against Bitrix24's statistics, fifty in a request, behind all other work.

What is safe is mended: a recording is attached anew, a call that nobody was going to write is taken up
again, a finish whose answer was lost counts when the statistics have it. The rest is a list (`Difference`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Final

from loguru import logger

from bitrix_app.bitrix import statistics
from bitrix_app.bitrix.client import BitrixClient
from bitrix_app.bitrix.statistics import Statistic
from bitrix_app.bitrix.wire import BATCH_LIMIT
from bitrix_app.core import comparison
from bitrix_app.core.advance import advance
from bitrix_app.core.call import Call, Recording
from bitrix_app.core.chores import COMPARED
from bitrix_app.core.commands import AttachRecording, CompareCalls, CopyRecording, Priority
from bitrix_app.core.comparison import COMPARE_AFTER, SPAN, STRANDED_AFTER, Difference, InPortal, Kind, State
from bitrix_app.core.errors import Forbidden, Trouble
from bitrix_app.core.events import Due, Registered
from bitrix_app.core.jobs import Attempt, Job, JobState, Moot
from bitrix_app.core.lifecycle import IllegalMove
from bitrix_app.core.portal import Portal, Snapshot
from bitrix_app.core.ports import Clock
from bitrix_app.core.store import Store, Unit
from bitrix_app.core.transition import Owed
from bitrix_app.desk import Desk

BATCHES: Final = 4
"""Requests of one round, for they hold a place that other work may need; the next round goes on."""
NEVER: Final = 1.0
"""«Compared before» while only calls that were never compared are due."""
OPEN: Final = (JobState.BLOCKED, JobState.WAITING, JobState.RUNNING, JobState.RETRYING)


def due_before(snapshot: Snapshot | None) -> float:
    """Unix seconds: calls that were last compared before it are due again, as each night sets it anew."""
    item = snapshot.items[0] if snapshot and snapshot.items else {}
    return float(item.get("before") or NEVER)


async def compare_anew(unit: Unit, portal: Portal, now: float) -> None:
    """The nightly comparison: all calls of the last two days are due again."""
    await unit.save_snapshot(portal.member_id, Snapshot(COMPARED, now, ({"before": now},)))


class Comparing:
    """See the module; a room of the outbox."""

    kinds: frozenset[str] = frozenset({CompareCalls.kind})

    def __init__(self, store: Store, clock: Clock, client: BitrixClient, desk: Desk) -> None:
        self._store = store
        self._clock = clock
        self._client = client
        self._desk = desk

    async def deliver(self, portal: Portal, job: Job, _call: Call | None) -> None:
        """Compare what is due, at most `BATCHES` requests. Raises a `Trouble` branch."""
        if not isinstance(job.command, CompareCalls):
            raise Moot(f"nobody delivers {job.kind}")
        before, now = due_before(await self._store.snapshot(portal.member_id, COMPARED)), self._clock.now()
        compared = 0
        for _ in range(BATCHES):
            calls = await self._store.to_compare(
                portal.member_id, now - SPAN, now - COMPARE_AFTER, before, BATCH_LIMIT
            )
            if not calls:
                break
            if not await self._written(portal, calls):
                break
            compared += len(calls)
        waiting = await self._store.unwritten(
            portal.member_id, now - SPAN, now - STRANDED_AFTER, before, BATCH_LIMIT
        )
        if waiting:
            await self._unwritten(portal, waiting)
        await self._store.transact(lambda unit: self._stamp(unit, portal, compared, len(waiting)))

    async def _stamp(self, unit: Unit, portal: Portal, compared: int, unwritten: int) -> None:
        before = due_before(await unit.snapshot(portal.member_id, COMPARED))
        item = {"before": before, "compared": compared, "unwritten": unwritten}
        await unit.save_snapshot(portal.member_id, Snapshot(COMPARED, self._clock.now(), (item,)))

    async def _ask(self, portal: Portal, calls: Sequence[Call]) -> Mapping[str, list[Statistic] | Trouble]:
        """What the statistics have of each call, by our id; by CALL_ID what Bitrix24 registered itself."""
        requests = {
            f"c{place}": statistics.by_call_id(call.bitrix_call_id or "")
            if call.given_id
            else statistics.by_our_id(call.id)
            for place, call in enumerate(calls)
        }
        answers = await self._client.batch(portal, requests, Priority.BACKFILL)
        found: dict[str, list[Statistic] | Trouble] = {}
        for place, call in enumerate(calls):
            answer = answers[f"c{place}"]
            found[call.id] = (
                answer if isinstance(answer, Trouble) else statistics.read_statistics(answer.result)
            )
        return found

    # --- written calls -----------------------------------------------------------------------------

    async def _written(self, portal: Portal, calls: Sequence[Call]) -> bool:
        """Compare these; false when Bitrix24 does not let us or has no time now."""
        told = await self._ask(portal, calls)
        refused = [answer for answer in told.values() if isinstance(answer, Forbidden)]
        if len(refused) == len(calls):
            logger.warning("{} does not show us its call statistics: {}", portal.domain, refused[0].code)
            return False
        now = self._clock.now()

        async def work(unit: Unit) -> int:
            done = []
            for call in calls:
                answer = told[call.id]
                if isinstance(answer, Trouble):
                    continue
                await self._judge(unit, portal, call.id, answer, now)
                done.append(call.id)
            await unit.save_compared(portal.member_id, done, now)
            return len(done)

        return await self._store.transact(work) > 0

    async def _judge(
        self, unit: Unit, portal: Portal, call_id: str, rows: Sequence[Statistic], now: float
    ) -> None:
        call = await unit.call(portal.member_id, call_id)
        if call is None or not call.finished:
            return
        in_portal = [
            InPortal(row.call_id, row.user_id, row.duration, row.record_file_id is not None) for row in rows
        ]
        known = {one.kind: one for one in await unit.differences_of(portal.member_id, call_id)}
        fresh = {one.kind: one for one in comparison.compare(call, in_portal)}
        for kind, one in fresh.items():
            found = comparison.merged(known.get(kind), one, now)
            if kind is Kind.RECORDING and comparison.may_repair(found):
                found = await self._attach_anew(unit, portal, call, found, now)
            await unit.save_difference(found)
        for kind, one in known.items():
            if kind not in fresh and kind is not Kind.ENDS and one.state is not State.GONE:
                await unit.save_difference(replace(one, state=State.GONE, updated_at=now))

    async def _attach_anew(
        self, unit: Unit, portal: Portal, call: Call, found: Difference, now: float
    ) -> Difference:
        """Attaching may be repeated (bitrix24.md §6.4); the copy on Drive is found by its name."""
        suffix = "" if call.recording_part == 1 else f":{call.recording_part}"
        fetch, attach = f"fetch_recording{suffix}", f"attach_recording{suffix}"
        owed = [Owed(attach, AttachRecording(), Priority.BACKFILL, ("finish", fetch))]
        if call.recording is Recording.COPIED:
            owed.append(Owed(f"drive_copy{suffix}", CopyRecording(), Priority.BACKFILL, (attach,)))
        await unit.owe(portal.member_id, call.id, owed, now)
        return replace(found, state=State.MENDED, repairs=found.repairs + 1)

    # --- calls that are not written ----------------------------------------------------------------

    async def _unwritten(self, portal: Portal, calls: Sequence[Call]) -> None:
        told = await self._ask(portal, calls)
        now = self._clock.now()

        async def work(unit: Unit) -> None:
            for call in calls:
                answer = told[call.id]
                if not isinstance(answer, Trouble):
                    await self._take_up(unit, portal, call.id, answer, now)
            await unit.save_compared(portal.member_id, [call.id for call in calls], now)

        await self._store.transact(work)

    async def _take_up(
        self, unit: Unit, portal: Portal, call_id: str, rows: Sequence[Statistic], now: float
    ) -> None:
        call = await unit.call(portal.member_id, call_id)
        if call is None or call.finished or call.is_live or call.skipped:
            return
        jobs = [
            j for j in await unit.lane_jobs(portal.member_id, call_id) if j.kind in ("register", "finish")
        ]
        if any(job.state in OPEN for job in jobs):
            return  # somebody is at it
        if rows:
            await self._settle(unit, portal, call, rows[0], jobs, now)
            return
        if any(job.state in (JobState.ATTENTION, JobState.CANCELLED) for job in jobs):
            return  # a person decides, or decided
        known = {one.kind: one for one in await unit.differences_of(portal.member_id, call_id)}
        found = comparison.merged(known.get(Kind.STRANDED), comparison.stranded(call), now)
        if comparison.may_repair(found):
            again = advance(call, Due("stranded"), now, portal.rules)
            await unit.apply(replace(again, owed=()), now, "reconcile")
            await unit.owe(portal.member_id, call.id, again.owed, now)
            found = replace(found, state=State.MENDED, repairs=found.repairs + 1)
        await unit.save_difference(found)

    async def _settle(
        self, unit: Unit, portal: Portal, call: Call, row: Statistic, jobs: Sequence[Job], now: float
    ) -> None:
        """The portal has the call though nobody told us: what it says counts as the answer."""
        try:
            if call.bitrix_call_id is None:
                named = Registered(row.call_id, row.user_id or 0, call.register_extension)
                _, moved = await self._desk.move(unit, portal, call, named, now, "reconcile")
                call = moved.call
            await self._desk.move(unit, portal, call, row.finished, now, "reconcile")
        except IllegalMove as illegal:
            logger.error("call {}: {}", call.id, illegal)
            return
        note = "The portal's statistics show that it was done."
        for job in jobs:
            if job.state is not JobState.DONE:
                await unit.complete(job, Attempt(now, 0.0, "done", message=note))
