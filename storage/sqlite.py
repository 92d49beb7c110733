"""The store on one SQLite file: a facade over the writer, the readers and the portal book."""

from __future__ import annotations

import sqlite3
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Final, TypeVar

from loguru import logger

from bitrix_app.core.jobs import Job
from bitrix_app.core.portal import Portal, Snapshot
from bitrix_app.core.ports import Clock
from bitrix_app.core.retention import LEDGER_DAYS
from bitrix_app.core.store import StoreUnavailable, Unit, Vault, VendorRequest, WebhookToken
from storage import graph, rows
from storage.agents import AgentReaderMixin
from storage.campaigns import CampaignPages
from storage.lock import FileLock
from storage.opening import Opened, copy_to, open_file
from storage.portals import PortalBook
from storage.queries import load
from storage.reading import Reading
from storage.reconcile import ReconcileReading, beat
from storage.refusals import StoreRefused
from storage.resealing import reseal
from storage.unit import SqliteUnit, drive
from storage.uses import Uses
from storage.writer import Writer

T = TypeVar("T")

_P: Final = load("portals")
_R: Final = load("receipts")
_V: Final = load("requests")
_L: Final = load("reconcile")
_DAY: Final = 86_400.0
PRUNE_STEP: Final = 500
"""Rows of one small delete: intake never waits behind a big one."""


async def _reseal(opened: Opened, vault: Vault, clock: Clock) -> None:
    try:
        count = await opened.line.on_thread(lambda db: reseal(db, vault, clock.now()))
    except ValueError as sealed:
        raise StoreRefused(
            f"The stored secrets cannot be read: {sealed}. Put the earlier key back into "
            "APP_SECRET_KEYS, behind the new one."
        ) from sealed
    if count:
        logger.info(
            "{} rows were sealed anew with the first of APP_SECRET_KEYS; the others can be removed", count
        )


