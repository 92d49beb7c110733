"""Owns portals: wakes what is due, gives each portal a lane keeper, stops gracefully.

One dispatcher looks for due work; `bitrix_app.lanes.PortalLanes` delivers a portal's jobs.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace
from typing import Final

from loguru import logger

from bitrix_app.core.advance import Owed
from bitrix_app.core.chores import rounds_of
from bitrix_app.core.portal import Portal, PortalState
from bitrix_app.core.ports import Clock
from bitrix_app.core.retention import LOG_DAYS, RECEIPT_DAYS
from bitrix_app.core.store import DueWake, Store, StoreUnavailable, Unit
from bitrix_app.intake import Intake
from bitrix_app.lanes import PortalLanes
from bitrix_app.waiting import sleep_or_nudge

LOOK_AGAIN: Final = 1.0
"""Seconds between looks when something is due that cannot run now (a paused portal, a held lane)."""
LONGEST_SLEEP: Final = 30.0
BREATH: Final = 0.02
"""Seconds between two turns at least; live work does not wait for a turn, its lanes were told."""
ROUNDS_EVERY: Final = 60.0
SUSPENDED_LOOK: Final = 1_800.0
PRUNE_EVERY: Final = 3_600.0
STOP_WITHIN: Final = 10.0


class Worker:
    """See the module. `lanes_for` makes the keeper of one portal's jobs."""

    def __init__(
        self,
        store: Store,
        clock: Clock,
        intake: Intake,
        lanes_for: Callable[[str], PortalLanes],
        upkeep_tick: Callable[[], object],
    ) -> None:
        self._store = store
        self._clock = clock
        self._intake = intake
        self._lanes_for = lanes_for
        self._upkeep_tick = upkeep_tick
        self._lanes: dict[str, PortalLanes] = {}
        self._nudged = asyncio.Event()
        self._stopping = False
        self._rescued = False
        self._next_rounds = 0.0
        self._next_prune = 0.0
        self.last_turn = clock.monotonic()

    def nudge(self, portal: str) -> None:
        """Something became due for `portal`, or will: its lanes look at once, the dispatcher soon."""
        if self._rescued and not self._stopping:
            self._keep(portal)
        self._nudged.set()

    @property
    def alive(self) -> bool:
        """Whether the dispatcher has turned lately; for the health page."""
        return self._clock.monotonic() - self.last_turn < 2 * LONGEST_SLEEP

    async def run(self) -> None:
        """Until `stop`: look, wake, keep. Survives a store that is away for a while."""
        while not self._stopping:
            self.last_turn = self._clock.monotonic()
            try:
                if not self._rescued:
                    await self._rescue()
                pause = await self._turn()
            except StoreUnavailable as away:
                logger.error("the store is away: {}", away.reason)
                pause = LOOK_AGAIN
            except Exception:  # noqa: BLE001 - a fault of one turn must not end all work
                logger.opt(exception=True).error("a turn of the worker failed")
                pause = LOOK_AGAIN
            await sleep_or_nudge(self._clock, pause, self._nudged)
            self._nudged.clear()
            if not self._stopping:
                await self._clock.sleep(BREATH)  # a storm of nudges is one turn

    async def _rescue(self) -> None:
        """Before anything is claimed: what an earlier process held is nobody's now."""
        rescued = await self._store.rescue(float("inf"))
        if rescued:
            logger.warning("{} jobs were in flight when the process ended; each is looked into", rescued)
        self._rescued = True

    async def stop(self) -> None:
        """Claim nothing more; what is in flight gets its time, then the rest is cut off (doubt)."""
        self._stopping = True
        self._nudged.set()
        await asyncio.gather(*(lanes.stop(STOP_WITHIN) for lanes in self._lanes.values()))

    async def _turn(self) -> float:
        now = self._clock.now()
        if now >= self._next_rounds:
            self._next_rounds = now + ROUNDS_EVERY
            await self._rounds(now)
        failed = False
        for wake in await self._store.due_wakes(now):
            failed = not await self._wake(wake) or failed
        busy = False
        for portal in await self._store.due_portals(now):
            busy = True
            self._keep(portal)
        due = await self._store.next_due()
        longest = min(LONGEST_SLEEP, self._next_rounds - now)  # the rounds are to be a minute apart
        if due is None:
            return longest
        if due > now:
            return min(due - now, longest)
        return LOOK_AGAIN if busy or failed else 0.0

    async def _wake(self, wake: DueWake) -> bool:
        """One bad timer must not stop the others; it stays due and is tried a second later."""
        try:
            await self._intake.due(wake)
        except StoreUnavailable:
            raise
        except Exception:  # noqa: BLE001 - see the docstring
            logger.opt(exception=True).error("the timer {} of {} failed", wake.reason, wake.lane)
            return False
        return True

    def _keep(self, portal: str) -> None:
        if self._stopping:
            return
        lanes = self._lanes.get(portal)
        if lanes is None:
            lanes = self._lanes[portal] = self._lanes_for(portal)
            lanes.put_off = self._nudged.set
            lanes.start()
        lanes.nudge()

    async def _rounds(self, now: float) -> None:
        """Once a minute: what is daily or hourly and has come round; retention."""
        self._upkeep_tick()
        rescued = await self._store.rescue(now)
        if rescued:
            logger.warning("{} jobs were held beyond their lease; each is looked into", rescued)
        for portal in await self._store.portals():
            if portal.state is PortalState.ACTIVE:
                await self._rounds_of(portal, now)
            elif portal.state is PortalState.SUSPENDED and now - portal.state_since >= SUSPENDED_LOOK:
                await self._look_again(portal, now)
        if now >= self._next_prune:
            self._next_prune = now + PRUNE_EVERY
            await self._store.prune(now, RECEIPT_DAYS, LOG_DAYS)

    async def _look_again(self, portal: Portal, now: float) -> None:
        """A plan may have been paid: let the portal's work try, the first refusal pauses it again."""

        async def work(unit: Unit) -> None:
            known = await unit.portal(portal.member_id)
            if known is not None and known.state is PortalState.SUSPENDED:
                await unit.save_portal(replace(known, state=PortalState.ACTIVE, state_since=now))

        await self._store.transact(work)

    async def _rounds_of(self, portal: Portal, now: float) -> None:
        for kind, every, lane, owed in rounds_of(portal):
            snapshot = await self._store.snapshot(portal.member_id, kind)
            if snapshot is not None and now - snapshot.taken_at < every:
                continue

            async def work(unit: Unit, lane: str = lane, owed: Owed = owed) -> int:
                return await unit.owe(portal.member_id, lane, (owed,), now)

            await self._store.transact(work)
