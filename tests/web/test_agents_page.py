"""The page of agents' statuses: who sees whom, where the buttons lead, what is said when it is off."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any, Final

import pytest
from httpx import AsyncClient, Response

from bitrix_app.core.agents import AgentStatus, Page, Want, Why
from bitrix_app.core.errors import Forbidden
from bitrix_app.core.jobs import JobError
from bitrix_app.core.portal import PortalSettings, Snapshot
from bitrix_app.web.session import ROLE_FRESH, Role
from tests.web.fakes import ADMIN, AGENT, MEMBER, OTHER_AGENT, Stage, portal
from tests.web.test_languages import HTML, TRANSLATED, english, read_by_people
from tests.words.extract import texts

pytestmark = pytest.mark.anyio
ERROR: Final = JobError("ACCESS", "x", "Unitalk asks for fewer requests", Forbidden.default_hint, "admin")
BUTTONS: Final = ["available", "pause", "pause_after_call"]


@pytest.fixture(autouse=True)
def people(st: Stage) -> None:
    rows = (
        {"user_id": ADMIN, "name": "Олена", "extension": "200"},
        {"user_id": AGENT, "name": "Петро", "extension": "201"},
        {"user_id": OTHER_AGENT, "name": "Андрій Бондар"},
    )
    st.store.snapshots["agents"] = Snapshot("agents", 1.0, rows)
    lines = ({"line": "200"}, {"line": "201"}, {"line": "305", "name": "Андрей Бондарь Бондар"})
    st.store.snapshots["pbx_users"] = Snapshot("pbx_users", 1.0, lines)
    st.store.statuses_ = {
        "200": AgentStatus(MEMBER, "200", ADMIN, since=2.0),
        "201": AgentStatus(
            MEMBER,
            "201",
            AGENT,
            page=Page.PAUSE,
            page_reason="обід",
            desired=Want.PAUSE,
            why=Why.PAUSED,
            since=5.0,
            acknowledged="WORK",
            acknowledged_at=3.0,
            doubtful=("PAUS",),
            out=True,
            error=ERROR,
            next_at=60.0,
        ),
    }
    sync(st)


def sync(st: Stage, **settings: Any) -> None:
    st.store.portals_[MEMBER] = portal(settings=PortalSettings(**({"status_sync": True} | settings)))


async def page(web: AsyncClient, st: Stage, role: Role = Role.ADMIN, **who: Any) -> Response:
    return await web.get("/agents", headers=st.session(role, **who) | HTML)


def rows(text: str) -> list[str]:
    """The extensions in their order."""
    return re.findall(r'<td data-label="Extension">(\d+)</td>', text)


def targets(text: str) -> list[str]:
    return re.findall(r'data-status="([^"]+)"', text)


async def test_an_agent_sees_himself_only_with_his_three_buttons(web: AsyncClient, st: Stage) -> None:
    answer = await page(web, st, Role.AGENT)
    assert answer.status_code == 200
    assert rows(answer.text) == ["201"]
    assert "Олена" not in answer.text
    assert "Бондар" not in answer.text
    assert set(targets(answer.text)) == {f"/agents/{AGENT}"}
    assert re.findall(r'name="status" value="([^"]+)"', answer.text) == BUTTONS
    assert 'name="reason" maxlength="200"' in answer.text
    refused = await web.get("/agents", headers=st.session(Role.AGENT))
    assert (refused.status_code, refused.json()["code"]) == (403, "manager_only"), "the JSON stays as it was"


async def test_the_page_says_what_is_wanted_what_was_acknowledged_and_what_is_wrong(
    web: AsyncClient, st: Stage
) -> None:
    text = (await page(web, st, Role.AGENT)).text
    told = read_by_people(text)
    assert "Last acknowledged by Unitalk" in told
    assert "Chosen here: Pause (обід)" in told
    assert "Not certain" in told
    assert ERROR.message in told
    assert ERROR.hint in told
    assert "Unitalk does not take the status" in told
    for moment in (5, 3):
        assert f'<time datetime="1970-01-01T00:00:0{moment}Z">' in text
    assert "switched off" not in told


async def test_managers_see_everybody_and_first_the_extensions_that_nobody_has(
    web: AsyncClient, st: Stage
) -> None:
    for who in ({"role": Role.ADMIN}, {"role": Role.AGENT, "user": OTHER_AGENT}):
        sync(st, managers=(OTHER_AGENT,))
        text = (await page(web, st, **who)).text
        assert rows(text) == ["305", "200", "201"]
        assert targets(text) == [f"/agents/{user}" for user in (ADMIN, ADMIN, AGENT, AGENT)]
        assert "Nobody has this extension." in text
        assert "Perhaps Андрій Бондар: the name is the same." in text


async def test_every_button_leads_to_what_the_address_takes(web: AsyncClient, st: Stage) -> None:
    headers = st.session(Role.AGENT)
    st.store.statuses_["201"] = replace(st.store.statuses_["201"], calls=("live",))
    text = (await page(web, st, Role.AGENT)).text
    for status in re.findall(r'name="status" value="([^"]+)"', text):
        answer = await web.put(targets(text)[0], json={"status": status, "reason": "x"}, headers=headers)
        assert answer.status_code == 200
        assert st.store.statuses_["201"].page == status


async def test_with_the_synchronisation_off_the_page_says_so_and_that_wishes_are_kept(
    web: AsyncClient, st: Stage
) -> None:
    sync(st, status_sync=False)
    for role in Role:
        text = (await page(web, st, role)).text
        assert "Statuses are not told to Unitalk" in text
        assert "not confirmed by Unitalk yet. What is chosen here is kept." in text
        assert targets(text), "a wish can be told all the same"
    sync(st, status_sources=("calls",))
    assert "do not let this page decide" in (await page(web, st)).text


async def test_who_has_no_extension_is_told_what_to_do(web: AsyncClient, st: Stage) -> None:
    text = (await page(web, st, Role.AGENT, user=OTHER_AGENT)).text
    assert "An administrator can give you one." in text
    assert targets(text) == []


async def test_a_reason_is_shown_as_text_and_never_as_markup(web: AsyncClient, st: Stage) -> None:
    st.store.statuses_["201"] = replace(st.store.statuses_["201"], page_reason="<b>x</b>")
    text = (await page(web, st)).text
    assert "<b>x" not in text
    assert "&lt;b&gt;x" in text


async def test_the_page_needs_a_session_and_a_manager_a_fresh_role(web: AsyncClient, st: Stage) -> None:
    assert (await web.get("/agents", headers=HTML)).status_code == 401
    manager, agent = st.session() | HTML, st.session(Role.AGENT) | HTML
    await st.clock.advance(ROLE_FRESH + 1)
    assert (await web.get("/agents", headers=manager)).status_code == 401
    assert (await web.get("/agents", headers=agent)).status_code == 200


async def test_every_page_leads_here(web: AsyncClient, st: Stage) -> None:
    for role in Role:
        text = (await web.get("/calls", headers=st.session(role) | HTML)).text
        assert '<a href="/agents" data-page>Agents</a>' in text
        assert '<a href="/agents" data-page aria-current="page">' in (await page(web, st, role)).text


@pytest.mark.parametrize("language", TRANSLATED)
async def test_the_page_never_speaks_english_to_who_does_not(
    web: AsyncClient, st: Stage, language: str
) -> None:
    ours = {text.msgid for text in texts() if " " in text.msgid and "{" not in text.msgid}
    for settings in ({}, {"status_sync": False}, {"status_sources": ("calls",)}):
        sync(st, **settings)
        shown = [
            await page(web, st, language=language),
            await page(web, st, Role.AGENT, language=language),
            await page(web, st, Role.AGENT, user=OTHER_AGENT, language=language),
        ]
        for answer in shown:
            assert answer.status_code == 200
            assert english(answer.text) == set()
            assert [text for text in ours if text in read_by_people(answer.text)] == []
    st.store.snapshots.clear()
    st.store.statuses_ = {}
    assert english((await page(web, st, language=language)).text) == set()
