"""Portals that grant less, that keep their CRM another way, or that are slow with an address."""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from bitrix_app.core.call import Recording
from bitrix_app.core.jobs import JobState
from bitrix_app.core.lifecycle import Phase
from bitrix_app.core.ports import HttpRequest
from bitrix_app.gateway import HttpGateway
from bitrix_app.sandbox.demo import SCOPES, stage
from bitrix_app.sandbox.faults import Fault
from tests.journeys.test_calls import assert_once
from tests.journeys.test_dispositions import ANSWERED, incoming, lead, stage_of, switch_on
from tests.journeys.test_portals import open_app, portal_of
from tests.journeys.world import CLIENT, World

pytestmark = pytest.mark.anyio


@asynccontextmanager
async def a_world(folder: Path, *without: str, crm_mode: int = 1) -> AsyncIterator[World]:
    scopes = tuple(scope for scope in SCOPES if scope not in without)
    http = HttpGateway(allow_loopback=True)
    try:
        async with stage(0, folder, scopes=scopes, crm_mode=crm_mode) as up:
            yield World(up, http)
    finally:
        await http.close()


async def answered(world: World, number: str = CLIENT) -> None:
    told = world.call("incoming", number, ring=("2001",), answered_by="2001", talk=5)
    await world.post_all(world.bodies(told))


async def attention(world: World) -> int:
    counts = await world.stage.house.store.job_counts(world.member_id)
    return counts.get(JobState.ATTENTION, 0)


async def test_without_disk_the_call_is_whole_and_nothing_is_owed_to_drive(tmp_path: Path) -> None:
    async with a_world(tmp_path, "disk") as world:
        await answered(world)
        await world.settled()
        call = await world.only_call()
        assert_once(world, call, recordings=1)
        assert (call.phase, call.recording) == (Phase.CLOSED, Recording.ATTACHED)
        assert not [job.kind for job in await world.jobs(call) if job.kind.startswith("drive")]
        assert not any(name.startswith("disk.") for name in world.stage.portal.counts)
        assert await attention(world) == 0


async def test_without_im_an_unmatched_extension_is_told_to_nobody_and_fails_nothing(tmp_path: Path) -> None:
    async with a_world(tmp_path, "im") as world:
        told = world.call("outgoing", "2001", CLIENT, talk=4)
        bodies = world.bodies(told)
        for body in bodies:
            body["call"]["from"] = "2099"
        await world.post_all(bodies)
        await world.settled()
        call = await world.only_call()
        assert_once(world, call, recordings=1)
        assert world.stage.portal.notifications == []
        (notice,) = [job for job in await world.jobs(call) if job.kind == "notify"]
        assert notice.state is JobState.CANCELLED
        (last,) = await world.stage.house.store.attempts(world.member_id, notice.id)
        assert "right im" in last.message
        assert await attention(world) == 0


async def test_without_crm_the_call_is_registered_and_gets_no_blocks(tmp_path: Path) -> None:
    async with a_world(tmp_path, "crm") as world:
        await answered(world)
        await world.settled()
        call = await world.only_call()
        assert_once(world, call, recordings=1)
        assert call.phase is Phase.CLOSED
        assert "layout" not in [job.kind for job in await world.jobs(call)]
        assert await attention(world) == 0


async def test_without_crm_a_disposition_is_left_out_and_asks_nobody(tmp_path: Path) -> None:
    async with a_world(tmp_path, "crm") as world:
        await switch_on(world, ANSWERED)
        ours = lead(world)
        await world.post_all(world.bodies(incoming(world, 30, answered=True)))
        await world.settled()
        call = await world.only_call()
        assert_once(world, call, recordings=1)
        (job,) = [job for job in await world.jobs(call) if job.kind == "update_record"]
        assert job.state is JobState.CANCELLED
        (last,) = await world.stage.house.store.attempts(world.member_id, job.id)
        assert "right crm" in last.message
        assert stage_of(ours) == "NEW"
        assert await attention(world) == 0


async def test_without_the_list_of_employees_calls_go_to_the_default_user(tmp_path: Path) -> None:
    async with a_world(tmp_path, "user_basic") as world:
        await answered(world)
        await world.settled()
        call = await world.only_call()
        assert_once(world, call, recordings=1)
        (row,) = world.stage.portal.calls
        assert row.user_id == 1, "the administrator who installed"
        assert await attention(world) == 0


