"""Commands of campaigns and what their deliveries tell (lanes `campaign:<dialer>`, `batch:<batch>`)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from bitrix_app.core.command import Command

DIALERS_LANE: Final = "portal:dialers"


def campaign_lane(dialer: str) -> str:
    return f"campaign:{dialer}"


def batch_lane(batch: str) -> str:
    return f"batch:{batch}"


@dataclass(frozen=True, slots=True)
class ReadDialers(Command):
    """Take a fresh snapshot of the account's dialers by `GET_WITH_DATA` (unitalk.md §4.6)."""

    kind = "read_dialers"
    platform = "unitalk"


@dataclass(frozen=True, slots=True)
class GatherBatches(Command):
    """Put the campaign's waiting phones into batches; a moment later, so that they go together."""

    kind = "gather_batches"
    platform = "unitalk"
    dialer: str = ""


@dataclass(frozen=True, slots=True)
class SendBatch(Command):
    """`ADD_PHONES` with the phones of a batch, or the search for one whose answer was lost."""

    kind = "send_batch"
    platform = "unitalk"
    batch: str = ""


@dataclass(frozen=True, slots=True)
class SwitchDialer(Command):
    """`START` or `STOP`. `turn`: of which of the campaign's commands it is."""

    kind = "switch_dialer"
    platform = "unitalk"
    dialer: str = ""
    on: bool = False
    turn: int = 0


@dataclass(frozen=True, slots=True)
class CheckDialer(Command):
    """Read the dialer's status."""

    kind = "check_dialer"
    platform = "unitalk"
    dialer: str = ""


@dataclass(frozen=True, slots=True)
class ReadRecords(Command):
    """Read the numbers of CRM records that were put into a campaign (bitrix24.md §7.2)."""

    kind = "read_records"
    wish: str = ""


CAMPAIGN_COMMANDS: Final = (
    ReadDialers,
    GatherBatches,
    SendBatch,
    SwitchDialer,
    CheckDialer,
    ReadRecords,
)


# --- what their deliveries tell ----------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class GatherNow:
    """The campaign's waiting phones may be batched."""


@dataclass(frozen=True, slots=True)
class BatchArrived:
    """The PBX has the batch; `proof` is `answer` or `check`."""

    proof: str


@dataclass(frozen=True, slots=True)
class BatchDoubted:
    """Looked for and not found. `shown`: the account shows the dialer's phones with their meta."""

    shown: bool


@dataclass(frozen=True, slots=True)
class BatchDenied:
    code: str
    message: str
    hint: str


@dataclass(frozen=True, slots=True)
class BatchTooOld:
    """No agent was available for too long."""


@dataclass(frozen=True, slots=True)
class DialerRead:
    """The dialer's own word for its status; empty when the account does not show one."""

    status: str = ""


@dataclass(frozen=True, slots=True)
class Switched:
    turn: int
    status: str = ""


@dataclass(frozen=True, slots=True)
class SwitchFailed:
    turn: int
    code: str
    message: str
    hint: str
