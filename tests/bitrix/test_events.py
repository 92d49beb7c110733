"""Events and frames as the portal posts them."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlencode

import pytest

from bitrix_app.bitrix import events
from bitrix_app.bitrix.events import read_body, read_event
from bitrix_app.bitrix.forms import BadForm, unfold
from bitrix_app.bitrix.frames import read_frame
from tests.bitrix.fakes import MEMBER, SAMPLES, sample

EVENTS = sorted(p.name.removesuffix(".json") for p in SAMPLES.glob("event.ON*.json"))
FRAMES = sorted(
    p.name.removesuffix(".json") for p in SAMPLES.glob("frame.*.json") if "overtime" not in p.name
)
APPLICATION_TOKEN = "9c8b7a6d5e4f30211203f4e5d6a7b8c9"


def _event(name: str) -> events.BitrixEvent:
    return read_event(sample(f"event.{name}")["form"].items())


@pytest.mark.parametrize("name", EVENTS)
def test_every_event_sample(name: str) -> None:
    told = sample(name)
    event = read_body(urlencode(told["form"]).encode())
    decoded = told["decoded"]
    assert event.name == decoded["event"].upper()
    assert event.data == _text_leaves(decoded.get("data", {}))
    assert event.ts == decoded["ts"]
    assert event.auth.member_id == MEMBER
    assert event.auth.access_token == decoded["auth"].get("access_token")
    assert event.auth.refresh_token == decoded["auth"].get("refresh_token")
    assert event.token_matches(APPLICATION_TOKEN)
    assert not event.token_matches("")
    assert not event.token_matches(APPLICATION_TOKEN[:-1] + "0")


def _text_leaves(value: Any) -> Any:
    if isinstance(value, list):
        return {str(i): _text_leaves(v) for i, v in enumerate(value)}
    if isinstance(value, dict):
        return {k: _text_leaves(v) for k, v in value.items()}
    return value


def test_tokens_stay_out_of_repr_and_of_what_is_kept() -> None:
    form = sample("event.ONAPPINSTALL")["form"]
    event = read_event(form.items())
    kept = event.without_secrets(urlencode(form).encode())
    for secret in (event.auth.access_token, event.auth.refresh_token, event.auth.application_token):
        assert secret
        assert secret not in repr(event)
        assert secret.encode() not in kept
    assert b"LANGUAGE_ID%5D=en" in kept
    assert event.without_secrets(b"&".join([b"a=1"] * 2000)) == b""


def test_the_digest_is_of_the_happening_not_of_the_delivery() -> None:
    form = sample("event.ONVOXIMPLANTCALLINIT")["form"]
    one = read_event(form.items())
    again = read_event({**form, "event_handler_id": "1", "auth[access_token]": "other"}.items())
    assert one.digest == again.digest
    for key, value in (
        ("ts", "1788333303"),
        ("data[CALL_ID]", "externalCall.x"),
        ("event", "ONVOXIMPLANTCALLSTART"),
        ("auth[member_id]", "f" * 32),
    ):
        assert read_event({**form, key: value}.items()).digest != one.digest


def test_typed_readers() -> None:
    init = events.read_call_init(_event("ONVOXIMPLANTCALLINIT"))
    assert init is not None
    assert (init.number, init.rest_app_id) == ("+442079460123", "3")
    start = events.read_call_start(_event("ONEXTERNALCALLSTART"))
    assert start is not None
    assert (start.user_id, start.crm_type, start.crm_id, start.is_mobile) == (7, "CONTACT", 797, False)
    callback = events.read_callback_start(_event("ONEXTERNALCALLBACKSTART.no-user"))
    assert callback is not None
    assert (callback.number, callback.crm_id) == ("+442079460188", 1206)
    assert events.read_clean(_event("ONAPPUNINSTALL"))
    update = events.read_app_version(_event("ONAPPUPDATE"))
    assert (update.version, update.previous) == ("2", "1")
    other = _event("ONCRMLEADADD")
    assert events.read_call_init(other) is None
    assert events.read_call_start(other) is None
    assert events.read_callback_start(other) is None
    assert not events.read_clean(other)


def test_a_form_has_bounds() -> None:
    with pytest.raises(BadForm, match="1000 fields"):
        unfold([(f"a{i}", "") for i in range(1001)])
    assert unfold([("a" + "[b]" * 7, "x")])
    with pytest.raises(BadForm, match="deeper"):
        unfold([("a" + "[b]" * 8, "x")])
    with pytest.raises(BadForm, match="too long"):
        unfold([("a" * 501, "x")])


def test_bracket_keys() -> None:
    pairs = [("a[x][0]", "1"), ("a[x][1]", "2"), ("b", "3"), ("b[c]", "4"), ("c[]", "5"), ("c[]", "6")]
    assert unfold([*pairs, ("d[", "7"), ("e]", "8")]) == {
        "a": {"x": {"0": "1", "1": "2"}},
        "b": {"c": "4"},
        "c": {"0": "5", "1": "6"},
        "d[": "7",
        "e]": "8",
    }


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"\xff\xfe",
        b"event=",
        b"event=ONX",
        b"event=ONX&auth[member_id]=short",
        b"&".join([b"a=1"] * 1001),
    ],
)
def test_what_is_no_event(body: bytes) -> None:
    with pytest.raises(BadForm):
        read_body(body)


@pytest.mark.parametrize("name", FRAMES)
def test_every_frame_sample(name: str) -> None:
    told = sample(name)
    frame = read_frame(told["query"], told["form"])
    assert frame.member_id == MEMBER
    assert frame.domain == told["query"]["DOMAIN"]
    assert frame.access_token == told["form"]["AUTH_ID"]
    assert frame.access_token not in repr(frame)
    assert frame.refresh_token not in repr(frame)
    assert frame.options == (told["placement_options_decoded"] or {})
    assert frame.placement == told["form"]["PLACEMENT"]
    assert frame.application_token == told["form"].get("APPLICATION_TOKEN", "")


def test_ukrainian_has_its_own_code_in_the_portal() -> None:
    told = sample("frame.install")
    assert read_frame(told["query"], told["form"]).language == "uk"


@pytest.mark.parametrize(
    ("place", "key", "value"),
    [
        ("query", "DOMAIN", "evil.com/x"),
        ("query", "DOMAIN", "user@evil.com"),
        ("query", "DOMAIN", "a.com:99999"),
        ("query", "DOMAIN", "a.com:"),
        ("query", "DOMAIN", ""),
        ("query", "DOMAIN", "a..b"),
        ("form", "member_id", "xyz"),
        ("form", "member_id", MEMBER + "0"),
        ("form", "AUTH_ID", ""),
        ("form", "AUTH_ID", "x" * 5000),
        ("form", "PLACEMENT", "<script>"),
        ("form", "PLACEMENT_OPTIONS", "{"),
        ("form", "PLACEMENT_OPTIONS", "[" * 10_000),
        ("form", "PLACEMENT_OPTIONS", '["a"]'),
        ("form", "PLACEMENT_OPTIONS", '{"a":"' + "x" * 20_000 + '"}'),
    ],
)
def test_shapes_that_no_portal_sends(place: str, key: str, value: str) -> None:
    told = sample("frame.app-page")
    with pytest.raises(BadForm):
        read_frame(
            {**told["query"], **({key: value} if place == "query" else {})},
            {**told["form"], **({key: value} if place == "form" else {})},
        )


def test_shapes_that_are_unusual_but_good() -> None:
    told = sample("frame.app-page")
    frame = read_frame(
        {**told["query"], "DOMAIN": "Portal.Example.com:8443", "LANG": "<b>"},
        {**told["form"], "member_id": MEMBER.upper(), "PLACEMENT_OPTIONS": "[]"},
    )
    assert (frame.domain, frame.member_id, frame.language) == ("portal.example.com:8443", MEMBER, "en")
    assert frame.options == {}
