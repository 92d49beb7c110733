"""What is said to the autodialer: said once, then only looked for; and what its answers mean."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, cast

import pytest

from bitrix_app.campaign_book import enlist, entry, gather, put
from bitrix_app.campaign_hearing import BatchLanes, CampaignLanes
from bitrix_app.core.campaign_commands import (
    BatchArrived,
    BatchDenied,
    BatchDoubted,
    BatchTooOld,
    CheckDialer,
    DialerRead,
    ReadDialers,
    SendBatch,
    SwitchDialer,
    Switched,
    SwitchFailed,
    batch_lane,
)
from bitrix_app.core.campaigns import WAITS_FOR_AGENTS, Batch, BatchState, Phone, PhoneState, by_hand
from bitrix_app.core.dialers import Campaign, switched
from bitrix_app.core.errors import AnswerLost, NotSent, Refused, Throttled, Unavailable
from bitrix_app.core.events import GivenUp
from bitrix_app.core.jobs import Moot
from bitrix_app.core.portal import Portal
from bitrix_app.core.store import Unit
from bitrix_app.core.wishes import Forbidden, Wish, WishState
from bitrix_app.dialing import Dialing, everybody
from tests.house.making import MEMBER, Bench, job
from unitalk.client import UnitalkClient

pytestmark = pytest.mark.anyio
OK = {"status": "Success", "message": None}
NUMBERS = ("+380440000011", "+380440000012")


class Pbx:
    """The raw method, answering by action."""

    def __init__(self, **answers: Any) -> None:
        self.answers = answers
        self.said: list[Mapping[str, Any]] = []

    async def autodial(self, key: str, body: Mapping[str, Any], origin: Any) -> Any:
        self.said.append(body)
        answer = self.answers.get(str(body["action"]), OK)
        if isinstance(answer, Exception):
            raise answer
        return answer(body) if callable(answer) else answer

    def actions(self) -> list[str]:
        return [str(body["action"]) for body in self.said]


class Rig:
    """A portal with a key and one batch of two phones."""

    def __init__(self, bench: Bench, pbx: Pbx, agents: Sequence[str] | None) -> None:
        async def available(_: Portal) -> Sequence[str] | None:
            return agents

        self.bench, self.pbx = bench, pbx
        who = everybody if agents is None else available
        self.room = Dialing(bench.store, bench.clock, cast(UnitalkClient, pbx), who)

    async def list_phones(self) -> None:
        async def work(unit: Unit) -> None:
            phones = [entry([number], "UA", "77", "LEAD:5") for number in NUMBERS]
            await enlist(unit, MEMBER, "77", phones, 1, self.bench.now)
            await gather(unit, MEMBER, "77", self.bench.now)

        await self.bench.do(work)

    @property
    async def batch(self) -> Batch:
        (one,) = await self.bench.store.campaign_batches(MEMBER, "77")
        return one

    async def phones(self) -> list[Phone]:
        return list(await self.bench.store.campaign_phones(MEMBER, "77"))

    async def send(self, **more: Any) -> object:
        """Deliver the batch's job, and let the hearer settle what it says."""
        one = await self.batch
        command = job(SendBatch(one.id), lane=batch_lane(one.id), **more)
        event = await self.room.deliver(await self.bench.current(), command, None)
        await self.hear(event)
        return event

    async def hear(self, event: object) -> None:
        one = await self.batch
        command = job(SendBatch(one.id), lane=batch_lane(one.id))
        portal = await self.bench.current()
        now = self.bench.now
        await self.bench.do(lambda unit: BatchLanes().told(unit, portal, command, event, now))

    async def say(self, command: Any, **more: Any) -> object:
        return await self.room.deliver(
            await self.bench.current(), job(command, lane="campaign:77", **more), None
        )

    async def heard(self, event: object, key: str = "") -> Campaign:
        portal, now = await self.bench.current(), self.bench.now
        one = job(CheckDialer("77"), lane="campaign:77", key=key)
        await self.bench.do(lambda unit: CampaignLanes().told(unit, portal, one, event, now))
        found: Campaign = await self.bench.do(lambda unit: unit.campaign(MEMBER, "77"))
        return found


