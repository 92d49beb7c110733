"""One portal's jobs: what is said first, how many at once, and what becomes of each answer."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Sequence
from typing import Any, cast

import pytest

from bitrix_app.core.call import Recording
from bitrix_app.core.commands import (
    AttachRecording,
    Command,
    EnsureBindings,
    FetchRecording,
    Finish,
    Hide,
    Priority,
    RefreshDirectory,
    Register,
    SetStatus,
)
from bitrix_app.core.errors import (
    AnswerLost,
    NeedsReauth,
    NotSent,
    PaymentNeeded,
    PortalGone,
    PortalPaused,
    Refused,
    Throttled,
    Trouble,
    VendorBroken,
)
from bitrix_app.core.events import Finished, Registered
from bitrix_app.core.portal import PortalSettings, PortalState
from bitrix_app.core.store import Store
from bitrix_app.lanes import BATCH_FROM, BATCH_MOST, IDLE, LEASE, PortalLanes, _by_seconds
from bitrix_app.outbox import EXPECTED_SECONDS, Moot, Outbox
from tests.house.lanes import FakeOutbox
from tests.house.making import (
    MEMBER,
    NOW,
    Bench,
    Failing,
    Through,
    away,
    call,
    job,
    over,
    owed,
    profile,
    until,
    verified,
)

pytestmark = pytest.mark.anyio


class Room:
    """Lanes of one portal with an outbox by script; stopped at the end of the test."""

    def __init__(self, bench: Bench) -> None:
        self.bench = bench
        self.outbox = FakeOutbox()
        self.lanes: PortalLanes | None = None

    def start(self, store: Any = None) -> PortalLanes:
        self.lanes = PortalLanes(
            MEMBER,
            cast(Store, store or self.bench.store),
            cast(Outbox, self.outbox),
            self.bench.clock,
            random.Random(1),
        )
        self.lanes.start()
        return self.lanes

    def nudge(self) -> None:
        assert self.lanes is not None
        self.lanes.nudge()

    async def owe(self, command: Command, *lanes: str, priority: Priority = Priority.FINISH) -> None:
        for lane in lanes:
            await self.bench.keep(over(lane), owes=[owed(command, priority=priority)])

    async def state(self, key: str, wanted: str, lane: str = "c1") -> None:
        """Wait until the job is in that state."""

        async def there() -> bool:
            return (await self.bench.states(lane)).get(key) == wanted

        await until(there, f"{lane}/{key} {wanted}")

    async def running(self, count: int) -> None:
        await until(lambda: len(self.outbox.running) == count, f"{count} in flight")
        await asyncio.sleep(0.02)
        assert len(self.outbox.running) == count


@pytest.fixture
async def room(bench: Bench) -> AsyncIterator[Room]:
    mine = Room(bench)
    yield mine
    mine.outbox.gate.set()
    if mine.lanes is not None:
        await mine.lanes.stop(1.0)


def lanes(count: int) -> list[str]:
    return [f"c{number:02}" for number in range(count)]


# --- who goes first, and how many -----------------------------------------------------------------


async def test_downloads_leave_a_slot_of_the_pbx_for_what_is_quick(room: Room) -> None:
    room.outbox.gate.clear()
    await room.owe(FetchRecording(link="https://x"), *lanes(5), priority=Priority.RECORDING)
    room.start()
    await room.running(2)
    await room.bench.owe("agent:2001", owed(SetStatus("2001"), "status"))
    room.nudge()
    await room.running(3)
    assert "agent:2001/status" in room.outbox.said
    await room.bench.owe("agent:2002", owed(SetStatus("2002"), "status"))
    room.nudge()
    await room.running(3)
    room.outbox.gate.set()
    for lane in lanes(5):
        await room.state("fetch_recording", "done", lane)


async def test_live_work_goes_before_an_older_backlog(room: Room) -> None:
    room.outbox.gate.clear()
    await room.owe(AttachRecording(), *lanes(5), priority=Priority.RECORDING)
    await room.bench.clock.advance(5)
    await room.owe(Register(), "live", priority=Priority.LIVE)
    room.start()
    await until(lambda: room.outbox.said, "something said")
    assert room.outbox.said[0] == "live/register"


async def test_one_slot_is_reserved_for_live_work(room: Room) -> None:
    room.outbox.gate.clear()
    await room.owe(AttachRecording(), *lanes(5), priority=Priority.RECORDING)
    room.start()
    await room.running(2)
    await room.owe(Register(), "live", "live2", priority=Priority.LIVE)
    room.nudge()
    await room.running(3)
    assert room.outbox.running[-1] == "live/register"
    assert (await room.bench.states("live2"))["register"] == "waiting"


async def test_more_live_work_takes_the_others_room(room: Room) -> None:
    room.outbox.gate.clear()
    await room.owe(Register(), "l1", "l2", "l3", "l4", priority=Priority.LIVE)
    await room.owe(AttachRecording(), *lanes(3), priority=Priority.RECORDING)
    room.start()
    await room.running(3)
    assert all(name.startswith("l") for name in room.outbox.running)


async def test_the_portals_setting_decides_how_many_are_in_flight(room: Room) -> None:
    await room.bench.change(settings=PortalSettings(concurrency=4))
    room.outbox.gate.clear()
    await room.owe(AttachRecording(), *lanes(8), priority=Priority.RECORDING)
    room.start()
    await room.running(4)


async def test_whoever_comes_back_makes_room_for_the_next(room: Room) -> None:
    await room.owe(AttachRecording(), *lanes(7), priority=Priority.RECORDING)
    room.start()
    await until(lambda: len(room.outbox.said) == 7, "all said")
    assert len(set(room.outbox.said)) == 7


async def test_what_has_no_room_is_given_back_unharmed(room: Room) -> None:
    room.outbox.gate.clear()
    await room.owe(AttachRecording(), *lanes(6), priority=Priority.RECORDING)
    room.start()
    await room.running(2)
    for lane in lanes(6):
        (one,) = (await room.bench.lane(lane)).values()
        assert (one.attempts, one.doubt) == (0, False)
        assert str(one.state) == ("running" if f"{lane}/attach_recording" in room.outbox.said else "waiting")


# --- batches --------------------------------------------------------------------------------------


async def test_a_few_jobs_go_singly(room: Room) -> None:
    await room.owe(Finish(), *lanes(BATCH_FROM - 1))
    room.start()
    await until(lambda: len(room.outbox.said) == BATCH_FROM - 1, "all said")
    assert room.outbox.batches == []


async def test_a_backlog_goes_as_a_batch_and_each_job_is_settled(room: Room) -> None:
    names = lanes(BATCH_FROM + 1)
    room.outbox.on(f"{names[0]}/finish", Refused("no"))
    room.outbox.on(f"{names[1]}/finish", Throttled("slow", retry_at=NOW + 500))
    room.outbox.on(f"{names[2]}/finish", Moot("no sense"))
    room.outbox.on(f"{names[3]}/finish", Finished(1))
    await room.owe(Finish(), *names)
    room.start()
    for name, state in zip(names, ("attention", "waiting", "cancelled", "done", "done"), strict=True):
        await room.state("finish", state, name)
    assert not any(name.endswith("/finish") for name in room.outbox.said)
    assert (await room.bench.the_call(names[3])).finished


async def test_what_cannot_share_a_batch_goes_beside_it(room: Room) -> None:
    room.outbox.gate.clear()
    await room.owe(Finish(), *lanes(BATCH_FROM))
    await room.owe(AttachRecording(), "rec", priority=Priority.RECORDING)
    room.start()
    await room.running(BATCH_FROM + 1)
    assert room.outbox.said == ["rec/attach_recording"]
    assert [len(batch) for batch in room.outbox.batches] == [BATCH_FROM]


async def test_a_big_backlog_goes_in_batches_that_the_portal_can_answer_in_time(room: Room) -> None:
    room.outbox.gate.clear()
    await room.owe(Finish(), *lanes(60))
    room.start()
    await until(lambda: len(room.outbox.batches) == 2, "two batches")
    sizes = [len(batch) for batch in room.outbox.batches]
    assert all(size * EXPECTED_SECONDS["finish"] <= 40 for size in sizes)
    left = lanes(60)[sum(sizes) :]
    for lane in left:
        await room.state("finish", "waiting", lane)
    room.outbox.gate.set()
    await until(lambda: sum(map(len, room.outbox.batches)) + len(room.outbox.said) == 60, "all")
    everyone = [name for batch in room.outbox.batches for name in batch] + room.outbox.said
    assert len(set(everyone)) == 60


def test_batches_are_cut_by_seconds_and_by_number() -> None:
    slow = [job(Finish(), id=n) for n in range(40)]
    groups = _by_seconds(slow)
    assert [len(group) for group in groups] == [16, 16, 8]
    assert [one.id for group in groups for one in group] == list(range(40))
    quick = _by_seconds([job(Hide(), id=n) for n in range(120)])
    assert [len(group) for group in quick] == [BATCH_MOST, BATCH_MOST, 20]
    assert [len(g) for g in _by_seconds([job(AttachRecording(), id=n) for n in range(41)])] == [40, 1]
    assert _by_seconds([]) == []


@pytest.mark.parametrize(
    ("trouble", "state", "doubt"),
    [
        (NotSent("refused"), "retrying", False),
        (AnswerLost("reset"), "retrying", True),
        (away(), "waiting", False),
        (ValueError("ours"), "attention", False),
    ],
)
async def test_a_batch_that_fails_as_a_whole_fails_each_of_its_jobs(
    room: Room, trouble: Exception, state: str, doubt: bool
) -> None:
    room.outbox.batch_fault = trouble
    await room.owe(Finish(), *lanes(BATCH_FROM))
    room.start()
    for name in lanes(BATCH_FROM):

        async def settled(name: str = name) -> bool:
            one = (await room.bench.lane(name))["finish"]
            return one.error is not None and str(one.state) == state

        await until(settled, f"{name} {state}")
        assert (await room.bench.lane(name))["finish"].doubt is doubt


async def test_a_job_of_an_erased_call_in_a_batch_is_dropped(room: Room) -> None:
    from bitrix_app.core.advance import Owed

    await room.owe(Finish(), *lanes(BATCH_FROM))
    await room.bench.owe("gone", Owed("finish", Finish(), Priority.FINISH))
    room.start()
    await room.state("finish", "cancelled", "gone")
    assert (await room.bench.last_attempt("finish", "gone")).message == "the call was erased"


async def test_what_takes_more_than_one_request_goes_singly_after_the_batch(room: Room) -> None:
    names = lanes(BATCH_FROM)
    room.outbox.alone = set(names[:2])
    room.outbox.on(f"{names[1]}/finish", Refused("no"))
    await room.owe(Finish(), *names)
    room.start()
    for name, state in zip(names, ("done", "attention", "done", "done"), strict=True):
        await room.state("finish", state, name)
    assert room.outbox.said == [f"{name}/finish" for name in names[:2]]


# --- what becomes of an answer --------------------------------------------------------------------


async def test_a_good_answer_closes_the_job_and_the_call_hears_it(room: Room) -> None:
    room.outbox.on("finish", Finished(991, "LEAD", 5, 11))
    await room.owe(Finish(), "c1")
    room.start()
    await room.state("finish", "done")
    known = await room.bench.the_call()
    assert (known.finished, known.activity_id) == (True, 991)
    assert "layout" in await room.bench.lane(), "what follows is owed in the same transaction"
    assert (await room.bench.last_attempt("finish")).result == "done"


async def test_the_portals_own_work_has_no_call(room: Room) -> None:
    room.outbox.on("ensure_bindings", None)
    await room.bench.owe("portal:bindings", owed(EnsureBindings(), "bindings"))
    room.start()
    await room.state("bindings", "done", "portal:bindings")


async def test_an_answer_that_the_calls_life_forbids_changes_nothing(room: Room) -> None:
    room.outbox.on("register", Registered("another", 1))
    await room.owe(Register(), "c1")
    before = await room.bench.the_call()
    room.start()
    await room.state("register", "done")
    assert await room.bench.the_call() == before


async def test_the_work_on_a_job_carries_its_correlation_id(room: Room) -> None:
    await room.owe(AttachRecording(), "c1")
    room.start()
    await room.state("attach_recording", "done")
    assert room.outbox.correlations == ["corr-3"]


async def test_a_moot_job_is_dropped_with_what_needs_it(room: Room) -> None:
    room.outbox.on("register", Moot("makes no sense"))
    await room.bench.keep(call(), owes=[owed(Register()), owed(Finish(), "finish", "register")])
    room.start()
    await room.state("register", "cancelled")
    assert await room.bench.states() == {"register": "cancelled", "finish": "cancelled"}
    attempt = await room.bench.last_attempt("register")
    assert (attempt.result, attempt.message) == ("expired", "makes no sense")


async def test_a_refusal_needs_a_person_and_the_call_hears_that_it_was_given_up(room: Room) -> None:
    room.outbox.on("fetch_recording", Refused("the link is dead", code="FORBIDDEN_LINK", hint="Mend it."))
    await room.bench.keep(
        over(recording=Recording.EXPECTED, link="https://x", finished=True),
        owes=[owed(FetchRecording()), owed(AttachRecording(), "attach_recording", "fetch_recording")],
    )
    room.start()
    await room.state("fetch_recording", "attention")
    one = (await room.bench.lane())["fetch_recording"]
    assert one.error is not None
    assert (one.error.code, one.error.hint, one.error.who) == ("FORBIDDEN_LINK", "Mend it.", "manager")
    known = await room.bench.the_call()
    assert known.recording is Recording.MISSING
    assert "Recording: the link is dead" in known.notes
    assert (await room.bench.states())["attach_recording"] == "blocked", "only what needs it waits"
    assert (await room.bench.last_attempt("fetch_recording")).result == "attention"


async def test_a_refusal_of_the_portals_own_work_needs_a_person_too(room: Room) -> None:
    room.outbox.on("ensure_bindings", Refused("no"))
    await room.bench.owe("portal:bindings", owed(EnsureBindings(), "bindings"))
    room.start()
    await room.state("bindings", "attention", "portal:bindings")


@pytest.mark.parametrize(
    ("trouble", "result", "attempts", "doubt", "pause"),
    [
        (NotSent("refused"), "retry", 1, False, (4.0, 6.0)),
        (VendorBroken("500"), "retry", 1, False, (4.0, 6.0)),
        (AnswerLost("reset"), "doubt", 1, True, (60.0, 60.0)),
        (Throttled("slow", retry_at=NOW + 33), "later", 0, False, (33.0, 33.0)),
        (Throttled("slow"), "later", 0, False, (60.0, 60.0)),
    ],
)
async def test_a_failed_job_comes_back_by_its_trouble(
    room: Room, trouble: Trouble, result: str, attempts: int, doubt: bool, pause: tuple[float, float]
) -> None:
    room.outbox.on("finish", trouble)
    await room.owe(Finish(), "c1")
    room.start()

    async def settled() -> bool:
        one = (await room.bench.lane())["finish"]
        return one.error is not None and str(one.state) in ("retrying", "waiting")

    await until(settled, "settled")
    one = (await room.bench.lane())["finish"]
    assert (one.attempts, one.doubt) == (attempts, doubt)
    assert pause[0] <= one.due_at - NOW <= pause[1]
    attempt = await room.bench.last_attempt("finish")
    assert (attempt.result, attempt.next_at, attempt.code) == (result, one.due_at, trouble.code)
    assert len(room.outbox.said) == 1


async def test_whoever_waits_for_the_next_time_is_told_when_a_job_is_put_off(room: Room) -> None:
    told: list[str] = []
    room.outbox.on("c2/finish", NotSent("refused"))
    room.start().put_off = lambda: told.append("later")
    await room.owe(Finish(), "c1")
    room.nudge()
    await room.state("finish", "done")
    assert told == []
    await room.owe(Finish(), "c2")
    room.nudge()
    await room.state("finish", "retrying", "c2")
    await until(lambda: told == ["later"], "told")


async def test_a_doubt_stays_when_the_next_try_fails_otherwise(room: Room) -> None:
    room.outbox.on("finish", AnswerLost("reset"), NotSent("refused"))
    await room.owe(Finish(), "c1")
    room.start()
    await until(lambda: len(room.outbox.said) == 1, "first try")
    await room.state("finish", "retrying")
    await room.bench.clock.advance(90)
    await until(lambda: len(room.outbox.said) == 2, "second try")
    await room.state("finish", "retrying")
    assert (await room.bench.lane())["finish"].doubt


async def test_a_doubt_of_a_live_card_is_looked_into_at_once(room: Room) -> None:
    room.outbox.on("register", AnswerLost("reset"))
    await room.bench.keep(call(), owes=[owed(Register(), priority=Priority.LIVE)])
    room.start()
    await room.state("register", "retrying")
    assert (await room.bench.lane())["register"].due_at <= NOW + 6


async def test_a_fault_of_ours_needs_a_developer_and_tells_no_secret(room: Room) -> None:
    room.outbox.on("finish", KeyError("canary-token"))
    await room.owe(Finish(), "c1")
    room.start()
    await room.state("finish", "attention")
    error = (await room.bench.lane())["finish"].error
    assert error is not None
    assert (error.code, error.who) == ("INTERNAL", "developer")
    assert "KeyError" in error.message
    assert "canary" not in error.message + error.hint
    assert "correlation id" in error.hint


# --- a paused portal ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("trouble", "state"),
    [
        (NeedsReauth("nobody"), PortalState.NEEDS_REAUTH),
        (PaymentNeeded("pay"), PortalState.SUSPENDED),
        (PortalGone("gone"), PortalState.SUSPENDED),
        (PortalPaused("keys"), PortalState.SUSPENDED),
    ],
)
async def test_a_paused_portal_is_remembered_and_its_job_waits_uncounted(
    room: Room, trouble: PortalPaused, state: PortalState
) -> None:
    room.outbox.on("finish", trouble)
    await room.owe(Finish(), "c1")
    room.start()
    await room.state("finish", "waiting")

    async def paused() -> bool:
        return (await room.bench.current()).state is state

    await until(paused, "paused")
    known = await room.bench.current()
    assert (known.state_reason, known.state_since) == (trouble.code, NOW)
    one = (await room.bench.lane())["finish"]
    assert (one.attempts, one.due_at) == (0, NOW)
    assert (await room.bench.last_attempt("finish")).result == "later"


async def test_a_paused_portal_is_not_spoken_to_and_its_work_goes_on_when_it_is_healed(room: Room) -> None:
    room.outbox.on("finish", NeedsReauth("nobody"))
    await room.owe(Finish(), "c1")
    room.start()

    async def paused() -> bool:
        return not (await room.bench.current()).works and not room.outbox.running

    await until(paused, "paused")
    await asyncio.sleep(0.03)  # a round that had begun before the pause may have tried once more
    await room.state("finish", "waiting")
    tries = len(room.outbox.said)
    await room.bench.clock.advance(3 * IDLE)
    assert len(room.outbox.said) == tries
    room.outbox.on("finish", Finished(1))
    from tests.house.making import frame_tokens

    await room.bench.portals().heal(verified(), profile(), frame_tokens())
    room.nudge()
    await room.state("finish", "done")
    assert (await room.bench.lane())["finish"].attempts == 1


async def test_a_pause_that_somebody_noted_before_us_keeps_its_own_reason(room: Room) -> None:
    room.outbox.gate.clear()
    room.outbox.on("finish", NeedsReauth("nobody"))
    await room.owe(Finish(), "c1")
    room.start()
    await room.running(1)
    await room.bench.change(state=PortalState.SUSPENDED, state_reason="PAYMENT_REQUIRED")
    room.outbox.gate.set()
    await room.state("finish", "waiting")
    known = await room.bench.current()
    assert (known.state, known.state_reason) == (PortalState.SUSPENDED, "PAYMENT_REQUIRED")


async def test_an_unknown_portal_is_not_worked_for(room: Room) -> None:
    await room.bench.change(state=PortalState.UNINSTALLED)
    await room.owe(Finish(), "c1")
    room.start()
    await room.bench.clock.advance(2 * IDLE)
    assert room.outbox.said == []


# --- uninstalled meanwhile, rescued meanwhile -----------------------------------------------------


@pytest.mark.parametrize("answer", [Finished(991), Refused("no"), Moot("x"), NotSent("x")])
async def test_a_job_that_an_uninstall_cancelled_is_not_settled(room: Room, answer: Any) -> None:
    room.outbox.gate.clear()
    room.outbox.on("finish", answer)
    await room.owe(Finish(), "c1")
    room.start()
    await room.running(1)
    await room.bench.hear_portal("ONAPPUNINSTALL")
    room.outbox.gate.set()
    await until(lambda: not room.outbox.running, "the answer")
    await asyncio.sleep(0.03)
    one = (await room.bench.lane())["finish"]
    assert (str(one.state), one.attempts) == ("cancelled", 0)
    assert not (await room.bench.the_call()).finished
    assert await room.bench.store.attempts(MEMBER, one.id) == []


async def test_a_good_answer_counts_although_the_lease_ran_out_meanwhile(room: Room) -> None:
    room.outbox.gate.clear()
    room.outbox.on("register", Registered("externalCall.1", 11))
    await room.bench.keep(call(), owes=[owed(Register())])
    room.start()
    await room.running(1)
    assert await room.bench.store.rescue(NOW + LEASE) == 1
    room.outbox.gate.set()
    await until(lambda: not room.outbox.running, "the answer")
    await room.state("register", "done")
    assert (await room.bench.the_call()).bitrix_call_id == "externalCall.1"
    assert (await room.bench.states())["register"] == "done"
    assert room.outbox.said == ["c1/register"]


@pytest.mark.parametrize("answer", [Refused("no"), Moot("x"), NotSent("x")])
async def test_a_failure_counts_no_more_when_the_lease_ran_out_meanwhile(room: Room, answer: Any) -> None:
    room.outbox.gate.clear()
    room.outbox.on("finish", answer)
    await room.owe(Finish(), "c1")
    room.start()
    await room.running(1)
    assert await room.bench.store.rescue(NOW + LEASE) == 1
    room.outbox.gate.set()
    await until(lambda: not room.outbox.running, "the answer")
    await asyncio.sleep(0.03)
    one = (await room.bench.lane())["finish"]
    assert (str(one.state), one.doubt, one.error) == ("retrying", True, None)


# --- the store is away ----------------------------------------------------------------------------


async def test_an_outcome_that_cannot_be_stored_is_kept_in_hand_and_the_effect_not_repeated(
    room: Room,
) -> None:
    room.outbox.on("finish", Finished(991))
    await room.owe(Finish(), "c1")
    store = Through(room.bench.store, transact=Failing(room.bench.store.transact, *[away()] * 3))
    room.start(store)
    await until(lambda: room.outbox.said, "said")
    assert (await room.bench.states())["finish"] == "running"
    for _ in range(4):
        await room.bench.clock.advance(1.0)
    await room.state("finish", "done")
    assert (await room.bench.the_call()).activity_id == 991
    assert room.outbox.said.count("c1/finish") == 1


async def test_a_store_that_is_away_during_a_delivery_does_not_bury_the_job(room: Room) -> None:
    room.outbox.on("finish", away())
    await room.owe(Finish(), "c1")
    room.start()
    await until(lambda: room.outbox.said, "said")

    async def settled() -> bool:
        return (await room.bench.states())["finish"] != "running"

    await until(settled, "settled")
    assert (await room.bench.states())["finish"] in ("retrying", "waiting")


@pytest.mark.parametrize("fault", [away(), ValueError("a fault of ours")])
@pytest.mark.parametrize("verb", ["portal", "claim"])
async def test_a_round_that_fails_does_not_end_the_portals_work(
    room: Room, verb: str, fault: Exception
) -> None:
    store = Through(room.bench.store, **{verb: Failing(getattr(room.bench.store, verb), fault)})
    await room.owe(Finish(), "c1")
    room.start(store)
    await room.bench.clock.advance(1)
    assert room.outbox.said == []
    await room.bench.clock.advance(IDLE)
    await room.state("finish", "done")


async def test_a_store_that_is_away_before_anything_was_said_costs_no_try(room: Room) -> None:
    store = Through(room.bench.store, call=Failing(room.bench.store.call, away()))
    await room.owe(AttachRecording(), "c1")
    room.start(store)

    async def settled() -> bool:
        return (await room.bench.lane())["attach_recording"].error is not None

    await until(settled, "settled")
    one = (await room.bench.lane())["attach_recording"]
    assert (str(one.state), one.attempts, one.due_at) == ("waiting", 0, NOW + 1)
    assert room.outbox.said == []


async def test_a_delivery_that_ends_badly_leaves_its_job_to_the_rescue(room: Room) -> None:
    fault = ValueError("a fault of ours")
    store = Through(room.bench.store, transact=Failing(room.bench.store.transact, fault))
    await room.owe(AttachRecording(), "c1")
    room.start(store)
    await until(lambda: store.asked.get("transact"), "settling")
    await asyncio.sleep(0.02)
    assert (await room.bench.states())["attach_recording"] == "running"
    await room.owe(AttachRecording(), "c2")
    room.nudge()
    await room.state("attach_recording", "done", "c2")
    assert await room.bench.store.rescue(NOW + LEASE) == 1


# --- idling and stopping --------------------------------------------------------------------------


async def test_a_portal_with_nothing_to_do_hardly_asks_the_store(room: Room) -> None:
    store = Through(room.bench.store)
    room.start(store)
    await room.bench.clock.advance(10 * IDLE)
    assert sum(store.asked.values()) <= 4 * 11
    assert store.asked["portal"] >= 10


async def test_a_nudge_makes_new_work_start_at_once(room: Room) -> None:
    room.start()
    await room.bench.clock.advance(1)
    await room.owe(Finish(), "c1")
    room.nudge()
    await room.state("finish", "done")


async def test_stopping_waits_for_what_is_in_flight_and_settles_it(room: Room) -> None:
    room.outbox.gate.clear()
    await room.owe(AttachRecording(), *lanes(4), priority=Priority.RECORDING)
    mine = room.start()
    await room.running(2)
    stopping = asyncio.create_task(mine.stop(5.0))
    await asyncio.sleep(0.02)
    assert not stopping.done()
    room.outbox.gate.set()
    await stopping
    states = sorted([(await room.bench.states(lane))["attach_recording"] for lane in lanes(4)])
    assert states == ["done", "done", "waiting", "waiting"], "nothing more was claimed"


async def test_a_chore_that_only_reads_is_let_go_at_a_stop_and_is_not_in_doubt(room: Room) -> None:
    room.outbox.gate.clear()
    await room.owe(RefreshDirectory(), "portal:directory")
    mine = room.start()
    await room.running(1)
    began = asyncio.get_running_loop().time()
    await mine.stop(5.0)
    assert asyncio.get_running_loop().time() - began < 2.0
    (chore,) = (await room.bench.lane("portal:directory")).values()
    assert (str(chore.state), chore.doubt, chore.attempts) == ("waiting", False, 0)


async def test_stopping_cuts_off_what_takes_too_long_and_leaves_it_in_doubt(room: Room) -> None:
    room.outbox.gate.clear()
    await room.owe(AttachRecording(), "c1", priority=Priority.RECORDING)
    mine = room.start()
    await room.running(1)
    began = asyncio.get_running_loop().time()
    await mine.stop(0.05)
    assert 0.04 < asyncio.get_running_loop().time() - began < 1.0
    assert room.outbox.running == []
    assert (await room.bench.states())["attach_recording"] == "running"
    await room.bench.store.rescue(float("inf"))
    assert (await room.bench.lane())["attach_recording"].doubt


async def test_stopping_with_nothing_in_flight_is_quick(room: Room) -> None:
    mine = room.start()
    await asyncio.sleep(0.01)
    await asyncio.wait_for(mine.stop(60), 1)
    await asyncio.wait_for(PortalLanes.stop(Room(room.bench).start(), 60), 1)


async def test_lanes_that_never_began_can_be_stopped(room: Room) -> None:
    never = PortalLanes(
        MEMBER, room.bench.store, cast(Outbox, room.outbox), room.bench.clock, random.Random(1)
    )
    await asyncio.wait_for(never.stop(60), 1)


async def test_jobs_claimed_while_stopping_are_given_back(room: Room) -> None:
    claiming, go_on = asyncio.Event(), asyncio.Event()

    async def claim(*args: Any, **more: Any) -> Sequence[Any]:
        found = await room.bench.store.claim(*args, **more)
        if found:
            claiming.set()
            await go_on.wait()
        return found

    await room.owe(AttachRecording(), "c1", priority=Priority.RECORDING)
    mine = room.start(Through(room.bench.store, claim=claim))
    await asyncio.wait_for(claiming.wait(), 2)
    stopping = asyncio.create_task(mine.stop(1.0))
    await asyncio.sleep(0.01)
    go_on.set()
    await stopping
    assert room.outbox.said == []
    assert (await room.bench.states())["attach_recording"] == "waiting"


def test_the_lease_outlives_the_longest_recording() -> None:
    from unitalk.recordings import MAX_SECONDS

    assert LEASE > MAX_SECONDS
