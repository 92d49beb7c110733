"""Every REST request sample, said word for word to the emulator: the answer is the response sample.

Key sets and types are compared everywhere; values too, but for the paths that a play names (ids and
instants that another world would give). `time` is compared by shape.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

import pytest

from bitrix_app.sandbox.state import User
from tests.contract import scenes
from tests.contract.scenes import Scene
from tests.contract.shape import differences
from tests.contract.world import CALL_ID, SamplePortal, sample

pytestmark = pytest.mark.anyio

_HISTORY = r"\.(createdTime|updatedTime|movedTime|lastActivityTime|lastActivityBy|updatedBy)$"
"""When and by whom a record was touched before: the samples' records have a past."""
_OLD_HISTORY = r"\.(DATE_CREATE|DATE_MODIFY|MOVED_TIME|LAST_ACTIVITY_TIME|LAST_ACTIVITY_BY|MODIFY_BY_ID)$"


@dataclass(frozen=True)
class Play:
    """`request` is said in `scene` and answered by `response`; `vary` matches paths whose values differ,
    `trimmed` those that the sample leaves out (findings §4: samples are trimmed to what we use).
    """

    request: str
    response: str
    scene: Scene = scenes.as_it_is
    vary: str = r"^$"
    trimmed: str = r"^$"


def one(name: str, scene: Scene = scenes.as_it_is, vary: str = r"^$", trimmed: str = r"^$") -> Play:
    """A request with the response of the same name."""
    return Play(name, name, scene, vary, trimmed)


_FILE_URL = r"result(\.\*)?\.DOWNLOAD_URL$"
_MADE = "telephony.externalcall.register.incoming"

