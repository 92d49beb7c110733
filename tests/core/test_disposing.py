"""What one call does to one record: order by the calls' ends, thresholds, counters, lost answers."""

from __future__ import annotations

from dataclasses import replace
from itertools import permutations
from typing import Any

import pytest

from bitrix_app.core.disposing import (
    Decision,
    NeedsPerson,
    Nothing,
    Record,
    Superseded,
    Write,
    decide,
    same,
)
from bitrix_app.core.dispositions import Rule
from bitrix_app.core.outcome import Outcome
from bitrix_app.core.record_memory import STAGE, Effect, Past, Stand

NOW = 1_788_333_300.0
TRIES = "UF_CRM_TRIES"


def past(n: int, outcome: Outcome = Outcome.MACHINE, **more: Any) -> Past:
    """Call number `n` of the lead; calls end in the order of their numbers."""
    return Past("LEAD:5", f"c{n}", NOW + n, outcome, "out", **more)


def lead(stage: str = "NEW", semantics: str = "P", /, **values: Any) -> Record:
    return Record("LEAD", stage, semantics, values=values)


ANSWERED = Rule(
    "answered", ("answered",), on=True, record="LEAD", stage="IN_PROCESS", from_stages=("NEW", "WAIT")
)
THREE = Rule(
    "three", ("machine",), on=True, record="LEAD", stage="LATER", from_stages=("NEW", "IN_PROCESS"), after=3
)
COUNT = Rule("count", ("not_reached",), on=True, record="LEAD", counter=TRIES)
LAST = Rule("last", ("any",), on=True, record="LEAD", fields={"UF_CRM_LAST": "talked"})


def done(write: Decision) -> Past:
    assert isinstance(write, Write)
    return replace(write.past, stand=Stand.WRITTEN)


# --- stages ----------------------------------------------------------------------------------------


def test_an_answered_call_moves_a_new_lead() -> None:
    me = past(1, Outcome.ANSWERED)
    went = decide(me, lead(), [ANSWERED], [me])
    assert isinstance(went, Write)
    assert went.fields == {STAGE: "IN_PROCESS"}
    assert went.past.effects == (Effect(STAGE, "NEW", "IN_PROCESS"),)
    assert (went.past.stand, went.past.turn) == (Stand.PLANNED, 1)


@pytest.mark.parametrize(
    ("record", "more", "kind", "code"),
    [
        (lead("IN_PROCESS"), {}, Nothing, ""),
        (lead("CONVERTED", "S"), {}, NeedsPerson, "STAGE_FINAL"),
        (lead("JUNK", "F"), {}, NeedsPerson, "STAGE_FINAL"),
        (lead("CONVERTED", "S"), {"outside": "leave"}, NeedsPerson, "STAGE_FINAL"),
        (lead("NEW", "S"), {}, NeedsPerson, "STAGE_FINAL"),
        (lead("OFFER"), {}, NeedsPerson, "STAGE_OUTSIDE"),
        (lead("OFFER"), {"outside": "leave"}, Nothing, ""),
        (lead("OFFER", ""), {}, NeedsPerson, "STAGE_OUTSIDE"),
        (lead("WAIT", ""), {}, Write, ""),
        (lead(), {"on": False}, Nothing, ""),
        (lead(), {"record": "DEAL"}, Nothing, ""),
        (lead(), {"outcomes": ("busy",)}, Nothing, ""),
    ],
)
def test_a_record_is_moved_only_from_named_stages_and_never_out_of_a_final_one(
    record: Record, more: dict[str, Any], kind: type, code: str
) -> None:
    went = decide(past(1, Outcome.ANSWERED), record, [replace(ANSWERED, **more)], [])
    assert isinstance(went, kind)
    if isinstance(went, NeedsPerson):
        assert went.code == code
        assert "LEAD:5" in went.reason
        assert went.hint
        assert went.past.stand is Stand.KNOWN


def test_of_two_rules_the_first_that_may_move_it_does() -> None:
    rules = [replace(ANSWERED, from_stages=("WAIT",)), replace(ANSWERED, id="b", stage="OFFER")]
    went = decide(past(1, Outcome.ANSWERED), lead(), rules, [])
    assert isinstance(went, Write)
    assert went.fields == {STAGE: "OFFER"}


