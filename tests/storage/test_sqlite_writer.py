"""SQLite: the group commit, and what becomes of it when the disk is in trouble."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any, ClassVar

import pytest
from loguru import logger

from bitrix_app.clock import VirtualClock
from bitrix_app.core.store import StoreUnavailable, Unit, Vault, WebhookToken
from storage import writer
from storage.line import pragma_value
from storage.sqlite import SqliteStore
from tests.storage.making import PORTAL, Bench, owed, portal, receipt

pytestmark = pytest.mark.anyio


class Spy(sqlite3.Connection):
    """Remembers the statements and fails those that it is told to."""

    said: ClassVar[list[str]]
    fails: ClassVar[dict[str, sqlite3.Error]]
    committed: ClassVar[Callable[[], None]]

    def execute(self, sql: str, *values: Any) -> sqlite3.Cursor:
        self.said.append(sql)
        if sql in self.fails:
            raise self.fails[sql]
        cursor = super().execute(sql, *values)
        if sql == "COMMIT":
            type(self).committed()
        return cursor


@pytest.fixture
def spy() -> type[Spy]:
    return type("ThisSpy", (Spy,), {"said": [], "fails": {}, "committed": staticmethod(lambda: None)})


@pytest.fixture
async def store(
    database: Path, vault: Vault, clock: VirtualClock, spy: type[Spy]
) -> AsyncIterator[SqliteStore]:
    store = await SqliteStore.open(database, vault, clock, factory=spy)
    spy.said.clear()
    yield store
    await store.close()


@pytest.fixture
def logs() -> Iterator[list[str]]:
    lines: list[str] = []
    sink = logger.add(lambda message: lines.append(str(message)), format="{level} {message}")
    yield lines
    logger.remove(sink)


def trouble(name: str) -> sqlite3.OperationalError:
    error = sqlite3.OperationalError("injected")
    error.sqlite_errorcode = getattr(sqlite3, name)
    error.sqlite_errorname = name
    return error


async def keep(store: SqliteStore, digest: str) -> int | None:
    return await store.transact(lambda unit: unit.receive(receipt(digest)))


async def digests(store: SqliteStore) -> set[str]:
    return {r.digest for r in await store.receipts(PORTAL, limit=10_000)}


# --- durable, then answered --------------------------------------------------------------


async def test_every_commit_waits_for_the_disk(store: SqliteStore) -> None:
    def ask(db: sqlite3.Connection) -> list[Any]:
        return [pragma_value(db, name) for name in ("journal_mode", "synchronous", "foreign_keys")]

    assert await store._writer.between_groups(ask) == ["wal", 2, 1]


async def test_nobody_is_answered_before_the_commit(store: SqliteStore, spy: type[Spy]) -> None:
    answered: list[str] = []
    too_early: list[list[str]] = []
    spy.committed = staticmethod(lambda: too_early.append(list(answered)))

    async def sender(digest: str) -> None:
        await keep(store, digest)
        answered.append(digest)

    await asyncio.gather(*(sender(f"d{n}") for n in range(40)))
    assert too_early == [[]], "one commit for all, and nobody had been answered when it returned"
    assert len(answered) == 40


async def test_what_waits_shares_one_commit(store: SqliteStore, spy: type[Spy]) -> None:
    async def sender(name: int) -> None:
        for n in range(20):
            await keep(store, f"{name}-{n}")

    await asyncio.gather(*(sender(n) for n in range(32)))
    commits = spy.said.count("COMMIT")
    assert len(await digests(store)) == 640
    assert 640 / commits >= 8, f"{commits} commits"


async def test_a_group_is_bounded(store: SqliteStore, spy: type[Spy]) -> None:
    await asyncio.gather(*(keep(store, f"d{n}") for n in range(600)))
    assert spy.said.count("COMMIT") == 3
    between = "|".join(spy.said).split("COMMIT")
    assert max(group.count("SAVEPOINT work") for group in between) <= writer.GROUP


async def test_too_many_waiting_are_told_to_come_back(
    store: SqliteStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writer, "WAITING", 10)
    outcomes = await asyncio.gather(*(keep(store, f"d{n}") for n in range(15)), return_exceptions=True)
    refused = [o for o in outcomes if isinstance(o, StoreUnavailable)]
    assert len(refused) == 5
    assert "too many waiting" in refused[0].reason
    assert len(await digests(store)) == 10


# --- works that misbehave ----------------------------------------------------------------


async def test_a_unit_that_awaits_something_else_is_told_so(store: SqliteStore) -> None:
    closed = False

    async def work(unit: Unit) -> None:
        nonlocal closed
        await unit.receive(receipt())
        try:
            await asyncio.sleep(0)
        finally:
            closed = True

    with pytest.raises(TypeError, match="may await only its unit"):
        await store.transact(work)
    assert closed
    assert await digests(store) == set()
    assert await keep(store, "next") is not None


async def test_a_unit_may_be_any_awaitable(store: SqliteStore) -> None:
    future: asyncio.Future[str] = asyncio.get_running_loop().create_future()
    future.set_result("ready")
    assert await store.transact(lambda _: future) == "ready"


async def test_a_unit_that_even_refuses_to_end_harms_only_itself(store: SqliteStore) -> None:
    class Bad(BaseException):
        pass

    async def work(unit: Unit) -> None:
        await unit.receive(receipt("bad"))
        raise Bad

    outcomes = await asyncio.gather(store.transact(work), keep(store, "good"), return_exceptions=True)
    assert isinstance(outcomes[0], Bad)
    assert await digests(store) == {"good"}


async def test_a_caller_that_gives_up_breaks_nobody_elses_commit(store: SqliteStore) -> None:
    tasks = [asyncio.create_task(keep(store, f"d{n}")) for n in range(20)]
    await asyncio.sleep(0)
    for task in tasks[::2]:
        task.cancel()
    outcomes = await asyncio.gather(*tasks, return_exceptions=True)
    assert [isinstance(o, asyncio.CancelledError) for o in outcomes] == [n % 2 == 0 for n in range(20)]
    assert await digests(store) == {f"d{n}" for n in range(1, 20, 2)}, "what still waited was taken back"
    assert await keep(store, "later") is not None


async def test_a_caller_that_gives_up_during_the_commit_only_does_not_hear_of_it(
    store: SqliteStore, spy: type[Spy]
) -> None:
    loop, task = asyncio.get_running_loop(), asyncio.create_task(keep(store, "d"))

    def give_up() -> None:
        loop.call_soon_threadsafe(task.cancel)

    spy.committed = staticmethod(give_up)
    with pytest.raises(asyncio.CancelledError):
        await task
    spy.committed = staticmethod(lambda: None)
    assert await keep(store, "d") is None, "it was stored"


async def test_closing_writes_what_waits_and_refuses_what_comes(
    database: Path, vault: Vault, clock: VirtualClock
) -> None:
    store = await SqliteStore.open(database, vault, clock)
    tasks = [asyncio.create_task(keep(store, f"d{n}")) for n in range(20)]
    await asyncio.sleep(0)
    await store.close()
    assert None not in await asyncio.gather(*tasks)
    with pytest.raises(StoreUnavailable, match="closed"):
        await keep(store, "late")
    with pytest.raises(StoreUnavailable, match="closed"):
        await store.next_due()


# --- the disk in trouble -----------------------------------------------------------------


def move(here: Path, there: Path) -> None:
    here.rename(there)


@contextmanager
def failing(spy: type[Spy], statement: str, name: str) -> Iterator[None]:
    spy.fails[statement] = trouble(name)
    try:
        yield
    finally:
        del spy.fails[statement]


@pytest.mark.parametrize("statement", ["BEGIN IMMEDIATE", "COMMIT"])
@pytest.mark.parametrize("name", ["SQLITE_FULL", "SQLITE_BUSY", "SQLITE_READONLY", "SQLITE_NOMEM"])
async def test_trouble_that_passes_refuses_everybody_and_heals_by_itself(
    store: SqliteStore, spy: type[Spy], statement: str, name: str
) -> None:
    with failing(spy, statement, name):
        outcomes = await asyncio.gather(*(keep(store, f"d{n}") for n in range(9)), return_exceptions=True)
        assert all(isinstance(o, StoreUnavailable) and name in o.reason for o in outcomes)
        status = await store.status()
        assert status["writable"] is False
        assert name in status["reason"]
    assert await digests(store) == set()
    assert (await store.status())["writable"] is True, "health heals without traffic"
    assert await keep(store, "after") is not None


@pytest.mark.parametrize("name", ["SQLITE_IOERR_FSYNC", "SQLITE_IOERR_WRITE", "SQLITE_CORRUPT"])
async def test_a_failed_sync_stops_writing_for_good(
    store: SqliteStore, spy: type[Spy], logs: list[str], name: str
) -> None:
    assert await keep(store, "before") is not None
    with failing(spy, "COMMIT", name):
        outcomes = await asyncio.gather(*(keep(store, f"d{n}") for n in range(9)), return_exceptions=True)
    assert all(isinstance(o, StoreUnavailable) for o in outcomes)
    spy.said.clear()
    for _ in range(3):
        with pytest.raises(StoreUnavailable, match="until a restart"):
            await keep(store, "again")
    status = await store.status()
    assert (status["writable"], name in status["reason"]) == (False, True)
    assert spy.said == [], "the sync is never tried again"
    assert await digests(store) == {"before"}, "reading goes on"
    assert sum(line.startswith("CRITICAL") for line in logs) == 1


async def test_those_who_waited_behind_a_failed_sync_are_refused_too(
    store: SqliteStore, spy: type[Spy]
) -> None:
    with failing(spy, "COMMIT", "SQLITE_IOERR_FSYNC"):
        outcomes = await asyncio.gather(*(keep(store, f"d{n}") for n in range(600)), return_exceptions=True)
    assert all(isinstance(o, StoreUnavailable) for o in outcomes)
    assert spy.said.count("COMMIT") == 1


async def test_a_disk_that_fills_up_in_the_middle_of_a_unit_keeps_nothing_half(
    store: SqliteStore, clock: VirtualClock, logs: list[str]
) -> None:
    def limit(pages: int) -> Callable[[sqlite3.Connection], object]:
        return lambda db: db.execute(f"PRAGMA max_page_count = {pages}").fetchone()

    async def big(digest: str) -> None:
        async def work(unit: Unit) -> None:
            await unit.receive(receipt(digest, body=b"x" * 50_000))
            await unit.owe(PORTAL, f"portal:{digest}", [owed("a")], clock.now())

        await store.transact(work)

    await store._writer.between_groups(limit(100))
    outcomes = [await asyncio.gather(big(f"d{n}"), return_exceptions=True) for n in range(12)]
    stored = await digests(store)
    assert 0 < len(stored) < 12
    for n, (outcome,) in enumerate(outcomes):
        assert isinstance(outcome, StoreUnavailable) == (f"d{n}" not in stored)
        assert len(await store.lane(PORTAL, f"portal:d{n}")) == (f"d{n}" in stored)
    assert sum("cannot write: the disk is full" in line for line in logs) == 1, "said once, not per webhook"
    await store._writer.between_groups(limit(100_000))
    await big("after")
    assert "after" in await digests(store)
    assert any("writes again" in line for line in logs)


async def test_a_database_that_was_taken_away_is_noticed_before_anything_is_acknowledged(
    store: SqliteStore, database: Path
) -> None:
    assert await keep(store, "before") is not None
    move(database, database.with_name("elsewhere.db"))
    with pytest.raises(StoreUnavailable, match="moved or deleted"):
        await keep(store, "after")
    move(database.with_name("elsewhere.db"), database)


async def test_a_fault_of_our_own_leaves_no_caller_waiting(
    store: SqliteStore, monkeypatch: pytest.MonkeyPatch, logs: list[str]
) -> None:
    def broken(*_: object) -> None:
        raise ZeroDivisionError

    with monkeypatch.context() as patch:
        patch.setattr(store._writer, "_one", broken)
        with pytest.raises(StoreUnavailable, match="the store failed"):
            await keep(store, "d")
    assert await keep(store, "d") is not None
    assert any(line.startswith("ERROR") for line in logs)


# --- token uses --------------------------------------------------------------------------


@asynccontextmanager
async def reopened(database: Path, vault: Vault, clock: VirtualClock) -> AsyncIterator[Bench]:
    store = await SqliteStore.open(database, vault, clock)
    yield Bench(store, clock)
    await store.close()


async def test_token_uses_outlive_a_restart_and_cost_one_write_a_minute(
    database: Path, vault: Vault, clock: VirtualClock, spy: type[Spy]
) -> None:
    store = await SqliteStore.open(database, vault, clock, factory=spy)
    await store.transact(lambda unit: unit.save_portal(portal()))
    await store.add_webhook_token(WebhookToken(PORTAL, "t", clock.now()), overlap_until=None)
    spy.said.clear()
    for _ in range(100):
        await store.webhook_portal("t", clock.now())
    assert spy.said.count("COMMIT") == 0
    await clock.advance(61)
    for _ in range(100):
        await store.webhook_portal("t", clock.now())
    await store.close()
    assert spy.said.count("COMMIT") <= 2
    async with reopened(database, vault, clock) as bench:
        (token,) = await bench.store.webhook_tokens(PORTAL)
        assert token.uses == 200


async def test_counts_that_could_not_be_written_are_kept(store: SqliteStore, spy: type[Spy]) -> None:
    now = store._book.now()
    await store.transact(lambda unit: unit.save_portal(portal()))
    await store.add_webhook_token(WebhookToken(PORTAL, "t", now), overlap_until=None)
    await store.webhook_portal("t", now)
    with failing(spy, "COMMIT", "SQLITE_FULL"):
        await store.webhook_portal("t", now + 61)
        with pytest.raises(StoreUnavailable):
            await keep(store, "d")
    (token,) = await store.webhook_tokens(PORTAL)
    assert token.uses == 2


async def test_health_answers_even_when_nothing_can_be_read(
    store: SqliteStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def broken() -> float | None:
        raise StoreUnavailable("cannot read")

    monkeypatch.setattr(store._reading, "oldest_due", broken)
    status = await store.status()
    assert (status["writable"], status["reason"]) == (False, "cannot read")


async def test_a_unit_that_leaked_out_of_its_transaction_is_useless(store: SqliteStore) -> None:
    leaked: list[Unit] = []

    async def work(unit: Unit) -> None:
        leaked.append(unit)

    await store.transact(work)
    with pytest.raises(sqlite3.ProgrammingError):
        await leaked[0].receive(receipt())
