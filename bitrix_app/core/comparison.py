"""Our calls against Bitrix24's statistics: missing, doubled, wrong duration, person, recording. Pure.

Only what cannot harm is repaired by itself; the rest stands in a list with its cause and who must act.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from enum import StrEnum
from typing import Any, Final

from bitrix_app.core.call import Call, Recording
from bitrix_app.core.history import SECONDS_APART
from bitrix_app.core.outcome import Outcome

COMPARE_AFTER: Final = 600.0
"""Seconds after the last change of a call at which Bitrix24's statistics are believed."""
SPAN: Final = 2 * 86_400.0
"""Seconds of the past that the nightly comparison covers."""
STRANDED_AFTER: Final = 1_800.0
"""Seconds after its end at which a call that is neither written nor owed is taken up again."""


class Kind(StrEnum):
    MISSING = "missing"
    DOUBLED = "doubled"
    DURATION = "duration"
    PERSON = "person"
    RECORDING = "recording"
    STRANDED = "stranded"
    """Ended, not written, and nothing is owed for it."""
    ENDS = "ends"
    """The PBX's history says another end than its webhooks did."""


class State(StrEnum):
    OPEN = "open"
    MENDED = "mended"
    """We did something about it; the next comparison tells whether it helped."""
    GONE = "gone"
    """It is right now."""


@dataclass(frozen=True, slots=True)
class InPortal:
    """A finished call as Bitrix24's statistics know it (bitrix24.md §6.9)."""

    call_id: str
    user_id: int | None
    duration: int
    has_recording: bool


@dataclass(frozen=True, slots=True)
class Difference:
    """One finding about one call. `message` and `hint` are for people, `who` must act."""

    portal: str
    call_id: str
    kind: Kind
    message: str
    hint: str
    who: str
    state: State = State.OPEN
    found_at: float = 0.0
    updated_at: float = 0.0
    repairs: int = 0

    @property
    def unwritten(self) -> bool:
        """Whether the call cannot count as written exactly once."""
        return self.state is not State.GONE and self.kind in (Kind.MISSING, Kind.DOUBLED)


def pack(difference: Difference) -> dict[str, Any]:
    return {name: getattr(difference, name) for name in ("message", "hint", "who", "repairs")}


def unpack(
    portal: str,
    call_id: str,
    kind: str,
    state: str,
    found_at: float,
    updated_at: float,
    doc: Mapping[str, Any],
) -> Difference:
    more = {f.name: doc[f.name] for f in fields(Difference) if f.name in doc}
    return Difference(
        portal=portal,
        call_id=call_id,
        kind=Kind(kind),
        state=State(state),
        found_at=found_at,
        updated_at=updated_at,
        **more,
    )


def compare(call: Call, rows: Iterable[InPortal]) -> tuple[Difference, ...]:
    """What is wrong with a finished call in Bitrix24. `rows` are those with its id of ours, or, when
    Bitrix24 registered it itself, with its CALL_ID.
    """
    by_id = {row.call_id: row for row in rows}
    if not by_id:
        return (
            _found(
                call,
                Kind.MISSING,
                message="Bitrix24's call statistics do not have this call, though it was written.",
                hint="Look whether somebody deleted it. If not, tell the support of this application.",
                who="manager",
            ),
        )
    found: list[Difference] = []
    if len(by_id) > 1:
        found.append(
            _found(
                call,
                Kind.DOUBLED,
                message=f"Bitrix24's call statistics have this call {len(by_id)} times.",
                hint="Delete the record that is too much. If the Unitalk connector of the PBX itself is on,"
                " switch it off: it writes every call a second time.",
                who="admin",
            )
        )
    row = by_id.get(call.bitrix_call_id or "") or next(iter(by_id.values()))
    talked = (call.talk_seconds or 0) if call.outcome is Outcome.ANSWERED else 0
    if abs(row.duration - talked) > SECONDS_APART:
        found.append(
            _found(
                call,
                Kind.DURATION,
                message=f"Bitrix24 has {row.duration} s of talk, the PBX had {talked} s.",
                hint="Bitrix24 does not let a finished call be changed. The PBX's count is the right one.",
                who="nobody",
            )
        )
    if call.user_id is not None and row.user_id is not None and row.user_id != call.user_id:
        found.append(
            _found(
                call,
                Kind.PERSON,
                message=f"In Bitrix24 the call is user {row.user_id}'s, by our rules it is user"
                f" {call.user_id}'s.",
                hint="If nobody changed it on purpose, give the call to the right person in Bitrix24.",
                who="manager",
            )
        )
    if not row.has_recording and call.recording in (Recording.ATTACHED, Recording.COPIED):
        found.append(
            _found(
                call,
                Kind.RECORDING,
                message="The recording was attached, but Bitrix24 no longer has it at the call.",
                hint="It is attached anew by itself, once. After that somebody has to look who removes it.",
                who="nobody",
            )
        )
    return tuple(found)


def stranded(call: Call) -> Difference:
    """A call that ended and that nobody is going to write."""
    return _found(
        call,
        Kind.STRANDED,
        message="The call ended, was not written to Bitrix24, and nothing was going to write it.",
        hint="It is taken up again by itself. Tell the support of this application that this happened.",
        who="nobody",
    )


def two_ends(call: Call, differing: Sequence[str]) -> Difference:
    """The PBX told two different ends of one call (ours / history)."""
    return _found(
        call,
        Kind.ENDS,
        message=f"The PBX's history says another end than its event did: {', '.join(differing)}.",
        hint="The call was written as the event said. The PBX's cabinet tells which one is right.",
        who="manager",
    )


def merged(known: Difference | None, fresh: Difference, now: float) -> Difference:
    """The finding as it is to be kept: open, since it was found first, with its repairs counted."""
    found_at = now if known is None or known.state is State.GONE else known.found_at
    repairs = known.repairs if known else 0
    return Difference(
        portal=fresh.portal,
        call_id=fresh.call_id,
        kind=fresh.kind,
        message=fresh.message,
        hint=fresh.hint,
        who=fresh.who,
        found_at=found_at,
        updated_at=now,
        repairs=repairs,
    )


REPAIRS: Final = {Kind.RECORDING: 1, Kind.STRANDED: 3}
"""How often we mend a finding of this kind by ourselves; others never."""


def may_repair(difference: Difference) -> bool:
    return difference.repairs < REPAIRS.get(difference.kind, 0)


def _found(call: Call, kind: Kind, *, message: str, hint: str, who: str) -> Difference:
    return Difference(call.portal, call.id, kind, message, hint, who)
