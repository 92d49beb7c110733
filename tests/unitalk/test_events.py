"""Reading webhooks where the samples end: aliases, forms, clocks, numbers, poison."""

from __future__ import annotations

import contextlib
import gzip
import json
from datetime import datetime
from typing import Any
from urllib.parse import urlencode
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bitrix_app.core.events import Direction, Facts, PbxReport, Step
from bitrix_app.core.outcome import Outcome
from unitalk.events import (
    Ignorable,
    Readable,
    UnreadableEvent,
    outcome_of,
    read_event,
    read_history_row,
    to_e164,
    wall_instant,
)

KYIV = "Europe/Kyiv"
CALL: dict[str, Any] = {"id": 5, "from": "380440000011", "to": ["2001"], "direction": "IN"}


def read(
    body: object, query: dict[str, str] | None = None, method: str = "POST", at: float = 1_770_710_500.0
) -> Readable | Ignorable:
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    return read_event(raw, "application/json", query or {}, method, at, KYIV)


def report(body: object, query: dict[str, str] | None = None, method: str = "POST") -> PbxReport:
    told = read(body, query, method)
    assert isinstance(told, Readable)
    return told.report


def facts(**call: Any) -> Facts:
    return report({"event": "CALL_END", "call": CALL | call}).facts


# --- which step ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("ev", "step"),
    [
        ("new", Step.NEW),
        ("call_new", Step.NEW),
        ("CALL_NEW", Step.NEW),
        ("redirect", Step.OFFERED),
        ("call_redirect", Step.OFFERED),
        ("answer", Step.ANSWERED),
        ("CALL_ANSWER", Step.ANSWERED),
        ("end", Step.ENDED),
        ("call-end", Step.ENDED),
        ("CALL_ENDED", Step.ENDED),
        ("autodial_end", Step.ENDED),
    ],
)
def test_our_own_code_names_the_event(ev: str, step: Step) -> None:
    assert report(CALL, {"ev": ev}).step is step
    assert report({"event": ev, "call": CALL}).step is step


def test_the_vendors_word_wins_over_a_copied_handlers_code() -> None:
    assert report({"event": "CALL_NEW", "call": CALL}, {"ev": "end"}).step is Step.NEW
    assert report({"event": "DIALER_CODE_9", "call": CALL}, {"ev": "answer"}).step is Step.ANSWERED


def test_ignored_events_stay_ignored_whatever_the_code() -> None:
    assert isinstance(read({"event": "IVR_ACTION", "pressedDigit": 1}, {"ev": "end"}), Ignorable)
    assert isinstance(read({"text": "hello", "sender": "x"}), Ignorable)


@pytest.mark.parametrize("event", [{}, {"event": "SOMETHING_ELSE"}])
@pytest.mark.parametrize(
    ("call", "ended"),
    [
        ({"state": "NOANSWER"}, True),
        ({"state": "ANSWERING_MACHINE"}, True),
        ({"state": "ANSWER", "secondsTalk": 5}, True),
        ({"secondsFullTime": "0"}, True),
        ({"link": "https://api.unitalk.cloud/x"}, True),
        ({"state": "ANSWER"}, False),  # may as well be «somebody picked up»
        ({"state": "dialing"}, False),
        ({"state": "", "secondsTalk": None, "link": "null"}, False),
    ],
)
def test_an_unnamed_event_ends_a_call_only_when_it_proves_so(
    event: dict[str, str], call: dict[str, Any], ended: bool
) -> None:
    told = read(event | {"call": CALL | call})
    assert isinstance(told, Readable) is ended
    if isinstance(told, Readable):
        assert told.report.step is Step.ENDED


# --- shapes --------------------------------------------------------------------------------------

TEMPLATE = {
    "call_id": "5",
    "call_from": "380440000011",
    "call_to_0": "2001",
    "call_to_1": "2002",
    "call_direction": "IN",
    "call_state": "NOANSWER",
    "call_secondstalk": "",
    "call_link": "",
}
NESTED = ' {"id": 5, "from": "380440000011", "to": ["2001", "2002"], "direction": "IN", "state": "NOANSWER"}'
"""The whole call as one text: a template's variable, or a form's field."""


