"""Effects owed to a vendor. The core decides them, the outbox says them, one job carries each.

A command is flat (text, numbers, tuples of these) so that it can be stored as JSON and shown to a
person. `pack` and `unpack` are that JSON.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any

from bitrix_app.core.campaign_commands import CAMPAIGN_COMMANDS
from bitrix_app.core.command import Command as Command
from bitrix_app.core.command import Priority as Priority


@dataclass(frozen=True, slots=True)
class Register(Command):
    """`telephony.externalcall.register` (bitrix24.md §6.1)."""

    kind = "register"
    extension: str | None = None
    """Whose card it is; resolved to a user when it is said, so that a fresh mapping counts."""
    show: bool = True
    crm_create: bool = True
    user_id: int | None = None
    """Whose it is when that is known already; `extension` then only names the card."""
    group: str | None = None
    """The PBX group that was known when this was owed: a repeat must name the same user (§6.1)."""


@dataclass(frozen=True, slots=True)
class Show(Command):
    """Open the card for these extensions' users and these users (bitrix24.md §6.3)."""

    kind = "show"
    extensions: tuple[str, ...] = ()
    users: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Hide(Command):
    """Close the card for whoever is not to see it (bitrix24.md §6.3): these when it was owed, and
    whoever else it is when it is said.
    """

    kind = "hide"
    extensions: tuple[str, ...] = ()
    users: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class FindResponsible(Command):
    """Ask who is responsible for the calling client, so that he sees the card too (bitrix24.md §6.6)."""

    kind = "find_responsible"


@dataclass(frozen=True, slots=True)
class SweepCard(Command):
    """Close the card of a CALL_ID that turns out to be no call of ours, for everybody; never finish it,
    which would write one conversation twice (bitrix24.md §6.1, §6.2).
    """

    kind = "sweep_card"
    call_id: str = ""
    number: str = ""
    """The client's, as the portal's event said it."""


@dataclass(frozen=True, slots=True)
class Finish(Command):
    """`telephony.externalcall.finish` (bitrix24.md §6.2). `duration` is talk time in seconds."""

    kind = "finish"
    extension: str | None = None
    duration: int = 0
    status_code: str = "304"
    failed_reason: str = ""
    user_id: int | None = None
    """Whose the call is when it never came about: who asked for it."""


@dataclass(frozen=True, slots=True)
class Dial(Command):
    """Ask the PBX to ring the inner line, then the client (unitalk.md §4.1). Said once, whatever comes."""

    kind = "dial"
    platform = "unitalk"
    exclusive = False
    extension: str = ""
    number: str = ""


@dataclass(frozen=True, slots=True)
class TraceDial(Command):
    """Look in the PBX's history for the call that we asked for (unitalk.md §4.4)."""

    kind = "trace_dial"
    platform = "unitalk"
    exclusive = False


@dataclass(frozen=True, slots=True)
class AssignCallback(Command):
    """Find whose client asked to be called back: the responsible person, else by rule."""

    kind = "assign_callback"


@dataclass(frozen=True, slots=True)
class FetchRecording(Command):
    """Bring the recording into our spool (unitalk.md §3.6)."""

    kind = "fetch_recording"
    platform = "unitalk"
    exclusive = False
    link: str = ""


@dataclass(frozen=True, slots=True)
class AttachRecording(Command):
    """Hang the fetched file on the call by the two-step upload (bitrix24.md §6.4)."""

    kind = "attach_recording"


@dataclass(frozen=True, slots=True)
class LayoutBlocks(Command):
    """Put our summary and a link to our page on the call's activity (bitrix24.md §7.6)."""

    kind = "layout"


@dataclass(frozen=True, slots=True)
class UpdateRecord(Command):
    """Write the call's disposition to a CRM record by `crm.item.update` (bitrix24.md §7.2).

    What is written is decided when it is said: by the rules and by the record as they are then.
    """

    kind = "update_record"
    record: str = ""
    """`LEAD:1205`."""


@dataclass(frozen=True, slots=True)
class CopyRecording(Command):
    """Copy the attached recording into our Drive folder (bitrix24.md §8)."""

    kind = "drive_copy"


@dataclass(frozen=True, slots=True)
class FileDocument(Command):
    """File association and details of the call as one JSON document on Drive."""

    kind = "drive_document"


