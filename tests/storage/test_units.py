"""Contract: units of work, receipts, calls."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from bitrix_app.core.advance import Transition
from bitrix_app.core.call import Call, Leg, Recording
from bitrix_app.core.events import Direction
from bitrix_app.core.lifecycle import Phase
from bitrix_app.core.outcome import Outcome
from bitrix_app.core.portal import Snapshot
from bitrix_app.core.store import ReceiptState, Store, Unit
from tests.storage.making import OTHER, PORTAL, Bench, call, owed, receipt

pytestmark = pytest.mark.anyio


async def save(bench: Bench, *calls: Call) -> None:
    async def work(unit: Unit) -> None:
        for one in calls:
            await unit.apply(Transition(one), bench.now)

    await bench.do(work)


# --- a unit is all or nothing -----------------------------------------------------------------------------


async def test_what_a_unit_returns_comes_back(bench: Bench) -> None:
    async def work(unit: Unit) -> str:
        return "value"

    assert await bench.store.transact(work) == "value"


async def test_a_failing_unit_leaves_nothing_and_raises_its_own_error(bench: Bench) -> None:
    async def work(unit: Unit) -> None:
        await unit.receive(receipt())
        await unit.apply(Transition(call(), (owed("finish"),)), bench.now)
        raise LookupError("mine")

    with pytest.raises(LookupError, match="mine"):
        await bench.do(work)
    assert await bench.store.receipts(PORTAL) == []
    assert await bench.store.call(PORTAL, "c1") is None
    assert await bench.store.lane(PORTAL, "c1") == []


async def test_a_failing_unit_rolls_back_nobody_else(bench: Bench) -> None:
    async def keep(number: int) -> int | None:
        async def work(unit: Unit) -> int | None:
            id_ = await unit.receive(receipt(f"d{number}"))
            if number % 3 == 0:
                raise LookupError(number)
            return id_

        return await bench.store.transact(work)

    outcomes = await asyncio.gather(*(keep(n) for n in range(60)), return_exceptions=True)
    assert [isinstance(o, LookupError) for o in outcomes] == [n % 3 == 0 for n in range(60)]
    kept = {r.digest for r in await bench.store.receipts(PORTAL, limit=100)}
    assert kept == {f"d{n}" for n in range(60) if n % 3}


async def test_a_unit_sees_what_it_wrote(bench: Bench) -> None:
    async def work(unit: Unit) -> Call | None:
        await unit.apply(Transition(call(pbx_id="live")), bench.now)
        (found,) = await unit.calls_by_pbx(PORTAL, "live", None)
        return found

    assert await bench.store.transact(work) == call(pbx_id="live")


# --- receipts -----------------------------------------------------------------------------


async def test_a_receipt_comes_back_as_it_was_kept(bench: Bench) -> None:
    kept = receipt(
        body=b"\x00\xff raw",
        content_type="application/json",
        ev="NEW",
        state=ReceiptState.UNREADABLE,
        error="no JSON",
        correlation_id="corr",
    )
    id_ = await bench.do(lambda unit: unit.receive(kept))
    assert await bench.store.receipts(PORTAL) == [replace(kept, id=id_)]


async def test_a_repeated_digest_is_counted_and_not_kept_again(bench: Bench) -> None:
    ids = [await bench.do(lambda unit: unit.receive(receipt(body=b"first")))]
    ids += [await bench.do(lambda unit: unit.receive(receipt(body=b"again"))) for _ in range(3)]
    assert ids[0] is not None
    assert ids[1:] == [None, None, None]
    (kept,) = await bench.store.receipts(PORTAL)
    assert (kept.body, kept.repeats) == (b"first", 3)


async def test_ten_repeats_at_once_are_one_receipt(bench: Bench) -> None:
    ids = await asyncio.gather(*(bench.do(lambda unit: unit.receive(receipt())) for _ in range(10)))
    assert sorted(id_ is None for id_ in ids) == [False] + [True] * 9


async def test_the_same_digest_of_another_portal_is_another_receipt(bench: Bench) -> None:
    first = await bench.do(lambda unit: unit.receive(receipt()))
    second = await bench.do(lambda unit: unit.receive(receipt(portal=OTHER)))
    assert first is not None
    assert second is not None
    assert len(await bench.store.receipts(PORTAL)) == 1


async def test_receipts_are_listed_by_state_newest_first(bench: Bench) -> None:
    for n, state in enumerate((ReceiptState.APPLIED, ReceiptState.FAILED, ReceiptState.APPLIED)):

        async def work(unit: Unit, n: int = n, state: ReceiptState = state) -> None:
            id_ = await unit.receive(receipt(f"d{n}", at=1000.0 + n))
            assert id_ is not None
            await unit.mark_receipt(id_, state, call_id="c1", error="bad" if n == 1 else None)

        await bench.do(work)
    assert [r.digest for r in await bench.store.receipts(PORTAL)] == ["d2", "d1", "d0"]
    applied = await bench.store.receipts(PORTAL, state=ReceiptState.APPLIED, limit=1)
    assert [r.digest for r in applied] == ["d2"]
    (failed,) = await bench.store.receipts(PORTAL, state=ReceiptState.FAILED)
    assert (failed.digest, failed.call_id, failed.error) == ("d1", "c1", "bad")
    assert await bench.store.receipts(OTHER, state=ReceiptState.FAILED) == []


async def test_text_that_is_no_unicode_is_kept_all_the_same(bench: Bench) -> None:
    odd = call(pbx_id="live\ud800", meta="\ud800\x00")

    async def work(unit: Unit) -> list[Call]:
        await unit.receive(receipt(ev="\ud800", error="\udfff"))
        await unit.apply(Transition(odd), bench.now)
        return list(await unit.calls_by_pbx(PORTAL, "live\ud800", None))

    assert await bench.store.transact(work) == [odd]


# --- calls -----------------------------------------------------------------------------


async def test_a_call_comes_back_as_it_was_stored(bench: Bench) -> None:
    whole = call(
        phase=Phase.ENDED,
        pbx_id="live",
        pbx_dbid="777",
        direction=Direction.IN,
        number="+380501234567",
        started_at=999.5,
        outcome=Outcome.ANSWERED,
        legs=(Leg("101", 1001.0), Leg("102", 1010.5)),
        ringing=("101", "102"),
        recording=Recording.EXPECTED,
        link="https://secret",
        bitrix_call_id="externalCall.1",
        notes=("odd, «дуже»",),
    )
    await save(bench, whole)
    assert await bench.store.call(PORTAL, "c1") == whole
    assert await bench.do(lambda unit: unit.call(PORTAL, "c1")) == whole
    assert await bench.store.call(OTHER, "c1") is None


async def test_storing_a_call_again_replaces_it(bench: Bench) -> None:
    await save(bench, call(pbx_id="old"))
    await save(bench, call(pbx_id="new", pbx_dbid="1"))
    assert await bench.do(lambda unit: unit.calls_by_pbx(PORTAL, "old", None)) == []
    (found,) = await bench.do(lambda unit: unit.calls_by_pbx(PORTAL, None, "1"))
    assert found.pbx_id == "new"


async def test_calls_are_found_by_either_id_newest_first_and_once(bench: Bench) -> None:
    await save(
        bench,
        call("c1", at=1.0, pbx_id="live"),
        call("c2", at=3.0, pbx_dbid="db"),
        call("c3", at=2.0, pbx_id="live", pbx_dbid="db"),
        call("c4", at=4.0),
        call("c5", OTHER, at=5.0, pbx_id="live", pbx_dbid="db"),
    )

    async def ids(pbx_id: str | None, pbx_dbid: str | None) -> list[str]:
        return [c.id for c in await bench.do(lambda unit: unit.calls_by_pbx(PORTAL, pbx_id, pbx_dbid))]

    assert await ids("live", "db") == ["c2", "c3", "c1"]
    assert await ids("live", None) == ["c3", "c1"]
    assert await ids(None, None) == []


async def test_at_most_twenty_calls_of_one_id_are_read(bench: Bench) -> None:
    await save(bench, *(call(f"c{n:02}", at=float(n), pbx_id="live") for n in range(30)))
    found = await bench.do(lambda unit: unit.calls_by_pbx(PORTAL, "live", None))
    assert [c.id for c in found] == [f"c{n:02}" for n in range(29, 9, -1)]


async def test_a_call_is_found_by_its_bitrix_id(bench: Bench) -> None:
    await save(bench, call(bitrix_call_id="ext.1"), call("c2"))
    found = await bench.do(lambda unit: unit.call_by_bitrix_id(PORTAL, "ext.1"))
    assert found.id == "c1"
    assert await bench.do(lambda unit: unit.call_by_bitrix_id(OTHER, "ext.1")) is None


async def test_unnamed_calls_are_found_by_number_in_any_notation(bench: Bench) -> None:
    await save(
        bench,
        call("named", number="+380501", bitrix_call_id="ext.1", at=500.0),
        call("old", number="+380501", at=99.0),
        call("first", number="+380501", at=100.0, started_at=1.0),
        call("raw", raw_number="380 (50) 1", at=300.0),
        call("else", number="+380502", at=200.0),
    )
    found = await bench.do(lambda unit: unit.calls_without_bitrix_id(PORTAL, "+380 501", 100.0))
    assert [c.id for c in found] == ["raw", "first"]


async def test_the_last_calls_of_a_client_are_found_the_newest_first(bench: Bench) -> None:
    await save(
        bench,
        call("old", number="+380501", at=99.0),
        call("first", number="+380501", at=100.0),
        call("named", number="+380501", at=200.0, bitrix_call_id="ext.1"),
        call("else", number="+380502", at=200.0),
        call("theirs", OTHER, number="+380501", at=200.0),
    )
    found = await bench.do(lambda unit: unit.calls_of_client(PORTAL, "+380 501", 100.0))
    assert [c.id for c in found] == ["named", "first"]


async def test_a_snapshot_is_written_and_read_inside_a_unit(store: Store, bench: Bench) -> None:
    kept = Snapshot("drift", 5.0, ({"key": "field:x", "sample": {"a": [1]}},))

    async def work(unit: Unit) -> None:
        await unit.save_snapshot(PORTAL, kept)
        assert await unit.snapshot(PORTAL, "drift") == kept
        assert await unit.snapshot(OTHER, "drift") is None

    await bench.do(work)
    assert await store.snapshot(PORTAL, "drift") == kept


async def test_calls_are_paged_without_gap_or_repeat(store: Store, bench: Bench) -> None:
    await save(bench, *(call(f"c{n}", at=float(n // 2)) for n in range(9)), call("x", OTHER))
    seen: list[str] = []
    before = None
    while page := await store.calls(PORTAL, limit=2, before=before):
        seen += [c.id for c in page]
        before = (page[-1].first_seen_at, page[-1].id)
    assert seen == ["c8", "c7", "c6", "c5", "c4", "c3", "c2", "c1", "c0"]
