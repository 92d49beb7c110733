"""What is asked of a campaign before there are phones: records whose numbers have to be read; and whom
nobody may call. Pure.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from bitrix_app.core.packing import known


class WishState(StrEnum):
    PENDING = "pending"
    DONE = "done"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Wish:
    """Records to be put into a campaign: a list, or all of `type` in `stage` (a filter).

    `done` counts records of the list that were read, `after` is the last id read of a filter.
    """

    id: str
    dialer: str
    created_at: float
    by_user: int
    records: tuple[str, ...] = ()
    type: str = ""
    stage: str = ""
    done: int = 0
    after: int = 0
    state: WishState = WishState.PENDING
    taken: int = 0
    refused: int = 0
    reasons: Mapping[str, int] = field(default_factory=dict)
    """Why records were refused, and how many."""
    message: str = ""
    hint: str = ""

    @property
    def key(self) -> str:
        return f"records:{self.id}"


@dataclass(frozen=True, slots=True)
class Forbidden:
    """A number of the do-not-call list."""

    number: str
    reason: str
    by_user: int
    added_at: float


def unpack_wish(data: Mapping[str, Any]) -> Wish:
    """The wish back from `packing.pack`."""
    values = known(Wish, data)
    values["records"] = tuple(values.get("records", ()))
    return Wish(**{**values, "state": WishState(values.get("state", WishState.PENDING))})
