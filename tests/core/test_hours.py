"""Working hours and clients' hours: zones far apart, days that are short or long, hours that never meet."""

from __future__ import annotations

from datetime import datetime
from zoneinfo import ZoneInfo

import pytest

from bitrix_app.core.hours import (
    LOOK,
    Hours,
    after_open,
    all_open,
    every_day,
    is_open,
    opens,
    read_days,
    read_spans,
)

KYIV, TOKYO, NEW_YORK, LORD_HOWE = "Europe/Kyiv", "Asia/Tokyo", "America/New_York", "Australia/Lord_Howe"
WEEK = dict.fromkeys(("mon", "tue", "wed", "thu", "fri"), "09:00-13:00, 14:00-18:00")


def at(text: str, zone: str = KYIV, fold: int = 0) -> float:
    return datetime.fromisoformat(text).replace(tzinfo=ZoneInfo(zone), fold=fold).timestamp()


@pytest.mark.parametrize(
    ("now", "opening"),
    [
        ("2026-09-02 09:00", "2026-09-02 09:00"),
        ("2026-09-02 08:59", "2026-09-02 09:00"),
        ("2026-09-02 12:59:59", "2026-09-02 12:59:59"),
        ("2026-09-02 13:00", "2026-09-02 14:00"),
        ("2026-09-02 18:00", "2026-09-03 09:00"),
        ("2026-09-04 18:00", "2026-09-07 09:00"),  # Friday evening to Monday
        ("2026-09-05 11:00", "2026-09-07 09:00"),
    ],
)
def test_the_next_opening_of_a_week_with_a_lunch_break(now: str, opening: str) -> None:
    hours = read_days(WEEK, KYIV)
    assert opens(hours, at(now)) == at(opening)
    assert is_open(hours, at(now)) is (now == opening)


def test_without_any_span_it_is_always_open() -> None:
    for hours in (Hours(KYIV), read_days({"mon": "", "tue": " "}, KYIV)):
        assert hours.always
        assert opens(hours, 5.0) == 5.0
        assert after_open(hours, 5.0, 60.0) == 65.0


def test_a_day_runs_to_midnight_and_not_beyond() -> None:
    hours = read_days({"wed": "22:00-24:00"}, KYIV)
    assert is_open(hours, at("2026-09-02 23:59:59"))
    assert opens(hours, at("2026-09-03 00:00")) == at("2026-09-09 22:00")


@pytest.mark.parametrize(
    ("zone", "day", "start", "end", "seconds"),
    [
        (KYIV, "2026-03-29", "02:00", "05:00", 2 * 3600),  # 03:00 is 04:00
        (KYIV, "2026-10-25", "02:00", "05:00", 4 * 3600),  # 03:00-04:00 comes twice
        (NEW_YORK, "2026-03-08", "01:00", "04:00", 2 * 3600),
        (LORD_HOWE, "2026-04-05", "01:00", "03:00", 2.5 * 3600),  # half an hour
    ],
)
def test_a_span_over_a_change_of_the_clock_is_as_long_as_the_day_has_it(
    zone: str, day: str, start: str, end: str, seconds: float
) -> None:
    hours = read_days({"sun": f"{start}-{end}"}, zone)
    begin = at(f"{day} {start}", zone)
    assert opens(hours, begin - 600.0) == begin
    assert after_open(hours, begin, seconds) == begin + seconds
    assert after_open(hours, begin, seconds + 60.0) > begin + 6 * 86_400.0


def test_a_span_that_the_clock_skips_is_no_span_of_that_day() -> None:
    hours = read_days({"sun": "03:00-04:00"}, KYIV)
    assert opens(hours, at("2026-03-29 01:00")) == at("2026-04-05 03:00")


def test_open_time_is_counted_over_breaks_nights_and_weekends() -> None:
    hours = read_days(WEEK, KYIV)
    friday = at("2026-09-04 17:50")
    assert after_open(hours, friday, 600.0) == at("2026-09-04 18:00")
    assert after_open(hours, friday, 900.0) == at("2026-09-07 09:05")
    assert after_open(hours, at("2026-09-04 12:50"), 1200.0) == at("2026-09-04 14:10")
    assert after_open(hours, at("2026-09-05 03:00"), 900.0) == at("2026-09-07 09:15")


@pytest.mark.parametrize(
    ("portal", "client", "expected"),
    [
        # Kyiv works 9-18, Tokyo's client takes calls 8-21 there: 9-15 in Kyiv (summer)
        (("09:00", "18:00", KYIV), (8, 21, TOKYO), "2026-09-03 09:00"),
        # New York's client takes calls from 15:00 Kyiv on
        (("09:00", "18:00", KYIV), (8, 21, NEW_YORK), "2026-09-03 15:00"),
    ],
)
def test_both_must_be_awake(
    portal: tuple[str, str, str], client: tuple[int, int, str], expected: str
) -> None:
    ours = read_days(dict.fromkeys(("wed", "thu"), f"{portal[0]}-{portal[1]}"), portal[2])
    his = every_day(client[2], client[0] * 60, client[1] * 60)
    assert all_open([ours, his], at("2026-09-02 18:00")) == at(expected)


def test_hours_that_never_meet_end_at_the_search_s_limit() -> None:
    now = at("2026-09-02 12:00")
    never = [every_day(KYIV, 540, 600), every_day(KYIV, 660, 720)]
    assert all_open(never, now) == now + LOOK * 86_400.0
    assert all_open([], now) == now


@pytest.mark.parametrize(
    "text",
    [
        "9-18",
        "09:00-25:00",
        "18:00-09:00",
        "09:00-09:00",
        "09:60-10:00",
        "09:00-12:00, 11:00-13:00",
        "noon",
        "-",
    ],
)
def test_what_is_no_span_is_refused_with_what_to_write(text: str) -> None:
    with pytest.raises(ValueError, match="09:00-18:00"):
        read_spans(text)


def test_an_unknown_day_is_refused() -> None:
    with pytest.raises(ValueError, match="monday"):
        read_days({"monday": "09:00-18:00"}, KYIV)


@pytest.mark.parametrize("text", ["09:00-13:00,14:00-18:00", " 9:00 – 13:00 , 14:00-18:00 "])
def test_several_spans_are_read(text: str) -> None:
    assert read_spans(text) == ((540, 780), (840, 1080))
