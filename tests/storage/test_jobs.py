"""Contract: a lane's graph, settling, wakes."""

from __future__ import annotations

import math

import pytest

from bitrix_app.core.advance import Wake
from bitrix_app.core.commands import EnsureBindings, Hide, Notify, Priority, Register, Show
from bitrix_app.core.jobs import JobState
from bitrix_app.core.store import DueWake
from tests.storage.making import OTHER, PORTAL, SICK, Bench, attempt, owed

pytestmark = pytest.mark.anyio

LANE = "portal:bindings"


# --- owing -----------------------------------------------------------------------------


async def test_a_job_comes_back_as_it_was_owed(bench: Bench) -> None:
    command = Register(extension="101", show=False)
    one = owed(
        "register", command=command, priority=Priority.FINISH, mutex="number:1", expires_at=bench.now + 9
    )
    assert await bench.owe(one) == 1
    job = await bench.job("register")
    assert (job.command, job.priority, job.mutex) == (command, 1, "number:1")
    assert (job.state, job.due_at, job.created_at) == (JobState.WAITING, bench.now, bench.now)
    assert (job.expires_at, job.correlation_id, job.attempts) == (bench.now + 9, "corr", 0)
    assert await bench.do(lambda unit: unit.job(job.id)) == job


async def test_a_key_that_the_lane_holds_is_not_added_again(bench: Bench) -> None:
    assert await bench.owe(owed("a"), owed("b", "a")) == 2
    assert await bench.owe(owed("a"), owed("c")) == 1
    assert await bench.owe(owed("a"), lane="c2") == 1
    assert await bench.owe(owed("a"), of=OTHER) == 1
    assert list(await bench.states()) == ["a", "b", "c"]


async def test_a_finished_key_of_a_call_is_not_added_again(bench: Bench) -> None:
    await bench.owe(owed("a"))
    (job,) = await bench.claim()
    await bench.complete(job)
    assert await bench.owe(owed("a")) == 0
    assert await bench.claim() == []


async def test_the_portals_own_work_begins_anew_once_it_is_over(bench: Bench) -> None:
    work = [owed("ensure", command=EnsureBindings())]

    async def owe() -> int:
        added: int = await bench.do(lambda unit: unit.owe(PORTAL, LANE, work, bench.now))
        return added

    assert await owe() == 1
    assert await owe() == 0, "an open one stays as it is"
    (job,) = await bench.claim()
    await bench.fail(job)
    await bench.clock.advance(10)
    (job,) = await bench.claim()
    assert job.attempts == 1
    assert await owe() == 0
    await bench.complete(job)
    await bench.clock.advance(10)
    assert await owe() == 1
    again = await bench.job("ensure", LANE)
    assert (again.state, again.attempts, again.error) == (JobState.WAITING, 0, None)
    assert (again.due_at, again.created_at) == (bench.now, bench.now)


async def test_a_cancelled_work_of_the_portal_begins_anew_without_its_doubt(bench: Bench) -> None:
    work = [owed("ensure", command=EnsureBindings())]
    await bench.do(lambda unit: unit.owe(PORTAL, LANE, work, bench.now))
    (job,) = await bench.claim()
    await bench.fail(job, doubt=True)
    await bench.do(lambda unit: unit.stop_jobs(PORTAL, "gone"))
    await bench.clock.advance(1)
    await bench.do(lambda unit: unit.owe(PORTAL, LANE, work, bench.now))
    again = await bench.job("ensure", LANE)
    assert (again.state, again.doubt, again.doubted_at) == (JobState.WAITING, False, None)


async def test_who_held_an_earlier_run_cannot_settle_the_new_one(bench: Bench) -> None:
    work = [owed("ensure", command=EnsureBindings())]
    await bench.do(lambda unit: unit.owe(PORTAL, LANE, work, bench.now))
    (old,) = await bench.claim()
    await bench.do(lambda unit: unit.stop_jobs(PORTAL, "uninstalled"))
    await bench.clock.advance(1)
    await bench.do(lambda unit: unit.owe(PORTAL, LANE, work, bench.now))
    await bench.complete(old)
    await bench.do(lambda unit: unit.bury(old, attempt(bench.now), SICK))
    assert await bench.states(LANE) == {"ensure": JobState.WAITING}


