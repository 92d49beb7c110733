"""What the portal has against what we want."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import parse_qsl

import pytest

from bitrix_app.bitrix import bindings
from bitrix_app.bitrix.bindings import EVENTS, FOR_DIALERS, Current, plan, wanted
from bitrix_app.bitrix.forms import unfold
from bitrix_app.bitrix.statistics import Line
from bitrix_app.core import errors
from bitrix_app.core.ports import HttpRequest, HttpResponse
from tests.bitrix.fakes import House, answered, body_of

pytestmark = pytest.mark.anyio

URL, APP = "https://we.example.com/b24/events", "https://we.example.com/b24/app"
WANT = wanted(events_url=URL, app_url=APP, lines={"380440000900": "Sales"})
HAVE = Current(
    events=[{"event": e, "handler": URL, "auth_type": "0", "offline": 0} for e in EVENTS],
    placements=[
        {"placement": "TELEPHONY_ANALYTICS_MENU", "handler": APP},
        {"placement": "REST_APP_URI", "handler": APP},
    ],
    available=frozenset({"TELEPHONY_ANALYTICS_MENU", "REST_APP_URI"}),
    lines=[Line("+380440000900", "Sales")],
)


def _said(current: Current) -> list[tuple[str, Any]]:
    return [
        (c.method, c.params.get("event") or c.params.get("PLACEMENT") or c.params.get("NUMBER"))
        for c in plan(current, WANT)
    ]


def test_nothing_is_said_when_all_is_there() -> None:
    assert plan(HAVE, WANT) == []


def test_everything_is_said_on_a_fresh_portal() -> None:
    said = _said(Current())
    assert said == [
        *(("event.bind", e) for e in EVENTS),
        ("placement.bind", "TELEPHONY_ANALYTICS_MENU"),
        ("placement.bind", "REST_APP_URI"),
        ("telephony.externalLine.add", "380440000900"),
    ]
    titles = [c.params["LANG_ALL"] for c in plan(Current(), WANT) if c.method == "placement.bind"]
    assert all(set(t) == {"en", "ru", "ua"} for t in titles)
    assert titles[0]["ua"]["TITLE"] == "Дзвінки Unitalk"
    assert titles[0]["ru"]["TITLE"] == "Звонки Unitalk"


def test_old_handlers_of_ours_go_after_the_new_ones_came() -> None:
    old = {"event": "ONAPPINSTALL", "handler": "https://old.example.com/", "auth_type": "0"}
    twice = {"event": "ONAPPUPDATE", "handler": URL, "auth_type": "1"}
    offline = {"event": "ONCRMLEADADD", "handler": "", "offline": 1}
    have: list[Mapping[str, Any]] = [*(HAVE.events or ())[1:], old, twice, offline]
    said = _said(Current(have, HAVE.placements, HAVE.available, HAVE.lines))
    assert said == [
        ("event.bind", "ONAPPINSTALL"),
        ("event.unbind", "ONAPPINSTALL"),
        ("event.unbind", "ONAPPUPDATE"),
    ]


def test_a_place_is_emptied_before_it_is_taken_and_unknown_places_are_left_out() -> None:
    have = Current(
        HAVE.events,
        [{"placement": "REST_APP_URI", "handler": "old"}],
        frozenset({"REST_APP_URI"}),
        HAVE.lines,
    )
    assert _said(have) == [("placement.unbind", "REST_APP_URI"), ("placement.bind", "REST_APP_URI")]


def test_a_renamed_line_is_updated_and_no_line_is_ever_deleted() -> None:
    lines = [Line("+380440000900", "Old name"), Line("111", "Somebody's")]
    (call,) = plan(Current(HAVE.events, HAVE.placements, HAVE.available, lines), WANT)
    assert (call.method, call.params) == (
        "telephony.externalLine.update",
        {"NUMBER": "+380440000900", "NAME": "Sales"},
    )


def test_a_part_that_could_not_be_read_is_left_alone() -> None:
    assert plan(Current(None, None, None, None), WANT) == []


# --- ensure ------------------------------------------------------------------------------------


class Portal:
    """Answers batches; remembers what was bound."""

    def __init__(self) -> None:
        self.bound: list[tuple[str, str]] = []
        self.refuse: dict[str, dict[str, str]] = {}
        self.said: list[str] = []

    def __call__(self, request: HttpRequest) -> HttpResponse:
        good: dict[str, Any] = {}
        bad: dict[str, Any] = {}
        for key, command in body_of(request)["cmd"].items():
            method, _, query = command.partition("?")
            params = unfold(parse_qsl(query))
            name = str(params.get("event") or params.get("PLACEMENT") or params.get("NUMBER") or method)
            self.said.append(f"{method} {name}")
            if refusal := self.refuse.get(name):
                bad[key] = refusal
            elif method.endswith((".bind", ".add")):
                if (method, name) in self.bound:
                    bad[key] = {"error": "ERROR_CORE", "error_description": "Handler already binded"}
                    continue
                self.bound.append((method, name))
                good[key] = True
            else:
                good[key] = self.read(method)
        return answered({"result": good or [], "result_error": bad or []})

    def read(self, method: str) -> Any:
        match method:
            case "event.get":
                return [
                    {"event": n, "handler": URL, "auth_type": "0"} for m, n in self.bound if m == "event.bind"
                ]
            case "placement.get":
                return [{"placement": n, "handler": APP} for m, n in self.bound if m == "placement.bind"]
            case "placement.list":
                return ["REST_APP_URI", "TELEPHONY_ANALYTICS_MENU"]
        return [{"NUMBER": n, "NAME": "Sales"} for m, n in self.bound if m.endswith("Line.add")]


async def _ensure(portal: Portal) -> bindings.Report:
    house = House(portal)
    return await house.run(bindings.ensure(house.client, house.portal, WANT))


async def test_ensuring_twice_changes_nothing_the_second_time() -> None:
    portal = Portal()
    assert (await _ensure(portal)).changed == len(EVENTS) + 3
    assert (await _ensure(portal)).changed == 0
    assert len(portal.bound) == len(EVENTS) + 3


async def test_already_there_counts_as_done() -> None:
    portal = Portal()
    await _ensure(portal)
    portal.read = lambda _: []  # type: ignore[method-assign,assignment]
    report = await _ensure(portal)
    assert not report.refused
    assert report.changed == len(EVENTS) + 3


async def test_what_the_portal_does_not_know_is_reported_not_raised() -> None:
    portal = Portal()
    portal.refuse = {
        "REST_APP_URI": {"error": "ERROR_PLACEMENT_NOT_FOUND"},
        "ONAPPPAYMENT": {"error": "ERROR_EVENT_NOT_FOUND"},
        "telephony.externalLine.get": {"error": "insufficient_scope"},
    }
    report = await _ensure(portal)
    assert set(report.refused) == {"lines", "placement.bind REST_APP_URI", "event.bind ONAPPPAYMENT"}
    assert report.changed == len(EVENTS) - 1 + 1
    assert str(report) == f"{len(EVENTS)} (3 refused)"


@pytest.mark.parametrize(
    ("name", "code", "raised"),
    [
        ("ONAPPINSTALL", "ACCESS_DENIED", errors.Forbidden),
        ("REST_APP_URI", "INTERNAL_SERVER_ERROR", errors.AnswerLost),
        ("event.get", "INTERNAL_SERVER_ERROR", errors.VendorBroken),
        ("event.get", "ACCESS_DENIED", errors.Forbidden),
    ],
)
async def test_what_must_come_back_is_raised(name: str, code: str, raised: type[Exception]) -> None:
    portal = Portal()
    portal.refuse = {name: {"error": code}}
    with pytest.raises(raised):
        await _ensure(portal)


def test_the_records_menus_are_bound_only_where_a_dialer_may_be_used() -> None:
    plain = wanted(events_url="e", app_url="a", lines={})
    assert not set(FOR_DIALERS) & set(plain.placements)
    with_dialers = wanted(events_url="e", app_url="a", lines={}, dialers=True)
    assert set(with_dialers.placements) == {*plain.placements, *FOR_DIALERS}
    bound = [{"placement": code, "handler": "a"} for code in with_dialers.placements]
    current = Current(placements=bound)
    gone = [call for call in plan(current, plain) if call.method == "placement.unbind"]
    assert {call.params["PLACEMENT"] for call in gone} == set(FOR_DIALERS)
