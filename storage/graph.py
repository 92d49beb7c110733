"""The lane's graph and the claim: which jobs may run (design.md §4 "lane", §5).

Plain functions on the writer's connection, inside a transaction that somebody else opened.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Sequence
from typing import Any, Final

from bitrix_app.core.advance import Owed
from bitrix_app.core.jobs import Attempt, Job
from bitrix_app.core.retry import DOUBT_MATURES
from storage import rows
from storage.queries import load

_Q: Final = load("jobs")
_ADD: Final = _Q["add"]
_ADD_ANEW: Final = _Q["add_anew"]
_UNBLOCK: Final = _Q["unblock"]
_CANCEL_KIND: Final = _Q["cancel_kind"]


def add(
    db: sqlite3.Connection,
    portal: str,
    lane: str,
    owed: Iterable[Owed],
    now: float,
    correlation_id: str = "",
    *,
    anew: bool = False,
) -> int:
    """Queue jobs; the number of those that were new (or, with `anew`, over and begun again)."""
    new = [rows.job_row(portal, lane, one, now, correlation_id) for one in owed]
    if not new:
        return 0
    added = db.executemany(_ADD_ANEW if anew else _ADD, new).rowcount
    if any(row[_NEEDS] != "[]" for row in new):
        unblock(db, portal, lane, now)
    return added


_NEEDS: Final = 11


def unblock(db: sqlite3.Connection, portal: str, lane: str, now: float) -> None:
    db.execute(_UNBLOCK, {"portal": portal, "lane": lane, "now": now})


def cancel_kinds(db: sqlite3.Connection, portal: str, lane: str, kinds: Iterable[str], now: float) -> None:
    for kind in kinds:
        for (key,) in db.execute(_CANCEL_KIND, (now, portal, lane, kind)).fetchall():
            cancel_dependants(db, portal, lane, key, now)


def cancel_dependants(db: sqlite3.Connection, portal: str, lane: str, key: str, now: float) -> None:
    db.execute(_Q["cancel_dependants"], {"portal": portal, "lane": lane, "key": key, "now": now})


def note_attempt(db: sqlite3.Connection, portal: str, job_id: int, attempt: Attempt) -> None:
    db.execute(_Q["attempt"], (*rows.attempt_values(attempt), job_id, portal))


def claim(
    db: sqlite3.Connection,
    portal: str,
    now: float,
    limit: int,
    lease_until: float,
    max_priority: int,
    without: Sequence[str] = (),
) -> Sequence[Job]:
    """Lease what may run, by priority, then due time, then age."""
    chosen: list[int] = []
    expired: list[tuple[int, str, str]] = []
    lanes: set[str] = set()
    mutexes: set[str] = set()
    priority = -(10**9)
    kinds = json.dumps(list(without))
    while len(chosen) < limit:
        found = db.execute(_Q["next_priority"], (portal, priority)).fetchone()
        if found is None or found[0] > max_priority:
            break
        priority = found[0]
        _choose(db, portal, priority, now, limit, kinds, chosen, expired, lanes, mutexes)
    for job_id, lane, key in expired:
        _expire(db, portal, job_id, lane, key, now)
    leased = _Q["lease"]
    return [rows.job_from(db.execute(leased, (lease_until, now, id_)).fetchone()) for id_ in chosen]


def _choose(
    db: sqlite3.Connection,
    portal: str,
    priority: int,
    now: float,
    limit: int,
    without: str,
    chosen: list[int],
    expired: list[tuple[int, str, str]],
    lanes: set[str],
    mutexes: set[str],
) -> None:
    """Walk the ready jobs of one priority; the query keeps out what earlier claims hold back, the
    two sets what this one does."""
    cursor = db.execute(_Q["ready"], {"portal": portal, "priority": priority, "now": now, "without": without})
    try:
        for job_id, lane, key, exclusive, mutex, expires_at in cursor:
            if expires_at is not None and expires_at < now:
                expired.append((job_id, lane, key))
                continue
            if (exclusive and lane in lanes) or (mutex is not None and mutex in mutexes):
                continue
            chosen.append(job_id)
            if exclusive:
                lanes.add(lane)
            if mutex is not None:
                mutexes.add(mutex)
            if len(chosen) >= limit:
                return
    finally:
        cursor.close()


def _expire(db: sqlite3.Connection, portal: str, job_id: int, lane: str, key: str, now: float) -> None:
    gone = Attempt(now, 0.0, "expired", "EXPIRED", "", "It was no longer worth saying.")
    db.execute(_Q["expire"], (now, job_id))
    note_attempt(db, portal, job_id, gone)
    cancel_dependants(db, portal, lane, key, now)


def rescue(db: sqlite3.Connection, now: float, at: float) -> int:
    times = {"now": now, "at": at, "matures": DOUBT_MATURES}
    db.execute(_Q["rescued_attempts"], times)
    return db.execute(_Q["rescue"], times).rowcount


def release(db: sqlite3.Connection, jobs: Sequence[Job]) -> None:
    db.executemany(_Q["release"], [identity(job) for job in jobs])


def identity(job: Job) -> tuple[Any, ...]:
    """What a settling verb must still find: this job, and nobody tried it since."""
    return job.id, job.portal, job.created_at, job.attempts
