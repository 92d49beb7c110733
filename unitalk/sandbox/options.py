"""How this PBX behaves where the contract knows several possibilities or none.

Every field is one unknown of unitalk.md §6 turned into a switch, so that a test can play each reading.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Literal

UsersWrapper = Literal["users", "items", "data", "list", "result"]


@dataclass(slots=True)
class Options:
    """Switches of the emulator; change them at any moment, they are read on every request."""

    # users/list (§4.5)
    users_wrapper: UsersWrapper | None = "users"
    """None answers with the bare list."""

    # history/get (§4.4)
    history_delay: float = 0.0
    """Seconds from the end of a call until it can be found."""
    history_max: int = 1000
    """The biggest `limit`; 300 plays the older server."""
    history_id: Literal["live", "dbid"] = "live"
    history_legacy: bool = False
    """2017: `limit` and `offset` echoed, no `warning`."""
    history_warning: str | None = None
    history_grows: int = 0
    """So many new calls appear before each further page, and shift it."""
    meta_in_history: bool = True
    """Whether rows of `history/get` and `GET_CALLS_HISTORY` carry `meta`."""

    # webhooks (§3)
    answer_state: Literal["ANSWER"] | None = None
    """`state` on CALL_ANSWER is null in the samples, perhaps ANSWER in life."""
    transfer_to: Literal["all", "last", "first"] = "all"
    """Whose line END names after a transfer."""
    meta_events: Collection[str] | None = None
    """Events of plain calls that carry `meta`; None: all, `()`: none (§4.1: in which is unknown)."""
    autodial_meta_events: Collection[str] | None = None
    """The same for a dialer's calls (§3.8)."""
    inner_events: bool = True
    autodial_flat: bool = False
    """END of a dialer's call as the flat `callState` body."""
    autodial_also_plain: bool = False
    """Each event of a dialer's call comes a second time as a plain event."""
    autodial_in_history: bool = True
    autodial_shows: Literal["meta", "numbers", "nothing"] = "meta"
    """What GET_WITH_DATA tells of a dialer's phones (§4.6): with `meta`, without it, or no list at all."""
    webhook_timeout: float = 10.0
    webhook_retries: int = 0
    """The vendor's retry is unknown; none by default."""
    webhook_retry_pause: float = 5.0

    # recordings (§3.6)
    recording_format: Literal["mp3", "wav"] = "mp3"
    recording_ready_after: float = 0.0
    recording_before_ready: Literal["404", "html", "json", "500"] = "404"
    recording_needs_key: bool = False
    recording_max_seconds: float = 6.0
