"""Entries of the retry list in the database: kept, found by client, counted, paged, woken, erased."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from bitrix_app.core.intent import Act, Intent, Kind, noted
from bitrix_app.core.intent_store import IntentFilter
from bitrix_app.core.jobs import JobState
from bitrix_app.core.store import DueWake
from tests.storage.making import OTHER, PORTAL, Bench, portal

pytestmark = pytest.mark.anyio

NUMBER = "+380440000011"


def entry(id_: str = "e1", state: JobState = JobState.ATTENTION, at: float = 1000.0, **more: Any) -> Intent:
    fields: dict[str, Any] = {"kind": Kind.CALL_START, "number": NUMBER, "agent": 7, "portal": PORTAL}
    return Intent(id=id_, state=state, created_at=at, updated_at=at, **{**fields, **more})


async def keep(bench: Bench, *several: Intent) -> None:
    for one in several:
        await bench.store.transact(lambda unit, one=one: unit.save_intent(one))  # type: ignore[misc]


async def names(bench: Bench, state: JobState = JobState.ATTENTION, **wanted: Any) -> list[str]:
    return [one.id for one in await bench.store.intents(PORTAL, state, IntentFilter(**wanted))]


async def test_an_entry_comes_back_as_it_was_kept(bench: Bench) -> None:
    one = noted(
        entry(due_at=5.5, text="«ї»", crm_type="LEAD", crm_id=5, calls=("c1",)), 9.0, Act.TRIED, 7, "c1"
    )
    await keep(bench, one)
    assert await bench.store.intent(PORTAL, "e1") == one
    assert await bench.store.transact(lambda unit: unit.intent(PORTAL, "e1")) == one
    assert await bench.store.intent(OTHER, "e1") is None
    await keep(bench, replace(one, number="+380671234567", state=JobState.DONE))
    assert await bench.store.transact(lambda unit: unit.open_intents_of(PORTAL, NUMBER)) == []
    assert await names(bench, JobState.DONE) == ["e1"]


@pytest.mark.parametrize("state", list(JobState))
async def test_only_open_entries_of_the_client_are_found_the_oldest_first(
    bench: Bench, state: JobState
) -> None:
    await keep(
        bench,
        entry("late", state, at=2000.0),
        entry("early", state, at=1000.0),
        entry("else", state, number="+380671234567"),
        entry("theirs", state, portal=OTHER),
    )
    found = await bench.store.transact(lambda unit: unit.open_intents_of(PORTAL, "380 44 000 00 11"))
    open_ = state not in (JobState.DONE, JobState.CANCELLED, JobState.BLOCKED)
    assert [one.id for one in found] == (["early", "late"] if open_ else [])


async def test_a_page_is_the_newest_first_and_goes_on_after_the_last_one_shown(bench: Bench) -> None:
    await keep(bench, *(entry(f"e{n}", at=1000.0 + n // 2) for n in range(6)))
    assert await names(bench) == ["e5", "e4", "e3", "e2", "e1", "e0"]
    rest = await bench.store.intents(
        PORTAL, JobState.ATTENTION, IntentFilter(), limit=2, before=(1002.0, "e4")
    )
    assert [one.id for one in rest] == ["e3", "e2"]


async def test_filters(bench: Bench) -> None:
    await keep(
        bench,
        entry("mine"),
        entry("his", agent=8),
        entry("anybodys", agent=None),
        entry("missed", kind=Kind.MISSED, agent=8, number="+380671234567"),
    )
    assert set(await names(bench)) == {"mine", "his", "anybodys", "missed"}
    assert set(await names(bench, mine=7)) == {"mine", "anybodys"}
    assert set(await names(bench, agent=8)) == {"his", "missed"}
    assert await names(bench, kind=Kind.MISSED) == ["missed"]
    assert await names(bench, number="7123") == ["missed"]
    counts = await bench.store.intent_counts(PORTAL, 7)
    assert counts == {JobState.ATTENTION: 2}
    assert await bench.store.intent_counts(PORTAL) == {JobState.ATTENTION: 4}
    assert await bench.store.intent_counts(OTHER) == {}


async def test_timers_of_an_entry_are_set_moved_and_taken_away(bench: Bench) -> None:
    async def move(wakes: dict[str, float], *gone: str) -> None:
        await bench.store.transact(lambda unit: unit.move_wakes(PORTAL, "intent:e1", wakes, gone))

    await move({"redial": 50.0, "overdue": 60.0})
    await move({"redial": 55.0}, "overdue")
    assert list(await bench.store.due_wakes(100.0)) == [DueWake(PORTAL, "intent:e1", "redial", 55.0)]
    await move({}, "redial", "overdue")
    assert list(await bench.store.due_wakes(100.0)) == []


async def test_an_erased_portal_has_no_entries(bench: Bench) -> None:
    await bench.store.transact(lambda unit: unit.save_portal(portal()))
    await keep(bench, entry(), entry(portal=OTHER))
    await bench.store.transact(lambda unit: unit.erase_portal(PORTAL))
    assert await bench.store.intent(PORTAL, "e1") is None
    assert await bench.store.intent(OTHER, "e1") is not None
