"""The portal's own work: its lanes and what each installation and update owes.

These lanes do not belong to a call; a chore that is done can be owed again under the same key.
"""

from __future__ import annotations

from typing import Final

from bitrix_app.core.advance import Owed
from bitrix_app.core.commands import (
    CompareCalls,
    EnsureBindings,
    Priority,
    ReconcileHistory,
    RefreshDirectory,
    RefreshTokens,
)
from bitrix_app.core.history import EVERY

BINDINGS_LANE: Final = "portal:bindings"
DIRECTORY_LANE: Final = "portal:directory"
TOKENS_LANE: Final = "portal:tokens"
RECONCILE_LANE: Final = "portal:reconcile"
COMPARE_LANE: Final = "portal:compare"
LEDGER_LANE: Final = "portal:ledger"

RECONCILED: Final = "reconcile"
"""Snapshot: how far the PBX's history was read, and why not further."""
COMPARED: Final = "compare"
"""Snapshot: since when calls count as compared, and what the last round did."""
COMPARE_EVERY: Final = 300.0

PROVE_KEY: Final = Owed("directory:key", RefreshDirectory(), Priority.FINISH)
"""A new key of the PBX is tried at once. Its own name, for a refresh that runs already has the old one."""


def portal_work() -> tuple[tuple[str, Owed], ...]:
    """(lane, what is owed) after an installation, an update or a reinstallation: soon."""
    return (
        (BINDINGS_LANE, Owed("bindings", EnsureBindings(), Priority.FINISH)),
        (DIRECTORY_LANE, Owed("directory", RefreshDirectory(), Priority.FINISH)),
    )


def rounds() -> tuple[tuple[str, float, str, Owed], ...]:
    """(snapshot that tells the last time, seconds between, lane, what is owed) of the daily rounds."""
    return (
        ("bindings", 86_400.0, BINDINGS_LANE, Owed("bindings", EnsureBindings(), Priority.CRM)),
        ("directory", 3_600.0, DIRECTORY_LANE, Owed("directory", RefreshDirectory(), Priority.CRM)),
        ("tokens", 86_400.0, TOKENS_LANE, Owed("tokens", RefreshTokens(), Priority.CRM)),
        (RECONCILED, EVERY, RECONCILE_LANE, Owed("history", ReconcileHistory(), Priority.BACKFILL)),
        (COMPARED, COMPARE_EVERY, COMPARE_LANE, Owed("calls", CompareCalls(), Priority.BACKFILL)),
    )
