"""The saga of a call with its quirks (bitrix24.md §6)."""

from __future__ import annotations

from typing import Any

import pytest

from bitrix_app.clock import VirtualClock
from bitrix_app.sandbox.portal import SandboxPortal
from bitrix_app.sandbox.wire import iso
from tests.sandbox.conftest import HANDLER, Api

pytestmark = pytest.mark.anyio

NEW = "+380440000077"


async def bind(api: Api, *events: str) -> None:
    for event in events:
        await api.call("event.bind", event=event, handler=HANDLER)
    api.portal.finish_install(1)


async def test_register_knows_the_client(api: Api) -> None:
    answer = await api.register(USER_ID=None, USER_PHONE_INNER="2001", PHONE_NUMBER="+38 (044) 000-00-01")
    assert set(answer) == {
        "CALL_ID", "CRM_CREATED_LEAD", "CRM_CREATED_ENTITIES", "CRM_ENTITY_TYPE", "CRM_ENTITY_ID",
    }  # fmt: skip
    assert (answer["CRM_ENTITY_TYPE"], answer["CRM_ENTITY_ID"]) == ("CONTACT", 701)
    kind, digest, at = answer["CALL_ID"].split(".")
    assert (kind, len(digest), at) == ("externalCall", 32, "1788333300")
    assert api.portal.open_cards() == [(answer["CALL_ID"], 11)]


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"USER_ID": None}, "USER_ID or USER_PHONE_INNER should be set"),
        ({"TYPE": 9}, "Unknown TYPE"),
        ({"CALL_START_DATE": "yesterday"}, "CALL_START_DATE should be in the ISO-8601 format"),
        ({"PHONE_NUMBER": "anonymous"}, "Unsupported phone number format"),
        ({"USER_ID": 999}, "User is not found or is not active."),
        ({"USER_ID": None, "USER_PHONE_INNER": "02001"}, "User is not found or is not active."),
    ],
)
async def test_register_refusals(api: Api, changes: dict[str, Any], text: str) -> None:
    facts: dict[str, Any] = {"USER_ID": 11, "PHONE_NUMBER": NEW, "TYPE": 2}
    refusal = await api.refuse("telephony.externalcall.register", **(facts | changes))
    assert refusal == (400, "ERROR_CORE", text)


async def test_dismissed_employee_is_refused(api: Api) -> None:
    api.portal.dismiss(11)
    refusal = await api.refuse("telephony.externalcall.register", USER_ID=11, PHONE_NUMBER=NEW, TYPE=2)
    assert refusal[2] == "User is not found or is not active."


async def test_repeated_register_finds_the_pending_call(clock: VirtualClock, api: Api) -> None:
    first = await api.register(EXTERNAL_CALL_ID="X1", LINE_NUMBER="+380440000100")
    await clock.advance(29 * 60)
    again = await api.register(EXTERNAL_CALL_ID="X1", LINE_NUMBER="+380440000100")
    assert again == first
    assert api.portal.effects("X1").registered == 1


@pytest.mark.parametrize(
    "changes",
    [
        {"USER_ID": 12},
        {"PHONE_NUMBER": "+380440000002"},
        {"TYPE": 3},
        {"LINE_NUMBER": "+380440000101"},
        {"EXTERNAL_CALL_ID": "X2"},
    ],
)
async def test_register_differs_by_each_fact(api: Api, changes: dict[str, Any]) -> None:
    facts = {"EXTERNAL_CALL_ID": "X1", "LINE_NUMBER": "+380440000100"}
    first = await api.register(**facts)
    assert (await api.register(**(facts | changes)))["CALL_ID"] != first["CALL_ID"]


async def test_register_without_line_and_id_matches_any(api: Api) -> None:
    first = await api.register(EXTERNAL_CALL_ID="X1", LINE_NUMBER="+380440000100")
    assert (await api.register())["CALL_ID"] == first["CALL_ID"]


