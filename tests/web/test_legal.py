"""The public pages: readable without a session, and true to what the code does."""

from dataclasses import replace
from pathlib import Path
from typing import cast

import pytest
from httpx import ASGITransport, AsyncClient

from bitrix_app.core.retention import LOG_DAYS, RECEIPT_DAYS, SPOOL_DAYS
from bitrix_app.core.store import Store
from bitrix_app.settings import Settings
from bitrix_app.web.legal import LICENSE
from bitrix_app.web.routes import asgi
from tests.web.fakes import BASE, KEY, Stage

pytestmark = pytest.mark.anyio
HTML = {"Accept": "text/html"}
PAGES = ("/legal/privacy", "/legal/license")


@pytest.mark.parametrize("path", PAGES)
async def test_people_get_a_page_and_programs_a_document_with_the_same_words(
    web: AsyncClient, path: str
) -> None:
    page = await web.get(path, headers=HTML)
    assert page.status_code == 200
    assert page.headers["content-type"].startswith("text/html")
    document = (await web.get(path)).json()
    shown = page.text.replace("&#39;", "'")
    assert document["title"] in shown
    assert document["sections"]
    for section in document["sections"]:
        assert section["title"] in shown
        assert all(line in shown for line in section["paragraphs"])
    assert (await web.head(path, headers=HTML)).status_code == 200


@pytest.mark.parametrize("path", PAGES)
@pytest.mark.parametrize("language", ["uk", "ru"])
async def test_each_is_told_in_the_language_that_is_asked_for(
    web: AsyncClient, path: str, language: str
) -> None:
    english = (await web.get(path)).json()
    by_browser = await web.get(path, headers={"Accept-Language": f"{language}-UA, en;q=0.5"})
    by_address = await web.get(path, params={"lang": language}, headers={"Accept-Language": "en"})
    document = by_browser.json()
    assert document == by_address.json()
    assert by_browser.headers["Content-Language"] == language
    assert "Accept-Language" in by_browser.headers["Vary"], "no cache may give it to others"
    page = await web.get(path, params={"lang": language}, headers=HTML)
    assert f'<html lang="{language}"' in page.text
    assert document["title"] != english["title"]
    for ours, theirs in zip(english["sections"], document["sections"], strict=True):
        assert ours["title"] != theirs["title"]
        assert theirs["title"] in page.text
        for line, told in zip(ours["paragraphs"], theirs["paragraphs"], strict=True):
            assert line != told
            assert told in page.text
    assert document.get("text") == english.get("text"), "a licence is not translated"


@pytest.mark.parametrize("path", PAGES)
async def test_nobody_has_to_be_logged_in_and_no_database_is_asked(st: Stage, path: str) -> None:
    st.store.away = "the disk is full"
    deps = replace(st.deps, store=cast("Store", st.store))
    async with AsyncClient(transport=ASGITransport(asgi(deps)), base_url=BASE) as web:
        assert (await web.get(path, headers=HTML)).status_code == 200


async def test_the_licence_is_the_one_that_the_repository_carries(web: AsyncClient) -> None:
    root = Path(__file__).parents[2] / "LICENSE"
    assert LICENSE.read_bytes() == root.read_bytes()
    document = (await web.get("/legal/license")).json()
    assert document["text"] == root.read_text(encoding="utf-8")
    assert "Unitalk for Bitrix24" in document["title"], "the Market wants the application named"


async def test_the_policy_names_the_operator_by_the_installations_own_address(st: Stage) -> None:
    settings = Settings.model_validate(
        {"app_base_url": "https://phones.acme.example", "app_secret_keys": KEY}
    )
    deps = replace(st.deps, settings=settings)
    async with AsyncClient(transport=ASGITransport(asgi(deps)), base_url=BASE) as web:
        text = (await web.get("/legal/privacy")).text
    assert "operated by the owner of phones.acme.example" in text


async def test_the_policy_tells_the_days_that_the_code_keeps(web: AsyncClient) -> None:
    text = (await web.get("/legal/privacy")).text
    assert f"Raw events: {RECEIPT_DAYS} days" in text
    assert f"request log: {LOG_DAYS} days" in text
    assert f"at most {SPOOL_DAYS} days" in text
    assert LOG_DAYS >= 3, "the Market's rule"


async def test_the_hint_page_links_to_both(web: AsyncClient) -> None:
    page = (await web.get("/bitrix/app", headers=HTML)).text
    assert all(f'href="{path}"' in page for path in PAGES)
