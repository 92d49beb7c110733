"""Handlers and deliveries: the form on the wire, tokens by rule, no retries (bitrix24.md §11, §1.4)."""

from __future__ import annotations

from urllib.parse import parse_qsl

import pytest

from bitrix_app.core.ports import HttpResponse
from tests.sandbox.conftest import HANDLER, Api, Net

pytestmark = pytest.mark.anyio

# the order of the keys in the samples
AUTH = [
    "access_token", "expires", "expires_in", "scope", "domain", "server_endpoint", "status",
    "client_endpoint",
    "member_id", "user_id",
]  # fmt: skip
PLACE = ["domain", "server_endpoint", "client_endpoint", "member_id", "application_token"]


def auth_keys(names: list[str]) -> list[str]:
    return [f"auth[{name}]" for name in names]


async def bind(api: Api, *events: str) -> None:
    for event in events:
        await api.call("event.bind", event=event, handler=HANDLER)


async def test_form_of_a_call_event(net: Net, api: Api) -> None:
    await bind(api, "OnVoximplantCallEnd")
    api.portal.finish_install(1)
    call_id = await api.finished(LINE_NUMBER="+380440000100")
    await api.portal.events.flush()
    request = net.sent[-1]
    assert (request.method, request.url) == ("POST", HANDLER)
    assert request.headers["Content-Type"] == "application/x-www-form-urlencoded"
    form = dict(parse_qsl(request.body.decode(), keep_blank_values=True))
    data = [
        "CALL_ID", "CALL_TYPE", "PHONE_NUMBER", "PORTAL_NUMBER", "PORTAL_USER_ID", "CALL_DURATION",
        "CALL_START_DATE",
        "COST", "COST_CURRENCY", "CALL_FAILED_CODE", "CALL_FAILED_REASON", "CRM_ACTIVITY_ID",
    ]  # fmt: skip
    expected = ["event", "event_handler_id", *(f"data[{name}]" for name in data), "ts"]
    assert list(form) == [*expected, *auth_keys([*AUTH, "application_token"])]
    assert (form["event"], form["data[CALL_ID]"], form["data[PHONE_NUMBER]"]) == (
        "ONVOXIMPLANTCALLEND", call_id, "+380440000001",
    )  # fmt: skip
    assert (form["ts"], form["auth[expires]"], form["auth[expires_in]"]) == (
        "1788333300",
        "1788336900",
        "3600",
    )
    pair = api.portal.auth.find(form["auth[access_token]"])
    assert pair is not None
    assert pair.user_id == 1  # the token acts as the user who triggered


async def test_install_event_carries_a_working_refresh_token(api: Api) -> None:
    await bind(api, "ONAPPINSTALL")
    assert api.portal.finish_install(1) is True
    await api.portal.events.flush()
    form = api.portal.deliveries[0].form
    head = [
        "event",
        "event_handler_id",
        "data[VERSION]",
        "data[ACTIVE]",
        "data[INSTALLED]",
        "data[LANGUAGE_ID]",
        "ts",
    ]
    assert list(form) == [*head, *auth_keys([*AUTH, "refresh_token", "application_token"])]
    assert (form["data[VERSION]"], form["data[ACTIVE]"], form["data[INSTALLED]"]) == ("1", "Y", "Y")
    assert len(form["auth[refresh_token]"]) == 70


async def test_nothing_is_delivered_while_not_installed(api: Api) -> None:
    await bind(api, "ONCRMLEADADD")
    api.portal.add_item("LEAD", {"title": "early"})
    await api.portal.events.flush()
    assert api.portal.deliveries == []
    api.portal.finish_install(1)
    lead = api.portal.add_item("LEAD", {"title": "later"})
    await api.portal.events.flush()
    assert [one.form["data[FIELDS][ID]"] for one in api.portal.deliveries] == [str(lead.id)]


