"""Who a token belongs to, and which servers may be asked."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from bitrix_app.bitrix.auth import PortalVerifier
from bitrix_app.bitrix.servers import AuthServers
from bitrix_app.core.errors import AnswerLost, Forbidden, NotSent, Trouble, Unavailable
from bitrix_app.core.ports import HttpRequest, HttpResponse
from tests.bitrix.fakes import CLIENT_ID, ENDPOINT, MEMBER, House, answered, query_of, response, sample

pytestmark = pytest.mark.anyio


def _info(**install: Any) -> HttpResponse:
    told = sample("oauth.app-info.response")["json"]
    told["result"]["install"] |= install
    return HttpResponse(200, {}, json.dumps(told).encode())


async def test_a_token_is_told_whose_it_is() -> None:
    house = House(lambda _: response("oauth.app-info.response"))
    verified = await house.verifier.verify("tok&en")
    assert (verified.member_id, verified.client_endpoint, verified.user_id) == (MEMBER, ENDPOINT, 1)
    assert (verified.domain, verified.auth_server) == (
        "some-domain.bitrix24.com",
        "https://oauth.bitrix24.tech",
    )
    assert verified.installed
    assert "telephony" in verified.scope
    assert verified.expires_at == 1_788_336_900.0
    assert query_of(house.http.sent[0]) == {"auth": "tok&en"}
    assert house.http.sent[0].url.startswith("https://oauth.bitrix24.tech/rest/app.info?")
    assert house.http.sent[0].timeout == 3.0


async def test_verdicts_are_kept_ten_minutes_by_the_tokens_hash() -> None:
    house = House(lambda _: response("oauth.app-info.response"))
    await house.verifier.verify("t")
    await house.verifier.verify("t")
    assert len(house.http.sent) == 1
    await house.verifier.verify("t", fresh=True)
    await house.verifier.verify("other")
    assert len(house.http.sent) == 3
    await house.clock.advance(600)
    await house.verifier.verify("t")
    assert len(house.http.sent) == 4
    assert b"t" not in house.verifier._verdicts


@pytest.mark.parametrize(
    "install",
    [
        {"member_id": "short"},
        {"member_id": None},
        {"client_endpoint": "http://some-domain.bitrix24.com/rest/"},
        {"client_endpoint": "https://user@some-domain.bitrix24.com/rest/"},
        {"client_endpoint": "https://some-domain.bitrix24.com/evil/"},
        {"client_endpoint": "https://evil.com/rest/"},
        {"client_endpoint": "http://127.0.0.1/rest/", "domain": "127.0.0.1"},
        {"client_endpoint": "https://127.0.0.1/rest/", "domain": "127.0.0.1"},
        {"client_endpoint": ""},
    ],
)
async def test_a_portal_that_cannot_be_trusted(install: dict[str, Any]) -> None:
    house = House(lambda _: _info(**install))
    with pytest.raises(Forbidden):
        await house.verifier.verify("t")


async def test_a_token_of_another_application() -> None:
    house = House(lambda _: response("oauth.app-info.response"))
    other = PortalVerifier(house.http, house.clock, CLIENT_ID + "x", house.servers)
    with pytest.raises(Forbidden) as met:
        await other.verify("t")
    assert met.value.code == "FOREIGN_TOKEN"


@pytest.mark.parametrize(
    ("outcome", "raised"),
    [
        (response("rest.error.expired-token"), Forbidden),
        (response("rest.error.invalid-token"), Forbidden),
        (response("rest.error.application-not-found"), Forbidden),
        (response("oauth.error.payment-required"), Forbidden),
        (response("rest.error.internal-server-error"), Unavailable),
        (response("rest.error.query-limit-exceeded"), Unavailable),
        (HttpResponse(502, {}, b"<html>"), Unavailable),
        (HttpResponse(200, {}, b"{}"), Unavailable),
        (AnswerLost("x"), Unavailable),
        (NotSent("x"), Unavailable),
    ],
)
async def test_the_port_promises_two_troubles(outcome: HttpResponse | Trouble, raised: type[Trouble]) -> None:
    house = House(lambda _: outcome)
    with pytest.raises(Trouble) as met:
        await house.verifier.verify("t")
    assert type(met.value) is raised


async def test_it_answers_or_fails_within_three_seconds() -> None:
    async def never() -> HttpResponse:
        await asyncio.Event().wait()
        raise AssertionError

    house = House(lambda _: never())
    asking = asyncio.ensure_future(house.verifier.verify("t"))
    await house.clock.advance(2.9)
    assert not asking.done()
    await house.clock.advance(0.2)
    with pytest.raises(Unavailable):
        await asking


async def test_a_hint_is_used_only_when_it_is_allow_listed() -> None:
    def script(request: HttpRequest) -> HttpResponse | Trouble:
        return NotSent("dns") if "bitrix24.tech" in request.url else response("oauth.app-info.response")

    house = House(script)
    await house.verifier.verify("a", "https://oauth.bitrix.info/rest/")
    assert len(house.http.sent) == 1
    for evil in (
        "https://oauth.evil.com/rest/",
        "https://oauth.bitrix.info@evil.com/",
        "http://oauth.bitrix.info/",
    ):
        house.http.sent.clear()
        verified = await house.verifier.verify(evil, evil)
        assert ["tech" in r.url for r in house.http.sent] == [True, False]
        assert verified.auth_server == "https://oauth.bitrix.info"
        assert not any("evil" in r.url.partition("?")[0] for r in house.http.sent)


def test_servers() -> None:
    servers = AuthServers(["oauth.bitrix24.tech", "https://oauth.bitrix.info"])
    assert servers.allows("https://oauth.bitrix24.tech/rest/")
    for no in (
        "http://oauth.bitrix24.tech/",
        "https://oauth.bitrix24.tech:8443/",
        "https://x.oauth.bitrix24.tech/",
        "https://oauth.bitrix24.tech.evil.com/",
        "http://127.0.0.1:9000/",
        "",
        "nonsense://",
    ):
        assert not servers.allows(no)
    local = AuthServers(["http://127.0.0.1:9000"], allow_loopback=True)
    assert local.order() == ("http://127.0.0.1:9000",)
    assert not local.allows("http://127.0.0.1:9001")
    assert local.fits("http://localhost")
    for wrong in ([], ["http://127.0.0.1:9000"], ["http://oauth.bitrix.info"]):
        with pytest.raises(ValueError, match="https"):
            AuthServers(wrong)


async def test_the_profile_is_asked_of_the_verified_portal_and_counted() -> None:
    spent: list[str] = []
    house = House(
        lambda r: response("oauth.app-info.response" if "app.info" in r.url else "profile.response")
    )
    verifier = PortalVerifier(house.http, house.clock, CLIENT_ID, house.servers, spend=spent.append)
    verified = await verifier.verify("t")
    profile = await verifier.profile(verified, "t")
    assert (profile.user_id, profile.is_admin, profile.name, profile.timezone) == (
        1,
        True,
        "Olena Hrytsenko",
        "Europe/Kyiv",
    )
    assert await verifier.profile(verified, "t") == profile
    assert spent == [MEMBER]
    assert house.http.sent[-1].url == ENDPOINT + "profile.json"


@pytest.mark.parametrize("row", [[], {}, {"ID": "7", "ADMIN": True}])
async def test_an_inactive_or_another_user_has_no_profile(row: Any) -> None:
    house = House(lambda r: response("oauth.app-info.response") if "app.info" in r.url else answered(row))
    with pytest.raises(Forbidden):
        await house.verifier.profile(await house.verifier.verify("t"), "t")
