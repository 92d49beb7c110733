"""Rules as data: of which calls they speak, what they owe, and how they are kept."""

from __future__ import annotations

import json
from typing import Any

import pytest

from bitrix_app.core import commands, record_memory
from bitrix_app.core.advance import Rules, advance
from bitrix_app.core.call import Call
from bitrix_app.core.commands import Finish, Priority, UpdateRecord
from bitrix_app.core.dispositions import Rule, matches, pack, pasts_of, records_owed, status_code, unpack
from bitrix_app.core.events import Direction, Disposed, Finished
from bitrix_app.core.outcome import Outcome
from bitrix_app.core.portal import PortalSettings, pack_settings, unpack_settings
from bitrix_app.core.record_memory import Effect, Past, Stand, named_in, reference
from tests.core.calls import NOW, Story, ended, missed

FULL = Rule(
    id="r1",
    outcomes=("answered", "not_reached"),
    on=True,
    name="All of it",
    direction="out",
    source="autodial",
    status_code="404",
    record="DEAL",
    stage="C9:LOSE",
    from_stages=("C9:NEW",),
    after=3,
    outside="leave",
    fields={"UF_CRM_LAST": "x"},
    counter="UF_CRM_TRIES",
)


def rule(**more: Any) -> Rule:
    fields: dict[str, Any] = {"outcomes": ("answered",), "on": True, "record": "LEAD", "stage": "IN_PROCESS"}
    return Rule(**{"id": "r", "from_stages": ("NEW",), **fields, **more})


def over(**more: Any) -> Call:
    fields: dict[str, Any] = {"outcome": Outcome.ANSWERED, "direction": Direction.IN, "ended_at": NOW}
    fields |= {"crm_type": "LEAD", "crm_id": 5}
    return Call(**{"id": "c1", "portal": "p1", "first_seen_at": NOW, **fields, **more})


def test_rules_come_back_from_the_settings() -> None:
    settings = PortalSettings(dispositions=(FULL, rule()))
    assert unpack_settings(json.loads(json.dumps(pack_settings(settings)))) == settings
    assert unpack(pack(FULL)) == FULL
    assert "dispositions" not in pack_settings(PortalSettings()), "by default nothing is moved"


def test_the_command_and_the_memory_come_back_from_json() -> None:
    command = UpdateRecord("LEAD:5")
    assert commands.unpack("update_record", json.loads(json.dumps(commands.pack(command)))) == command
    past = Past(
        "LEAD:5",
        "c1",
        NOW,
        Outcome.MACHINE,
        "out",
        autodial=True,
        stand=Stand.PLANNED,
        effects=(Effect("stageId", "NEW", "JUNK"), Effect("UF_CRM_N", "", "1", counted=True)),
        turn=3,
        reached=("r1",),
    )
    assert record_memory.unpack(json.loads(json.dumps(record_memory.pack(past)))) == past
    plain = Past("LEAD:5", "c1", NOW, Outcome.UNKNOWN)
    assert record_memory.unpack(record_memory.pack(plain), owed=True).owed


@pytest.mark.parametrize(
    ("when", "call", "speaks"),
    [
        ({}, {}, True),
        ({}, {"outcome": Outcome.BUSY}, False),
        ({"outcomes": ("not_reached",)}, {"outcome": Outcome.BUSY}, True),
        ({"outcomes": ("not_reached",)}, {"outcome": Outcome.MACHINE}, True),
        ({"outcomes": ("not_reached",)}, {"outcome": Outcome.LOST_BY_US}, False),
        ({"outcomes": ("technical",)}, {"outcome": Outcome.NO_MONEY}, True),
        ({"outcomes": ("any",)}, {"outcome": Outcome.UNKNOWN}, True),
        ({"outcomes": ("of_a_newer_version",)}, {}, False),
        ({"direction": "in"}, {}, True),
        ({"direction": "out"}, {}, False),
        ({"source": "regular"}, {}, True),
        ({"source": "regular"}, {"source": "AUTODIAL"}, False),
        ({"source": "autodial"}, {"source": "autodialer"}, True),
        ({"source": "autodial"}, {"source": "REGULAR"}, False),
        ({"source": "autodial", "outcomes": ("any",)}, {"outcome": Outcome.MACHINE}, True),
    ],
)
def test_a_rule_speaks_of_outcomes_directions_and_sources(
    when: dict[str, Any], call: dict[str, Any], speaks: bool
) -> None:
    (past,) = pasts_of(over(**call))
    assert matches(rule(**when), past) is speaks


