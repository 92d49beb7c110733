"""The autodialer over real sockets: from the CRM's list menu to the outcomes in the CRM."""

from __future__ import annotations

import asyncio
import html
import json
import re
from dataclasses import replace
from typing import Any
from urllib.parse import urlencode

import pytest

from bitrix_app import campaign_book, tries
from bitrix_app.core.dispositions import Rule
from bitrix_app.core.ports import HttpRequest
from bitrix_app.core.store import Unit
from bitrix_app.sandbox.seed import ADMIN
from tests.journeys.world import World
from unitalk.sandbox import DialOutcome

pytestmark = pytest.mark.anyio
RULE = Rule("talked", ("answered",), on=True, record="LEAD", stage="IN_PROCESS", from_stages=("NEW",))


class Page:
    """A frame of the portal that is open, and its session."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.headers: dict[str, str] = {}
        self.text = ""

    async def open(self, frame: Any) -> Page:
        form = {"Content-Type": "application/x-www-form-urlencoded", "Accept": "text/html"}
        body = urlencode(frame.form).encode()
        page = await self.world.http.send(HttpRequest("POST", frame.address, form, body, timeout=15.0))
        self.text = page.body.decode()
        found = re.search(r'name="frame-session" content="([^"]+)"', self.text)
        assert found is not None
        self.headers = {"Authorization": f"Bearer {found[1]}", "Accept": "application/json"}
        return self

    async def ask(self, method: str, path: str, data: Any = None) -> Any:
        body = b"" if data is None else json.dumps(data).encode()
        headers = {**self.headers, "Content-Type": "application/json"}
        request = HttpRequest(method, self.world.stage.app_url + path, headers, body, timeout=15.0)
        answer = await self.world.http.send(request)
        assert answer.status in (200, 201, 202), (path, answer.status, answer.body)
        return json.loads(answer.body)

    async def until(self, path: str, field: str, wanted: Any) -> Any:
        """The campaign, as soon as a part of it is as wanted."""
        for _ in range(300):
            told = await self.ask("GET", path)
            if told[field] == wanted:
                return told
            await asyncio.sleep(0.1)
        raise AssertionError(f"{path}: {field} is {told[field]}, not {wanted}")


async def test_leads_from_the_list_menu_are_called_and_their_outcomes_reach_the_crm(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(campaign_book, "GATHER_AFTER", 0.5)
    monkeypatch.setattr(tries, "FINISH_SETTLES", 1.0)
    portal, pbx = world.stage.portal, world.stage.pbx
    pbx.dialers[77].retry_pause = 0.5
    leads = []
    for number, plan in (
        ("380501000001", DialOutcome("ANSWER", operator_line="2001", ring_seconds=0.2, talk=1.0, wait=0.1)),
        ("380501000002", DialOutcome("NOT_EXIST", ring_seconds=0.2)),
        ("380501000003", DialOutcome("BUSY", ring_seconds=0.2)),
    ):
        pbx.outcomes.plan(plan, number, times=None)
        phone = {"typeId": "PHONE", "valueType": "WORK", "value": f"+{number}"}
        leads.append(portal.add_item("LEAD", {"title": number, "fm": [phone]}))

    async def rules(unit: Unit) -> None:
        known = await unit.portal(world.member_id)
        assert known is not None
        await unit.save_portal(replace(known, settings=replace(known.settings, dispositions=(RULE,))))

    await world.stage.house.store.transact(rules)
    office = await Page(world).open(portal.open_frame(ADMIN))
    await office.ask("POST", "/campaigns/read")
    await office.ask("PUT", "/settings", {"dialers": ["77"]})
    place = "CRM_LEAD_LIST_MENU"
    await world.until(lambda: portal.open_widget(ADMIN, place, leads[0].id) is not None, "the list menu")

    for lead in leads:
        menu = await Page(world).open(portal.open_widget(ADMIN, place, lead.id))
        (pressed,) = re.findall(r'data-post="([^"]+)" data-json="([^"]+)"', menu.text)
        await menu.ask("POST", pressed[0], json.loads(html.unescape(pressed[1])))
    sent = {"waiting": 0, "sending": 0, "sent": 3, "finished": 0, "attention": 0, "refused": 0}
    await office.until("/campaigns/77", "phones", sent)
    await office.ask("POST", "/campaigns/77/start")
    done = sent | {"sent": 0, "finished": 3}
    told = await office.until("/campaigns/77", "phones", done)
    assert told["outcomes"] == {"answered": 1, "invalid_number": 1, "busy": 1}
    made = [call for call in pbx.calls if call.dialer_id == 77]
    assert sum(told["tries"].values()) == len(made) == 4, "a busy line is tried twice by the dialer"
    assert {phone["crm"]["id"] for phone in told["items"]} == {lead.id for lead in leads}
    wanted = ["IN_PROCESS", "NEW", "NEW"]
    await world.until(lambda: [lead.fields["stageId"] for lead in leads] == wanted, "the stages")
    await world.until(lambda: len(portal.calls) == 4 and not portal.pending_calls, "the calls are written")
    assert pbx.counters["autodial/action"] < 20, "nothing is asked in a circle"
    assert (await office.ask("GET", "/retries"))["items"] == []
