"""One portal's jobs: claim → deliver → settle, live work first, backlogs in batches.

Settling is an event like any other: the vendor's answer goes through `core.advance` in the same
transaction that closes the job, so that what follows from it is owed at once.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import replace
from typing import Final

from loguru import logger

from bitrix_app.core.call import Call
from bitrix_app.core.commands import FetchRecording, Priority, kinds_for
from bitrix_app.core.errors import NeedsReauth, PortalPaused, Trouble
from bitrix_app.core.events import CallEvent, GivenUp
from bitrix_app.core.jobs import Attempt, Job, JobError, JobState
from bitrix_app.core.portal import Portal, PortalState
from bitrix_app.core.ports import Clock
from bitrix_app.core.retry import GiveUp, decide
from bitrix_app.core.store import Store, StoreUnavailable, Unit
from bitrix_app.desk import Desk, new_call_id
from bitrix_app.hearing import Calls, Hearers
from bitrix_app.logs import correlated
from bitrix_app.outbox import EXPECTED_SECONDS, Moot, Outbox
from bitrix_app.prepared import our_fault, store_away
from bitrix_app.waiting import sleep_or_nudge

LEASE: Final = 6 * 3600.0
"""Seconds; longer than any delivery can take (an upload may take half an hour, a batch follows its
requests one by one). A crash does not wait for it: the next start takes everything over.
"""
BATCH_FROM: Final = 4
"""Waiting jobs from which a batch is worth more than single requests."""
BATCH_MOST: Final = 50
BATCH_SECONDS: Final = 40.0
"""Seconds of server time per batch; the vendor cuts a request at 60 (bitrix24.md §5)."""
PBX_AT_ONCE: Final = 3
"""Jobs in flight to the PBX, recordings among them; one more is for live work only."""
FETCHES_AT_ONCE: Final = PBX_AT_ONCE - 1
"""Recordings among these: a download may take minutes, and an agent's status does not wait for it."""
FETCH: Final = FetchRecording.kind
FOR_PBX: Final = kinds_for("unitalk")
FOR_BITRIX24: Final = kinds_for("bitrix24")
ONLY_READS: Final = frozenset({"refresh_directory", "look_at_agents"})
IDLE: Final = 30.0
SETTLE_AGAIN: Final = 1.0
OPEN: Final = (JobState.RUNNING, JobState.RETRYING, JobState.WAITING, JobState.ATTENTION)

Result = object | Trouble | Moot | None


