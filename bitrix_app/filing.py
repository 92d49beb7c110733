"""Recordings and Drive: bring the file in, hang it on the call, copy it, file the document.

Each step may be said again after a lost answer: re-attaching replaces the same file, and Drive is
asked for the name before anything is put there a second time (bitrix24.md §6.4, §8).
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from bitrix_app.bitrix import telephony
from bitrix_app.bitrix.client import BitrixClient
from bitrix_app.bitrix.documents import base_name, document, month_folder
from bitrix_app.bitrix.drive import Drive, DriveFile
from bitrix_app.core.call import Call
from bitrix_app.core.commands import Priority
from bitrix_app.core.errors import NotFound, Refused, Unavailable
from bitrix_app.core.events import (
    CallEvent,
    DocumentFiled,
    RecordingAttached,
    RecordingCopied,
    RecordingFetched,
)
from bitrix_app.core.jobs import Job
from bitrix_app.core.portal import Portal
from bitrix_app.core.ports import Clock, Http
from bitrix_app.core.retention import SPOOL_DAYS as SPOOL_DAYS
from unitalk import recordings

MEDIA_TYPE: Final = {"mp3": "audio/mpeg", "wav": "audio/wav"}
LOOK_AGAIN: Final = 3600.0
"""Seconds for which a Drive folder's place is believed."""


@dataclass(frozen=True, slots=True)
class RecordingSource:
    """Where recordings may be fetched from (unitalk.md §3.6)."""

    hosts: Sequence[str]
    allow_loopback: bool


