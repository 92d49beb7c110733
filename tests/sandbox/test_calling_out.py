"""The Call button, the callback form and the cards on screens (bitrix24.md §6.3, §6.8)."""

from __future__ import annotations

from typing import Any

import anyio
import pytest

from bitrix_app.clock import VirtualClock
from bitrix_app.sandbox.delivery import Delivery
from bitrix_app.sandbox.portal import SandboxPortal
from tests.sandbox.conftest import HANDLER, Api

pytestmark = pytest.mark.anyio

LINE = "+380440000100"
EMMA = "+380440000001"
STRANGER = "+380670000077"
START, BACK, INIT = "ONEXTERNALCALLSTART", "ONEXTERNALCALLBACKSTART", "ONVOXIMPLANTCALLINIT"


@pytest.fixture
async def portal(portal: SandboxPortal, api: Api) -> SandboxPortal:
    """Installed, with our line, and the app listens."""
    portal.finish_install(1)
    for event in (START, BACK, INIT):
        await api.call("event.bind", event=event, handler=HANDLER)
    await api.call("telephony.externalline.add", NUMBER=LINE, NAME="Main")
    return portal


async def told(portal: SandboxPortal, event: str) -> list[Delivery]:
    await portal.events.flush()
    return [one for one in portal.deliveries if one.event == event]


async def test_a_press_makes_a_pending_call_with_its_card_and_tells_the_app(portal: SandboxPortal) -> None:
    call_id = portal.press_call(11, EMMA, ("CONTACT", 701))
    (call,) = portal.pending_calls
    assert (call.call_id, call.type, call.external_id, call.line) == (call_id, 1, "", LINE)
    assert portal.open_cards() == [(call_id, 11)]
    (init,) = await told(portal, INIT)
    assert (init.form["data[CALL_ID]"], init.form["data[REST_APP_ID]"]) == (call_id, "3")
    (start,) = await told(portal, START)
    data = {key: value for key, value in start.form.items() if key.startswith("data")}
    assert data == {
        "data[PHONE_NUMBER]": EMMA,
        "data[PHONE_NUMBER_INTERNATIONAL]": EMMA,
        "data[EXTENSION]": "",
        "data[USER_ID]": "11",
        "data[CALL_LIST_ID]": "0",
        "data[LINE_NUMBER]": LINE,
        "data[IS_MOBILE]": "0",
        "data[CALL_ID]": call_id,
        "data[CRM_ENTITY_TYPE]": "CONTACT",
        "data[CRM_ENTITY_ID]": "701",
    }
    assert start.form["auth[user_id]"] == "11"
    assert [one.event for one in portal.deliveries] == [INIT, START]


async def test_the_client_is_found_by_number_and_a_stranger_becomes_a_lead(portal: SandboxPortal) -> None:
    portal.press_call(11, "0440000001")
    portal.press_call(12, STRANGER, line=LINE)
    known, stranger = await told(portal, START)
    assert (known.form["data[PHONE_NUMBER]"], known.form["data[PHONE_NUMBER_INTERNATIONAL]"]) == (
        "0440000001",
        EMMA,
    )
    assert (known.form["data[CRM_ENTITY_TYPE]"], known.form["data[CRM_ENTITY_ID]"]) == ("CONTACT", "701")
    assert stranger.form["data[CRM_ENTITY_TYPE]"] == "LEAD"
    assert portal.leads[-1].phones() == [STRANGER]


@pytest.mark.parametrize("why", ["not the default line", "an own line", "not bound", "not installed"])
async def test_where_our_line_is_not_chosen_nothing_of_ours_begins(portal: SandboxPortal, why: str) -> None:
    match why:
        case "not the default line":
            portal.options.app_is_default_outgoing = False
        case "an own line":
            portal.options.own_outgoing.add(11)
        case "not bound":
            portal.state.handlers[:] = [one for one in portal.state.handlers if one.event != START]
        case _:
            portal.world.installed = False
    assert portal.press_call(11, EMMA) == ""
    assert (portal.pending_calls, portal.open_cards()) == ([], [])
    assert await told(portal, START) == []
    if why == "an own line":
        assert portal.press_call(12, EMMA) != ""


