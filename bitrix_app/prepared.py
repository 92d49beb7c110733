"""A command as one request to Bitrix24, and what our own faults mean for its job."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from loguru import logger

from bitrix_app.bitrix.wire import RestCall
from bitrix_app.core.errors import Refused, Throttled, Trouble
from bitrix_app.core.events import CallEvent
from bitrix_app.core.store import StoreUnavailable
from bitrix_app.owners import Owned

STORE_AGAIN: Final = 1.0


@dataclass(frozen=True, slots=True)
class Prepared:
    """A command that is one request: it may travel in a batch."""

    request: RestCall
    read: Callable[[Any], CallEvent]
    owned: Owned | None = None
    """For a finish: whose the call is, and by which rule."""


def our_fault(bug: Exception) -> Trouble:
    """A fault of our own as a job for a person: the code's words stay in our log."""
    logger.opt(exception=bug).error("a delivery failed by our own fault")
    return Trouble(
        f"{type(bug).__name__} in our own code",
        code="INTERNAL",
        hint="The details are in the application's log under this correlation id.",
    )


def store_away(away: StoreUnavailable, now: float) -> Trouble:
    """Nothing was said that the store had to know first: a pair that is not stored is not used."""
    return Throttled(
        f"Our own store was away: {away.reason}",
        code="STORE_AWAY",
        hint="It is tried again by itself.",
        retry_at=now + STORE_AGAIN,
    )


def nobody() -> Refused:
    return Refused(
        "Nobody can be given this call: no default user is set and no administrator is known.",
        code="NO_USER",
        hint="Set a default user in Settings.",
    )
