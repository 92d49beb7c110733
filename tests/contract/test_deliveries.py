"""What reaches us from the portal: events, frames, tokens, values of the frame's JavaScript.

Each sample is read by our readers, every field that they give is asserted, and the emulator is made to
send the same: form for form, key for key (bitrix24.md §2, §3, §11). `tests/bitrix/test_events.py` says
what is refused.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from bitrix_app.bitrix import bindings, events
from bitrix_app.bitrix.events import read_event
from bitrix_app.bitrix.forms import BadForm
from bitrix_app.bitrix.frames import FrameRequest, read_frame
from bitrix_app.bitrix.servers import host_name, member_id_of
from bitrix_app.bitrix.values import as_bool, as_id
from bitrix_app.core.outcome import STATUS_CODE
from bitrix_app.sandbox.activities import new_activity
from bitrix_app.sandbox.oauth import TokenPair
from bitrix_app.sandbox.state import Handler, PlacementRow, User
from bitrix_app.sandbox.wire import flatten
from tests.bitrix.fakes import House, query_of, response
from tests.bitrix.fakes import pair as stored_pair
from tests.contract import scenes
from tests.contract.shape import differences
from tests.contract.world import AUTH, BASE, CALL_ID, CLIENT, LINE, NOW, TOKEN, SamplePortal, names, sample

pytestmark = pytest.mark.anyio

APPLICATION_TOKEN = "9c8b7a6d5e4f30211203f4e5d6a7b8c9"
SCOPES = ("crm", "telephony", "im", "disk", "placement", "user_basic", "department", "timeman", "pull")
EVENTS = names("event.ON*")
FRAMES = names("frame.*") - {"frame.placement.page-background-worker.overtime"}
CLICKED = "externalCall.a1b2c3d4e5f60718293a4b5c6d7e8f90.1788333900"


# --- events -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", sorted(EVENTS))
def test_an_events_auth_block_is_read_whole(name: str) -> None:
    told = sample(name)
    auth = read_event(told["form"].items()).auth
    said: dict[str, str] = told["decoded"]["auth"]
    assert (auth.domain, auth.client_endpoint) == (said["domain"], said["client_endpoint"])
    assert auth.server_endpoint == said.get("server_endpoint", said.get("server_andpoint"))
    assert auth.user_id == (int(said["user_id"]) if "user_id" in said else None)
    assert auth.expires == (int(said["expires"]) if "expires" in said else None)
    assert auth.expires_in == (3600 if "access_token" in said else None)
    assert (auth.scope, auth.status) == ((SCOPES, "L") if "access_token" in said else ((), ""))
    assert read_event(told["form"].items()).handler_id == told["form"].get("event_handler_id", "")


_CALLBACK = "A callback was requested on the website"
READ: dict[str, tuple[Callable[[events.BitrixEvent], object], object]] = {
    "event.ONAPPINSTALL": (events.read_app_version, events.AppVersion("1", "", True, "en")),
    "event.ONAPPINSTALL.callback": (events.read_app_version, events.AppVersion("1", "", True, "en")),
    "event.ONAPPUPDATE": (events.read_app_version, events.AppVersion("2", "1", True, "en")),
    "event.ONAPPUNINSTALL": (events.read_clean, True),
    "event.ONVOXIMPLANTCALLINIT": (events.read_call_init, events.CallInit(CALL_ID, "2", CLIENT, "3")),
    "event.ONEXTERNALCALLSTART": (
        events.read_call_start,
        events.CallStart(CLICKED, CLIENT, 7, LINE, "", "CONTACT", 797, False),
    ),
    "event.ONEXTERNALCALLBACKSTART": (
        events.read_callback_start,
        events.CallbackStart(CLIENT, _CALLBACK, LINE, "CONTACT", 797),
    ),
    "event.ONEXTERNALCALLBACKSTART.no-user": (
        events.read_callback_start,
        events.CallbackStart("+442079460188", _CALLBACK, LINE, "LEAD", 1206),
    ),
}


@pytest.mark.parametrize("name", sorted(READ))
def test_an_event_that_we_read_says_exactly_this(name: str) -> None:
    reader, said = READ[name]
    assert reader(read_event(sample(name)["form"].items())) == said


def test_every_event_that_we_bind_has_a_sample() -> None:
    assert {f"event.{name}" for name in bindings.EVENTS} <= EVENTS


def installs(portal: SamplePortal) -> None:
    portal.world.installed = False
    portal.portal.finish_install(1)


def updates(portal: SamplePortal) -> None:
    kept = list(portal.state.handlers)
    portal.portal.update(2)
    portal.state.handlers += kept  # the installer binds anew
    portal.portal.finish_install(1)


def pays(portal: SamplePortal) -> None:
    portal.world.version, portal.world.status_letter = 2, "S"
    portal.portal.life.set_payment_expired(False)


def hires(portal: SamplePortal) -> None:
    new = User(24, "Maksym", "Bondar", "maksym@example.com", departments=[1, 4], position="Sales")
    portal.portal.add_user(new, by=7)


def clicks(portal: SamplePortal) -> None:
    portal.world.md5 = lambda: CLICKED.split(".")[1]  # type: ignore[method-assign]
    portal.portal.press_call(7, CLIENT, line=LINE)


def asks_for_callback(portal: SamplePortal) -> None:
    portal.set_next("lead", 1206)
    fm = [{"typeId": "PHONE", "valueType": "WORK", "value": "+442079460188"}]
    portal.portal.add_item("LEAD", {"title": "Website", "fm": fm})
    portal.portal.request_callback("+442079460188", line=LINE)


def ends(portal: SamplePortal) -> None:
    call = portal.finished()
    assert call.activity_id == 7943


def presses(portal: SamplePortal) -> None:
    scenes.own_card(portal)
    portal.portal.people.press(8102, "repeatAnalysis", {"callId": CALL_ID}, 7)


def works_offline(portal: SamplePortal) -> None:
    portal.state.handlers.append(Handler(1, "ONCRMLEADADD", "", 0, offline=True))
    portal.portal.add_item("LEAD", {"title": "x"}, 7)


def says(name: str) -> Callable[[SamplePortal], object]:
    """User 7 says a request sample; the event is its consequence."""

    async def work(portal: SamplePortal) -> None:
        scenes.as_taras(portal)
        answer = await portal.say(sample(f"{name}.request"))
        assert answer.status_code == 200, answer.text

    return work


def asks_for_a_test(portal: SamplePortal) -> object:
    scenes.as_taras(portal)
    return portal.say(
        {"method": "POST", "url": f"{BASE}/rest/event.test", "json": {"any": "data", "auth": TOKEN}}
    )


SENT: dict[str, tuple[int, Callable[[SamplePortal], object]]] = {
    # name: seconds after the samples' moment, what happens in the portal
    "event.ONAPPINSTALL": (2, installs),
    "event.ONAPPMETHODCONFIRM": (
        2,
        lambda portal: portal.portal.life.confirm_method(TOKEN, "voximplant.user.get", True),
    ),
    "event.ONAPPPAYMENT": (2, pays),
    "event.ONAPPTEST": (2, asks_for_a_test),
    "event.ONAPPUNINSTALL": (2, lambda portal: portal.portal.uninstall()),
    "event.ONAPPUPDATE": (2, updates),
    "event.ONCRMACTIVITYADD": (2, lambda portal: new_activity(portal.world, (3, 797), 7)),
    "event.ONCRMCONTACTADD": (2, lambda portal: portal.portal.add_item("CONTACT", {"name": "Leo"}, 7)),
    "event.ONCRMDEALADD": (2, lambda portal: portal.portal.add_item("DEAL", {"title": "New"}, 7)),
    "event.ONCRMDEALUPDATE": (2, says("crm.item.update.deal-stage")),
    "event.ONCRMDEALUPDATE.no-user": (
        2,
        lambda portal: portal.portal.people.change("DEAL", 341, {"title": "x"}, None),
    ),
    "event.ONCRMLEADADD": (2, says("crm.item.add.lead")),
    "event.ONCRMLEADUPDATE": (2, says("crm.lead.update")),
    "event.ONCRMTIMELINECOMMENTADD": (2, says("crm.timeline.comment.add")),
    "event.ONCRMTIMELINEITEMACTION": (2, presses),
    "event.ONEXTERNALCALLBACKSTART": (2, lambda p: p.portal.request_callback(CLIENT, line=LINE, user_id=7)),
    "event.ONEXTERNALCALLBACKSTART.no-user": (2, asks_for_callback),
    "event.ONEXTERNALCALLSTART": (600, clicks),
    "event.ONOFFLINEEVENT": (2, works_offline),
    "event.ONUSERADD": (2, hires),
    "event.ONVOXIMPLANTCALLEND": (97, ends),
    "event.ONVOXIMPLANTCALLINIT": (2, says("telephony.externalcall.register.incoming")),
    "event.ONVOXIMPLANTCALLSTART": (2, says("telephony.externalcall.register.incoming")),
}
NOT_SENT = {
    "event.ONAPPINSTALL.callback": "posted for apps without a page of their own; ours has one (§1.1)",
    "event.ONCRMDYNAMICITEMUPDATE": "the emulator has no smart processes",
}
VARY = {"auth[access_token]", "auth[refresh_token]", "auth[expires]", "data[CALL_ID]"}
"""Tokens and their end are the emulator's own; CALL_ID where a moment is part of it."""


