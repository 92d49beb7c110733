"""Reading the PBX's history against our calls: what is written, what is only shown, what fails alone."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any, cast

import pytest

from bitrix_app.core.comparison import Kind
from bitrix_app.core.errors import VendorBroken
from bitrix_app.core.events import Step
from bitrix_app.core.history import How, Window
from bitrix_app.core.ledger import Standing
from bitrix_app.core.lifecycle import Phase
from bitrix_app.core.outcome import Outcome
from bitrix_app.core.portal import Portal
from bitrix_app.core.store import ReceiptState, StoreUnavailable
from bitrix_app.desk import Desk, new_call_id
from bitrix_app.ledgers import ledger_of, today
from bitrix_app.reconcile import Reconciler, Tally
from tests.house.making import CLIENT, LINE, MEMBER, NOW, Bench, end, webhook
from unitalk.client import UnitalkClient

pytestmark = pytest.mark.anyio

LIVE_ID = 1091001


def row(dbid: int | None = 27501, **more: Any) -> dict[str, Any]:
    """As `end()` and `webhook()` of the same call say it."""
    base = {
        "id": LIVE_ID,
        "dbid": dbid,
        "from": CLIENT[1:],
        "to": ["2001"],
        "outerNumber": LINE,
        "direction": "IN",
        "date": "2026-09-02 10:15:00",
        "secondsFullTime": 95,
        "secondsTalk": 83,
        "state": "ANSWER",
        "link": "https://api.unitalk.cloud:8443/tracking/rec/1.1/2026-02-10",
    }
    return base | more


def begun(**more: Any) -> bytes:
    return webhook("CALL_NEW", **{"date": "2026-09-02 10:15:00", **more})


def ended(**more: Any) -> bytes:
    return end(**{"date": "2026-09-02 10:15:00", **more})


class Room:
    """The reconciliation over a history that the test writes."""

    def __init__(self, bench: Bench) -> None:
        self.bench = bench
        self.rows: list[dict[str, Any]] = []
        self.trouble: Exception | None = None
        self.desk = Desk(new_call_id)
        self.nudged: list[str] = []
        pbx = cast(UnitalkClient, self)
        self.reconciler = Reconciler(bench.store, bench.clock, pbx, self.desk, self.nudged.append)

    async def history(self, *_: Any) -> AsyncIterator[dict[str, Any]]:
        for one in self.rows:
            yield one
        if self.trouble is not None:
            raise self.trouble

    async def read(self, *rows: dict[str, Any], **more: Any) -> Tally:
        self.rows = list(rows) or self.rows
        window = Window(NOW - 3_600, self.bench.now)
        return await self.reconciler.read(await self.bench.current(), window, **more)

    async def portal(self) -> Portal:
        return await self.bench.current()


@pytest.fixture
async def room(bench: Bench) -> Room:
    await bench.change(unitalk_key="key-of-the-pbx")
    return Room(bench)


async def test_a_row_that_nobody_knows_becomes_a_call_ten_minutes_after_its_end(room: Room) -> None:
    assert (await room.read(row())).counts == {How.WAITING: 1}
    assert await room.bench.store.calls(MEMBER) == []
    await room.bench.clock.advance(1_200)
    told = await room.read()
    assert told.counts == {How.CREATED: 1}
    assert told.missed == [(NOW, NOW + 95)]
    call = await room.bench.only_call()
    assert (call.pbx_dbid, call.number, call.talk_seconds) == ("27501", CLIENT, 83)
    assert (call.phase, call.outcome) == (Phase.ENDED, Outcome.ANSWERED)
    assert set(await room.bench.states(call.id)) >= {"register", "finish", "fetch_recording"}
    assert room.nudged == [MEMBER]
    receipt = await room.bench.receipt()
    assert (receipt.source, receipt.state, receipt.call_id) == ("history", ReceiptState.APPLIED, call.id)


async def test_reading_again_changes_nothing_and_asks_nobody(room: Room) -> None:
    await room.bench.clock.advance(1_200)
    await room.read(row())
    (before,) = await room.bench.store.calls(MEMBER)
    told = await room.read()
    assert (told.known, told.counts, told.changes) == (1, {}, [])
    assert await room.bench.store.calls(MEMBER) == [before]
    assert len(await room.bench.store.receipts(MEMBER)) == 1
    assert room.nudged == [MEMBER]


async def test_a_call_that_its_webhooks_told_whole_is_only_matched(room: Room) -> None:
    await room.bench.hear(ended())
    before = await room.bench.only_call()
    told = await room.read(row())
    assert told.counts == {How.MATCHED: 1}
    assert await room.bench.only_call() == before
    assert {one.source for one in await room.bench.store.receipts(MEMBER)} == {"unitalk"}
    balance = await ledger_of(room.bench.store, await room.portal(), today(await room.portal(), NOW))
    assert (balance.total, balance.history, balance.count(Standing.WAITING)) == (1, 1, 1)


async def test_a_lost_end_is_filled_and_the_late_one_adds_nothing(room: Room) -> None:
    await room.bench.hear(begun())
    assert (await room.read(row())).counts == {How.WAITING: 1}, "its end may be on its way"
    await room.bench.clock.advance(200)
    told = await room.read()
    assert told.counts == {How.FILLED: 1}
    assert told.changes[0].adds == ("end",)
    filled = await room.bench.only_call()
    assert (filled.phase, filled.talk_seconds) == (Phase.ENDED, 83)
    await room.bench.hear(ended())
    assert (await room.bench.only_call()).notes == ()
    assert len(await room.bench.store.calls(MEMBER)) == 1


async def test_a_link_that_comes_later_in_the_history_is_fetched(room: Room) -> None:
    await room.bench.hear(ended(link=None))
    assert (await room.read(row(link=None))).counts == {How.MATCHED: 1}
    await room.bench.clock.advance(300)
    told = await room.read(row())
    assert (told.counts, told.changes[0].adds) == ({How.FILLED: 1}, ("recording",))
    call = await room.bench.only_call()
    assert "fetch_recording" in await room.bench.states(call.id)


@pytest.mark.parametrize("id_", [27501, None, 555])
async def test_rows_whose_id_is_not_the_live_one_find_their_call(room: Room, id_: int | None) -> None:
    """unitalk.md §4.4: the history's id may be the lasting one, or anything."""
    await room.bench.hear(begun())
    await room.bench.clock.advance(1_200)
    told = await room.read(row(id=id_))
    assert told.counts == {How.FILLED: 1}
    assert (await room.bench.only_call()).pbx_dbid == "27501"


