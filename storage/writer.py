"""The only writing connection: group commit.

Works that arrive while a commit is on its way to the disk wait together and share the next one. Each
has its own savepoint, so a work that fails rolls back nobody else; nobody is answered before COMMIT
returned.
"""

from __future__ import annotations

import asyncio
import os
import sqlite3
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, TypeVar

from loguru import logger

from bitrix_app.core.store import StoreUnavailable
from storage.line import Line
from storage.refusals import in_words, is_store_trouble, latches

T = TypeVar("T")

GROUP: Final = 256
"""Works of one commit at most: what one commit may lose is bounded, and so is its time."""
WAITING: Final = 5_000
"""Beyond it a sender is told to come back instead of being kept."""
CLOSED: Final = "the store is closed"


@dataclass(frozen=True, slots=True)
class _Waiting:
    work: Callable[[sqlite3.Connection], Any]
    done: asyncio.Future[Any]


@dataclass(frozen=True, slots=True)
class _Outcome:
    value: Any = None
    error: BaseException | None = None


class Writer:
    """`before_group` and `after_commit` run on the connection's thread around each group."""

    def __init__(
        self,
        line: Line,
        path: Path,
        *,
        before_group: Callable[[], None] = lambda: None,
        after_commit: Callable[[], None] = lambda: None,
    ) -> None:
        self._line = line
        self._path = path
        self._file = _identity(path)
        self._before_group = before_group
        self._after_commit = after_commit
        self._waiting: deque[_Waiting] = deque()
        self._task: asyncio.Task[None] | None = None
        self._latched: str | None = None
        self._closed = False
        self.trouble: str | None = None
        """Why the last write failed; `None` again once one succeeded."""
        self.commits = 0

    @property
    def waiting(self) -> int:
        return len(self._waiting)

    @property
    def latched(self) -> str | None:
        return self._latched

    async def run(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """Run `work` in the next group and return once it is durable.

        A caller that is cancelled while its work still waits takes it back; later the work is
        committed all the same, and only nobody hears of it.
        """
        return await self.post(work)  # type: ignore[no-any-return]

    def post(self, work: Callable[[sqlite3.Connection], Any]) -> asyncio.Future[Any]:
        if self._closed:
            raise StoreUnavailable(CLOSED)
        if self._latched:
            raise StoreUnavailable(self._latched)
        if len(self._waiting) >= WAITING:
            raise StoreUnavailable(f"too many waiting: {WAITING} writes are queued already")
        done = asyncio.get_running_loop().create_future()
        self._waiting.append(_Waiting(work, done))
        if self._task is None:
            self._task = asyncio.create_task(self._drain(), name="store writer")
        return done

    async def between_groups(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """Run `work` on the writer's thread outside any transaction (backup)."""
        if self._closed:
            raise StoreUnavailable(CLOSED)
        return await self._line.on_thread(work)

    async def close(self) -> None:
        """Write what waits, then close the connection."""
        self._closed = True
        while self._task is not None:
            await asyncio.wait({self._task})
        await self._line.close()

    async def _drain(self) -> None:
        """Commit group after group until nobody waits."""
        group: list[_Waiting] = []
        try:
            while self._waiting:
                group = self._next_group()
                if group:
                    await self._commit(group)
        finally:
            self._task = None
            for waiting in (*group, *self._waiting):  # only when this task itself was cancelled
                if not waiting.done.done():
                    waiting.done.set_exception(StoreUnavailable(CLOSED))
            self._waiting.clear()

    def _next_group(self) -> list[_Waiting]:
        group: list[_Waiting] = []
        while self._waiting and len(group) < GROUP:
            waiting = self._waiting.popleft()
            if not waiting.done.done():  # else its caller was cancelled
                group.append(waiting)
        return group

    async def _commit(self, group: list[_Waiting]) -> None:
        works = [waiting.work for waiting in group]
        try:
            outcomes = await self._line.on_thread(lambda db: self._group(db, works))
        except StoreUnavailable as refusal:
            outcomes = [_Outcome(error=StoreUnavailable(refusal.reason)) for _ in group]
        except Exception as error:  # noqa: BLE001 - a fault of ours must not leave the callers waiting
            logger.opt(exception=error).error("The store's writer failed")
            reason = f"the store failed: {error}"
            outcomes = [_Outcome(error=StoreUnavailable(reason)) for _ in group]
        for waiting, outcome in zip(group, outcomes, strict=True):
            if waiting.done.done():
                continue
            if outcome.error is None:
                waiting.done.set_result(outcome.value)
            else:
                waiting.done.set_exception(outcome.error)

    # --- on the connection's thread --------------------------------------------------------------

    def _group(
        self, db: sqlite3.Connection, works: list[Callable[[sqlite3.Connection], Any]]
    ) -> list[_Outcome]:
        if self._latched:
            raise StoreUnavailable(self._latched)
        if _identity(self._path) != self._file:
            raise self._refuse(f"{self._path} was moved or deleted; put it back and restart", latch=True)
        self._before_group()
        before = db.total_changes
        at_commit = False
        try:
            db.execute("BEGIN IMMEDIATE")
            outcomes = [self._one(db, work) for work in works]
            at_commit = True
            db.execute("COMMIT")
        except sqlite3.Error as error:
            _roll_back(db)
            raise self._refuse(in_words(error), latch=latches(error, at_commit=at_commit)) from error
        except BaseException:
            _roll_back(db)
            raise
        self.commits += 1
        if db.total_changes != before:
            self._recovered()
        self._after_commit()
        return outcomes

    def _one(self, db: sqlite3.Connection, work: Callable[[sqlite3.Connection], Any]) -> _Outcome:
        db.execute("SAVEPOINT work")
        try:
            value = work(db)
        except BaseException as error:
            if is_store_trouble(error):
                raise
            db.execute("ROLLBACK TO work")
            db.execute("RELEASE work")
            return _Outcome(error=error)
        db.execute("RELEASE work")
        return _Outcome(value)

    def _refuse(self, reason: str, *, latch: bool) -> StoreUnavailable:
        if latch:
            self._latched = f"writing stopped until a restart: {reason}"
            logger.critical("The store takes nothing more until a restart: {}", reason)
        elif self.trouble is None:
            logger.error("The store cannot write: {}", reason)
        self.trouble = self._latched or reason
        return StoreUnavailable(self.trouble)

    def _recovered(self) -> None:
        if self.trouble is not None:
            logger.info("The store writes again")
            self.trouble = None


def _roll_back(db: sqlite3.Connection) -> None:
    """SQLite may have rolled back by itself already."""
    if db.in_transaction:
        try:
            db.execute("ROLLBACK")
        except sqlite3.Error as error:
            logger.warning("Rolling back failed: {}", error)


def _identity(path: Path) -> tuple[int, int] | None:
    try:
        found = os.stat(path)
    except FileNotFoundError:
        return None
    return found.st_dev, found.st_ino