async def rig(bench: Bench, agents: Sequence[str] | None = None, **answers: Any) -> Rig:
    await bench.change(unitalk_key="a-key-of-the-pbx")
    mine = Rig(bench, Pbx(**answers), agents)
    await mine.list_phones()
    return mine


def account(*metas: str, status: str = "STOPPED") -> dict[str, Any]:
    phones = [{"number": "1", "meta": meta} for meta in metas]
    return {"autodials": [{"id": 77, "name": "Demo", "status": status, "phones": phones}], "audios": []}


# --- batches ---------------------------------------------------------------------------------------


async def test_a_batch_is_one_request_with_a_mark_for_each_number(bench: Bench) -> None:
    one = await rig(bench)
    assert await one.send() == BatchArrived("answer")
    phones = await one.phones()
    (body,) = one.pbx.said
    assert body == {
        "action": "ADD_PHONES",
        "id": 77,
        "phones": [{"number": p.number[1:], "meta": p.meta} for p in phones],
    }
    assert {p.state for p in phones} == {PhoneState.SENT}
    with pytest.raises(Moot):
        await one.send()


async def test_it_stands_as_said_on_disk_before_it_leaves(bench: Bench) -> None:
    seen: list[BatchState] = []
    one = await rig(bench)

    class Looking(Pbx):
        async def autodial(self, key: str, body: Mapping[str, Any], origin: Any) -> Any:
            seen.append((await one.batch).state)
            return OK

    one.room = Dialing(bench.store, bench.clock, cast(UnitalkClient, Looking()))
    await one.send()
    assert seen == [BatchState.SENDING]


async def test_a_lost_answer_is_looked_for_after_a_minute_and_never_said_again(bench: Bench) -> None:
    one = await rig(bench, ADD_PHONES=AnswerLost("gone"), GET_WITH_DATA=account("b24:lead:5:p0000000000"))
    with pytest.raises(AnswerLost):
        await one.send()
    with pytest.raises(Throttled) as early:
        await one.send(doubt=True)
    assert early.value.retry_at == bench.now + 60.0
    await bench.clock.advance(61.0)
    assert await one.send(doubt=True) == BatchDoubted(shown=True)
    assert one.pbx.actions() == ["ADD_PHONES", "GET_WITH_DATA", "GET_CALLS_HISTORY"]
    assert (await one.batch).state is BatchState.DOUBT
    assert [p.reason for p in await one.phones()] == ["batch_in_doubt"] * 2
    assert any(key.startswith("notify:batch:") for key in await bench.lane("portal:notices"))


async def test_the_managers_who_settle_a_batch_hear_of_it_too(bench: Bench) -> None:
    one = await rig(bench, ADD_PHONES=Refused("Autodial not found"))
    portal = await bench.current()
    await bench.change(settings=replace(portal.settings, managers=(5,)))
    await one.send()
    told = await bench.lane("portal:notices")
    assert {command.user_id for command in (cast(Any, job.command) for job in told.values())} == {None, 5}


async def test_the_dialers_list_shows_that_it_arrived(bench: Bench) -> None:
    one = await rig(bench, ADD_PHONES=AnswerLost("gone"))
    with pytest.raises(AnswerLost):
        await one.send()
    await bench.clock.advance(61.0)
    one.pbx.answers["GET_WITH_DATA"] = account((await one.phones())[1].meta)
    assert await one.send(doubt=True) == BatchArrived("check")
    assert one.pbx.actions().count("ADD_PHONES") == 1


