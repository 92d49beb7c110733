"""A dialer that works through a list: machines, busy lines, people lost, operators who may be given calls
(unitalk.md §3.5, §4.6).
"""

from __future__ import annotations

import time
from collections import Counter
from itertools import pairwise
from typing import Any

import pytest

from bitrix_app.clock import VirtualClock
from tests.unitalk.sandbox.conftest import HOOK, Api, Receiver
from unitalk.sandbox import ConnectionDropped, DialerPhone, DialOutcome, Facts, Fault, SandboxPbx

pytestmark = pytest.mark.anyio

LINES = ("2001", "2002", "2003", "2004", "2005")


async def act(api: Api, action: str, **more: Any) -> Any:
    return await api("autodial/action", {"action": action, "id": 77, **more})


def numbers(count: int) -> list[str]:
    return [f"38050{n:07d}" for n in range(count)]


def phones(count: int) -> list[dict[str, str]]:
    return [{"number": number, "meta": f"lead:{n}"} for n, number in enumerate(numbers(count))]


async def test_each_kind_of_end_is_told_and_only_nobody_there_is_tried_again(
    api: Api, pbx: SandboxPbx, clock: VirtualClock, receiver: Receiver
) -> None:
    states = ["ANSWER", "ANSWERING_MACHINE", "BUSY", "NOANSWER", "NOT_EXIST", "ANSW_NF_OP", "CLIENT_CALLED"]
    for number, state in zip(numbers(7), states, strict=True):
        pbx.outcomes.script(number, DialOutcome(state=state))
    async with pbx.running():
        await act(api, "ADD_PHONES", phones=phones(7))
        await act(api, "START")
        await clock.advance(200)
    dialer = pbx.dialers[77]
    assert [phone.call_state for phone in dialer.phones] == states
    assert [phone.attempts for phone in dialer.phones] == [1, 2, 2, 2, 1, 1, 1]
    assert all(phone.done for phone in dialer.phones)
    ends = Counter(body["call"]["state"] for body in receiver.bodies if body["event"] == "CALL_END")
    assert ends == {"ANSWER": 1, "ANSWERING_MACHINE": 2, "BUSY": 2, "NOANSWER": 2, "NOT_EXIST": 1,
                    "ANSW_NF_OP": 1, "CLIENT_CALLED": 1}  # fmt: skip
    assert receiver.events[-1] == "AUTODIAL_FINISH"
    (skipped,) = [call for call in pbx.calls if call.state == "CLIENT_CALLED"]
    assert [step.event for step in skipped.steps] == ["CALL_END"]


async def test_a_second_attempt_may_reach_whom_the_first_did_not(
    api: Api, pbx: SandboxPbx, clock: VirtualClock
) -> None:
    (number,) = numbers(1)
    pbx.dialers[77].retry_pause = 600
    pbx.outcomes.script(number, DialOutcome(state="NOANSWER"), DialOutcome())
    async with pbx.running():
        await act(api, "ADD_PHONES", phones=phones(1))
        await act(api, "START")
        await clock.advance(500)
        assert [call.state for call in pbx.calls] == ["NOANSWER"]
        await clock.advance(200)
    assert [call.state for call in pbx.calls] == ["NOANSWER", "ANSWER"]
    assert pbx.dialers[77].status == "STOPPED"


async def test_no_more_calls_at_once_than_channels(api: Api, pbx: SandboxPbx, clock: VirtualClock) -> None:
    pbx.dialers[77].channels = 3
    async with pbx.running():
        await act(api, "ADD_PHONES", phones=phones(10))
        await act(api, "START")
        for _ in range(100):
            await clock.advance(1)
            now = clock.now()
            assert sum(call.started_at <= now < call.ended_at for call in pbx.calls) <= 3
    assert len(pbx.calls) == 10


