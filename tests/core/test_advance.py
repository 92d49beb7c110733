"""What the PBX's reports and the portal's answers mean for a call."""

import itertools
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bitrix_app.core.advance import DOCUMENT_AFTER, NO_END_AFTER, REGISTER_AFTER, Rules, advance
from bitrix_app.core.call import Recording, pack, unpack
from bitrix_app.core.commands import Finish, Hide, Priority, Register, Show
from bitrix_app.core.events import (
    Direction,
    DocumentFiled,
    Done,
    Due,
    Finished,
    GivenUp,
    Heard,
    RecordingAttached,
    RecordingCopied,
    RecordingFetched,
    Registered,
    Step,
)
from bitrix_app.core.lifecycle import IllegalMove, Phase
from bitrix_app.core.outcome import Outcome
from tests.core.calls import LINK, NOW, Story, ended, missed, new_call, report

REGISTERED = Registered("externalCall.1", 7, "2001", crm_type="LEAD", crm_id=1205)
FINISHED = Finished(activity_id=7943, crm_type="LEAD", crm_id=1205, user_id=7)


def test_an_announced_call_without_agent_is_registered_three_seconds_later() -> None:
    story = Story()
    story.tell(report(Step.NEW))
    assert story.owed == {}
    assert story.wakes == {"register": NOW + REGISTER_AFTER, "no_end": NOW + NO_END_AFTER}
    story.tell(Due("register"))
    assert story.command("register") == Register(extension=None, show=True, crm_create=True)
    assert "register" not in story.wakes


def test_the_first_ringer_gets_the_card_with_register_and_one_show_brings_the_others() -> None:
    story = Story()
    story.tell(report(Step.NEW), report(Step.OFFERED, "2001", "2002", "2003"))
    assert story.command("register") == Register(extension="2001")
    assert story.command("show:2002,2003") == Show(extensions=("2002", "2003"))
    assert story.owed["show:2002,2003"].needs == ("register",)
    assert story.owed["register"].priority is Priority.LIVE
    assert "register" not in story.wakes


def test_a_register_that_may_create_holds_a_lock_on_its_number() -> None:
    story = Story()
    story.tell(report(Step.OFFERED, "2001"))
    assert story.owed["register"].mutex == "number:+380440000011"
    quiet = Story(Rules(crm_create_in=False))
    quiet.tell(report(Step.OFFERED, "2001"))
    assert quiet.owed["register"].mutex is None


def test_an_answer_hides_the_card_from_all_others() -> None:
    story = Story()
    story.tell(report(Step.OFFERED, "2001", "2002"), report(Step.ANSWERED, "2002"))
    assert story.command("hide:1") == Hide(extensions=("2001",))
    assert story.call.phase is Phase.TALKING
    assert story.call.owner == "2002"


def test_a_transfer_makes_a_second_leg_and_the_last_who_talked_owns_the_call() -> None:
    story = Story()
    story.tell(report(Step.OFFERED, "2001"), report(Step.ANSWERED, "2001"))
    story.now += 30
    story.tell(report(Step.ANSWERED, "2004"), ended("2004"))
    assert [leg.extension for leg in story.call.legs] == ["2001", "2004"]
    assert story.command("show:2004") == Show(extensions=("2004",))
    finish = story.command("finish")
    assert isinstance(finish, Finish)
    assert finish.extension == "2004"


def test_an_answered_call_owes_finish_recording_and_copy_as_a_graph() -> None:
    story = Story()
    story.tell(report(Step.OFFERED, "2001"), report(Step.ANSWERED, "2001"), ended("2001"))
    assert story.command("finish") == Finish("2001", 83, "200", "")
    assert {key: owed.needs for key, owed in story.owed.items()} == {
        "register": (),
        "finish": ("register",),
        "fetch_recording": (),
        "attach_recording": ("finish", "fetch_recording"),
        "drive_copy": ("attach_recording",),
    }
    assert story.call.recording is Recording.EXPECTED
    assert {"show", "hide"} <= story.cancelled
    assert "no_end" not in story.wakes


def test_end_alone_makes_a_whole_call_without_a_card() -> None:
    story = Story()
    story.tell(ended("2002"))
    assert story.command("register") == Register(extension="2002", show=False, crm_create=True)
    assert story.owed["register"].priority is Priority.FINISH
    assert story.call.phase is Phase.ENDED
    assert story.call.ended_at == NOW - 1 + 95


