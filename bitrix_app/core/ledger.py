"""The daily closing balance: the PBX's calls = written + skipped by rule + waiting + needs a person. Pure.

A call is on the PBX's side when its history has it or webhooks told of it. Whatever fits none of the four
is the difference, and stands there by name.
"""

from __future__ import annotations

import datetime as dt
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final
from zoneinfo import ZoneInfo

from bitrix_app.core.call import Call
from bitrix_app.core.comparison import Difference
from bitrix_app.core.dial import DialState
from bitrix_app.core.history import How, SeenRow
from bitrix_app.core.jobs import JobError, JobState


class Standing(StrEnum):
    """Where one call of the PBX stands."""

    WRITTEN = "written"
    SKIPPED = "skipped"
    WAITING = "waiting"
    NEEDS_PERSON = "needs_person"
    UNEXPLAINED = "unexplained"


class Source(StrEnum):
    """Who told of the call."""

    BOTH = "both"
    HISTORY = "history"
    WEBHOOK = "webhook"


@dataclass(frozen=True, slots=True)
class Step:
    """How a job that writes the call stands (register, finish)."""

    kind: str
    state: JobState
    due_at: float
    error: JobError | None = None


@dataclass(frozen=True, slots=True)
class Material:
    """What the store has of a day: history rows by start; calls by id, those of the rows among them;
    the calls' unfinished writing steps; open differences by call.
    """

    rows: Sequence[SeenRow]
    calls: Mapping[str, Call]
    steps: Mapping[str, Sequence[Step]]
    differences: Mapping[str, Sequence[Difference]]


@dataclass(frozen=True, slots=True)
class Entry:
    """One call of the PBX in the ledger. `started_at` is unix seconds; `who` must act, if anybody."""

    started_at: float
    source: Source
    standing: Standing
    number: str | None = None
    line: str | None = None
    direction: str | None = None
    outcome: str | None = None
    talk_seconds: int | None = None
    pbx_dbid: str | None = None
    call_id: str | None = None
    bitrix_call_id: str | None = None
    recovered: bool = False
    """Whether the history told what webhooks had not."""
    code: str = ""
    reason: str = ""
    hint: str = ""
    who: str = ""
    next_at: float | None = None


@dataclass(frozen=True, slots=True)
class Balance:
    """One day in the PBX's zone. `read_whole` says that the history was read beyond the day's last call."""

    day: str
    zone: str
    entries: tuple[Entry, ...]
    read_whole: bool

    def count(self, standing: Standing) -> int:
        return sum(1 for entry in self.entries if entry.standing is standing)

    @property
    def total(self) -> int:
        return len(self.entries)

    @property
    def history(self) -> int:
        return sum(1 for entry in self.entries if entry.source is not Source.WEBHOOK)

    @property
    def webhook_only(self) -> tuple[Entry, ...]:
        return tuple(entry for entry in self.entries if entry.source is Source.WEBHOOK)

    @property
    def recovered(self) -> int:
        return sum(1 for entry in self.entries if entry.recovered)

    @property
    def difference(self) -> int:
        """Calls of the PBX beyond those that are written, skipped, waiting or somebody's to look at."""
        accounted = (Standing.WRITTEN, Standing.SKIPPED, Standing.WAITING, Standing.NEEDS_PERSON)
        return self.total - sum(self.count(standing) for standing in accounted)


def day_bounds(day: dt.date, zone: str) -> tuple[float, float]:
    """The day's first instant and the next day's (unix seconds); 23 to 25 hours."""
    place = ZoneInfo(zone)
    first = dt.datetime.combine(day, dt.time(), place)
    after = dt.datetime.combine(day + dt.timedelta(days=1), dt.time(), place)
    return first.timestamp(), after.timestamp()


def balance(day: dt.date, zone: str, material: Material, covered_until: float | None) -> Balance:
    """The day's ledger. `covered_until` is how far the history was read whole."""
    first, after = day_bounds(day, zone)
    entries = list(entries_of(material.rows, material))
    told = {row.call_id for row in material.rows if row.call_id}
    for call in material.calls.values():
        if call.id not in told and first <= call.start < after and of_pbx(call):
            entries.append(_of_call(call, material, Source.WEBHOOK))
    entries.sort(key=lambda entry: (entry.started_at, entry.call_id or "", entry.pbx_dbid or ""))
    read_whole = covered_until is not None and covered_until >= after + LONGEST
    return Balance(day.isoformat(), zone, tuple(entries), read_whole)


def entries_of(rows: Iterable[SeenRow], material: Material) -> Sequence[Entry]:
    """The ledger's entries of these rows of the history."""
    return [_of_row(row, material, again) for row, again in _counted(rows)]


LONGEST: Final = 3 * 3600.0
"""Seconds after midnight by which the day's last call has ended (unitalk.md §4.4)."""


def of_pbx(call: Call) -> bool:
    """Whether the PBX had this call at all: a start that never rang, or a second press, is none."""
    if call.pbx_id or call.pbx_dbid or call.dial is None:
        return True
    return call.dial.state is DialState.RANG


