"""Lines that calls came by are made in Bitrix24 once."""

from __future__ import annotations

import pytest

from bitrix_app.core.portal import PortalSettings
from bitrix_app.lines import MOST, Lines, is_number
from tests.house.making import LINE, MEMBER, Bench, Through, away, portal

pytestmark = pytest.mark.anyio


async def test_the_first_call_of_a_line_owes_the_portal_its_bindings(bench: Bench) -> None:
    lines = Lines(bench.store, bench.clock)
    await lines.seen(bench.portal, LINE)
    assert await bench.states("portal:bindings") == {"bindings": "waiting"}
    assert await lines.wanted(bench.portal) == {LINE: ""}
    again = Lines(bench.store, bench.clock)
    assert await again.wanted(bench.portal) == {LINE: ""}, "it survives a restart"


async def test_a_known_line_costs_nothing(bench: Bench) -> None:
    counting = Through(bench.store)
    lines = Lines(counting, bench.clock)
    for _ in range(3):
        await lines.seen(bench.portal, LINE)
    assert counting.asked == {"snapshot": 1, "save_snapshot": 1, "transact": 1}


@pytest.mark.parametrize("line", [None, "", "example.com", "Unitalk", "12", "1" * 21, "+380440000001"])
async def test_a_sites_name_is_no_line(bench: Bench, line: str | None) -> None:
    assert not is_number(line)
    await Lines(bench.store, bench.clock).seen(bench.portal, line)
    assert await bench.store.snapshot(MEMBER, "seen_lines") is None


async def test_lines_of_the_settings_are_wanted_with_their_names(bench: Bench) -> None:
    settings = PortalSettings(
        line_names={"100": "Sales"}, line_users={"200": 1}, line_zones={"300": "Europe/Warsaw"}
    )
    wanted = await Lines(bench.store, bench.clock).wanted(portal(settings=settings))
    assert wanted == {"100": "Sales", "200": "", "300": ""}


async def test_a_template_gone_wild_does_not_make_thousands(bench: Bench) -> None:
    lines = Lines(bench.store, bench.clock)
    lines._seen[MEMBER] = {str(n + 1000) for n in range(MOST)}
    await lines.seen(bench.portal, LINE)
    assert LINE not in await lines.wanted(bench.portal)


async def test_a_store_that_is_away_fails_no_call_and_the_line_is_noted_later(bench: Bench) -> None:
    async def save(*_: object) -> None:
        raise away()

    store = Through(bench.store, save_snapshot=save)
    lines = Lines(store, bench.clock)
    await lines.seen(bench.portal, LINE)
    assert await lines.wanted(bench.portal) == {}
    store.verbs.clear()
    await lines.seen(bench.portal, LINE)
    assert await lines.wanted(bench.portal) == {LINE: ""}


async def test_a_portal_that_went_away_is_forgotten(bench: Bench) -> None:
    lines = Lines(bench.store, bench.clock)
    await lines.seen(bench.portal, LINE)
    lines.forget(MEMBER)
    assert lines._seen == {}
