"""`phones/directCall` and `phones/inner/setStatus` on bad days: every way in which a call start may go
(unitalk.md §4.1, §4.3, §5).
"""

from __future__ import annotations

import anyio
import pytest

from bitrix_app.clock import VirtualClock
from tests.unitalk.sandbox.conftest import Api, Receiver
from unitalk.sandbox import ConnectionDropped, DialOutcome, Fault, Mishap, SandboxPbx, StatusChange

pytestmark = pytest.mark.anyio

SUCCESS = {"status": "Success", "message": None}
CLIENT, OTHER = "380440000011", "380440000012"
DAY = ("2026-09-01 00:00:00", "2026-09-02 00:00:00")


async def test_the_operator_rings_before_the_client_and_the_call_is_told_with_meta(
    api: Api, pbx: SandboxPbx, clock: VirtualClock, receiver: Receiver
) -> None:
    pbx.outcomes.plan(DialOutcome(operator_seconds=3, ring_seconds=5, talk=7), CLIENT)
    async with pbx.running():
        assert await api.dial("2001", CLIENT, "b24:1") == SUCCESS
        await clock.advance(2.9)
        assert receiver.events == []
        await clock.advance(0.2)
        assert receiver.events == ["CALL_NEW"]
        await clock.advance(60)
    assert receiver.events == ["CALL_NEW", "CALL_ANSWER", "CALL_END"]
    assert [body["call"]["meta"] for body in receiver.bodies] == ["b24:1"] * 3
    (ring,) = pbx.rings
    assert (ring.sip, ring.number, ring.meta, ring.client_rang) == ("2001", CLIENT, "b24:1", True)


@pytest.mark.parametrize(
    ("state", "rang"), [("NOANSWER", True), ("BUSY", False), ("NOT_EXIST", False), ("NOMONEY", False)]
)
async def test_a_client_who_is_not_reached(
    api: Api, pbx: SandboxPbx, clock: VirtualClock, receiver: Receiver, state: str, rang: bool
) -> None:
    pbx.outcomes.plan(DialOutcome(state=state), CLIENT)
    async with pbx.running():
        assert await api.dial("2001", CLIENT) == SUCCESS
        await clock.advance(60)
    assert receiver.events == ["CALL_NEW", "CALL_END"]
    assert receiver.bodies[-1]["call"]["state"] == state
    assert [ring.client_rang for ring in pbx.rings] == [rang]


async def test_an_operator_who_does_not_pick_up_rings_no_client_and_may_stand_in_the_history_alone(
    api: Api, pbx: SandboxPbx, clock: VirtualClock, receiver: Receiver
) -> None:
    pbx.outcomes.plan(DialOutcome(operator="silent", operator_history=True), CLIENT)
    async with pbx.running():
        assert await api.dial("2001", CLIENT, "b24:1") == SUCCESS
        await clock.advance(60)
    assert receiver.events == []
    assert [ring.client_rang for ring in pbx.rings] == [False]
    rows = (await api.history(*DAY))["calls"]
    assert [(row["state"], row["meta"]) for row in rows] == [("NOANSWER", "b24:1")]


async def test_a_script_gives_each_call_to_a_number_its_own_outcome_and_the_last_for_ever(
    api: Api, pbx: SandboxPbx, clock: VirtualClock
) -> None:
    pbx.outcomes.script(CLIENT, DialOutcome(error="Sip is busy"), DialOutcome(state="BUSY"), DialOutcome())
    pbx.outcomes.plan(DialOutcome(state="NOANSWER"), times=None)
    answers = [await api.dial("2001", CLIENT) for _ in range(4)]
    assert [answer["message"] for answer in answers] == ["Sip is busy", None, None, None]
    await api.dial("2001", OTHER)
    assert [call.state for call in pbx.calls] == ["BUSY", "ANSWER", "ANSWER", "NOANSWER"]
    pbx.outcomes.clear()
    await api.dial("2001", OTHER)
    assert pbx.calls[-1].state == "ANSWER"


async def test_the_first_of_two_fitting_plans_wins_whether_whole_or_with_a_star(
    api: Api, pbx: SandboxPbx
) -> None:
    pbx.outcomes.plan(DialOutcome(state="BUSY"), "38044*")
    pbx.outcomes.plan(DialOutcome(state="NOANSWER"), CLIENT)
    for _ in range(3):
        await api.dial("2001", CLIENT)
    assert [call.state for call in pbx.calls] == ["BUSY", "NOANSWER", "ANSWER"]


@pytest.mark.parametrize(("kind", "rings"), [("lost", 1), ("refused_before", 0)])
async def test_an_answer_that_never_comes_says_nothing_about_the_phone(
    api: Api, pbx: SandboxPbx, kind: str, rings: int
) -> None:
    fault = pbx.faults.add(Fault("phones/directCall", kind, number=CLIENT))  # type: ignore[arg-type]
    assert await api.dial("2001", OTHER) == SUCCESS
    with pytest.raises(ConnectionDropped):
        await api.dial("2001", CLIENT, "b24:1")
    assert fault.hits == 1
    assert [ring.meta for ring in pbx.rings_for("b24:1")] == ["b24:1"] * rings
    assert await api.dial("2001", CLIENT) == SUCCESS  # the fault is over


async def test_a_phone_may_ring_half_a_minute_after_its_answer_was_lost(
    api: Api, pbx: SandboxPbx, clock: VirtualClock, receiver: Receiver
) -> None:
    pbx.faults.add(Fault("phones/directCall", "late", seconds=30))
    async with pbx.running():
        with pytest.raises(ConnectionDropped):
            await api.dial("2001", CLIENT, "b24:1")
        await clock.advance(29)
        assert pbx.rings == []
        await clock.advance(31)
        assert len(pbx.rings) == 1
    assert receiver.events[-1] == "CALL_END"


