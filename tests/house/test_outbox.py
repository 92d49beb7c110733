"""Each command in the portal's words, and what its answers mean."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import pytest

from bitrix_app.bitrix.answers import Answer
from bitrix_app.bitrix.drive import Drive
from bitrix_app.bitrix.wire import RestCall
from bitrix_app.core.call import Call
from bitrix_app.core.commands import (
    AttachRecording,
    Command,
    EnsureBindings,
    FetchRecording,
    Finish,
    Hide,
    LayoutBlocks,
    Notify,
    Priority,
    Register,
    Show,
)
from bitrix_app.core.errors import (
    AnswerLost,
    Forbidden,
    NotFound,
    NotSent,
    Refused,
    Throttled,
    Trouble,
    VendorBroken,
)
from bitrix_app.core.events import CardsHidden, Direction, Done, Finished, RecordingFetched, Registered
from bitrix_app.core.jobs import Job
from bitrix_app.core.outcome import FAILED_REASON, Outcome
from bitrix_app.core.portal import Agent, Portal, PortalSettings
from bitrix_app.core.ports import Http, HttpRequest, HttpResponse
from bitrix_app.core.retry import DOUBT_MATURES
from bitrix_app.core.store import StoreUnavailable
from bitrix_app.directory import Directory
from bitrix_app.filing import Filing, RecordingSource
from bitrix_app.lines import Lines
from bitrix_app.moving import Moving
from bitrix_app.outbox import Moot, Outbox
from bitrix_app.owners import Owners
from bitrix_app.prepared import Prepared
from bitrix_app.records import Records
from bitrix_app.registering import MATCHED_FOR
from bitrix_app.upkeep import Upkeep
from tests.house.making import (
    CLIENT,
    LINE,
    NOW,
    Bench,
    Failing,
    FakePortal,
    Through,
    away,
    call,
    job,
    over,
    portal,
)
from tests.unitalk.fakes import FakeHttp

pytestmark = pytest.mark.anyio

ANN = Agent(11, "Ann Lee", "2001")
BEN = Agent(12, "Ben Fox", "2002")
BOSS = Agent(1, "Boss")
REGISTER = "telephony.externalcall.register"
FINISH = "telephony.externalcall.finish"
SHOW = "telephony.externalcall.show"
HIDE = "telephony.externalcall.hide"
STATISTIC = "voximplant.statistic.get"
SEARCH = "telephony.externalCall.searchCrmEntities"
LAYOUT = "crm.activity.layout.blocks.set"
CALL_ID = "externalCall.abc.1"
CALL_LOST = "Call is not found. Call should be registered prior to finishing"
ROW = {
    "CALL_ID": CALL_ID,
    "CRM_ACTIVITY_ID": "991",
    "CRM_ENTITY_TYPE": "LEAD",
    "CRM_ENTITY_ID": "5",
    "PORTAL_USER_ID": "11",
}


class FakeUpkeep:
    def __init__(self) -> None:
        self.delivered: list[str] = []

    async def deliver(self, _portal: Portal, one: Job) -> None:
        self.delivered.append(one.kind)


class Room:
    """The outbox with the real directory and filing, a scripted portal and a counting upkeep."""

    def __init__(self, bench: Bench, far: FakePortal, spool: Path) -> None:
        self.far = far
        self.http = FakeHttp()
        self.upkeep = FakeUpkeep()
        self.directory = Directory(bench.store, far.client, bench.clock)
        source = RecordingSource(["*.unitalk.cloud"], False)
        filing = Filing(cast(Http, self.http), far.client, Drive(far.client), bench.clock, spool, source)
        self.outbox = Outbox(
            far.client,
            self.directory,
            Owners(far.client, self.directory, bench.clock),
            Lines(bench.store, bench.clock),
            filing,
            Moving(far.client),
            cast(Upkeep, self.upkeep),
            bench.clock,
            Records(bench.store, far.client),
        )
        self.portal = bench.portal

    async def say(self, command: Command, about: Call | None, **more: Any) -> Any:
        more.setdefault("lane", about.id if about else "c1")
        return await self.outbox.deliver(self.portal, job(command, **more), about)


@pytest.fixture
async def room(bench: Bench, tmp_path: Path) -> Room:
    await bench.know(ANN, BEN, BOSS)
    far = FakePortal()
    far.on(REGISTER, {"CALL_ID": CALL_ID, "CRM_ENTITY_TYPE": "CONTACT", "CRM_ENTITY_ID": 7})
    far.on(FINISH, ROW)
    for method in (SHOW, HIDE, LAYOUT):
        far.on(method, True)
    return Room(bench, far, tmp_path / "spool")


# --- register --------------------------------------------------------------------------------------


async def test_register_says_who_whom_when_and_by_which_line(room: Room) -> None:
    event = await room.say(Register("2001", show=True, crm_create=True), call(), priority=Priority.LIVE)
    assert event == Registered(CALL_ID, 11, "2001", True, "CONTACT", 7)
    said = room.far.params(REGISTER)
    assert said["USER_ID"] == 11
    assert (said["PHONE_NUMBER"], said["LINE_NUMBER"], said["TYPE"]) == (CLIENT, LINE, 2)
    assert said["EXTERNAL_CALL_ID"] == "c1"
    assert said["CALL_START_DATE"] == "2026-09-02T10:15:00+03:00"
    assert (said["SHOW"], said["CRM_CREATE"]) == (1, 1)
    assert room.far.priorities == [Priority.LIVE]
    assert "CRM_ENTITY_TYPE" not in said


async def test_a_call_that_ended_meanwhile_opens_no_card(room: Room) -> None:
    await room.say(Register("2001", show=True), over(bitrix_call_id=None))
    assert room.far.params(REGISTER)["SHOW"] == 0


async def test_a_rule_against_new_records_is_said(room: Room) -> None:
    await room.say(Register("2001", crm_create=False), call(direction=Direction.OUT))
    said = room.far.params(REGISTER)
    assert (said["CRM_CREATE"], said["TYPE"]) == (0, 1)


async def test_an_unknown_extension_goes_to_the_default_and_is_told(room: Room) -> None:
    room.far.on("user.get", [])
    event = await room.say(Register("2099"), call())
    assert (event.user_id, event.matched, event.extension) == (1, False, "2099")


async def test_a_call_that_is_registered_is_not_registered_again(room: Room) -> None:
    assert await room.say(Register("2001"), over()) == Done("register")
    assert room.far.said == []


async def test_a_call_without_a_number_needs_a_person(room: Room) -> None:
    with pytest.raises(Refused) as refused:
        await room.say(Register("2001"), call(number=None, raw_number="anonymous"))
    assert refused.value.code == "HIDDEN_NUMBER"
    assert "anonymous" in refused.value.message
    with pytest.raises(Refused, match="gave no number") as refused:
        await room.say(Register("2001"), call(number=None, raw_number=None))
    assert refused.value.code == "NO_NUMBER"
    with pytest.raises(Refused, match="not a phone number"):
        await room.say(Register("2001"), call(number=None, raw_number="reception desk"))
    assert room.far.said == []


async def test_a_short_number_is_offered_to_bitrix24_as_it_came(room: Room) -> None:
    await room.say(Register("2001"), call(number=None, raw_number="102"))
    assert room.far.params(REGISTER)["PHONE_NUMBER"] == "102"


@pytest.mark.parametrize("command", [Register(None), Finish(None)])
async def test_without_any_user_a_person_is_asked_to_set_one(
    room: Room, bench: Bench, command: Command
) -> None:
    room.portal = portal(installed_by=None)
    about = call() if isinstance(command, Register) else over()
    with pytest.raises(Refused) as refused:
        await room.say(command, about)
    assert refused.value.code == "NO_USER"
    assert room.far.said == []


async def test_a_late_register_without_any_user_asks_a_person_too(room: Room) -> None:
    room.portal = portal(installed_by=None)
    room.far.on(SEARCH, [])
    with pytest.raises(Refused) as refused:
        await room.say(Register(None), call(started_at=NOW - 86_400))
    assert refused.value.code == "NO_USER"
    assert REGISTER not in room.far.methods


# --- register, late --------------------------------------------------------------------------------


async def test_a_register_within_the_matching_window_is_said_straight(room: Room) -> None:
    await room.say(Register("2001"), call(started_at=NOW - MATCHED_FOR))
    assert room.far.methods == [REGISTER]
    assert MATCHED_FOR < 30 * 60


async def test_a_late_register_searches_first_and_names_the_client(room: Room) -> None:
    room.far.on(SEARCH, [{"CRM_ENTITY_TYPE": "CONTACT", "CRM_ENTITY_ID": 7}])
    late = call(started_at=NOW - MATCHED_FOR - 1)
    event = await room.say(Register("2001", show=True, crm_create=True), late)
    assert room.far.methods == [SEARCH, REGISTER]
    assert room.far.params(SEARCH) == {"PHONE_NUMBER": CLIENT}
    said = room.far.params(REGISTER)
    assert (said["CRM_ENTITY_TYPE"], said["CRM_ENTITY_ID"]) == ("CONTACT", 7)
    assert (said["CRM_CREATE"], said["SHOW"]) == (0, 0)
    assert event == Registered(CALL_ID, 11, "2001", True, "CONTACT", 7)


async def test_a_late_register_of_a_stranger_may_make_a_record(room: Room) -> None:
    room.far.on(SEARCH, [])
    await room.say(Register("2001", crm_create=True), call(started_at=NOW - 86_400))
    said = room.far.params(REGISTER)
    assert said["CRM_CREATE"] == 1
    assert "CRM_ENTITY_TYPE" not in said


# --- doubt -----------------------------------------------------------------------------------------


async def test_a_doubtful_late_register_takes_the_id_that_was_heard_and_says_nothing(room: Room) -> None:
    known = call(heard_bitrix_id="externalCall.heard.1", started_at=NOW - 86_400)
    event = await room.say(Register("2001"), known, doubt=True)
    assert event == Registered("externalCall.heard.1", 11, "2001", True)
    assert room.far.said == []


async def test_without_doubt_a_heard_id_is_not_believed(room: Room) -> None:
    room.far.on(SEARCH, [])
    known = call(heard_bitrix_id="externalCall.heard.1", started_at=NOW - 86_400)
    await room.say(Register("2001"), known)
    assert room.far.methods == [SEARCH, SEARCH, REGISTER], "asked for in both notations"


async def test_within_the_window_the_portal_itself_knows_best_which_call_it_is(room: Room) -> None:
    await room.say(Register("2001"), call(heard_bitrix_id="externalCall.heard.1"), doubt=True)
    assert room.far.methods == [REGISTER]


async def test_a_doubtful_register_within_the_window_is_repeated_because_bitrix24_matches_it(
    room: Room,
) -> None:
    await room.say(Register("2001"), call(), doubt=True)
    assert room.far.methods == [REGISTER]


async def test_a_doubtful_late_register_that_the_statistics_know_is_not_said_again(room: Room) -> None:
    room.far.on(STATISTIC, [ROW])
    event = await room.say(Register("2001"), call(started_at=NOW - 86_400), doubt=True)
    assert (event.bitrix_call_id, event.user_id, event.extension) == (CALL_ID, 11, "2001")
    assert room.far.methods == [STATISTIC]
    assert room.far.params(STATISTIC)["FILTER"] == {"EXTERNAL_CALL_ID": "c1"}


async def test_a_doubtful_late_register_that_nobody_knows_is_said_after_a_search(room: Room) -> None:
    room.far.on(STATISTIC, [])
    room.far.on(SEARCH, [])
    await room.say(Register("2001"), call(started_at=NOW - 86_400), doubt=True)
    assert room.far.methods == [STATISTIC, SEARCH, SEARCH, REGISTER], "both notations of the number"


# --- finish ----------------------------------------------------------------------------------------


async def test_finish_says_how_it_ended(room: Room) -> None:
    room.far.on(FINISH, {**ROW, "PORTAL_USER_ID": "12"})
    event = await room.say(Finish("2002", 83, "200", ""), over())
    assert event == Finished(991, "LEAD", 5, 12, extension="2002", matched=True, by="extension")
    said = room.far.params(FINISH)
    assert said["CALL_ID"] == "externalCall.c1"
    assert (said["USER_ID"], said["DURATION"], said["STATUS_CODE"]) == (12, 83, "200")
    assert "FAILED_REASON" not in said


@pytest.mark.parametrize(
    ("language", "reason"),
    [("uk", "Лінія зайнята"), ("ru", "Линия занята"), ("de", "The line is busy")],
)
async def test_finish_says_why_it_failed_in_the_portals_language(
    room: Room, language: str, reason: str
) -> None:
    room.portal = replace(room.portal, language=language)
    await room.say(Finish("2002", 0, "486", FAILED_REASON[Outcome.BUSY]), over())
    assert room.far.params(FINISH)["FAILED_REASON"] == reason


async def test_a_finish_that_was_done_before_is_read_from_the_statistics(room: Room) -> None:
    room.far.on(FINISH, NotFound(CALL_LOST))
    room.far.on(STATISTIC, [ROW])
    event = await room.say(Finish("2001"), over())
    assert event == Finished(991, "LEAD", 5, 11, extension="2001", matched=True, by="extension")
    assert room.far.params(STATISTIC)["FILTER"] == {"CALL_ID": "externalCall.c1"}


async def test_an_earlier_finish_for_somebody_else_is_not_dressed_up_as_ours(room: Room) -> None:
    room.far.on(FINISH, NotFound(CALL_LOST))
    room.far.on(STATISTIC, [{**ROW, "PORTAL_USER_ID": "12"}])
    assert await room.say(Finish("2001"), over()) == Finished(991, "LEAD", 5, 12)


async def test_a_queued_call_is_opened_for_its_groups_default(room: Room, bench: Bench) -> None:
    room.portal = portal(settings=PortalSettings(group_users={"Sales": 12}))
    await room.say(Register(None, group="Sales"), call())
    assert room.far.params(REGISTER)["USER_ID"] == 12
    assert await bench.states("portal:bindings") == {"bindings": "waiting"}, "the call's line is made known"


async def test_a_missed_call_is_finished_for_the_responsible_person_with_a_batch_of_questions(
    room: Room,
) -> None:
    room.far.on(FINISH, {**ROW, "PORTAL_USER_ID": "12"})
    room.far.on(SEARCH, [{"CRM_ENTITY_TYPE": "LEAD", "CRM_ENTITY_ID": 5, "ASSIGNED_BY_ID": 12}])
    missed = {"outcome": Outcome.MISSED, "ringing": ("2001",)}
    work = batch(
        (Finish("2001"), over("a", **missed)),
        (Finish("2001"), over("b", number="+380440000012", **missed)),
    )
    settled, _ = await room.outbox.deliver_batch(room.portal, work)
    assert room.far.batches == [[SEARCH] * 2, [FINISH] * 2]
    assert [event.by for event in settled.values() if isinstance(event, Finished)] == ["responsible"] * 2


async def test_a_call_is_written_in_the_zone_of_its_line(room: Room) -> None:
    room.portal = portal(settings=PortalSettings(line_zones={LINE: "Asia/Almaty"}))
    await room.say(Register("2001"), call())
    assert room.far.params(REGISTER)["CALL_START_DATE"] == "2026-09-02T12:15:00+05:00"


async def test_a_stranger_is_said_to_be_one(room: Room) -> None:
    created = [{"ENTITY_TYPE": "LEAD", "ENTITY_ID": 5}]
    room.far.on(REGISTER, {"CALL_ID": CALL_ID, "CRM_ENTITY_TYPE": "LEAD", "CRM_ENTITY_ID": 5,
                           "CRM_CREATED_ENTITIES": created})  # fmt: skip
    event = await room.say(Register("2001"), call())
    assert "Bitrix24 made LEAD:5" in event.note


async def test_a_finish_that_not_even_the_statistics_know_needs_a_person(room: Room) -> None:
    room.far.on(FINISH, NotFound(CALL_LOST))
    room.far.on(STATISTIC, [])
    with pytest.raises(NotFound, match="prior to finishing"):
        await room.say(Finish("2001"), over())


async def test_a_finish_waits_until_a_lost_register_can_no_longer_land(room: Room) -> None:
    doubted = over(register_doubted_at=NOW - 10)
    with pytest.raises(Throttled) as waits:
        await room.say(Finish("2001"), doubted)
    assert waits.value.retry_at == NOW - 10 + DOUBT_MATURES
    assert room.far.said == []
    await room.say(Finish("2001"), over(register_doubted_at=NOW - DOUBT_MATURES))
    assert room.far.methods == [FINISH]


async def test_another_refusal_of_finish_stays_a_refusal(room: Room) -> None:
    room.far.on(FINISH, Refused("Wrong STATUS_CODE"))
    with pytest.raises(Refused, match="STATUS_CODE"):
        await room.say(Finish("2001"), over())
    assert room.far.methods == [FINISH]


async def test_a_lost_answer_is_handed_on_as_it_is(room: Room) -> None:
    room.far.on(FINISH, AnswerLost("reset"))
    with pytest.raises(AnswerLost):
        await room.say(Finish("2001"), over())


# --- a dismissed user ------------------------------------------------------------------------------

GONE = "User is not found or is not active"


async def test_a_dismissed_user_makes_us_ask_who_has_the_extension_now(room: Room) -> None:
    room.far.on(REGISTER, Refused(GONE), {"CALL_ID": CALL_ID})
    room.far.on("user.get", [{"ID": "30", "ACTIVE": True, "UF_PHONE_INNER": "2001"}])
    event = await room.say(Register("2001"), call())
    assert (event.bitrix_call_id, event.user_id, event.matched) == (CALL_ID, 30, True)
    assert room.far.methods == [REGISTER, "user.get", REGISTER]
    assert room.far.params(REGISTER)["USER_ID"] == 30


async def test_the_default_stands_in_when_nobody_took_the_extension_over(room: Room) -> None:
    room.far.on(FINISH, Refused(GONE), ROW)
    room.far.on("user.get", [])
    await room.say(Finish("2001"), over())
    assert room.far.params(FINISH)["USER_ID"] == 1


async def test_it_is_asked_anew_once_only(room: Room) -> None:
    room.far.on(REGISTER, Refused(GONE))
    room.far.on("user.get", [{"ID": "30", "ACTIVE": True, "UF_PHONE_INNER": "2001"}])
    with pytest.raises(Refused, match="not active"):
        await room.say(Register("2001"), call())
    assert room.far.methods.count(REGISTER) == 2


async def test_the_same_user_is_not_tried_twice(room: Room) -> None:
    room.far.on(REGISTER, Refused(GONE))
    room.far.on("user.get", [{"ID": "11", "ACTIVE": True, "UF_PHONE_INNER": "2001"}])
    with pytest.raises(Refused, match="not active"):
        await room.say(Register("2001"), call())
    assert room.far.methods.count(REGISTER) == 1


# --- cards -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(("command", "method"), [(Show(("2001", "2002")), SHOW), (Hide(("2002",)), HIDE)])
async def test_cards_are_opened_and_closed_for_the_extensions_users(
    room: Room, command: Show | Hide, method: str
) -> None:
    live = call(bitrix_call_id=CALL_ID, shown=("2001", "2002") if method == SHOW else ("2001",))
    told = Done("k") if method == SHOW else CardsHidden(("2002",))
    assert await room.say(command, live, key="k") == told
    users = {"2001": 11, "2002": 12}
    assert room.far.params(method) == {"CALL_ID": CALL_ID, "USER_ID": [users[e] for e in command.extensions]}


async def test_opening_a_card_of_a_call_that_is_over_is_moot(room: Room) -> None:
    with pytest.raises(Moot, match="over"):
        await room.say(Show(("2001",)), over())
    assert room.far.said == []


async def test_closing_a_card_of_a_call_that_is_over_is_said(room: Room) -> None:
    assert await room.say(Hide(("2001",)), over()) == CardsHidden(("2001",))
    assert room.far.methods == [HIDE]


async def test_a_card_for_nobody_is_moot(room: Room) -> None:
    room.far.on("user.get", [])
    with pytest.raises(Moot, match="none of the extensions"):
        await room.say(Show(("2099",)), call(bitrix_call_id=CALL_ID, shown=("2099",)))


async def test_a_card_that_nobody_could_have_is_hidden_without_a_request(room: Room) -> None:
    room.far.on("user.get", [])
    assert await room.say(Hide(("2099",)), call(bitrix_call_id=CALL_ID)) == CardsHidden(("2099",))
    assert HIDE not in room.far.methods


async def test_a_card_that_is_shown_late_is_shown_to_those_who_are_still_to_see_it(room: Room) -> None:
    live = call(bitrix_call_id=CALL_ID, shown=("2002",), shown_users=(1,))
    await room.say(Show(("2001", "2002"), (1, 13)), live)
    assert room.far.params(SHOW)["USER_ID"] == [12, 1]
    with pytest.raises(Moot, match="somebody else has answered"):
        await room.say(Show(users=(13,)), live)
    assert await room.say(Show(users=(13,)), live, doubt=True) == Done("show"), "it may have opened"
    assert room.far.methods.count(SHOW) == 1


async def test_whoever_is_to_see_the_card_is_never_hidden_from_under_another_name(room: Room) -> None:
    """The responsible person (12) answered at 2002; 2001 rang, the default user 1 had Register."""
    talk = call(bitrix_call_id=CALL_ID, shown=("2002",), carded=("2001", "2002"), carded_users=(12, 1))
    assert await room.say(Hide(("2001",), (12,)), talk) == CardsHidden(("2001",), (12, 1))
    assert room.far.params(HIDE)["USER_ID"] == [11, 1]


async def test_a_hide_said_late_is_for_whoever_is_gone_by_then(room: Room) -> None:
    """2001 → 2002 → back to 2001 while the first Hide was tried again."""
    back = call(bitrix_call_id=CALL_ID, shown=("2001",), carded=("2001", "2002"))
    await room.say(Hide(("2001",)), back)
    assert room.far.params(HIDE)["USER_ID"] == [12]


async def test_no_card_is_left_to_hide_after_finish(room: Room) -> None:
    with pytest.raises(Moot, match="no card"):
        await room.say(Hide(("2001",)), over(finished=True))


async def test_the_card_of_a_call_that_was_only_heard_of_is_hidden_after_its_end(room: Room) -> None:
    ended = over(bitrix_call_id=None, heard_bitrix_id="externalCall.heard", carded=("2001",))
    await room.say(Hide(("2001",)), ended)
    assert room.far.params(HIDE) == {"CALL_ID": "externalCall.heard", "USER_ID": [11]}


@pytest.mark.parametrize(("command", "method"), [(Show(("2001",)), SHOW), (Hide(("2001",)), HIDE)])
async def test_a_card_of_a_call_that_the_portal_closed_is_done(
    room: Room, command: Command, method: str
) -> None:
    room.far.on(method, NotFound(CALL_LOST))
    shown = ("2001",) if method == SHOW else ()
    told = Done("show") if method == SHOW else CardsHidden(("2001",))
    assert await room.say(command, call(bitrix_call_id=CALL_ID, shown=shown)) == told
    assert STATISTIC not in room.far.methods


# --- layout ----------------------------------------------------------------------------------------


async def test_the_layout_stands_on_the_calls_activity_in_the_portals_language(room: Room) -> None:
    room.portal = portal(language="uk")
    assert await room.say(LayoutBlocks(), over(crm_type="CONTACT")) == Done("layout")
    said = room.far.params(LAYOUT)
    assert (said["entityTypeId"], said["entityId"], said["activityId"]) == (3, 5, 77)
    assert "Відкрити" in str(said["layout"])


@pytest.mark.parametrize("missing", [{"activity_id": None}, {"crm_type": None}, {"crm_id": None}])
async def test_a_layout_without_an_activity_on_a_record_is_moot(room: Room, missing: Any) -> None:
    with pytest.raises(Moot, match="no activity"):
        await room.say(LayoutBlocks(), over(**missing))


@pytest.mark.parametrize("code", ["ERROR_METHOD_NOT_FOUND", "UNSUITABLE_ACTIVITY_TYPE_ERROR"])
async def test_a_portal_too_old_for_our_layout_is_no_failure(room: Room, code: str) -> None:
    room.far.on(LAYOUT, NotFound("no such method", code=code))
    with pytest.raises(Moot, match="cannot show our blocks"):
        await room.say(LayoutBlocks(), over())


async def test_another_refusal_of_the_layout_needs_a_person(room: Room) -> None:
    room.far.on(LAYOUT, Refused("no rights", code="ACCESS_DENIED"))
    with pytest.raises(Refused):
        await room.say(LayoutBlocks(), over())


# --- who else delivers -----------------------------------------------------------------------------


async def test_the_portals_own_work_goes_to_upkeep(room: Room) -> None:
    assert await room.say(EnsureBindings(), None, lane="portal:bindings") is None
    assert room.upkeep.delivered == ["ensure_bindings"]


async def test_a_notice_of_a_call_goes_to_upkeep_and_is_done(room: Room) -> None:
    assert await room.say(Notify(tag="t", message="m"), over(), key="notify:t") == Done("notify:t")
    assert room.upkeep.delivered == ["notify"]


async def test_a_job_of_an_erased_call_is_moot(room: Room) -> None:
    with pytest.raises(Moot, match="erased"):
        await room.say(Finish(), None)


async def test_recordings_go_to_filing(room: Room) -> None:
    room.http.answers = [HttpResponse(200, {}, b"ID3" + b"\0" * 100)]
    known = over(link="https://api.unitalk.cloud:8443/tracking/rec/1")
    event = await room.say(FetchRecording(link=known.link or ""), known)
    assert event == RecordingFetched("c1.audio", 103, "mp3")


async def test_a_command_that_nobody_delivers_is_moot(room: Room) -> None:
    with pytest.raises(Moot, match="nobody delivers ensure_bindings"):
        await room.say(EnsureBindings(), over())


# --- batches ---------------------------------------------------------------------------------------


def batch(*said: tuple[Command, Call], **more: Any) -> list[tuple[Job, Call]]:
    return [
        (job(command, id=number, lane=about.id, **more), about)
        for number, (command, about) in enumerate(said, 1)
    ]


def test_only_single_requests_without_doubt_may_share_a_batch(bench: Bench) -> None:
    outbox = Outbox(*(cast(Any, None) for _ in range(9)))
    fit = (Register(), Finish(), LayoutBlocks(), Show(), Hide())
    assert all(outbox.batchable(job(command)) for command in fit)
    assert not any(outbox.batchable(job(command, doubt=True)) for command in fit)
    assert not any(outbox.batchable(job(c)) for c in (AttachRecording(), FetchRecording(), Notify()))


async def test_a_batch_settles_each_job_alone(room: Room) -> None:
    room.far.on(FINISH, ROW, NotFound(CALL_LOST), Refused("no"), Throttled("slow", retry_at=NOW + 9))
    room.far.on(STATISTIC, [ROW])
    work = batch(
        (Finish("2001"), over("a")),
        (Finish("2001"), over("b")),
        (Finish("2001"), over("c")),
        (Finish("2001"), over("d")),
        (Show(("2001",)), over("e")),
        (Register("2001"), over("f")),
        (Register("2001"), call("g", number=None, raw_number="hidden")),
        (Register("2001"), call("h")),
    )
    settled, _ = await room.outbox.deliver_batch(room.portal, work)
    kinds = {number: type(result) for number, result in settled.items()}
    assert kinds == {
        1: Finished,
        2: Finished,
        3: Refused,
        4: Throttled,
        5: Moot,
        6: Done,
        7: Refused,
        8: Registered,
    }
    assert room.far.batches == [[FINISH] * 4 + [REGISTER]]


async def test_a_refusal_in_a_batch_that_is_moot_settles_only_its_own_job(room: Room) -> None:
    room.far.on(LAYOUT, NotFound("no such method", code="ERROR_METHOD_NOT_FOUND"), True)
    work = batch((LayoutBlocks(), over("a")), (LayoutBlocks(), over("b")))
    settled, _ = await room.outbox.deliver_batch(room.portal, work)
    assert isinstance(settled[1], Moot)
    assert settled[2] == Done("layout")


async def test_a_batch_goes_at_the_best_priority_of_its_jobs(room: Room) -> None:
    work = batch((Finish("2001"), over("a")), priority=int(Priority.CRM))
    work += [(job(Finish("2001"), id=2, priority=int(Priority.FINISH)), over("b"))]
    await room.outbox.deliver_batch(room.portal, work)
    assert room.far.priorities == [Priority.FINISH]


async def test_a_batch_in_which_nothing_needs_to_be_said_says_nothing(room: Room) -> None:
    settled, _ = await room.outbox.deliver_batch(room.portal, batch((Register(), over("a"))))
    assert settled == {1: Done("register")}
    assert room.far.batches == []


@pytest.mark.parametrize("trouble", [NotSent("refused"), VendorBroken("500"), Throttled("slow")])
async def test_a_batch_that_failed_as_a_whole_failed_for_each_of_its_jobs_and_nobody_else(
    room: Room, trouble: Trouble
) -> None:
    room.far.batch_fault = trouble
    work = batch((Finish("2001"), over("a")), (Register(), over("b")), (Finish("2001"), over("c")))
    settled, alone = await room.outbox.deliver_batch(room.portal, work)
    assert settled == {1: trouble, 2: Done("register"), 3: trouble}
    assert alone == []


async def test_late_registers_of_a_backlog_are_left_for_later_with_nothing_said(room: Room) -> None:
    work = batch((Register("2001"), call("a", started_at=NOW - 86_400)), (Finish("2001"), over("b")))
    settled, alone = await room.outbox.deliver_batch(room.portal, work)
    assert [type(result) for result in settled.values()] == [Finished]
    assert alone == [work[0][0]]
    assert room.far.batches == [[FINISH]]
    assert REGISTER not in room.far.methods


async def test_a_store_that_is_away_while_a_batch_is_prepared_is_told(room: Room, bench: Bench) -> None:
    store = Through(bench.store, snapshot=Failing(bench.store.snapshot, away()))
    room.directory._store = cast(Any, store)
    with pytest.raises(StoreUnavailable):
        await room.outbox.deliver_batch(room.portal, batch((Finish("2001"), over("a"))))
    assert room.far.said == []


async def test_an_answer_that_we_fail_to_read_is_a_fault_of_its_own_job(
    room: Room, monkeypatch: pytest.MonkeyPatch
) -> None:
    work = batch((Finish("2001"), over("a")), (Finish("2001"), over("b")))

    async def failing(*_: Any) -> Any:
        raise ValueError("a fault of ours")

    room.far.on(FINISH, Refused("no"), ROW)
    monkeypatch.setattr(room.outbox, "_after_refusal", failing)
    settled, _ = await room.outbox.deliver_batch(room.portal, work)
    assert isinstance(settled[1], Trouble)
    assert settled[1].code == "INTERNAL"
    assert isinstance(settled[2], Finished)


@pytest.mark.parametrize("answer", [ROW, Answer({"CALL_ID": CALL_ID})])
async def test_a_job_with_a_fault_of_ours_does_not_take_the_batch_with_it(room: Room, answer: Any) -> None:
    room.far.on(FINISH, answer)
    work = batch((Finish("2001"), over("a", bitrix_call_id=None)), (Finish("2001"), over("b")))
    settled, _ = await room.outbox.deliver_batch(room.portal, work)
    assert isinstance(settled[2], Finished)


async def test_a_batch_whose_token_ends_in_the_middle_keeps_what_was_answered() -> None:
    from tests.bitrix import fakes

    def script(request: HttpRequest) -> HttpResponse:
        if "/oauth/token" in request.url:
            return fakes.refused("invalid_grant")
        inner = {"a": {"CALL_ID": CALL_ID}}
        errors = {"b": {"error": "expired_token", "error_description": "over"}}
        return fakes.answered({"result": inner, "result_error": errors, "result_time": {}})

    house = fakes.House(script)
    requests = {"a": RestCall(REGISTER, {"PHONE_NUMBER": "1"}), "b": RestCall(FINISH, {"CALL_ID": "2"})}
    settled = await house.run(house.client.batch(house.portal, requests))
    assert isinstance(settled["a"], Answer)
    assert isinstance(settled["b"], Trouble)


async def test_prepare_makes_one_request_of_a_job(room: Room) -> None:
    ready = await room.outbox.prepare(room.portal, job(Finish("2001")), over())
    assert isinstance(ready, Prepared)
    assert ready.request.method == FINISH
    settings = PortalSettings(line_users={LINE: 12})
    ready = await room.outbox.prepare(portal(settings=settings), job(Finish(None)), over())
    assert isinstance(ready, Prepared)
    assert ready.request.params["USER_ID"] == 12, "the line's own default"


# --- rights ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["layout", "notify"])
async def test_what_a_missing_right_makes_pointless_is_left_out_with_the_reason(
    room: Room, kind: str
) -> None:
    room.portal = portal(scope=("telephony", "user_basic"))
    command = LayoutBlocks() if kind == "layout" else Notify("tag", "text")
    with pytest.raises(Moot, match=r"did not grant us the right (crm|im)"):
        await room.say(command, over())
    assert room.far.said == []


async def test_a_right_that_was_just_taken_away_is_no_failure_either(room: Room) -> None:
    room.far.on(LAYOUT, Forbidden("no right", code="insufficient_scope"))
    with pytest.raises(Moot, match="did not grant us the right crm"):
        await room.say(LayoutBlocks(), over())


async def test_a_call_cannot_do_without_telephony_so_that_needs_a_person(room: Room) -> None:
    room.far.on(FINISH, Forbidden("no right", code="insufficient_scope"))
    with pytest.raises(Forbidden):
        await room.say(Finish("2001", 5, "200"), over())


async def test_in_a_batch_too_only_the_step_without_a_right_is_left_out(room: Room) -> None:
    room.portal = portal(scope=("telephony", "user_basic"))
    room.far.on(FINISH, ROW)
    work = [
        (job(LayoutBlocks(), id=1), over("c1")),
        (job(Finish("2001", 5, "200"), id=2, lane="c2"), over("c2")),
        (job(Finish("2001", 5, "200"), id=3, lane="c3"), over("c3")),
    ]
    settled, _ = await room.outbox.deliver_batch(room.portal, work)
    assert isinstance(settled[1], Moot)
    assert isinstance(settled[2], Finished)
    assert isinstance(settled[3], Finished)


async def test_a_right_taken_away_in_the_middle_of_a_batch_is_no_failure_either(room: Room) -> None:
    room.far.on(LAYOUT, Forbidden("no right", code="insufficient_scope"))
    work = [(job(LayoutBlocks(), id=n, lane=f"c{n}"), over(f"c{n}")) for n in (1, 2)]
    settled, _ = await room.outbox.deliver_batch(room.portal, work)
    assert all(isinstance(settled[n], Moot) for n in (1, 2))
