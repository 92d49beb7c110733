"""What a missing scope takes away, and that an unknown one takes nothing."""

from typing import Any

import pytest

from bitrix_app.core import commands
from bitrix_app.core.abilities import OPTIONAL, USERS, WANTED, absent_for, grants, missing
from bitrix_app.core.portal import Portal, PortalSettings

ALL = tuple(group[0] for group in WANTED)


def portal(*scope: str, **settings: Any) -> Portal:
    return Portal("m", "d", "https://d/rest/", "https://a", scope=scope, settings=PortalSettings(**settings))


def test_nothing_told_means_that_everything_is_tried() -> None:
    assert missing(()) == ()
    assert missing(("", " ")) == ()
    assert all(absent_for(kind, ()) is None for kind in OPTIONAL)
    assert portal().rules.drive


def test_each_missing_scope_is_named_as_we_ask_for_it() -> None:
    assert missing(ALL) == ()
    for scope in ALL:
        assert missing(tuple(one for one in ALL if one != scope)) == (scope,)


@pytest.mark.parametrize("scope", USERS)
def test_any_of_the_three_user_scopes_is_enough(scope: str) -> None:
    assert missing(("telephony", "crm", "placement", "im", "disk", scope)) == ()


def test_case_and_spaces_do_not_take_a_scope_away() -> None:
    assert grants((" Disk", "CRM"), "disk")
    assert not grants(("diskette",), "disk")


@pytest.mark.parametrize(("kind", "scope"), OPTIONAL.items())
def test_only_what_a_call_can_do_without_is_left_out(kind: str, scope: str) -> None:
    commands.unpack(kind, {})
    assert absent_for(kind, tuple(one for one in ALL if one != scope)) == scope
    assert absent_for(kind, ALL) is None
    assert absent_for("register", ("crm",)) is None


def test_the_rules_owe_nothing_that_the_portal_does_not_let_us_do() -> None:
    assert portal(*ALL).rules == PortalSettings().rules
    without_drive = portal("telephony", "crm").rules
    assert (without_drive.drive, without_drive.layout) == (False, True)
    assert not portal("telephony", "disk").rules.layout
    assert not portal(*ALL, drive=False).rules.drive, "a scope does not overrule the administrator"
