"""Every fault at every step of a call: in the end the call stands in the portal once, and whole."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.faults.house import assert_exactly_once, house
from tests.faults.table import BAD, LIVE_ONLY, STEPS, Bad, arm

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize("way", ["in-time", "end-alone"])
@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize("bad", BAD, ids=lambda bad: bad.name)
async def test_once(tmp_path: Path, bad: Bad, step: str, way: str) -> None:
    if way == "end-alone" and step in LIVE_ONLY:
        return
    async with house(tmp_path) as up:
        struck = arm(up, bad, step)
        if way == "in-time":
            told = up.live_call()
            await up.run_for(30.0)
        else:
            told = up.past_call()
            await up.end_alone(told)
        await up.settle(calls=1)
        assert struck() == 1
        await assert_exactly_once(up, [told])
        assert len(up.portal.leads) == 4, "the three of the seed and one"
