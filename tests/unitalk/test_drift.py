"""What the contract does not know is found once, and never with anybody's data in it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest
from hypothesis import given
from hypothesis import strategies as st

from unitalk.drift import ALWAYS, Finding, Kind, Presence, look, sort_of
from unitalk.events import ReadEvent, UnreadableEvent, read_event
from unitalk.structure import KINDS, merged, shape

SAMPLES = Path(__file__).parents[1] / "samples" / "unitalk"
CALL: dict[str, Any] = {"id": 5, "from": "380440000011", "to": ["2001"], "direction": "IN", "state": "BUSY"}


def event(body: object, **query: str) -> ReadEvent:
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    return read_event(raw, "", query, "POST", 1_770_710_500.0, "Europe/Kyiv")


def found(body: object, **query: str) -> list[Finding]:
    return look(event(body, **query), {})[0]


def keys(body: object, **query: str) -> list[str]:
    return [finding.key for finding in found(body, **query)]


@pytest.mark.parametrize("file", sorted(SAMPLES.glob("webhook_*.json")), ids=lambda f: f.stem)
def test_no_sample_of_the_contract_is_news_but_those_that_are_meant_to_be(file: Path) -> None:
    body = json.loads(file.read_bytes())
    raw = urlencode(body).encode() if "template" in file.stem else json.dumps(body).encode()
    wanted = {
        "webhook_tolerance_unknown_event": ["event:CALL_SOMETHING_NEW"],
        "webhook_tolerance_unknown_state": ["state:SOME_NEW_STATE"],
    }
    told = [finding.key for finding in look(event(raw), {})[0]]
    fields = [key for key in told if key.startswith("field:")]
    assert [key for key in told if key not in fields] == wanted.get(file.stem, [])
    assert all("unknown" in key.lower() or "new" in key.lower() for key in fields), fields


def test_a_new_field_is_found_by_its_place_whatever_its_spelling() -> None:
    assert keys({"event": "CALL_END", "call": CALL | {"queueScore": 5}}) == ["field:call.queueScore"]
    assert keys({"event": "CALL_END", "extra": 1, "call": CALL}) == ["field:extra"]
    assert keys({"event": "CALL_END", "CALL_ID": 5, "Call_From": "380440000011", "call_to_3": "2"}) == []


def test_a_new_event_and_a_new_state_are_found() -> None:
    assert keys({"event": "CALL_PARKED", "call": {"id": 5}}) == ["event:CALL_PARKED"]
    assert keys({"event": "CALL_END", "call": CALL | {"state": "PARKED"}}) == ["state:PARKED"]
    assert keys({"event": "AUTODIAL_X9", "phone": "380440000011"}) == ["event:AUTODIAL_X9"]
    assert keys({"event": "SMS_RECEIVED", "text": "x"}) == [], "a message is known not to be a call"


def test_a_handler_that_was_copied_in_the_cabinet_is_found() -> None:
    (told,) = found({"event": "CALL_NEW", "call": CALL}, ev="CALL_END")
    assert (told.kind, told.name, told.event) == (Kind.HANDLER, "CALL_END", "CALL_NEW")
    assert keys({"event": "CALL_ENDED", "call": CALL}, ev="CALL_END") == []
    assert keys({"event": "CALL_ANSWER", "call": CALL}, ev="AUTODIAL_OPERATOR_ANSWER") == []


def after(events: int, body: dict[str, Any]) -> Presence:
    presence: Presence = {}
    for _ in range(events):
        presence = look(event(body), presence)[1]
    return presence


END = {"event": "CALL_END", "call": CALL | {"dbid": 7}}
WITHOUT = {"event": "CALL_END", "call": CALL}


def test_a_field_that_twenty_events_had_and_one_lacks_has_vanished_and_is_told_once() -> None:
    presence = after(ALWAYS, END)
    told, later = look(event(WITHOUT), presence)
    assert [finding.key for finding in told] == ["vanished:CALL_END:call.dbid"]
    assert look(event(WITHOUT), later)[0] == []
    assert look(event(WITHOUT), after(ALWAYS - 1, END))[0] == []


def test_a_field_in_another_spelling_has_not_vanished() -> None:
    shouted: dict[str, Any] = {
        "Event": "CALL_END",
        "Call": {name.upper(): value for name, value in (CALL | {"dbid": 7}).items()},
    }
    assert look(event(shouted), after(ALWAYS, END))[0] == []
    del shouted["Call"]["DBID"]
    assert [one.key for one in look(event(shouted), after(ALWAYS, END))[0]] == ["vanished:CALL_END:call.dbid"]


def test_an_unset_field_is_there_and_one_that_was_sometimes_absent_never_vanishes() -> None:
    null = {"event": "CALL_END", "call": CALL | {"dbid": None}}
    assert look(event(null), after(ALWAYS, END))[0] == []
    presence = after(ALWAYS - 1, END)
    presence = look(event(WITHOUT), presence)[1]
    presence = look(event(END), presence)[1]
    assert look(event(WITHOUT), presence)[0] == []


def test_call_tracking_and_the_dialers_own_fields_may_come_and_go() -> None:
    body = {
        "event": "CALL_END",
        "autodialerId": 1,
        "call": CALL | {"utmSource": "ads", "secondsClientWaitOperator": 1, "to_1": "2002"},
    }
    bare = {"event": "CALL_END", "autodialerId": 1, "call": CALL}
    assert look(event(bare), after(ALWAYS, body))[0] == []


def test_plain_and_dialer_events_and_each_shape_are_counted_apart() -> None:
    sorts = {
        sort_of(event(END)),
        sort_of(event({**END, "autodialerId": 3})),
        sort_of(event({"event": "CALL_END", **CALL})),
        sort_of(event({"event": "CALL_NEW", "call": CALL})),
    }
    assert len(sorts) == 4


def test_a_call_between_colleagues_lacks_what_others_have_and_that_is_no_news() -> None:
    outer = {"event": "CALL_END", "call": CALL | {"outerNumber": "380440000001"}}
    inner = {"event": "CALL_END", "call": CALL | {"from": "2001", "to": ["2002"], "direction": "INNER"}}
    presence: dict[str, Presence] = {}
    for body in (*[outer] * (ALWAYS + 1), inner):
        told = event(body)
        found_, presence[sort_of(told)] = look(told, presence.get(sort_of(told), {}))
        assert found_ == []
    assert sorted(presence) == ["CALL_END in", "CALL_END inner"]


def test_the_memory_of_a_sort_comes_to_rest() -> None:
    presence = after(ALWAYS, END)
    assert look(event(END), presence)[1] == presence, "so that nothing new has to be written"


SCALARS = st.one_of(st.none(), st.booleans(), st.integers(), st.text(min_size=1))


@given(st.dictionaries(st.sampled_from(["event", "call", "state", "x"]), SCALARS, min_size=1))
def test_looking_never_fails_whatever_was_readable(body: dict[str, Any]) -> None:
    try:
        read = event(body)
    except UnreadableEvent:
        return
    for finding in look(read, {})[0]:
        assert len(finding.key) < 200
        assert set(finding.name) <= set(SAFE)


SAFE = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_.-?#"


# --- masking ---------------------------------------------------------------------------------------


def test_a_structure_tells_types_and_lengths_only() -> None:
    told = shape(
        {
            "phone": "380440000011",
            "name": "Canary",
            "link": "https://x.example/canary",
            "date": "2026-02-10 10:00:12",
            "n": -12345,
            "f": 1.5,
            "yes": True,
            "no": None,
            "": "",
        }
    )
    assert told == {
        "phone": "digits(12)",
        "name": "text(6)",
        "link": "link(24)",
        "date": "date(19)",
        "n": "number(5)",
        "f": "number(3)",
        "yes": "true",
        "no": "null",
        "": "empty text",
    }


def test_words_of_a_closed_list_are_shown_and_only_where_nothing_else_stands() -> None:
    told = shape(
        [
            {"state": "ANSWER", "source": "REGULAR", "callState": "BUSY", "comment": "IVANENKO", "status": 1},
            {"state": "NEW_ONE", "source": "Olena", "callState": "380440000011", "name": "IVANENKO"},
        ]
    )
    assert told["each"] == {
        "state": "word(ANSWER) | word(NEW_ONE)",
        "source": "word(REGULAR) | text(5)",
        "callState": "word(BUSY) | digits(12)",
        "comment": "text(8)",
        "name": "text(8)",
        "status": "number(1)",
    }
    assert shape({"state": "A" * 50}) == {"state": "text(50)"}
    assert shape({"call_source": "WIDGET", "call[direction]": "IN", "callback": "IVANENKO"}) == {
        "call_source": "word(WIDGET)",
        "call?direction?": "word(IN)",
        "callback": "text(8)",
    }


def test_structures_that_are_merged_for_ever_stay_bounded() -> None:
    known: Any = shape({})
    for number in range(300):
        known = merged(known, shape({f"f{chr(97 + number % 26)}{chr(97 + number // 26)}": "x" * number}))
        known = merged(known, shape({"same": "x" * number, "to": ["2001"] * number}))
    assert len(known) <= 62
    assert len(known["same"].split(" | ")) == KINDS


def test_a_list_is_its_length_and_what_its_elements_have_in_common() -> None:
    rows = [{"line": "2001"}, {"line": 2003, "more": [1]}, {"line": None, "more": "x"}]
    assert shape(rows) == {
        "list_of": 3,
        "each": {"line": "digits(4) | number(4) | null", "more": "object | text(1)"},
    }
    assert shape([]) == {"list_of": 0}


def test_names_that_are_data_are_masked_too() -> None:
    told = shape({"380440000011": {"name": "a"}, "380440000012": {"name": "bb"}, "[b]x": 1})
    assert told == {"#": {"name": "text(1) | text(2)"}, "?b?x": "number(1)"}


def test_a_structure_is_bounded() -> None:
    deep: Any = 1
    for _ in range(50):
        deep = {"a": deep}
    assert len(json.dumps(shape(deep))) < 200
    assert len(shape({f"f{chr(65 + n % 26)}{chr(65 + n // 26)}": n for n in range(500)})) <= 61