async def test_extension_is_what_stands_behind_the_number_or_by_option_the_users_own(
    portal: SandboxPortal,
) -> None:
    portal.press_call(11, f"{EMMA};12")
    portal.options.click_extension = "user"
    portal.press_call(12, EMMA)
    assert [one.form["data[EXTENSION]"] for one in await told(portal, START)] == ["12", "2002"]


@pytest.mark.parametrize(("reading", "calls"), [("same_call", 1), ("new_call", 2)])
async def test_a_second_press_finds_the_pending_call_or_makes_another(
    portal: SandboxPortal, reading: Any, calls: int
) -> None:
    portal.options.second_press = reading
    pressed = {portal.press_call(11, EMMA) for _ in range(2)}
    assert len(pressed) == len(portal.pending_calls) == len(portal.open_cards()) == calls
    assert {one.form["data[CALL_ID]"] for one in await told(portal, START)} == pressed
    assert len(await told(portal, START)) == 2


async def test_a_late_event_says_when_the_press_was(portal: SandboxPortal, clock: VirtualClock) -> None:
    pressed = clock.now()
    async with portal.running(), anyio.create_task_group():
        portal.press_call(11, EMMA, late=300)
        portal.press_call(12, EMMA)  # is not late
        await clock.advance(299)
        await portal.events.idle()
        assert [one.form["data[USER_ID]"] for one in portal.deliveries if one.event == START] == ["12"]
        await clock.advance(2)
        late = [one for one in portal.deliveries if one.event == START][-1]
    assert late.form["data[USER_ID]"] == "11"
    assert int(late.form["ts"]) == int(pressed)
    assert late.sent == pressed + 300


async def test_flush_sends_what_is_late_only_when_it_is_due(
    portal: SandboxPortal, clock: VirtualClock
) -> None:
    portal.press_call(11, EMMA, late=60)
    assert await told(portal, START) == []
    await clock.advance(60)
    assert len(await told(portal, START)) == 1


async def test_an_event_comes_twice_never_or_without_a_token(portal: SandboxPortal) -> None:
    portal.press_call(11, EMMA, copies=1)
    first, again = await told(portal, START)
    assert first.form == again.form
    portal.press_call(12, EMMA, lost=True)
    portal.press_call(13, EMMA, token=False)
    portal.press_call(14, EMMA)
    lost, bare, usual = (await told(portal, START))[2:]
    assert (lost.sent, lost.error) == (None, "lost on purpose")
    assert "auth[access_token]" not in bare.form
    assert (bare.form["data[USER_ID]"], bare.form["auth[member_id]"]) == ("13", portal.world.member_id)
    assert usual.form["auth[user_id]"] == "14"


async def test_finishing_a_click_closes_its_card_and_keeps_the_reason(
    portal: SandboxPortal, api: Api, clock: VirtualClock
) -> None:
    call_id = portal.press_call(11, EMMA)
    await api.call("telephony.externalcall.show", CALL_ID=call_id, USER_ID=[12])
    assert portal.cards_of(12) == [call_id]
    row = await api.call(
        "telephony.externalcall.finish",
        CALL_ID=call_id,
        USER_ID=11,
        STATUS_CODE="OTHER",
        FAILED_REASON="Unitalk refused: Sip is offline",
    )
    assert (row["CALL_FAILED_CODE"], row["CALL_FAILED_REASON"]) == (
        "OTHER",
        "Unitalk refused: Sip is offline",
    )
    assert portal.open_cards() == []
    assert [(step.user_id, step.opened) for step in portal.card_log] == [
        (11, True),
        (12, True),
        (11, False),
        (12, False),
    ]
    assert portal.effects_of_call(call_id).finished == 1
    for user, reasons in ((11, ["Unitalk refused: Sip is offline"]), (13, []), (1, [])):
        feed = (await api.http.get(f"/events-feed?user={user}")).json()
        assert [one["reason"] for one in feed["ended"]] == reasons
    await clock.advance(portal.options.ended_card_seconds + 1)
    assert (await api.http.get("/events-feed?user=11")).json()["ended"] == []


