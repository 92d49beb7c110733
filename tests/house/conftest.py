"""A fresh store with one active portal for each test."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from bitrix_app.clock import VirtualClock
from bitrix_app.vault import SecretVault
from storage import open_store
from tests.house.making import KEY, NOW, Bench, portal


@pytest.fixture
async def bench(tmp_path: Path, anyio_backend: str) -> AsyncIterator[Bench]:
    clock = VirtualClock(NOW, settle=0.002)
    store = await open_store(f"sqlite:///{tmp_path}/unitalk.db", SecretVault(KEY), clock)
    known = portal()
    await store.transact(lambda unit: unit.save_portal(known))
    yield Bench(store, clock, known)
    await store.close()
