"""The portal's own work: its lanes and what each installation and update owes.

These lanes do not belong to a call; a chore that is done can be owed again under the same key.
"""

from __future__ import annotations

from typing import Final

from bitrix_app.core.advance import Owed
from bitrix_app.core.campaign_commands import DIALERS_LANE, ReadDialers
from bitrix_app.core.commands import (
    CompareCalls,
    EnsureBindings,
    LookAtAgents,
    Priority,
    ReconcileHistory,
    RefreshDirectory,
    RefreshTokens,
)
from bitrix_app.core.history import EVERY
from bitrix_app.core.portal import Portal

BINDINGS_LANE: Final = "portal:bindings"
DIRECTORY_LANE: Final = "portal:directory"
TOKENS_LANE: Final = "portal:tokens"
CARDS_LANE: Final = "portal:cards"
RECONCILE_LANE: Final = "portal:reconcile"
COMPARE_LANE: Final = "portal:compare"
LEDGER_LANE: Final = "portal:ledger"

RECONCILED: Final = "reconcile"
"""Snapshot: how far the PBX's history was read, and why not further."""
COMPARED: Final = "compare"
"""Snapshot: since when calls count as compared, and what the last round did."""
COMPARE_EVERY: Final = 300.0

BIND_ANEW: Final = Owed("bindings:changed", EnsureBindings(), Priority.FINISH)
"""Settings changed what stands in Bitrix24. Its own name, for a round that runs already took the old ones."""
PROVE_KEY: Final = Owed("directory:key", RefreshDirectory(), Priority.FINISH)
"""A new key of the PBX is tried at once. Its own name, for a refresh that runs already has the old one."""
AGENTS_LANE: Final = "portal:agents"
AGENTS_SEEN: Final = "agents_seen"
"""The snapshot that the minute's look at the agents leaves."""
AGENTS_EVERY: Final = 5.0
"""Seconds; each of the worker's rounds looks, and they are a minute apart. After a restart the first one
looks at once: who clocked out meanwhile must not be offered for another minute."""


def portal_work() -> tuple[tuple[str, Owed], ...]:
    """(lane, what is owed) after an installation, an update or a reinstallation: soon."""
    return (
        (BINDINGS_LANE, Owed("bindings", EnsureBindings(), Priority.FINISH)),
        (DIRECTORY_LANE, Owed("directory", RefreshDirectory(), Priority.FINISH)),
    )


def agents_work() -> tuple[str, Owed]:
    """(lane, what is owed) to look at the agents now; it is not urgent beside anything else."""
    return AGENTS_LANE, Owed("agents", LookAtAgents(), Priority.BACKFILL)


def rounds_of(portal: Portal) -> tuple[tuple[str, float, str, Owed], ...]:
    """`rounds`, with those that only some portals want."""
    return (*rounds(), (AGENTS_SEEN, AGENTS_EVERY, *agents_work())) if portal.tells_statuses else rounds()


def rounds() -> tuple[tuple[str, float, str, Owed], ...]:
    """(snapshot that tells the last time, seconds between, lane, what is owed) of every portal's rounds."""
    return (
        ("bindings", 86_400.0, BINDINGS_LANE, Owed("bindings", EnsureBindings(), Priority.CRM)),
        ("directory", 3_600.0, DIRECTORY_LANE, Owed("directory", RefreshDirectory(), Priority.CRM)),
        ("dialers_state", 3_600.0, DIALERS_LANE, Owed("dialers", ReadDialers(), Priority.BACKFILL)),
        ("tokens", 86_400.0, TOKENS_LANE, Owed("tokens", RefreshTokens(), Priority.CRM)),
        (RECONCILED, EVERY, RECONCILE_LANE, Owed("history", ReconcileHistory(), Priority.BACKFILL)),
        (COMPARED, COMPARE_EVERY, COMPARE_LANE, Owed("calls", CompareCalls(), Priority.BACKFILL)),
    )
