"""Recordings and transcriptions of finished calls (bitrix24.md §6.4, §6.5)."""

from __future__ import annotations

import base64
import binascii
from typing import Any
from urllib.parse import unquote, urlsplit

from bitrix_app.core.ports import HttpRequest
from bitrix_app.sandbox import drive
from bitrix_app.sandbox.errors import core_error
from bitrix_app.sandbox.registry import METHODS
from bitrix_app.sandbox.state import Call
from bitrix_app.sandbox.wire import as_list, to_int
from bitrix_app.sandbox.world import Hit, World

RECORDINGS_FOLDER = "Telephony - call recordings"
FIELD_NAME = "file"
_DOWNLOAD_SECONDS = 60.0


def sniff(content: bytes) -> str | None:
    """mp3, wav or flac by the first bytes."""
    if content[:3] == b"ID3" or (len(content) > 1 and content[0] == 0xFF and content[1] & 0xE0 == 0xE0):
        return "mp3"
    if content[:4] == b"RIFF" and content[8:12] == b"WAVE":
        return "wav"
    return "flac" if content[:4] == b"fLaC" else None


def _finished(world: World, call_id: Any) -> Call:
    call = world.state.calls.get(str(call_id or ""))
    if call is None or not call.is_finished:
        raise core_error("Call is not found in the statistic table. It looks like it is not finished yet.")
    return call


def check_name(name: str) -> None:
    """The extension is compared case-sensitively ([src])."""
    if not name:
        raise core_error("File name is empty")
    if name.rpartition(".")[2] not in ("wav", "mp3") or "." not in name:
        raise core_error("Wrong file extension. Only wav and mp3 are allowed")


@METHODS.add("telephony.externalcall.attachrecord", "telephony", app_only=True)
async def attach_record(hit: Hit) -> dict[str, Any]:
    """By URL, by base64, or by an upload address for a second request."""
    if not hit.has("RECORD_URL") and not hit.has("FILENAME"):
        raise core_error(
            "Required parameters are not set. Request should contain either URL or FILENAME parameter"
        )
    call = _finished(hit.world, hit.arg("CALL_ID"))
    name = str(hit.arg("FILENAME") or "")
    if hit.arg("RECORD_URL"):
        return {"FILE_ID": await attach_from_url(hit.world, call, str(hit.arg("RECORD_URL")), name)}
    check_name(name)
    if hit.arg("FILE_CONTENT") is None:
        params = {"callId": call.call_id, "filename": name}
        url = drive.signed_url(hit.world, "upload", "telephony", params, hit.token)
        return {"uploadUrl": url, "fieldName": FIELD_NAME}
    return {"FILE_ID": attach(hit.world, call, name, decode(hit.arg("FILE_CONTENT")))}


def decode(text: Any) -> bytes:
    """Base64 of FILE_CONTENT."""
    if not text:
        raise core_error("File content is empty.")
    try:
        return base64.b64decode(str(text), validate=True)
    except (binascii.Error, ValueError) as error:
        raise core_error("File content is not properly encoded. Base64 encoding is expected.") from error


async def attach_from_url(world: World, call: Call, url: str, name: str) -> int:
    """The portal downloads inside the request; anything but 200 is an error (§6.4)."""
    if not name:
        name = unquote(urlsplit(url).path.rpartition("/")[2])
        if "." not in name:
            name += ".mp3"  # [src]
    check_name(name)
    request = HttpRequest("GET", url, {"User-Agent": "Bitrix24"}, timeout=_DOWNLOAD_SECONDS)
    try:
        answer = await world.http.send(request)
    # the port's own errors live in core.errors, which the sandbox does not know
    except Exception as error:
        raise core_error("Server returns HTTP error code 0") from error
    if answer.status != 200:
        raise core_error(f"Server returns HTTP error code {answer.status}")
    call.record_url = url
    return attach(world, call, name, answer.body)


def attach(world: World, call: Call, name: str, content: bytes) -> int:
    """Store the file under the month, link it, delete the one it replaces."""
    check_name(name)
    if not content:
        raise core_error("File content is empty.")
    if sniff(content) is None:
        raise core_error("Wrong file extension. Only wav and mp3 are allowed")
    common = drive.common_storage(world)
    folder = drive.ensure_folder(world, common.root_id, RECORDINGS_FOLDER, call.user_id)
    month = drive.ensure_folder(world, folder.id, world.iso(call.started)[:7], call.user_id)
    old = call.record_file_id
    stored = drive.add_file(world, month.id, name, content, call.user_id, unique=True)
    call.record_file_id = stored.id
    call.recordings += 1
    activity = world.state.activities.get(call.activity_id or 0)
    if activity is not None:
        activity.files = [one for one in activity.files if one != old] + [stored.id]
    if old is not None:
        drive.remove(world, old)
    return stored.id


def finish_upload(world: World, params: dict[str, Any], name: str, content: bytes) -> dict[str, int]:
    """The second request of the two-step way."""
    call = _finished(world, params["callId"])
    del name  # the name was agreed on in the first step
    return {"FILE_ID": attach(world, call, params["filename"], content)}


@METHODS.add("telephony.call.attachtranscription", "telephony", app_only=True)
def attach_transcription(hit: Hit) -> dict[str, int]:
    """Lines of the talk, checked as §6.5 words it."""
    call_id = hit.arg("CALL_ID")
    if not call_id:
        raise core_error("CALL_ID should be set")
    messages = hit.arg("MESSAGES")
    if not isinstance(messages, list | dict):
        raise core_error("MESSAGES should be an array")
    lines = as_list(messages)
    for index, line in enumerate(lines):
        field = line if isinstance(line, dict) else {}
        if field.get("SIDE") not in ("Client", "User"):
            raise core_error(f"MESSAGES[{index}][SIDE] should be either Client or User")
        if to_int(field.get("START_TIME", -1)) < 0:
            raise core_error(f"MESSAGES[{index}][START_TIME] should be greater or equal to zero")
        if to_int(field.get("STOP_TIME", 0)) < 1:
            raise core_error(f"MESSAGES[{index}][STOP_TIME] should be greater than zero")
        if not str(field.get("MESSAGE") or ""):
            raise core_error(f"MESSAGES[{index}][MESSAGE] is empty")
    call = hit.state.calls.get(str(call_id))
    if call is None or not call.is_finished:
        raise core_error(f"Call {call_id} is not found. Is it finished?")
    call.transcript_id = hit.state.next_id("transcript")
    call.transcript = [dict(line) for line in lines]
    return {"TRANSCRIPT_ID": call.transcript_id}
