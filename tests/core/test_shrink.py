"""Which fresh lists are believed."""

import pytest

from bitrix_app.core.portal import Agent
from bitrix_app.core.shrink import allowed, compare_agents, compare_keys, merge_agents


def staff(*users: int, bare: tuple[int, ...] = (), gone: tuple[int, ...] = ()) -> list[Agent]:
    return [Agent(u, f"User {u}", None if u in bare else f"20{u:02}", active=u not in gone) for u in users]


TEN = tuple(range(1, 11))


@pytest.mark.parametrize(("known", "may"), [(0, 1), (1, 1), (9, 1), (10, 2), (14, 2), (100, 20)])
def test_a_fifth_may_vanish_and_one_in_any_case(known: int, may: int) -> None:
    assert allowed(known) == may


def test_one_by_one_people_leave() -> None:
    difference = compare_agents(staff(*TEN), staff(*TEN[2:]))
    assert (difference.lost, difference.reason) == (("1", "2"), None)


def test_many_at_once_do_not() -> None:
    difference = compare_agents(staff(*TEN), staff(*TEN[3:], 11))
    assert difference.reason == "3 of 10 known entries are missing in the answer."
    assert (difference.added, difference.missing) == (("11",), 3)


def test_all_of_a_small_list_do_not_either() -> None:
    assert compare_agents(staff(1), staff(2)).reason is not None
    assert compare_agents(staff(1, 2), staff(2)).reason is None


def test_dismissed_at_once_are_missing_as_well() -> None:
    assert compare_agents(staff(*TEN), staff(*TEN, gone=(1, 2, 3))).reason is not None


def test_a_first_list_has_nothing_to_lose() -> None:
    assert compare_agents([], staff(*TEN)).reason is None
    assert compare_agents([], []).reason is None


def test_inner_numbers_that_are_left_out_are_a_missing_scope() -> None:
    difference = compare_agents(staff(*TEN), staff(*TEN, bare=TEN))
    assert difference.reason == "10 of 10 entries came without their inner number."
    assert compare_agents(staff(*TEN), staff(*TEN, bare=(1, 2))).reason is None


def test_an_extension_that_somebody_else_has_now_was_moved() -> None:
    new = [Agent(1, "A"), Agent(2, "B"), Agent(3, "C"), Agent(4, "D", "2001"), Agent(5, "E", "2002"),
           Agent(6, "F", "2003")]  # fmt: skip
    assert compare_agents(staff(1, 2, 3), new).bare == ()


def test_of_a_doubtful_list_the_new_and_the_changed_are_taken_and_nobody_is_lost() -> None:
    old = staff(*TEN)
    new = [Agent(1, "Renamed", "2001"), Agent(2, "Bare"), Agent(30, "New", "2003")]
    merged = {a.user_id: a for a in merge_agents(old, new)}
    assert set(merged) == {*TEN, 30}
    assert merged[1].name == "Renamed"
    assert merged[2].extension == "2002", "a left-out number stays"
    assert (merged[3].extension, merged[30].extension) == (None, "2003"), "an extension has one person"
    assert merged[4] == old[3]


def test_other_lists_are_compared_by_the_field_that_names_their_entries() -> None:
    old = [{"STATUS_ID": s} for s in "ABCDE"]
    assert compare_keys(old, old[2:], "STATUS_ID").reason is not None
    assert compare_keys(old, [*old[1:], {"STATUS_ID": "X"}, {"x": 1}], "STATUS_ID").reason is None
    assert compare_keys([{"line": None}] * 9, [], "line").known == 0