@dataclass(frozen=True, slots=True)
class MoveCall(Command):
    """Give what Bitrix24 made of a finished call to another user (bitrix24.md §7.2, §7.6).

    Only what is still `from_user`'s is touched. `undo` gives back what the move gave.
    """

    kind = "move_call"
    repair: str = ""
    from_user: int = 0
    to_user: int = 0
    extension: str = ""
    """The extension whose calls these are."""
    undo: bool = False


@dataclass(frozen=True, slots=True)
class Notify(Command):
    """Tell the portal's administrators something; a later notice of the same tag replaces it."""

    kind = "notify"
    tag: str = ""
    message: str = ""
    user_id: int | None = None
    """One user, or `None` for all known administrators."""


@dataclass(frozen=True, slots=True)
class EnsureBindings(Command):
    """Make the portal's event handlers, placements and lines what they should be."""

    kind = "ensure_bindings"


@dataclass(frozen=True, slots=True)
class RefreshDirectory(Command):
    """Take fresh snapshots of agents, lines and stages."""

    kind = "refresh_directory"


@dataclass(frozen=True, slots=True)
class AcceptDirectory(Command):
    """An administrator says that a shrunken list is right; `confirm` is what it lacks."""

    kind = "accept_directory"
    directory: str = "agents"
    confirm: int = 0


@dataclass(frozen=True, slots=True)
class RefreshTokens(Command):
    """Refresh pairs that nobody used for 150 days, before their 180 days are over."""

    kind = "refresh_tokens"


@dataclass(frozen=True, slots=True)
class SetStatus(Command):
    """`phones/inner/setStatus` (unitalk.md §4.3): tell the PBX what this agent's status is to be.

    Which status that is is decided when it is said.
    """

    kind = "set_status"
    platform = "unitalk"
    extension: str = ""


@dataclass(frozen=True, slots=True)
class LookAtAgents(Command):
    """Once a minute: who is an agent, who is clocked in, whose status differs."""

    kind = "look_at_agents"


@dataclass(frozen=True, slots=True)
class ReconcileHistory(Command):
    """Read the PBX's history against our calls (unitalk.md §4.4)."""

    kind = "reconcile_history"
    platform = "unitalk"


@dataclass(frozen=True, slots=True)
class CompareCalls(Command):
    """Compare our written calls with Bitrix24's statistics (bitrix24.md §6.9)."""

    kind = "compare_calls"


@dataclass(frozen=True, slots=True)
class FileLedger(Command):
    """Put one day's ledger on Drive (bitrix24.md §8)."""

    kind = "file_ledger"
    day: str = ""
    """YYYY-MM-DD in the PBX's zone."""


_KINDS: dict[str, type[Command]] = {
    c.kind: c
    for c in (
        Register,
        Show,
        Hide,
        FindResponsible,
        SweepCard,
        Finish,
        Dial,
        TraceDial,
        AssignCallback,
        FetchRecording,
        AttachRecording,
        LayoutBlocks,
        UpdateRecord,
        CopyRecording,
        FileDocument,
        MoveCall,
        Notify,
        EnsureBindings,
        RefreshDirectory,
        AcceptDirectory,
        RefreshTokens,
        SetStatus,
        LookAtAgents,
        *CAMPAIGN_COMMANDS,
        ReconcileHistory,
        CompareCalls,
        FileLedger,
    )
}


def kinds_for(platform: str) -> tuple[str, ...]:
    """Kinds of the commands that go to this vendor."""
    return tuple(kind for kind, cls in _KINDS.items() if cls.platform == platform)


def pack(command: Command) -> dict[str, Any]:
    """The command as JSON-able data; its kind is stored beside it, not inside."""
    return {f.name: getattr(command, f.name) for f in fields(command)}


def unpack(kind: str, data: dict[str, Any]) -> Command:
    """The command back from `pack`. Raises `ValueError` for a kind that nobody knows."""
    try:
        cls = _KINDS[kind]
    except KeyError:
        raise ValueError(f"unknown command kind {kind!r}") from None
    known = {f.name for f in fields(cls)}
    return cls(**{k: tuple(v) if isinstance(v, list) else v for k, v in data.items() if k in known})
