"""A portal comes, goes, changes its name and loses its tokens; no call is lost on the way."""

from dataclasses import replace
from urllib.parse import urlencode

import pytest

from bitrix_app.core.jobs import JobState
from bitrix_app.core.portal import Portal, PortalState
from bitrix_app.core.ports import HttpRequest, HttpResponse
from bitrix_app.sandbox.demo import install
from bitrix_app.sandbox.seed import ADMIN
from tests.journeys.world import CLIENT, World

pytestmark = pytest.mark.anyio


async def portal_of(world: World) -> Portal:
    portal = await world.stage.house.store.portal(world.member_id)
    assert portal is not None
    return portal


async def open_app(world: World, user_id: int = ADMIN) -> HttpResponse:
    """What that user's browser does when the app's menu item is clicked."""
    frame = world.stage.portal.open_frame(user_id)
    assert frame is not None
    headers = {"Content-Type": "application/x-www-form-urlencoded", "Accept": "text/html"}
    body = urlencode(frame.form).encode()
    return await world.http.send(HttpRequest("POST", frame.address, headers, body, timeout=15.0))


async def a_call(world: World) -> None:
    told = world.call("incoming", CLIENT, ring=("2001",), answered_by="2001", talk=5)
    await world.post_all(world.bodies(told))


async def test_installing_binds_events_and_places_once(world: World) -> None:
    handlers = world.stage.portal.state.handlers
    bound = sorted(handler.event for handler in handlers)
    assert {"ONAPPUNINSTALL", "ONAPPUPDATE", "ONVOXIMPLANTCALLINIT"} <= set(bound)
    assert len(bound) == len(set(bound))
    await world.until(lambda: bool(world.stage.portal.deliveries), "ONAPPINSTALL delivered")
    portal = await portal_of(world)
    assert portal.application_token
    assert portal.installed_by == ADMIN


async def test_an_expired_token_is_refreshed_once_and_the_call_arrives(world: World) -> None:
    await world.settled(0)
    before = world.stage.portal.auth.refreshes
    world.stage.portal.expire_tokens()
    for _ in range(4):
        await a_call(world)
    for call in await world.settled(4):
        assert world.stage.portal.effects(call.id).finished == 1
    assert world.stage.portal.auth.refreshes == before + 1
    assert world.stage.portal.auth.invalid_grants == 0


async def test_webhooks_during_needs_reauth_wait_and_the_next_admin_frame_heals(world: World) -> None:
    await world.settled(0)
    world.stage.portal.expire_tokens()
    world.stage.portal.revoke()
    await a_call(world)
    store = world.stage.house.store

    async def state() -> PortalState:
        return (await portal_of(world)).state

    for _ in range(400):
        if await state() is PortalState.NEEDS_REAUTH:
            break
        await world.stage.house.clock.sleep(0.02)
    assert await state() is PortalState.NEEDS_REAUTH
    await a_call(world)
    assert world.stage.portal.calls == []
    (first, second) = await world.calls()
    for job in await world.jobs(first) + await world.jobs(second):
        assert job.attempts == 0, "waiting for a person must not use up the tries"
    assert (await open_app(world)).status == 200
    for call in await world.settled(2):
        assert world.stage.portal.effects(call.id).finished == 1
    assert await state() is PortalState.ACTIVE
    assert (await store.job_counts(world.member_id)).get(JobState.ATTENTION, 0) == 0


async def test_an_agents_frame_does_not_heal(world: World) -> None:
    await world.settled(0)
    world.stage.portal.expire_tokens()
    world.stage.portal.revoke()
    await a_call(world)
    for _ in range(400):
        if (await portal_of(world)).state is PortalState.NEEDS_REAUTH:
            break
        await world.stage.house.clock.sleep(0.02)
    assert (await open_app(world, 11)).status == 200
    assert (await portal_of(world)).state is PortalState.NEEDS_REAUTH


async def test_a_renamed_portal_is_followed(world: World) -> None:
    await world.settled(0)
    new = world.stage.portal_url.replace("127.0.0.1", "localhost")
    world.stage.portal.rename(new)
    await a_call(world)
    (call,) = await world.settled()
    assert world.stage.portal.effects(call.id).recordings == 1
    assert (await portal_of(world)).client_endpoint == f"{new}/rest/"


