"""Two workers on the same records (a rescued job and its ghost): each page is kept once."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, cast

import pytest

from bitrix_app.bitrix.answers import Answer
from bitrix_app.bitrix.client import BitrixClient
from bitrix_app.core.campaign_commands import ReadRecords
from bitrix_app.core.errors import Refused
from bitrix_app.core.jobs import Moot
from bitrix_app.core.wishes import Wish, WishState
from bitrix_app.wishing import Wishing
from tests.house.making import MEMBER, Bench, job

pytestmark = pytest.mark.anyio
WISH = Wish("w1", "77", 0.0, 1, type="LEAD", stage="NEW")


class Portal:
    """Answers a page of leads; `meanwhile` happens while it is asked."""

    def __init__(self, meanwhile: Any = None, trouble: Exception | None = None) -> None:
        self.meanwhile = meanwhile
        self.trouble = trouble

    async def call(self, portal: Any, request: Any, priority: Any) -> Answer:
        if self.meanwhile is not None:
            await self.meanwhile()
        if self.trouble is not None:
            raise self.trouble
        items = [{"id": 5, "fm": [{"typeId": "PHONE", "value": "+380440000011"}]}]
        return Answer({"items": items})


def room(bench: Bench, portal: Portal) -> Wishing:
    return Wishing(bench.store, bench.clock, cast(BitrixClient, portal))


async def deliver(bench: Bench, portal: Portal) -> object:
    one = job(ReadRecords("w1"), lane="campaign:77")
    return await room(bench, portal).deliver(await bench.current(), one, None)


async def keep(bench: Bench, wish: Wish) -> None:
    await bench.do(lambda unit: unit.save_wish(MEMBER, wish))


async def test_a_page_that_another_has_kept_meanwhile_is_not_kept_again(bench: Bench) -> None:
    await keep(bench, WISH)
    with pytest.raises(Moot):
        await deliver(bench, Portal(lambda: keep(bench, replace(WISH, done=1, after=5))))
    assert await bench.store.campaign_phones(MEMBER, "77") == []


async def test_the_last_page_ends_it_and_it_is_not_read_again(bench: Bench) -> None:
    await keep(bench, WISH)
    assert await deliver(bench, Portal()) is None
    (one,) = await bench.store.campaign_phones(MEMBER, "77")
    assert (one.number, one.record) == ("+380440000011", "LEAD:5")
    done = await bench.store.campaign_wish(MEMBER, "w1")
    assert done is not None
    assert (done.state, done.taken) == (WishState.DONE, 1)
    with pytest.raises(Moot):
        await deliver(bench, Portal())


async def test_a_trouble_of_the_portal_leaves_the_wish_as_it_is(bench: Bench) -> None:
    await keep(bench, WISH)
    with pytest.raises(Refused):
        await deliver(bench, Portal(trouble=Refused("no")))
    assert await bench.store.campaign_wish(MEMBER, "w1") == WISH