def _counted(rows: Iterable[SeenRow]) -> list[tuple[SeenRow, bool]]:
    """Rows, and whether an earlier one is the same call of ours already."""
    seen: Counter[str] = Counter()
    found: list[tuple[SeenRow, bool]] = []
    for row in sorted(rows, key=lambda row: (row.started_at, row.key)):
        if row.call_id:
            seen[row.call_id] += 1
        found.append((row, row.call_id is not None and seen[row.call_id] > 1))
    return found


def _of_row(row: SeenRow, material: Material, again: bool) -> Entry:
    call = material.calls.get(row.call_id or "")
    if call is not None and not again:
        source = Source.HISTORY if row.how is How.CREATED else Source.BOTH
        return _of_call(call, material, source, row)
    standing, code, note, who = _rowless(row, again)
    return Entry(
        started_at=row.started_at,
        source=Source.HISTORY,
        standing=standing,
        number=row.number,
        line=row.line,
        direction=row.direction,
        outcome=row.outcome,
        talk_seconds=row.talk_seconds,
        pbx_dbid=row.key.removeprefix("dbid:") if row.key.startswith("dbid:") else None,
        call_id=row.call_id,
        code=code,
        reason=note,
        who=who,
    )


def _rowless(row: SeenRow, again: bool) -> tuple[Standing, str, str, str]:
    """Why a row is no call of ours (yet): standing, code, words, who must act."""
    if again:
        note = "Two rows of the PBX's history were found to be one call of ours."
        return Standing.UNEXPLAINED, "SAME_CALL_TWICE", note, "manager"
    if row.how is How.WAITING:
        note = (
            "It ended a short while ago; its events may still come. Otherwise it is taken from the history."
        )
        return Standing.WAITING, "JUST_ENDED", note, "nobody"
    if row.how is How.FAILED:
        note = "This row of the history could not be taken in. It is kept in the raw events with its cause."
        return Standing.NEEDS_PERSON, "ROW_FAILED", note, "admin"
    note = "The call that this row was written as is no longer there: it was erased."
    return Standing.UNEXPLAINED, "CALL_GONE", note, "manager"


def _of_call(call: Call, material: Material, source: Source, row: SeenRow | None = None) -> Entry:
    standing, code, reason, hint, who, next_at = _standing(
        call, material.steps.get(call.id, ()), material.differences.get(call.id, ())
    )
    return Entry(
        started_at=row.started_at if row else call.start,
        source=source,
        standing=standing,
        number=call.number or call.raw_number,
        line=call.line,
        direction=call.direction.value if call.direction else None,
        outcome=call.outcome.value if call.outcome else None,
        talk_seconds=call.talk_seconds,
        pbx_dbid=call.pbx_dbid,
        call_id=call.id,
        bitrix_call_id=call.bitrix_call_id,
        recovered=row is not None and row.how in (How.FILLED, How.CREATED),
        code=code,
        reason=reason,
        hint=hint,
        who=who,
        next_at=next_at,
    )


_Stands = tuple[Standing, str, str, str, str, float | None]


def _standing(call: Call, steps: Sequence[Step], differences: Sequence[Difference]) -> _Stands:
    """Where a call stands: standing, code, reason, hint, who, when it goes on."""
    if call.skipped:
        return Standing.SKIPPED, "RULE", call.skipped, "", "", None
    for found in differences:
        if found.unwritten:
            code = f"BITRIX24_{found.kind.upper()}"
            return Standing.NEEDS_PERSON, code, found.message, found.hint, found.who, None
    if call.finished:
        return Standing.WRITTEN, "", "", "", "", None
    if call.is_live:
        note = "The call goes on, or its end was not reported yet."
        return Standing.WAITING, "GOES_ON", note, "", "nobody", None
    for step in steps:
        if step.state is JobState.ATTENTION and step.error is not None:
            error = step.error
            return Standing.NEEDS_PERSON, error.code, error.message, error.hint, error.who, None
    for step in steps:
        if step.state is JobState.CANCELLED:
            return _cancelled(step)
    for step in steps:
        if step.state is not JobState.DONE:
            note = "It waits for its turn to be written."
            reason = step.error.message if step.error else note
            code = step.error.code if step.error else "IN_QUEUE"
            return Standing.WAITING, code, reason, "", "nobody", step.due_at
    note = "The call ended and was not written, and nothing is going to write it."
    return Standing.UNEXPLAINED, "NOTHING_OWED", note, "", "manager", None


def _cancelled(step: Step) -> _Stands:
    """A writing step that was stopped: by an uninstallation it comes back, by a person it does not."""
    if step.error is not None and step.error.code == "STOPPED":
        note = "The application was uninstalled before the call was written."
        hint = "Install it again: what it still owes is then written."
        return Standing.NEEDS_PERSON, "STOPPED", note, hint, "admin", None
    note = "It was cancelled."
    return Standing.SKIPPED, "CANCELLED", step.error.message if step.error else note, "", "", None
