"""Each numbered pitfall of the contract has a test of its number, or a reason in a module's docstring."""

from __future__ import annotations

import re
from types import ModuleType

import pytest

from tests.pitfalls import test_protocol, test_records, test_security, test_telephony

ROOMS: dict[ModuleType, range] = {
    test_security: range(1, 6),
    test_protocol: range(6, 17),
    test_telephony: range(17, 29),
    test_records: range(29, 37),
}
NOT_OURS = {25}


def numbers_in(room: ModuleType) -> set[int]:
    names = " ".join(name for name in vars(room) if name.startswith("test_pitfall_"))
    return {int(number) for number in re.findall(r"(?:pitfall|and)_(\d\d)(?=_)", names)}


@pytest.mark.parametrize("room", ROOMS, ids=lambda room: room.__name__.rpartition("_")[2])
def test_every_pitfall_has_a_test_of_its_number_or_a_reason(room: ModuleType) -> None:
    assert numbers_in(room) == set(ROOMS[room]) - NOT_OURS
    for number in NOT_OURS & set(ROOMS[room]):
        assert f"- {number} (" in (room.__doc__ or "")
