"""Every fault at the reading and the writing of a record: each call counts once and moves it once."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from bitrix_app.core.dispositions import Rule
from bitrix_app.core.store import Unit
from bitrix_app.sandbox.state import CrmItem
from tests.faults.house import House, house
from tests.faults.table import BAD, Bad, arm

pytestmark = pytest.mark.anyio

GET, UPDATE = "crm.item.get", "crm.item.update"
PHONE = "380670000551"
TRIES, STORED = "UF_CRM_TRIES", "ufCrm_tries"
RULES = (
    Rule("count", ("any",), on=True, record="LEAD", counter=TRIES),
    Rule("second", ("any",), on=True, record="LEAD", stage="IN_PROCESS", from_stages=("NEW",), after=2),
)


async def ready(up: House) -> CrmItem:
    """The rules are on, and there is a lead with 7 tries."""

    async def work(unit: Unit) -> None:
        portal = await unit.portal(up.member_id)
        assert portal is not None
        await unit.save_portal(replace(portal, settings=replace(portal.settings, dispositions=RULES)))

    await up.app.store.transact(work)
    phone = {"typeId": "PHONE", "valueType": "WORK", "value": f"+{PHONE}"}
    return up.portal.add_item("LEAD", {"title": "Ours", STORED: 7, "fm": [phone]})


async def calls_end(up: House, count: int) -> None:
    for n in range(count):
        await up.end_alone(up.past_call(PHONE, ago=300.0 - 50 * n))


def assert_right(lead: CrmItem, calls: int) -> None:
    assert lead.fields[STORED] == str(7 + calls)
    assert lead.fields["stageId"] == "IN_PROCESS"


@pytest.mark.parametrize("step", [GET, UPDATE])
@pytest.mark.parametrize("bad", BAD, ids=lambda bad: bad.name)
async def test_each_call_counts_once(tmp_path: Path, bad: Bad, step: str) -> None:
    if (bad.name, step) == ("late-90", UPDATE):
        return  # a server that goes on after its own 60 s (bitrix24.md §5): nothing could tell us
    async with house(tmp_path) as up:
        lead = await ready(up)
        struck = arm(up, bad, step, times=2)
        await calls_end(up, 3)
        await up.settle(calls=3)
        assert struck() == 2
        assert_right(lead, 3)


@pytest.mark.parametrize("when", ["before", "after"])
async def test_a_crash_at_the_write_counts_once(tmp_path: Path, when: str) -> None:
    """Killed when the request was about to leave, or when its answer had come but nothing was kept."""
    async with house(tmp_path) as up:
        lead = await ready(up)
        await calls_end(up, 1)
        await up.settle(calls=1)
        assert lead.fields[STORED] == "8"
        await crash_at_update(up, when)
        await up.start()
        await up.settle(calls=2)
        assert_right(lead, 2)


async def crash_at_update(up: House, when: str) -> None:
    """Another call ends, and we die with its write: just before it leaves, or with its answer in hand."""

    def at(name: str) -> bool:
        if name == UPDATE:
            number = up.http.trips[-1].number
            if when == "before":
                up.http.crash_before = number
            else:
                up.http.crash_after = number
        return False

    up.http.refuse = at
    await up.end_alone(up.past_call(PHONE, ago=100.0))
    await up.run_until(up.http.crashed.is_set, 60.0, "the write")
    up.http.refuse = None
    await up.crash()


async def test_a_write_that_lands_while_we_were_down_counts_once(tmp_path: Path) -> None:
    async with house(tmp_path) as up:
        lead = await ready(up)
        up.http.later = [(UPDATE, 20.0)]
        await calls_end(up, 1)
        await up.run_until(lambda: not up.http.later, 60.0, "the write")
        await up.crash()
        await up.start()
        await up.end_alone(up.past_call(PHONE, ago=100.0))
        await up.settle(calls=2)
        assert_right(lead, 2)
