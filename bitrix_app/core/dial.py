"""The start of a call that somebody asked us for: its state and why it failed. Values only.

`core.dialling` says how they change. Instants are unix seconds.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from enum import StrEnum
from typing import Any


class DialState(StrEnum):
    ASKED = "asked"
    """The PBX is to be asked, or is being asked."""
    ACCEPTED = "accepted"
    """The PBX took it; we have not heard of a ring yet."""
    DOUBTED = "doubted"
    """The PBX's answer was lost: it may have rung."""
    RANG = "rang"
    """A call of the PBX turned out to be this one."""
    FAILED = "failed"
    """Certainly nothing rang."""
    UNTRACED = "untraced"
    """Nothing proves that it rang, and nothing proves that it did not."""
    JOINED = "joined"
    """A second press; the first one does the work."""


OPEN = frozenset({DialState.ASKED, DialState.ACCEPTED, DialState.DOUBTED})
"""A call of the PBX may still turn out to be this one."""


class Origin(StrEnum):
    """Who asked for the call."""

    CLICK = "click"
    """A click in Bitrix24: the call has its CALL_ID already."""
    PAGE = "page"
    """A button of our own pages."""
    FORM = "form"
    """A client by a callback form of Bitrix24."""
    LIST = "list"
    """Somebody on the retry list."""
    RULE = "rule"
    """The retry list by itself, at the planned time."""


@dataclass(frozen=True, slots=True)
class Failure:
    """Why a call could not be started, for people. `who` can mend it (a word of `errors.Who`).

    `status_code` is what Bitrix24 is told (bitrix24.md §6.2).
    """

    code: str
    category: str
    message: str
    hint: str = ""
    who: str = "agent"
    status_code: str = "OTHER"


@dataclass(frozen=True, slots=True)
class Dialling:
    """How far the start of a call came. `by` is the user who asked, `intent` the entry of the retry
    list that this is a try of; `joined` the call that a second press belongs to.
    """

    state: DialState
    origin: Origin
    asked_at: float
    extension: str | None = None
    by: int | None = None
    intent: str | None = None
    joined: str | None = None
    failure: Failure | None = None
    traces: int = 0
    """How often the PBX's history was asked for it."""


def pack(dial: Dialling) -> dict[str, Any]:
    return {name: value for name, value in asdict(dial).items() if value is not None}


def unpack(data: Mapping[str, Any]) -> Dialling:
    """The start back from `pack`; unknown keys (of a newer version) are ignored."""
    known = {f.name: data[f.name] for f in fields(Dialling) if f.name in data}
    known |= {"state": DialState(data["state"]), "origin": Origin(data["origin"])}
    return Dialling(**{**known, "failure": unpack_failure(data.get("failure"))})


def unpack_failure(data: Mapping[str, Any] | None) -> Failure | None:
    """A stored failure; unknown keys (of a newer version) are ignored."""
    return Failure(**{f.name: data[f.name] for f in fields(Failure) if f.name in data}) if data else None
