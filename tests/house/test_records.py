"""A disposition as it is said: one read, at most one write, and what each answer means."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest

from bitrix_app.core.call import Call
from bitrix_app.core.commands import Finish, UpdateRecord
from bitrix_app.core.dispositions import Rule, pasts_of
from bitrix_app.core.errors import AnswerLost, Forbidden, NotFound, Refused, Unavailable, Unreadable, Who
from bitrix_app.core.events import Disposed
from bitrix_app.core.outcome import Outcome
from bitrix_app.core.portal import PortalSettings
from bitrix_app.core.record_memory import Past, Stand
from bitrix_app.records import Records
from tests.house.making import MEMBER, NOW, Bench, FakePortal, job, over, owed

pytestmark = pytest.mark.anyio

GET, UPDATE = "crm.item.get", "crm.item.update"
RECORD = "LEAD:5"
MOVE = Rule("move", ("answered",), on=True, record="LEAD", stage="WORK", from_stages=("NEW",))
COUNT = Rule("count", ("answered",), on=True, record="LEAD", counter="UF_CRM_N")


def lead(**fields: Any) -> dict[str, Any]:
    return {"item": {"id": 5, "stageId": "NEW", "stageSemanticId": "P", "UF_CRM_N": None, **fields}}


def ended(id_: str = "c1", at: float = NOW) -> Call:
    return over(id_, outcome=Outcome.ANSWERED, finished=True, ended_at=at)


class Room:
    def __init__(self, bench: Bench) -> None:
        self.bench = bench
        self.far = FakePortal(crm__item__get=lead(), crm__item__update=lead(stageId="WORK"))
        self.records = Records(bench.store, self.far.client)

    async def rules(self, *rules: Rule) -> None:
        await self.bench.change(settings=PortalSettings(dispositions=rules))

    async def say(self, call: Call, command: Any = None) -> Any:
        one = job(command or UpdateRecord(RECORD), lane=call.id)
        return await self.records.deliver(self.bench.portal, one, call)

    async def memory(self) -> Sequence[Past]:
        found: Sequence[Past] = await self.bench.do(lambda unit: unit.record_history(MEMBER, RECORD))
        return found


@pytest.fixture
def room(bench: Bench) -> Room:
    return Room(bench)


async def test_one_read_one_write_and_the_plan_is_stored_before_it_leaves(room: Room) -> None:
    await room.rules(MOVE, COUNT)
    seen: list[Any] = []

    def answer(request: Any) -> Any:
        seen.append(request.params["fields"])
        return lead(stageId="WORK", UF_CRM_N=1)

    room.far.on(UPDATE, answer)
    event = await room.say(ended())
    assert seen == [{"stageId": "WORK", "UF_CRM_N": "1"}]
    assert room.far.methods == [GET, UPDATE]
    address = {"entityTypeId": 1, "id": 5, "useOriginalUfNames": "Y"}
    assert room.far.params(GET) == address
    assert room.far.params(UPDATE) == {**address, "fields": seen[0]}
    assert isinstance(event, Disposed)
    assert event.past.stand is Stand.WRITTEN
    (kept,) = await room.memory()
    assert replace(kept, stand=Stand.WRITTEN) == event.past
    assert kept.stand is Stand.PLANNED


async def test_rules_of_this_moment_decide_not_those_of_the_call(room: Room) -> None:
    await room.rules(replace(MOVE, on=False))
    event = await room.say(ended())
    assert event.past.stand is Stand.NOTHING
    assert room.far.methods == [GET]


async def test_a_lost_answer_is_looked_into_before_anything_is_said_again(room: Room) -> None:
    await room.rules(COUNT)
    room.far.on(UPDATE, AnswerLost("nobody knows"))
    with pytest.raises(AnswerLost):
        await room.say(ended())
    room.far.on(GET, lead(UF_CRM_N="1"))
    event = await room.say(ended())
    assert event.past.stand is Stand.WRITTEN
    assert room.far.methods == [GET, UPDATE, GET]


@pytest.mark.parametrize(
    ("item", "code"),
    [
        (lead(stageId="CONVERTED", stageSemanticId="S"), "STAGE_FINAL"),
        (lead(stageId="OFFER"), "STAGE_OUTSIDE"),
    ],
)
async def test_a_stage_that_must_not_be_left_is_a_manager_s_matter(room: Room, item: Any, code: str) -> None:
    await room.rules(MOVE)
    room.far.on(GET, item)
    with pytest.raises(Refused) as no:
        await room.say(ended())
    assert (no.value.code, no.value.who) == (code, Who.MANAGER)
    assert no.value.hint
    assert room.far.methods == [GET]
    room.far.on(GET, lead())
    assert (await room.say(ended())).past.stand is Stand.WRITTEN, "a retry looks again"


async def test_a_threshold_that_needs_a_person_is_remembered_and_asked_about_once(room: Room) -> None:
    await room.rules(replace(MOVE, after=2))
    room.far.on(GET, lead(stageId="OFFER"))
    calls = [ended(f"c{n}", NOW + n) for n in range(3)]
    for one in calls:
        await room.bench.keep(one, remember=pasts_of(one))
    with pytest.raises(Refused):
        await room.say(calls[1])
    assert (await room.say(calls[2])).past.stand is Stand.NOTHING


async def test_while_an_older_call_is_still_to_be_written_nobody_is_asked(room: Room) -> None:
    await room.rules(MOVE)
    older = ended("c0", NOW - 60)
    pasts = pasts_of(older)
    write = owed(UpdateRecord(RECORD), f"record:{RECORD}")
    await room.bench.keep(older, owes=[write], remember=pasts)
    room.far.on(GET, lead(stageId="OFFER"))
    with pytest.raises(Unavailable, match="older call"):
        await room.say(ended())


async def test_a_record_that_was_deleted_is_said_and_not_asked_about(room: Room) -> None:
    await room.rules(MOVE)
    room.far.on(GET, NotFound("Element not found", code="NOT_FOUND"))
    event = await room.say(ended())
    assert (event.past.stand, event.note.startswith("LEAD:5 no longer exists")) == (Stand.NOTHING, True)


@pytest.mark.parametrize(
    "trouble", [NotFound("no such method", code="ERROR_METHOD_NOT_FOUND"), Forbidden("no right")]
)
async def test_a_portal_that_lets_us_not_read_needs_a_person(room: Room, trouble: Refused) -> None:
    await room.rules(MOVE)
    room.far.on(GET, trouble)
    with pytest.raises(type(trouble)):
        await room.say(ended())


async def test_a_refused_write_leaves_no_plan_behind(room: Room) -> None:
    await room.rules(MOVE)
    room.far.on(UPDATE, Refused("Invalid value of field 'stageId'", code="INVALID_ARG_VALUE"))
    with pytest.raises(Refused):
        await room.say(ended())
    (kept,) = await room.memory()
    assert (kept.stand, kept.effects) == (Stand.KNOWN, ())


async def test_a_field_that_the_portal_dropped_is_said_to_the_administrator(room: Room) -> None:
    await room.rules(COUNT)
    room.far.on(UPDATE, {"item": {"id": 5, "stageId": "NEW"}})
    with pytest.raises(Refused, match="UF_CRM_N") as no:
        await room.say(ended())
    assert (no.value.code, no.value.who) == ("FIELD_UNKNOWN", Who.ADMIN)
    answers: tuple[Any, ...] = ({"item": {"id": 5, "ufCrmN": 1}}, True, [])
    for taken in answers:
        room.far.on(UPDATE, taken)
        assert (await room.say(ended())).past.stand is Stand.WRITTEN


async def test_a_job_that_is_no_disposition_of_the_call_is_not_understood(room: Room) -> None:
    for command in (UpdateRecord("LEAD:6"), Finish()):
        with pytest.raises(Unreadable):
            await room.say(ended(), command)
    assert room.far.said == []
