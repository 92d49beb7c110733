"""Our calls against Bitrix24's statistics."""

from __future__ import annotations

from dataclasses import replace

import pytest

from bitrix_app.core import comparison
from bitrix_app.core.call import Call, Recording
from bitrix_app.core.comparison import Difference, InPortal, Kind, State, compare, may_repair, merged
from bitrix_app.core.lifecycle import Phase
from bitrix_app.core.outcome import Outcome

NOW = 1_788_333_300.0
CALL = Call(
    "c1",
    "p1",
    NOW,
    phase=Phase.CLOSED,
    outcome=Outcome.ANSWERED,
    talk_seconds=83,
    bitrix_call_id="externalCall.1",
    user_id=7,
    finished=True,
    recording=Recording.COPIED,
)
ROW = InPortal("externalCall.1", 7, 83, has_recording=True)


def kinds(call: Call, *rows: InPortal) -> set[Kind]:
    return {one.kind for one in compare(call, rows)}


def test_what_stands_there_as_we_wrote_it_is_no_finding() -> None:
    assert compare(CALL, [ROW]) == ()
    assert compare(CALL, [ROW, ROW]) == (), "one row told twice is one"


@pytest.mark.parametrize(
    ("rows", "found"),
    [
        ([], {Kind.MISSING}),
        ([ROW, replace(ROW, call_id="externalCall.2")], {Kind.DOUBLED}),
        ([replace(ROW, duration=81)], set()),
        ([replace(ROW, duration=80)], {Kind.DURATION}),
        ([replace(ROW, user_id=9)], {Kind.PERSON}),
        ([replace(ROW, user_id=None)], set()),
        ([replace(ROW, has_recording=False)], {Kind.RECORDING}),
        ([replace(ROW, duration=0, user_id=9)], {Kind.DURATION, Kind.PERSON}),
    ],
)
def test_what_differs_is_named(rows: list[InPortal], found: set[Kind]) -> None:
    assert kinds(CALL, *rows) == found


def test_a_missed_call_has_no_talk_and_a_recording_on_its_way_is_not_missed() -> None:
    missed = replace(CALL, outcome=Outcome.MISSED, recording=Recording.NONE)
    assert kinds(missed, replace(ROW, duration=0, has_recording=False)) == set()
    coming = replace(CALL, recording=Recording.FETCHED)
    assert kinds(coming, replace(ROW, has_recording=False)) == set()


def test_every_finding_says_what_happened_what_to_do_and_who() -> None:
    rows = [replace(ROW, duration=0, user_id=9, has_recording=False), replace(ROW, call_id="x")]
    found = [*compare(CALL, rows), *compare(CALL, []), comparison.stranded(CALL)]
    found.append(comparison.two_ends(CALL, ["talk_seconds 1 / 2"]))
    assert {one.kind for one in found} == set(Kind)
    for one in found:
        assert one.message.endswith(".")
        assert one.hint.endswith(".")
        assert one.who in ("nobody", "agent", "manager", "admin")


def test_only_what_is_missing_or_doubled_is_not_written_once() -> None:
    unwritten = {kind for kind in Kind if Difference("p", "c", kind, "", "", "").unwritten}
    assert unwritten == {Kind.MISSING, Kind.DOUBLED}
    assert not Difference("p", "c", Kind.MISSING, "", "", "", State.GONE).unwritten


def test_a_repair_is_tried_as_often_as_its_kind_allows() -> None:
    (fresh,) = compare(CALL, [replace(ROW, has_recording=False)])
    first = merged(None, fresh, NOW)
    assert may_repair(first)
    mended = replace(first, state=State.MENDED, repairs=1)
    again = merged(mended, fresh, NOW + 60)
    assert (again.state, again.repairs, again.found_at) == (State.OPEN, 1, NOW)
    assert not may_repair(again)
    assert not may_repair(merged(None, compare(CALL, [])[0], NOW)), "nothing is registered a second time"


def test_a_finding_that_was_gone_and_came_back_is_found_anew() -> None:
    (fresh,) = compare(CALL, [])
    gone = replace(merged(None, fresh, NOW), state=State.GONE)
    assert merged(gone, fresh, NOW + 60).found_at == NOW + 60


def test_a_finding_comes_back_from_the_store_as_it_was() -> None:
    one = merged(None, compare(CALL, [])[0], NOW)
    columns = (one.portal, one.call_id, one.kind.value, one.state.value, one.found_at, one.updated_at)
    assert comparison.unpack(*columns, {**comparison.pack(one), "newer": 1}) == one