@pytest.mark.parametrize(
    ("meta", "record"),
    [
        ("b24:deal:301", "DEAL:301"),
        ("B24:Deal:301:campaign 7", "DEAL:301"),
        ("lead:520", "LEAD:520"),
        ("b24:act:1001:5f1c", None),
        ("b24:deal:0", None),
        ("b24:deal:301x", None),
        ("call about deal:301", None),
        ("", None),
        (None, None),
    ],
)
def test_meta_may_name_the_record(meta: str | None, record: str | None) -> None:
    assert named_in(meta) == record


@pytest.mark.parametrize("wrong", ["", "LEAD", "LEAD:", "LEAD:0", "LEAD:x", "USER:5", "LEAD:-5", "5"])
def test_what_names_no_record_is_refused(wrong: str) -> None:
    with pytest.raises(ValueError, match="no CRM record"):
        reference(wrong)


@pytest.mark.parametrize(
    ("call", "records"),
    [
        ({}, ["LEAD:5"]),
        ({"created": ("LEAD:5",)}, ["LEAD:5"]),
        ({"crm_type": "CONTACT", "created": ("CONTACT:5", "DEAL:9")}, ["CONTACT:5", "DEAL:9"]),
        ({"crm_type": "CONTACT", "meta": "b24:deal:301"}, ["DEAL:301", "CONTACT:5"]),
        ({"crm_type": None, "crm_id": None}, []),
        ({"crm_type": "DYNAMIC_134"}, []),
    ],
)
def test_a_call_concerns_what_it_hangs_on_made_or_was_made_for(
    call: dict[str, Any], records: list[str]
) -> None:
    assert [past.record for past in pasts_of(over(**call))] == records


@pytest.mark.parametrize(
    ("rules", "owed"),
    [
        ((), ()),
        ((rule(),), ("LEAD:5",)),
        ((rule(on=False),), ()),
        ((rule(record="DEAL"),), ()),
        ((rule(outcomes=("busy",)),), ()),
        ((rule(stage=None, from_stages=(), status_code="200"),), ()),
        ((rule(stage=None, counter="UF_CRM_N"),), ("LEAD:5",)),
        ((rule(stage=None, fields={"UF_CRM_N": "x"}),), ("LEAD:5",)),
    ],
)
def test_only_a_rule_with_something_to_write_asks_the_portal(
    rules: tuple[Rule, ...], owed: tuple[str, ...]
) -> None:
    assert records_owed(over(), rules) == owed


def test_the_first_rule_that_speaks_names_the_status_code() -> None:
    codes = (
        rule(outcomes=("busy",), status_code="603"),
        rule(on=False, status_code="404"),
        rule(direction="out", status_code="404"),
        rule(status_code="402"),
        rule(status_code="403"),
    )
    assert status_code(over(), codes) == "402"
    assert status_code(over(outcome=Outcome.UNKNOWN), codes) is None


def test_finish_says_the_rule_s_status_code() -> None:
    story = Story(Rules(dispositions=(rule(outcomes=("missed",), status_code="480"),)))
    story.tell(missed("2001"))
    finish = story.owed["finish"].command
    assert isinstance(finish, Finish)
    assert finish.status_code == "480"


def test_a_finished_call_owes_its_disposition_and_is_remembered() -> None:
    story = Story(Rules(dispositions=(rule(),)))
    story.tell(ended("2001"))
    finished = Finished(activity_id=7, crm_type="LEAD", crm_id=5)
    went = advance(story.call, finished, NOW, story.rules)
    (owed,) = [one for one in went.owed if isinstance(one.command, UpdateRecord)]
    assert (owed.key, owed.mutex, owed.needs) == ("record:LEAD:5", "record:LEAD:5", ("finish",))
    assert (owed.command, owed.priority) == (UpdateRecord("LEAD:5"), Priority.CRM)
    (past,) = went.remember
    assert (past.record, past.outcome, past.stand) == ("LEAD:5", Outcome.ANSWERED, Stand.KNOWN)
    again = advance(went.call, finished, NOW, story.rules)
    assert not again.owed
    assert not again.remember, "a second answer of finish must not undo what was remembered"


def test_without_rules_the_call_is_remembered_all_the_same() -> None:
    story = Story()
    story.tell(missed("2001"))
    went = advance(story.call, Finished(activity_id=7, crm_type="LEAD", crm_id=5), NOW, story.rules)
    assert [past.record for past in went.remember] == ["LEAD:5"]
    assert not [one for one in went.owed if isinstance(one.command, UpdateRecord)]


def test_a_settled_disposition_is_remembered_with_its_note() -> None:
    call = over()
    (past,) = pasts_of(call)
    went = advance(call, Disposed(past, "superseded"), NOW, Rules())
    assert went.remember == (past,)
    assert went.call.notes == ("superseded",)
    assert advance(went.call, Disposed(past, "superseded"), NOW, Rules()).call.notes == ("superseded",)
    assert advance(call, Disposed(past), NOW, Rules()).call.notes == ()
