"""What a transition of a call consists of: the next call, what is owed, when to come back."""

from __future__ import annotations

from dataclasses import dataclass, field

from bitrix_app.core.call import Call
from bitrix_app.core.commands import Command, Priority
from bitrix_app.core.dispositions import Rule
from bitrix_app.core.news import News
from bitrix_app.core.record_memory import Past


@dataclass(frozen=True, slots=True)
class Rules:
    """What the portal's settings decide about its calls."""

    crm_create_in: bool = True
    crm_create_out: bool = True
    drive: bool = True
    drive_recordings: bool = True
    layout: bool = True
    card_to_responsible: bool = True
    fold_unanswered_dials: bool = False
    dispositions: tuple[Rule, ...] = ()


@dataclass(frozen=True, slots=True)
class Owed:
    """A command with its place in the call's graph.

    `needs` are keys of the same lane that must be done first. A lane never holds two jobs of one
    key, so owing the same again changes nothing. `mutex`: at most one job of the portal with the
    same mutex is in flight. `expires_at`: after it the job is dropped quietly. `not_before`: until
    then it waits.
    """

    key: str
    command: Command
    priority: Priority
    needs: tuple[str, ...] = ()
    expires_at: float | None = None
    not_before: float | None = None
    mutex: str | None = None


@dataclass(frozen=True, slots=True)
class Wake:
    """Come back to this call at `at`; a later wake of the same reason replaces it."""

    at: float
    reason: str


@dataclass(frozen=True, slots=True)
class Transition:
    """The next call and what follows from it, to be stored in one transaction."""

    call: Call
    owed: tuple[Owed, ...] = ()
    wakes: tuple[Wake, ...] = ()
    unwake: tuple[str, ...] = ()
    cancel: tuple[str, ...] = field(default=())
    """Kinds of commands of this call that no longer make sense when they have not begun."""
    news: tuple[News, ...] = ()
    """What the retry list has to know of it."""
    remember: tuple[Past, ...] = ()
    """What the memory of CRM records has to keep of this call."""
