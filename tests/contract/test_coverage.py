"""The register: each sample file of both contracts is asserted by a test that says what it means.

A new sample fails here until some module of this room takes it into its `COVERS`.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.bitrix.test_answers import MEANINGS
from tests.contract import test_deliveries, test_errors, test_methods, test_unitalk

SAMPLES = Path(__file__).parents[1] / "samples"
REGISTER: dict[str, dict[str, set[str]]] = {
    "bitrix24": {
        "test_methods": test_methods.COVERS,
        "test_errors": test_errors.COVERS,
        "test_deliveries": test_deliveries.COVERS,
    },
    "unitalk": {"test_unitalk": test_unitalk.COVERS},
}


@pytest.mark.parametrize("contract", REGISTER)
def test_every_sample_file_is_asserted_and_only_files_are_registered(contract: str) -> None:
    on_disk = {path.stem for path in (SAMPLES / contract).glob("*.json")} - {"index"}
    covered = set().union(*REGISTER[contract].values())
    assert sorted(on_disk - covered) == []
    assert sorted(covered - on_disk) == []


@pytest.mark.parametrize("contract", REGISTER)
def test_no_two_modules_assert_the_same_sample(contract: str) -> None:
    every = [name for names in REGISTER[contract].values() for name in names]
    assert len(every) == len(set(every))


def test_the_samples_lie_in_two_folders_and_nothing_else_is_there() -> None:
    assert {path.name for path in SAMPLES.iterdir()} == set(REGISTER)
    assert {path.suffix for path in SAMPLES.rglob("*.*") if path.is_file()} == {".json"}


def test_both_tables_of_errors_speak_of_the_same_samples() -> None:
    assert MEANINGS.keys() == test_errors.COVERS
