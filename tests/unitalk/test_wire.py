"""Requests are the contract's samples; answers become data or one branch of the error tree."""

from __future__ import annotations

import json
from datetime import datetime
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit
from zoneinfo import ZoneInfo

import pytest

from bitrix_app.core.errors import (
    AnswerLost,
    Forbidden,
    Refused,
    Throttled,
    Trouble,
    Unreadable,
    VendorBroken,
    Who,
)
from unitalk import wire

SAMPLES = Path(__file__).parents[1] / "samples" / "unitalk"
BASE = "https://api.unitalk.cloud/api"
KEY = "AbCd1234EfGh"


def sample(name: str) -> Any:
    return json.loads((SAMPLES / f"api_{name}.json").read_bytes())


# --- saying --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "said", "path"),
    [
        (
            "history_get_request",
            wire.history_get("2026-02-10 00:00:00", "2026-02-10 23:59:59"),
            "history/get",
        ),
        ("users_list_request", wire.users_list(), "users/list"),
        ("autodial_get_with_data_request", wire.autodial({"action": "GET_WITH_DATA"}), "autodial/action"),
        (
            "autodial_add_phones_request_assumed",
            wire.autodial(sample("autodial_add_phones_request_assumed")),
            "autodial/action",
        ),
    ],
)
@pytest.mark.parametrize("base", [BASE, BASE + "/"])
def test_json_requests_are_the_samples(name: str, said: wire.Said, path: str, base: str) -> None:
    request = wire.request(base, KEY, said)
    assert (request.method, request.url) == ("POST", f"{BASE}/{path}")
    assert request.headers["Authorization"] == KEY
    assert request.headers["Content-Type"] == "application/json"
    assert json.loads(request.body) == sample(name)


def test_a_direct_call_is_a_form() -> None:
    wanted = sample("direct_call_request")
    request = wire.request(BASE, KEY, wire.direct_call("2001", "+380 44 000-00-11", wanted["meta"]))
    assert request.url == BASE + "/phones/directCall"
    assert request.headers["Content-Type"] == "application/x-www-form-urlencoded"
    assert {k: v[0] for k, v in parse_qs(request.body.decode()).items()} == wanted
    assert b"meta" not in wire.request(BASE, KEY, wire.direct_call("2001", "380440000011")).body


def test_a_status_goes_into_the_query_without_a_body() -> None:
    request = wire.request(BASE, KEY, wire.set_status("2001", "PAUS"))
    assert request.body == b""
    assert {k: v[0] for k, v in parse_qs(urlsplit(request.url).query).items()} == sample(
        "inner_set_status_params"
    )


def test_the_key_is_in_no_address() -> None:
    for said in (wire.users_list(), wire.set_status("2001", "WORK"), wire.direct_call("1", "2")):
        request = wire.request(BASE, KEY, said)
        assert KEY not in request.url
        assert KEY.encode() not in request.body


@pytest.mark.parametrize(
    ("action", "reads"),
    [
        ("GET_WITH_DATA", True),
        ("GET_CALLS_HISTORY", True),
        ("ADD_PHONES", False),
        ("START", False),
        ("GET_X", False),
    ],
)
def test_only_known_dialer_reads_are_reads(action: str, reads: bool) -> None:
    said = wire.autodial({"action": action})
    assert said.reads is reads
    assert said.operation == f"autodial/action {action}"


@pytest.mark.parametrize("body", [{}, {"action": ""}, {"action": 5}])
def test_a_dialer_body_wants_an_action(body: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="action"):
        wire.autodial(body)


def kyiv(text: str, fold: int = 0) -> float:
    return datetime.fromisoformat(text).replace(tzinfo=ZoneInfo("Europe/Kyiv"), fold=fold).timestamp()


@pytest.mark.parametrize(
    ("begin", "end", "words"),
    [
        (
            kyiv("2026-02-10T10:00:00"),
            kyiv("2026-02-10T11:00:00"),
            ("2026-02-10 10:00:00", "2026-02-10 11:00:00"),
        ),
        (
            kyiv("2026-07-10T10:00:00"),
            kyiv("2026-07-10T11:00:00"),
            ("2026-07-10 10:00:00", "2026-07-10 11:00:00"),
        ),
        # 03:50 the first time to 03:10 the second: both lie in 02:50 … 04:10
        (
            kyiv("2026-10-25T03:50:00"),
            kyiv("2026-10-25T03:10:00", fold=1),
            ("2026-10-25 02:50:00", "2026-10-25 04:10:00"),
        ),
        (
            kyiv("2026-03-29T02:30:00"),
            kyiv("2026-03-29T04:30:00"),
            ("2026-03-29 02:30:00", "2026-03-29 04:30:00"),
        ),
    ],
)
def test_a_period_in_the_pbxs_words(begin: float, end: float, words: tuple[str, str]) -> None:
    assert wire.wall_window(begin, end, "Europe/Kyiv") == words


# --- reading -------------------------------------------------------------------------------------


def read(body: object, status: int = 200, *, reads: bool = True) -> Any:
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    return wire.read_answer(status, {}, raw, reads=reads)


@pytest.mark.parametrize(
    "file", [*sorted(x.name for x in SAMPLES.glob("api_*response*.json")), "api_success.json"]
)
def test_every_sample_answer_is_data_or_the_vendors_no(file: str) -> None:
    data = json.loads((SAMPLES / file).read_bytes())
    if "error" in file:
        with pytest.raises(Refused, match="Sip not found"):
            read(data)
    else:
        assert read(data) == data
        assert read(data, reads=False) == data


