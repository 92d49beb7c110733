"""Every error sample: what it means to us, and that the emulator says it in the same words.

`tests/bitrix/test_answers.py` asserts the branch of the error tree; here are code, verdict, category and
who must act, the same whether the error comes with its own HTTP status, with 200, or inside a batch
(bitrix24.md §4.3, §4.4), and how to make the emulator say it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import pytest

from bitrix_app.bitrix.answers import Answer, read_answer, read_batch
from bitrix_app.bitrix.wire import RestCall
from bitrix_app.core import errors
from bitrix_app.core.errors import Trouble
from bitrix_app.core.ports import HttpResponse
from bitrix_app.sandbox.faults import Fault
from tests.bitrix.fakes import response
from tests.bitrix.test_answers import MEANINGS
from tests.contract import scenes
from tests.contract.scenes import Scene
from tests.contract.world import AUTH, BASE, NOW, TOKEN, SamplePortal, sample

# name, branch, code, verdict, category, who
_MEANS = """
app.option.set.error.admin Forbidden AccessException person authorization admin
crm.activity.configurable.error.app Forbidden ERROR_WRONG_APPLICATION person authorization admin
crm.activity.layout.blocks.error.type Refused UNSUITABLE_ACTIVITY_TYPE_ERROR person validation manager
crm.duplicate.findbycomm.error.type Refused REFUSED person validation manager
crm.item.get.error.not-found NotFound NOT_FOUND person not_found manager
crm.item.list.error.filter Refused INVALID_ARG_VALUE person validation manager
crm.lead.get.error.not-found NotFound NOT_FOUND person not_found manager
crm.timeline.comment.add.error.owner NotFound OWNER_NOT_FOUND person not_found manager
disk.error.access-denied Forbidden ACCESS_DENIED person authorization admin
disk.error.name-conflict Conflict DISK_OBJ_22000 person conflict manager
disk.error.not-found NotFound ERROR_NOT_FOUND person not_found manager
event.bind.error.already-bound Conflict ERROR_CORE person conflict manager
event.bind.error.not-found NotFound ERROR_EVENT_NOT_FOUND person not_found manager
im.message.add.error.empty Refused MESSAGE_EMPTY person validation manager
im.notify.error.user Refused USER_ID_EMPTY person validation manager
oauth.error.invalid-client Forbidden invalid_client person authorization developer
oauth.error.invalid-grant UserRevoked invalid_grant retry authentication admin
oauth.error.invalid-request Refused invalid_request person validation manager
oauth.error.not-installed PortalGone NOT_INSTALLED later not_found admin
oauth.error.payment-required PaymentNeeded PAYMENT_REQUIRED later payment admin
oauth.error.wrong-client Forbidden wrong_client person authorization developer
placement.bind.error.already-bound Conflict ERROR_CORE person conflict manager
placement.bind.error.empty-error-handler Refused EMPTY_ERROR_HANDLER_URL person validation manager
placement.bind.error.max-count Refused ERROR_PLACEMENT_MAX_COUNT person validation manager
placement.bind.error.not-found NotFound ERROR_PLACEMENT_NOT_FOUND person not_found manager
pull.application.event.add.error.user Forbidden USER_ID_ACCESS_ERROR person authorization admin
rest.error.access-denied Forbidden ACCESS_DENIED person authorization admin
rest.error.access-denied-plan PaymentNeeded PAYMENT_REQUIRED later payment admin
rest.error.application-not-found PortalGone APPLICATION_NOT_FOUND later not_found admin
rest.error.argument-http-200 Refused ERROR_ARGUMENT person validation manager
rest.error.authorization-error UserRevoked authorization_error retry authentication admin
rest.error.core NotFound ERROR_CORE person not_found manager
rest.error.crm-empty-code Forbidden ACCESS_DENIED person authorization admin
rest.error.error-oauth PortalGone ERROR_OAUTH later not_found admin
rest.error.expired-token ExpiredToken expired_token retry authentication nobody
rest.error.https-required Refused INVALID_REQUEST person validation manager
rest.error.insufficient-scope Forbidden insufficient_scope person authorization admin
rest.error.internal-server-error AnswerLost INTERNAL_SERVER_ERROR doubt timeout nobody
rest.error.invalid-token ExpiredToken invalid_token retry authentication nobody
rest.error.method-confirm-denied Forbidden METHOD_CONFIRM_DENIED person authorization admin
rest.error.method-confirm-waiting Forbidden METHOD_CONFIRM_WAITING person authorization admin
rest.error.method-not-found NotFound ERROR_METHOD_NOT_FOUND person not_found manager
rest.error.no-auth-found ExpiredToken NO_AUTH_FOUND retry authentication nobody
rest.error.operation-time-limit Throttled OPERATION_TIME_LIMIT later rate_limit nobody
rest.error.overload-limit Throttled OVERLOAD_LIMIT later rate_limit bitrix24
rest.error.payment-required PaymentNeeded PAYMENT_REQUIRED later payment admin
rest.error.portal-deleted PortalGone PORTAL_DELETED later not_found admin
rest.error.query-limit-exceeded Throttled QUERY_LIMIT_EXCEEDED later rate_limit nobody
rest.error.unexpected-answer AnswerLost ERROR_UNEXPECTED_ANSWER doubt timeout nobody
rest.error.user-access-error Forbidden user_access_error person authorization admin
rest.error.v3-validation Refused BITRIX_REST_V3_EXCEPTION_VALIDATION_REQUESTVALIDATIONEXCEPTION person validation manager
rest.error.wrong-auth-type Forbidden WRONG_AUTH_TYPE person authorization admin
rest.redirect.portal-renamed PortalMoved PORTAL_MOVED retry availability nobody
telephony.call.attachtranscription.error.not-finished NotFound ERROR_CORE person not_found manager
telephony.externalcall.attachrecord.error.extension Refused ERROR_CORE person validation manager
telephony.externalcall.attachrecord.error.http Refused ERROR_CORE person validation manager
telephony.externalcall.attachrecord.error.not-finished NotFound ERROR_CORE person not_found manager
telephony.externalcall.finish.error.not-found NotFound ERROR_CORE person not_found manager
telephony.externalcall.register.error.type Refused ERROR_CORE person validation manager
telephony.externalcall.register.error.user NotFound ERROR_CORE person not_found manager
telephony.externalline.add.error.exists Conflict ERROR_CORE person conflict manager
timeman.status.error.user NotFound NOT_FOUND person not_found manager
"""  # noqa: E501  # one code is longer than a line
MEANS: dict[str, list[str]] = {row.split()[0]: row.split()[1:] for row in _MEANS.strip().splitlines()}


def told(answer: HttpResponse, *, reads: bool = False) -> Trouble:
    with pytest.raises(Trouble) as met:
        read_answer(answer, reads=reads, now=NOW)
    return met.value


def judged(trouble: Trouble) -> list[str]:
    return [type(trouble).__name__, trouble.code, trouble.verdict, trouble.category, trouble.who]


def test_every_error_sample_has_its_meaning_here() -> None:
    assert MEANS.keys() == MEANINGS.keys()


@pytest.mark.parametrize("name", sorted(MEANS))
def test_an_error_means_the_same_with_its_status_and_with_200(name: str) -> None:
    answer = response(name)
    assert judged(told(answer)) == MEANS[name]
    if not name.startswith("rest.redirect"):
        assert judged(told(HttpResponse(200, answer.headers, answer.body))) == MEANS[name]


@pytest.mark.parametrize(
    "name", sorted(name for name in MEANS if not name.startswith(("rest.redirect", "oauth")))
)
def test_an_error_means_the_same_inside_a_batch(name: str) -> None:
    body = {key: value for key, value in sample(name)["json"].items() if key != "time"}
    result = {
        "result": [],
        "result_error": {"a": body},
        "result_total": [],
        "result_next": [],
        "result_time": [],
    }
    settled = read_batch(Answer(result), {"a": RestCall("some.method")}, now=NOW)["a"]
    assert isinstance(settled, Trouble)
    assert judged(settled) == MEANS[name]


@pytest.mark.parametrize("name", sorted(MEANS))
def test_a_read_is_never_in_doubt(name: str) -> None:
    branch, _, verdict, *_ = MEANS[name]
    found = told(response(name), reads=True)
    if verdict == "doubt":
        assert type(found) is errors.VendorBroken
    else:
        assert type(found).__name__ == branch


def test_texts_of_our_own_are_shown_where_the_vendor_gives_none() -> None:
    for name in MEANS:
        trouble = told(response(name))
        assert trouble.message
        assert trouble.hint or trouble.verdict is errors.Verdict.RETRY


# --- the emulator says the same --------------------------------------------------------------------


@dataclass(frozen=True)
class Provocation:
    """`params` said to `method` (auth is added) in `scene`; `auth` overrides the token."""

    method: str
    params: Mapping[str, Any] = field(default_factory=dict)
    scene: Scene = scenes.as_it_is
    url: str = ""


def request(name: str, **changes: Any) -> Provocation:
    """A request sample with changed parameters."""
    told = sample(f"{name}.request")
    method = told["url"].rsplit("/", 1)[1].removesuffix(".json")
    return Provocation(method, told["json"] | changes)


def within(scene: Scene, provocation: Provocation) -> Provocation:
    return Provocation(provocation.method, provocation.params, scene, provocation.url)


def fault(code: str) -> Provocation:
    """What no state of a portal brings about: the emulator's own wording of the code."""
    return Provocation("profile", {}, lambda portal: portal.portal.faults.add(Fault.code(code)))


