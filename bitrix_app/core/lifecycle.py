"""The life of a call as one table. The README's diagram is drawn from it (`tests/core/test_lifecycle.py`).

Progress never goes back: a late event of an earlier phase is legal and stays where the call is, it
only adds facts. What is not in the table is illegal: it raises and changes nothing.
"""

from __future__ import annotations

from enum import StrEnum
from types import MappingProxyType
from typing import Final


class Phase(StrEnum):
    ANNOUNCED = "announced"
    RINGING = "ringing"
    TALKING = "talking"
    ENDED = "ended"
    RECORDED = "recorded"
    CLOSED = "closed"


class Move(StrEnum):
    ANNOUNCE = "announce"
    OFFER = "offer"
    ANSWER = "answer"
    END = "end"
    REGISTER = "register"
    FINISH = "finish"
    ATTACH = "attach"
    CLOSE = "close"


_A, _R, _T, _E, _D, _C = Phase

LIFECYCLE: Final = MappingProxyType(
    {
        Move.ANNOUNCE: {_A: _A, _R: _R, _T: _T, _E: _E, _D: _D, _C: _C},
        Move.OFFER: {_A: _R, _R: _R, _T: _T, _E: _E, _D: _D, _C: _C},
        Move.ANSWER: {_A: _T, _R: _T, _T: _T, _E: _E, _D: _D, _C: _C},
        Move.END: {_A: _E, _R: _E, _T: _E, _E: _E, _D: _D, _C: _C},
        Move.REGISTER: {_A: _A, _R: _R, _T: _T, _E: _E},
        Move.FINISH: {_E: _E},
        Move.ATTACH: {_E: _D, _D: _D, _C: _C},
        Move.CLOSE: {_E: _C, _D: _C},
    }
)


class IllegalMove(Exception):
    """A move that the table does not know; the call stays as it was."""

    def __init__(self, phase: Phase, move: Move, why: str = "") -> None:
        super().__init__(f"a call that is {phase} cannot {move}" + (f": {why}" if why else ""))
        self.phase = phase
        self.move = move


def step(phase: Phase, move: Move) -> Phase:
    """The phase after `move`. Raises `IllegalMove`."""
    try:
        return LIFECYCLE[move][phase]
    except KeyError:
        raise IllegalMove(phase, move) from None