async def test_the_dialers_calls_show_it_too_and_their_refusal_harms_nobody(bench: Bench) -> None:
    one = await rig(bench, ADD_PHONES=AnswerLost("gone"), GET_WITH_DATA={"autodials": []})
    with pytest.raises(AnswerLost):
        await one.send()
    await bench.clock.advance(61.0)
    one.pbx.answers["GET_CALLS_HISTORY"] = Refused("Unknown action")
    assert await one.send() == BatchDoubted(shown=False)


async def test_a_check_that_cannot_be_made_is_made_later(bench: Bench) -> None:
    one = await rig(bench, ADD_PHONES=AnswerLost("gone"), GET_WITH_DATA=Unavailable("down"))
    with pytest.raises(AnswerLost):
        await one.send()
    await bench.clock.advance(61.0)
    with pytest.raises(Unavailable):
        await one.send()
    assert (await one.batch).state is BatchState.SENDING


async def test_what_never_left_may_be_said_again(bench: Bench) -> None:
    one = await rig(bench, ADD_PHONES=NotSent("no"))
    with pytest.raises(NotSent):
        await one.send()
    assert (await one.batch).state is BatchState.WAITING
    one.pbx.answers.clear()
    assert await one.send(doubt=True) == BatchArrived("answer")
    assert (await one.batch).requests == 1


async def test_a_refusal_needs_a_person(bench: Bench) -> None:
    one = await rig(bench, ADD_PHONES=Refused("Autodial not found", hint="Look."))
    assert await one.send() == BatchDenied("REFUSED", "Autodial not found", "Look.")
    (batch,) = await bench.store.batches_in_attention(MEMBER)
    assert (batch.state, batch.message) == (BatchState.REFUSED, "Autodial not found")


async def test_without_a_key_nothing_is_said(bench: Bench) -> None:
    one = await rig(bench)
    await bench.change(unitalk_key="")
    event = await one.send()
    assert isinstance(event, BatchDenied)
    assert event.code == "NO_KEY"
    assert one.pbx.said == []


async def test_numbers_that_nobody_may_call_are_left_out_at_the_last_moment(bench: Bench) -> None:
    one = await rig(bench)
    await bench.do(lambda unit: unit.forbid(MEMBER, Forbidden(NUMBERS[0], "asked", 1, 0.0)))
    await one.send()
    (body,) = one.pbx.said
    assert [entry["number"] for entry in body["phones"]] == [NUMBERS[1][1:]]
    assert [(p.state, p.reason) for p in await one.phones()] == [
        (PhoneState.REFUSED, "do_not_call"),
        (PhoneState.SENT, ""),
    ]
    assert (await one.batch).count == 1


async def test_a_batch_of_which_nobody_may_be_called_is_not_said(bench: Bench) -> None:
    one = await rig(bench)

    async def forbid(unit: Unit) -> None:
        for number in NUMBERS:
            await unit.forbid(MEMBER, Forbidden(number, "", 1, 0.0))

    await bench.do(forbid)
    with pytest.raises(Moot):
        await one.send()
    assert one.pbx.said == []
    assert (await one.batch).state is BatchState.DROPPED


async def test_with_nobody_available_it_waits_and_is_given_back_after_a_day(bench: Bench) -> None:
    one = await rig(bench, agents=())
    with pytest.raises(Throttled, match="No agent") as waits:
        await one.send()
    assert (waits.value.code, waits.value.retry_at) == ("NO_AGENT", bench.now + 60.0)
    await bench.clock.advance(WAITS_FOR_AGENTS + 1)
    assert await one.send() == BatchTooOld()
    assert [(p.state, p.reason) for p in await one.phones()] == [(PhoneState.REFUSED, "no_agent")] * 2
    assert one.pbx.said == []


async def test_with_somebody_available_it_goes(bench: Bench) -> None:
    one = await rig(bench, agents=("2001",))
    assert await one.send() == BatchArrived("answer")


