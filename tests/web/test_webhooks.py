"""The PBX's door: durable first, then 200; a stranger learns nothing."""

from __future__ import annotations

import io
from collections.abc import AsyncIterator

import pytest
from httpx import AsyncClient

from bitrix_app.core.portal import PortalState
from bitrix_app.core.store import StoreUnavailable
from bitrix_app.web import bodies, webhooks
from tests.web.fakes import HOOK, MEMBER, Stage, portal

pytestmark = pytest.mark.anyio
URL = f"/unitalk/events/{HOOK}"


async def test_a_webhook_is_answered_after_intake_has_it(web: AsyncClient, st: Stage) -> None:
    answer = await web.post(
        URL + "?ev=CALL_END",
        content=b'{"event": "CALL_END"}',
        headers={"Content-Type": "application/json", "X-Request-ID": "req-1"},
    )
    assert answer.status_code == 200
    assert st.intake.webhooks == [
        {
            "portal": MEMBER,
            "body": b'{"event": "CALL_END"}',
            "content_type": "application/json",
            "query": {"ev": "CALL_END"},
            "method": "POST",
            "correlation_id": "req-1",
        }
    ]


@pytest.mark.parametrize("body", [b"", b"\x00\xff not json", b"[" * 60_000, b"a" * 65_536])
async def test_what_cannot_be_read_is_taken_in_too(web: AsyncClient, st: Stage, body: bytes) -> None:
    assert (await web.post(URL, content=body)).status_code == 200
    assert st.intake.webhooks[0]["body"] == body


async def test_variables_in_the_address_come_by_get(web: AsyncClient, st: Stage) -> None:
    assert (await web.get(URL + "?ev=CALL_END&call_id=5")).status_code == 200
    assert st.intake.webhooks[0]["query"] == {"ev": "CALL_END", "call_id": "5"}


async def test_a_wrong_token_looks_like_a_path_that_is_not_there(web: AsyncClient, st: Stage) -> None:
    headers = {"X-Request-ID": "same"}
    unknown = await web.post("/no/such/path", content=b"{}", headers=headers)
    wrong = await web.post("/unitalk/events/wrong", content=b"{}", headers=headers)
    prefix = await web.post(URL[:-1], content=b"{}", headers=headers)
    assert (unknown.status_code, wrong.status_code, prefix.status_code) == (404, 404, 404)
    assert wrong.content == unknown.content == prefix.content
    assert wrong.headers == unknown.headers == prefix.headers
    assert not st.intake.webhooks


async def test_an_uninstalled_portal_is_nobody(web: AsyncClient, st: Stage) -> None:
    st.store.portals_[MEMBER] = portal(state=PortalState.UNINSTALLED)
    assert (await web.post(URL, content=b"{}")).status_code == 404
    assert not st.intake.webhooks


@pytest.mark.parametrize("state", [PortalState.NEEDS_REAUTH, PortalState.SUSPENDED, PortalState.INSTALLING])
async def test_a_paused_portal_still_takes_its_calls_in(
    web: AsyncClient, st: Stage, state: PortalState
) -> None:
    st.store.portals_[MEMBER] = portal(state=state)
    assert (await web.post(URL, content=b"{}")).status_code == 200
    assert len(st.intake.webhooks) == 1


async def test_a_rotated_out_token_ends_with_its_overlap(web: AsyncClient, st: Stage) -> None:
    await web.post("/settings/webhook-token", headers=st.session())
    assert (await web.post(URL, content=b"{}")).status_code == 200
    await st.clock.advance(24 * 3600 + 1)
    assert (await web.post(URL, content=b"{}")).status_code == 404


async def test_a_body_over_64_kib_is_refused_before_it_is_read(web: AsyncClient, st: Stage) -> None:
    answer = await web.post(URL, content=b"a" * (64 * 1024 + 1))
    assert answer.status_code == 413
    assert answer.json()["code"] == "body_too_long"
    assert not st.intake.webhooks


async def test_an_announced_body_over_the_limit_is_not_even_read(web: AsyncClient, st: Stage) -> None:
    read: list[int] = []

    async def body() -> AsyncIterator[bytes]:
        for n in range(3):
            read.append(n)
            yield b"a"

    answer = await web.post(URL, content=body(), headers={"Content-Length": str(64 * 1024 + 1)})
    assert answer.status_code == 413
    assert not read


async def test_a_body_that_does_not_say_its_length_is_cut_too(web: AsyncClient, st: Stage) -> None:
    async def drip() -> AsyncIterator[bytes]:
        for _ in range(65):
            yield b"a" * 1024

    answer = await web.post(URL, content=drip())
    assert answer.status_code == 413
    assert not st.intake.webhooks


async def test_a_body_that_drips_is_given_up(
    web: AsyncClient, st: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    import anyio

    monkeypatch.setattr(bodies, "SECONDS", 0.05)

    async def drip() -> AsyncIterator[bytes]:
        yield b"{"
        await anyio.sleep(5)
        yield b"}"

    answer = await web.post(URL, content=drip())
    assert answer.status_code == 408
    assert not st.intake.webhooks


async def test_what_is_not_durable_is_not_acknowledged(web: AsyncClient, st: Stage, log: io.StringIO) -> None:
    st.intake.failure = StoreUnavailable("disk full")
    answer = await web.post(URL, content=b"{}")
    assert answer.status_code == 503
    assert int(answer.headers["Retry-After"]) > 0
    assert answer.json() | {"correlation_id": ""} == {
        "type": "about:blank",
        "code": "not_stored",
        "title": "It could not be stored",
        "detail": "Nothing of this request was kept. Please send it again.",
        "status": 503,
        "category": "availability",
        "retryable": True,
        "correlation_id": "",
    }
    assert "disk full" not in answer.text
    assert "disk full" in log.getvalue()


async def test_a_store_that_is_away_at_the_look_up_is_no_404(web: AsyncClient, st: Stage) -> None:
    st.store.away = "locked"
    assert (await web.post(URL, content=b"{}")).status_code == 503


async def test_our_own_fault_is_no_acknowledgement_and_tells_nothing(
    web: AsyncClient, st: Stage, log: io.StringIO
) -> None:
    st.intake.failure = RuntimeError("inside: auth=canary-inside")
    answer = await web.post(URL, content=b"{}")
    assert answer.status_code == 500
    assert "inside" not in answer.text
    assert answer.json()["correlation_id"] == answer.headers["X-Request-ID"]
    assert answer.headers["X-Request-ID"] in log.getvalue()
    assert "canary-inside" not in log.getvalue()
    assert HOOK not in log.getvalue()


async def test_a_flood_is_asked_to_come_back(
    web: AsyncClient, st: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(webhooks, "IN_FLIGHT", 0)
    answer = await web.post(URL, content=b"{}")
    assert answer.status_code == 503
    assert "Retry-After" in answer.headers


async def test_head_and_options_take_nothing_in(web: AsyncClient, st: Stage) -> None:
    assert (await web.head(URL)).status_code == 200
    assert (await web.head("/unitalk/events/wrong")).status_code == 404
    options = await web.options(URL)
    assert options.status_code == 204
    assert options.headers["Allow"] == "GET, HEAD, OPTIONS, POST"
    assert (await web.options("/unitalk/events/wrong")).status_code == 204
    assert (await web.put(URL)).status_code == 405
    assert not st.intake.webhooks