@pytest.mark.parametrize(
    ("body", "query", "method"),
    [
        (urlencode(TEMPLATE).encode(), {}, "POST"),
        (json.dumps(TEMPLATE).encode(), {}, "POST"),
        (b"", TEMPLATE, "GET"),
        (b"", TEMPLATE, "POST"),
        (
            b"call[id]=5&call[from]=380440000011&call[to][]=2001&call[to][]=2002&call[direction]=IN"
            b"&call[state]=NOANSWER",
            {},
            "POST",
        ),
        (b"\xef\xbb\xbf" + json.dumps(TEMPLATE).encode(), {}, "POST"),
        (urlencode({"event": "CALL_END", "call": NESTED}).encode(), {}, "POST"),
        (b"", {"ev": "CALL_END", "call": NESTED}, "GET"),
        (json.dumps({"event": "CALL_END", "call": NESTED}).encode(), {}, "POST"),
        (
            b'{"CALL_ID":5,"From":380440000011,"to":"2001, 2002","direction":"in","callState":"noanswer"}',
            {},
            "POST",
        ),
        (
            b'{"Call":{"id":5,"from":"380440000011","to":"[\\"2001\\",\\"2002\\"]","direction":"IN",'
            b'"callState":"NOANSWER"},"id":77}',
            {},
            "POST",
        ),
    ],
)
def test_one_call_in_many_shapes(body: bytes, query: dict[str, str], method: str) -> None:
    told = report(body, query, method)
    assert told.step is Step.ENDED
    assert told.facts == Facts(
        pbx_id="5",
        direction=Direction.IN,
        number="+380440000011",
        raw_number="380440000011",
        extensions=("2001", "2002"),
        state="NOANSWER",
        outcome=Outcome.MISSED,
    )


def test_a_call_that_begins_like_json_and_is_none_costs_only_itself() -> None:
    told = report({"event": "CALL_END", "call": "{call}", "id": 5, "from": "380440000011"})
    assert (told.facts.pbx_id, told.facts.number) == ("5", "+380440000011")
    with pytest.raises(UnreadableEvent, match="too deep"):
        read({"event": "CALL_END", "id": 5, "call": '{"a":' * 40 + "1" + "}" * 40})


def test_a_flat_dialer_event_without_a_call_id_does_not_lend_the_dialers() -> None:
    told = report({"event": "AUTODIAL_X", "id": 77, "phone": "380440000012", "callState": "BUSY"})
    assert (told.facts.pbx_id, told.facts.number) == (None, "+380440000012")
    beside = report({"event": "CALL_END", "id": 77, "call": {"from": "380440000011", "direction": "IN"}})
    assert beside.facts.pbx_id is None
    assert report({"event": "CALL_END", "id": 77, "phone": "380440000012"}).facts.pbx_id == "77"


@pytest.mark.parametrize("unset", [None, "", "null", 0, "0", "000", [], True])
def test_an_unset_id_joins_no_calls(unset: object) -> None:
    assert facts(id=unset, dbid=unset).pbx_id is None
    assert facts(id=unset, dbid=unset).pbx_dbid is None


def test_what_is_not_said_is_none() -> None:
    bare = report({"event": "CALL_NEW", "call": {"id": 5}}).facts
    assert bare == Facts(pbx_id="5")
    nulls = dict.fromkeys(["dbid", "from", "to", "date", "link", "meta", "cause", "secondsTalk"])
    assert report({"event": "CALL_NEW", "call": nulls | {"id": 5}}).facts == bare


# --- digests -------------------------------------------------------------------------------------