PLAYS = [
    one("app.info"),
    one("app.option.get", scenes.options),
    one("app.option.set"),
    one("crm.activity.configurable.add", scenes.next_id("activity", 8102)),
    one("crm.activity.configurable.update", scenes.own_card),
    one("crm.activity.get", SamplePortal.finished, r"result\.(CREATED|LAST_UPDATED)$"),
    one("crm.activity.layout.blocks.set", SamplePortal.finished),
    one("crm.activity.list.by-call", SamplePortal.recorded),
    one("crm.activity.todo.add", scenes.next_id("activity", 8101)),
    one("crm.activity.update", SamplePortal.finished),
    one("crm.category.list"),
    one("crm.contact.get", vary=_OLD_HISTORY, trimmed=r"\.UTM_\w+$"),
    one("crm.contact.list"),
    one("crm.contact.update"),
    one("crm.deal.get", vary=_OLD_HISTORY + r"|\.(IS_\w+|BEGINDATE|CLOSEDATE)$"),
    one("crm.deal.list"),
    one("crm.deal.update"),
    one("crm.duplicate.findbycomm", SamplePortal.lead),
    Play("crm.duplicate.findbycomm", "crm.duplicate.findbycomm.none", SamplePortal.strangers),
    one("crm.item.add.lead", scenes.next_id("multifield", 501)),
    one("crm.item.get.contact", scenes.vip, _HISTORY),
    one("crm.item.list.deals"),
    one("crm.item.list.no-count", scenes.later_contact, trimmed=r"^result\.items\.\*\.\w+$"),
    one("crm.item.update.deal-stage", vary=_HISTORY + r"|isManualOpportunity$"),
    one("crm.lead.get", SamplePortal.lead),
    one("crm.lead.list", SamplePortal.lead),
    one("crm.lead.update", SamplePortal.lead),
    one("crm.settings.mode.get"),
    one("crm.status.list.deal", vary=r"\.(ID|SORT)$"),
    one("crm.status.list.lead", vary=r"\.SORT$"),
    one("crm.timeline.comment.add"),
    one("crm.timeline.logmessage.add", vary=r"\.created$"),
    one("department.get"),
    one("disk.file.delete", SamplePortal.file),
    one("disk.file.get", SamplePortal.file, _FILE_URL),
    one("disk.file.getversions", SamplePortal.file, _FILE_URL),
    one("disk.file.markdeleted", SamplePortal.file, _FILE_URL + r"|\.DELETE_TIME$"),
    one("disk.file.uploadversion", SamplePortal.file, _FILE_URL),
    one("disk.folder.addsubfolder", scenes.both(SamplePortal.exports, scenes.next_id("object", 8964))),
    one("disk.folder.getchildren", SamplePortal.month),
    one("disk.folder.uploadfile.base64", SamplePortal.month, _FILE_URL),
    one("disk.folder.uploadfile.step1", SamplePortal.month, r"uploadUrl$"),
    one(
        "disk.folder.uploadfile.step2",
        scenes.both(
            SamplePortal.month,
            scenes.upload(
                "disk",
                {"folder": 8964, "unique": True, "user": 1, "rights": []},
                "disk.folder.uploadfile.step2",
            ),
        ),
        _FILE_URL,
    ),
    one("disk.storage.addfolder", scenes.both(SamplePortal.drive, scenes.next_id("object", 8930))),
    one("disk.storage.getforapp", SamplePortal.drive),
    one("disk.storage.getlist", vary=r"\.(ID|ROOT_OBJECT_ID)$"),
    one(
        "disk.storage.uploadfile", scenes.both(SamplePortal.drive, scenes.next_id("object", 9035)), _FILE_URL
    ),
    one("event.bind"),
    Play("event.bind.offline", "event.bind"),
    one("event.get", scenes.handlers),
    one("event.offline.clear", scenes.reserved),
    one("event.offline.error", scenes.reserved),
    one("event.offline.get", scenes.queue("unitalk"), r"\.process_id$"),
    one("event.offline.list", scenes.queue("")),
    one("event.unbind", scenes.handlers),
    one("events"),
    one("feature.get"),
    one("im.message.add"),
    one("im.notify.personal.add", scenes.next_id("notification", 12346)),
    Play("im.notify.personal.add", "im.notify.personal.add.not-created", scenes.user(7, active=False)),
    one("im.notify.system.add"),
    Play("placement.bind.background-worker", "placement.bind"),
    Play("placement.bind.call-card", "placement.bind"),
    Play("placement.bind.deal-tab", "placement.bind"),
    Play("placement.bind.telephony-analytics", "placement.bind"),
    one("placement.get", scenes.widgets),
    one("placement.list", vary=r"^result(\.\*)?$"),
    one("placement.unbind", scenes.widgets),
    one("profile"),
    one(
        "pull.application.config.get",
        scenes.as_taras,
        vary=r"\.(id|public_id)$",
    ),
    one("pull.application.event.add"),
    one("scope"),
    one("telephony.call.attachtranscription", SamplePortal.finished),
    one(
        "telephony.externalcall.attachrecord.base64", scenes.both(SamplePortal.finished, scenes.folders_made)
    ),
    one("telephony.externalcall.attachrecord.upload-step1", SamplePortal.finished, r"uploadUrl$"),
    one(
        "telephony.externalcall.attachrecord.upload-step2",
        scenes.both(
            SamplePortal.finished,
            scenes.folders_made,
            scenes.upload(
                "telephony",
                {"callId": CALL_ID, "filename": "UT-2026-09-02-000123.mp3"},
                "telephony.externalcall.attachrecord.upload-step2",
            ),
        ),
    ),
    one(
        "telephony.externalcall.attachrecord.url",
        scenes.both(SamplePortal.finished, scenes.folders_made, scenes.pbx_file),
    ),
    one("telephony.externalcall.finish.answered", SamplePortal.pending),
    one("telephony.externalcall.finish.missed", scenes.second_call),
    Play(
        "telephony.externalcall.finish.answered",
        "telephony.externalcall.finish.activity-error",
        scenes.no_activity,
        r"result\.COST(_CURRENCY)?$",
    ),
    one("telephony.externalcall.hide", SamplePortal.pending),
    one(_MADE),
    Play(_MADE, "telephony.externalcall.register.lead-created", SamplePortal.strangers),
    Play(_MADE, "telephony.externalcall.register.contact-deal-created", scenes.simple_mode),
    Play(_MADE, "telephony.externalcall.register.lead-error", scenes.colleague),
    one("telephony.externalcall.register.outgoing", vary=r"\.CALL_ID$"),
    one("telephony.externalcall.searchcrmentities"),
    Play(
        "telephony.externalcall.searchcrmentities",
        "telephony.externalcall.searchcrmentities.none",
        SamplePortal.strangers,
    ),
    one("telephony.externalcall.show", SamplePortal.pending),
    one("telephony.externalline.add"),
    one("telephony.externalline.delete", scenes.lines),
    one("telephony.externalline.get", scenes.lines),
    one("telephony.externalline.update", scenes.lines),
    *(
        Play(
            "timeman.status",
            f"timeman.status.{state.lower()}",
            scenes.user(7, time_status=state),
            r"\.(TIME_START|TIME_FINISH|TIME_FINISH_DEFAULT|DURATION)$",
        )
        for state in ("OPENED", "CLOSED", "PAUSED", "EXPIRED")
    ),
    one("user.access"),
    one("user.admin"),
    one("user.current", vary=r"LAST_ACTIVITY_DATE$"),
    one("user.get.by-extension"),
    one("user.get.page", scenes.many_people, vary=r"^result($|\.\*\.)"),
    one("user.option.get", lambda portal: portal.state.user_options.update({1: {"card_position": "right"}})),
    one("user.option.set"),
    one("voximplant.statistic.get", SamplePortal.recorded),
    one("voximplant.user.get", scenes.confirmed),
]


