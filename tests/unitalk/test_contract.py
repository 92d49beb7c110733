"""unitalk.md §3, line by line, where no sample stands: dialer handlers, messages, sites, groups, wrappers."""

from __future__ import annotations

import json
from typing import Any

import pytest

from bitrix_app.core.events import Direction, Facts, Step
from bitrix_app.core.outcome import Outcome
from unitalk import wire
from unitalk.events import Ignorable, Readable, read_event
from unitalk.states import is_known

CALL: dict[str, Any] = {"id": 5, "from": "380440000011", "to": ["2001"], "direction": "IN"}
FLAT: dict[str, Any] = {"phone": "380440000012", "meta": "lead:7", "date": "2026-02-10 14:40:00"}


def read(body: object, **query: str) -> Readable | Ignorable:
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    return read_event(raw, "application/json", query, "POST", 1_770_710_500.0, "Europe/Kyiv")


def facts(body: object, **query: str) -> Facts:
    told = read(body, **query)
    assert isinstance(told, Readable), told
    return told.report.facts


# --- §3.1, §3.8: one handler per outcome, its code in the address --------------------------------


@pytest.mark.parametrize(
    ("ev", "outcome"),
    [
        ("AUTODIAL_TALKED", Outcome.ANSWERED),
        ("AUTODIAL_ANSW_OP_NA", Outcome.LOST_BY_US),
        ("AUTODIAL_ANSW_NF_OP", Outcome.LOST_BY_US),
        ("AUTODIAL_ANSW_RJCT", Outcome.LOST_BY_US),
        ("AUTODIAL_NOANSWER", Outcome.NO_ANSWER),
        ("autodial-busy", Outcome.BUSY),
        ("AUTODIAL_FAIL", Outcome.FAILED),
        ("AUTODIAL_UNREACHABLE", Outcome.UNAVAILABLE),
        ("AUTODIAL_ANSWERING_MACHINE", Outcome.MACHINE),
        ("AUTODIAL_NOT_EXIST", Outcome.INVALID_NUMBER),
        ("AUTODIAL_BUSYOUT", Outcome.NO_CAPACITY),
        ("AUTODIAL_WRONG_DIR", Outcome.BAD_DIRECTION),
        ("AUTODIAL_AUDIO_ERR", Outcome.FAILED),
        ("AUTODIAL_CLIENT_CALLED", Outcome.CALLED_ELSEWHERE),
        ("AUTODIAL_BLOCKED", Outcome.BLOCKED),
        ("AUTODIAL_ATTEMPTS_OVER", Outcome.UNKNOWN),
    ],
)
def test_the_handlers_code_alone_tells_how_a_dialers_call_ended(ev: str, outcome: Outcome) -> None:
    told = read(FLAT, ev=ev)
    assert isinstance(told, Readable)
    assert told.report.step is Step.ENDED
    assert (told.report.facts.outcome, told.report.facts.direction) == (outcome, Direction.OUT)
    assert told.report.facts.number == "+380440000012"


def test_a_state_in_the_body_is_nearer_than_the_code_in_the_address() -> None:
    assert facts(FLAT | {"callState": "BUSY"}, ev="AUTODIAL_NOANSWER").outcome is Outcome.BUSY


@pytest.mark.parametrize("ev", ["AUTODIAL_CLIENT_ANSWER", "AUTODIAL_OPERATOR_ANSWER", "AUTODIAL_CALL_ANSWER"])
def test_callee_and_operator_answer_apart_and_neither_ends_the_call(ev: str) -> None:
    told = read(FLAT | {"callState": "ANSWER"}, ev=ev)
    assert isinstance(told, Readable)
    assert told.report.step is Step.ANSWERED


@pytest.mark.parametrize(
    ("more", "ev", "dialer"),
    [
        ({"autodialerId": 77}, "", "77"),
        ({"autodialId": "78"}, "", "78"),
        ({"autodial": {"id": 79, "name": "x"}}, "", "79"),
        ({"autodial": 80}, "", "80"),
        ({"id": 81}, "AUTODIAL_BUSY", "81"),
        ({"id": 82}, "", None),
        ({}, "AUTODIAL_BUSY", None),
    ],
)
def test_where_the_dialers_id_stands(more: dict[str, Any], ev: str, dialer: str | None) -> None:
    query = {"ev": ev} if ev else {}
    assert facts(FLAT | {"callState": "BUSY"} | more, **query).dialer_id == dialer


def test_the_id_beside_call_is_the_dialers_only_when_a_dialer_called() -> None:
    beside = {"event": "CALL_END", "id": 77, "call": CALL}
    assert facts(beside).dialer_id is None
    assert facts(beside | {"call": CALL | {"source": "autodial"}}).dialer_id == "77"
    assert facts(beside, ev="AUTODIAL_END").dialer_id == "77"


def test_attempts_and_waiting_time_of_a_dialers_call_are_facts() -> None:
    told = facts(FLAT | {"callState": "BUSY", "realCalledCount": "3", "secondsClientWaitOperator": 4})
    assert (told.dial_attempts, told.wait_seconds) == (3, 4)


