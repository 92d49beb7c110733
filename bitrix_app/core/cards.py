"""Whose screen shows a call's card: while it rings, while it is talked, and nobody's in the end. Pure.

`Call.shown` and `shown_users` are who is to see the card now, `carded` and `carded_users` whoever may
have got it. A Hide is for the difference, taken when it is said, so that one that comes late or again
hides the right ones (bitrix24.md §6.3). `cards_unsure_until` is set while some of them may still see
it; the timer `cards` looks again until a Hide or Finish is known to have come through.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from bitrix_app.core.call import Call
from bitrix_app.core.commands import FindResponsible, Hide, Priority, Show, SweepCard
from bitrix_app.core.events import (
    CardsHidden,
    Direction,
    Done,
    GivenUp,
    PbxReport,
    Registered,
    ResponsibleFound,
    Step,
)
from bitrix_app.core.facts import merged
from bitrix_app.core.transition import Owed, Rules, Transition, Wake

CARD_LIFE: Final = 60.0
"""Seconds after which opening or closing a card is no longer worth saying."""
LOOK_AGAIN: Final = 75.0
"""Seconds after which a Hide that nothing was heard of is said anew, and a lost Show has landed."""
LOOK_LAST: Final = 3600.0
"""Seconds between looks at most, while a portal does not answer for hours."""
FINISH_WAITS: Final = 120.0
"""Seconds for Finish, which closes all cards, to come through; then they are hidden without it."""
LATE_RING: Final = 10.0
"""Seconds after an answer for which a ring is one that the answer overtook, not a transfer's."""
RING_OVER: Final = 60.0
"""Seconds for which somebody rung during the talk keeps the card without answering."""
STRAY_AFTER: Final = 150.0
"""Seconds after which a CALL_ID that belongs to no call of ours will never belong to one."""
WAKE: Final = "cards"
KINDS: Final = (Show.kind, Hide.kind, FindResponsible.kind)
"""What the end of a call makes pointless where it has not begun."""

People = tuple[tuple[str, ...], tuple[int, ...]]
"""Extensions and Bitrix24 users."""


def wanted(call: Call, event: PbxReport, now: float) -> tuple[str, ...]:
    """The extensions that this report of a live call is about, as far as cards go."""
    told = event.facts.extensions
    if event.step is Step.ANSWERED and call.legs:
        return (call.legs[-1].extension,)
    if call.legs:
        is_transfer = event.step is Step.OFFERED and now - call.legs[-1].answered_at >= LATE_RING
        return told if is_transfer else ()
    return told


def moved(call: Call, event: PbxReport, who: tuple[str, ...], now: float) -> Transition:
    """The cards go where the call goes; `who` is `wanted`, and Register is owed already."""
    before = call
    fresh = tuple(x for x in who if x not in call.shown)
    call = replace(call, shown=call.shown + fresh, carded=merged(call.carded, call.shown + fresh))
    answered = event.step is Step.ANSWERED
    if answered:
        call = _only(call, who[0])
    users = tuple(u for u in call.shown_users if u not in before.shown_users)
    owed: list[Owed] = []
    wakes: tuple[Wake, ...] = ()
    if fresh or users:
        key = "show:" + ",".join(fresh or who)
        call, show = _show(call, Show(extensions=fresh, users=users), key, now)
        owed.append(show)
        if call.legs and not answered:
            wakes = (Wake(now + RING_OVER, WAKE),)
    if {*before.shown, *before.shown_users} - {*call.shown, *call.shown_users}:
        call, hiding, wake = hide(call, now)
        owed.append(hiding)
        wakes = (wake,)
    return Transition(call, tuple(owed), wakes, unwake=("register",))


