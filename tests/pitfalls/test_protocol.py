"""Pitfalls 6–16: how the portal's REST and its events really speak. All of them touch us.

Of 15 (chains of event tokens die) the half is ours that we may leave: we never work with an event's
token, so no chain can begin with us.
"""

from __future__ import annotations

import json
from pathlib import Path

import httpx
import pytest

from bitrix_app.bitrix import bindings, statistics, telephony, users
from bitrix_app.bitrix.answers import Answer, read_answer, read_batch
from bitrix_app.bitrix.documents import layout_blocks
from bitrix_app.bitrix.frames import read_frame
from bitrix_app.bitrix.values import as_bool, as_id
from bitrix_app.bitrix.wire import RestCall, batchable, encode_batch
from bitrix_app.core import errors
from bitrix_app.core.commands import Register
from bitrix_app.core.errors import Verdict
from bitrix_app.core.ports import HttpRequest, HttpResponse
from bitrix_app.sandbox.wire import php_true
from tests.bitrix.fakes import NOW, call, response, sample
from tests.bitrix.test_against_sandbox import PORTAL, RENAMED
from tests.house.making import Bench
from tests.pitfalls.rig import AGENT, KNOWN, PitfallRig, live

pytestmark = pytest.mark.anyio


async def test_pitfall_06_an_error_with_http_200_is_an_error(rig: PitfallRig) -> None:
    worker = {"PLACEMENT": "PAGE_BACKGROUND_WORKER", "HANDLER": "https://a.example.com/"}
    with pytest.raises(errors.Refused) as met:
        await rig.say(RestCall("placement.bind", worker))
    assert met.value.code == "EMPTY_ERROR_HANDLER_URL"
    assert rig.sandbox.requests_of("placement.bind")[-1].status == 200
    answers = await rig.run(rig.client.batch(rig.portal, {"bad": RestCall("placement.bind", worker)}))
    assert type(answers["bad"]) is errors.Refused
    with pytest.raises(errors.Forbidden):
        read_answer(response("oauth.error.wrong-client"), reads=True, now=NOW)


@pytest.mark.parametrize(
    ("code", "text", "branch"),
    [
        ("", "Access denied.", errors.Forbidden),
        ("", "Not found", errors.NotFound),
        ("Communication type is not defined", "Parameter 'type' is required.", errors.Refused),
        ("ACCESS_DENIED", "The record was not found", errors.Forbidden),  # the code, when there is one
        ("INVALID_ARG_VALUE", "Handler already exists", errors.Refused),
        ("ERROR_CORE", "Line already exists", errors.Conflict),
    ],
)
def test_pitfall_07_texts_count_only_where_the_code_says_nothing(
    code: str, text: str, branch: type[errors.Trouble]
) -> None:
    body = json.dumps({"error": code, "error_description": text}).encode()
    with pytest.raises(branch) as met:
        read_answer(HttpResponse(400, {}, body), reads=False, now=NOW)
    assert type(met.value) is branch


async def test_pitfall_08_empty_maps_are_lists_and_dates_are_maps(rig: PitfallRig) -> None:
    assert await rig.say(RestCall("crm.duplicate.findbycomm", {"type": "PHONE", "values": ["1"]})) == []
    batch: dict[str, list[int]] = {
        "result": [],
        "result_error": [],
        "result_total": [],
        "result_next": [],
        "result_time": [],
    }
    settled = read_batch(Answer(batch), {"a": RestCall("x.get", reads=True)}, now=NOW)
    assert type(settled["a"]) is errors.Unreadable
    assert telephony.read_clients([]) == []
    finish = sample("telephony.externalcall.finish.answered.response")["json"]["result"]
    assert finish["CALL_START_DATE"] == {}
    assert telephony.read_finished(finish).activity_id == 7943
    (row,) = sample("user.get.by-extension.response")["json"]["result"]
    assert row["TIMESTAMP_X"] == row["LAST_ACTIVITY_DATE"] == {}
    agent = users.agent_of(row)
    assert agent is not None
    assert (agent.extension, agent.active) == ("101", True)


def test_pitfall_09_flags_are_numbers_when_we_write_and_words_when_we_read() -> None:
    assert php_true("N")  # what the portal makes of "N" and "false"
    assert php_true("false")
    quiet = telephony.register(
        call(), user_id=1, show=False, crm_create=False, crm=None, timezone="UTC"
    ).params
    assert [(quiet[flag], php_true(quiet[flag])) for flag in ("SHOW", "CRM_CREATE")] == [(0, False)] * 2
    finish = telephony.finish(
        call(bitrix_call_id="x"), user_id=1, duration=0, status_code="304", failed_reason=""
    )
    assert not php_true(finish.params["ADD_TO_CHAT"])
    assert (as_bool("N"), as_bool("false"), as_bool("undefined"), as_bool("1")) == (False, False, False, True)
    assert as_id("undefined") is None


async def test_pitfall_10_after_a_renaming_the_same_post_goes_to_the_new_address(rig: PitfallRig) -> None:
    seen: list[HttpRequest] = []
    send = rig.sockets.send

    async def watched(request: HttpRequest) -> HttpResponse:
        seen.append(request)
        return await send(request)

    rig.sockets.send = watched  # type: ignore[method-assign]
    rig.sandbox.rename(RENAMED)
    asked = RestCall("telephony.externalcall.searchCrmEntities", {"PHONE_NUMBER": KNOWN}, reads=True)
    assert telephony.read_search(await rig.say(asked)) == ("CONTACT", 701)
    posts = [one for one in seen if "searchCrmEntities" in one.url]
    assert [(one.method, one.url.partition("/rest/")[0]) for one in posts] == [
        ("POST", PORTAL),
        ("POST", RENAMED),
    ]
    assert posts[0].body == posts[1].body != b""