async def test_hide_takes_the_card_from_one_screen_only(portal: SandboxPortal, api: Api) -> None:
    call_id = portal.press_call(11, EMMA)
    await api.call("telephony.externalcall.show", CALL_ID=call_id, USER_ID=[12, 13])
    await api.call("telephony.externalcall.hide", CALL_ID=call_id, USER_ID=[11, 12])
    assert portal.open_cards() == [(call_id, 13)]


async def test_the_callback_form_is_nobodys_and_finds_the_client(portal: SandboxPortal) -> None:
    assert portal.request_callback(EMMA, "Call me") == ("CONTACT", 701)
    (form,) = [one.form for one in await told(portal, BACK)]
    assert {key: value for key, value in form.items() if key.startswith("data")} == {
        "data[PHONE_NUMBER]": EMMA,
        "data[TEXT]": "Call me",
        "data[VOICE]": "ukinternalfemale",
        "data[CRM_ENTITY_TYPE]": "CONTACT",
        "data[CRM_ENTITY_ID]": "701",
        "data[LINE_NUMBER]": LINE,
    }
    assert "auth[user_id]" not in form
    assert (portal.pending_calls, portal.open_cards()) == ([], [])  # registering is the app's part


@pytest.mark.parametrize(("mode", "kind"), [(1, "LEAD"), (2, "CONTACT")])
async def test_the_callback_form_makes_a_stranger_known(portal: SandboxPortal, mode: int, kind: str) -> None:
    portal.world.crm_mode = mode
    made, number = portal.request_callback(STRANGER, user_id=12)
    assert made == kind
    (start,) = await told(portal, BACK)
    assert (start.form["data[CRM_ENTITY_TYPE]"], start.form["data[CRM_ENTITY_ID]"]) == (kind, str(number))
    assert start.form["auth[user_id]"] == "12"
    portal.options.callback_creates_client = False
    assert portal.request_callback("+380670000078") == ("", 0)


async def test_a_callback_is_registered_as_type_4(portal: SandboxPortal, api: Api) -> None:
    kind, number = portal.request_callback(STRANGER)
    answer = await api.register(TYPE=4, PHONE_NUMBER=STRANGER, CRM_ENTITY_TYPE=kind, CRM_ENTITY_ID=number)
    assert (answer["CRM_ENTITY_TYPE"], answer["CRM_ENTITY_ID"]) == (kind, number)
    feed = (await api.http.get("/events-feed?user=11")).json()
    assert [one["direction"] for one in feed["cards"]] == ["callback"]
    await api.call("telephony.externalcall.finish", CALL_ID=answer["CALL_ID"], USER_ID=11, STATUS_CODE="304")
    assert portal.calls[-1].type == 4
    assert portal.open_cards() == []


async def test_what_one_press_did_not_use_up_does_not_strike_the_next(portal: SandboxPortal) -> None:
    portal.options.app_is_default_outgoing = False
    assert portal.press_call(11, EMMA, late=60, copies=2, lost=True, token=False) == ""
    portal.options.app_is_default_outgoing = True
    portal.press_call(11, EMMA)
    (start,) = await told(portal, START)
    assert (start.error, start.status, start.form["auth[user_id]"]) == ("", 200, "11")


async def test_notices_are_read_per_user(portal: SandboxPortal, api: Api) -> None:
    for user, text in ((11, "first"), (12, "other"), (11, "second")):
        await api.call("im.notify.system.add", USER_ID=user, MESSAGE=text)
    assert portal.notices_of(11) == ["first", "second"]
    assert portal.notices_of(13) == []
