"""Which call does a PBX event belong to?

The live id joins events but is random and may be used again; the database id is lasting but comes
late (unitalk.md §5). So: the lasting id decides, the live id counts only near the same start.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from bitrix_app.core.call import Call
from bitrix_app.core.events import Facts

SAME_START: Final = 5.0
"""Seconds by which two reports of one call may differ in its start."""
LIVE_SPAN: Final = 3 * 3600.0
"""A live call that never ended stops answering to its live id after this many seconds."""


def match(facts: Facts, candidates: Iterable[Call], now: float) -> Call | None:
    """The call that `facts` speak of, or `None` for a new one."""
    for call in candidates:
        if facts.pbx_dbid and call.pbx_dbid:
            if facts.pbx_dbid == call.pbx_dbid:
                return call
            continue  # two lasting ids are two calls, whatever else agrees
        if facts.pbx_id and facts.pbx_id == call.pbx_id and _same_time(facts, call, now):
            return call
    return None


def _same_time(facts: Facts, call: Call, now: float) -> bool:
    if facts.started_at is not None and call.started_at is not None:
        if abs(facts.started_at - call.started_at) <= SAME_START:
            return True
        same_client = facts.number is not None and facts.number == call.number
        return call.is_live and same_client and abs(now - call.first_seen_at) <= LIVE_SPAN
    return abs(now - call.first_seen_at) <= LIVE_SPAN
