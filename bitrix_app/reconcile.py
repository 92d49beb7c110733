"""The PBX's history against our calls: reads a period and fills what webhooks did not tell.

A row goes the way of a webhook (finding its call, `Desk.move`, a receipt), so it may be read any number of
times: each row changes a call once. Rules: `core.history`; where the answer about a row stands: `SeenRow`.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final

from loguru import logger

from bitrix_app.core.call import Call
from bitrix_app.core.comparison import Kind as DifferenceKind
from bitrix_app.core.comparison import merged, two_ends
from bitrix_app.core.correlate import SAME_START, match_near
from bitrix_app.core.events import Facts, PbxReport
from bitrix_app.core.history import RECOVERED, How, SeenRow, Window, ends_differ, judge
from bitrix_app.core.lifecycle import IllegalMove
from bitrix_app.core.portal import Portal
from bitrix_app.core.ports import Clock
from bitrix_app.core.store import Receipt, ReceiptState, Store, StoreUnavailable, Unit
from bitrix_app.desk import Desk, new_call_id
from bitrix_app.finding import call_for
from bitrix_app.numbers import placed
from unitalk.client import Origin, UnitalkClient
from unitalk.events import UnreadableEvent, read_history_row, wall_instant

SOURCE: Final = "history"
GROUP: Final = 40
"""Rows of one transaction: small enough that intake never waits for it."""
MOST_CHANGES: Final = 200
"""Changes that a report names; the rest is counted."""


@dataclass(frozen=True, slots=True)
class Change:
    """What a row changes, or would change in a dry run."""

    how: How
    started_at: float
    number: str | None
    call_id: str | None
    adds: tuple[str, ...] = ()
    note: str = ""


@dataclass(slots=True)
class Tally:
    """What became of the rows of a period. `missed` are (start, end) of calls that no webhook told of."""

    rows: int = 0
    known: int = 0
    """Rows that an earlier reading had settled, unchanged since."""
    ignored: int = 0
    """Rows of calls that go on, or from before this application was there."""
    counts: Counter[How] = field(default_factory=Counter)
    changes: list[Change] = field(default_factory=list)
    missed: list[tuple[float, float]] = field(default_factory=list)

    def note(self, row: SeenRow) -> None:
        self.counts[row.how] += 1
        if row.how is How.CREATED or (row.how is How.WAITING and row.call_id is None):
            self.missed.append((row.started_at, row.ended_at))
        if row.how in (*RECOVERED, How.FAILED) and len(self.changes) < MOST_CHANGES:
            change = Change(row.how, row.started_at, row.number, row.call_id, row.adds, row.note)
            self.changes.append(change)

    def add(self, other: Tally) -> None:
        self.rows += other.rows
        self.known += other.known
        self.ignored += other.ignored
        self.counts += other.counts
        self.changes = [*self.changes, *other.changes][:MOST_CHANGES]
        self.missed += other.missed


@dataclass(frozen=True, slots=True)
class _Read:
    """A row and what it says; without a report it could not be read, because `note`."""

    key: str
    digest: str
    body: bytes
    started_at: float
    ended_at: float
    report: PbxReport | None
    note: str = ""

    @property
    def facts(self) -> Facts:
        return self.report.facts if self.report else Facts()


class _Undo(Exception):  # not an error: it carries a dry run's findings out of its transaction
    def __init__(self, rows: list[SeenRow | None]) -> None:
        super().__init__()
        self.rows = rows


class Reconciler:
    """See the module. `nudge` tells the worker that a portal has something to do."""

    def __init__(
        self,
        store: Store,
        clock: Clock,
        pbx: UnitalkClient,
        desk: Desk,
        nudge: Callable[[str], None] = lambda _: None,
        make_id: Callable[[float], str] = new_call_id,
    ) -> None:
        self._store = store
        self._clock = clock
        self._pbx = pbx
        self._desk = desk
        self._nudge = nudge
        self._make_id = make_id
        self._live_ids: set[str] = set()
        """Portals whose history was seen to carry the live ids of the webhooks (unitalk.md §4.4)."""

    async def read(
        self,
        portal: Portal,
        window: Window,
        *,
        not_before: float = 0.0,
        dry_run: bool = False,
        progress: Callable[[Tally], None] = lambda _: None,
    ) -> Tally:
        """Compare one period. Rows before `not_before` (unix seconds) make no new calls. With `dry_run`
        nothing is changed. Raises a `Trouble` of the PBX: what was read until then is kept.
        """
        tally, zone = Tally(), portal.settings.pbx_timezone
        origin = Origin(portal.member_id, "reconcile")
        raw: dict[str, dict[str, Any]] = {}
        async for row in self._pbx.history(portal.unitalk_key, window.since, window.until, zone, origin):
            raw[_digest(row)] = row
            tally.rows += 1
            if tally.rows % 100 == 0:
                progress(tally)
        fresh = await self._fresh(portal, raw, tally)
        for loose in (False, True):
            # first whoever has an id in common, so that a call is not given to a stranger's row
            later: list[_Read] = []
            for at in range(0, len(fresh), GROUP):
                group = fresh[at : at + GROUP]
                done = await self._group(portal, group, not_before, loose=loose, dry_run=dry_run)
                for read, seen in zip(group, done, strict=True):
                    if seen is not None:
                        tally.note(seen)
                    elif loose:
                        tally.ignored += 1
                    else:
                        later.append(read)
                progress(tally)
            fresh = later
        if not dry_run and any(tally.counts[how] for how in RECOVERED):
            self._nudge(portal.member_id)
        progress(tally)
        return tally

    async def _fresh(self, portal: Portal, raw: Mapping[str, dict[str, Any]], tally: Tally) -> list[_Read]:
        """Rows that say something else than when they were last seen, or were not settled then. Most of
        a window was settled five minutes ago, so those are told by their digests, before they are read.
        """
        known = await self._store.settled_digests(portal.member_id, list(raw))
        tally.known += len(known)
        zone, country = portal.settings.pbx_timezone, portal.settings.country
        reads: dict[str, _Read] = {}
        for digest, row in raw.items():
            if digest in known:
                continue
            read = _read(row, digest, self._clock.now(), zone, country)
            if read is None:
                tally.ignored += 1
            else:
                reads[read.key] = read
        return sorted(reads.values(), key=lambda read: (read.started_at, read.key))

    async def _group(
        self, portal: Portal, group: Sequence[_Read], not_before: float, *, loose: bool, dry_run: bool
    ) -> list[SeenRow | None]:
        """Some rows in one transaction; when one of them is our own fault's, each in its own."""
        now = self._clock.now()

        async def work(unit: Unit) -> list[SeenRow | None]:
            found: list[SeenRow | None] = []
            for read in group:
                seen = await self._row(unit, portal, read, now, not_before, loose=loose)
                if seen is not None:
                    await unit.save_row(seen)
                found.append(seen)
            if dry_run:
                raise _Undo(found)
            return found

        try:
            return await self._store.transact(work)
        except _Undo as undone:
            return undone.rows
        except StoreUnavailable:
            raise
        except Exception as bug:  # noqa: BLE001 - one row must not keep the others out
            if len(group) > 1:
                return [
                    seen
                    for read in group
                    for seen in await self._group(portal, [read], not_before, loose=loose, dry_run=dry_run)
                ]
            logger.opt(exception=bug).error("a row of the PBX's history is kept unapplied")
            failed = _seen(portal, group[0], How.FAILED, now, note=f"{type(bug).__name__} in our own code")
            return [failed if dry_run else await self._keep_failed(portal, group[0], failed)]

    async def _keep_failed(self, portal: Portal, read: _Read, failed: SeenRow) -> SeenRow:
        async def work(unit: Unit) -> SeenRow:
            await self._receipt(unit, portal, read, ReceiptState.FAILED, failed.note, failed.seen_at)
            await unit.save_row(failed)
            return failed

        return await self._store.transact(work)

    async def _row(
        self, unit: Unit, portal: Portal, read: _Read, now: float, not_before: float, *, loose: bool
    ) -> SeenRow | None:
        """What becomes of one row; `None` for «not now» (first round) or «not ours» (second)."""
        if read.report is None:
            await self._receipt(unit, portal, read, ReceiptState.UNREADABLE, read.note, now)
            return _seen(portal, read, How.FAILED, now, note=read.note)
        call, known = await self._call_of(unit, portal, read, now, loose=loose)
        if not known and (not loose or read.started_at < not_before):
            return None
        how, adds = judge(call if known else None, read.facts, read.ended_at, now)
        if how in RECOVERED and not await self._move(unit, portal, call, read, now):
            how = How.MATCHED  # this very row was taken in before
        if how is How.MATCHED and (differing := ends_differ(call, read.facts)):
            before = {one.kind: one for one in await unit.differences_of(portal.member_id, call.id)}
            if DifferenceKind.ENDS not in before:
                await unit.save_difference(merged(None, two_ends(call, differing), now))
        call_id = call.id if known or how is How.CREATED else None
        return _seen(portal, read, how, now, call_id, adds)

    async def _call_of(
        self, unit: Unit, portal: Portal, read: _Read, now: float, *, loose: bool
    ) -> tuple[Call, bool]:
        """The call that the row is, and whether we know it. The live id may be another number in the
        history (unitalk.md §4.4): unless it was seen to be the same, line, client and date decide too.
        """
        member, facts = portal.member_id, read.facts
        call = await call_for(unit, member, facts, now, self._make_id)
        known = await unit.call(member, call.id) is not None
        if known and facts.pbx_id is not None and facts.pbx_id == call.pbx_id:
            self._live_ids.add(member)
        if known or not loose or facts.started_at is None:
            return call, known
        if facts.pbx_id is not None and member in self._live_ids:
            return call, False
        near = (facts.started_at - SAME_START, facts.started_at + SAME_START)
        free = [
            one
            for one in await unit.calls_starting(member, *near)
            if (row := await unit.row_of(member, one.id)) is None or row.key == read.key
        ]
        other = match_near(replace(facts, pbx_id=None), free)
        return (call, False) if other is None else (other, True)

    async def _move(self, unit: Unit, portal: Portal, call: Call, read: _Read, now: float) -> bool:
        """Hand the row to its call as a webhook is handed over; false when it was before."""
        receipt_id = await self._receipt(unit, portal, read, ReceiptState.APPLIED, None, now)
        if receipt_id is None:
            return False
        assert read.report is not None  # noqa: S101 - narrows for the checker
        state, error = ReceiptState.APPLIED, None
        try:
            await self._desk.move(unit, portal, call, read.report, now, "reconcile")
        except IllegalMove as illegal:
            state, error = ReceiptState.IGNORED, str(illegal)
        await unit.mark_receipt(receipt_id, state, call_id=call.id, error=error)
        return True

    async def _receipt(
        self, unit: Unit, portal: Portal, read: _Read, state: ReceiptState, error: str | None, now: float
    ) -> int | None:
        # a row that failed by our fault is tried again at every reading: its mark must not say «taken in»
        prefix = f"{SOURCE}:{state}" if state is ReceiptState.FAILED else SOURCE
        receipt = Receipt(
            portal=portal.member_id,
            source=SOURCE,
            digest=f"{prefix}:{read.digest}",
            body=read.body,
            received_at=now,
            content_type="application/json",
            ev=SOURCE,
            state=state,
            error=error,
            correlation_id="reconcile",
        )
        return await unit.receive(receipt)


