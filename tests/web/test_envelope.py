"""What every answer carries, whatever it answers; and what nobody is ever told."""

from __future__ import annotations

import io
import re

import pytest
from httpx import ASGITransport, AsyncClient

from bitrix_app.web.envelope import origin_of
from bitrix_app.web.pages import STATIC
from bitrix_app.web.routes import asgi
from tests.web.fakes import BASE, DOMAIN, HOOK, Stage

pytestmark = pytest.mark.anyio
PATHS = [
    "/health/live",
    "/health/ready",
    "/calls",
    "/nothing",
    "/bitrix/app",
    "/static/app.css",
    f"/unitalk/events/{HOOK}",
]


@pytest.mark.parametrize("path", PATHS)
async def test_security_headers_are_on_every_answer(web: AsyncClient, st: Stage, path: str) -> None:
    headers = (await web.get(path)).headers
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["Referrer-Policy"] == "no-referrer"
    assert headers["Cache-Control"] == "no-store"
    assert "X-Frame-Options" not in headers
    assert "Set-Cookie" not in headers
    policy = headers["Content-Security-Policy"]
    assert policy.endswith("frame-ancestors 'none'")
    assert "default-src 'none'" in policy
    assert "script-src 'self';" in policy
    assert "unsafe" not in policy


async def test_only_the_verified_portal_may_frame_its_pages(web: AsyncClient, st: Stage) -> None:
    answer = await web.get("/calls", headers=st.session())
    policy = answer.headers["Content-Security-Policy"]
    assert policy.endswith(f"frame-ancestors https://{DOMAIN}")


@pytest.mark.parametrize("given", ["abc", "A.b_c-1", "x" * 64])
async def test_a_correlation_id_comes_back(web: AsyncClient, st: Stage, given: str) -> None:
    answer = await web.get("/nothing", headers={"X-Request-ID": given})
    assert answer.headers["X-Request-ID"] == given
    assert answer.json()["correlation_id"] == given


@pytest.mark.parametrize("given", ["", "x" * 65, "a b", "a\tb", "<script>", "a;b", "é"])
async def test_a_misshapen_correlation_id_is_replaced(web: AsyncClient, st: Stage, given: str) -> None:
    answer = await web.get("/nothing", headers={b"X-Request-ID": given.encode()})
    assert re.fullmatch(r"[0-9a-f]{32}", answer.headers["X-Request-ID"])


async def test_a_fault_of_ours_is_told_as_a_problem_without_its_inside(st: Stage, log: io.StringIO) -> None:
    async def broken(*_: object, **__: object) -> None:
        raise RuntimeError("password=canary-inside")

    st.store.calls = broken  # type: ignore[assignment,method-assign]
    transport = ASGITransport(asgi(st.deps), raise_app_exceptions=False)
    async with AsyncClient(transport=transport, base_url=BASE) as web:
        answer = await web.get("/calls", headers=st.session())
    assert answer.status_code == 500
    assert answer.headers["Content-Type"] == "application/problem+json"
    assert answer.json()["retryable"] is True
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert "canary-inside" not in answer.text + log.getvalue()
    assert "RuntimeError" in log.getvalue()


async def test_a_wrong_verb_says_which_are_right(web: AsyncClient, st: Stage) -> None:
    answer = await web.delete("/calls")
    assert answer.status_code == 405
    assert "GET" in answer.headers["Allow"]
    assert answer.json()["code"] == "method_not_allowed"


@pytest.mark.parametrize("path", ["/static/../settings.py", "/static/%2e%2e/deps.py", "/static/", "/metrics"])
async def test_nothing_else_is_served(web: AsyncClient, st: Stage, path: str) -> None:
    assert (await web.get(path)).status_code == 404


async def test_every_page_brings_its_scripts_from_here_only(web: AsyncClient, st: Stage) -> None:
    page = (await web.get("/settings", headers=st.session() | {"Accept": "text/html"})).text
    sources = re.findall(r'(?:src|rel="stylesheet" href)="([^"]+)"', page)
    assert sources
    for source in sources:
        assert source.startswith("/static/")
        assert (await web.get(source)).status_code == 200
    assert not re.search(r"<script(?![^>]*\bsrc=)", page)
    assert not re.search(r"\son\w+=|\sstyle=", page)


def test_scripts_keep_nothing_in_the_browser_and_log_nothing() -> None:
    scripts = [path.read_text(encoding="utf-8") for path in STATIC.glob("*.js")]
    assert len(scripts) >= 4
    for text in scripts:
        assert not re.search(r"localStorage|sessionStorage|document\.cookie|console\.|innerHTML|eval\(", text)


@pytest.mark.parametrize(
    ("url", "origin"),
    [
        ("https://a.example.com/rest/", "https://a.example.com"),
        ("https://a.example.com:443/rest/", "https://a.example.com"),
        ("http://127.0.0.1:9000/rest/", "http://127.0.0.1:9000"),
        ("http://[::1]:9000/rest/", "http://[::1]:9000"),
    ],
)
def test_an_origin_is_written_as_browsers_do(url: str, origin: str) -> None:
    assert origin_of(url) == origin