class PortalLanes:
    """See the module."""

    def __init__(
        self,
        member_id: str,
        store: Store,
        outbox: Outbox,
        clock: Clock,
        chance: random.Random,
        hearers: Hearers | None = None,
    ) -> None:
        self._member_id = member_id
        self._store = store
        self._outbox = outbox
        self._clock = clock
        self._chance = chance
        self._hearers = hearers or Hearers(Calls(Desk(new_call_id)))
        self._nudged = asyncio.Event()
        self._stopping = False
        self._in_flight: dict[asyncio.Task[None], bool] = {}
        """Running deliveries to Bitrix24; true for live ones."""
        self._at_pbx: dict[asyncio.Task[None], bool] = {}
        """Those to the PBX have slots of their own: a PBX that does not answer holds up no CRM work."""
        self._fetching: set[asyncio.Task[None]] = set()
        """Those of `_at_pbx` that may take minutes."""
        self._task: asyncio.Task[None] | None = None
        self._reading: dict[asyncio.Task[None], Job] = {}
        """Those that change nothing anywhere."""
        self.put_off: Callable[[], None] = lambda: None
        """Told when a job got a later time, so that whoever sleeps until the next one looks again."""

    def start(self) -> None:
        self._task = asyncio.create_task(self._run(), name=f"lanes:{self._member_id[:8]}")

    def nudge(self) -> None:
        self._nudged.set()

    async def stop(self, within: float) -> None:
        """Let what is in flight finish for `within` seconds, then cut it off."""
        self._stopping = True
        self._nudged.set()
        await self._let_go()
        # the round under way first: what it has leased it gives back itself
        waiting = {*self._in_flight, *self._at_pbx, *([self._task] if self._task else [])}
        if waiting:
            await asyncio.wait(waiting, timeout=within)
        for task in [*self._in_flight, *self._at_pbx, *([self._task] if self._task else [])]:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task

    async def _let_go(self) -> None:
        """Chores that only read are not worth waiting for: they begin anew, and nothing is in doubt."""
        reading = {task: job for task, job in self._reading.items() if not task.done()}
        for task in reading:
            task.cancel()
        if reading:
            await asyncio.wait(reading)
            await self._store.release(list(reading.values()))

    async def _run(self) -> None:
        while not self._stopping:
            self._nudged.clear()
            try:
                started = await self._begin()
            except StoreUnavailable as away:
                logger.error("the store is away: {}", away.reason)
                started = False
            except Exception:  # noqa: BLE001 - a fault of one round must not end the portal's work
                logger.opt(exception=True).error("a round of portal {} failed", self._member_id)
                started = False
            if not started:
                await sleep_or_nudge(self._clock, IDLE, self._nudged)

    async def _begin(self) -> bool:
        """Start what there is room for; whether anything was started."""
        portal = await self._store.portal(self._member_id)
        if portal is None or not portal.works:
            return False
        now = self._clock.now()
        asked = await self._begin_pbx(portal, now)
        room = portal.settings.concurrency - sum(1 for live in self._in_flight.values() if not live)
        live_room = portal.settings.concurrency + 1 - len(self._in_flight)
        started = asked
        if live_room > 0:
            for job in await self._claim(now, live_room, Priority.LIVE):
                self._start(portal, job)
                started = True
                room -= 1  # the reserved slot is for live work only; more of it takes the others' room
        room = min(room, portal.settings.concurrency + 1 - len(self._in_flight))
        if room <= 0 or self._stopping:
            return started
        waiting = await self._claim(now, room + BATCH_FROM)
        if sum(map(self._outbox.batchable, waiting)) >= BATCH_FROM:
            waiting += await self._claim(now, BATCH_MOST - len(waiting))
        return await self._begin_waiting(portal, waiting, room) or started

    async def _begin_pbx(self, portal: Portal, now: float) -> bool:
        """What the PBX is owed; a slot is kept for live work, because an agent waits for it."""
        room = PBX_AT_ONCE + 1 - len(self._at_pbx)
        others = min(room, PBX_AT_ONCE - sum(1 for live in self._at_pbx.values() if not live))
        if room <= 0 or self._stopping:
            return False
        most, limit = (None, others) if others > 0 else (Priority.LIVE, room)
        slow = FETCHES_AT_ONCE - len(self._fetching)
        without = FOR_BITRIX24 if slow > 0 else (*FOR_BITRIX24, FETCH)
        jobs = await self._claim(now, limit, most, without)
        fetches = [job for job in jobs if job.kind == FETCH]
        if too_many := fetches[max(0, slow) :]:
            await self._store.release(too_many)
            jobs = [job for job in jobs if job not in too_many]
        for job in jobs:
            live = job.priority == Priority.LIVE
            task = self._spawn(self._deliver(portal, job), live=live, slots=self._at_pbx)
            if job.kind == FETCH:
                self._fetching.add(task)
                task.add_done_callback(self._fetching.discard)
        return bool(jobs)

    async def _claim(
        self,
        now: float,
        limit: int,
        most: Priority | None = None,
        without: Sequence[str] = FOR_PBX,
    ) -> list[Job]:
        """Lease jobs; those leased while we were told to stop go back, for nothing of them was said."""
        bound = 99 if most is None else int(most)
        jobs = await self._store.claim(
            self._member_id, now, limit, now + LEASE, max_priority=bound, without=without
        )
        if self._stopping and jobs:
            await self._store.release(jobs)
            return []
        return list(jobs)

    async def _begin_waiting(self, portal: Portal, jobs: Sequence[Job], room: int) -> bool:
        """A few jobs go singly; a backlog goes as batches; what has no room goes back."""
        singles = list(jobs)
        if len([j for j in jobs if self._outbox.batchable(j)]) >= BATCH_FROM:
            singles = [j for j in jobs if not self._outbox.batchable(j)]
            for batch in _by_seconds([j for j in jobs if self._outbox.batchable(j)]):
                if room <= 0:
                    singles += batch
                    continue
                self._spawn(self._deliver_batch(portal, batch), live=False)
                room -= 1
        for job in singles[: max(0, room)]:
            self._start(portal, job)
        left = singles[max(0, room) :]
        if left:
            await self._store.release(left)
        return len(left) < len(jobs)

    def _start(self, portal: Portal, job: Job) -> None:
        task = self._spawn(self._deliver(portal, job), live=job.priority == Priority.LIVE)
        if job.kind in ONLY_READS:
            self._reading[task] = job
            task.add_done_callback(lambda done: self._reading.pop(done, None))

    def _spawn(
        self, work: Awaitable[None], *, live: bool, slots: dict[asyncio.Task[None], bool] | None = None
    ) -> asyncio.Task[None]:
        task = asyncio.ensure_future(work)
        held = self._in_flight if slots is None else slots
        held[task] = live

        def landed(done: asyncio.Task[None]) -> None:
            held.pop(done, None)
            self._nudged.set()
            if not done.cancelled() and (fault := done.exception()) is not None:
                logger.opt(exception=fault).error("a delivery ended badly; its lease will be rescued")

        task.add_done_callback(landed)
        return task

    async def _deliver(self, portal: Portal, job: Job) -> None:
        with correlated(job.correlation_id):
            began, clock = self._clock.now(), self._clock.monotonic()
            result: Result
            try:
                result = await self._outbox.deliver(portal, job, await self._call(job))
            except (Trouble, Moot) as reason:
                result = reason
            except StoreUnavailable as away:
                result = store_away(away, self._clock.now())
            except Exception as bug:  # noqa: BLE001 - settled as a job for a person, never lost
                result = our_fault(bug)
            await self._settle(portal, job, result, began, self._clock.monotonic() - clock)

    async def _deliver_batch(self, portal: Portal, jobs: Sequence[Job]) -> None:
        """One request for several jobs; what turns out to need more goes singly afterwards."""
        began, clock = self._clock.now(), self._clock.monotonic()
        results: Mapping[int, CallEvent | Trouble | Moot] = {}
        alone: Sequence[Job] = ()
        failed: Trouble | Moot = Moot("the call was erased")
        try:
            work = [(job, call) for job in jobs if (call := await self._call(job)) is not None]
            results, alone = await self._outbox.deliver_batch(portal, work)
        except StoreUnavailable as away:
            failed = store_away(away, self._clock.now())
        except Exception as bug:  # noqa: BLE001 - settled as jobs for a person, never lost
            failed = our_fault(bug)
        seconds = self._clock.monotonic() - clock
        settling = (
            self._settle(portal, job, results.get(job.id, failed), began, seconds)
            for job in jobs
            if job not in alone
        )
        await asyncio.gather(*settling)
        for place, job in enumerate(alone):
            if self._stopping:
                await self._store.release(alone[place:])
                break
            await self._deliver(portal, job)

    async def _call(self, job: Job) -> Call | None:
        return None if ":" in job.lane else await self._store.call(job.portal, job.lane)

    async def _settle(self, portal: Portal, job: Job, result: Result, began: float, seconds: float) -> None:
        """Close the job and let the call hear of it, in one transaction."""
        now = self._clock.now()
        jitter = self._chance.uniform(-1, 1)

        async def work(unit: Unit) -> None:
            current = await unit.job(job.id)
            if current is None or current.state not in OPEN:
                return  # stopped meanwhile (uninstall): nobody is owed an answer
            if not isinstance(result, Trouble | Moot):
                # counts even when the lease ran out meanwhile: the effect has happened
                await unit.complete(job, Attempt(began, seconds, "done"))
                if result is not None:
                    await self._hearers.told(unit, portal, job, result, now)
            elif current.state is not JobState.RUNNING:
                return  # rescued: whoever tries next will see for himself
            elif isinstance(result, Trouble):
                await self._failed(unit, portal, job, result, began, seconds, now, jitter)
            else:
                await unit.drop(job, Attempt(began, seconds, "expired", message=str(result)))

        while True:
            try:
                await self._store.transact(work)
                break
            except StoreUnavailable as away:
                # the effect is there but cannot be written down yet: keep it in hand, for a crash
                # now would make it a doubt
                logger.error("the outcome of {} waits for the store: {}", job.kind, away.reason)
                await self._clock.sleep(SETTLE_AGAIN)
        if isinstance(result, Trouble) or ":" in job.lane:
            self.put_off()  # a plan of others than calls may owe the next step for a later time

    async def _failed(
        self,
        unit: Unit,
        portal: Portal,
        job: Job,
        trouble: Trouble,
        began: float,
        seconds: float,
        now: float,
        jitter: float,
    ) -> None:
        error = JobError(trouble.code, trouble.category, trouble.message, trouble.hint, trouble.who.value)
        call = await unit.call(job.portal, job.lane)
        live = call is not None and call.is_live
        plan = decide(job.kind, trouble, job.attempts + 1, now, jitter, is_live=live)
        if isinstance(plan, GiveUp):
            attempt = Attempt(began, seconds, "attention", error.code, error.category, plan.reason)
            await unit.bury(job, attempt, error)
            logger.warning("{} needs {}: {} ({})", job.kind, error.who, error.code, error.category)
            given_up = GivenUp(job.kind, job.key, error.code, trouble.message)
            await self._hearers.told(unit, portal, job, given_up, now)
            return
        if isinstance(trouble, PortalPaused):
            # the portal as a whole waits; its jobs are due the moment it works again
            plan = replace(plan, at=now)
            await _pause(unit, portal.member_id, trouble, now)
        kind = "doubt" if plan.doubt else ("retry" if plan.counted else "later")
        attempt = Attempt(began, seconds, kind, error.code, error.category, trouble.message, plan.at)
        await unit.reschedule(
            job, attempt, plan.at, counted=plan.counted, doubt=plan.doubt or job.doubt, error=error
        )


async def _pause(unit: Unit, member_id: str, trouble: PortalPaused, now: float) -> None:
    """Remember why the portal stands still. Without tokens only an administrator can heal it; a
    payment or a removed app is looked at again by the worker's rounds.
    """
    portal = await unit.portal(member_id)
    if portal is None or not portal.works:
        return
    state = PortalState.NEEDS_REAUTH if isinstance(trouble, NeedsReauth) else PortalState.SUSPENDED
    logger.error("portal {} is paused: {} ({})", portal.domain, trouble.code, trouble.message)
    await unit.save_portal(
        replace(portal, state=state, state_reason=trouble.code, state_since=now, updated_at=now)
    )


def _by_seconds(jobs: Sequence[Job]) -> list[list[Job]]:
    """Groups that the portal can answer within `BATCH_SECONDS`, in order."""
    groups: list[list[Job]] = []
    seconds = 0.0
    for job in jobs:
        cost = EXPECTED_SECONDS.get(job.kind, 1.0)
        if not groups or seconds + cost > BATCH_SECONDS or len(groups[-1]) >= BATCH_MOST:
            groups.append([])
            seconds = 0.0
        groups[-1].append(job)
        seconds += cost
    return groups
