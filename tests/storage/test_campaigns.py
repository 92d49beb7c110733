"""Contract: campaigns, their phones and batches, what came of each try, whom nobody may call."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from bitrix_app.core.campaigns import Batch, BatchState, Phone, PhoneState, Try
from bitrix_app.core.dialers import Campaign
from bitrix_app.core.outcome import Outcome
from bitrix_app.core.store import Unit
from bitrix_app.core.wishes import Forbidden, Wish, WishState
from tests.storage.making import OTHER, PORTAL, Bench, portal

pytestmark = pytest.mark.anyio


def phone(number: int, **more: Any) -> Phone:
    base = {"record": f"LEAD:{number}", "added_at": 5.0, "added_by": 7, "changed_at": 5.0}
    return Phone(f"p{number:08}", more.pop("dialer", "77"), f"+38050{number:07}", **{**base, **more})


async def keep(bench: Bench, *phones: Phone, of: str = PORTAL) -> None:
    await bench.do(lambda unit: unit.save_phones(of, phones))


async def keep_batches(bench: Bench, *batches: Batch) -> None:
    async def work(unit: Unit) -> None:
        for one in batches:
            await unit.save_batch(PORTAL, one)

    await bench.do(work)


async def test_a_campaign_is_kept_by_portal_and_dialer(bench: Bench) -> None:
    one = Campaign("77", "Demo", "RUNNING", 5.0, wanted="start", turn=2)
    await bench.do(lambda unit: unit.save_campaign(PORTAL, one))
    await bench.do(lambda unit: unit.save_campaign(PORTAL, replace(one, turn=3)))
    assert await bench.do(lambda unit: unit.campaign(PORTAL, "77")) == replace(one, turn=3)
    assert await bench.do(lambda unit: unit.campaign(OTHER, "77")) is None
    assert await bench.store.campaigns(PORTAL) == [replace(one, turn=3)]


async def test_phones_come_back_whole_in_order_and_by_state(bench: Bench) -> None:
    done = phone(2, state=PhoneState.FINISHED, outcome=Outcome.BUSY, tries=2, over=True, batch="b1")
    await keep(bench, phone(3), phone(1), done, phone(9, dialer="78"))
    await keep(bench, phone(1), of=OTHER)
    assert await bench.store.campaign_phones(PORTAL, "77") == [phone(1), done, phone(3)]
    assert await bench.store.campaign_phones(PORTAL, "77", after=phone(1).id, limit=1) == [done]
    waiting = await bench.store.campaign_phones(PORTAL, "77", state=PhoneState.WAITING, after=phone(1).id)
    assert waiting == [phone(3)]
    assert await bench.do(lambda unit: unit.phone(PORTAL, done.id)) == done
    progress = await bench.store.campaign_progress(PORTAL, "77")
    assert progress == {("waiting", ""): 2, ("finished", "busy"): 1}


async def test_open_numbers_are_those_of_this_campaign_that_are_not_over(bench: Bench) -> None:
    states = list(PhoneState)
    await keep(bench, *(phone(n, state=state) for n, state in enumerate(states)), phone(99, dialer="78"))
    numbers = [phone(n).number for n in (*range(len(states)), 99, 100)]
    found = await bench.do(lambda unit: unit.open_numbers(PORTAL, "77", numbers))
    over = (PhoneState.FINISHED, PhoneState.REFUSED)
    assert found == {phone(n).number for n, state in enumerate(states) if state not in over}


async def test_entries_of_a_number_come_newest_first_without_refused_ones(bench: Bench) -> None:
    same = [replace(phone(n), number="+380501") for n in (1, 2, 3)]
    await keep(bench, same[0], replace(same[1], state=PhoneState.REFUSED), same[2])
    found = await bench.do(lambda unit: unit.phones_by_number(PORTAL, "77", "+380501"))
    assert [one.id for one in found] == [same[2].id, same[0].id]


async def test_a_batch_takes_the_oldest_that_wait(bench: Bench) -> None:
    await keep(bench, *(phone(n) for n in range(5)), phone(7, state=PhoneState.REFUSED))

    async def work(unit: Unit) -> list[int]:
        return [
            await unit.unbatched(PORTAL, "77"),
            await unit.fill_batch(PORTAL, "77", "b1", 3),
            await unit.fill_batch(PORTAL, "77", "b2", 3),
            await unit.fill_batch(PORTAL, "77", "b3", 3),
            await unit.unbatched(PORTAL, "77"),
        ]

    assert await bench.do(work) == [5, 3, 2, 0, 0]
    found = await bench.do(lambda unit: unit.batch_phones(PORTAL, "b1"))
    assert [one.id for one in found] == [phone(n).id for n in range(3)]


async def test_batches_come_newest_first_and_those_that_need_a_person_apart(bench: Bench) -> None:
    states = (BatchState.SENT, BatchState.DOUBT, BatchState.REFUSED, BatchState.WAITING)
    batches = [Batch(f"b{n}", "77", 3, float(n), state) for n, state in enumerate(states)]
    await keep_batches(bench, *batches)
    assert await bench.store.campaign_batches(PORTAL, "77") == batches[::-1]
    assert await bench.store.batches_in_attention(PORTAL) == [batches[2], batches[1]]
    assert await bench.store.batches_in_attention(OTHER) == []
    assert await bench.do(lambda unit: unit.batch(PORTAL, "b1")) == batches[1]


async def test_a_call_is_one_try_and_its_later_word_stands(bench: Bench) -> None:
    first = Try("c1", "77", "p1", Outcome.UNKNOWN, 10.0)
    other = Try("c2", "77", "p1", Outcome.BUSY, 5.0)
    strange = Try("c3", "77", "", Outcome.BUSY, 5.0)
    better = replace(first, outcome=Outcome.ANSWERED)
    told = ((first, 11.0), (other, 12.0), (strange, 13.0), (better, 50.0))

    async def hear(unit: Unit) -> None:
        for one, at in told:
            await unit.save_try(PORTAL, one, at)

    await bench.do(hear)
    assert await bench.store.phone_tries(PORTAL, "p1") == [other, better]
    assert await bench.do(lambda unit: unit.tries_of(PORTAL, "")) == []
    assert await bench.do(lambda unit: unit.tries_since(PORTAL, 11.5)) == 2
    assert await bench.store.campaign_tries(PORTAL, "77") == {"answered": 1, "busy": 1}


async def test_phones_that_the_dialer_had_before_it_finished(bench: Bench) -> None:
    first, second = (
        Batch(name, "77", 1, 1.0, BatchState.SENT, accepted_at=at)
        for name, at in (("b1", 10.0), ("b2", 20.0))
    )
    await keep_batches(bench, first, second)
    sent = PhoneState.SENT
    await keep(
        bench, phone(1, batch="b1", state=sent), phone(2, batch="b2", state=sent), phone(3, batch="b1")
    )
    found = await bench.do(lambda unit: unit.sent_before(PORTAL, "77", 15.0, 10))
    assert [one.id for one in found] == [phone(1).id]


async def test_wishes_are_kept_and_open_ones_counted(bench: Bench) -> None:
    one = Wish("w1", "77", 5.0, 7, ("LEAD:1", "LEAD:2"), reasons={"duplicate": 1})
    await bench.do(lambda unit: unit.save_wish(PORTAL, one))
    await bench.do(lambda unit: unit.save_wish(PORTAL, replace(one, id="w2", state=WishState.DONE)))
    assert await bench.do(lambda unit: unit.open_wishes(PORTAL, "77")) == 1
    assert await bench.store.campaign_wish(PORTAL, "w1") == one
    assert [wish.id for wish in await bench.store.campaign_wishes(PORTAL, "77")] == ["w2", "w1"]


async def test_the_do_not_call_list(bench: Bench) -> None:

    async def fill(unit: Unit) -> None:
        for n in (3, 1, 2):
            await unit.forbid(PORTAL, Forbidden(f"+38{n}", "asked", 7, 5.0))

    await bench.do(fill)
    again = Forbidden("+381", "asked twice", 8, 6.0)
    await bench.do(lambda unit: unit.forbid(PORTAL, again))
    assert [one.number for one in await bench.store.do_not_call(PORTAL)] == ["+381", "+382", "+383"]
    assert await bench.store.do_not_call(PORTAL, limit=1) == [again]
    assert [one.number for one in await bench.store.do_not_call(PORTAL, after="+381")] == ["+382", "+383"]
    assert await bench.do(lambda unit: unit.forbidden(PORTAL, ["+381", "+389"])) == {"+381"}
    assert await bench.do(lambda unit: unit.allow(PORTAL, "+381"))
    assert not await bench.do(lambda unit: unit.allow(PORTAL, "+381"))
    assert await bench.do(lambda unit: unit.forbidden(OTHER, ["+382"])) == frozenset()


async def test_an_erased_portal_keeps_nothing_of_them(bench: Bench) -> None:
    async def fill(unit: Unit) -> None:
        await unit.save_portal(portal())
        await unit.save_campaign(PORTAL, Campaign("77"))
        await unit.save_phones(PORTAL, [phone(1)])
        await unit.save_batch(PORTAL, Batch("b1", "77", 1, 1.0))
        await unit.save_try(PORTAL, Try("c1", "77", phone(1).id, Outcome.BUSY, 1.0), 1.0)
        await unit.save_wish(PORTAL, Wish("w1", "77", 1.0, 1))
        await unit.forbid(PORTAL, Forbidden("+381", "", 1, 1.0))

    await bench.do(fill)
    await bench.do(lambda unit: unit.erase_portal(PORTAL))
    store = bench.store
    assert await store.campaigns(PORTAL) == []
    assert await store.campaign_phones(PORTAL, "77") == []
    assert await store.campaign_batches(PORTAL, "77") == []
    assert await store.do_not_call(PORTAL) == []
    assert await store.campaign_wish(PORTAL, "w1") is None
    assert await store.campaign_tries(PORTAL, "77") == {}
