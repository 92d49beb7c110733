"""What single samples presuppose of the portal, as small steps to be put together."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any
from urllib.parse import unquote_plus

from bitrix_app.core.ports import HttpResponse
from bitrix_app.sandbox.activities import new_activity
from bitrix_app.sandbox.state import Handler, Line, OfflineEvent, PlacementRow, User
from bitrix_app.sandbox.world import UploadGrant
from tests.contract.world import APP, LINE, TOKEN, SamplePortal, sample

Scene = Callable[[SamplePortal], object]


def as_it_is(portal: SamplePortal) -> None:
    """Nothing to prepare."""


def both(*scenes: Scene) -> Scene:
    def play(portal: SamplePortal) -> None:
        for scene in scenes:
            scene(portal)

    return play


def next_id(kind: str, number: int) -> Scene:
    return lambda portal: portal.set_next(kind, number)


def user(number: int, **changes: Any) -> Scene:
    def change(portal: SamplePortal) -> None:
        for name, value in changes.items():
            setattr(portal.state.users[number], name, value)

    return change


def upload(kind: str, params: dict[str, Any], name: str) -> Scene:
    """The signed address of the sample is one that the portal gave out."""

    def grant(portal: SamplePortal) -> None:
        signed = re.search(r"[?&]token=([^&]+)", sample(f"{name}.request")["url"])
        assert signed is not None
        portal.world.grants[unquote_plus(signed[1])] = UploadGrant(f"upload.{kind}", params)

    return grant


def pbx_file(portal: SamplePortal) -> None:
    """What the portal gets when it downloads RECORD_URL."""
    url = sample("telephony.externalcall.attachrecord.url.request")["json"]["RECORD_URL"]
    portal.net.answers[url] = HttpResponse(200, {}, b"ID3\x04" + bytes(64))


def folders_made(portal: SamplePortal) -> None:
    """The folders of recordings are there already, so that the file gets the sample's id."""
    portal.set_next("object", 9077)


def lines(portal: SamplePortal) -> None:
    for number, (phone, name, auto) in enumerate(
        ((LINE, "Sales line EU", "N"), ("+442079460901", "Support line", "Y")), 7
    ):
        portal.state.lines[phone] = Line(number, phone, name, auto)


def options(portal: SamplePortal) -> None:
    portal.state.app_options.update(settings_version="3", default_line=LINE)


def own_card(portal: SamplePortal) -> None:
    portal.set_next("activity", 8102)
    portal.state.activities.clear()
    made = new_activity(portal.world, (2, 318), 1, PROVIDER_ID="CONFIGURABLE_REST_APP")
    made.layout = {"icon": {"code": "info"}}


def later_contact(portal: SamplePortal) -> None:
    portal.set_next("multifield", 140)
    fm = [{"typeId": "PHONE", "valueType": "WORK", "value": "+442079460188"}]
    portal.portal.add_item("CONTACT", {"name": "Leo", "lastName": "Martin", "assignedById": 12, "fm": fm})


def vip(portal: SamplePortal) -> None:
    portal.state.items[3][797].fields["ufCrm_1720019876534"] = "VIP"


def simple_mode(portal: SamplePortal) -> None:
    portal.strangers()
    portal.world.crm_mode = 2


def colleague(portal: SamplePortal) -> None:
    """The number is an employee's own mobile (pitfall 23)."""
    portal.strangers()
    portal.state.users[12].mobile = "+44 20 7946 0123"


def second_call(portal: SamplePortal) -> None:
    portal.pending()
    portal.set_next("statistic", 8)
    portal.set_next("activity", 7944)


def no_activity(portal: SamplePortal) -> None:
    portal.pending()
    portal.world.activity_error = "Responsible user is not found"


def handlers(portal: SamplePortal) -> None:
    url = f"{APP}/events"
    portal.state.handlers += [
        Handler(540, "ONEXTERNALCALLSTART", url, 0),
        Handler(541, "ONCRMDEALUPDATE", url, 1),
        Handler(542, "ONCRMLEADADD", "", 0, offline=True, connector="unitalk"),
    ]


def queue(connector: str) -> Scene:
    def fill(portal: SamplePortal) -> None:
        data = {"FIELDS": {"ID": 1205}}
        message = "5f2d8c1b7a6e4039b1c2d3e4f5a60718"
        portal.state.offline_events.append(
            OfflineEvent(1, "ONCRMLEADADD", data, portal.clock.now(), message, connector)
        )

    return fill


def reserved(portal: SamplePortal) -> None:
    queue("")(portal)
    portal.state.offline_events[0].process_id = "yh3gu929sf0d32lsfysqas2y1hlpp09q"


def widgets(portal: SamplePortal) -> None:
    languages = {"en": {"TITLE": "Unitalk", "DESCRIPTION": "", "GROUP_NAME": ""}}
    card = PlacementRow("CALL_CARD", f"{APP}/widget/call-card", "Unitalk", "Call notes", "", languages, {})
    error_url = {"errorHandlerUrl": f"{APP}/widget/background-error"}
    worker = PlacementRow("PAGE_BACKGROUND_WORKER", f"{APP}/widget/background", "", "", "", {}, error_url)
    portal.state.placements += [card, worker]


def many_people(portal: SamplePortal) -> None:
    """63 employees, of whom the sample shows the first two."""
    del portal.state.users[12]
    for number in range(100, 161):
        portal.state.users[number] = User(number, "Somebody", str(number), inner=str(number))


def confirmed(portal: SamplePortal) -> None:
    portal.world.confirmed_tokens[(TOKEN, "voximplant.user.get")] = True
    del portal.state.users[12]


def as_taras(portal: SamplePortal) -> None:
    """The token is that of user 7."""
    pair = portal.portal.auth.find(TOKEN)
    assert pair is not None
    pair.user_id = 7
