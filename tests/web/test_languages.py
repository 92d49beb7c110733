"""Whoever looks is spoken to in their language, on every page; codes, times and numbers stay."""

from __future__ import annotations

import html
import json
import re
from typing import Any, Final

import pytest
from httpx import AsyncClient, Response

from bitrix_app.core.call import Leg, Recording
from bitrix_app.core.errors import Forbidden, NotSent
from bitrix_app.core.events import Direction
from bitrix_app.core.jobs import Attempt, JobError, JobState
from bitrix_app.core.lifecycle import Phase
from bitrix_app.core.outcome import Outcome
from bitrix_app.core.portal import PortalSettings, PortalState, Snapshot
from bitrix_app.web.languages import preferred
from bitrix_app.web.session import LIFETIME, Role
from tests.web.fakes import AGENT, HOOK, MEMBER, Stage, call, job, portal, sample
from tests.words.extract import texts

pytestmark = pytest.mark.anyio
HTML: Final = {"Accept": "text/html"}
FORBIDDEN: Final = JobError("ACCESS", "x", "Unitalk asks for fewer requests", Forbidden.default_hint, "admin")
TRANSLATED: Final = ("uk", "ru")
ALLOWED: Final = frozenset(
    {"Unitalk", "API", "CRM", "JSON", "HTTP", "POST", "Standard", "Event", "handling", "Europe", "Kyiv"}
    | {"CALL_NEW", "CALL_REDIRECT", "CALL_ANSWER", "CALL_END", "not_found", "NOT_SENT", "NEEDS_REAUTH"}
)
"""Names and codes that are the same in every language."""


def furnish(st: Stage) -> None:
    """Calls in every state, with errors, attempts, legs and notes; names of people in Cyrillic."""
    people = ({"user_id": AGENT, "name": "Петро", "extension": "201"}, {"user_id": 1, "name": "Олена"})
    st.store.snapshots["agents"] = Snapshot("agents", st.clock.now(), people)
    settings = PortalSettings(line_names={"380440000900": "Київ"}, line_users={"380440000900": 55})
    st.store.portals_[MEMBER] = portal(settings=settings, unitalk_key="")
    trouble = NotSent("No connection could be made ({})".format("1"))
    error = JobError("NOT_SENT", "connection", trouble.message, trouble.hint, "admin")
    st.store.calls_ = [
        call(f"1{place:02}", outcome=outcome, direction=direction, phase=Phase.ENDED, user_id=AGENT)
        for place, (outcome, direction) in enumerate(zip(Outcome, [*Direction, None] * 5, strict=False))
    ] + [
        call(f"2{place:02}", phase=phase, number=None, user_id=77, crm_type=record, crm_id=5)
        for place, (phase, record) in enumerate(zip(Phase, ["LEAD", "DEAL", "CONTACT"] * 2, strict=True))
    ]  # fmt: skip
    told = call(
        "300",
        outcome=Outcome.ANSWERED,
        talk_seconds=65,
        full_seconds=3700,
        legs=(Leg("201", 1_788_333_001.0),),
        recording=Recording.MISSING,
        skipped="inner call",
        notes=("Recording: The recording is not there yet: the file is empty", error.message),
    )
    st.store.calls_.append(told)
    kinds = ("register", "show", "hide", "finish", "layout", "notify", "drive_copy")
    st.store.lanes["300"] = [
        job(place, "300", kind, state, error=error, due_at=1_788_333_060.0)
        for place, (kind, state) in enumerate(zip(kinds, JobState, strict=True))
    ]
    for result in ("done", "retry", "later", "doubt", "attention", "expired"):
        attempt = Attempt(
            1_788_333_011.0, 0.25, result, "NOT_SENT", "connection", error.message, 1_788_333_016.0
        )
        st.store.attempts_.setdefault(3, []).append(attempt)


PATHS = ("/bitrix/app", "/calls", "/calls?limit=1", "/calls/300", "/calls/nothing")


async def pages(web: AsyncClient, st: Stage, language: str) -> dict[str, Response]:
    """Every page that a session reaches, in one language."""
    admin = st.session(language=language) | HTML
    agent = st.session(Role.AGENT, language=language) | HTML
    shown = {
        f"{path} {role}": await web.get(path, headers=headers)
        for role, headers in (("admin", admin), ("agent", agent))
        for path in (
            "/bitrix/app",
            "/calls",
            "/calls?limit=1",
            "/calls/300",
            "/calls/nothing",
            "/settings",
            "/ledger",
            "/agents",
        )
    }
    for state in PortalState:
        if state is not PortalState.UNINSTALLED:
            st.store.portals_[MEMBER] = portal(state=state, state_reason=state.value.upper())
            shown[f"home {state}"] = await web.get("/bitrix/app", headers=admin)
    st.store.portals_[MEMBER] = portal()
    kept, st.store.calls_, st.store.tokens = (st.store.calls_, st.store.tokens), [], []
    shown["home empty"] = await web.get("/bitrix/app", headers=admin)
    shown["calls empty"] = await web.get("/calls", headers=admin)
    shown["settings empty"] = await web.get("/settings", headers=admin)
    st.store.calls_, st.store.tokens = kept
    shown["hint"] = await web.get("/bitrix/app", headers=HTML | {"Accept-Language": language})
    return shown