async def test_late_register_is_never_matched(clock: VirtualClock, api: Api) -> None:
    """The window compares the stored start with now, so a call of an hour ago has no twin."""
    start = iso(clock.now() - 3600, "UTC")
    first = await api.register(EXTERNAL_CALL_ID="X1", CALL_START_DATE=start)
    second = await api.register(EXTERNAL_CALL_ID="X1", CALL_START_DATE=start)
    assert first["CALL_ID"] != second["CALL_ID"]
    assert api.portal.effects("X1").registered == 2


async def test_register_after_finish_makes_a_second_call(api: Api) -> None:
    first = await api.finished(EXTERNAL_CALL_ID="X1")
    assert (await api.register(EXTERNAL_CALL_ID="X1"))["CALL_ID"] != first


async def test_repeat_shows_the_card_and_fires_init_again(api: Api) -> None:
    await bind(api, "ONVOXIMPLANTCALLINIT", "ONVOXIMPLANTCALLSTART")
    call_id = (await api.register())["CALL_ID"]
    await api.call("telephony.externalcall.hide", CALL_ID=call_id, USER_ID=11)
    assert api.portal.open_cards() == []
    await api.register()
    assert api.portal.open_cards() == [(call_id, 11)]
    await api.portal.events.flush()
    names = [one.event for one in api.portal.deliveries]
    assert names.count("ONVOXIMPLANTCALLINIT") == 2
    assert names.count("ONVOXIMPLANTCALLSTART") == 1  # [src] at register, only for the new one


async def test_booleans_are_php_truth(api: Api) -> None:
    """`SHOW: "N"` shows the card: only 0 hides it (§4.1)."""
    await api.register(SHOW="N")
    assert len(api.portal.open_cards()) == 1
    await api.register(SHOW=0, PHONE_NUMBER="+380440000002")
    assert len(api.portal.open_cards()) == 1


async def test_crm_create_makes_a_lead_in_classic_mode(api: Api) -> None:
    quiet = await api.register(PHONE_NUMBER=NEW)
    assert (quiet["CRM_CREATED_LEAD"], quiet["CRM_ENTITY_TYPE"], quiet["CRM_ENTITY_ID"]) == (None, "", 0)
    answer = await api.register(PHONE_NUMBER=NEW, CRM_CREATE=1, EXTERNAL_CALL_ID="X", CRM_SOURCE="NOPE")
    lead = api.portal.leads[-1]
    assert answer["CRM_CREATED_LEAD"] == lead.id
    assert answer["CRM_CREATED_ENTITIES"] == [{"ENTITY_TYPE": "LEAD", "ENTITY_ID": lead.id}]
    assert (lead.assigned_by, lead.fields["sourceId"], lead.phones()) == (11, "OTHER", [NEW])
    await api.call("telephony.externalcall.finish", CALL_ID=answer["CALL_ID"], USER_ID=12, DURATION=5)
    assert lead.assigned_by == 12  # auto-created objects follow the person who handled the call


async def test_crm_create_makes_contact_and_deal_in_simple_mode(api: Api) -> None:
    api.portal.world.crm_mode = 2
    answer = await api.register(PHONE_NUMBER=NEW, CRM_CREATE=1)
    kinds = [one["ENTITY_TYPE"] for one in answer["CRM_CREATED_ENTITIES"]]
    assert kinds == ["CONTACT", "DEAL"]
    assert (answer["CRM_CREATED_LEAD"], answer["CRM_ENTITY_TYPE"]) == (None, "CONTACT")
    assert api.portal.deals[-1].fields["contactId"] == answer["CRM_ENTITY_ID"]


async def test_finish_does_not_reassign_known_clients(api: Api) -> None:
    call_id = (await api.register(USER_ID=12))["CALL_ID"]
    await api.call("telephony.externalcall.finish", CALL_ID=call_id, USER_ID=12, DURATION=5)
    assert api.portal.contacts[0].assigned_by == 11


