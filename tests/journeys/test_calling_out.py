"""Click-to-call over real sockets: one wish, one ring, an honest end, and no card left open."""

from __future__ import annotations

from typing import Any, cast

import pytest

from bitrix_app.core import dialling
from bitrix_app.core.call import Call
from bitrix_app.core.dial import DialState
from bitrix_app.core.intent import Intent
from bitrix_app.core.intent_store import IntentFilter
from bitrix_app.core.jobs import JobState
from bitrix_app.core.outcome import Outcome
from bitrix_app.core.ports import HttpRequest
from bitrix_app.sandbox.state import User
from bitrix_app.serving import listen
from tests.journeys.world import CLIENT, World
from unitalk import wire
from unitalk.sandbox import DialOutcome, Fault

pytestmark = pytest.mark.anyio

AGENT = 11
"""The user with extension 2001."""
QUICK = DialOutcome("ANSWER", operator_seconds=0.2, ring_seconds=0.2, talk=1.0)


async def entries(world: World) -> list[Intent]:
    store = world.stage.house.store
    found: list[Intent] = []
    for state in JobState:
        found += await store.intents(world.member_id, state, IntentFilter())
    return found


async def in_state(world: World, state: JobState) -> Intent:
    """The one entry of the list, as soon as it is in this state."""
    for _ in range(400):
        found = await entries(world)
        if [entry.state for entry in found] == [state]:
            return found[0]
        await world.stage.house.clock.sleep(0.05)
    calls = [(c.phase, c.outcome, c.dial, c.notes) for c in await world.calls()]
    raise AssertionError(f"the list has {[(e.state, e.failure) for e in found]}, the calls are {calls}")


async def over(world: World, count: int = 1) -> list[Call]:
    """All calls, when none of them goes on and nothing is owed any more."""
    for _ in range(400):
        known = await world.calls()
        if len(known) >= count and not any(call.is_live for call in known):
            return await world.settled(count)
        await world.stage.house.clock.sleep(0.05)
    raise AssertionError(f"calls go on: {[(c.phase, c.dial) for c in known]}")


async def started(world: World, call_id: str) -> Call:
    """The call of a click, as soon as we know it."""
    found: list[Call] = []

    async def look() -> bool:
        found[:] = [call for call in await world.calls() if call.bitrix_call_id == call_id]
        return bool(found)

    for _ in range(200):
        if await look():
            return found[0]
        await world.stage.house.clock.sleep(0.02)
    raise AssertionError("the click never became a call")


def assert_closed(world: World) -> None:
    assert world.stage.portal.open_cards() == []
    assert world.stage.portal.pending_calls == []


async def test_a_click_rings_once_and_ends_on_the_record_it_came_from(world: World) -> None:
    world.stage.pbx.outcomes.plan(QUICK)
    call_id = world.stage.portal.press_call(AGENT, "+380440000011", crm=("CONTACT", 701))
    await started(world, call_id)
    (call,) = await over(world)
    assert call.dial is not None
    assert call.dial.failure is None, call.dial.failure
    assert (call.bitrix_call_id, call.outcome) == (call_id, Outcome.ANSWERED)
    assert call.dial.state is DialState.RANG
    assert len(world.stage.pbx.rings_for(call.id)) == 1
    effects = world.stage.portal.effects_of_call(call_id)
    assert (effects.registered, effects.finished, effects.activities, effects.recordings) == (1, 1, 1, 1)
    (row,) = world.stage.portal.calls
    assert (row.call_id, row.status_code, row.duration) == (call_id, "200", 1)
    assert await entries(world) == []
    assert_closed(world)


async def test_a_refusal_closes_the_card_with_the_reason_and_stands_on_the_list(world: World) -> None:
    world.stage.pbx.outcomes.plan(DialOutcome("FAIL", error="Sip is offline"))
    call_id = world.stage.portal.press_call(AGENT, f"+{CLIENT}")
    await started(world, call_id)
    (call,) = await over(world)
    assert call.dial is not None
    assert (call.dial.state, call.outcome) == (DialState.FAILED, Outcome.NOT_STARTED)
    (row,) = world.stage.portal.calls
    assert (row.call_id, row.status_code, row.duration) == (call_id, "503", 0)
    assert "Sip is offline" in row.failed_reason
    (entry,) = await entries(world)
    assert (entry.state, entry.agent, entry.number) == (JobState.ATTENTION, AGENT, f"+{CLIENT}")
    assert entry.failure is not None
    assert entry.failure.code == "PBX_REFUSED"
    assert any("Sip is offline" in notice for notice in world.stage.portal.notices_of(AGENT))
    assert world.stage.pbx.rings == []
    assert_closed(world)


