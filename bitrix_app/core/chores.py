"""The portal's own work: its lanes and what each installation and update owes.

These lanes do not belong to a call; a chore that is done can be owed again under the same key.
"""

from __future__ import annotations

from typing import Final

from bitrix_app.core.advance import Owed
from bitrix_app.core.campaign_commands import DIALERS_LANE, ReadDialers
from bitrix_app.core.commands import EnsureBindings, Priority, RefreshDirectory, RefreshTokens

BINDINGS_LANE: Final = "portal:bindings"
DIRECTORY_LANE: Final = "portal:directory"
TOKENS_LANE: Final = "portal:tokens"


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
        ("dialers_state", 3_600.0, DIALERS_LANE, Owed("dialers", ReadDialers(), Priority.BACKFILL)),
        ("tokens", 86_400.0, TOKENS_LANE, Owed("tokens", RefreshTokens(), Priority.CRM)),
    )
