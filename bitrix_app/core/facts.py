"""What the PBX's reports add to what is known of a call. Pure (unitalk.md §5)."""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from bitrix_app.core.call import Call, Leg
from bitrix_app.core.events import Facts, PbxReport, Step
from bitrix_app.core.outcome import Outcome

MOST_LINKS: Final = 8
"""Recordings of one call that are fetched; whoever sends more links has another purpose."""


def with_report(call: Call, event: PbxReport, now: float) -> Call:
    """The call with what `event` says of it. Facts are only added; what the closing event says wins over
    what was said before it."""
    f = event.facts
    final = event.step is Step.ENDED and call.is_live
    plain = {
        name: value
        for name in _PLAIN_FACTS
        if (value := getattr(f, name)) is not None and (final or getattr(call, name) is None)
    }
    known = replace(call, **plain)
    if f.number_note and f.number is None and known.number is None and f.number_note not in call.notes:
        known = replace(known, notes=(*known.notes, f.number_note))
    if event.step is Step.ENDED:
        return _with_end(call, known, f, now)
    known = replace(known, ringing=merged(call.ringing, f.extensions))
    if event.step is Step.ANSWERED and f.extensions:
        answerer = f.extensions[0]
        if not call.legs or call.legs[-1].extension != answerer:
            known = replace(known, legs=(*call.legs, Leg(answerer, now)))
    return known


_PLAIN_FACTS: Final = (
    "pbx_id",
    "pbx_dbid",
    "direction",
    "number",
    "raw_number",
    "line",
    "group",
    "started_at",
    "meta",
    "source",
    "link",
    "site",
    "dialer_id",
    "dial_attempts",
    "wait_seconds",
)


def _with_end(call: Call, known: Call, f: Facts, now: float) -> Call:
    outcome = f.outcome or Outcome.UNKNOWN
    if (
        f.link
        and len(known.links) < MOST_LINKS
        and not any(same_recording(f.link, link) for link in known.links)
    ):
        known = replace(known, more_links=(*known.more_links, f.link))
    if call.is_live or call.outcome is Outcome.UNKNOWN:
        if not call.is_live and outcome is not Outcome.UNKNOWN:
            late = f"The PBX reported the end after all: {outcome}, {f.talk_seconds or 0} s of talk"
            known = replace(known, notes=(*known.notes, late))
        start = known.start
        ended_at = start + f.full_seconds if f.full_seconds is not None else now
        return replace(
            known,
            outcome=outcome,
            pbx_state=f.state,
            full_seconds=f.full_seconds,
            talk_seconds=f.talk_seconds,
            cause=f.cause,
            last_operators=f.extensions,
            ringing=merged(call.ringing, f.extensions),
            ended_at=max(start, ended_at),
        )
    differs = [
        f"{name} {getattr(call, name)} / {value}"
        for name in ("talk_seconds", "full_seconds", "pbx_state")
        if (value := getattr(f, "state" if name == "pbx_state" else name)) is not None
        and getattr(call, name) not in (None, value)
    ]
    if differs:
        note = "The PBX reported two different ends: " + ", ".join(differs)
        return known if note in call.notes else replace(known, notes=(*call.notes, note))
    return replace(known, last_operators=known.last_operators or f.extensions)


def same_recording(one: str, other: str) -> bool:
    """Two links to one recording: host and path may be the old or the new ones, its id and date stay
    (unitalk.md §3.6)."""
    return one == other or one.rstrip("/").split("/")[-2:] == other.rstrip("/").split("/")[-2:]


def merged(known: tuple[str, ...], more: tuple[str, ...]) -> tuple[str, ...]:
    """`known` and those of `more` that are new, in order."""
    return known + tuple(x for x in more if x not in known)