def changed(**world: Any) -> Scene:
    def change(portal: SamplePortal) -> None:
        for name, value in world.items():
            setattr(portal.world, name, value)

    return change


def narrow(portal: SamplePortal) -> None:
    pair = portal.portal.auth.find(TOKEN)
    assert pair is not None
    pair.scope = "crm"


def spent(portal: SamplePortal) -> None:
    limits = portal.portal.limits
    limits.operating, limits.operating_limit = {"profile": 481.0}, 480.0
    limits.charge("profile")


def full_bucket(portal: SamplePortal) -> None:
    portal.portal.limits.capacity = 0


def foreign_drive(portal: SamplePortal) -> None:
    """A folder of the administrator's own drive, asked for by user 7."""
    portal.month()
    portal.state.storages[1366].owner_id = 1
    scenes.as_taras(portal)


def others_contact(portal: SamplePortal) -> None:
    scenes.as_taras(portal)
    portal.state.users[7].sees_all_crm = False
    portal.state.items[3][797].fields["assignedById"] = 12


def no_statistics(portal: SamplePortal) -> None:
    scenes.as_taras(portal)
    portal.state.users[7].sees_statistics = False


def denied(portal: SamplePortal) -> None:
    portal.world.confirmed_tokens[(TOKEN, "voximplant.user.get")] = False