def read_by_people(page: str) -> str:
    """What eyes and screen readers meet: text, attributes, and what the scripts will say."""
    attributes = re.findall(r'(?:title|aria-label|placeholder|alt|data-label)="([^"]*)"', page)
    scripts = re.findall(r'<meta name="texts" content="([^"]*)"', page)
    said = [text for script in scripts for text in json.loads(html.unescape(script)).values()]
    code = r"<time.*?</time>|<code[^>]*>.*?</code>|<[^>]*>"
    return html.unescape(" ".join([re.sub(code, " ", page), *attributes, *said]))


def english(page: str) -> set[str]:
    """Words in Latin letters that are no name and no code."""
    return set(re.findall(r"[A-Za-z_]{2,}", read_by_people(page).replace(HOOK, ""))) - ALLOWED


@pytest.mark.parametrize("language", TRANSLATED)
async def test_no_page_speaks_english_to_who_does_not(web: AsyncClient, st: Stage, language: str) -> None:
    furnish(st)
    texts_of_ours = {text.msgid for text in texts() if " " in text.msgid and "{" not in text.msgid}
    for name, answer in (await pages(web, st, language)).items():
        assert f'<html lang="{language}"' in answer.text, name
        assert answer.headers["Content-Language"] == language
        codes = {"INSTALLING", "ACTIVE", "SUSPENDED"} if name.startswith("home") else set()
        codes |= {"admin_only", "managers_only", "forbidden"} if answer.status_code == 403 else set()
        assert english(answer.text) - codes == set(), name
        told = read_by_people(answer.text)
        assert [text for text in texts_of_ours if text in told] == [], name


async def test_an_english_word_on_a_page_would_be_found(web: AsyncClient, st: Stage) -> None:
    furnish(st)
    shown = await pages(web, st, "en")
    assert all(
        {"Settings", "Calls"} & english(shown[name].text) for name in ("/calls admin", "/settings admin")
    )
    assert "Copied" in english(shown["/calls admin"].text)
    assert "Steps" in english(shown["/calls admin"].text)


@pytest.mark.parametrize("language", TRANSLATED)
async def test_times_and_numbers_are_the_same_in_every_language(
    web: AsyncClient, st: Stage, language: str
) -> None:
    def facts(page: str) -> list[str]:
        return re.findall(
            r"<time.*?</time>|\d+:\d\d|\+380\d+|href=\"[^\"]*\"|data-[a-z]+=\"[^\"А-я]*\"", page
        )

    furnish(st)
    ours, theirs = await pages(web, st, "en"), await pages(web, st, language)
    for name in ours:
        kept = [fact for fact in facts(ours[name].text) if not fact.startswith(("data-label", "data-locale"))]
        assert kept == [
            fact for fact in facts(theirs[name].text) if not fact.startswith(("data-label", "data-locale"))
        ], name


def without_texts(data: Any) -> Any:
    """JSON without what is for people."""
    if isinstance(data, list):
        return [without_texts(item) for item in data]
    if isinstance(data, dict):
        texts_for_people = (
            "message",
            "hint",
            "notes",
            "skipped",
            "name",
            "label",
            "reason",
            "title",
            "detail",
            "used_for",
            "without",
            "status_codes",
            "status_note",
            "finding",
        )
        return {key: without_texts(item) for key, item in data.items() if key not in texts_for_people}
    return data


async def test_programs_read_the_same_codes_whatever_the_language(web: AsyncClient, st: Stage) -> None:
    furnish(st)
    for path in ("/calls", "/calls/300", "/settings", "/bitrix/install/status"):
        told = [(await web.get(path, headers=st.session(language=one))).json() for one in ("en", "uk", "ru")]
        assert without_texts(told[0]) == without_texts(told[1]) == without_texts(told[2])
    story = (await web.get("/calls/300", headers=st.session(language="ru"))).json()
    assert story["skipped"] == "внутренний звонок"
    assert story["notes"][0] == "Запись: Записи ещё нет: файл пуст"
    assert story["steps"][0]["error"] == {
        "code": "NOT_SENT",
        "category": "connection",
        "message": "Не удалось установить соединение (1)",
        "hint": "Не удалось установить соединение. Попытка повторится сама.",
        "who": "admin",
    }
    hooks = (await web.get("/settings", headers=st.session(language="ru"))).json()["webhooks"]
    assert [hook["name"] for hook in hooks][:2] == ["Новый звонок", "Звонок поступил на линию или группу"]
    assert story["steps"][3]["history"][0]["message"] == "Не удалось установить соединение (1)"