@pytest.mark.parametrize(
    ("outcome", "code"),
    [
        (Outcome.MISSED, "304"),
        (Outcome.BUSY, "486"),
        (Outcome.INVALID_NUMBER, "404"),
        (Outcome.NO_MONEY, "402"),
        (Outcome.MACHINE, "304"),
        (Outcome.UNKNOWN, "OTHER"),
    ],
)
def test_an_unanswered_call_has_no_duration_and_its_own_code(outcome: Outcome, code: str) -> None:
    story = Story()
    story.tell(ended("2001", outcome=outcome, talk_seconds=5, link=None))
    finish = story.command("finish")
    assert isinstance(finish, Finish)
    assert (finish.duration, finish.status_code) == (0, code)
    assert finish.failed_reason
    assert "fetch_recording" not in story.owed


def test_inner_calls_are_kept_but_not_written() -> None:
    story = Story()
    story.tell(
        report(Step.NEW, direction=Direction.INNER, number=None),
        ended("2001", "2002", direction=Direction.INNER, number=None),
    )
    assert story.owed == {}
    assert story.call.phase is Phase.ENDED
    assert story.call.skipped == "inner call"
    assert story.wakes == {}


def test_a_late_event_adds_facts_and_never_reopens() -> None:
    story = Story()
    story.tell(missed("2001"))
    owed = set(story.owed)
    story.tell(report(Step.NEW, meta="m-1"), report(Step.OFFERED, "2003"), report(Step.ANSWERED, "2003"))
    assert story.call.phase is Phase.ENDED
    assert story.call.meta == "m-1"
    assert set(story.owed) == owed
    assert story.call.outcome is Outcome.MISSED


def test_a_recording_link_that_comes_late_is_still_fetched() -> None:
    story = Story()
    story.tell(ended("2001", link=None))
    assert story.call.recording is Recording.NONE
    story.tell(ended("2001"))
    assert "fetch_recording" in story.owed
    assert story.call.link == LINK


def test_two_different_ends_are_noted_and_the_first_counts() -> None:
    story = Story()
    story.tell(ended("2001"), ended("2001", talk_seconds=10))
    assert story.call.talk_seconds == 83
    assert story.call.notes == ("The PBX reported two different ends: talk_seconds 83 / 10",)


def test_a_repeat_of_any_event_owes_nothing_new() -> None:
    story = Story()
    events = [report(Step.NEW), report(Step.OFFERED, "2001"), report(Step.ANSWERED, "2001"), ended("2001")]
    story.tell(*events)
    call, owed = story.call, set(story.owed)
    for event in events:
        assert advance(story.call, event, NOW + 5, Rules()).owed == ()
        story.tell(event)
    assert (story.call, set(story.owed)) == (call, owed)


def test_a_call_that_never_ends_is_closed_as_unknown_after_three_hours() -> None:
    story = Story()
    story.tell(report(Step.OFFERED, "2001"))
    story.now += NO_END_AFTER
    story.tell(Due("no_end"))
    finish = story.command("finish")
    assert isinstance(finish, Finish)
    assert finish.status_code == "OTHER"
    assert story.call.notes
    story.tell(ended("2001"))
    assert story.call.outcome is Outcome.ANSWERED, "the real end, when it comes, replaces the unknown"


def test_the_whole_life_of_an_answered_call_ends_closed() -> None:
    story = Story()
    story.tell(
        report(Step.OFFERED, "2001"),
        REGISTERED,
        report(Step.ANSWERED, "2001"),
        ended("2001"),
        FINISHED,
        RecordingFetched("c1.audio", 4096, "mp3"),
        RecordingAttached(55),
    )
    assert "drive_document" not in story.owed, "the document waits for the copy"
    story.tell(RecordingCopied(56, "a.mp3"))
    assert story.owed["drive_document"].needs == ("finish",)
    assert "layout" in story.owed
    story.tell(DocumentFiled(57, "a.json", 9))
    assert story.call.phase is Phase.CLOSED
    assert story.wakes == {}


def test_a_missed_call_is_documented_at_once() -> None:
    story = Story()
    story.tell(missed("2001"), REGISTERED, FINISHED)
    assert "drive_document" in story.owed
    story.tell(DocumentFiled(57, "a.json", 9))
    assert story.call.phase is Phase.CLOSED


def test_a_recording_that_stays_away_does_not_hold_back_the_document() -> None:
    story = Story()
    story.tell(ended("2001"), REGISTERED, FINISHED)
    assert story.wakes == {"document": NOW + DOCUMENT_AFTER}
    story.tell(Due("document"))
    assert "drive_document" in story.owed
    story.tell(RecordingFetched("c1.audio", 1, "mp3"), RecordingAttached(55), RecordingCopied(56, "a.mp3"))
    assert story.owed["drive_document:2"].needs == ("drive_document",)