def hook(portal: SamplePortal) -> None:
    portal.portal.add_webhook(1, "secret", ("telephony",))


def missing_audio(portal: SamplePortal) -> None:
    portal.finished()
    url = sample("telephony.externalcall.attachrecord.url.request")["json"]["RECORD_URL"]
    portal.net.answers[url] = HttpResponse(403, {}, b"")


def renamed(portal: SamplePortal) -> None:
    portal.portal.rename("https://new-name.bitrix24.com")


_REGISTER = request("telephony.externalcall.register.incoming")
_ATTACH = request("telephony.externalcall.attachrecord.base64")

PROVOKED: dict[str, Provocation] = {
    "app.option.set.error.admin": within(scenes.as_taras, request("app.option.set")),
    "crm.activity.configurable.error.app": within(
        SamplePortal.finished, request("crm.activity.configurable.update", id=7943)
    ),
    "crm.activity.layout.blocks.error.type": within(
        scenes.own_card,
        request("crm.activity.layout.blocks.set", entityTypeId=2, entityId=318, activityId=8102),
    ),
    "crm.duplicate.findbycomm.error.type": request("crm.duplicate.findbycomm", type=""),
    "crm.item.get.error.not-found": request("crm.item.get.contact", id=1),
    "crm.item.list.error.filter": request("crm.item.list.deals", filter={"FIELD": 1}),
    "crm.lead.get.error.not-found": request("crm.lead.get"),
    "crm.timeline.comment.add.error.owner": request(
        "crm.timeline.comment.add", fields={"ENTITY_ID": 1, "ENTITY_TYPE": "deal", "COMMENT": "x"}
    ),
    "disk.error.access-denied": within(foreign_drive, request("disk.folder.getchildren")),
    "disk.error.name-conflict": within(SamplePortal.month, request("disk.folder.addsubfolder")),
    "disk.error.not-found": request("disk.file.get"),
    "event.bind.error.already-bound": within(scenes.handlers, request("event.bind")),
    "event.bind.error.not-found": request("event.bind", event="ONNOTHING"),
    "im.message.add.error.empty": request("im.message.add", MESSAGE=" "),
    "im.notify.error.user": request("im.notify.system.add", USER_ID=0),
    "placement.bind.error.already-bound": within(scenes.widgets, request("placement.bind.call-card")),
    "placement.bind.error.empty-error-handler": request("placement.bind.background-worker", OPTIONS={}),
    "placement.bind.error.max-count": within(
        scenes.widgets, request("placement.bind.background-worker", HANDLER="https://other.example.com/")
    ),
    "placement.bind.error.not-found": request("placement.bind.call-card", PLACEMENT="NOWHERE"),
    "pull.application.event.add.error.user": within(
        scenes.as_taras, request("pull.application.event.add", USER_ID=[12])
    ),
    "rest.error.access-denied": within(no_statistics, request("voximplant.statistic.get")),
    "rest.error.application-not-found": Provocation("profile", {}, changed(present=False)),
    "rest.error.argument-http-200": request("placement.bind.call-card", PLACEMENT=""),
    "rest.error.authorization-error": Provocation("profile", {}, scenes.user(1, active=False)),
    "rest.error.core": request("telephony.externalcall.finish.answered"),
    "rest.error.crm-empty-code": within(others_contact, request("crm.contact.get")),
    "rest.error.error-oauth": fault("ERROR_OAUTH"),
    "rest.error.expired-token": Provocation("profile", {}, lambda portal: portal.portal.expire_tokens()),
    "rest.error.https-required": fault("INVALID_REQUEST"),
    "rest.error.insufficient-scope": within(narrow, _REGISTER),
    "rest.error.internal-server-error": fault("INTERNAL_SERVER_ERROR"),
    "rest.error.invalid-token": Provocation("profile", {"auth": "0" * 70}),
    "rest.error.method-confirm-denied": within(denied, request("voximplant.user.get")),
    "rest.error.method-confirm-waiting": request("voximplant.user.get"),
    "rest.error.method-not-found": Provocation("no.such.method"),
    "rest.error.no-auth-found": Provocation("profile", {"auth": ""}),
    "rest.error.operation-time-limit": Provocation("profile", {}, spent),
    "rest.error.overload-limit": fault("OVERLOAD_LIMIT"),
    "rest.error.payment-required": Provocation("profile", {}, changed(payment_expired=True)),
    "rest.error.portal-deleted": fault("PORTAL_DELETED"),
    "rest.error.query-limit-exceeded": Provocation("profile", {}, full_bucket),
    "rest.error.unexpected-answer": fault("ERROR_UNEXPECTED_ANSWER"),
    "rest.error.user-access-error": Provocation("profile", {}, scenes.user(1, allowed_in_app=False)),
    "rest.error.wrong-auth-type": Provocation(
        "telephony.externalcall.register", _REGISTER.params, hook, f"{BASE}/rest/1/secret/"
    ),
    "telephony.call.attachtranscription.error.not-finished": within(
        SamplePortal.pending, request("telephony.call.attachtranscription")
    ),
    "telephony.externalcall.attachrecord.error.extension": within(
        SamplePortal.finished, request("telephony.externalcall.attachrecord.base64", FILENAME="a.MP3")
    ),
    "telephony.externalcall.attachrecord.error.http": within(
        missing_audio, request("telephony.externalcall.attachrecord.url")
    ),
    "telephony.externalcall.attachrecord.error.not-finished": within(SamplePortal.pending, _ATTACH),
    "telephony.externalcall.finish.error.not-found": within(
        SamplePortal.finished, request("telephony.externalcall.finish.answered")
    ),
    "telephony.externalcall.register.error.type": request("telephony.externalcall.register.incoming", TYPE=6),
    "telephony.externalcall.register.error.user": request(
        "telephony.externalcall.register.incoming", USER_PHONE_INNER="999"
    ),
    "telephony.externalline.add.error.exists": within(scenes.lines, request("telephony.externalline.add")),
    "timeman.status.error.user": request("timeman.status", USER_ID=99),
}
AUTH_SERVER: dict[str, tuple[dict[str, str], Scene]] = {
    "oauth.error.invalid-client": ({"client_secret": "wrong"}, scenes.as_it_is),
    "oauth.error.invalid-grant": ({}, scenes.as_it_is),
    "oauth.error.invalid-request": ({"refresh_token": ""}, scenes.as_it_is),
    "oauth.error.not-installed": ({}, lambda portal: portal.portal.uninstall()),
    "oauth.error.payment-required": ({"refresh_token": "alive"}, changed(payment_expired=True)),
    "oauth.error.wrong-client": ({"client_id": "local.0.0"}, scenes.as_it_is),
}
NOT_SAID: dict[str, str] = {
    "rest.error.access-denied-plan": "the emulator's portals are on a commercial plan",
    "rest.error.v3-validation": "the emulator speaks v2 only, as we do (§4.5)",
    "rest.redirect.portal-renamed": "said in test_a_renamed_portal_redirects_as_the_sample",
}


