"""Pitfalls 1–5: who may be believed, and where secrets must not go. All five touch us."""

from __future__ import annotations

from urllib.parse import urlsplit

import pytest
from httpx import AsyncClient

from bitrix_app.bitrix import telephony
from bitrix_app.bitrix.answers import read_answer
from bitrix_app.bitrix.masking import mask, scrub
from bitrix_app.core import errors
from bitrix_app.core.ports import HttpResponse
from tests.bitrix.fakes import ENDPOINT, NOW, SECRET, House, call, pair, response, sample, token_answer
from tests.house.making import Bench, event_form, event_of
from tests.web.fakes import APP_TOKEN, Stage

pytestmark = pytest.mark.anyio
EVIL = "https://evil.example.com/rest/"


def hosts(house: House) -> set[str]:
    return {urlsplit(request.url).hostname or "" for request in house.http.sent}


async def test_pitfall_01_a_frames_word_for_its_auth_server_gets_neither_token_nor_secret() -> None:
    house = House(lambda _: response("oauth.app-info.response"))
    verified = await house.verifier.verify("stolen", EVIL)
    assert hosts(house) == {"oauth.bitrix24.tech"}
    assert verified.client_endpoint == ENDPOINT  # the auth server's word, not the request's
    refreshing = House(lambda _: token_answer(), pair(expires_in=-1), auth_server="https://evil.example.com")
    await refreshing.refresher.token(refreshing.portal)  # even were it stored somehow
    assert hosts(refreshing) == {"oauth.bitrix24.tech"}
    assert SECRET in refreshing.http.sent[0].url  # so it does matter where it goes


async def test_pitfall_01_an_install_event_of_an_unknown_portal_stores_nothing(
    web: AsyncClient, st: Stage
) -> None:
    form = dict(sample("event.ONAPPINSTALL")["form"])
    form["auth[server_endpoint]"] = form["auth[client_endpoint]"] = EVIL
    form["auth[member_id]"] = "f" * 32
    answer = await web.post("/bitrix/events", data=form)
    assert answer.status_code == 403
    assert st.intake.events == []
    assert "f" * 32 not in st.store.portals_


async def test_pitfall_02_a_user_is_asked_of_the_verified_portal_and_never_of_the_posted_domain(
    web: AsyncClient, st: Stage
) -> None:
    house = House(
        lambda request: response(
            "oauth.app-info.response" if "app.info" in request.url else "profile.response"
        )
    )
    verified = await house.verifier.verify("token", EVIL)
    profile = await house.verifier.profile(verified, "token")
    assert (profile.user_id, profile.is_admin) == (1, True)
    assert hosts(house) == {"oauth.bitrix24.tech", urlsplit(ENDPOINT).hostname}
    frame = sample("frame.app-page")
    posted = frame["query"] | {"DOMAIN": "evil.example.com"}
    answer = await web.post("/bitrix/app", params=posted, data=frame["form"])
    assert answer.status_code == 403


async def test_pitfall_03_tokens_of_addresses_reach_no_log_and_no_message() -> None:
    upload = sample("telephony.externalcall.attachrecord.upload-step1.response")["json"]["result"]
    download = sample("disk.file.get.response")["json"]["result"]
    token = sample("telephony.externalcall.attachrecord.upload-step1.request")["json"]["auth"]
    for address in (upload["uploadUrl"], download["DOWNLOAD_URL"]):
        assert token in address
        assert token not in scrub(f"cannot reach {address}")
        assert token not in mask({"result": {"uploadUrl": address, "DOWNLOAD_URL": address}})
        body = f'{{"error":"X","error_description":"cannot reach {address}"}}'.encode()
        with pytest.raises(errors.Refused) as met:
            read_answer(HttpResponse(400, {}, body), reads=False, now=NOW)
        assert token not in str(met.value)
    assert token not in repr(telephony.read_upload(upload))


async def test_pitfall_04_the_application_token_is_no_users_ticket(web: AsyncClient, st: Stage) -> None:
    frame = sample("frame.app-page")
    form = frame["form"] | {"AUTH_ID": "not-a-token", "APPLICATION_TOKEN": APP_TOKEN}
    opened = await web.post("/bitrix/app", params=frame["query"], data=form)
    assert opened.status_code == 403
    renewed = await web.post("/session", json={"auth_id": APP_TOKEN}, headers=st.session())
    assert renewed.status_code in (401, 403)
    read = await web.get("/calls", headers={"Authorization": f"Bearer {APP_TOKEN}"})
    assert read.status_code == 401


async def test_pitfall_04_nor_do_an_events_tokens_become_ours(bench: Bench) -> None:
    body = event_form("ONAPPINSTALL", VERSION="1", ACTIVE="Y", INSTALLED="Y")
    assert event_of(body).auth.refresh_token
    await bench.hear_portal("ONAPPINSTALL", VERSION="1", ACTIVE="Y", INSTALLED="Y")
    assert await bench.pairs() == []


async def test_pitfall_05_the_portal_is_never_given_an_address_to_fetch_from() -> None:
    named = call(bitrix_call_id="externalCall.a.1", link="https://api.unitalk.cloud:8443/tracking/rec/1/2")
    finish = telephony.finish(named, user_id=1, duration=9, status_code="200", failed_reason="")
    attach = telephony.attach("externalCall.a.1", "one.mp3")
    assert attach.params.keys() == {"CALL_ID", "FILENAME"}  # two steps: we push, nobody pulls
    assert "RECORD_URL" not in finish.params
    register = telephony.register(named, user_id=1, show=True, crm_create=True, crm=None, timezone="UTC")
    assert "unitalk.cloud" not in repr([finish.params, register.params])
