"""The PBX's history against our calls: which rows are read, and what a row means for a call. Pure.

The history is the truth for whatever webhooks missed (unitalk.md §4.4). A row appears when its call is
over and is sorted by the call's start, so windows overlap by more than the longest call.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from enum import StrEnum
from typing import Any, Final

from bitrix_app.core.call import Call
from bitrix_app.core.events import Direction, Facts
from bitrix_app.core.outcome import Outcome

EVERY: Final = 300.0
"""Seconds between two readings."""
OVERLAP: Final = 3 * 3600.0
"""Seconds of the past that every reading covers: more than the longest call (unitalk.md §4.4)."""
NIGHT_SPAN: Final = 2 * 86_400.0
"""Seconds of the past that the nightly reading covers."""
NIGHT_HOUR: Final = 3
"""Hour of the PBX's clock from which on the nightly reading is made."""
CREATE_AFTER: Final = 600.0
"""Seconds after its end at which a row that nobody knows becomes a call: its webhooks may be late."""
FILL_AFTER: Final = 60.0
"""Seconds after its end for which the webhook of the end is waited for."""
STEP: Final = 6 * 3600.0
"""Seconds of a long gap that are read and remembered as done in one piece."""
FARTHEST: Final = 30 * 86_400.0
"""Seconds: a gap is filled by itself no further back, as far as the raw receipts are kept."""


class How(StrEnum):
    """What became of a row."""

    MATCHED = "matched"
    """A call of ours says all of it."""
    FILLED = "filled"
    """It told a call of ours what webhooks had not."""
    CREATED = "created"
    """No webhook had told of the call."""
    WAITING = "waiting"
    """Its webhooks may still come."""
    FAILED = "failed"
    """It cannot be read, or our own code failed at it."""


RECOVERED: Final = (How.FILLED, How.CREATED)


@dataclass(frozen=True, slots=True)
class Window:
    """Calls that began between two instants (unix seconds), both ends inclusive."""

    since: float
    until: float


@dataclass(frozen=True, slots=True)
class SeenRow:
    """A row of the history as we last saw it. `digest` is its content's; times are unix seconds.

    `adds` are names of facts that the call lacked; `note` says in words why it `failed`.
    """

    portal: str
    key: str
    digest: str
    started_at: float
    ended_at: float
    how: How
    call_id: str | None = None
    number: str | None = None
    line: str | None = None
    direction: str | None = None
    outcome: str | None = None
    full_seconds: int | None = None
    talk_seconds: int | None = None
    adds: tuple[str, ...] = ()
    note: str = ""
    seen_at: float = 0.0


def pack(row: SeenRow) -> dict[str, Any]:
    """JSON-able, without what stands in columns of its own."""
    outside = ("portal", "key", "digest", "started_at", "ended_at", "how", "call_id")
    return {
        f.name: value
        for f in fields(row)
        if f.name not in outside and (value := getattr(row, f.name)) not in (None, "", ())
    }


def unpack(
    portal: str,
    key: str,
    digest: str,
    started_at: float,
    ended_at: float,
    how: str,
    call_id: str | None,
    doc: Mapping[str, Any],
) -> SeenRow:
    known = {f.name for f in fields(SeenRow)}
    more: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in doc.items() if k in known}
    return SeenRow(
        portal=portal,
        key=key,
        digest=digest,
        started_at=started_at,
        ended_at=ended_at,
        how=How(how),
        call_id=call_id,
        **more,
    )


def windows(covered_until: float | None, now: float, *, night: bool = False) -> tuple[Window, ...]:
    """What to read, the oldest first; a step that was read need not be read again after a restart.

    `covered_until` is the end of the last window that was read whole. A gap after it (the app was down,
    the PBX did not answer) is bridged, by at most `FARTHEST`.
    """
    span = NIGHT_SPAN if night else OVERLAP
    since = now - span
    if covered_until is not None:
        since = min(since, max(covered_until - OVERLAP, now - FARTHEST))
    found: list[Window] = []
    while since + STEP < now:
        found.append(Window(since, since + STEP))
        since += STEP
    return (*found, Window(since, now))


def lacks(call: Call, facts: Facts) -> tuple[str, ...]:
    """Names of what a row of the history adds to its call; empty when it tells nothing new."""
    if call.is_live:
        return ("end",)
    found: list[str] = []
    if call.outcome is Outcome.UNKNOWN and facts.outcome not in (None, Outcome.UNKNOWN):
        found.append("outcome")
    if facts.link and call.link is None and call.direction is not Direction.INNER:
        found.append("recording")
    for name in ("pbx_dbid", "number", "started_at"):
        if getattr(facts, name) is not None and getattr(call, name) is None:
            found.append(name)
    return tuple(found)


def judge(known: Call | None, facts: Facts, ended_at: float, now: float) -> tuple[How, tuple[str, ...]]:
    """What a row means for the call that it was found to be of, and which facts it adds."""
    if known is None:
        return (How.CREATED if now - ended_at >= CREATE_AFTER else How.WAITING), ()
    adds = lacks(known, facts)
    if not adds:
        return How.MATCHED, ()
    return (How.FILLED if now - ended_at >= FILL_AFTER else How.WAITING), adds


SECONDS_APART: Final = 2
"""Seconds by which two counts of one duration may differ."""


def ends_differ(call: Call, facts: Facts) -> tuple[str, ...]:
    """What the history says otherwise than the webhooks said, as `talk_seconds 83 / 12`."""
    if call.is_live or call.outcome in (None, Outcome.UNKNOWN):
        return ()
    found = [
        f"{name} {ours} / {theirs}"
        for name in ("talk_seconds", "full_seconds")
        if (ours := getattr(call, name)) is not None
        and (theirs := getattr(facts, name)) is not None
        and abs(ours - theirs) > SECONDS_APART
    ]
    if facts.outcome not in (None, Outcome.UNKNOWN, call.outcome):
        found.append(f"outcome {call.outcome} / {facts.outcome}")
    return tuple(found)
