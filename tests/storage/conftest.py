"""The databases that the contract is proven on."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from bitrix_app.clock import VirtualClock
from bitrix_app.core.store import Store, Vault
from bitrix_app.vault import SecretVault
from storage import open_store
from tests.storage.making import KEY, Bench


@pytest.fixture
def clock() -> VirtualClock:
    return VirtualClock()


@pytest.fixture
def vault() -> Vault:
    return SecretVault(KEY)


@pytest.fixture
def database(tmp_path: Path) -> Path:
    return tmp_path / "unitalk.db"


@pytest.fixture(params=["sqlite"])
async def store(
    request: pytest.FixtureRequest, database: Path, vault: Vault, clock: VirtualClock
) -> AsyncIterator[Store]:
    """Contract tests know nothing but this; PostgreSQL becomes another parameter."""
    store = await open_store(f"{request.param}:///{database}", vault, clock)
    yield store
    await store.close()


@pytest.fixture
def bench(store: Store, clock: VirtualClock) -> Bench:
    return Bench(store, clock)
