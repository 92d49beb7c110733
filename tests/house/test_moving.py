"""Giving a finished call to another person: read first, touch only what is still the other's."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from bitrix_app.bitrix.handover import named, records
from bitrix_app.bitrix.wire import RestCall
from bitrix_app.core.call import Call
from bitrix_app.core.commands import Finish, MoveCall
from bitrix_app.core.errors import AnswerLost, Forbidden, NotFound, Throttled, Trouble
from bitrix_app.core.events import Moved
from bitrix_app.core.jobs import Moot
from bitrix_app.moving import Moving
from tests.house.making import FakePortal, job, over, portal

pytestmark = pytest.mark.anyio

MOVE = MoveCall("r1", from_user=1, to_user=13, extension="2099")
UNDO = MoveCall("r1", from_user=13, to_user=1, extension="2099", undo=True)


def written(**more: Any) -> Call:
    return over(**{"user_id": 1, "unmatched": "2099", "created": ("LEAD:5",), "repair": "r1", **more})


class Crm:
    """Records with their responsible persons, and what was written."""

    def __init__(self, activity: int = 1, lead: int = 1) -> None:
        self.holders = {"activity": activity, "lead": lead}
        self.far = FakePortal()
        self.far.on(
            "crm.activity.get", lambda _: {"ID": "77", "RESPONSIBLE_ID": str(self.holders["activity"])}
        )
        self.far.on("crm.item.get", lambda _: {"item": {"id": 5, "assignedById": self.holders["lead"]}})
        self.far.on("crm.activity.update", lambda r: self._write("activity", r, "RESPONSIBLE_ID"))
        self.far.on("crm.item.update", lambda r: self._write("lead", r, "assignedById"))

    def _write(self, what: str, request: RestCall, field: str) -> Any:
        self.holders[what] = request.params["fields"][field]
        return True

    async def say(self, command: MoveCall, call: Call, **more: Any) -> Moved:
        return await Moving(self.far.client).deliver(portal(), job(command, **more), call)


async def test_the_activity_and_the_new_lead_change_hands() -> None:
    crm = Crm()
    event = await crm.say(MOVE, written())
    assert event == Moved(13, ("ACTIVITY:77", "LEAD:5"), by="override")
    assert crm.holders == {"activity": 13, "lead": 13}
    assert crm.far.params("crm.item.update") == {"entityTypeId": 1, "id": 5, "fields": {"assignedById": 13}}
    assert crm.far.params("crm.activity.update") == {"id": 77, "fields": {"RESPONSIBLE_ID": 13}}
    assert len(crm.far.batches) == 2, "one batch reads, one writes"


async def test_a_client_that_was_known_before_keeps_its_person() -> None:
    crm = Crm()
    event = await crm.say(MOVE, written(created=()))
    assert event.records == ("ACTIVITY:77",)
    assert "crm.item.update" not in crm.far.methods


async def test_what_somebody_gave_by_hand_is_left_and_told() -> None:
    crm = Crm(lead=15)
    event = await crm.say(MOVE, written())
    assert (event.user_id, event.records) == (13, ("ACTIVITY:77",))
    assert event.notes == ("LEAD:5 was left with user 15, who is responsible for it now",)
    assert crm.holders["lead"] == 15


async def test_a_call_that_people_took_wholly_stays_theirs() -> None:
    event = await Crm(activity=15, lead=15).say(MOVE, written())
    assert (event.user_id, event.records, len(event.notes)) == (1, (), 2)


async def test_a_call_without_any_record_is_moved_in_our_own_log() -> None:
    crm = Crm()
    event = await crm.say(MOVE, written(activity_id=None, created=()))
    assert event == Moved(13, (), by="override")
    assert crm.far.said == []


async def test_a_repeat_after_a_lost_answer_counts_what_was_done() -> None:
    crm = Crm(activity=13)
    again = await crm.say(MOVE, written(), doubt=True)
    assert set(again.records) == {"ACTIVITY:77", "LEAD:5"}
    assert again.notes == ()
    first = await Crm(activity=13).say(MOVE, written())
    assert first.records == ("LEAD:5",), "without an earlier try it was given by a person"


@pytest.mark.parametrize("trouble", [Throttled("slow"), Forbidden("no"), AnswerLost("lost")])
async def test_a_record_that_cannot_be_written_fails_the_move(trouble: Trouble) -> None:
    crm = Crm()
    crm.far.on("crm.item.update", trouble)
    with pytest.raises(type(trouble)):
        await crm.say(MOVE, written())


async def test_a_deleted_record_is_told_and_does_not_fail_the_rest() -> None:
    crm = Crm()
    crm.far.on("crm.item.get", NotFound("Element not found", code="NOT_FOUND"))
    event = await crm.say(MOVE, written())
    assert (event.records, event.notes) == (("ACTIVITY:77",), ("LEAD:5 is not in the CRM any more",))
    crm = Crm()
    crm.far.on("crm.activity.update", NotFound("Not found"))
    assert (await crm.say(MOVE, written())).records == ("LEAD:5",)


async def test_a_portal_without_the_method_is_no_deleted_record() -> None:
    crm = Crm()
    crm.far.on("crm.item.get", NotFound("Method not found!", code="ERROR_METHOD_NOT_FOUND"))
    with pytest.raises(NotFound):
        await crm.say(MOVE, written())


async def test_an_undo_touches_only_what_the_move_gave() -> None:
    crm = Crm(activity=13, lead=13)
    event = await crm.say(UNDO, written(user_id=13, moved=("LEAD:5",), repair=None, unmatched=None))
    assert event == Moved(1, ("LEAD:5",), extension="2099", undo=True)
    assert crm.holders == {"activity": 13, "lead": 1}


async def test_an_undo_of_a_move_that_never_came_changes_nothing() -> None:
    crm = Crm()
    event = await crm.say(UNDO, written(repair=None))
    assert (event.user_id, event.records, event.extension) == (1, (), "2099")
    assert not any(method.endswith("update") for method in crm.far.methods)


async def test_an_undo_of_a_move_whose_answer_was_lost_gives_back_what_it_finds() -> None:
    crm = Crm(activity=13, lead=1)
    event = await crm.say(UNDO, written(repair=None))
    assert (event.user_id, event.records) == (1, ("ACTIVITY:77",))
    assert crm.holders == {"activity": 1, "lead": 1}


async def test_a_move_that_was_undone_or_replaced_is_dropped() -> None:
    for repair in (None, "r2"):
        with pytest.raises(Moot):
            await Crm().say(MOVE, written(repair=repair))
    with pytest.raises(Moot):
        await Crm().say(UNDO, written(repair="r2"))
    with pytest.raises(Moot):
        await Moving(Crm().far.client).deliver(portal(), job(Finish()), written())


def test_only_what_can_be_addressed_is_a_record() -> None:
    call = replace(written(), created=("LEAD:5", "DYNAMIC_130:4", "DEAL:x", "CONTACT:8"))
    assert [r.name for r in records(call)] == ["ACTIVITY:77", "LEAD:5", "CONTACT:8"]
    assert named(("", "LEAD:", "LEAD:-1")) == []