async def test_a_pbx_that_hangs_has_done_nothing(api: Api, pbx: SandboxPbx, clock: VirtualClock) -> None:
    pbx.faults.add(Fault("phones/directCall", "hang", seconds=20))
    dropped = False

    async def dial() -> None:
        nonlocal dropped
        with pytest.raises(ConnectionDropped):
            await api.dial("2001", CLIENT)
        dropped = True

    async with pbx.running(), anyio.create_task_group() as group:
        group.start_soon(dial)
        await clock.advance(19)
        assert not dropped
        await clock.advance(2)
    assert dropped
    assert pbx.rings == []


@pytest.mark.parametrize(
    ("echoing", "metas"),
    [
        (None, ["m", "m", "m"]),
        (("CALL_NEW", "CALL_END"), ["m", None, "m"]),
        (("CALL_END",), [None, None, "m"]),
        ((), [None, None, None]),
    ],
)
async def test_meta_comes_back_in_all_events_in_some_or_in_none(
    api: Api,
    pbx: SandboxPbx,
    clock: VirtualClock,
    receiver: Receiver,
    echoing: tuple[str, ...] | None,
    metas: list[str | None],
) -> None:
    pbx.options.meta_events = echoing
    pbx.options.meta_in_history = echoing is None
    async with pbx.running():
        await api.dial("2001", CLIENT, "m")
        await clock.advance(60)
    assert [body["call"]["meta"] for body in receiver.bodies] == metas
    assert [row["meta"] for row in (await api.history(*DAY))["calls"]] == ["m" if echoing is None else None]


async def test_webhooks_of_outgoing_calls_alone_are_lost_or_late(
    api: Api, pbx: SandboxPbx, clock: VirtualClock, receiver: Receiver
) -> None:
    pbx.mishaps.append(Mishap("CALL_*", "drop", times=None, direction="OUT", number=CLIENT))
    pbx.mishaps.append(Mishap("CALL_NEW", "delay", times=None, direction="OUT", seconds=40))
    async with pbx.running():
        await api.dial("2001", CLIENT)
        await api.dial("2002", OTHER)
        pbx.incoming(CLIENT, answered_by="2003", ring=["2003"])
        await clock.advance(60)
    told = [(body["event"], body["call"]["direction"]) for body in receiver.bodies]
    assert [event for event, direction in told if direction == "OUT"] == [
        "CALL_ANSWER",
        "CALL_END",
        "CALL_NEW",
    ]
    assert [event for event, direction in told if direction == "IN"][:1] == ["CALL_NEW"]
    assert {body["call"]["to"][0] for body in receiver.bodies if body["call"]["direction"] == "OUT"} == {
        OTHER
    }


async def test_a_row_of_the_history_may_come_minutes_after_the_end(
    api: Api, pbx: SandboxPbx, clock: VirtualClock
) -> None:
    pbx.options.history_delay = 120
    async with pbx.running():
        await api.dial("2001", CLIENT)
        await clock.advance(100)
        assert (await api.history(*DAY))["count"] == 0
        await clock.advance(60)
        assert (await api.history(*DAY))["count"] == 1


async def set_status(api: Api, number: str, status: str) -> str | None:
    answer = await api.http.post(
        "/api/phones/inner/setStatus",
        params={"number": number, "status": status},
        headers={"Authorization": "sandbox-key12"},
    )
    message: str | None = answer.json()["message"]
    return message


async def test_one_line_may_refuse_its_status_while_the_others_take_it(
    api: Api, pbx: SandboxPbx, clock: VirtualClock
) -> None:
    pbx.status_errors["2002"] = "Operator is talking"
    assert await set_status(api, "2001", "PAUS") is None
    assert await set_status(api, "2002", "PAUS") == "Operator is talking"
    assert await set_status(api, "2999", "PAUS") == "Number not found"
    assert await set_status(api, "2001", "LUNCH") == "Wrong status"
    assert (pbx.statuses["2001"], pbx.statuses["2002"]) == ("PAUS", "WORK")
    assert pbx.status_changes == [StatusChange(clock.now(), "2001", "PAUS")]
    del pbx.status_errors["2002"]
    assert await set_status(api, "2002", "PAUS") is None


@pytest.mark.parametrize(("kind", "status"), [("lost", "PAUS"), ("refused_before", "WORK")])
async def test_a_status_whose_answer_is_lost_may_be_set_or_not(
    api: Api, pbx: SandboxPbx, kind: str, status: str
) -> None:
    pbx.faults.add(Fault("phones/inner/setStatus", kind, number="2001"))  # type: ignore[arg-type]
    assert await set_status(api, "2002", "PAUS") is None
    with pytest.raises(ConnectionDropped):
        await set_status(api, "2001", "PAUS")
    assert pbx.statuses["2001"] == status


async def test_a_line_that_rings_for_a_started_call_is_busy_and_its_client_not_yet(
    api: Api, pbx: SandboxPbx, clock: VirtualClock
) -> None:
    pbx.outcomes.plan(DialOutcome(operator_seconds=5, ring_seconds=2, talk=3), CLIENT)
    async with pbx.running():
        await api.dial("2001", CLIENT)
        await clock.advance(1)
        assert pbx.busy_lines() == {"2001"}
        await clock.advance(5)
        assert pbx.busy_lines() == {"2001", CLIENT}
        await clock.advance(60)
    assert pbx.busy_lines() == set()
