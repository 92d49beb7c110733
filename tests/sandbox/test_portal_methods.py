"""Drive, notifications, placements, people, options, frames, the page (bitrix24.md §2, §8–§10, §12, §13)."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest

from bitrix_app.sandbox.portal import SandboxPortal
from tests.sandbox.conftest import CARD, HANDLER, SCOPES, Api

pytestmark = pytest.mark.anyio

CSV = base64.b64encode(b"call;duration\n").decode()
FILE_KEYS = {
    "ID", "NAME", "CODE", "STORAGE_ID", "TYPE", "PARENT_ID", "DELETED_TYPE", "GLOBAL_CONTENT_VERSION",
    "FILE_ID",
    "SIZE", "CREATE_TIME", "UPDATE_TIME", "DELETE_TIME", "CREATED_BY", "UPDATED_BY", "DELETED_BY",
    "DOWNLOAD_URL",
    "DETAIL_URL",
}  # fmt: skip
FOLDER_KEYS = FILE_KEYS - {"GLOBAL_CONTENT_VERSION", "FILE_ID", "SIZE", "DOWNLOAD_URL"} | {"REAL_OBJECT_ID"}


async def folder(api: Api, name: str = "Unitalk") -> Any:
    common = (await api.call("disk.storage.getlist", filter={"ENTITY_TYPE": "common"}))[0]
    rights = [{"TASK_ID": 42, "ACCESS_CODE": "U5"}]
    return await api.call("disk.storage.addfolder", id=common["ID"], data={"NAME": name}, rights=rights)


async def test_folders(api: Api) -> None:
    made = await folder(api)
    assert set(made) == FOLDER_KEYS
    assert isinstance(made["ID"], int)  # ints from writes
    assert api.portal.state.objects[made["ID"]].rights == [{"TASK_ID": 42, "ACCESS_CODE": "U5"}]
    month = await api.call("disk.folder.addsubfolder", id=made["ID"], data={"NAME": "2026-09"})
    again = await api.refuse("disk.folder.addsubfolder", id=made["ID"], data={"NAME": "2026-09"})
    assert again == (400, "DISK_OBJ_22000", "Object with the same name already exists")
    assert (await api.refuse("disk.folder.addsubfolder", id=made["ID"], data={}))[
        1
    ] == "DISK_BASE_SERVICE_22001"
    listed = await api.call(
        "disk.folder.getchildren", id=made["ID"], filter={"=NAME": "2026-09", "TYPE": "folder"}
    )
    assert [one["ID"] for one in listed] == [str(month["ID"])]  # strings from reads
    missing = await api.refuse("disk.folder.getchildren", id=1)
    assert missing == (400, "ERROR_NOT_FOUND", "Could not find entity with id `1`")


async def test_files(api: Api) -> None:
    made = await folder(api)
    upload: dict[str, Any] = {"id": made["ID"], "data": {"NAME": "a.csv"}, "fileContent": ["a.csv", CSV]}
    stored = await api.call("disk.folder.uploadfile", **upload)
    assert set(stored) == FILE_KEYS
    assert (await api.refuse("disk.folder.uploadfile", **upload))[1] == "DISK_OBJ_22000"
    twin = await api.call("disk.folder.uploadfile", **upload, generateUniqueName=True)
    assert twin["NAME"] == "a (1).csv"
    bad = {**upload, "data": {"NAME": "b.csv"}, "fileContent": ["b.csv", "***"]}
    assert (await api.refuse("disk.folder.uploadfile", **bad))[1] == "ERROR_COULD_NOT_SAVE_FILE"
    version = await api.call("disk.file.uploadversion", id=stored["ID"], fileContent=["a.csv", CSV])
    assert (version["GLOBAL_CONTENT_VERSION"], version["ID"]) == (2, str(stored["ID"]))
    assert len(await api.call("disk.file.getVersions", id=stored["ID"])) == 2
    month = await api.call("disk.folder.addsubfolder", id=made["ID"], data={"NAME": "2026-09"})
    copy = await api.call("disk.file.copyto", id=stored["ID"], targetFolderId=month["ID"])
    assert (copy["NAME"], copy["ID"] != stored["ID"]) == ("a.csv", True)
    conflict = await api.refuse("disk.file.copyto", id=stored["ID"], targetFolderId=month["ID"])
    assert conflict[1] == "DISK_OBJ_22000"
    renamed = await api.call("disk.file.rename", id=copy["ID"], newName="b.csv")
    assert renamed["NAME"] == "b.csv"
    binned = await api.call("disk.file.markdeleted", id=copy["ID"])
    assert binned["DELETED_TYPE"] == "3"
    assert await api.call("disk.folder.getchildren", id=month["ID"]) == []
    assert await api.call("disk.file.delete", id=stored["ID"]) is True


async def test_two_step_upload_and_download(api: Api) -> None:
    made = await folder(api)
    step = await api.call("disk.folder.uploadfile", id=made["ID"], generateUniqueName=True)
    assert set(step) == {"field", "uploadUrl"}
    done = await api.http.post(step["uploadUrl"], files={"file": ("real.csv", b"x;y", "text/csv")})
    stored = done.json()["result"]
    assert (stored["NAME"], stored["SIZE"]) == ("real.csv", "3")
    assert (await api.http.get(stored["DOWNLOAD_URL"])).content == b"x;y"
    api.portal.expire_tokens()
    assert (await api.http.get(stored["DOWNLOAD_URL"])).json()["error"] == "expired_token"


async def test_storages_and_rights(api: Api) -> None:
    kinds = [one["ENTITY_TYPE"] for one in await api.call("disk.storage.getlist")]
    assert kinds.count("common") == 1
    assert kinds.count("user") == 7
    assert "restapp" not in kinds
    own = await api.call("disk.storage.getforapp")
    assert own["ENTITY_TYPE"] == "restapp"
    olena = next(one for one in api.portal.state.storages.values() if one.owner_id == 1)
    refusal = await api.as_user(11).refuse("disk.folder.getchildren", id=olena.root_id)
    assert refusal[:2] == (400, "ACCESS_DENIED")


async def test_a_tag_replaces_the_old_notice(api: Api) -> None:
    first = await api.call("im.notify.system.add", USER_ID=11, MESSAGE="One", TAG="UNITALK|A")
    second = await api.call("im.notify.personal.add", USER_ID=11, MESSAGE="Two", TAG="UNITALK|A")
    await api.call("im.notify", USER_ID=12, MESSAGE="Other", TAG="UNITALK|A")
    assert first != second
    assert [(one.user_id, one.message) for one in api.portal.notifications] == [(11, "Two"), (12, "Other")]
    assert (await api.refuse("im.notify.system.add", MESSAGE="x"))[:2] == (400, "USER_ID_EMPTY")
    assert (await api.refuse("im.notify.system.add", USER_ID=11, MESSAGE=" "))[1] == "MESSAGE_EMPTY"
    big = [{"MESSAGE": "x" * 60_000}]
    assert (await api.refuse("im.notify.system.add", USER_ID=11, MESSAGE="x", ATTACH=big))[
        1
    ] == "ATTACH_OVERSIZE"
    api.portal.dismiss(11)
    assert await api.call("im.notify.system.add", USER_ID=11, MESSAGE="x") is False


async def test_placements(api: Api) -> None:
    bind = "placement.bind"
    assert "CALL_CARD" in await api.call("placement.list")
    langs = {"en": {"TITLE": "Unitalk"}}
    assert await api.call(bind, PLACEMENT="CALL_CARD", HANDLER=HANDLER, TITLE="U", LANG_ALL=langs) is True
    for params, expected in (
        ({"PLACEMENT": "CALL_CARD", "HANDLER": HANDLER}, (400, "ERROR_CORE")),
        ({"PLACEMENT": "NOWHERE", "HANDLER": HANDLER}, (400, "ERROR_PLACEMENT_NOT_FOUND")),
        ({"HANDLER": HANDLER}, (200, "ERROR_ARGUMENT")),
        (
            {"PLACEMENT": "CALL_CARD", "HANDLER": "http://a/b", "USER_ID": 5},
            (200, "ERROR_PLACEMENT_USER_MODE"),
        ),
        ({"PLACEMENT": "PAGE_BACKGROUND_WORKER", "HANDLER": HANDLER}, (200, "EMPTY_ERROR_HANDLER_URL")),
    ):
        assert (await api.refuse(bind, **params))[:2] == expected
    options = {"errorHandlerUrl": HANDLER}
    await api.call(bind, PLACEMENT="PAGE_BACKGROUND_WORKER", HANDLER=HANDLER, OPTIONS=options)
    second = await api.refuse(bind, PLACEMENT="PAGE_BACKGROUND_WORKER", HANDLER="http://a/b", OPTIONS=options)
    assert second[:2] == (200, "ERROR_PLACEMENT_MAX_COUNT")
    rows = await api.call("placement.get")
    assert rows[0] == {
        "placement": "CALL_CARD", "userId": 0, "handler": HANDLER, "options": [], "title": "U",
        "description": "",
        "langAll": {"en": {"TITLE": "Unitalk", "DESCRIPTION": "", "GROUP_NAME": ""}},
    }  # fmt: skip
    assert rows[1]["langAll"] == []
    assert await api.call("placement.unbind", PLACEMENT="CALL_CARD", HANDLER=HANDLER) == {"count": 2}
    assert (await api.as_user(11).refuse(bind, PLACEMENT="CALL_CARD", HANDLER=HANDLER))[:2] == (
        403,
        "ACCESS_DENIED",
    )


async def test_people(api: Api) -> None:
    agent = api.as_user(11)
    assert set(await agent.call("profile")) == {
        "ID", "ADMIN", "NAME", "LAST_NAME", "PERSONAL_GENDER", "TIME_ZONE",
    }  # fmt: skip
    assert (await agent.call("user.admin"), await api.call("user.admin")) == (False, True)
    found = await api.call(
        "user.get", FILTER={"UF_PHONE_INNER": "2001", "ACTIVE": True, "USER_TYPE": "employee"}
    )
    assert [one["ID"] for one in found] == ["11"]
    assert (found[0]["TIMESTAMP_X"], found[0]["UF_DEPARTMENT"]) == ({}, [4])
    assert await api.call("user.get", FILTER={"UF_PHONE_INNER": "200"}) == []
    narrow = await api.call("user.get", select=["ID", "NAME", "NO_SUCH"], sort="ID", order="DESC")
    assert (narrow[0]["ID"], set(narrow[0])) == ("15", {"ID", "NAME"})
    api.portal.dismiss(11)
    assert await api.call("user.get", FILTER={"UF_PHONE_INNER": "2001", "ACTIVE": True}) == []
    departments = (await api.post("department.get", sort="NAME")).json()
    assert departments["total"] == 2
    assert [("PARENT" in one, one["UF_HEAD"]) for one in departments["result"]] == [(False, "1"), (True, "5")]
    assert (await api.call("timeman.status", USER_ID=12))["STATUS"] == "OPENED"
    assert await api.refuse("timeman.status", USER_ID=999) == (400, "", "User not found")


async def test_fields_of_people_follow_the_scope(api: Api) -> None:
    pair = api.portal.auth.find(api.token)
    assert pair is not None
    assert "EMAIL" in await api.call("user.current")
    pair.scope = "user_brief"
    brief = await api.call("user.current")
    assert ("EMAIL" in brief, "PERSONAL_MOBILE" in brief, brief["UF_PHONE_INNER"]) == (False, False, "2000")


async def test_options(api: Api) -> None:
    assert await api.call("app.option.get") == []
    await api.call("app.option.set", options={"a": 1})
    assert (await api.call("app.option.get"), await api.call("app.option.get", option="a")) == (
        {"a": "1"},
        "1",
    )
    refusal = await api.as_user(11).refuse("app.option.set", options={"a": 1})
    assert refusal == (400, "AccessException", "Administrator authorization required")
    assert (await api.refuse("app.option.set"))[1] == "ArgumentNullException"
    await api.call("user.option.set", options={"b": "2"})
    assert await api.call("user.option.get", option="b") == "2"
    assert await api.as_user(11).call("user.option.get") == []
    assert await api.call("scope") == list(SCOPES)
    assert await api.call("method.get", name="crm.item.get") == {"isExisting": True, "isAvailable": True}
    assert await api.call("feature.get", CODE="rest_offline_extended") == {"value": "Y"}


async def test_pull(api: Api) -> None:
    refusal = await api.as_user(11).refuse("pull.application.event.add", COMMAND="a", USER_ID=[12])
    assert refusal[:2] == (400, "USER_ID_ACCESS_ERROR")
    assert (
        await api.call("pull.application.event.add", COMMAND="call.updated", PARAMS={"a": 1}, USER_ID=[12])
        is True
    )
    config = await api.call("pull.application.config.get")
    assert set(config) == {"server", "api", "channels", "exp", "publicChannels"}


# -- frames --------------------------------------------------------------------------------------


async def test_frame_form(portal: SandboxPortal) -> None:
    query, form = portal.frame_form(1)
    assert list(query) == ["DOMAIN", "PROTOCOL", "LANG", "APP_SID"]
    assert (query["DOMAIN"], query["PROTOCOL"]) == ("127.0.0.1:9000", "0")
    assert list(form) == [
        "AUTH_ID", "AUTH_EXPIRES", "REFRESH_ID", "SERVER_ENDPOINT", "APPLICATION_TOKEN", "APPLICATION_SCOPE",
        "member_id", "status", "PLACEMENT",
    ]  # fmt: skip
    _, tab = portal.frame_form(11, "CRM_DEAL_DETAIL_TAB", {"ID": "301", "URI": "/crm/deal/details/301/"})
    assert tab["PLACEMENT_OPTIONS"] == '{"ID":"301","URI":"\\/crm\\/deal\\/details\\/301\\/"}'
    assert tab["AUTH_ID"] != form["AUTH_ID"]
    portal.world.legacy_frames = True
    assert not {"SERVER_ENDPOINT", "APPLICATION_TOKEN", "APPLICATION_SCOPE"} & set(portal.frame_form(1)[1])
    portal.world.base_url = "https://demo.example"
    query, _ = portal.frame_form(1)
    assert (query["DOMAIN"], query["PROTOCOL"]) == ("demo.example", "1")


async def test_frames_before_and_after_installation(api: Api) -> None:
    portal = api.portal
    installer = portal.open_frame(1)
    assert installer is not None
    assert installer.url == CARD.install_url
    assert portal.open_frame(11) is None  # "not fully installed"
    await api.call("placement.bind", PLACEMENT="CALL_CARD", HANDLER=HANDLER)
    assert portal.open_frame(1, "CALL_CARD") is None  # hidden although bound
    assert portal.finish_install(11) is False
    assert portal.finish_install(1) is True
    assert portal.finish_install(1) is False
    app, card = portal.open_frame(11), portal.open_frame(11, "CALL_CARD")
    assert app is not None
    assert card is not None
    assert (app.url, card.url) == (CARD.app_url, HANDLER)
    assert app.name == f"127.0.0.1:9000|0|{app.query['APP_SID']}"


# -- the page ------------------------------------------------------------------------------------


async def test_page_and_feed(api: Api) -> None:
    api.portal.finish_install(1)
    page = await api.http.get("/")
    assert page.status_code == 200
    for address in ("portal.js", "frames.js", "wire.js", "views.js", "dom.js", "portal.css"):
        assert (await api.http.get(f"/sandbox/static/{address}")).status_code == 200
    assert "BX24" in (await api.http.get("/bx24.js")).text
    await api.register(USER_ID=12)
    call_id = await api.finished(PHONE_NUMBER="+380440000002")
    content = base64.b64encode(b"ID3xx").decode()
    file = await api.call(
        "telephony.externalcall.attachrecord", CALL_ID=call_id, FILENAME="a.mp3", FILE_CONTENT=content
    )
    feed = (await api.http.get("/events-feed?user=12")).json()
    assert [one["client"] for one in feed["cards"]] == ["Emma Stone"]
    assert feed["calls"][0]["record"] == file["FILE_ID"]
    assert (await api.http.get(f"/sandbox/file/{file['FILE_ID']}")).headers["content-type"] == "audio/mpeg"
    record = next(one for one in feed["records"] if one["kind"] == "CONTACT" and one["id"] == 702)
    assert record["activities"][0]["files"] == [file["FILE_ID"]]
    assert (await api.http.get("/events-feed?user=11")).json()["cards"] == []


async def test_page_opens_the_app_as_the_portal_does(api: Api) -> None:
    before = (await api.http.post("/sandbox/frame", json={"user": 11})).json()
    assert before == {"missing": True}
    frame = (await api.http.post("/sandbox/frame", json={"user": 1})).json()
    assert frame["action"].startswith(
        f"{CARD.install_url}?DOMAIN=127.0.0.1%3A9000&PROTOCOL=0&LANG=en&APP_SID="
    )
    assert frame["name"] == f"127.0.0.1:9000|0|{frame['sid']}"
    assert frame["init"]["INSTALL"] is True
    assert frame["init"]["AUTH_ID"] == frame["fields"]["AUTH_ID"]
    done = (await api.http.post("/sandbox/install-finish", json={"user": 1})).json()
    assert done == {"installed": True}
    options = {"callId": "x", "opened": "true"}
    opened = (await api.http.post("/sandbox/frame", json={"user": 11, "options": options})).json()
    assert json.loads(opened["fields"]["PLACEMENT_OPTIONS"]) == options
    fresh = (await api.http.post("/sandbox/refresh-auth", json={"user": 11})).json()
    assert set(fresh) == {"AUTH_ID", "REFRESH_ID", "AUTH_EXPIRES"}
    assert (await api.http.post("/sandbox/frame", json={"user": 999})).status_code == 404


async def test_page_buttons(api: Api) -> None:
    press = {"user": 11, "number": "+380440000001"}
    assert (await api.http.post("/sandbox/call", json=press)).json() == {"call_id": ""}  # nobody listens
    api.portal.finish_install(1)
    await api.call("event.bind", event="ONEXTERNALCALLSTART", handler=HANDLER)
    made = (await api.http.post("/sandbox/call", json=press)).json()
    assert api.portal.open_cards() == [(made["call_id"], 11)]
    assert (await api.http.post("/sandbox/call", json={"user": 11})).status_code == 400
    assert (await api.http.post("/sandbox/callback", json={"number": "+380440000001"})).json() == {"ok": True}
    refused = await api.http.post(
        "/sandbox/options", json={"user": 11, "kind": "app", "name": "a", "value": "1"}
    )
    assert refused.status_code == 403