async def test_where_ids_are_live_ones_a_strangers_row_is_a_call_of_its_own(room: Room) -> None:
    """The client calls twice within five seconds; of the second call nothing arrived."""
    await room.bench.hear(ended(dbid="27500"))
    await room.bench.hear(begun(id="1091777", date="2026-09-02 10:15:03"))
    await room.bench.clock.advance(1_200)
    rows = (row(27500), row(27502, id=1091888, date="2026-09-02 10:15:02"))
    assert (await room.read(*rows)).counts == {How.MATCHED: 1, How.CREATED: 1}
    assert len(await room.bench.store.calls(MEMBER)) == 3


@pytest.mark.parametrize("lasting", [(27501, 27502), (None, None)])
async def test_a_call_belongs_to_one_row_only(room: Room, lasting: tuple[int | None, int | None]) -> None:
    await room.bench.hear(begun())
    await room.bench.clock.advance(1_200)
    rows = (row(lasting[0], id=1), row(lasting[1], id=2, date="2026-09-02 10:15:04"))
    assert (await room.read(*rows)).counts == {How.FILLED: 1, How.CREATED: 1}
    balance = await ledger_of(room.bench.store, await room.portal(), today(await room.portal(), NOW))
    assert (balance.total, balance.difference) == (2, 0)


async def test_a_dry_run_says_the_same_and_changes_nothing(room: Room) -> None:
    await room.bench.hear(begun())
    await room.bench.clock.advance(1_200)
    rows = (row(), row(27502, id=1091002, date="2026-09-02 10:16:00"))
    before = await room.bench.only_call()
    dry = await room.read(*rows, dry_run=True)
    assert dry.counts == {How.FILLED: 1, How.CREATED: 1}
    assert await room.bench.only_call() == before
    assert len(await room.bench.store.receipts(MEMBER)) == 1
    assert room.nudged == []
    wet = await room.read(*rows)
    assert wet.counts == dry.counts
    assert {change.how for change in wet.changes} == {change.how for change in dry.changes}


