"""Contract: who may run now, and what becomes of work whose holder is gone."""

from __future__ import annotations

import asyncio
import math

import pytest

from bitrix_app.core.commands import FetchRecording, Priority, Register
from bitrix_app.core.jobs import JobState
from bitrix_app.core.retry import DOUBT_MATURES
from tests.storage.making import OTHER, PORTAL, SICK, Bench, attempt, owed

pytestmark = pytest.mark.anyio


async def test_jobs_are_claimed_by_priority_then_due_time_then_age(bench: Bench) -> None:
    await bench.owe(owed("crm", priority=Priority.CRM), lane="c1")
    await bench.owe(owed("first", priority=Priority.LIVE), lane="c2")
    await bench.owe(owed("second", priority=Priority.LIVE), lane="c3")
    (early,) = await bench.claim(1)
    await bench.clock.advance(10)
    await bench.fail(early, 0)
    await bench.owe(owed("backfill", priority=Priority.BACKFILL), lane="c0")
    assert await bench.claim_keys() == ["second", "first", "crm", "backfill"]


async def test_the_limit_and_the_highest_number_of_priority_are_kept(bench: Bench) -> None:
    for n in range(5):
        await bench.owe(owed(f"live{n}", priority=Priority.LIVE), lane=f"a{n}")
        await bench.owe(owed(f"crm{n}", priority=Priority.CRM), lane=f"b{n}")
    assert await bench.claim_keys(2) == ["live0", "live1"]
    assert await bench.claim_keys(max_priority=0) == ["live2", "live3", "live4"]
    assert await bench.claim_keys(max_priority=1) == []
    assert await bench.claim(0) == []
    assert len(await bench.claim()) == 5


async def test_only_the_portals_own_due_jobs_are_claimed(bench: Bench) -> None:
    await bench.owe(owed("a"), of=OTHER)
    assert await bench.claim() == []
    (job,) = await bench.claim(of=OTHER)
    assert job.state is JobState.RUNNING
    assert (await bench.job("a", of=OTHER)).state is JobState.RUNNING
    assert await bench.claim(of=OTHER) == []


async def test_a_lane_has_one_exclusive_job_in_flight(bench: Bench) -> None:
    await bench.owe(
        owed("a"), owed("b"), owed("fetch", command=FetchRecording(), priority=Priority.RECORDING)
    )
    first = await bench.claim()
    assert [job.key for job in first] == ["a", "fetch"], "fetching a recording is not exclusive"
    assert await bench.claim() == []
    await bench.complete(first[1])
    assert await bench.claim() == []
    await bench.complete(first[0])
    assert await bench.claim_keys() == ["b"]


async def test_a_fetch_in_flight_holds_nobody_in_its_lane(bench: Bench) -> None:
    await bench.owe(owed("fetch", command=FetchRecording()))
    assert await bench.claim_keys() == ["fetch"]
    await bench.owe(owed("a"))
    assert await bench.claim_keys() == ["a"]


async def test_a_mutex_lets_one_job_of_the_portal_fly(bench: Bench) -> None:
    for lane in ("c1", "c2"):
        await bench.owe(owed("register", command=Register(), mutex="number:1"), lane=lane)
    await bench.owe(owed("register", command=Register(), mutex="number:2"), lane="c3")
    await bench.owe(owed("register", command=Register(), mutex="number:1"), of=OTHER)
    first = await bench.claim()
    assert [job.lane for job in first] == ["c1", "c3"]
    assert await bench.claim() == []
    assert len(await bench.claim(of=OTHER)) == 1, "another portal's number is another number"
    await bench.complete(first[0])
    assert [job.lane for job in await bench.claim()] == ["c2"]


async def test_a_job_in_doubt_holds_its_mutex_against_others_but_not_itself(bench: Bench) -> None:
    for lane in ("c1", "c2"):
        await bench.owe(owed("register", command=Register(), mutex="number:1"), lane=lane)
    (first,) = await bench.claim()
    await bench.fail(first, 60, doubt=True)
    await bench.clock.advance(30)
    assert await bench.claim() == []
    await bench.clock.advance(30)
    (again,) = await bench.claim()
    assert again.lane == "c1"
    await bench.complete(again)
    assert [job.lane for job in await bench.claim()] == ["c2"]


async def test_of_several_in_doubt_the_oldest_goes_first_and_none_waits_for_ever(bench: Bench) -> None:
    for lane in ("c1", "c2"):
        await bench.owe(owed("register", command=Register(), mutex="number:1"), lane=lane)
    (first,) = await bench.claim()
    await bench.fail(first, 0, doubt=True)
    (first,) = await bench.claim()
    await bench.do(lambda unit: unit.bury(first, attempt(bench.now, "attention"), SICK))
    (second,) = await bench.claim()
    await bench.fail(second, 0, doubt=True)
    await bench.fail(await bench.job("register", "c1"), 0)  # somebody tries it again by hand
    (again,) = await bench.claim()
    assert again.lane == "c1"
    await bench.complete(again)
    assert [job.lane for job in await bench.claim()] == ["c2"]


async def test_a_plain_retry_lets_the_mutex_go(bench: Bench) -> None:
    for lane in ("c1", "c2"):
        await bench.owe(owed("register", command=Register(), mutex="number:1"), lane=lane)
    (first,) = await bench.claim()
    await bench.fail(first, 60)
    assert [job.lane for job in await bench.claim()] == ["c2"]


