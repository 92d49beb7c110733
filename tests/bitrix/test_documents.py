"""The document, the names and the blocks."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bitrix_app.bitrix.documents import (
    base_name,
    document,
    document_bytes,
    layout_blocks,
    month_folder,
)
from bitrix_app.bitrix.masking import mask, scrub
from bitrix_app.core.call import Leg, Recording
from bitrix_app.core.events import Direction
from bitrix_app.core.outcome import Outcome
from tests.bitrix.fakes import MEMBER, NOW, call, portal

LINK = "https://records.unitalk.example.com/secret.mp3"
FULL: dict[str, Any] = {
    "pbx_id": "17",
    "pbx_dbid": "99",
    "bitrix_call_id": "externalCall.x.1",
    "activity_id": 7943,
    "crm_type": "CONTACT",
    "crm_id": 797,
    "user_id": 7,
    "ended_at": NOW + 100,
    "full_seconds": 100,
    "talk_seconds": 95,
    "outcome": Outcome.ANSWERED,
    "legs": (Leg("101", NOW + 5), Leg("102", NOW + 50)),
    "link": LINK,
    "recording": Recording.COPIED,
    "recording_media": "mp3",
    "recording_size": 3,
    "recording_file_id": 9079,
    "drive_copy_id": 9080,
    "notes": ("odd",),
}


def test_the_document_holds_association_and_details_and_no_link() -> None:
    told = document(call(**FULL), portal(), "Europe/Kyiv")
    assert told["association"] == {
        "portal": MEMBER,
        "domain": "some-domain.bitrix24.com",
        "call_id": call().id,
        "pbx_id": "17",
        "pbx_dbid": "99",
        "bitrix24_call_id": "externalCall.x.1",
        "activity_id": 7943,
        "crm": {"type": "CONTACT", "id": 797},
        "crm_created": [],
        "user_id": 7,
        "user_matched": True,
        "extension": "102",
        "dialer_id": None,
        "meta": None,
    }
    details = told["details"]
    assert details["started_at"] == "2026-09-02T10:15:00+03:00"
    assert details["legs"][1] == {"extension": "102", "answered_at": "2026-09-02T10:15:50+03:00"}
    assert details["recording"] == {
        "state": "copied",
        "file_name": "2026-09-02_10-15-00_in_380440000011_9f3ac21b07.mp3",
        "size": 3,
        "drive_file_id": 9079,
        "drive_copy_id": 9080,
        "earlier": [],
    }
    content = document_bytes(call(**FULL), portal(), "Europe/Kyiv")
    assert LINK.encode() not in content
    assert json.loads(content) == told


def test_an_almost_empty_call_has_a_document_too() -> None:
    told = document(call(direction=None, number=None, started_at=None), portal(), "Nowhere/Zone")
    assert told["association"]["crm"] is None
    assert told["details"]["started_at"] == "2026-09-02T07:15:00+00:00"
    assert told["details"]["recording"]["file_name"] is None


def test_names() -> None:
    assert base_name(call(), "Europe/Kyiv") == "2026-09-02_10-15-00_in_380440000011_9f3ac21b07"
    assert month_folder(call(started_at=1_790_801_000.0), "Europe/Kyiv") == "2026-09"
    assert month_folder(call(started_at=1_790_803_000.0), "Europe/Kyiv") == "2026-10"


@given(st.text(max_size=60), st.text(max_size=40))
def test_names_are_made_of_safe_characters_whatever_comes(call_id: str, number: str) -> None:
    name = base_name(call(id=call_id, number=None, raw_number=number), "UTC")
    assert re.fullmatch(r"[0-9a-z_-]{1,80}", name)


@pytest.mark.parametrize("language", ["en", "uk", "ru", "pl"])
def test_blocks(language: str) -> None:
    said = layout_blocks(call(**FULL), "Europe/Kyiv", language)
    assert said.method == "crm.activity.layout.blocks.set"
    assert (said.params["entityTypeId"], said.params["entityId"], said.params["activityId"]) == (3, 797, 7943)
    blocks = said.params["layout"]["blocks"]
    assert 1 <= len(blocks) <= 20
    assert all(re.fullmatch(r"[A-Za-z0-9_-]+", key) for key in blocks)
    assert blocks["open"]["properties"]["action"]["type"] == "openRestApp"
    assert blocks["open"]["properties"]["action"]["actionParams"] == {"call": call().id}
    assert blocks["summary"]["type"] == "withTitle"
    assert blocks["summary"]["properties"]["block"]["properties"]["value"].endswith("1:35")
    assert LINK not in json.dumps(said.params)


def test_blocks_need_an_activity_and_know_smart_processes() -> None:
    for missing in ("crm_type", "crm_id", "activity_id"):
        with pytest.raises(ValueError, match="no activity"):
            layout_blocks(call(**{**FULL, missing: None}), "UTC")
    assert layout_blocks(call(**{**FULL, "crm_type": "DYNAMIC_177"}), "UTC").params["entityTypeId"] == 177
    missed = layout_blocks(call(**{**FULL, "outcome": None, "direction": Direction.OUT, "legs": ()}), "UTC")
    value = missed.params["layout"]["blocks"]["summary"]["properties"]["block"]["properties"]["value"]
    assert value == "Outgoing, outcome not known"


@pytest.mark.parametrize(
    ("language", "titles", "summary"),
    [
        ("uk", ["Unitalk", "Початок", "Внутрішні номери", "Запис"], "Вхідний, відповіли, 1:35"),
        ("ru", ["Unitalk", "Начало", "Внутренние номера", "Запись"], "Входящий, отвечен, 1:35"),
        ("pl", ["Unitalk", "Began", "Extensions", "Recording"], "Incoming, answered, 1:35"),
    ],
)
def test_blocks_speak_the_portals_language(language: str, titles: list[str], summary: str) -> None:
    missing = call(**{**FULL, "recording": Recording.MISSING, "line": None})
    blocks = layout_blocks(missing, "Europe/Kyiv", language).params["layout"]["blocks"]
    titled = [block["properties"] for block in blocks.values() if block["type"] == "withTitle"]
    assert [block["title"] for block in titled] == titles
    assert titled[0]["block"]["properties"]["value"] == summary
    assert titled[1]["block"]["properties"]["value"] == "2026-09-02 10:15:00 EEST"


# --- masking -----------------------------------------------------------------------------------

CANARY = "CanaryToken0123456789"


@pytest.mark.parametrize(
    "value",
    [
        {"auth": CANARY},
        {"a": {"b": [{"refresh_token": CANARY}]}},
        {"cmd": {"x": f"m?auth={CANARY}&data[x][auth]={CANARY}&q={CANARY}"}},
        {"error_description": f"https://a.b/c?token={CANARY}"},
        {"error_description": f'"access_token":"{CANARY}" Bearer {CANARY} auth%3D{CANARY}'},
        {"fileContent": ["name", CANARY]},
        {"result": {"uploadUrl": f"https://a/b?auth={CANARY}", "DOWNLOAD_URL": f"https://a/{CANARY}"}},
        {"MESSAGE": CANARY, "NAME": [CANARY], CANARY[:3]: CANARY},
        {"x": {"x": {"x": {"x": {"x": {"x": {"x": {"x": {"x": {"id": CANARY}}}}}}}}}},
    ],
)
def test_only_what_is_allowed_is_shown(value: Any) -> None:
    assert CANARY not in mask(value)


def test_phones_keep_four_digits() -> None:
    shown = mask(
        {
            "PHONE_NUMBER": "+380440000011",
            "LINE_NUMBER": 380440000012,
            "error_description": "number +380440000013 is bad",
            "cmd": {"a": "m?PHONE_NUMBER=%2B380440000014&filter[PHONE_NUMBER][0]=380440000015"},
            "CALL_ID": "externalCall.3d5f0c1e9a7b42d68f10c2e4a6b8d0f1.1788333300",
        }
    )
    assert "38044" not in shown
    for last in range(11, 16):
        assert f"…00{last}" in shown
    assert "externalCall.3d5f0c1e9a7b42d68f10c2e4a6b8d0f1.1788333300" in shown


def test_control_characters_cannot_forge_a_log_line() -> None:
    assert scrub("a\r\nERROR forged\x00\u2028b") == "a ERROR forged b"
