"""Why the store cannot open or cannot write, in words for the operator."""

from __future__ import annotations

import sqlite3
from typing import Final

from bitrix_app.core.store import StoreUnavailable


class StoreRefused(StoreUnavailable):
    """The store cannot be opened as it is; its file was left untouched."""


class StoreLocked(StoreRefused):
    """Another process holds the database."""


_PRIMARY: Final = 0xFF
_WORDS: Final = {
    sqlite3.SQLITE_FULL: "the disk is full; free some space, the store then goes on by itself",
    sqlite3.SQLITE_BUSY: "the database is locked by another program; close it",
    sqlite3.SQLITE_LOCKED: "the database is locked; try again",
    sqlite3.SQLITE_READONLY: "the database can only be read; check its rights and how the disk is mounted",
    sqlite3.SQLITE_IOERR: "the disk reported an input/output error; check the disk, then restart",
    sqlite3.SQLITE_CORRUPT: "the database is damaged; stop, keep a copy of it and restore a backup",
    sqlite3.SQLITE_NOTADB: "the file is not a SQLite database; move it away or restore a backup",
    sqlite3.SQLITE_CANTOPEN: "the database cannot be opened; check its folder and rights",
    sqlite3.SQLITE_NOMEM: "there is not enough memory",
    sqlite3.SQLITE_INTERRUPT: "the work was interrupted",
    sqlite3.SQLITE_PROTOCOL: "the database is locked by another program; close it",
}


def is_store_trouble(error: BaseException) -> bool:
    """The disk, the file or a lock is in trouble, not the work that met it: SQLite may already have
    rolled back the whole transaction, so nothing of the group can be kept."""
    return isinstance(error, sqlite3.Error) and _code(error) & _PRIMARY in _WORDS


def latches(error: sqlite3.Error, *, at_commit: bool) -> bool:
    """Nothing may be written any more until a restart.

    After a failed sync the kernel may call the lost pages clean, and SQLite itself would go on
    (reliability.md K10): the next "success" would prove nothing.
    """
    code = _code(error)
    if code & _PRIMARY == sqlite3.SQLITE_IOERR:
        return at_commit or code in (sqlite3.SQLITE_IOERR_FSYNC, sqlite3.SQLITE_IOERR_DIR_FSYNC)
    return code & _PRIMARY in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)


def in_words(error: sqlite3.Error) -> str:
    code = _code(error)
    name = getattr(error, "sqlite_errorname", "") or type(error).__name__
    words = _WORDS.get(code & _PRIMARY, "the database reported an error")
    return f"{words} ({name}: {error})"


def _code(error: sqlite3.Error) -> int:
    code: int = getattr(error, "sqlite_errorcode", 0) or 0
    return code