@pytest.mark.parametrize(("said", "state"), [(True, BatchState.DOUBT), (False, BatchState.REFUSED)])
async def test_work_that_was_given_up_leaves_the_batch_to_a_person(
    bench: Bench, said: bool, state: BatchState
) -> None:
    one = await rig(bench, ADD_PHONES=AnswerLost("gone"))
    if said:
        with pytest.raises(AnswerLost):
            await one.send()
    await one.hear(GivenUp("send_batch", "send:0", "INTERNAL", "our own fault"))
    assert (await one.batch).state is state


async def test_a_second_turn_leaves_out_who_was_called_meanwhile(bench: Bench) -> None:
    """By its number alone: that proves nothing of the batch, but this client's phone has rung."""
    one = await rig(bench, ADD_PHONES=AnswerLost("gone"))
    with pytest.raises(AnswerLost):
        await one.send()
    await bench.clock.advance(61.0)
    await one.send()
    first, _ = await one.phones()
    await bench.do(lambda unit: unit.save_phones(MEMBER, [replace(first, tries=1)]))

    known = await one.batch
    turned = by_hand(known, sent=False, user_id=1, now=bench.now)
    await bench.do(lambda unit: put(unit, MEMBER, known, turned, bench.now))
    one.pbx.answers.clear()
    assert await one.send() == BatchArrived("answer")
    assert [entry["number"] for entry in one.pbx.said[-1]["phones"]] == [NUMBERS[1][1:]]
    assert {p.state for p in await one.phones()} == {PhoneState.SENT}


# --- batches are made ------------------------------------------------------------------------------


@pytest.mark.parametrize(("count", "made"), [(2, []), (1000, [1000]), (1500, [1000])])
async def test_a_part_of_a_batch_waits_for_records_that_are_still_read(
    bench: Bench, count: int, made: list[int]
) -> None:
    wish = Wish("w1", "77", 0.0, 1)
    phones = [Phone("", "77", f"+38044{n:07}") for n in range(count)]

    async def work(unit: Unit) -> None:
        await unit.save_wish(MEMBER, wish)
        await enlist(unit, MEMBER, "77", phones, 1, bench.now)
        await gather(unit, MEMBER, "77", bench.now)

    await bench.do(work)
    assert [one.count for one in await bench.store.campaign_batches(MEMBER, "77")] == made
    await bench.do(lambda unit: unit.save_wish(MEMBER, replace(wish, state=WishState.DONE)))
    await bench.do(lambda unit: gather(unit, MEMBER, "77", bench.now + 1))
    assert sum(one.count for one in await bench.store.campaign_batches(MEMBER, "77")) == count


# --- start, stop, status ---------------------------------------------------------------------------


async def wanted(one: Rig, *, on: bool) -> SwitchDialer:
    async def work(unit: Unit) -> SwitchDialer:
        known = await unit.campaign(MEMBER, "77") or Campaign("77")
        after = switched(known, on=on, user_id=1, now=one.bench.now)
        await unit.save_campaign(MEMBER, after)
        return SwitchDialer("77", on=on, turn=after.turn)

    command: SwitchDialer = await one.bench.do(work)
    return command


@pytest.mark.parametrize(("on", "action", "status"), [(True, "START", "RUNNING"), (False, "STOP", "STOPPED")])
async def test_start_and_stop(bench: Bench, on: bool, action: str, status: str) -> None:
    one = await rig(bench)
    event = await one.say(await wanted(one, on=on))
    assert one.pbx.said == [{"action": action, "id": 77}]
    campaign = await one.heard(event)
    assert (campaign.status, campaign.settled) == (status, True)


async def test_in_doubt_the_status_is_read_before_it_is_said_again(bench: Bench) -> None:
    one = await rig(bench, GET_WITH_DATA=account(status="RUNNING"))
    command = await wanted(one, on=True)
    assert await one.say(command, doubt=True) == Switched(command.turn, "RUNNING")
    assert one.pbx.actions() == ["GET_WITH_DATA"]
    one.pbx.answers["GET_WITH_DATA"] = account(status="STOPPED")
    await one.say(command, doubt=True)
    assert one.pbx.actions()[1:] == ["GET_WITH_DATA", "START"]