def test_every_event_is_sent_or_has_a_reason() -> None:
    assert SENT.keys() | NOT_SENT.keys() == EVENTS


@pytest.mark.parametrize("name", sorted(SENT))
async def test_the_emulator_sends_the_samples_form(name: str) -> None:
    seconds, happens = SENT[name]
    wanted: dict[str, str] = sample(name)["form"]
    portal = SamplePortal()
    portal.world.application_token = APPLICATION_TOKEN
    if name == "event.ONCRMDEALADD":
        del portal.state.items[2][341]
    if name == "event.ONCRMLEADUPDATE":
        portal.lead()
    await portal.clock.advance(seconds)
    handler = Handler(int(wanted["event_handler_id"]), wanted["event"], sample(name)["url"], 0)
    portal.state.handlers.append(handler)
    done = happens(portal)
    if hasattr(done, "__await__"):
        await done
    await portal.portal.events.flush()
    form = portal.portal.deliveries[0].form
    assert list(form) == list(wanted)  # the order too
    vary = VARY
    if name == "event.ONVOXIMPLANTCALLEND":
        vary = VARY - {"data[CALL_ID]"}
    elif name == "event.ONUSERADD":  # details that the emulator's people do not have
        vary = VARY | {f"data[{x}]" for x in ("PERSONAL_GENDER", "PERSONAL_BIRTHDAY", "UF_EMPLOYMENT_DATE")}
        vary |= {"data[DATE_REGISTER]"}
    assert {k: v for k, v in form.items() if k not in vary} == {
        k: v for k, v in wanted.items() if k not in vary
    }
    if "auth[access_token]" in form:
        pair = portal.portal.auth.find(form["auth[access_token]"])
        assert isinstance(pair, TokenPair)
        assert str(pair.user_id) == form["auth[user_id]"]
        assert form["auth[expires]"] == str(int(NOW) + seconds + 3600)
    if "data[CALL_ID]" in form:
        assert form["data[CALL_ID]"].split(".")[:2] == wanted["data[CALL_ID]"].split(".")[:2]