async def test_employee_number_makes_no_lead(api: Api) -> None:
    api.portal.state.users[12].mobile = NEW
    answer = await api.register(PHONE_NUMBER=NEW, CRM_CREATE=1)
    assert answer["LEAD_CREATION_ERROR"] == "Lead creation is disabled for local users"
    assert len(api.portal.leads) == 3


async def test_internal_call_has_no_crm(api: Api) -> None:
    answer = await api.register(PHONE_NUMBER="2002", CRM_CREATE=1)
    assert (answer["CRM_ENTITY_TYPE"], answer["CRM_ENTITY_ID"]) == ("", 0)
    row = await api.call("telephony.externalcall.finish", CALL_ID=answer["CALL_ID"], USER_ID=11, DURATION=5)
    assert row["CRM_ACTIVITY_ID"] is None


async def test_outgoing_creation_is_governed_by_the_line(api: Api) -> None:
    await api.call("telephony.externalLine.add", NUMBER="L1", CRM_AUTO_CREATE="N")
    assert (await api.register(PHONE_NUMBER=NEW, TYPE=1, CRM_CREATE=1, LINE_NUMBER="L1"))[
        "CRM_CREATED_LEAD"
    ] is None
    assert (await api.register(PHONE_NUMBER=NEW, TYPE=2, CRM_CREATE=1, LINE_NUMBER="L1"))["CRM_CREATED_LEAD"]


async def test_given_entity_skips_the_search(api: Api) -> None:
    answer = await api.register(PHONE_NUMBER=NEW, CRM_ENTITY_TYPE="COMPANY", CRM_ENTITY_ID=601, CRM_CREATE=1)
    assert (answer["CRM_ENTITY_TYPE"], answer["CRM_ENTITY_ID"]) == ("COMPANY", 601)
    assert len(api.portal.leads) == 3


async def test_unknown_line_is_created_and_cut(api: Api) -> None:
    await api.register(LINE_NUMBER="9" * 60)
    lines = await api.call("telephony.externalLine.get")
    assert lines == [{"NUMBER": "9" * 50, "NAME": "9" * 50, "CRM_AUTO_CREATE": "Y"}]


async def test_show_and_hide_several(api: Api) -> None:
    call_id = (await api.register())["CALL_ID"]
    assert await api.call("telephony.externalcall.show", CALL_ID=call_id, USER_ID=[12, 13]) is True
    assert await api.call("telephony.externalcall.hide", CALL_ID=call_id, USER_ID="11") is True
    assert api.portal.open_cards() == [(call_id, 12), (call_id, 13)]
    assert await api.call("telephony.externalcall.show", CALL_ID="nonsense", USER_ID=12) is False


async def test_finish_answer(api: Api) -> None:
    call_id = (await api.register(EXTERNAL_CALL_ID="X1", LINE_NUMBER="+380440000100"))["CALL_ID"]
    row = await api.call(
        "telephony.externalcall.finish",
        CALL_ID=call_id,
        USER_PHONE_INNER="2002",
        DURATION=95,
        COST=0.12,
        VOTE=5,
    )
    assert set(row) == {
        "CALL_ID", "EXTERNAL_CALL_ID", "PORTAL_USER_ID", "PHONE_NUMBER", "PORTAL_NUMBER", "INCOMING",
        "CALL_DURATION",
        "CALL_START_DATE", "CALL_STATUS", "CALL_VOTE", "COST", "COST_CURRENCY", "CALL_FAILED_CODE",
        "CALL_FAILED_REASON", "REST_APP_ID", "REST_APP_NAME", "CRM_ACTIVITY_ID", "COMMENT", "CRM_ENTITY_TYPE",
        "CRM_ENTITY_ID", "ID",
    }  # fmt: skip
    assert row["CALL_START_DATE"] == {}
    assert (row["PHONE_NUMBER"], row["INCOMING"], row["PORTAL_USER_ID"]) == ("380440000001", "2", 12)
    assert (row["CALL_STATUS"], row["CALL_FAILED_CODE"], row["COST"]) == (1, "200", 0.12)
    assert api.portal.open_cards() == []
    activity = await api.call("crm.activity.get", id=row["CRM_ACTIVITY_ID"])
    assert (activity["ORIGIN_ID"], activity["PROVIDER_ID"], activity["TYPE_ID"]) == (
        f"VI_{call_id}", "VOXIMPLANT_CALL", "2",
    )  # fmt: skip
    assert (activity["OWNER_TYPE_ID"], activity["OWNER_ID"], activity["DIRECTION"]) == ("3", "701", "1")