async def test_no_user_no_token(api: Api) -> None:
    await bind(api, "ONCRMDEALUPDATE")
    api.portal.finish_install(1)
    api.portal.people.change("DEAL", 301, {"title": "By a robot"}, user_id=None)
    await api.portal.events.flush()
    form = api.portal.deliveries[0].form
    expected = ["event", "event_handler_id", "data[FIELDS][ID]", "ts", *auth_keys(PLACE)]
    assert list(form) == expected


async def test_uninstall_event_has_no_tokens_and_everything_goes(api: Api) -> None:
    await bind(api, "ONAPPUNINSTALL")
    await api.call("telephony.externalLine.add", NUMBER="1")
    await api.call("placement.bind", PLACEMENT="CALL_CARD", HANDLER=HANDLER)
    await api.call("app.option.set", options={"a": "1"})
    api.portal.finish_install(1)
    token = api.portal.world.application_token
    api.portal.uninstall(clean=False)
    await api.portal.events.flush()
    form = api.portal.deliveries[0].form
    head = ["event", "event_handler_id", "data[LANGUAGE_ID]", "data[CLEAN]", "ts"]
    assert list(form) == [*head, *auth_keys(PLACE)]
    assert (form["data[CLEAN]"], form["auth[application_token]"]) == ("0", token)
    state = api.portal.state
    assert (state.handlers, state.placements, state.lines, state.app_options) == ([], [], {}, {})
    assert api.portal.auth.find(api.token) is None


async def test_update_drops_bindings_then_tells(api: Api) -> None:
    await bind(api, "ONAPPUPDATE")
    api.portal.finish_install(1)
    api.portal.update(2)
    assert await api.call("event.get") == []
    assert (await api.call("app.info"))["INSTALLED"] is False
    await bind(api, "ONAPPUPDATE")
    api.portal.finish_install(1)
    await api.portal.events.flush()
    form = api.portal.deliveries[-1].form
    assert (form["data[VERSION]"], form["data[PREVIOUS_VERSION]"]) == ("2", "1")
    assert "auth[refresh_token]" in form


async def test_application_token_is_stable_until_reinstall(api: Api) -> None:
    before = api.portal.frame_form(1)[1]["APPLICATION_TOKEN"]
    api.portal.finish_install(1)
    assert api.portal.frame_form(11)[1]["APPLICATION_TOKEN"] == before
    member = api.portal.frame_form(1)[1]["member_id"]
    api.portal.uninstall()
    api.portal.reinstall()
    form = api.portal.frame_form(1)[1]
    assert (form["APPLICATION_TOKEN"] != before, form["member_id"]) == (True, member)
    assert api.portal.world.installed is False


async def test_no_retries(net: Net, api: Api) -> None:
    await bind(api, "ONCRMLEADADD")
    api.portal.finish_install(1)
    net.answers[HANDLER] = OSError("down")
    api.portal.add_item("LEAD", {"title": "lost"})
    await api.portal.events.flush()
    net.answers[HANDLER] = HttpResponse(500, {}, b"")
    api.portal.add_item("LEAD", {"title": "refused"})
    await api.portal.events.flush()
    await api.portal.events.flush()
    assert [(one.status, one.error) for one in api.portal.deliveries] == [(None, "OSError: down"), (500, "")]


async def test_background_delivery_and_hooks(net: Net, api: Api) -> None:
    await bind(api, "ONCRMLEADADD")
    api.portal.finish_install(1)
    async with api.portal.running():
        api.portal.events.hold()
        api.portal.events.duplicate("ONCRMLEADADD")
        first = api.portal.add_item("LEAD", {"title": "1"})
        second = api.portal.add_item("LEAD", {"title": "2"})
        await api.portal.events.idle()
        assert net.sent == []
        api.portal.events.release(order=[2, 0, 1])
        await api.portal.events.idle()
        ids = [one.form["data[FIELDS][ID]"] for one in api.portal.deliveries]
        assert ids == [str(second.id), str(first.id), str(first.id)]
        api.portal.events.lose("ONCRMLEADADD")
        api.portal.add_item("LEAD", {"title": "3"})
        await api.portal.events.idle()
        assert len(net.sent) == 3


