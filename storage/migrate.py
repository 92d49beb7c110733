"""Numbered migrations: each in one transaction, remembered with its checksum."""

from __future__ import annotations

import hashlib
import sqlite3
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib.resources import files
from importlib.resources.abc import Traversable

from storage.refusals import StoreRefused

_TABLE = """
CREATE TABLE schema_versions (
    version INTEGER NOT NULL PRIMARY KEY,
    name TEXT NOT NULL,
    checksum TEXT NOT NULL,
    applied_at REAL NOT NULL
) STRICT
"""


@dataclass(frozen=True, slots=True)
class Migration:
    version: int
    name: str
    script: str

    @property
    def checksum(self) -> str:
        return hashlib.sha256(self.script.encode()).hexdigest()


def load(folder: Traversable | None = None) -> Sequence[Migration]:
    """`NNNN_name.sql`, numbered from 1 without gaps."""
    folder = folder or files("storage") / "sql" / "sqlite" / "migrations"
    found = sorted((f for f in folder.iterdir() if f.name.endswith(".sql")), key=lambda f: f.name)
    migrations = []
    for number, file in enumerate(found, 1):
        version, _, name = file.name.removesuffix(".sql").partition("_")
        if int(version) != number:
            raise ValueError(f"migration {file.name} should have number {number:04}")
        migrations.append(Migration(number, name, file.read_text("utf-8")))
    return migrations


def version(db: sqlite3.Connection, migrations: Sequence[Migration]) -> int:
    """The schema's version, 0 for an empty file; reads only. Raises `StoreRefused` for a schema that
    is newer than this program, was changed by hand, or is not ours."""
    tables = {name for (name,) in db.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
    if "schema_versions" not in tables:
        if tables - {"sqlite_sequence"}:
            raise StoreRefused("the database belongs to another program; choose another DATABASE_URL")
        return 0
    applied = db.execute("SELECT version, name, checksum FROM schema_versions ORDER BY version").fetchall()
    if len(applied) > len(migrations):
        raise StoreRefused(
            f"the database has schema {len(applied)}, this program knows {len(migrations)}: "
            "it was written by a newer version; install that version or restore a backup"
        )
    for (_, name, checksum), known in zip(applied, migrations, strict=False):
        if checksum != known.checksum:
            raise StoreRefused(
                f"migration {known.version} ({name}) of the database differs from this program's; "
                "install the version that wrote it or restore a backup"
            )
    return len(applied)


def migrate(db: sqlite3.Connection, migrations: Sequence[Migration], now: float) -> int:
    """Bring the schema up to the last migration. Killed at any step, the next start goes on."""
    for migration in migrations[version(db, migrations) :]:
        db.execute("BEGIN IMMEDIATE")
        try:
            if migration.version == 1:
                db.execute(_TABLE)
            for statement in _statements(migration.script):
                db.execute(statement)
            db.execute(
                "INSERT INTO schema_versions (version, name, checksum, applied_at) VALUES (?, ?, ?, ?)",
                (migration.version, migration.name, migration.checksum, now),
            )
            db.execute("COMMIT")
        except BaseException:
            if db.in_transaction:
                db.execute("ROLLBACK")
            raise
    return len(migrations)


def _statements(script: str) -> Iterator[str]:
    """One statement at a time: `executescript` would commit what it finds open."""
    statement = ""
    for line in script.splitlines(keepends=True):
        statement += line
        if sqlite3.complete_statement(statement):
            yield statement
            statement = ""
    if any(line.strip() and not line.lstrip().startswith("--") for line in statement.splitlines()):
        raise ValueError("the last statement of the migration has no end")
