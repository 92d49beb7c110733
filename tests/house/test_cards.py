"""The responsible person's card, and the cards of CALL_IDs that belong to nobody."""

from __future__ import annotations

from typing import Any

import pytest

from bitrix_app.cards import AT_ONCE, Cards
from bitrix_app.core.call import Call, Leg
from bitrix_app.core.cards import STRAY_AFTER
from bitrix_app.core.chores import CARDS_LANE
from bitrix_app.core.commands import Command, FindResponsible, Priority, Register, SweepCard
from bitrix_app.core.errors import AnswerLost, Forbidden, Throttled
from bitrix_app.core.events import Registered, ResponsibleFound
from bitrix_app.core.jobs import Moot
from bitrix_app.core.lifecycle import Phase
from bitrix_app.core.outcome import Outcome
from bitrix_app.core.portal import Agent
from bitrix_app.core.store import ReceiptState
from bitrix_app.desk import Desk, new_call_id
from bitrix_app.directory import Directory
from bitrix_app.hearing import Calls
from bitrix_app.owners import FRESH_FOR_CALL, Owners
from tests.house.making import CLIENT, MEMBER, NOW, Bench, FakePortal, call, job, over, owed

pytestmark = pytest.mark.anyio

SEARCH = "telephony.externalCall.searchCrmEntities"
HIDE = "telephony.externalcall.hide"
STAFF = [
    Agent(1, "Boss"),
    Agent(11, "Ann", "2001"),
    Agent(12, "Ben", "2002"),
    Agent(14, "Left", active=False),
]
STRAY = "externalCall.stray.1"
INIT = {"CALL_ID": STRAY, "CALL_TYPE": "2", "CALLER_ID": CLIENT, "REST_APP_ID": "3"}


def client(responsible: int) -> dict[str, Any]:
    return {"CRM_ENTITY_TYPE": "CONTACT", "CRM_ENTITY_ID": 7, "ASSIGNED_BY_ID": responsible, "NAME": "X"}


class Room:
    def __init__(self, bench: Bench) -> None:
        self.bench = bench
        self.far = FakePortal()
        self.far.on(SEARCH, [client(12)])
        self.far.on(HIDE, True)
        directory = Directory(bench.store, self.far.client, bench.clock)
        self.owners = Owners(self.far.client, directory, bench.clock)
        self.cards = Cards(bench.store, self.far.client, directory, self.owners, bench.clock)

    async def say(self, command: Command, about: Call | None = None) -> object:
        return await self.cards.deliver(self.bench.portal, job(command), about)

    async def sweep(self) -> object:
        return await self.say(SweepCard(STRAY, CLIENT))


def live(**more: Any) -> Call:
    fields = {"bitrix_call_id": "externalCall.1", "shown": ("2001",), "crm_type": "CONTACT", "crm_id": 7}
    return call(**{"phase": Phase.RINGING, **fields, **more})


@pytest.fixture
async def room(bench: Bench) -> Room:
    await bench.know(*STAFF)
    await bench.change(rest_app_id="3")
    return Room(bench)


# --- the responsible person ------------------------------------------------------------------------


async def test_the_responsible_person_is_told_to_the_call(room: Room) -> None:
    assert await room.say(FindResponsible(), live()) == ResponsibleFound(12)
    assert room.far.priorities == [Priority.LIVE]


@pytest.mark.parametrize(
    ("about", "who", "why"),
    [
        (live(legs=(Leg("2001", NOW),)), 12, "somebody has answered"),
        (live(phase=Phase.ENDED), 12, "over"),
        (live(shown=("2001", "2002")), 12, "sees the card already"),
        (live(shown_users=(12,)), 12, "sees the card already"),
        (live(), 14, "nobody who works here"),
        (live(), 0, "nobody who works here"),
    ],
)
async def test_there_are_reasons_to_show_him_nothing(room: Room, about: Call, who: int, why: str) -> None:
    room.far.on(SEARCH, [client(who)])
    with pytest.raises(Moot, match=why):
        await room.say(FindResponsible(), about)


async def test_nobody_is_asked_about_a_call_that_was_answered(room: Room) -> None:
    with pytest.raises(Moot):
        await room.say(FindResponsible(), live(legs=(Leg("2001", NOW),)))
    assert room.far.said == []


async def test_a_portal_that_will_not_tell_costs_the_card_and_no_persons_time(room: Room) -> None:
    room.far.on(SEARCH, Forbidden("no"), Throttled("later", code="L", hint=""), AnswerLost("lost"))
    with pytest.raises(Moot, match="could not be asked"):
        await room.say(FindResponsible(), live())
    with pytest.raises(Throttled):
        await room.say(FindResponsible(), live())
    with pytest.raises(AnswerLost):
        await room.say(FindResponsible(), live())


async def test_finish_of_a_missed_call_asks_no_second_time(room: Room) -> None:
    await room.say(FindResponsible(), live())
    await room.bench.clock.advance(FRESH_FOR_CALL - 1)
    missed = over(outcome=Outcome.MISSED, ringing=("2001",))
    owned = await room.owners.closing(room.bench.portal, missed, "2001", Priority.FINISH)
    assert owned is not None
    assert owned.choice.user_id == 12
    assert room.far.methods == [SEARCH]
    await room.bench.clock.advance(2)
    await room.owners.closing(room.bench.portal, missed, "2001", Priority.FINISH)
    assert room.far.methods == [SEARCH, SEARCH], "what was told a quarter of an hour ago is old"


