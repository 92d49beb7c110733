"""Every fault at every step of a call: in the end the call stands in the portal once, and whole."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.faults.house import assert_exactly_once, house
from tests.faults.table import BAD, FINISH, LIVE_ONLY, REGISTER, STEPS, Bad, arm

pytestmark = pytest.mark.anyio

EVERY_DAY_IN_TIME = (*LIVE_ONLY, REGISTER, FINISH)
LIKE_LOST = ("500-json-done", "502-html-done", "truncated", "slow-70")
"""For what comes after Finish these are told apart by nobody; the long run has them."""


def cells() -> list[object]:
    """What comes after Finish is the same in both ways: the everyday run has it once."""
    found: list[object] = []
    for bad in BAD:
        for step in STEPS:
            for way in ("in-time", "end-alone"):
                if way == "end-alone" and step in LIVE_ONLY:
                    continue
                marks = []
                if step not in EVERY_DAY_IN_TIME and (way == "in-time" or bad.name in LIKE_LOST):
                    marks.append(pytest.mark.slow)
                found.append(pytest.param(bad, step, way, marks=marks, id=f"{bad.name}-{step}-{way}"))
    return found


@pytest.mark.parametrize(("bad", "step", "way"), cells())
async def test_a_call_arrives_once_and_whole(tmp_path: Path, bad: Bad, step: str, way: str) -> None:
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
        await assert_exactly_once(up, [told], strays=(bad.name, step) == ("late-90", REGISTER))
        assert len(up.portal.leads) == 4, "the three of the seed and one"
