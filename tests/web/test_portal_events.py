"""Bitrix24's door: believed by application_token, or by a token that the auth server confirms."""

from __future__ import annotations

import io
from typing import Any

import pytest
from httpx import AsyncClient

from bitrix_app.core.errors import Unavailable
from bitrix_app.core.portal import PortalState
from bitrix_app.core.store import StoreUnavailable
from tests.web.fakes import AGENT, APP_TOKEN, MEMBER, OTHER, Stage, portal, sample, verified

pytestmark = pytest.mark.anyio


def form(name: str, **changes: str) -> dict[str, str]:
    fields: dict[str, str] = sample(f"event.{name}")["form"]
    return fields | changes


async def post(web: AsyncClient, fields: dict[str, str]) -> Any:
    return await web.post("/bitrix/events", data=fields)


async def test_an_event_with_the_right_token_is_taken_in(web: AsyncClient, st: Stage) -> None:
    assert (await post(web, form("ONVOXIMPLANTCALLINIT"))).status_code == 200
    assert [(who, event.name) for who, event in st.intake.events] == [(MEMBER, "ONVOXIMPLANTCALLINIT")]
    assert not st.verifier.asked


@pytest.mark.parametrize("token", ["", "wrong", APP_TOKEN[:-1], APP_TOKEN + "0", "ключ"])
@pytest.mark.parametrize("name", ["ONVOXIMPLANTCALLINIT", "ONAPPUNINSTALL", "ONEXTERNALCALLSTART"])
async def test_a_wrong_application_token_is_refused_before_anything(
    web: AsyncClient, st: Stage, log: io.StringIO, name: str, token: str
) -> None:
    answer = await post(web, form(name, **{"auth[application_token]": token}))
    assert answer.status_code == 403
    assert answer.json()["code"] == "not_confirmed"
    assert not st.intake.events
    assert not st.verifier.asked
    assert "refused" in log.getvalue()
    for secret in (APP_TOKEN, form(name).get("auth[access_token]", APP_TOKEN)):
        assert secret not in log.getvalue() + answer.text


async def test_a_portal_without_a_token_yet_believes_nobody(web: AsyncClient, st: Stage) -> None:
    st.store.portals_[MEMBER] = portal(application_token="")
    answer = await post(web, form("ONVOXIMPLANTCALLINIT", **{"auth[application_token]": ""}))
    assert answer.status_code == 403
    assert not st.intake.events


async def test_another_portals_token_does_not_do(web: AsyncClient, st: Stage) -> None:
    st.store.portals_[OTHER] = portal(member_id=OTHER, application_token="other-portals-token")
    fields = form("ONVOXIMPLANTCALLINIT", **{"auth[application_token]": "other-portals-token"})
    assert (await post(web, fields)).status_code == 403


async def test_an_unknown_portal_is_refused(web: AsyncClient, st: Stage) -> None:
    assert (await post(web, form("ONVOXIMPLANTCALLINIT", **{"auth[member_id]": OTHER}))).status_code == 403
    assert not st.intake.events


async def test_uninstall_is_believed_by_its_token_alone(web: AsyncClient, st: Stage) -> None:
    assert (await post(web, form("ONAPPUNINSTALL"))).status_code == 200
    assert st.intake.events[0][1].name == "ONAPPUNINSTALL"
    assert not st.verifier.asked


async def test_an_installation_of_an_unknown_portal_is_proven_then_stored(
    web: AsyncClient, st: Stage
) -> None:
    st.store.portals_.clear()
    fields = form("ONAPPINSTALL")
    st.verifier.known[fields["auth[access_token]"]] = verified()
    assert (await post(web, fields)).status_code == 200
    ((who, profile, tokens, application_token, language),) = st.portals.installs
    assert (who.member_id, profile.is_admin) == (MEMBER, True)
    assert (tokens.access, tokens.refresh) == (fields["auth[access_token]"], fields["auth[refresh_token]"])
    assert (application_token, language) == (APP_TOKEN, "en")
    assert [event.name for _, event in st.intake.events] == ["ONAPPINSTALL"]


@pytest.mark.parametrize("case", ["unknown token", "other portal's token", "no token", "not an admin"])
async def test_a_forged_installation_stores_nothing(web: AsyncClient, st: Stage, case: str) -> None:
    st.store.portals_.clear()
    fields = form("ONAPPINSTALL")
    token = fields["auth[access_token]"]
    match case:
        case "other portal's token":
            st.verifier.known[token] = verified(member_id=OTHER)
        case "no token":
            del fields["auth[access_token]"]
        case "not an admin":
            st.verifier.known[token] = verified(user_id=AGENT)
    assert (await post(web, fields)).status_code == 403
    assert not st.portals.installs
    assert not st.intake.events
    assert not st.store.portals_


async def test_a_reinstallation_may_bring_a_new_application_token(web: AsyncClient, st: Stage) -> None:
    fields = form("ONAPPINSTALL", **{"auth[application_token]": "new-token"})
    st.verifier.known[fields["auth[access_token]"]] = verified()
    assert (await post(web, fields)).status_code == 200
    assert st.portals.installs[0][3] == "new-token"


async def test_a_gone_portal_is_only_brought_back_by_proof(web: AsyncClient, st: Stage) -> None:
    st.store.portals_[MEMBER] = portal(state=PortalState.UNINSTALLED)
    assert (await post(web, form("ONVOXIMPLANTCALLINIT"))).status_code == 403
    assert (await post(web, form("ONAPPINSTALL"))).status_code == 403
    assert not st.portals.installs


async def test_when_nobody_can_vouch_the_sender_hears_503(web: AsyncClient, st: Stage) -> None:
    st.store.portals_.clear()
    st.verifier.trouble = Unavailable("the auth server is away")
    answer = await post(web, form("ONAPPINSTALL"))
    assert answer.status_code == 503
    assert "Retry-After" in answer.headers
    assert not st.portals.installs


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"event=ONAPPTEST",
        b"\xff\xfe",
        b"a" * 60_000,
        b"&".join(b"a%d=1" % n for n in range(1001)),
        b"event=X&auth[member_id]=../../x",
        b"x" + b"[a]" * 50 + b"=1",
    ],
)
async def test_what_is_no_event_is_400(web: AsyncClient, st: Stage, body: bytes) -> None:
    answer = await web.post("/bitrix/events", content=body)
    assert answer.status_code == 400
    assert answer.json()["category"] == "validation"
    assert not st.intake.events


async def test_limits_and_storage_are_as_at_the_other_door(web: AsyncClient, st: Stage) -> None:
    assert (await web.post("/bitrix/events", content=b"a" * 65_537)).status_code == 413
    assert (await web.get("/bitrix/events")).status_code == 405
    st.intake.failure = StoreUnavailable("disk full")
    answer = await post(web, form("ONVOXIMPLANTCALLINIT"))
    assert (answer.status_code, "Retry-After" in answer.headers) == (503, True)
