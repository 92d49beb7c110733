"""Rows of the PBX's history, findings, outages and heartbeats in the store; the ledger's material."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from bitrix_app.core.comparison import Difference, Kind, State
from bitrix_app.core.history import How, SeenRow
from bitrix_app.core.lifecycle import Phase
from bitrix_app.core.outage import Kind as OutageKind
from bitrix_app.core.outage import Outage
from bitrix_app.core.retention import LEDGER_DAYS
from bitrix_app.core.store import Receipt
from tests.storage.making import OTHER, PORTAL, SICK, Bench, attempt, call, owed, receipt

pytestmark = pytest.mark.anyio


@pytest.fixture
async def bench(store: Any, clock: Any) -> Bench:
    return Bench(store, clock)


def row(key: str = "dbid:1", at: float = 1000.0, **more: Any) -> SeenRow:
    base: dict[str, Any] = {"how": How.MATCHED, "ended_at": at + 60, "call_id": "c1"}
    return SeenRow(more.pop("portal", PORTAL), key, f"digest-{key}", at, **{**base, **more})


async def keep(bench: Bench, *rows: SeenRow) -> None:
    async def work(unit: Any) -> None:
        for one in rows:
            await unit.save_row(one)

    await bench.do(work)


async def keep_call(bench: Bench, one: Any, *owes: Any) -> None:
    from bitrix_app.core.transition import Transition

    await bench.do(lambda unit: unit.apply(Transition(one, owes), bench.now))


async def hear(bench: Bench, one: Receipt) -> None:
    await bench.do(lambda unit: unit.receive(one))


async def test_a_row_that_is_seen_again_replaces_what_was_seen(bench: Bench) -> None:
    first = row(how=How.WAITING, call_id=None, number="+38", adds=("end",), note="n", seen_at=5.0)
    await keep(bench, first)
    assert (await bench.store.ledger_material(PORTAL, 900, 1100)).rows == (first,)
    await keep(bench, row())
    assert (await bench.store.ledger_material(PORTAL, 900, 1100)).rows == (row(),)
    assert (await bench.store.ledger_material(OTHER, 900, 1100)).rows == ()
    assert (await bench.store.ledger_material(PORTAL, 1001, 1100)).rows == ()
    assert (await bench.store.ledger_material(PORTAL, 900, 1000)).rows == (), "the end is not the day's"


async def test_only_settled_contents_need_no_second_look(bench: Bench) -> None:
    rows = [row(f"dbid:{n}", how=how) for n, how in enumerate(How)]
    await keep(bench, *rows, row("dbid:9", portal=OTHER))
    settled = {one.digest for one in rows if one.how in (How.MATCHED, How.FILLED, How.CREATED)}
    asked = [*(one.digest for one in rows), "digest-dbid:9", "unknown"]
    assert await bench.store.settled_digests(PORTAL, asked) == settled
    assert await bench.store.settled_digests(PORTAL, []) == frozenset()


async def test_the_ledgers_material_is_whole(bench: Bench) -> None:
    await keep_call(bench, call("c1", pbx_id="1", finished=True))
    await keep_call(bench, call("c2", pbx_id="2", phase=Phase.ENDED), owed("finish"), owed("layout"))
    await keep_call(bench, call("c3", pbx_id="3", started_at=5000.0))
    await keep(bench, row(call_id="c1"))
    (job,) = [one for one in await bench.claim() if one.kind == "finish" and one.key == "finish"]
    await bench.do(lambda unit: unit.bury(job, attempt(bench.now), SICK))
    found = Difference(PORTAL, "c1", Kind.MISSING, "m", "h", "w", found_at=1.0)
    await bench.do(lambda unit: unit.save_difference(found))
    await bench.do(lambda unit: unit.save_difference(replace(found, call_id="c2", state=State.GONE)))
    material = await bench.store.ledger_material(PORTAL, 900, 1100)
    assert set(material.calls) == {"c1", "c2"}
    first = material.steps["c2"][0]
    assert (first.kind, str(first.state), first.error) == ("finish", "attention", SICK)
    assert material.differences == {"c1": [found]}
    assert "c1" not in material.steps, "what is written needs no look at its jobs"


async def test_a_call_whose_row_is_another_days_is_not_the_webhooks_alone(bench: Bench) -> None:
    await keep_call(bench, call("c1", pbx_id="1", started_at=1000.0))
    await keep(bench, row(call_id="c1", at=1200.0))
    assert dict((await bench.store.ledger_material(PORTAL, 900, 1100)).calls) == {}
    assert set((await bench.store.ledger_material(PORTAL, 1100, 1300)).calls) == {"c1"}


async def test_recovered_rows_are_found_by_the_calls_ends(bench: Bench) -> None:
    rows = [row(f"dbid:{n}", at=1000.0 + n, how=how) for n, how in enumerate(How)]
    await keep(bench, *rows)
    wanted = [one for one in rows if one.how in (How.FILLED, How.CREATED, How.FAILED)]
    assert await bench.store.recovered(PORTAL, 0, 9e9) == wanted
    assert await bench.store.recovered(PORTAL, wanted[0].ended_at, wanted[0].ended_at) == wanted[:1]
    assert (await bench.store.material_of(PORTAL, wanted)).rows == tuple(wanted)


async def test_calls_are_compared_when_they_rest_and_once_until_asked_anew(bench: Bench) -> None:
    done: dict[str, Any] = {"finished": True, "bitrix_call_id": "b"}
    for n in range(3):
        await keep_call(bench, call(f"c{n}", started_at=1000.0 + n, **done))
    await keep_call(bench, call("open", started_at=1000.0, bitrix_call_id="b"))

    async def due(
        changed: float = 9e9, compared: float = 1.0, since: float = 0.0, limit: int = 9
    ) -> list[str]:
        found = await bench.store.to_compare(PORTAL, since, changed, compared, limit)
        return [one.id for one in found]

    assert await due() == ["c0", "c1", "c2"]
    assert await due(limit=2) == ["c0", "c1"]
    assert await due(since=1001.0) == ["c1", "c2"]
    assert await due(changed=bench.now) == [], "it changed this moment"
    await bench.do(lambda unit: unit.save_compared(PORTAL, ["c0", "c1"], 50.0))
    assert await due() == ["c2"]
    assert await due(compared=51.0) == ["c0", "c1", "c2"]


async def test_calls_that_ended_unwritten_are_found(bench: Bench) -> None:
    await keep_call(bench, call("c1", started_at=1.0, phase=Phase.ENDED))
    await keep_call(bench, call("c2", started_at=1.0, phase=Phase.ENDED, skipped="a rule"))
    await keep_call(bench, call("c3", started_at=1.0, phase=Phase.ENDED, finished=True))
    await keep_call(bench, call("c4", started_at=1.0, phase=Phase.TALKING))
    found = await bench.store.unwritten(PORTAL, 0.0, 9e9, 1.0, 9)
    assert [one.id for one in found] == ["c1"]


async def test_calls_near_a_start_and_those_that_the_history_alone_told_of(bench: Bench) -> None:
    await keep_call(bench, call("c1", started_at=1000.0))
    await keep_call(bench, call("c2", started_at=1003.0))
    await keep(bench, row(call_id="c1", how=How.CREATED), row("dbid:2", at=1003.0, call_id="c2"))

    async def near(unit: Any) -> list[list[str]]:
        both = (
            await unit.calls_starting(PORTAL, 995, 1005),
            await unit.calls_from_history(PORTAL, 995, 1005),
        )
        return [[one.id for one in calls] for calls in both]

    assert await bench.do(near) == [["c1", "c2"], ["c1"]]
    assert await bench.do(lambda unit: unit.row_of(PORTAL, "c2")) == row("dbid:2", at=1003.0, call_id="c2")
    assert await bench.do(lambda unit: unit.row_of(PORTAL, "c9")) is None


async def test_outages_stay_until_they_are_told(bench: Bench) -> None:
    one = Outage(PORTAL, OutageKind.SILENT, 5.0)
    await bench.do(lambda unit: unit.save_outage(one))
    await bench.do(lambda unit: unit.save_outage(replace(one, ended_at=9.0)))
    await bench.do(lambda unit: unit.save_outage(replace(one, portal=OTHER)))
    assert await bench.store.outages(PORTAL) == [replace(one, ended_at=9.0)]
    await bench.do(lambda unit: unit.save_outage(replace(one, ended_at=9.0, told=True)))
    assert await bench.store.outages(PORTAL) == []


async def test_a_heartbeat_tells_the_one_before(bench: Bench) -> None:
    assert await bench.store.beat("house", 5.0) is None
    assert await bench.store.beat("house", 9.0) == 5.0
    assert await bench.store.beat("house", 12.0) == 9.0


async def test_the_last_webhook_of_the_pbx_is_not_the_portals_nor_the_historys(bench: Bench) -> None:
    assert await bench.store.last_heard(PORTAL) is None
    for n, source in enumerate(("unitalk", "bitrix24", "history")):
        await hear(bench, replace(receipt(f"d{n}", at=100.0 + n), source=source))
    assert await bench.store.last_heard(PORTAL) == 100.0
    assert await bench.store.last_heard(OTHER) is None


async def test_a_ledger_on_drive_is_remembered_by_its_content(bench: Bench) -> None:
    assert await bench.store.filed(PORTAL, "2026-11-20") is None
    await bench.do(lambda unit: unit.save_filed(PORTAL, "2026-11-20", "one", 7, 1.0))
    await bench.do(lambda unit: unit.save_filed(PORTAL, "2026-11-20", "two", 7, 1.0))
    assert await bench.store.filed(PORTAL, "2026-11-20") == ("two", 7)


async def test_all_of_it_goes_with_the_portal_and_with_time(bench: Bench) -> None:
    day = 86_400.0
    now = 1000 * day
    old, fresh = row("dbid:1", at=now - (LEDGER_DAYS + 1) * day), row("dbid:2", at=now - day)
    gone = Difference(PORTAL, "c1", Kind.PERSON, "m", "h", "w", State.GONE, found_at=5.0)
    await keep(bench, old, fresh)
    await bench.do(lambda unit: unit.save_difference(gone))
    await bench.do(lambda unit: unit.save_difference(replace(gone, call_id="c2", state=State.OPEN)))
    await bench.do(lambda unit: unit.save_compared(PORTAL, ["c1"], 5.0))
    assert await bench.store.prune(now) == 3
    assert (await bench.store.ledger_material(PORTAL, 0, 9e9)).rows == (fresh,)
    assert [one.call_id for one in await bench.store.differences(PORTAL)] == ["c2"]
    await bench.do(lambda unit: unit.save_outage(Outage(PORTAL, OutageKind.DOWN, 5.0)))
    await bench.do(lambda unit: unit.save_filed(PORTAL, "2026-11-20", "d", 7, 1.0))
    await keep(bench, row("dbid:3", portal=OTHER))
    await bench.do(lambda unit: unit.erase_portal(PORTAL))
    assert (await bench.store.ledger_material(PORTAL, 0, 9e9)).rows == ()
    assert await bench.store.differences(PORTAL) == []
    assert await bench.store.outages(PORTAL) == []
    assert await bench.store.filed(PORTAL, "2026-11-20") is None
    assert len((await bench.store.ledger_material(OTHER, 0, 9e9)).rows) == 1