class SqliteStore(AgentReaderMixin, CampaignPages, ReconcileReading):
    """See `core.store.Store`. Made by `open`, ended by `close`."""

    def __init__(self, opened: Opened, lock: FileLock, reading: Reading, book: PortalBook) -> None:
        self._path = opened.path
        self._schema = opened.schema
        self._lock = lock
        self._reading = reading
        self._book = book
        self._uses = Uses()
        self._writer = Writer(opened.line, opened.path, before_group=book.begin, after_commit=book.committed)
        self.due_portals = reading.due_portals
        self.next_due = reading.next_due
        self.due_wakes = reading.due_wakes
        self.snapshot = reading.snapshot
        self.level = reading.level
        self.calls = reading.calls
        self.unmatched_counts = reading.unmatched_counts
        self.repairs = reading.repairs
        self.repair = reading.repair
        self.job_states = reading.job_states
        self.call = reading.call
        self.lane = reading.lane
        self.intents = reading.intents
        self.intent = reading.intent
        self.intent_counts = reading.intent_counts
        self.attempts = reading.attempts
        self.receipts = reading.receipts
        self.job_counts = reading.job_counts
        self.requests = reading.requests
        self.pages = reading.page  # type: ignore[method-assign]

    @classmethod
    async def open(
        cls,
        path: Path,
        vault: Vault,
        clock: Clock,
        *,
        factory: type[sqlite3.Connection] = sqlite3.Connection,
    ) -> SqliteStore:
        """Raises `StoreRefused` with the cause and what to do; the file is then as it was."""
        lock = FileLock(path)
        lock.acquire()
        try:
            opened = await open_file(path, clock.now(), factory)
            try:
                await _reseal(opened, vault, clock)
                reading = await Reading.open(path)
            except BaseException:
                await opened.line.close()
                raise
        except BaseException:
            lock.release()
            raise
        return cls(opened, lock, reading, PortalBook(vault, clock))

    async def close(self) -> None:
        """Write what waits; readers go before the writer, so that its close can checkpoint."""
        if self._uses.pending and not self._writer.latched:
            with suppress(StoreUnavailable):  # counts only
                self._post_uses()
                await self._writer.run(lambda _: None)
        await self._reading.close()
        await self._writer.close()
        self._lock.release()

    # --- units ---------------------------------------------------------------------------------------

    async def transact(self, work: Callable[[Unit], Awaitable[T]]) -> T:
        book = self._book
        return await self._writer.run(lambda db: drive(work, SqliteUnit(db, book)))

    async def claim(
        self,
        portal: str,
        now: float,
        limit: int,
        lease_until: float,
        max_priority: int = 99,
        without: Sequence[str] = (),
    ) -> Sequence[Job]:
        return await self._writer.run(
            lambda db: graph.claim(db, portal, now, limit, lease_until, max_priority, without)
        )

    async def rescue(self, now: float) -> int:
        at = min(now, self._book.now())
        return await self._writer.run(lambda db: graph.rescue(db, now, at))

    async def release(self, jobs: Sequence[Job]) -> None:
        await self._writer.run(lambda db: graph.release(db, jobs))

    # --- portals -------------------------------------------------------------------------------------

    async def portals(self) -> Sequence[Portal]:
        return await self._reading.house(self._book.read_all)

    async def portal(self, member_id: str) -> Portal | None:
        pages = self._book.pages()
        known = pages.portals.get(member_id)
        if known is None:
            known = await self._reading.house(lambda db: self._book.read(db, member_id))
            if known is not None:
                pages.portals[member_id] = known
        return known

    async def webhook_portal(self, token: str, now: float) -> Portal | None:
        pages = self._book.pages()
        if pages.tokens is None:
            pages.tokens = await self._reading.house(self._book.read_tokens)
        for hash_ in self._book.vault.hashes(token):
            found = pages.tokens.get(hash_)
            if found is not None and (found[1] is None or found[1] > now):
                self._uses.count(found[0], hash_, now)
                if self._uses.is_due(now) and not self._writer.latched:
                    self._post_uses()
                return await self.portal(found[0])
        return None

    async def webhook_tokens(self, member_id: str) -> Sequence[WebhookToken]:
        found = await self._reading.house(
            lambda db: db.execute(_P["webhook_tokens"], (member_id,)).fetchall()
        )
        tokens = []
        for hash_, sealed, created_at, expires_at, last_used_at, uses in found:
            more, last = self._uses.of(member_id, hash_)
            tokens.append(
                WebhookToken(
                    portal=member_id,
                    token=self._book.vault.open(sealed, member_id, "webhook_token"),
                    created_at=created_at,
                    expires_at=expires_at,
                    last_used_at=last if last is not None else last_used_at,
                    uses=uses + more,
                )
            )
        return tokens

    async def add_webhook_token(self, token: WebhookToken, *, overlap_until: float | None) -> None:
        await self._writer.run(lambda db: self._book.add_webhook_token(db, token, overlap_until))

    def _post_uses(self) -> None:
        """Into the group that the webhook itself is about to join."""
        try:
            self._writer.post(self._uses.taken()).add_done_callback(self._uses.settled)
        except StoreUnavailable:
            self._uses.give_back()

    async def save_snapshot(self, portal: str, snapshot: Snapshot) -> None:
        await self._write(_P["save_snapshot"], rows.snapshot_row(portal, snapshot))

    async def save_level(self, portal: str, level: float, at: float, *, clean: bool) -> None:
        await self._write(_P["save_level"], (portal, level, at, clean))

    async def log_requests(self, entries: Sequence[VendorRequest]) -> None:
        lines = [rows.request_row(entry) for entry in entries]
        if lines:
            await self._writer.run(lambda db: db.executemany(_V["add"], lines).rowcount)

    async def _write(self, sql: str, values: rows.Row) -> int:
        return await self._writer.run(lambda db: db.execute(sql, values).rowcount)

    # --- keeping house -------------------------------------------------------------------------------

    async def prune(self, now: float, receipts_days: int = 30, log_days: int = 30) -> int:
        """Delete what is older, in small steps between other people's commits; the number of rows."""
        gone = 0
        for queries, days in ((_R, receipts_days), (_V, log_days)):
            for portal in await self._reading.column(queries["portals"]):
                values = (portal, now - days * _DAY, PRUNE_STEP)
                while step := await self._write(queries["prune"], values):
                    gone += step
        for portal in await self._reading.column(_L["portals"]):
            for name, days in (("rows", LEDGER_DAYS), ("differences", LEDGER_DAYS), ("compared", log_days)):
                while step := await self._write(_L[f"prune_{name}"], (portal, now - days * _DAY, PRUNE_STEP)):
                    gone += step
        return gone + await self._write(_P["prune_webhook_tokens"], (now - receipts_days * _DAY,))

    async def beat(self, name: str, at: float) -> float | None:
        return await self._writer.run(lambda db: beat(db, name, at))

    async def status(self) -> Mapping[str, Any]:
        """After a failed write it tries one itself, so that health heals without traffic."""
        if self._writer.trouble is not None and not self._writer.latched:
            with suppress(StoreUnavailable):  # the writer remembers why
                await self._write(_V["probe"], (self._book.now(),))
        trouble, oldest = self._writer.trouble, None
        try:
            oldest = await self._reading.oldest_due()
        except StoreUnavailable as unreadable:
            trouble = trouble or unreadable.reason
        return {
            "database": "sqlite",
            "version": sqlite3.sqlite_version,
            "writable": trouble is None,
            "reason": trouble,
            "schema": self._schema,
            "oldest_due": oldest,
            "waiting": self._writer.waiting,
            "file_bytes": _size(self._path),
            "wal_bytes": _size(self._path.with_name(self._path.name + "-wal")),
        }

    async def backup(self, path: Path) -> None:
        """A consistent copy, made by the writer's own connection; `path` must not exist yet."""
        await self._writer.between_groups(lambda db: copy_to(db, path))


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0
