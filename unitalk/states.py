"""The PBX's words for how a call ended (unitalk.md §3.4, §3.5), and what they mean. Pure."""

from __future__ import annotations

import re
from typing import Final

from bitrix_app.core.events import Direction
from bitrix_app.core.outcome import Outcome

_OUTCOMES: Final = {
    "ANSWER": Outcome.ANSWERED,
    "ANSWERED": Outcome.ANSWERED,
    "BUSY": Outcome.BUSY,
    "FAIL": Outcome.FAILED,
    "FAILED": Outcome.FAILED,
    "CHANUNAVAIL": Outcome.UNAVAILABLE,
    "UNREACHABLE": Outcome.UNAVAILABLE,
    "NOTEXIST": Outcome.INVALID_NUMBER,
    "NOMONEY": Outcome.NO_MONEY,
    "BUSYOUT": Outcome.NO_CAPACITY,
    "WRONGDIR": Outcome.BAD_DIRECTION,
    "BLOCKED": Outcome.BLOCKED,
    "ANSWNFOP": Outcome.LOST_BY_US,
    "ANSWRJCT": Outcome.LOST_BY_US,
    "ANSWOPNA": Outcome.LOST_BY_US,
    "ANSWERINGMACHINE": Outcome.MACHINE,
    "AUDIOERR": Outcome.FAILED,
    "CLIENTCALLED": Outcome.CALLED_ELSEWHERE,
    "CANCEL": Outcome.CANCELLED,
    "AUTOCANCEL": Outcome.CANCELLED,
}
"""Without underscores: the vendor spells WRONGDIR and WRONG_DIR."""
_LIVE: Final = ("ANSWER", "ANSWERED", "DIALING")
"""States that a call may also have while it goes on (§3.2, §3.4)."""


def plain(state: str | None) -> str:
    return re.sub(r"[^A-Z]", "", (state or "").upper())


def is_known(state: str | None) -> bool:
    """Whether the contract has this word."""
    return plain(state) in _OUTCOMES or plain(state) in ("NOANSWER", "DIALING")


def is_final(state: str | None) -> bool:
    """Whether only a call that is over has this state."""
    return is_known(state) and plain(state) not in _LIVE


def outcome_of(state: str | None, direction: Direction | None, talk: int | None) -> Outcome:
    """What a closing event's state means; `talk` in seconds decides where the state says nothing."""
    word = plain(state)
    if word in _OUTCOMES:
        return _OUTCOMES[word]
    talked = (talk or 0) > 0
    if word in ("", "DIALING") and talked:
        return Outcome.ANSWERED
    if word == "NOANSWER":
        return Outcome.MISSED if direction is Direction.IN else Outcome.NO_ANSWER
    if word == "DIALING" or talked:
        return Outcome.UNKNOWN  # not final, or a new word against the clock: history may tell more
    return Outcome.MISSED if direction is Direction.IN else Outcome.UNKNOWN