async def test_in_doubt_without_a_status_a_person_is_asked(bench: Bench) -> None:
    one = await rig(bench, GET_WITH_DATA={"autodials": [{"id": 77, "name": "Demo"}]})
    event = await one.say(await wanted(one, on=True), doubt=True)
    assert isinstance(event, SwitchFailed)
    campaign = await one.heard(event)
    assert (campaign.code, campaign.settled) == ("SWITCH_IN_DOUBT", True)


async def test_an_older_command_never_overtakes_a_later_one(bench: Bench) -> None:
    one = await rig(bench)
    start = await wanted(one, on=True)
    await wanted(one, on=False)
    with pytest.raises(Moot):
        await one.say(start)
    assert one.pbx.said == []
    campaign = await one.heard(SwitchFailed(start.turn, "X", "late", ""))
    assert campaign.code == ""


async def test_a_refused_start_says_why(bench: Bench) -> None:
    one = await rig(bench, START=Refused("Autodial not found"))
    campaign = await one.heard(await one.say(await wanted(one, on=True)))
    assert campaign.message == "Autodial not found"


async def test_the_end_of_a_dialer_settles_what_it_had(bench: Bench) -> None:
    one = await rig(bench)
    await one.send()
    first, _ = await one.phones()
    await bench.do(lambda unit: unit.save_phones(MEMBER, [replace(first, tries=1)]))
    campaign = await one.heard(DialerRead("COMPLETED"))
    assert campaign.finished_at == bench.now
    assert [(p.state, p.reason) for p in await one.phones()] == [
        (PhoneState.FINISHED, ""),
        (PhoneState.ATTENTION, "no_outcome"),
    ]


async def test_a_dialer_that_runs_is_looked_at_again(bench: Bench) -> None:
    one = await rig(bench)
    await one.heard(DialerRead("RUNNING"))
    assert (await bench.lane("campaign:77"))["check"].due_at == bench.now + 600.0


# --- the account -----------------------------------------------------------------------------------


async def test_the_accounts_dialers_are_kept_with_the_structure_of_the_answer(bench: Bench) -> None:
    one = await rig(bench, GET_WITH_DATA=account("x", status="RUNNING"))
    await one.say(ReadDialers())
    snapshot = await bench.store.snapshot(MEMBER, "dialers")
    assert snapshot is not None
    (item,) = snapshot.items
    assert (item["id"], item["name"], item["path"], item["phones"]) == (77, "Demo", "autodials", 1)
    state = await bench.store.snapshot(MEMBER, "dialers_state")
    assert state is not None
    assert state.items[0]["ok"]
    assert "structure" in state.items[0]
    (campaign,) = await bench.store.campaigns(MEMBER)
    assert (campaign.name, campaign.status) == ("Demo", "RUNNING")


async def test_what_fails_stands_beside_the_last_good_list(bench: Bench) -> None:
    one = await rig(bench, GET_WITH_DATA=account())
    await one.say(ReadDialers())
    one.pbx.answers["GET_WITH_DATA"] = {"nothing": 1}
    await one.say(ReadDialers())
    snapshot, state = [await bench.store.snapshot(MEMBER, kind) for kind in ("dialers", "dialers_state")]
    assert snapshot is not None
    assert state is not None
    assert len(snapshot.items) == 1
    assert (state.items[0]["ok"], state.items[0]["code"]) == (False, "NO_DIALERS")


async def test_an_id_goes_back_in_the_type_in_which_it_came(bench: Bench) -> None:
    one = await rig(bench, GET_WITH_DATA={"autodials": [{"id": "77", "name": "Demo"}]})
    await one.say(ReadDialers())
    await one.send()
    assert one.pbx.said[-1]["id"] == "77"