def test_an_equal_event_has_an_equal_digest_and_only_that() -> None:
    one = read(b'{"event":"CALL_NEW","call":{"id":5,"from":"380440000011"}}')
    same = read(b' {"call": {"from":"380440000011",\n"id":5}, "event":"CALL_NEW"}')
    assert one.digest == same.digest
    others = [
        read(b'{"event":"CALL_NEW","call":{"id":6,"from":"380440000011"}}'),
        read(b'{"event":"CALL_NEW","call":{"id":"5","from":"380440000011"}}'),
        read(b'{"event":"CALL_NEW","call":{"id":5,"from":"380440000011"}}', {"ev": "end"}),
        read(b"event=CALL_NEW&id=5&from=380440000011"),
        read(b"", {"event": "CALL_NEW", "id": "5"}, "GET"),
        read(b"", {"event": "CALL_NEW", "id": "6"}, "GET"),
        read(b"event=CALL_NEW&id=1", {"call_from": "1"}),
        read(b"event=CALL_NEW&id=1", {"call_from": "2"}),
    ]
    assert len({one.digest, *(x.digest for x in others)}) == 1 + len(others)


def test_an_unreadable_body_has_a_digest_too() -> None:
    digests = []
    for body in (b"\xff", b"\xfe", b"{"):
        with pytest.raises(UnreadableEvent) as unreadable:
            read(body)
        digests.append(unreadable.value.digest)
        assert unreadable.value.reason
    assert len(set(digests)) == 3
    assert all(len(x) == 64 for x in digests)


# --- numbers and sides ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("raw", "number"),
    [
        ("380440000011", "+380440000011"),
        ("+380 (44) 000-00-11", "+380440000011"),
        ("0440000011", "+380440000011"),
        ("00380440000011", "+380440000011"),
        ("48221234567", "+48221234567"),
        ("1234567", "+1234567"),
        ("123456", None),
        ("2001", None),
        ("102", None),
        ("+0440000011", None),
        ("044000001", None),
        ("1234567890123456", None),
        ("anonymous", None),
        ("shop.example", None),
        ("٣٨٠٤٤٠٠٠٠٠١١", None),
        ("", None),
        (None, None),
    ],
)
def test_numbers(raw: str | None, number: str | None) -> None:
    assert to_e164(raw) == number


def test_a_short_caller_keeps_its_raw_number() -> None:
    told = facts(**{"from": "102"})
    assert (told.number, told.raw_number) == (None, "102")


def test_a_dialers_outer_number_is_nobodys_extension() -> None:
    told = facts(**{"from": "380440000001", "to": ["380440000011"], "direction": "OUT"})
    assert (told.extensions, told.number) == ((), "+380440000011")
    short_line = facts(
        **{"from": "1234567", "outerNumber": "1234567", "to": ["380440000011"], "direction": "OUT"}
    )
    assert short_line.extensions == ()


@pytest.mark.parametrize(
    ("caller", "to", "direction"),
    [
        ("380440000011", ["2001"], Direction.IN),
        ("2001", ["380440000011"], Direction.OUT),
        ("2001", ["2002"], Direction.INNER),
        ("380440000011", ["380440000012"], None),
        ("380440000011", [], None),
    ],
)
def test_a_direction_that_was_not_said(caller: str, to: list[str], direction: Direction | None) -> None:
    assert facts(**{"from": caller, "to": to, "direction": "SIDEWAYS"}).direction is direction


