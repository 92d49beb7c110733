"""How this portal behaves where an administrator decides, or where the contract knows several readings."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal


@dataclass(slots=True)
class Options:
    """Switches of the emulator; change them at any moment, they are read at every press."""

    app_is_default_outgoing: bool = True
    """Whether an administrator chose our line for outgoing calls (bitrix24.md §6.7). If not, a click on a
    number never reaches us."""
    own_outgoing: set[int] = field(default_factory=set)
    """Users who chose another line than the portal's default for themselves."""
    click_extension: Literal["number", "user"] = "number"
    """EXTENSION of ONEXTERNALCALLSTART: what stands behind the dialled number ("…;12"), as in the sample,
    where it is empty though the user has an inner number; or the user's UF_PHONE_INNER."""
    second_press: Literal["same_call", "new_call"] = "same_call"
    """What a second click on the same number makes while the first call is unfinished: a repeated
    register finds the pending one (§6.1), or a call of its own."""
    callback_creates_client: bool = True
    """Whether the callback form makes a lead (or contact and deal) of an unknown number."""
    ended_card_seconds: float = 12.0
    """How long the portal's page shows why a call was not made after its card has closed."""
