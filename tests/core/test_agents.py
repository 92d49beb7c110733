"""Who decides what an agent's status is to be: the rules, a row each."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from bitrix_app.core import agents
from bitrix_app.core.agents import (
    HISTORY,
    SOURCES,
    AgentStatus,
    Clock,
    Page,
    Want,
    Why,
    Words,
    busy_in,
    chosen,
    clocked,
    decide,
    in_calls,
    is_available,
    pack,
    settled,
    trouble_of,
    unpack,
)
from bitrix_app.core.call import Call, Leg
from bitrix_app.core.events import Direction
from bitrix_app.core.jobs import JobError
from bitrix_app.core.lifecycle import Phase

WORDS = Words()
ERROR = JobError("UNITALK_REFUSED", "validation", "Number not found", "See it.", "manager")


def agent(**known: Any) -> AgentStatus:
    return AgentStatus("p", "2001", 11, **known)


ON = {"calls": ("c1",)}
TABLE = [
    # (what the sources say, which of them count, desired, why)
    ({}, SOURCES, Want.WORK, Why.AVAILABLE),
    ({"clock": Clock.OPENED}, SOURCES, Want.WORK, Why.AVAILABLE),
    ({"clock": Clock.CLOSED}, SOURCES, Want.PAUSE, Why.CLOCKED_OUT),
    ({"clock": Clock.EXPIRED}, SOURCES, Want.PAUSE, Why.CLOCKED_OUT),
    ({"clock": Clock.PAUSED}, SOURCES, Want.PAUSE, Why.BREAK),
    ({"clock": Clock.CLOSED}, ("calls", "page"), Want.WORK, Why.AVAILABLE),
    ({"clock": None}, SOURCES, Want.WORK, Why.AVAILABLE),
    ({"page": Page.PAUSE}, SOURCES, Want.PAUSE, Why.PAUSED),
    ({"page": Page.PAUSE}, ("calls", "timeman"), Want.WORK, Why.AVAILABLE),
    ({"page": Page.PAUSE, "clock": Clock.OPENED}, SOURCES, Want.PAUSE, Why.PAUSED),
    ({"page": Page.PAUSE, "clock": Clock.CLOSED}, SOURCES, Want.PAUSE, Why.CLOCKED_OUT),
    ({"page": Page.PAUSE} | ON, SOURCES, Want.PAUSE, Why.PAUSED),
    (ON, SOURCES, Want.PAUSE, Why.ON_CALL),
    (ON, ("timeman", "page"), Want.WORK, Why.AVAILABLE),
    ({"page": Page.AFTER_CALL} | ON, SOURCES, Want.PAUSE, Why.ON_CALL),
    ({"page": Page.AFTER_CALL} | ON, ("timeman", "page"), Want.WORK, Why.PAUSE_AFTER_CALL),
    ({"page": Page.AFTER_CALL, "clock": Clock.CLOSED} | ON, SOURCES, Want.PAUSE, Why.CLOCKED_OUT),
    (ON, (), Want.WORK, Why.AVAILABLE),
]


@pytest.mark.parametrize(("known", "sources", "want", "why"), TABLE)
def test_the_first_rule_that_applies_decides(
    known: dict[str, Any], sources: tuple[str, ...], want: Want, why: Why
) -> None:
    assert decide(agent(**known), sources) == (want, why)


def test_a_pause_after_this_call_begins_at_the_end_of_the_call() -> None:
    one = chosen(in_calls(agent(), begun="c1"), Page.AFTER_CALL, "lunch")
    one = settled(one, ("page",), WORDS, 10.0, "user:11")
    assert (one.desired, one.why, one.page) == (Want.WORK, Why.PAUSE_AFTER_CALL, Page.AFTER_CALL)
    one = settled(in_calls(one, begun="c2"), ("page",), WORDS, 20.0, "call")
    one = settled(in_calls(one, ended="c1"), ("page",), WORDS, 30.0, "call")
    assert one.desired is Want.WORK, "the second call goes on"
    one = settled(in_calls(one, ended="c2"), ("page",), WORDS, 40.0, "call")
    assert (one.desired, one.why, one.page, one.page_reason) == (
        Want.PAUSE,
        Why.PAUSED,
        Page.PAUSE,
        "lunch",
    )
    assert one.since == 40.0


def test_a_pause_after_this_call_without_a_call_is_a_pause() -> None:
    assert chosen(agent(), Page.AFTER_CALL, "x").page is Page.PAUSE


def test_available_forgets_the_reason() -> None:
    assert chosen(agent(page=Page.PAUSE, page_reason="lunch"), Page.AVAILABLE, "lunch").page_reason == ""


def test_since_is_when_the_desired_status_began_and_not_its_reason() -> None:
    one = settled(agent(), SOURCES, WORDS, 1.0, "settings")
    one = settled(in_calls(one, begun="c1"), SOURCES, WORDS, 5.0, "call")
    one = settled(chosen(one, Page.PAUSE, "lunch"), SOURCES, WORDS, 9.0, "user:3", "lunch")
    assert (one.desired, one.why, one.since) == (Want.PAUSE, Why.PAUSED, 5.0)
    assert [(c.at, c.what, c.by, c.note) for c in one.history] == [
        (1.0, "available", "settings", ""),
        (5.0, "on_call", "call", ""),
        (9.0, "paused", "user:3", "lunch"),
    ]


def test_nothing_is_noted_when_nothing_changes_and_the_history_is_bounded() -> None:
    one = settled(agent(), SOURCES, WORDS, 1.0, "settings")
    assert settled(clocked(one, Clock.OPENED, 2.0), SOURCES, WORDS, 2.0, "timeman").history == one.history
    for at in range(200):
        page = Page.PAUSE if at % 2 else Page.AVAILABLE
        one = settled(chosen(one, page, ""), SOURCES, WORDS, float(at), "user:1")
    assert len(one.history) == HISTORY
    assert one.history[-1].at == 199.0


def test_the_divergence_is_dated_from_its_beginning() -> None:
    one = settled(agent(), SOURCES, WORDS, 1.0, "settings")
    assert one.diverged_at == 1.0
    one = settled(replace(one, acknowledged="WORK"), SOURCES, WORDS, 2.0, "settings")
    assert one.diverged_at is None
    one = settled(chosen(one, Page.PAUSE, ""), SOURCES, WORDS, 3.0, "user:1")
    one = settled(clocked(one, Clock.CLOSED, 4.0), SOURCES, WORDS, 4.0, "timeman")
    assert one.diverged_at == 3.0


# --- who is on the phone --------------------------------------------------------------------------


def call(**known: Any) -> Call:
    return Call("c1", "p", 1.0, **known)


LEGS = (Leg("2001", 1.0), Leg("2002", 2.0))
BUSY = [
    (call(direction=Direction.IN, phase=Phase.RINGING, ringing=("2001", "2002")), set()),
    (call(direction=Direction.IN, phase=Phase.TALKING, ringing=("2001", "2002"), legs=LEGS[1:]), {"2002"}),
    (call(direction=Direction.IN, phase=Phase.TALKING, legs=LEGS), {"2002"}),
    (call(direction=Direction.IN, phase=Phase.ENDED, legs=LEGS), set()),
    (call(direction=Direction.OUT, phase=Phase.ANNOUNCED, ringing=("2001",)), {"2001"}),
    (call(direction=Direction.OUT, phase=Phase.TALKING, ringing=("2001",), legs=LEGS[:1]), {"2001"}),
    (call(direction=Direction.OUT, phase=Phase.TALKING, ringing=("2001", "2002"), legs=LEGS), {"2002"}),
    (call(direction=Direction.OUT, phase=Phase.CLOSED, ringing=("2001",)), set()),
    (call(direction=Direction.OUT, phase=Phase.RINGING, ringing=("2001",), dialer_id="77"), set()),
    (call(direction=Direction.OUT, phase=Phase.TALKING, dialer_id="77", legs=LEGS[:1]), {"2001"}),
    (call(direction=Direction.INNER, phase=Phase.RINGING, ringing=("2001", "2002")), {"2001"}),
    (call(direction=Direction.INNER, phase=Phase.TALKING, ringing=("2001", "2002")), {"2001", "2002"}),
    (call(direction=Direction.INNER, phase=Phase.TALKING, ringing=("2001", "2002", "2003")), {"2001"}),
    (call(), set()),
]


@pytest.mark.parametrize(("one", "busy"), BUSY)
def test_who_talks_or_dials_is_on_the_phone_and_who_rings_is_not(one: Call, busy: set[str]) -> None:
    assert busy_in(one) == busy


# --- who may be offered ---------------------------------------------------------------------------

GOOD = agent(acknowledged="WORK", acknowledged_at=1.0)


@pytest.mark.parametrize(
    "change",
    [
        {"desired": Want.PAUSE},
        {"out": True},
        {"calls": ("c1",)},
        {"acknowledged": "PAUS"},
        {"acknowledged": None},
        {"doubtful": ("PAUS",)},
        {"doubtful": ("WORK",)},
        {"confirm_at": 99.0},
    ],
)
def test_whoever_is_not_certainly_at_work_is_not_offered(change: dict[str, Any]) -> None:
    assert is_available(GOOD, WORDS)
    assert not is_available(replace(GOOD, **change), WORDS)


def test_the_words_of_the_settings_decide_what_was_acknowledged() -> None:
    assert not is_available(GOOD, Words("READY", "PAUS"))
    assert Words("READY", "AWAY").meaning("AWAY") is Want.PAUSE
    assert Words().meaning("AWAY") is None
    assert Words().meaning(None) is None


# --- the retry list, and the row ------------------------------------------------------------------


def test_an_agent_in_trouble_is_an_entry_of_the_retry_list() -> None:
    assert trouble_of(GOOD) is None
    assert trouble_of(replace(GOOD, error=ERROR)) is None
    sick = replace(GOOD, error=ERROR, failing_since=5.0, failed_at=9.0, tries=3, next_at=19.0)
    entry = trouble_of(sick)
    assert entry is not None
    assert (entry.id, entry.extension, entry.user_id, entry.state) == ("agent:2001", "2001", 11, "retrying")
    assert (entry.attempts, entry.next_attempt_at, entry.error) == (3, 19.0, ERROR)
    assert (entry.created_at, entry.updated_at) == (5.0, 9.0)
    out = trouble_of(replace(sick, out=True))
    assert out is not None
    assert out.state == "attention"


def test_a_status_survives_its_row() -> None:
    full = settled(
        agent(
            page=Page.PAUSE,
            page_reason="обід",
            clock=Clock.PAUSED,
            clock_at=3.0,
            calls=("c1", "c2"),
            acknowledged="WORK",
            doubtful=("PAUS",),
            lost=(("PAUS", 70.0),),
            confirm_at=70.0,
            error=ERROR,
            failing_since=1.0,
            out=True,
        ),
        SOURCES,
        WORDS,
        4.0,
        "user:1",
    )
    assert unpack(pack(full)) == full
    assert unpack(pack(agent())) == agent()
    assert unpack({**pack(agent()), "of_a_newer_version": 1}) == agent()
    assert agents.pack(agent()) == {"portal": "p", "extension": "2001", "user_id": 11}
