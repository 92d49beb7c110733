"""What the file tests run as another process: `python -m tests.storage.process WHAT DATABASE`."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

from bitrix_app.clock import SystemClock
from bitrix_app.core.advance import Transition
from bitrix_app.core.store import StoreUnavailable, Unit
from bitrix_app.vault import SecretVault
from storage import StoreLocked
from storage.sqlite import SqliteStore
from tests.storage.making import KEY, call, owed, receipt


async def keep(store: SqliteStore, digest: str) -> None:
    """One unit, and its digest told once it is durable."""

    async def work(unit: Unit) -> None:
        await unit.receive(receipt(digest))
        await unit.apply(Transition(call(digest), (owed("a"), owed("b", "a"))), 1.0)

    await store.transact(work)
    print(digest, flush=True)  # noqa: T201 - the parent reads it


async def forever(store: SqliteStore, name: int) -> None:
    n = 0
    while True:
        n += 1
        await keep(store, f"d-{name}-{n}")


async def main(what: str, database: Path, count: int) -> int:
    try:
        store = await SqliteStore.open(database, SecretVault(KEY), SystemClock())
    except StoreLocked as refusal:
        print(refusal.reason)  # noqa: T201 - the parent reads it
        return 3
    if what == "write":
        await asyncio.gather(*(forever(store, name) for name in range(16)))
    if what == "one-by-one":
        for n in range(count):
            try:
                await keep(store, f"d-{n}")
            except StoreUnavailable as refusal:
                print(refusal.reason, flush=True)  # noqa: T201 - the parent reads it
    await store.close()
    return 0


if __name__ == "__main__":
    how_many = int(sys.argv[3]) if len(sys.argv) > 3 else 60
    raise SystemExit(asyncio.run(main(sys.argv[1], Path(sys.argv[2]), how_many)))