# --- needs -----------------------------------------------------------------------------


async def test_a_job_waits_for_all_its_needs(bench: Bench) -> None:
    await bench.owe(owed("a"), owed("b"), owed("c", "a", "b"))
    (a,) = await bench.claim()
    await bench.complete(a)
    assert (await bench.states())["c"] is JobState.BLOCKED
    (b,) = await bench.claim()
    await bench.complete(b)
    (c,) = await bench.claim()
    assert (a.key, b.key, c.key) == ("a", "b", "c")


async def test_a_job_whose_needs_are_done_already_waits_at_once(bench: Bench) -> None:
    await bench.owe(owed("a"))
    (a,) = await bench.claim()
    await bench.complete(a)
    await bench.owe(owed("b", "a"))
    assert (await bench.states())["b"] is JobState.WAITING


async def test_a_need_that_the_lane_does_not_hold_is_unmet(bench: Bench) -> None:
    await bench.owe(owed("a"), lane="c2")
    (a,) = await bench.claim()
    await bench.complete(a)
    await bench.owe(owed("b", "a"))
    assert await bench.states() == {"b": JobState.BLOCKED}
    await bench.owe(owed("a"))
    (a,) = await bench.claim()
    await bench.complete(a)
    assert (await bench.states())["b"] is JobState.WAITING


async def test_a_buried_job_blocks_only_what_needs_it(bench: Bench) -> None:
    await bench.owe(owed("a"), owed("b", "a"), owed("c"))
    (a,) = await bench.claim(1)
    await bench.do(lambda unit: unit.bury(a, attempt(bench.now, "attention"), SICK))
    assert await bench.states() == {
        "a": JobState.ATTENTION,
        "b": JobState.BLOCKED,
        "c": JobState.WAITING,
    }
    buried = await bench.job("a")
    assert (buried.error, buried.attempts) == (SICK, 1)


async def test_dropping_a_job_cancels_whatever_needs_it_through_others_too(bench: Bench) -> None:
    await bench.owe(owed("a"), owed("b", "a"), owed("c", "b"), owed("d", "c", "x"), owed("x"))
    await bench.owe(owed("b2", "a"), lane="c2")
    (a,) = await bench.claim(1)
    await bench.do(lambda unit: unit.drop(a, attempt(bench.now, "expired")))
    cancelled = JobState.CANCELLED
    assert await bench.states() == {
        "a": cancelled, "b": cancelled, "c": cancelled, "d": cancelled, "x": JobState.WAITING,
    }  # fmt: skip
    assert await bench.states("c2") == {"b2": JobState.BLOCKED}


async def test_cancelling_a_kind_spares_what_runs_or_is_in_doubt(bench: Bench) -> None:
    await bench.owe(
        owed("register"),
        owed("show:1", "register", command=Show(("1",))),
        owed("show:2", command=Show(("2",))),
        lane="blocked-and-waiting",
    )
    for lane in ("running", "doubt", "retrying"):
        await bench.owe(owed("show", command=Show(("1",)), priority=Priority.LIVE), lane=lane)
    by_lane = {job.lane: job for job in await bench.claim(max_priority=0)}
    await bench.fail(by_lane["doubt"], doubt=True)
    await bench.fail(by_lane["retrying"])
    for lane in ("running", "doubt", "retrying", "blocked-and-waiting"):
        await bench.owe(lane=lane, cancel=("show", "hide"))
    assert await bench.states("running") == {"show": JobState.RUNNING}
    assert await bench.states("doubt") == {"show": JobState.RETRYING}
    assert await bench.states("retrying") == {"show": JobState.CANCELLED}
    assert await bench.states("blocked-and-waiting") == {
        "register": JobState.WAITING,
        "show:1": JobState.CANCELLED,
        "show:2": JobState.CANCELLED,
    }


