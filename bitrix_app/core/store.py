"""What the house asks of its memory: verbs, not tables (design.md §7).

A `Unit` lives inside one transaction. Its verbs are coroutines so that one written transaction
serves both databases: on SQLite a unit never suspends and runs on the writer's thread inside a
savepoint of the group commit; on PostgreSQL it awaits the connection. A work function may therefore
await nothing but its unit.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Protocol, TypeVar

from bitrix_app.core.advance import Owed, Transition
from bitrix_app.core.agents_store import AgentReader, AgentUnit
from bitrix_app.core.call import Call
from bitrix_app.core.campaign_store import CampaignReader, CampaignUnit
from bitrix_app.core.intent_store import IntentReader, IntentUnit
from bitrix_app.core.jobs import Attempt, Job, JobError, JobState
from bitrix_app.core.portal import Portal, Snapshot, TokenPair
from bitrix_app.core.reconcile_store import ReconcileReader, ReconcileUnit
from bitrix_app.core.record_memory import Past
from bitrix_app.core.repair import Repair

T = TypeVar("T")


class StoreUnavailable(Exception):
    """The store could not make it durable; nothing of it is stored. `reason` is for the operator."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class ReceiptState(StrEnum):
    APPLIED = "applied"
    IGNORED = "ignored"
    """Understood, and nothing follows from it."""
    UNREADABLE = "unreadable"
    FAILED = "failed"
    """Our own fault: kept, shown, replayable."""


@dataclass(frozen=True, slots=True)
class Receipt:
    """A raw event as it came. `digest` is unique per portal: a repeat has the same."""

    portal: str
    source: str
    """`unitalk`, `bitrix24`, or `history` for a row of the PBX's history."""
    digest: str
    body: bytes
    received_at: float
    content_type: str = ""
    ev: str = ""
    state: ReceiptState = ReceiptState.APPLIED
    call_id: str | None = None
    error: str | None = None
    correlation_id: str = ""
    repeats: int = 0
    id: int = 0


@dataclass(frozen=True, slots=True)
class VendorRequest:
    """One line of the vendor request log, already masked."""

    portal: str
    platform: str
    operation: str
    at: float
    seconds: float
    status: int | None
    code: str
    request: str
    answer: str
    correlation_id: str = ""


@dataclass(frozen=True, slots=True)
class DueWake:
    portal: str
    lane: str
    reason: str
    at: float


@dataclass(frozen=True, slots=True)
class WebhookToken:
    """A path token of a portal. `token` is in the clear; `expires_at` ends an overlap."""

    portal: str
    token: str
    created_at: float
    expires_at: float | None = None
    last_used_at: float | None = None
    uses: int = 0


