"""The verbs inside one transaction, on SQLite: coroutines that never suspend."""

from __future__ import annotations

import sqlite3
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Final, TypeVar

from loguru import logger

from bitrix_app.core.advance import Owed, Transition
from bitrix_app.core.call import Call
from bitrix_app.core.jobs import Attempt, Job, JobError
from bitrix_app.core.portal import Portal, Snapshot, TokenPair
from bitrix_app.core.record_memory import Past
from bitrix_app.core.repair import Repair
from bitrix_app.core.store import DueWake, Receipt, ReceiptState, Unit
from storage import graph, portals, rows
from storage.agents import AgentUnitMixin
from storage.campaigns import CampaignVerbs
from storage.intents import IntentRows
from storage.portals import PortalBook
from storage.queries import load
from storage.reconcile import ReconcileRows

T = TypeVar("T")

_C: Final = load("calls")
_J: Final = load("jobs")
_M: Final = load("record_memory")
_P: Final = load("portals")
_R: Final = load("receipts")
_REPAIRS: Final = load("repairs")
_RECEIVE: Final = _R["receive"]
_SAVE_CALL: Final = _C["save"]
_BY_PBX: Final = _C["by_pbx"]


def drive(work: Callable[[Unit], Awaitable[T]], unit: Unit) -> T:
    """Run `work` to its end by hand, on the writer's thread where no event loop is."""
    steps = work(unit).__await__()
    try:
        next(steps)
    except StopIteration as end:
        value: T = end.value
        return value
    close = getattr(steps, "close", None)
    if close is not None:
        close()
    raise TypeError(
        "a unit of work may await only its unit: it suspended on something else "
        "while it held the writer; do that before or after transact()"
    )


