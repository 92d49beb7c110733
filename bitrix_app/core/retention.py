"""How long we keep what is not the portal's own choice. The privacy page tells these very figures."""

from __future__ import annotations

from typing import Final

RECEIPT_DAYS: Final = 30
"""Raw events, for replay and for finding out (design.md §7)."""
LOG_DAYS: Final = 30
"""The log of our requests to the vendors; the Market asks for 3 at least."""
SPOOL_DAYS: Final = 7
"""A fetched recording that nobody came back for."""
LEDGER_DAYS: Final = 400
"""Days for which the ledger knows the rows of the PBX's history: a year can be proven afterwards."""
