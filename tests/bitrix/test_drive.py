"""Drive against a small portal that keeps folders and files: nothing is ever there twice."""

from __future__ import annotations

import base64
import itertools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from bitrix_app.bitrix.drive import Drive
from bitrix_app.core import errors
from bitrix_app.core.errors import Trouble
from bitrix_app.core.ports import HttpRequest, HttpResponse
from tests.bitrix.fakes import ENDPOINT, House, answered, body_of, method_of, refused

pytestmark = pytest.mark.anyio

ROOT, STORAGE, RECORDING = 31, 19, 9079


class Disk:
    """Objects by id; `lose` names methods whose next answer gets lost after the effect."""

    def __init__(self) -> None:
        self.objects: dict[int, dict[str, Any]] = {
            RECORDING: {"NAME": "rec.mp3", "TYPE": "file", "PARENT_ID": "1", "SIZE": "3", "versions": 1}
        }
        self.ids = itertools.count(100)
        self.lose: list[str] = []
        self.refuse: dict[str, HttpResponse] = {}
        self.uploading: dict[str, Any] = {}
        self.race: Callable[[str], None] | None = None

    def __call__(self, request: HttpRequest) -> HttpResponse | Trouble:
        method = method_of(request)
        if self.race is not None:
            self.race(method)
        if method in self.refuse:
            return self.refuse[method]
        answer = self.upload(request) if method == "upload" else self.do(method, body_of(request))
        if method in self.lose:
            self.lose.remove(method)
            return errors.AnswerLost("reset")
        return answer

    def do(self, method: str, params: dict[str, Any]) -> HttpResponse:
        parent: int = params.get("id", 0)
        match method:
            case "disk.storage.getlist":
                common = {"ID": str(STORAGE), "ROOT_OBJECT_ID": str(ROOT), "ENTITY_TYPE": "common"}
                return answered([{"ID": "5", "ROOT_OBJECT_ID": "6", "ENTITY_TYPE": "user"}, common])
            case "disk.folder.getchildren":
                name, kind = params["filter"]["=NAME"], params["filter"]["TYPE"]
                found = [
                    self.told(i)
                    for i, o in self.objects.items()
                    if (o["PARENT_ID"], o["NAME"], o["TYPE"]) == (str(parent), name, kind)
                ]
                return answered(found, total=len(found))
            case "disk.storage.addfolder":
                assert parent == STORAGE
                return self.add(ROOT, params["data"]["NAME"], "folder", 0)
            case "disk.folder.addsubfolder":
                return self.add(parent, params["data"]["NAME"], "folder", 0)
            case "disk.folder.uploadfile" if "fileContent" in params:
                name, content = params["fileContent"]
                return self.add(parent, name, "file", len(base64.b64decode(content)))
            case "disk.folder.uploadfile":
                self.uploading = params
                return answered({"field": "file", "uploadUrl": ENDPOINT + "upload.json?auth=a&token=b"})
            case "disk.file.copyto":
                source = self.objects[RECORDING]
                return self.add(params["targetFolderId"], source["NAME"], "file", int(source["SIZE"]))
        if parent not in self.objects:
            return refused("ERROR_NOT_FOUND", text="Could not find entity")
        found_object = self.objects[parent]
        match method:
            case "disk.file.uploadversion":
                found_object["versions"] += 1
                found_object["SIZE"] = str(len(base64.b64decode(params["fileContent"][1])))
            case "disk.file.rename":
                if self.taken(found_object["PARENT_ID"], params["newName"]):
                    return refused("DISK_OBJ_22000")
                found_object["NAME"] = params["newName"]
            case "disk.file.markdeleted":
                found_object["PARENT_ID"] = "bin"
        return answered(self.told(parent))

    def upload(self, request: HttpRequest) -> HttpResponse:
        (part,) = request.files
        return self.add(self.uploading["id"], part.filename, "file", part.path.stat().st_size)

    def taken(self, parent: str, name: str) -> bool:
        return any((o["PARENT_ID"], o["NAME"]) == (parent, name) for o in self.objects.values())

    def add(self, parent: int, name: str, kind: str, size: int) -> HttpResponse:
        if self.taken(str(parent), name):
            return refused("DISK_OBJ_22000", text="Object with the same name already exists")
        new = next(self.ids)
        self.objects[new] = {
            "NAME": name,
            "TYPE": kind,
            "PARENT_ID": str(parent),
            "SIZE": str(size),
            "versions": 1,
        }
        return answered({**self.told(new), "ID": new})

    def told(self, object_id: int) -> dict[str, Any]:
        return {"ID": str(object_id), "DELETED_TYPE": "0", **self.objects[object_id]}

    def names(self) -> list[str]:
        return sorted(
            o["NAME"] for i, o in self.objects.items() if i != RECORDING and o["PARENT_ID"] != "bin"
        )


