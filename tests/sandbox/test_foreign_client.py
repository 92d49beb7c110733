"""The emulator driven by a client that none of us wrote (fast-bitrix24), over a real socket.

What our own client and our own emulator agree on may be our own misunderstanding. This client was made
against live portals: its paging by `total` and `start`, its batches, its retry with a new token on 401.
It signs on as an app does, through a token function that uses the auth server, because the telephony
family wants an app's context and refuses a webhook (bitrix24.md §6).
"""

from __future__ import annotations

import base64
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

import aiohttp
import pytest
from fast_bitrix24 import BitrixAsync
from fast_bitrix24.server_response import ErrorInServerResponseException

from bitrix_app.clock import SystemClock
from bitrix_app.sandbox.portal import SandboxPortal
from bitrix_app.sandbox.seed import AGENTS, LINE, seed_demo
from bitrix_app.serving import listen, serving
from tests.sandbox.conftest import CARD, Net

pytestmark = pytest.mark.anyio

MANY = 137
"""Contacts beside the seeded ones: two full pages and a broken one."""
STRANGER = "+380670000077"
MP3 = b"ID3\x04" + bytes(range(256)) * 8
AGENT = AGENTS[0]


@dataclass
class Signed:
    """The client's token function: the first pair, then refreshed pairs of the auth server."""

    portal: SandboxPortal
    given: list[str] = field(default_factory=list)
    refresh: str = ""

    async def token(self) -> str:
        if not self.given:
            access, self.refresh = self.portal.issue_tokens(1)
        else:
            query = {
                "grant_type": "refresh_token",
                "client_id": CARD.client_id,
                "client_secret": CARD.client_secret,
                "refresh_token": self.refresh,
            }
            url = f"{self.portal.world.base_url}/auth-server/oauth/token/"
            async with aiohttp.ClientSession() as http, http.get(url, params=query) as answer:
                pair = await answer.json()
            access, self.refresh = pair["access_token"], pair["refresh_token"]
        self.given.append(access)
        return access


@dataclass
class Foreign:
    """A portal on a socket and the other people's client in front of it."""

    portal: SandboxPortal
    signed: Signed
    client: Any
    """`BitrixAsync`: the library has no types."""

    async def say(self, method: str, params: dict[str, Any]) -> Any:
        """One call as a list of one: the library answers a single one in its own wrapping."""
        (answer,) = await self.client.call(method, [params])
        return answer

    def registered(self, **more: Any) -> dict[str, Any]:
        facts: dict[str, Any] = {
            "USER_ID": AGENT,
            "PHONE_NUMBER": STRANGER,
            "TYPE": 2,
            "CRM_CREATE": 1,
            "SHOW": 1,
            "LINE_NUMBER": LINE,
            "EXTERNAL_CALL_ID": "FOREIGN-1",
        }
        return facts | more


@pytest.fixture
async def foreign() -> AsyncIterator[Foreign]:
    sock = listen("127.0.0.1", 0)
    base_url = f"http://127.0.0.1:{sock.getsockname()[1]}"
    portal = SandboxPortal(SystemClock(), Net(), base_url=base_url, card=CARD)
    seed_demo(portal)
    portal.finish_install()
    for number in range(MANY):
        fields = {"name": f"Client {number:03}", "assignedById": AGENTS[number % 2]}
        portal.add_item("CONTACT", fields)
    async with serving(portal.asgi, sock):
        signed = Signed(portal)

        async def token() -> str:  # the library wants a plain coroutine function
            return await signed.token()

        client = BitrixAsync(portal.world.client_endpoint, token_func=token, verbose=False)
        yield Foreign(portal, signed, client)


async def test_a_long_list_comes_whole_by_pages_and_batches(foreign: Foreign) -> None:
    rows = await foreign.client.get_all("crm.contact.list", {"select": ["ID", "NAME"]})
    assert sorted(row["ID"] for row in rows) == sorted(str(one.id) for one in foreign.portal.contacts)
    assert len(rows) == MANY + 4
    first, rest = foreign.portal.requests_of("crm.contact.list"), foreign.portal.requests_of("batch")
    assert (len(first), len(rest)) == (1, 1)
    assert len(rest[0].inner) == 2  # start=50 and start=100, packed as form parameters


async def test_a_filter_reaches_the_portal_on_every_page(foreign: Foreign) -> None:
    own = {"ASSIGNED_BY_ID": AGENTS[0]}
    rows = await foreign.client.get_all("crm.contact.list", {"filter": own, "select": ["ID", "NAME"]})
    wanted = {str(one.id) for one in foreign.portal.contacts if one.assigned_by == AGENTS[0]}
    assert {row["ID"] for row in rows} == wanted
    assert len(rows) == len(wanted) > 50
    items = await foreign.client.get_all("crm.item.list", {"entityTypeId": 3, "filter": {"assignedById": 14}})
    assert [item["lastName"] for item in items] == ["Blum"]


async def test_one_command_per_id_is_settled_by_its_id(foreign: Foreign) -> None:
    ids = [one.id for one in foreign.portal.contacts[:60]]
    found = await foreign.client.get_by_ID("crm.contact.get", ids)
    assert {int(key): row["ID"] for key, row in found.items()} == {one: str(one) for one in ids}
    assert [len(request.inner) for request in foreign.portal.requests_of("batch")] == [50, 10]


