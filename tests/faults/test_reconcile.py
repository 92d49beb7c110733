"""Nothing is lost: the PBX's history fills what webhooks did not tell, and the ledger proves it."""

from __future__ import annotations

import datetime as dt
from pathlib import Path

import pytest

from bitrix_app.core.ledger import Balance, Standing
from bitrix_app.ledgers import ledger_of, today
from tests.faults.house import House, house

pytestmark = pytest.mark.anyio


async def ledger(up: House, day: dt.date | None = None) -> Balance:
    portal = await up.app.store.portal(up.member_id)
    assert portal is not None
    return await ledger_of(up.app.store, portal, day or today(portal, up.clock.now()))


def closes(balance: Balance, written: int) -> None:
    """Zero difference, and each call of the PBX is written."""
    odd = [entry for entry in balance.entries if entry.standing is not Standing.WRITTEN]
    assert (balance.difference, balance.total, balance.count(Standing.WRITTEN)) == (0, written, written), odd


async def test_a_call_of_which_no_webhook_came_is_created_from_the_history_once(tmp_path: Path) -> None:
    async with house(tmp_path) as up:
        await up.run_for(400.0)
        up.pbx.disconnect()
        up.live_call(talk=30.0)
        await up.run_for(500.0)
        assert await up.calls() == [], "its webhooks may still come"
        await up.run_for(900.0)
        (call,) = await up.settle(calls=1)
        assert call.finished
        assert call.talk_seconds == 30
        closes(await ledger(up), 1)
        await up.run_for(3600.0)
        assert len(await up.calls()) == 1
        assert len(up.portal.calls) == 1
