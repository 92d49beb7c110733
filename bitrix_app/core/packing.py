"""Flat values as JSON and back. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from typing import Any


def pack(value: Any) -> dict[str, Any]:
    """A dataclass as JSON-able data; only what differs from the defaults."""
    return {f.name: v for f in fields(value) if (v := getattr(value, f.name)) != f.default}


def known(kind: type[Any], data: Mapping[str, Any]) -> dict[str, Any]:
    """What `kind` has fields for; what a newer version added is ignored."""
    names = {f.name for f in fields(kind)}
    return {name: value for name, value in data.items() if name in names}
