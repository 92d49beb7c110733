"""A wrong time zone shows in the arrival of closing events, and nothing else looks like it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bitrix_app.core.zone_check import ENOUGH, NEAR, hours_off, proposed

HOUR = 3600.0


@pytest.mark.parametrize("hours", [-3, -1, 0, 1, 2, 10])
def test_the_same_whole_number_of_hours_over_several_calls_is_told(hours: int) -> None:
    assert hours_off([hours * HOUR + n for n in range(ENOUGH)]) == hours
    assert hours_off([hours * HOUR + n for n in range(ENOUGH - 1)]) is None


@pytest.mark.parametrize(
    "differences",
    [
        [],
        [1800.0] * 12,
        [NEAR + 1.0] * 12,
        [HOUR * n for n in range(12)],
        [20 * HOUR] * 12,
        [2 * HOUR] * 5 + [0.0] * 7,
        [2 * HOUR] * 6 + [0.0] * 6,
    ],
)
def test_calls_that_do_not_agree_tell_nothing(differences: list[float]) -> None:
    assert hours_off(differences) is None


def test_a_few_late_events_among_many_do_not_hide_the_truth() -> None:
    assert hours_off([3.0, 5.0, 9000.0, 4.0, 2.0, 1.0, 3.0, 700.0, 5.0]) == 0


def test_only_the_last_calls_count() -> None:
    assert hours_off([2 * HOUR] * 100 + [3.0] * 12) == 0


@given(st.lists(st.floats(-1e9, 1e9), max_size=40))
def test_any_differences_are_judged(differences: list[float]) -> None:
    hours_off(differences)


OFFSETS = {"Europe/Kyiv": 7200.0, "UTC": 0.0, "Europe/Warsaw": 3600.0}


@pytest.mark.parametrize(("hours", "zone"), [(2, "UTC"), (1, "Europe/Warsaw"), (-1, None)])
def test_the_zone_in_which_the_clock_would_be_right_is_proposed(hours: int, zone: str | None) -> None:
    assert proposed(OFFSETS, "Europe/Kyiv", hours) == zone
