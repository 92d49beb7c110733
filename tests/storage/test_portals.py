"""Contract: portals, tokens, what is kept for them, and what remains of them."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from bitrix_app.core.advance import Wake
from bitrix_app.core.portal import Portal, PortalSettings, PortalState, Snapshot, TokenPair
from bitrix_app.core.store import Receipt, ReceiptState, Store, Unit, VendorRequest, WebhookToken
from storage import migrate
from tests.storage.making import OTHER, PORTAL, Bench, owed, pair, portal, receipt

pytestmark = pytest.mark.anyio
DAY = 86_400.0


async def save(bench: Bench, *portals: Portal) -> None:
    async def work(unit: Unit) -> None:
        for one in portals:
            await unit.save_portal(one)

    await bench.do(work)


async def pairs(bench: Bench, of: str = PORTAL) -> list[TokenPair]:
    return list(await bench.do(lambda unit: unit.pairs(of)))


async def keep(bench: Bench, one: TokenPair, count: int = 3) -> None:
    await bench.do(lambda unit: unit.keep_pair(one, count))


async def receive(bench: Bench, one: Receipt) -> None:
    await bench.do(lambda unit: unit.receive(one))


# --- portals -----------------------------------------------------------------------------


async def test_a_portal_comes_back_as_it_was_saved(bench: Bench) -> None:
    whole = portal(
        application_token="app-token",
        scope=("telephony", "crm"),
        status="L",
        state=PortalState.NEEDS_REAUTH,
        state_reason="nobody",
        state_since=5.5,
        language="ua",
        license_family="pro",
        app_code="local.1",
        version="1",
        rest_app_id="7",
        installed_by=1,
        unitalk_key="pbx-key",
        settings=PortalSettings(default_user=3, line_users={"380": 4}, drive=False),
        created_at=1.0,
        updated_at=2.0,
    )
    await save(bench, whole, portal(OTHER, created_at=9.0))
    assert await bench.store.portal(PORTAL) == whole
    assert await bench.do(lambda unit: unit.portal(PORTAL)) == whole
    assert await bench.store.portals() == [whole, portal(OTHER, created_at=9.0)]
    assert await bench.store.portal("nobody") is None


async def test_a_saved_portal_is_seen_at_once_everywhere(bench: Bench) -> None:
    await save(bench, portal(status="old"))
    assert await bench.store.portal(PORTAL) == portal(status="old")

    async def work(unit: Unit) -> Portal | None:
        await unit.save_portal(portal(status="new"))
        return await unit.portal(PORTAL)

    assert await bench.store.transact(work) == portal(status="new")
    assert await bench.store.portal(PORTAL) == portal(status="new")
    assert await bench.do(lambda unit: unit.portal(PORTAL)) == portal(status="new")


async def test_a_portal_whose_saving_failed_is_the_old_one(bench: Bench) -> None:
    await save(bench, portal(status="old"))

    async def work(unit: Unit) -> None:
        await unit.save_portal(portal(status="new"))
        assert (await unit.portal(PORTAL)) == portal(status="new")
        raise LookupError

    with pytest.raises(LookupError):
        await bench.do(work)
    assert await bench.do(lambda unit: unit.portal(PORTAL)) == portal(status="old")
    assert await bench.store.portal(PORTAL) == portal(status="old")


async def test_reading_and_saving_at_once_never_leaves_an_old_portal_behind(bench: Bench) -> None:
    await save(bench, portal(status="0"))

    async def read() -> None:
        for _ in range(100):
            await bench.store.portal(PORTAL)
            await asyncio.sleep(0)

    readers = asyncio.gather(*(read() for _ in range(4)))
    for n in range(1, 60):
        await save(bench, portal(status=str(n)))
        found = await bench.store.portal(PORTAL)
        assert found is not None
        assert found.status == str(n)
    await readers


# --- token pairs -------------------------------------------------------------------------


async def test_pairs_are_given_administrators_first_the_latest_refreshed_first(bench: Bench) -> None:
    async def work(unit: Unit) -> None:
        for one in (pair(1, at=1), pair(2, at=9, is_admin=False), pair(3, at=3), pair(4, OTHER, at=9)):
            await unit.keep_pair(one, 3)

    await bench.do(work)
    assert [p.user_id for p in await pairs(bench)] == [3, 1, 2]
    assert (await pairs(bench))[0] == pair(3, at=3)


async def test_of_administrators_the_newest_pairs_stay(bench: Bench) -> None:
    for user, at in ((1, 5.0), (2, 1.0), (3, 9.0), (4, 7.0), (5, 0.0)):
        await keep(bench, pair(user, at=at))
    await keep(bench, pair(9, at=0.0, is_admin=False))
    await keep(bench, pair(9, OTHER))
    assert [p.user_id for p in await pairs(bench)] == [3, 4, 1, 9]


async def test_a_dead_pair_pushes_no_living_one_out(bench: Bench) -> None:
    for user, at in ((1, 1.0), (2, 9.0)):
        await keep(bench, pair(user, at=at), 2)
    await bench.do(lambda unit: unit.kill_pair(pair(2, at=9.0)))
    await bench.do(lambda unit: unit.keep_pair(pair(3, at=3.0), 2))
    assert [p.user_id for p in await pairs(bench)] == [3, 1]


async def test_a_users_new_pair_replaces_the_old_with_the_next_generation(bench: Bench) -> None:
    await bench.do(lambda unit: unit.keep_pair(pair(1, generation=4), 3))
    await bench.do(lambda unit: unit.kill_pair(pair(1, generation=4)))
    await bench.do(lambda unit: unit.keep_pair(pair(1, access="new"), 3))
    (kept,) = await pairs(bench)
    assert (kept.access, kept.generation, kept.dead) == ("new", 5, False)


async def test_only_one_of_those_who_refresh_at_once_swaps(bench: Bench) -> None:
    old = pair(1)
    await bench.do(lambda unit: unit.keep_pair(old, 3))

    async def refresh(n: int) -> bool:
        new = replace(old, access=f"access-{n}", refresh=f"refresh-{n}", generation=2)
        swapped: bool = await bench.do(lambda unit: unit.swap_tokens(old, new))
        return swapped

    swapped = await asyncio.gather(*(refresh(n) for n in range(10)))
    assert sum(swapped) == 1
    (kept,) = await pairs(bench)
    assert (kept.access, kept.generation) == (f"access-{swapped.index(True)}", 2)
    await bench.do(lambda unit: unit.kill_pair(old))
    assert len(await pairs(bench)) == 1, "the rotated pair is another one"


async def test_a_swap_always_moves_the_generation_on(bench: Bench) -> None:
    old = pair(1)
    await bench.do(lambda unit: unit.keep_pair(old, 3))
    assert await bench.do(lambda unit: unit.swap_tokens(old, replace(old, access="x")))
    assert not await bench.do(lambda unit: unit.swap_tokens(old, replace(old, access="y")))


async def test_deleting_the_pairs_spares_other_portals(bench: Bench) -> None:
    for one in (pair(1), pair(1, OTHER)):
        await keep(bench, one)
    await bench.do(lambda unit: unit.delete_pairs(PORTAL))
    assert await pairs(bench) == []
    assert len(await pairs(bench, OTHER)) == 1


# --- webhook tokens ----------------------------------------------------------------------


async def test_a_webhook_token_finds_its_portal(bench: Bench) -> None:
    await save(bench, portal())
    await bench.store.add_webhook_token(WebhookToken(PORTAL, "path-token", bench.now), overlap_until=None)
    assert await bench.store.webhook_portal("path-token", bench.now) == portal()
    assert await bench.store.webhook_portal("path-toke", bench.now) is None
    assert await bench.store.webhook_portal("", bench.now) is None


async def test_an_earlier_token_ends_at_once_or_after_its_overlap(bench: Bench) -> None:
    await save(bench, portal())

    async def add(token: str, overlap_until: float | None) -> None:
        await bench.store.add_webhook_token(
            WebhookToken(PORTAL, token, bench.now), overlap_until=overlap_until
        )

    async def works(token: str) -> bool:
        return await bench.store.webhook_portal(token, bench.now) is not None

    await add("first", None)
    await add("second", bench.now + 60)
    assert await works("first")
    assert await works("second")
    await bench.clock.advance(60)
    assert not await works("first")
    await add("third", None)
    assert not await works("second")
    assert await works("third")


async def test_uses_are_counted_without_a_write_for_each(bench: Bench) -> None:
    await save(bench, portal())
    await bench.store.add_webhook_token(WebhookToken(PORTAL, "t", bench.now), overlap_until=None)
    for _ in range(5):
        await bench.store.webhook_portal("t", bench.now)
    (token,) = await bench.store.webhook_tokens(PORTAL)
    assert (token.token, token.uses, token.last_used_at) == ("t", 5, bench.now)
    await bench.clock.advance(61)
    await bench.store.webhook_portal("t", bench.now)
    await bench.do(lambda unit: unit.receive(receipt()))
    (token,) = await bench.store.webhook_tokens(PORTAL)
    assert (token.uses, token.last_used_at) == (6, bench.now)
    assert await bench.store.webhook_tokens(OTHER) == []


# --- kept for a portal -------------------------------------------------------------------


async def test_a_snapshot_replaces_the_one_before(bench: Bench) -> None:
    assert await bench.store.snapshot(PORTAL, "agents") is None
    await bench.store.save_snapshot(PORTAL, Snapshot("agents", 1.0, ()))
    kept = Snapshot("agents", 2.0, ({"id": 1, "name": "Олена"},))
    await bench.store.save_snapshot(PORTAL, kept)
    assert await bench.store.snapshot(PORTAL, "agents") == kept
    assert await bench.store.snapshot(OTHER, "agents") is None


async def test_the_limiters_level_is_as_last_saved(bench: Bench) -> None:
    assert await bench.store.level(PORTAL) is None
    await bench.store.save_level(PORTAL, 12.5, 100.0, clean=False)
    await bench.store.save_level(PORTAL, 7.25, 101.0, clean=True)
    assert await bench.store.level(PORTAL) == (7.25, 101.0, True)


async def test_the_request_log_is_read_newest_first(bench: Bench) -> None:
    lines = [
        VendorRequest(PORTAL, "bitrix24", "crm.lead.get", float(n), 0.1, 200, "", "request", "answer", "corr")
        for n in range(3)
    ]
    await bench.store.log_requests([*lines, replace(lines[0], portal=OTHER, status=None)])
    await bench.store.log_requests([])
    assert await bench.store.requests(PORTAL, limit=2) == [lines[2], lines[1]]
    assert len(await bench.store.requests(OTHER)) == 1


async def test_pruning_deletes_only_what_is_older(bench: Bench) -> None:
    def line(at: float) -> VendorRequest:
        return VendorRequest(OTHER, "unitalk", "x", at, 0.1, 200, "", "", "")

    async def work(unit: Unit) -> None:
        for n in range(1200):
            await unit.receive(receipt(f"old{n}", at=bench.now - 31 * DAY))
        await unit.receive(receipt("other", OTHER, at=bench.now - 31 * DAY))
        await unit.receive(receipt("young", at=bench.now - 29 * DAY))

    await bench.do(work)
    await bench.store.log_requests([line(bench.now - 31 * DAY), line(bench.now - 29 * DAY)])
    assert await bench.store.prune(bench.now) == 1202
    assert [r.digest for r in await bench.store.receipts(PORTAL)] == ["young"]
    assert [r.at for r in await bench.store.requests(OTHER)] == [bench.now - 29 * DAY]
    assert await bench.store.prune(bench.now) == 0
    assert await bench.store.prune(bench.now, receipts_days=3) == 1


async def test_erasing_a_portal_leaves_a_tombstone_and_no_row_of_it(bench: Bench) -> None:
    for of in (PORTAL, OTHER):
        await save(bench, portal(of, application_token="secret", unitalk_key="secret"))
        await keep(bench, pair(1, of))
        await receive(bench, receipt("d", of, state=ReceiptState.FAILED))
        await bench.store.add_webhook_token(WebhookToken(of, f"token-{of}", bench.now), overlap_until=None)
        await bench.store.save_snapshot(of, Snapshot("agents", 1.0, ()))
        await bench.store.save_level(of, 1.0, 1.0, clean=True)
        await bench.store.log_requests([VendorRequest(of, "unitalk", "x", 1.0, 0.1, 200, "", "", "")])
        await bench.owe(owed("a"), of=of, wakes=(Wake(1.0, "register"),))
        (job,) = await bench.claim(of=of)
        await bench.complete(job)
    before = await everything(bench.store, OTHER)
    await bench.do(lambda unit: unit.erase_portal(PORTAL))
    assert await everything(bench.store, PORTAL) == [None, [], [], {}, [], None, None, [], []]
    assert await bench.store.webhook_portal(f"token-{PORTAL}", bench.now) is None
    assert await pairs(bench) == []
    assert [wake.portal for wake in await bench.store.due_wakes(9.0)] == [OTHER]
    tombstone = await bench.store.portal(PORTAL)
    assert tombstone is not None
    assert tombstone.state is PortalState.UNINSTALLED
    assert (tombstone.domain, tombstone.application_token, tombstone.unitalk_key) == ("", "", "")
    assert await everything(bench.store, OTHER) == before, "no other portal lost anything"
    await bench.complete(job)


async def everything(store: Store, of: str) -> list[object]:
    return [
        await store.call(of, "c1"),
        await store.calls(of),
        await store.lane(of, "c1"),
        await store.job_counts(of),
        await store.receipts(of),
        await store.snapshot(of, "agents"),
        await store.level(of),
        await store.requests(of),
        await store.webhook_tokens(of),
    ]


async def test_health_says_that_it_is_writable_and_what_waits(bench: Bench) -> None:
    await bench.owe(owed("a"))
    status = await bench.store.status()
    assert (status["writable"], status["reason"]) == (True, None)
    assert status["schema"] == len(migrate.load())
    assert status["oldest_due"] == bench.now
    assert status["file_bytes"] + status["wal_bytes"] > 0
