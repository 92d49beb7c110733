"""Rules from JSON: each fault is named by its field; stages and a proposal from the portal's own rows."""

from __future__ import annotations

from typing import Any

import pytest

from bitrix_app.core.disposition_form import RuleFaults, read_rules
from bitrix_app.core.dispositions import pack
from bitrix_app.core.stages import SIMPLE_MODE, Stages, proposal, read_stages


def board(prefix: str, **stages: str | None) -> list[dict[str, Any]]:
    """Rows of `crm.status.list` in their order: code and SEMANTICS."""
    return [
        {"STATUS_ID": prefix + code, "NAME": code.title(), "SORT": str(place * 10), "SEMANTICS": semantics}
        for place, (code, semantics) in enumerate(stages.items(), 1)
    ]


LEADS = board("", NEW=None, IN_PROCESS=None, CONVERTED="S", JUNK="F")
FIRST = board("", NEW=None, WORK=None, WON="S", LOSE="F")
REPEAT = board("C9:", NEW=None, PREPARATION=None, WON="S", LOSE="F")
STAGES = Stages(read_stages(reversed(LEADS)), read_stages([*REPEAT, *FIRST]))
MOVE: dict[str, Any] = {
    "outcomes": ["answered"],
    "record": "LEAD",
    "stage": "IN_PROCESS",
    "from": ["NEW"],
}
COUNT: dict[str, Any] = {"outcomes": ["busy"], "record": "CONTACT", "counter": "UF_CRM_1"}
DEAL: dict[str, Any] = {**MOVE, "record": "DEAL", "stage": "C9:PREPARATION", "from": ["C9:NEW"]}


def faults(rule: Any, stages: Stages = STAGES) -> dict[str, str]:
    try:
        read_rules([rule], stages)
    except RuleFaults as wrong:
        return {
            name.removeprefix("dispositions[0]").removeprefix("."): said
            for name, said in wrong.fields.items()
        }
    return {}


@pytest.mark.parametrize(
    "rule",
    [
        MOVE,
        COUNT,
        DEAL,
        {**MOVE, "stage": "JUNK", "from": ["NEW", "IN_PROCESS"]},
        {**MOVE, "outcomes": ["machine"], "after": 2},
        {**MOVE, "outcomes": ["machine"], "stage": "JUNK", "after": 3},
        {**MOVE, "outcomes": ["not_reached", "busy"], "direction": "out", "source": "autodial"},
        {**MOVE, "counter": "UF_CRM_A", "fields": {"UF_CRM_B": 5}, "outside": "leave", "status_code": "200"},
        {**MOVE, "status_code": None, "counter": None, "direction": None},
        {"outcomes": ["machine"], "status_code": "200"},
        {"outcomes": ["machine"], "status_code": "603-S"},
        {**DEAL, "stage": "C4:B", "from": ["C4:A"]},  # a pipeline that nobody told us yet
    ],
)
def test_good_rules_are_taken_and_come_back_as_they_are(rule: dict[str, Any]) -> None:
    assert faults(rule) == {}
    read = read_rules([rule], STAGES)
    assert read_rules([pack(one) for one in read], STAGES) == read
    assert not read[0].on, "nothing is switched on unless it is said"


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"outcomes": []}, "outcomes"),
        ({"outcomes": ["sad"]}, "outcomes"),
        ({"outcomes": "answered"}, "outcomes"),
        ({"outcomes": [["answered"]]}, "outcomes"),
        ({"on": "yes"}, "on"),
        ({"id": "No spaces"}, "id"),
        ({"name": "x" * 101}, "name"),
        ({"name": "a\nb"}, "name"),
        ({"direction": "inner"}, "direction"),
        ({"source": "web"}, "source"),
        ({"status_code": "999"}, "status_code"),
        ({"status_code": "304"}, "status_code"),
        ({"outcomes": ["busy"], "status_code": "200"}, "status_code"),
        ({"record": "TASK"}, "record"),
        ({"record": None}, "stage"),
        ({"record": "CONTACT"}, "stage"),
        ({"stage": "GONE"}, "stage"),
        ({"stage": "a b"}, "stage"),
        ({"from": []}, "from"),
        ({"from": ["GONE"]}, "from"),
        ({"from": ["CONVERTED"]}, "from"),
        ({"from": ["NEW", "IN_PROCESS"]}, "from"),
        ({"from": "NEW"}, "from"),
        ({"stage": None, "counter": "UF_CRM_1"}, "from"),
        ({"stage": None, "from": None}, "record"),
        ({"after": 0}, "after"),
        ({"after": True}, "after"),
        ({"after": 21}, "after"),
        ({"stage": None, "from": None, "counter": "UF_CRM_1", "after": 3}, "after"),
        ({"outcomes": ["machine"], "stage": "JUNK", "after": 2}, "after"),
        ({"outcomes": ["not_reached"], "stage": "JUNK"}, "after"),
        ({"outside": "maybe"}, "outside"),
        ({"fields": {"TITLE": "x"}}, "fields"),
        ({"fields": {"stageId": "WON"}}, "fields"),
        ({"fields": {"UF_CRM_1": None}}, "fields"),
        ({"fields": {"UF_CRM_1": "x" * 256}}, "fields"),
        ({"fields": ["UF_CRM_1"]}, "fields"),
        ({"counter": "OPPORTUNITY"}, "counter"),
        ({"counter": "ufCrm_1"}, "counter"),
        ({"counter": "UF_CRM_1", "fields": {"UF_CRM_1": "x"}}, "counter"),
        ({"colour": "red"}, "colour"),
    ],
)
def test_each_fault_is_named_by_its_field(change: dict[str, Any], field: str) -> None:
    said = faults({**MOVE, **change})
    assert list(said) == [field]
    assert said[field].endswith(".")


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"from": ["NEW"]}, "from"),
        ({"stage": "WON"}, "from"),
        ({"stage": "C9:NOWHERE"}, "stage"),
        ({"from": ["C9:WON"]}, "from"),
    ],
)
def test_a_deal_stays_in_its_pipeline_and_out_of_final_stages(change: dict[str, Any], field: str) -> None:
    assert list(faults({**DEAL, **change})) == [field]


