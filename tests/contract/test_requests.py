"""What our own encoders say has the shape of the sample of the same method: same names, same types.

The saga's requests are compared value by value in `tests/bitrix/test_telephony.py`; here are the others,
and Drive, whose code is run against the samples as answers.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

from bitrix_app.bitrix import bindings, statistics, users
from bitrix_app.bitrix.documents import layout_blocks
from bitrix_app.bitrix.drive import Drive
from bitrix_app.bitrix.statistics import Line
from bitrix_app.bitrix.wire import USER_AGENT, RestCall, encode_batch, rest_request
from bitrix_app.core.ports import HttpRequest, HttpResponse
from tests.bitrix.fakes import House, answered, body_of, call, method_of, response
from tests.contract.shape import differences
from tests.contract.world import APP, BASE, LINE, TOKEN, names, sample

pytestmark = pytest.mark.anyio

WANTED = bindings.Wanted(f"{APP}/events", f"{APP}/app", lines=(Line(LINE, "Sales line"),))


def said_by_bindings(method: str, of: str = "") -> RestCall:
    """That request of a plan for a portal that has the samples' handlers, widgets and lines."""
    current = bindings.Current(
        events=sample("event.get.response")["json"]["result"],
        placements=sample("placement.get.response")["json"]["result"],
        available=frozenset(sample("placement.list.response")["json"]["result"]),
        lines=statistics.read_lines(sample("telephony.externalline.get.response")["json"]["result"]),
    )
    plan = bindings.plan(current, WANTED)
    return next(one for one in plan if one.method == method and of in json.dumps(one.params))


_BLOCKS = layout_blocks(call(activity_id=7943, crm_type="CONTACT", crm_id=797), "UTC")
SAME: dict[str, tuple[RestCall, str]] = {
    # sample: our request, and paths where ours is poorer or richer on purpose
    "app.info": (users.app_info(), ""),
    "crm.activity.layout.blocks.set": (
        _BLOCKS,
        r"^layout\.blocks\.(summary|when|line)\b|actionParams\.|sliderParams\.",
    ),
    "crm.status.list.lead": (users.directories()["lead_stages"], r"^order$"),
    "crm.status.list.deal": (users.directories()["deal_stages"], r"^order$"),
    "event.bind": (said_by_bindings("event.bind"), ""),
    "event.get": (bindings.READS["events"], ""),
    # without auth_type every handler of that address would go, of whichever user
    "event.unbind": (said_by_bindings("event.unbind"), r"^auth_type$"),
    # MESSAGE_OUT and SUB_TAG are optional (§9.1)
    "im.notify.system.add": (users.notify(1, "x", "UNITALK|X"), r"^(MESSAGE_OUT|SUB_TAG)$"),
    "placement.bind.telephony-analytics": (
        said_by_bindings("placement.bind", "TELEPHONY_ANALYTICS_MENU"),
        r"^LANG_ALL\.ru$",
    ),
    "placement.get": (bindings.READS["placements"], ""),
    "placement.list": (bindings.READS["available"], ""),
    "placement.unbind": (said_by_bindings("placement.unbind"), ""),
    "profile": (RestCall("profile"), ""),
    "telephony.externalline.get": (statistics.lines(), ""),
    "telephony.externalline.update": (statistics.update_line(Line(LINE, "Sales line EU", False)), ""),
    "user.get.by-extension": (users.users_by_extension("101"), r"^(start|FILTER\.USER_TYPE)$"),
    # all people, the dismissed too, with every field: names are asked for nowhere else
    "user.get.page": (users.users_page(), r"^(select|FILTER\.ACTIVE)$"),
}


def wrong(ours: dict[str, Any], wanted: dict[str, Any], tolerated: str) -> list[str]:
    without_token = {key: value for key, value in wanted.items() if key != "auth"}
    return [
        str(one)
        for one in differences(ours, without_token)
        if one.kind != "value" and not (tolerated and re.search(tolerated, one.path))
    ]


@pytest.mark.parametrize("name", sorted(SAME))
def test_our_request_has_the_samples_names_and_types(name: str) -> None:
    ours, tolerated = SAME[name]
    wanted = sample(f"{name}.request")
    assert wanted["url"] == f"{BASE}/rest/{ours.method}.json"
    assert wrong(ours.params, wanted["json"], tolerated) == []


def test_the_envelope_of_every_request_is_the_samples() -> None:
    for name in names("*.request"):
        wanted = sample(name)
        if not wanted["url"].startswith(f"{BASE}/rest/") or "json" not in wanted:
            continue
        params = {key: value for key, value in wanted["json"].items() if key != "auth"}
        method = wanted["url"].removeprefix(f"{BASE}/rest/").removesuffix(".json")
        ours = rest_request(f"{BASE}/rest/", RestCall(method, params), TOKEN)
        assert (ours.method, ours.url) == (wanted["method"], wanted["url"])
        assert json.loads(ours.body) == wanted["json"]
        assert {key: ours.headers[key] for key in wanted["headers"]} == wanted["headers"]
        assert ours.headers["User-Agent"] == USER_AGENT