async def test_only_operators_who_work_are_given_people(
    api: Api, pbx: SandboxPbx, clock: VirtualClock
) -> None:
    pbx.dialers[77].channels = 5
    for line in ("2001", "2003"):
        pbx.statuses[line] = "PAUS"
    pbx.operators[3].online = False
    async with pbx.running():
        await act(api, "ADD_PHONES", phones=phones(30))
        await act(api, "START")
        await clock.advance(300)
    assert {offer.line for offer in pbx.offers} == {"2002", "2005"}
    assert {call.state for call in pbx.calls} == {"ANSWER", "ANSW_NF_OP"}
    assert len(pbx.offers) == sum(call.answered for call in pbx.calls)
    for one in pbx.calls:  # nobody talks with two at once
        for other in pbx.calls:
            if one is not other and set(one.answered_by) & set(other.answered_by):
                assert one.ended_at <= other.steps[1].at or other.ended_at <= one.steps[1].at


async def test_who_pauses_while_the_callee_is_still_ringing_is_not_given_him(
    api: Api, pbx: SandboxPbx, clock: VirtualClock
) -> None:
    for line in LINES[1:]:
        pbx.statuses[line] = "PAUS"
    async with pbx.running():
        await act(api, "ADD_PHONES", phones=phones(1))
        await act(api, "START")
        await clock.advance(2)
        pbx.statuses["2001"] = "PAUS"
        pbx.statuses["2005"] = "WORK"
        await clock.advance(60)
    assert [offer.line for offer in pbx.offers] == ["2005"]
    (call,) = pbx.calls
    assert (call.state, call.answered_by, call.seconds_talk) == ("ANSWER", ["2005"], 8)


async def test_a_number_given_twice_is_dialled_twice(api: Api, pbx: SandboxPbx, clock: VirtualClock) -> None:
    async with pbx.running():
        for _ in range(2):
            await act(api, "ADD_PHONES", phones=phones(2))
        await act(api, "START")
        await clock.advance(100)
    assert sorted(Counter(call.number for call in pbx.calls).values()) == [2, 2]


@pytest.mark.parametrize(("kind", "kept"), [("lost", 3), ("refused_before", 0)])
async def test_a_batch_whose_answer_is_lost_may_be_in_or_not(
    api: Api, pbx: SandboxPbx, kind: str, kept: int
) -> None:
    pbx.faults.add(Fault("autodial/action:ADD_PHONES", kind))  # type: ignore[arg-type]
    with pytest.raises(ConnectionDropped):
        await act(api, "ADD_PHONES", phones=phones(3))
    (shown,) = (await api("autodial/action", {"action": "GET_WITH_DATA"}))["autodials"]
    assert [phone["meta"] for phone in shown["phones"]] == ["lead:0", "lead:1", "lead:2"][:kept]


@pytest.mark.parametrize(
    ("shows", "keys"),
    [
        ("meta", {"number", "meta", "realCalledCount", "callState"}),
        ("numbers", {"number", "realCalledCount", "callState"}),
        ("nothing", None),
    ],
)
async def test_the_list_may_be_read_back_whole_without_meta_or_not_at_all(
    api: Api, pbx: SandboxPbx, shows: Any, keys: set[str] | None
) -> None:
    pbx.options.autodial_shows = shows
    pbx.dialers[77].phones.append(DialerPhone("380500000001", "lead:1"))
    (shown,) = (await api("autodial/action", {"action": "GET_WITH_DATA"}))["autodials"]
    if keys is None:
        assert "phones" not in shown
    else:
        assert [set(phone) for phone in shown["phones"]] == [keys]


async def test_meta_of_a_dialers_calls_may_be_missing_in_its_events(
    api: Api, pbx: SandboxPbx, clock: VirtualClock, receiver: Receiver
) -> None:
    pbx.options.autodial_meta_events = ("CALL_END",)
    async with pbx.running():
        await act(api, "ADD_PHONES", phones=phones(1))
        await act(api, "START")
        await clock.advance(60)
    told = [(body["event"], body["call"]["meta"]) for body in receiver.bodies if "call" in body]
    assert told == [("CALL_NEW", None), ("CALL_ANSWER", None), ("CALL_ANSWER", None), ("CALL_END", "lead:0")]


