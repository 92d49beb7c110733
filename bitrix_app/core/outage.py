"""Times in which the PBX's events did not reach us: our own downtime, and the PBX's silence. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields
from enum import StrEnum
from typing import Any, Final

BEAT_EVERY: Final = 60.0
DOWN_AFTER: Final = 180.0
"""Seconds without a heartbeat that are downtime; a shorter restart is nothing to speak of."""
SILENT_AFTER: Final = 900.0
"""Seconds without any webhook after which calls in the history mean that events do not come."""
TELL_AFTER: Final = 660.0
"""Seconds after an outage at which the last of its rows may become a call (history.CREATE_AFTER)."""
TELL_LATEST: Final = 2 * 3600.0
"""Seconds after an outage at which it is told even though some of its calls still wait."""


class Kind(StrEnum):
    DOWN = "down"
    """Our process did not run."""
    SILENT = "silent"
    """The PBX had calls and sent no events."""


@dataclass(frozen=True, slots=True)
class Outage:
    """Unix seconds. `ended_at` is `None` while it goes on; `recovered` and `needs` are counts of calls
    once they were `told`; `warned` says that people heard of a silence while it went on.
    """

    portal: str
    kind: Kind
    began_at: float
    ended_at: float | None = None
    told: bool = False
    warned: bool = False
    recovered: int = 0
    needs: int = 0


def pack(outage: Outage) -> dict[str, Any]:
    return {f.name: getattr(outage, f.name) for f in fields(outage)}


def unpack(doc: Mapping[str, Any]) -> Outage:
    known = {f.name: doc[f.name] for f in fields(Outage) if f.name in doc}
    return Outage(**{**known, "kind": Kind(known["kind"])})


def downtime(last_beat: float | None, now: float) -> tuple[float, float] | None:
    """When nobody was there to take events in, by the last sign of life; `None` for a short restart."""
    if last_beat is None or now - last_beat < DOWN_AFTER:
        return None
    return last_beat, now


def silent_since(
    last_heard: float | None, up_since: float, missed: Iterable[tuple[float, float]], now: float
) -> float | None:
    """Since when the PBX is silent though it has calls; `None` when it is not, or nobody can know yet.

    `missed` are (start, end) of calls of which no webhook came at all. Only calls that ended while we
    were listening count: what we slept through is our own doing.
    """
    listening = max(up_since, last_heard if last_heard is not None else up_since)
    if now - listening < SILENT_AFTER:
        return None
    unheard = [start for start, end in missed if end > listening]
    return max(listening, min(unheard)) if unheard else None


def may_tell(outage: Outage, covered_until: float, waiting: int, now: float) -> bool:
    """Whether an outage that is over can be told with its counts: the history was read after its last
    call could be created, and its calls are settled, or have waited long enough.
    """
    if outage.told or outage.ended_at is None or covered_until < outage.ended_at + TELL_AFTER:
        return False
    return waiting == 0 or now >= outage.ended_at + TELL_LATEST
