"""The frame's session: short, signed, bound to one installation, and only from our own page."""

from __future__ import annotations

from dataclasses import replace

import pytest
from httpx import AsyncClient

from bitrix_app.clock import VirtualClock
from bitrix_app.core.portal import PortalState
from bitrix_app.web.routes import routes
from bitrix_app.web.session import Role, SessionSigner
from tests.web.fakes import ADMIN, AGENT, BASE, DOMAIN, KEY, MEMBER, OTHER, Stage, portal, sample, verified
from tests.web.test_retry_acts import ACTS

pytestmark = pytest.mark.anyio
AUTH = sample("frame.app-page")["form"]["AUTH_ID"]
READS = ["/calls", "/calls/c1", "/settings", "/bitrix/install/status"]
ADMIN_ONLY = [
    ("GET", "/settings"),
    ("PUT", "/settings"),
    ("POST", "/settings/webhook-token"),
    ("GET", "/bitrix/install/status"),
    ("GET", "/agents"),
    ("PUT", "/agents/7"),
    ("POST", "/agents/accept"),
    ("POST", "/agents/repair"),
    ("GET", "/agents/repair/0"),
    ("POST", "/agents/repair/0/undo"),
    ("POST", "/campaigns/read"),
]


@pytest.mark.parametrize("path", READS)
@pytest.mark.parametrize("token", ["", "Bearer", "Bearer x", "Basic abc", "Bearer a.b.c"])
async def test_without_a_session_nothing_is_shown(web: AsyncClient, st: Stage, path: str, token: str) -> None:
    answer = await web.get(path, headers={"Authorization": token} if token else {})
    assert answer.status_code == 401
    assert answer.json()["hint"] == "reload"
    assert answer.json()["code"] == "session_expired"


async def test_a_page_is_told_to_reload_in_words(web: AsyncClient, st: Stage) -> None:
    answer = await web.get("/calls", headers={"Accept": "text/html"})
    assert answer.status_code == 401
    assert "Reload the page in Bitrix24" in answer.text


async def test_a_session_ends_after_fifteen_minutes(web: AsyncClient, st: Stage) -> None:
    headers = st.session()
    await st.clock.advance(14 * 60)
    assert (await web.get("/calls", headers=headers)).status_code == 200
    await st.clock.advance(61)
    assert (await web.get("/calls", headers=headers)).status_code == 401


async def test_an_administrators_right_is_read_anew_after_ten_minutes(web: AsyncClient, st: Stage) -> None:
    headers = st.session()
    await st.clock.advance(9 * 60)
    assert (await web.get("/settings", headers=headers)).status_code == 200
    await st.clock.advance(61)
    assert (await web.get("/settings", headers=headers)).status_code == 401


@pytest.mark.parametrize("state", list(PortalState))
async def test_a_session_dies_with_the_installation(web: AsyncClient, st: Stage, state: PortalState) -> None:
    headers = st.session()
    st.store.portals_[MEMBER] = portal(state=state)
    expected = 401 if state is PortalState.UNINSTALLED else 200
    assert (await web.get("/calls", headers=headers)).status_code == expected


async def test_a_new_installation_is_another_generation(web: AsyncClient, st: Stage) -> None:
    headers = st.session()
    st.store.portals_[MEMBER] = replace(portal(), created_at=1_788_100_000.0)
    assert (await web.get("/calls", headers=headers)).status_code == 401


async def test_an_erased_portal_has_no_sessions(web: AsyncClient, st: Stage) -> None:
    headers = st.session()
    st.store.portals_.clear()
    assert (await web.get("/calls", headers=headers)).status_code == 401


async def test_a_token_cannot_be_changed_or_made(web: AsyncClient, st: Stage) -> None:
    token = st.session()["Authorization"]
    assert (await web.get("/calls", headers={"Authorization": token[:-2] + "AA"})).status_code == 401
    foreign = SessionSigner(["x" * 40], st.clock).issue(portal(), ADMIN, Role.ADMIN, "en", "")
    assert (await web.get("/calls", headers={"Authorization": f"Bearer {foreign}"})).status_code == 401


def test_keys_rotate_without_ending_sessions() -> None:
    clock = VirtualClock()
    old = SessionSigner([KEY], clock).issue(portal(), ADMIN, Role.ADMIN, "uk", "Europe/Kyiv")
    ring = SessionSigner(["n" * 20 + "ew-key-0123456789", KEY], clock)
    session = ring.read(old)
    assert session is not None
    assert (session.user_id, session.language) == (ADMIN, "uk")
    fresh = ring.issue(portal(), ADMIN, Role.ADMIN, "uk", "")
    assert SessionSigner([KEY], clock).read(fresh) is None