async def test_the_overview_tells_the_administrator_what_is_missing_and_what_still_works(
    tmp_path: Path,
) -> None:
    async with a_world(tmp_path, "disk", "placement", crm_mode=2) as world:
        await world.settled(0)
        page = (await open_app(world)).body.decode()
        assert "Rights that this Bitrix24 did not grant" in page
        assert "<code>disk</code>" in page
        assert "<code>placement</code>" in page
        assert "<code>telephony</code>" not in page
        session = page.split('name="frame-session" content="')[1].split('"')[0]
        headers = {"Authorization": f"Bearer {session}", "Accept": "application/json"}
        answer = await world.http.send(HttpRequest("GET", f"{world.stage.app_url}/settings", headers))
        abilities = json.loads(answer.body)["abilities"]
        granted = {row["scope"]: row["granted"] for row in abilities["scopes"]}
        assert granted == {
            "telephony": True, "crm": True, "placement": False, "user_basic": True, "im": True, "disk": False,
        }  # fmt: skip
        assert abilities["crm_mode"] == "simple"
        assert abilities["checked_at"]


async def test_a_right_granted_later_counts_from_the_next_frame_on(tmp_path: Path) -> None:
    async with a_world(tmp_path, "disk") as world:
        await answered(world)
        await world.settled()
        card = world.stage.portal.world.card
        world.stage.portal.world.card = type(card)(**{**card.__dict__, "scopes": SCOPES})
        world.stage.portal.expire_tokens()
        assert (await open_app(world)).status == 200
        assert "disk" in (await portal_of(world)).scope
        await answered(world, "380670000078")
        newest, _ = await world.settled(2)
        assert newest.document_id
        assert newest.drive_copy_id


async def test_a_classic_crm_makes_a_lead_of_a_stranger(tmp_path: Path) -> None:
    async with a_world(tmp_path, crm_mode=1) as world:
        await answered(world)
        await world.settled()
        call = await world.only_call()
        assert_once(world, call, recordings=1)
        assert call.crm_type == "LEAD"
        assert call.created == (f"LEAD:{call.crm_id}",)
        (snapshot,) = (await world.stage.house.store.snapshot(world.member_id, "abilities")).items  # type: ignore[union-attr]
        assert snapshot["crm_mode"] == "classic"


async def test_a_simple_crm_makes_a_contact_with_a_deal_of_a_stranger(tmp_path: Path) -> None:
    async with a_world(tmp_path, crm_mode=2) as world:
        leads = len(world.stage.portal.leads)
        await answered(world)
        await world.settled()
        call = await world.only_call()
        assert_once(world, call, recordings=1)
        assert call.crm_type == "CONTACT"
        kinds = {one.partition(":")[0] for one in call.created}
        assert kinds == {"CONTACT", "DEAL"}
        assert f"CONTACT:{call.crm_id}" in call.created
        assert len(world.stage.portal.leads) == leads
        stored = world.stage.portal.state.objects[call.document_id or 0]
        association = json.loads(stored.content)["association"]
        assert association["crm"] == {"type": "CONTACT", "id": call.crm_id}
        assert sorted(association["crm_created"]) == sorted(call.created)
        (activity,) = world.stage.portal.activities
        assert activity.blocks, "our summary stands on the contact's activity"
        await answered(world)
        second, _ = await world.settled(2)
        assert (second.crm_type, second.crm_id, second.created) == ("CONTACT", call.crm_id, ())


async def test_an_upload_address_that_ran_out_is_asked_for_anew(tmp_path: Path) -> None:
    """The address carries the access token: between step one and step two the hour is over."""
    async with a_world(tmp_path) as world:
        await world.settled(0)
        over: list[bool] = []

        def ends_now(_: object) -> bool:
            if not over:
                over.append(True)
                world.stage.portal.expire_tokens()
            return False

        world.stage.portal.faults.add(Fault("upload", "slow", times=None, when=ends_now))
        before = world.stage.portal.auth.refreshes
        await answered(world)
        await world.settled()
        call = await world.only_call()
        assert over
        assert_once(world, call, recordings=1)
        assert world.stage.portal.counts["telephony.externalcall.attachrecord"] == 2, "step one said again"
        assert world.stage.portal.counts["upload"] == 2
        assert world.stage.portal.auth.refreshes == before + 1
        assert call.recording is Recording.COPIED
