"""A portal comes, comes back, and is healed; only what was vouched for counts."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from bitrix_app.core.commands import Finish, Hide, LayoutBlocks, Register
from bitrix_app.core.portal import PortalSettings, PortalState
from bitrix_app.core.store import WebhookToken
from bitrix_app.portals import ADMIN_PAIRS, Prefill
from tests.house.making import (
    ADMIN,
    AGENT,
    APP_TOKEN,
    DOMAIN,
    MEMBER,
    NOW,
    OTHER,
    Bench,
    call,
    frame_tokens,
    over,
    owed,
    pair,
    profile,
    verified,
)

pytestmark = pytest.mark.anyio

NEW = "ffffffffffffffffffffffffffffff01"
PREFILL = Prefill(DOMAIN, "pbx-key", "hook-of-the-environment", "Asia/Tbilisi")


# --- installing ------------------------------------------------------------------------------------


async def test_an_installation_stores_what_was_vouched_for_and_owes_the_bindings(bench: Bench) -> None:
    known = await bench.portals().installed(
        verified(member_id=NEW), profile(), frame_tokens(), application_token="app-token", language="uk"
    )
    assert known == await bench.store.portal(NEW)
    assert (known.domain, known.scope, known.version) == (DOMAIN, ("telephony", "crm"), "1")
    assert (known.application_token, known.language) == ("app-token", "uk")
    assert (known.state, known.state_since, known.created_at) == (PortalState.ACTIVE, NOW, NOW)
    assert known.installed_by == ADMIN
    for lane in ("portal:bindings", "portal:directory"):
        (one,) = await bench.store.lane(NEW, lane)
        assert one.state == "waiting"
    assert (bench.nudged, bench.forgotten) == ([NEW], [NEW])


async def test_an_installation_that_is_not_finished_yet_says_so(bench: Bench) -> None:
    known = await bench.portals().installed(
        verified(member_id=NEW, installed=False), profile(), frame_tokens()
    )
    assert known.state is PortalState.INSTALLING
    assert known.works


async def test_the_administrators_pair_is_kept_with_its_end(bench: Bench) -> None:
    await bench.portals().installed(verified(), profile(), frame_tokens())
    (kept,) = await bench.pairs()
    assert (kept.user_id, kept.access, kept.refresh) == (ADMIN, "access-first", "refresh-first")
    assert (kept.expires_at, kept.is_admin, kept.refreshed_at) == (NOW + 3600, True, NOW)


async def test_the_last_three_administrators_are_kept_for_failover(bench: Bench) -> None:
    for user_id in (1, 2, 3, 4):
        await bench.portals().heal(verified(user_id=user_id), profile(user_id), frame_tokens())
        await bench.clock.advance(1)
    assert {kept.user_id for kept in await bench.pairs()} == {2, 3, 4}
    assert ADMIN_PAIRS == 3


@pytest.mark.parametrize("is_admin", [True, False])
async def test_only_an_administrators_frame_brings_the_application_token(
    bench: Bench, is_admin: bool
) -> None:
    door = bench.portals()
    for opened in (door.installed, door.heal):
        known = await opened(
            verified(), profile(is_admin=is_admin), frame_tokens(), application_token="another"
        )
        assert known.application_token == ("another" if is_admin else APP_TOKEN)


async def test_a_frame_without_an_application_token_leaves_the_known_one(bench: Bench) -> None:
    known = await bench.portals().installed(verified(), profile(), frame_tokens())
    assert known.application_token == APP_TOKEN


async def test_a_portal_that_comes_back_does_not_bring_its_old_application_token(bench: Bench) -> None:
    await bench.change(state=PortalState.UNINSTALLED)
    known = await bench.portals().installed(
        verified(), profile(is_admin=False), frame_tokens(), application_token="forged"
    )
    assert known.application_token == ""


async def test_whoever_installed_stays_the_last_resort(bench: Bench) -> None:
    known = await bench.portals().installed(verified(user_id=4), profile(4), frame_tokens())
    assert known.installed_by == ADMIN
    fresh = await bench.portals().installed(
        verified(member_id=NEW, user_id=AGENT), profile(AGENT, is_admin=False), frame_tokens()
    )
    assert fresh.installed_by is None


async def test_reinstalling_keeps_the_settings_and_begins_a_new_generation(bench: Bench) -> None:
    await bench.keep_pair(pair())
    settings = PortalSettings(default_user=12, concurrency=3)
    await bench.change(settings=settings, unitalk_key="key", created_at=NOW - 1e6)
    await bench.hear_portal("ONAPPUNINSTALL")
    assert await bench.pairs() == []
    await bench.clock.advance(60)
    known = await bench.portals().installed(
        verified(), profile(), frame_tokens("second"), application_token="second-token"
    )
    assert known.state is PortalState.ACTIVE
    assert (known.state_reason, known.state_since) == ("", NOW + 60)
    assert (known.settings, known.unitalk_key) == (settings, "key")
    assert known.created_at == NOW + 60
    assert known.application_token == "second-token"
    (kept,) = await bench.pairs()
    assert kept.access == "access-second"
    assert await bench.states("portal:bindings") == {"bindings": "waiting"}


async def test_a_portal_that_comes_back_still_owes_its_calls(bench: Bench) -> None:
    await bench.keep(
        over(), owes=[owed(Finish()), owed(LayoutBlocks(), "layout", "finish"), owed(Hide(), expires_at=NOW)]
    )
    await bench.hear_portal("ONAPPUNINSTALL")
    assert set((await bench.states()).values()) == {"cancelled"}
    await bench.clock.advance(60)
    await bench.portals().installed(verified(), profile(), frame_tokens())
    states = await bench.states()
    assert (states["finish"], states["layout"]) == ("waiting", "blocked")


async def test_a_living_portal_that_is_installed_again_revives_nothing(bench: Bench) -> None:
    await bench.keep(over(), owes=[owed(Finish())])
    await bench.do(lambda unit: unit.stop_jobs(MEMBER, "by hand"))
    await bench.portals().installed(verified(), profile(), frame_tokens())
    assert await bench.states() == {"finish": "cancelled"}


async def test_what_was_in_flight_at_the_uninstall_comes_back_in_doubt(bench: Bench) -> None:
    await bench.keep(call(), owes=[owed(Register())])
    await bench.store.claim(MEMBER, NOW, 1, NOW + 900)
    await bench.hear_portal("ONAPPUNINSTALL")
    await bench.portals().installed(verified(), profile(), frame_tokens())
    one = (await bench.lane())["register"]
    assert str(one.state) in ("waiting", "retrying")
    assert one.doubt


async def test_installing_over_a_living_installation_replaces_its_pair_by_a_newer_generation(
    bench: Bench,
) -> None:
    await bench.keep_pair(pair())
    await bench.portals().installed(verified(), profile(), frame_tokens("second"))
    (kept,) = await bench.pairs()
    assert (kept.access, kept.generation) == ("access-second", 2)


# --- what the environment fills in -----------------------------------------------------------------


@pytest.mark.parametrize("named", [DOMAIN, DOMAIN.upper(), NEW])
async def test_the_environments_settings_go_to_the_portal_that_it_names(bench: Bench, named: str) -> None:
    bench.prefill = replace(PREFILL, portal=named)
    known = await bench.portals().installed(verified(member_id=NEW), profile(), frame_tokens())
    assert known.unitalk_key == "pbx-key"
    (token,) = await bench.store.webhook_tokens(NEW)
    assert (token.token, token.expires_at) == ("hook-of-the-environment", None)
    assert known.settings.pbx_timezone == "Asia/Tbilisi"


@pytest.mark.parametrize("named", ["", "other.bitrix24.com", OTHER])
async def test_another_portal_gets_nothing_of_it_but_the_time_zone(bench: Bench, named: str) -> None:
    bench.prefill = replace(PREFILL, portal=named)
    known = await bench.portals().installed(verified(member_id=NEW), profile(), frame_tokens())
    assert known.unitalk_key == ""
    (token,) = await bench.store.webhook_tokens(NEW)
    assert token.token != PREFILL.webhook_token
    assert known.settings.pbx_timezone == "Asia/Tbilisi", "the default of this installation"


def test_an_environment_that_names_no_portal_is_for_none() -> None:
    assert not Prefill().is_for(verified(domain=""))


async def test_the_environment_does_not_change_the_time_zone_of_a_known_portal(bench: Bench) -> None:
    bench.prefill = PREFILL
    known = await bench.portals().installed(verified(), profile(), frame_tokens())
    assert known.settings.pbx_timezone == "Europe/Kyiv"
    assert known.unitalk_key == "pbx-key"


# --- the webhook's address -------------------------------------------------------------------------


async def test_the_webhook_token_is_made_once(bench: Bench) -> None:
    for _ in range(3):
        await bench.portals().installed(verified(), profile(), frame_tokens())
    (token,) = await bench.store.webhook_tokens(MEMBER)
    assert len(token.token) >= 32, "long enough not to be guessed"
    assert token.expires_at is None


async def test_the_webhook_token_is_made_once_by_two_installations_at_the_same_moment(bench: Bench) -> None:
    door = bench.portals()
    await asyncio.gather(*(door.installed(verified(), profile(), frame_tokens()) for _ in range(2)))
    assert [t.expires_at for t in await bench.store.webhook_tokens(MEMBER)] == [None]


async def test_a_webhook_token_that_ended_is_replaced(bench: Bench) -> None:
    ended = WebhookToken(MEMBER, "old", created_at=NOW - 100, expires_at=NOW - 1)
    await bench.store.add_webhook_token(ended, overlap_until=None)
    await bench.portals().installed(verified(), profile(), frame_tokens())
    living = [t for t in await bench.store.webhook_tokens(MEMBER) if t.expires_at is None]
    assert len(living) == 1
    assert living[0].token != "old"


async def test_the_environments_webhook_token_takes_over_and_the_old_one_lives_a_day(bench: Bench) -> None:
    await bench.portals().installed(verified(), profile(), frame_tokens())
    bench.prefill = PREFILL
    for _ in range(2):
        await bench.portals().installed(verified(), profile(), frame_tokens())
    ends = {t.token: t.expires_at for t in await bench.store.webhook_tokens(MEMBER)}
    assert len(ends) == 2
    assert ends.pop(PREFILL.webhook_token) is None
    assert list(ends.values()) == [NOW + 86_400]


# --- healing ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("state", [PortalState.NEEDS_REAUTH, PortalState.SUSPENDED])
async def test_an_administrators_frame_ends_a_pause(bench: Bench, state: PortalState) -> None:
    await bench.change(state=state, state_reason="NEEDS_REAUTH", state_since=NOW - 500)
    known = await bench.portals().heal(verified(), profile(), frame_tokens())
    assert (known.state, known.state_reason, known.state_since) == (PortalState.ACTIVE, "", NOW)
    assert await bench.current() == known
    assert (bench.nudged, bench.forgotten) == ([MEMBER], [MEMBER])


async def test_a_frame_of_a_working_portal_forgets_nothing(bench: Bench) -> None:
    await bench.change(state_since=NOW - 500)
    known = await bench.portals().heal(verified(), profile(), frame_tokens())
    assert known.state_since == NOW - 500, "it did not change its state"
    assert (bench.nudged, bench.forgotten) == ([MEMBER], [])


async def test_a_frame_that_tells_nothing_new_does_not_touch_the_portals_row(bench: Bench) -> None:
    door = bench.portals()
    await door.heal(verified(), profile(), frame_tokens())
    before = await bench.current()
    await bench.clock.advance(100)
    await door.heal(verified(), profile(), frame_tokens())
    assert await bench.current() == before


async def test_a_frame_follows_a_renamed_portal(bench: Bench) -> None:
    moved = verified(domain="new.bitrix24.com", client_endpoint="https://new.bitrix24.com/rest/")
    await bench.portals().heal(moved, profile(), frame_tokens())
    known = await bench.current()
    assert (known.domain, known.client_endpoint) == (moved.domain, moved.client_endpoint)


async def test_an_agents_frame_stores_no_pair(bench: Bench) -> None:
    await bench.portals().heal(verified(user_id=AGENT), profile(AGENT, is_admin=False), frame_tokens())
    assert await bench.pairs() == []


async def test_only_a_new_version_seen_in_a_frame_owes_the_bindings_anew(bench: Bench) -> None:
    await bench.change(version="1")
    await bench.portals().heal(verified(version="1"), profile(), frame_tokens())
    assert await bench.states("portal:bindings") == {}
    await bench.portals().heal(verified(version="2"), profile(), frame_tokens())
    assert await bench.states("portal:bindings") == {"bindings": "waiting"}


async def test_a_frame_of_a_portal_that_nobody_knew_is_stored(bench: Bench) -> None:
    known = await bench.portals().heal(verified(member_id=NEW), profile(), frame_tokens())
    assert await bench.store.portal(NEW) == known
    assert bench.forgotten == []