def test_every_error_is_said_or_has_a_reason() -> None:
    assert PROVOKED.keys() | AUTH_SERVER.keys() | NOT_SAID.keys() == MEANS.keys()


@pytest.mark.anyio
@pytest.mark.parametrize("name", sorted(PROVOKED))
async def test_the_emulator_refuses_in_the_samples_words(name: str) -> None:
    portal, how = SamplePortal(), PROVOKED[name]
    how.scene(portal)
    url = f"{how.url or f'{BASE}/rest/'}{how.method}.json"
    auth = {} if how.url else {"auth": TOKEN}
    answer = await portal.say({"method": "POST", "url": url, "json": auth | dict(how.params)})
    wanted = sample(name)
    assert (answer.status_code, answer.json()) == (wanted["status"], wanted["json"])


@pytest.mark.anyio
@pytest.mark.parametrize("name", sorted(AUTH_SERVER))
async def test_the_auth_server_refuses_in_the_samples_words(name: str) -> None:
    portal, (changes, scene) = SamplePortal(), AUTH_SERVER[name]
    alive = (
        {"refresh_token": portal.portal.issue_tokens(1)[1]} if changes.get("refresh_token") == "alive" else {}
    )
    scene(portal)
    asked = sample("oauth.token.refresh.request")
    asked["params"] = asked["params"] | changes | alive
    answer = await portal.say(asked)
    wanted = sample(name)
    assert (answer.status_code, answer.json()) == (wanted["status"], wanted["json"])
    assert asked["url"].startswith(AUTH)


@pytest.mark.anyio
async def test_a_renamed_portal_redirects_as_the_sample() -> None:
    portal, wanted = SamplePortal(), sample("rest.redirect.portal-renamed")
    renamed(portal)
    answer = await portal.say(
        {"method": "POST", "url": f"{BASE}/rest/user.current.json", "json": {"auth": TOKEN}}
    )
    assert (answer.status_code, answer.text) == (wanted["status"], wanted["text"])
    assert answer.headers["location"] == wanted["headers"]["Location"]
    with pytest.raises(json.JSONDecodeError):
        answer.json()


COVERS = set(MEANS)
"""The samples that this module asserts; `test_coverage` counts them."""
