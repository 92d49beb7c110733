"""A campaign of 2,000 leads on the virtual clock: every try counted once, no phone given twice.

Three times the process is killed on the way; it changes nothing.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from bitrix_app.core.campaigns import PhoneState
from tests.faults.campaigns import adds, assert_true, killed_at, ready, start, until, wish
from tests.faults.house import house

pytestmark = pytest.mark.anyio


async def test_forty_leads_end_with_one_outcome_for_each_try(tmp_path: Path) -> None:
    async with house(tmp_path) as up:
        leads = await ready(up, 40)
        await wish(up, leads)
        await until(up, [PhoneState.SENT], 40, 120.0)
        assert adds(up) == 1
        await start(up)
        await until(up, [PhoneState.FINISHED], 40, 1800.0)
        await up.settle()
        await assert_true(up, leads)
        assert up.troubles == []


async def test_two_thousand_leads_and_three_kills(tmp_path: Path) -> None:
    """Killed while the records are read, while the dialer works, and with a disposition in hand."""
    async with house(tmp_path, bucket=(250, 5.0)) as up:
        leads = await ready(up, 2000, fold_unanswered_dials=True)
        await wish(up, leads)
        await killed_at(up, "batch", after=True)
        await until(up, [PhoneState.SENT], 2000, 600.0)
        assert adds(up) == 2
        await start(up)
        await up.run_for(60.0)
        await up.crash()
        await up.start()
        await killed_at(up, "crm.item.update", after=True)
        await until(up, [PhoneState.FINISHED], 2000, 4 * 3600.0)
        await up.settle(4 * 3600.0)
        await assert_true(up, leads)
        assert adds(up) == 2
