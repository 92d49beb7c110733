"""What every command is: one effect owed to a vendor. The commands stand in `core.commands`."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import ClassVar


class Priority(IntEnum):
    """Lower goes first (design.md §6)."""

    LIVE = 0
    FINISH = 1
    CRM = 2
    RECORDING = 3
    BACKFILL = 4


@dataclass(frozen=True, slots=True)
class Command:
    """One effect. `kind` is its stored name; `platform` the vendor that it goes to."""

    kind: ClassVar[str]
    platform: ClassVar[str] = "bitrix24"
    exclusive: ClassVar[bool] = True
    """One exclusive command of a lane is in flight at a time."""