class World:
    def __init__(self) -> None:
        self.disk = Disk()
        self.house = House(self.disk)
        self.drive = Drive(self.house.client)

    async def say(self, method: str, *args: Any, **more: Any) -> Any:
        return await self.house.run(getattr(self.drive, method)(self.house.portal, *args, **more))


async def test_the_folder_chain_is_made_once_and_remembered() -> None:
    world = World()
    folder = await world.say("folder", "2026-09")
    assert world.disk.names() == ["2026-09", "Unitalk"]
    sent = len(world.house.http.sent)
    assert await world.say("folder", "2026-09") == folder
    assert len(world.house.http.sent) == sent
    world.drive.forget(world.house.portal)
    assert await world.say("folder", "2026-09") == folder
    assert await world.say("folder", "2026-10") != folder
    assert world.disk.names() == ["2026-09", "2026-10", "Unitalk"]


@pytest.mark.parametrize("lost", ["disk.storage.addfolder", "disk.folder.addsubfolder"])
async def test_a_folder_whose_answer_was_lost_is_found_again(lost: str) -> None:
    world = World()
    world.disk.lose = [lost]
    with pytest.raises(errors.AnswerLost):
        await world.say("folder", "2026-09")
    await world.say("folder", "2026-09")
    assert world.disk.names() == ["2026-09", "Unitalk"]


async def test_a_folder_that_appears_while_we_make_it_is_taken() -> None:
    world = World()
    original = world.disk.do

    def racing(method: str, params: dict[str, Any]) -> HttpResponse:
        if method == "disk.storage.addfolder":
            original(method, params)
        return original(method, params)

    world.disk.do = racing  # type: ignore[method-assign]
    await world.say("folder", "2026-09")
    assert world.disk.names() == ["2026-09", "Unitalk"]


@pytest.mark.parametrize("lost", [[], ["disk.folder.uploadfile"], ["disk.file.uploadversion"]])
async def test_a_document_is_one_file_with_versions(lost: list[str]) -> None:
    world = World()
    folder = await world.say("folder", "2026-09")
    first = None
    world.disk.lose = list(lost)
    for content in (b"{}", b"{ }", b"{  }"):
        for _ in range(2):
            try:
                first = await world.say("put_document", folder, "a.json", content)
                break
            except errors.AnswerLost:
                continue
    assert first is not None
    assert world.disk.names() == ["2026-09", "Unitalk", "a.json"]
    assert world.disk.objects[first.id]["SIZE"] == "4"
    assert first.folder_id == folder
    known = await world.say("put_document", folder, "a.json", b"[]", known_id=first.id)
    assert known.id == first.id
    del world.disk.objects[first.id]
    anew = await world.say("put_document", folder, "a.json", b"[]", known_id=first.id)
    assert anew.id != first.id