async def test_a_batch_with_a_reference_and_a_failure_inside(foreign: Foreign) -> None:
    good = {
        "found": "crm.duplicate.findbycomm?type=PHONE&values[0]=%2B380440000001",
        "client": "crm.item.get?entityTypeId=3&id=$result[found][CONTACT][0]",
    }
    answer = await foreign.client.call_batch({"halt": 0, "cmd": good})
    contact = foreign.portal.contacts[0].id
    assert answer["found"]["CONTACT"] == [contact]
    assert answer["client"]["item"]["id"] == contact
    with pytest.raises(ErrorInServerResponseException) as met:
        await foreign.client.call_batch(
            {"halt": 0, "cmd": {"bad": "crm.item.get?entityTypeId=2&id=99999999"}}
        )
    assert met.value.args[0]["bad"]["error"] == "NOT_FOUND"


async def test_a_call_is_registered_finished_and_given_its_recording(foreign: Foreign) -> None:
    portal = foreign.portal
    registered = await foreign.say("telephony.externalcall.register", foreign.registered())
    call_id = registered["CALL_ID"]
    assert portal.open_cards() == [(call_id, AGENT)]
    assert registered["CRM_ENTITY_TYPE"] == "LEAD"
    assert registered["CRM_CREATED_LEAD"] == portal.leads[-1].id

    again = await foreign.say("telephony.externalcall.register", foreign.registered())
    assert again["CALL_ID"] == call_id

    finish = {"CALL_ID": call_id, "USER_ID": AGENT, "DURATION": 95, "STATUS_CODE": "200", "ADD_TO_CHAT": 0}
    finished = await foreign.say("telephony.externalcall.finish", finish)
    assert (finished["CALL_ID"], finished["CALL_DURATION"], finished["CALL_START_DATE"]) == (call_id, 95, {})
    assert finished["CRM_ACTIVITY_ID"] == portal.activities[-1].id
    assert portal.open_cards() == []
    with pytest.raises(ErrorInServerResponseException, match="registered prior to finishing"):
        await foreign.say("telephony.externalcall.finish", finish)

    record = {"CALL_ID": call_id, "FILENAME": "call.mp3", "FILE_CONTENT": base64.b64encode(MP3).decode()}
    file_id = await foreign.say(
        "telephony.externalcall.attachRecord", record
    )  # one key: unwrapped by the library
    assert portal.state.objects[file_id].content == MP3
    effects = portal.effects("FOREIGN-1")
    assert (effects.registered, effects.finished, effects.activities, effects.files) == (1, 1, 1, 1)
    rows = await foreign.client.get_all(
        "voximplant.statistic.get", {"FILTER": {"EXTERNAL_CALL_ID": "FOREIGN-1"}}
    )
    assert [(row["CALL_ID"], row["RECORD_FILE_ID"]) for row in rows] == [(call_id, file_id)]


async def test_a_recording_in_two_steps(foreign: Foreign) -> None:
    client, portal = foreign.client, foreign.portal
    call_id = (await foreign.say("telephony.externalcall.register", foreign.registered()))["CALL_ID"]
    finish = {"CALL_ID": call_id, "USER_ID": AGENT, "DURATION": 9}
    await foreign.say("telephony.externalcall.finish", finish)
    ask = {"CALL_ID": call_id, "FILENAME": "call.mp3"}
    place = (await client.call("telephony.externalcall.attachRecord", ask, raw=True))["result"]
    form = aiohttp.FormData()
    form.add_field(place["fieldName"], MP3, filename="call.mp3", content_type="audio/mpeg")
    async with aiohttp.ClientSession() as http, http.post(place["uploadUrl"], data=form) as answer:
        file_id = (await answer.json())["result"]["FILE_ID"]
    assert portal.state.objects[file_id].content == MP3
    assert portal.effects("FOREIGN-1").recordings == 1


async def test_many_calls_in_one_batch_are_answered_in_the_order_asked(foreign: Foreign) -> None:
    asked = [
        foreign.registered(PHONE_NUMBER=f"+38067000{n:04}", EXTERNAL_CALL_ID=f"M{n}", SHOW=0)
        for n in range(12)
    ]
    answers = await foreign.client.call("telephony.externalcall.register", asked)
    by_id = {one.call_id: one.external_id for one in foreign.portal.pending_calls}
    assert [by_id[answer["CALL_ID"]] for answer in answers] == [f"M{n}" for n in range(12)]


async def test_an_expired_token_is_replaced_by_the_clients_own_function(foreign: Foreign) -> None:
    assert len(await foreign.client.get_all("crm.lead.list", {"select": ["ID"]})) == 3
    foreign.portal.expire_tokens()
    assert len(await foreign.client.get_all("crm.lead.list", {"select": ["ID"]})) == 3
    assert len(set(foreign.signed.given)) == 2
    assert (foreign.portal.auth.refreshes, foreign.portal.auth.invalid_grants) == (1, 0)
    assert [one.error for one in foreign.portal.requests_of("crm.lead.list")] == ["", "expired_token", ""]


async def test_a_webhook_lists_but_may_not_touch_telephony(foreign: Foreign) -> None:
    url = foreign.portal.add_webhook(1, "secret", ("crm", "telephony"))
    client = BitrixAsync(url, verbose=False)
    assert len(await client.get_all("crm.lead.list", {"select": ["ID"]})) == 3
    with pytest.raises(ErrorInServerResponseException, match="WRONG_AUTH_TYPE"):
        await client.call("telephony.externalcall.register", foreign.registered())
    assert foreign.portal.pending_calls == []
