"""What each of the contract's answers means."""

from __future__ import annotations

import json
from typing import Any

import pytest

from bitrix_app.bitrix.answers import Answer, Operating, read_answer, read_batch
from bitrix_app.bitrix.verdicts import BY_CODE, PortalMoved, retry_after
from bitrix_app.bitrix.wire import RestCall
from bitrix_app.core import errors
from bitrix_app.core.errors import Trouble
from bitrix_app.core.ports import HttpResponse
from tests.bitrix.fakes import NOW, SAMPLES, answered, response

MEANINGS: dict[str, type[Trouble]] = {
    "rest.error.access-denied-plan": errors.PaymentNeeded,
    "rest.error.access-denied": errors.Forbidden,
    "rest.error.application-not-found": errors.PortalGone,
    "rest.error.argument-http-200": errors.Refused,
    "rest.error.authorization-error": errors.UserRevoked,
    "rest.error.core": errors.NotFound,
    "rest.error.crm-empty-code": errors.Forbidden,
    "rest.error.error-oauth": errors.PortalGone,
    "rest.error.expired-token": errors.ExpiredToken,
    "rest.error.https-required": errors.Refused,
    "rest.error.insufficient-scope": errors.Forbidden,
    "rest.error.internal-server-error": errors.AnswerLost,
    "rest.error.invalid-token": errors.ExpiredToken,
    "rest.error.method-confirm-denied": errors.Forbidden,
    "rest.error.method-confirm-waiting": errors.Forbidden,
    "rest.error.method-not-found": errors.NotFound,
    "rest.error.no-auth-found": errors.ExpiredToken,
    "rest.error.operation-time-limit": errors.Throttled,
    "rest.error.overload-limit": errors.Throttled,
    "rest.error.payment-required": errors.PaymentNeeded,
    "rest.error.portal-deleted": errors.PortalGone,
    "rest.error.query-limit-exceeded": errors.Throttled,
    "rest.error.unexpected-answer": errors.AnswerLost,
    "rest.error.user-access-error": errors.Forbidden,
    "rest.error.v3-validation": errors.Refused,
    "rest.error.wrong-auth-type": errors.Forbidden,
    "rest.redirect.portal-renamed": PortalMoved,
    "oauth.error.invalid-client": errors.Forbidden,
    "oauth.error.invalid-grant": errors.UserRevoked,
    "oauth.error.invalid-request": errors.Refused,
    "oauth.error.not-installed": errors.PortalGone,
    "oauth.error.payment-required": errors.PaymentNeeded,
    "oauth.error.wrong-client": errors.Forbidden,
    "telephony.call.attachtranscription.error.not-finished": errors.NotFound,
    "telephony.externalcall.attachrecord.error.extension": errors.Refused,
    "telephony.externalcall.attachrecord.error.http": errors.Refused,
    "telephony.externalcall.attachrecord.error.not-finished": errors.NotFound,
    "telephony.externalcall.finish.error.not-found": errors.NotFound,
    "telephony.externalcall.register.error.type": errors.Refused,
    "telephony.externalcall.register.error.user": errors.NotFound,
    "telephony.externalline.add.error.exists": errors.Conflict,
    "disk.error.access-denied": errors.Forbidden,
    "disk.error.name-conflict": errors.Conflict,
    "disk.error.not-found": errors.NotFound,
    "event.bind.error.already-bound": errors.Conflict,
    "event.bind.error.not-found": errors.NotFound,
    "placement.bind.error.already-bound": errors.Conflict,
    "placement.bind.error.empty-error-handler": errors.Refused,
    "placement.bind.error.max-count": errors.Refused,
    "placement.bind.error.not-found": errors.NotFound,
    "app.option.set.error.admin": errors.Forbidden,
    "crm.activity.configurable.error.app": errors.Forbidden,
    "crm.activity.layout.blocks.error.type": errors.Refused,
    "crm.duplicate.findbycomm.error.type": errors.Refused,
    "crm.item.get.error.not-found": errors.NotFound,
    "crm.item.list.error.filter": errors.Refused,
    "crm.lead.get.error.not-found": errors.NotFound,
    "crm.timeline.comment.add.error.owner": errors.NotFound,
    "im.message.add.error.empty": errors.Refused,
    "im.notify.error.user": errors.Refused,
    "pull.application.event.add.error.user": errors.Forbidden,
    "timeman.status.error.user": errors.NotFound,
}


