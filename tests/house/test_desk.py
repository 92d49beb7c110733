"""Presses, the list's own tries, and which call of ours the PBX speaks of, on the real store."""

from __future__ import annotations

import sqlite3
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from bitrix_app.core import intent as entries
from bitrix_app.core.dial import DialState, Origin
from bitrix_app.core.events import Due
from bitrix_app.core.intent import Act, Intent, Kind, Wrong, noted
from bitrix_app.core.jobs import JobState
from bitrix_app.core.lifecycle import Phase
from bitrix_app.core.outcome import Outcome
from bitrix_app.core.portal import PortalState
from bitrix_app.core.store import Store
from bitrix_app.core.transition import Transition
from bitrix_app.desk import JOIN_RANG, Press
from bitrix_app.retry_list import RetryList
from bitrix_app.vault import SecretVault
from storage import open_store
from tests.house.making import KEY, NOW
from tests.house.starts import CLIENTS, NEVER, Clock, Fate, World

pytestmark = pytest.mark.anyio

CLIENT, OTHER_CLIENT = CLIENTS
SILENT = Fate(lost=(True, True, True), row_after=NEVER)


@pytest.fixture
async def store(tmp_path: Path, anyio_backend: str) -> AsyncIterator[Store]:
    opened = await open_store(f"sqlite:///{tmp_path}/unitalk.db", SecretVault(KEY), Clock())
    yield opened
    await opened.close()


async def world(store: Store, *fates: Fate) -> World:
    made = World(store, "0" * 32, list(fates) or [Fate()])
    await made.begin()
    return made


async def only(world: World) -> Intent:
    (entry,) = await world.entries()
    return entry


async def tell(world: World, name: str, meta: str | None = None, **call: Any) -> None:
    """A webhook of an outgoing call, with whatever fields the test gives."""
    fields = {"from": "2001", "to": [CLIENT], "direction": "OUT", "outerNumber": "380440000001", **call}
    await world.hear({"event": name, "call": fields | ({"meta": meta} if meta else {})})


async def states(world: World) -> list[DialState | None]:
    calls = sorted(await world.calls(), key=lambda call: call.id)
    return [call.dial.state if call.dial else None for call in calls]


# --- pressing ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("click", [True, False])
@pytest.mark.parametrize(("pause", "joined"), [(0.0, True), (60.0, True), (JOIN_RANG + 1, False)])
async def test_a_second_press_joins_a_call_that_goes_on_but_not_one_whose_end_was_lost(
    store: Store, pause: float, joined: bool, click: bool
) -> None:
    one = await world(store, Fate(seconds=3_000, lost=(False, False, True), row_after=NEVER))
    await one.press(7, CLIENT, click=True)
    await one.work()
    await one.advance(pause)
    await one.press(7, CLIENT, click=click)
    await one.work()
    assert len(one.pbx.asked) == (1 if joined else 2)


@pytest.mark.parametrize(("agent", "client"), [(8, CLIENT), (7, OTHER_CLIENT), (8, OTHER_CLIENT)])
async def test_another_agent_or_another_client_is_another_wish(store: Store, agent: int, client: str) -> None:
    one = await world(store)
    await one.press(7, CLIENT, click=True)
    await one.press(agent, client, click=True)
    await one.work()
    assert len(one.pbx.asked) == 2


async def test_an_event_that_comes_twice_is_one_press(store: Store) -> None:
    one = await world(store)
    portal = await one.portal()
    for text in (f"+{CLIENT}", CLIENT):
        wish = Press(Origin.CLICK, text, 7, NOW, bitrix_call_id="same")
        await store.transact(lambda unit, wish=wish: one.desk.press(unit, portal, wish, NOW))  # type: ignore[misc]
    assert len(await one.calls()) == 1


async def test_a_form_sent_twice_is_one_callback(store: Store) -> None:
    one = await world(store)
    portal = await one.portal()
    for _ in range(2):
        wish = Press(Origin.FORM, f"+{CLIENT}", None, NOW)
        await store.transact(lambda unit, wish=wish: one.desk.press(unit, portal, wish, NOW))  # type: ignore[misc]
    await one.work()
    (call,) = await one.calls()
    assert (call.callback, call.user_id, len(one.pbx.asked)) == (True, 7, 1)


async def test_a_number_that_is_none_makes_one_entry_however_often_it_is_pressed(store: Store) -> None:
    one = await world(store)
    for _ in range(3):
        await one.press(7, "99999999999999999999", click=True)
    entry = await only(one)
    assert (entry.failure and entry.failure.code, len(entry.calls)) == ("BAD_NUMBER", 3)


