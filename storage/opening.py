"""Opening a database file: look before touching, refuse in words, then bring the schema up to date."""

from __future__ import annotations

import asyncio
import os
import sqlite3
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from loguru import logger

from storage.line import Line, make_writer, open_line
from storage.migrate import Migration, load, migrate, version
from storage.refusals import StoreRefused, in_words

_HEADER: Final = b"SQLite format 3\x00"
CHECKED_UP_TO: Final = 32 * 1024 * 1024
"""Files up to this size are checked whole at each start (about 0.1 s); bigger ones by `check`."""


@dataclass(frozen=True, slots=True)
class Opened:
    path: Path
    line: Line
    schema: int


async def open_file(path: Path, now: float, factory: type[sqlite3.Connection] = sqlite3.Connection) -> Opened:
    """The writer's connection on a migrated schema. Raises `StoreRefused`; nothing was changed then."""
    migrations = load()
    await asyncio.to_thread(_prepare, path, migrations)
    _log_version()
    try:
        line = await open_line(path, factory=factory)
    except sqlite3.Error as error:
        raise StoreRefused(f"{path}: {in_words(error)}") from error
    try:
        await line.on_thread(make_writer)
        schema = await line.on_thread(lambda db: migrate(db, migrations, now))
    except BaseException as error:
        await line.close()
        if isinstance(error, sqlite3.Error):
            raise StoreRefused(f"{path}: {in_words(error)}") from error
        if isinstance(error, ValueError):
            raise StoreRefused(f"{path}: {error}") from error
        raise
    return Opened(path, line, schema)


def _prepare(path: Path, migrations: Sequence[Migration]) -> None:
    try:
        if path.exists() and path.stat().st_size:
            look(path, migrations)
        elif not path.exists():
            os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))  # -wal and -shm take its rights over
    except OSError as error:
        raise StoreRefused(f"{path} cannot be opened: {error.strerror}; check its rights") from error


def look(path: Path, migrations: Sequence[Migration]) -> None:
    """Refuse what we must not touch: no database, a damaged, foreign, newer or read-only one."""
    with path.open("rb") as file:
        if file.read(len(_HEADER)) != _HEADER:
            raise StoreRefused(f"{path} is not a SQLite database; move it away or restore a backup")
    for what in (path, path.parent):
        if not os.access(what, os.W_OK) or not what.stat().st_mode & 0o222:
            raise StoreRefused(f"{what} can only be read; give this user the right to write it")
    try:
        with closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True, timeout=0.2)) as db:
            version(db, migrations)
            problem = _problem(db) if path.stat().st_size <= CHECKED_UP_TO else None
    except sqlite3.Error as error:
        raise StoreRefused(f"{path}: {in_words(error)}") from error
    except StoreRefused as refusal:
        raise StoreRefused(f"{path}: {refusal.reason}") from None
    if problem:
        raise StoreRefused(f"{path} is damaged ({problem}); keep a copy of it and restore a backup")


def _problem(db: sqlite3.Connection) -> str | None:
    found: str = db.execute("PRAGMA quick_check(1)").fetchone()[0]
    return None if found == "ok" else " ".join(found.split())


def copy_to(db: sqlite3.Connection, path: Path) -> None:
    """`VACUUM INTO` a neighbour, on disk, then under its name: never half a backup."""
    if path.exists():
        raise FileExistsError(f"{path} exists already; choose another name")
    part = path.with_name(path.name + ".part")
    part.unlink(missing_ok=True)
    os.close(os.open(part, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600))
    try:
        db.execute("VACUUM INTO ?", (str(part),))
        _sync(part)
        part.rename(path)
        _sync(path.parent)
    finally:
        part.unlink(missing_ok=True)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _log_version() -> None:
    here = sqlite3.sqlite_version_info
    mended = here >= (3, 51, 3) or (3, 50, 7) <= here < (3, 51) or (3, 44, 6) <= here < (3, 45)
    if mended:
        logger.info("SQLite {}", sqlite3.sqlite_version)
    else:
        logger.warning(
            "SQLite {} has a WAL defect with several writers (mended in 3.51.3, 3.50.7, 3.44.6). "
            "This program writes through one connection only; never write the file with another tool.",
            sqlite3.sqlite_version,
        )
