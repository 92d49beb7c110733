"""Who is to see a call's card, and when somebody has to look again."""

from __future__ import annotations

from dataclasses import replace

import pytest

from bitrix_app.core.cards import FINISH_WAITS, LATE_RING, LOOK_AGAIN, RING_OVER, STRAY_AFTER
from bitrix_app.core.commands import FindResponsible, Hide, Register, Show, SweepCard
from bitrix_app.core.events import (
    CardsHidden,
    Direction,
    Done,
    Due,
    Finished,
    GivenUp,
    Heard,
    Registered,
    ResponsibleFound,
    Step,
    Unheard,
)
from bitrix_app.core.transition import Rules
from tests.core.calls import NOW, Story, ended, report

KNOWN = Registered("externalCall.1", 11, "2001", crm_type="CONTACT", crm_id=7)


def ringing(registered: Registered = KNOWN, rules: Rules | None = None) -> Story:
    story = Story(rules or Rules())
    story.tell(report(Step.OFFERED, "2001", "2002"), registered)
    return story


# --- the responsible person ------------------------------------------------------------------------


def test_a_known_clients_responsible_person_is_looked_up_at_once_and_shown_the_card() -> None:
    story = ringing()
    assert story.command("find_responsible") == FindResponsible()
    assert story.owed["find_responsible"].expires_at == NOW + 60
    story.tell(ResponsibleFound(13))
    assert story.command("show:responsible") == Show(users=(13,))
    story.tell(report(Step.ANSWERED, "2002"))
    assert story.command("hide:1") == Hide(extensions=("2001",), users=(11, 13))
    assert (story.call.shown, story.call.shown_users) == (("2002",), ())


@pytest.mark.parametrize(
    "registered",
    [
        Registered("externalCall.1", 11, "2001"),
        Registered("externalCall.1", 11, "2001", crm_type="LEAD", crm_id=5, created=("LEAD:5",)),
    ],
)
def test_a_stranger_has_no_responsible_person(registered: Registered) -> None:
    assert "find_responsible" not in ringing(registered).owed


def test_a_repeat_deal_made_for_a_known_contact_leaves_the_contact_known() -> None:
    told = Registered("externalCall.1", 11, "2001", crm_type="CONTACT", crm_id=7, created=("DEAL:9",))
    assert "find_responsible" in ringing(told).owed


def test_the_rule_can_be_switched_off_and_is_not_for_our_own_calls() -> None:
    assert "find_responsible" not in ringing(rules=Rules(card_to_responsible=False)).owed
    story = Story()
    story.tell(report(Step.OFFERED, "2001", direction=Direction.OUT), KNOWN)
    assert "find_responsible" not in story.owed


def test_an_answer_before_the_responsible_person_is_found_shows_him_nothing() -> None:
    story = ringing()
    story.tell(report(Step.ANSWERED, "2001"), ResponsibleFound(13))
    assert "show:responsible" not in story.owed
    assert story.call.carded_users == (11,)
    late = Story()
    late.tell(report(Step.OFFERED, "2001"), report(Step.ANSWERED, "2001"), KNOWN)
    assert "find_responsible" not in late.owed


# --- who has Register's card -----------------------------------------------------------------------


def test_the_default_user_of_a_call_that_rang_nowhere_yet_loses_the_card_to_who_answers() -> None:
    story = Story()
    story.tell(report(Step.NEW), Due("register"), Registered("externalCall.1", 1, None, matched=False))
    assert story.call.shown_users == (1,)
    story.tell(report(Step.ANSWERED, "2002"))
    assert story.command("hide:1") == Hide(users=(1,))


def test_register_that_is_answered_long_after_the_call_was_is_hidden_from_the_default_user_at_once() -> None:
    story = Story()
    story.tell(report(Step.NEW), Due("register"), report(Step.ANSWERED, "2002"))
    assert "hide:1" not in story.owed, "who has the card is not known yet"
    story.tell(Registered("externalCall.1", 1, None, matched=False))
    assert story.command("hide:1") == Hide(users=(1,))


