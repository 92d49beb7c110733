"""Tokens: rotation, expiry, errors, and the auth server's app.info (bitrix24.md §3, §2.3)."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

from bitrix_app.clock import VirtualClock
from bitrix_app.sandbox.portal import SandboxPortal
from tests.sandbox.conftest import CARD, Api

pytestmark = pytest.mark.anyio


@pytest.fixture
async def auth(portal: SandboxPortal) -> AsyncIterator[httpx.AsyncClient]:
    transport = httpx.ASGITransport(portal.auth.asgi)
    async with httpx.AsyncClient(transport=transport, base_url=portal.auth.base_url) as http:
        yield http


async def refresh(auth: httpx.AsyncClient, token: str, **changes: str) -> httpx.Response:
    params: dict[str, Any] = {
        "grant_type": "refresh_token",
        "client_id": CARD.client_id,
        "client_secret": CARD.client_secret,
        "refresh_token": token,
    }
    return await auth.get("http://auth/oauth/token/", params=params | changes)


async def test_refresh_rotates_the_pair(auth: httpx.AsyncClient, api: Api) -> None:
    first = await refresh(auth, api.refresh_token)
    assert first.status_code == 200
    body = first.json()
    assert set(body) == {
        "access_token", "client_endpoint", "domain", "expires", "expires_in", "member_id", "refresh_token",
        "scope",
        "server_endpoint", "status", "user_id",
    }  # fmt: skip
    assert body["user_id"] == 1
    assert body["expires_in"] == 3600
    assert body["domain"] == api.portal.auth.host  # the auth server's host, not the portal's
    again = await refresh(auth, api.refresh_token)
    assert (again.status_code, again.json()["error"]) == (400, "invalid_grant")
    second = await refresh(auth, body["refresh_token"])
    assert second.json()["access_token"] != body["access_token"]
    assert (api.portal.auth.refreshes, api.portal.auth.invalid_grants) == (2, 1)


async def test_access_token_lives_one_hour(clock: VirtualClock, api: Api) -> None:
    await clock.advance(3599)
    assert (await api.post("profile")).status_code == 200
    await clock.advance(1)
    status, code, text = await api.refuse("profile")
    assert (status, code, text) == (401, "expired_token", "The access token provided has expired.")


async def test_refresh_token_lives_180_days(clock: VirtualClock, auth: httpx.AsyncClient, api: Api) -> None:
    await clock.advance(180 * 86_400)
    assert (await refresh(auth, api.refresh_token)).json()["error"] == "invalid_grant"


@pytest.mark.parametrize(
    ("changes", "status", "code"),
    [
        ({"client_secret": "wrong"}, 400, "invalid_client"),
        ({"client_id": "local.unknown"}, 200, "wrong_client"),
        ({"refresh_token": ""}, 400, "invalid_request"),
        ({"refresh_token": "nonsense"}, 400, "invalid_grant"),
        ({"grant_type": "password"}, 400, "invalid_request"),
    ],
)
async def test_token_errors(
    auth: httpx.AsyncClient, api: Api, changes: dict[str, str], status: int, code: str
) -> None:
    answer = await refresh(auth, api.refresh_token, **changes)
    assert (answer.status_code, answer.json()["error"]) == (status, code)


async def test_wrong_client_has_no_description(auth: httpx.AsyncClient, api: Api) -> None:
    assert (await refresh(auth, api.refresh_token, client_id="x")).json() == {"error": "wrong_client"}


async def test_revoked_and_dismissed(auth: httpx.AsyncClient, api: Api) -> None:
    api.portal.revoke(1)
    assert (await refresh(auth, api.refresh_token)).json()["error"] == "invalid_grant"
    agent = api.as_user(11)
    api.portal.dismiss(11)
    assert (await agent.refuse("profile"))[:2] == (401, "authorization_error")
    assert (await refresh(auth, agent.refresh_token)).json()["error"] == "invalid_grant"


async def test_uninstalled_and_unpaid(auth: httpx.AsyncClient, api: Api) -> None:
    api.portal.life.set_payment_expired(True)
    assert (await api.refuse("profile"))[:2] == (401, "PAYMENT_REQUIRED")
    assert (await refresh(auth, api.refresh_token)).status_code == 401
    api.portal.life.set_payment_expired(False)
    api.portal.uninstall()
    assert (await api.refuse("profile"))[:2] == (401, "APPLICATION_NOT_FOUND")
    gone = await refresh(auth, api.refresh_token)
    assert (gone.status_code, gone.json()["error"]) == (401, "NOT_INSTALLED")


async def test_code_works_once_for_30_seconds(
    clock: VirtualClock, auth: httpx.AsyncClient, portal: SandboxPortal
) -> None:
    def params(code: str) -> dict[str, str]:
        facts = {"grant_type": "authorization_code", "code": code}
        return facts | {"client_id": CARD.client_id, "client_secret": CARD.client_secret}

    code = portal.auth.issue_code(portal.world.member_id, 1)
    first = await auth.get("http://auth/oauth/token/", params=params(code))
    assert "user_id" not in first.json()
    assert first.json()["expires_in"] == 3600
    assert (await auth.get("http://auth/oauth/token/", params=params(code))).json()[
        "error"
    ] == "invalid_grant"
    late = portal.auth.issue_code(portal.world.member_id, 1)
    await clock.advance(30)
    assert (await auth.get("http://auth/oauth/token/", params=params(late))).status_code == 400


async def test_app_info_tells_who_a_token_is(auth: httpx.AsyncClient, api: Api) -> None:
    answer = await auth.get("http://auth/rest/app.info", params={"auth": api.as_user(12).token})
    body = answer.json()
    assert set(body) == {"result", "time"}
    assert set(body["result"]) == {"client_id", "scope", "expires", "install", "user_id"}
    assert set(body["result"]["install"]) == {
        "installed", "version", "status", "scope", "domain", "uri", "client_endpoint", "member_id",
        "member_type",
    }  # fmt: skip
    assert body["result"]["user_id"] == "12"
    assert body["result"]["install"]["client_endpoint"] == "http://127.0.0.1:9000/rest/"
    assert (await auth.get("http://auth/rest/app.info", params={"auth": "x"})).status_code == 401
    api.portal.expire_tokens()
    late = await auth.get("http://auth/rest/app.info", params={"auth": api.token})
    assert late.json()["error"] == "expired_token"


async def test_one_socket_serves_both(api: Api) -> None:
    """The auth server is mounted on the portal's socket too, with its own app.info."""
    theirs = await api.http.get("/auth-server/rest/app.info", params={"auth": api.token})
    ours = await api.call("app.info")
    assert "install" in theirs.json()["result"]
    assert set(ours) == {
        "ID", "CODE", "VERSION", "STATUS", "INSTALLED", "PAYMENT_EXPIRED", "DAYS", "LANGUAGE_ID", "LICENSE",
        "LICENSE_TYPE", "LICENSE_FAMILY",
    }  # fmt: skip


async def test_authorize_sends_the_code_to_the_app(api: Api) -> None:
    query = {"client_id": CARD.client_id, "state": "s1"}
    answer = await api.http.get("/oauth/authorize/", params=query)
    where = httpx.URL(answer.headers["location"])
    assert str(where).startswith(CARD.app_url)
    assert set(where.params) == {"code", "state", "domain", "member_id", "scope", "server_domain"}
    assert where.params["state"] == "s1"
    assert (await api.http.get("/oauth/authorize/", params={"client_id": "other"})).status_code == 400
