"""attachRecord in its three ways, transcriptions, and where files end up (bitrix24.md §6.4, §6.5)."""

from __future__ import annotations

import base64
from typing import Any

import pytest

from bitrix_app.clock import VirtualClock
from bitrix_app.core.ports import HttpResponse
from tests.sandbox.conftest import Api, Net

pytestmark = pytest.mark.anyio

MP3 = b"ID3\x04" + bytes(40)
WAV = b"RIFF\x00\x00\x00\x00WAVEfmt "
ATTACH = "telephony.externalcall.attachRecord"


def b64(content: bytes) -> str:
    return base64.b64encode(content).decode()


async def test_base64(api: Api) -> None:
    call_id = await api.finished(EXTERNAL_CALL_ID="X1")
    answer = await api.call(ATTACH, CALL_ID=call_id, FILENAME="a.mp3", FILE_CONTENT=b64(MP3))
    stored = await api.call("disk.file.get", id=answer["FILE_ID"])
    assert (stored["NAME"], stored["SIZE"]) == ("a.mp3", str(len(MP3)))
    assert stored["FILE_ID"] != stored["ID"]
    tree = api.portal.drive_tree()
    assert tree["Company Drive"] == {"Telephony - call recordings": {"2026-09": {"a.mp3": len(MP3)}}}
    row = (await api.call("voximplant.statistic.get", FILTER={"CALL_ID": call_id}))[0]
    assert row["RECORD_FILE_ID"] == answer["FILE_ID"]
    listed = await api.call(
        "crm.activity.list", filter={"=ORIGIN_ID": f"VI_{call_id}"}, select=["ID", "FILES"]
    )
    assert [one["id"] for one in listed[0]["FILES"]] == [answer["FILE_ID"]]


async def test_attaching_again_replaces_the_file(api: Api) -> None:
    call_id = await api.finished(EXTERNAL_CALL_ID="X1")
    first = await api.call(ATTACH, CALL_ID=call_id, FILENAME="a.mp3", FILE_CONTENT=b64(MP3))
    second = await api.call(ATTACH, CALL_ID=call_id, FILENAME="a.mp3", FILE_CONTENT=b64(MP3 + b"x"))
    assert first["FILE_ID"] != second["FILE_ID"]
    assert (await api.refuse("disk.file.get", id=first["FILE_ID"]))[1] == "ERROR_NOT_FOUND"
    effects = api.portal.effects("X1")
    assert (effects.recordings, effects.files) == (1, 2)
    assert api.portal.activities[0].files == [second["FILE_ID"]]


async def test_two_steps(clock: VirtualClock, api: Api) -> None:
    call_id = await api.finished()
    step = await api.call(ATTACH, CALL_ID=call_id, FILENAME="a.wav")
    assert set(step) == {"uploadUrl", "fieldName"}
    wrong = await api.http.post(step["uploadUrl"], files={"other": ("a.wav", WAV)})
    assert wrong.json()["error"] == "ERROR_CORE"
    done = await api.http.post(step["uploadUrl"], files={step["fieldName"]: ("a.wav", WAV, "audio/wav")})
    assert set(done.json()["result"]) == {"FILE_ID"}
    await clock.advance(3600)
    late = await api.http.post(step["uploadUrl"], files={"file": ("a.wav", WAV)})
    assert (late.status_code, late.json()["error"]) == (401, "expired_token")


async def test_by_url(net: Net, api: Api) -> None:
    call_id = await api.finished()
    good, bad = "http://records.example/r/6f?sig=1", "http://records.example/missing.mp3"
    net.answers = {good: HttpResponse(200, {}, MP3), bad: HttpResponse(404, {}, b"")}
    assert (await api.refuse(ATTACH, CALL_ID=call_id, RECORD_URL=bad))[
        2
    ] == "Server returns HTTP error code 404"
    await api.call(ATTACH, CALL_ID=call_id, RECORD_URL=good)  # no extension: .mp3 is appended
    folder = api.portal.drive_tree()["Company Drive"]["Telephony - call recordings"]["2026-09"]
    assert list(folder) == ["6f.mp3"]


@pytest.mark.parametrize(
    ("params", "text"),
    [
        ({}, "Required parameters are not set. Request should contain either URL or FILENAME parameter"),
        ({"FILENAME": ""}, "File name is empty"),
        ({"FILENAME": "a.MP3"}, "Wrong file extension. Only wav and mp3 are allowed"),
        ({"FILENAME": "a.ogg"}, "Wrong file extension. Only wav and mp3 are allowed"),
        ({"FILENAME": "mp3"}, "Wrong file extension. Only wav and mp3 are allowed"),
        ({"FILENAME": "a.mp3", "FILE_CONTENT": ""}, "File content is empty."),
        (
            {"FILENAME": "a.mp3", "FILE_CONTENT": "***"},
            "File content is not properly encoded. Base64 encoding is expected.",
        ),
        (
            {"FILENAME": "a.mp3", "FILE_CONTENT": b64(b"<html>")},
            "Wrong file extension. Only wav and mp3 are allowed",
        ),
    ],
)
async def test_refusals(api: Api, params: dict[str, Any], text: str) -> None:
    call_id = await api.finished()
    assert await api.refuse(ATTACH, CALL_ID=call_id, **params) == (400, "ERROR_CORE", text)


async def test_not_before_finish(api: Api) -> None:
    call_id = (await api.register())["CALL_ID"]
    text = "Call is not found in the statistic table. It looks like it is not finished yet."
    assert (await api.refuse(ATTACH, CALL_ID=call_id, FILENAME="a.mp3"))[2] == text


async def test_transcription(api: Api) -> None:
    method = "telephony.call.attachTranscription"
    call_id = (await api.register())["CALL_ID"]
    lines = [{"SIDE": "User", "START_TIME": 0, "STOP_TIME": 3, "MESSAGE": "Hello"}]
    refusal = await api.refuse(method, CALL_ID=call_id, MESSAGES=lines)
    assert refusal[2] == f"Call {call_id} is not found. Is it finished?"
    await api.call("telephony.externalcall.finish", CALL_ID=call_id, USER_ID=11, DURATION=5)
    assert await api.call(method, CALL_ID=call_id, MESSAGES=lines) == {"TRANSCRIPT_ID": 1}
    for change, text in (
        ({"SIDE": "Robot"}, "MESSAGES[0][SIDE] should be either Client or User"),
        ({"START_TIME": -1}, "MESSAGES[0][START_TIME] should be greater or equal to zero"),
        ({"STOP_TIME": 0}, "MESSAGES[0][STOP_TIME] should be greater than zero"),
        ({"MESSAGE": ""}, "MESSAGES[0][MESSAGE] is empty"),
    ):
        assert (await api.refuse(method, CALL_ID=call_id, MESSAGES=[lines[0] | change]))[2] == text