async def test_a_pbx_that_cannot_be_reached_is_planned_again(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    with listen("127.0.0.1", 0) as taken:
        closed = f"http://127.0.0.1:{taken.getsockname()[1]}"
    say = wire.request

    def elsewhere(base_url: str, key: str, said: wire.Said) -> HttpRequest:
        return say(closed if said.path == wire.DIRECT_CALL else base_url, key, said)

    monkeypatch.setattr(wire, "request", elsewhere)
    call_id = world.stage.portal.press_call(AGENT, f"+{CLIENT}")
    await started(world, call_id)
    await over(world)
    (entry,) = await entries(world)
    assert entry.failure is not None
    assert (entry.failure.code, entry.certain) == ("PBX_UNREACHABLE", True)
    assert entry.state is JobState.RETRYING
    assert entry.due_at is not None
    assert world.stage.pbx.rings == []
    assert_closed(world)


async def test_an_answer_that_is_lost_although_it_rang_is_found_by_its_webhooks(world: World) -> None:
    world.stage.pbx.outcomes.plan(QUICK)
    world.stage.pbx.faults.add(Fault("phones/directCall", "lost"))
    call_id = world.stage.portal.press_call(AGENT, f"+{CLIENT}")
    await started(world, call_id)
    (call,) = await over(world)
    assert call.dial is not None
    assert (call.dial.state, call.outcome) == (DialState.RANG, Outcome.ANSWERED)
    assert len(world.stage.pbx.rings) == 1
    assert world.stage.portal.effects_of_call(call_id).finished == 1
    assert await entries(world) == []
    assert_closed(world)


async def test_an_answer_lost_and_nothing_rang_waits_for_a_person(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dialling, "TRACE_AT", (0.5, 1.0, 1.5))
    monkeypatch.setattr(dialling, "UNTRACED_AFTER", 2.0)
    world.stage.pbx.faults.add(Fault("phones/directCall", "refused_before"))
    call_id = world.stage.portal.press_call(AGENT, f"+{CLIENT}")
    await started(world, call_id)

    entry = await in_state(world, JobState.ATTENTION)
    await over(world)
    assert (entry.state, entry.certain) == (JobState.ATTENTION, False)
    assert world.stage.pbx.counters["phones/directCall"] == 1
    assert world.stage.pbx.rings == []
    assert_closed(world)


@pytest.mark.parametrize("second", ["same_call", "new_call"])
async def test_a_double_press_rings_once(world: World, second: str) -> None:
    world.stage.portal.options.second_press = cast(Any, second)
    world.stage.pbx.outcomes.plan(QUICK, times=2)
    first = world.stage.portal.press_call(AGENT, f"+{CLIENT}")
    world.stage.portal.press_call(AGENT, f"+{CLIENT}")
    await started(world, first)
    await over(world)
    assert len(world.stage.pbx.rings) == 1
    assert len([row for row in world.stage.portal.calls if row.status_code == "200"]) == 1
    assert world.stage.portal.open_cards() == []


async def test_pressed_again_after_a_refusal_it_rings_and_settles_the_entry(world: World) -> None:
    world.stage.pbx.outcomes.script("*", DialOutcome("FAIL", error="Sip is offline"), QUICK)
    first = world.stage.portal.press_call(AGENT, f"+{CLIENT}")
    await started(world, first)
    await over(world)
    second = world.stage.portal.press_call(AGENT, f"+{CLIENT}")
    await started(world, second)
    await in_state(world, JobState.DONE)
    await over(world, 2)
    (entry,) = await entries(world)
    assert (entry.state, entry.attempts) == (JobState.DONE, 2)
    assert len(world.stage.pbx.rings) == 1
    assert_closed(world)


async def test_an_agent_without_extension_is_told_so(world: World) -> None:
    newcomer = world.stage.portal.add_user(User(77, "New", "Comer", "new@example.com"))
    call_id = world.stage.portal.press_call(newcomer.id, f"+{CLIENT}")
    await started(world, call_id)
    await over(world)
    (entry,) = await entries(world)
    assert entry.failure is not None
    assert (entry.failure.code, entry.failure.who) == ("NO_EXTENSION", "admin")
    assert world.stage.portal.notices_of(newcomer.id)
    assert world.stage.pbx.counters["phones/directCall"] == 0
    assert_closed(world)


async def test_a_number_that_is_none_is_not_dialled(world: World) -> None:
    call_id = world.stage.portal.press_call(AGENT, "+38044")
    await started(world, call_id)
    await over(world)
    (row,) = world.stage.portal.calls
    assert row.status_code == "404"
    assert world.stage.pbx.counters["phones/directCall"] == 0
    assert_closed(world)


async def test_an_event_five_minutes_late_is_listed_and_not_dialled(world: World) -> None:
    events = world.stage.portal.events
    events.hold()
    call_id = world.stage.portal.press_call(AGENT, f"+{CLIENT}")
    (clicked,) = [one for one in events.waiting if one.event == "ONEXTERNALCALLSTART"]
    clicked.form["ts"] = str(int(clicked.form["ts"]) - 300)
    events.release()
    await started(world, call_id)
    await over(world)
    (entry,) = await entries(world)
    assert entry.failure is not None
    assert (entry.state, entry.failure.code, entry.agent) == (JobState.ATTENTION, "STALE", AGENT)
    assert world.stage.portal.notices_of(AGENT)
    assert world.stage.pbx.counters["phones/directCall"] == 0
    assert_closed(world)


async def test_a_wrong_key_is_told_to_the_administrators_once_and_not_hammered(world: World) -> None:
    world.stage.pbx.api_key = "another-key1"
    for number in ("380670000081", "380670000082", "380670000083"):
        await started(world, world.stage.portal.press_call(AGENT, f"+{number}"))
        await over(world)
    assert world.stage.pbx.counters["phones/directCall"] == 1
    admins = [n for n in world.stage.portal.notices_of(1) if "API key" in n]
    assert len(admins) == 1
    assert all(e.failure and e.failure.code == "AUTHORIZATION_INVALID" for e in await entries(world))
    assert_closed(world)