def _digest(row: Mapping[str, Any]) -> str:
    return hashlib.sha256(_body(row)).hexdigest()


def _body(row: Mapping[str, Any]) -> bytes:
    return json.dumps(row, sort_keys=True, separators=(",", ":")).encode("ascii")


def _read(row: Mapping[str, Any], digest: str, now: float, zone: str, country: str) -> _Read | None:
    """The row's meaning; `None` for a call that still goes on."""
    if str(row.get("state") or "").upper() == "DIALING":
        return None
    body = _body(row)
    try:
        report = placed(read_history_row(row, now, zone), country)
    except UnreadableEvent as reason:
        at = wall_instant(str(row.get("date") or ""), now, zone) or now
        return _Read(f"odd:{digest}", digest, body, at, at, None, str(reason))
    facts = report.facts
    start = facts.started_at if facts.started_at is not None else now
    return _Read(_key(facts, digest), digest, body, start, start + (facts.full_seconds or 0), report)


def _key(facts: Facts, digest: str) -> str:
    """What makes a row itself, whatever else in it changes: the lasting id, else what comes next to it."""
    if facts.pbx_dbid:
        return f"dbid:{facts.pbx_dbid}"
    if facts.started_at is None:
        return f"odd:{digest}"
    if facts.pbx_id:
        return f"id:{facts.pbx_id}:{facts.started_at:.0f}"
    return f"client:{facts.number or facts.raw_number}:{facts.line}:{facts.started_at:.0f}"


def _seen(
    portal: Portal,
    read: _Read,
    how: How,
    now: float,
    call_id: str | None = None,
    adds: tuple[str, ...] = (),
    note: str = "",
) -> SeenRow:
    facts = read.facts
    return SeenRow(
        portal=portal.member_id,
        key=read.key,
        digest=read.digest,
        started_at=read.started_at,
        ended_at=read.ended_at,
        how=how,
        call_id=call_id,
        number=facts.number or facts.raw_number,
        line=facts.line,
        direction=facts.direction.value if facts.direction else None,
        outcome=facts.outcome.value if facts.outcome else None,
        full_seconds=facts.full_seconds,
        talk_seconds=facts.talk_seconds,
        adds=adds,
        note=note,
        seen_at=now,
    )
