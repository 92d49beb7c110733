"""Numbers in every notation that a PBX, a person or a template may bring; nothing is lost on the way."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bitrix_app.core.events import Direction, Facts, PbxReport, Step
from bitrix_app.numbers import Kind, placed, read_number, search_forms

KYIV = "+380440000011"


@pytest.mark.parametrize(
    "raw",
    [
        "380440000011",
        "+380440000011",
        "+38 (044) 000-00-11",
        "00380440000011",
        "0440000011",
        "044 000 00 11",
        "044/000-00-11",
        "(044)000.00.11",
        "440000011",
        "+380 (0) 44 000 00 11",
        "sip:+380440000011@pbx.example.com",
        "tel:+380440000011",
        "３８０４４００００011",
        "380440000011#",
        "+38\u00a0044\u2011000\u201100\u201111",
    ],
)
def test_every_notation_of_a_ukrainian_number_is_one_number(raw: str) -> None:
    read = read_number(raw, "UA")
    assert (read.e164, read.kind, read.reason) == (KYIV, Kind.FULL, "")


@pytest.mark.parametrize(
    ("raw", "country", "e164"),
    [
        ("221234567", "PL", "+48221234567"),
        ("48221234567", "PL", "+48221234567"),
        ("48221234567", "UA", "+48221234567"),
        ("380440000011", "PL", KYIV),
        ("87011234567", "KZ", "+77011234567"),
        ("77011234567", "KZ", "+77011234567"),
        ("84991234567", "RU", "+74991234567"),
        ("84991234567", "UA", "+84991234567"),
        ("12025550123", "UA", "+12025550123"),
        ("0301234567", "DE", "+49301234567"),
        ("0440000011", "xx", KYIV),
        ("6221234", "EE", "+3726221234"),
    ],
)
def test_a_local_number_is_read_with_the_portals_country(raw: str, country: str, e164: str) -> None:
    assert read_number(raw, country).e164 == e164


def test_the_same_digits_mean_another_number_in_another_country() -> None:
    assert read_number("0440000011", "UA").e164 == KYIV
    assert read_number("0440000011", "PL").e164 != KYIV


@pytest.mark.parametrize(
    "raw",
    ["0440000011 ext 12", "0440000011 ext. 12", "380440000011,12", "380440000011;ext=12", "0440000011x12",
     "+380440000011 доб. 12", "+380440000011 вн. 12", "380440000011#12", "380440000011,,12#"],
)  # fmt: skip
def test_an_extension_is_kept_apart(raw: str) -> None:
    read = read_number(raw, "UA")
    assert (read.e164, read.extension) == (KYIV, "12")


@pytest.mark.parametrize(
    "raw",
    ["anonymous", "ANONYMOUS", "Unknown", "hidden", "Private Number", "withheld", "<unknown>", "no-number",
     "sip:anonymous@anonymous.invalid", "анонім", "Скрытый номер", "приховано", "Невідомий", '"Restricted"'],
)  # fmt: skip
def test_a_hidden_caller_is_said_to_be_hidden(raw: str) -> None:
    read = read_number(raw, "UA")
    assert (read.kind, read.e164, read.callable) == (Kind.HIDDEN, None, False)
    assert raw in read.reason
    assert search_forms(raw) == ()


@pytest.mark.parametrize("raw", ["2001", "102", "2000001", "2345678", "+2001"])
def test_a_short_number_has_no_area_code_and_is_told_so(raw: str) -> None:
    read = read_number(raw, "UA")
    assert (read.kind, read.e164) == (Kind.SHORT, None)
    assert "area code" in read.reason
    assert read.callable
    assert search_forms(raw) == (raw.lstrip("+"),)


@pytest.mark.parametrize(
    "raw", ["reception", "12ab34", "+", "0", "0000000", "1" * 16, "www.example.com", "😀", "٣" * 3 + "x"]
)
def test_nonsense_is_no_number_and_keeps_its_text(raw: str) -> None:
    read = read_number(raw, "UA")
    assert (read.kind, read.e164, read.callable) == (Kind.NONSENSE, None, False)
    assert read.raw == raw or read.raw
    assert read.reason


@pytest.mark.parametrize("raw", [None, "", "   ", "\u200b"[:0]])
def test_no_text_is_no_number(raw: str | None) -> None:
    assert read_number(raw).kind is Kind.ABSENT


def test_digits_of_no_known_plan_are_taken_as_the_pbx_says_them() -> None:
    read = read_number("99912345678", "UA")
    assert (read.kind, read.e164, read.callable) == (Kind.UNPLACED, None, True)
    assert "UA" in read.reason


def test_a_range_newer_than_our_tables_still_is_a_number() -> None:
    assert read_number("380990000000", "UA").e164 == "+380990000000"
    assert read_number("380200000000", "UA").e164 == "+380200000000"


def test_a_record_is_looked_for_in_each_notation_that_has_other_digits() -> None:
    assert search_forms("0440000011", "UA") == (KYIV, "0440000011")
    assert search_forms(KYIV, "PL") == (KYIV, "0440000011")
    assert search_forms("12025550123", "US") == ("+12025550123", "2025550123")
    assert search_forms("99912345678", "UA") == ("99912345678",)
    assert search_forms(None) == ()


@given(st.text(max_size=60), st.sampled_from(["UA", "PL", "KZ", "US", "??"]))
def test_no_text_breaks_it_and_a_full_number_reads_as_itself(raw: str, country: str) -> None:
    read = read_number(raw, country)
    assert (read.e164 is None) == bool(read.reason)
    if read.e164 is not None:
        assert read_number(read.e164, country).e164 == read.e164


# --- what the PBX reports --------------------------------------------------------------------------


def heard(raw: str | None, number: str | None = None, step: Step = Step.NEW, **more: object) -> Facts:
    facts = Facts(direction=Direction.IN, raw_number=raw, number=number, **more)  # type: ignore[arg-type]
    return placed(PbxReport(step, facts), "PL").facts


def test_the_portals_country_decides_over_the_vendors_convention() -> None:
    facts = heard("221234567", "+221234567")
    assert (facts.number, facts.raw_number, facts.number_note) == ("+48221234567", "221234567", None)


def test_the_vendors_convention_stands_in_where_no_plan_knows_the_digits() -> None:
    facts = heard("99912345678", "+99912345678")
    assert facts.number == "+99912345678"
    assert "no numbering plan" in (facts.number_note or "")


def test_why_there_is_no_number_goes_with_the_event() -> None:
    assert "hidden" in (heard("anonymous").number_note or "")
    assert "short" in (heard("2345678", "+2345678").number_note or "")


def test_a_number_that_was_left_out_is_a_lack_only_at_the_end() -> None:
    assert heard(None).number_note is None
    assert heard(None, step=Step.ENDED).number_note == "The PBX gave no number."


def test_an_inner_call_has_no_client_to_read() -> None:
    report = PbxReport(Step.ENDED, Facts(direction=Direction.INNER, raw_number="2001"))
    assert placed(report, "UA") is report