def test_no_error_sample_is_forgotten() -> None:
    found = {p.name.removesuffix(".json") for p in SAMPLES.glob("*error*.json")}
    assert {name for name in found if ".error" in name} - {
        "event.offline.error.request",
        "event.offline.error.response",
        "telephony.externalcall.register.lead-error.response",
        "telephony.externalcall.finish.activity-error.response",
        "js.background-call-card.error",  # a value of the frame's JavaScript
    } <= MEANINGS.keys()


@pytest.mark.parametrize("name", sorted(MEANINGS))
def test_each_error_sample_means_exactly_one_trouble(name: str) -> None:
    with pytest.raises(Trouble) as met:
        read_answer(response(name), reads=False, now=NOW)
    assert type(met.value) is MEANINGS[name]
    assert met.value.message


@pytest.mark.parametrize(
    "name",
    sorted(
        p.name.removesuffix(".json")
        for p in SAMPLES.glob("*.response.json")
        if not p.name.startswith("oauth.token")  # not a REST answer
    ),
)
def test_every_good_sample_is_an_answer(name: str) -> None:
    answer = read_answer(response(name), reads=False, now=NOW)
    told = json.loads(response(name).body)
    assert answer.result == told["result"]
    if "next" in told:
        assert (answer.next, answer.total) == (told["next"], told["total"])
    if "operating" in told.get("time", {}):
        assert answer.time == Operating(told["time"]["operating"], told["time"]["operating_reset_at"])


# §4.3 of the contract, row by row: code, the statuses that anybody saw it with, what it means for a write
_CODES = """
expired_token 401 ExpiredToken
NO_AUTH_FOUND 401 ExpiredToken
invalid_token 401 ExpiredToken
authorization_error 401 UserRevoked
APPLICATION_NOT_FOUND 401 PortalGone
ERROR_OAUTH 401 PortalGone
PAYMENT_REQUIRED 401 PaymentNeeded
CONNECTION_ERROR 401 VendorBroken
insufficient_scope 403,401 Forbidden
INVALID_CREDENTIALS 403,401 Forbidden
user_access_error 403 Forbidden
ACCESS_DENIED 403,400 Forbidden
WRONG_AUTH_TYPE 403 Forbidden
METHOD_CONFIRM_WAITING 401 Forbidden
METHOD_CONFIRM_DENIED 403 Forbidden
QUERY_LIMIT_EXCEEDED 503 Throttled
OPERATION_TIME_LIMIT 429 Throttled
OVERLOAD_LIMIT 503 Throttled
INTERNAL_SERVER_ERROR 500 AnswerLost
ERROR_UNEXPECTED_ANSWER 500 AnswerLost
INVALID_REQUEST 400 Refused
ERROR_METHOD_NOT_FOUND 404 NotFound
ERROR_BATCH_METHOD_NOT_ALLOWED 405 Refused
ERROR_BATCH_LENGTH_EXCEEDED 400 Refused
ERROR_ARGUMENT 400 Refused
ERROR_NOT_FOUND 400 NotFound
ERROR_CORE 400 Refused
INVALID_ARG_VALUE 400 Refused
NOT_FOUND 400 NotFound
100 400 Refused
allowed_only_intranet_user 403 Forbidden
PORTAL_DELETED 500,403,410 PortalGone
ERROR_MANIFEST_IS_NOT_AVAILABLE 404 Refused
INTERNAL_WRONG_TRANSPORT 404,400,500 Refused
WRONG_ENCODING 404,400,500 Refused
"""


@pytest.mark.parametrize("row", _CODES.strip().splitlines())
def test_every_code_of_the_contract_means_the_same_with_each_status_and_with_200(row: str) -> None:
    code, statuses, branch = row.split()
    body = json.dumps({"error": code, "error_description": "words of the vendor"}).encode()
    for status in (200, *map(int, statuses.split(","))):
        trouble = _raised(status, body, reads=False)
        assert (type(trouble).__name__, trouble.code) == (branch, code), status
        assert trouble.message == "words of the vendor"