async def test_a_portal_that_waits_for_its_administrator_refuses_at_once(store: Store) -> None:
    one = await world(store)
    waiting = replace(await one.portal(), state=PortalState.NEEDS_REAUTH)
    await store.transact(lambda unit: unit.save_portal(waiting))
    call = await one.press(7, CLIENT, click=True)
    assert call.dial is not None
    assert call.dial.failure is not None
    assert call.dial.failure.code == "PORTAL_WAITS"


# --- the list ----------------------------------------------------------------------------------------


async def refused(one: World, mode: str, agent: int = 7, client: str = CLIENT) -> Intent:
    await one.press(agent, client, click=True)
    await one.work(mode)
    return next(entry for entry in await one.entries() if entry.number == f"+{client}")


async def test_an_entry_being_called_cannot_be_called_once_more(store: Store) -> None:
    one = await world(store)
    entry = await refused(one, "refused")
    portal = await one.portal()
    await store.transact(lambda unit: one.desk.call_now(unit, portal, entry, 8, one.now))
    running = await only(one)
    assert (running.state, running.agent) == (JobState.RUNNING, 7)
    with pytest.raises(Wrong) as wrong:
        await store.transact(lambda unit: one.desk.call_now(unit, portal, running, 8, one.now))
    assert wrong.value.code == "RUNNING"


async def test_a_person_without_a_phone_hears_so_and_the_entry_stays(store: Store) -> None:
    one = await world(store)
    entry = replace(await refused(one, "refused"), agent=99)
    portal = await one.portal()
    with pytest.raises(Wrong) as wrong:
        await store.transact(lambda unit: one.desk.call_now(unit, portal, entry, 8, one.now))
    assert wrong.value.code == "NO_EXTENSION"


async def test_a_press_on_the_list_that_joins_a_call_leaves_its_entry_to_that_call(store: Store) -> None:
    one = await world(store, replace(SILENT, lost=(False, False, False)))
    entry = await refused(one, "refused")
    await one.press(8, CLIENT, click=True)  # agent 8 calls the same client
    await one.work()
    lent = replace(entry, agent=8)  # and the entry is given to him
    await store.transact(lambda unit: RetryList().replan(unit, lent))
    portal = await one.portal()
    joined = await store.transact(lambda unit: one.desk.call_now(unit, portal, lent, 8, one.now))
    assert (len(one.pbx.asked), joined.dial and joined.dial.intent) == (2, None)
    await one.check()
    await one.quiet()
    assert (await only(one)).state is JobState.DONE


async def test_what_waits_for_one_hour_comes_one_after_the_other(store: Store) -> None:
    """Else nine o'clock rings one phone for every client of the night, and all are taken as called."""
    one = await world(store, Fate(seconds=100))
    for client in CLIENTS:
        await refused(one, "not sent", client=client)
    await one.advance(61.0, work=True)
    assert len(one.pbx.asked) == 3, "the second waits while the first is on the phone"
    await one.advance(400.0, work=True)
    assert len(one.pbx.asked) == 4
    first, second = one.pbx.calls
    assert second.at >= first.ends
    await one.quiet()
    await one.check_end()


@pytest.mark.parametrize("state", [PortalState.SUSPENDED, PortalState.NEEDS_REAUTH, PortalState.UNINSTALLED])
async def test_no_try_is_wasted_on_a_portal_that_does_not_work(store: Store, state: PortalState) -> None:
    one = await world(store)
    await refused(one, "not sent")
    portal = await one.portal()
    await store.transact(lambda unit: unit.save_portal(replace(portal, state=state)))
    await one.advance(7_000.0)
    entry = await only(one)
    assert (entry.state, entry.attempts, len(one.pbx.asked)) == (JobState.RETRYING, 1, 1)
    await store.transact(lambda unit: unit.save_portal(portal))
    await one.advance(4_000.0, work=True)
    await one.quiet()
    assert (await only(one)).state is JobState.DONE
    await one.check_end()


async def test_hours_that_never_meet_are_a_matter_for_a_person(store: Store) -> None:
    one = await world(store)
    settings = replace(
        (await one.portal()).settings, hours={"mon": "09:00-10:00"}, client_hours="20:00-21:00"
    )
    portal = replace(await one.portal(), settings=settings)
    await store.transact(lambda unit: unit.save_portal(portal))
    entry = await refused(one, "yes")
    assert (entry.state, entry.failure and entry.failure.code) == (JobState.ATTENTION, "OUTSIDE_HOURS")


async def test_four_tries_and_two_notices(store: Store) -> None:
    one = await world(store)
    await refused(one, "not sent")
    for _ in range(6):
        await one.advance(1_000.0, work=True, mode="not sent")
    entry = await only(one)
    assert (entry.state, len(one.pbx.asked)) == (JobState.ATTENTION, 4)
    assert [tag for user, tag in one.notices] == [f"start:{entry.id}"] * 2
    await one.check()