@pytest.mark.parametrize("name", sorted(EVENTS))
def test_bracket_keys_are_the_portals_way_to_write_the_decoded_event(name: str) -> None:
    told = sample(name)
    decoded = {key: value for key, value in told["decoded"].items() if value not in ([], {})}
    decoded["event"] = decoded["event"].upper()
    assert dict(flatten(decoded)) == told["form"]


# --- frames -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", sorted(FRAMES))
def test_a_frame_says_exactly_this(name: str) -> None:
    told = sample(name)
    modern = "legacy" not in name
    assert read_frame(told["query"], told["form"]) == FrameRequest(
        domain="some-domain.bitrix24.com",
        member_id="0f1e2d3c4b5a69788796a5b4c3d2e1f0",
        access_token=TOKEN,
        refresh_token=told["form"]["REFRESH_ID"],
        expires_in=3600,
        application_token=APPLICATION_TOKEN if modern else "",
        server_endpoint=f"{AUTH}/rest/" if modern else "",
        scope=SCOPES if modern else (),
        status="L",
        is_https=True,
        language="uk" if name == "frame.install" else "en",
        app_sid=told["query"]["APP_SID"],
        placement=told["form"]["PLACEMENT"],
        options=told["placement_options_decoded"] or {},
    )


@pytest.mark.parametrize("name", sorted(FRAMES))
def test_the_emulator_opens_the_samples_frame(name: str) -> None:
    told, portal = sample(name), SamplePortal()
    portal.world.application_token = APPLICATION_TOKEN
    portal.world.legacy_frames = "legacy" in name
    portal.world.language = told["query"]["LANG"]
    query, form = portal.portal.frame_form(1, told["form"]["PLACEMENT"], told["placement_options_decoded"])
    assert list(query) == list(told["query"])
    assert list(form) == list(told["form"])
    own = {"AUTH_ID", "REFRESH_ID"}
    assert {k: v for k, v in form.items() if k not in own} == {
        k: v for k, v in told["form"].items() if k not in own
    }
    assert {k: len(form[k]) for k in own} == {k: len(told["form"][k]) for k in own}
    assert {k: v for k, v in query.items() if k != "APP_SID"} == {
        k: v for k, v in told["query"].items() if k != "APP_SID"
    }


