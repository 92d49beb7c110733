"""Whose a finished call is: the client's responsible person is asked for where a rule wants it."""

from __future__ import annotations

from typing import Any

import pytest

from bitrix_app.core.call import Call
from bitrix_app.core.commands import Finish, Priority
from bitrix_app.core.errors import AnswerLost, Forbidden, NeedsReauth, Throttled, Trouble, VendorBroken
from bitrix_app.core.events import Registered
from bitrix_app.core.mapping import By
from bitrix_app.core.outcome import Outcome
from bitrix_app.core.portal import Agent, Portal, PortalSettings
from bitrix_app.directory import Directory
from bitrix_app.owners import FRESH, PATIENCE, Owned, Owners, no_client_note
from tests.house.making import CLIENT, LINE, Bench, FakePortal, over, portal

pytestmark = pytest.mark.anyio

SEARCH = "telephony.externalCall.searchCrmEntities"
STAFF = [
    Agent(1, "Boss"),
    Agent(11, "Ann", "2001"),
    Agent(12, "Ben", "2002"),
    Agent(14, "Left", active=False),
]


def client(responsible: int, record: str = "CONTACT", number: int = 7) -> dict[str, Any]:
    return {"CRM_ENTITY_TYPE": record, "CRM_ENTITY_ID": number, "ASSIGNED_BY_ID": responsible, "NAME": "X"}


def missed(id_: str = "c1", **more: Any) -> Call:
    base: dict[str, Any] = {
        "outcome": Outcome.MISSED,
        "ringing": ("2001",),
        "crm_type": "CONTACT",
        "crm_id": 7,
    }
    return over(id_, **{**base, **more})


class Room:
    def __init__(self, bench: Bench) -> None:
        self.bench = bench
        self.far = FakePortal()
        self.far.on(SEARCH, [client(12)])
        self.owners = Owners(
            self.far.client, Directory(bench.store, self.far.client, bench.clock), bench.clock
        )
        self.portal: Portal = bench.portal

    def rule(self, **settings: Any) -> None:
        self.portal = portal(settings=PortalSettings(**settings))

    async def of(self, call: Call, attempts: int = 0) -> Owned:
        owned = await self.owners.closing(self.portal, call, "2001", Priority.FINISH, attempts)
        assert owned is not None
        return owned


@pytest.fixture
async def room(bench: Bench) -> Room:
    await bench.know(*STAFF)
    return Room(bench)


async def test_a_missed_call_is_the_responsible_persons(room: Room) -> None:
    owned = await room.of(missed())
    assert (owned.choice.user_id, owned.choice.by, owned.extension) == (12, By.RESPONSIBLE, None)
    assert [r.params for r in room.far.said] == [{"PHONE_NUMBER": CLIENT}]


async def test_an_answered_call_asks_nobody(room: Room) -> None:
    owned = await room.of(missed(outcome=Outcome.ANSWERED))
    assert (owned.choice.user_id, owned.extension) == (11, "2001")
    assert room.far.said == []


async def test_another_rule_asks_nobody_either(room: Room) -> None:
    room.rule(missed_owner="line", line_users={LINE: 12})
    assert (await room.of(missed())).choice.user_id == 12
    room.rule(missed_owner="last_agent")
    assert (await room.of(missed(ringing=("2002", "2001")))).choice.user_id == 11
    assert room.far.said == []


async def test_the_record_of_the_call_goes_before_other_records_of_the_number(room: Room) -> None:
    room.far.on(SEARCH, [client(11, "CONTACT", 3), client(12, "LEAD", 9)])
    assert (await room.of(missed(crm_type="LEAD", crm_id=9))).choice.user_id == 12
    assert (await room.of(missed())).choice.user_id == 11, "the portal's own order otherwise"


async def test_a_responsible_person_who_left_is_passed_over_and_told(room: Room) -> None:
    room.far.on(SEARCH, [client(14)])
    owned = await room.of(missed())
    assert (owned.choice.user_id, owned.choice.by) == (11, By.EXTENSION)
    assert "user 14" in (owned.note or "")


async def test_a_missed_call_of_a_group_goes_to_its_default_when_the_client_is_a_stranger(room: Room) -> None:
    room.far.on(SEARCH, [])
    room.rule(queue_user=12)
    owned = await room.of(missed(group="Sales"))
    assert (owned.choice.user_id, owned.choice.by) == (12, By.GROUP)
    room.rule(group_users={"Sales": 14}, queue_user=12)
    assert (await room.of(missed(group="Sales"))).choice.user_id == 11, "who left gets nothing"


async def test_the_other_notation_is_asked_for_when_the_first_finds_nobody(room: Room) -> None:
    room.far.on(SEARCH, [], [client(12)])
    assert (await room.of(missed())).choice.user_id == 12
    assert [r.params["PHONE_NUMBER"] for r in room.far.said] == [CLIENT, "0440000011"]


