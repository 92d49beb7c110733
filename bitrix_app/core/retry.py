"""When a failed job is tried again: data and one pure decision.

The seconds tier lives in the vendors' clients; this is the queue's tier, minutes to a day.
"""

from __future__ import annotations

from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

from bitrix_app.core.errors import AnswerLost, Trouble, Verdict

MINUTE: Final = 60.0
HOUR: Final = 3600.0

PATIENT: Final = (
    5.0,
    30.0,
    2 * MINUTE,
    10 * MINUTE,
    30 * MINUTE,
    2 * HOUR,
    5 * HOUR,
    10 * HOUR,
    14 * HOUR,
    20 * HOUR,
    24 * HOUR,
)
"""Pauses of the queue (design.md §6): the last try is three days and a half after the first."""

LATE_RECORDING: Final = (10.0, 30.0, 2 * MINUTE, 10 * MINUTE, HOUR, 5 * HOUR, 12 * HOUR, 24 * HOUR)
"""Pauses for a recording that is not there yet (unitalk.md §3.6)."""

JITTER: Final = 0.2
DOUBT_MATURES: Final = 60.0
"""Seconds until a lost write can no longer land: the vendor's own limit for a request."""
LATER_DEFAULT: Final = 60.0
LATER_LEAST: Final = 0.05
"""Whoever comes back at the very instant may still be refused, and would ask in a circle."""
LATEST: Final = 24 * HOUR
"""No vendor's «come back at» is believed beyond this."""


@dataclass(frozen=True, slots=True)
class Policy:
    """How patient a command is. `live` commands are worth nothing after their `expires_at`."""

    pauses: tuple[float, ...] = PATIENT
    live: bool = False


POLICIES: Final = MappingProxyType(
    {
        "register": Policy(),
        "show": Policy(pauses=(1.0, 2.0, 5.0), live=True),
        "hide": Policy(pauses=(1.0, 2.0, 5.0, 10.0), live=True),
        "find_responsible": Policy(pauses=(1.0, 2.0, 5.0, 10.0, 20.0, 40.0), live=True),
        "finish": Policy(),
        "trace_dial": Policy(pauses=(10.0, 30.0, 2 * MINUTE, 10 * MINUTE)),
        "assign_callback": Policy(pauses=(2.0, 5.0, 15.0)),
        "fetch_recording": Policy(pauses=LATE_RECORDING),
        "switch_dialer": Policy(pauses=(5.0, 30.0, 2 * MINUTE, 10 * MINUTE)),
        "check_dialer": Policy(pauses=(30.0, 2 * MINUTE, 10 * MINUTE)),
    }
)
DEFAULT_POLICY: Final = Policy()


@dataclass(frozen=True, slots=True)
class RetryAt:
    """Try again at `at`; `counted` tries use up the policy's pauses."""

    at: float
    counted: bool
    doubt: bool
    reason: str


@dataclass(frozen=True, slots=True)
class GiveUp:
    """A person is needed, because `reason`."""

    reason: str


def policy(kind: str) -> Policy:
    return POLICIES.get(kind, DEFAULT_POLICY)


def decide(
    kind: str, trouble: Trouble, attempts: int, now: float, jitter: float, *, is_live: bool = False
) -> RetryAt | GiveUp:
    """What follows from `trouble` at a job's `attempts`-th counted try (the first is 1).

    `jitter` is from -1 to 1 and moves a pause by at most 20 %. `is_live`: a card waits, so a doubt
    is looked into at once instead of after it matured.
    """
    if trouble.verdict is Verdict.PERSON:
        return GiveUp(trouble.message)
    if trouble.verdict is Verdict.LATER:
        at = trouble.retry_at if trouble.retry_at is not None else now + LATER_DEFAULT
        at = min(max(at, now + LATER_LEAST), now + LATEST)
        return RetryAt(at, counted=False, doubt=False, reason=trouble.code)
    pauses = policy(kind).pauses
    if attempts > len(pauses):
        return GiveUp(f"{len(pauses) + 1} tries failed, the last one: {trouble.message}")
    pause = pauses[attempts - 1] * (1 + JITTER * jitter)
    doubt = isinstance(trouble, AnswerLost)
    if doubt and not is_live:
        pause = max(pause, DOUBT_MATURES)
    at = now + pause
    if trouble.retry_at is not None:
        at = max(at, min(trouble.retry_at, now + LATEST))
    return RetryAt(at, counted=True, doubt=doubt, reason=trouble.code)
