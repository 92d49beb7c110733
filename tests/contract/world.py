"""The portal of the samples: same address, people, clients, ids and moment (bitrix24.md §17).

The emulator is put into the state in which the vendor's sample requests make sense, so that they can be
said to it word for word, the sample's access token included, and its answers laid beside the samples.
"""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any, cast

import httpx

from bitrix_app.clock import VirtualClock
from bitrix_app.sandbox.portal import AppCard, SandboxPortal
from bitrix_app.sandbox.state import Call, Department, DriveObject, Storage, User
from bitrix_app.sandbox.telephony import end_call
from tests.sandbox.conftest import Net

SAMPLES = Path(__file__).parents[1] / "samples" / "bitrix24"
NOW = 1_788_333_300.0
BASE = "https://some-domain.bitrix24.com"
AUTH = "https://oauth.bitrix24.tech"
APP = "https://unitalk-b24.example.com/b24"
TOKEN = "5a3cd76800788b1e00573c0d00000001f0f107d1e2c3b4a5968778695a4b3c2d1e0f9a"
MD5 = "3d5f0c1e9a7b42d68f10c2e4a6b8d0f1"
CALL_ID = f"externalCall.{MD5}.1788333300"
OUR_ID = "UT-2026-09-02-000123"
CLIENT = "+442079460123"
LINE = "+442079460900"
CARD = AppCard(
    client_id="local.66d5a1c0f0e1d2.10203040",
    client_secret="FictionalClientSecretFictionalClientSecret00000000",
    app_url=f"{APP}/app",
    install_url=f"{APP}/install",
    scopes=("crm", "telephony", "im", "disk", "placement", "user_basic", "department", "timeman", "pull"),
)
_COUNTERS = {
    "lead": 1205, "deal": 341, "contact": 812, "activity": 7943, "object": 9043, "blob": 32718,
    "version": 7201, "comment": 999, "log_message": 4410, "notification": 12345, "message": 34239,
    "line": 7, "statistic": 7, "transcript": 1,
}  # fmt: skip


def sample(name: str) -> dict[str, Any]:
    """A sample by its name without `.json`."""
    return cast(dict[str, Any], json.loads((SAMPLES / f"{name}.json").read_text(encoding="utf-8")))


def names(pattern: str = "*") -> set[str]:
    """Names of the samples on disk that match a glob."""
    return {path.name.removesuffix(".json") for path in SAMPLES.glob(f"{pattern}.json")}


