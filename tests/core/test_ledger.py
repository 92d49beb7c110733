"""The daily closing balance: where each call of the PBX stands, and that it adds up."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bitrix_app.core.call import Call
from bitrix_app.core.comparison import Difference, Kind
from bitrix_app.core.dial import Dialling, DialState, Origin
from bitrix_app.core.history import How, SeenRow
from bitrix_app.core.jobs import JobError, JobState
from bitrix_app.core.ledger import Balance, Material, Source, Standing, Step, balance, day_bounds, of_pbx
from bitrix_app.core.lifecycle import Phase

ZONE = "Europe/Kyiv"
DAY = dt.date(2026, 11, 20)
FIRST, AFTER = day_bounds(DAY, ZONE)
NOON = FIRST + 12 * 3_600
ERROR = JobError("ACCESS_DENIED", "authorization", "No right.", "Grant it.", "admin")


def call(id_: str = "c1", **more: Any) -> Call:
    base: dict[str, Any] = {
        "portal": "p1",
        "first_seen_at": NOON,
        "started_at": NOON,
        "pbx_id": f"live-{id_}",
        "phase": Phase.ENDED,
    }
    return Call(id=id_, **{**base, **more})


def row(key: str = "dbid:1", call_id: str | None = "c1", how: How = How.MATCHED, **more: Any) -> SeenRow:
    base: dict[str, Any] = {"started_at": NOON, "ended_at": NOON + 60}
    return SeenRow("p1", key, "d", how=how, call_id=call_id, **{**base, **more})


def closed(
    rows: Sequence[SeenRow] = (),
    calls: Sequence[Call] = (),
    steps: dict[str, Sequence[Step]] | None = None,
    differences: dict[str, Sequence[Difference]] | None = None,
) -> Balance:
    material = Material(rows, {one.id: one for one in calls}, steps or {}, differences or {})
    return balance(DAY, ZONE, material, AFTER)


def standing(
    one: Call, *steps: Step, differences: Sequence[Difference] = ()
) -> tuple[Standing, str, str, str]:
    (entry,) = closed([row()], [one], {one.id: steps}, {one.id: differences}).entries
    return entry.standing, entry.code, entry.reason, entry.who


@pytest.mark.parametrize(
    ("one", "steps", "stands", "code", "who"),
    [
        (call(finished=True), (), Standing.WRITTEN, "", ""),
        (call(skipped="inner call"), (), Standing.SKIPPED, "RULE", ""),
        (call(phase=Phase.TALKING), (), Standing.WAITING, "GOES_ON", "nobody"),
        (call(), (Step("finish", JobState.WAITING, 5.0),), Standing.WAITING, "IN_QUEUE", "nobody"),
        (call(), (Step("finish", JobState.RETRYING, 5.0, ERROR),), Standing.WAITING, ERROR.code, "nobody"),
        (
            call(),
            (Step("register", JobState.ATTENTION, 5.0, ERROR),),
            Standing.NEEDS_PERSON,
            ERROR.code,
            "admin",
        ),
        (call(), (Step("finish", JobState.CANCELLED, 5.0),), Standing.SKIPPED, "CANCELLED", ""),
        (
            call(),
            (Step("finish", JobState.CANCELLED, 5.0, replace(ERROR, code="STOPPED")),),
            Standing.NEEDS_PERSON,
            "STOPPED",
            "admin",
        ),
        (call(), (), Standing.UNEXPLAINED, "NOTHING_OWED", "manager"),
        (call(), (Step("finish", JobState.DONE, 5.0),), Standing.UNEXPLAINED, "NOTHING_OWED", "manager"),
    ],
)
def test_where_a_call_stands(
    one: Call, steps: tuple[Step, ...], stands: Standing, code: str, who: str
) -> None:
    found = standing(one, *steps)
    assert (found[0], found[1], found[3]) == (stands, code, who)
    assert found[2] or stands is Standing.WRITTEN, "each has its reason in words"


def test_one_that_needs_a_person_says_so_though_another_step_waits() -> None:
    steps = (Step("finish", JobState.BLOCKED, 5.0), Step("register", JobState.ATTENTION, 5.0, ERROR))
    assert standing(call(), *steps)[:2] == (Standing.NEEDS_PERSON, ERROR.code)


@pytest.mark.parametrize(("kind", "stands"), [
    (Kind.MISSING, Standing.NEEDS_PERSON),
    (Kind.DOUBLED, Standing.NEEDS_PERSON),
    (Kind.PERSON, Standing.WRITTEN),
    (Kind.RECORDING, Standing.WRITTEN),
])  # fmt: skip
def test_a_call_that_bitrix24_lost_or_has_twice_is_not_written(kind: Kind, stands: Standing) -> None:
    found = Difference("p1", "c1", kind, "It is not there.", "Look.", "manager")
    assert standing(call(finished=True), differences=[found])[0] is stands


@pytest.mark.parametrize(
    ("one", "stands"),
    [
        (row(call_id=None, how=How.WAITING), Standing.WAITING),
        (row(call_id=None, how=How.FAILED, note="It names no call."), Standing.NEEDS_PERSON),
        (row(call_id="erased", how=How.MATCHED), Standing.UNEXPLAINED),
    ],
)
def test_a_row_without_a_call_stands_there_with_its_reason(one: SeenRow, stands: Standing) -> None:
    (entry,) = closed([one]).entries
    assert (entry.standing, entry.source) == (stands, Source.HISTORY)
    assert entry.reason


def test_two_rows_of_one_call_are_a_difference() -> None:
    found = closed([row("dbid:1"), row("dbid:2", started_at=NOON + 1)], [call(finished=True)])
    assert (found.total, found.count(Standing.WRITTEN), found.difference) == (2, 1, 1)
    assert [entry.code for entry in found.entries] == ["", "SAME_CALL_TWICE"]


def test_calls_that_only_webhooks_told_of_are_counted_and_listed() -> None:
    calls = [call("c1", finished=True), call("c2", finished=True)]
    found = closed([row()], calls)
    assert (found.total, found.history, found.difference) == (2, 1, 0)
    assert [entry.call_id for entry in found.webhook_only] == ["c2"]


def test_a_call_belongs_to_the_day_of_its_row() -> None:
    """Webhook and history may name starts on both sides of midnight."""
    early = call(started_at=FIRST - 1, finished=True)
    assert closed([row(started_at=FIRST)], [early]).total == 1
    assert closed([], [early]).total == 0
    assert closed([], [call(started_at=FIRST)]).total == 1
    assert closed([], [call(started_at=AFTER)]).total == 0


@pytest.mark.parametrize(
    ("state", "counts"),
    [
        (DialState.FAILED, False),
        (DialState.UNTRACED, False),
        (DialState.JOINED, False),
        (DialState.RANG, True),
    ],
)
def test_a_start_that_never_rang_is_no_call_of_the_pbx(state: DialState, counts: bool) -> None:
    asked = call(pbx_id=None, dial=Dialling(state, Origin.CLICK, NOON))
    assert of_pbx(asked) is counts
    assert of_pbx(replace(asked, pbx_id="1")) is True


@pytest.mark.parametrize(("day", "hours"), [("2026-03-29", 23), ("2026-10-25", 25), ("2026-11-20", 24)])
def test_a_day_is_as_long_as_it_is_on_the_pbxs_clock(day: str, hours: int) -> None:
    first, after = day_bounds(dt.date.fromisoformat(day), ZONE)
    assert after - first == hours * 3_600


@pytest.mark.parametrize(("covered", "whole"), [(None, False), (AFTER, False), (AFTER + 3 * 3_600, True)])
def test_the_day_is_whole_when_the_history_was_read_beyond_its_last_call(
    covered: float | None, whole: bool
) -> None:
    assert balance(DAY, ZONE, Material((), {}, {}, {}), covered).read_whole is whole


states = st.sampled_from(list(JobState))
steps_ = st.lists(st.builds(Step, st.just("finish"), states, st.just(1.0)))
calls_ = st.builds(
    call,
    st.sampled_from("abcdef"),
    finished=st.booleans(),
    skipped=st.none() | st.just("a rule"),
    phase=st.sampled_from(list(Phase)),
)
rows_ = st.builds(
    row,
    st.integers(1, 9).map("dbid:{}".format),
    st.none() | st.sampled_from("abcdefgh"),
    st.sampled_from(list(How)),
    note=st.just("It names no call."),
)


@given(
    st.lists(rows_, unique_by=lambda one: one.key),
    st.lists(calls_, unique_by=lambda one: one.id),
    st.dictionaries(st.sampled_from("abcdef"), steps_),
)
def test_it_always_adds_up(rows: list[SeenRow], calls: list[Call], steps: dict[str, Sequence[Step]]) -> None:
    found = closed(rows, calls, steps)
    told = {one.call_id for one in rows}
    assert found.total == len(rows) + sum(1 for one in calls if one.id not in told)
    assert sum(found.count(one) for one in Standing) == found.total
    assert found.difference == found.count(Standing.UNEXPLAINED)
    assert all(entry.reason for entry in found.entries if entry.standing is not Standing.WRITTEN)