def test_a_template_of_nothing_but_a_phone_and_a_state_is_a_call_of_that_client() -> None:
    told = facts({"phone": "380440000012", "state": "NOANSWER"})
    assert (told.number, told.direction, told.outcome) == ("+380440000012", None, Outcome.NO_ANSWER)


@pytest.mark.parametrize(
    ("more", "state"),
    [
        ({"call": CALL | {"state": "BUSY", "callState": "FAIL"}}, "BUSY"),
        ({"call": CALL | {"callState": "FAIL"}, "state": "BUSY"}, "FAIL"),
        ({**CALL, "state": "BUSY", "callState": "FAIL"}, "BUSY"),
        ({**CALL, "state": "RUNNING", "callState": "FAIL"}, "FAIL"),
    ],
)
def test_where_the_state_stands(more: dict[str, Any], state: str) -> None:
    assert facts({"event": "CALL_END", **more}).state == state


# --- messages, keys, dialers that start and stop: never a call ------------------------------------


@pytest.mark.parametrize(
    ("body", "ev"),
    [
        ({"event": "SMS_RECEIVED", "from": "380440000011", "text": "BUSY"}, ""),
        ({"event": "SMS_STATUS", "phone": "380440000011", "state": "FAILED"}, ""),
        ({"event": "MESSAGE_STATUS_CHANGED", "id": 9, "number": "380440000011", "state": "BLOCKED"}, ""),
        ({"phone": "380440000011", "messageId": 9, "state": "FAILED"}, ""),
        ({"phone": "380440000011", "state": "DELIVERED"}, ""),
        ({"phone": "380440000011", "state": "FAILED"}, "sms_status"),
        ({"event": "SOME_STATUS", "id": 9, "from": "380440000011", "state": "DELIVERED"}, ""),
        ({"event": "IVR_ACTION", "meta": "m", "pressedDigit": 1, "state": "BUSY"}, "CALL_END"),
        ({"id": 77, "name": "Demo", "status": "STOPPED"}, "AUTODIAL_STATUS_CHANGED"),
    ],
)
def test_what_is_not_about_a_call_never_ends_one(body: dict[str, Any], ev: str) -> None:
    assert isinstance(read(body, **({"ev": ev} if ev else {})), Ignorable)


def test_an_unnamed_template_with_a_new_state_is_the_end_of_its_call() -> None:
    """§3.7: without an event, any of the last four variables makes it terminal."""
    told = facts({"call_id": "5", "call_from": "380440000011", "call_to_0": "2001", "call_state": "NEW_WORD"})
    assert told.state == "NEW_WORD"
    assert not is_known(told.state)


# --- lines, sites, groups -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("outer", "line", "site"),
    [
        ("380440000001", "380440000001", None),
        ("+380 (44) 000-00-01", "380440000001", None),
        ("0440000001", "380440000001", None),
        (380440000001, "380440000001", None),
        ("0800300100", "380800300100", None),
        ("777", "777", None),
        ("shop.example", None, "shop.example"),
        ("Сайт на вулиці 5", None, "Сайт на вулиці 5"),
        (None, None, None),
        ("", None, None),
    ],
)
def test_a_site_callback_names_a_site_and_no_line(outer: object, line: str | None, site: str | None) -> None:
    told = facts({"event": "CALL_NEW", "call": CALL | {"outerNumber": outer}})
    assert (told.line, told.site) == (line, site)


def test_a_group_where_lines_stand_is_a_group_and_nobodys_extension() -> None:
    told = facts({"event": "CALL_REDIRECT", "call": CALL | {"to": ["Sales desk", 2002]}})
    assert (told.extensions, told.group) == (("2002",), "Sales desk")
    named = facts({"event": "CALL_REDIRECT", "call": CALL | {"to": ["Desk"], "lastGroupName": "Sales desk"}})
    assert (named.extensions, named.group) == ((), "Sales desk")


# --- wrappers of answers (§1.1, §4.4, §4.5) ----------------------------------------------------------

USERS = [{"line": "2001", "firstName": "Ann"}, {"line": 2003, "firstName": "Ed"}]


@pytest.mark.parametrize("wrapper", ["users", "items", "data", "list", "result"])
@pytest.mark.parametrize("inside", [USERS, {"1": USERS[0], "7": USERS[1]}])
def test_users_in_every_wrapper_as_a_list_or_by_id(wrapper: str, inside: Any) -> None:
    wanted = [{"line": "2001", "name": "Ann"}, {"line": "2003", "name": "Ed"}]
    assert wire.read_users({wrapper: inside}) == wanted
    assert wire.read_users({"status": "Success", "data": {wrapper: inside}}) == wanted
    assert wire.read_users(inside) == wanted


def test_history_in_an_envelope_is_history_too() -> None:
    page = wire.read_history({"status": "Success", "data": {"count": "7", "calls": [{"id": 1}]}})
    assert (page.rows, page.total) == (({"id": 1},), 7)
