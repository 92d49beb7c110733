"""What a call's outcome does to CRM records, over real sockets: in order, once, and never behind a back."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from bitrix_app.core import retry
from bitrix_app.core.dispositions import Rule
from bitrix_app.core.jobs import JobState
from bitrix_app.core.store import Unit
from bitrix_app.sandbox.faults import Fault
from bitrix_app.sandbox.state import CrmItem
from bitrix_app.web.disposition_view import dispositions_json
from bitrix_app.words import Words
from tests.journeys.world import World
from unitalk.sandbox import Facts, SandboxCall

pytestmark = pytest.mark.anyio

PHONE = "380670000551"
TRIES, STORED = "UF_CRM_TRIES", "ufCrm_tries"
UPDATE = "crm.item.update"

ANSWERED = Rule("answered", ("answered",), on=True, record="LEAD", stage="IN_PROCESS", from_stages=("NEW",))
COUNT = Rule("count", ("not_reached",), on=True, record="LEAD", counter=TRIES)
THREE = Rule(
    "three", ("machine",), on=True, record="LEAD", stage="JUNK", from_stages=("NEW", "IN_PROCESS"), after=3
)


async def switch_on(world: World, *rules: Rule, **more: Any) -> None:
    async def work(unit: Unit) -> None:
        portal = await unit.portal(world.member_id)
        assert portal is not None
        await unit.save_portal(replace(portal, settings=replace(portal.settings, dispositions=rules, **more)))

    await world.stage.house.store.transact(work)


def lead(world: World, **fields: Any) -> CrmItem:
    """A lead of our own whose number nobody else has."""
    phone = {"typeId": "PHONE", "valueType": "WORK", "value": f"+{PHONE}"}
    return world.stage.portal.add_item("LEAD", {"title": "Ours", "assignedById": 11, "fm": [phone], **fields})


def incoming(world: World, ago: float, *, answered: bool) -> SandboxCall:
    facts = Facts(at=world.stage.house.clock.now() - ago, deliver=False)
    by = "2001" if answered else None
    return world.stage.pbx.incoming(PHONE, ring=("2001",), answered_by=by, talk=4, facts=facts)


def machine(world: World, ago: float) -> dict[str, Any]:
    """The end of a dialer's call that met an answering machine, as one handler per outcome tells it."""
    facts = Facts(at=world.stage.house.clock.now() - ago, deliver=False)
    told = world.stage.pbx.outgoing("2001", PHONE, state="NOANSWER", facts=facts)
    body = world.bodies(told)[-1]
    body["call"]["state"] = "ANSWERING_MACHINE"
    return body


def stage_of(item: CrmItem) -> str:
    return str(item.fields["stageId"])


def writes(world: World) -> int:
    return len(world.stage.portal.requests_of(UPDATE))


async def test_an_answered_call_moves_a_new_lead_when_switched_on(world: World) -> None:
    ours = lead(world)
    await switch_on(world, ANSWERED, COUNT)
    await world.post_all(world.bodies(incoming(world, 20, answered=True)))
    await world.settled()
    assert stage_of(ours) == "IN_PROCESS"
    assert (len(world.stage.portal.requests_of("crm.item.get")), writes(world)) == (1, 1)
    assert STORED not in ours.fields, "an answered call is no attempt in vain"


async def test_without_rules_nothing_is_asked_and_nothing_moves(world: World) -> None:
    ours = lead(world)
    await switch_on(world, replace(ANSWERED, on=False))
    await world.post_all(world.bodies(incoming(world, 20, answered=True)))
    await world.settled()
    assert stage_of(ours) == "NEW"
    assert not world.stage.portal.requests_of("crm.item.get")


async def test_a_won_lead_is_not_touched_and_the_reason_is_listed(world: World) -> None:
    won = lead(world, stageId="CONVERTED")
    before = dict(won.fields)
    await switch_on(world, ANSWERED, crm_create_in=False)  # Bitrix24 would make a new lead beside it
    told = incoming(world, 20, answered=True)
    bodies = world.bodies(told)
    for body in bodies:
        body["call"]["meta"] = f"b24:lead:{won.id}"
    await world.post_all(bodies)
    await world.settled()
    assert won.fields == before
    assert writes(world) == 0
    (call,) = await world.calls()
    job = next(job for job in await world.jobs(call) if job.kind == "update_record" and "LEAD" in job.key)
    assert job.state is JobState.ATTENTION
    assert job.error is not None
    assert (job.error.code, job.error.who) == ("STAGE_FINAL", "manager")
    assert f"LEAD:{won.id} is already won" in job.error.message
    assert call.finished, "the call itself stands in the CRM"


