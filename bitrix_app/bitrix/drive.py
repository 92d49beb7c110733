"""Our folder on the company's Drive: `Unitalk/<YYYY-MM>`, a document per call, copies of recordings.

bitrix24.md §8. Everything here may be said again after a lost answer without making a second file:
names are ours and unique, and whoever is in doubt looks for the name first.
"""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from loguru import logger

from bitrix_app.bitrix.client import BitrixClient
from bitrix_app.bitrix.telephony import read_upload
from bitrix_app.bitrix.values import as_id, as_mapping, as_rows, as_text
from bitrix_app.bitrix.wire import RestCall
from bitrix_app.core.commands import Priority
from bitrix_app.core.errors import AnswerLost, Conflict, NotFound, Refused, Unavailable
from bitrix_app.core.portal import Portal

ROOT: Final = "Unitalk"
READ_LEVEL: Final = "disk_access_read"


@dataclass(frozen=True, slots=True)
class DriveFile:
    """A file on Drive. `id` is the object's id (not the blob's); `size` bytes, when told."""

    id: int
    name: str
    size: int | None
    folder_id: int | None


class Drive:
    """See the module. The portal's chosen managers may read our folder from the moment it is made;
    besides, it inherits the rights of the company Drive, as every folder there does.
    """

    def __init__(self, client: BitrixClient, *, priority: Priority = Priority.RECORDING) -> None:
        self._client = client
        self._priority = priority
        self._folders: dict[tuple[str, str], int] = {}
        self._locks: dict[str, asyncio.Lock] = {}

    async def folder(self, portal: Portal, month: str) -> int:
        """The id of `Unitalk/<month>` in the common storage, made when missing; kept in memory."""
        key = (portal.member_id, month)
        async with self._locks.setdefault(portal.member_id, asyncio.Lock()):
            if key not in self._folders:
                self._folders[key] = await self._child_folder(portal, await self._root(portal), month)
            return self._folders[key]

    def look_again(self) -> None:
        """Ask for all folders anew at their next use: somebody may have put one into the bin, where
        filing still succeeds and nobody sees the files.
        """
        self._folders = {}

    def forget(self, portal: Portal) -> None:
        """Somebody deleted or moved our folders: look again next time."""
        self._folders = {k: v for k, v in self._folders.items() if k[0] != portal.member_id}

    async def put_document(
        self, portal: Portal, folder_id: int, name: str, content: bytes, *, known_id: int | None = None
    ) -> DriveFile:
        """Put a small file there; when it exists it gets a new version. Raises a `Trouble` branch."""
        if known_id is not None:
            try:
                return await self._new_version(portal, known_id, name, content)
            except NotFound:
                logger.info("document {} was deleted on Drive; it is filed anew", known_id)
        found = await self.find(portal, folder_id, name)
        if found is None:
            try:
                return await self._put(portal, folder_id, name, content)
            except Conflict:
                found = await self.find(portal, folder_id, name)
                if found is None:
                    raise
        return await self._new_version(portal, found.id, name, content)

    async def copy_recording(
        self, portal: Portal, file_id: int, folder_id: int, name: str, expected_size: int | None
    ) -> DriveFile:
        """Copy an attached recording on the server and give it our name.

        Raises `Refused` (its branches too) when the portal does not let us or the copy's size is not
        `expected_size` bytes: then `upload_file` brings our own copy.
        """
        done = await self.find(portal, folder_id, name)
        if done is not None:
            return _sized(done, expected_size)
        try:
            copied = await self._file(
                "disk.file.copyto", portal, {"id": file_id, "targetFolderId": folder_id}
            )
        except Conflict:
            copied = await self._earlier_copy(portal, file_id, folder_id)
        except NotFound:
            self.forget(portal)  # the recording or our folder: the next try looks again
            raise
        _sized(copied, expected_size)
        if copied.name == name:
            return copied
        try:
            return await self._file("disk.file.rename", portal, {"id": copied.id, "newName": name})
        except Conflict:
            done = await self.find(portal, folder_id, name)
            if done is None:
                raise
            return _sized(done, expected_size)

    async def upload_file(
        self, portal: Portal, folder_id: int, path: Path, name: str, content_type: str
    ) -> DriveFile:
        """Bring our own file by the two-step upload. A file of that name and size is ours already;
        one of another size is a broken one of ours and goes to the bin first.
        """
        size = await asyncio.to_thread(_size, path)
        for _ in range(2):
            found = await self.find(portal, folder_id, name)
            if found is not None and found.size == size:
                return found
            if found is not None:
                await self._say(portal, RestCall("disk.file.markdeleted", {"id": found.id}))
            step = RestCall("disk.folder.uploadfile", {"id": folder_id, "generateUniqueName": 0})
            try:
                place = read_upload(await self._say(portal, step))
                result = await self._client.upload(
                    portal, place.url, place.field, path, name, content_type, self._priority
                )
            except Conflict:
                continue
            except NotFound:
                self.forget(portal)
                raise
            return _sized(_read_file(result), size)
        raise Unavailable("A file of that name keeps appearing on Drive.", code="DISK_OBJ_22000")

    async def find(self, portal: Portal, folder_id: int, name: str) -> DriveFile | None:
        """The living file of exactly this name in the folder."""
        for row in await self._children(portal, folder_id, name, "file"):
            return _read_file(row)
        return None

    # --- inside ----------------------------------------------------------------------------------

    async def _root(self, portal: Portal) -> int:
        key = (portal.member_id, "")
        if key in self._folders:
            return self._folders[key]
        call = RestCall("disk.storage.getlist", {"filter": {"ENTITY_TYPE": "common"}}, reads=True)
        for storage in as_rows(await self._say(portal, call)):
            storage_id, root_id = as_id(storage.get("ID")), as_id(storage.get("ROOT_OBJECT_ID"))
            if storage_id is None or root_id is None or as_text(storage.get("ENTITY_TYPE")) != "common":
                continue
            params: dict[str, Any] = {"id": storage_id, "data": {"NAME": ROOT}}
            if rights := await self._rights(portal):
                params["rights"] = rights
            add = RestCall("disk.storage.addfolder", params)
            self._folders[key] = await self._folder_by(portal, root_id, ROOT, add)
            return self._folders[key]
        raise NotFound(
            "The portal has no company Drive that this administrator can see.", code="NO_COMMON_STORAGE"
        )

    async def _rights(self, portal: Portal) -> list[dict[str, Any]]:
        """Read access for the chosen managers. The level's id differs from portal to portal, so it is
        asked for (`disk.rights.getTasks`); a portal too old to tell gets the folder without.
        """
        if not portal.settings.drive_managers:
            return []
        try:
            levels = as_rows(await self._say(portal, RestCall("disk.rights.getTasks", reads=True)))
        except Refused as refused:
            logger.warning("Drive rights of {} cannot be set: {}", portal.domain, refused.code)
            return []
        reading = [as_id(row.get("ID")) for row in levels if as_text(row.get("NAME")) == READ_LEVEL]
        if not reading or reading[0] is None:
            return []
        return [
            {"TASK_ID": reading[0], "ACCESS_CODE": f"U{user_id}"}
            for user_id in portal.settings.drive_managers
        ]

    async def _child_folder(self, portal: Portal, parent: int, name: str) -> int:
        add = RestCall("disk.folder.addsubfolder", {"id": parent, "data": {"NAME": name}})
        try:
            return await self._folder_by(portal, parent, name, add)
        except NotFound:
            self.forget(portal)
            raise

    async def _folder_by(self, portal: Portal, parent: int, name: str, add: RestCall) -> int:
        """The folder of that name; looked for before it is made, and again when it is in the way."""
        for last in (False, True):
            for row in await self._children(portal, parent, name, "folder"):
                if folder_id := as_id(row.get("ID")):
                    return folder_id
            try:
                made = as_id(as_mapping(await self._say(portal, add)).get("ID"))
            except Conflict:
                if last:
                    raise
                continue
            if made is None:
                raise AnswerLost("The portal made a folder without telling its id.")
            return made
        raise AssertionError("unreachable")

    async def _children(
        self, portal: Portal, folder_id: int, name: str, kind: str
    ) -> list[Mapping[str, Any]]:
        params = {"id": folder_id, "filter": {"=NAME": name, "TYPE": kind}}
        try:
            answer = await self._say(portal, RestCall("disk.folder.getchildren", params, reads=True))
        except NotFound:
            self.forget(portal)
            raise
        rows = as_rows(answer)
        return [
            row
            for row in rows
            if as_text(row.get("NAME")) == name
            and as_text(row.get("TYPE") or kind) == kind
            and as_text(row.get("DELETED_TYPE") or "0") == "0"
        ]

    async def _earlier_copy(self, portal: Portal, file_id: int, folder_id: int) -> DriveFile:
        """A copy whose answer or renaming was lost stands there under the recording's own name."""
        source = _read_file(await self._say(portal, RestCall("disk.file.get", {"id": file_id}, reads=True)))
        found = await self.find(portal, folder_id, source.name)
        if found is None:
            raise Conflict("The copy is in the way of a file that we cannot see.", code="DISK_OBJ_22000")
        return found

    async def _put(self, portal: Portal, folder_id: int, name: str, content: bytes) -> DriveFile:
        params = {
            "id": folder_id,
            "data": {"NAME": name},
            "fileContent": [name, base64.b64encode(content).decode()],
            "generateUniqueName": 0,
        }
        try:
            return await self._file("disk.folder.uploadfile", portal, params)
        except NotFound:
            self.forget(portal)
            raise

    async def _new_version(self, portal: Portal, file_id: int, name: str, content: bytes) -> DriveFile:
        encoded = base64.b64encode(content).decode()
        return await self._file(
            "disk.file.uploadversion", portal, {"id": file_id, "fileContent": [name, encoded]}
        )

    async def _file(self, method: str, portal: Portal, params: dict[str, Any]) -> DriveFile:
        return _read_file(await self._say(portal, RestCall(method, params)))

    async def _say(self, portal: Portal, call: RestCall) -> Any:
        return (await self._client.call(portal, call, self._priority)).result


def _read_file(result: Any) -> DriveFile:
    row = as_mapping(result)
    file_id = as_id(row.get("ID"))
    if file_id is None:
        raise AnswerLost("The portal put a file on Drive without telling its id.")
    size = as_text(row.get("SIZE"))
    return DriveFile(
        file_id,
        as_text(row.get("NAME")),
        int(size) if size.isdecimal() else None,
        as_id(row.get("PARENT_ID")),
    )


def _sized(file: DriveFile, expected: int | None) -> DriveFile:
    if expected is not None and file.size is not None and file.size != expected:
        raise Refused(
            f"The file on Drive has {file.size} bytes instead of {expected}.", code="DRIVE_SIZE_DIFFERS"
        )
    return file


def _size(path: Path) -> int:
    return path.stat().st_size
