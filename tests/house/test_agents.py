"""Agents' statuses in the house: calls that free and bind, the minute's look, answers, people told."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, cast

import pytest

from bitrix_app import agents
from bitrix_app.agent_rooms import AgentsRound, StatusRoom
from bitrix_app.agents import AgentHearer
from bitrix_app.bitrix.wire import RestCall
from bitrix_app.core.agent_saying import Acknowledged, Failed, Unneeded, lane_of
from bitrix_app.core.agents import AgentStatus, Clock, Page, Want
from bitrix_app.core.commands import LookAtAgents, Priority, SetStatus
from bitrix_app.core.errors import (
    AnswerLost,
    Forbidden,
    NeedsReauth,
    NotFound,
    NotSent,
    Refused,
    Unavailable,
)
from bitrix_app.core.events import GivenUp
from bitrix_app.core.portal import Agent, PortalSettings, Snapshot
from bitrix_app.core.store import StoreUnavailable, Unit
from tests.house.making import MEMBER, NOW, OTHER, Bench, FakePortal, call, end, job, portal, webhook
from unitalk.client import UnitalkClient

pytestmark = pytest.mark.anyio
PEOPLE = (Agent(7, "Petro", "2001"), Agent(9, "Ivan", "2002"), Agent(8, "Anna"))


@pytest.fixture(autouse=True)
async def synchronised(bench: Bench) -> None:
    await bench.know(*PEOPLE)
    await settings(bench)


async def settings(bench: Bench, **changes: Any) -> None:
    wanted = PortalSettings(**({"status_sync": True} | changes))
    await bench.change(settings=wanted, unitalk_key="pbx-key-of-tests")


async def save(bench: Bench, *statuses: AgentStatus) -> None:
    async def work(unit: Unit) -> None:
        for one in statuses:
            await unit.save_agent_status(one)

    await bench.do(work)


def agent(extension: str = "2001", user_id: int = 7, **known: Any) -> AgentStatus:
    return AgentStatus(MEMBER, extension, user_id, **known)


async def status(bench: Bench, extension: str = "2001") -> AgentStatus:
    return next(one for one in await bench.store.agent_statuses(MEMBER) if one.extension == extension)


async def owed(bench: Bench, extension: str = "2001") -> list[str]:
    return [str(one.state) for one in await bench.store.lane(MEMBER, lane_of(extension))]


# --- calls ----------------------------------------------------------------------------------------


async def test_a_call_binds_who_answers_and_frees_him_at_its_end(bench: Bench) -> None:
    await save(bench, agent(acknowledged="WORK"), agent("2002", 9, acknowledged="WORK"))
    await bench.hear(webhook("CALL_REDIRECT", to=["2001", "2002"]))
    assert not (await status(bench)).on_call
    bench.nudged.clear()
    await bench.hear(webhook("CALL_ANSWER", to=["2001"]))
    assert bench.nudged == [MEMBER]
    busy = await status(bench)
    assert (busy.desired, len(busy.calls)) == (Want.PAUSE, 1)
    assert await owed(bench) == ["waiting"]
    assert await owed(bench, "2002") == []
    await bench.hear(end())
    free = await status(bench)
    assert (free.desired, free.calls) == (Want.WORK, ())
    assert await owed(bench) == ["waiting"], "still one job"


async def test_a_call_that_never_ends_is_let_go_with_its_call(bench: Bench) -> None:
    await save(bench, agent(acknowledged="WORK"))
    await bench.hear(webhook("CALL_ANSWER", to=["2001"]))
    assert (await status(bench)).on_call
    await bench.clock.advance(3 * 3600.0 + 1)
    for wake in await bench.store.due_wakes(bench.now):
        await bench.intake().due(wake)
    assert not (await status(bench)).on_call


async def test_with_the_synchronisation_off_only_whom_the_page_knows_is_followed(bench: Bench) -> None:
    await settings(bench, status_sync=False)
    await save(bench, agent(page=Page.AVAILABLE))
    await bench.hear(webhook("CALL_ANSWER", to=["2001"]))
    assert (await status(bench)).on_call
    assert await owed(bench) == []
    await bench.hear(webhook("CALL_ANSWER", id="1091002", to=["2002"]))
    assert [one.extension for one in await bench.store.agent_statuses(MEMBER)] == ["2001"]


# --- the minute's look ----------------------------------------------------------------------------


def the_round(bench: Bench, vendor: FakePortal) -> AgentsRound:
    return AgentsRound(bench.store, vendor.client, bench.clock)


async def look(bench: Bench, vendor: FakePortal) -> None:
    await the_round(bench, vendor).deliver(await bench.current(), job(LookAtAgents()), None)


def working_day(**by_user: Any) -> FakePortal:
    def answer(request: RestCall) -> Any:
        told = by_user.get(f"u{request.params['USER_ID']}", "OPENED")
        if isinstance(told, Exception):
            raise told
        return {"STATUS": told}

    return FakePortal(timeman__status=answer)


async def test_agents_are_met_and_their_working_day_is_asked_in_one_batch(bench: Bench) -> None:
    vendor = working_day(u7="CLOSED")
    await look(bench, vendor)
    assert vendor.batches == [["timeman.status"] * 2]
    assert vendor.priorities == [Priority.BACKFILL]
    first, second = await bench.store.agent_statuses(MEMBER)
    assert (first.user_id, first.desired, first.clock) == (7, Want.PAUSE, Clock.CLOSED)
    assert (second.user_id, second.desired, second.clock_at) == (9, Want.WORK, NOW)
    assert await owed(bench) == await owed(bench, "2002") == ["waiting"]


async def test_a_users_own_answer_does_not_fail_the_others(bench: Bench) -> None:
    await save(bench, agent(clock=Clock.CLOSED), agent("2002", 9, clock=Clock.CLOSED))
    vendor = working_day(u7=NotFound("User not found", code=""), u9=Unavailable("not now"))
    await look(bench, vendor)
    assert (await status(bench)).clock is None, "he has no working day"
    assert (await status(bench, "2002")).clock is Clock.CLOSED, "what was known stays"
    vendor = working_day(u7=Forbidden("no", code="allowed_only_intranet_user"), u9="PAUSED")
    await look(bench, vendor)
    assert (await status(bench)).desired is Want.WORK
    assert (await status(bench, "2002")).desired is Want.PAUSE


async def test_a_time_clock_that_cannot_be_asked_keeps_what_it_told(bench: Bench) -> None:
    await save(bench, agent(clock=Clock.CLOSED))
    vendor = working_day()
    vendor.batch_fault = Unavailable("down")
    await look(bench, vendor)
    assert (await status(bench)).clock is Clock.CLOSED
    assert await owed(bench) == ["waiting"], "the repair needs no vendor"
    vendor.batch_fault = NeedsReauth("nobody")
    with pytest.raises(NeedsReauth):
        await look(bench, vendor)


@pytest.mark.parametrize("how", ["scope", "source"])
async def test_without_the_right_or_the_wish_nobody_is_asked(bench: Bench, how: str) -> None:
    if how == "scope":
        await bench.change(scope=("telephony", "crm"))
    else:
        await settings(bench, status_sources=("page",))
    vendor = working_day(u7="CLOSED")
    await look(bench, vendor)
    assert vendor.batches == []
    assert (await status(bench)).desired is Want.WORK


async def test_more_than_fifty_users_are_asked_in_several_batches(bench: Bench) -> None:
    await bench.know(*(Agent(n, f"A{n}", str(3000 + n)) for n in range(100, 220)))
    vendor = working_day()
    await look(bench, vendor)
    assert [len(batch) for batch in vendor.batches] == [50, 50, 20]


async def test_who_is_no_agent_any_more_is_let_go_and_a_new_person_starts_anew(bench: Bench) -> None:
    await save(
        bench,
        agent("2001", 5, page=Page.PAUSE, page_reason="his own", clock=Clock.CLOSED),
        agent("2077", 5),
        replace(agent("2001", 5), portal=OTHER),
    )
    await look(bench, working_day())
    kept = await bench.store.agent_statuses(MEMBER)
    assert [(one.extension, one.user_id, one.page) for one in kept] == [
        ("2001", 7, Page.AVAILABLE),
        ("2002", 9, Page.AVAILABLE),
    ]
    assert len(await bench.store.agent_statuses(OTHER)) == 1


async def test_an_extension_that_the_pbx_does_not_list_has_no_status_there(bench: Bench) -> None:
    await bench.store.save_snapshot(MEMBER, Snapshot("pbx_users", NOW, ({"line": "2002", "name": "I"},)))
    await settings(bench, extension_users={"2009": 8})
    await look(bench, working_day())
    kept = [one.extension for one in await bench.store.agent_statuses(MEMBER)]
    assert kept == ["2002", "2009"], "our own map is an administrator's word"


async def test_before_the_people_are_known_nobody_is_let_go(bench: Bench) -> None:
    await save(bench, agent("2077", 5))
    await bench.do(lambda unit: agents.look(unit, portal(), None, (), NOW))
    assert [one.extension for one in await bench.store.agent_statuses(MEMBER)] == ["2077"]


async def test_calls_that_are_over_or_gone_hold_nobody(bench: Bench) -> None:
    await save(bench, agent(calls=("gone", "c1")))
    await bench.keep(call("c1"))
    await look(bench, working_day())
    assert not (await status(bench)).on_call


async def test_a_status_that_differs_too_long_is_an_alarm_for_people(bench: Bench) -> None:
    await save(bench, agent(acknowledged="PAUS", diverged_at=NOW - 1000.0))
    await look(bench, working_day())
    assert (await status(bench)).out
    told = await bench.lane(agents.NOTICES)
    assert set(told) == {"agent:2001:out", "agents:out"}
    await look(bench, working_day())
    assert len(await bench.lane(agents.NOTICES)) == 2, "once"


async def test_nothing_is_looked_at_where_it_is_switched_off(bench: Bench) -> None:
    await settings(bench, status_sync=False)
    vendor = working_day()
    await look(bench, vendor)
    assert vendor.batches == []
    assert list(await bench.store.agent_statuses(MEMBER)) == []


# --- saying, and hearing --------------------------------------------------------------------------


class FakePbx:
    """Asks for the word as the client does, then answers by script."""

    def __init__(self, *troubles: Exception | None) -> None:
        self.troubles = list(troubles)
        self.said: list[str | None] = []

    async def set_status_in_turn(self, key: str, line: str, choose: Any, origin: Any) -> None:
        self.said.append(await choose())
        trouble = self.troubles.pop(0) if self.troubles else None
        if trouble is not None and self.said[-1] is not None:
            raise trouble


async def say(bench: Bench, pbx: FakePbx, extension: str = "2001") -> object:
    room = StatusRoom(bench.store, cast(UnitalkClient, pbx), bench.clock)
    task = job(SetStatus(extension), lane=lane_of(extension))
    return await room.deliver(await bench.current(), task, None)


async def hear(bench: Bench, event: object, extension: str = "2001") -> None:
    task = job(SetStatus(extension), lane=lane_of(extension))
    known = await bench.current()
    await bench.do(lambda unit: AgentHearer().told(unit, known, task, event, bench.now))


async def test_what_is_said_may_hold_from_the_moment_before_it_leaves(bench: Bench) -> None:
    await save(bench, agent())
    assert await say(bench, FakePbx()) == Acknowledged("WORK")
    kept = await status(bench)
    assert (kept.doubtful, kept.flying, kept.acknowledged) == (("WORK",), "WORK", None)
    await hear(bench, Acknowledged("WORK"))
    kept = await status(bench)
    assert (kept.doubtful, kept.flying, kept.acknowledged, kept.acknowledged_at) == ((), None, "WORK", NOW)
    pbx = FakePbx()
    assert await say(bench, pbx) == Unneeded()
    assert pbx.said == [None]


@pytest.mark.parametrize(
    ("trouble", "undone", "refused", "key"),
    [
        (NotSent("x"), True, False, False),
        (AnswerLost("x"), False, False, False),
        (Unavailable("x"), False, False, False),
        (Refused("Number not found"), True, True, False),
        (Forbidden("key"), True, True, True),
        (RuntimeError("our own"), False, True, False),
    ],
)
async def test_each_trouble_is_an_event_and_never_buries_the_job(
    bench: Bench, trouble: Exception, undone: bool, refused: bool, key: bool
) -> None:
    await save(bench, agent())
    event = await say(bench, FakePbx(trouble))
    assert isinstance(event, Failed)
    assert (event.word, event.undone, event.refused, event.key) == ("WORK", undone, refused, key)
    await hear(bench, event)
    kept = await status(bench)
    assert kept.error is not None
    assert kept.out is refused
    assert kept.doubtful == (() if undone else ("WORK",))
    assert await owed(bench) == ["waiting"]


async def test_a_store_that_is_away_is_no_trouble_of_the_agent(bench: Bench) -> None:
    with pytest.raises(StoreUnavailable):
        await say(bench, cast(FakePbx, _Away()))


class _Away:
    async def set_status_in_turn(self, key: str, line: str, choose: Any, origin: Any) -> None:
        raise StoreUnavailable("full")


async def test_one_good_answer_sets_everybody_due_who_waits_for_the_pbx(bench: Bench) -> None:
    await save(bench, agent(), agent("2002", 9))
    for extension in ("2001", "2002"):
        await hear(bench, await say(bench, FakePbx(NotSent("x")), extension), extension)
    lane = (await bench.lane(lane_of("2002")))["status"]
    assert lane.due_at > NOW
    await hear(bench, Acknowledged("WORK"), "2001")
    assert (await bench.lane(lane_of("2002")))["status"].due_at == NOW


async def test_out_and_back_are_told_once_each(bench: Bench) -> None:
    await save(bench, agent())
    for _ in range(3):
        await hear(bench, await say(bench, FakePbx(Refused("Number not found"))))
    told = await bench.lane(agents.NOTICES)
    assert set(told) == {"agent:2001:out", "agents:out"}
    notice = cast(Any, told["agent:2001:out"].command)
    assert (notice.user_id, "Number not found" in notice.message) == (7, True)
    await hear(bench, Acknowledged("WORK"))
    told = await bench.lane(agents.NOTICES)
    assert {"agent:2001:back", "agents:back"} <= set(told)
    assert cast(Any, told["agent:2001:back"].command).tag == notice.tag, "the later replaces the earlier"


async def test_managers_are_told_beside_the_administrators(bench: Bench) -> None:
    await settings(bench, managers=(5,))
    await save(bench, agent())
    for _ in range(3):
        await hear(bench, await say(bench, FakePbx(Refused("Number not found"))))
    await hear(bench, Acknowledged("WORK"))
    told = await bench.lane(agents.NOTICES)
    for key in ("agents:out", "agents:back"):
        everybody, manager = (cast(Any, told[name].command) for name in (key, f"{key}:5"))
        assert (everybody.user_id, manager.user_id) == (None, 5)
        assert (manager.tag, manager.message) == (everybody.tag, everybody.message)


async def test_the_job_of_somebody_who_is_gone_ends_quietly(bench: Bench) -> None:
    pbx = FakePbx()
    assert await say(bench, pbx, "2099") == Unneeded()
    await hear(bench, Unneeded(), "2099")
    assert await owed(bench, "2099") == []


async def test_a_job_that_was_given_up_takes_the_agent_out(bench: Bench) -> None:
    await save(bench, agent(acknowledged="WORK", desired=Want.PAUSE, page=Page.PAUSE, flying="PAUS"))
    await hear(bench, GivenUp("set_status", "status", "INTERNAL", "a bug"))
    kept = await status(bench)
    assert kept.out
    assert kept.lost == (("PAUS", NOW + 60.0),)


async def test_an_event_of_a_call_is_none_of_an_agent(bench: Bench) -> None:
    await save(bench, agent())
    with pytest.raises(TypeError):
        await hear(bench, "something else")
