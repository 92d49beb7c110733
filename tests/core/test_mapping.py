"""Who gets a call."""

from typing import Any

import pytest

from bitrix_app.core.call import Call, Leg
from bitrix_app.core.events import Direction
from bitrix_app.core.mapping import By, Choice, Plan, Wish, choose, closing_plan, group_user, is_missed
from bitrix_app.core.outcome import Outcome
from bitrix_app.core.portal import Agent, PortalSettings

AGENTS = [
    Agent(7, "Anna", "2001"),
    Agent(8, "Bohdan", "2002"),
    Agent(9, "Gone", "2003", active=False),
]
SETTINGS = PortalSettings(default_user=8, line_users={"380440000001": 7})


def test_the_extension_decides() -> None:
    assert choose("2002", "380440000001", AGENTS, SETTINGS, 1) == Choice(8, True)


def test_a_dismissed_user_gets_nothing_and_the_line_decides() -> None:
    assert choose("2003", "380440000001", AGENTS, SETTINGS, 1) == Choice(7, False)


def test_without_a_line_rule_the_portal_default_stands_in() -> None:
    assert choose("2003", "380440000002", AGENTS, SETTINGS, 1) == Choice(8, False)


def test_no_extension_is_nobodys_failure() -> None:
    assert choose(None, None, AGENTS, SETTINGS, 1) == Choice(8, True)


def test_a_default_who_left_is_passed_over_for_the_installer() -> None:
    assert choose("2003", None, AGENTS, PortalSettings(default_user=9), 7) == Choice(7, False)


def test_with_nobody_at_all_there_is_no_choice() -> None:
    assert choose("2003", None, [], PortalSettings(), None) is None


# --- our own map and groups ------------------------------------------------------------------------


def test_our_own_map_goes_before_bitrix24s_inner_numbers() -> None:
    settings = PortalSettings(extension_users={"2001": 8, "2003": 9})
    choice = choose("2001", None, AGENTS, settings, 1)
    assert choice == Choice(8, True)
    assert choice is not None
    assert choice.by is By.OVERRIDE
    assert choose("2003", None, AGENTS, settings, 1) == Choice(1, False), "9 has left"


def test_before_the_first_snapshot_our_own_map_is_believed() -> None:
    assert choose("2001", None, [], PortalSettings(extension_users={"2001": 8}), 1) == Choice(8, True)


@pytest.mark.parametrize(
    ("group", "user", "by"),
    [
        ("Sales desk", 7, By.GROUP),
        ("  sales  DESK ", 7, By.GROUP),
        ("Other", 8, By.GROUP),
        (None, 7, By.LINE),
    ],
)
def test_a_queued_call_goes_to_its_groups_default_before_the_lines(
    group: str | None, user: int, by: By
) -> None:
    settings = PortalSettings(group_users={"Sales Desk": 7}, queue_user=8, line_users={"1": 7})
    choice = choose(None, "1", AGENTS, settings, 1, group)
    assert choice is not None
    assert (choice.user_id, choice.by, choice.matched) == (user, by, True)


def test_every_choice_says_by_which_rule() -> None:
    def by(extension: str | None, settings: PortalSettings, last: int | None = 7) -> By | None:
        choice = choose(extension, "1", AGENTS, settings, last)
        return choice.by if choice else None

    assert by("2001", PortalSettings()) is By.EXTENSION
    assert by(None, PortalSettings(line_users={"1": 7})) is By.LINE
    assert by(None, PortalSettings(default_user=8)) is By.DEFAULT
    assert by(None, PortalSettings()) is By.INSTALLER


def test_without_rules_a_group_has_no_default() -> None:
    assert group_user("Sales", PortalSettings()) is None
    assert group_user(None, PortalSettings(queue_user=8)) is None


# --- whose a call is in the end --------------------------------------------------------------------


def over(**more: Any) -> Call:
    base: dict[str, Any] = {
        "direction": Direction.IN,
        "outcome": Outcome.MISSED,
        "ringing": ("2001", "2002"),
        "last_operators": ("2001",),
    }
    return Call("c1", "p1", 0.0, **{**base, **more})


def test_a_missed_call_goes_to_the_responsible_then_the_group_then_who_rang_last() -> None:
    plan = closing_plan(over(), PortalSettings(), "2001")
    assert plan == Plan((Wish.RESPONSIBLE, Wish.GROUP, Wish.AGENT), "2002")


def test_a_client_that_the_call_itself_made_has_no_responsible_person_yet() -> None:
    plan = closing_plan(over(created=("LEAD:5",)), PortalSettings(), "2001")
    assert plan == Plan((Wish.GROUP, Wish.AGENT), "2002")


def test_the_last_agent_rule_names_the_extension_that_rang_last() -> None:
    settings = PortalSettings(missed_owner="last_agent")
    assert closing_plan(over(), settings, "2001") == Plan((Wish.AGENT,), "2002")
    assert closing_plan(over(ringing=()), settings, None) == Plan((Wish.GROUP, Wish.AGENT), None)


def test_the_line_rule_names_nobody_but_the_defaults() -> None:
    assert closing_plan(over(), PortalSettings(missed_owner="line"), "2001") == Plan((Wish.AGENT,), None)


def test_a_transferred_call_is_the_last_talkers_or_by_rule_the_firsts() -> None:
    legs = (Leg("2001", 1.0), Leg("2005", 9.0))
    call = over(legs=legs, outcome=Outcome.ANSWERED, last_operators=("2005",))
    assert closing_plan(call, PortalSettings(), "2005") == Plan((Wish.AGENT,), "2005")
    first = PortalSettings(transfer_owner="first")
    assert closing_plan(call, first, "2005") == Plan((Wish.AGENT,), "2001")


def test_the_end_says_who_talked_first_and_last_whatever_order_the_answers_came_in() -> None:
    first = PortalSettings(transfer_owner="first")
    overtaken = (Leg("2005", 1.0), Leg("2001", 9.0))
    call = over(legs=overtaken, outcome=Outcome.ANSWERED, last_operators=("2001", "2005"))
    assert closing_plan(call, PortalSettings()) == Plan((Wish.AGENT,), "2005")
    assert closing_plan(call, first) == Plan((Wish.AGENT,), "2001")
    alone = over(legs=(Leg("2001", 1.0),), outcome=Outcome.ANSWERED, last_operators=("2005",))
    assert closing_plan(alone, PortalSettings()) == closing_plan(alone, first) == Plan((Wish.AGENT,), "2005")


def test_whoever_talked_has_not_missed_the_call_whatever_the_pbx_says_at_the_end() -> None:
    assert not is_missed(over(legs=(Leg("2001", 1.0),), outcome=Outcome.UNKNOWN))


@pytest.mark.parametrize(
    ("direction", "outcome", "missed"),
    [
        (Direction.IN, Outcome.MISSED, True),
        (Direction.IN, Outcome.BUSY, True),
        (Direction.IN, Outcome.ANSWERED, False),
        (Direction.IN, None, False),
        (Direction.OUT, Outcome.NO_ANSWER, False),
        (Direction.OUT, Outcome.LOST_BY_US, True),
    ],
)
def test_missed_is_a_client_who_reached_nobody(
    direction: Direction, outcome: Outcome | None, missed: bool
) -> None:
    assert is_missed(over(direction=direction, outcome=outcome)) is missed


def test_an_unanswered_call_of_ours_stays_with_its_caller() -> None:
    call = over(direction=Direction.OUT, outcome=Outcome.NO_ANSWER, ringing=("2003",), last_operators=())
    assert closing_plan(call, PortalSettings(), None) == Plan((Wish.AGENT,), "2003")
