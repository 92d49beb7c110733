"""Settings of calling out: read, written, refused in words, and a new key that is tried at once."""

from __future__ import annotations

from typing import Any

import pytest
from httpx import AsyncClient

from bitrix_app.core.hours import DAYS
from bitrix_app.core.portal import PortalSettings, Snapshot, pack_settings, unpack_settings
from bitrix_app.permits import decent_hours, pbx_trouble, working_hours
from bitrix_app.web.session import Role
from tests.web.fakes import ADMIN, AGENT, MEMBER, PBX_KEY, Stage, portal

pytestmark = pytest.mark.anyio


async def put(web: AsyncClient, st: Stage, **change: Any) -> Any:
    return await web.put("/settings", json=change, headers=st.session())


async def test_the_defaults_are_told(web: AsyncClient, st: Stage) -> None:
    told = (await web.get("/settings", headers=st.session())).json()
    assert told["hours"] == {}
    assert told["client_hours"] == "08:00-21:00"
    assert (told["callback_minutes"], told["managers"]) == (15, [])
    assert (told["missed_callbacks"], told["repeat_starts"]) == (True, True)


async def test_everything_about_calling_out_can_be_changed(web: AsyncClient, st: Stage) -> None:
    wanted = {
        "hours": {"mon": "09:00-13:00, 14:00-18:00", "sat": "10:00-14:00"},
        "client_hours": "09:00-20:00",
        "callback_minutes": 30,
        "managers": [AGENT, ADMIN],
        "missed_callbacks": False,
        "repeat_starts": False,
    }
    answer = await put(web, st, **wanted)
    assert answer.status_code == 200, answer.text
    assert {name: answer.json()[name] for name in wanted} == wanted
    saved = st.store.portals_[MEMBER].settings
    assert saved == PortalSettings(
        hours={"mon": "09:00-13:00, 14:00-18:00", "sat": "10:00-14:00"},
        client_hours="09:00-20:00",
        callback_minutes=30,
        managers=(AGENT, ADMIN),
        missed_callbacks=False,
        repeat_starts=False,
    )
    assert unpack_settings(pack_settings(saved)) == saved
    assert len(decent_hours(saved, "+380440000011")) == 2, "the rules can read what was stored"


async def test_closed_days_are_left_out_and_days_are_read_kindly(web: AsyncClient, st: Stage) -> None:
    answer = await put(web, st, hours={"MON": " 09:00 - 18:00 ", "sun": ""})
    assert answer.json()["hours"] == {"mon": "09:00 - 18:00"}
    assert not working_hours(st.store.portals_[MEMBER].settings).always
    answer = await put(web, st, hours={}, client_hours="")
    assert (answer.json()["hours"], answer.json()["client_hours"]) == ({}, "")
    assert working_hours(st.store.portals_[MEMBER].settings).always


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("hours", [], "object of days"),
        ("hours", {"mon": 9}, "object of days"),
        ("hours", {"monday": "09:00-18:00"}, "no day"),
        ("hours", {"mon": "9-18"}, "no span"),
        ("hours", {"mon": "18:00-09:00"}, "no span"),
        ("hours", {"mon": "09:00-13:00, 12:00-18:00"}, "no span"),
        ("hours", {"mon": "09:00-25:00"}, "no span"),
        ("hours", dict.fromkeys(DAYS, "22:00-23:30"), "never meet"),
        ("client_hours", "night", "no span"),
        ("client_hours", "08:00-12:00, 14:00-20:00", "one span"),
        ("client_hours", None, "text such as"),
        ("callback_minutes", 0, "minutes from 1"),
        ("callback_minutes", True, "minutes from 1"),
        ("callback_minutes", 10_081, "minutes from 1"),
        ("callback_minutes", "15", "minutes from 1"),
        ("managers", AGENT, "list"),
        ("managers", [999], "no user 999"),
        ("managers", ["7"], "number of the Bitrix24 user"),
        ("missed_callbacks", 1, "true or false"),
        ("repeat_starts", None, "true or false"),
    ],
)
async def test_what_cannot_be_is_named_and_changes_nothing(
    web: AsyncClient, st: Stage, name: str, value: object, words: str
) -> None:
    before = st.store.portals_[MEMBER]
    answer = await put(web, st, **{"layout": False, name: value})
    assert answer.status_code == 422
    fault = answer.json()["errors"][0]
    assert fault["field"] == name
    assert words in fault["message"]
    assert st.store.portals_[MEMBER] == before


async def test_hours_that_never_meet_are_seen_from_either_side(web: AsyncClient, st: Stage) -> None:
    assert (await put(web, st, hours={"mon": "21:00-23:00"}, client_hours="20:00-22:00")).status_code == 200
    answer = await put(web, st, client_hours="08:00-21:00")
    assert answer.json()["errors"][0]["field"] == "client_hours"


async def test_agents_may_not_read_or_change_them(web: AsyncClient, st: Stage) -> None:
    agent = st.session(Role.AGENT)
    assert (await web.put("/settings", json={"managers": [AGENT]}, headers=agent)).status_code == 403
    assert st.store.portals_[MEMBER].settings.managers == ()


async def test_nothing_is_left_of_what_was_said_of_a_key_too_short_to_be_told_apart(
    web: AsyncClient, st: Stage
) -> None:
    st.store.portals_[MEMBER] = portal(unitalk_key="short-one")
    told = {"ok": False, "code": "AUTHORIZATION_INVALID", "key_last4": ""}
    st.store.snapshots["pbx_state"] = Snapshot("pbx_state", st.clock.now(), (told,))
    assert (await put(web, st, unitalk_key="short-two")).status_code == 200
    after = st.store.portals_[MEMBER]
    assert pbx_trouble(after, st.store.snapshots["pbx_state"], st.clock.now()) is None


@pytest.mark.parametrize("fresh", ["another-key-of-the-cabinet-4321", "short-key"])
async def test_what_was_said_of_the_earlier_key_does_not_hold_up_a_new_one(
    web: AsyncClient, st: Stage, fresh: str
) -> None:
    told = {"ok": False, "code": "AUTHORIZATION_INVALID", "key_last4": PBX_KEY[-4:]}
    st.store.snapshots["pbx_state"] = Snapshot("pbx_state", st.clock.now(), (told,))
    before = st.store.portals_[MEMBER]
    assert pbx_trouble(before, st.store.snapshots["pbx_state"], st.clock.now()) is not None
    assert (await put(web, st, layout=False)).status_code == 200
    assert pbx_trouble(before, st.store.snapshots["pbx_state"], st.clock.now()) is not None
    assert (await put(web, st, unitalk_key=fresh)).status_code == 200
    after = st.store.portals_[MEMBER]
    assert pbx_trouble(after, st.store.snapshots["pbx_state"], st.clock.now()) is None
    late = Snapshot("pbx_state", st.clock.now(), (told,))  # an answer to the earlier key comes only now
    assert pbx_trouble(after, late, st.clock.now()) is None
