"""The lifecycle is one table: progress never goes back, illegal moves raise and change nothing."""

import re
from pathlib import Path

import pytest

from bitrix_app.core.lifecycle import LIFECYCLE, IllegalMove, Move, Phase, step

ORDER = list(Phase)
README = Path(__file__).parents[2] / "README.md"


def test_no_move_goes_back() -> None:
    for moves in LIFECYCLE.values():
        for before, after in moves.items():
            assert ORDER.index(after) >= ORDER.index(before)


@pytest.mark.parametrize("move", list(Move))
@pytest.mark.parametrize("phase", list(Phase))
def test_what_is_not_in_the_table_is_illegal(move: Move, phase: Phase) -> None:
    if phase in LIFECYCLE[move]:
        assert step(phase, move) is LIFECYCLE[move][phase]
        return
    with pytest.raises(IllegalMove) as illegal:
        step(phase, move)
    assert (illegal.value.phase, illegal.value.move) == (phase, move)


def test_a_call_cannot_be_finished_before_it_ended() -> None:
    for phase in (Phase.ANNOUNCED, Phase.RINGING, Phase.TALKING):
        with pytest.raises(IllegalMove, match="cannot finish"):
            step(phase, Move.FINISH)


def test_the_readme_draws_this_table() -> None:
    drawn = set(re.findall(r"^\s+(\w+) --> (\w+): (\w+)$", README.read_text(encoding="utf-8"), re.MULTILINE))
    moves = {
        (before.value, after.value, move.value)
        for move, table in LIFECYCLE.items()
        for before, after in table.items()
        if before is not after
    }
    assert drawn == moves
