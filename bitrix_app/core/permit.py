"""Whether a call that somebody asks for may be started now, and if not, why. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from bitrix_app.core.dial import Failure, Origin
from bitrix_app.core.dialling import STALE_AFTER

FORM_STALE_AFTER: Final = 600.0
"""Seconds after which a client of a callback form no longer waits at the phone."""


@dataclass(frozen=True, slots=True)
class Asked:
    """What is known when a call is asked for. `number_fault`: why the number cannot be dialled.

    `opens_at` is `None` within working hours, else the next opening (unix seconds). `pbx` is what is
    known to be wrong with the PBX's connection. `opens` is that instant in words.
    """

    origin: Origin
    age: float
    extension: str | None
    number_fault: str | None = None
    opens_at: float | None = None
    opens: str = ""
    pbx: Failure | None = None


def refusal(asked: Asked) -> Failure | None:
    """`None` when the PBX may be asked. The order is that of what must be mended first."""
    if asked.number_fault is not None:
        return Failure(
            "BAD_NUMBER",
            "validation",
            asked.number_fault,
            "Correct the number in the CRM or on the list, then call again.",
            "agent",
            "404",
        )
    if asked.extension is None:
        return Failure(
            "NO_EXTENSION",
            "not_found",
            "No PBX extension belongs to this employee, so there is no phone to ring.",
            "An administrator enters the extension as the employee's inner phone number in Bitrix24.",
            "admin",
            "OTHER",
        )
    if asked.pbx is not None:
        return asked.pbx
    limit = FORM_STALE_AFTER if asked.origin is Origin.FORM else STALE_AFTER
    if asked.age > limit:
        return Failure(
            "STALE",
            "timeout",
            "The request to call reached us too late, so nothing was dialled.",
            "Call again, or from the list.",
            "agent",
            "OTHER",
        )
    if asked.opens_at is not None:
        return Failure(
            "OUTSIDE_HOURS",
            "hours",
            f"It is outside working hours; they begin again on {asked.opens}.",
            "The call is made then by itself. To call now, use the list.",
            "nobody",
            "403",
        )
    return None


NOT_CONNECTED: Final = Failure(
    "PBX_NOT_CONNECTED",
    "authentication",
    "The portal is not connected to its Unitalk account yet.",
    "An administrator enters the API key of the Unitalk cabinet in the settings.",
    "admin",
    "503",
)

PORTAL_WAITS: Final = Failure(
    "PORTAL_WAITS",
    "authentication",
    "The application has no access to Bitrix24 just now, so it starts no calls.",
    "An administrator opens the application in Bitrix24; then call again from the list.",
    "admin",
    "503",
)

KEY_REFUSED: Final = Failure(
    "AUTHORIZATION_INVALID",
    "authentication",
    "Unitalk does not accept the API key.",
    "An administrator makes a key on the API page of the Unitalk cabinet and enters it in the settings.",
    "admin",
    "503",
)