# --- outcomes ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("state", "direction", "talk", "outcome"),
    [
        ("ANSWER", Direction.IN, 0, Outcome.ANSWERED),
        ("ANSWERED", Direction.OUT, 9, Outcome.ANSWERED),
        ("answer", None, None, Outcome.ANSWERED),
        ("NOANSWER", Direction.IN, 0, Outcome.MISSED),
        ("NOANSWER", Direction.OUT, 0, Outcome.NO_ANSWER),
        ("NOANSWER", Direction.INNER, 0, Outcome.NO_ANSWER),
        ("BUSY", Direction.OUT, 0, Outcome.BUSY),
        ("FAIL", Direction.OUT, 0, Outcome.FAILED),
        ("FAILED", Direction.OUT, 0, Outcome.FAILED),
        ("CHANUNAVAIL", Direction.OUT, 0, Outcome.UNAVAILABLE),
        ("UNREACHABLE", Direction.OUT, 0, Outcome.UNAVAILABLE),
        ("NOT_EXIST", Direction.OUT, 0, Outcome.INVALID_NUMBER),
        ("NOMONEY", Direction.OUT, 0, Outcome.NO_MONEY),
        ("BUSYOUT", Direction.OUT, 0, Outcome.NO_CAPACITY),
        ("WRONGDIR", Direction.OUT, 0, Outcome.BAD_DIRECTION),
        ("WRONG_DIR", Direction.OUT, 0, Outcome.BAD_DIRECTION),
        ("BLOCKED", Direction.OUT, 0, Outcome.BLOCKED),
        ("CANCEL", Direction.OUT, 0, Outcome.CANCELLED),
        ("AUTOCANCEL", Direction.OUT, 0, Outcome.CANCELLED),
        ("DIALING", Direction.IN, 0, Outcome.UNKNOWN),
        ("DIALING", Direction.OUT, 5, Outcome.ANSWERED),
        (None, Direction.IN, 0, Outcome.MISSED),
        (None, Direction.IN, None, Outcome.MISSED),
        (None, Direction.OUT, None, Outcome.UNKNOWN),
        (None, Direction.IN, 5, Outcome.ANSWERED),
        ("NEW_WORD", Direction.IN, 0, Outcome.MISSED),
        ("NEW_WORD", Direction.OUT, 0, Outcome.UNKNOWN),
        ("NEW_WORD", Direction.IN, 80, Outcome.UNKNOWN),
    ],
)
def test_outcomes(state: str | None, direction: Direction | None, talk: int | None, outcome: Outcome) -> None:
    assert outcome_of(state, direction, talk) is outcome


def test_only_the_end_has_an_outcome() -> None:
    told = report({"event": "CALL_ANSWER", "call": CALL | {"state": "ANSWER", "link": "https://x.example/r"}})
    assert (told.facts.outcome, told.facts.link, told.facts.state) == (None, None, "ANSWER")


@pytest.mark.parametrize(
    ("link", "kept"),
    [
        ("https://api.unitalk.cloud:8443/x", True),
        ("http://127.0.0.1:9000/x", True),
        ("http://localhost/x", True),
        ("http://api.unitalk.cloud/x", False),
        ("ftp://api.unitalk.cloud/x", False),
        ("https://u@api.unitalk.cloud/x", False),
        ("javascript:alert(1)", False),
        ("https://x.example/" + "a" * 2030, True),
        ("https://x.example/" + "a" * 2031, False),
        (5, False),
    ],
)
def test_links(link: object, kept: bool) -> None:
    assert (facts(state="ANSWER", link=link).link is not None) is kept
    assert facts(state="NOANSWER", link=link).link is None
    talked = facts(state="SOME_NEW_STATE", secondsTalk=30, link=link)
    assert (talked.outcome, talked.link is not None) == (Outcome.UNKNOWN, kept)
    assert facts(state="SOME_NEW_STATE", secondsTalk=0, direction="OUT", link=link).link is None


@pytest.mark.parametrize(
    ("said", "seconds"),
    [
        (0, 0),
        ("30", 30),
        (30.0, 30),
        ("30.0", 30),
        (86400, 86400),
        (86401, None),
        (-5, None),
        ("-5", None),
        (10**30, None),
        (1.5, None),
        ("x", None),
        (True, None),
        ([], None),
        ("٣", None),
        (None, None),
    ],
)
def test_durations(said: object, seconds: int | None) -> None:
    assert facts(secondsTalk=said).talk_seconds == seconds
    assert facts(secondsFullTime=said).full_seconds == seconds


# --- the wall clock ------------------------------------------------------------------------------


def kyiv(*wall: int, fold: int = 0) -> float:
    return datetime(*wall, tzinfo=ZoneInfo(KYIV), fold=fold).timestamp()  # type: ignore[arg-type,misc]


