"""The dispatcher: what is due is woken, portals get their lanes, and nothing ends its turning."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator
from typing import Any, cast

import pytest

from bitrix_app.core.advance import Wake
from bitrix_app.core.commands import EnsureBindings, Finish, Priority, RefreshDirectory
from bitrix_app.core.errors import VendorBroken
from bitrix_app.core.portal import PortalState, Snapshot
from bitrix_app.core.retry import DOUBT_MATURES
from bitrix_app.core.store import Store, StoreUnavailable
from bitrix_app.intake import Intake
from bitrix_app.lanes import PortalLanes
from bitrix_app.outbox import Outbox
from bitrix_app.worker import LONGEST_SLEEP, LOOK_AGAIN, PRUNE_EVERY, ROUNDS_EVERY, SUSPENDED_LOOK, Worker
from tests.house.lanes import FakeOutbox
from tests.house.making import (
    MEMBER,
    NOW,
    OTHER,
    Bench,
    Failing,
    Through,
    away,
    call,
    end,
    over,
    owed,
    portal,
    until,
    webhook,
)

pytestmark = pytest.mark.anyio


class Room:
    """The worker with a scripted outbox; the tick of the upkeep is counted."""

    def __init__(self, bench: Bench) -> None:
        self.bench = bench
        self.clock = bench.clock
        self.outbox = FakeOutbox()
        self.ticks = 0
        self.made: list[str] = []
        self.worker: Worker | None = None
        self.task: asyncio.Task[None] | None = None
        self.intake: Intake | None = None

    def build(self, store: Any = None, lanes_store: Any = None) -> Worker:
        store = cast(Store, store or self.bench.store)

        def nudge(member_id: str) -> None:
            assert self.worker is not None
            self.worker.nudge(member_id)

        def lanes_for(member_id: str) -> PortalLanes:
            self.made.append(member_id)
            return PortalLanes(
                member_id,
                lanes_store or store,
                cast(Outbox, self.outbox),
                self.clock,
                random.Random(1),
            )

        def tick() -> None:
            self.ticks += 1

        self.intake = Intake(store, self.clock, nudge, lambda _: None)
        self.worker = Worker(store, self.clock, self.intake, lanes_for, tick)
        return self.worker

    async def start(self, store: Any = None, lanes_store: Any = None) -> Worker:
        worker = self.build(store, lanes_store)
        self.task = asyncio.create_task(worker.run())
        await self.clock.advance(0)
        await asyncio.sleep(0.02)
        return worker

    async def hear(self, body: bytes) -> None:
        """A webhook of the PBX, with the worker told of it as in the running house."""
        assert self.intake is not None
        await self.intake.pbx(
            self.bench.portal, body=body, content_type="", query={}, method="POST", correlation_id=""
        )

    async def fresh(self) -> None:
        """All work of the rounds was done just now."""
        for kind in ("bindings", "directory", "tokens", "dialers_state", "reconcile", "compare"):
            await self.bench.store.save_snapshot(MEMBER, Snapshot(kind, self.clock.now(), ()))

    async def state(self, key: str, wanted: str, lane: str = "c1") -> None:
        async def there() -> bool:
            return (await self.bench.states(lane)).get(key) == wanted

        await until(there, f"{lane}/{key} {wanted}")


@pytest.fixture
async def room(bench: Bench) -> AsyncIterator[Room]:
    mine = Room(bench)
    yield mine
    mine.outbox.gate.set()
    if mine.worker is not None:
        await mine.worker.stop()
    if mine.task is not None:
        mine.task.cancel()
        await asyncio.gather(mine.task, return_exceptions=True)


def said_times(room: Room, name: str) -> int:
    return room.outbox.said.count(name)


# --- the start ------------------------------------------------------------------------------------


async def test_what_was_in_flight_at_the_crash_is_looked_into_in_doubt(room: Room) -> None:
    await room.fresh()
    await room.bench.keep(over(), owes=[owed(Finish())])
    await room.bench.store.claim(MEMBER, NOW, 9, NOW + 900)
    await room.start()
    await room.clock.advance(DOUBT_MATURES - 1)
    assert room.outbox.said == [], "the vendor may still be working on it"
    await room.clock.advance(3)
    await room.state("finish", "done")
    one = (await room.bench.lane())["finish"]
    assert one.doubt
    attempts = await room.bench.store.attempts(MEMBER, one.id)
    assert [a.result for a in attempts] == ["doubt", "done"]


async def test_a_store_that_is_away_at_the_very_start_does_not_end_the_worker(room: Room) -> None:
    await room.fresh()
    await room.bench.keep(over(), owes=[owed(Finish())])
    store = Through(room.bench.store, rescue=Failing(room.bench.store.rescue, away()))
    await room.start(store)
    await room.clock.advance(5)
    assert room.task is not None
    if room.task.done():
        assert isinstance(room.task.exception(), StoreUnavailable)
    assert not room.task.done()
    await room.state("finish", "done")


async def test_the_worker_is_alive_while_it_turns(room: Room) -> None:
    await room.fresh()
    worker = await room.start()
    assert worker.alive
    await room.clock.advance(3 * LONGEST_SLEEP)
    assert worker.alive
    assert room.task is not None
    room.task.cancel()
    await asyncio.gather(room.task, return_exceptions=True)
    await room.clock.advance(2 * LONGEST_SLEEP + 1)
    assert not worker.alive


# --- due work -------------------------------------------------------------------------------------


async def test_due_work_of_each_portal_is_delivered_by_lanes_of_its_own(room: Room) -> None:
    await room.fresh()
    other = portal(member_id=OTHER)
    await room.bench.do(lambda unit: unit.save_portal(other))
    for kind in ("bindings", "directory", "tokens", "dialers_state", "reconcile", "compare"):
        await room.bench.store.save_snapshot(OTHER, Snapshot(kind, NOW, ()))
    await room.bench.keep(over(), over("c2", portal=OTHER), owes=[owed(Finish())])
    await room.start()
    await until(lambda: len(room.outbox.said) == 2, "both said")
    assert sorted(room.made) == sorted([MEMBER, OTHER])


async def test_a_portal_has_one_keeper_however_often_it_has_work(room: Room) -> None:
    await room.fresh()
    await room.start()
    for number in range(3):
        await room.bench.keep(over(f"c{number}"), owes=[owed(Finish())])
        assert room.worker is not None
        room.worker.nudge(MEMBER)
        await room.state("finish", "done", f"c{number}")
    assert room.made == [MEMBER]


async def test_a_nudge_wakes_an_idle_worker_at_once(room: Room) -> None:
    await room.fresh()
    await room.start()
    await room.clock.advance(1)
    await room.hear(end())
    await until(lambda: "register" in str(room.outbox.said), "registered")
    assert room.clock.now() == NOW + 1


async def test_work_that_comes_due_later_is_done_at_its_time(room: Room) -> None:
    await room.fresh()
    room.outbox.on("c1/finish", VendorBroken("500"), VendorBroken("500"))
    await room.bench.keep(over(), owes=[owed(Finish())])
    (one,) = await room.bench.store.claim(MEMBER, NOW, 1, NOW + 900)
    from bitrix_app.core.jobs import Attempt, JobError

    later = JobError("X", "server", "", "", "")
    await room.bench.do(
        lambda unit: unit.reschedule(
            one, Attempt(NOW, 0, "retry"), NOW + 10, counted=True, doubt=False, error=later
        )
    )
    await room.start()
    await room.clock.advance(9.9)
    assert room.outbox.said == []
    await room.clock.advance(0.3)
    await until(lambda: room.outbox.said == ["c1/finish"], "said")


async def test_a_second_try_comes_after_its_pause_and_not_at_the_next_look_around(room: Room) -> None:
    await room.fresh()
    worker = await room.start()
    await room.bench.keep(over("c0"), owes=[owed(Finish())])
    worker.nudge(MEMBER)
    await room.state("finish", "done", "c0")
    await room.clock.advance(5)  # the portal has its lanes, and the dispatcher sleeps for half a minute
    room.outbox.on("c1/finish", VendorBroken("500"))
    room.outbox.gate.clear()
    await room.bench.keep(over(), owes=[owed(Finish())])
    worker.nudge(MEMBER)
    await until(lambda: room.outbox.running, "the first try")
    await room.clock.advance(5)
    room.outbox.gate.set()
    await room.state("finish", "retrying")
    await room.clock.advance(7)
    await asyncio.sleep(0.02)
    assert said_times(room, "c1/finish") == 2


async def test_a_new_call_is_registered_three_seconds_later(room: Room) -> None:
    await room.fresh()
    await room.start()
    await room.clock.advance(3)
    await room.hear(webhook("CALL_NEW"))
    await room.clock.advance(4)
    await asyncio.sleep(0.05)
    assert len(room.outbox.said) == 1


async def test_a_timer_is_kept_to_its_time(room: Room) -> None:
    await room.fresh()
    room.build()
    await room.hear(webhook("CALL_NEW"))
    await room.start()
    await room.clock.advance(2.9)
    assert room.outbox.said == []
    await room.clock.advance(0.3)
    await until(lambda: len(room.outbox.said) == 1, "registered")


async def test_one_bad_timer_does_not_stop_the_others(room: Room, monkeypatch: pytest.MonkeyPatch) -> None:
    await room.fresh()
    await room.bench.keep(call("bad", register_owed=False), wakes=(Wake(NOW, "register"),))
    await room.bench.keep(call("good", register_owed=False), wakes=(Wake(NOW, "register"),))
    worker = room.build()
    assert room.intake is not None
    real = room.intake.due

    async def due(wake: Any) -> None:
        if wake.lane == "bad":
            raise ValueError("a fault of ours")
        await real(wake)

    monkeypatch.setattr(room.intake, "due", due)
    room.task = asyncio.create_task(worker.run())
    await room.state("register", "done", "good")
    assert [w.lane for w in await room.bench.store.due_wakes(NOW + 1)] == ["bad"], "it stays due"


async def test_a_bad_timer_is_not_tried_in_a_storm(room: Room, monkeypatch: pytest.MonkeyPatch) -> None:
    await room.fresh()
    await room.bench.keep(call("bad", register_owed=False), wakes=(Wake(NOW, "register"),))
    worker = room.build()
    tries = []

    async def due(wake: Any) -> None:
        tries.append(wake)
        raise ValueError("a fault of ours")

    monkeypatch.setattr(room.intake, "due", due)
    pause = await worker._turn()
    assert len(tries) == 1
    assert pause >= LOOK_AGAIN


# --- faults ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("verb", ["due_wakes", "due_portals", "next_due", "portals"])
@pytest.mark.parametrize("fault", [away(), ValueError("a fault of ours")])
async def test_a_failing_turn_does_not_end_the_loop(room: Room, verb: str, fault: Exception) -> None:
    await room.fresh()
    await room.bench.keep(over(), owes=[owed(Finish())])
    store = Through(room.bench.store, **{verb: Failing(getattr(room.bench.store, verb), fault)})
    await room.start(store)
    await room.clock.advance(2.5)
    await room.state("finish", "done")
    assert room.task is not None
    assert not room.task.done()


async def test_a_store_that_is_away_is_not_asked_timer_by_timer(room: Room) -> None:
    for id_ in ("c1", "c2", "c3"):
        await room.bench.keep(call(id_, register_owed=False), wakes=(Wake(NOW, "register"),))
    await room.fresh()
    store = Through(room.bench.store, transact=Failing(room.bench.store.transact, *[away()] * 9))
    worker = room.build(store)
    with pytest.raises(StoreUnavailable):
        await worker._turn()
    assert store.asked["transact"] == 1


async def test_a_store_that_is_away_while_a_timer_comes_leaves_the_timer_for_later(room: Room) -> None:
    await room.fresh()
    await room.bench.keep(call(register_owed=False), wakes=(Wake(NOW, "register"),))
    store = Through(room.bench.store, transact=Failing(room.bench.store.transact, away()))
    await room.start(store, lanes_store=room.bench.store)
    await room.clock.advance(2)
    await room.state("register", "done")


# --- the rounds -----------------------------------------------------------------------------------


async def test_a_new_portal_owes_its_bindings_people_and_tokens(room: Room) -> None:
    room.outbox.gate.clear()
    await room.start()
    for lane, key in (
        ("portal:bindings", "bindings"),
        ("portal:directory", "directory"),
        ("portal:tokens", "tokens"),
    ):
        await until(lambda lane=lane: room.bench.lane(lane), lane)  # type: ignore[misc]
        assert (await room.bench.lane(lane))[key].priority == Priority.CRM


@pytest.mark.parametrize(
    ("kind", "lane", "every"),
    [
        ("bindings", "portal:bindings", 86_400.0),
        ("directory", "portal:directory", 3_600.0),
        ("tokens", "portal:tokens", 86_400.0),
        ("dialers_state", "portal:dialers", 3_600.0),
    ],
)
async def test_the_rounds_owe_each_work_by_its_age(room: Room, kind: str, lane: str, every: float) -> None:
    await room.fresh()
    await room.bench.store.save_snapshot(MEMBER, Snapshot(kind, NOW - every + ROUNDS_EVERY, ()))
    room.outbox.gate.clear()
    await room.start()
    await room.clock.advance(ROUNDS_EVERY - 1)
    assert await room.bench.lane(lane) == {}
    await room.clock.advance(2)
    await until(lambda: room.bench.lane(lane), f"{kind} owed")


async def test_work_that_is_owed_already_is_not_owed_twice(room: Room) -> None:
    room.outbox.gate.clear()
    await room.start()
    await room.clock.advance(3 * ROUNDS_EVERY)
    for lane in ("portal:bindings", "portal:directory", "portal:tokens", "portal:dialers"):
        assert len(await room.bench.store.lane(MEMBER, lane)) == 1
    assert len(room.outbox.said) <= 4


@pytest.mark.parametrize("state", [PortalState.NEEDS_REAUTH, PortalState.UNINSTALLED, PortalState.INSTALLING])
async def test_the_rounds_pass_a_portal_that_is_not_active(room: Room, state: PortalState) -> None:
    await room.bench.change(state=state, state_since=NOW - 1e6)
    await room.start()
    await room.clock.advance(2 * ROUNDS_EVERY)
    assert await room.bench.lane("portal:bindings") == {}
    assert (await room.bench.current()).state is state


async def test_a_suspended_portal_is_looked_at_after_half_an_hour(room: Room) -> None:
    await room.fresh()
    await room.bench.change(state=PortalState.SUSPENDED, state_since=NOW, state_reason="PAYMENT_REQUIRED")
    await room.bench.keep(over(), owes=[owed(Finish())])
    await room.start()
    await room.clock.advance(120)
    assert room.outbox.said == []
    assert (await room.bench.current()).state is PortalState.SUSPENDED
    await room.bench.change(state_since=NOW + 120 - SUSPENDED_LOOK)
    await room.clock.advance(ROUNDS_EVERY + 1)
    assert (await room.bench.current()).state is PortalState.ACTIVE
    await room.state("finish", "done")


async def test_a_portal_that_left_its_suspension_meanwhile_is_left_alone(room: Room) -> None:
    await room.fresh()
    suspended = await room.bench.change(state=PortalState.SUSPENDED, state_since=NOW - 1e6)
    gone = await room.bench.change(state=PortalState.UNINSTALLED)
    worker = room.build()
    await worker._look_again(suspended, NOW)
    assert await room.bench.current() == gone


async def test_leases_that_ran_out_are_rescued_by_the_rounds(room: Room) -> None:
    await room.fresh()
    await room.start()
    await room.bench.keep(over(), owes=[owed(Finish())])
    await room.bench.store.claim(MEMBER, NOW, 9, NOW + 30)
    await room.clock.advance(25)
    assert (await room.bench.states())["finish"] == "running"
    await room.clock.advance(2 * ROUNDS_EVERY + DOUBT_MATURES)
    await room.state("finish", "done")
    assert (await room.bench.lane())["finish"].doubt


async def test_the_rounds_sweep_each_minute_and_prune_each_hour(room: Room) -> None:
    await room.fresh()
    store = Through(room.bench.store)
    await room.start(store)
    assert (room.ticks, store.asked["prune"]) == (1, 1)
    await room.clock.advance(3 * ROUNDS_EVERY + 1)
    assert (room.ticks, store.asked["prune"]) == (4, 1)
    assert PRUNE_EVERY >= 10 * ROUNDS_EVERY
    assert room.worker is not None
    room.worker._next_prune = room.clock.now()
    await room.clock.advance(ROUNDS_EVERY)
    assert store.asked["prune"] == 2


# --- idling and stopping --------------------------------------------------------------------------


async def test_an_idle_worker_sleeps(room: Room) -> None:
    await room.fresh()
    store = Through(room.bench.store)
    await room.start(store)
    store.asked.clear()
    await room.clock.advance(300)
    turns = 300 / LONGEST_SLEEP
    assert store.asked["next_due"] <= turns + 1
    assert sum(store.asked.values()) <= 3 * (turns + 1) + 6 * (300 / ROUNDS_EVERY + 1)


async def test_a_paused_portal_with_work_is_looked_at_once_a_second_at_most(room: Room) -> None:
    await room.fresh()
    await room.bench.change(state=PortalState.NEEDS_REAUTH)
    await room.bench.keep(over(), owes=[owed(Finish())])
    store = Through(room.bench.store)
    await room.start(store)
    store.asked.clear()
    await room.clock.advance(20)
    assert store.asked["due_portals"] <= 21
    assert room.outbox.said == []


async def test_stopping_ends_the_loop_and_all_lanes(room: Room) -> None:
    await room.fresh()
    worker = await room.start()
    await room.bench.keep(over(), owes=[owed(Finish())])
    worker.nudge(MEMBER)
    await room.state("finish", "done")
    await asyncio.wait_for(worker.stop(), 2)
    await room.clock.advance(1)
    assert room.task is not None
    assert room.task.done()
    await room.bench.keep(over("c2"), owes=[owed(Finish())])
    worker.nudge(MEMBER)
    await room.clock.advance(100)
    assert await room.bench.states("c2") == {"finish": "waiting"}


async def test_a_turn_that_is_under_way_starts_no_lanes_after_the_stop(room: Room) -> None:
    await room.fresh()
    looking, go_on = asyncio.Event(), asyncio.Event()

    async def due_portals(now: float) -> Any:
        found = await room.bench.store.due_portals(now)
        looking.set()
        await go_on.wait()
        return found

    await room.bench.keep(over(), owes=[owed(Finish())])
    worker = await room.start(Through(room.bench.store, due_portals=due_portals))
    await asyncio.wait_for(looking.wait(), 2)
    await worker.stop()
    go_on.set()
    await asyncio.sleep(0.05)
    assert room.outbox.said == []


def test_the_portals_own_work_is_what_the_rounds_owe() -> None:
    from bitrix_app.core.chores import portal_work, rounds

    soon = {(lane, one.key): type(one.command) for lane, one in portal_work()}
    assert set(soon.values()) == {EnsureBindings, RefreshDirectory}
    regular = {(lane, one.key) for _, _, lane, one in rounds()}
    assert set(soon) < regular, "one key, so that the same work is not owed twice"