def test_a_recording_given_up_is_said_and_documented() -> None:
    story = Story()
    story.tell(ended("2001"), REGISTERED, FINISHED)
    story.tell(GivenUp("fetch_recording", "fetch_recording", "UNAVAILABLE", "not there"))
    assert story.call.recording is Recording.MISSING
    assert "layout:missing" in story.owed, "the record says so too"
    assert story.call.notes == ("Recording: not there",)
    assert "drive_document" in story.owed


def test_a_recording_that_comes_after_all_takes_the_word_missing_off_the_record() -> None:
    story = Story()
    story.tell(ended("2001"), REGISTERED, FINISHED)
    story.tell(GivenUp("fetch_recording", "fetch_recording", "UNAVAILABLE", "not there"))
    story.tell(RecordingFetched("c1.audio", 1, "mp3"), RecordingAttached(55), RecordingCopied(56, "a.mp3"))
    assert "layout:found" in story.owed
    assert story.call.recording is Recording.COPIED
    assert not story.call.said_missing


def test_without_drive_nothing_is_filed_and_the_call_still_closes() -> None:
    story = Story(Rules(drive=False, layout=False))
    story.tell(ended("2001"), REGISTERED, FINISHED, RecordingFetched("f", 1, "mp3"), RecordingAttached(5))
    assert not {"drive_copy", "drive_document", "layout"} & set(story.owed)
    assert story.call.phase is Phase.CLOSED


def test_being_registered_twice_under_two_names_is_refused_and_changes_nothing() -> None:
    story = Story()
    story.tell(report(Step.OFFERED, "2001"), REGISTERED)
    before = story.call
    with pytest.raises(IllegalMove, match="already is"):
        story.tell(replace(REGISTERED, bitrix_call_id="externalCall.2"))
    story.tell(REGISTERED)
    assert story.call == before


def test_finished_before_the_end_is_refused() -> None:
    story = Story()
    story.tell(report(Step.OFFERED, "2001"))
    with pytest.raises(IllegalMove):
        story.tell(FINISHED)


def test_a_heard_call_id_is_only_a_hint() -> None:
    story = Story()
    story.tell(report(Step.OFFERED, "2001"), Heard("externalCall.1"), Heard("externalCall.9"))
    assert story.call.bitrix_call_id is None
    assert story.call.heard_bitrix_id == "externalCall.1"


def test_an_unmatched_extension_tells_the_administrators_once() -> None:
    story = Story()
    story.tell(report(Step.OFFERED, "2009"), replace(REGISTERED, extension="2009", matched=False))
    assert "2009" in getattr(story.command("notify:unmatched:2009"), "message", "")


def test_commands_without_facts_leave_the_call_as_it_is() -> None:
    story = Story()
    story.tell(report(Step.OFFERED, "2001"))
    before = story.call
    story.tell(Done("layout"), Due("something else"), GivenUp("layout", "layout", "X", "y"))
    assert story.call == before


LIVE = [report(Step.NEW), report(Step.OFFERED, "2001", "2002"), report(Step.ANSWERED, "2002"), ended("2002")]


@pytest.mark.parametrize("order", list(itertools.permutations(range(4))))
def test_any_order_of_reports_reaches_the_same_end(order: tuple[int, ...]) -> None:
    story = Story()
    story.tell(*(LIVE[i] for i in order))
    call = story.call
    assert call.phase is Phase.ENDED
    assert call.owner == "2002"
    assert (call.outcome, call.talk_seconds, call.pbx_dbid, call.link) == (
        Outcome.ANSWERED,
        83,
        "27501",
        LINK,
    )
    effects = {key for key in story.owed if not key.startswith(("show", "hide"))}
    assert effects == {"register", "finish", "fetch_recording", "attach_recording", "drive_copy"}


@given(st.lists(st.sampled_from(range(4)), min_size=1, max_size=12))
def test_any_subset_order_and_repetition_owes_each_effect_at_most_once(picks: list[int]) -> None:
    call, keys = new_call(), list[str]()
    for pick in picks:
        transition = advance(call, LIVE[pick], NOW, Rules())
        call = transition.call
        keys += [owed.key for owed in transition.owed]
    lasting = [key for key in keys if not key.startswith(("show", "hide"))]
    assert len(lasting) == len(set(lasting))
    assert (call.phase is Phase.ENDED) == (3 in picks)
    assert unpack(pack(call)) == call
