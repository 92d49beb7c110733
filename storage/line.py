"""One SQLite connection with its thread."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, TypeVar

import aiosqlite

T = TypeVar("T")

_STATEMENTS: Final = 256
"""More than the house has query texts: each is prepared once per connection."""
JOURNAL_LIMIT: Final = 16 * 1024 * 1024


class Line(aiosqlite.Connection):
    """aiosqlite's connection, plus whole functions on its thread."""

    async def on_thread(self, function: Callable[[sqlite3.Connection], T]) -> T:
        """Run `function(connection)` on the connection's thread.

        Through the protected `_execute`, because aiosqlite offers only single statements: a group
        commit of 256 events would cross between loop and thread thousands of times instead of once.
        """
        result: T = await self._execute(function, self._conn)  # type: ignore[no-untyped-call]
        return result


async def open_line(path: Path, *, factory: type[sqlite3.Connection] = sqlite3.Connection) -> Line:
    """A connection with manual transactions; its settings are the caller's."""

    def connect() -> sqlite3.Connection:
        return sqlite3.connect(
            path,
            timeout=0.2,
            isolation_level=None,
            cached_statements=_STATEMENTS,
            factory=factory,
        )

    line = Line(connect, iter_chunk_size=64)
    line._thread.daemon = True  # after a crash elsewhere, a store left open must not keep the process alive
    await line
    return line


def make_writer(db: sqlite3.Connection) -> None:
    """Every commit reaches the disk before it returns; this connection also checkpoints."""
    for pragma in (
        "journal_mode = wal",
        "synchronous = full",
        "wal_autocheckpoint = 1000",
        f"journal_size_limit = {JOURNAL_LIMIT}",
        "foreign_keys = on",
        "temp_store = memory",
        "cache_size = -16000",
    ):
        db.execute(f"PRAGMA {pragma}").fetchall()
    mode, sync = pragma_value(db, "journal_mode"), pragma_value(db, "synchronous")
    if mode != "wal" or sync != 2:
        raise ValueError(
            f"SQLite did not accept journal_mode=wal and synchronous=full (it says {mode} and {sync}); "
            "the folder must be on a local disk"
        )


def make_reader(db: sqlite3.Connection) -> None:
    """Never writes, never checkpoints."""
    for pragma in ("query_only = 1", "wal_autocheckpoint = 0", "temp_store = memory", "cache_size = -4000"):
        db.execute(f"PRAGMA {pragma}").fetchall()


def pragma_value(db: sqlite3.Connection, name: str) -> Any:
    return db.execute(f"PRAGMA {name}").fetchone()[0]
