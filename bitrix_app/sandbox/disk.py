"""disk.*: the drive over REST. Ints from writes, strings from reads (bitrix24.md §8)."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from typing import Any

from bitrix_app.sandbox import drive
from bitrix_app.sandbox.errors import RestError
from bitrix_app.sandbox.query import Page, matches, page_of, sort_rows
from bitrix_app.sandbox.registry import METHODS
from bitrix_app.sandbox.state import DriveObject, Storage
from bitrix_app.sandbox.wire import as_list, php_true, to_int
from bitrix_app.sandbox.world import APP_ROW_ID, Hit, World


def show(world: World, one: DriveObject, token: str, *, written: bool = False) -> dict[str, Any]:
    """An object as the API prints it after a write or on a read."""

    def number(value: int) -> int | str:
        return value if written else str(value)

    row: dict[str, Any] = {
        "ID": number(one.id),
        "NAME": one.name,
        "CODE": None,
        "STORAGE_ID": str(one.storage_id),
        "TYPE": "folder" if one.is_folder else "file",
    }
    if one.is_folder:
        row["REAL_OBJECT_ID"] = number(one.id)
    row["PARENT_ID"] = None if one.parent_id is None else str(one.parent_id)
    row["DELETED_TYPE"] = number(3 if one.deleted else 0)
    if not one.is_folder:
        row |= {
            "GLOBAL_CONTENT_VERSION": number(one.version),
            "FILE_ID": number(one.blob_id or 0),
            "SIZE": str(len(one.content)),
        }
    row |= {
        "CREATE_TIME": world.iso(one.created),
        "UPDATE_TIME": world.iso(one.updated),
        "DELETE_TIME": world.iso(one.deleted_at) if one.deleted_at else None,
        "CREATED_BY": str(one.created_by),
        "UPDATED_BY": str(one.updated_by),
        "DELETED_BY": str(one.deleted_by) if one.deleted_by else (None if written else "0"),
    }
    if not one.is_folder:
        row["DOWNLOAD_URL"] = download_url(world, one, token)
    place = "path" if one.is_folder else "file"
    row["DETAIL_URL"] = f"{world.base_url}/marketplace/app/{APP_ROW_ID}/disk/{place}/{one.name}"
    return row


def download_url(world: World, one: DriveObject, token: str, version: int | None = None) -> str:
    params = {"id": one.id} | ({"version": version} if version else {})
    return drive.signed_url(world, "download", "disk", params, token)


def _storage_row(storage: Storage) -> dict[str, Any]:
    return {
        "ID": str(storage.id),
        "NAME": storage.name,
        "CODE": None,
        "MODULE_ID": "disk",
        "ENTITY_TYPE": storage.entity_type,
        "ENTITY_ID": storage.entity_id,
        "ROOT_OBJECT_ID": str(storage.root_id),
    }


def _missing(number: Any) -> RestError:
    return RestError("ERROR_NOT_FOUND", f"Could not find entity with id `{number}`", status=400)


def _object(hit: Hit, *, folder: bool | None = None, name: str = "id") -> DriveObject:
    raw = hit.params.get(name)
    if raw in (None, ""):
        raise RestError("ERROR_ARGUMENT", f"Invalid value of parameter {{{name}}}", status=400, argument=name)
    one = hit.state.objects.get(to_int(raw))
    if one is None or (folder is not None and one.is_folder is not folder):
        raise _missing(raw)
    if not drive.may_use(hit.world, hit.user, one):
        raise RestError("ACCESS_DENIED", "Access denied", status=400)
    return one


def _root(hit: Hit) -> DriveObject:
    storage = hit.state.storages.get(to_int(hit.params.get("id")))
    if storage is None:
        raise _missing(hit.params.get("id"))
    root = hit.state.objects[storage.root_id]
    if not drive.may_use(hit.world, hit.user, root):
        raise RestError("ACCESS_DENIED", "Access denied", status=400)
    return root


def _name(hit: Hit) -> str:
    data = hit.params.get("data")
    return str(data.get("NAME") or "") if isinstance(data, Mapping) else ""


def _rights(hit: Hit) -> list[dict[str, Any]]:
    return [dict(one) for one in as_list(hit.params.get("rights")) if isinstance(one, Mapping)]


def _content(raw: Any) -> tuple[str, bytes]:
    """`fileContent`: [name, base64], or base64 alone."""
    parts = as_list(raw)
    name, text = (str(parts[0]), parts[1]) if len(parts) > 1 else ("", parts[0] if parts else "")
    try:
        return name, base64.b64decode(str(text), validate=True)
    except (binascii.Error, ValueError) as error:
        raise RestError("ERROR_COULD_NOT_SAVE_FILE", "Could not save file.", status=400) from error


# -- storages ------------------------------------------------------------------------------------


@METHODS.add("disk.rights.gettasks", "disk")
def rights_levels(_hit: Hit) -> list[dict[str, str]]:
    """Levels of access; the ids are the portal's own."""
    return [
        {"ID": "42", "NAME": "disk_access_full", "TITLE": "Full access"},
        {"ID": "40", "NAME": "disk_access_edit", "TITLE": "Edit"},
        {"ID": "38", "NAME": "disk_access_read", "TITLE": "Read"},
    ]