@pytest.mark.parametrize("play", PLAYS, ids=lambda play: f"{play.request} → {play.response}")
async def test_the_emulator_answers_a_sample_request_as_the_sample_response(play: Play) -> None:
    portal = SamplePortal()
    play.scene(portal)
    answer = await portal.say(sample(f"{play.request}.request"))
    wanted = sample(f"{play.response}.response")
    assert answer.status_code == wanted["status"]
    assert answer.headers["content-type"].lower() == wanted["headers"]["Content-Type"].lower()
    wrong = [
        str(difference)
        for difference in differences(answer.json(), wanted["json"])
        if not (difference.kind == "value" and re.search(rf"^time\.|{play.vary}", difference.path))
        and not (difference.kind == "extra" and re.search(play.trimmed, difference.path))
    ]
    assert wrong == []


async def test_one_option_is_a_value_and_not_a_map() -> None:
    portal = SamplePortal()
    scenes.options(portal)
    request = sample("app.option.get.request")
    request["json"]["option"] = "settings_version"
    answer = await portal.say(request)
    assert answer.json()["result"] == sample("app.option.get.single.response")["json"]["result"] == "3"


async def test_a_page_of_a_list_says_where_the_next_begins() -> None:
    portal = SamplePortal()
    for number in range(100, 751):
        portal.state.users[number] = User(number, "Somebody", "")
    request = sample("user.get.page.request")
    request["json"].update(FILTER={}, select=["ID", "ACTIVE", "NAME"])
    told, wanted = (await portal.say(request)).json(), sample("rest.list.paged.response")["json"]
    assert (told["next"], told["total"]) == (wanted["next"], wanted["total"]) == (50, 654)
    assert (told["result"][:2], len(told["result"])) == (wanted["result"], 50)
    request["json"]["start"] = 650
    last = (await portal.say(request)).json()
    assert ("next" in last, len(last["result"])) == (False, 4)


async def test_the_sample_batch_is_answered_command_by_command() -> None:
    portal = SamplePortal()
    request = sample("rest.batch.request")
    answer, wanted = await portal.say(request), sample("rest.batch.response")
    assert answer.status_code == wanted["status"] == 200  # although one command failed
    told, meant = answer.json()["result"], wanted["json"]["result"]
    assert told["result_error"] == meant["result_error"]
    assert set(told["result"]) == set(meant["result"])
    assert set(told["result_time"]) == set(meant["result_time"])
    assert (told["result_total"], told["result_next"]) == ([], [])
    # the reference was put in: contact 643's namesake is not there, the one found by number is
    assert told["result"]["contact"]["item"]["id"] == meant["result"]["contact"]["item"]["id"] == 797
    trimmed = {"extra"}  # rows of the sample are cut to what we use
    kinds = {x.kind for x in differences(told["result"]["who"], meant["result"]["who"])}
    assert kinds <= trimmed


async def test_a_batch_without_commands_is_five_empty_lists() -> None:
    portal = SamplePortal()
    request = sample("rest.batch.request")
    request["json"]["cmd"] = {}
    told = (await portal.say(request)).json()["result"]
    assert told == sample("rest.batch.empty.response")["json"]["result"]
    assert all(value == [] for value in told.values())


async def test_a_signed_upload_address_has_the_samples_form() -> None:
    for name in ("telephony.externalcall.attachrecord.upload-step1", "disk.folder.uploadfile.step1"):
        portal = SamplePortal()
        portal.finished()
        portal.month()
        told = (await portal.say(sample(f"{name}.request"))).json()["result"]["uploadUrl"]
        meant = sample(f"{name}.response")["json"]["result"]["uploadUrl"]
        base, _, signed = meant.partition("&token=")
        assert told.startswith(f"{base}&token=")  # the caller's own token is in it: the address dies with it
        assert told.count("%7C") == signed.count("%7C") == 2


PLAYED = {f"{play.request}.request" for play in PLAYS} | {f"{play.response}.response" for play in PLAYS}
COVERS = PLAYED | {
    "app.option.get.single.response",
    "rest.list.paged.response",
    "rest.batch.request",
    "rest.batch.response",
    "rest.batch.empty.response",
}
"""The samples that this module asserts; `test_coverage` counts them."""
