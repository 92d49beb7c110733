"""Contract: whatever happens in whatever order, the graph's and the claim's promises hold."""

from __future__ import annotations

import math
import random
from collections import Counter

import pytest

from bitrix_app.core.commands import FetchRecording, Priority, Show
from bitrix_app.core.jobs import Job, JobState
from tests.storage.making import PORTAL, SICK, Bench, attempt, owed

pytestmark = pytest.mark.anyio
LANES = ("c1", "c2", "c3", "c4")
KEYS = "abcdef"


class Chaos:
    def __init__(self, bench: Bench, chance: random.Random) -> None:
        self.bench = bench
        self.chance = chance
        self.held: list[Job] = []
        self.late: list[Job] = []
        self.completed: Counter[int] = Counter()

    async def step(self) -> None:
        moves = (self.owe, self.owe, self.claim, self.claim, self.settle, self.settle, self.settle,
                 self.cancel, self.crash, self.expire, self.release, self.come_late)  # fmt: skip
        await self.chance.choice(moves)()
        await self.bench.clock.advance(self.chance.choice((0, 0, 1, 7)))

    async def owe(self) -> None:
        key = self.chance.choice(KEYS)
        needs = self.chance.sample(KEYS[: KEYS.index(key)], min(KEYS.index(key), self.chance.randint(0, 2)))
        command = {"a": Show(("1",)), "f": FetchRecording()}.get(key)
        expires_at = self.bench.now + self.chance.choice((2, 30)) if key == "a" else None
        mutex = self.chance.choice((None, "m1", "m2")) if key in "bc" else None
        job = owed(key, *needs, command=command, expires_at=expires_at, mutex=mutex,
                   priority=self.chance.choice(list(Priority)))  # fmt: skip
        await self.bench.owe(job, lane=self.chance.choice(LANES))

    async def claim(self) -> None:
        self.held += await self.bench.claim(self.chance.randint(1, 4), lease=20)

    def pick(self) -> Job | None:
        return self.held.pop(self.chance.randrange(len(self.held))) if self.held else None

    async def settle(self) -> None:
        job, now = self.pick(), self.bench.now
        if job is None:
            return
        match self.chance.randint(0, 5):
            case 0 | 1 | 2:
                await self.bench.complete(job)
            case 3:
                await self.bench.fail(job, 5, counted=bool(job.id % 2), doubt=self.chance.random() < 0.5)
            case 4:
                await self.bench.do(lambda unit: unit.bury(job, attempt(now, "attention"), SICK))
            case _:
                await self.bench.do(lambda unit: unit.drop(job, attempt(now, "expired")))

    async def cancel(self) -> None:
        await self.bench.owe(lane=self.chance.choice(LANES), cancel=("show",))

    async def crash(self) -> None:
        if self.chance.random() < 0.3:
            self.late += self.held
            self.held.clear()
            await self.bench.store.rescue(math.inf)

    async def expire(self) -> None:
        await self.bench.clock.advance(20)
        await self.bench.store.rescue(self.bench.now)
        self.late += self.held
        self.held.clear()

    async def release(self) -> None:
        if job := self.pick():
            await self.bench.store.release([job])

    async def come_late(self) -> None:
        """A holder that lost its lease settles as if nothing had happened."""
        if self.late:
            await self.bench.fail(self.late.pop(), 0)

    async def check(self) -> None:
        jobs = {lane: await self.bench.store.lane(PORTAL, lane) for lane in LANES}
        every = [job for lane in jobs.values() for job in lane]
        by_id = {job.id: job for job in every}
        running = [job for job in every if job.state is JobState.RUNNING]
        assert {job.id for job in running} == {job.id for job in self.held}, "each is held by one"
        exclusive = Counter(job.lane for job in running if job.command.exclusive)
        assert not exclusive or max(exclusive.values()) == 1
        mutexes = Counter(job.mutex for job in running if job.mutex)
        assert not mutexes or max(mutexes.values()) == 1
        for lane, held in jobs.items():
            assert len({job.key for job in held}) == len(held), lane
            done = {job.key for job in held if job.state is JobState.DONE}
            for job in held:
                met = set(job.needs) <= done
                if job.state is JobState.BLOCKED:
                    assert not met, f"{job.key} of {lane} waits for nothing"
                elif job.state is not JobState.CANCELLED:
                    assert met, f"{job.key} of {lane} runs before its needs"
                if job.doubt:
                    assert job.doubted_at is not None
        assert all(by_id[job.id].attempts >= job.attempts for job in self.held)


@pytest.mark.parametrize("seed", range(12))
async def test_the_promises_hold_in_any_order(bench: Bench, seed: int) -> None:
    chaos = Chaos(bench, random.Random(seed))
    for _ in range(120):
        await chaos.step()
        await chaos.check()
    await drain(bench, chaos)


async def drain(bench: Bench, chaos: Chaos) -> None:
    """When everything succeeds from now on, nothing that can run is left behind."""
    for _ in range(60):
        for job in [*chaos.held, *await bench.claim()]:
            await bench.complete(job)
        chaos.held.clear()
        await bench.clock.advance(10)
    left = await bench.store.job_counts(PORTAL)
    assert not {JobState.WAITING, JobState.RETRYING, JobState.RUNNING} & set(left), left
    await chaos.check()