def test_whoever_stands_in_for_the_talkers_extension_keeps_the_card() -> None:
    story = Story()
    story.tell(report(Step.ANSWERED, "2099"), Registered("externalCall.1", 1, "2099", matched=False))
    assert story.call.shown_users == (1,)
    assert not [key for key in story.owed if key.startswith("hide")]


def test_a_stand_in_gets_the_card_back_with_the_call() -> None:
    story = Story()
    story.tell(report(Step.ANSWERED, "2099"), Registered("externalCall.1", 1, "2099", matched=False))
    story.tell(report(Step.ANSWERED, "2001"), report(Step.ANSWERED, "2099"))
    assert story.command("show:2099:1") == Show(extensions=("2099",), users=(1,))


# --- transfers -------------------------------------------------------------------------------------


def test_a_card_follows_a_transfer_there_and_back() -> None:
    story = ringing()
    for talker in ("2001", "2004", "2001", "2004"):
        story.now += 30
        story.tell(report(Step.ANSWERED, talker))
    shows = [key for key in story.owed if key.startswith("show")]
    assert shows == ["show:2002", "show:2004:1", "show:2001:2", "show:2004:3"]
    assert story.command("hide:4") == Hide(extensions=("2001", "2002"), users=(11,))
    assert story.call.shown == ("2004",)


def test_a_transfers_ring_shows_the_card_and_a_ring_nobody_took_loses_it() -> None:
    story = ringing()
    story.tell(report(Step.ANSWERED, "2001"))
    story.now += LATE_RING
    story.tell(report(Step.OFFERED, "2004"))
    assert story.call.shown == ("2001", "2004")
    assert story.wakes["cards"] == story.now + RING_OVER
    story.now += RING_OVER
    over = story.tell(Due("cards"))
    assert over.call.shown == ("2001",)
    assert story.command("hide:2") == Hide(extensions=("2002", "2004"))


def test_a_ring_that_the_answer_overtook_shows_nothing() -> None:
    story = Story()
    story.tell(report(Step.ANSWERED, "2001"))
    story.now += LATE_RING - 1
    story.tell(report(Step.OFFERED, "2001", "2002"), report(Step.NEW))
    assert story.call.shown == ("2001",)
    assert story.call.ringing == ("2001", "2002")


# --- looking again ---------------------------------------------------------------------------------


def talk() -> Story:
    story = ringing()
    story.tell(Done("show:2002"), report(Step.ANSWERED, "2001"))
    assert story.wakes["cards"] == NOW + LOOK_AGAIN
    return story


@pytest.mark.parametrize("how", ["expired", "given up"])
def test_a_hide_of_which_nothing_good_was_heard_is_said_anew_while_the_call_lives(how: str) -> None:
    story = talk()
    if how == "given up":
        story.tell(GivenUp("hide", "hide:1", "X", "refused"))
    for number in (2, 3):
        story.now = story.wakes["cards"]
        story.tell(Due("cards"))
        assert story.command(f"hide:{number}") == Hide(extensions=("2002",), users=())
        assert story.wakes["cards"] > story.now


def test_a_hide_that_came_through_is_not_repeated() -> None:
    story = talk()
    story.tell(CardsHidden(("2002",)))
    story.now += LOOK_AGAIN
    story.tell(Due("cards"))
    assert "hide:2" not in story.owed


def test_a_hide_settles_nothing_while_a_show_may_still_be_said() -> None:
    """It was dropped unheard, as one that ran out is: if it was lost on the way, it lands by then."""
    story = ringing()
    story.tell(report(Step.ANSWERED, "2001"))
    for number in (2, 3):
        story.tell(CardsHidden(("2002",)))
        story.now = story.wakes["cards"]
        story.tell(Due("cards"))
        assert f"hide:{number}" in story.owed
    assert story.now >= NOW + 120
    story.tell(CardsHidden(("2002",)))
    assert story.call.cards_unsure_until is None


