"""The one request path: refresh, failover, rename, patience, batches, uploads, log."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from bitrix_app.bitrix.answers import Answer
from bitrix_app.bitrix.verdicts import PortalMoved
from bitrix_app.bitrix.wire import RestCall
from bitrix_app.core import errors
from bitrix_app.core.commands import Priority
from bitrix_app.core.errors import Trouble
from bitrix_app.core.portal import PortalState
from bitrix_app.core.ports import HttpRequest, HttpResponse
from tests.bitrix.fakes import (
    CLIENT_ID,
    ENDPOINT,
    MEMBER,
    NOW,
    SECRET,
    House,
    answered,
    body_of,
    method_of,
    pair,
    refused,
    response,
    sample,
    token_answer,
)

pytestmark = pytest.mark.anyio

READ = RestCall("user.current", reads=True)
WRITE = RestCall("telephony.externalcall.finish", {"CALL_ID": "x"})


def _expiring(request: HttpRequest) -> HttpResponse:
    if "/oauth/token/" in request.url:
        return token_answer()
    if body_of(request)["auth"] == "access-1":
        return response("rest.error.expired-token")
    return answered({"ok": body_of(request).get("n")})


async def test_twenty_concurrent_calls_with_an_expired_token_make_one_refresh() -> None:
    house = House(_expiring)
    calls = [house.client.call(house.portal, RestCall("m", {"n": i}), Priority.LIVE) for i in range(20)]
    answers = await house.run(asyncio.gather(*calls))
    assert [a.result["ok"] for a in answers] == list(range(20))
    assert sum("/oauth/token/" in r.url for r in house.http.sent) == 1
    said = [body_of(r)["n"] for r in house.http.sent if r.body and body_of(r)["auth"] == "access-1-2"]
    assert sorted(said) == list(range(20)), "each is replayed exactly once"


async def test_an_expired_token_is_replayed_once_only() -> None:
    house = House(lambda r: token_answer() if "oauth" in r.url else response("rest.error.expired-token"))
    with pytest.raises(errors.ExpiredToken):
        await house.run(house.client.call(house.portal, WRITE))
    assert house.http.methods().count("telephony.externalcall.finish") == 2


async def test_a_revoked_administrator_is_replaced() -> None:
    def script(request: HttpRequest) -> HttpResponse:
        if body_of(request)["auth"] == "access-1":
            return response("rest.error.authorization-error")
        return answered(True)

    house = House(script, pair(1), pair(2, age=10))
    assert (await house.run(house.client.call(house.portal, WRITE))).result is True
    assert [p.user_id for p in house.store.stored] == [2]
    alone = House(script, pair(1))
    with pytest.raises(errors.NeedsReauth):
        await alone.run(alone.client.call(alone.portal, WRITE))
    assert alone.store.saved[MEMBER].state is PortalState.NEEDS_REAUTH


@pytest.mark.parametrize(
    ("name", "state"),
    [
        ("payment-required", PortalState.SUSPENDED),
        ("access-denied-plan", PortalState.SUSPENDED),
        ("portal-deleted", PortalState.SUSPENDED),
        ("application-not-found", PortalState.SUSPENDED),
        ("access-denied", PortalState.ACTIVE),
    ],
)
async def test_what_an_answer_means_for_the_portal(name: str, state: PortalState) -> None:
    house = House(lambda _: response(f"rest.error.{name}"))
    with pytest.raises(Trouble):
        await house.run(house.client.call(house.portal, WRITE))
    assert house.store.saved[MEMBER].state is state
    assert len(house.http.sent) == 1


# --- a renamed portal --------------------------------------------------------------------------


def _renamed(domain: str, member_id: str = MEMBER) -> Any:
    def script(request: HttpRequest) -> HttpResponse:
        if "app.info" in request.url:
            told = sample("oauth.app-info.response")["json"]
            told["result"]["install"] |= {
                "domain": domain,
                "client_endpoint": f"https://{domain}/rest/",
                "member_id": member_id,
            }
            return HttpResponse(200, {}, json.dumps(told).encode())
        if "some-domain" in request.url:
            return response("rest.redirect.portal-renamed")
        return answered(request.url)

    return script


async def test_a_renamed_portal_is_followed_after_the_auth_server_confirmed_it() -> None:
    house = House(_renamed("new-name.bitrix24.com"))
    answer = await house.run(house.client.call(house.portal, WRITE))
    assert answer.result == "https://new-name.bitrix24.com/rest/telephony.externalcall.finish.json"
    assert house.http.sent[0].body == house.http.sent[-1].body
    saved = house.store.saved[MEMBER]
    assert (saved.domain, saved.client_endpoint) == (
        "new-name.bitrix24.com",
        "https://new-name.bitrix24.com/rest/",
    )
    await house.run(house.client.call(house.portal, WRITE))
    assert len(house.http.sent) == 4, "a caller that still holds the old portal goes the new way at once"


@pytest.mark.parametrize(
    ("domain", "member_id"), [("some-domain.bitrix24.com", MEMBER), ("new-name.bitrix24.com", "f" * 32)]
)
async def test_a_redirect_that_is_not_confirmed_is_not_followed(domain: str, member_id: str) -> None:
    house = House(_renamed(domain, member_id))
    with pytest.raises(PortalMoved):
        await house.run(house.client.call(house.portal, WRITE))
    assert not any("new-name" in request.url for request in house.http.sent)
    assert house.store.saved[MEMBER] == house.portal


# --- patience ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("call", "outcome", "tries", "raised"),
    [
        (READ, errors.NotSent("x"), 3, errors.NotSent),
        (READ, errors.AnswerLost("x"), 3, errors.Unavailable),
        (READ, HttpResponse(502, {}, b"<html>"), 3, errors.VendorBroken),
        (READ, refused("NOT_FOUND"), 1, errors.NotFound),
        (WRITE, errors.NotSent("x"), 3, errors.NotSent),
        (WRITE, errors.AnswerLost("x"), 1, errors.AnswerLost),
        (WRITE, HttpResponse(502, {}, b"<html>"), 1, errors.AnswerLost),
        (WRITE, refused("INTERNAL_SERVER_ERROR", 500), 1, errors.AnswerLost),
        (WRITE, refused("QUERY_LIMIT_EXCEEDED", 503), 1, errors.Throttled),
    ],
)
async def test_only_what_cannot_do_harm_is_said_again(
    call: RestCall, outcome: HttpResponse | Trouble, tries: int, raised: type[Trouble]
) -> None:
    house = House(lambda _: outcome)
    with pytest.raises(Trouble) as met:
        await house.run(house.client.call(house.portal, call))
    assert type(met.value) is raised
    assert len(house.http.sent) == tries
    if tries == 3:
        assert 3 <= house.clock.now() - NOW <= 4, "one and two seconds of pause on our clock"


async def test_limits_are_told_to_the_limiter() -> None:
    answers = iter([response("rest.error.query-limit-exceeded"), response("rest.error.operation-time-limit")])
    house = House(lambda _: next(answers))
    with pytest.raises(errors.Throttled) as met:
        await house.run(house.client.call(house.portal, READ))
    assert met.value.retry_at == NOW + 1
    assert house.limiter.level()[0] == 50
    await house.clock.advance(120)
    with pytest.raises(errors.Throttled) as met:
        await house.run(house.client.call(house.portal, READ))
    assert house.limiter.parked("user.current") == met.value.retry_at
    with pytest.raises(errors.Throttled):
        await house.run(house.client.call(house.portal, READ))
    assert len(house.http.sent) == 2, "a parked method does not leave"


async def test_operating_time_is_learned_from_answers() -> None:
    time = {"operating": 479.0, "operating_reset_at": NOW + 300}
    house = House(lambda _: answered(True, time=time))
    await house.run(house.client.call(house.portal, WRITE))
    assert house.limiter.parked(WRITE.method) == NOW + 300


# --- batches -----------------------------------------------------------------------------------


def _portal_of(execute: Callable[..., tuple[bool, Any]]) -> Callable[[HttpRequest], HttpResponse]:
    """A script that answers `batch` by asking `execute(command, token)` for each command."""

    def script(request: HttpRequest) -> HttpResponse:
        if "/oauth/token/" in request.url:
            return token_answer()
        body = body_of(request)
        if method_of(request) != "batch":
            return answered("alone")
        told: dict[str, Any] = {"result": {}, "result_error": {}}
        for key, command in body["cmd"].items():
            good, value = execute(command, body["auth"])
            told["result" if good else "result_error"][key] = value
        return answered({name: value or [] for name, value in told.items()})

    return script


async def test_each_of_a_batch_is_settled_alone() -> None:
    def execute(command: str, _: str) -> tuple[bool, Any]:
        if command.startswith("bad"):
            return False, {"error": "NOT_FOUND", "error_description": "no"}
        if command.startswith("slow"):
            return False, {"error": "OPERATION_TIME_LIMIT", "error_description": "blocked"}
        return True, command

    house = House(_portal_of(execute))
    requests = {
        "a": RestCall("good", {"x": [1, 2]}),
        "b": RestCall("bad"),
        "c": RestCall("slow"),
        "d": RestCall("named", {"NAME": "$result[a]"}),
    }
    settled = await house.run(house.client.batch(house.portal, requests))
    assert list(settled) == list("abcd")
    assert isinstance(settled["a"], Answer)
    assert settled["a"].result == "good?x[0]=1&x[1]=2"
    assert type(settled["b"]) is errors.NotFound
    assert type(settled["c"]) is errors.Throttled
    assert isinstance(settled["d"], Answer)
    assert settled["d"].result == "alone"
    assert house.http.methods() == ["batch", "named"]
    again = await house.run(house.client.batch(house.portal, requests))
    assert type(again["c"]) is errors.Throttled
    assert len(body_of(house.http.sent[2])["cmd"]) == 2, "the parked method stays at home"


async def test_a_token_that_ends_in_the_middle_of_a_batch_doubles_nothing() -> None:
    executed: list[str] = []

    def execute(command: str, token: str) -> tuple[bool, Any]:
        if token == "access-1" and command > "m2":
            return False, {"error": "expired_token", "error_description": "expired"}
        executed.append(command)
        return True, command

    house = House(_portal_of(execute))
    settled = await house.run(
        house.client.batch(house.portal, {f"k{i}": RestCall(f"m{i}") for i in range(5)})
    )
    assert all(isinstance(s, Answer) for s in settled.values())
    assert sorted(executed) == [f"m{i}" for i in range(5)]
    assert sum("/oauth/token/" in r.url for r in house.http.sent) == 1


async def test_a_batch_that_fails_as_a_whole_is_raised() -> None:
    house = House(lambda _: HttpResponse(502, {}, b"<html>"))
    calls = {"a": RestCall("x"), "b": RestCall("y", reads=True)}
    with pytest.raises(errors.AnswerLost):
        await house.run(house.client.batch(house.portal, calls))
    with pytest.raises(ValueError, match="50"):
        await house.client.batch(house.portal, {str(i): WRITE for i in range(51)})


# --- uploads -----------------------------------------------------------------------------------


def _upload(house: House, url: str, tmp_path: Path) -> Any:
    file = tmp_path / "a.mp3"
    file.write_bytes(b"ID3")
    return house.run(house.client.upload(house.portal, url, "file", file, "a.mp3", "audio/mpeg"))


async def test_an_upload_goes_to_the_portals_own_host(tmp_path: Path) -> None:
    house = House(lambda _: response("telephony.externalcall.attachrecord.upload-step2.response"))
    assert await _upload(house, ENDPOINT + "upload.json?auth=t&token=s", tmp_path) == {"FILE_ID": 9079}
    assert house.http.sent[0].files[0].filename == "a.mp3"
    for url in (
        "https://evil.com/rest/upload.json",
        "http://some-domain.bitrix24.com/rest/upload.json",
        "https://some-domain.bitrix24.com@evil.com/",
        "https://some-domain.bitrix24.com:8443/rest/upload.json",
    ):
        with pytest.raises(errors.Forbidden):
            await _upload(house, url, tmp_path)
    assert len(house.http.sent) == 1


async def test_an_upload_is_not_repeated_when_it_may_have_arrived(tmp_path: Path) -> None:
    house = House(lambda _: errors.AnswerLost("timeout"))
    with pytest.raises(errors.AnswerLost):
        await _upload(house, ENDPOINT + "upload.json", tmp_path)
    assert len(house.http.sent) == 1
    late = House(lambda _: response("rest.error.expired-token"))
    with pytest.raises(errors.Unavailable):
        await _upload(late, ENDPOINT + "upload.json", tmp_path)


# --- the log -----------------------------------------------------------------------------------


async def test_the_log_has_every_request_and_no_secret(tmp_path: Path) -> None:
    def script(request: HttpRequest) -> HttpResponse:
        if "attachRecord" in request.url:
            return response("telephony.externalcall.attachrecord.upload-step1.response")
        return _portal_of(lambda *_: (True, {"PHONE_NUMBER": "380440000011"}))(request)

    canary = "CanaryAccessToken"
    house = House(script, pair(access=canary))
    phone = {"PHONE_NUMBER": "+380440000011", "NAME": "Emma Stone", "DATA": {"x": ["+380440000011"]}}
    await house.run(house.client.batch(house.portal, {"a": RestCall("m", phone), "b": RestCall("n", phone)}))
    await house.run(house.client.call(house.portal, RestCall("telephony.externalcall.attachRecord", phone)))
    await _upload(house, ENDPOINT + "upload.json?auth=" + canary, tmp_path)
    told = json.dumps([[e.operation, e.request, e.answer] for e in house.log], ensure_ascii=False)
    assert [e.operation for e in house.log] == ["batch", "telephony.externalcall.attachRecord", "upload"]
    for secret in (
        canary,
        SECRET,
        CLIENT_ID,
        "380440000011",
        "Emma",
        "Stone",
        "CanaryClient",
        'uploadUrl":"h',
    ):
        assert secret not in told
    assert "…0011" in told
    assert house.log[0].status == 200
    assert house.log[0].portal == MEMBER


async def test_a_lost_request_is_in_the_log_too() -> None:
    house = House(lambda _: errors.AnswerLost("timeout"))
    with pytest.raises(errors.AnswerLost):
        await house.run(house.client.call(house.portal, WRITE))
    assert [(e.status, e.code) for e in house.log] == [(None, "ANSWER_LOST")]
