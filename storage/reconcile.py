"""Reconciliation and ledger on SQLite (`core.reconcile_store`)."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Final

from bitrix_app.core import comparison, history, outage
from bitrix_app.core.call import Call
from bitrix_app.core.comparison import Difference, State
from bitrix_app.core.history import SeenRow
from bitrix_app.core.jobs import Job, JobState
from bitrix_app.core.ledger import Material, Step
from bitrix_app.core.outage import Outage
from storage import rows
from storage.queries import load
from storage.reading import Reading

_Q: Final = load("reconcile")
_J: Final = load("jobs")


class ReconcileRows:
    """Verbs inside one transaction; `_db` is the writer's connection."""

    _db: sqlite3.Connection

    async def save_row(self, row: SeenRow) -> None:
        doc = rows.encode(history.pack(row))
        times = (row.started_at, row.ended_at)
        values = (row.portal, rows.clean(row.key), row.digest, *times, row.how.value, row.call_id, doc)
        self._db.execute(_Q["save_row"], values)

    async def row_of(self, portal: str, call_id: str) -> SeenRow | None:
        found = self._db.execute(_Q["row_of"], (portal, rows.clean(call_id))).fetchone()
        return _row(found) if found else None

    async def calls_from_history(self, portal: str, since: float, until: float) -> Sequence[Call]:
        period = {"portal": portal, "since": since, "until": until}
        return rows.calls_from(self._db.execute(_Q["calls_from_history"], period))

    async def calls_starting(self, portal: str, since: float, until: float) -> Sequence[Call]:
        return rows.calls_from(self._db.execute(_Q["calls_starting"], (portal, since, until)))

    async def differences_of(self, portal: str, call_id: str) -> Sequence[Difference]:
        return [_difference(row) for row in self._db.execute(_Q["differences_of"], (portal, call_id))]

    async def save_difference(self, difference: Difference) -> None:
        one = difference
        doc = rows.encode(comparison.pack(one))
        values = (one.portal, one.call_id, one.kind.value, one.state.value, one.found_at, one.updated_at, doc)
        self._db.execute(_Q["save_difference"], values)

    async def save_compared(self, portal: str, call_ids: Iterable[str], at: float) -> None:
        self._db.executemany(_Q["save_compared"], [(portal, call_id, at) for call_id in call_ids])

    async def save_outage(self, one: Outage) -> None:
        doc = rows.encode(outage.pack(one))
        self._db.execute(_Q["save_outage"], (one.portal, one.began_at, one.kind.value, one.told, doc))

    async def lane_jobs(self, portal: str, lane: str) -> Sequence[Job]:
        return [rows.job_from(row) for row in self._db.execute(_J["lane"], (portal, rows.clean(lane)))]

    async def save_filed(self, portal: str, day: str, digest: str, file_id: int, at: float) -> None:
        self._db.execute(_Q["save_filed"], (portal, day, digest, file_id, at))


