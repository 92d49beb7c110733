"""The working day of employees: `timeman.status` and what it says (bitrix24.md §12)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from bitrix_app.bitrix.wire import RestCall
from bitrix_app.core.agents import Clock
from bitrix_app.core.errors import NotFound, Trouble, Unreadable

SCOPE: Final = "timeman"
NOBODY: Final = "ALLOWED_ONLY_INTRANET_USER"
"""An extranet user has no working day."""


def status_of(user_id: int) -> RestCall:
    """One user per call; several go as a batch."""
    return RestCall("timeman.status", {"USER_ID": user_id}, reads=True)


def read_status(result: Any) -> Clock:
    """The working day's state. Raises `Unreadable` for a word that the contract does not know."""
    said = str(result.get("STATUS") or "").upper() if isinstance(result, Mapping) else ""
    try:
        return Clock(said)
    except ValueError:
        raise Unreadable(f"Bitrix24 named an unknown state of the working day: {said[:40]}") from None


def never_clocks(trouble: Trouble) -> bool:
    """Whether the answer says that this user has no working day at all: unknown to the time clock (an
    empty code), or an extranet user. It is his own answer and no failure of the batch."""
    unknown = isinstance(trouble, NotFound) and trouble.code == NotFound.default_code
    return unknown or trouble.code.upper() == NOBODY
