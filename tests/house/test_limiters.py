"""One limiter per portal, whose burst a restart does not forget."""

from __future__ import annotations

import pytest

from bitrix_app.bitrix.limiter import ENTERPRISE, USUAL
from bitrix_app.limiters import Limiters
from tests.house.making import MEMBER, NOW, OTHER, Bench, portal

pytestmark = pytest.mark.anyio


async def test_a_portal_has_one_limiter_of_its_own(bench: Bench) -> None:
    limiters = Limiters(bench.store, bench.clock)
    mine = limiters.of(bench.portal)
    assert limiters.of(bench.portal) is mine
    other = limiters.of(portal(member_id=OTHER))
    assert other is not mine
    assert dict(limiters.items()) == {MEMBER: mine, OTHER: other}


async def test_a_request_past_the_gate_counts_for_its_portal(bench: Bench) -> None:
    limiters = Limiters(bench.store, bench.clock)
    limiters.of(bench.portal)
    limiters.spend(MEMBER)
    limiters.spend(OTHER)
    assert [(name, limiter.level()[0]) for name, limiter in limiters.items()] == [(MEMBER, 1.0)]


@pytest.mark.parametrize(("clean", "level"), [(True, 20.0), (False, USUAL[0])])
async def test_a_level_comes_over_a_restart_and_a_crash_assumes_a_full_bucket(
    bench: Bench, clean: bool, level: float
) -> None:
    await bench.store.save_level(MEMBER, 30.0, NOW - 5, clean=clean)
    limiters = Limiters(bench.store, bench.clock)
    await limiters.restore()
    assert limiters.of(bench.portal).level() == (level, NOW)


async def test_a_portal_without_a_saved_level_begins_empty(bench: Bench) -> None:
    limiters = Limiters(bench.store, bench.clock)
    await limiters.restore()
    assert list(limiters.items()) == []
    assert limiters.of(bench.portal).level()[0] == 0.0


async def test_the_tariff_decides_the_size(bench: Bench) -> None:
    limiters = Limiters(bench.store, bench.clock)
    big = limiters.of(portal(license_family="ent"))
    big.spend(200)
    assert big.level()[0] == 200
    await bench.clock.advance(1)
    assert big.level()[0] == 200 - ENTERPRISE[1]