async def test_a_first_try_that_fails_late_does_not_speak_for_the_second(store: Store) -> None:
    one = await world(store)
    entry = replace(await refused(one, "refused"), state=JobState.RUNNING, calls=("first", "second"))
    await store.transact(lambda unit: unit.save_intent(entry))
    portal = await one.portal()
    (call,) = await one.calls()
    assert call.dial is not None
    late = replace(call, id="first", phase=Phase.ANNOUNCED, outcome=None, ended_at=None)
    late = replace(late, dial=replace(call.dial, state=DialState.ACCEPTED, intent=entry.id), given_id=False)
    await store.transact(lambda unit: one.desk.move(unit, portal, late, Due("untraced"), one.now))
    assert (await only(one)).state is JobState.RUNNING


async def test_overdue_is_told_to_the_owner_then_to_each_manager_and_to_nobody_again(store: Store) -> None:
    one = await world(store)
    settings = replace((await one.portal()).settings, managers=(1, 2))
    portal = replace(await one.portal(), settings=settings)
    await store.transact(lambda unit: unit.save_portal(portal))
    entry = Intent(
        "e1", one.member, Kind.MISSED, JobState.WAITING, f"+{CLIENT}", NOW, NOW, agent=7, due_at=NOW + 900
    )
    await store.transact(lambda unit: one.desk.list.replan(unit, entry))
    for _ in range(8):
        await one.advance(1_000.0, work=True)
        await one.check()
    assert one.notices == [(7, "overdue:e1:1"), (1, "overdue:e1:2"), (2, "overdue:e1:2")]


@pytest.mark.parametrize("told", [True, False])
async def test_an_undone_entry_has_its_timer_back(store: Store, told: bool) -> None:
    one = await world(store)
    entry = await refused(one, "not sent")
    closed = entries.cancelled(entry, "a mistake", one.now, 7)
    await store.transact(lambda unit: one.desk.list.replan(unit, closed))
    await one.check()
    back = entries.undone(closed, one.now + 5, 7)
    await store.transact(lambda unit: one.desk.list.replan(unit, back))
    await one.check()
    await one.advance(70.0, work=told)
    assert (await only(one)).state in (JobState.DONE, JobState.RUNNING)


# --- what calls tell the list --------------------------------------------------------------------------


async def test_a_call_by_hand_in_vain_settles_a_start_but_no_missed_client(store: Store) -> None:
    one = await world(store, replace(Fate(), talks=False))
    await refused(one, "refused")
    missed = Intent(
        "m", one.member, Kind.MISSED, JobState.WAITING, f"+{CLIENT}", NOW, NOW, due_at=NOW + 9_999
    )
    await store.transact(lambda unit: one.desk.list.replan(unit, noted(missed, NOW, Act.LISTED)))
    await one.advance(5.0)
    one.pbx.make("2001", CLIENT, one.now, None, incoming=False)
    await one.advance(60.0, work=True)
    assert {entry.kind: entry.state for entry in await one.entries()} == {
        Kind.CALL_START: JobState.DONE,
        Kind.MISSED: JobState.WAITING,
    }


# --- which call is it ----------------------------------------------------------------------------------


async def test_the_pbx_that_rang_before_it_refused_is_believed_to_have_rung(store: Store) -> None:
    one = await world(store, SILENT)
    call = await one.press(7, CLIENT, click=True)
    await one.take("refused")
    await tell(one, "CALL_NEW", call.id, id="1")
    await one.settle(0)
    assert await states(one) == [DialState.RANG]
    assert await one.entries() == []


async def test_two_legs_with_one_mark_are_two_calls_and_one_wish(store: Store) -> None:
    one = await world(store, SILENT)
    call = await one.press(7, CLIENT, click=True)
    await one.work()
    for id_, dbid in (("1", "11"), ("2", "22")):
        await tell(one, "CALL_NEW", call.id, id=id_)
        await tell(one, "CALL_END", call.id, id=id_, dbid=dbid, state="ANSWER", secondsTalk=5)
    await one.quiet()
    calls = await one.calls()
    assert sorted((c.pbx_id, c.outcome) for c in calls) == [("1", Outcome.ANSWERED), ("2", Outcome.ANSWERED)]
    (leg,) = [c for c in calls if c.id != call.id]
    assert leg.notes
    assert "given up" not in leg.notes[0]
    assert await one.entries() == []
    assert len(one.pbx.asked) == 1


