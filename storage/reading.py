"""Read verbs: on connections of their own, so that a long list never delays an acknowledgement."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Final, TypeVar

from bitrix_app.core.call import Call
from bitrix_app.core.jobs import Attempt, Job, JobState
from bitrix_app.core.portal import Snapshot
from bitrix_app.core.repair import Repair
from bitrix_app.core.store import DueWake, Receipt, ReceiptState, StoreUnavailable, VendorRequest
from storage import rows
from storage.line import Line, make_reader, open_line
from storage.queries import load
from storage.refusals import in_words
from storage.writer import CLOSED

T = TypeVar("T")

_C: Final = load("calls")
_J: Final = load("jobs")
_P: Final = load("portals")
_M: Final = load("repairs")
_R: Final = load("receipts")
_V: Final = load("requests")


class Reading:
    """Two connections: `house` for the worker's and the webhooks' short questions, `pages` for people."""

    def __init__(self, house: Line, pages: Line) -> None:
        self._house = house
        self._pages = pages
        self._closed = False

    @classmethod
    async def open(cls, path: Path) -> Reading:
        house = await open_line(path)
        try:
            await house.on_thread(make_reader)
            pages = await open_line(path)
            await pages.on_thread(make_reader)
        except BaseException:
            await house.close()
            raise
        return cls(house, pages)

    async def close(self) -> None:
        self._closed = True
        await self._house.close()
        await self._pages.close()

    async def _ask(self, line: Line, question: Callable[[sqlite3.Connection], T]) -> T:
        if self._closed:
            raise StoreUnavailable(CLOSED)
        try:
            return await line.on_thread(question)
        except sqlite3.Error as error:
            raise StoreUnavailable(in_words(error)) from error

    async def house(self, question: Callable[[sqlite3.Connection], T]) -> T:
        """Ask with the short line."""
        return await self._ask(self._house, question)

    async def pages(self, question: Callable[[sqlite3.Connection], T]) -> T:
        """Ask with the line that serves people."""
        return await self._ask(self._pages, question)

    async def column(self, sql: str) -> Sequence[str]:
        """The only column of a query's rows."""
        return [value for (value,) in await self.house(lambda db: db.execute(sql).fetchall())]

    # --- the worker's questions --------------------------------------------------------------------

    async def due_portals(self, now: float) -> Sequence[str]:
        found = await self.house(lambda db: db.execute(_J["due_portals"], (now,)).fetchall())
        return [portal for (portal,) in found]

    async def next_due(self) -> float | None:
        def ask(db: sqlite3.Connection) -> float | None:
            times = [row[0] for name in ("next_due", "next_wake") for row in db.execute(_J[name])]
            return min((at for at in times if at is not None), default=None)

        return await self.house(ask)

    async def oldest_due(self) -> float | None:
        found: tuple[float | None] = await self.house(lambda db: db.execute(_J["next_due"]).fetchone())
        return found[0]

    async def due_wakes(self, now: float, limit: int = 100) -> Sequence[DueWake]:
        found = await self.house(lambda db: db.execute(_J["due_wakes"], (now, limit)).fetchall())
        return [DueWake(*row) for row in found]

    async def snapshot(self, portal: str, kind: str) -> Snapshot | None:
        row = await self.house(lambda db: db.execute(_P["snapshot"], (portal, kind)).fetchone())
        return rows.snapshot_from(kind, row) if row else None

    async def level(self, portal: str) -> tuple[float, float, bool] | None:
        row = await self.house(lambda db: db.execute(_P["level"], (portal,)).fetchone())
        return (row[0], row[1], bool(row[2])) if row else None

    # --- pages ---------------------------------------------------------------------------------------

    async def calls(
        self, portal: str, *, limit: int = 50, before: tuple[float, str] | None = None
    ) -> Sequence[Call]:
        def ask(db: sqlite3.Connection) -> Sequence[Call]:
            if before is None:
                return rows.calls_from(db.execute(_C["newest"], (portal, limit)))
            return rows.calls_from(db.execute(_C["newest_before"], (portal, *before, limit)))

        return await self._ask(self._pages, ask)

    async def call(self, portal: str, call_id: str) -> Call | None:
        row = await self._ask(self._pages, lambda db: db.execute(_C["one"], (portal, call_id)).fetchone())
        return rows.call_from(row) if row else None

    async def unmatched_counts(self, portal: str) -> Mapping[str, int]:
        found = await self._ask(
            self._pages, lambda db: db.execute(_C["unmatched_counts"], (portal,)).fetchall()
        )
        return dict(found)

    async def repairs(self, portal: str, *, limit: int = 20) -> Sequence[Repair]:
        found = await self._ask(self._pages, lambda db: db.execute(_M["latest"], (portal, limit)).fetchall())
        return [rows.repair_from(row) for row in found]

    async def repair(self, portal: str, repair_id: str) -> Repair | None:
        values = (portal, rows.clean(repair_id))
        row = await self._ask(self._pages, lambda db: db.execute(_M["one"], values).fetchone())
        return rows.repair_from(row) if row else None

    async def job_states(self, portal: str, lanes: Sequence[str], key: str) -> Mapping[JobState, int]:
        values = (rows.encode(list(lanes)), portal, key)
        found = await self._ask(self._pages, lambda db: db.execute(_J["states_of"], values).fetchall())
        return {JobState(state): count for state, count in found}

    async def lane(self, portal: str, lane: str) -> Sequence[Job]:
        found = await self._ask(self._pages, lambda db: db.execute(_J["lane"], (portal, lane)).fetchall())
        return [rows.job_from(row) for row in found]

    async def attempts(self, portal: str, job_id: int) -> Sequence[Attempt]:
        found = await self._ask(
            self._pages, lambda db: db.execute(_J["attempts"], (portal, job_id)).fetchall()
        )
        return [rows.attempt_from(row) for row in found]

    async def receipts(
        self, portal: str, *, state: ReceiptState | None = None, limit: int = 50
    ) -> Sequence[Receipt]:
        def ask(db: sqlite3.Connection) -> Sequence[Receipt]:
            if state is None:
                found = db.execute(_R["latest"], (portal, limit))
            elif state is ReceiptState.APPLIED:
                found = db.execute(_R["latest_applied"], (portal, limit))
            else:
                found = db.execute(_R["latest_odd"], (portal, state.value, limit))
            return [rows.receipt_from(row) for row in found]

        return await self._ask(self._pages, ask)

    async def job_counts(self, portal: str) -> Mapping[JobState, int]:
        found = await self._ask(self._pages, lambda db: db.execute(_J["counts"], (portal,)).fetchall())
        return {JobState(state): count for state, count in found}

    async def requests(self, portal: str, *, limit: int = 50) -> Sequence[VendorRequest]:
        found = await self._ask(self._pages, lambda db: db.execute(_V["latest"], (portal, limit)).fetchall())
        return [rows.request_from(row) for row in found]
