"""`autodial/action` and the dialer at work (unitalk.md §4.6; shapes of the *_assumed samples)."""

from __future__ import annotations

from typing import Any

import pytest

from bitrix_app.clock import VirtualClock
from tests.unitalk.sandbox.conftest import Api, Receiver
from unitalk.sandbox import DialOutcome, SandboxPbx

pytestmark = pytest.mark.anyio

SUCCESS = {"status": "Success", "message": None}


async def act(api: Api, action: str, **more: Any) -> Any:
    return await api("autodial/action", {"action": action, **more})


def phones(count: int) -> list[dict[str, str]]:
    return [{"number": f"3804400000{n:02d}", "meta": f"lead:{500 + n}"} for n in range(11, 11 + count)]


async def test_reading_dialers(api: Api, pbx: SandboxPbx) -> None:
    assert await act(api, "ADD_PHONES", id=77, phones=phones(1)) == SUCCESS
    assert await act(api, "GET_WITH_DATA") == {
        "autodials": [
            {
                "id": 77,
                "name": "Demo autodialer",
                "status": "STOPPED",
                "audios": [{"id": 501}],
                "phones": [
                    {"number": "380440000011", "meta": "lead:511", "realCalledCount": 0, "callState": None}
                ],
            }
        ],
        "audios": [{"id": 501, "name": "demo-1"}],
    }


async def test_a_run_from_start_to_finish(
    api: Api, pbx: SandboxPbx, clock: VirtualClock, receiver: Receiver
) -> None:
    pbx.outcomes.plan(DialOutcome(operator_line="2004", talk=5, wait=2), number="380440000011")
    pbx.outcomes.plan(DialOutcome(state="NOT_EXIST"), number="380440000012")
    pbx.outcomes.plan(DialOutcome(state="NOANSWER"), number="380440000013", times=None)
    async with pbx.running():
        await act(api, "ADD_PHONES", id=77, phones=phones(3))
        assert await act(api, "START", id=77) == SUCCESS
        assert await act(api, "START", id=77) == SUCCESS  # twice is once
        await clock.advance(120)
    assert receiver.bodies[0] == {
        "event": "AUTODIAL_STATUS_CHANGED",
        "id": 77,
        "name": "Demo autodialer",
        "status": "RUNNING",
    }
    assert receiver.events.count("AUTODIAL_STATUS_CHANGED") == 2
    assert receiver.bodies[-1] == {"event": "AUTODIAL_FINISH", "id": 77, "name": "Demo autodialer"}
    dialer = pbx.dialers[77]
    assert dialer.status == "STOPPED"
    assert [(phone.number[-2:], phone.attempts, phone.call_state) for phone in dialer.phones] == [
        ("11", 1, "ANSWER"),
        ("12", 1, "NOT_EXIST"),
        ("13", 2, "NOANSWER"),
    ]
    ends = [body["call"] for body in receiver.bodies if body["event"] == "CALL_END"]
    assert sorted(end["meta"] for end in ends) == ["lead:511", "lead:512", "lead:513", "lead:513"]
    assert [call.answered_by for call in pbx.calls if call.answered] == [["2004"]]


async def test_calls_history(api: Api, pbx: SandboxPbx, clock: VirtualClock) -> None:
    first = pbx.autodial("380440000011", wait=4, talk=50, ring_seconds=16)
    second = pbx.autodial("380440000012", outcome="BUSY")
    pbx.autodial("380440000013", dialer=78)
    pbx.incoming("380440000014")
    await clock.advance(10)
    items = (await act(api, "GET_CALLS_HISTORY", id=77))["items"]
    assert [item["callState"] for item in items] == ["BUSY"]
    await clock.advance(100)
    wanted = {"filter": {"id": [first.live_id]}}
    assert await act(api, "GET_CALLS_HISTORY", id=77, callHistoryRequest=wanted) == {
        "items": [
            {
                "id": first.live_id,
                "phone": "380440000011",
                "callState": "ANSWER",
                "secondsClientWaitOperator": 4,
                "secondsFullTime": 70,
                "secondsTalk": 50,
                "date": "2026-09-01 17:55:00",
                "meta": None,
            }
        ]
    }
    items = (await act(api, "GET_CALLS_HISTORY", id=77))["items"]
    assert {item["id"] for item in items} == {first.live_id, second.live_id}


async def test_stop_lets_calls_in_flight_end(
    api: Api, pbx: SandboxPbx, clock: VirtualClock, receiver: Receiver
) -> None:
    pbx.dialers[77].channels = 1
    async with pbx.running():
        await act(api, "ADD_PHONES", id=77, phones=phones(3))
        await act(api, "START", id=77)
        await clock.advance(2)
        assert await act(api, "STOP", id=77) == SUCCESS
        await clock.advance(100)
        assert receiver.events.count("CALL_END") == 1
        assert "AUTODIAL_FINISH" not in receiver.events
        assert await act(api, "START", id=77) == SUCCESS
        await clock.advance(100)
    assert [phone.attempts for phone in pbx.dialers[77].phones] == [1, 1, 1]
    assert receiver.events[-1] == "AUTODIAL_FINISH"


async def test_nobody_works(api: Api, pbx: SandboxPbx, clock: VirtualClock) -> None:
    for line in pbx.statuses:
        pbx.statuses[line] = "PAUS"
    async with pbx.running():
        await act(api, "ADD_PHONES", id=77, phones=phones(1))
        await act(api, "START", id=77)
        await clock.advance(60)
    assert [call.state for call in pbx.calls] == ["ANSW_NF_OP"]


@pytest.mark.parametrize(
    ("action", "more", "text"),
    [
        ("START", {"id": 99}, "Autodial not found"),
        ("ADD_PHONES", {"id": 77, "phones": []}, "Phones are empty"),
        ("ADD_PHONES", {"id": 77, "phones": [{"number": "+380"}]}, "Wrong phone"),
        ("ADD_PHONES", {"id": 77, "phones": phones(1) * 1001}, "Too many phones"),
        ("SAVE", {"autodial": {}}, "Unknown action"),
        ("DANCE", {}, "Unknown action"),
    ],
)
async def test_refusals(api: Api, action: str, more: dict[str, Any], text: str) -> None:
    assert await act(api, action, **more) == {"status": "Error", "message": text}


async def test_delete(api: Api, pbx: SandboxPbx) -> None:
    assert await act(api, "DELETE", id=77) == SUCCESS
    assert (await act(api, "GET_WITH_DATA"))["autodials"] == []