async def test_second_finish_fails(api: Api) -> None:
    call_id = await api.finished(EXTERNAL_CALL_ID="X1")
    refusal = await api.refuse("telephony.externalcall.finish", CALL_ID=call_id, USER_ID=11)
    assert refusal == (400, "ERROR_CORE", "Call is not found (call should be registered prior to finishing)")
    effects = api.portal.effects("X1")
    assert (effects.registered, effects.finished, effects.activities) == (1, 1, 1)


@pytest.mark.parametrize(
    ("params", "code", "text"),
    [
        ({"CALL_ID": 5, "USER_ID": 11}, "INVALID_ARGUMENT", "CALL_ID must be a string"),
        ({"CALL_ID": "x"}, "ERROR_CORE", "USER_ID or USER_PHONE_INNER should be set"),
        ({"CALL_ID": "x", "USER_ID": 999}, "ERROR_CORE", "User is not found or is not active."),
    ],
)
async def test_finish_refusals(api: Api, params: dict[str, Any], code: str, text: str) -> None:
    assert await api.refuse("telephony.externalcall.finish", **params) == (400, code, text)


async def test_missed_call_waits_until_called_back(api: Api) -> None:
    call_id = (await api.register())["CALL_ID"]
    row = await api.call("telephony.externalcall.finish", CALL_ID=call_id, USER_ID=11)
    assert (row["CALL_STATUS"], row["CALL_FAILED_CODE"], row["CALL_DURATION"]) == (0, "304", 0)
    missed = api.portal.activities[0]
    assert missed.fields["COMPLETED"] == "N"
    await api.finished(TYPE=1)
    assert missed.fields["COMPLETED"] == "Y"


async def test_activity_failure_is_told(api: Api) -> None:
    api.portal.world.activity_error = "Responsible user is not found"
    call_id = (await api.register())["CALL_ID"]
    row = await api.call("telephony.externalcall.finish", CALL_ID=call_id, USER_ID=11)
    assert row["CRM_ACTIVITY_ID"] is None
    assert row["ERRORS"] == {"ACTIVITY_CREATION": "Responsible user is not found"}


async def test_unfinished_calls_are_forgotten_after_30_days(clock: VirtualClock, api: Api) -> None:
    call_id = (await api.register())["CALL_ID"]
    await clock.advance(30 * 86_400 + 1)
    fresh = Api(api.portal, api.http)
    await fresh.register(PHONE_NUMBER=NEW)
    assert call_id not in {one.call_id for one in api.portal.pending_calls}


async def test_search(api: Api) -> None:
    found = await api.call("telephony.externalCall.searchCrmEntities", PHONE_NUMBER="044 000 00 01")
    assert [one["CRM_ENTITY_ID"] for one in found] == [701]
    assert set(found[0]) == {"CRM_ENTITY_TYPE", "CRM_ENTITY_ID", "ASSIGNED_BY_ID", "NAME", "ASSIGNED_BY"}
    assert set(found[0]["ASSIGNED_BY"]) == {
        "ID", "TIMEMAN_STATUS", "USER_PHONE_INNER", "WORK_PHONE", "PERSONAL_PHONE", "PERSONAL_MOBILE",
    }  # fmt: skip
    assert await api.call("telephony.externalcall.searchCrmEntities", PHONE_NUMBER=NEW) == []
    api.portal.state.users[12].sees_all_crm = False
    assert (
        await api.as_user(12).call("telephony.externalcall.searchCrmEntities", PHONE_NUMBER="+380440000001")
        == []
    )


