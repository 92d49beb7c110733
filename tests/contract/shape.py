"""Comparing what somebody says with a sample of the contract: keys, types, and values where they count."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Difference:
    """One place where `ours` is not the sample: a `missing` or `extra` key, another `type` or `value`.

    `path` names the place with dots; elements of a list are `*`, so that a path holds for each.
    """

    path: str
    kind: str
    ours: Any = None
    sample: Any = None

    def __str__(self) -> str:
        return f"{self.kind} at {self.path}: {self.ours!r}, in the sample {self.sample!r}"


def differences(ours: Any, sample: Any, path: str = "") -> Iterator[Difference]:
    """Every difference. An unset value (`None`) is a value of any type; 1 and 1.0 are of one type."""
    if isinstance(ours, dict) and isinstance(sample, dict):
        for key in sample.keys() - ours.keys():
            yield Difference(_at(path, key), "missing", None, sample[key])
        for key in ours.keys() - sample.keys():
            yield Difference(_at(path, key), "extra", ours[key])
        for key in sample.keys() & ours.keys():
            yield from differences(ours[key], sample[key], _at(path, key))
    elif isinstance(ours, list) and isinstance(sample, list):
        if len(ours) != len(sample):
            yield Difference(path, "value", f"{len(ours)} elements", f"{len(sample)} elements")
        for index, element in enumerate(ours if sample else []):
            yield from differences(element, sample[min(index, len(sample) - 1)], _at(path, "*"))
    elif _kind(ours) != _kind(sample) and None not in (ours, sample):
        yield Difference(path, "type", ours, sample)
    elif ours != sample:
        yield Difference(path, "value", ours, sample)


def _at(path: str, key: object) -> str:
    return f"{path}.{key}" if path else str(key)


def _kind(value: Any) -> str:
    if isinstance(value, bool):
        return "bool"
    return "number" if isinstance(value, int | float) else type(value).__name__