def test_a_rule_of_another_pipeline_says_nothing_about_a_deal() -> None:
    rule = replace(ANSWERED, record="DEAL", stage="C9:WON", from_stages=("C9:NEW",))
    me = replace(past(1, Outcome.ANSWERED), record="DEAL:7")
    assert isinstance(decide(me, Record("DEAL", "NEW", "P", 0), [rule], []), Nothing)
    assert isinstance(decide(me, Record("DEAL", "C9:NEW", "P", 9), [rule], []), Write)


def test_nothing_is_counted_on_a_closed_record() -> None:
    went = decide(past(1), lead("JUNK", "F"), [COUNT, LAST], [])
    assert isinstance(went, Nothing)
    assert "left alone" in went.note


# --- order -----------------------------------------------------------------------------------------


def test_a_newer_call_s_stage_stays() -> None:
    newer = done(decide(past(2, Outcome.ANSWERED), lead(), [ANSWERED], []))
    older = replace(THREE, after=1)
    went = decide(past(1), lead("IN_PROCESS"), [ANSWERED, older], [newer])
    assert isinstance(went, Superseded)
    assert went.past.stand is Stand.SUPERSEDED
    assert "superseded" in went.note


def test_a_newer_call_that_only_counted_does_not_keep_an_older_stage_out() -> None:
    newer = done(decide(past(2, Outcome.BUSY), lead(), [COUNT], []))
    went = decide(past(1, Outcome.ANSWERED), lead(**{TRIES: 1}), [ANSWERED, COUNT], [newer])
    assert isinstance(went, Write)
    assert went.fields == {STAGE: "IN_PROCESS"}


def test_an_older_call_still_counts_unless_the_field_was_set_anew() -> None:
    counted = done(decide(past(2, Outcome.BUSY), lead(), [COUNT], []))
    went = decide(past(1, Outcome.BUSY), lead(**{TRIES: "1"}), [COUNT], [counted])
    assert isinstance(went, Write)
    assert went.fields == {TRIES: "2"}
    reset = replace(LAST, outcomes=("answered",), fields={TRIES: "0"})
    cleared = done(decide(past(2, Outcome.ANSWERED), lead(**{TRIES: 4}), [reset], []))
    assert isinstance(decide(past(1, Outcome.BUSY), lead(**{TRIES: 0}), [COUNT], [cleared]), Superseded)


def test_a_stage_that_needs_a_person_waits_for_an_older_call_first() -> None:
    older = past(1, Outcome.ANSWERED, owed=True)
    rule = replace(THREE, after=1, from_stages=("IN_PROCESS",))
    went = decide(past(2), lead("NEW"), [rule], [older])
    assert isinstance(went, NeedsPerson)
    assert went.wait
    for other in (replace(older, owed=False), past(3, owed=True)):
        went = decide(past(2), lead("NEW"), [rule], [other])
        assert isinstance(went, NeedsPerson)
        assert not went.wait


# --- thresholds ------------------------------------------------------------------------------------


class Portal:
    """A lead, its memory, and calls that are disposed of in any order."""

    def __init__(self, *rules: Rule, **values: Any) -> None:
        self.rules = rules
        self.stage = "NEW"
        self.values: dict[str, Any] = dict(values)
        self.memory: dict[str, Past] = {}
        self.moves: list[str] = []

    def know(self, *calls: Past) -> None:
        for call in calls:
            self.memory[call.call_id] = call

    def dispose(self, call: Past) -> Decision:
        record = Record("LEAD", self.stage, "P", values=dict(self.values))
        went = decide(call, record, self.rules, list(self.memory.values()))
        kept = went.past
        if isinstance(went, Write):
            kept = replace(kept, stand=Stand.WRITTEN)
            for name, value in went.fields.items():
                if name == STAGE:
                    self.stage = value
                    self.moves.append(value)
                else:
                    self.values[name] = value
        self.memory[call.call_id] = kept
        return went


def test_three_machines_in_a_row_reach_the_threshold_once() -> None:
    portal = Portal(THREE, COUNT)
    for n in range(1, 8):
        portal.know(past(n))
        portal.dispose(past(n))
        assert portal.moves == ([] if n < 3 else ["LATER"]), n
    assert portal.values[TRIES] == "7"


def test_any_other_call_breaks_the_row_and_a_new_row_may_reach_it_again() -> None:
    portal = Portal(THREE)
    outcomes = [Outcome.MACHINE] * 2 + [Outcome.BUSY] + [Outcome.MACHINE] * 2 + [Outcome.ANSWERED]
    for n, outcome in enumerate(outcomes):
        portal.dispose(past(n, outcome))
    assert portal.moves == []
    for n in range(10, 13):
        portal.dispose(past(n))
    portal.stage = "NEW"
    portal.dispose(past(13, Outcome.ANSWERED))
    for n in range(14, 17):
        portal.dispose(past(n))
    assert portal.moves == ["LATER", "LATER"]


