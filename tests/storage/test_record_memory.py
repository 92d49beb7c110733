"""What a CRM record remembers: in the order of the calls' ends, and whose write is still to come."""

from __future__ import annotations

from dataclasses import replace

import pytest

from bitrix_app.core.advance import Transition
from bitrix_app.core.commands import UpdateRecord
from bitrix_app.core.outcome import Outcome
from bitrix_app.core.record_memory import Effect, Past, Stand
from tests.storage.making import OTHER, PORTAL, Bench, attempt, call, owed, portal

pytestmark = pytest.mark.anyio
LEAD = "LEAD:5"


def past(call_id: str, at: float, record: str = LEAD) -> Past:
    return Past(record, call_id, at, Outcome.BUSY, "out")


async def apply(bench: Bench, transition: Transition) -> None:
    await bench.store.transact(lambda unit: unit.apply(transition, 1.0))


async def remembered(bench: Bench, record: str = LEAD, portal: str = PORTAL) -> list[Past]:
    return list(await bench.store.transact(lambda unit: unit.record_history(portal, record)))


async def test_calls_are_remembered_by_their_end_whatever_came_first(bench: Bench) -> None:
    first, second, tied = past("c2", 50.0), past("c1", 60.0), past("c3", 60.0)
    for one in (second, first, tied, past("c9", 70.0, "LEAD:6")):
        await apply(bench, Transition(call(one.call_id), remember=(one,)))
    assert await remembered(bench) == [tied, second, first]
    assert await remembered(bench, portal=OTHER) == []


async def test_the_later_saying_stands(bench: Bench) -> None:
    one = past("c1", 50.0)
    effects = (Effect("stageId", "NEW", "JUNK"), Effect("UF_CRM_1", "", "1", counted=True))
    written = replace(one, stand=Stand.WRITTEN, effects=effects, turn=4, reached=("r",))
    await bench.store.transact(lambda unit: unit.remember(PORTAL, one))
    await bench.store.transact(lambda unit: unit.remember(PORTAL, written))
    assert await remembered(bench) == [written]


async def test_it_says_whose_write_is_still_to_come(bench: Bench) -> None:
    one = past("c1", 50.0)
    job = owed(f"record:{LEAD}", command=UpdateRecord(LEAD))
    await apply(bench, Transition(call("c1"), (job,), remember=(one, past("c1", 50.0, "LEAD:6"))))
    assert [p.owed for p in await remembered(bench)] == [True]
    assert [p.owed for p in await remembered(bench, "LEAD:6")] == [False]
    (claimed,) = await bench.store.claim(PORTAL, 10.0, 5, 100.0)
    assert [p.owed for p in await remembered(bench)] == [True], "it is being written"
    await bench.store.transact(lambda unit: unit.complete(claimed, attempt(10.0)))
    assert [p.owed for p in await remembered(bench)] == [False]


async def test_an_erased_portal_remembers_nothing(bench: Bench) -> None:
    await bench.store.transact(lambda unit: unit.save_portal(portal()))
    await bench.store.transact(lambda unit: unit.remember(PORTAL, past("c1", 1.0)))
    await bench.store.transact(lambda unit: unit.erase_portal(PORTAL))
    assert await remembered(bench) == []