async def test_bind_rules(api: Api) -> None:
    assert await api.call("event.bind", event="ONCRMLEADADD", handler=HANDLER) is True
    again = await api.refuse("event.bind", event="ONCRMLEADADD", handler=HANDLER)
    assert again == (400, "ERROR_CORE", "Unable to set event handler: Handler already binded")
    assert (await api.refuse("event.bind", event="ONNOTHING", handler=HANDLER))[:2] == (
        400,
        "ERROR_EVENT_NOT_FOUND",
    )
    assert (await api.refuse("event.bind", event="ONCRMLEADADD", handler="nowhere"))[
        1
    ] == "ERROR_WRONG_HANDLER_URL"
    assert (await api.refuse("event.bind", event="ONCRMLEADADD", handler="ftp://a/b"))[
        1
    ] == "ERROR_UNSUPPORTED_PROTOCOL"
    agent = api.as_user(11)
    assert (await agent.refuse("event.bind", event="ONCRMLEADADD", handler=HANDLER, auth_type=1))[:2] == (
        403, "ACCESS_DENIED",
    )  # fmt: skip
    await api.call("event.bind", event="ONCRMLEADADD", handler=HANDLER, auth_type=5)
    rows = await api.call("event.get")
    assert rows == [
        {"event": "ONCRMLEADADD", "handler": HANDLER, "auth_type": "0", "offline": 0},
        {"event": "ONCRMLEADADD", "handler": HANDLER, "auth_type": "5", "offline": 0},
    ]
    assert await api.call("event.unbind", event="OnCrmLeadAdd", handler=HANDLER) == {"count": 2}


async def test_fixed_auth_type_gives_that_users_token(api: Api) -> None:
    await api.call("event.bind", event="ONCRMLEADADD", handler=HANDLER, auth_type=5)
    api.portal.finish_install(1)
    api.portal.add_item("LEAD", {"title": "1"}, user_id=11)
    await api.portal.events.flush()
    assert api.portal.deliveries[0].form["auth[user_id]"] == "5"


async def test_events_list_and_test(api: Api) -> None:
    assert await api.call("events", SCOPE="telephony") == [
        "ONVOXIMPLANTCALLINIT", "ONVOXIMPLANTCALLSTART", "ONVOXIMPLANTCALLEND", "ONEXTERNALCALLSTART",
        "ONEXTERNALCALLBACKSTART",
    ]  # fmt: skip
    await bind(api, "ONAPPTEST")
    api.portal.finish_install(1)
    await api.call("event.test", any="data")
    await api.portal.events.flush()
    assert api.portal.deliveries[0].form["data[QUERY][any]"] == "data"


async def test_offline_queue_keeps_the_last_state(api: Api) -> None:
    await api.call("event.bind", event="ONCRMLEADUPDATE", event_type="offline", auth_connector="unitalk")
    api.portal.finish_install(1)
    for title in ("a", "b"):
        api.portal.people.change("LEAD", 1201, {"title": title})
    reserved = await api.call("event.offline.get", clear=0, auth_connector="unitalk")
    assert [one["EVENT_DATA"] for one in reserved["events"]] == [{"FIELDS": {"ID": 1201}}]
    assert set(reserved["events"][0]) == {
        "ID", "TIMESTAMP_X", "EVENT_NAME", "EVENT_DATA", "EVENT_ADDITIONAL", "MESSAGE_ID",
    }  # fmt: skip
    assert (await api.call("event.offline.get", clear=0, auth_connector="unitalk"))["events"] == []
    message = reserved["events"][0]["MESSAGE_ID"]
    done = {"process_id": reserved["process_id"], "message_id": [message], "auth_connector": "unitalk"}
    assert await api.call("event.offline.clear", **done) is True
    assert api.portal.state.offline_events == []
