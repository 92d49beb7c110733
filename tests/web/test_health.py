"""Supervisors: alive is not the same as ready."""

from __future__ import annotations

import pytest
from httpx import AsyncClient

from bitrix_app.web import health
from tests.web.fakes import Stage

pytestmark = pytest.mark.anyio


async def test_a_healthy_process_is_ready(web: AsyncClient, st: Stage) -> None:
    assert (await web.get("/health/live")).json() == {"status": "ok"}
    answer = await web.get("/health/ready")
    assert answer.status_code == 200
    assert answer.json()["reasons"] == []


async def test_a_store_that_cannot_write_is_not_ready_and_says_why(web: AsyncClient, st: Stage) -> None:
    st.store.trouble = "database or disk is full"
    answer = await web.get("/health/ready")
    assert answer.status_code == 503
    assert answer.json()["reasons"] == ["store: database or disk is full"]
    assert (await web.get("/health/live")).status_code == 200


async def test_a_store_that_is_away_is_not_ready(web: AsyncClient, st: Stage) -> None:
    st.store.away = "another process has the database"
    answer = await web.get("/health/ready")
    assert (answer.status_code, answer.json()["reasons"]) == (
        503,
        ["store: another process has the database"],
    )


async def test_a_store_that_hangs_or_breaks_is_not_ready(
    web: AsyncClient, st: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    import anyio

    async def hang() -> None:
        await anyio.sleep(5)

    async def broken() -> None:
        raise RuntimeError("canary-inside")

    monkeypatch.setattr(health, "SECONDS", 0.05)
    monkeypatch.setattr(st.store, "status", hang)
    assert (await web.get("/health/ready")).json()["reasons"] == ["store: the database does not answer"]
    monkeypatch.setattr(st.store, "status", broken)
    answer = await web.get("/health/ready")
    assert answer.status_code == 503
    assert "canary-inside" not in answer.text


@pytest.mark.parametrize(("alive", "status"), [(True, 200), (None, 200), (False, 503)])
async def test_a_worker_that_stands_still_is_not_ready(
    web: AsyncClient, st: Stage, alive: bool | None, status: int
) -> None:
    st.worker_alive = alive
    assert (await web.get("/health/ready")).status_code == status
