"""A fresh store with one active portal for each test."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import cast

import pytest

from bitrix_app.core.store import Store
from bitrix_app.vault import SecretVault
from storage import open_store
from tests.house.making import KEY, Bench, HouseClock, Through, portal


@pytest.fixture
async def bench(tmp_path: Path, anyio_backend: str) -> AsyncIterator[Bench]:
    clock = HouseClock()
    store = await open_store(f"sqlite:///{tmp_path}/unitalk.db", SecretVault(KEY), clock)
    clock.store = Through(store)
    known = portal()
    await store.transact(lambda unit: unit.save_portal(known))
    yield Bench(cast(Store, clock.store), clock, known)
    await store.close()
