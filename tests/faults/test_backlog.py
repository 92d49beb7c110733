"""Many calls at once: batches, their faults, and the vendor's limits."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from tests.faults.house import assert_exactly_once, house
from tests.faults.table import BAD, FINISH, LAYOUT, REGISTER, STEPS, arm

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize("where", ["batch", REGISTER, FINISH, pytest.param(LAYOUT, marks=pytest.mark.slow)])
@pytest.mark.parametrize("name", [bad.name for bad in BAD])
async def test_a_batch_that_fails_whole_or_in_part(tmp_path: Path, name: str, where: str) -> None:
    """`batch` is the request as a whole; a method's name strikes inside it."""
    if name == "not-sent" and where != "batch":
        where = "batch"
    async with house(tmp_path) as up:
        calls = await up.ends_in_one_moment(8)
        struck = arm(up, next(bad for bad in BAD if bad.name == name), where, times=2)
        await up.settle(calls=8)
        assert struck() >= 1
        await assert_exactly_once(up, calls, strays=name == "late-90")
        assert len(up.portal.leads) == 3 + 8


@pytest.mark.parametrize("count", [60, pytest.param(300, marks=pytest.mark.slow)])
async def test_a_backlog_goes_out_in_batches_within_the_limits(tmp_path: Path, count: int) -> None:
    async with house(tmp_path) as up:
        up.portal.limits.use_samples()
        calls = await up.ends_in_one_moment(count)
        before = len(up.portal.rest_log)
        await up.settle(calls=count, most_seconds=36_000.0)
        requests = up.portal.rest_log[before:]
        assert [one.error for one in requests if one.status in (429, 503)] == []
        assert len(requests) <= 7.5 * count
        names = [one.method for one in requests]
        assert names.count(REGISTER) + names.count(FINISH) + names.count(LAYOUT) <= 5, "outside batches"
        await assert_exactly_once(up, calls)


@pytest.mark.parametrize(
    "seed", [*range(4), *(pytest.param(n, marks=pytest.mark.slow) for n in range(4, 30))]
)
async def test_a_day_of_random_faults(tmp_path: Path, seed: int) -> None:
    """Several faults on the way of the same and of other calls, in any combination."""
    chance = random.Random(seed)
    beyond = ("late-90", "late-20", "slow-70", "truncated", "not-sent")
    kinds = [bad for bad in BAD if bad.name not in beyond]
    steps = [step for step in STEPS if step != "upload"]
    async with house(tmp_path) as up:
        told = []
        for _ in range(12):
            for _ in range(chance.randrange(4)):
                arm(up, chance.choice(kinds), chance.choice(steps))
            if chance.random() < 0.5:
                told.append(up.live_call(talk=float(chance.randrange(1, 60))))
            else:
                told.append(up.past_call())
                await up.end_alone(told[-1])
            await up.run_for(chance.choice([0.0, 1.0, 20.0, 90.0]))
        await up.run_for(100.0)
        await up.settle(calls=12, most_seconds=40_000.0)
        await assert_exactly_once(up, told)