async def test_the_faults_of_a_form_are_told_in_the_sessions_language(web: AsyncClient, st: Stage) -> None:
    change = {"drive": 1, "default_user": 99, "line_names": {"x": "y"}, "odd": 1, "pbx_timezone": "Mars"}
    answer = await web.put("/settings", headers=st.session(language="uk"), json=change)
    assert answer.status_code == 422
    assert answer.json()["title"] == "Нічого не змінено"
    assert {error["field"]: error["message"] for error in answer.json()["errors"]} == {
        "drive": "Має бути true або false.",
        "default_user": "На цьому порталі немає користувача 99.",
        "line_names": "Лінія – це номер телефону з 3–20 цифр.",
        "odd": "Такого налаштування немає.",
        "pbx_timezone": "Такий часовий пояс невідомий. Укажіть назву на зразок Europe/Kyiv.",
    }


async def test_a_session_that_is_over_is_told_so_in_its_own_language(web: AsyncClient, st: Stage) -> None:
    headers = st.session(language="uk")
    await st.clock.advance(LIFETIME + 1)
    answer = await web.get("/calls", headers=headers | {"Accept-Language": "en"})
    assert answer.status_code == 401
    assert answer.json()["title"] == "Ця сторінка відкрита надто довго"


@pytest.mark.parametrize(
    ("ask", "said"),
    [
        ({"headers": {"Accept-Language": "uk-UA,uk;q=0.9,en;q=0.8"}}, "Не знайдено"),
        ({"headers": {"Accept-Language": "ru"}, "params": {"LANG": "ua"}}, "Не знайдено"),
        ({"params": {"LANG": "de"}, "headers": {"Accept-Language": "ru"}}, "Not found"),
        ({}, "Not found"),
    ],
)
async def test_without_a_session_the_address_and_then_the_browser_say_the_language(
    web: AsyncClient, ask: dict[str, Any], said: str
) -> None:
    answer = await web.get("/nowhere", **ask)
    assert answer.json()["title"] == said
    page = await web.get("/nowhere", **{**ask, "headers": ask.get("headers", {}) | HTML})
    assert f"<h1>{said}</h1>" in page.text


@pytest.mark.parametrize(
    ("header", "language"),
    [
        ("", "en"),
        ("de, fr;q=0.9", "en"),
        ("de, ru;q=0.5, uk;q=0.4", "ru"),
        ("ru;q=0.1, uk;q=0.4", "uk"),
        ("uk;q=0, ru;q=0.1", "ru"),
        ("uk;q=x, ru; q=0.2", "ru"),
        ("uk;q=nan, en", "en"),
        ("*", "en"),
        ("RU-ru", "ru"),
        (",;,=", "en"),
    ],
)
def test_browsers_name_their_languages_by_weight(header: str, language: str) -> None:
    assert preferred(header) == language


@pytest.mark.parametrize(("code", "language"), [("ua", "uk"), ("ru", "ru"), ("en", "en"), ("kz", "en")])
async def test_a_frame_is_shown_in_the_portals_language(
    web: AsyncClient, st: Stage, code: str, language: str
) -> None:
    frame = sample("frame.install")
    query = frame["query"] | {"LANG": code}
    st.store.lanes["portal:bindings"] = [
        job(1, "portal:bindings", "ensure_bindings", JobState.ATTENTION, error=FORBIDDEN)
    ]
    installer = await web.post("/bitrix/install", params=query, data=frame["form"])
    assert f'lang="{language}"' in installer.text
    if language != "en":
        assert english(installer.text) == set()
    st.verifier.admins.clear()
    st.store.portals_.clear()
    refused = await web.post("/bitrix/install", params=query, data=frame["form"])
    titles = {"uk": "Потрібен адміністратор", "ru": "Нужен администратор", "en": "An administrator is needed"}
    assert f"<h1>{titles[language]}</h1>" in refused.text
    st.verifier.known.clear()
    forged = await web.post("/bitrix/install", params=query, data=frame["form"], headers=HTML)
    assert forged.status_code == 403
    assert ("Bitrix24 does not confirm this request." in forged.text) == (language == "en")
