"""Every shape in which the PBX may tell a call ends as one call in the portal, over sockets."""

from __future__ import annotations

import json
from typing import Any

import pytest

from bitrix_app.core.call import Call, Recording
from bitrix_app.core.outcome import Outcome
from tests.journeys.test_calls import assert_once, files_of
from tests.journeys.world import CLIENT, World
from unitalk.sandbox import Facts
from unitalk.sandbox.delivery import Shape

pytestmark = pytest.mark.anyio


async def ended(world: World, within: float = 20.0) -> None:
    """All calls of the PBX are over and told."""
    pbx, clock = world.stage.pbx, world.stage.house.clock
    await world.until(lambda: all(call.ended(clock.now()) for call in pbx.calls), "the calls end", within)
    await world.until(lambda: not pbx._player._playing, "all is told", within)
    await clock.sleep(0.3)


@pytest.mark.parametrize(
    ("shape", "with_ev"),
    [("json", True), ("template_json", True), ("form", True), ("get", True), ("form", False), ("get", False)],
)
async def test_a_live_call_in_every_template_is_one_call(world: World, shape: Shape, with_ev: bool) -> None:
    world.stage.pbx.connect(world.stage.webhook_url, with_ev=with_ev, shape=shape)
    world.stage.pbx.incoming(CLIENT, ring=("2001",), answered_by="2001", talk=1, ring_seconds=1)
    await ended(world)
    (call,) = await world.settled()
    assert_once(world, call, recordings=1)
    assert (call.outcome, call.talk_seconds, call.owner) == (Outcome.ANSWERED, 1, "2001")


async def test_a_template_without_any_id_is_still_one_call(world: World) -> None:
    told = world.call("incoming", CLIENT, ring=("2001",), answered_by="2001", talk=5)
    bodies = world.bodies(told)
    for body in bodies:
        del body["call"]["id"], body["call"]["dbid"]
    await world.post_all(bodies)
    (call,) = await world.settled()
    assert_once(world, call, recordings=1)


@pytest.mark.parametrize(
    ("outcome", "means"), [("ANSWER", Outcome.ANSWERED), ("ANSWERING_MACHINE", Outcome.MACHINE)]
)
async def test_a_dialers_call_told_by_its_own_and_by_plain_events_is_one_call(
    world: World, outcome: str, means: Outcome
) -> None:
    """unitalk.md §3.8: whether plain events come too is unknown, so both are sent, the end flat as well."""
    world.stage.pbx.options.autodial_also_plain = True
    told = world.call("autodial", CLIENT, outcome=outcome, operator="2002", talk=4)
    doubled = world.bodies(told)
    world.stage.pbx.options.autodial_flat = True
    flat = world.bodies(told)[-2:]
    await world.post_all([*doubled, *flat])
    (call,) = await world.settled()
    assert_once(world, call, recordings=1 if means is Outcome.ANSWERED else 0)
    assert (call.outcome, call.dialer_id) == (means, "77")


async def test_a_dialers_meta_and_id_stay_on_the_call_and_in_its_document(world: World) -> None:
    now = world.stage.house.clock.now()
    told = world.stage.pbx.autodial(
        CLIENT, talk=3, facts=Facts(at=now - 20, deliver=False, meta="b24:lead:77:5f1c")
    )
    await world.post_all(world.bodies(told))
    (call,) = await world.settled()
    assert (call.meta, call.dialer_id, call.wait_seconds) == ("b24:lead:77:5f1c", "77", 1)
    document = await document_of(world, call)
    assert document["association"]["meta"] == "b24:lead:77:5f1c"
    assert document["association"]["dialer_id"] == "77"


async def document_of(world: World, call: Call) -> dict[str, Any]:
    told: dict[str, Any] = json.loads(world.stage.portal.state.objects[call.document_id or 0].content)
    return told


