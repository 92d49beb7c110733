"""One conversation, as we know it.

A `Call` is a value: `core.advance` makes the next one. Instants are unix seconds, durations whole
seconds, numbers E.164 with plus where the PBX's text could be read so.
"""

from __future__ import annotations

from dataclasses import astuple, dataclass, fields
from enum import StrEnum
from typing import Any

from bitrix_app.core import dial as dials
from bitrix_app.core.dial import Dialling
from bitrix_app.core.events import Direction
from bitrix_app.core.lifecycle import Phase
from bitrix_app.core.outcome import Outcome


class Recording(StrEnum):
    """Where the call's recording stands."""

    NONE = "none"
    EXPECTED = "expected"
    FETCHED = "fetched"
    ATTACHED = "attached"
    COPIED = "copied"
    MISSING = "missing"
    """Given up for now; a person may try again."""


@dataclass(frozen=True, slots=True)
class Leg:
    """One agent's part of a call; a transfer makes the next leg."""

    extension: str
    answered_at: float


@dataclass(frozen=True, slots=True)
class Kept:
    """An earlier recording of a call whose attached file was replaced by a later one: its copy on Drive."""

    name: str
    file_id: int
    size: int | None = None


@dataclass(frozen=True, slots=True)
class Call:
    """See the module. `id` is ours and goes to Bitrix24 as EXTERNAL_CALL_ID."""

    id: str
    portal: str
    first_seen_at: float
    phase: Phase = Phase.ANNOUNCED
    pbx_id: str | None = None
    pbx_dbid: str | None = None
    direction: Direction | None = None
    number: str | None = None
    raw_number: str | None = None
    line: str | None = None
    group: str | None = None
    started_at: float | None = None
    ended_at: float | None = None
    full_seconds: int | None = None
    talk_seconds: int | None = None
    pbx_state: str | None = None
    outcome: Outcome | None = None
    cause: int | None = None
    meta: str | None = None
    source: str | None = None
    site: str | None = None
    """The web site that a callback came from; such a call has no line of ours."""
    dialer_id: str | None = None
    dial_attempts: int | None = None
    wait_seconds: int | None = None
    """How long the callee waited for an operator."""
    link: str | None = None
    more_links: tuple[str, ...] = ()
    """Links to further recordings of this call, one for each leg of a transfer; secrets too."""
    ringing: tuple[str, ...] = ()
    """Extensions that were offered the call, in the order in which we heard of them."""
    last_operators: tuple[str, ...] = ()
    """Extensions that the closing event named."""
    legs: tuple[Leg, ...] = ()
    shown: tuple[str, ...] = ()
    """Extensions whose card is or is about to be open."""
    shown_users: tuple[int, ...] = ()
    """Users beside them: the client's responsible person, whoever Register or a click opened it for."""
    carded: tuple[str, ...] = ()
    """Extensions that may have got the card, hidden or not, until Finish closes it for all."""
    carded_users: tuple[int, ...] = ()
    shows_open: tuple[str, ...] = ()
    """Keys of Shows of which nothing was heard yet."""
    hides: int = 0
    """How many times hiding was owed."""
    cards_unsure_until: float | None = None
    """Set while somebody may see the card who should not; a Hide from then on settles it."""
    register_owed: bool = False
    register_extension: str | None = None
    bitrix_call_id: str | None = None
    register_doubted_at: float | None = None
    heard_bitrix_id: str | None = None
    """A CALL_ID that the portal's event named while our own answer was still out."""
    user_id: int | None = None
    matched: bool = True
    unmatched: str | None = None
    """The extension that had no user of its own when the call was written: a default user has the call."""
    owner_by: str | None = None
    """The rule by which `user_id` got the call, a word of `mapping.By`."""
    repair: str | None = None
    """The repair under which the call is to be, or was, moved to another user."""
    moved: tuple[str, ...] | None = None
    """What the repair gave to the new user, as `ACTIVITY:77`; `None` before it was done."""
    crm_type: str | None = None
    crm_id: int | None = None
    created: tuple[str, ...] = ()
    finished: bool = False
    activity_id: int | None = None
    recording: Recording = Recording.NONE
    """Of the recording in hand, number `recording_part` of `links`; those before it are `kept`."""
    recording_part: int = 1
    kept: tuple[Kept, ...] = ()
    said_missing: bool = False
    """Whether the record's own block says that the recording is missing."""
    recording_file: str | None = None
    recording_media: str | None = None
    recording_size: int | None = None
    recording_file_id: int | None = None
    drive_copy_id: int | None = None
    drive_copy_name: str | None = None
    document_id: int | None = None
    document_name: str | None = None
    document_folder_id: int | None = None
    documents_owed: int = 0
    dial: Dialling | None = None
    """How the call was asked for, when it was asked of us."""
    callback: bool = False
    """A callback that a client asked for by a form: TYPE 4 in Bitrix24."""
    given_id: bool = False
    """Bitrix24 registered the call itself (a click): we never register it."""
    text: str | None = None
    """What a callback form said."""
    skipped: str | None = None
    """Why the call is not written to the CRM, when it is not."""
    notes: tuple[str, ...] = ()
    """What was odd, in words, for the call's own page."""

    @property
    def is_live(self) -> bool:
        return self.phase in (Phase.ANNOUNCED, Phase.RINGING, Phase.TALKING)

    @property
    def links(self) -> tuple[str, ...]:
        """All recordings' links, in the order in which we heard of them."""
        return (self.link, *self.more_links) if self.link else self.more_links

    @property
    def owner(self) -> str | None:
        """The extension that the call belongs to: the last who talked, else the first who rang.

        Once the end names who talked, it decides (unitalk.md §5, «the terminal event wins»): webhooks
        may overtake each other, so the order in which answers reached us proves nothing.
        """
        if self.outcome is Outcome.ANSWERED and self.last_operators:
            return self.last_operators[-1]
        if self.legs:
            return self.legs[-1].extension
        if self.last_operators:
            return self.last_operators[0]
        if self.ringing:
            return self.ringing[0]
        return self.dial.extension if self.dial else None

    @property
    def start(self) -> float:
        """When the call began, by the PBX, else when we first heard of it."""
        return self.started_at if self.started_at is not None else self.first_seen_at


def pack(call: Call) -> dict[str, Any]:
    """The call as JSON-able data; fields at their default are left out."""
    data: dict[str, Any] = {}
    for f in fields(call):
        value = getattr(call, f.name)
        if value == f.default:
            continue
        if f.name == "dial":
            data["dial"] = dials.pack(value)
        else:
            data[f.name] = [list(astuple(part)) for part in value] if f.name in _PARTS else value
    return data


def unpack(data: dict[str, Any]) -> Call:
    """The call back from `pack`; unknown keys (of a newer version) are ignored."""
    known: dict[str, Any] = {}
    for f in fields(Call):
        if f.name not in data:
            continue
        value = data[f.name]
        if f.name == "dial":
            value = dials.unpack(value)
        elif make := _PARTS.get(f.name):
            value = tuple(make(*part) for part in value)
        elif isinstance(value, list):
            value = tuple(value)
        elif f.name in _ENUMS:
            value = _ENUMS[f.name](value)
        known[f.name] = value
    return Call(**known)


_PARTS: dict[str, type[Leg] | type[Kept]] = {"legs": Leg, "kept": Kept}
_ENUMS: dict[str, type[StrEnum]] = {
    "phase": Phase,
    "direction": Direction,
    "outcome": Outcome,
    "recording": Recording,
}
