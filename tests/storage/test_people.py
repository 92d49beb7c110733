"""Contract: calls that a default user has for an extension, and the repairs that move them."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from typing import Any

import pytest

from bitrix_app.core.advance import Transition
from bitrix_app.core.call import Call
from bitrix_app.core.jobs import JobState
from bitrix_app.core.repair import Repair
from bitrix_app.core.store import Unit
from storage import migrate, rows
from storage.queries import load
from tests.storage.making import OTHER, PORTAL, Bench, call, owed, portal

pytestmark = pytest.mark.anyio


async def save(bench: Bench, *calls: Call) -> None:
    async def work(unit: Unit) -> None:
        for one in calls:
            await unit.apply(Transition(one), bench.now)

    await bench.do(work)


def written(id_: str, extension: str | None = "2099", **more: Any) -> Call:
    return call(id_, finished=True, matched=extension is None, unmatched=extension, **more)


async def test_written_calls_of_an_extension_are_counted_and_listed_newest_first(bench: Bench) -> None:
    await save(
        bench,
        written("c1", at=10.0),
        written("c2", at=20.0),
        written("c3", "2098"),
        written("c4", None),
        written("c5", portal=OTHER),
        call("c6", unmatched="2099"),
    )
    assert await bench.store.unmatched_counts(PORTAL) == {"2099": 2, "2098": 1}
    found = await bench.do(lambda unit: unit.unmatched_calls(PORTAL, "2099", 10))
    assert [one.id for one in found] == ["c2", "c1"]
    assert [c.id for c in await bench.do(lambda unit: unit.unmatched_calls(PORTAL, "2099", 1))] == ["c2"]
    assert await bench.do(lambda unit: unit.unmatched_count(PORTAL, "2099")) == 2


async def test_a_call_that_found_its_person_is_no_longer_counted(bench: Bench) -> None:
    await save(bench, written("c1"))
    await save(bench, written("c1", None))
    assert await bench.store.unmatched_counts(PORTAL) == {}


def repair(id_: str = "r1", **more: Any) -> Repair:
    base: dict[str, Any] = {"calls": ("c1", "c2"), "froms": (1, 1), "mapped": True}
    return Repair(id_, more.pop("portal", PORTAL), 5.0, 1, "2099", 13, **{**base, **more})


async def keep(bench: Bench, one: Repair) -> None:
    await bench.do(lambda unit: unit.save_repair(one))


async def test_repairs_are_kept_by_portal_the_newest_first(bench: Bench) -> None:
    for one in (repair("r1"), repair("r2"), repair("r1", portal=OTHER)):
        await keep(bench, one)
    await bench.do(lambda unit: unit.save_repair(repair("r1", undone_at=9.0)))
    assert [one.id for one in await bench.store.repairs(PORTAL)] == ["r2", "r1"]
    assert await bench.store.repair(PORTAL, "r1") == repair("r1", undone_at=9.0)
    assert await bench.do(lambda unit: unit.repair(PORTAL, "r2")) == repair("r2")
    assert await bench.store.repair(OTHER, "r2") is None


async def test_an_erased_portal_keeps_no_repair(bench: Bench) -> None:
    await bench.do(lambda unit: unit.save_portal(portal()))
    await bench.do(lambda unit: unit.save_repair(repair()))
    await save(bench, written("c1"))
    await bench.do(lambda unit: unit.erase_portal(PORTAL))
    assert await bench.store.repairs(PORTAL) == []
    assert await bench.store.unmatched_counts(PORTAL) == {}


async def test_progress_counts_one_key_over_the_lanes_asked_for(bench: Bench) -> None:
    for lane in ("c1", "c2", "c3"):
        await bench.owe(owed("move:r1"), owed("finish"), lane=lane)
    (job, *_) = await bench.claim()
    await bench.complete(job)
    states = await bench.store.job_states(PORTAL, ["c1", "c2", "missing"], "move:r1")
    assert states == {JobState.DONE: 1, JobState.RUNNING: 1}
    assert await bench.store.job_states(PORTAL, [], "move:r1") == {}


def test_calls_of_an_earlier_version_are_found_too() -> None:
    with closing(sqlite3.connect(":memory:", isolation_level=None)) as db:
        known = migrate.load()
        migrate.migrate(db, known[:1], 0.0)
        docs: dict[str, dict[str, Any]] = {
            "c1": {"matched": False, "finished": True, "register_extension": "2099"},
            "c2": {"matched": False, "register_extension": "2099"},
            "c3": {"finished": True, "register_extension": "2001"},
            "c4": {"matched": False, "finished": True},
        }
        for id_, doc in docs.items():
            text = rows.encode({"id": id_, "portal": PORTAL, "first_seen_at": 1.0, **doc})
            db.execute(
                "INSERT INTO calls (portal, id, phase, started_at, first_seen_at, updated_at, doc) "
                "VALUES (?, ?, 'ended', 1.0, 1.0, 1.0, ?)",
                (PORTAL, id_, text),
            )
        migrate.migrate(db, known, 0.0)
        found = db.execute(load("calls")["unmatched"], (PORTAL, "2099", 10)).fetchall()
        (one,) = rows.calls_from(found)
        assert (one.id, one.unmatched) == ("c1", "2099")
        assert db.execute(load("calls")["unmatched_counts"], (PORTAL,)).fetchall() == [("2099", 1)]
