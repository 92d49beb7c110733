"""Records put into a campaign: their numbers are read from the CRM, page by page, and a crash goes on."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from bitrix_app.core.campaign_commands import ReadRecords, campaign_lane
from bitrix_app.core.campaigns import Phone, PhoneState
from bitrix_app.core.command import Priority
from bitrix_app.core.dialers import Campaign
from bitrix_app.core.store import Unit
from bitrix_app.core.transition import Owed
from bitrix_app.core.wishes import Wish, WishState
from tests.faults.campaigns import DIALER, adds, killed_at, phones, ready, until
from tests.faults.house import House, house

pytestmark = pytest.mark.anyio


def number(text: str) -> dict[str, Any]:
    return {"typeId": "PHONE", "valueType": "WORK", "value": text}


async def wished(up: House, **more: Any) -> None:
    async def work(unit: Unit) -> None:
        now = up.clock.now()
        await unit.save_campaign(up.member_id, Campaign(DIALER))
        await unit.save_wish(up.member_id, Wish("w1", DIALER, now, 1, **more))
        owed = Owed("records:w1", ReadRecords("w1"), Priority.CRM)
        await unit.owe(up.member_id, campaign_lane(DIALER), (owed,), now)

    await up.app.store.transact(work)
    up.app.worker.nudge(up.member_id)


async def read(up: House, seconds: float = 300.0) -> Wish:
    async def there() -> bool:
        wish = await up.app.store.campaign_wish(up.member_id, "w1")
        return wish is not None and wish.state is not WishState.PENDING

    await up.run_until(there, seconds, "the records are read")
    found = await up.app.store.campaign_wish(up.member_id, "w1")
    assert found is not None
    return found


async def by_record(up: House) -> dict[str, Phone]:
    return {phone.record: phone for phone in await phones(up)}


async def test_each_kind_of_record_brings_its_first_whole_number(tmp_path: Path) -> None:
    async with house(tmp_path) as up:
        await ready(up, 0)
        add = up.portal.add_item
        company = add("COMPANY", {"title": "Acme", "fm": [number("0440007001")]})
        contact = add("CONTACT", {"name": "Ann", "fm": [number("call me"), number("(044) 000-70-02")]})
        silent = add("CONTACT", {"name": "Bob", "fm": []})
        lead = add("LEAD", {"title": "One", "fm": [number("101"), number("+380440007003")]})
        mute = add("LEAD", {"title": "Two", "fm": []})
        odd = add("LEAD", {"title": "Three", "fm": [number("ask the secretary")]})
        deal = add("DEAL", {"title": "Big", "contactId": contact.id, "companyId": company.id})
        other = add("DEAL", {"title": "Small", "contactId": silent.id, "companyId": company.id})
        named = {
            f"LEAD:{lead.id}": ("+380440007003", ""),
            f"LEAD:{mute.id}": ("", "no_number"),
            f"LEAD:{odd.id}": ("ask the secretary", "not_a_number"),
            f"DEAL:{deal.id}": ("+380440007002", ""),
            f"DEAL:{other.id}": ("+380440007001", ""),
            f"CONTACT:{contact.id}": ("+380440007002", "duplicate"),
            f"COMPANY:{company.id}": ("+380440007001", "duplicate"),
            "LEAD:999999": ("", "not_found"),
        }
        await wished(up, records=tuple(named))
        wish = await read(up)
        assert {r: (p.number, p.reason) for r, p in (await by_record(up)).items()} == named
        assert (wish.taken, wish.refused) == (3, 5)
        assert wish.reasons == {"no_number": 1, "not_a_number": 1, "duplicate": 2, "not_found": 1}
        await until(up, [PhoneState.SENT], 3, 60.0)
        assert {one.meta for one in up.pbx.dialers[77].phones} == {
            p.meta for p in (await by_record(up)).values() if not p.reason
        }
        assert up.troubles == []


async def test_a_filter_takes_every_record_of_a_stage_page_by_page(tmp_path: Path) -> None:
    async with house(tmp_path) as up:
        leads = await ready(up, 130)
        for lead in leads[::2]:
            lead.fields["stageId"] = "IN_PROCESS"
        await wished(up, type="LEAD", stage="IN_PROCESS")
        wish = await read(up)
        assert (wish.done, wish.taken) == (65, 65)
        assert set(await by_record(up)) == {f"LEAD:{lead.id}" for lead in leads[::2]}
        await until(up, [PhoneState.SENT], 65, 60.0)
        assert adds(up) == 1


@pytest.mark.parametrize("after", [False, True])
async def test_a_kill_while_reading_goes_on_where_the_last_page_ended(tmp_path: Path, after: bool) -> None:
    async with house(tmp_path) as up:
        leads = await ready(up, 130)
        await wished(up, type="LEAD", stage="NEW")
        await killed_at(up, "crm.item.list", after=after)
        await killed_at(up, "crm.item.list", after=after)
        await read(up)
        found = await phones(up)
        ours = {f"LEAD:{lead.id}" for lead in leads}
        assert len([one for one in found if one.record in ours]) == 130
        assert all(one.state is not PhoneState.REFUSED for one in found)
        await until(up, [PhoneState.SENT], len(found), 60.0)
        assert adds(up) == 1


async def test_records_that_cannot_be_read_hold_up_nobody(tmp_path: Path) -> None:
    async with house(tmp_path) as up:
        await ready(up, 3)
        await wished(up, type="LEAD", stage="NEW")
        up.portal.state.items.pop(1)  # this portal has no leads: a refusal
        wish = await read(up)
        assert (wish.state, bool(wish.message)) == (WishState.FAILED, True)