def registered(transition: Transition, event: Registered, now: float, rules: Rules) -> Transition:
    """Register opened a card, maybe for somebody else than its extension's user (a default one)."""
    call = transition.call
    if call.finished or not event.shown:
        return transition
    call = replace(call, carded_users=merged_users(call.carded_users, event.user_id))
    owed, wakes = transition.owed, transition.wakes
    if not call.is_live:
        call = replace(call, cards_unsure_until=_later(call.cards_unsure_until, now))
        return replace(transition, call=call, wakes=(*wakes, Wake(now + FINISH_WAITS, WAKE)))
    if not call.legs:
        call = replace(call, shown_users=merged_users(call.shown_users, event.user_id))
    else:
        call = _only(call, call.legs[-1].extension)
        hide_comes = call.hides > 0 and now - call.legs[-1].answered_at < CARD_LIFE / 2
        if event.user_id not in call.shown_users and not hide_comes:
            call, hiding, wake = hide(call, now)
            owed, wakes = (*owed, hiding), (*wakes, wake)
    if event.doubted_at is not None:
        doubt = doubted(call, event.doubted_at, now)
        call, wakes = doubt.call, (*wakes, *doubt.wakes)
    if _is_known_client(call) and not call.legs and rules.card_to_responsible:
        find = Owed(FindResponsible.kind, FindResponsible(), Priority.LIVE, expires_at=now + CARD_LIFE)
        owed = (*owed, find)
    return replace(transition, call=call, owed=owed, wakes=wakes)


def _is_known_client(call: Call) -> bool:
    """An incoming call of somebody who was in the CRM before it."""
    if call.direction is not Direction.IN or not call.crm_type or not call.crm_id:
        return False
    return f"{call.crm_type}:{call.crm_id}" not in call.created


def found(call: Call, event: ResponsibleFound, now: float) -> Transition:
    """The responsible person sees the card too, unless somebody has answered meanwhile."""
    if not call.is_live or call.legs or event.user_id in call.shown_users:
        return Transition(call)
    call, owed = _show(call, Show(users=(event.user_id,)), "show:responsible", now)
    call = replace(
        call,
        shown_users=merged_users(call.shown_users, event.user_id),
        carded_users=merged_users(call.carded_users, event.user_id),
    )
    return Transition(call, (owed,))


def hidden(call: Call, event: CardsHidden, now: float) -> Transition:
    """A Hide came through; it counts when it was for all and nothing older can land any more."""
    extensions, users = gone(call)
    covers = {*extensions} <= {*event.extensions} and {*users} <= {*event.users}
    if not covers or call.shows_open or call.cards_unsure_until is None or now < call.cards_unsure_until:
        return Transition(call)
    return Transition(replace(call, cards_unsure_until=None))


def shown(call: Call, event: Done | GivenUp, now: float) -> Transition:
    """A Show came to its end; one whose answer was lost, or that was given up, may still open a card."""
    call = replace(call, shows_open=tuple(key for key in call.shows_open if key != event.key))
    since = now if isinstance(event, GivenUp) else event.doubted_at
    return Transition(call) if since is None else doubted(call, since, now)


def doubted(call: Call, since: float, now: float) -> Transition:
    """A Show (or Register) got no answer at `since`: it may open a card that was hidden by then."""
    if call.finished:
        return Transition(call)
    until = _later(call.cards_unsure_until, since + LOOK_AGAIN)
    call = replace(call, cards_unsure_until=until)
    if call.ended_at is not None:
        until = max(until, call.ended_at + FINISH_WAITS)
    return Transition(call, wakes=(Wake(max(now, until), WAKE),))


def ending(call: Call, now: float) -> tuple[Call, tuple[Wake, ...]]:
    """Nobody is to see the card any more. Finish closes it for all; the wake is for when it cannot."""
    if not (call.carded or call.carded_users):
        return call, ()
    until = _later(call.cards_unsure_until, now)
    call = replace(call, shown=(), shown_users=(), cards_unsure_until=until)
    return call, (Wake(now + FINISH_WAITS, WAKE),)


def closed(finished: Transition) -> Transition:
    """Finish closed the cards of all (bitrix24.md §6.2)."""
    call = replace(
        finished.call,
        shown=(),
        shown_users=(),
        carded=(),
        carded_users=(),
        shows_open=(),
        hides=0,
        cards_unsure_until=None,
    )
    return replace(finished, call=call, unwake=(*finished.unwake, WAKE))


