"""The house's memory: `open_store` by the address of a database."""

from __future__ import annotations

from pathlib import Path

from bitrix_app.core.ports import Clock
from bitrix_app.core.store import Store, Vault
from storage.refusals import StoreLocked, StoreRefused
from storage.sqlite import SqliteStore

__all__ = ["SqliteStore", "StoreLocked", "StoreRefused", "open_store", "sqlite_path"]

_SQLITE = "sqlite:///"


async def open_store(url: str, vault: Vault, clock: Clock) -> Store:
    """The store at `sqlite:///relative/path` or `sqlite:////absolute/path`; makes the folder.

    Raises `StoreRefused` (a `StoreUnavailable`) with the cause and what to do.
    """
    path = sqlite_path(url)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StoreRefused(f"the folder {path.parent} cannot be made: {error.strerror}") from error
    return await SqliteStore.open(path, vault, clock)


def sqlite_path(url: str) -> Path:
    """The file of a `sqlite:///` address. Raises `StoreRefused` for any other."""
    if url.startswith(("postgresql://", "postgres://")):
        raise StoreRefused("PostgreSQL is not available yet; use DATABASE_URL=sqlite:///data/unitalk.db")
    path = url.removeprefix(_SQLITE)
    if path == url or not path or path.endswith("/"):
        raise StoreRefused("DATABASE_URL must be sqlite:///relative/path.db or sqlite:////absolute/path.db")
    return Path(path)