async def test_rows_from_before_our_time_make_no_calls_and_still_fill(room: Room) -> None:
    await room.bench.hear(begun())
    await room.bench.clock.advance(1_200)
    rows = (row(), row(27502, id=1091002, **{"from": "380440000099"}))
    told = await room.read(*rows, not_before=NOW + 1)
    assert (told.counts, told.ignored) == ({How.FILLED: 1}, 1)
    balance = await ledger_of(room.bench.store, await room.portal(), today(await room.portal(), NOW))
    assert balance.total == 1


async def test_a_call_that_goes_on_is_left_alone(room: Room) -> None:
    await room.bench.clock.advance(1_200)
    told = await room.read(row(state="DIALING"))
    assert (told.ignored, told.counts) == (1, {})


async def test_an_odd_row_is_kept_named_and_keeps_nobody_out(room: Room) -> None:
    await room.bench.clock.advance(1_200)
    told = await room.read({"odd": True}, row())
    assert told.counts == {How.FAILED: 1, How.CREATED: 1}
    assert "names no call" in told.changes[0].note + told.changes[1].note
    (odd,) = await room.bench.store.receipts(MEMBER, state=ReceiptState.UNREADABLE)
    assert odd.source == "history"
    await room.read()
    assert len(await room.bench.store.receipts(MEMBER, state=ReceiptState.UNREADABLE)) == 1


async def test_our_own_fault_at_one_row_keeps_the_others_out_of_it(
    room: Room, monkeypatch: pytest.MonkeyPatch
) -> None:
    await room.bench.clock.advance(1_200)
    real = room.desk.move

    async def failing(unit: Any, portal: Any, call: Any, event: Any, *more: Any) -> Any:
        if event.step is Step.ENDED and event.facts.pbx_dbid == "2":
            raise ZeroDivisionError
        return await real(unit, portal, call, event, *more)

    monkeypatch.setattr(room.desk, "move", failing)
    rows = [row(n, id=n, **{"from": f"38044000010{n}"}) for n in (1, 2, 3)]
    assert (await room.read(*rows)).counts == {How.CREATED: 2, How.FAILED: 1}
    (failed,) = await room.bench.store.receipts(MEMBER, state=ReceiptState.FAILED)
    assert failed.error == "ZeroDivisionError in our own code"
    day = today(await room.portal(), NOW)
    balance = await ledger_of(room.bench.store, await room.portal(), day)
    assert (balance.total, balance.difference, balance.count(Standing.NEEDS_PERSON)) == (3, 0, 1)
    monkeypatch.setattr(room.desk, "move", real)
    assert (await room.read()).counts == {How.CREATED: 1}, "a newer version takes it in by itself"


async def test_two_ends_of_one_call_are_a_finding_said_once(room: Room) -> None:
    await room.bench.hear(ended())
    await room.read(row(secondsTalk=12))
    (found,) = await room.bench.store.differences(MEMBER)
    assert (found.kind, found.who) == (Kind.ENDS, "manager")
    assert "talk_seconds 83 / 12" in found.message
    assert (await room.bench.only_call()).talk_seconds == 83
    await room.read(row(secondsTalk=12, comment="x"))
    assert await room.bench.store.differences(MEMBER) == [found]


async def test_what_was_read_before_the_pbx_failed_is_not_half_done(room: Room) -> None:
    await room.bench.clock.advance(1_200)
    room.trouble = VendorBroken("no JSON", code="NOT_JSON")
    with pytest.raises(VendorBroken):
        await room.read(row())
    assert await room.bench.store.calls(MEMBER) == []
    room.trouble = None
    assert (await room.read()).counts == {How.CREATED: 1}


async def test_a_store_that_is_away_ends_the_reading(room: Room, monkeypatch: pytest.MonkeyPatch) -> None:
    async def away(*_: Any) -> Any:
        raise StoreUnavailable("the disk is full")

    await room.bench.clock.advance(1_200)
    cast(Any, room.bench.store).verbs["transact"] = away
    with pytest.raises(StoreUnavailable):
        await room.read(row())
