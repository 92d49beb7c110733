"""A call from webhook to Drive, over real sockets: each effect at the portal exactly once."""

import json
import random
from typing import Any

import pytest

from bitrix_app.core.call import Call, Recording
from bitrix_app.core.lifecycle import Phase
from bitrix_app.core.outcome import Outcome
from tests.journeys.world import CLIENT, World

pytestmark = pytest.mark.anyio


def files_of(tree: dict[str, Any]) -> dict[str, int]:
    """All files below a Drive tree by name."""
    found: dict[str, int] = {}
    for name, value in tree.items():
        if isinstance(value, dict):
            found |= files_of(value)
        else:
            found[name] = value
    return found


def assert_once(world: World, call: Call, *, recordings: int) -> None:
    effects = world.stage.portal.effects(call.id)
    assert (effects.registered, effects.finished, effects.activities) == (1, 1, 1)
    assert effects.recordings == recordings
    assert effects.files == recordings, "an attached file was replaced: it was attached twice"
    assert world.stage.portal.open_cards() == []
    assert world.stage.portal.pending_calls == []


async def test_an_answered_call_becomes_all_its_facts(world: World) -> None:
    told = world.call("incoming", CLIENT, ring=("2001", "2002"), answered_by="2002", talk=8)
    await world.post_all(world.bodies(told))
    await world.settled()
    call = await world.only_call()
    assert_once(world, call, recordings=1)
    assert (call.phase, call.recording) == (Phase.CLOSED, Recording.COPIED)
    (row,) = world.stage.portal.calls
    assert row.duration == 8
    assert row.user_id == 12, "the user with extension 2002"
    assert row.status_code == "200"
    (lead,) = [lead for lead in world.stage.portal.leads if str(lead.id) == str(call.crm_id)]
    assert call.created == (f"LEAD:{lead.id}",)
    files = files_of(world.stage.portal.drive_tree())
    assert call.drive_copy_name in files
    assert files[call.drive_copy_name] == call.recording_size
    assert call.document_name in files
    (activity,) = world.stage.portal.activities
    assert activity.id == call.activity_id


async def test_the_document_on_drive_tells_association_and_details(world: World) -> None:
    told = world.call("incoming", CLIENT, ring=("2001",), answered_by="2001", talk=5)
    await world.post_all(world.bodies(told))
    await world.settled()
    call = await world.only_call()
    stored = world.stage.portal.state.objects[call.document_id or 0]
    document = json.loads(stored.content)
    assert document["association"]["bitrix24_call_id"] == call.bitrix_call_id
    assert document["association"]["crm"] == {"type": "LEAD", "id": call.crm_id}
    assert document["details"]["number"] == f"+{CLIENT}"
    assert document["details"]["talk_seconds"] == 5
    assert "tracking/rec" not in stored.content.decode(), "the PBX's link is a secret"


async def test_a_missed_call_is_one_missed_call_on_a_new_lead(world: World) -> None:
    told = world.call("incoming", CLIENT, ring=("2001", "2002"), answered_by=None)
    await world.post_all(world.bodies(told))
    await world.settled()
    call = await world.only_call()
    assert_once(world, call, recordings=0)
    assert call.outcome is Outcome.MISSED
    (row,) = world.stage.portal.calls
    assert (row.status_code, row.duration) == ("304", 0)
    assert call.phase is Phase.CLOSED


async def test_an_outgoing_call_seen_by_webhook_only(world: World) -> None:
    told = world.call("outgoing", "2003", CLIENT, talk=6)
    await world.post_all(world.bodies(told))
    await world.settled()
    call = await world.only_call()
    assert_once(world, call, recordings=1)
    (row,) = world.stage.portal.calls
    assert (row.type, row.user_id) == (1, 13)


async def test_end_alone_makes_the_whole_call(world: World) -> None:
    told = world.call("incoming", CLIENT, ring=("2004",), answered_by="2004", talk=7)
    await world.post_all(world.bodies(told)[-1:])
    await world.settled()
    call = await world.only_call()
    assert_once(world, call, recordings=1)
    assert world.stage.portal.counts["telephony.externalcall.show"] == 0


async def test_each_event_five_times_shuffled_changes_nothing(world: World) -> None:
    told = world.call("incoming", CLIENT, ring=("2001", "2002"), answered_by="2001", talk=9)
    bodies = world.bodies(told) * 5
    random.Random(7).shuffle(bodies)
    await world.post_all(bodies)
    await world.settled()
    assert_once(world, await world.only_call(), recordings=1)


async def test_a_live_call_shows_its_cards_and_closes_them(world: World) -> None:
    told = world.stage.pbx.incoming(
        CLIENT, ring=("2001", "2002"), answered_by="2002", talk=2, ring_seconds=2.0
    )
    await world.until(
        lambda: {user for _, user in world.stage.portal.open_cards()} == {11, 12}, "both cards open"
    )
    await world.until(
        lambda: {u for _, u in world.stage.portal.open_cards()} == {12}, "one card after answer"
    )
    await world.until(lambda: told.ended(world.stage.house.clock.now()), "the end")
    await world.until(lambda: len(world.stage.portal.calls) == 1, "the call finished in the portal")
    await world.settled()
    assert_once(world, await world.only_call(), recordings=1)


async def test_an_id_used_again_is_another_call(world: World) -> None:
    first = world.call("incoming", CLIENT, ring=("2001",), answered_by="2001", talk=5)
    body = world.bodies(first)[-1]
    again = json.loads(json.dumps(body))
    again["call"]["dbid"] = body["call"]["dbid"] + 1000
    again["call"]["date"] = "2026-02-10 10:00:12"
    again["call"]["link"] = None
    await world.post_all([body, again])
    calls = await world.settled(2)
    for call in calls:
        assert world.stage.portal.effects(call.id).finished == 1


async def test_an_inner_call_is_kept_and_not_written(world: World) -> None:
    told = world.call("inner", "2001", "2002")
    await world.post_all(world.bodies(told))
    await world.settled()
    assert (await world.only_call()).skipped == "inner call"
    assert world.stage.portal.calls == []


async def test_an_unmatched_extension_falls_to_the_default_user_and_is_told(world: World) -> None:
    told = world.call("outgoing", "2001", CLIENT, talk=4)
    bodies = world.bodies(told)
    for body in bodies:
        body["call"]["from"] = "2099"
    await world.post_all(bodies)
    await world.settled()
    call = await world.only_call()
    assert not call.matched
    (row,) = world.stage.portal.calls
    assert row.user_id == 1, "the administrator who installed"
    assert any("2099" in notice.message for notice in world.stage.portal.notifications)


async def test_a_call_older_than_half_an_hour_is_found_before_it_is_made(world: World) -> None:
    """END of a call of yesterday from a known client: no card, no second lead (design.md §5)."""
    told = world.call("incoming", "380440000001", ring=("2001",), answered_by="2001", talk=5)
    body = world.bodies(told)[-1]
    body["call"]["date"] = "2026-02-10 10:00:12"
    await world.post_all([body])
    leads = len(world.stage.portal.leads)
    await world.settled()
    call = await world.only_call()
    assert call.crm_type == "CONTACT"
    assert len(world.stage.portal.leads) == leads
    assert world.stage.portal.counts["telephony.externalcall.searchcrmentities"] == 1
    assert_once(world, call, recordings=1)
