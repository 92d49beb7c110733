"""Which call does a PBX event belong to?

The live id joins events but is random and may be used again; the database id is lasting but comes
late (unitalk.md §5). So: the lasting id decides, the live id counts only near the same start.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from bitrix_app.core.call import Call
from bitrix_app.core.dial import OPEN, DialState
from bitrix_app.core.events import Direction, Facts

SAME_START: Final = 5.0
"""Seconds by which two reports of one call may differ in its start."""
LIVE_SPAN: Final = 3 * 3600.0
"""A live call that never ended stops answering to its live id after this many seconds."""


def match(facts: Facts, candidates: Iterable[Call], now: float) -> Call | None:
    """The call that `facts` speak of, or `None` for a new one."""
    calls = tuple(candidates)
    for call in calls:
        if facts.pbx_dbid and call.pbx_dbid:
            if facts.pbx_dbid == call.pbx_dbid:
                return call
            continue  # two lasting ids are two calls, whatever else agrees
        if facts.pbx_id and facts.pbx_id == call.pbx_id and _same_time(facts, call, now):
            return call
    return _by_client(facts, [call for call in calls if _may_be(facts, call)], now)


def match_near(facts: Facts, near: Iterable[Call]) -> Call | None:
    """The call among those that began within `SAME_START` of the report, where ids cannot tell: one of
    both has the lasting id only, the other the live one (unitalk.md §4.4), and perhaps no number at all.
    """
    for call in near:
        pairs = (
            (facts.pbx_id, call.pbx_id),
            (facts.pbx_dbid, call.pbx_dbid),
            (facts.line, call.line),
            (facts.direction, call.direction),
        )
        against = any(one is not None and other is not None and one != other for one, other in pairs)
        same = facts.number == call.number and (facts.number or facts.raw_number == call.raw_number)
        if facts.direction is Direction.INNER:
            same = bool(set(facts.extensions) & {*call.ringing, *call.last_operators})
        if same and not against and not _asked_for(call):
            return call
    return None


def needs_client(facts: Facts) -> bool:
    """Whether ids may not be enough: a template without them, or a dialer, whose own events and the plain
    events of the same call need not carry the same ids (unitalk.md §3.8)."""
    return facts.number is not None and (
        facts.pbx_id is None or facts.dialer_id is not None or _dialled(facts)
    )


def _dialled(facts: Facts) -> bool:
    return (facts.source or "").upper() == "AUTODIAL"


def _by_client(facts: Facts, calls: list[Call], now: float) -> Call | None:
    """Line, client and start (unitalk.md §4.4). Where a start is not told, only the client's one living
    call can be meant."""
    for call in calls:
        both = facts.started_at is not None and call.started_at is not None
        if both and abs((facts.started_at or 0.0) - (call.started_at or 0.0)) <= SAME_START:
            return call
    living = [
        call
        for call in calls
        if call.is_live
        and (facts.started_at is None or call.started_at is None)
        and abs(now - call.first_seen_at) <= LIVE_SPAN
    ]
    return living[0] if len(living) == 1 else None


def of_a_row(facts: Facts, calls: Iterable[Call]) -> Call | None:
    """The call that is known by its row in the history alone, where no live id stands: its webhooks come
    late, and line, client and start must tell them (unitalk.md §4.4).
    """
    if facts.started_at is None:
        return None
    for call in calls:
        if call.pbx_id is not None or call.pbx_dbid is None or call.started_at is None:
            continue
        if abs(facts.started_at - call.started_at) <= SAME_START and _may_be(facts, call):
            return call
    return None


def _may_be(facts: Facts, call: Call) -> bool:
    """The same client, and nothing that was said of both speaks against it."""
    pairs = (
        (facts.pbx_id, call.pbx_id),
        (facts.pbx_dbid, call.pbx_dbid),
        (facts.line, call.line),
        (facts.direction, call.direction),
    )
    against = any(one is not None and other is not None and one != other for one, other in pairs)
    same = facts.number is not None and facts.number == call.number
    # two agents may dial one client in the same moment, each from his own phone
    phones = {*call.ringing, *call.last_operators} if call.direction is Direction.OUT else set()
    elsewhere = bool(phones and facts.extensions) and phones.isdisjoint(facts.extensions)
    return same and not against and not _asked_for(call) and not elsewhere


def _asked_for(call: Call) -> bool:
    """A start that did not ring yet: `claim` is about these."""
    return call.dial is not None and call.dial.state is not DialState.RANG


CLAIM_WITHIN: Final = 120.0
"""Seconds after the asking within which a call of the PBX can be the one that was asked for."""


@dataclass(frozen=True, slots=True)
class Claim:
    """The call that was asked of us and is this one of the PBX; `rivals` others that it might be too."""

    call: Call
    rivals: int = 0


def claim(facts: Facts, asked: Iterable[Call], now: float) -> Claim | None:
    """Which call that was asked for goes on here, by line and number (unitalk.md §4.1); by `meta` where
    the PBX gives it back. The one that was asked for first is taken; who was refused is nobody's.
    """
    if facts.direction not in (Direction.OUT, None):
        return None
    at = facts.started_at if facts.started_at is not None else now
    fitting: list[Call] = []
    for call in asked:
        dial = call.dial
        if dial is None or dial.state not in OPEN or not _same_client(facts, call):
            continue
        if facts.meta is not None and facts.meta != call.id:
            continue
        if dial.extension not in facts.extensions and facts.meta is None:
            continue
        if facts.meta == call.id or -SAME_START <= at - dial.asked_at <= CLAIM_WITHIN:
            fitting.append(call)
    if not fitting:
        return None
    first = min(fitting, key=lambda call: (call.dial.asked_at if call.dial else 0.0, call.id))
    return Claim(first, len(fitting) - 1)


def _same_client(facts: Facts, call: Call) -> bool:
    """Short numbers have no E.164 form on the PBX's side: their digits decide."""
    if facts.number is not None:
        return facts.number == call.number
    return bool(facts.raw_number) and facts.raw_number == (call.number or "").removeprefix("+")


def _same_time(facts: Facts, call: Call, now: float) -> bool:
    if facts.started_at is not None and call.started_at is not None:
        if abs(facts.started_at - call.started_at) <= SAME_START:
            return True
        same_client = facts.number is not None and facts.number == call.number
        return call.is_live and same_client and abs(now - call.first_seen_at) <= LIVE_SPAN
    return abs(now - call.first_seen_at) <= LIVE_SPAN