async def test_three_machines_in_a_row_reach_the_threshold_once(world: World) -> None:
    ours = lead(world)
    await switch_on(world, THREE, COUNT)
    moved: list[str] = []
    for n in range(1, 5):
        await world.post(machine(world, 400 - n * 60))
        await world.settled(n)
        moved.append(stage_of(ours))
        if n == 3:
            # somebody takes it out again; the fourth machine must not bring it back
            world.stage.portal.state.items[1][ours.id].fields |= {"stageId": "NEW", "stageSemanticId": "P"}
    assert moved == ["NEW", "NEW", "JUNK", "NEW"]
    assert ours.fields[STORED] == "4"


async def test_two_calls_disposed_of_out_of_order_end_with_the_newer_s(world: World) -> None:
    ours = lead(world)
    later = replace(COUNT, counter=None, id="later", stage="JUNK", from_stages=("NEW", "IN_PROCESS"), after=3)
    back = replace(
        ANSWERED, id="missed", outcomes=("missed",), stage="JUNK", from_stages=("IN_PROCESS", "NEW")
    )
    await switch_on(world, ANSWERED, back, COUNT, later)
    older, newer = incoming(world, 300, answered=False), incoming(world, 100, answered=True)
    await world.post(world.bodies(newer)[-1])
    await world.settled()
    assert stage_of(ours) == "IN_PROCESS"
    await world.post(world.bodies(older)[-1])
    calls = await world.settled(2)
    assert stage_of(ours) == "IN_PROCESS", "the older call would have moved it to JUNK"
    assert ours.fields[STORED] == "1", "but it was an attempt all the same"
    notes = [note for call in calls for note in call.notes]
    assert any("superseded" in note for note in notes)


@pytest.mark.parametrize("kind", ["lost", "refused_before", "html"])
async def test_after_a_lost_answer_the_counter_is_right(
    world: World, kind: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The effect is there, or is not, and nobody told: the record itself tells."""
    monkeypatch.setattr(retry, "DOUBT_MATURES", 2.0)
    ours = lead(world, **{STORED: 7})
    await switch_on(world, COUNT)
    fault = world.stage.portal.faults.add(Fault(UPDATE, kind))
    for n in (1, 2):
        await world.post(world.bodies(incoming(world, 200 - 50 * n, answered=False))[-1])
    await world.settled(2)
    assert fault.hits == 1
    assert ours.fields[STORED] == "9"
    assert writes(world) == (2 if kind == "lost" else 3)


async def test_in_the_simple_mode_the_deal_that_the_call_made_is_moved(world: World) -> None:
    world.stage.portal.world.crm_mode = 2
    deal = Rule("deal", ("answered",), on=True, record="DEAL", stage="PREPARATION", from_stages=("NEW",))
    await switch_on(world, ANSWERED, deal)
    await world.post_all(world.bodies(incoming(world, 20, answered=True)))
    (call,) = await world.settled()
    assert call.crm_type == "CONTACT"
    (made,) = [one for one in world.stage.portal.deals if f"DEAL:{one.id}" in call.created]
    assert stage_of(made) == "PREPARATION"
    assert writes(world) == 1


async def test_a_deal_named_by_meta_gets_the_disposition_of_a_call_on_its_contact(world: World) -> None:
    deal = next(one for one in world.stage.portal.deals if one.fields["categoryId"] == 9)
    client = next(one for one in world.stage.portal.contacts if one.id == deal.fields["contactId"])
    rule = Rule("deal", ("no_answer",), on=True, record="DEAL", stage="C9:LOSE", from_stages=("C9:NEW",))
    await switch_on(world, rule, replace(rule, id="other", stage="LOSE", from_stages=("NEW",)))
    facts = Facts(at=world.stage.house.clock.now() - 20, deliver=False)
    told = world.stage.pbx.outgoing("2001", client.phones()[0].lstrip("+"), state="NOANSWER", facts=facts)
    body = world.bodies(told)[-1]
    body["call"]["meta"] = f"b24:deal:{deal.id}:campaign"
    await world.post(body)
    (call,) = await world.settled()
    assert call.crm_type == "CONTACT"
    assert stage_of(deal) == "C9:LOSE"
    assert writes(world) == 1


async def test_the_settings_show_the_portal_s_own_pipelines(world: World) -> None:
    await world.settled(0)
    portal = await world.stage.house.store.portal(world.member_id)
    assert portal is not None
    shown = (await dispositions_json(world.stage.house.store, portal, Words()))["dispositions_choices"]
    assert [one["id"] for one in shown["lead_stages"]] == ["NEW", "IN_PROCESS", "CONVERTED", "JUNK"]
    assert [(one["id"], one["name"]) for one in shown["deal_categories"]] == [
        (0, "General"),
        (9, "Repeat sales"),
    ]
    assert {one["id"]: one["final"] for one in shown["deal_categories"][1]["stages"]} == {
        "C9:NEW": None,
        "C9:PREPARATION": None,
        "C9:WON": "won",
        "C9:LOSE": "lost",
    }
    assert shown["crm_mode"] == "classic"
