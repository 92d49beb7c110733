"""Answers of the API: envelopes, key sets of the samples, refusals (unitalk.md §1.1, §4)."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from bitrix_app.clock import VirtualClock
from tests.unitalk.sandbox.conftest import KEY, Api, Receiver
from unitalk.sandbox import DialOutcome, SandboxPbx

pytestmark = pytest.mark.anyio

SUCCESS = {"status": "Success", "message": None}


def error(text: str) -> dict[str, Any]:
    return {"status": "Error", "message": text}


async def test_key_with_and_without_bearer(api: Api, pbx: SandboxPbx) -> None:
    assert "users" in await api("users/list", {})
    assert "users" in await api("users/list", {}, key=f"Bearer {KEY}")
    assert await api("users/list", {}, key="wrong-key1234") == error("Authorization invalid")
    bare = await api.http.post("/api/users/list", json={})
    assert (bare.status_code, bare.json()) == (200, error("Authorization invalid"))
    assert [line.key for line in pbx.requests] == ["san***", "san***", "wro***", ""]
    assert KEY not in repr(pbx.requests)
    assert pbx.counters["users/list"] == 4
    assert pbx.requests[2].outcome == "Authorization invalid"


async def test_unknown_method_and_wrong_verb(api: Api) -> None:
    assert await api("voximplant/statistic.get", {}) == error("Method not found")
    assert (await api.http.get("/api/users/list", headers={"Authorization": KEY})).status_code == 405


async def test_direct_call_rings_operator_then_client(
    api: Api, pbx: SandboxPbx, clock: VirtualClock, receiver: Receiver
) -> None:
    pbx.outcomes.plan(DialOutcome(operator_seconds=2, ring_seconds=4, talk=6))
    async with pbx.running():
        assert await api.dial("2001", "380440000011", "b24:act:1001:5f1c") == SUCCESS
        await clock.advance(1.5)
        assert receiver.events == []
        await clock.advance(60)
    assert receiver.events == ["CALL_NEW", "CALL_ANSWER", "CALL_END"]
    assert {body["call"]["meta"] for body in receiver.bodies} == {"b24:act:1001:5f1c"}
    end = receiver.bodies[-1]["call"]
    assert (end["from"], end["to"], end["secondsFullTime"]) == ("2001", ["380440000011"], 10)
    assert end["date"] == "2026-09-01 17:55:02"
    [ring] = pbx.rings
    assert (ring.sip, ring.number, ring.meta, ring.call) == (
        "2001",
        "380440000011",
        "b24:act:1001:5f1c",
        pbx.calls[0],
    )


async def test_direct_call_refusals(api: Api, pbx: SandboxPbx) -> None:
    pbx.operators[1].online = False
    assert await api.dial("2999", "380440000011") == error("Sip not found")
    assert await api.dial("", "380440000011") == error("Sip not found")
    assert await api.dial("2002", "380440000011") == error("Sip is offline")
    assert await api.dial("2001", "+380440000011") == error("Wrong number")
    pbx.outcomes.plan(DialOutcome(error="Limit of calls"), number="38044*")
    assert await api.dial("2001", "380440000011") == error("Limit of calls")
    assert await api("phones/directCall", {"sip": "2001", "number": "380440000011"}) == error("Sip not found")
    assert pbx.rings == []
    assert pbx.calls == []
    assert await api.dial("2003", "380440000011") == SUCCESS  # its line is a number, not a string


@pytest.mark.parametrize(("told", "events"), [(False, []), (True, ["CALL_NEW", "CALL_END"])])
async def test_operator_does_not_pick_up(
    api: Api, pbx: SandboxPbx, clock: VirtualClock, receiver: Receiver, told: bool, events: list[str]
) -> None:
    pbx.outcomes.default = DialOutcome(operator="silent", operator_events=told)
    async with pbx.running():
        assert await api.dial("2001", "380440000011") == SUCCESS
        await clock.advance(60)
    assert receiver.events == events
    assert [call.state for call in pbx.calls] == ["NOANSWER"] * told
    assert len(pbx.rings) == 1


async def test_originate(api: Api, pbx: SandboxPbx, clock: VirtualClock, receiver: Receiver) -> None:
    pbx.outcomes.plan(DialOutcome(pressed_digit=1))
    body = {
        "phone": "380440000011",
        "outerLine": None,
        "meta": "lead:501",
        "audios": [{"id": 501}],
        "ivrId": 10,
    }
    async with pbx.running():
        assert await api("calls/originateNew", body) == SUCCESS
        await clock.advance(60)
    assert receiver.events == ["CALL_NEW", "CALL_ANSWER", "IVR_ACTION", "CALL_END"]
    assert receiver.bodies[2] == {"event": "IVR_ACTION", "meta": "lead:501", "pressedDigit": 1}
    assert receiver.bodies[3]["call"]["from"] == "380440000001"
    assert await api("calls/originateNew", {"phone": "380440000011"}) == error("Audios is empty")
    assert await api("calls/originateNew", body | {"meta": "x" * 1001}) == error(
        "Meta length more than 1000 chars"
    )
    old = {"phone": "380440000011", "outerLine": "380440000002", "mainAudio": {"id": 501}}
    assert await api("calls/originateNew", old) == SUCCESS
    assert pbx.calls[-1].line == "380440000002"


async def test_status_of_a_line(api: Api, pbx: SandboxPbx) -> None:
    assert await api("phones/inner/setStatus?number=2001&status=PAUS") == SUCCESS
    assert pbx.statuses["2001"] == "PAUS"
    assert pbx.statuses["2002"] == "WORK"
    assert await api("phones/inner/setStatus?number=2001&status=PAUSE") == error("Wrong status")
    assert await api("phones/inner/setStatus?number=2777&status=WORK") == error("Number not found")
    assert await api("phones/inner/setStatus", {"number": "2001", "status": "WORK"}) == error(
        "Number not found"
    )


@pytest.mark.parametrize("wrapper", [None, "users", "items", "data", "list", "result"])
async def test_users_in_every_wrapper(api: Api, pbx: SandboxPbx, wrapper: Any) -> None:
    pbx.options.users_wrapper = wrapper
    answer = await api("users/list", {})
    users = answer if wrapper is None else answer[wrapper]
    assert isinstance(answer, list) is (wrapper is None)
    assert [set(user) for user in users] == [{"id", "firstName", "lastName", "line"}] * 6
    assert [user["line"] for user in users] == ["2001", "2002", 2003, "2004", "2005", None]


async def test_audio_and_messages(api: Api, pbx: SandboxPbx) -> None:
    spoken = {"data": [{"name": "demo-2", "type": "API", "tts": {"text": "Demo", "settingsId": 1}}]}
    assert await api("audio/tts", spoken) == {
        "status": "Success",
        "message": None,
        "res": None,
        "data": [{"name": "demo-2", "id": 502, "error": None}],
    }
    upload = await api.http.post(
        "/api/audio/upload",
        data={"name": "greeting", "type": "API"},
        files={"file": ("a.wav", b"RIFF")},
        headers={"Authorization": KEY},
    )
    assert upload.json()["status"] == "Success"
    assert await api("audio/upload", {}) == error("File is null")
    audios = (await api("autodial/action", {"action": "GET_WITH_DATA"}))["audios"]
    assert [audio["name"] for audio in audios] == ["demo-1", "demo-2", "greeting"]
    sms = {"messageType": "SMS", "to": "380440000011", "text": "Demo"}
    assert await api("message/send", sms) == SUCCESS
    assert await api("message/send", sms | {"messageType": "FAX"}) == error("Wrong message")
    assert [(message.to, message.text) for message in pbx.messages] == [("380440000011", "Demo")]


async def test_unreadable_body_is_an_envelope_too(api: Api) -> None:
    answer: httpx.Response = await api.http.post(
        "/api/history/get", content=b"{not json", headers={"Authorization": KEY}
    )
    assert (answer.status_code, answer.json()) == (200, error("Query null"))