async def test_an_expired_job_is_cancelled_with_its_dependants_and_never_returned(bench: Bench) -> None:
    live = owed("show", priority=Priority.LIVE, expires_at=bench.now + 5)
    await bench.owe(live, owed("after", "show"), owed("other"))
    await bench.clock.advance(5.5)
    assert await bench.claim_keys() == ["other"]
    assert await bench.states() == {
        "show": JobState.CANCELLED,
        "after": JobState.CANCELLED,
        "other": JobState.RUNNING,
    }
    show = await bench.job("show")
    assert [a.result for a in await bench.store.attempts(PORTAL, show.id)] == ["expired"]


async def test_a_job_is_still_worth_saying_at_its_last_moment(bench: Bench) -> None:
    await bench.owe(owed("show", expires_at=bench.now + 5))
    await bench.clock.advance(5)
    assert await bench.claim_keys() == ["show"]


async def test_two_claimers_never_share_a_job(bench: Bench) -> None:
    for n in range(60):
        await bench.owe(owed("a", mutex=f"m{n % 20}"), owed("b"), lane=f"c{n}")
    claims = await asyncio.gather(*(bench.claim(7) for _ in range(20)))
    ids = [job.id for claimed in claims for job in claimed]
    assert len(ids) == len(set(ids)) == 60
    lanes = [job.lane for claimed in claims for job in claimed]
    assert len(lanes) == len(set(lanes))
    mutexes = [job.mutex for claimed in claims for job in claimed if job.mutex]
    assert len(mutexes) == len(set(mutexes)) == 20


# --- leases -----------------------------------------------------------------------------


async def test_a_lease_that_ran_out_is_due_again_in_doubt(bench: Bench) -> None:
    await bench.owe(owed("a"))
    await bench.owe(owed("a"), lane="c2")
    await bench.claim(1, lease=60)
    await bench.claim(1, lease=90)
    assert await bench.store.rescue(bench.now + 59) == 0
    await bench.clock.advance(60)
    assert await bench.store.rescue(bench.now) == 1
    (rescued,) = await bench.claim()
    assert (rescued.lane, rescued.attempts, rescued.due_at) == ("c1", 1, bench.now)
    assert (rescued.doubt, rescued.doubted_at) == (True, bench.now)
    assert [a.code for a in await bench.store.attempts(PORTAL, rescued.id)] == ["LEASE_RAN_OUT"]


async def test_at_start_every_lease_is_rescued(bench: Bench) -> None:
    await bench.owe(owed("a"))
    await bench.claim(lease=1e9)
    assert await bench.store.rescue(math.inf) == 1
    job = await bench.job("a")
    assert (job.state, job.doubted_at) == (JobState.RETRYING, bench.now)
    assert job.due_at == bench.now + DOUBT_MATURES, "the vendor may still work on what was sent"


async def test_a_rescued_live_card_is_looked_into_at_once(bench: Bench) -> None:
    await bench.owe(owed("a", priority=Priority.LIVE))
    await bench.claim(lease=1e9)
    await bench.store.rescue(math.inf)
    assert (await bench.job("a")).due_at == bench.now


async def test_a_holder_that_comes_late_may_say_done_but_not_when_to_try_again(bench: Bench) -> None:
    await bench.owe(owed("a"), owed("b", "a"))
    (lost,) = await bench.claim()
    await bench.clock.advance(61)
    await bench.store.rescue(bench.now)
    await bench.clock.advance(DOUBT_MATURES)
    (mine,) = await bench.claim()
    await bench.fail(lost, 0)
    assert (await bench.states())["a"] is JobState.RUNNING, "the new holder still has it"
    await bench.complete(lost)
    assert await bench.states() == {"a": JobState.DONE, "b": JobState.WAITING}
    await bench.fail(mine, 0)
    assert (await bench.states())["a"] is JobState.DONE


async def test_released_jobs_wait_again_without_count_or_doubt(bench: Bench) -> None:
    await bench.owe(owed("fresh"), lane="c1")
    await bench.owe(owed("tried"), lane="c2")
    await bench.owe(owed("doubted"), lane="c3")
    by_key = {job.key: job for job in await bench.claim()}
    await bench.fail(by_key["tried"], 0)
    await bench.fail(by_key["doubted"], 0, doubt=True)
    claimed = await bench.claim()
    await bench.store.release([by_key["fresh"], *claimed])
    fresh = await bench.job("fresh")
    assert (fresh.state, fresh.attempts, fresh.doubt) == (JobState.WAITING, 0, False)
    tried = await bench.job("tried", "c2")
    assert (tried.state, tried.attempts, tried.doubt) == (JobState.RETRYING, 1, False)
    doubted = await bench.job("doubted", "c3")
    assert (doubted.state, doubted.attempts, doubted.doubt) == (JobState.RETRYING, 1, True)
    assert sorted(await bench.claim_keys()) == ["doubted", "fresh", "tried"]


async def test_what_is_settled_is_not_released(bench: Bench) -> None:
    await bench.owe(owed("a"))
    (job,) = await bench.claim()
    await bench.complete(job)
    await bench.store.release([job])
    assert await bench.states() == {"a": JobState.DONE}