@pytest.mark.parametrize(("method", "path"), ADMIN_ONLY)
async def test_agents_are_refused_on_every_administrators_address(
    web: AsyncClient, st: Stage, method: str, path: str
) -> None:
    answer = await web.request(method, path, headers=st.session(Role.AGENT), json={})
    assert answer.status_code == 403
    assert answer.json()["code"] in ("admin_only", "manager_only")


def paths_of(st: Stage) -> set[str]:
    return {getattr(route, "path", "") for route in routes(st.deps)}


def test_every_address_is_known_to_these_tests(st: Stage) -> None:
    """A new route must be put into one of the lists here or be open on purpose."""
    opened = {"/unitalk/events/{token}", "/bitrix/events", "/bitrix/install", "/bitrix/app", "/session"}
    opened |= {"/health/live", "/health/ready", "/static", "/calls", "/calls/{id}"}
    opened |= {"/", "/legal/privacy", "/legal/license"}
    opened |= {path for path in paths_of(st) if path.startswith(("/campaigns/{", "/do-not-call"))}
    opened |= {"/ledger", "/campaigns", "/retries", "/retries/{id}"}
    opened |= {f"/retries/{{id}}/{act}" for act in [*ACTS, "undo"]}
    plain = {path.replace("{user_id:int}", "7").replace("{id}", "0") for path in paths_of(st) - opened}
    assert plain == {path for _, path in ADMIN_ONLY}


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "https://evil.example.com"},
        {"Origin": "null"},
        {"Origin": f"https://{DOMAIN}"},
        {"Origin": "http://calls.example.com"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site", "Origin": BASE},
    ],
)
async def test_a_write_from_another_site_is_refused(
    web: AsyncClient, st: Stage, headers: dict[str, str]
) -> None:
    before = list(st.store.tokens)
    for method, path in (("PUT", "/settings"), ("POST", "/settings/webhook-token"), ("POST", "/session")):
        answer = await web.request(
            method, path, headers=st.session() | headers, json={"auth_id": AUTH, "drive": False}
        )
        assert answer.status_code == 403, path
        assert answer.json()["code"] == "foreign_origin"
    assert st.store.portals_[MEMBER].settings.drive
    assert st.store.tokens == before
    assert not st.verifier.asked


async def test_a_session_is_renewed_for_a_token_that_bitrix24_confirms(web: AsyncClient, st: Stage) -> None:
    old = st.session()
    await st.clock.advance(3600)
    headers = old | {"Origin": BASE, "Sec-Fetch-Site": "same-origin"}
    answer = await web.post("/session", json={"auth_id": AUTH}, headers=headers)
    assert answer.status_code == 200
    assert answer.json() | {"session": ""} == {"session": "", "expires_in": 900, "role": "admin"}
    fresh = {"Authorization": f"Bearer {answer.json()['session']}"}
    assert (await web.get("/settings", headers=fresh)).status_code == 200
    assert AUTH not in answer.text


async def test_renewal_reads_the_role_anew(web: AsyncClient, st: Stage) -> None:
    st.verifier.admins.clear()
    answer = await web.post("/session", json={"auth_id": AUTH}, headers=st.session())
    assert answer.json()["role"] == "agent"


@pytest.mark.parametrize("body", [b"", b"[]", b"{}", b'{"auth_id": 5}', b'{"auth_id": ""}', b"[" * 9000])
async def test_renewal_without_auth_id_is_400(web: AsyncClient, st: Stage, body: bytes) -> None:
    answer = await web.post("/session", content=body)
    assert answer.status_code == 400
    assert not st.verifier.asked


async def test_renewal_refuses_strangers(web: AsyncClient, st: Stage) -> None:
    assert (await web.post("/session", json={"auth_id": "unknown"})).status_code == 403
    st.verifier.known["other"] = verified(member_id=OTHER)
    assert (await web.post("/session", json={"auth_id": "other"})).status_code == 401
    st.verifier.known["agents"] = verified(user_id=AGENT)
    swapped = await web.post("/session", json={"auth_id": "agents"}, headers=st.session())
    assert (swapped.status_code, swapped.json()["code"]) == (403, "other_user")
    st.store.portals_[MEMBER] = portal(state=PortalState.UNINSTALLED)
    assert (await web.post("/session", json={"auth_id": AUTH})).status_code == 401
