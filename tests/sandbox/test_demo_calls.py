"""What the demo offers for calling out: buttons that appear once the app makes calls, clients with a fate."""

from __future__ import annotations

import httpx
import pytest

from bitrix_app.clock import VirtualClock
from bitrix_app.sandbox.demo_clients import CLIENTS, add_demo_clients
from bitrix_app.sandbox.fault_buttons import FaultPanel, fault_panel
from bitrix_app.sandbox.portal import SandboxPortal
from bitrix_app.sandbox.state import Handler
from tests.sandbox.conftest import HANDLER, Net
from unitalk.sandbox import ConnectionDropped, SandboxPbx

pytestmark = pytest.mark.anyio
CLIENT = "380670000050"
DIALLING = ["refused", "rang", "silent"]


@pytest.fixture
def pbx(clock: VirtualClock, net: Net) -> SandboxPbx:
    return SandboxPbx(clock, net, base_url="http://pbx.test")


@pytest.fixture
def panel(portal: SandboxPortal, pbx: SandboxPbx) -> FaultPanel:
    portal.state.handlers.append(Handler(1, "ONEXTERNALCALLSTART", HANDLER, 0))
    return fault_panel(portal, pbx)


async def dial(pbx: SandboxPbx, number: str = CLIENT) -> str | None:
    transport = httpx.ASGITransport(app=pbx.asgi)
    async with httpx.AsyncClient(transport=transport, base_url="http://pbx.test") as http:
        answer = await http.post(
            "/api/phones/directCall",
            data={"sip": "2001", "number": number},
            headers={"Authorization": pbx.api_key},
        )
    message: str | None = answer.json()["message"]
    return message


def left(panel: FaultPanel) -> list[str]:
    return [row["code"] for row in panel.rows() if row["left"]]


def test_buttons_for_outgoing_calls_wait_until_the_app_listens(
    portal: SandboxPortal, panel: FaultPanel
) -> None:
    assert [row["code"] for row in panel.rows()][-3:] == DIALLING
    for row in panel.rows():
        assert row["does"].endswith(".")
        assert row["watch"].endswith(".")
    portal.state.handlers.clear()
    assert not set(DIALLING) & {row["code"] for row in panel.rows()}


async def test_the_next_call_is_refused_and_only_that_one(panel: FaultPanel, pbx: SandboxPbx) -> None:
    assert panel.press("refused")
    assert panel.press("refused")  # twice is once
    assert left(panel) == ["refused"]
    assert await dial(pbx) == "Sip is offline"
    assert (pbx.rings, left(panel)) == ([], [])
    assert await dial(pbx) is None
    assert len(pbx.rings) == 1


async def test_the_next_call_rings_unheard(panel: FaultPanel, pbx: SandboxPbx) -> None:
    panel.press("rang")
    with pytest.raises(ConnectionDropped):
        await dial(pbx)
    assert len(pbx.rings) == 1
    assert left(panel) == []


async def test_nobody_picks_up_until_all_is_normal_again(panel: FaultPanel, pbx: SandboxPbx) -> None:
    panel.press("silent")
    assert await dial(pbx) is None
    assert [ring.client_rang for ring in pbx.rings] == [False]
    panel.press("refused")
    assert set(left(panel)) == {"refused", "silent"}
    panel.press("calm")
    assert left(panel) == []
    assert await dial(pbx) is None
    assert [ring.client_rang for ring in pbx.rings] == [False, True]


async def test_each_demo_client_comes_to_what_its_name_says(portal: SandboxPortal, pbx: SandboxPbx) -> None:
    add_demo_clients(portal, pbx, 11)
    titles = [lead.fields["title"] for lead in portal.leads][-len(CLIENTS) :]
    assert titles == [title for title, _, _ in CLIENTS]
    for _ in range(2):  # for ever, not once
        said = [await dial(pbx, number) for _, number, _ in CLIENTS]
        assert said == [None, None, None, "Direction is not allowed"]
    assert [call.state for call in pbx.calls] == ["ANSWER", "BUSY", "NOANSWER"] * 2