@pytest.mark.parametrize("code", ["", "ERROR_CORE", "SOMETHING_NEW"])
def test_where_the_body_decides_nothing_the_status_does(code: str) -> None:
    def met(status: int, text: str = "", *, reads: bool = False) -> type[Trouble]:
        body = json.dumps({"error": code, "error_description": text}).encode()
        return type(_raised(status, body, reads=reads))

    assert met(400) is met(200) is errors.Refused
    assert met(429) is errors.Throttled
    for status in (500, 502, 503):
        assert met(status, "Something went wrong") is errors.AnswerLost
        assert met(status, reads=True) is errors.VendorBroken
    if code != "SOMETHING_NEW":  # a text counts only where there is no code
        assert met(500, "Call is not found") is errors.NotFound


def test_too_many_requests_in_whatever_words_obeys_the_wish_of_the_answer() -> None:
    body = b'{"error":"TOO_MANY_REQUESTS","error_description":"slow down"}'
    with pytest.raises(errors.Throttled) as met:
        read_answer(HttpResponse(429, {"retry-after": "7"}, body), reads=False, now=NOW)
    assert (met.value.retry_at, met.value.code) == (NOW + 7, "TOO_MANY_REQUESTS")
    with pytest.raises(errors.Throttled) as met:
        read_answer(HttpResponse(429, {}, body), reads=False, now=NOW)
    assert met.value.retry_at == NOW + 60


def test_limits_say_when_the_way_is_free() -> None:
    def retry_at(name: str) -> float | None:
        with pytest.raises(errors.Throttled) as met:
            read_answer(response(name), reads=True, now=NOW)
        return met.value.retry_at

    assert retry_at("rest.error.query-limit-exceeded") == NOW + 1
    assert retry_at("rest.error.operation-time-limit") == NOW + 60
    assert retry_at("rest.error.overload-limit") == NOW + 3600


def _raised(status: int, body: bytes, *, reads: bool) -> Trouble:
    with pytest.raises(Trouble) as met:
        read_answer(HttpResponse(status, {}, body), reads=reads, now=NOW)
    return met.value


@pytest.mark.parametrize("status", [200, 403, 500, 502, 503])
@pytest.mark.parametrize(
    "body", [b"<html>oops</html>", b"", b"\xff\xfe", b"[" * 100_000, b'{"result":' + b"9" * 5000]
)
def test_what_is_not_json_is_doubt_for_a_write_and_a_fault_for_a_read(status: int, body: bytes) -> None:
    assert type(_raised(status, body, reads=False)) is errors.AnswerLost
    assert type(_raised(status, body, reads=True)) is errors.VendorBroken


@pytest.mark.parametrize("body", [b"{}", b"[]", b"3", b'{"foo":1}', b"null"])
def test_json_without_a_verdict(body: bytes) -> None:
    assert type(_raised(200, body, reads=False)) is errors.AnswerLost
    kind = errors.VendorBroken if body == b"null" else errors.Unreadable
    assert type(_raised(200, body, reads=True)) is kind


def test_an_unknown_code_is_refused_but_an_unknown_code_with_500_is_doubt() -> None:
    body = b'{"error":"SOMETHING_NEW","error_description":"no idea"}'
    assert type(_raised(400, body, reads=False)) is errors.Refused
    assert type(_raised(200, body, reads=False)) is errors.Refused
    assert type(_raised(500, body, reads=False)) is errors.AnswerLost


def test_result_beside_an_empty_error_is_an_answer() -> None:
    assert read_answer(answered([1], error=""), reads=False, now=NOW).result == [1]


def test_an_answer_without_envelope_is_accepted() -> None:
    assert read_answer(HttpResponse(200, {}, b'{"success":true}'), reads=False, now=NOW).result == {
        "success": True
    }


def test_the_redirect_names_the_new_host_only() -> None:
    with pytest.raises(PortalMoved) as met:
        read_answer(response("rest.redirect.portal-renamed"), reads=False, now=NOW)
    assert met.value.host == "new-name.bitrix24.com"