class Filing:
    """See the module. `spool` holds fetched recordings until they are in Bitrix24; `told` hears how each
    came, and how many seconds after its call's end; it must return at once."""

    def __init__(
        self,
        http: Http,
        client: BitrixClient,
        drive: Drive,
        clock: Clock,
        spool: Path,
        source: RecordingSource,
        told: Callable[[Portal, recordings.Fetched, float | None], None] = lambda *_: None,
    ) -> None:
        self._http = http
        self._client = client
        self._drive = drive
        self._clock = clock
        self._spool = spool
        self._source = source
        self._told = told
        self._next_look = clock.now() + LOOK_AGAIN
        self._steps = {
            "fetch_recording": self._fetch,
            "attach_recording": self._attach,
            "drive_copy": self._copy,
            "drive_document": self._document,
        }

    def takes(self, kind: str) -> bool:
        return kind in self._steps

    async def deliver(self, portal: Portal, job: Job, call: Call) -> CallEvent:
        """Do one step. Raises a `Trouble` branch."""
        return await self._steps[job.kind](portal, call, job)

    def tick(self, now: float) -> None:
        """Once a minute: tidy the spool; once an hour, look where our Drive folders are."""
        self.sweep(now)
        if now >= self._next_look:
            self._next_look = now + LOOK_AGAIN
            self._drive.look_again()

    def sweep(self, now: float) -> int:
        """Remove files that nobody came back for, and halves of a broken download."""
        removed = 0
        if not self._spool.is_dir():
            return removed
        for file in self._spool.iterdir():
            try:
                if now - file.stat().st_mtime > SPOOL_DAYS * 86_400:
                    file.unlink()
                    removed += 1
            except FileNotFoundError:
                continue  # somebody was faster: a download that just got its name
        return removed

    async def _fetch(self, portal: Portal, call: Call, job: Job) -> CallEvent:
        part = _part(job)
        if len(call.links) < part:
            raise Refused("The PBX gave no recording link.", code="NO_RECORDING")
        self._spool.mkdir(parents=True, exist_ok=True)
        target = self._spool / f"{call.id}{_suffix(part)}.audio"
        fetched = await recordings.fetch(
            self._http,
            self._clock,
            call.links[part - 1],
            target,
            hosts=self._source.hosts,
            key=portal.unitalk_key,
            allow_loopback=self._source.allow_loopback,
        )
        self._told(portal, fetched, self._clock.now() - call.ended_at if call.ended_at is not None else None)
        return RecordingFetched(target.name, fetched.size, fetched.media)

    async def _spooled(self, portal: Portal, call: Call, job: Job) -> tuple[Path, str]:
        """The fetched file; fetched again when the spool lost it (another machine, a swept disk)."""
        mine = call.recording_part == _part(job)
        if mine and call.recording_file and (path := self._spool / call.recording_file).is_file():
            return path, call.recording_media or "mp3"
        fetched = await self._fetch(portal, call, job)
        assert isinstance(fetched, RecordingFetched)  # noqa: S101 - narrows the union for the checker
        return self._spool / fetched.file, fetched.media

    async def _attach(self, portal: Portal, call: Call, job: Job) -> CallEvent:
        priority = Priority(job.priority)
        path, media = await self._spooled(portal, call, job)
        name = f"{base_name(call, portal.settings.zone_of(call.line))}{_suffix(_part(job))}.{media}"
        request = telephony.attach(call.bitrix_call_id or "", name)
        try:
            answer = await self._client.call(portal, request, priority)
        except Refused as refused:
            if telephony.is_not_found(refused):
                # finish was acknowledged, so the statistics row is on its way (bitrix24.md §6.4)
                raise Unavailable(refused.message, code=refused.code) from refused
            raise
        slot = telephony.read_upload(answer.result)
        uploaded = await self._client.upload(
            portal, slot.url, slot.field, path, name, MEDIA_TYPE[media], priority
        )
        if not (portal.settings.drive and portal.settings.drive_recordings):
            path.unlink(missing_ok=True)  # nobody else needs it: a client's voice does not stay here
        return RecordingAttached(telephony.read_file_id(uploaded))

    async def _copy(self, portal: Portal, call: Call, job: Job) -> CallEvent:
        media = call.recording_media or "mp3"
        name = f"{base_name(call, portal.settings.zone_of(call.line))}{_suffix(_part(job))}.{media}"

        async def copy(folder: int) -> DriveFile:
            try:
                return await self._drive.copy_recording(
                    portal, call.recording_file_id or 0, folder, name, call.recording_size
                )
            except Refused:
                # the token's user may not be allowed to read recordings: our own copy is as good (§8)
                path, media = await self._spooled(portal, call, job)
                return await self._drive.upload_file(portal, folder, path, name, MEDIA_TYPE[media])

        copied, _ = await self._in_folder(portal, call, copy)
        if call.recording_file:
            (self._spool / call.recording_file).unlink(missing_ok=True)
        return RecordingCopied(copied.id, copied.name)

    async def _document(self, portal: Portal, call: Call, _job: Job) -> CallEvent:
        zone = portal.settings.zone_of(call.line)
        content = json.dumps(document(call, portal, zone), ensure_ascii=False, indent=2).encode()

        async def put(folder: int) -> DriveFile:
            return await self._drive.put_document(
                portal, folder, f"{base_name(call, zone)}.json", content, known_id=call.document_id
            )

        filed, folder = await self._in_folder(portal, call, put)
        return DocumentFiled(filed.id, filed.name, folder)

    async def _in_folder(
        self, portal: Portal, call: Call, work: Callable[[int], Awaitable[DriveFile]]
    ) -> tuple[DriveFile, int]:
        """Work in the month's folder; when somebody deleted it, once more in a new one."""
        month = month_folder(call, portal.settings.zone_of(call.line))
        folder = await self._drive.folder(portal, month)
        try:
            return await work(folder), folder
        except NotFound:
            self._drive.forget(portal)
            folder = await self._drive.folder(portal, month)
            return await work(folder), folder


def _part(job: Job) -> int:
    """Which of the call's recordings the job is about; `attach_recording:2` is about the second."""
    number = job.key.partition(":")[2]
    return int(number) if number.isdecimal() else 1


def _suffix(part: int) -> str:
    return "" if part == 1 else f"_{part}"