@pytest.mark.parametrize("reads", [True, False])
@pytest.mark.parametrize("status", [200, 401, 403])
def test_a_wrong_key_is_the_administrators(reads: bool, status: int) -> None:
    with pytest.raises(Forbidden) as forbidden:
        read(sample("error_authorization"), status, reads=reads)
    assert forbidden.value.who is Who.ADMIN
    assert forbidden.value.code == "AUTHORIZATION_INVALID"


@pytest.mark.parametrize(("reads", "branch"), [(True, VendorBroken), (False, AnswerLost)])
@pytest.mark.parametrize(
    ("body", "status"),
    [
        (sample("error_internal"), 200),
        ({"status": "ERROR", "message": "internal error."}, 200),
        ({"status": "Error", "message": "Overloaded"}, 503),
        (b"<html>502</html>", 502),
        (b"<html>maintenance</html>", 200),
        (b"", 200),
        (b"\xff\xfe", 200),
        (b"[" * 100_000, 200),
        ({"calls": []}, 500),
        ({"ok": True}, 302),
        (b"nope", 404),
    ],
)
def test_no_verdict_is_broken_for_reads_and_doubt_for_writes(
    body: object, status: int, reads: bool, branch: type[Trouble]
) -> None:
    with pytest.raises(branch) as trouble:
        read(body, status, reads=reads)
    assert type(trouble.value) is branch


@pytest.mark.parametrize(
    ("body", "message", "code"),
    [
        (sample("error_with_data"), "Wrong FROM date", "UNITALK_REFUSED"),
        (sample("error_limit_range"), "Limit range is 1-300", "LIMIT_RANGE"),
        (sample("direct_call_response_error"), "Sip not found", "UNITALK_REFUSED"),
        (
            {"status": "error", "message": None},
            "Unitalk refused the request without a reason",
            "UNITALK_REFUSED",
        ),
    ],
)
@pytest.mark.parametrize("reads", [True, False])
def test_other_texts_are_a_no(body: object, message: str, code: str, reads: bool) -> None:
    with pytest.raises(Refused) as refused:
        read(body, reads=reads)
    assert (refused.value.message, refused.value.code) == (message, code)
    assert type(refused.value) is Refused


def test_too_many_requests() -> None:
    with pytest.raises(Throttled):
        read(b"slow down", 429)
    with pytest.raises(AnswerLost):
        read(b"slow down", 429, reads=False)


USERS = [
    {"line": "2001", "name": "Operator One"},
    {"line": None, "name": "Operator Two"},
    {"line": "2003", "name": "Operator Three"},
]


@pytest.mark.parametrize("wrapper", [None, "users", "items", "data", "list", "result"])
def test_users_in_every_wrapper(wrapper: str | None) -> None:
    plain = sample("users_list_response_array")
    assert wire.read_users(plain if wrapper is None else {"status": "Success", wrapper: plain}) == USERS
    assert wire.read_users({"status": "Success", "data": {"users": plain}}) == USERS
    assert wire.read_users(sample("users_list_response_wrapped")) == USERS


def test_odd_users() -> None:
    assert wire.read_users([{"line": ["1", 2]}, "x", {"line": True, "lastName": "B"}]) == [
        {"line": "1", "name": ""},
        {"line": "2", "name": ""},
        {"line": None, "name": "B"},
    ]
    for data in (None, {}, "x", {"status": "Success"}, {"users": "x"}):
        with pytest.raises(Unreadable):
            wire.read_users(data)


def test_history_pages() -> None:
    page = wire.read_history(sample("history_get_response_warning"))
    assert (page.taken, page.total, page.warning) == (1, 25_000, "Demo warning text")
    odd = wire.read_history({"calls": [{"dbid": 1}, None, 5], "count": "3"})
    assert (len(odd.rows), odd.taken, odd.total) == (1, 3, 3)
    assert wire.read_history({"calls": [], "count": True}).total is None
    odd_shapes: list[Any] = [None, [], {}, {"calls": None}]
    for data in odd_shapes:
        with pytest.raises(Unreadable):
            wire.read_history(data)


def test_row_keys() -> None:
    assert wire.row_key({"dbid": 5, "id": 1}) == wire.row_key({"dbid": "5", "id": 2})
    assert wire.row_key({"dbid": 0, "id": 1}) != wire.row_key({"dbid": 0, "id": 2})
    assert wire.row_key({"dbid": None, "id": 1}) == wire.row_key({"id": 1, "dbid": None})


# --- masks ---------------------------------------------------------------------------------------


def test_masks() -> None:
    text = f'{{"n":"380440000011","key":"{KEY}","l":"https://api.unitalk.cloud:8443/rec/1.2/x","d":"2026-02-10"}}'
    hidden = wire.masked(text, KEY)
    assert hidden == '{"n":"…0011","key":"[key]","l":"[link]","d":"2026-02-10"}'
    assert len(wire.masked("x" * 2000)) == 500


def test_a_summary_shows_no_people() -> None:
    data = sample("history_get_response_warning")
    assert wire.summary(data) == "count=25000 calls=[1] warning=Demo warning text"
    assert wire.summary(sample("users_list_response_array")) == "[3]"
    assert wire.summary({"a": {"b": 1}}) == "a={…}"


def test_an_operators_e_mail_is_kept_where_the_pbx_gives_one() -> None:
    users = [
        {"line": 2001, "firstName": "Ann", "email": " ann@example.com "},
        {"line": "2002", "email": "none"},
        {"line": "2003", "email": None},
    ]
    assert wire.read_users({"users": users}) == [
        {"line": "2001", "name": "Ann", "email": "ann@example.com"},
        {"line": "2002", "name": ""},
        {"line": "2003", "name": ""},
    ]