def test_a_batch_is_written_as_in_the_sample() -> None:
    wanted = sample("rest.batch.request")["json"]
    ours = encode_batch(
        {
            "who": RestCall("user.current"),
            "contacts": RestCall("crm.duplicate.findbycomm", {"type": "PHONE", "values": ["+442079460123"]}),
            "bad": RestCall("crm.item.get", {"entityTypeId": 2, "id": 99999999}),
        }
    ).params
    assert ours["halt"] == wanted["halt"] == 0
    decoded = {key: command.replace("%5B", "[").replace("%5D", "]") for key, command in ours["cmd"].items()}
    assert decoded == {key: wanted["cmd"][key] for key in decoded}


# --- Drive ------------------------------------------------------------------------------------------

DRIVE: dict[str, str] = {
    # the methods that our Drive code says, and the samples that answer it
    "disk.storage.getlist": "disk.storage.getlist",
    "disk.storage.addfolder": "disk.storage.addfolder",
    "disk.folder.addsubfolder": "disk.folder.addsubfolder",
    "disk.folder.getchildren": "disk.folder.getchildren",
    "disk.folder.uploadfile": "disk.folder.uploadfile.base64",
    "disk.file.uploadversion": "disk.file.uploadversion",
    "disk.file.markdeleted": "disk.file.markdeleted",
    "upload": "disk.folder.uploadfile.step2",
}


def portal_of_samples(empty: Iterable[str] = ()) -> House:
    """Answers each method with its sample; `empty` ones find nothing."""

    def script(request: HttpRequest) -> HttpResponse:
        method = method_of(request)
        if method == "disk.folder.uploadfile" and "fileContent" not in body_of(request):
            return response("disk.folder.uploadfile.step1.response")
        return answered([]) if method in empty else response(f"{DRIVE[method]}.response")

    return House(script)


def check_said(house: House, *sequence: str) -> None:
    assert house.http.methods() == list(sequence)
    for request in house.http.sent:
        method = method_of(request)
        if method == "upload":
            continue
        step1 = method == "disk.folder.uploadfile" and "fileContent" not in body_of(request)
        wanted = sample(f"{'disk.folder.uploadfile.step1' if step1 else DRIVE[method]}.request")["json"]
        # ours names no order for one row, and 0 for a flag that PHP reads as truth (§4.1)
        ours = {key: value for key, value in body_of(request).items() if key != "auth"}
        assert wrong(ours, wanted, r"^(order|generateUniqueName)$") == []


async def test_our_folder_is_made_with_the_samples_requests() -> None:
    house = portal_of_samples(empty=["disk.folder.getchildren"])
    assert await house.run(Drive(house.client).folder(house.portal, "2026-09")) == 8964
    check_said(
        house,
        "disk.storage.getlist",
        "disk.folder.getchildren",
        "disk.storage.addfolder",
        "disk.folder.getchildren",
        "disk.folder.addsubfolder",
    )


async def test_a_document_is_uploaded_or_gets_a_new_version_as_in_the_samples() -> None:
    house = portal_of_samples(empty=["disk.folder.getchildren"])
    drive = Drive(house.client)
    made = await house.run(drive.put_document(house.portal, 8964, "calls.csv", b"x"))
    changed = await house.run(drive.put_document(house.portal, 8964, "calls.csv", b"y", known_id=made.id))
    assert (made.id, made.name, made.size, made.folder_id) == (9043, "calls.csv", 19, 8964)
    assert changed.id == made.id  # an int from the write, a string from the other: one id
    check_said(house, "disk.folder.getchildren", "disk.folder.uploadfile", "disk.file.uploadversion")


async def test_a_file_goes_up_in_two_steps_as_in_the_samples(tmp_path: Path) -> None:
    house = portal_of_samples(empty=["disk.folder.getchildren"])
    file = tmp_path / "spool"
    file.write_bytes(b"call;duration\n1;95\n")
    done = await house.run(Drive(house.client).upload_file(house.portal, 8964, file, "calls.csv", "text/csv"))
    assert (done.id, done.size) == (9043, 19)
    check_said(house, "disk.folder.getchildren", "disk.folder.uploadfile", "upload")
    part, wanted = house.http.sent[-1].files[0], sample("disk.folder.uploadfile.step2.request")["multipart"]
    assert {part.field: (part.filename, part.content_type)} == {
        field: (row["filename"], row["content_type"]) for field, row in wanted.items()
    }
    assert (
        house.http.sent[-1].url
        == sample("disk.folder.uploadfile.step1.response")["json"]["result"]["uploadUrl"]
    )