async def test_the_leg_to_our_own_phone_is_not_the_call(store: Store) -> None:
    one = await world(store, SILENT)
    call = await one.press(7, CLIENT, click=True)
    await one.work()
    await tell(one, "CALL_NEW", call.id, id="9", direction="INNER", to=["2001"])
    await tell(one, "CALL_NEW", call.id, id="1")
    await tell(one, "CALL_END", call.id, id="9", direction="INNER", to=["2001"], dbid="99", state="ANSWER")
    await tell(one, "CALL_END", call.id, id="1", dbid="11", state="ANSWER", secondsTalk=5)
    await one.quiet()
    clicked = await store.call(one.member, call.id)
    assert clicked is not None
    assert (clicked.pbx_id, clicked.outcome, clicked.finished) == ("1", Outcome.ANSWERED, True)
    assert len(await one.calls()) == 2


async def test_one_that_was_dialled_by_hand_and_taken_for_ours_does_not_swallow_ours(store: Store) -> None:
    by_hand = replace(SILENT, row_after=1.0, row_id=True, row_meta=False, seconds=8)
    one = await world(store, by_hand, SILENT)
    one.pbx.make("2001", CLIENT, one.now, None, incoming=False)
    call = await one.press(7, CLIENT, click=True)
    await one.work()
    await one.advance(31.0, work=True)
    assert await states(one) == [DialState.RANG], "the history knows no mark, line and number fit"
    await tell(one, "CALL_ANSWER", call.id, id="2", date="2026-09-02 10:15:18")
    assert len(await one.calls()) == 2


async def test_a_template_without_ids_is_followed_by_our_mark(store: Store) -> None:
    one = await world(store, SILENT)
    call = await one.press(7, CLIENT, click=True)
    await one.work()
    await tell(one, "CALL_NEW", call.id)
    await tell(one, "CALL_ANSWER", call.id, outerNumber="380440000099")
    await tell(one, "CALL_END", call.id, state="ANSWER", secondsTalk=5)
    (known,) = await one.calls()
    assert (known.id, known.outcome) == (call.id, Outcome.ANSWERED)


async def test_a_ring_that_is_told_after_it_was_given_up_is_a_call_and_settles_the_entry(
    store: Store,
) -> None:
    one = await world(store, SILENT)
    call = await one.press(7, CLIENT, click=True)
    await one.work("lost, not done")
    await one.advance(130.0, work=True)
    assert (await only(one)).state is JobState.ATTENTION
    await tell(one, "CALL_NEW", call.id, id="1")
    await tell(one, "CALL_END", call.id, id="1", dbid="11", state="NOANSWER")
    await one.quiet()
    assert (await only(one)).state is JobState.DONE
    late, clicked = sorted(await one.calls(), key=lambda c: c.given_id)
    assert (late.outcome, clicked.outcome) == (Outcome.NO_ANSWER, Outcome.NOT_STARTED)
    assert clicked.bitrix_call_id in one.finished


async def test_a_call_by_hand_that_is_known_does_not_hide_ours_in_the_history(store: Store) -> None:
    one = await world(store, replace(Fate(), row_meta=False), replace(SILENT, row_after=1.0, row_meta=False))
    one.pbx.make("2001", CLIENT, one.now + 1.0, None, incoming=False)
    await one.advance(25.0, work=True)
    call = await one.press(7, CLIENT, click=True)
    portal_call = await store.call(one.member, call.id)
    assert portal_call is not None
    assert portal_call.dial is not None
    early = replace(portal_call, dial=replace(portal_call.dial, asked_at=NOW + 6))  # the window spans both
    await store.transact(lambda unit: unit.apply(Transition(early), one.now))
    await one.work("lost, done")
    await one.quiet()
    found = await store.call(one.member, call.id)
    assert found is not None
    assert (found.pbx_dbid, found.outcome) == (one.pbx.calls[1].dbid, Outcome.ANSWERED)


@pytest.mark.parametrize(
    ("event", "fields", "most"),
    [
        ("CALL_NEW", {"direction": "IN", "from": CLIENT, "to": ["2001"]}, 1),
        ("CALL_NEW", {}, 2),
        ("CALL_ANSWER", {}, 1),
    ],
)
async def test_a_webhook_asks_for_calls_once_and_a_first_outgoing_one_once_more(
    store: Store, event: str, fields: dict[str, Any], most: int
) -> None:
    one = await world(store, SILENT)
    if event != "CALL_NEW":
        await tell(one, "CALL_NEW", id="1", **fields)
    said: list[str] = []
    writer: Any = getattr(store, "_writer")  # noqa: B009 - looks inside on purpose

    def listen(db: sqlite3.Connection, on: bool = True) -> None:
        db.set_trace_callback(said.append if on else None)

    await writer._line.on_thread(listen)
    await tell(one, event, id="1", **fields)
    await writer._line.on_thread(lambda db: listen(db, False))
    reads = [sql for sql in said if "FROM calls" in sql or "FROM intents" in sql]
    whole = [sql for sql in reads if "SELECT rowid" not in sql or "doc" in sql]
    assert len(whole) <= most, whole
