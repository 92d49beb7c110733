"""What the emulated PBX knows: its operators, its dialers and, above all, the calls that truly happened.

A `SandboxCall` is the truth against which a test reconciles: it is a *plan on the clock*. All its steps
are known when it is made, so "has it ended?" is a question to the time and not to a background task.
Contract: unitalk.md §3.2-3.5 (calls), §4.5 (operators), §4.6 (dialers).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

CallKind = Literal["incoming", "outgoing", "inner", "originate", "autodial"]
Direction = Literal["IN", "OUT", "INNER"]
UserLine = str | int | None

TERMINAL = "CALL_END"

TRACKING_FIELDS = (
    "utmSource",
    "utmMedium",
    "utmCampaign",
    "utmTerm",
    "utmContent",
    "googleId",
    "facebookClientId",
    "gclid",
    "cdid",
    "referer",
    "ip",
    "lastUrl",
)

# Q.850 causes per outcome (§3.3); the samples leave some of them null on purpose.
CAUSES: Mapping[str, int | None] = {
    "ANSWER": 16,
    "NOANSWER": 19,
    "BUSY": 17,
    "FAIL": 41,
    "CHANUNAVAIL": 18,
    "UNREACHABLE": 20,
    "NOT_EXIST": 1,
    "NOMONEY": None,
    "BUSYOUT": 34,
    "WRONGDIR": None,
    "BLOCKED": 21,
}


# Outcomes of a dialer's attempt after which the number is tried again.
TRY_AGAIN = frozenset({"NOANSWER", "BUSY", "UNREACHABLE", "FAIL", "BUSYOUT", "ANSWERING_MACHINE"})


@dataclass(slots=True)
class Step:
    """One webhook of a call's life: when it happens and what is particular to it."""

    at: float
    event: str
    from_: str
    to: tuple[str, ...]
    group: str | None = None


@dataclass(slots=True)
class SandboxCall:
    """One call as it truly was. Seconds are whole, as the PBX tells them; instants are unix seconds."""

    live_id: int
    kind: CallKind
    direction: Direction
    number: str
    """The other side: the client, or the called line of an inner call."""
    line: str | None
    """The company's outer line (`outerNumber`), or a site's name."""
    started_at: float
    date: str
    """The start on the PBX's wall clock, the only form in which the outside learns it."""
    ended_at: float
    state: str
    cause: int | None
    seconds_full: int
    seconds_talk: int
    unique_id: str
    steps: list[Step]
    answered_by: list[str] = field(default_factory=list)
    """The lines that talked, in order; more than one after transfers."""
    group: str | None = None
    meta: str | int | None = None
    source: str = "REGULAR"
    callback: bool = False
    tracking: Mapping[str, str] | None = None
    dialer_id: int | None = None
    wait_operator: int | None = None
    pressed_digit: int | None = None
    comment: str | None = None
    dbid: int | None = None
    link: str | None = None
    delivered: bool = True
    """False for a call whose webhooks the test posts by itself, or never."""
    in_history: bool = True

    def ended(self, now: float) -> bool:
        return now >= self.ended_at

    @property
    def answered(self) -> bool:
        return self.state == "ANSWER"

    @property
    def end(self) -> Step:
        return self.steps[-1]


@dataclass(slots=True)
class Operator:
    """A user of the PBX. `users/list` shows only the first four; `online` is our own switch (§4.5)."""

    id: int
    first_name: str
    last_name: str
    line: UserLine
    online: bool = True

    @property
    def extension(self) -> str | None:
        return None if self.line is None else str(self.line)


@dataclass(slots=True)
class DialerPhone:
    """One number in a dialer's list. `realCalledCount` is the vendor's word for attempts (§4.6)."""

    number: str
    meta: str | int | None = None
    attempts: int = 0
    call_state: str | None = None
    done: bool = False


@dataclass(slots=True)
class Dialer:
    """An autodialer as made in the cabinet; the API can only fill it, run it and read it (§4.6)."""

    id: int
    name: str
    status: str = "STOPPED"
    audios: list[int] = field(default_factory=list)
    phones: list[DialerPhone] = field(default_factory=list)
    channels: int = 2
    """Calls at one time."""
    max_attempts: int = 2
    retry_pause: float = 5.0
    """Seconds from the end of an attempt to the next one with that number."""
    try_again: frozenset[str] = TRY_AGAIN
    stops_when_done: bool = True
    """False: the dialer goes on RUNNING with an empty list, and dials at once what is added."""


@dataclass(frozen=True, slots=True)
class DialOutcome:
    """What will happen to a call that the API starts: `phones/directCall`, `calls/originateNew`, the dialer.

    `error` refuses the request itself. `operator` says what the operator's phone does when it rings
    first; whether events exist when he does not pick up is unknown (§5), so `operator_events` chooses,
    and `operator_history` whether at least the history knows of it.
    """

    state: str = "ANSWER"
    error: str | None = None
    operator: Literal["answers", "silent"] = "answers"
    operator_seconds: float = 2.0
    operator_events: bool = False
    operator_history: bool = False
    operator_line: str | None = None
    ring_seconds: float = 4.0
    talk: float = 8.0
    wait: float = 1.0
    pressed_digit: int | None = None
