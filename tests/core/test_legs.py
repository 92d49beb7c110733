"""Transfers: who owns the call, and what becomes of each leg's recording."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bitrix_app.core.advance import ONLY_ONE, Rules, advance
from bitrix_app.core.call import Kept, Recording, pack, unpack
from bitrix_app.core.commands import FetchRecording
from bitrix_app.core.events import (
    Finished,
    GivenUp,
    PbxReport,
    RecordingAttached,
    RecordingCopied,
    RecordingFetched,
    Registered,
    Step,
)
from bitrix_app.core.facts import MOST_LINKS, same_recording
from bitrix_app.core.lifecycle import Phase
from tests.core.calls import LINK, NOW, Story, ended, missed, new_call, report

SECOND = "https://api.unitalk.cloud:8443/tracking/rec/1.2/2026-02-10"
REGISTERED = Registered("externalCall.1", 12, "2001", crm_type="LEAD", crm_id=5)
FINISHED = Finished(activity_id=77, crm_type="LEAD", crm_id=5, user_id=12)
ANSWERS = (report(Step.ANSWERED, "2001"), report(Step.ANSWERED, "2002"))


# --- the owner -------------------------------------------------------------------------------------


@pytest.mark.parametrize("told", [(), ("2002",), ("2001", "2002")])
def test_after_a_transfer_the_last_who_talked_owns_the_call(told: tuple[str, ...]) -> None:
    """An END that names only the first is believed too (tests/test_any_order.py): it cannot be told
    from answers that overtook each other."""
    story = Story()
    story.tell(report(Step.OFFERED, "2001"), *ANSWERS, ended(*told))
    assert story.call.owner == "2002"
    assert getattr(story.command("finish"), "extension", None) == "2002"
    assert [leg.extension for leg in story.call.legs] == ["2001", "2002"]


@pytest.mark.parametrize("told", [("2002",), ("2001", "2002")])
def test_an_answer_that_never_reached_us_is_told_by_the_end(told: tuple[str, ...]) -> None:
    story = Story()
    story.tell(ANSWERS[0], ended(*told))
    assert story.call.owner == "2002"


def test_the_end_alone_names_them_in_the_order_in_which_they_talked() -> None:
    story = Story()
    story.tell(ended("2001", "2002"))
    assert story.call.owner == "2002"


def test_a_missed_call_belongs_to_the_first_who_rang() -> None:
    story = Story()
    story.tell(missed("2001", "2002"))
    assert story.call.owner == "2001"


@pytest.mark.parametrize("order", list(itertools.permutations(range(4))))
def test_the_owner_is_the_same_in_any_order_of_events(order: tuple[int, ...]) -> None:
    events: list[PbxReport] = [
        report(Step.OFFERED, "2001", "2003"),
        *ANSWERS,
        ended("2001", "2002"),
    ]
    story = Story()
    story.tell(*(events[i] for i in order))
    assert story.call.owner == "2002"
    assert getattr(story.command("finish"), "extension", None) == "2002"


# --- recordings --------------------------------------------------------------------------------------


def first_copied(story: Story) -> None:
    story.tell(
        ended("2001"),
        REGISTERED,
        FINISHED,
        RecordingFetched("c1.audio", 10, "mp3"),
        RecordingAttached(55),
    )


def again(link: str = SECOND, **more: Any) -> PbxReport:
    return ended("2002", link=link, **more)


def test_a_second_recording_waits_until_the_first_is_on_drive_and_then_takes_its_place() -> None:
    story = Story()
    first_copied(story)
    story.tell(again())
    assert "fetch_recording:2" not in story.owed, "attaching now would replace the first"
    assert story.call.links == (LINK, SECOND)
    story.tell(RecordingCopied(56, "first.mp3"))
    assert story.command("fetch_recording:2") == FetchRecording(link=SECOND)
    assert story.owed["attach_recording:2"].needs == ("finish", "fetch_recording:2")
    assert story.owed["drive_copy:2"].needs == ("attach_recording:2",)
    story.tell(
        RecordingFetched("c1_2.audio", 20, "wav"), RecordingAttached(57), RecordingCopied(58, "second.wav")
    )
    call = story.call
    assert call.kept == (Kept("first.mp3", 56, 10),)
    assert (call.drive_copy_id, call.recording_size, call.recording) == (58, 20, Recording.COPIED)
    assert unpack(pack(call)) == call


def test_a_second_recording_of_a_call_that_is_closed_is_fetched_too() -> None:
    story = Story(Rules(layout=False))
    first_copied(story)
    story.tell(RecordingCopied(56, "first.mp3"))
    from bitrix_app.core.events import DocumentFiled

    story.tell(DocumentFiled(90, "a.json", 4))
    assert story.call.phase is Phase.CLOSED
    documents = story.call.documents_owed
    story.tell(again())
    assert story.call.recording is Recording.EXPECTED
    story.tell(RecordingFetched("f", 1, "mp3"), RecordingAttached(57), RecordingCopied(58, "second.mp3"))
    assert story.call.documents_owed == documents + 1, "the document names both"


def test_a_first_recording_that_never_comes_does_not_cost_the_second() -> None:
    story = Story()
    story.tell(ended("2001"), REGISTERED, FINISHED, again())
    story.tell(GivenUp("fetch_recording", "fetch_recording", "NOT_AUDIO", "gone"))
    assert "fetch_recording:2" in story.owed
    assert story.call.recording is Recording.EXPECTED
    assert story.call.kept == ()


def test_a_second_recording_that_never_comes_leaves_the_record_alone() -> None:
    story = Story()
    first_copied(story)
    story.tell(RecordingCopied(56, "first.mp3"), again())
    story.tell(GivenUp("fetch_recording", "fetch_recording:2", "NOT_AUDIO", "gone"))
    assert "layout:missing" not in story.owed
    assert not story.call.said_missing
    assert story.call.kept == (Kept("first.mp3", 56, 10),)


def test_without_drive_only_the_first_is_kept_and_the_call_says_so_once() -> None:
    story = Story(Rules(drive_recordings=False))
    first_copied(story)
    story.tell(again(), again("https://api.unitalk.cloud:8443/tracking/rec/1.3/2026-02-10"))
    assert "fetch_recording:2" not in story.owed
    assert story.call.notes.count(ONLY_ONE) == 1


def test_the_same_recording_under_its_old_address_is_no_second_one() -> None:
    old = "https://cstat.nextel.com.ua:8443/tracking/history/record/1.1/2026-02-10"
    assert same_recording(LINK, old)
    assert same_recording(LINK, LINK + "/")
    assert not same_recording(LINK, SECOND)
    story = Story()
    story.tell(ended("2001"), again(old))
    assert story.call.links == (LINK,)


def test_links_of_one_call_are_bounded() -> None:
    call = new_call()
    for n in range(50):
        event = ended("2001", link=f"https://api.unitalk.cloud/tracking/rec/9.{n}/2026-02-10")
        call = advance(call, event, NOW, Rules()).call
    assert len(call.links) == MOST_LINKS


WHOLE = (
    report(Step.NEW),
    report(Step.OFFERED, "2001", "2003"),
    *ANSWERS,
    ended("2001", "2002"),
    ended("2001", "2002", link=SECOND),
)


@given(st.lists(st.sampled_from(range(len(WHOLE))), min_size=1, max_size=14))
def test_any_subset_order_and_repetition_of_a_transfer_owes_each_effect_once(picks: list[int]) -> None:
    call, keys = new_call(), list[str]()
    for pick in picks:
        transition = advance(call, WHOLE[pick], NOW, Rules())
        call = transition.call
        keys += [owed.key for owed in transition.owed if not owed.key.startswith(("show", "hide"))]
    assert len(keys) == len(set(keys))
    over = {pick for pick in picks if pick >= 4}
    assert (call.phase is Phase.ENDED) == bool(over)
    assert len(call.links) == len(over)
    if over:
        assert call.owner == "2002"
        assert {"register", "finish", "fetch_recording"} <= set(keys)
    assert unpack(pack(call)) == call
