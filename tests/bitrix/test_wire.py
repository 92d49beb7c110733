"""How calls are said, alone and in a batch."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bitrix_app.bitrix.forms import unfold
from bitrix_app.bitrix.wire import (
    RestCall,
    batchable,
    command,
    encode,
    encode_batch,
    host_of,
    origin,
    rest_request,
    upload_request,
)
from bitrix_app.core.ports import FilePart
from tests.bitrix.fakes import ENDPOINT, sample


def test_a_call_is_the_samples_request() -> None:
    told = sample("telephony.externalcall.show.request")
    params = {k: v for k, v in told["json"].items() if k != "auth"}
    request = rest_request(ENDPOINT, RestCall("telephony.externalcall.show", params), told["json"]["auth"])
    assert (request.method, request.url) == (told["method"], told["url"])
    assert json.loads(request.body) == told["json"]
    assert {k: request.headers[k] for k in told["headers"]} == told["headers"]


def test_a_batch_is_the_samples_request() -> None:
    told = sample("rest.batch.request")["json"]
    calls = {
        "who": RestCall("user.current", {}, reads=True),
        "contacts": RestCall(
            "crm.duplicate.findbycomm", {"type": "PHONE", "values": ["+442079460123"]}, reads=True
        ),
        "bad": RestCall("crm.item.get", {"entityTypeId": 2, "id": 99999999}, reads=True),
    }
    batch = encode_batch(calls)
    assert batch.method == "batch"
    assert batch.reads
    assert batch.params["halt"] == 0
    assert batch.params["cmd"] == {key: told["cmd"][key] for key in calls}


def test_php_reads_booleans_nested_values_and_nothing_where_there_is_nothing() -> None:
    call = RestCall(
        "m", {"a": True, "b": False, "c": None, "d": [], "e": {"x y": ["&", "="]}, "f": "Привіт", "g": 0}
    )
    assert command(call) == (
        "m?a=1&b=0&e[x%20y][0]=%26&e[x%20y][1]=%3D&f=%D0%9F%D1%80%D0%B8%D0%B2%D1%96%D1%82&g=0"
    )


_leaf = st.text(st.characters(codec="utf-8"), max_size=20)
_name = st.text("abcDEF_1=>%", min_size=1, max_size=6)


@given(
    st.dictionaries(_name, _leaf | st.dictionaries(_name, _leaf | st.lists(_leaf, min_size=1), min_size=1))
)
def test_what_is_encoded_is_decoded_the_same(params: dict[str, Any]) -> None:
    _, _, query = command(RestCall("m", params)).partition("?")

    def as_maps(value: Any) -> Any:
        if isinstance(value, list):
            return {str(i): as_maps(v) for i, v in enumerate(value)}
        return {k: as_maps(v) for k, v in value.items()} if isinstance(value, dict) else value

    assert unfold(parse_qsl(query, keep_blank_values=True)) == as_maps(params)


def test_nobody_can_smuggle_a_reference_into_a_batch() -> None:
    evil = RestCall("telephony.externalLine.add", {"NUMBER": "1", "NAME": "x $Result [who][ID]"})
    assert not batchable(evil)
    assert not batchable(RestCall("batch"))
    assert batchable(RestCall("m", {"NAME": "costs $result"}))
    with pytest.raises(ValueError, match="externalLine"):
        encode_batch({"a": evil})


def test_a_batch_has_bounds() -> None:
    calls = {str(i): RestCall("m") for i in range(51)}
    for wrong in ({}, calls):
        with pytest.raises(ValueError, match="1 to 50"):
            encode_batch(wrong)
    assert not encode_batch({"a": RestCall("m", reads=True), "b": RestCall("m")}).reads


def test_a_lone_surrogate_does_not_break_the_body() -> None:
    assert json.loads(encode(RestCall("m", {"a": "\ud800"}), "t")) == {"a": "?", "auth": "t"}


def test_an_upload_has_the_headers_that_signed_addresses_ask_for() -> None:
    part = FilePart("file", Path("a.mp3"), "a.mp3", "audio/mpeg")
    request = upload_request(ENDPOINT, ENDPOINT + "upload.json?auth=x", part)
    assert request.files == (part,)
    assert request.body == b""
    assert request.headers["Referer"] == "https://some-domain.bitrix24.com/"
    assert {"User-Agent", "Accept", "Accept-Language"} <= request.headers.keys()


@pytest.mark.parametrize(
    ("url", "host"),
    [
        ("https://A.example.com/rest/", "a.example.com"),
        ("https://a.example.com:443/", "a.example.com"),
        ("https://a.example.com:8443/x", "a.example.com:8443"),
        ("http://127.0.0.1:80/", "127.0.0.1"),
        ("https://good.com@evil.com/", ""),
        ("https://a:notaport/", ""),
        ("nonsense", ""),
    ],
)
def test_hosts(url: str, host: str) -> None:
    assert host_of(url) == host
    assert origin(url).endswith(host)
