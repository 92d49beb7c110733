"""Our entries in list menus and toolbars of CRM records (bitrix24.md §10)."""

from __future__ import annotations

import json

import pytest

from bitrix_app.sandbox.portal import SandboxPortal
from bitrix_app.sandbox.widgets import record_options
from tests.sandbox.conftest import HANDLER, Api

pytestmark = pytest.mark.anyio
KINDS = ("LEAD", "DEAL", "CONTACT", "COMPANY")


@pytest.mark.parametrize("kind", KINDS)
def test_a_list_menu_and_a_records_page_say_the_id_as_text_and_where_they_stand(kind: str) -> None:
    low = kind.lower()
    assert record_options(f"CRM_{kind}_LIST_MENU", 318) == {"ID": "318", "URI": f"/crm/{low}/list/"}
    for place in ("DETAIL_TOOLBAR", "DETAIL_TAB", "DETAIL_ACTIVITY"):
        assert record_options(f"CRM_{kind}_{place}", 318) == {
            "ID": "318",
            "URI": f"/crm/{low}/details/318/?any=details%2F318%2F",
        }


@pytest.mark.parametrize("code", ["CALL_CARD", "CRM_LEAD_LIST_TOOLBAR", "LEFT_MENU", "DEFAULT"])
def test_what_belongs_to_no_record_is_refused(code: str) -> None:
    with pytest.raises(ValueError, match=code):
        record_options(code, 1)


async def test_a_bound_entry_opens_our_frame_and_an_unbound_one_nothing(
    api: Api, portal: SandboxPortal
) -> None:
    portal.finish_install(1)
    texts = {"en": {"TITLE": "Unitalk: to a dialer"}}
    await api.call("placement.bind", PLACEMENT="CRM_DEAL_LIST_MENU", HANDLER=HANDLER, LANG_ALL=texts)
    frame = portal.open_widget(11, "CRM_DEAL_LIST_MENU", 301)
    assert frame is not None
    assert (frame.url, frame.title) == (HANDLER, "Unitalk: to a dialer")
    assert frame.form["PLACEMENT"] == "CRM_DEAL_LIST_MENU"
    assert frame.form["PLACEMENT_OPTIONS"] == '{"ID":"301","URI":"\\/crm\\/deal\\/list\\/"}'
    assert portal.open_widget(11, "CRM_DEAL_DETAIL_TOOLBAR", 301) is None
    feed = (await api.http.get("/events-feed?user=11")).json()
    assert feed["placements"] == [
        {"code": "CRM_DEAL_LIST_MENU", "title": "Unitalk: to a dialer", "handler": HANDLER}
    ]


async def test_the_page_opens_a_records_entry(api: Api, portal: SandboxPortal) -> None:
    portal.finish_install(1)
    await api.call("placement.bind", PLACEMENT="CRM_LEAD_DETAIL_TOOLBAR", HANDLER=HANDLER)
    asked = {"user": 11, "placement": "CRM_LEAD_DETAIL_TOOLBAR", "handler": HANDLER, "record": 1201}
    frame = (await api.http.post("/sandbox/frame", json=asked)).json()
    assert json.loads(frame["fields"]["PLACEMENT_OPTIONS"]) == {
        "ID": "1201",
        "URI": "/crm/lead/details/1201/?any=details%2F1201%2F",
    }
    assert frame["action"].startswith(f"{HANDLER}?DOMAIN=")
    asked["placement"] = "LEFT_MENU"
    assert (await api.http.post("/sandbox/frame", json=asked)).status_code == 400


async def test_a_deals_page_shows_its_clients_number(api: Api, portal: SandboxPortal) -> None:
    feed = (await api.http.get("/events-feed")).json()
    deal = next(one for one in feed["records"] if one["kind"] == "DEAL" and one["id"] == 301)
    assert deal["phones"] == ["+380440000001"]