async def test_what_is_added_to_a_running_dialer_is_dialled(
    api: Api, pbx: SandboxPbx, clock: VirtualClock, receiver: Receiver
) -> None:
    pbx.dialers[77].stops_when_done = False
    async with pbx.running():
        pbx.start_dialer()
        await clock.advance(60)
        await act(api, "ADD_PHONES", phones=phones(1))
        await clock.advance(60)
        assert [call.state for call in pbx.calls] == ["ANSWER"]
        assert pbx.dialers[77].status == "RUNNING"
        pbx.stop_dialer()
        await clock.advance(1)
    assert [body.get("status") for body in receiver.bodies if "status" in body] == ["RUNNING", "STOPPED"]
    assert "AUTODIAL_FINISH" not in receiver.events


async def test_a_dialer_goes_on_where_the_emulator_was_stopped(
    api: Api, pbx: SandboxPbx, clock: VirtualClock
) -> None:
    async with pbx.running():
        await act(api, "ADD_PHONES", phones=phones(3))
        await act(api, "START")
        await clock.advance(15)
    left = sum(not phone.done for phone in pbx.dialers[77].phones)
    assert 0 < left < 3
    async with pbx.running():
        await clock.advance(60)
    assert all(phone.done for phone in pbx.dialers[77].phones)


async def test_two_thousand_numbers_take_seconds_and_come_out_the_same_each_time(receiver: Receiver) -> None:
    cycle = ("ANSWER", "NOANSWER", "ANSWERING_MACHINE", "BUSY", "NOT_EXIST", "CLIENT_CALLED")
    began = time.perf_counter()
    runs = []
    for _ in range(2):
        receiver.requests.clear()
        clock = VirtualClock()
        pbx = SandboxPbx(clock, receiver, base_url="http://pbx.test", seed=7)
        pbx.connect(HOOK)
        dialer = pbx.dialers[77]
        dialer.channels = 20
        for n, number in enumerate(numbers(2000)):
            pbx.outcomes.script(number, DialOutcome(state=cycle[n % len(cycle)], talk=90))
            dialer.phones.append(DialerPhone(number, f"lead:{n}"))
        async with pbx.running():
            pbx.start_dialer()
            await clock.advance(4 * 3600)
        assert dialer.status == "STOPPED"
        runs.append([(phone.attempts, phone.call_state) for phone in dialer.phones])
        assert len(pbx.calls) == sum(attempts for attempts, _ in runs[-1]) > 2900
        assert receiver.events.count("CALL_END") == len(pbx.calls)
        for line in LINES:  # nobody talks with two at once, however many calls are made meanwhile
            talks = [(call.steps[1].at, call.ended_at) for call in pbx.calls if line in call.answered_by]
            assert all(end <= begin for (_, end), (begin, _) in pairwise(talks))
    assert runs[0] == runs[1]
    assert {state for _, state in runs[0]} == {*cycle, "ANSW_NF_OP"}
    assert time.perf_counter() - began < 60


@pytest.mark.parametrize("state", ["ANSWER", "ANSW_NF_OP", "ANSWERING_MACHINE", "BUSY", "CLIENT_CALLED"])
async def test_a_dialers_own_call_is_told_and_kept_as_the_documented_one(
    pbx: SandboxPbx, clock: VirtualClock, state: str
) -> None:
    """`tests/contract/test_unitalk.py` lays the latter beside the samples."""
    plan = DialOutcome(state=state, ring_seconds=16, wait=4, talk=50, operator_line="2001")
    pbx.outcomes.plan(plan, "380440000011")
    pbx.dialers[77].phones.append(DialerPhone("380440000011", "lead:501"))
    pbx.dialers[77].max_attempts = 1
    async with pbx.running():
        pbx.start_dialer()
        await clock.advance(100)
    (dialled,) = pbx.calls
    facts = Facts(at=dialled.started_at, meta="lead:501", live_id=dialled.live_id)
    documented = pbx.autodial(
        "380440000011", outcome=state, operator="2001", talk=50, ring_seconds=16, wait=4, facts=facts
    )
    documented.dbid = dialled.dbid
    told, wanted = pbx.webhooks_for(dialled), pbx.webhooks_for(documented)
    for body in (told[-1], wanted[-1]):
        link = body["call"].pop("link")
        assert (link is not None) == (state == "ANSWER")
    assert told == wanted
    assert [step.at for step in dialled.steps] == [step.at for step in documented.steps]
