"""Zones that are proposed: real ones, with their offset of the day."""

from __future__ import annotations

import pytest

from bitrix_app.core.zone_check import MOST_HOURS, proposed
from unitalk.zones import offsets

WINTER, SUMMER = 1_770_710_500.0, 1_783_664_100.0


def test_offsets_follow_daylight_saving() -> None:
    assert offsets("Europe/Kyiv", WINTER)["Europe/Kyiv"] == 7200
    assert offsets("Europe/Kyiv", SUMMER)["Europe/Kyiv"] == 10_800
    assert offsets("Asia/Tokyo", WINTER)["Asia/Tokyo"] == 32_400


@pytest.mark.parametrize(
    ("current", "at", "hours", "zone"),
    [
        ("Europe/Kyiv", WINTER, 2, "UTC"),
        ("Europe/Kyiv", SUMMER, 3, "UTC"),
        ("UTC", WINTER, -2, "Europe/Kyiv"),
        ("Europe/Warsaw", SUMMER, -1, "Europe/Kyiv"),
        ("Europe/Kyiv", WINTER, -5, "Etc/GMT-7"),
    ],
)
def test_the_likeliest_zone_comes_first(current: str, at: float, hours: int, zone: str) -> None:
    assert proposed(offsets(current, at), current, hours) == zone


def test_there_is_a_proposal_for_every_hour_around_kyiv() -> None:
    told = offsets("Europe/Kyiv", WINTER)
    assert all(proposed(told, "Europe/Kyiv", h) for h in range(-10, MOST_HOURS + 1))