def test_pitfall_11_ukrainian_is_ua_there_and_uk_here() -> None:
    told = sample("frame.install")
    assert told["query"]["LANG"] == "ua"
    assert read_frame(told["query"], told["form"]).language == "uk"
    bound = bindings.plan(bindings.Current(), bindings.wanted(events_url="e", app_url="a", lines={}))
    places = [call.params["LANG_ALL"] for call in bound if call.method == "placement.bind"]
    assert places
    for titles in places:
        assert "ua" in titles
        assert "uk" not in titles
    blocks = layout_blocks(call(activity_id=1, crm_type="LEAD", crm_id=1), "UTC", "uk").params["layout"][
        "blocks"
    ]
    assert blocks["open"]["properties"]["text"] == "Відкрити в Unitalk"  # one text, no map to be refused


async def test_pitfall_12_no_value_of_ours_can_become_a_reference_in_a_batch(rig: PitfallRig) -> None:
    evil = RestCall("im.notify.system.add", {"USER_ID": 1, "MESSAGE": "$result[who][nowhere]"})
    assert not batchable(evil)
    with pytest.raises(ValueError, match="batch"):
        encode_batch({"a": evil})
    calls = {"who": RestCall("profile", reads=True), "note": evil}
    await rig.run(rig.client.batch(rig.portal, calls))
    assert rig.sandbox.notifications[-1].message == "$result[who][nowhere]"  # said alone, word for word
    raw = {"cmd": {"who": "profile", "note": "im.notify.system.add?USER_ID=1&MESSAGE=$result[who][nowhere]"}}
    async with httpx.AsyncClient(transport=httpx.ASGITransport(rig.sandbox.asgi)) as http:
        answer = await http.post(f"{PORTAL}/rest/batch.json", json={**raw, "auth": rig.access})
    assert answer.json()["result"]["result_error"] == []  # what the portal would have made of it: silence
    assert rig.sandbox.notifications[-1].message != "$result[who][nowhere]"


async def test_pitfall_13_another_product_behind_our_address_makes_us_wait_and_not_fail(
    rig: PitfallRig,
) -> None:
    async with httpx.AsyncClient(transport=httpx.ASGITransport(rig.sandbox.asgi)) as http:
        for _ in range(51):
            await http.post(f"{PORTAL}/rest/profile.json", json={"auth": rig.access})
    about = live()
    with pytest.raises(errors.Throttled) as met:
        await rig.deliver(Register(AGENT), about)
    assert met.value.verdict is Verdict.LATER  # uncounted: the queue comes back
    assert met.value.retry_at is not None
    await rig.clock.advance(60)
    assert await rig.deliver(Register(AGENT), about)
    assert rig.sandbox.effects(about.id).registered == 1


async def test_pitfall_14_handlers_are_bound_for_whoever_acts_and_others_are_taken_off(
    rig: PitfallRig,
) -> None:
    want = bindings.Wanted("http://127.0.0.1:8000/b24/events", "http://127.0.0.1:8000/b24/app")
    fixed = {"event": "ONVOXIMPLANTCALLINIT", "handler": want.events_url, "auth_type": 5}
    assert await rig.say(RestCall("event.bind", fixed)) is True
    await rig.run(bindings.ensure(rig.client, rig.portal, want))
    rows = await rig.say(RestCall("event.get", reads=True))
    assert {row["event"]: row["auth_type"] for row in rows} == dict.fromkeys(bindings.EVENTS, "0")
    assert len(rows) == len(bindings.EVENTS)


async def test_pitfall_15_an_events_token_is_never_kept_and_so_begins_no_chain(bench: Bench) -> None:
    for name in bindings.EVENTS:
        await bench.hear_portal(name, CALL_ID="externalCall.a.1", CALLER_ID="+380440000011", REST_APP_ID="3")
    assert await bench.pairs() == []
    kept = b"".join(receipt.body for receipt in await bench.store.receipts(bench.portal.member_id))
    assert b"canary" not in kept


async def test_pitfall_16_already_binded_is_done(rig: PitfallRig, tmp_path: Path) -> None:
    handler = {"event": "ONAPPUPDATE", "handler": "http://127.0.0.1:8000/b24/events"}
    await rig.say(RestCall("event.bind", handler))
    with pytest.raises(errors.Conflict, match="already binded"):
        await rig.say(RestCall("event.bind", handler))
    blind = bindings.Current()  # somebody bound it between our look and our write
    want = bindings.Wanted("http://127.0.0.1:8000/b24/events", "http://127.0.0.1:8000/b24/app")
    plan = {f"b{i}": one for i, one in enumerate(bindings.plan(blind, want))}
    answers = await rig.run(rig.client.batch(rig.portal, plan))
    kinds = {plan[key].params.get("event"): type(answer) for key, answer in answers.items()}
    assert kinds["ONAPPUPDATE"] is errors.Conflict
    report = await rig.run(bindings.ensure(rig.client, rig.portal, want))
    assert dict(report.refused) == {}
    line = statistics.add_line(statistics.Line("380440000900", "Sales"))
    await rig.say(line)
    with pytest.raises(errors.Conflict):
        await rig.say(line)
