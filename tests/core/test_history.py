"""Which rows of the PBX's history are read, and what a row means for a call."""

from __future__ import annotations

import itertools
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bitrix_app.core.advance import advance
from bitrix_app.core.call import Call
from bitrix_app.core.events import Direction, Facts, Step
from bitrix_app.core.history import (
    CREATE_AFTER,
    FARTHEST,
    FILL_AFTER,
    NIGHT_SPAN,
    OVERLAP,
    STEP,
    How,
    SeenRow,
    ends_differ,
    judge,
    lacks,
    pack,
    unpack,
    windows,
)
from bitrix_app.core.outcome import Outcome
from tests.core.calls import LINK, NOW, RULES, ended, new_call, report

HOUR = 3_600.0


def call_after(*reports: Any) -> Call:
    call = new_call()
    for one in reports:
        call = advance(call, one, NOW + 200, RULES).call
    return call


# --- windows --------------------------------------------------------------------------------------


def test_the_first_reading_covers_three_hours() -> None:
    (only,) = windows(None, NOW)
    assert (only.since, only.until) == (NOW - OVERLAP, NOW)


def test_a_gap_is_bridged_from_three_hours_before_it_in_steps_the_oldest_first() -> None:
    found = windows(NOW - 20 * HOUR, NOW)
    assert found[0].since == NOW - 23 * HOUR
    assert [one.until - one.since for one in found] == [STEP, STEP, STEP, 5 * HOUR]
    assert all(one.until == other.since for one, other in itertools.pairwise(found))


def test_the_nightly_reading_covers_two_days_whatever_was_read() -> None:
    assert windows(NOW - 300, NOW, night=True)[0].since == NOW - NIGHT_SPAN


def test_a_gap_of_months_is_filled_as_far_as_receipts_are_kept() -> None:
    assert windows(NOW - 90 * 86_400, NOW)[0].since == NOW - FARTHEST


@given(st.none() | st.floats(0, 40 * 86_400), st.booleans())
def test_windows_have_no_holes_and_always_reach_now(ago: float | None, night: bool) -> None:
    found = windows(None if ago is None else NOW - ago, NOW, night=night)
    assert found[-1].until == NOW
    assert found[0].since <= NOW - (NIGHT_SPAN if night else OVERLAP)
    for one, other in itertools.pairwise(found):
        assert one.until == other.since
        assert 0 < one.until - one.since <= STEP


# --- rows -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("webhooks", "adds"),
    [
        ((report(Step.NEW),), ("end",)),
        ((report(Step.NEW), report(Step.OFFERED, "2001"), report(Step.ANSWERED, "2001")), ("end",)),
        ((ended("2001"),), ()),
        ((ended("2001", link=None),), ("recording",)),
        ((ended("2001", pbx_dbid=None),), ("pbx_dbid",)),
        ((ended("2001", outcome=Outcome.UNKNOWN, state=None),), ("outcome",)),
        ((ended("2001", started_at=None, number=None),), ("number", "started_at")),
    ],
)
def test_what_a_row_adds(webhooks: tuple[Any, ...], adds: tuple[str, ...]) -> None:
    assert lacks(call_after(*webhooks), ended("2001").facts) == adds


def test_an_inner_call_lacks_no_recording() -> None:
    call = replace(call_after(ended("2001", link=None)), direction=Direction.INNER)
    assert lacks(call, ended("2001").facts) == ()


@pytest.mark.parametrize(
    ("known", "ago", "how"),
    [
        (None, CREATE_AFTER - 1, How.WAITING),
        (None, CREATE_AFTER, How.CREATED),
        ("live", FILL_AFTER - 1, How.WAITING),
        ("live", FILL_AFTER, How.FILLED),
        ("over", 0.0, How.MATCHED),
    ],
)
def test_webhooks_get_their_time_before_a_row_counts(known: str | None, ago: float, how: How) -> None:
    calls = {None: None, "live": call_after(report(Step.NEW)), "over": call_after(ended("2001"))}
    assert judge(calls[known], ended("2001").facts, NOW - ago, NOW)[0] is how


def test_a_row_that_was_taken_in_tells_nothing_new_the_second_time() -> None:
    row = ended("2001")
    call = advance(call_after(report(Step.NEW)), row, NOW + 300, RULES).call
    assert lacks(call, row.facts) == ()


@pytest.mark.parametrize(
    ("facts", "found"),
    [
        ({"talk_seconds": 85}, ()),
        ({"talk_seconds": 12}, ("talk_seconds 83 / 12",)),
        ({"full_seconds": 300}, ("full_seconds 95 / 300",)),
        ({"outcome": Outcome.BUSY}, ("outcome answered / busy",)),
        ({"outcome": None}, ()),
        ({"outcome": Outcome.UNKNOWN, "talk_seconds": None}, ()),
    ],
)
def test_two_ends_of_one_call_are_named(facts: dict[str, Any], found: tuple[str, ...]) -> None:
    assert ends_differ(call_after(ended("2001")), ended("2001", **facts).facts) == found


def test_a_call_that_goes_on_has_no_end_to_differ() -> None:
    assert ends_differ(call_after(report(Step.NEW)), Facts(talk_seconds=5)) == ()


def test_a_row_comes_back_from_the_store_as_it_was() -> None:
    row = SeenRow(
        "p", "dbid:1", "d", NOW, NOW + 9, How.FILLED, "c1", "+38", "38", "in", "busy", 9, 0, ("end",)
    )
    columns = (row.portal, row.key, row.digest, row.started_at, row.ended_at, row.how.value, row.call_id)
    assert unpack(*columns, {**pack(row), "of a newer version": 1}) == row
    assert LINK not in str(pack(row))