@pytest.mark.parametrize("lost", [[], ["disk.file.copyto"], ["disk.file.rename"]])
async def test_a_recording_is_copied_once_under_our_name(lost: list[str]) -> None:
    world = World()
    folder = await world.say("folder", "2026-09")
    world.disk.lose = list(lost)
    if lost:
        with pytest.raises(errors.AnswerLost):
            await world.say("copy_recording", RECORDING, folder, "call.mp3", 3)
    for _ in range(2):
        copied = await world.say("copy_recording", RECORDING, folder, "call.mp3", 3)
        assert (copied.name, copied.size) == ("call.mp3", 3)
    assert world.disk.names() == ["2026-09", "Unitalk", "call.mp3"]


@pytest.mark.parametrize(
    "answer", [refused("ACCESS_DENIED", text="Access denied"), refused("ERROR_NOT_FOUND")]
)
async def test_a_copy_that_is_refused_is_raised_and_our_own_file_goes_there(
    answer: HttpResponse, tmp_path: Path
) -> None:
    world = World()
    folder = await world.say("folder", "2026-09")
    world.disk.refuse = {"disk.file.copyto": answer}
    with pytest.raises(errors.Refused):
        await world.say("copy_recording", RECORDING, folder, "call.mp3", 3)
    file = tmp_path / "spool"
    file.write_bytes(b"ID3")
    world.disk.lose = ["upload"]
    with pytest.raises(errors.AnswerLost):
        await world.say("upload_file", folder, file, "call.mp3", "audio/mpeg")
    uploaded = await world.say("upload_file", folder, file, "call.mp3", "audio/mpeg")
    assert (uploaded.name, uploaded.size) == ("call.mp3", 3)
    assert world.disk.names() == ["2026-09", "Unitalk", "call.mp3"]


async def test_a_copy_of_another_size_is_replaced_by_our_own_file(tmp_path: Path) -> None:
    world = World()
    folder = await world.say("folder", "2026-09")
    with pytest.raises(errors.Refused) as met:
        await world.say("copy_recording", RECORDING, folder, "rec.mp3", 4)
    assert met.value.code == "DRIVE_SIZE_DIFFERS"
    file = tmp_path / "spool"
    file.write_bytes(b"ID3x")
    assert (await world.say("upload_file", folder, file, "rec.mp3", "audio/mpeg")).size == 4
    assert world.disk.names() == ["2026-09", "Unitalk", "rec.mp3"]


async def test_a_portal_without_a_company_drive_says_so() -> None:
    world = World()
    world.disk.refuse = {"disk.storage.getlist": answered([])}
    with pytest.raises(errors.NotFound) as met:
        await world.say("folder", "2026-09")
    assert met.value.code == "NO_COMMON_STORAGE"


@pytest.mark.parametrize("step", ["disk.folder.uploadfile", "disk.file.copyto", "upload"])
async def test_a_name_that_is_taken_between_the_look_and_the_write(step: str, tmp_path: Path) -> None:
    """Two tries of one job may overlap: a lease ran out, and the first one still lands."""
    world = World()
    folder = await world.say("folder", "2026-09")
    raced: list[str] = []

    def landing(method: str) -> None:
        if method == step and not raced:
            raced.append(method)
            world.disk.add(folder, "call.x", "file", 3)

    world.disk.race = landing
    file = tmp_path / "spool"
    file.write_bytes(b"ID3")
    if step == "upload":
        await world.say("upload_file", folder, file, "call.x", "audio/mpeg")
    elif step == "disk.file.copyto":
        await world.say("copy_recording", RECORDING, folder, "call.x", 3)
    else:
        await world.say("put_document", folder, "call.x", b"{ }")
    assert raced
    assert world.disk.names().count("call.x") == 1


async def test_folders_that_somebody_deleted_are_looked_for_again() -> None:
    world = World()
    folder = await world.say("folder", "2026-09")
    world.disk.refuse = {"disk.folder.uploadfile": refused("ERROR_NOT_FOUND")}
    with pytest.raises(errors.NotFound):
        await world.say("put_document", folder, "a.json", b"{}")
    world.disk.refuse = {}
    del world.disk.objects[folder]
    assert await world.say("folder", "2026-09") != folder
