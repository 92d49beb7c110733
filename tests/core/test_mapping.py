"""Who gets a call."""

from bitrix_app.core.mapping import Choice, choose
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