async def test_what_a_transition_owes_is_not_cancelled_by_it(bench: Bench) -> None:
    await bench.owe(owed("show", command=Show(("1",))), owed("hide", command=Hide()), cancel=("show",))
    assert await bench.states() == {"show": JobState.WAITING, "hide": JobState.WAITING}


# --- settling -----------------------------------------------------------------------------


async def test_a_counted_failure_is_tried_again_at_its_time(bench: Bench) -> None:
    await bench.owe(owed("a"))
    (job,) = await bench.claim()
    await bench.fail(job, 30)
    failed = await bench.job("a")
    assert (failed.state, failed.attempts, failed.error) == (JobState.RETRYING, 1, SICK)
    assert failed.due_at == bench.now + 30
    assert await bench.claim() == []
    await bench.clock.advance(30)
    (again,) = await bench.claim()
    assert (again.attempts, again.state) == (1, JobState.RUNNING)


async def test_being_put_off_does_not_count(bench: Bench) -> None:
    await bench.owe(owed("a"))
    (job,) = await bench.claim()
    await bench.fail(job, 30, counted=False)
    later = await bench.job("a")
    assert (later.state, later.attempts) == (JobState.WAITING, 0)


async def test_doubt_stays_until_the_job_is_done(bench: Bench) -> None:
    await bench.owe(owed("a"))
    (job,) = await bench.claim()
    await bench.fail(job, doubt=True)
    arose = bench.now + 0.5
    await bench.clock.advance(10)
    (job,) = await bench.claim()
    assert (job.doubt, job.doubted_at) == (True, arose)
    await bench.fail(job, counted=False, doubt=False)
    still = await bench.job("a")
    assert (still.doubt, still.doubted_at, still.state) == (True, arose, JobState.RETRYING)


async def test_a_done_job_has_no_error_and_counts_its_last_try(bench: Bench) -> None:
    await bench.owe(owed("a"))
    (job,) = await bench.claim()
    await bench.fail(job)
    await bench.clock.advance(10)
    (job,) = await bench.claim()
    await bench.complete(job)
    done = await bench.job("a")
    assert (done.state, done.attempts, done.error) == (JobState.DONE, 2, None)
    results = [(a.result, a.seconds) for a in await bench.store.attempts(PORTAL, done.id)]
    assert results == [("retry", 0.5), ("done", 0.5)]
    assert await bench.store.attempts(OTHER, done.id) == []


async def test_settling_twice_changes_nothing(bench: Bench) -> None:
    await bench.owe(owed("a"))
    (job,) = await bench.claim()
    await bench.complete(job)
    await bench.complete(job)
    await bench.fail(job)
    done = await bench.job("a")
    assert (done.state, done.attempts) == (JobState.DONE, 1)


async def test_stopping_cancels_every_open_job_of_one_portal_and_keeps_its_timers(bench: Bench) -> None:
    for lane in ("running", "retrying", "attention", "done", "waiting"):
        await bench.owe(owed("a"), owed("b", "a"), lane=lane, wakes=(Wake(bench.now, "register"),))
    await bench.owe(owed("a"), of=OTHER, wakes=(Wake(bench.now, "register"),))
    by_lane = {job.lane: job for job in await bench.claim(4)}
    await bench.fail(by_lane["retrying"])
    await bench.do(lambda unit: unit.bury(by_lane["attention"], attempt(bench.now), SICK))
    await bench.complete(by_lane["done"])
    assert await bench.do(lambda unit: unit.stop_jobs(PORTAL, "uninstalled")) == 9
    assert await bench.store.job_counts(PORTAL) == {JobState.CANCELLED: 9, JobState.DONE: 1}
    stopped = await bench.job("a", "attention")
    assert stopped.error is not None
    assert stopped.error.message == "uninstalled"
    assert await bench.store.job_counts(OTHER) == {JobState.WAITING: 1}
    assert {wake.portal for wake in await bench.store.due_wakes(math.inf)} == {PORTAL, OTHER}
    await bench.complete(by_lane["running"])
    assert await bench.states("running") == {"a": JobState.CANCELLED, "b": JobState.CANCELLED}