@pytest.mark.parametrize("order", list(permutations((1, 2, 3, 4))))
def test_in_whatever_order_calls_are_disposed_of_the_threshold_is_reached_once(
    order: tuple[int, ...],
) -> None:
    portal = Portal(THREE, COUNT)
    portal.know(*(past(n) for n in order))
    for n in order:
        portal.dispose(past(n))
    assert portal.moves == ["LATER"]
    assert portal.values[TRIES] == "4"


@pytest.mark.parametrize("order", list(permutations((1, 2, 3, 4))))
def test_whatever_arrives_late_the_row_still_reaches_it_once(order: tuple[int, ...]) -> None:
    portal = Portal(THREE, COUNT)
    for n in order:  # nobody knows of a call before its own turn
        portal.know(past(n))
        portal.dispose(past(n))
    assert portal.moves == ["LATER"]
    assert portal.values[TRIES] == "4"


def test_a_threshold_that_met_a_closed_stage_asks_once() -> None:
    portal = Portal(THREE)
    portal.stage = "OFFER"
    asked = [isinstance(portal.dispose(past(n)), NeedsPerson) for n in range(1, 6)]
    assert asked == [False, False, True, False, False]
    assert isinstance(portal.dispose(past(3)), NeedsPerson), "a retry asks the same again"
    portal.stage = "NEW"
    assert isinstance(portal.dispose(past(3)), Write), "and writes when somebody mended it"


# --- fields and counters ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("stands", "becomes"),
    [
        (None, "1"),
        ("", "1"),
        ([], "1"),
        (0, "1"),
        ("0", "1"),
        (2, "3"),
        ("2", "3"),
        ("2.00", "3"),
        (2.0, "3"),
    ],
)
def test_a_counter_is_written_as_an_absolute_value(stands: Any, becomes: str) -> None:
    went = decide(past(1), lead(**{TRIES: stands}), [COUNT], [])
    assert isinstance(went, Write)
    assert went.fields == {TRIES: becomes}


@pytest.mark.parametrize("stands", ["many", -1, "2.5", [3], {"a": 1}, "9" * 30])
def test_a_field_that_holds_no_count_is_not_overwritten(stands: Any) -> None:
    went = decide(past(1), lead(**{TRIES: stands}), [COUNT, replace(THREE, after=1)], [])
    assert isinstance(went, NeedsPerson)
    assert went.code == "NOT_A_COUNTER"


def test_two_rules_of_one_counter_count_once() -> None:
    went = decide(past(1), lead(), [COUNT, replace(COUNT, id="other", outcomes=("machine",))], [])
    assert isinstance(went, Write)
    assert went.fields == {TRIES: "1"}


def test_a_field_that_a_rule_sets_is_not_counted_as_well() -> None:
    clear = replace(LAST, fields={TRIES: "0"})
    went = decide(past(1), lead(**{TRIES: 4}), [COUNT, clear], [])
    assert isinstance(went, Write)
    assert went.fields == {TRIES: "0"}


def test_a_counter_is_found_under_the_name_that_an_old_portal_gives_it() -> None:
    went = decide(past(1), lead(ufCrmTries=4), [COUNT], [])
    assert isinstance(went, Write)
    assert went.fields == {TRIES: "5"}


def test_a_field_is_written_only_when_it_differs() -> None:
    assert isinstance(decide(past(1), lead(UF_CRM_LAST="talked"), [LAST], []), Nothing)
    went = decide(past(1), lead(UF_CRM_LAST="other"), [LAST], [])
    assert isinstance(went, Write)
    assert went.fields == {"UF_CRM_LAST": "talked"}


@pytest.mark.parametrize(
    ("one", "other", "equal"),
    [
        ("3", 3, True),
        ("3.0", 3, True),
        ("0", 0, True),
        (None, "", True),
        ([], None, True),
        (True, "1", True),
        (False, "0", True),
        ("0", "", False),
        (None, 0, False),
        ("007", "7", False),
        ("3.5", "3", False),
        ("a", "b", False),
    ],
)
def test_values_are_compared_as_the_portal_means_them(one: Any, other: Any, equal: bool) -> None:
    assert same(one, other) is equal


