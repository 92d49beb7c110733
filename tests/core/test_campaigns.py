"""Phones, batches and tries of a campaign: no batch is said twice unless a person said so."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bitrix_app.core.campaigns import (
    LAST_WORDS,
    Batch,
    BatchState,
    NotSettled,
    Phone,
    PhoneState,
    Reason,
    Step,
    Try,
    admitted,
    arrived,
    by_hand,
    denied,
    doubted,
    is_proof,
    next_step,
    phone_ids,
    phone_in,
    refused,
    said,
    standing,
    tried,
    unpack_batch,
    unsaid,
)
from bitrix_app.core.dialers import (
    Campaign,
    DialerNews,
    Running,
    heard,
    running,
    switched,
    unpack_campaign,
)
from bitrix_app.core.outcome import Outcome
from bitrix_app.core.packing import pack
from bitrix_app.core.record_memory import named_in
from bitrix_app.core.wishes import Wish, WishState, unpack_wish

NOW = 1_788_333_300.0


def phone(number: str = "+380501000001", record: str = "LEAD:1205", **more: object) -> Phone:
    return Phone("p0190ab12cd34", "77", number, record, **more)  # type: ignore[arg-type]


def batch(state: BatchState = BatchState.WAITING, **more: object) -> Batch:
    return Batch("b1", "77", 3, NOW, state, **more)  # type: ignore[arg-type]


# --- marks -----------------------------------------------------------------------------------------


def test_the_mark_beside_a_number_names_the_record_and_the_entry() -> None:
    one = phone()
    assert one.meta == "b24:lead:1205:p0190ab12cd34"
    assert named_in(one.meta) == "LEAD:1205"
    assert phone_in(one.meta) == phone_in(f" {one.meta.upper()} ") == one.id
    bare = phone(record="")
    assert named_in(bare.meta) is None
    assert phone_in(bare.meta) == bare.id


def test_a_mark_that_we_gave_a_call_by_its_number_proves_nothing() -> None:
    one = phone()
    assert phone_in(one.meta_by_number) == one.id
    assert named_in(one.meta_by_number) == "LEAD:1205"
    assert is_proof(one.meta)
    assert not is_proof(one.meta_by_number)
    assert not is_proof("lead:1205")


@pytest.mark.parametrize("meta", [None, "", "lead:520", "b24:lead:520", "b24:call:x", "b24:lead:1:q0190ab12"])
def test_other_marks_are_not_ours(meta: str | None) -> None:
    assert phone_in(meta) is None


def test_ids_keep_the_order_of_adding() -> None:
    ids = phone_ids("0190ab12cd3", 1200)
    assert ids == sorted(ids)
    assert len(set(ids)) == 1200
    assert all(phone_in(f"b24:phone:{one}") == one for one in ids)


# --- taking in -------------------------------------------------------------------------------------


def test_a_number_is_taken_once_and_each_refusal_has_its_reason() -> None:
    first, again, known, never = (phone(f"+38050100000{n}") for n in (1, 1, 2, 3))
    bad = refused(phone("so what"), Reason.NOT_A_NUMBER)
    judged = admitted([first, again, known, never, bad], {"+380501000002"}, {"+380501000003"})
    assert [one.state for one in judged] == [PhoneState.WAITING, *[PhoneState.REFUSED] * 4]
    assert [one.reason for one in judged[1:]] == ["duplicate", "duplicate", "do_not_call", "not_a_number"]


# --- batches ---------------------------------------------------------------------------------------


def test_a_batch_is_marked_as_said_before_it_leaves_and_is_then_only_looked_for() -> None:
    gone = said(batch(), NOW)
    assert (gone.state, gone.said_at, gone.requests) == (BatchState.SENDING, NOW, 1)
    assert next_step(gone, NOW + 59.9) is Step.LATER
    assert next_step(gone, NOW + 60.0) is Step.CHECK
    with pytest.raises(ValueError, match="must not be said"):
        said(gone, NOW + 1000)


@pytest.mark.parametrize("state", [s for s in BatchState if s is not BatchState.WAITING])
def test_only_a_batch_that_waits_may_be_said(state: BatchState) -> None:
    assert next_step(batch(state, said_at=NOW), NOW + 1e6) is not Step.SAY


def test_what_never_left_waits_again_and_was_not_a_request() -> None:
    assert unsaid(said(batch(), NOW)) == batch()
    sent = arrived(said(batch(), NOW), NOW, "call")
    assert unsaid(sent) == sent


def test_a_proof_beats_doubt_refusal_and_a_second_turn() -> None:
    gone = said(batch(), NOW)
    in_doubt = doubted(gone, "lost", "look")
    again = by_hand(in_doubt, sent=False, user_id=5, now=NOW)
    assert (again.state, again.turn, again.key, again.code) == (BatchState.WAITING, 1, "send:1", "")
    for state in (gone, in_doubt, denied(gone, "X", "no", ""), again):
        proved = arrived(state, NOW + 5, "call")
        assert (proved.state, proved.accepted_at, proved.code) == (BatchState.SENT, NOW + 5, "")
        assert doubted(proved, "", "") == denied(proved, "X", "no", "") == proved
        assert arrived(proved, NOW + 9, "answer") == proved


def test_a_person_settles_only_what_is_in_doubt_or_refused() -> None:
    for state in (BatchState.WAITING, BatchState.SENDING, BatchState.SENT, BatchState.DROPPED):
        with pytest.raises(NotSettled):
            by_hand(batch(state), sent=False, user_id=5, now=NOW)
    settled = by_hand(batch(BatchState.REFUSED), sent=True, user_id=5, now=NOW)
    assert (settled.state, settled.proof, settled.settled_by) == (BatchState.SENT, "person", 5)


# --- a phone's state -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("of_batch", "state", "reason"),
    [
        (BatchState.WAITING, PhoneState.WAITING, ""),
        (BatchState.SENDING, PhoneState.SENDING, ""),
        (BatchState.SENT, PhoneState.SENT, ""),
        (BatchState.DOUBT, PhoneState.ATTENTION, "batch_in_doubt"),
        (BatchState.REFUSED, PhoneState.ATTENTION, "batch_refused"),
    ],
)
def test_a_phone_without_tries_stands_where_its_batch_stands(
    of_batch: BatchState, state: PhoneState, reason: str
) -> None:
    one = standing(phone(), batch(of_batch))
    assert (one.state, one.reason) == (state, reason)
    assert standing(refused(phone(), Reason.DO_NOT_CALL), batch(of_batch)).state is PhoneState.REFUSED
    after = standing(replace(one, tries=1, outcome=Outcome.BUSY), batch(of_batch))
    assert (after.state, after.reason) == (PhoneState.SENT, "")


@pytest.mark.parametrize("outcome", list(Outcome))
def test_the_last_outcome_or_the_dialers_word_ends_a_phone(outcome: Outcome) -> None:
    one = standing(replace(phone(), tries=1, outcome=outcome), batch(BatchState.SENT))
    assert (one.state is PhoneState.FINISHED) == (outcome in LAST_WORDS)
    assert standing(replace(one, over=True), batch(BatchState.SENT)).state is PhoneState.FINISHED


def test_a_dialer_that_finished_without_a_word_of_a_phone_needs_a_person() -> None:
    one = standing(replace(phone(), over=True), batch(BatchState.SENT))
    assert (one.state, one.reason) == (PhoneState.ATTENTION, "no_outcome")
    late = standing(tried(one, [Try("c1", "77", one.id, Outcome.BUSY, NOW)]), batch(BatchState.SENT))
    assert (late.state, late.reason, late.tries) == (PhoneState.FINISHED, "", 1)


@settings(deadline=None)
@given(st.permutations([(0.0, Outcome.BUSY), (9.0, Outcome.ANSWERED), (4.0, Outcome.MACHINE)]))
def test_the_order_in_which_tries_are_heard_of_does_not_matter(told: list[tuple[float, Outcome]]) -> None:
    tries = [Try(f"c{at}", "77", "p", outcome, NOW + at) for at, outcome in told]
    one = tried(phone(), tries)
    assert (one.tries, one.outcome) == (3, Outcome.ANSWERED)
    assert tried(one, []).outcome is None


# --- any order, any crash ----------------------------------------------------------------------------


@dataclass
class World:
    """A PBX that may lose answers, a worker that may die, calls that come at any time, one manager."""

    shows: bool
    mine: Batch = field(default_factory=batch)
    phones: list[Phone] = field(
        default_factory=lambda: [
            replace(phone(f"+38050100000{n}"), id=f"p0190ab12cd{n}0", batch="b1") for n in range(3)
        ]
    )
    listed: list[str] = field(default_factory=list)
    """Marks in the dialer's list, once for each ADD that landed."""
    said_anew: int = 0
    now: float = NOW
    calls: dict[str, tuple[str, Outcome]] = field(default_factory=dict)
    tries: dict[str, Try] = field(default_factory=dict)

    def _put(self, after: Batch) -> None:
        self.mine = after
        self.phones = [standing(one, after) for one in self.phones]

    def _land(self) -> None:
        self.listed += [one.meta for one in self.phones if not one.tries]

    def work(self, how: str) -> None:
        """One run of the batch's job, as `bitrix_app.dialing` and `campaign_hearing` do it."""
        match next_step(self.mine, self.now):
            case Step.SAY:
                if how == "dies first":
                    return
                self._put(said(self.mine, self.now))
                if how == "not sent":
                    self._put(unsaid(self.mine))
                elif how == "refused":
                    self._put(denied(self.mine, "X", "no", ""))
                elif how in ("answered", "lost, landed", "dies after it landed"):
                    self._land()
                if how == "answered":
                    self._put(arrived(self.mine, self.now, "answer"))
            case Step.CHECK if how != "not sent":
                found = self.shows and any(one.meta in self.listed for one in self.phones)
                done = arrived(self.mine, self.now, "check") if found else doubted(self.mine, "", "")
                self._put(done)

    def settle(self, sent: bool) -> None:
        if self.mine.state in (BatchState.DOUBT, BatchState.REFUSED):
            self.said_anew += not sent
            self._put(by_hand(self.mine, sent=sent, user_id=1, now=self.now))

    def call(self, which: int, outcome: Outcome) -> None:
        """The dialer calls somebody on its list; each entry of it is one more call."""
        if self.listed:
            meta = self.listed[which % len(self.listed)]
            self.calls.setdefault(f"c{len(self.calls)}", (meta, outcome))

    def hear(self, which: int) -> None:
        """A call's end is told, perhaps again."""
        if not self.calls:
            return
        call_id = sorted(self.calls)[which % len(self.calls)]
        meta, outcome = self.calls[call_id]
        one = next(one for one in self.phones if one.meta == meta)
        self.tries[call_id] = Try(call_id, "77", one.id, outcome, NOW + int(call_id[1:]))
        self._put(arrived(self.mine, self.now, "call"))
        self.phones = [self._counted(one) for one in self.phones]

    def _counted(self, one: Phone) -> Phone:
        mine = [known for known in self.tries.values() if known.phone == one.id]
        return standing(tried(one, mine), self.mine)