async def test_what_was_stopped_can_be_revived_and_nothing_else(bench: Bench) -> None:
    await bench.owe(owed("a"), owed("b", "a"), owed("c"))
    (first,) = await bench.claim(1)
    await bench.complete(first)
    await bench.do(lambda unit: unit.stop_jobs(PORTAL, "uninstalled"))
    await bench.owe(owed("a"), lane="other")
    (dropped,) = await bench.claim(1)
    await bench.do(lambda unit: unit.drop(dropped, attempt(bench.now)))
    assert await bench.do(lambda unit: unit.revive_stopped(PORTAL, bench.now)) == 2
    assert await bench.states() == {"a": JobState.DONE, "b": JobState.WAITING, "c": JobState.WAITING}
    assert await bench.states("other") == {"a": JobState.CANCELLED}
    assert (await bench.job("b")).error is None


# --- wakes -----------------------------------------------------------------------------


async def test_a_later_wake_of_the_same_reason_replaces_the_earlier(bench: Bench) -> None:
    await bench.owe(wakes=(Wake(10.25, "register"), Wake(20.0, "no_end")))
    await bench.owe(wakes=(Wake(30.0, "register"),))
    wakes = await bench.store.due_wakes(100.0)
    assert wakes == [DueWake(PORTAL, "c1", "no_end", 20.0), DueWake(PORTAL, "c1", "register", 30.0)]
    assert await bench.store.due_wakes(20.0) == wakes[:1]
    assert await bench.store.due_wakes(100.0, limit=1) == wakes[:1]
    await bench.owe(unwake=("register", "unknown"))
    assert await bench.store.due_wakes(100.0) == wakes[:1]


async def test_a_wake_is_taken_once_and_not_when_it_was_moved(bench: Bench) -> None:
    await bench.owe(wakes=(Wake(10.1, "register"),))
    (wake,) = await bench.store.due_wakes(11.0)
    await bench.owe(wakes=(Wake(20.1, "register"),))
    assert await bench.do(lambda unit: unit.take_wake(wake)) is False
    (moved,) = await bench.store.due_wakes(30.0)
    assert await bench.do(lambda unit: unit.take_wake(moved)) is True
    assert await bench.do(lambda unit: unit.take_wake(moved)) is False


async def test_the_next_due_moment_is_the_earlier_of_job_and_wake(bench: Bench) -> None:
    assert await bench.store.next_due() is None
    await bench.owe(wakes=(Wake(bench.now + 50, "register"),))
    assert await bench.store.next_due() == bench.now + 50
    await bench.owe(owed("a"), of=OTHER)
    assert await bench.store.next_due() == bench.now
    (job,) = await bench.claim(of=OTHER)
    assert await bench.store.next_due() == bench.now + 50
    await bench.fail(job, 20)
    assert await bench.store.next_due() == bench.now + 20


async def test_portals_with_due_jobs_are_named_the_longest_waiting_first(bench: Bench) -> None:
    assert await bench.store.due_portals(bench.now) == []
    for n, of in enumerate(("p3", "p1", "p2")):
        await bench.owe(owed("a"), owed("b"), of=of)
        await bench.clock.advance(n + 1)
    await bench.owe(owed("a", "nothing"), of="blocked")
    assert await bench.store.due_portals(bench.now) == ["p3", "p1", "p2"]
    await bench.claim(of="p1")
    for job in await bench.claim(of="p3"):
        await bench.complete(job)
    assert await bench.store.due_portals(bench.now) == ["p3", "p1", "p2"], "each has one left"


async def test_a_notice_of_one_tag_is_one_job(bench: Bench) -> None:
    notice = owed("notify:x", command=Notify("x", "words"))
    await bench.owe(notice)
    assert await bench.owe(notice) == 0