@pytest.mark.parametrize(
    ("text", "at"),
    [
        ("2026-02-10 10:00:12", kyiv(2026, 2, 10, 10, 0, 12)),
        ("2026-07-10 09:15:00", 1_783_664_100.0),
        ("2026-02-10T10:00:12.500", kyiv(2026, 2, 10, 10, 0, 12)),
        ("2026-02-10 10:00", kyiv(2026, 2, 10, 10, 0)),
        ("2026-02-10T08:00:12Z", kyiv(2026, 2, 10, 10, 0, 12)),
        ("2026-02-10T03:00:12-05:00", kyiv(2026, 2, 10, 10, 0, 12)),
        ("2026-02-30 10:00:00", None),
        ("0000-00-00 00:00:00", None),
        ("1970-01-01 00:00:00", None),
        ("9999-12-31 23:59:59", None),
        ("10.02.2026 10:00", None),
        ("2026-02-10 25:00:00", None),
        ("2026-02-10T03:00:12+99:99", None),
        ("", None),
        (None, None),
    ],
)
def test_dates(text: str | None, at: float | None) -> None:
    assert wall_instant(text, 1_770_710_500.0, KYIV) == at


def test_the_hour_that_occurs_twice_is_read_nearer_to_the_arrival() -> None:
    first, second = kyiv(2026, 10, 25, 3, 30), kyiv(2026, 10, 25, 3, 30, fold=1)
    assert second - first == 3600
    for began in (first, second):
        call = CALL | {"date": "2026-10-25 03:30:00"}
        told = read({"event": "CALL_NEW", "call": call}, at=began + 2)
        assert isinstance(told, Readable)
        assert told.report.facts.started_at == began
        # an end arrives as much later as the call was long: 50 minutes after the first reading
        call |= {"secondsFullTime": 3000, "secondsTalk": 2990}
        told = read({"event": "CALL_END", "call": call}, at=began + 3002)
        assert isinstance(told, Readable)
        assert told.report.facts.started_at == began


# --- history -------------------------------------------------------------------------------------


def test_a_history_row_of_a_call_that_goes_on_closes_nothing() -> None:
    with pytest.raises(UnreadableEvent, match="still goes on"):
        read_history_row({"id": 5, "dbid": 6, "state": "DIALING", "direction": "IN"}, 0.0, KYIV)
    with pytest.raises(UnreadableEvent, match="no call"):
        read_history_row({"state": "ANSWER"}, 0.0, KYIV)


# --- poison --------------------------------------------------------------------------------------

POISON: dict[str, bytes] = {
    "deep lists": b"[" * 100_000,
    "deep objects": b'{"a":' * 30_000,
    "deep but closed": b'{"call":' + b"[" * 900 + b"]" * 900 + b"}",
    "depth 33": b'{"a":' * 33 + b"1" + b"}" * 33,
    "10^400": b'{"event":"CALL_END","call":{"id":1' + b"0" * 400 + b"}}",
    "5000 digits": b'{"event":"CALL_END","call":{"id":' + b"9" * 5000 + b"}}",
    "1e400": b'{"event":"CALL_END","call":{"id":5,"secondsTalk":1e400}}',
    "NaN": b'{"event":"CALL_END","call":{"id":5,"secondsTalk":NaN}}',
    "NUL raw": b'{"event":"CALL_END\0","call":{"id":5}}',
    "NUL escaped": b'{"event":"CALL_END","call":{"id":5,"meta":"\\u0000"}}',
    "NUL in a key": b'{"event":"CALL_END","a\\u0000":1,"call":{"id":5}}',
    "NUL in a form": b"event=CALL_END&id=%00",
    "lone surrogate": b'{"event":"CALL_END","call":{"id":5,"meta":"\\ud800"}}',
    "windows-1251": '{"event":"CALL_END","call":{"id":5,"meta":"Київ"}}'.encode("windows-1251"),
    "utf-16": '{"event":"CALL_END","call":{"id":5}}'.encode("utf-16"),
    "form not utf-8": b"event=CALL_END&meta=%ff%fe",
    "gzip": gzip.compress(b'{"event":"CALL_END","call":{"id":5}}'),
    "1001 fields": b"&".join(b"f%d=1" % n for n in range(1001)),
    "20000 fields": b"a=1&" * 20_000,
    "cut": b'{"event":"CALL_END","call":{"id":5',
    "a list": b'[{"event":"CALL_END"}]',
    "a text": b'"CALL_END"',
    "words": b"hello",
    "empty": b"",
    "blank": b" \r\n",
    "no call": b'{"event":"CALL_END"}',
    "nothing of a call": b'{"event":"CALL_END","call":{"id":null,"to":[]}}',
}