async def test_uninstalling_deletes_tokens_stops_jobs_and_closes_the_address(world: World) -> None:
    await world.settled(0)
    world.stage.portal.uninstall(clean=False)
    for _ in range(400):
        if (await portal_of(world)).state is PortalState.UNINSTALLED:
            break
        await world.stage.house.clock.sleep(0.02)
    portal = await portal_of(world)
    assert portal.state is PortalState.UNINSTALLED
    assert portal.application_token == ""

    async def pairs(unit: object) -> int:
        return len(await unit.pairs(world.member_id))  # type: ignore[attr-defined]

    assert await world.stage.house.store.transact(pairs) == 0
    told = world.call("incoming", CLIENT, ring=("2001",), answered_by="2001")
    assert (await world.post(world.bodies(told)[-1])).status == 404


async def test_uninstalling_with_clean_leaves_no_data(world: World) -> None:
    await a_call(world)
    await world.settled()
    world.stage.portal.uninstall(clean=True)
    for _ in range(400):
        if not await world.calls():
            break
        await world.stage.house.clock.sleep(0.02)
    assert await world.calls() == []
    assert list(await world.stage.house.store.receipts(world.member_id)) == []


async def test_reinstalling_binds_again_and_calls_go_on(world: World) -> None:
    await a_call(world)
    await world.settled()
    old = await portal_of(world)
    world.stage.portal.uninstall(clean=False)
    for _ in range(400):
        if (await portal_of(world)).state is PortalState.UNINSTALLED:
            break
        await world.stage.house.clock.sleep(0.02)
    world.stage.portal.reinstall()
    await install(world.stage.portal, world.http, world.stage.house)
    await a_call(world)
    calls = await world.settled(2)
    assert [world.stage.portal.effects(call.id).finished for call in calls] == [1, 1]
    new = await portal_of(world)
    assert replace(new.settings) == old.settings, "settings of the first installation are kept"
    events = [handler.event for handler in world.stage.portal.state.handlers]
    assert len(events) == len(set(events))


async def test_an_update_binds_everything_again(world: World) -> None:
    await world.settled(0)
    world.stage.portal.update(2)
    assert world.stage.portal.state.handlers == []
    await install(world.stage.portal, world.http, world.stage.house)
    events = [handler.event for handler in world.stage.portal.state.handlers]
    assert "ONVOXIMPLANTCALLINIT" in events
    assert len(events) == len(set(events))
    await world.until(
        lambda: any(d.event == "ONAPPUPDATE" for d in world.stage.portal.deliveries), "ONAPPUPDATE heard"
    )
    assert (await portal_of(world)).version == "2"


async def test_an_update_without_an_installer_is_healed_by_the_next_frame(world: World) -> None:
    """The portal drops our handlers with each version; a frame that shows a new one binds again."""
    await world.settled(0)
    world.stage.portal.update(3)
    world.stage.portal.world.installed = True
    assert (await open_app(world)).status == 200
    await world.until(
        lambda: any(h.event == "ONAPPUNINSTALL" for h in world.stage.portal.state.handlers), "bound again"
    )


async def test_a_forged_install_is_refused_and_leaves_nothing(world: World) -> None:
    query, form = world.stage.portal.frame_form(ADMIN)
    forged = {
        **form,
        "AUTH_ID": "0" * 70,
        "member_id": "f" * 32,
        "SERVER_ENDPOINT": "https://evil.example/rest/",
    }
    infos = world.stage.portal.auth.app_infos
    answer = await world.http.send(
        HttpRequest(
            "POST",
            f"{world.stage.app_url}/bitrix/install?{urlencode(query)}",
            {"Content-Type": "application/x-www-form-urlencoded", "Accept": "application/json"},
            urlencode(forged).encode(),
        )
    )
    assert answer.status == 403
    assert answer.headers["content-type"].startswith("application/problem+json")
    assert await world.stage.house.store.portal("f" * 32) is None
    assert world.stage.portal.auth.app_infos == infos + 1, "only the allow-listed auth server was asked"
