"""A queued command: its states, its record, and when a lane's jobs may run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from bitrix_app.core import commands
from bitrix_app.core.commands import Command


class Moot(Exception):
    """The command makes no sense any more; it is dropped quietly, with the reason kept."""


class JobState(StrEnum):
    """States of interface.md's retry entry, and `blocked` for what waits for its needs."""

    BLOCKED = "blocked"
    WAITING = "waiting"
    RUNNING = "running"
    RETRYING = "retrying"
    ATTENTION = "attention"
    DONE = "done"
    CANCELLED = "cancelled"


@dataclass(frozen=True, slots=True)
class JobError:
    """The last trouble of a job, as people see it."""

    code: str
    category: str
    message: str
    hint: str
    who: str


@dataclass(frozen=True, slots=True)
class Job:
    """One queued command. `lane` is a call's id, or `portal:…` for the portal's own work.

    `attempts` counts tries that count; `doubt` says that an earlier try may have taken effect.
    """

    id: int
    portal: str
    lane: str
    key: str
    kind: str
    data: Mapping[str, Any]
    priority: int
    state: JobState
    due_at: float
    created_at: float
    needs: tuple[str, ...] = ()
    attempts: int = 0
    doubt: bool = False
    doubted_at: float | None = None
    """When the doubt arose, unix seconds."""
    expires_at: float | None = None
    mutex: str | None = None
    error: JobError | None = None
    correlation_id: str = ""

    @property
    def command(self) -> Command:
        return commands.unpack(self.kind, dict(self.data))


@dataclass(frozen=True, slots=True)
class Attempt:
    """One try of a job. `result`: done, retry, later, doubt, attention, expired."""

    started_at: float
    seconds: float
    result: str
    code: str = ""
    category: str = ""
    message: str = ""
    next_at: float | None = None