async def test_a_hidden_caller_has_no_record_to_ask_for(room: Room) -> None:
    owned = await room.of(missed(number=None, raw_number="anonymous"))
    assert owned.choice.user_id == 11
    assert room.far.said == []


async def test_an_answer_serves_a_minute_and_one_portal(room: Room) -> None:
    await room.of(missed())
    await room.of(missed("c2"))
    assert len(room.far.said) == 1
    await room.bench.clock.advance(FRESH)
    await room.of(missed("c3"))
    assert len(room.far.said) == 2


@pytest.mark.parametrize("trouble", [Throttled("slow"), NeedsReauth("nobody")])
async def test_a_limit_or_a_pause_waits_however_long(room: Room, trouble: Trouble) -> None:
    room.far.on(SEARCH, trouble)
    with pytest.raises(type(trouble)):
        await room.of(missed(), attempts=PATIENCE + 5)


async def test_a_fault_is_waited_for_a_little_and_then_the_call_goes_on(room: Room) -> None:
    room.far.on(SEARCH, VendorBroken("a fault"))
    with pytest.raises(VendorBroken):
        await room.of(missed(), attempts=PATIENCE - 1)
    owned = await room.of(missed(), attempts=PATIENCE)
    assert owned.choice.user_id == 11
    assert "a fault" in (owned.note or "")


async def test_a_missing_right_is_not_waited_for(room: Room) -> None:
    room.far.on(SEARCH, Forbidden("no right"))
    owned = await room.of(missed())
    assert (owned.choice.user_id, "no right" in (owned.note or "")) == (11, True)


async def test_a_backlogs_questions_travel_together(room: Room) -> None:
    calls = [missed(f"c{n}", number=f"+38044000001{n}") for n in range(4)]
    calls += [missed("c8", number=calls[0].number), missed("c9", outcome=Outcome.ANSWERED)]
    await room.owners.look_up(room.portal, calls, Priority.FINISH)
    assert room.far.batches == [[SEARCH] * 4]
    for call in calls:
        await room.of(call)
    assert len(room.far.said) == 4


async def test_one_question_needs_no_batch_and_a_failed_one_is_asked_alone(room: Room) -> None:
    await room.owners.look_up(room.portal, [missed()], Priority.FINISH)
    assert room.far.said == []
    room.far.on(SEARCH, Throttled("slow"), [client(12)])
    two = [missed(), missed("c2", number="+380440000012")]
    await room.owners.look_up(room.portal, two, Priority.FINISH)
    assert len(room.far.said) == 2
    assert (await room.of(two[0])).choice.user_id == 12
    assert len(room.far.said) == 3


async def test_a_lost_answer_to_a_backlogs_question_is_no_doubt_of_its_calls(room: Room) -> None:
    two = [missed(), missed("c2", number="+380440000012")]
    room.far.batch_fault = AnswerLost("lost")
    await room.owners.look_up(room.portal, two, Priority.FINISH)
    room.far.batch_fault = Throttled("slow")
    with pytest.raises(Throttled):
        await room.owners.look_up(room.portal, two, Priority.FINISH)


async def test_nobody_at_all_is_nobody(bench: Bench) -> None:
    room = Room(bench)
    room.far.on("user.get", [])
    room.portal = portal(installed_by=None)
    nobody = await room.owners.closing(
        room.portal, missed(outcome=Outcome.ANSWERED), Finish().extension, Priority.FINISH
    )
    assert nobody is None


# --- why no client was found -----------------------------------------------------------------------


def why(event: Registered, *, crm_create: bool = True, answer: Any = None, **more: Any) -> str | None:
    return no_client_note(event, missed(**more), "UA", crm_create=crm_create, answer=answer or {})


def test_a_known_client_needs_no_word() -> None:
    assert why(Registered("x", 11, crm_type="CONTACT", crm_id=7)) is None


def test_a_new_record_says_under_which_notations_nobody_was_found() -> None:
    said = why(Registered("x", 11, crm_type="LEAD", crm_id=5, created=("LEAD:5",)))
    assert said == f"No record in the CRM had the number {CLIENT}, 0440000011; Bitrix24 made LEAD:5 for it."


def test_no_record_says_whose_decision_it_was() -> None:
    nothing = Registered("x", 11)
    assert "by your settings" in (why(nothing, crm_create=False) or "")
    assert "did not say why" in (why(nothing) or "")
    refusal = {"LEAD_CREATION_ERROR": "Lead creation is disabled for local users"}
    assert "disabled for local users" in (why(nothing, answer=refusal) or "")
    assert "2345678;" in (why(nothing, number=None, raw_number="2345678") or "")