# --- doubt -----------------------------------------------------------------------------------------


def planned(record: Record, *rules: Rule, n: int = 1) -> Past:
    went = decide(past(n), record, rules, [])
    assert isinstance(went, Write)
    return went.past


@pytest.mark.parametrize(
    ("found", "kind", "fields"),
    [
        ({TRIES: 3}, Nothing, None),  # it happened
        ({TRIES: "2"}, Write, {TRIES: "3"}),  # it did not
        ({TRIES: 9}, Nothing, None),  # somebody changed it: never count twice
    ],
)
def test_after_a_lost_answer_the_record_tells_whether_it_was_counted(
    found: dict[str, Any], kind: type, fields: dict[str, str] | None
) -> None:
    mine = planned(lead(**{TRIES: 2}), COUNT)
    went = decide(past(1), lead(**found), [COUNT], [mine])
    assert isinstance(went, kind)
    if isinstance(went, Write):
        assert went.fields == fields
        assert went.past.turn == mine.turn + 1
    else:
        assert went.past.stand is Stand.WRITTEN
        assert bool(getattr(went, "note", "")) is (found == {TRIES: 9})


def test_an_empty_counter_that_stayed_empty_was_not_counted() -> None:
    mine = planned(lead(), COUNT)
    went = decide(past(1), lead(), [COUNT], [mine])
    assert isinstance(went, Write)
    assert went.fields == {TRIES: "1"}


@pytest.mark.parametrize(
    ("stage", "tries", "kind"),
    [
        ("LATER", 1, Nothing),
        ("OFFER", 1, Nothing),  # a robot or a person moved it on after we wrote
        ("LATER", 5, Nothing),
        ("NEW", None, Write),
        ("NEW", 5, Write),  # one request carries both: the stage says that it did not arrive
        ("OFFER", 5, Nothing),
    ],
)
def test_one_request_is_one_effect_and_any_of_its_fields_tells(stage: str, tries: Any, kind: type) -> None:
    rules = [replace(THREE, after=1), COUNT]
    mine = planned(lead(), *rules)
    went = decide(past(1), lead(stage, **{TRIES: tries}), rules, [mine])
    assert isinstance(went, kind)


def test_what_another_call_read_after_our_plan_tells_of_ours() -> None:
    """Ours never left (the connection failed); another call then counted to the same value."""
    mine = planned(lead(**{TRIES: 2}), COUNT)
    second = done(decide(past(2), lead(**{TRIES: 2}), [COUNT], [mine]))
    went = decide(past(1), lead(**{TRIES: 3}), [COUNT], [mine, second])
    assert isinstance(went, Write), "3 is the other's, not ours"
    assert went.fields == {TRIES: "4"}
    arrived = done(decide(past(2), lead(**{TRIES: 3}), [COUNT], [mine]))
    assert isinstance(decide(past(1), lead(**{TRIES: 4}), [COUNT], [mine, arrived]), Nothing)


def test_what_was_read_before_our_plan_tells_nothing_of_it() -> None:
    earlier = done(decide(past(2), lead(**{TRIES: 1}), [COUNT], []))
    mine = planned(lead(**{TRIES: 2}), COUNT)
    assert isinstance(decide(past(1), lead(**{TRIES: 3}), [COUNT], [mine, earlier]), Nothing)


def test_a_settled_call_is_never_written_again() -> None:
    for stand in (Stand.WRITTEN, Stand.SUPERSEDED):
        mine = past(1, stand=stand)
        went = decide(past(1), lead(), [COUNT], [mine])
        assert isinstance(went, Nothing)
        assert went.past == mine


def test_a_write_on_its_way_keeps_older_calls_out() -> None:
    newer = planned(lead(), replace(THREE, after=1), n=2)
    assert isinstance(decide(past(1, Outcome.ANSWERED), lead(), [ANSWERED], [newer]), Superseded)


def test_calls_that_ended_at_the_same_instant_have_an_order_all_the_same() -> None:
    one, two = replace(past(1), ended_at=NOW), replace(past(2), ended_at=NOW)
    rule = replace(THREE, after=1)
    second = done(decide(two, lead(), [rule], [one]))
    assert isinstance(decide(one, lead("LATER"), [rule], [second]), Superseded)
    first = done(decide(one, lead(), [rule], [two]))
    assert not isinstance(decide(two, lead("NEW"), [rule], [first]), Superseded)