class Unit(IntentUnit, AgentUnit, CampaignUnit, ReconcileUnit, Protocol):
    """Verbs inside one transaction."""

    async def receive(self, receipt: Receipt) -> int | None:
        """Keep a raw event. The new row's id, or `None` when this digest was seen (counted)."""
        ...

    async def mark_receipt(
        self, receipt_id: int, state: ReceiptState, *, call_id: str | None = None, error: str | None = None
    ) -> None: ...

    async def call(self, portal: str, call_id: str) -> Call | None: ...

    async def calls_by_pbx(self, portal: str, pbx_id: str | None, pbx_dbid: str | None) -> Sequence[Call]:
        """Calls with this live id or this lasting id, the newest first, at most 20."""
        ...

    async def calls_of_client(self, portal: str, number: str, since: float) -> Sequence[Call]:
        """Calls with this number (digits) first seen after `since`, the newest first, at most 20."""
        ...

    async def call_by_bitrix_id(self, portal: str, bitrix_call_id: str) -> Call | None: ...

    async def calls_without_bitrix_id(self, portal: str, number: str, since: float) -> Sequence[Call]:
        """Calls with this number (digits) that Bitrix24 has not named yet, first seen after `since`."""
        ...

    async def unmatched_calls(self, portal: str, extension: str, limit: int) -> Sequence[Call]:
        """Finished calls that a default user has because nobody had this extension, the newest first."""
        ...

    async def unmatched_count(self, portal: str, extension: str) -> int: ...

    async def save_repair(self, repair: Repair) -> None: ...

    async def repair(self, portal: str, repair_id: str) -> Repair | None: ...

    async def apply(self, transition: Transition, now: float, correlation_id: str = "") -> int:
        """Store the call with what it owes: new jobs (a key that the lane holds is not added
        again), wakes, cancellations. The number of jobs added."""
        ...

    async def owe(self, portal: str, lane: str, owed: Iterable[Owed], now: float) -> int:
        """Queue the portal's own work; a key whose job is over is queued anew."""
        ...

    async def record_history(self, portal: str, record: str) -> Sequence[Past]:
        """Finished calls of a CRM record as they were remembered, the newest end first, at most 200;
        each says whether its own write is still owed."""
        ...

    async def remember(self, portal: str, past: Past) -> None:
        """Keep what a record has to remember of a call; the later saying stands."""
        ...

    async def job(self, job_id: int) -> Job | None: ...

    async def complete(self, job: Job, attempt: Attempt) -> None:
        """Done: whoever in the lane needed only this becomes due."""
        ...

    async def reschedule(
        self, job: Job, attempt: Attempt, at: float, *, counted: bool, doubt: bool, error: JobError
    ) -> None: ...

    async def bury(self, job: Job, attempt: Attempt, error: JobError) -> None:
        """The job needs a person (state `attention`); only what needs it waits."""
        ...

    async def drop(self, job: Job, attempt: Attempt) -> None:
        """The job expired or makes no sense any more: cancelled, its dependants too."""
        ...

    async def take_wake(self, wake: DueWake) -> bool:
        """Remove a wake that came due; false when somebody else took it or it was moved."""
        ...

    async def snapshot(self, portal: str, kind: str) -> Snapshot | None: ...

    async def save_snapshot(self, portal: str, snapshot: Snapshot) -> None: ...

    async def portal(self, member_id: str) -> Portal | None: ...

    async def save_portal(self, portal: Portal) -> None: ...

    async def pairs(self, member_id: str) -> Sequence[TokenPair]:
        """Living pairs of administrators first, the latest refreshed first."""
        ...

    async def keep_pair(self, pair: TokenPair, keep: int) -> None:
        """Store a pair that a frame or an event brought; of administrators the last `keep` stay."""
        ...

    async def swap_tokens(self, old: TokenPair, new: TokenPair) -> bool:
        """Compare-and-swap by `generation`; false when somebody refreshed before us."""
        ...

    async def kill_pair(self, pair: TokenPair) -> None: ...

    async def delete_pairs(self, member_id: str) -> None: ...

    async def stop_jobs(self, member_id: str, reason: str) -> int:
        """Cancel every open job of a portal (uninstall); the calls' timers stay for its return."""
        ...

    async def revive_stopped(self, member_id: str, now: float) -> int:
        """Queue again what `stop_jobs` cancelled: the portal came back, its calls are still owed."""
        ...

    async def erase_portal(self, member_id: str) -> None:
        """Delete everything of a portal but a tombstone row (`CLEAN=1`)."""
        ...