class ReconcileReading:
    """Read verbs of the store; `_reading` are its readers."""

    _reading: Reading

    async def settled_digests(self, portal: str, digests: Sequence[str]) -> frozenset[str]:
        values = {"portal": portal, "digests": rows.encode(list(digests))}
        found = await self._reading.house(lambda db: db.execute(_Q["settled_digests"], values).fetchall())
        return frozenset(str(digest) for (digest,) in found)

    async def ledger_material(self, portal: str, since: float, until: float) -> Material:
        def ask(db: sqlite3.Connection) -> Material:
            with _at_one_moment(db):
                seen = [_row(row) for row in _all(db, "rows_between", (portal, since, until))]
                period = {"portal": portal, "since": since, "until": until}
                others = rows.calls_from(db.execute(_Q["calls_without_row"], period))
                return _material(db, portal, seen, others)

        return await self._reading.page(ask)

    async def recovered(self, portal: str, since: float, until: float) -> Sequence[SeenRow]:
        found = await self._reading.house(lambda db: _all(db, "recovered", (portal, since, until)))
        return [_row(row) for row in found]

    async def material_of(self, portal: str, seen: Sequence[SeenRow]) -> Material:
        def ask(db: sqlite3.Connection) -> Material:
            with _at_one_moment(db):
                return _material(db, portal, seen, ())

        return await self._reading.page(ask)

    async def to_compare(
        self, portal: str, since: float, changed_before: float, compared_before: float, limit: int
    ) -> Sequence[Call]:
        return await self._calls("to_compare", portal, since, changed_before, compared_before, limit)

    async def unwritten(
        self, portal: str, since: float, changed_before: float, compared_before: float, limit: int
    ) -> Sequence[Call]:
        return await self._calls("unwritten", portal, since, changed_before, compared_before, limit)

    async def _calls(
        self, name: str, portal: str, since: float, changed: float, compared: float, limit: int
    ) -> Sequence[Call]:
        values = {
            "portal": portal,
            "since": since,
            "changed": changed,
            "compared": compared,
            "limit": limit,
        }
        return rows.calls_from(await self._reading.page(lambda db: db.execute(_Q[name], values).fetchall()))

    async def differences(
        self, portal: str, *, state: State = State.OPEN, limit: int = 100
    ) -> Sequence[Difference]:
        values = (portal, state.value, limit)
        return [
            _difference(row)
            for row in await self._reading.page(lambda db: _all(db, "differences_in", values))
        ]

    async def last_heard(self, portal: str) -> float | None:
        found = await self._reading.house(lambda db: _all(db, "last_heard", (portal,)))
        return float(found[0][0]) if found else None

    async def outages(self, portal: str) -> Sequence[Outage]:
        found = await self._reading.house(lambda db: _all(db, "open_outages", (portal,)))
        return [outage.unpack(rows.decode(doc)) for (doc,) in found]

    async def filed(self, portal: str, day: str) -> tuple[str, int] | None:
        found = await self._reading.house(lambda db: _all(db, "filed", (portal, day)))
        return (str(found[0][0]), int(found[0][1])) if found else None


def beat(db: sqlite3.Connection, name: str, at: float) -> float | None:
    """On the writer's connection: leave a sign of life, tell the one before."""
    before = db.execute(_Q["last_beat"], (name,)).fetchone()
    db.execute(_Q["beat"], (name, at))
    return float(before[0]) if before else None


def _material(
    db: sqlite3.Connection, portal: str, seen: Sequence[SeenRow], others: Sequence[Call]
) -> Material:
    ids = rows.encode([row.call_id for row in seen if row.call_id])
    calls = {call.id: call for call in rows.calls_from(db.execute(_Q["calls_by_ids"], (portal, ids)))}
    calls |= {call.id: call for call in others}
    open_ = rows.encode([call.id for call in calls.values() if not call.finished and not call.skipped])
    steps: dict[str, list[Step]] = {}
    for lane, kind, state, due_at, error in _all(db, "steps_of", (open_, portal)):
        steps.setdefault(lane, []).append(Step(kind, JobState(state), due_at, rows.error_from(error)))
    differences: dict[str, list[Difference]] = {}
    for row in _all(db, "differences_of_calls", (portal, rows.encode(list(calls)))):
        one = _difference(row)
        differences.setdefault(one.call_id, []).append(one)
    return Material(tuple(seen), calls, steps, differences)


@contextmanager
def _at_one_moment(db: sqlite3.Connection) -> Iterator[None]:
    """Several queries on one snapshot of the database."""
    db.execute("BEGIN")
    try:
        yield
    finally:
        db.execute("ROLLBACK")


def _all(db: sqlite3.Connection, name: str, values: rows.Row) -> list[rows.Row]:
    return db.execute(_Q[name], values).fetchall()


def _row(row: rows.Row) -> SeenRow:
    portal, key, digest, started_at, ended_at, how, call_id, doc = row
    return history.unpack(portal, key, digest, started_at, ended_at, how, call_id, rows.decode(doc))


def _difference(row: rows.Row) -> Difference:
    portal, call_id, kind, state, found_at, updated_at, doc = row
    return comparison.unpack(portal, call_id, kind, state, found_at, updated_at, rows.decode(doc))
