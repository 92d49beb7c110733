"""`POST /calls`: within a second whoever pressed knows what happens; two presses are one call."""

from __future__ import annotations

from typing import Any

import pytest

from bitrix_app.core.dial import DialState
from bitrix_app.core.events import DialAccepted, DialFailed
from bitrix_app.core.permit import KEY_REFUSED
from bitrix_app.starting import LOST
from tests.web.calling import BARE, CLIENT, REFUSED, UNREACHABLE, Office, json_of
from tests.web.fakes import AGENT, MEMBER, OTHER_AGENT, PBX_KEY, portal

pytestmark = pytest.mark.anyio


async def press(
    here: Office, user: int = AGENT, number: str = "044 000-00-11", **more: Any
) -> dict[str, Any]:
    return json_of(await here.post(user, "/calls", {"number": number, **more}), 202)


async def test_a_press_is_answered_with_the_call_and_how_its_start_stands(here: Office) -> None:
    here.settles(DialAccepted())
    answer = await here.post(AGENT, "/calls", {"number": "044 000-00-11", "crm": {"type": "deal", "id": 5}})
    call = json_of(answer, 202)
    assert answer.headers["Location"] == f"/calls/{call['id']}"
    assert (call["number"], call["direction"], call["agent_user_id"]) == (CLIENT, "out", AGENT)
    assert call["crm"] == {"type": "DEAL", "id": 5}
    start = call["start"]
    assert (start["state"], start["code"], start["extension"], start["by"]) == (
        "accepted",
        None,
        "201",
        AGENT,
    )
    assert "rings first" in start["message"]
    assert await here.dials() == [CLIENT]
    assert here.st.nudged == [MEMBER]
    again = json_of(await here.get(AGENT, f"/calls/{call['id']}"))
    assert again["start"] == start
    assert again == call


async def test_who_hears_nothing_within_a_second_is_told_that_the_pbx_is_being_asked(here: Office) -> None:
    start = (await press(here))["start"]
    assert (start["state"], start["code"]) == ("asked", None)
    assert "being asked" in start["message"]
    assert 0.5 < here.clock.slept <= 1.0


@pytest.mark.parametrize(
    ("event", "state", "code", "who"),
    [
        (DialFailed(REFUSED, certain=True), "failed", "PBX_REFUSED", "agent"),
        (DialFailed(UNREACHABLE, certain=True), "failed", "PBX_UNREACHABLE", "agent"),
        (DialFailed(KEY_REFUSED, certain=True), "failed", "AUTHORIZATION_INVALID", "admin"),
        (DialFailed(LOST, certain=False), "doubted", "ANSWER_LOST", "nobody"),
    ],
)
async def test_what_the_pbx_says_is_told_at_once(
    here: Office, event: DialFailed, state: str, code: str, who: str
) -> None:
    here.settles(event)
    start = (await press(here))["start"]
    assert (start["state"], start["code"], start["who"]) == (state, code, who)
    assert start["message"]
    assert start["hint"]
    assert here.clock.slept < 0.2
    assert (start["entry"] is not None) == (state == "failed")


async def test_an_unreachable_pbx_is_asked_again_by_itself_and_says_when(here: Office) -> None:
    here.settles(DialFailed(UNREACHABLE, certain=True))
    start = (await press(here))["start"]
    entry = json_of(await here.get(AGENT, f"/retries/{start['entry']}"))
    assert entry["state"] == "retrying"
    assert start["next"]["at"] == entry["next_attempt_at"] is not None
    assert "1 minute after" in start["next"]["reason"]


@pytest.mark.parametrize(
    ("user", "number", "code", "who"),
    [
        (BARE, CLIENT, "NO_EXTENSION", "admin"),
        (AGENT, "no number at all", "BAD_NUMBER", "agent"),
        (AGENT, "anonymous", "BAD_NUMBER", "agent"),
    ],
)
async def test_what_cannot_be_dialled_is_said_without_asking_the_pbx(
    here: Office, user: int, number: str, code: str, who: str
) -> None:
    start = (await press(here, user, number))["start"]
    assert (start["state"], start["code"], start["who"]) == ("failed", code, who)
    assert here.clock.slept == 0.0
    assert await here.dials() == []
    entry = await here.entry(start["entry"])
    assert (entry.agent, entry.state.value) == (user, "attention")


