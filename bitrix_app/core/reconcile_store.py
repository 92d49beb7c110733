"""What reconciliation and the ledger ask of the store."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Protocol

from bitrix_app.core.call import Call
from bitrix_app.core.comparison import Difference, State
from bitrix_app.core.history import SeenRow
from bitrix_app.core.jobs import Job
from bitrix_app.core.ledger import Material
from bitrix_app.core.outage import Outage


class ReconcileUnit(Protocol):
    """Verbs inside one transaction."""

    async def save_row(self, row: SeenRow) -> None:
        """Keep a row of the PBX's history; a later sight of it replaces the earlier one."""
        ...

    async def row_of(self, portal: str, call_id: str) -> SeenRow | None:
        """The history's row of a call."""
        ...

    async def calls_from_history(self, portal: str, since: float, until: float) -> Sequence[Call]:
        """Calls that the history alone told of, with a start in this period."""
        ...

    async def calls_starting(self, portal: str, since: float, until: float) -> Sequence[Call]:
        """Calls with a start in this period, at most 50."""
        ...

    async def differences_of(self, portal: str, call_id: str) -> Sequence[Difference]: ...

    async def save_difference(self, difference: Difference) -> None: ...

    async def save_compared(self, portal: str, call_ids: Iterable[str], at: float) -> None:
        """These calls were compared with Bitrix24's statistics."""
        ...

    async def save_outage(self, outage: Outage) -> None: ...

    async def lane_jobs(self, portal: str, lane: str) -> Sequence[Job]:
        """All jobs of a lane, as they were owed."""
        ...

    async def save_filed(self, portal: str, day: str, digest: str, file_id: int, at: float) -> None: ...


class ReconcileReader(Protocol):
    """Reading. All times unix seconds."""

    async def settled_digests(self, portal: str, digests: Sequence[str]) -> frozenset[str]:
        """Those of these that a row of the history has whose call says all of it."""
        ...

    async def ledger_material(self, portal: str, since: float, until: float) -> Material:
        """All that the ledger of this period needs, as it was at one moment."""
        ...

    async def recovered(self, portal: str, since: float, until: float) -> Sequence[SeenRow]:
        """Rows of calls that ended in the period and were created, filled or failed."""
        ...

    async def material_of(self, portal: str, rows: Sequence[SeenRow]) -> Material:
        """What the ledger needs of just these rows."""
        ...

    async def to_compare(
        self, portal: str, since: float, changed_before: float, compared_before: float, limit: int
    ) -> Sequence[Call]:
        """Written calls that began after `since`, did not change since `changed_before` and were not
        compared after `compared_before`, the oldest first."""
        ...

    async def unwritten(
        self, portal: str, since: float, changed_before: float, compared_before: float, limit: int
    ) -> Sequence[Call]:
        """Calls that ended, are not written and not skipped by a rule; otherwise as `to_compare`."""
        ...

    async def differences(
        self, portal: str, *, state: State = State.OPEN, limit: int = 100
    ) -> Sequence[Difference]:
        """The newest first."""
        ...

    async def last_heard(self, portal: str) -> float | None:
        """When the PBX's latest webhook came."""
        ...

    async def outages(self, portal: str) -> Sequence[Outage]:
        """Those that nobody was told the end of, the oldest first."""
        ...

    async def beat(self, name: str, at: float) -> float | None:
        """A sign of life; when the last one before it was."""
        ...

    async def filed(self, portal: str, day: str) -> tuple[str, int] | None:
        """(digest, file id) of the day's ledger on Drive."""
        ...
