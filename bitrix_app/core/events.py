"""What can happen to a call: told by the PBX, by the portal's answers, or by the passing of time.

All are plain values. The vendors' rooms make them; `core.call.advance` alone says what they mean.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from bitrix_app.core.dial import Failure
from bitrix_app.core.outcome import Outcome
from bitrix_app.core.record_memory import Past


class Direction(StrEnum):
    IN = "in"
    OUT = "out"
    INNER = "inner"


class Step(StrEnum):
    """What the PBX reports of a live call (unitalk.md §3.2)."""

    NEW = "new"
    OFFERED = "offered"
    ANSWERED = "answered"
    ENDED = "ended"


@dataclass(frozen=True, slots=True)
class Facts:
    """What one PBX event says of a call; `None` and empty mean «not said».

    `number` is the client's number as E.164 with plus where it could be read so, `raw_number` as it
    came, `number_note` why there is no number in it, in words. `started_at` is unix seconds.
    `full_seconds` and `talk_seconds` are whole seconds. `extensions` are PBX inner lines in the order
    given: ringing ones, on ANSWERED the first is the one who picked up. `link` is the recording's
    address, a secret (unitalk.md §3.6). `line` is the external line in digits; a callback from a web
    site has none, but the `site`'s name. `dialer_id`, `dial_attempts` so far and `wait_seconds` for an
    operator are the autodialer's (unitalk.md §3.8).
    """

    pbx_id: str | None = None
    pbx_dbid: str | None = None
    direction: Direction | None = None
    number: str | None = None
    raw_number: str | None = None
    number_note: str | None = None
    line: str | None = None
    extensions: tuple[str, ...] = ()
    group: str | None = None
    started_at: float | None = None
    full_seconds: int | None = None
    talk_seconds: int | None = None
    state: str | None = None
    outcome: Outcome | None = None
    link: str | None = None
    cause: int | None = None
    meta: str | None = None
    source: str | None = None
    site: str | None = None
    dialer_id: str | None = None
    dial_attempts: int | None = None
    wait_seconds: int | None = None


@dataclass(frozen=True, slots=True)
class PbxReport:
    """The PBX told us something about a call, by webhook or by history."""

    step: Step
    facts: Facts


@dataclass(frozen=True, slots=True)
class Due:
    """A wake that the call asked for has come."""

    reason: str


@dataclass(frozen=True, slots=True)
class Heard:
    """The portal's own event (ONVOXIMPLANTCALLINIT) named a call that is probably this one.

    It settles nothing by itself; when the answer of Register was lost, it tells the CALL_ID.
    """

    bitrix_call_id: str


@dataclass(frozen=True, slots=True)
class Registered:
    """Bitrix24 knows the call. `matched` is false when the extension had no user of its own."""

    bitrix_call_id: str
    user_id: int
    extension: str | None = None
    matched: bool = True
    crm_type: str | None = None
    crm_id: int | None = None
    created: tuple[str, ...] = ()
    """CRM objects that Bitrix24 made for this call, as `LEAD:1205`."""
    doubted_at: float | None = None
    """When an earlier try's answer was lost (unix seconds): it may land until the doubt matured."""
    note: str | None = None
    """Why no client was found by the number, and what Bitrix24 said when it would not make one."""
    shown: bool = True
    """Whether it was to open a card for `user_id`."""


@dataclass(frozen=True, slots=True)
class Unheard:
    """The CALL_ID that a portal's event seemed to name this call by is another call's."""

    bitrix_call_id: str


@dataclass(frozen=True, slots=True)
class ResponsibleFound:
    """This user is responsible for the calling client and does not see the card yet."""

    user_id: int


@dataclass(frozen=True, slots=True)
class CardsHidden:
    """The card is closed for these people, as far as they had it."""

    extensions: tuple[str, ...] = ()
    users: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Finished:
    """Bitrix24 closed the call: it is in the statistics, its activity stands on the record."""

    activity_id: int | None = None
    crm_type: str | None = None
    crm_id: int | None = None
    user_id: int | None = None
    note: str | None = None
    """What Bitrix24 said about the activity when it could not make one."""
    extension: str | None = None
    """The extension whose user the call was to go to."""
    matched: bool | None = None
    """Whether that extension had a user of its own; `None` when this answer cannot say."""
    by: str | None = None
    """The rule by which the user got the call, a word of `mapping.By`."""
    owner_note: str | None = None
    """What was odd on the way to the owner."""


@dataclass(frozen=True, slots=True)
class DialAccepted:
    """The PBX said yes to starting the call; it names no call of its own (unitalk.md §4.1)."""


@dataclass(frozen=True, slots=True)
class DialFailed:
    """The PBX said no or could not be reached (`certain`: nothing rang), or its answer was lost."""

    failure: Failure
    certain: bool


@dataclass(frozen=True, slots=True)
class Traced:
    """What the PBX's history has of a call that we asked for; `None` for nothing. `others` fit as well and
    began later: the first may turn out to be a call that is known already.
    """

    report: PbxReport | None
    others: tuple[PbxReport, ...] = ()


@dataclass(frozen=True, slots=True)
class CallbackAssigned:
    """Whose a callback is: the user, his extension when he has one, and the client's number to dial."""

    user_id: int
    extension: str | None
    failure: Failure | None = None
    """Why it cannot be dialled now."""


@dataclass(frozen=True, slots=True)
class RecordingFetched:
    """The recording lies in our spool, whole and checked."""

    file: str
    size: int
    media: str
    """`mp3` or `wav`, by its first bytes."""


@dataclass(frozen=True, slots=True)
class RecordingAttached:
    """The recording hangs on the call; `file_id` is its Drive object."""

    file_id: int


@dataclass(frozen=True, slots=True)
class RecordingCopied:
    """A copy of the recording stands in our Drive folder."""

    file_id: int
    name: str


@dataclass(frozen=True, slots=True)
class DocumentFiled:
    """The call's JSON document stands on Drive."""

    file_id: int
    name: str
    folder_id: int


@dataclass(frozen=True, slots=True)
class Disposed:
    """The call's disposition on a CRM record is settled; `past` is what the record's memory keeps."""

    past: Past
    note: str = ""
    """What a person may want to know: superseded, left alone, taken as written."""


@dataclass(frozen=True, slots=True)
class Done:
    """A command without facts of its own (show, layout, notice) took effect."""

    key: str
    doubted_at: float | None = None
    """For a card: when an earlier try's answer was lost (unix seconds)."""


@dataclass(frozen=True, slots=True)
class Moved:
    """A finished call was given to another user, or with `undo` back to whoever had it."""

    user_id: int
    records: tuple[str, ...] = ()
    """What changed hands, as `ACTIVITY:77` and `LEAD:1205`."""
    extension: str | None = None
    """With `undo`: the extension that is nobody's again."""
    by: str | None = None
    undo: bool = False
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class GivenUp:
    """A job of this call needs a person now; `kind` is the command's, `code` the trouble's."""

    kind: str
    key: str
    code: str
    message: str


CallEvent = (
    PbxReport
    | Due
    | Heard
    | Unheard
    | Registered
    | ResponsibleFound
    | CardsHidden
    | Finished
    | DialAccepted
    | DialFailed
    | Traced
    | CallbackAssigned
    | RecordingFetched
    | RecordingAttached
    | RecordingCopied
    | DocumentFiled
    | Disposed
    | Done
    | Moved
    | GivenUp
)