async def test_a_dialer_that_runs_writes_each_attempt_once_and_nothing_for_its_own_events(
    world: World,
) -> None:
    pbx = world.stage.pbx
    from unitalk.sandbox import DialerPhone, DialOutcome

    pbx.outcomes.plan(DialOutcome(talk=1, ring_seconds=1, wait=0.5, operator_line="2001"), times=None)
    dialer = pbx.dialers[77]
    dialer.phones += [DialerPhone(f"3806700000{n}", meta=f"lead:{n}") for n in (61, 62, 63)]
    pbx._autodial.start(dialer)
    await world.until(lambda: dialer.status == "STOPPED" and len(pbx.calls) == 3, "the dialer is done", 30)
    await ended(world)
    calls = await world.settled(3)
    assert {call.meta for call in calls} == {"lead:61", "lead:62", "lead:63"}
    for call in calls:
        assert world.stage.portal.effects(call.id).finished == 1
    events = {delivery.code for delivery in pbx.deliveries}
    assert {"AUTODIAL_STATUS_CHANGED", "AUTODIAL_FINISH"} <= events


async def test_a_site_callback_makes_no_line_of_the_sites_name(world: World) -> None:
    told = world.call("incoming", CLIENT, line="shop.example", ring=("2001",), answered_by="2001", talk=3)
    await world.post_all(world.bodies(told))
    (call,) = await world.settled()
    assert_once(world, call, recordings=1)
    assert not any("shop" in number for number in world.stage.portal.state.lines)
    assert (call.line, call.site) == (None, "shop.example")
    assert (await document_of(world, call))["details"]["site"] == "shop.example"


@pytest.mark.parametrize("named", ["all", "last"])
async def test_a_transferred_call_belongs_to_the_last_who_talked(world: World, named: Any) -> None:
    """An END that names only the first is believed: see tests/test_any_order.py."""
    world.stage.pbx.options.transfer_to = named
    told = world.call(
        "incoming", CLIENT, ring=("2001",), answered_by="2001", talk=3, transfers=[("2003", 4.0)]
    )
    await world.post_all(world.bodies(told))
    (call,) = await world.settled()
    assert_once(world, call, recordings=1)
    (row,) = world.stage.portal.calls
    assert (row.user_id, call.owner) == (13, "2003")
    assert [leg.extension for leg in call.legs] == ["2001", "2003"]


async def test_both_recordings_of_a_transferred_call_are_kept(world: World) -> None:
    first = world.call("incoming", CLIENT, ring=("2001",), answered_by="2001", talk=5)
    other = world.call("incoming", "380670000078", ring=("2003",), answered_by="2003", talk=3)
    bodies = world.bodies(first)
    await world.post_all(bodies)
    await world.settled()
    again = json.loads(json.dumps(bodies[-1]))
    again["call"] |= {"link": world.bodies(other)[-1]["call"]["link"], "to": ["2003"]}
    await world.post_all([again])
    await world.until(lambda: world.stage.portal.counts["telephony.externalcall.attachrecord"] == 2, "both")
    (call,) = await world.settled()
    assert call.recording is Recording.COPIED
    (earlier,) = call.kept
    files = files_of(world.stage.portal.drive_tree())
    assert files[earlier.name] == earlier.size
    assert files[call.drive_copy_name or ""] == call.recording_size
    assert earlier.name != call.drive_copy_name
    recording = (await document_of(world, call))["details"]["recording"]
    assert recording["earlier"] == [
        {"file_name": earlier.name, "size": earlier.size, "drive_copy_id": earlier.file_id}
    ]
    assert recording["drive_copy_id"] == call.drive_copy_id


async def test_messages_keys_and_unknown_events_make_no_call(world: World) -> None:
    await world.post_all(
        [
            {"event": "SMS_STATUS", "phone": CLIENT, "state": "FAILED"},
            {"event": "SMS_RECEIVED", "from": CLIENT, "text": "hello"},
            {"event": "IVR_ACTION", "meta": "m", "pressedDigit": 1},
            {"event": "SOMETHING_NEW", "id": 9, "from": CLIENT},
        ]
    )
    await world.settled(0)
    assert await world.calls() == []
    receipts = await world.stage.house.store.receipts(world.member_id)
    kept = [receipt for receipt in receipts if receipt.source == "unitalk"]
    assert [str(receipt.state) for receipt in kept] == ["ignored"] * 4
    assert all(receipt.error for receipt in kept), "each says why nothing follows from it"
