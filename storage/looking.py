"""A look at the database without opening the store: read-only, beside a running server or without one.

The store itself refuses a second process (design.md §7). This connection takes no lock of ours, cannot
write, and does not migrate: SQLite lets a reader stand beside the one writer.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import sqlite3
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from bitrix_app.core.portal import Portal, Snapshot
from bitrix_app.core.ports import Clock
from bitrix_app.core.store import Vault
from storage import rows
from storage.migrate import load, version
from storage.opening import CHECKED_UP_TO, look
from storage.portals import PortalBook
from storage.queries import load as load_queries
from storage.refusals import StoreRefused, in_words
from storage.resealing import prove

_P: Final = load_queries("portals")


@dataclass(frozen=True, slots=True)
class Looked:
    """What stands in the file. `server` is the process that has the store open, `None` for nobody."""

    path: Path
    exists: bool
    schema: int
    wanted: int
    """The schema that this program works with."""
    free_bytes: int
    server: int | None = None
    portals: Sequence[Portal] = ()
    snapshots: Mapping[tuple[str, str], Snapshot] = field(default_factory=dict)
    """(member_id, kind) → snapshot, of the kinds that were asked for."""


async def look_at(path: Path, vault: Vault, clock: Clock, kinds: Sequence[str] = ()) -> Looked:
    """Raises `StoreRefused` with the cause and what to do."""
    return await asyncio.to_thread(_look, path, vault, clock, kinds)


def _look(path: Path, vault: Vault, clock: Clock, kinds: Sequence[str]) -> Looked:
    migrations = load()
    folder = next(place for place in path.absolute().parents if place.is_dir())
    free = shutil.disk_usage(folder).free
    if not path.exists() or not path.stat().st_size:
        if not os.access(folder, os.W_OK):
            raise StoreRefused(f"{folder} cannot be written; give this user the right to write it")
        return Looked(path, exists=False, schema=0, wanted=len(migrations), free_bytes=free)
    look(path, migrations)
    try:
        with closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True, timeout=2.0)) as db:
            schema = version(db, migrations)
            if path.stat().st_size > CHECKED_UP_TO:  # smaller ones were checked just now
                found = db.execute("PRAGMA quick_check(1)").fetchone()[0]
                if found != "ok":
                    raise StoreRefused(f"{path} is damaged; keep a copy of it and restore a backup")
            current = schema == len(migrations)
            if current:
                prove(db, vault, clock.now())
            portals = PortalBook(vault, clock).read_all(db) if current else ()
            snapshots = {
                (portal.member_id, kind): rows.snapshot_from(kind, row)
                for portal in portals
                for kind in kinds
                if (row := db.execute(_P["snapshot"], (portal.member_id, kind)).fetchone())
            }
    except sqlite3.Error as error:
        raise StoreRefused(f"{path}: {in_words(error)}") from error
    except ValueError as error:
        raise StoreRefused(
            f"{path}: the stored secrets cannot be opened; add the earlier key to the end of APP_SECRET_KEYS"
        ) from error
    return Looked(path, True, schema, len(migrations), free, _holder(path), portals, snapshots)


def _holder(path: Path) -> int | None:
    """The process that the lock file names, when it still lives."""
    try:
        process = int(path.with_name(path.name + ".lock").read_text("ascii").strip() or 0)
        if process > 0:
            os.kill(process, 0)
            return process
    except PermissionError:
        return process  # it lives, as another user
    except (OSError, ValueError):
        return None
    return None
