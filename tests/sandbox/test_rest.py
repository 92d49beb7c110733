"""The calling convention, lists, batch, limits (bitrix24.md §4, §5)."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from bitrix_app.clock import VirtualClock
from bitrix_app.sandbox.portal import SandboxPortal
from tests.sandbox.conftest import Api

pytestmark = pytest.mark.anyio


async def test_all_ways_to_call(api: Api) -> None:
    name = {"entityTypeId": "3", "id": "701"}
    ways = [
        await api.http.post("/rest/CRM.Item.Get", json={**name, "auth": api.token}),
        await api.http.post("/rest/crm.item.get.json", data={**name, "auth": api.token}),
        await api.http.get("/rest/crm.item.get", params={**name, "access_token": api.token}),
        await api.http.post(
            "/rest/crm.item.get", json=name, headers={"Authorization": f"Bearer {api.token}"}
        ),
        await api.http.post("/rest/crm.item.get?id=701", json={"entityTypeId": 3, "auth": api.token}),
    ]
    assert [one.json()["result"]["item"]["name"] for one in ways] == ["Emma"] * 5
    assert ways[0].headers["content-type"] == "application/json; charset=utf-8"


async def test_json_needs_its_content_type(api: Api) -> None:
    raw = f'{{"auth": "{api.token}"}}'
    answer = await api.http.post("/rest/profile", content=raw, headers={"Content-Type": "text/plain"})
    assert (answer.status_code, answer.json()["error"]) == (401, "NO_AUTH_FOUND")


async def test_envelope(api: Api) -> None:
    body = (await api.post("profile")).json()
    assert set(body["time"]) == {
        "start", "finish", "duration", "processing", "date_start", "date_finish", "operating_reset_at",
        "operating",
    }  # fmt: skip
    assert body["time"]["date_start"] == "2026-09-02T10:15:00+03:00"
    api.portal.world.self_hosted = True
    assert "operating" not in (await api.post("profile")).json()["time"]


async def test_refusals(api: Api) -> None:
    assert (await api.refuse("no.such.method"))[:2] == (404, "ERROR_METHOD_NOT_FOUND")
    v3 = await api.http.post("/rest/api/tasks.task.add", json={"auth": api.token})
    assert v3.status_code == 404
    stranger = await api.http.post("/rest/profile", json={"auth": "f" * 70})
    assert (stranger.status_code, stranger.json()["error"]) == (401, "invalid_token")
    api.portal.state.users[11].allowed_in_app = False
    assert (await api.as_user(11).refuse("profile"))[:2] == (403, "user_access_error")


async def test_scope_is_checked(api: Api) -> None:
    pair = api.portal.auth.find(api.token)
    assert pair is not None
    pair.scope = "crm"
    assert (await api.refuse("telephony.externalcall.register"))[:2] == (403, "insufficient_scope")
    assert (await api.post("crm.settings.mode.get")).json()["result"] == 1


async def test_webhook_has_no_app_context(api: Api) -> None:
    base = api.portal.add_webhook(1, "secret", ("crm", "telephony"))
    assert (
        await api.http.post(f"{base}crm.item.get.json", json={"entityTypeId": 3, "id": 701})
    ).status_code == 200
    refused = await api.http.post(f"{base}telephony.externalcall.register", json={})
    assert (refused.status_code, refused.json()["error"]) == (403, "WRONG_AUTH_TYPE")
    wrong = await api.http.post("/rest/1/other/profile", json={})
    assert (wrong.status_code, wrong.json()["error"]) == (403, "INVALID_CREDENTIALS")


async def test_renamed_portal_answers_302(api: Api) -> None:
    api.portal.rename("http://localhost:9000")
    answer = await api.post("profile")
    assert answer.status_code == 302
    assert answer.headers["location"] == "http://localhost:9000/rest/profile.json"
    assert not answer.content
    there = await api.http.post(answer.headers["location"], json={"auth": api.token})
    assert there.json()["result"]["ID"] == "1"
    assert api.portal.frame_form(1)[0]["DOMAIN"] == "localhost:9000"


async def test_pages_of_fifty(api: Api) -> None:
    for number in range(60):
        api.portal.add_item("LEAD", {"title": f"Lead {number}"})
    first = (await api.post("crm.lead.list", select=["ID"])).json()
    assert (len(first["result"]), first["next"], first["total"]) == (50, 50, 63)
    last = (await api.post("crm.lead.list", select=["ID"], start=50)).json()
    assert (len(last["result"]), last["total"], "next" in last) == (13, 63, False)
    fast = (await api.post("crm.item.list", entityTypeId=1, select=["id"], start=-1)).json()
    assert (len(fast["result"]["items"]), "total" in fast, "next" in fast) == (50, False, False)
    after = {">id": fast["result"]["items"][-1]["id"]}
    rest = await api.call(
        "crm.item.list", entityTypeId=1, select=["id"], filter=after, order={"id": "ASC"}, start=-1
    )
    assert len(rest["items"]) == 13


@pytest.mark.parametrize(
    ("conditions", "expected"),
    [
        ({"=stageId": "EXECUTING"}, [301]),
        ({"!=stageId": "EXECUTING"}, [302]),
        ({"@id": [301, 302]}, [301, 302]),
        ({"!@id": [301]}, [302]),
        ({">opportunity": 1250}, [301]),
        ({">=opportunity": "1250"}, [301, 302]),
        ({"%title": "phones"}, [301]),
        ({"=%title": "Repeat%"}, [302]),
        ({"!%title": "phones"}, [302]),
        ({"stageSemanticId": "P", "assignedById": 12}, [302]),
        ({"logic": "OR", "0": {"id": 301}, "1": {"id": 302}}, [301, 302]),
    ],
)
async def test_filters(api: Api, conditions: dict[str, Any], expected: list[int]) -> None:
    found = await api.call("crm.item.list", entityTypeId=2, filter=conditions, order={"id": "ASC"})
    assert [one["id"] for one in found["items"]] == expected


# -- batch ---------------------------------------------------------------------------------------


async def test_batch_maps_and_references(api: Api) -> None:
    result = await api.call(
        "batch",
        cmd={
            "found": "crm.duplicate.findbycomm?type=PHONE&values[0]=%2B380440000001",
            "contact": "crm.item.get?entityTypeId=3&id=$result[found][CONTACT][0]",
            "bad": "crm.item.get?entityTypeId=2&id=99999999",
            "page": "crm.lead.list?select[]=ID",
        },
    )
    assert set(result) == {"result", "result_error", "result_total", "result_next", "result_time"}
    assert result["result"]["contact"]["item"]["id"] == 701
    assert result["result_error"] == {"bad": {"error": "NOT_FOUND", "error_description": "Element not found"}}
    assert result["result_total"] == {"page": 3}
    assert result["result_next"] == []
    assert set(result["result_time"]) == {"found", "contact", "page"}


async def test_batch_missing_path_is_silently_replaced(api: Api) -> None:
    """[src] The deepest container that exists stands in for a missing path; inline it stays as text."""
    api.portal.finish_install(1)
    await api.call("event.bind", event="ONAPPTEST", handler="http://app.example/e")
    test = "deep=$result[a][LEAD][0]&text=id-$result[a][CONTACT][0]&odd=x$result[a]"
    find = "crm.duplicate.findbycomm?type=PHONE&values[0]=%2B380440000001"
    result = await api.call("batch", cmd={"a": find, "b": f"event.test?{test}"})
    assert result["result"]["b"] is True
    form = api.portal.events.waiting[-1].form
    assert form["data[QUERY][deep][CONTACT][0]"] == "701"
    assert form["data[QUERY][text]"] == "id-701"
    assert form["data[QUERY][odd]"] == "x$result[a]"


async def test_batch_as_a_form(api: Api) -> None:
    form = {
        "auth": api.token,
        "halt": "0",
        "cmd[0]": "profile",
        "cmd[1]": "crm.item.get?entityTypeId=3&id=702",
    }
    body = (await api.http.post("/rest/batch", data=form)).json()
    assert body["result"]["result"]["1"]["item"]["name"] == "Leo"


async def test_batch_halt_limit_and_nesting(api: Api) -> None:
    halted = await api.call("batch", halt=1, cmd={"a": "no.such", "b": "profile"})
    assert halted["result"] == []
    assert list(halted["result_error"]) == ["a"]
    many = await api.call("batch", cmd={str(number): "profile" for number in range(52)})
    assert len(many["result"]) == 50
    assert {one["error"] for one in many["result_error"].values()} == {"ERROR_BATCH_LENGTH_EXCEEDED"}
    assert len(many["result_error"]) == 2
    nested = await api.call("batch", cmd={"a": "batch?cmd[0]=profile"})
    assert nested["result_error"]["a"]["error"] == "ERROR_BATCH_METHOD_NOT_ALLOWED"
    empty = await api.call("batch", cmd={})
    assert empty == {
        key: [] for key in ("result", "result_error", "result_total", "result_next", "result_time")
    }


async def test_batch_dies_after_its_minute(clock: VirtualClock, api: Api) -> None:
    """What was done before the 60 seconds were over is done."""
    api.portal.limits.durations = {"crm.item.update": 25.0}
    cmd = {str(n): f"crm.item.update?entityTypeId=3&id={701 + n}&fields[post]=Buyer" for n in range(4)}
    running = asyncio.create_task(api.post("batch", cmd=cmd))
    await clock.advance(200)
    answer = await running
    assert answer.status_code == 504
    assert [one.fields["post"] for one in api.portal.contacts] == ["Buyer", "Buyer", "Buyer", None]


# -- limits --------------------------------------------------------------------------------------


async def test_leaky_bucket(clock: VirtualClock, portal: SandboxPortal, api: Api) -> None:
    portal.limits.capacity = 50
    statuses = [(await api.post("profile")).status_code for _ in range(51)]
    assert statuses == [200] * 50 + [503]
    assert (await api.refuse("profile"))[:2] == (503, "QUERY_LIMIT_EXCEEDED")
    await clock.advance(1)
    assert [(await api.post("profile")).status_code for _ in range(3)] == [200, 200, 503]


async def test_a_batch_is_one_request(portal: SandboxPortal, api: Api) -> None:
    portal.limits.capacity = 1
    await api.call("batch", cmd={str(number): "profile" for number in range(50)})
    assert (await api.refuse("profile"))[1] == "QUERY_LIMIT_EXCEEDED"


async def test_operating_budget(clock: VirtualClock, portal: SandboxPortal, api: Api) -> None:
    """Checked before the call: the one that overruns finishes, the next waits for operating_reset_at."""
    portal.limits.operating = {"crm.lead.list": 200.0}
    portal.limits.operating_limit = 480.0
    times = [(await api.post("crm.lead.list")).json()["time"] for _ in range(3)]
    assert [one["operating"] for one in times] == [200.0, 400.0, 600.0]
    assert (await api.refuse("crm.lead.list"))[:2] == (429, "OPERATION_TIME_LIMIT")
    inner = await api.call("batch", cmd={"a": "crm.lead.list", "b": "profile"})
    assert inner["result_error"]["a"]["error"] == "OPERATION_TIME_LIMIT"  # batching does not help
    assert inner["result"]["b"]["ID"] == "1"
    await clock.advance(times[-1]["operating_reset_at"] - clock.now())
    assert (await api.post("crm.lead.list")).status_code == 200


async def test_log_masks_tokens(api: Api) -> None:
    await api.call("profile")
    entry = api.portal.rest_log[-1]
    assert (entry.method, entry.status, entry.params, entry.user_id) == ("profile", 200, {"auth": "***"}, 1)
    assert api.portal.counts["profile"] == 1
