"""A fresh world for each journey."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from bitrix_app.gateway import HttpGateway
from bitrix_app.sandbox.demo import stage
from tests.journeys.world import World


@pytest.fixture
async def world(tmp_path: Path, anyio_backend: str) -> AsyncIterator[World]:
    http = HttpGateway(allow_loopback=True)
    async with stage(0, tmp_path) as up:
        made = World(up, http)
        await made.people_are_known()
        yield made
        await made.no_card_is_open()
    await http.close()