async def test_lines(api: Api) -> None:
    line = "telephony.externalLine"
    added = await api.call(f"{line}.add", NUMBER="+380440000100", NAME="Sales")
    assert isinstance(added["ID"], int)
    assert (await api.refuse(f"{line}.add", NUMBER="+380440000100"))[2] == "Line already exists"
    updated = await api.call(f"{line}.update", NUMBER="+380440000100", NAME="Sales EU")
    assert updated == {"ID": str(added["ID"])}
    assert (await api.refuse(f"{line}.update", NUMBER="+380440000100"))[2] == "There are no fields to update"
    assert (await api.refuse(f"{line}.delete", NUMBER="1"))[2] == "Could not find line with number 1"
    assert (await api.refuse(f"{line}.add"))[2] == "NUMBER should not be empty"
    assert await api.call(f"{line}.delete", NUMBER="+380440000100") == []


async def test_statistics(portal: SandboxPortal, api: Api) -> None:
    for number in range(3):
        await api.finished(EXTERNAL_CALL_ID=f"X{number}")
    rows = await api.call("voximplant.statistic.get", FILTER={"EXTERNAL_CALL_ID": "X1"})
    assert len(rows) == 1
    assert all(
        value is None or isinstance(value, str) for key, value in rows[0].items() if key != "RECORD_FILE_ID"
    )
    assert rows[0]["CALL_START_DATE"] == "2026-09-02T10:15:00+03:00"
    newest = await api.call("voximplant.statistic.get", FILTER={">ID": 1}, SORT="ID", ORDER="DESC")
    assert [one["ID"] for one in newest] == ["3", "2"]
    dated = await api.call(
        "voximplant.statistic.get", FILTER={">=CALL_START_DATE": "2026-09-02T07:15:00+00:00"}
    )
    assert len(dated) == 3
    assert (await api.as_user(11).refuse("voximplant.statistic.get"))[:2] == (403, "ACCESS_DENIED")
    assert portal.calls[0].line == ""
    assert rows[0]["PORTAL_NUMBER"] == "REST_APP:3"


async def test_click_to_call_is_registered_already(api: Api) -> None:
    await bind(api, "ONEXTERNALCALLSTART")
    call = api.portal.people.click_to_call(11, "+380440000001", line="+380440000100")
    await api.portal.events.flush()
    form = api.portal.deliveries[0].form
    assert form["data[CALL_ID]"] == call.call_id
    assert (form["data[USER_ID]"], form["data[EXTENSION]"], form["auth[user_id]"]) == ("11", "", "11")
    row = await api.call("telephony.externalcall.finish", CALL_ID=call.call_id, USER_ID=11, DURATION=3)
    assert row["EXTERNAL_CALL_ID"] is None
    assert api.portal.effects_of_call(call.call_id).finished == 1


async def test_callback_request_has_no_user(api: Api) -> None:
    await bind(api, "ONEXTERNALCALLBACKSTART")
    api.portal.people.request_callback("+380440000001")
    await api.portal.events.flush()
    form = api.portal.deliveries[0].form
    assert "auth[access_token]" not in form
    assert form["data[CRM_ENTITY_TYPE]"] == "CONTACT"


async def test_extension_list_needs_approval_of_the_token(api: Api) -> None:
    assert (await api.refuse("voximplant.user.get", USER_ID=[11]))[:2] == (401, "METHOD_CONFIRM_WAITING")
    api.portal.life.confirm_method(api.token, "voximplant.user.get", True)
    assert (await api.call("voximplant.user.get", USER_ID=[11]))[0]["INNER_NUMBER"] == "2001"
    other = Api(api.portal, api.http)
    assert (await other.refuse("voximplant.user.get", USER_ID=[11]))[1] == "METHOD_CONFIRM_WAITING"