async def test_a_backlog_is_not_asked_about_what_a_live_call_told(room: Room) -> None:
    await room.say(FindResponsible(), live())
    await room.bench.clock.advance(FRESH_FOR_CALL - 1)
    missed = [over(f"c{n}", number=f"+38044000001{n}", outcome=Outcome.MISSED) for n in (1, 2, 3)]
    room.far.said.clear()
    await room.owners.look_up(room.bench.portal, missed, Priority.FINISH)
    assert sorted(said.params["PHONE_NUMBER"] for said in room.far.said) == [c.number for c in missed[1:]]


# --- strays ----------------------------------------------------------------------------------------


async def hear(bench: Bench, **more: str) -> None:
    await bench.hear_portal("ONVOXIMPLANTCALLINIT", **{**INIT, **more})


async def test_a_call_id_of_nobody_is_put_on_the_list_for_later(room: Room) -> None:
    await hear(room.bench)
    (one,) = await room.bench.store.lane(MEMBER, CARDS_LANE)
    assert (one.command, one.due_at) == (SweepCard(STRAY, CLIENT), NOW + STRAY_AFTER)
    assert (await room.bench.receipt()).state is ReceiptState.APPLIED
    await room.bench.hear_portal("ONVOXIMPLANTCALLINIT", ts="2", **INIT)
    assert len(await room.bench.store.lane(MEMBER, CARDS_LANE)) == 1, "its events repeat"


@pytest.mark.parametrize("who", ["ours", "another app's", "nobody knows whose"])
async def test_what_is_known_or_not_ours_is_left_alone(room: Room, who: str) -> None:
    if who == "ours":
        await room.bench.keep(over(bitrix_call_id=STRAY))
    elif who == "nobody knows whose":
        await room.bench.change(rest_app_id="")
    await hear(room.bench, **({"REST_APP_ID": "4"} if who == "another app's" else {}))
    assert list(await room.bench.store.lane(MEMBER, CARDS_LANE)) == []


async def test_the_only_waiting_call_is_taken_for_its_call_and_a_second_id_is_not(room: Room) -> None:
    await room.bench.keep(call())
    await hear(room.bench)
    assert list(await room.bench.store.lane(MEMBER, CARDS_LANE)) == []
    await room.bench.hear_portal("ONVOXIMPLANTCALLINIT", ts="2", **{**INIT, "CALL_ID": "externalCall.other"})
    (one,) = await room.bench.store.lane(MEMBER, CARDS_LANE)
    assert one.command == SweepCard("externalCall.other", CLIENT)
    assert (await room.bench.the_call()).heard_bitrix_id == STRAY


async def test_one_of_two_waiting_calls_may_be_it_so_it_is_looked_at_later(room: Room) -> None:
    await room.bench.keep(call(), call("c2"))
    await hear(room.bench)
    assert len(await room.bench.store.lane(MEMBER, CARDS_LANE)) == 1


async def test_a_strays_card_is_closed_for_everybody_who_works_here(room: Room) -> None:
    assert await room.sweep() is None
    assert room.far.params(HIDE) == {"CALL_ID": STRAY, "USER_ID": [1, 11, 12]}
    assert room.far.methods == [HIDE], "and never finished"


async def test_a_big_portal_is_told_in_parts(room: Room) -> None:
    await room.bench.know(*(Agent(n, "A") for n in range(1, 2 * AT_ONCE + 2)))
    await room.sweep()
    assert [len(said.params["USER_ID"]) for said in room.far.said] == [AT_ONCE, AT_ONCE, 1]


async def test_a_call_id_that_turned_out_to_be_ours_keeps_its_card(room: Room) -> None:
    await room.bench.keep(over(bitrix_call_id=STRAY))
    with pytest.raises(Moot, match="a call of ours"):
        await room.sweep()
    assert room.far.said == []


async def test_a_registration_under_way_may_turn_out_to_be_it(room: Room) -> None:
    await room.bench.keep(call(), owes=[owed(Register())])
    with pytest.raises(Throttled) as met:
        await room.sweep()
    assert (met.value.retry_at or 0) > NOW
    assert room.far.said == []
    await room.bench.do(lambda unit: unit.stop_jobs(MEMBER, "x"))
    await room.sweep()
    assert room.far.methods == [HIDE], "nobody waits for it any more"


async def test_whoever_turns_out_to_own_it_takes_it_from_who_was_taken_for_it(room: Room) -> None:
    await room.bench.keep(call(), call("c2"), call("c3", heard_bitrix_id="externalCall.other"))
    await room.bench.keep(call("c2", heard_bitrix_id=STRAY))
    told = Registered(STRAY, 11, "2001")
    portal = await room.bench.current()
    await room.bench.do(lambda unit: Calls(Desk(new_call_id)).told(unit, portal, job(Register()), told, NOW))
    assert (await room.bench.the_call()).bitrix_call_id == STRAY
    assert (await room.bench.the_call("c2")).heard_bitrix_id is None
    assert (await room.bench.the_call("c3")).heard_bitrix_id == "externalCall.other"
