"""The set-up as docs/setup.md tells it, practised on the sandbox: `python -m bitrix_app.sandbox`."""

import asyncio
import json
import re
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest

from bitrix_app.app import House, compose
from bitrix_app.core.ports import HttpRequest, HttpResponse
from bitrix_app.gateway import HttpGateway
from bitrix_app.sandbox import practice
from bitrix_app.sandbox.demo import install
from bitrix_app.sandbox.seed import ADMIN
from bitrix_app.serving import listen, serving
from bitrix_app.settings import alone
from tests.journeys.world import OPEN

pytestmark = pytest.mark.anyio
FORM = {"Content-Type": "application/x-www-form-urlencoded"}


async def session(up: practice.Ground, http: HttpGateway) -> dict[str, str]:
    """The administrator opens the application in the portal."""
    frame = up.portal.open_frame(ADMIN)
    assert frame is not None
    body = urlencode(frame.form).encode()
    page = (await http.send(HttpRequest("POST", frame.address, FORM | {"Accept": "text/html"}, body))).body
    found = re.search(rb'name="frame-session" content="([^"]+)"', page)
    assert found is not None
    return {"Authorization": f"Bearer {found[1].decode()}", "Content-Type": "application/json"}


async def cabinet(http: HttpGateway, up: practice.Ground, path: str, **fields: str) -> HttpResponse:
    return await http.send(HttpRequest("POST", up.cabinet_url + path, FORM, urlencode(fields).encode()))


async def settle(house: House, up: practice.Ground) -> None:
    """Wait for the call to stand in the portal with nothing owed any more."""
    counts: Any = {}
    for _ in range(600):
        counts = await house.store.job_counts(up.portal.world.member_id)
        if up.portal.calls and not any(counts.get(state) for state in OPEN):
            return
        await asyncio.sleep(0.05)
    raise AssertionError(f"the call did not come: {up.pbx.deliveries}, {counts}")


async def test_the_printed_settings_an_installation_a_key_and_four_handlers_bring_a_call(
    tmp_path: Path,
) -> None:
    sock = listen("127.0.0.1", 0)
    app_url = f"http://127.0.0.1:{sock.getsockname()[1]}"
    http = HttpGateway(allow_loopback=True)
    async with practice.ground(0, app_url) as up:
        given = {name.lower(): value for name, value in up.env.items()}
        settings = alone(
            **given,
            app_secret_keys="k1-0123456789abcdefghij-0123456789",
            database_url=f"sqlite:///{tmp_path}/u.db",
        )
        async with compose(settings) as house, serving(house.asgi, sock):
            await install(up.portal, http, house)
            page = await http.send(HttpRequest("GET", up.cabinet_url + "/"))
            (key,) = re.findall(rb"Key: <code>([^<]+)</code>", page.body)
            headers = await session(up, http)
            change = json.dumps({"unitalk_key": key.decode()}).encode()
            answer = await http.send(HttpRequest("PUT", f"{app_url}/settings", headers, change))
            hooks = {hook["event"]: hook["address"] for hook in json.loads(answer.body)["webhooks"]}
            assert (await cabinet(http, up, "/handlers", **hooks)).status == 303
            assert (await cabinet(http, up, "/calls", act="missed")).status == 303
            await settle(house, up)
            (call,) = up.portal.calls
            assert (call.number, call.status_code) == ("380670000077", "304")
            assert {line.status for line in up.pbx.deliveries} == {200}
            page = await http.send(HttpRequest("GET", up.cabinet_url + "/"))
            assert page.body.count(b"<td>200</td>") == len(up.pbx.deliveries)
            proof = await house.store.snapshot(up.portal.world.member_id, "pbx_state")
            assert proof is not None
            assert proof.items[0]["ok"], "the key was tried without waiting for the hourly round"
    await http.close()


async def test_the_cabinet_refuses_what_is_no_address_and_keeps_what_was_typed() -> None:
    http = HttpGateway(allow_loopback=True)
    async with practice.ground(0, "http://127.0.0.1:8080") as up:
        answer = await cabinet(http, up, "/handlers", CALL_END="calls.example.com/<x>")
        assert answer.status == 400
        assert b"Call ended: this is not an address" in answer.body
        assert b"calls.example.com/&lt;x&gt;" in answer.body
        assert up.pbx.webhook_url is None
        assert (await cabinet(http, up, "/calls", act="nonsense")).status == 404
        kept = b'value="http://127.0.0.1:9/x?ev=CALL_END"'
        await cabinet(http, up, "/handlers", CALL_END="http://127.0.0.1:9/x?ev=CALL_END")
        assert kept in (await http.send(HttpRequest("GET", up.cabinet_url + "/"))).body
        await cabinet(http, up, "/handlers")
        assert kept not in (await http.send(HttpRequest("GET", up.cabinet_url + "/"))).body
    await http.close()


@pytest.mark.parametrize(
    "wrong", [("--app", "https://calls.example.com"), ("--port", "65534"), ("--nonsense",)]
)
def test_wrong_arguments_are_refused_with_the_reason(
    wrong: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as stopped:
        practice.main(wrong)
    assert stopped.value.code == 2
    assert wrong[0] in capsys.readouterr().err


def test_a_taken_port_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    with listen("127.0.0.1", 0) as sock:
        port = sock.getsockname()[1]
        assert practice.main(("--port", str(port))) == 1
    assert f":{port}" in capsys.readouterr().err