WAYS = ["answered", "refused", "not sent", "lost, landed", "lost"]
WAYS += ["dies first", "dies", "dies after it landed"]
ACTS = st.one_of(
    st.tuples(st.just("work"), st.sampled_from(WAYS)),
    st.tuples(st.just("settle"), st.booleans()),
    st.tuples(st.just("call"), st.integers(0, 9), st.sampled_from(list(Outcome))),
    st.tuples(st.just("hear"), st.integers(0, 9)),
    st.tuples(st.just("wait"), st.sampled_from([1.0, 30.0, 61.0])),
)


@settings(deadline=None, max_examples=300)
@given(st.booleans(), st.lists(ACTS, max_size=30))
def test_in_no_order_is_a_phone_given_twice_unless_a_person_said_so(
    shows: bool, acts: list[tuple[object, ...]]
) -> None:
    world = World(shows)
    for name, *how in acts:
        if name == "wait":
            world.now += how[0]  # type: ignore[operator]
        else:
            getattr(world, str(name))(*how)
        for one in world.phones:
            assert world.listed.count(one.meta) <= 1 + world.said_anew
    for which in range(len(world.calls)):  # every call's end is told at last
        world.hear(which)
    assert set(world.tries) == set(world.calls), "exactly one outcome for each try"
    for one in world.phones:
        truth = [known for known in world.tries.values() if known.phone == one.id]
        assert one.tries == len(truth)
        if truth:
            assert one.state in (PhoneState.SENT, PhoneState.FINISHED)
        else:
            assert one.state is standing(replace(one, reason=""), world.mine).state


