"""The web side over its own ASGI application, without sockets."""

from __future__ import annotations

import io
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from httpx import ASGITransport, AsyncClient
from loguru import logger

from bitrix_app import logs
from bitrix_app.web.routes import asgi
from tests.web.calling import Office, office
from tests.web.fakes import BASE, Stage, stage


@pytest.fixture
def st() -> Stage:
    return stage()


@pytest.fixture
async def web(st: Stage) -> AsyncIterator[AsyncClient]:
    async with AsyncClient(transport=ASGITransport(asgi(st.deps)), base_url=BASE) as client:
        yield client


@pytest.fixture
def log() -> Iterator[io.StringIO]:
    """What we would have logged, through our own redaction."""
    stream = io.StringIO()

    def write(message: object) -> None:
        stream.write(logs.as_text(message.record))  # type: ignore[attr-defined]

    handler = logger.add(write, level="TRACE", format="{message}")
    yield stream
    logger.remove(handler)


@pytest.fixture
async def here(tmp_path: Path) -> AsyncIterator[Office]:
    """An office with a real store, for calling out."""
    async with office(tmp_path) as one:
        yield one