def test_secrets_do_not_reach_the_message() -> None:
    token = "5a3cd76800788b1e00573c0d00000001f0f107d1e2c3b4a5968778695a4b3c2d1e0f9a"
    text = f"cannot fetch https://x.bitrix24.com/rest/upload.json?auth={token}&token=abc for {token}"
    trouble = _raised(400, json.dumps({"error": "X", "error_description": text}).encode(), reads=False)
    assert token not in str(trouble)
    assert "token=abc" not in str(trouble)
    assert "cannot fetch https://x.bitrix24.com/rest/upload.json" in str(trouble)


@pytest.mark.parametrize(
    ("value", "at"),
    [
        ("120", NOW + 120),
        ("Wed, 02 Sep 2026 07:15:30 GMT", 1_788_333_330.0),
        ("Wed, 02 Sep 2020 07:15:30 GMT", None),
        ("Wed, 02 Sep 2036 07:15:30 GMT", NOW + 86_400),
        ("99999999999999", NOW + 86_400),
        ("soon", None),
        ("-5", None),
        ("", None),
    ],
)
def test_retry_after(value: str, at: float | None) -> None:
    assert retry_after({"retry-after": value}, NOW) == at


def test_codes_are_compared_without_case() -> None:
    assert all(code == code.upper() for code in BY_CODE)
    assert type(_raised(403, b'{"error":"INSUFFICIENT_SCOPE"}', reads=False)) is errors.Forbidden


# --- batch -------------------------------------------------------------------------------------

CALLS = {
    "who": RestCall("user.current", {}, reads=True),
    "contacts": RestCall("crm.duplicate.findbycomm", {}, reads=True),
    "contact": RestCall("crm.item.get", {}, reads=True),
    "bad": RestCall("crm.item.get", {}, reads=True),
}


def _batch(result: Any, calls: dict[str, RestCall], halt: int = 0) -> dict[str, Answer | Trouble]:
    return read_batch(Answer(result), calls, now=NOW, halt=halt)


def test_a_batch_is_settled_one_by_one() -> None:
    answer = read_answer(response("rest.batch.response"), reads=True, now=NOW)
    settled = read_batch(answer, CALLS, now=NOW)
    assert isinstance(settled["bad"], errors.NotFound)
    good = settled["contacts"]
    assert isinstance(good, Answer)
    assert good.result == {"CONTACT": [797]}
    assert good.time is not None
    assert list(settled) == list(CALLS)


def test_a_command_that_the_batch_does_not_mention_is_doubt_for_a_write() -> None:
    answer = read_answer(response("rest.batch.empty.response"), reads=False, now=NOW)
    settled = read_batch(answer, {"w": RestCall("a.add"), "r": RestCall("a.get", reads=True)}, now=NOW)
    assert type(settled["w"]) is errors.AnswerLost
    assert type(settled["r"]) is errors.Unreadable


def test_numeric_keys_come_back_as_a_list() -> None:
    result = {"result": ["a", "b"], "result_error": []}
    settled = _batch(result, {"0": RestCall("x"), "1": RestCall("y")})
    assert [s.result for s in settled.values() if isinstance(s, Answer)] == ["a", "b"]


def test_a_false_or_null_result_is_still_an_answer() -> None:
    settled = _batch({"result": {"a": None, "b": False}}, {"a": RestCall("x"), "b": RestCall("y")})
    assert all(isinstance(s, Answer) for s in settled.values())


def test_a_halted_batch_did_not_say_the_rest() -> None:
    result = {"result": {"a": 1}, "result_error": {"b": {"error": "NOT_FOUND"}}}
    settled = _batch(result, {k: RestCall("x") for k in "abc"}, halt=1)
    assert type(settled["b"]) is errors.NotFound
    assert type(settled["c"]) is errors.NotSent


@pytest.mark.parametrize(("reads", "kind"), [(True, errors.Unreadable), (False, errors.AnswerLost)])
def test_an_answer_that_is_not_a_batch(reads: bool, kind: type[Trouble]) -> None:
    with pytest.raises(kind):
        _batch([], {"a": RestCall("x", reads=reads)})
