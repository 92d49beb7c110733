"""What a call's end means: one small vocabulary between the PBX's states and Bitrix24's codes."""

from __future__ import annotations

from enum import StrEnum
from types import MappingProxyType
from typing import Final


class Outcome(StrEnum):
    """How a call ended, in our words (unitalk.md §3.4 and §3.5, column «Ours»)."""

    ANSWERED = "answered"
    MISSED = "missed"
    NO_ANSWER = "no_answer"
    BUSY = "busy"
    DECLINED = "declined"
    CANCELLED = "cancelled"
    UNAVAILABLE = "unavailable"
    INVALID_NUMBER = "invalid_number"
    BAD_DIRECTION = "bad_direction"
    BLOCKED = "blocked"
    NO_MONEY = "no_money"
    NO_CAPACITY = "no_capacity"
    FAILED = "failed"
    MACHINE = "machine"
    LOST_BY_US = "lost_by_us"
    CALLED_ELSEWHERE = "called_elsewhere"
    UNKNOWN = "unknown"
    NOT_STARTED = "not_started"
    """A call that we were asked for never came about: no outcome of the PBX, ours alone."""


OF_CALLS: Final = frozenset(Outcome) - {Outcome.NOT_STARTED}
"""What a call that came about can end with; rules speak of these."""

STATUS_CODE: Final = MappingProxyType(
    {
        Outcome.ANSWERED: "200",
        Outcome.MISSED: "304",
        Outcome.NO_ANSWER: "304",
        Outcome.BUSY: "486",
        Outcome.DECLINED: "603",
        Outcome.CANCELLED: "603-S",
        Outcome.UNAVAILABLE: "480",
        Outcome.INVALID_NUMBER: "404",
        Outcome.BAD_DIRECTION: "484",
        Outcome.BLOCKED: "423",
        Outcome.NO_MONEY: "402",
        Outcome.NO_CAPACITY: "503",
        Outcome.FAILED: "OTHER",
        Outcome.MACHINE: "304",
        Outcome.LOST_BY_US: "304",
        Outcome.CALLED_ELSEWHERE: "OTHER",
        Outcome.UNKNOWN: "OTHER",
        Outcome.NOT_STARTED: "OTHER",
    }
)
"""STATUS_CODE of `telephony.externalcall.finish` (bitrix24.md §6.2) for each outcome."""

FAILED_REASON: Final = MappingProxyType(
    {
        Outcome.ANSWERED: "",
        Outcome.MISSED: "Missed call",
        Outcome.NO_ANSWER: "The client did not answer",
        Outcome.BUSY: "The line is busy",
        Outcome.DECLINED: "The call was declined",
        Outcome.CANCELLED: "The caller hung up",
        Outcome.UNAVAILABLE: "The number or device is not available",
        Outcome.INVALID_NUMBER: "The number does not exist",
        Outcome.BAD_DIRECTION: "This direction is not allowed",
        Outcome.BLOCKED: "Blocked by the PBX's settings",
        Outcome.NO_MONEY: "The PBX account's balance is too low",
        Outcome.NO_CAPACITY: "All external lines were in use",
        Outcome.FAILED: "The call failed for a technical reason",
        Outcome.MACHINE: "Answering machine",
        Outcome.LOST_BY_US: "The client answered, no agent was free",
        Outcome.CALLED_ELSEWHERE: "The client was reached by another call",
        Outcome.UNKNOWN: "The PBX gave no outcome",
        Outcome.NOT_STARTED: "The call could not be started",
    }
)
"""FAILED_REASON in words for each outcome; people read it in the call's card."""

NOBODY_REACHED: Final = frozenset(Outcome) - {Outcome.ANSWERED, Outcome.LOST_BY_US, Outcome.UNKNOWN}
"""Outcomes of an outgoing call that certainly reached no human (unitalk.md §3.5)."""