# --- the dialer --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("word", "means"),
    [
        ("RUNNING", Running.YES),
        ("in_progress", Running.YES),
        (True, Running.YES),
        (False, Running.NO),
        ("Stopped", Running.NO),
        ("PAUSE", Running.NO),
        ("COMPLETED", Running.FINISHED),
        ("WHO_KNOWS", Running.UNKNOWN),
        ("", Running.UNKNOWN),
        (None, Running.UNKNOWN),
    ],
)
def test_words_of_a_dialers_status_are_read_tolerantly(word: object, means: Running) -> None:
    assert running(word) is means


def test_a_command_is_numbered_and_a_new_start_forgets_the_old_end() -> None:
    campaign = heard(Campaign("77"), DialerNews("77", "STOPPED", finished=True), NOW)
    assert (campaign.running, campaign.finished_at) == (Running.NO, NOW)
    on = switched(campaign, on=True, user_id=5, now=NOW)
    assert (on.wanted, on.turn, on.settled, on.finished_at) == ("start", 1, False, None)
    off = switched(on, on=False, user_id=5, now=NOW)
    assert (off.wanted, off.turn) == ("stop", 2)
    assert heard(off, DialerNews("77"), NOW + 1) == off


def test_values_come_back_from_the_store_as_they_went() -> None:
    one = by_hand(doubted(said(batch(), NOW), "m", "h"), sent=False, user_id=1, now=NOW)
    assert unpack_batch({**pack(one), "new": 1}) == one
    campaign = switched(Campaign("77", "Demo"), on=True, user_id=1, now=NOW)
    assert unpack_campaign(pack(campaign)) == campaign
    wish = Wish("w1", "77", NOW, 5, ("LEAD:1",), state=WishState.FAILED, reasons={"duplicate": 2})
    assert unpack_wish({**pack(wish), "records": ["LEAD:1"]}) == wish