def test_before_the_stages_are_known_they_are_taken_as_given() -> None:
    assert faults({**MOVE, "stage": "ANY", "from": ["OTHER"]}, Stages()) == {}


def test_all_rules_are_judged_at_once() -> None:
    with pytest.raises(RuleFaults) as wrong:
        read_rules([{**MOVE, "stage": "GONE"}, MOVE, "x", {**MOVE, "on": 1, "after": 0}], STAGES)
    assert set(wrong.value.fields) == {
        "dispositions[0].stage",
        "dispositions[2]",
        "dispositions[3].on",
        "dispositions[3].after",
    }


@pytest.mark.parametrize("data", [None, {}, "x", [MOVE] * 51])
def test_what_is_no_list_of_rules_is_refused(data: Any) -> None:
    with pytest.raises(RuleFaults) as wrong:
        read_rules(data, STAGES)
    assert list(wrong.value.fields) == ["dispositions"]


def test_ids_are_given_by_place_and_must_differ() -> None:
    assert [rule.id for rule in read_rules([MOVE, COUNT], STAGES)] == ["rule-1", "rule-2"]
    with pytest.raises(RuleFaults, match="dispositions"):
        read_rules([{**MOVE, "id": "rule-2"}, COUNT], STAGES)


# --- stages and the proposal -----------------------------------------------------------------------


def test_stages_are_read_in_the_board_s_order() -> None:
    assert list(STAGES.deal)[:5] == ["NEW", "WORK", "WON", "LOSE", "C9:NEW"]
    assert [one.semantics for one in STAGES.lead.values()] == ["", "", "S", "F"]
    odd = read_stages([{"STATUS_ID": "B", "SORT": 20, "EXTRA": {"SEMANTICS": "apology"}}, {"NAME": "x"}, {}])
    assert (list(odd), odd["B"].is_final, odd["B"].name) == (["B"], True, "B")


def test_the_proposal_is_valid_switched_off_and_made_from_the_portal_s_stages() -> None:
    rules = proposal(STAGES)
    assert read_rules([pack(rule) for rule in rules], STAGES) == rules
    assert not any(rule.on for rule in rules)
    answered, attempts, invalid = rules
    assert (answered.stage, answered.from_stages, answered.outside) == ("IN_PROCESS", ("NEW",), "leave")
    assert attempts.counter
    assert (invalid.stage, invalid.from_stages) == ("JUNK", ("NEW",))


def test_the_simple_mode_is_offered_deals_of_the_first_pipeline() -> None:
    rules = proposal(STAGES, SIMPLE_MODE)
    assert {rule.record for rule in rules} == {"DEAL"}
    assert rules[0].stage == "WORK"
    assert read_rules([pack(rule) for rule in rules], STAGES) == rules


def test_without_stages_only_what_needs_none_is_proposed() -> None:
    assert [rule.id for rule in proposal(Stages())] == ["attempts"]