class SqliteUnit(IntentRows, AgentUnitMixin, CampaignVerbs, ReconcileRows):
    """See `core.store.Unit`."""

    def __init__(self, db: sqlite3.Connection, book: PortalBook) -> None:
        self._db = db
        self._book = book

    # --- receipts --------------------------------------------------------------------------------

    async def receive(self, receipt: Receipt) -> int | None:
        id_, repeats = self._db.execute(_RECEIVE, rows.receipt_row(receipt)).fetchone()
        return None if repeats else id_

    async def mark_receipt(
        self, receipt_id: int, state: ReceiptState, *, call_id: str | None = None, error: str | None = None
    ) -> None:
        self._db.execute(_R["mark"], (state.value, call_id, rows.clean_or_none(error), receipt_id))

    # --- calls -----------------------------------------------------------------------------------

    async def call(self, portal: str, call_id: str) -> Call | None:
        row = self._db.execute(_C["one"], (portal, call_id)).fetchone()
        return rows.call_from(row) if row else None

    async def calls_by_pbx(self, portal: str, pbx_id: str | None, pbx_dbid: str | None) -> Sequence[Call]:
        ids = {
            "portal": portal,
            "pbx_id": rows.clean_or_none(pbx_id),
            "pbx_dbid": rows.clean_or_none(pbx_dbid),
        }
        return rows.calls_from(self._db.execute(_BY_PBX, ids))

    async def calls_of_client(self, portal: str, number: str, since: float) -> Sequence[Call]:
        return rows.calls_from(self._db.execute(_C["of_client"], (portal, since, rows.digits(number))))

    async def call_by_bitrix_id(self, portal: str, bitrix_call_id: str) -> Call | None:
        row = self._db.execute(_C["by_bitrix_id"], (portal, rows.clean(bitrix_call_id))).fetchone()
        return rows.call_from(row) if row else None

    async def calls_without_bitrix_id(self, portal: str, number: str, since: float) -> Sequence[Call]:
        return rows.calls_from(self._db.execute(_C["unnamed"], (portal, rows.digits(number), since)))

    async def unmatched_calls(self, portal: str, extension: str, limit: int) -> Sequence[Call]:
        return rows.calls_from(self._db.execute(_C["unmatched"], (portal, rows.clean(extension), limit)))

    async def unmatched_count(self, portal: str, extension: str) -> int:
        found = self._db.execute(_C["unmatched_count"], (portal, rows.clean(extension))).fetchone()
        return int(found[0])

    async def save_repair(self, repair: Repair) -> None:
        self._db.execute(_REPAIRS["save"], rows.repair_row(repair))

    async def repair(self, portal: str, repair_id: str) -> Repair | None:
        row = self._db.execute(_REPAIRS["one"], (portal, rows.clean(repair_id))).fetchone()
        return rows.repair_from(row) if row else None

    async def apply(self, transition: Transition, now: float, correlation_id: str = "") -> int:
        db, call = self._db, transition.call
        portal, lane = call.portal, call.id
        db.execute(_SAVE_CALL, rows.call_row(call, now))
        for past in transition.remember:
            await self.remember(portal, past)
        if transition.cancel:
            graph.cancel_kinds(db, portal, lane, transition.cancel, now)
        if transition.unwake:
            db.executemany(_J["unwake"], [(portal, lane, reason) for reason in transition.unwake])
        if transition.wakes:
            db.executemany(_J["wake"], [(portal, lane, wake.reason, wake.at) for wake in transition.wakes])
        return graph.add(db, portal, lane, transition.owed, now, correlation_id)

    # --- jobs ------------------------------------------------------------------------------------

    async def owe(self, portal: str, lane: str, owed: Iterable[Owed], now: float) -> int:
        return graph.add(self._db, portal, lane, owed, now, anew=True)

    async def record_history(self, portal: str, record: str) -> Sequence[Past]:
        return [rows.past_from(row) for row in self._db.execute(_M["history"], (portal, record))]

    async def remember(self, portal: str, past: Past) -> None:
        self._db.execute(_M["save"], rows.past_row(portal, past))

    async def job(self, job_id: int) -> Job | None:
        row = self._db.execute(_J["one"], (job_id,)).fetchone()
        return rows.job_from(row) if row else None

    async def complete(self, job: Job, attempt: Attempt) -> None:
        now = _end(attempt)
        graph.note_attempt(self._db, job.portal, job.id, attempt)
        settled = self._db.execute(_J["done"], (now, job.id, job.portal, job.created_at)).rowcount
        if settled:
            graph.unblock(self._db, job.portal, job.lane, now)

    async def reschedule(
        self, job: Job, attempt: Attempt, at: float, *, counted: bool, doubt: bool, error: JobError
    ) -> None:
        graph.note_attempt(self._db, job.portal, job.id, attempt)
        settled = self._db.execute(
            _J["reschedule"],
            {
                "id": job.id,
                "portal": job.portal,
                "created_at": job.created_at,
                "attempts": job.attempts,
                "counted": counted,
                "doubt": doubt,
                "at": at,
                "now": _end(attempt),
                "error": rows.error_text(error),
            },
        ).rowcount
        _warn_unless(settled, job, "rescheduled")

    async def bury(self, job: Job, attempt: Attempt, error: JobError) -> None:
        graph.note_attempt(self._db, job.portal, job.id, attempt)
        values = (_end(attempt), rows.error_text(error), *graph.identity(job))
        _warn_unless(self._db.execute(_J["bury"], values).rowcount, job, "buried")

    async def drop(self, job: Job, attempt: Attempt) -> None:
        now = _end(attempt)
        graph.note_attempt(self._db, job.portal, job.id, attempt)
        settled = self._db.execute(_J["drop"], (now, *graph.identity(job))).rowcount
        _warn_unless(settled, job, "dropped")
        if settled:
            graph.cancel_dependants(self._db, job.portal, job.lane, job.key, now)

    async def take_wake(self, wake: DueWake) -> bool:
        key = (wake.portal, wake.lane, wake.reason, wake.at)
        return self._db.execute(_J["take_wake"], key).rowcount == 1

    # --- portals ---------------------------------------------------------------------------------

    async def snapshot(self, portal: str, kind: str) -> Snapshot | None:
        row = self._db.execute(_P["snapshot"], (portal, kind)).fetchone()
        return rows.snapshot_from(kind, row) if row else None

    async def save_snapshot(self, portal: str, snapshot: Snapshot) -> None:
        self._db.execute(_P["save_snapshot"], rows.snapshot_row(portal, snapshot))

    async def portal(self, member_id: str) -> Portal | None:
        return self._book.current(self._db, member_id)

    async def save_portal(self, portal: Portal) -> None:
        self._book.save(self._db, portal)

    async def pairs(self, member_id: str) -> Sequence[TokenPair]:
        return portals.pairs(self._db, self._book.vault, member_id)

    async def keep_pair(self, pair: TokenPair, keep: int) -> None:
        portals.keep_pair(self._db, self._book.vault, pair, keep)

    async def swap_tokens(self, old: TokenPair, new: TokenPair) -> bool:
        return portals.swap_pair(self._db, self._book.vault, old, new)

    async def kill_pair(self, pair: TokenPair) -> None:
        portals.kill_pair(self._db, pair)

    async def delete_pairs(self, member_id: str) -> None:
        portals.delete_pairs(self._db, member_id)

    async def stop_jobs(self, member_id: str, reason: str) -> int:
        why = rows.error_text(JobError("STOPPED", "not_found", reason, "", "nobody"))
        values = {"now": self._book.now(), "why": why, "portal": member_id}
        return self._db.execute(_J["stop"], values).rowcount

    async def revive_stopped(self, member_id: str, now: float) -> int:
        revived = self._db.execute(_J["revive_stopped"], (now, now, member_id)).fetchall()
        for lane in {lane for (lane,) in revived}:
            graph.unblock(self._db, member_id, lane, now)
        return len(revived)

    async def erase_portal(self, member_id: str) -> None:
        self._book.erase(self._db, member_id)


def _end(attempt: Attempt) -> float:
    return attempt.started_at + attempt.seconds


def _warn_unless(settled: int, job: Job, what: str) -> None:
    """A job that changed hands is settled by its new holder; say so, for whoever wonders."""
    if not settled:
        logger.warning("Job {} ({}) was not {}: it is over or changed hands", job.id, job.kind, what)
