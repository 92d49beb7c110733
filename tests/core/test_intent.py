"""One entry of the retry list: what happens to it, what people may do with it, and when they may not."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from bitrix_app.core import intent as entries
from bitrix_app.core.dial import Failure
from bitrix_app.core.intent import MOST_DEEDS, PAUSES, Act, Intent, Kind, Wrong
from bitrix_app.core.jobs import JobState

NOW = 1_788_333_300.0
WHY = Failure("PBX_UNREACHABLE", "connection", "Unitalk could not be reached")


def entry(state: JobState = JobState.ATTENTION, kind: Kind = Kind.CALL_START, **more: Any) -> Intent:
    fields: dict[str, Any] = {"number": "+380440000011", "agent": 7, "created_at": NOW, "updated_at": NOW}
    return Intent("e", "p", kind, state, **{**fields, **more})


ACTS: dict[str, Callable[[Intent], Intent]] = {
    "move": lambda one: entries.moved(one, 8, NOW, 1),
    "edit": lambda one: entries.edited(one, "+380440000012", NOW, 1),
    "reschedule": lambda one: entries.rescheduled(one, NOW + 60, NOW, 1),
    "cancel": lambda one: entries.cancelled(one, "a duplicate", NOW, 1),
    "done": lambda one: entries.done(one, "called from my mobile", NOW, 1),
}


@pytest.mark.parametrize("act", ACTS)
@pytest.mark.parametrize(
    ("state", "code"),
    [(JobState.RUNNING, "RUNNING"), (JobState.DONE, "SETTLED"), (JobState.CANCELLED, "CANCELLED")],
)
def test_nothing_is_done_with_an_entry_that_is_over_or_being_called(
    act: str, state: JobState, code: str
) -> None:
    with pytest.raises(Wrong) as wrong:
        ACTS[act](entry(state))
    assert wrong.value.code == code
    assert wrong.value.reason


@pytest.mark.parametrize("act", ACTS)
@pytest.mark.parametrize("state", [JobState.ATTENTION, JobState.RETRYING, JobState.WAITING])
def test_each_act_is_remembered_with_who_did_it(act: str, state: JobState) -> None:
    after = ACTS[act](entry(state))
    assert (after.deeds[-1].by, after.deeds[-1].at) == (1, NOW)


def test_a_time_is_a_try_by_itself_for_a_start_and_a_due_time_for_a_missed_client() -> None:
    assert ACTS["reschedule"](entry()).state is JobState.RETRYING
    missed = ACTS["reschedule"](entry(kind=Kind.MISSED, escalation=2))
    assert (missed.state, missed.due_at, missed.escalation) == (JobState.WAITING, NOW + 60, 0)


@pytest.mark.parametrize("at", [NOW, NOW - 1])
def test_a_time_that_is_over_is_refused(at: float) -> None:
    with pytest.raises(Wrong, match="over"):
        entries.rescheduled(entry(), at, NOW, 1)


def test_nobodys_call_is_not_put_off_because_nobodys_phone_could_ring() -> None:
    with pytest.raises(Wrong) as wrong:
        ACTS["reschedule"](entry(agent=None))
    assert wrong.value.code == "NO_AGENT"
    assert ACTS["reschedule"](entry(agent=None, kind=Kind.MISSED)).due_at == NOW + 60


@pytest.mark.parametrize("close", [entries.cancelled, entries.done])
@pytest.mark.parametrize("reason", ["", "  "])
def test_closing_wants_a_reason(close: Callable[..., Intent], reason: str) -> None:
    with pytest.raises(Wrong) as wrong:
        close(entry(), reason, NOW, 1)
    assert wrong.value.code == "NO_REASON"


@pytest.mark.parametrize("close", ["cancel", "done"])
@pytest.mark.parametrize("state", [JobState.ATTENTION, JobState.RETRYING, JobState.WAITING])
def test_what_was_closed_comes_back_within_ten_seconds_as_it_was(close: str, state: JobState) -> None:
    before = entry(state, due_at=NOW + 500)
    closed = ACTS[close](before)
    back = entries.undone(closed, NOW + 10, 1)
    assert replace(back, deeds=(), updated_at=NOW) == before
    with pytest.raises(Wrong) as late:
        entries.undone(closed, NOW + 10.1, 1)
    assert late.value.code == "TOO_LATE"
    with pytest.raises(Wrong) as twice:
        entries.undone(back, NOW + 1, 1)
    assert twice.value.code == "NOTHING_TO_UNDO"


def test_what_settled_by_itself_cannot_be_undone() -> None:
    with pytest.raises(Wrong):
        entries.undone(entries.settled(entry(), "c2", NOW), NOW, 1)


@pytest.mark.parametrize(
    ("category", "attempts", "certain", "pause"),
    [
        ("connection", 1, True, PAUSES[0]),
        ("connection", 2, True, PAUSES[1]),
        ("availability", 3, True, PAUSES[2]),
        ("rate_limit", 4, True, None),
        ("connection", 1, False, None),
        ("validation", 1, True, None),
        ("authentication", 1, True, None),
        ("timeout", 1, True, None),
        ("unknown", 1, True, None),
        ("hours", 1, True, 0.0),
        ("hours", 9, True, 0.0),
        ("hours", 1, False, None),
    ],
)
def test_what_is_tried_again_by_itself(
    category: str, attempts: int, certain: bool, pause: float | None
) -> None:
    failure = replace(WHY, category=category)
    assert entries.may_repeat(entry(attempts=attempts), failure, certain=certain) == pause


@pytest.mark.parametrize(("next_at", "state"), [(NOW + 60, JobState.RETRYING), (None, JobState.ATTENTION)])
def test_a_failure_waits_or_needs_a_person(next_at: float | None, state: JobState) -> None:
    after = entries.failed(entry(JobState.RUNNING), WHY, NOW, certain=True, next_at=next_at)
    assert (after.state, after.due_at, after.failure) == (state, next_at, WHY)
    closed = entry(JobState.DONE)
    assert entries.failed(closed, WHY, NOW, certain=True, next_at=next_at) is closed


def test_first_anybody_may_call_then_the_manager_must_look_and_that_is_all() -> None:
    missed = entry(JobState.WAITING, Kind.MISSED, due_at=NOW)
    anybody = entries.overdue(missed, NOW, NOW + 900)
    assert (anybody.escalation, anybody.agent, anybody.state, anybody.due_at) == (
        1,
        None,
        JobState.WAITING,
        NOW + 900,
    )
    manager = entries.overdue(anybody, NOW + 900, None)
    assert (manager.escalation, manager.state, manager.due_at) == (2, JobState.ATTENTION, None)
    assert manager.failure is not None
    assert entries.overdue(manager, NOW, None) is manager


def test_a_try_in_vain_begins_the_waiting_anew_whoever_was_to_look() -> None:
    missed = entry(JobState.RUNNING, Kind.MISSED, escalation=2)
    back = entries.not_reached(missed, None, NOW, certain=True, due_at=NOW + 900)
    assert (back.state, back.due_at, back.escalation) == (JobState.WAITING, NOW + 900, 0)
    assert entries.overdue(back, NOW + 900, NOW + 1800) is not back, "else nobody would ever be told again"


@pytest.mark.parametrize(
    ("more", "given"),
    [
        ({}, 9),
        ({"escalation": 1, "agent": None}, None),
        ({"deeds": (entries.Deed(NOW, Act.MOVED, 1, "8"),), "agent": 8}, 8),
        ({"state": JobState.DONE}, 7),
    ],
)
def test_a_rules_owner_never_replaces_a_persons_choice(more: dict[str, Any], given: int | None) -> None:
    state = more.pop("state", JobState.WAITING)
    assert entries.given(entry(state, Kind.MISSED, **more), 9, NOW).agent == given


def test_a_client_who_calls_in_vain_again_is_counted_once_for_each_call() -> None:
    once = entries.missed_again(entry(kind=Kind.MISSED, calls=("c1",), missed=1), "c2", NOW + 50, NOW + 60)
    assert (once.missed, once.calls, once.since) == (2, ("c1", "c2"), NOW + 50)
    assert entries.missed_again(once, "c2", NOW + 50, NOW + 70) is once
    assert entries.missed_again(once, "c0", NOW - 50, NOW + 70).since == NOW + 50


def test_the_history_of_an_entry_stays_short() -> None:
    one = entry()
    for number in range(MOST_DEEDS + 5):
        one = entries.noted(one, NOW + number, Act.FAILED, None, "x" * 1000)
    assert len(one.deeds) == MOST_DEEDS
    assert one.deeds[-1].at == NOW + MOST_DEEDS + 4
    assert len(one.deeds[-1].detail) == 500
