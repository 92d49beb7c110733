"""Installer and app frames: nothing is believed before the auth server says so."""

from __future__ import annotations

import io
import re
from typing import Any

import pytest
from httpx import AsyncClient, Response

from bitrix_app.core.errors import Forbidden, Unavailable
from bitrix_app.core.jobs import JobState
from bitrix_app.core.portal import PortalState
from bitrix_app.web.frames import same_host
from tests.web.fakes import (
    AGENT,
    APP_TOKEN,
    DOMAIN,
    MEMBER,
    OTHER,
    TROUBLE,
    Stage,
    call,
    job,
    portal,
    sample,
    verified,
)

pytestmark = pytest.mark.anyio
HTML = {"Accept": "text/html,application/xhtml+xml"}
BINDINGS, DIRECTORY = "portal:bindings", "portal:directory"


async def post(web: AsyncClient, path: str, name: str = "frame.install", **changes: Any) -> Response:
    """Open a sample frame; upper-case DOMAIN goes into the query, the rest into the form."""
    frame = sample(name)
    query = frame["query"] | ({"DOMAIN": changes.pop("DOMAIN")} if "DOMAIN" in changes else {})
    form = {key: value for key, value in (frame["form"] | changes).items() if value is not None}
    headers = {"Accept": changes.pop("accept", HTML["Accept"]), "Origin": f"https://{DOMAIN}"}
    form.pop("accept", None)
    return await web.post(path, params=query, data=form, headers=headers)


def session_in(answer: Response) -> str:
    found = re.search(r'<meta name="frame-session" content="([^"]+)">', answer.text)
    assert found
    return found[1]


def ancestors(answer: Response) -> str:
    return answer.headers["Content-Security-Policy"].rpartition("frame-ancestors ")[2]


async def test_an_administrator_installs(web: AsyncClient, st: Stage) -> None:
    st.store.portals_.clear()
    answer = await post(web, "/bitrix/install")
    assert answer.status_code == 200
    form = sample("frame.install")["form"]
    assert st.verifier.asked == [(form["AUTH_ID"], form["SERVER_ENDPOINT"])]
    ((who, profile, tokens, token, language),) = st.portals.installs
    assert (who.member_id, profile.is_admin, token, language) == (MEMBER, True, APP_TOKEN, "uk")
    assert (tokens.access, tokens.refresh, tokens.expires_in) == (form["AUTH_ID"], form["REFRESH_ID"], 3600)
    policy = answer.headers["Content-Security-Policy"]
    assert ancestors(answer) == f"https://{DOMAIN}"
    assert "script-src 'self' https://api.bitrix24.com;" in policy
    assert "unsafe" not in policy
    for secret in (form["AUTH_ID"], form["REFRESH_ID"], APP_TOKEN):
        assert secret not in answer.text


async def test_opened_again_it_installs_again(web: AsyncClient, st: Stage) -> None:
    assert (await post(web, "/bitrix/install")).status_code == 200
    assert (await post(web, "/bitrix/install")).status_code == 200
    assert len(st.portals.installs) == 2


@pytest.mark.parametrize("path", ["/bitrix/install", "/bitrix/app"])
@pytest.mark.parametrize(
    "forgery",
    [
        {"AUTH_ID": "somebody-else"},
        {"member_id": OTHER},
        {"DOMAIN": "evil.example.com"},
        {"DOMAIN": f"{DOMAIN}:8443"},
    ],
)
@pytest.mark.parametrize("accept", ["text/html", "application/json"])
async def test_a_forged_frame_stores_nothing(
    web: AsyncClient, st: Stage, log: io.StringIO, path: str, forgery: dict[str, str], accept: str
) -> None:
    st.store.portals_.clear()
    answer = await post(web, path, accept=accept, **forgery)
    assert answer.status_code == 403
    assert not st.portals.installs
    assert not st.portals.heals
    assert not st.store.portals_
    assert ancestors(answer) == "'none'"
    assert "frame-session" not in answer.text
    kind = answer.headers["Content-Type"]
    assert kind.startswith("text/html" if accept == "text/html" else "application/problem+json")
    assert sample("frame.install")["form"]["REFRESH_ID"] not in answer.text + log.getvalue()


