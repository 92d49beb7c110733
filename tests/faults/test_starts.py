"""Calls that somebody asks for: a click, a form, a missed client; every way in which a start goes wrong.

One wish is one ring at the PBX, a failed start stands on the list with its reason, no card stays open.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from bitrix_app.core.call import Call
from bitrix_app.core.dial import DialState, Origin
from bitrix_app.core.hours import DAYS
from bitrix_app.core.intent import Intent, Kind
from bitrix_app.core.intent_store import IntentFilter
from bitrix_app.core.jobs import JobState
from bitrix_app.core.outcome import Outcome
from bitrix_app.core.portal import PortalState
from bitrix_app.desk import Desk, new_call_id
from bitrix_app.sandbox.seed import ADMIN, MANAGER
from tests.faults.house import House, house
from unitalk.sandbox import Facts
from unitalk.sandbox.faults import Fault
from unitalk.sandbox.model import DialOutcome

pytestmark = pytest.mark.anyio

DIAL = "phones/directCall"
AGENT, OTHER = 11, 12
CLICKED = "ONEXTERNALCALLSTART"
LOST = [("lost", True), ("truncated", True), ("refused_before", False), ("html", False)]
"""(fault, whether the phone rang all the same)"""


class Sales:
    """What the people of the portal see and do, on top of the house."""

    def __init__(self, up: House) -> None:
        self.up = up
        self.desk = Desk(new_call_id)

    def click(self, number: str, user: int = AGENT) -> str:
        return self.up.portal.people.click_to_call(user, f"+{number}").call_id

    async def entries(self) -> list[Intent]:
        found: list[Intent] = []
        for state in JobState:
            found += await self.up.app.store.intents(self.up.member_id, state, IntentFilter(), limit=100)
        return found

    async def entry(self) -> Intent:
        (one,) = await self.entries()
        return one

    async def call(self, click: str) -> Call:
        (one,) = [call for call in await self.up.calls() if call.bitrix_call_id == click]
        return one

    async def change(self, **fields: Any) -> None:
        """Settings or the key of the portal."""

        async def work(unit: Any) -> None:
            known = await unit.portal(self.up.member_id)
            settings = replace(known.settings, **{k: v for k, v in fields.items() if k != "unitalk_key"})
            key = fields.get("unitalk_key", known.unitalk_key)
            await unit.save_portal(replace(known, settings=settings, unitalk_key=key))

        await self.commit(work)

    async def commit(self, work: Callable[[Any], Any]) -> Any:
        doing = asyncio.ensure_future(self.up.app.store.transact(work))
        await self.up.run_until(doing.done, 10.0, "the store")
        self.up.app.worker.nudge(self.up.member_id)
        return doing.result()

    async def call_now(self, by: int = AGENT) -> Call:
        """A person presses «call now» on the only entry."""

        async def work(unit: Any) -> Call:
            portal = await unit.portal(self.up.member_id)
            entry = await unit.intent(self.up.member_id, (await self.entry_in(unit)).id)
            return await self.desk.call_now(unit, portal, entry, by, self.up.clock.now())

        entry = await self.entry()

        async def entry_in(_: Any) -> Intent:
            return entry

        self.entry_in = entry_in
        found: Call = await self.commit(work)
        return found

    def rings(self, number: str) -> int:
        return sum(ring.number == number for ring in self.up.pbx.rings)

    async def closed(self) -> None:
        """No card is open; what a click gave is finished or was never more than a second press."""
        up = self.up
        joined = {c.bitrix_call_id for c in await up.calls() if c.dial and c.dial.state is DialState.JOINED}
        assert up.portal.open_cards() == []
        assert {call.call_id for call in up.portal.pending_calls} <= joined
        assert up.troubles == []


def fault(up: House, kind: Any, **more: Any) -> Fault:
    return up.pbx.faults.add(Fault(DIAL, kind, **more))


async def test_a_click_that_is_answered_is_one_ring_one_call_and_a_closed_card(tmp_path: Path) -> None:
    async with house(tmp_path) as up:
        sales, number = Sales(up), up.number()
        click = sales.click(number)
        await up.run_for(1.0)
        assert sales.rings(number) == 1
        await up.settle(calls=1)
        call = await sales.call(click)
        assert (call.outcome, call.finished, call.user_id) == (Outcome.ANSWERED, True, AGENT)
        assert call.dial is not None
        assert call.dial.state is DialState.RANG
        row = next(row for row in up.portal.calls if row.call_id == click)
        assert (row.status_code, row.user_id, row.duration) == ("200", AGENT, 8)
        assert await sales.entries() == []
        await sales.closed()


@pytest.mark.parametrize("pause", [0.0, 0.3, 5.0])
@pytest.mark.parametrize("portals", ["new_call", "same_call"])
async def test_a_double_press_rings_once_and_shows_one_card(
    tmp_path: Path, pause: float, portals: Any
) -> None:
    async with house(tmp_path) as up:
        sales, number = Sales(up), up.number()
        up.portal.world.options.second_press = portals
        first = sales.click(number)
        await up.run_for(pause)
        second = sales.click(number)
        await up.settle(calls=2 if portals == "new_call" else 1)
        assert sales.rings(number) == 1
        states = {call.dial.state for one in (first, second) if (call := await sales.call(one)).dial}
        assert states == ({DialState.RANG} | ({DialState.JOINED} if portals == "new_call" else set()))
        assert len(up.portal.calls) == 1
        await sales.closed()


async def test_a_refused_start_closes_the_card_tells_the_agent_and_stands_on_the_list(tmp_path: Path) -> None:
    async with house(tmp_path) as up:
        sales, number = Sales(up), up.number()
        up.pbx.outcomes.plan(DialOutcome(error="The line is offline"), number)
        click = sales.click(number)
        await up.settle(calls=1)
        entry = await sales.entry()
        assert (entry.kind, entry.state, entry.agent) == (Kind.CALL_START, JobState.ATTENTION, AGENT)
        assert entry.failure is not None
        assert (entry.failure.code, entry.failure.who) == ("PBX_REFUSED", "agent")
        row = next(row for row in up.portal.calls if row.call_id == click)
        assert row.status_code == "503"
        assert "offline" in row.failed_reason
        assert [n for n in up.portal.notices_of(AGENT) if number in n]
        assert sales.rings(number) == 0
        await sales.closed()


async def test_an_unreachable_pbx_is_tried_again_by_itself_and_rings_once(tmp_path: Path) -> None:
    async with house(tmp_path) as up:
        sales, number = Sales(up), up.number()
        back = up.clock.now() + 30.0
        up.http.refuse = lambda name: "directCall" in name and up.clock.now() < back
        sales.click(number)
        await up.run_for(25.0)
        entry = await sales.entry()
        assert (entry.state, entry.certain) == (JobState.RETRYING, True)
        assert entry.failure is not None
        assert entry.failure.code == "PBX_UNREACHABLE"
        await up.settle(calls=2)
        assert sales.rings(number) == 1
        assert (await sales.entry()).state is JobState.DONE
        await sales.closed()


async def test_a_pbx_that_stays_away_is_tried_four_times_and_the_agent_hears_twice(tmp_path: Path) -> None:
    async with house(tmp_path) as up:
        sales, number = Sales(up), up.number()
        up.http.refuse = lambda name: "directCall" in name
        sales.click(number)
        await up.run_for(2 * 3600.0)
        entry = await sales.entry()
        assert (entry.state, len(entry.calls)) == (JobState.ATTENTION, 4)
        heard = [n for n in up.portal.notices_of(AGENT) if number in n]
        assert len(heard) == 1, "later notices replace the first one"
        assert up.portal.counts["im.notify.system.add"] == 2, up.portal.counts
        up.http.refuse = None
        await up.settle()
        await sales.closed()


@pytest.mark.parametrize(("kind", "rang"), LOST)
async def test_a_lost_answer_is_looked_into_and_never_said_again(
    tmp_path: Path, kind: str, rang: bool
) -> None:
    async with house(tmp_path) as up:
        sales, number = Sales(up), up.number()
        fault(up, kind)
        click = sales.click(number)
        await up.run_for(3_600.0)
        await up.settle(calls=1, most_seconds=5 * 3_600.0)
        assert sales.rings(number) == int(rang)
        call = await sales.call(click)
        assert call.dial is not None
        if rang:
            assert (call.dial.state, call.outcome) == (DialState.RANG, Outcome.ANSWERED)
            assert next(r for r in up.portal.calls if r.call_id == click).status_code == "200"
            assert await sales.entries() == []
        else:
            assert (call.dial.state, call.outcome) == (DialState.UNTRACED, Outcome.NOT_STARTED)
            entry = await sales.entry()
            assert (entry.state, entry.certain) == (JobState.ATTENTION, False)
            await sales.call_now()
            await up.settle(calls=2)
            assert sales.rings(number) == 1
            assert (await sales.entry()).state is JobState.DONE
        await sales.closed()


@pytest.mark.parametrize("delay", [0.0, 45.0])
async def test_a_lost_answer_whose_webhooks_are_lost_too_is_found_in_the_history(
    tmp_path: Path, delay: float
) -> None:
    async with house(tmp_path) as up:
        sales, number = Sales(up), up.number()
        up.pbx.options.history_delay = delay
        fault(up, "lost")
        up.pbx.connect("http://127.0.0.1:8009/nobody")
        click = sales.click(number)
        await up.settle(calls=1)
        call = await sales.call(click)
        assert (call.outcome, sales.rings(number)) == (Outcome.ANSWERED, 1)
        assert next(r for r in up.portal.calls if r.call_id == click).status_code == "200"
        assert await sales.entries() == []
        await sales.closed()


@pytest.mark.parametrize("meta", ["echoed", "dropped"])
async def test_webhooks_without_our_mark_are_known_by_line_and_number(tmp_path: Path, meta: str) -> None:
    async with house(tmp_path) as up:
        sales, number = Sales(up), up.number()
        up.pbx.connect("http://127.0.0.1:8009/nobody")
        click = sales.click(number)
        await up.run_for(1.0)
        (ring,) = up.pbx.rings
        assert ring.call is not None
        for body in up.pbx.webhooks_for(ring.call):
            if meta == "dropped":
                body["call"] = {**body["call"], "meta": None}
            assert await up.post(body) == 200
            await up.run_for(3.0)
        await up.settle(calls=1)
        assert (await sales.call(click)).outcome is Outcome.ANSWERED
        await sales.closed()


@pytest.mark.parametrize("again_by", ["click", "list"])
@pytest.mark.parametrize("after", [5.0, 100.0])
async def test_a_failed_start_pressed_again_within_two_minutes_rings_once(
    tmp_path: Path, after: float, again_by: str
) -> None:
    async with house(tmp_path) as up:
        sales, number = Sales(up), up.number()
        up.pbx.outcomes.plan(DialOutcome(error="The line is offline"), number)
        failed = sales.click(number)
        await up.run_for(after)
        if again_by == "click":
            sales.click(number)
        else:
            await sales.call_now()
        await up.settle(calls=2)
        assert sales.rings(number) == 1
        entry = await sales.entry()
        assert (entry.state, len(entry.calls)) == (JobState.DONE, 2)
        first = await sales.call(failed)
        assert first.outcome is Outcome.NOT_STARTED, "who was refused claims nobody's call"
        await sales.closed()


async def test_without_an_extension_the_agent_hears_so_within_a_second(tmp_path: Path) -> None:
    async with house(tmp_path) as up:
        sales, number = Sales(up), up.number()
        up.portal.world.user(AGENT).inner = ""
        await up.run_for(2 * 3600.0)  # the directory is read anew
        click = sales.click(number)
        await up.run_for(1.0)
        call = await sales.call(click)
        assert call.dial is not None
        assert call.dial.failure is not None
        assert (call.dial.failure.code, call.dial.failure.who) == ("NO_EXTENSION", "admin")
        await up.settle(calls=1)
        assert (await sales.entry()).state is JobState.ATTENTION
        assert up.pbx.rings == []
        await sales.closed()


async def test_a_number_that_is_none_is_never_dialled(tmp_path: Path) -> None:
    async with house(tmp_path) as up:
        sales = Sales(up)
        click = up.portal.people.click_to_call(AGENT, "12345678901234567890").call_id
        await up.settle(calls=1)
        call = await sales.call(click)
        assert call.dial is not None
        assert call.dial.failure is not None
        assert (call.dial.failure.code, up.pbx.rings) == ("BAD_NUMBER", [])
        assert next(r for r in up.portal.calls if r.call_id == click).status_code == "404"
        await sales.closed()


async def test_an_event_that_is_five_minutes_late_is_listed_and_not_dialled(tmp_path: Path) -> None:
    async with house(tmp_path) as up:
        sales, number = Sales(up), up.number()
        up.portal.events.delay(CLICKED, 300.0)
        sales.click(number)
        await up.run_for(310.0)
        await up.settle(calls=1)
        entry = await sales.entry()
        assert entry.failure is not None
        assert (entry.state, entry.failure.code) == (JobState.ATTENTION, "STALE")
        assert up.pbx.rings == []
        await sales.closed()


async def test_a_refused_key_is_told_to_administrators_once_and_asked_at_most_once_a_minute(
    tmp_path: Path,
) -> None:
    async with house(tmp_path) as up:
        sales = Sales(up)
        key = up.pbx.api_key
        bad = fault(up, "auth", times=None)
        for _ in range(12):
            sales.click(up.number())
            sales.click(up.number(), OTHER)
            await up.run_for(10.0)
        assert bad.hits <= 4, "nobody hammers the PBX with a key that it refuses"
        told = [n for n in up.portal.notices_of(ADMIN) if "API key" in n]
        assert len(told) == 1
        assert len(await sales.entries()) == 24
        up.pbx.faults.clear()
        assert key == up.pbx.api_key
        await up.run_for(61.0)
        number = up.number()
        click = sales.click(number)
        await up.settle(calls=25)
        assert sales.rings(number) == 1
        assert (await sales.call(click)).outcome is Outcome.ANSWERED
        fault(up, "auth", times=None)
        sales.click(up.number())
        await up.settle(calls=26)
        said = [call for call in up.portal.rest_log if call.params.get("TAG") == "pbx-key"]
        assert len(said) == 2, "a new trouble is news"
        await sales.closed()


@pytest.mark.parametrize("when", ["before", "after"])
async def test_a_kill_at_the_asking_rings_at_most_once(tmp_path: Path, when: str) -> None:
    async with house(tmp_path) as up:
        sales, number = Sales(up), up.number()

        def plan(name: str) -> bool:
            if "directCall" in name:
                setattr(up.http, f"crash_{when}", len(up.http.trips) - 1)
            return False

        up.http.refuse = plan
        click = sales.click(number)
        assert await up.restarted_at_the_crash()
        up.http.refuse = None
        await up.run_for(300.0)
        await up.settle(calls=1, most_seconds=5 * 3_600.0)
        assert sales.rings(number) == int(when == "after")
        call = await sales.call(click)
        expected = Outcome.ANSWERED if when == "after" else Outcome.NOT_STARTED
        assert call.outcome is expected
        entries = await sales.entries()
        assert [entry.state for entry in entries] == ([] if when == "after" else [JobState.ATTENTION])
        await sales.closed()


@pytest.mark.parametrize("number", range(14))
async def test_a_kill_after_each_commit_of_a_start(tmp_path: Path, number: int) -> None:
    async with house(tmp_path) as up:
        sales, client = Sales(up), up.number()
        writer: Any = getattr(up.app.store, "_writer")  # noqa: B009 - looks inside on purpose
        first, commit = writer.commits, writer._commit

        async def counted(group: Any) -> None:
            if writer.commits - first < number:
                await commit(group)
                return
            if writer.commits - first == number:
                works = [waiting.work for waiting in group]
                await writer._line.on_thread(lambda db: writer._group(db, works))
                up.http.crashed.set()
            await asyncio.get_running_loop().create_future()

        writer._commit = counted
        click = sales.click(client)
        await up.restarted_at_the_crash()
        await up.run_for(300.0)
        if not await up.calls():
            return  # the event itself was lost on the way to us, and nothing was dialled
        await up.settle(calls=1, most_seconds=5 * 3_600.0)
        assert sales.rings(client) <= 1
        call = await sales.call(click)
        assert call.finished
        if sales.rings(client):
            assert call.outcome is not Outcome.NOT_STARTED
        else:
            assert (await sales.entry()).state is JobState.ATTENTION
        await sales.closed()


async def test_a_portal_without_access_says_so_at_once_and_dials_nothing(tmp_path: Path) -> None:
    async with house(tmp_path) as up:
        sales, number = Sales(up), up.number()

        async def paused(unit: Any) -> None:
            known = await unit.portal(up.member_id)
            await unit.save_portal(replace(known, state=PortalState.NEEDS_REAUTH))

        await sales.commit(paused)
        click = sales.click(number)
        await up.run_for(2.0)
        call = await sales.call(click)
        assert call.dial is not None
        assert call.dial.failure is not None
        assert call.dial.failure.code == "PORTAL_WAITS"
        await up.open_app()
        await up.settle(calls=1)
        assert up.pbx.rings == []
        await sales.closed()


# --- callback forms ----------------------------------------------------------------------------------


async def test_a_callback_form_rings_the_clients_responsible_person(tmp_path: Path) -> None:
    async with house(tmp_path) as up:
        sales = Sales(up)
        up.portal.people.request_callback("+380440000002")
        await up.settle(calls=1)
        (call,) = await up.calls()
        assert [(ring.sip, ring.number) for ring in up.pbx.rings] == [("2002", "380440000002")]
        assert (call.outcome, call.callback, call.user_id) == (Outcome.ANSWERED, True, 12)
        assert await sales.entries() == []
        await sales.closed()


async def test_a_callback_outside_hours_is_listed_and_made_when_they_begin(tmp_path: Path) -> None:
    async with house(tmp_path) as up:
        sales = Sales(up)
        await sales.change(
            hours=dict.fromkeys(DAYS, "23:00-23:30"),
            client_hours="00:00-24:00",
        )
        up.portal.people.request_callback("+380440000002")
        await up.settle(calls=1)
        entry = await sales.entry()
        assert entry.failure is not None
        assert (entry.state, entry.failure.code, up.pbx.rings) == (JobState.RETRYING, "OUTSIDE_HOURS", [])
        await up.run_for(24 * 3_600.0)
        await up.settle(calls=2)
        assert len(up.pbx.rings) == 1
        assert (await sales.entry()).state is JobState.DONE
        await sales.closed()


async def test_a_late_callback_is_claimed_without_our_mark(tmp_path: Path) -> None:
    """The two minutes of a claim begin when the PBX is asked, not when the client filled in the form."""
    async with house(tmp_path) as up:
        sales = Sales(up)
        up.portal.events.delay("ONEXTERNALCALLBACKSTART", 300.0)
        up.pbx.connect("http://127.0.0.1:8009/nobody")
        up.portal.people.request_callback("+380440000002")
        await up.run_for(305.0)
        (ring,) = up.pbx.rings
        assert ring.call is not None
        for body in up.pbx.webhooks_for(ring.call):
            body["call"] = {**body["call"], "meta": None}
            assert await up.post(body) == 200
        await up.settle(calls=1)
        (call,) = await up.calls()
        assert call.outcome is Outcome.ANSWERED
        await sales.closed()


async def test_a_callback_whose_person_has_no_phone_is_listed(tmp_path: Path) -> None:
    async with house(tmp_path) as up:
        sales = Sales(up)
        up.portal.world.user(12).inner = ""
        await up.run_for(2 * 3600.0)
        up.portal.people.request_callback("+380440000002")
        await up.settle(calls=1)
        entry = await sales.entry()
        assert entry.failure is not None
        assert (entry.state, entry.failure.code) == (JobState.ATTENTION, "NO_EXTENSION")
        assert up.pbx.rings == []
        await sales.closed()


# --- missed clients ----------------------------------------------------------------------------------


def missed(up: House, number: str, ago: float = 20.0) -> Any:
    facts = Facts(at=up.clock.now() - ago, deliver=False)
    return up.pbx.incoming(number, ring=("2001",), ring_seconds=10.0, facts=facts)


async def test_a_missed_client_is_due_within_working_time_and_escalates(tmp_path: Path) -> None:
    async with house(tmp_path) as up:
        sales = Sales(up)
        await sales.change(managers=(MANAGER,))
        await up.end_alone(missed(up, "380440000002"))
        await up.settle(calls=1)
        entry = await sales.entry()
        assert (entry.kind, entry.state, entry.agent) == (Kind.MISSED, JobState.WAITING, 12)
        assert entry.due_at is not None
        assert 0 < entry.due_at - entry.created_at <= 900.0
        await up.run_for(905.0)
        assert ((await sales.entry()).escalation, (await sales.entry()).agent) == (1, None)
        await up.run_for(905.0)
        entry = await sales.entry()
        assert (entry.state, entry.escalation) == (JobState.ATTENTION, 2)
        assert [len([n for n in up.portal.notices_of(u) if "380440000002" in n]) for u in (12, MANAGER)] == [
            1,
            1,
        ]
        await up.run_for(3 * 3600.0)
        assert len([n for n in up.portal.notices_of(MANAGER) if "380440000002" in n]) == 1
        await sales.closed()


@pytest.mark.parametrize("direction", ["in", "out", "from the list"])
async def test_any_later_conversation_settles_a_missed_client(tmp_path: Path, direction: str) -> None:
    async with house(tmp_path) as up:
        sales, number = Sales(up), "380440000002"
        await up.end_alone(missed(up, number))
        await up.settle(calls=1)
        if direction == "in":
            up.live_call(number)
        elif direction == "out":
            up.pbx.outgoing("2001", number, talk=8)
        else:
            await sales.call_now(12)
        await up.run_for(40.0)
        await up.settle(calls=2)
        assert (await sales.entry()).state is JobState.DONE
        await sales.closed()


async def test_an_earlier_conversation_that_is_told_late_settles_nothing(tmp_path: Path) -> None:
    async with house(tmp_path) as up:
        sales, number = Sales(up), "380440000002"
        earlier = up.past_call(number, ago=600.0)
        await up.end_alone(missed(up, number))
        await up.settle(calls=1)
        body = up.pbx.webhooks_for(earlier)[-1]
        body["call"] = {key: value for key, value in body["call"].items() if key != "secondsFullTime"}
        assert await up.post(body) == 200
        await up.settle(calls=2)
        assert (await sales.entry()).state is JobState.WAITING
        await sales.closed()


async def test_a_missed_call_that_is_told_after_the_conversation_is_no_callback(tmp_path: Path) -> None:
    async with house(tmp_path) as up:
        sales, number = Sales(up), "380440000002"
        vain = missed(up, number, ago=300.0)
        await up.end_alone(up.past_call(number, ago=60.0))
        await up.settle(calls=1)
        await up.end_alone(vain)
        await up.settle(calls=2)
        assert await sales.entries() == []
        await sales.closed()


async def test_a_client_who_is_not_reached_stays_on_the_list_with_a_new_time(tmp_path: Path) -> None:
    async with house(tmp_path) as up:
        sales, number = Sales(up), "380440000002"
        await up.end_alone(missed(up, number))
        await up.settle(calls=1)
        first = await sales.entry()
        up.pbx.outcomes.plan(DialOutcome(state="NOANSWER"), number)
        await up.run_for(120.0)
        call = await sales.call_now(12)
        assert call.dial is not None
        assert call.dial.origin is Origin.LIST
        await up.settle(calls=2)
        entry = await sales.entry()
        assert entry.state is JobState.WAITING
        assert entry.due_at is not None
        assert entry.due_at > (first.due_at or 0.0)
        await sales.closed()