RECORDS = {
    "frame.placement.crm-deal-list-menu": 318,
    "frame.placement.crm-deal-detail-tab": 318,
    "frame.placement.crm-deal-detail-activity": 318,
    "frame.placement.crm-lead-detail-tab": 318,
}


@pytest.mark.parametrize("name", sorted(RECORDS))
def test_a_records_widget_is_opened_with_the_samples_options(name: str) -> None:
    form, portal = sample(name)["form"], SamplePortal()
    portal.state.placements.append(PlacementRow(form["PLACEMENT"], f"{BASE}/w", "", "", "", {}, {}))
    frame = portal.portal.open_widget(7, form["PLACEMENT"], RECORDS[name])
    assert frame is not None
    assert frame.form["PLACEMENT_OPTIONS"] == form["PLACEMENT_OPTIONS"]
    assert list(frame.form) == list(form)


def test_the_portals_complaint_of_a_slow_background_page_is_no_frame() -> None:
    """It names no portal and nobody (§10), and we put nothing on every page, so it is never ours."""
    told = sample("frame.placement.page-background-worker.overtime")
    assert set(told["form"]) == {"error", "error_description"}
    with pytest.raises(BadForm, match="DOMAIN"):
        read_frame(told.get("query", {}), told["form"])
    assert "PAGE_BACKGROUND_WORKER" not in bindings.TITLES


# --- what the frame's JavaScript receives -----------------------------------------------------------


def test_the_frames_own_token_is_the_same_as_the_posted_one() -> None:
    auth, posted = sample("js.bx24.getauth")["result"], sample("frame.app-page")
    assert auth["access_token"] == posted["form"]["AUTH_ID"]
    assert auth["refresh_token"] == posted["form"]["REFRESH_ID"]
    assert host_name(auth["domain"]) == posted["query"]["DOMAIN"]
    assert member_id_of(auth["member_id"]) == posted["form"]["member_id"]
    assert auth["expires_in"] / 1000 - NOW == 3600  # a moment in milliseconds, not a span


def test_a_call_cards_values_are_loose_and_mean_the_same_in_both_ways() -> None:
    status = sample("js.call-card.getstatus")["result"]
    posted = sample("frame.placement.call-card")
    options = dict(read_frame(posted["query"], posted["form"]).options)
    assert options.keys() - {"URI"} == status.keys()
    assert as_id(options["CRM_ENTITY_ID"]) == as_id(status["CRM_ENTITY_ID"]) == 797
    assert as_id(options["CRM_ACTIVITY_ID"]) is as_id(status["CRM_ACTIVITY_ID"]) is None
    assert as_bool(options["CALL_LIST_MODE"]) is as_bool(status["CALL_LIST_MODE"]) is False
    same = {key for key in status if options[key] == status[key]}
    assert same >= {"CALL_ID", "PHONE_NUMBER", "LINE_NUMBER", "CALL_DIRECTION", "CALL_STATE"}