class SamplePortal:
    """The emulator in the samples' state, with makers for what single samples presuppose."""

    def __init__(self) -> None:
        self.clock = VirtualClock(NOW)
        self.net = Net()
        self.portal = SandboxPortal(
            self.clock, self.net, base_url=BASE, card=CARD, auth_url=AUTH, bucket=(10_000, 2.0)
        )
        self.world = self.portal.world
        self.state = self.portal.state
        self.world.md5 = lambda: MD5  # type: ignore[method-assign]
        self._people()
        self._clients()
        self._own_token()
        self.portal.finish_install(1)
        for kind, number in _COUNTERS.items():
            self.set_next(kind, number)

    def set_next(self, kind: str, number: int) -> None:
        """The id that the next new thing of that kind gets."""
        self.state._next[kind] = number

    def _people(self) -> None:
        facts: dict[str, Any] = {
            "mobile": "+442079460555", "position": "Sales", "time_zone": "Europe/Kyiv",
        }  # fmt: skip
        self.portal.add_department(Department(1, "Demo company", None, 1))
        self.portal.add_department(Department(4, "Sales", 1, 7))
        for user in (
            User(1, "Olena", "Hrytsenko", "olena@example.com", inner="100", admin=True, **facts),
            User(7, "Taras", "Koval", "taras@example.com", inner="101", departments=[1, 4], **facts),
            User(12, "Iryna", "Melnyk", "iryna@example.com", inner="102", time_status="PAUSED"),
        ):
            self.portal.add_user(user)

    def _clients(self) -> None:
        self.set_next("company", 643)
        self.set_next("contact", 797)
        self.portal.add_item("COMPANY", {
            "title": "Northwind Ltd", "assignedById": 12,
            "fm": [{"typeId": "PHONE", "valueType": "WORK", "value": CLIENT}],
        })  # fmt: skip
        self.set_next("multifield", 101)
        self.portal.add_item("CONTACT", {
            "name": "Emma", "lastName": "Stone", "post": "Buyer", "companyId": 643, "assignedById": 7,
            "fm": [
                {"typeId": "PHONE", "valueType": "MOBILE", "value": CLIENT},
                {"typeId": "EMAIL", "valueType": "WORK", "value": "emma.stone@example.com"},
            ],
        })  # fmt: skip
        for number, fields in (
            (318, {"title": "Office phones", "stageId": "EXECUTING", "opportunity": 4200.5}),
            (341, {"title": "Repeat order", "categoryId": 9, "stageId": "C9:NEW", "opportunity": 1250}),
        ):
            self.set_next("deal", number)
            self.portal.add_item("DEAL", {"contactId": 797, "companyId": 643, "assignedById": 7, **fields})

    def _own_token(self) -> None:
        pair = self.world.issue(1)
        self.world.auth._by_access[TOKEN] = pair
        pair.access = TOKEN

    # -- what single samples presuppose --------------------------------------------------------------

    def lead(self) -> None:
        """The lead of the missed call."""
        self.portal.add_item("LEAD", {
            "title": f"Missed call {CLIENT}", "assignedById": 7,
            "originatorId": "UNITALK", "originId": OUR_ID,
            "fm": [{"typeId": "PHONE", "valueType": "WORK", "value": CLIENT}],
        })  # fmt: skip
        self.state.items[1][1205].fm[0]["id"] = 501

    def strangers(self) -> None:
        """Nobody in the CRM has the number."""
        for kind in (2, 3, 4):
            self.state.items[kind].clear()

    def pending(self) -> Call:
        """The registered, unfinished call of the samples."""
        call = Call(
            CALL_ID, "3", 7, CLIENT[1:], CLIENT, 2, NOW, NOW, LINE, OUR_ID,
            entity_type="CONTACT", entity_id=797,
        )  # fmt: skip
        self.state.calls[CALL_ID] = call
        return call

    def finished(self) -> Call:
        """The same, answered for 95 seconds and written to the CRM."""
        call = self.pending()
        call.cost, call.cost_currency = 0.12, "EUR"
        end_call(self.world, call, self.state.users[7], duration=95, code="200", reason="", author=7)
        return call

    def recorded(self) -> Call:
        """The same with its recording and transcription."""
        call = self.finished()
        call.record_file_id, call.transcript_id = 9079, 1
        self.state.activities[7943].files = [9079]
        return call

    def drive(self) -> None:
        """The app's own storage with the folders `Exports` and `2026-09`."""
        root = self._object(8910, CARD.code, None, folder=True)
        self.state.storages[1366] = Storage(1366, CARD.code, "restapp", "3", root.id, None)

    def exports(self) -> None:
        self.drive()
        self._object(8930, "Exports", 8910, folder=True)

    def month(self) -> None:
        self.exports()
        self._object(8964, "2026-09", 8930, folder=True)

    def file(self) -> DriveObject:
        """`calls.csv`, once changed."""
        self.month()
        one = self._object(9043, "calls.csv", 8964, folder=False)
        one.content, one.blob_id, one.version = b"call;duration\n1;95\n", 32718, 2
        one.versions = [(7201, 2, one.content, NOW + 60, 1)]
        return one

    def _object(self, number: int, name: str, parent: int | None, *, folder: bool) -> DriveObject:
        one = DriveObject(number, name, 1366, folder, parent, NOW, NOW, 1, 1)
        self.state.objects[number] = one
        self.state.named[parent, name.lower()].append(number)
        return one

    # -- saying a sample -----------------------------------------------------------------------------

    async def say(self, request: dict[str, Any]) -> httpx.Response:
        """The sample request as it stands, to the portal or to the auth server."""
        url = httpx.URL(request["url"])
        app = self.portal.auth.asgi if url.host == "oauth.bitrix24.tech" else self.portal.asgi
        parts: dict[str, Any] = {}
        if "multipart" in request:
            parts["files"] = {
                field: (part["filename"], base64.b64decode(part["content_base64"]), part["content_type"])
                for field, part in request["multipart"].items()
            }
        elif "json" in request:
            parts["json"] = request["json"]
        elif "params" in request:
            parts["params"] = request["params"]
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app)) as http:
            return await http.request(request["method"], url, **parts)
