"""The room against our emulated portal: what the colleague next door understood of the contract."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar, cast

import httpx
import pytest

from bitrix_app.bitrix import bindings, statistics, telephony, users
from bitrix_app.bitrix.answers import Answer
from bitrix_app.bitrix.auth import PortalVerifier
from bitrix_app.bitrix.client import BitrixClient
from bitrix_app.bitrix.documents import document_bytes, layout_blocks
from bitrix_app.bitrix.drive import Drive
from bitrix_app.bitrix.limiter import Limiter
from bitrix_app.bitrix.servers import AuthServers
from bitrix_app.bitrix.tokens import TokenRefresher
from bitrix_app.bitrix.wire import RestCall
from bitrix_app.clock import VirtualClock
from bitrix_app.core import errors
from bitrix_app.core.commands import Priority
from bitrix_app.core.portal import Portal, PortalSettings, PortalState, TokenPair
from bitrix_app.core.ports import Download, HttpRequest, HttpResponse
from bitrix_app.core.store import Store
from bitrix_app.sandbox.oauth import AppCard
from bitrix_app.sandbox.portal import SandboxPortal
from bitrix_app.sandbox.seed import seed_demo
from tests.bitrix.fakes import MEMBER, NOW, FakeStore, call

pytestmark = pytest.mark.anyio

T = TypeVar("T")

PORTAL, AUTH, RENAMED = "http://127.0.0.1:9000", "http://127.0.0.1:9001", "http://127.0.0.1:9002"
CARD = AppCard(
    client_id="local.66d5a1c0f0e1d2.10203040",
    client_secret="FictionalClientSecret",
    app_url="http://127.0.0.1:8000/b24/app",
    install_url="http://127.0.0.1:8000/b24/install",
    scopes=("crm", "telephony", "im", "disk", "placement", "user_basic", "department"),
)


class Sockets:
    """An `Http` whose addresses are ASGI applications."""

    def __init__(self) -> None:
        self.apps: dict[str, httpx.ASGITransport] = {}

    async def send(self, request: HttpRequest) -> HttpResponse:
        base = httpx.URL(request.url)
        transport = self.apps.get(f"{base.scheme}://{base.netloc.decode()}")
        if transport is None:
            return HttpResponse(200, {}, b"ok")
        files = [(f.field, (f.filename, f.path.read_bytes(), f.content_type)) for f in request.files]
        async with httpx.AsyncClient(transport=transport) as http:
            answer = await http.request(
                request.method,
                request.url,
                headers=dict(request.headers),
                content=None if files else request.body,
                files=files or None,
            )
        return HttpResponse(answer.status_code, dict(answer.headers), answer.content)

    async def download(
        self, request: HttpRequest, target: Path, *, max_bytes: int, max_seconds: float
    ) -> Download:
        raise NotImplementedError


class Rig:
    def __init__(self) -> None:
        self.clock = VirtualClock(NOW)
        self.sockets = Sockets()
        self.sandbox = SandboxPortal(
            self.clock, self.sockets, base_url=PORTAL, card=CARD, member_id=MEMBER, auth_url=AUTH
        )
        self.sockets.apps = {
            PORTAL: httpx.ASGITransport(self.sandbox.asgi),
            RENAMED: httpx.ASGITransport(self.sandbox.asgi),
            AUTH: httpx.ASGITransport(self.sandbox.auth.asgi),
        }
        seed_demo(self.sandbox)
        self.sandbox.finish_install()
        self.access, self.refresh = self.sandbox.issue_tokens(1)
        self.portal = Portal(MEMBER, "127.0.0.1:9000", f"{PORTAL}/rest/", AUTH, state=PortalState.ACTIVE)
        pair = TokenPair(MEMBER, 1, self.access, self.refresh, NOW + 3600, True, NOW)
        self.memory = FakeStore(pair, portal=self.portal)
        store = cast(Store, self.memory)
        servers = AuthServers([AUTH], allow_loopback=True)
        self.verifier = PortalVerifier(self.sockets, self.clock, CARD.client_id, servers)
        self.refresher = TokenRefresher(
            self.sockets, self.clock, store, servers, CARD.client_id, CARD.client_secret
        )
        limiter = Limiter(self.clock)
        self.client = BitrixClient(
            self.sockets, self.clock, store, self.refresher, self.verifier, lambda _: limiter
        )

    async def run(self, work: Awaitable[T]) -> T:
        task = asyncio.ensure_future(work)
        for _ in range(400):
            await self.clock.advance(0.25)
            if task.done():
                return task.result()
        raise AssertionError("the work is still waiting")

    async def say(self, request: RestCall) -> Any:
        return (await self.run(self.client.call(self.portal, request, Priority.LIVE))).result


@pytest.fixture
async def rig() -> AsyncIterator[Rig]:
    rig = Rig()
    async with rig.sandbox.running():
        yield rig


async def test_who_it_is(rig: Rig) -> None:
    verified = await rig.run(rig.verifier.verify(rig.access, AUTH + "/rest/"))
    assert (verified.member_id, verified.client_endpoint) == (MEMBER, f"{PORTAL}/rest/")
    profile = await rig.run(rig.verifier.profile(verified, rig.access))
    assert profile.is_admin
    with pytest.raises(errors.Forbidden):
        await rig.run(rig.verifier.verify("0" * 70))


async def test_bindings_are_ensured_once(rig: Rig) -> None:
    want = bindings.wanted(
        events_url="http://127.0.0.1:8000/b24/events", app_url=CARD.app_url, lines={"380440000900": "Sales"}
    )
    first = await rig.run(bindings.ensure(rig.client, rig.portal, want))
    assert (first.changed, dict(first.refused)) == (len(bindings.EVENTS) + 3, {})
    second = await rig.run(bindings.ensure(rig.client, rig.portal, want))
    assert (second.changed, dict(second.refused)) == (0, {})


async def test_a_call_from_register_to_its_recording_on_drive(rig: Rig, tmp_path: Path) -> None:
    known = call()
    request = telephony.register(
        known, user_id=1, show=True, crm_create=True, crm=None, timezone="Europe/Kyiv"
    )
    registered = telephony.read_registered(await rig.say(request), 1)
    again = telephony.read_registered(await rig.say(request), 1)
    assert again.bitrix_call_id == registered.bitrix_call_id
    assert registered.created
    known = call(bitrix_call_id=registered.bitrix_call_id, recording_media="mp3")
    finish = telephony.finish(known, user_id=1, duration=95, status_code="200", failed_reason="")
    finished = telephony.read_finished(await rig.say(finish))
    assert finished.activity_id
    with pytest.raises(errors.Refused) as met:
        await rig.say(finish)
    assert telephony.is_not_found(met.value)
    row = telephony.read_statistic(await rig.say(statistics.by_call_id(registered.bitrix_call_id)))
    assert row is not None
    assert row.finished.activity_id == finished.activity_id
    blocks = layout_blocks(
        call(activity_id=finished.activity_id, crm_type=finished.crm_type, crm_id=finished.crm_id), "UTC"
    )
    assert await rig.say(blocks)

    file = tmp_path / "spool"
    file.write_bytes(b"ID3" + b"\x00" * 400)
    place = telephony.read_upload(await rig.say(telephony.attach(registered.bitrix_call_id, "call.mp3")))
    uploaded = await rig.run(
        rig.client.upload(rig.portal, place.url, place.field, file, "call.mp3", "audio/mpeg")
    )
    recording = telephony.read_file_id(uploaded)
    drive = Drive(rig.client)
    folder = await rig.run(drive.folder(rig.portal, "2026-09"))
    drive.forget(rig.portal)
    assert await rig.run(drive.folder(rig.portal, "2026-09")) == folder
    for _ in range(2):
        copied = await rig.run(drive.copy_recording(rig.portal, recording, folder, "ours.mp3", 403))
        assert (copied.name, copied.size) == ("ours.mp3", 403)
    content = document_bytes(known, rig.portal, "Europe/Kyiv")
    filed = await rig.run(drive.put_document(rig.portal, folder, "ours.json", content))
    repeated = await rig.run(drive.put_document(rig.portal, folder, "ours.json", content + b" "))
    assert repeated.id == filed.id
    other = await rig.run(drive.upload_file(rig.portal, folder, file, "own.mp3", "audio/mpeg"))
    same = await rig.run(drive.upload_file(rig.portal, folder, file, "own.mp3", "audio/mpeg"))
    assert (other.id, other.size) == (same.id, 403)


async def test_an_expired_token_is_refreshed_once_for_all(rig: Rig) -> None:
    rig.sandbox.expire_tokens()
    answers = await rig.run(
        asyncio.gather(*(rig.client.call(rig.portal, users.app_info()) for _ in range(20)))
    )
    assert all(a.result["INSTALLED"] is True for a in answers)
    assert (rig.sandbox.auth.refreshes, rig.sandbox.auth.invalid_grants) == (1, 0)


async def test_a_batch_is_read_one_by_one(rig: Rig) -> None:
    settled = await rig.run(
        rig.client.batch(
            rig.portal,
            {
                "me": RestCall("user.current", reads=True),
                "none": telephony.search("+380999999999"),
                "bad": RestCall("no.such.method"),
                "show": telephony.show("externalCall.x.1", [1]),
            },
        )
    )
    assert isinstance(settled["me"], Answer)
    assert isinstance(settled["none"], Answer)
    assert telephony.read_clients(settled["none"].result) == []
    assert type(settled["bad"]) is errors.NotFound


async def test_a_renamed_portal_is_followed(rig: Rig) -> None:
    rig.sandbox.rename(RENAMED)
    assert (await rig.say(users.app_info()))["INSTALLED"] is True
    assert rig.memory.saved[MEMBER].client_endpoint == f"{RENAMED}/rest/"


async def test_a_revoked_pair_needs_an_administrator(rig: Rig) -> None:
    rig.sandbox.expire_tokens()
    rig.sandbox.revoke()
    with pytest.raises(errors.NeedsReauth):
        await rig.say(users.app_info())
    assert rig.memory.saved[MEMBER].state is PortalState.NEEDS_REAUTH


async def test_chosen_managers_get_read_access_to_the_drive_folder(rig: Rig) -> None:
    chosen = replace(rig.portal, settings=PortalSettings(drive_managers=(5, 11)))
    await rig.run(Drive(rig.client).folder(chosen, "2026-09"))
    (folder,) = [o for o in rig.sandbox.state.objects.values() if o.name == "Unitalk"]
    assert [(right["TASK_ID"], right["ACCESS_CODE"]) for right in folder.rights] == [(38, "U5"), (38, "U11")]