async def test_outside_working_hours_the_call_waits_for_the_opening(here: Office) -> None:
    await here.set(hours=dict.fromkeys(("mon", "tue", "wed", "thu", "fri", "sat", "sun"), "12:00-18:00"))
    start = (await press(here))["start"]  # it is 10:15 in Kyiv
    assert (start["state"], start["code"]) == ("failed", "OUTSIDE_HOURS")
    assert start["next"]["at"] == "2026-09-02T09:00:00Z"
    assert await here.dials() == []


async def test_without_a_key_the_administrator_is_named(here: Office) -> None:
    await here.keep(portal(unitalk_key="", settings=here.settings))
    start = (await press(here))["start"]
    assert (start["code"], start["who"]) == ("PBX_NOT_CONNECTED", "admin")


async def test_a_refused_key_is_believed_for_that_key_only(here: Office) -> None:
    told = {"ok": False, "code": KEY_REFUSED.code}
    await here.snapshot("pbx_state", {**told, "key_last4": PBX_KEY[-4:]})
    assert (await press(here))["start"]["code"] == KEY_REFUSED.code
    await here.snapshot("pbx_state", {**told, "key_last4": "0000"})
    assert (await press(here, OTHER_AGENT))["start"]["state"] == "asked"


async def test_a_second_press_joins_the_first_and_says_so(here: Office) -> None:
    here.settles(DialAccepted())
    first = await press(here)
    second = await press(here, number="+38 (044) 000 00 11")
    assert second["id"] == first["id"]
    assert (second["start"]["state"], second["start"]["code"]) == ("joined", "JOINED")
    assert "goes on already" in second["start"]["message"]
    assert await here.dials() == [CLIENT]
    found = await here.store.call(MEMBER, first["id"])
    assert found is not None
    assert found.dial is not None
    assert found.dial.state is DialState.ACCEPTED, "the first press is as it was"


async def test_another_person_calls_the_same_client_by_a_call_of_his_own(here: Office) -> None:
    assert (await press(here))["id"] != (await press(here, OTHER_AGENT))["id"]


async def test_the_words_are_the_visitors(here: Office) -> None:
    here.settles(DialAccepted())
    told = json_of(await here.post(AGENT, "/calls", {"number": CLIENT}, "uk"), 202)
    assert "Unitalk" in told["start"]["message"]
    assert "rings first" not in told["start"]["message"]


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({}, "number"),
        ({"number": "  "}, "number"),
        ({"number": 380440000011}, "number"),
        ({"number": "1" * 61}, "number"),
        ({"number": CLIENT, "crm": "LEAD"}, "crm.type"),
        ({"number": CLIENT, "crm": {"type": "PLANET", "id": 1}}, "crm.type"),
        ({"number": CLIENT, "crm": {"type": "LEAD", "id": True}}, "crm.id"),
        ({"number": CLIENT, "crm": {"type": "LEAD", "id": 0}}, "crm.id"),
        ({"number": CLIENT, "user_id": 1}, "user_id"),
    ],
)
async def test_bad_input_is_refused_by_field_and_nothing_is_dialled(
    here: Office, body: dict[str, Any], field: str
) -> None:
    problem = json_of(await here.post(AGENT, "/calls", body), 422)
    assert field in [error["field"] for error in problem["errors"]]
    assert problem["code"] == "invalid_request"
    assert not await here.store.calls(MEMBER)
    assert not here.st.nudged


async def test_without_a_session_nobody_calls(here: Office) -> None:
    assert (await here.web.post("/calls", json={"number": CLIENT})).status_code == 401
    assert not await here.store.calls(MEMBER)


async def test_the_calls_pages_show_the_start(here: Office) -> None:
    here.settles(DialFailed(REFUSED, certain=True))
    call = await press(here)
    listed = json_of(await here.get(AGENT, "/calls"))["items"][0]
    assert listed["start"] == call["start"]
    page = (await here.get(AGENT, "/calls", Accept="text/html")).text
    assert "data-call" in page
    assert "Unitalk refused to start the call" in page
    one = (await here.get(AGENT, f"/calls/{call['id']}", Accept="text/html")).text
    assert f"/retries/{call['start']['entry']}" in one
    assert "Unitalk refused to start the call: no." in one