def test_a_hide_that_was_on_its_way_when_the_next_was_owed_settles_only_its_own() -> None:
    story = talk()
    story.tell(report(Step.ANSWERED, "2004"), Done("show:2004:1"), CardsHidden(("2002",)))
    assert story.call.cards_unsure_until is not None
    story.tell(CardsHidden(("2001", "2002"), (11,)))
    assert story.call.cards_unsure_until is None


@pytest.mark.parametrize(
    "event", [Done("show:2002", doubted_at=NOW - 1), GivenUp("show", "show:2002", "X", "y")]
)
def test_a_lost_show_may_open_a_hidden_card_again(event: Done | GivenUp) -> None:
    story = talk()
    story.tell(CardsHidden(("2002",)), event)
    story.now = story.wakes["cards"]
    assert story.now >= NOW - 1 + LOOK_AGAIN
    story.tell(Due("cards"))
    assert story.command("hide:2") == Hide(extensions=("2002",))


def test_the_cards_are_hidden_when_finish_is_not_through_two_minutes_after_the_end() -> None:
    story = talk()
    story.tell(CardsHidden(("2002",)))
    story.now += 10
    story.tell(ended("2001"))
    assert story.wakes["cards"] == story.now + FINISH_WAITS
    story.now += FINISH_WAITS
    story.tell(Due("cards"))
    assert story.command("hide:2") == Hide(extensions=("2001", "2002"), users=(11,))
    story.tell(CardsHidden(("2001", "2002"), (11,)))
    story.now = story.wakes["cards"]
    story.tell(Due("cards"))
    assert "hide:3" not in story.owed


def test_after_finish_nobody_looks_again() -> None:
    story = talk()
    story.tell(ended("2001"), Finished(activity_id=9, crm_type="CONTACT", crm_id=7))
    assert "cards" not in story.wakes
    assert (story.call.carded, story.call.carded_users, story.call.cards_unsure_until) == ((), (), None)


def test_a_call_that_never_had_a_card_is_not_looked_at() -> None:
    story = Story()
    story.tell(ended("2001"), Registered("externalCall.1", 11, "2001", shown=False))
    assert "cards" not in story.wakes
    assert story.command("register") == Register("2001", show=False)


def test_a_call_that_bitrix24_knew_first_waits_for_no_register() -> None:
    """A click's call: its card opened before we heard of it."""
    story = Story()
    story.call = replace(
        story.call, bitrix_call_id="externalCall.c", register_owed=True, shown_users=(11,), carded_users=(11,)
    )
    story.tell(report(Step.ANSWERED, "2002", direction=Direction.OUT))
    assert (story.owed["show:2002"].needs, story.owed["hide:1"].needs) == ((), ())
    assert story.command("hide:1") == Hide(users=(11,))


# --- strays ----------------------------------------------------------------------------------------


def test_what_was_heard_and_not_confirmed_is_looked_at_later() -> None:
    story = Story()
    story.tell(report(Step.OFFERED, "2001"), Heard("externalCall.lost"), KNOWN)
    assert story.call.heard_bitrix_id is None
    assert story.command("sweep:externalCall.lost") == SweepCard("externalCall.lost", "+380440000011")
    assert story.owed["sweep:externalCall.lost"].not_before == NOW + STRAY_AFTER
    same = Story()
    same.tell(report(Step.OFFERED, "2001"), Heard("externalCall.1"), KNOWN)
    assert not [key for key in same.owed if key.startswith("sweep")]


def test_an_id_that_is_anothers_is_unheard() -> None:
    story = Story()
    story.tell(report(Step.OFFERED, "2001"), Heard("externalCall.a"), Unheard("externalCall.b"))
    assert story.call.heard_bitrix_id == "externalCall.a"
    story.tell(Unheard("externalCall.a"))
    assert story.call.heard_bitrix_id is None