def swept(call: Call, now: float) -> Transition:
    """The timer: whoever may still see the card and should not is hidden from anew."""
    if call.finished or (call.skipped and not call.given_id):
        return Transition(call)
    if call.is_live and call.legs and call.shown != (talker := (call.legs[-1].extension,)):
        # a transfer that was not taken
        unsure = _later(call.cards_unsure_until, now)
        call = replace(_only(call, talker[0]), cards_unsure_until=unsure)
    if call.cards_unsure_until is None or gone(call) == ((), ()):
        return Transition(call)
    if not card_id(call):
        return Transition(call)  # Register's answer looks again
    if call.shows_open:  # dropped unheard; one that was lost on the way lands before the next look
        call = replace(call, shows_open=(), cards_unsure_until=now + LOOK_AGAIN)
    call, hiding, _ = hide(call, now)
    since = call.ended_at if not call.is_live else call.legs[-1].answered_at if call.legs else call.start
    elapsed = now - (since if since is not None else now)
    return Transition(call, (hiding,), (Wake(now + min(max(elapsed, LOOK_AGAIN), LOOK_LAST), WAKE),))


def strayed(call: Call, bitrix_call_id: str, now: float) -> tuple[Call, tuple[Owed, ...]]:
    """Bitrix24 names the call otherwise than its event seemed to: what that named is looked at later."""
    heard = call.heard_bitrix_id
    if heard is None or heard == bitrix_call_id:
        return call, ()
    return replace(call, heard_bitrix_id=None), (sweep(heard, call.number or call.raw_number or "", now),)


def sweep(bitrix_call_id: str, number: str, now: float) -> Owed:
    """What looks after a CALL_ID that no call of ours has, when one would have it by now."""
    command = SweepCard(call_id=bitrix_call_id, number=number)
    return Owed(f"sweep:{bitrix_call_id}", command, Priority.CRM, not_before=now + STRAY_AFTER)


def to_show(call: Call, command: Show) -> People:
    """Of those whom the command names, who is to see the card now."""
    extensions = tuple(x for x in command.extensions if x in call.shown)
    return extensions, tuple(u for u in command.users if u in call.shown_users)


def to_hide(call: Call, command: Hide) -> People:
    """Everybody who is not to see the card now."""
    extensions, users = gone(call)
    return (
        merged(extensions, tuple(x for x in command.extensions if x not in call.shown)),
        merged_users(users, *(u for u in command.users if u not in call.shown_users)),
    )


def gone(call: Call) -> People:
    """Who may have got the card and is not to see it now."""
    extensions = tuple(x for x in call.carded if x not in call.shown)
    return extensions, tuple(u for u in call.carded_users if u not in call.shown_users)


def card_id(call: Call) -> str | None:
    """The CALL_ID of the call's card; after the end also one that was only heard of."""
    if call.bitrix_call_id or call.is_live:
        return call.bitrix_call_id
    return call.heard_bitrix_id


def merged_users(known: tuple[int, ...], *more: int) -> tuple[int, ...]:
    return tuple(dict.fromkeys((*known, *more)))


def _only(call: Call, talker: str) -> Call:
    """The talker alone; without a user of his own, the one who got Register for his extension."""
    stand_in = call.user_id
    keep = call.register_extension == talker and stand_in in call.carded_users
    return replace(call, shown=(talker,), shown_users=(stand_in,) if keep and stand_in else ())


def _show(call: Call, command: Show, key: str, now: float) -> tuple[Call, Owed]:
    if call.hides:  # a lane takes a key once, and the call may come back to whom it was hidden from
        key = f"{key}:{call.hides}"
    return replace(call, shows_open=merged(call.shows_open, (key,))), _owed(call, key, command, now)


def hide(call: Call, now: float) -> tuple[Call, Owed, Wake]:
    """Close the card for whoever may have it and is not to see it; the wake looks whether it came through."""
    extensions, users = gone(call)
    number = call.hides + 1
    owed = _owed(call, f"hide:{number}", Hide(extensions=extensions, users=users), now)
    call = replace(call, hides=number, cards_unsure_until=_later(call.cards_unsure_until, now))
    return call, owed, Wake(now + LOOK_AGAIN, WAKE)


def _owed(call: Call, key: str, command: Show | Hide, now: float) -> Owed:
    """Bitrix24 must know the call first; a click's call it knew before we did."""
    needs = () if card_id(call) else ("register",)
    return Owed(key, command, Priority.LIVE, needs, expires_at=now + CARD_LIFE)


def _later(one: float | None, other: float) -> float:
    return other if one is None else max(one, other)