@METHODS.add("disk.storage.getlist", "disk")
def storage_list(hit: Hit) -> Page:
    """User and common storages; the app's own is not listed."""
    for user in hit.state.users.values():
        drive.user_storage(hit.world, user)
    drive.common_storage(hit.world)
    rows = [
        _storage_row(one)
        for one in hit.state.storages.values()
        if one.entity_type != "restapp" and (hit.user.admin or one.owner_id in (None, hit.user_id))
    ]
    found = [row for row in rows if matches(row.get, hit.params.get("filter") or {})]
    order = hit.params.get("order")
    found = sort_rows(
        found, lambda row, name: row.get(name), order if isinstance(order, Mapping) else {"ID": "ASC"}
    )
    return page_of(found, hit.params.get("start", 0), lambda row: row)


@METHODS.add("disk.storage.get", "disk")
def storage_get(hit: Hit) -> dict[str, Any]:
    return _storage_row(hit.state.storages[_root(hit).storage_id])


@METHODS.add("disk.storage.getforapp", "disk", app_only=True)
def storage_for_app(hit: Hit) -> dict[str, Any]:
    return _storage_row(drive.app_storage(hit.world))


@METHODS.add("disk.storage.getchildren", "disk")
def storage_children(hit: Hit) -> Page:
    return _children(hit, _root(hit))


@METHODS.add("disk.storage.addfolder", "disk")
def storage_add_folder(hit: Hit) -> dict[str, Any]:
    folder = drive.add_folder(hit.world, _root(hit), _name(hit), hit.user_id, _rights(hit))
    return show(hit.world, folder, hit.token, written=True)


@METHODS.add("disk.storage.uploadfile", "disk")
def storage_upload(hit: Hit) -> dict[str, Any]:
    return _upload(hit, _root(hit))


# -- folders -------------------------------------------------------------------------------------


@METHODS.add("disk.folder.get", "disk")
def folder_get(hit: Hit) -> dict[str, Any]:
    return show(hit.world, _object(hit, folder=True), hit.token)


@METHODS.add("disk.folder.addsubfolder", "disk")
def add_subfolder(hit: Hit) -> dict[str, Any]:
    parent = _object(hit, folder=True)
    folder = drive.add_folder(hit.world, parent, _name(hit), hit.user_id, _rights(hit))
    return show(hit.world, folder, hit.token, written=True)


@METHODS.add("disk.folder.getchildren", "disk")
def get_children(hit: Hit) -> Page:
    return _children(hit, _object(hit, folder=True))


def _children(hit: Hit, folder: DriveObject) -> Page:
    conditions = hit.params.get("filter") or {}
    name = conditions.get("=NAME") if isinstance(conditions, Mapping) else None
    inside = (
        drive.alike(hit.world, folder.id, name)
        if isinstance(name, str) and not name.isdecimal()
        else drive.children(hit.world, folder.id)
    )
    rows = [show(hit.world, one, hit.token) for one in inside]
    found = [row for row in rows if matches(row.get, conditions, hit.world.timezone)]
    order = hit.params.get("order")
    found = sort_rows(
        found, lambda row, name: row.get(name), order if isinstance(order, Mapping) else {"ID": "ASC"}
    )
    return page_of(found, hit.params.get("start", 0), lambda row: row)


@METHODS.add("disk.folder.uploadfile", "disk")
def folder_upload(hit: Hit) -> dict[str, Any]:
    return _upload(hit, _object(hit, folder=True))