class Store(IntentReader, AgentReader, CampaignReader, ReconcileReader, Protocol):
    """Verbs that are transactions of their own. All times unix seconds."""

    async def transact(self, work: Callable[[Unit], Awaitable[T]]) -> T:
        """Run `work` in a savepoint of the next group commit; returns after it is durable.

        An exception of `work` rolls back this work alone and is raised here. Raises
        `StoreUnavailable` when the commit failed: then nothing of it is stored.
        """
        ...

    async def claim(
        self,
        portal: str,
        now: float,
        limit: int,
        lease_until: float,
        max_priority: int = 99,
        without: Sequence[str] = (),
    ) -> Sequence[Job]:
        """Lease due jobs by priority, at most one exclusive job a lane, one a mutex; none of the
        kinds `without`."""
        ...

    async def rescue(self, now: float) -> int:
        """Leases that ran out become due again, in doubt. At start: all of them."""
        ...

    async def release(self, jobs: Sequence[Job]) -> None:
        """Give back claimed jobs that were certainly not begun (graceful stop)."""
        ...

    async def due_portals(self, now: float) -> Sequence[str]:
        """Portals with a due job."""
        ...

    async def next_due(self) -> float | None:
        """When the next job or wake comes due."""
        ...

    async def due_wakes(self, now: float, limit: int = 100) -> Sequence[DueWake]: ...

    # portals and their secrets
    async def portals(self) -> Sequence[Portal]: ...

    async def portal(self, member_id: str) -> Portal | None: ...

    async def webhook_portal(self, token: str, now: float) -> Portal | None:
        """Whose path token this is; looked up by keyed hash, expired ones are nobody's."""
        ...

    async def webhook_tokens(self, member_id: str) -> Sequence[WebhookToken]: ...

    async def add_webhook_token(self, token: WebhookToken, *, overlap_until: float | None) -> None:
        """Make it the portal's; earlier ones end at `overlap_until` (`None`: at once)."""
        ...

    async def save_snapshot(self, portal: str, snapshot: Snapshot) -> None: ...

    async def snapshot(self, portal: str, kind: str) -> Snapshot | None: ...

    async def save_level(self, portal: str, level: float, at: float, *, clean: bool) -> None:
        """The limiter's fill. `clean` is false while running, true at a graceful stop."""
        ...

    async def level(self, portal: str) -> tuple[float, float, bool] | None:
        """(level, at, clean) as last saved."""
        ...

    async def log_requests(self, entries: Sequence[VendorRequest]) -> None: ...

    async def prune(self, now: float, receipts_days: int = 30, log_days: int = 30) -> int: ...

    # reading, for pages and tests
    async def calls(
        self, portal: str, *, limit: int = 50, before: tuple[float, str] | None = None
    ) -> Sequence[Call]:
        """Newest first; `before` is (first_seen_at, id) of the last one shown."""
        ...

    async def call(self, portal: str, call_id: str) -> Call | None: ...

    async def unmatched_counts(self, portal: str) -> Mapping[str, int]:
        """Extension → how many calls of it a default user has."""
        ...

    async def repairs(self, portal: str, *, limit: int = 20) -> Sequence[Repair]:
        """The newest first."""
        ...

    async def repair(self, portal: str, repair_id: str) -> Repair | None: ...

    async def job_states(self, portal: str, lanes: Sequence[str], key: str) -> Mapping[JobState, int]:
        """How the job `key` stands in these lanes: states and their counts."""
        ...

    async def lane(self, portal: str, lane: str) -> Sequence[Job]:
        """A call's jobs in the order in which they were owed."""
        ...

    async def attempts(self, portal: str, job_id: int) -> Sequence[Attempt]: ...

    async def receipts(
        self, portal: str, *, state: ReceiptState | None = None, limit: int = 50
    ) -> Sequence[Receipt]: ...

    async def job_counts(self, portal: str) -> Mapping[JobState, int]: ...

    async def requests(self, portal: str, *, limit: int = 50) -> Sequence[VendorRequest]: ...

    async def status(self) -> Mapping[str, Any]:
        """For health: writable or why not, schema version, oldest due job, sizes in bytes."""
        ...

    async def close(self) -> None: ...


class Vault(Protocol):
    """Secrets at rest: AES-GCM bound to portal and field, first key writes, all keys read."""

    def seal(self, clear: str, portal: str, field: str) -> bytes: ...

    def open(self, sealed: bytes, portal: str, field: str) -> str:
        """Raises `ValueError` when no key opens it or it was moved to another portal or field."""
        ...

    def hashes(self, token: str) -> tuple[bytes, ...]:
        """Keyed hashes of a token under every key, the writing key's first; for look-up."""
        ...

    def is_current(self, sealed: bytes) -> bool:
        """Whether the writing key sealed it."""
        ...
