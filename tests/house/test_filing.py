"""Recordings and documents: each step may be said again, and nothing stays in the spool for ever."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any, cast

import pytest

from bitrix_app.bitrix.drive import Drive, DriveFile
from bitrix_app.core.call import Call, Recording
from bitrix_app.core.commands import (
    AttachRecording,
    Command,
    CopyRecording,
    FetchRecording,
    FileDocument,
    Finish,
)
from bitrix_app.core.errors import Forbidden, NotFound, Refused, Trouble, Unavailable, VendorBroken
from bitrix_app.core.events import DocumentFiled, RecordingAttached, RecordingCopied, RecordingFetched
from bitrix_app.core.portal import Portal, PortalSettings
from bitrix_app.core.ports import Http, HttpResponse
from bitrix_app.filing import SPOOL_DAYS, Filing, RecordingSource
from tests.house.making import LINE, NOW, Bench, FakePortal, job, over, portal
from tests.unitalk.fakes import FakeHttp
from unitalk.recordings import Fetched

pytestmark = pytest.mark.anyio

LINK = "https://api.unitalk.cloud:8443/tracking/rec/1.1/2026-02-10"
MP3 = b"ID3" + b"\0" * 97
WAV = b"RIFF\0\0\0\0WAVE" + b"\0" * 40
ATTACH = "telephony.externalcall.attachRecord"
NAME = "2026-09-02_10-15-00_in_380440000011_c1"


class FakeDrive:
    """Drive as `Filing` sees it: what was done, and a trouble for copies when wanted."""

    def __init__(self) -> None:
        self.done: list[tuple[Any, ...]] = []
        self.refuse: Trouble | None = None
        self.gone: set[int] = set()
        """Folders that somebody deleted."""
        self.forgotten = 0
        self.looks = 0

    def forget(self, _portal: Portal) -> None:
        self.forgotten += 1

    def look_again(self) -> None:
        self.looks += 1

    def _is_there(self, folder: int) -> None:
        if folder in self.gone:
            raise NotFound("no such folder")

    async def folder(self, _portal: Portal, month: str) -> int:
        self.done.append(("folder", month))
        return 400 + self.forgotten

    async def copy_recording(
        self, _portal: Portal, file_id: int, folder: int, name: str, size: int | None
    ) -> DriveFile:
        self._is_there(folder)
        if self.refuse:
            raise self.refuse
        self.done.append(("copy", file_id, folder, name, size))
        return DriveFile(500, name, size, folder)

    async def upload_file(
        self, _portal: Portal, folder: int, path: Path, name: str, content_type: str
    ) -> DriveFile:
        self._is_there(folder)
        content = path.read_bytes()  # noqa: ASYNC240
        self.done.append(("upload", folder, content, name, content_type))
        return DriveFile(501, name, None, folder)

    async def put_document(
        self, _portal: Portal, folder: int, name: str, content: bytes, *, known_id: int | None = None
    ) -> DriveFile:
        self._is_there(folder)
        self.done.append(("document", folder, name, json.loads(content), known_id))
        return DriveFile(known_id or 600, name, len(content), folder)


class Room:
    def __init__(self, bench: Bench, spool: Path) -> None:
        self.far = FakePortal()
        self.http = FakeHttp()
        self.told: list[tuple[Fetched, float | None]] = []
        self.drive = FakeDrive()
        self.spool = spool
        source = RecordingSource(["*.unitalk.cloud"], False)
        self.filing = Filing(
            cast(Http, self.http),
            self.far.client,
            cast(Drive, self.drive),
            bench.clock,
            spool,
            source,
            lambda _portal, fetched, seconds: self.told.append((fetched, seconds)),
        )
        self.portal = portal(unitalk_key="pbx-key")

    async def say(self, command: Command, about: Call, **more: Any) -> Any:
        return await self.filing.deliver(self.portal, job(command, **more), about)

    def serves(self, *bodies: bytes) -> None:
        self.http.answers += [HttpResponse(200, {}, body) for body in bodies]

    def files(self) -> list[str]:
        return sorted(file.name for file in self.spool.iterdir()) if self.spool.is_dir() else []


@pytest.fixture
def room(bench: Bench, tmp_path: Path) -> Room:
    return Room(bench, tmp_path / "spool")


def recorded(**more: Any) -> Call:
    fields: dict[str, Any] = {
        "link": LINK,
        "recording": Recording.FETCHED,
        "recording_file": "c1.audio",
        "recording_media": "mp3",
        "recording_size": 100,
    }
    return over(**{**fields, **more})


def spooled(room: Room, content: bytes = MP3, name: str = "c1.audio") -> Path:
    room.spool.mkdir(exist_ok=True)
    path = room.spool / name
    path.write_bytes(content)
    return path


def test_filing_takes_what_has_to_do_with_files(room: Room) -> None:
    mine = (FetchRecording, AttachRecording, CopyRecording, FileDocument)
    assert all(room.filing.takes(command.kind) for command in mine)
    assert not room.filing.takes(Finish.kind)


# --- fetch -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(("body", "media"), [(MP3, "mp3"), (WAV, "wav")])
async def test_a_recording_is_fetched_into_the_spool(room: Room, body: bytes, media: str) -> None:
    room.serves(body)
    event = await room.say(FetchRecording(link=LINK), over(link=LINK))
    assert event == RecordingFetched("c1.audio", len(body), media)
    assert (room.spool / "c1.audio").read_bytes() == body


async def test_the_pbxs_key_opens_a_recording_that_asks_for_it(room: Room) -> None:
    room.http.answers = [HttpResponse(401, {}, b""), HttpResponse(200, {}, MP3)]
    await room.say(FetchRecording(link=LINK), over(link=LINK))
    assert [asked.headers.get("Authorization") for asked in room.http.asked] == [None, "pbx-key"]


async def test_how_a_recording_came_is_told_with_the_time_since_the_end(room: Room, bench: Bench) -> None:
    room.serves(MP3)
    await room.say(FetchRecording(link=LINK), over(link=LINK, ended_at=bench.now - 40))
    room.http.answers += [HttpResponse(401, {}, b""), HttpResponse(200, {}, MP3)]
    await room.say(FetchRecording(link=LINK), over(link=LINK))
    assert room.told == [
        (Fetched(len(MP3), "mp3"), 40.0),
        (Fetched(len(MP3), "mp3", with_key=True), None),
    ]


async def test_a_call_without_a_link_has_no_recording(room: Room) -> None:
    with pytest.raises(Refused) as refused:
        await room.say(FetchRecording(), over(link=None))
    assert refused.value.code == "NO_RECORDING"


async def test_a_link_to_elsewhere_is_not_followed(room: Room) -> None:
    with pytest.raises(Refused) as refused:
        await room.say(FetchRecording(), over(link="https://evil.example/tracking/rec/1"))
    assert refused.value.code == "FORBIDDEN_LINK"
    assert room.http.asked == []


# --- attach ----------------------------------------------------------------------------------------


async def test_a_recording_is_hung_on_the_call_by_two_steps(room: Room) -> None:
    spooled(room)
    room.far.on(ATTACH, {"uploadUrl": "https://some-domain.bitrix24.com/up", "fieldName": "file"})
    assert await room.say(AttachRecording(), recorded()) == RecordingAttached(901)
    assert room.far.params(ATTACH) == {"CALL_ID": "externalCall.c1", "FILENAME": f"{NAME}.mp3"}
    (upload,) = room.far.uploads
    assert upload == ("https://some-domain.bitrix24.com/up", f"{NAME}.mp3", "audio/mpeg", MP3)
    assert room.http.asked == []


@pytest.mark.parametrize("told", [{"recording_file": "c1.audio"}, {"recording_file": None}])
async def test_a_recording_that_the_spool_lost_is_fetched_again(room: Room, told: Any) -> None:
    room.serves(WAV)
    room.far.on(ATTACH, {"uploadUrl": "https://some-domain.bitrix24.com/up"})
    await room.say(AttachRecording(), recorded(**told))
    (upload,) = room.far.uploads
    assert upload[1:] == (f"{NAME}.wav", "audio/wav", WAV), "as it is now, not as it was"


async def test_an_attach_before_the_statistics_know_the_call_comes_again(room: Room) -> None:
    spooled(room)
    room.far.on(ATTACH, NotFound("Call is not found in the statistic table, is it finished?"))
    with pytest.raises(Unavailable):
        await room.say(AttachRecording(), recorded())
    assert room.files() == ["c1.audio"]


async def test_another_refusal_of_attach_needs_a_person(room: Room) -> None:
    spooled(room)
    room.far.on(ATTACH, Forbidden("no rights"))
    with pytest.raises(Forbidden):
        await room.say(AttachRecording(), recorded())


async def test_a_recording_is_kept_until_its_copy_stands(room: Room) -> None:
    spooled(room)
    room.far.on(ATTACH, {"uploadUrl": "https://some-domain.bitrix24.com/up"})
    await room.say(AttachRecording(), recorded())
    assert room.files() == ["c1.audio"]


async def test_without_copies_the_spool_is_empty_when_the_recording_is_attached(room: Room) -> None:
    spooled(room)
    room.portal = portal(settings=PortalSettings(drive_recordings=False))
    room.far.on(ATTACH, {"uploadUrl": "https://some-domain.bitrix24.com/up"})
    await room.say(AttachRecording(), recorded())
    assert room.files() == []


# --- copy ------------------------------------------------------------------------------------------


async def test_a_copy_is_made_on_the_server_and_the_spool_emptied(room: Room) -> None:
    spooled(room)
    event = await room.say(CopyRecording(), recorded(recording_file_id=901))
    assert event == RecordingCopied(500, f"{NAME}.mp3")
    assert room.drive.done == [("folder", "2026-09"), ("copy", 901, 400, f"{NAME}.mp3", 100)]
    assert room.files() == []


async def test_a_copy_that_is_refused_is_uploaded_from_the_spool(room: Room) -> None:
    spooled(room)
    room.drive.refuse = Forbidden("not allowed to read recordings")
    event = await room.say(CopyRecording(), recorded(recording_file_id=901))
    assert event == RecordingCopied(501, f"{NAME}.mp3")
    assert room.drive.done[-1] == ("upload", 400, MP3, f"{NAME}.mp3", "audio/mpeg")
    assert room.files() == []


async def test_a_copy_that_is_refused_is_fetched_anew_when_the_spool_lost_it(room: Room) -> None:
    room.serves(MP3)
    room.drive.refuse = Refused("the size differs")
    await room.say(CopyRecording(), recorded(recording_file_id=901))
    assert room.drive.done[-1][0] == "upload"
    assert room.files() == []


async def test_a_copy_that_failed_keeps_the_file_for_the_next_try(room: Room) -> None:
    spooled(room)
    room.drive.refuse = VendorBroken("a fault")
    with pytest.raises(VendorBroken):
        await room.say(CopyRecording(), recorded(recording_file_id=901))
    assert room.files() == ["c1.audio"]


async def test_a_copy_of_a_recording_that_was_never_in_our_spool_removes_nothing(room: Room) -> None:
    spooled(room, name="other.audio")
    await room.say(CopyRecording(), recorded(recording_file=None, recording_media=None))
    assert room.files() == ["other.audio"]


# --- the document ----------------------------------------------------------------------------------


async def test_the_document_is_filed_by_month_and_says_no_link(room: Room) -> None:
    event = await room.say(FileDocument(), recorded())
    assert event == DocumentFiled(600, f"{NAME}.json", 400)
    _, folder, name, content, known_id = room.drive.done[-1]
    assert (folder, name, known_id) == (400, f"{NAME}.json", None)
    assert content["association"]["bitrix24_call_id"] == "externalCall.c1"
    assert "tracking/rec" not in json.dumps(content)
    assert room.drive.done[0] == ("folder", "2026-09")


async def test_a_document_that_stands_there_gets_a_new_version(room: Room) -> None:
    event = await room.say(FileDocument(), recorded(document_id=600))
    assert event.file_id == 600
    assert room.drive.done[-1][-1] == 600


async def test_a_line_of_another_zone_is_filed_by_that_zones_day(room: Room) -> None:
    settings = PortalSettings(line_zones={LINE: "Asia/Almaty"})
    room.portal = portal(unitalk_key="pbx-key", settings=settings)
    new_year = 1798747200.0  # 2026-12-31 20:00 UTC
    for about in (recorded(started_at=new_year), recorded(started_at=new_year, line="380440000002")):
        await room.say(FileDocument(), about)
    months = [done[1] for done in room.drive.done if done[0] == "folder"]
    assert months == ["2027-01", "2026-12"]


@pytest.mark.parametrize("command", [FileDocument(), CopyRecording()])
async def test_a_folder_that_somebody_deleted_is_made_anew(room: Room, command: Command) -> None:
    spooled(room)
    room.drive.gone = {400}
    await room.say(command, recorded())
    folder = room.drive.done[-1][1] if command.kind == "drive_document" else room.drive.done[-1][2]
    assert (folder, room.drive.forgotten) == (401, 1)


async def test_a_folder_that_is_gone_again_is_not_chased(room: Room) -> None:
    room.drive.gone = {400, 401}
    with pytest.raises(NotFound):
        await room.say(FileDocument(), recorded())
    assert room.drive.forgotten == 1


# --- the sweep -------------------------------------------------------------------------------------


async def test_the_sweep_removes_what_nobody_came_back_for(room: Room) -> None:
    for name, days in (("old.audio", SPOOL_DAYS + 1), ("old.audio.part", 8), ("new.audio", SPOOL_DAYS - 1)):
        path = spooled(room, name=name)
        os.utime(path, (NOW, NOW - days * 86_400))
    assert room.filing.sweep(NOW) == 2
    assert room.files() == ["new.audio"]


async def test_a_tick_sweeps_and_once_an_hour_drives_folders_are_looked_for_anew(room: Room) -> None:
    path = spooled(room, name="old.audio")
    os.utime(path, (NOW, NOW - 9 * 86_400))
    room.filing.tick(NOW)
    assert (room.files(), room.drive.looks) == ([], 0)
    for minute in range(1, 121):
        room.filing.tick(NOW + 60 * minute)
    assert room.drive.looks == 2


async def test_the_sweep_of_a_spool_that_is_not_there_yet_is_nothing(room: Room) -> None:
    assert room.filing.sweep(NOW) == 0


async def test_a_file_that_goes_while_we_look_does_not_end_the_sweep(
    room: Room, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = spooled(room, name="old.audio")
    os.utime(path, (NOW, NOW - 9 * 86_400))
    ghost = room.spool / "c9.audio.part"
    monkeypatch.setattr(Path, "iterdir", lambda _: iter([ghost, path]))
    assert room.filing.sweep(NOW) == 1


# --- a transfer's next recording -----------------------------------------------------------------------

SECOND = "https://api.unitalk.cloud:8443/tracking/rec/1.2/2026-02-10"


def second(**more: Any) -> Call:
    fields: dict[str, Any] = {
        "more_links": (SECOND,),
        "recording_part": 2,
        "recording_file": "c1_2.audio",
        "recording_file_id": 902,
    }
    return recorded(**{**fields, **more})


async def test_a_second_recording_has_a_file_of_its_own_at_every_step(room: Room) -> None:
    room.serves(MP3)
    fetched = await room.say(FetchRecording(link=SECOND), second(), key="fetch_recording:2")
    assert fetched.file == "c1_2.audio"
    assert room.http.asked[-1].url == SECOND
    room.far.on(ATTACH, {"uploadUrl": "https://x/upload", "fieldName": "file"})
    await room.say(AttachRecording(), second(), key="attach_recording:2")
    assert room.far.uploads[-1][1] == f"{NAME}_2.mp3"
    copied = await room.say(CopyRecording(), second(), key="drive_copy:2")
    assert room.drive.done[-1] == ("copy", 902, 400, f"{NAME}_2.mp3", 100)
    assert copied.name == f"{NAME}_2.mp3", "else Drive would find the first under this name"


async def test_the_first_recording_tried_again_late_is_not_mixed_up_with_the_second(room: Room) -> None:
    spooled(room, WAV, "c1_2.audio")
    room.serves(MP3)
    room.far.on(ATTACH, {"uploadUrl": "https://x/upload", "fieldName": "file"})
    await room.say(AttachRecording(), second(), key="attach_recording")
    assert room.http.asked[-1].url == LINK
    assert room.far.uploads[-1][3] == MP3
