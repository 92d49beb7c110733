"""A rig for each pitfall; the web side and the store come from the rooms that made them."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.house.conftest import bench
from tests.pitfalls.rig import PitfallRig
from tests.web.conftest import st, web

__all__ = ["bench", "rig", "st", "web"]


@pytest.fixture
async def rig(tmp_path: Path) -> AsyncIterator[PitfallRig]:
    made = PitfallRig(tmp_path / "spool")
    async with made.sandbox.running():
        yield made
