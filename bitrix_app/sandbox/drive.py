"""The drive: storages, folders, files, versions, signed addresses (bitrix24.md §8, §4.1)."""

from __future__ import annotations

import base64
from typing import Any
from urllib.parse import urlencode

from bitrix_app.sandbox.errors import RestError
from bitrix_app.sandbox.state import DriveObject, Storage, User
from bitrix_app.sandbox.world import APP_ROW_ID, UploadGrant, World

COMMON_NAME = "Company Drive"


def signed_url(world: World, kind: str, module: str, params: dict[str, Any], token: str) -> str:
    """An upload or download address; it carries the caller's token and dies with it."""
    plain = base64.b64encode(urlencode(params).encode()).decode()
    seal = base64.b64encode(f'"{kind}|{module}|"'.encode()).decode()
    key = f"{module}|{plain}|{seal}.{world.md5()}"
    world.grants[key] = UploadGrant(f"{kind}.{module}", params)
    return f"{world.base_url}/rest/{kind}.json?{urlencode({'auth': token, 'token': key})}"


def new_storage(world: World, name: str, entity_type: str, entity_id: str, owner: int | None) -> Storage:
    """A storage with its root folder."""
    storage_id = world.state.next_id("storage")
    root = _object(world, name, storage_id, None, owner or 1, is_folder=True)
    storage = Storage(storage_id, name, entity_type, entity_id, root.id, owner)
    world.state.storages[storage_id] = storage
    return storage


def _one(world: World, entity_type: str, entity_id: str) -> Storage | None:
    rows = world.state.storages.values()
    return next((one for one in rows if one.entity_type == entity_type and one.entity_id == entity_id), None)


def common_storage(world: World) -> Storage:
    """The company's drive."""
    return _one(world, "common", "shared_files_s1") or new_storage(
        world, COMMON_NAME, "common", "shared_files_s1", None
    )


def user_storage(world: World, user: User) -> Storage:
    """An employee's own drive."""
    return _one(world, "user", str(user.id)) or new_storage(
        world, user.full_name, "user", str(user.id), user.id
    )


def app_storage(world: World) -> Storage:
    """The app's drive: not listed and without a place in the UI (§8)."""
    return _one(world, "restapp", str(APP_ROW_ID)) or new_storage(
        world, world.card.code, "restapp", str(APP_ROW_ID), None
    )


def _object(
    world: World, name: str, storage_id: int, parent: int | None, user_id: int, *, is_folder: bool
) -> DriveObject:
    now = world.now()
    number = world.state.next_id("object")
    one = DriveObject(number, name, storage_id, is_folder, parent, now, now, user_id, user_id)
    world.state.objects[number] = one
    world.state.named[parent, name.lower()].append(number)
    return one


def children(world: World, folder_id: int) -> list[DriveObject]:
    """What lies in a folder, without the bin."""
    return [one for one in world.state.objects.values() if one.parent_id == folder_id and not one.deleted]


def child_named(world: World, folder_id: int, name: str) -> DriveObject | None:
    return next((one for one in alike(world, folder_id, name) if one.name == name), None)


def alike(world: World, folder_id: int, name: str) -> list[DriveObject]:
    """What lies in a folder under this name in any letters, the oldest first."""
    ids = dict.fromkeys(world.state.named.get((folder_id, name.lower()), ()))
    found = [world.state.objects[number] for number in ids if number in world.state.objects]
    return [one for one in found if not one.deleted and one.name.lower() == name.lower()]


def _check_free(world: World, folder_id: int, name: str) -> None:
    if child_named(world, folder_id, name) is not None:
        raise RestError("DISK_OBJ_22000", "Object with the same name already exists", status=400)


def unique_name(world: World, folder_id: int, name: str) -> str:
    """`name (1).ext` and so on."""
    stem, dot, extension = name.rpartition(".")
    if not dot:
        stem, extension = name, ""
    number, free = 0, name
    while child_named(world, folder_id, free) is not None:
        number += 1
        free = f"{stem} ({number}){dot}{extension}"
    return free


def add_folder(
    world: World, parent: DriveObject, name: str, user_id: int, rights: list[dict[str, Any]] | None = None
) -> DriveObject:
    """A new folder; a taken name is refused."""
    if not name:
        raise RestError("DISK_BASE_SERVICE_22001", "Required parameter NAME is missing", status=400)
    _check_free(world, parent.id, name)
    folder = _object(world, name, parent.storage_id, parent.id, user_id, is_folder=True)
    folder.rights = list(rights or [])
    return folder


def ensure_folder(world: World, parent_id: int, name: str, user_id: int) -> DriveObject:
    """The folder of that name, created when missing."""
    return child_named(world, parent_id, name) or add_folder(
        world, world.state.objects[parent_id], name, user_id
    )


def add_file(
    world: World,
    folder_id: int,
    name: str,
    content: bytes,
    user_id: int,
    *,
    unique: bool = False,
    rights: list[dict[str, Any]] | None = None,
) -> DriveObject:
    """A new file; uploads are refused for a taken name too ([src], findings §1 no. 10)."""
    if not name:
        raise RestError("DISK_BASE_SERVICE_22001", "Required parameter NAME is missing", status=400)
    if unique:
        name = unique_name(world, folder_id, name)
    _check_free(world, folder_id, name)
    parent = world.state.objects[folder_id]
    stored = _object(world, name, parent.storage_id, folder_id, user_id, is_folder=False)
    stored.rights = list(rights or [])
    _put(world, stored, content, user_id)
    return stored


def _put(world: World, stored: DriveObject, content: bytes, user_id: int) -> None:
    stored.content = content
    stored.blob_id = world.state.next_id("blob")
    stored.updated, stored.updated_by = world.now(), user_id
    number = world.state.next_id("version")
    stored.versions.insert(0, (number, stored.version, content, world.now(), user_id))


def new_version(world: World, stored: DriveObject, content: bytes, user_id: int) -> None:
    """Replace the contents, keep the history."""
    stored.version += 1
    _put(world, stored, content, user_id)


def rename(world: World, one: DriveObject, name: str, user_id: int) -> None:
    """A new name, if it is free."""
    if not name:
        raise RestError("DISK_BASE_SERVICE_22001", "Required parameter newName is missing", status=400)
    if name != one.name:
        _check_free(world, one.parent_id or 0, name)
    one.name, one.updated, one.updated_by = name, world.now(), user_id
    world.state.named[one.parent_id, name.lower()].append(one.id)


def remove(world: World, object_id: int) -> None:
    """Delete for good, with everything inside."""
    for inner in [one.id for one in world.state.objects.values() if one.parent_id == object_id]:
        remove(world, inner)
    world.state.objects.pop(object_id, None)


def to_bin(world: World, one: DriveObject, user_id: int) -> None:
    """Move to the bin: DELETED_TYPE 3."""
    one.deleted, one.deleted_at, one.deleted_by = True, world.now(), user_id
    one.version += 1


def may_use(world: World, user: User, one: DriveObject) -> bool:
    """Own drive, common drive, app drive; an administrator everywhere."""
    storage = world.state.storages[one.storage_id]
    return user.admin or storage.owner_id in (None, user.id)


def tree(world: World) -> dict[str, Any]:
    """Storages with folders as maps and files as sizes, for assertions and the page."""

    def walk(folder_id: int) -> dict[str, Any]:
        rows = children(world, folder_id)
        return {one.name: walk(one.id) if one.is_folder else len(one.content) for one in rows}

    return {storage.name: walk(storage.root_id) for storage in world.state.storages.values()}