def test_the_background_card_begins_with_the_cards_status() -> None:
    told = sample("js.background-call-card.initialized")
    assert told["args"] == [sample("js.call-card.getstatus")["result"]]
    (refused,) = sample("js.background-call-card.error")["result"]  # a result, not an exception
    assert refused == {"result": "error", "errorCode": "Call card is undefined"}


def test_a_cards_events_speak_of_the_same_client_and_of_known_codes() -> None:
    told = sample("js.call-card.events")["events"]
    status = sample("js.call-card.getstatus")["result"]
    (changed,) = told["CallCard::EntityChanged"]
    assert {key: status[key] for key in changed} == changed
    assert told["CallCard::BeforeClose"] == []
    state, more = told["CallCard::CallStateChanged"]
    assert (state, more["failedCode"] in STATUS_CODE.values()) == ("idle", True)


# --- tokens -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["refresh", "code"])
async def test_the_auth_server_gives_tokens_as_in_the_sample(kind: str) -> None:
    portal, asked = SamplePortal(), sample(f"oauth.token.{kind}.request")
    old = portal.portal.issue_tokens(1)[1]
    given = (
        {"refresh_token": old}
        if kind == "refresh"
        else {"code": portal.portal.auth.issue_code(portal.world.member_id, 1)}
    )
    asked["params"] |= given
    answer, wanted = await portal.say(asked), sample(f"oauth.token.{kind}.response")
    assert answer.status_code == wanted["status"]
    own = {"access_token", "refresh_token", "expires"}
    wrong = [x for x in differences(answer.json(), wanted["json"]) if x.path not in own or x.kind != "value"]
    assert wrong == []
    again = await portal.say(asked)
    assert again.json()["error"] == "invalid_grant"  # one use each


async def test_our_refresh_is_the_samples_request_and_takes_the_samples_pair() -> None:
    wanted, given = sample("oauth.token.refresh.request"), sample("oauth.token.refresh.response")["json"]
    given["expires"] = int(NOW) + 3600
    house = House(lambda _: response("oauth.token.refresh.response"), stored_pair(expires_in=-1))
    got = await house.refresher.token(house.portal)
    assert (got.access, got.refresh, got.user_id) == (given["access_token"], given["refresh_token"], 1)
    assert house.store.stored[0].refresh == given["refresh_token"]  # stored before it is used
    said = house.http.sent[0]
    assert said.url.partition("?")[0] == wanted["url"]
    assert query_of(said).keys() == wanted["params"].keys()


async def test_the_auth_server_says_whose_a_token_is_as_in_the_sample() -> None:
    portal = SamplePortal()
    answer, wanted = await portal.say(sample("oauth.app-info.request")), sample("oauth.app-info.response")
    wrong = [x for x in differences(answer.json(), wanted["json"]) if not x.path.startswith("time.")]
    assert wrong == []


async def test_a_consent_brings_the_browser_back_with_the_samples_query() -> None:
    portal, told = SamplePortal(), sample("oauth.authorize.redirect")
    answer = await portal.say({"method": "GET", "url": told["authorize_url"]})
    assert answer.status_code == 302
    query = answer.next_request.url.params if answer.next_request else {}
    back: dict[str, Any] = dict(query)
    assert list(back) == list(told["callback_query"])
    assert {k: v for k, v in back.items() if k != "code"} == {
        k: v for k, v in told["callback_query"].items() if k != "code"
    }


COVERS = EVENTS | names("frame.*") | names("js.*") | {
    "oauth.app-info.request",
    "oauth.app-info.response",
    "oauth.authorize.redirect",
    *(f"oauth.token.{kind}.{side}" for kind in ("code", "refresh") for side in ("request", "response")),
}  # fmt: skip
"""The samples that this module asserts; `test_coverage` counts them."""
