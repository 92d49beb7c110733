"""«Authorization invalid» of a call start: remembered for that key alone, told once, never hammered."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

import pytest

from bitrix_app.clock import VirtualClock
from bitrix_app.core.dial import Origin
from bitrix_app.core.errors import Forbidden
from bitrix_app.core.events import DialFailed
from bitrix_app.core.permit import KEY_REFUSED
from bitrix_app.core.portal import Snapshot
from bitrix_app.core.store import Store
from bitrix_app.desk import Desk, Press, new_call_id
from bitrix_app.permits import pbx_trouble
from bitrix_app.starting import NOTICES_LANE, Starting
from bitrix_app.vault import SecretVault
from storage import open_store
from tests.web.fakes import AGENT, KEY, MEMBER, PBX_KEY, portal

pytestmark = pytest.mark.anyio


@dataclass
class Refusing:
    """A PBX that knows no key."""

    asked: int = 0

    async def direct_call(self, *_: object) -> None:
        self.asked += 1
        raise Forbidden("no", code=KEY_REFUSED.code)


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[Store]:
    store = await open_store(f"sqlite:///{tmp_path}/unitalk.db", SecretVault(KEY), VirtualClock())
    await store.transact(lambda unit: unit.save_portal(portal()))
    people = ({"user_id": AGENT, "name": "Petro", "extension": "201"},)
    await store.save_snapshot(MEMBER, Snapshot("agents", 1.0, people))
    yield store
    await store.close()


async def dialled(store: Store, number: str) -> DialFailed:
    clock, pbx = VirtualClock(), Refusing()
    now = clock.now()
    press = Press(Origin.PAGE, number, AGENT, now)
    desk = Desk(new_call_id)
    call = await store.transact(lambda unit: desk.press(unit, portal(), press, now))
    job = next(job for job in await store.lane(MEMBER, call.id) if job.kind == "dial")
    starting = Starting(store, clock, cast("Any", pbx), cast("Any", None), cast("Any", None))
    told = await starting.deliver(portal(), job, call)
    assert isinstance(told, DialFailed)
    assert pbx.asked == 1
    return told


async def test_the_refusal_is_remembered_with_the_key_that_it_was_said_of(store: Store) -> None:
    assert await dialled(store, "+380440000011") == DialFailed(KEY_REFUSED, certain=True)
    state = await store.snapshot(MEMBER, "pbx_state")
    assert state is not None
    assert state.items[0]["key_last4"] == PBX_KEY[-4:]
    now = state.taken_at + 1
    assert pbx_trouble(portal(), state, now) == KEY_REFUSED
    assert pbx_trouble(portal(unitalk_key="quite-another-key-0001"), state, now) is None
    assert pbx_trouble(portal(), state, now + 60) is None
    assert len(await store.lane(MEMBER, NOTICES_LANE)) == 1


async def test_an_answer_to_a_key_that_was_replaced_meanwhile_is_not_remembered(store: Store) -> None:
    await store.transact(
        lambda unit: unit.save_portal(replace(portal(), unitalk_key="quite-another-key-0001"))
    )
    await dialled(store, "+380440000011")
    assert await store.snapshot(MEMBER, "pbx_state") is None
    assert await store.lane(MEMBER, NOTICES_LANE) == []