@pytest.mark.parametrize("path", ["/bitrix/install", "/bitrix/app"])
@pytest.mark.parametrize(
    "missing",
    [
        {"AUTH_ID": None},
        {"member_id": None},
        {"member_id": "x"},
        {"DOMAIN": ""},
        {"DOMAIN": "a b"},
        {"DOMAIN": "user@host"},
        {"PLACEMENT_OPTIONS": "{"},
    ],
)
async def test_missing_or_misshapen_fields_are_400_and_nobody_is_asked(
    web: AsyncClient, st: Stage, path: str, missing: dict[str, Any]
) -> None:
    answer = await post(web, path, accept="application/json", **missing)
    assert answer.status_code == 400
    assert answer.json()["category"] == "validation"
    assert not st.verifier.asked


async def test_a_profile_of_another_user_is_refused(
    web: AsyncClient, st: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    from bitrix_app.core.ports import Profile

    async def other(*_: Any) -> Profile:
        return Profile(99, is_admin=True, name="", timezone="")

    monkeypatch.setattr(st.verifier, "profile", other)
    assert (await post(web, "/bitrix/install")).status_code == 403
    assert not st.portals.installs


async def test_when_nobody_vouches_the_page_says_so_where_it_can_be_read(web: AsyncClient, st: Stage) -> None:
    st.verifier.trouble = Unavailable("away")
    answer = await post(web, "/bitrix/install")
    assert answer.status_code == 503
    assert "Перезавантажте сторінку" in answer.text
    assert "https://*.bitrix24.com" in ancestors(answer)
    assert not st.portals.installs


async def test_only_an_administrator_installs(web: AsyncClient, st: Stage) -> None:
    st.store.portals_.clear()
    st.verifier.admins.clear()
    for path in ("/bitrix/install", "/bitrix/app"):
        answer = await post(web, path)
        assert answer.status_code == 403
        assert "адміністратор" in answer.text
        assert ancestors(answer) == f"https://{DOMAIN}"
    assert not st.portals.installs


async def test_the_installer_page_learns_when_it_may_finish(web: AsyncClient, st: Stage) -> None:
    answer = await post(web, "/bitrix/install")
    headers = {"Authorization": f"Bearer {session_in(answer)}"}

    async def states() -> tuple[list[str], bool]:
        status = await web.get("/bitrix/install/status", headers=headers)
        assert status.status_code == 200
        data = status.json()
        return [step["state"] for step in data["steps"]], data["ready"]

    assert await states() == (["done", "waiting", "waiting"], False)
    st.store.lanes[BINDINGS] = [job(1, BINDINGS, "ensure_bindings", JobState.RETRYING, error=TROUBLE)]
    assert await states() == (["done", "waiting", "waiting"], False)
    st.store.lanes[BINDINGS] = [job(1, BINDINGS, "ensure_bindings", JobState.ATTENTION, error=TROUBLE)]
    assert await states() == (["done", "attention", "waiting"], False)
    status = await web.get("/bitrix/install/status", headers=headers)
    assert status.json()["steps"][1]["hint"] == "Ask an admin."
    assert "canary-in-error" not in status.text
    st.store.lanes[BINDINGS] = [job(1, BINDINGS, "ensure_bindings")]
    assert await states() == (["done", "done", "waiting"], True)


async def test_the_status_is_for_the_installing_administrator(web: AsyncClient, st: Stage) -> None:
    from bitrix_app.web.session import Role

    assert (await web.get("/bitrix/install/status")).status_code == 401
    answer = await web.get("/bitrix/install/status", headers=st.session(Role.AGENT))
    assert answer.status_code == 403


async def test_the_app_page_of_an_administrator_heals(web: AsyncClient, st: Stage) -> None:
    st.store.portals_[MEMBER] = portal(state=PortalState.NEEDS_REAUTH)
    answer = await post(web, "/bitrix/app", "frame.app-page")
    assert answer.status_code == 200
    ((_, profile, tokens),) = st.portals.heals
    assert profile.is_admin
    assert tokens.refresh == sample("frame.app-page")["form"]["REFRESH_ID"]
    assert "Addresses for the Unitalk cabinet" in answer.text
    assert "needs_reauth" not in answer.text
    assert not st.portals.installs


async def test_an_agents_frame_keeps_no_tokens_and_shows_no_addresses(web: AsyncClient, st: Stage) -> None:
    token = sample("frame.app-page")["form"]["AUTH_ID"]
    st.verifier.known[token] = verified(user_id=AGENT)
    st.store.calls_ = [
        call("mine", number="+380440000099"),
        call("theirs", user_id=9, number="+380440000088"),
    ]
    answer = await post(web, "/bitrix/app", "frame.app-page")
    assert answer.status_code == 200
    assert not st.portals.heals
    assert not st.portals.installs
    assert "/unitalk/events/" not in answer.text
    assert "+380440000099" in answer.text
    assert "+380440000088" not in answer.text


async def test_a_local_app_without_an_installer_installs_at_its_first_opening(
    web: AsyncClient, st: Stage
) -> None:
    for before in ({}, {MEMBER: portal(state=PortalState.UNINSTALLED)}):
        st.portals.installs.clear()
        st.store.portals_ = dict(before)
        assert (await post(web, "/bitrix/app", "frame.app-page")).status_code == 200
        assert len(st.portals.installs) == 1


async def test_legacy_portals_that_leave_fields_out_work(web: AsyncClient, st: Stage) -> None:
    answer = await post(web, "/bitrix/app", "frame.app-page.legacy-portal")
    assert answer.status_code == 200
    assert st.verifier.asked[0][1] == ""


@pytest.mark.parametrize(
    "name", ["left-menu", "call-card", "crm-deal-detail-tab", "rest-app-uri", "telephony-analytics-menu"]
)
async def test_every_placement_opens(web: AsyncClient, st: Stage, name: str) -> None:
    assert (await post(web, "/bitrix/app", f"frame.placement.{name}")).status_code == 200


async def test_the_option_call_opens_that_calls_page(web: AsyncClient, st: Stage) -> None:
    st.store.calls_ = [call("c-7", number="+380440000077"), call("c-8", number="+380440000088")]
    st.store.lanes["c-7"] = [job(1, "c-7", "finish", JobState.ATTENTION, error=TROUBLE)]
    answer = await post(web, "/bitrix/app", "frame.app-page", PLACEMENT_OPTIONS='{"call":"c-7"}')
    assert "<h1>· +380440000077</h1>" in answer.text
    assert "Call written to the CRM" in answer.text
    assert "Ask an admin." in answer.text
    assert "canary-in-error" not in answer.text
    lost = await post(web, "/bitrix/app", "frame.app-page", PLACEMENT_OPTIONS='{"call":"nothing"}')
    assert lost.status_code == 200
    assert "is not here" in lost.text


@pytest.mark.parametrize("path", ["/bitrix/install", "/bitrix/app"])
async def test_outside_bitrix24_there_is_a_hint(web: AsyncClient, st: Stage, path: str) -> None:
    answer = await web.get(path)
    assert answer.status_code == 200
    assert "works inside Bitrix24" in answer.text
    assert (await web.head(path)).status_code == 200
    assert ancestors(answer) == "'none'"


@pytest.mark.parametrize(
    ("domain", "endpoint", "same"),
    [
        ("a.example.com", "https://a.example.com/rest/", True),
        ("A.Example.com", "https://a.example.com/rest/", True),
        ("a.example.com:443", "https://a.example.com/rest/", True),
        ("a.example.com:80", "http://a.example.com/rest/", True),
        ("a.example.com:8443", "https://a.example.com:8443/rest/", True),
        ("a.example.com", "https://a.example.com:8443/rest/", False),
        ("a.example.com:8443", "https://a.example.com/rest/", False),
        ("a.example.com:80", "https://a.example.com/rest/", False),
        ("b.example.com", "https://a.example.com/rest/", False),
        ("a.example.com.evil.com", "https://a.example.com/rest/", False),
    ],
)
def test_a_domain_is_compared_with_its_port(domain: str, endpoint: str, same: bool) -> None:
    assert same_host(domain, endpoint) is same


async def test_a_portal_opened_over_http_may_frame_us_from_there(web: AsyncClient, st: Stage) -> None:
    """PROTOCOL=0: a self-hosted portal without TLS in the browser, its REST is https all the same."""
    frame = sample("frame.app-page")
    query = frame["query"] | {"PROTOCOL": "0"}
    answer = await web.post("/bitrix/app", params=query, data=frame["form"], headers=HTML)
    assert answer.status_code == 200
    assert ancestors(answer).split() == [f"https://{DOMAIN}", f"http://{DOMAIN}"]


async def test_a_portal_without_tls_is_told_why_it_cannot_be_connected(web: AsyncClient, st: Stage) -> None:
    st.verifier.trouble = Forbidden("Not encrypted.", code="INSECURE_PORTAL", hint="Give it a certificate.")
    answer = await post(web, "/bitrix/install", accept="application/json")
    assert answer.status_code == 403
    assert answer.json()["code"] == "insecure_portal"
    assert "certificate" in answer.json()["detail"]
