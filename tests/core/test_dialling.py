"""The start of one call: asked, taken, claimed by its webhooks, refused, in doubt, given up."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from bitrix_app.core import call as calls
from bitrix_app.core import intent as intents
from bitrix_app.core.advance import Rules, Transition, advance
from bitrix_app.core.call import Call
from bitrix_app.core.commands import Dial, Finish, Hide, Notify, Register, TraceDial
from bitrix_app.core.correlate import claim
from bitrix_app.core.dial import Dialling, DialState, Failure, Origin
from bitrix_app.core.dialling import ASKED_AT_MOST, LATE_TRACES, UNTRACED, begin, begin_callback, join
from bitrix_app.core.events import (
    CallbackAssigned,
    CallEvent,
    DialAccepted,
    DialFailed,
    Direction,
    Due,
    Facts,
    Finished,
    GivenUp,
    PbxReport,
    Step,
)
from bitrix_app.core.jobs import JobState
from bitrix_app.core.lifecycle import Phase
from bitrix_app.core.news import Given, Missed, Rang, Spoke, StartFailed, Unreached
from bitrix_app.core.outcome import Outcome
from bitrix_app.core.permit import KEY_REFUSED, NOT_CONNECTED, Asked, refusal
from bitrix_app.core.telling import told

NOW = 1_788_333_300.0
NUMBER = "+380440000011"
WHY = Failure("PBX_REFUSED", "validation", "The line is offline", "Look at the phone", "agent", "503")


def start(state: DialState = DialState.ASKED, **more: Any) -> Call:
    dial: dict[str, Any] = {"origin": Origin.CLICK, "asked_at": NOW, "extension": "2001", "by": 7}
    dial |= more.pop("dial", {})
    fields: dict[str, Any] = {
        "direction": Direction.OUT,
        "number": NUMBER,
        "raw_number": NUMBER,
        "bitrix_call_id": "click.1",
        "given_id": True,
        "register_owed": True,
        "dial": Dialling(state, **dial),
    }
    return Call("0" * 27, "p", NOW, **{**fields, **more})


def report(step: Step = Step.NEW, **facts: Any) -> PbxReport:
    fields: dict[str, Any] = {
        "pbx_id": "1",
        "direction": Direction.OUT,
        "number": NUMBER,
        "raw_number": NUMBER[1:],
        "extensions": ("2001",),
        "started_at": NOW + 1,
    }
    return PbxReport(step, Facts(**{**fields, **facts}))


def after(call: Call, event: CallEvent, now: float = NOW + 2) -> Transition:
    return advance(call, event, now, Rules(drive=False))


def state(transition: Transition) -> DialState:
    assert transition.call.dial is not None
    return transition.call.dial.state


def kinds(transition: Transition) -> list[str]:
    return [owed.command.kind for owed in transition.owed]


def test_a_start_asks_the_pbx_once_and_sets_its_timers() -> None:
    begun = begin(start(), None, NOW)
    assert [owed.command for owed in begun.owed] == [Dial("2001", NUMBER)]
    assert {wake.reason: wake.at - NOW for wake in begun.wakes} == {"trace": 30.0, "untraced": 120.0}


def test_a_start_that_may_not_be_says_so_and_asks_nobody() -> None:
    begun = begin(start(), WHY, NOW)
    assert kinds(begun) == ["finish", "notify"]
    finish = begun.owed[0].command
    assert isinstance(finish, Finish)
    assert (finish.status_code, finish.failed_reason, finish.user_id) == ("503", WHY.message, 7)
    assert begun.owed[0].needs == ()
    assert begun.news == (StartFailed(WHY, certain=True),)
    assert (begun.call.phase, begun.call.outcome) == (Phase.ENDED, Outcome.NOT_STARTED)


def test_a_start_from_our_page_has_no_card_to_close() -> None:
    page = start(given_id=False, register_owed=False, bitrix_call_id=None)
    begun = begin(page, WHY, NOW)
    assert kinds(begun) == ["notify"]
    assert (begun.call.phase, begun.call.skipped) == (Phase.CLOSED, WHY.message)


def test_a_try_by_itself_is_not_told_each_time() -> None:
    assert kinds(begin(start(dial={"origin": Origin.RULE}), WHY, NOW)) == ["finish"]


def test_later_notices_of_one_entry_replace_the_earlier_ones() -> None:
    tags = {
        owed.command.tag
        for id_ in ("a" * 27, "b" * 27)
        for owed in begin(replace(start(dial={"intent": "entry"}), id=id_), WHY, NOW).owed
        if isinstance(owed.command, Notify)
    }
    assert tags == {"start:entry"}


LATER = DialFailed(UNTRACED, certain=False)
NO = DialFailed(WHY, certain=True)


@pytest.mark.parametrize(
    ("before", "event", "afterwards"),
    [
        (DialState.ASKED, DialAccepted(), DialState.ACCEPTED),
        (DialState.ASKED, NO, DialState.FAILED),
        (DialState.ASKED, LATER, DialState.DOUBTED),
        (DialState.ASKED, GivenUp("dial", "dial", "INTERNAL", "a bug"), DialState.DOUBTED),
        (DialState.RANG, DialAccepted(), DialState.RANG),
        (DialState.RANG, NO, DialState.RANG),
        (DialState.RANG, LATER, DialState.RANG),
        (DialState.UNTRACED, NO, DialState.UNTRACED),
        (DialState.ACCEPTED, Due("untraced"), DialState.UNTRACED),
        (DialState.DOUBTED, Due("untraced"), DialState.UNTRACED),
        (DialState.ASKED, Due("untraced"), DialState.ASKED),
        (DialState.RANG, Due("untraced"), DialState.RANG),
        (DialState.FAILED, Due("untraced"), DialState.FAILED),
        (DialState.ASKED, report(), DialState.RANG),
        (DialState.ACCEPTED, report(), DialState.RANG),
        (DialState.DOUBTED, report(), DialState.RANG),
        (DialState.DOUBTED, report(Step.ENDED), DialState.RANG),
        (DialState.JOINED, DialAccepted(), DialState.JOINED),
    ],
)
def test_each_event_in_each_state(before: DialState, event: CallEvent, afterwards: DialState) -> None:
    assert state(after(start(before), event)) is afterwards


def test_who_is_still_asked_is_waited_for_but_not_for_ever() -> None:
    waits = after(start(), Due("untraced"), NOW + 120)
    assert [(wake.reason, wake.at) for wake in waits.wakes] == [("untraced", NOW + 180)]
    given_up = after(start(), Due("untraced"), NOW + ASKED_AT_MOST)
    assert state(given_up) is DialState.UNTRACED
    assert "dial" in given_up.cancel


def test_a_doubt_remembers_why_and_a_ring_forgets_it() -> None:
    doubted = after(start(), LATER).call
    assert doubted.dial is not None
    assert doubted.dial.failure == UNTRACED
    rang = after(doubted, report()).call
    assert rang.dial is not None
    assert rang.dial.failure is None


def test_a_ring_ends_the_looking() -> None:
    rang = after(start(DialState.ACCEPTED), report())
    assert set(rang.unwake) >= {"trace", "untraced", "late_trace"}
    assert TraceDial.kind in rang.cancel
    assert rang.news == (Rang(),)
    assert "register" not in kinds(rang), "Bitrix24 has registered a click itself"


def test_the_history_is_read_three_times_then_late_then_never() -> None:
    call, now, seen = start(DialState.ACCEPTED), NOW + 30.0, []
    while True:
        traced = after(call, Due("trace"), now)
        seen.append([owed.key for owed in traced.owed])
        call = traced.call
        if not traced.wakes:
            break
        now = traced.wakes[0].at
    assert (seen, now) == ([["trace_dial:1"], ["trace_dial:2"], ["trace_dial:3"]], NOW + 110.0)
    given_up = after(call, Due("untraced"), NOW + 120)
    moments = [given_up.wakes[0].at - NOW]
    call = given_up.call
    while (late := after(call, Due("late_trace"), NOW + moments[-1])).wakes:
        moments.append(late.wakes[0].at - NOW)
        call = late.call
    assert tuple(moments) == LATE_TRACES


def test_a_second_press_hides_its_card_and_is_never_finished() -> None:
    joined = join(start(carded_users=(7,), shown_users=(7,)), replace(start(), id="first"), NOW)
    assert [owed.command for owed in joined.owed] == [Hide(users=(7,))]
    assert joined.call.dial is not None
    assert (joined.call.dial.joined, joined.call.phase) == ("first", Phase.CLOSED)


def test_the_line_that_the_pbx_shows_counts() -> None:
    rang = after(start(line="380440000001"), report(line="380440000002"))
    assert rang.call.line == "380440000002"


@pytest.mark.parametrize("direction", [Direction.INNER, Direction.IN, Direction.OUT, None])
def test_a_call_that_was_asked_for_goes_out_whatever_its_end_says(direction: Direction | None) -> None:
    rang = after(start(DialState.RANG), report(Step.ENDED, direction=direction, outcome=Outcome.NO_ANSWER))
    assert (rang.call.direction, rang.call.skipped) == (Direction.OUT, None)
    assert "finish" in kinds(rang)


# --- a callback form -------------------------------------------------------------------------------


def form() -> Call:
    return start(
        given_id=False,
        register_owed=False,
        bitrix_call_id=None,
        callback=True,
        dial={"origin": Origin.FORM, "extension": None, "by": None},
    )


def test_a_form_is_registered_and_rung_when_its_person_is_known() -> None:
    begun = begin_callback(form(), NOW)
    assert (kinds(begun), [wake.reason for wake in begun.wakes]) == (["assign_callback"], ["assign"])
    given = after(begun.call, CallbackAssigned(7, "2001"), NOW + 300)
    assert kinds(given) == ["register", "dial"]
    assert given.call.dial is not None
    assert given.call.dial.asked_at == NOW + 300, "its two minutes begin when the PBX is asked"
    assert min(wake.at for wake in given.wakes) == NOW + 330
    assert after(given.call, CallbackAssigned(8, "2002")).owed == ()
    assert after(given.call, Due("assign")).owed == ()


def test_a_form_that_may_not_be_dialled_is_registered_and_closed() -> None:
    given = after(form(), CallbackAssigned(7, "2001", WHY))
    assert kinds(given) == ["register", "finish", "notify"]
    assert given.owed[1].needs == ("register",)
    assert isinstance(given.owed[0].command, Register)
    assert not given.owed[0].command.show


@pytest.mark.parametrize("event", [Due("assign"), GivenUp("assign_callback", "assign_callback", "X", "x")])
def test_a_form_without_anybody_is_on_the_list(event: CallEvent) -> None:
    lost = after(form(), event)
    (news,) = lost.news
    assert isinstance(news, StartFailed)
    assert (news.failure.code, news.certain) == ("NO_AGENT", True)
    assert kinds(lost) == ["register", "finish"]


# --- may it start ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("more", "code"),
    [
        ({}, None),
        ({"age": 20.0}, None),
        ({"age": 20.1}, "STALE"),
        ({"age": 300.0}, "STALE"),
        ({"age": 300.0, "origin": Origin.FORM}, None),
        ({"age": 601.0, "origin": Origin.FORM}, "STALE"),
        ({"extension": None}, "NO_EXTENSION"),
        ({"number_fault": "no number"}, "BAD_NUMBER"),
        ({"opens_at": NOW, "opens": "tomorrow"}, "OUTSIDE_HOURS"),
        ({"pbx": NOT_CONNECTED}, "PBX_NOT_CONNECTED"),
        ({"pbx": KEY_REFUSED}, "AUTHORIZATION_INVALID"),
        (
            {"number_fault": "x", "extension": None, "pbx": KEY_REFUSED, "age": 99.0, "opens_at": 1.0},
            "BAD_NUMBER",
        ),
        ({"extension": None, "pbx": KEY_REFUSED, "age": 99.0, "opens_at": 1.0}, "NO_EXTENSION"),
        ({"age": 99.0, "opens_at": 1.0}, "STALE"),
    ],
)
def test_whether_it_may_start_and_what_is_said_first(more: dict[str, Any], code: str | None) -> None:
    asked = Asked(**{"origin": Origin.CLICK, "age": 0.0, "extension": "2001", **more})
    found = refusal(asked)
    assert (found.code if found else None) == code
    if found:
        assert found.message
        assert found.hint
        assert found.who in ("agent", "manager", "admin", "nobody")


# --- which call is it ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("facts", "claimed"),
    [
        ({}, True),
        ({"started_at": NOW - 5}, True),
        ({"started_at": NOW - 6}, False),
        ({"started_at": NOW + 120}, True),
        ({"started_at": NOW + 121}, False),
        ({"started_at": None}, True),
        ({"extensions": ("2002",)}, False),
        ({"extensions": ()}, False),
        ({"number": "+380440000012"}, False),
        ({"direction": Direction.IN}, False),
        ({"direction": None}, True),
        ({"meta": "0" * 27, "extensions": (), "started_at": NOW + 900}, True),
        ({"meta": "somebody else's"}, False),
    ],
)
def test_what_claims_an_open_start(facts: dict[str, Any], claimed: bool) -> None:
    found = claim(report(**facts).facts, [start()], NOW + 60)
    assert (found is not None) is claimed


@pytest.mark.parametrize(
    "closed", [s for s in DialState if s not in (DialState.ASKED, DialState.ACCEPTED, DialState.DOUBTED)]
)
def test_a_start_that_is_over_claims_nothing(closed: DialState) -> None:
    assert claim(report().facts, [start(closed)], NOW + 60) is None


def test_the_oldest_start_is_taken_and_rivals_are_counted() -> None:
    old = replace(start(dial={"asked_at": NOW - 50}), id="old")
    found = claim(report().facts, [start(), old], NOW + 60)
    assert found is not None
    assert (found.call.id, found.rivals) == ("old", 1)


def test_a_short_number_is_known_by_its_digits() -> None:
    facts = report(number=None, raw_number="101").facts
    assert claim(facts, [start(number="+101")], NOW + 5) is not None
    assert claim(facts, [start(number="+102")], NOW + 5) is None


# --- what the list hears ---------------------------------------------------------------------------


def over(outcome: Outcome | None, direction: Direction, **more: Any) -> Call:
    fields = {"phase": Phase.ENDED, "number": NUMBER, "outcome": outcome, "direction": direction}
    return Call("c", "p", NOW, **{**fields, **more})


DIALLED = Dialling(DialState.RANG, Origin.LIST, NOW, "2001", 7, "entry")


@pytest.mark.parametrize(
    ("before", "afterwards", "news"),
    [
        ({"outcome": None}, over(Outcome.ANSWERED, Direction.IN), (Spoke(),)),
        ({"outcome": Outcome.UNKNOWN}, over(Outcome.ANSWERED, Direction.IN), (Spoke(),)),
        ({"outcome": Outcome.ANSWERED}, over(Outcome.ANSWERED, Direction.IN), ()),
        ({"outcome": None}, over(Outcome.MISSED, Direction.IN), (Missed(),)),
        ({"outcome": Outcome.UNKNOWN}, over(Outcome.MISSED, Direction.IN), ()),
        ({"outcome": None}, over(Outcome.LOST_BY_US, Direction.OUT), (Missed(),)),
        ({"outcome": None}, over(Outcome.NO_ANSWER, Direction.OUT, dial=DIALLED), (Unreached(),)),
        ({"outcome": None}, over(Outcome.UNKNOWN, Direction.OUT, dial=DIALLED), (Unreached(),)),
        ({"outcome": None}, over(Outcome.LOST_BY_US, Direction.OUT, dial=DIALLED), (Missed(), Unreached())),
        ({"outcome": None}, over(Outcome.NOT_STARTED, Direction.OUT, dial=DIALLED), ()),
        ({"outcome": None}, over(Outcome.BUSY, Direction.OUT, last_operators=("2001",)), (Rang(),)),
        ({"outcome": None}, over(Outcome.BUSY, Direction.OUT), ()),
        ({"outcome": None}, over(Outcome.ANSWERED, Direction.INNER), ()),
        ({"outcome": None}, over(Outcome.MISSED, Direction.IN, number=None), ()),
    ],
)
def test_what_a_step_means_for_the_list(
    before: dict[str, Any], afterwards: Call, news: tuple[Any, ...]
) -> None:
    assert told(replace(afterwards, **before), afterwards) == news


def test_a_missed_call_that_has_got_its_owner_is_told_once() -> None:
    missed = over(Outcome.MISSED, Direction.IN)
    written = advance(replace(missed, register_owed=True), Finished(1, "LEAD", 5, 9), NOW, Rules(drive=False))
    assert Given(9) in written.news
    again = advance(written.call, Finished(1, "LEAD", 5, 9), NOW, Rules(drive=False))
    assert again.news == ()


# --- as data ---------------------------------------------------------------------------------------


def test_a_start_survives_the_store_and_a_newer_version() -> None:
    call = start(DialState.DOUBTED, dial={"failure": WHY, "intent": "e", "traces": 2, "joined": "x"})
    data = calls.pack(call)
    assert calls.unpack(data) == call
    data["dial"] |= {"of a newer version": 1}
    data["dial"]["failure"] |= {"of a newer version": 1}
    assert calls.unpack(data) == call


def test_an_entry_survives_the_store_and_a_newer_version() -> None:
    entry = intents.Intent(
        "e", "p", intents.Kind.MISSED, JobState.WAITING, NUMBER, NOW, NOW, failure=WHY, due_at=NOW + 9
    )
    entry = intents.noted(entry, NOW, intents.Act.LISTED, 7, "why")
    data = intents.pack(entry)
    assert intents.unpack(data) == entry
    data |= {"of a newer version": 1}
    data["deeds"] = [{**data["deeds"][0], "of a newer version": 1}]
    data["failure"] = {**data["failure"], "of a newer version": 1}
    assert intents.unpack(data) == entry