@pytest.mark.parametrize("name", POISON)
def test_poison_is_unreadable_and_nothing_worse(name: str) -> None:
    with pytest.raises(UnreadableEvent) as unreadable:
        read(POISON[name])
    assert unreadable.value.reason
    assert "380" not in unreadable.value.reason


def test_the_bounds_are_where_they_are_said_to_be() -> None:
    assert isinstance(read(b"event=CALL_END&id=5&" + b"&".join(b"f%d=1" % n for n in range(998))), Readable)
    nested = b'{"event":"CALL_END","id":5,"x":' + b"[" * 30 + b"1" + b"]" * 30 + b"}"
    assert isinstance(read(nested), Readable)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters(), max_size=40),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=12), inner, max_size=4),
    max_leaves=12,
)
NAMES = st.sampled_from(
    [
        "event",
        "call",
        "id",
        "dbid",
        "from",
        "to",
        "to_0",
        "callId",
        "callState",
        "state",
        "date",
        "secondsTalk",
        "secondsFullTime",
        "link",
        "meta",
        "phone",
        "number",
        "direction",
        "outerNumber",
        "autodialerId",
        "autodial",
        "cause",
        "source",
        "lastGroupName",
        "call_from",
    ]
)
VALUES = JSON | st.sampled_from(
    [
        "CALL_END",
        "CALL_NEW",
        "IN",
        "OUT",
        "INNER",
        "380440000011",
        "2001",
        "ANSWER",
        "DIALING",
        "2026-10-25 03:30:00",
        "0001-01-01 00:00:00",
        "https://x.example/",
        "null",
        "-1",
        "[",
        ",,",
        "%00",
        "\ud800",
        "\0",
    ]
)
FIELDS = st.dictionaries(NAMES, VALUES, max_size=8)
QUERIES = st.dictionaries(st.sampled_from(["ev", "id", "from", "x"]), st.text(st.characters(), max_size=12))


def survives(body: bytes, query: dict[str, str]) -> None:
    for method in ("POST", "GET"):
        try:
            told = read_event(body, "?", query, method, 1_770_710_500.0, KYIV)
        except UnreadableEvent:
            continue  # the one exception that there may be
        assert told.digest == read_event(body, "", query, method, 0.0, KYIV).digest
        repr(told).encode("utf-8")  # what is read can be stored


@given(st.binary(max_size=400), QUERIES)
@settings(max_examples=300, deadline=None)
def test_fuzz_bytes(body: bytes, query: dict[str, str]) -> None:
    survives(body, query)


@given(FIELDS, FIELDS, QUERIES)
@settings(max_examples=400, deadline=None)
def test_fuzz_json(root: dict[str, Any], call: dict[str, Any], query: dict[str, str]) -> None:
    survives(json.dumps({"call": call} | root).encode("utf-8"), query)
    survives(json.dumps(root | {"call": call, "event": "CALL_END"}).encode("utf-8"), query)


@given(st.lists(st.tuples(NAMES | st.text(max_size=8), st.text(max_size=20)), max_size=12), QUERIES)
@settings(max_examples=200, deadline=None)
def test_fuzz_forms(pairs: list[tuple[str, str]], query: dict[str, str]) -> None:
    survives(urlencode(pairs, errors="replace").encode("ascii"), query)


@given(FIELDS)
@settings(max_examples=200, deadline=None)
def test_fuzz_history_rows(row: dict[str, Any]) -> None:
    with contextlib.suppress(UnreadableEvent):
        assert read_history_row(row, 1_770_710_500.0, KYIV).step is Step.ENDED
