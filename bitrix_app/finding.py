"""Which call of ours does a report of the PBX speak of? Looks where the answer may stand, in one transaction.

The rules are `core.correlate`'s; a report of nobody makes a new call.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from typing import Final

from bitrix_app.core.call import Call
from bitrix_app.core.correlate import (
    CLAIM_WITHIN,
    LIVE_SPAN,
    SAME_START,
    claim,
    match,
    match_near,
    needs_client,
    of_a_row,
)
from bitrix_app.core.dial import OPEN, DialState
from bitrix_app.core.events import Direction, Facts
from bitrix_app.core.store import Unit
from bitrix_app.words import mark

CLIENT_SLACK: Final = 60.0
"""Seconds by which the PBX's clock may be ahead of ours when a call is looked for by its client."""
_OURS: Final = re.compile(r"[0-9a-f]{27}")
"""What our call ids look like: a `meta` of another form is not ours and needs no look-up."""


async def call_for(
    unit: Unit,
    portal: str,
    facts: Facts,
    now: float,
    make_id: Callable[[float], str],
    asked_for: Call | None = None,
) -> Call:
    """The call that `facts` speak of, or a new one; `asked_for` is the start which they were looked for
    in the history. Awaits only `unit`.
    """
    candidates = list(await unit.calls_by_pbx(portal, facts.pbx_id, facts.pbx_dbid))
    known = match(facts, candidates, now)
    if known is not None:
        return known
    if facts.direction is Direction.INNER:
        # a leg to our own phone may carry our mark, but it is not the call to the client
        read = await _by_row(unit, portal, facts)
        return read or Call(id=make_id(now), portal=portal, first_seen_at=now)
    late_of = asked_for if asked_for and asked_for.dial and asked_for.dial.state not in OPEN else None
    if asked_for is not None and late_of is None:
        # a row without the live id may be a call whose webhooks nobody could tell to be this one
        return await _by_client(unit, portal, facts, candidates, now) or asked_for
    if facts.meta and _OURS.fullmatch(facts.meta):
        told = await unit.call(portal, facts.meta)
        if told is not None and told.dial is not None:
            if told.dial.state in OPEN or (told.dial.state is DialState.RANG and _nobody_elses(told, facts)):
                return told
            late_of = told
    client = facts.number or facts.raw_number
    if client and facts.direction is not Direction.IN:
        since = (now if facts.started_at is None else min(facts.started_at, now)) - CLAIM_WITHIN
        near = await unit.calls_of_client(portal, client, since - CLIENT_SLACK)
        if late_of is None and (claimed := claim(facts, near, now)) is not None:
            return _flagged(claimed.call) if claimed.rivals else claimed.call
        if (read := of_a_row(facts, near)) is not None:
            return read
    known = await _by_client(unit, portal, facts, candidates, now)
    known = known or await _by_row(unit, portal, facts)
    if known is not None:
        return known
    call = Call(id=make_id(now), portal=portal, first_seen_at=now)
    return call if late_of is None else _late(call, late_of)


async def _by_row(unit: Unit, portal: str, facts: Facts) -> Call | None:
    """A call that only the history had told of so far, by its start; its webhooks come late."""
    if facts.started_at is None:
        return None
    span = (facts.started_at - SAME_START, facts.started_at + SAME_START)
    return match_near(facts, await unit.calls_from_history(portal, *span))


async def _by_client(
    unit: Unit, portal: str, facts: Facts, candidates: list[Call], now: float
) -> Call | None:
    if not (facts.number and needs_client(facts)):
        return None
    since = now - LIVE_SPAN if facts.started_at is None else min(facts.started_at, now) - CLIENT_SLACK
    return match(facts, [*candidates, *await unit.calls_of_client(portal, facts.number, since)], now)


def _nobody_elses(told: Call, facts: Facts) -> bool:
    """A report that carries our `meta` and no id of another call (a template without ids, a row of the
    history), and that began when the call did: one dialled by hand may have been taken for ours.
    """
    begun = (facts.started_at, told.started_at)
    if begun[0] is not None and begun[1] is not None and abs(begun[0] - begun[1]) > SAME_START:
        return False
    pairs = ((facts.pbx_id, told.pbx_id), (facts.pbx_dbid, told.pbx_dbid))
    return all(one is None or other is None or one == other for one, other in pairs)


def _flagged(call: Call) -> Call:
    note = mark("More than one call to this number was asked for; the PBX did not say which one this is.")
    return call if note in call.notes else replace(call, notes=(*call.notes, note))


def _late(call: Call, given_up: Call) -> Call:
    """The start was given up, or another call was taken for it: a call of its own, and it is told whose."""
    assert given_up.dial is not None  # noqa: S101 - narrows for the checker
    if given_up.dial.state is DialState.RANG:
        late = mark("The PBX made more than one call of one request; each of them is kept.")
    else:
        late = mark(
            "It was asked for as another call, whose start had been given up before this one was heard of."
        )
    entry = given_up.dial.intent or given_up.id
    dial = replace(given_up.dial, state=DialState.DOUBTED, failure=None, intent=entry)
    return replace(call, dial=dial, direction=Direction.OUT, notes=(late,))