def _upload(hit: Hit, folder: DriveObject) -> dict[str, Any]:
    """In one step with base64, or an address for a multipart POST whose filename is the name."""
    unique = php_true(hit.params.get("generateUniqueName"))
    raw = hit.params.get("fileContent")
    if raw is None:
        params = {"folder": folder.id, "unique": unique, "user": hit.user_id, "rights": _rights(hit)}
        return {
            "field": "file",
            "uploadUrl": drive.signed_url(hit.world, "upload", "disk", params, hit.token),
        }
    name, content = _content(raw)
    stored = drive.add_file(
        hit.world, folder.id, _name(hit) or name, content, hit.user_id, unique=unique, rights=_rights(hit)
    )
    return show(hit.world, stored, hit.token, written=True)


def finish_upload(
    world: World, params: dict[str, Any], name: str, content: bytes, token: str
) -> dict[str, Any]:
    """The second request: the name is the multipart filename."""
    if params.get("object"):
        stored = world.state.objects.get(params["object"])
        if stored is None:
            raise _missing(params["object"])
        drive.new_version(world, stored, content, params["user"])
        return _version_row(world, stored, token)
    if params["folder"] not in world.state.objects:
        raise _missing(params["folder"])
    stored = drive.add_file(
        world,
        params["folder"],
        name,
        content,
        params["user"],
        unique=params["unique"],
        rights=params["rights"],
    )
    return show(world, stored, token, written=True)


# -- files ---------------------------------------------------------------------------------------


@METHODS.add("disk.file.get", "disk")
def file_get(hit: Hit) -> dict[str, Any]:
    return show(hit.world, _object(hit, folder=False), hit.token)


@METHODS.add("disk.file.copyto", "disk")
def copy_to(hit: Hit) -> dict[str, Any]:
    """A copy on the server; it keeps the name, so a conflict is possible."""
    source = _object(hit, folder=False)
    target = _object(hit, folder=True, name="targetFolderId")
    copy = drive.add_file(hit.world, target.id, source.name, source.content, hit.user_id)
    return show(hit.world, copy, hit.token, written=True)


@METHODS.add("disk.file.rename", "disk")
def file_rename(hit: Hit) -> dict[str, Any]:
    stored = _object(hit, folder=False)
    drive.rename(hit.world, stored, str(hit.params.get("newName") or ""), hit.user_id)
    return show(hit.world, stored, hit.token)


@METHODS.add("disk.file.uploadversion", "disk")
def upload_version(hit: Hit) -> dict[str, Any]:
    stored = _object(hit, folder=False)
    raw = hit.params.get("fileContent")
    if raw is None:
        params = {"object": stored.id, "user": hit.user_id}
        return {
            "field": "file",
            "uploadUrl": drive.signed_url(hit.world, "upload", "disk", params, hit.token),
        }
    _, content = _content(raw)
    drive.new_version(hit.world, stored, content, hit.user_id)
    return _version_row(hit.world, stored, hit.token)


def _version_row(world: World, stored: DriveObject, token: str) -> dict[str, Any]:
    return {**show(world, stored, token), "GLOBAL_CONTENT_VERSION": stored.version}


@METHODS.add("disk.file.getversions", "disk")
def get_versions(hit: Hit) -> Page:
    stored = _object(hit, folder=False)
    rows = [
        {
            "ID": str(number),
            "OBJECT_ID": str(stored.id),
            "SIZE": str(len(content)),
            "NAME": stored.name,
            "GLOBAL_CONTENT_VERSION": str(version),
            "CREATE_TIME": hit.world.iso(at),
            "CREATED_BY": str(user_id),
            "DOWNLOAD_URL": download_url(hit.world, stored, hit.token, number),
        }
        for number, version, content, at, user_id in stored.versions
    ]
    return page_of(rows, hit.params.get("start", 0), lambda row: row)


@METHODS.add("disk.file.delete", "disk")
def file_delete(hit: Hit) -> bool:
    drive.remove(hit.world, _object(hit, folder=False).id)
    return True


@METHODS.add("disk.file.markdeleted", "disk")
def file_to_bin(hit: Hit) -> dict[str, Any]:
    stored = _object(hit, folder=False)
    drive.to_bin(hit.world, stored, hit.user_id)
    return show(hit.world, stored, hit.token)
