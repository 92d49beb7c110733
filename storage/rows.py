"""Rows to the core's values and back. Column order is that of the `part`s in the .sql files."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any, Final

from bitrix_app.core import call as calls
from bitrix_app.core import commands, record_memory, repair
from bitrix_app.core.advance import Owed
from bitrix_app.core.call import Call
from bitrix_app.core.jobs import Attempt, Job, JobError, JobState
from bitrix_app.core.portal import Snapshot
from bitrix_app.core.record_memory import Past
from bitrix_app.core.repair import Repair
from bitrix_app.core.store import Receipt, ReceiptState, VendorRequest

Row = tuple[Any, ...]

encode: Final = json.JSONEncoder(separators=(",", ":")).encode
"""Compact JSON in ASCII: a lone surrogate of a webhook survives as an escape."""
decode: Final = json.JSONDecoder().decode


def clean(text: str) -> str:
    """The same text, or for a lone surrogate (which UTF-8 cannot hold) a question mark."""
    return text if text.isascii() else text.encode("utf-8", "replace").decode("utf-8")


def clean_or_none(text: str | None) -> str | None:
    return None if text is None else clean(text)


def digits(number: str | None) -> str | None:
    """Only the digits; `None` when there are none."""
    if not number:
        return None
    plain = number[1:] if number[0] == "+" else number
    if not (plain.isascii() and plain.isdigit()):
        plain = "".join(c for c in plain if c in "0123456789")
    return plain or None


def call_row(call: Call, now: float) -> Row:
    return (
        call.portal,
        call.id,
        clean_or_none(call.pbx_id),
        clean_or_none(call.pbx_dbid),
        digits(call.number or call.raw_number),
        clean_or_none(call.bitrix_call_id),
        call.phase.value,
        call.start,
        call.first_seen_at,
        now,
        encode(calls.pack(call)),
        clean_or_none(call.unmatched) if call.finished else None,
    )


def call_from(row: Row) -> Call:
    return calls.unpack(decode(row[0]))


def calls_from(rows: Iterable[Row]) -> list[Call]:
    return [call_from(row) for row in rows]


def repair_row(one: Repair) -> Row:
    return one.portal, one.id, one.created_at, encode(repair.pack(one))


def repair_from(row: Row) -> Repair:
    return repair.unpack(decode(row[0]))


def past_row(portal: str, past: Past) -> Row:
    return (portal, past.record, past.call_id, past.ended_at, encode(record_memory.pack(past)))


def past_from(row: Row) -> Past:
    doc, owed = row
    return record_memory.unpack(decode(doc), owed=bool(owed))


def receipt_row(receipt: Receipt) -> Row:
    return (
        receipt.portal,
        receipt.source,
        receipt.digest,
        receipt.body,
        receipt.received_at,
        clean(receipt.content_type),
        clean(receipt.ev),
        receipt.state.value,
        receipt.call_id,
        clean_or_none(receipt.error),
        clean(receipt.correlation_id),
    )


def receipt_from(row: Row) -> Receipt:
    (
        portal,
        source,
        digest,
        body,
        at,
        content_type,
        ev,
        state,
        call_id,
        error,
        correlation_id,
        repeats,
        id_,
    ) = row
    return Receipt(
        portal=portal,
        source=source,
        digest=digest,
        body=body,
        received_at=at,
        content_type=content_type,
        ev=ev,
        state=ReceiptState(state),
        call_id=call_id,
        error=error,
        correlation_id=correlation_id,
        repeats=repeats,
        id=id_,
    )


def job_row(portal: str, lane: str, owed: Owed, now: float, correlation_id: str) -> Row:
    """A new job. With needs it starts blocked; `unblock` then frees it if they are met."""
    command = owed.command
    return (
        portal,
        lane,
        clean(owed.key),
        command.kind,
        encode(commands.pack(command)),
        int(owed.priority),
        command.exclusive,
        "blocked" if owed.needs else "waiting",
        now if owed.not_before is None else max(now, owed.not_before),
        now,
        now,
        encode([clean(need) for need in owed.needs]) if owed.needs else "[]",
        owed.expires_at,
        clean_or_none(owed.mutex),
        clean(correlation_id),
    )


def job_from(row: Row) -> Job:
    (
        id_,
        portal,
        lane,
        key,
        kind,
        data,
        priority,
        state,
        due_at,
        created_at,
        needs,
        attempts,
        doubt,
        doubted_at,
        expires_at,
        mutex,
        error,
        correlation_id,
    ) = row
    return Job(
        id=id_,
        portal=portal,
        lane=lane,
        key=key,
        kind=kind,
        data=decode(data),
        priority=priority,
        state=JobState(state),
        due_at=due_at,
        created_at=created_at,
        needs=() if needs == "[]" else tuple(decode(needs)),
        attempts=attempts,
        doubt=bool(doubt),
        doubted_at=doubted_at,
        expires_at=expires_at,
        mutex=mutex,
        error=error_from(error),
        correlation_id=correlation_id,
    )


def error_text(error: JobError) -> str:
    return encode(
        {
            "code": error.code,
            "category": error.category,
            "message": error.message,
            "hint": error.hint,
            "who": error.who,
        }
    )


def error_from(text: str | None) -> JobError | None:
    return None if text is None else JobError(**decode(text))


def attempt_values(attempt: Attempt) -> Row:
    return (
        attempt.started_at,
        attempt.seconds,
        attempt.result,
        clean(attempt.code),
        attempt.category,
        clean(attempt.message),
        attempt.next_at,
    )


def attempt_from(row: Row) -> Attempt:
    return Attempt(*row)


def request_row(entry: VendorRequest) -> Row:
    return (
        entry.portal,
        entry.platform,
        entry.operation,
        entry.at,
        entry.seconds,
        entry.status,
        clean(entry.code),
        clean(entry.request),
        clean(entry.answer),
        clean(entry.correlation_id),
    )


def request_from(row: Row) -> VendorRequest:
    return VendorRequest(*row)


def snapshot_row(portal: str, snapshot: Snapshot) -> Row:
    return (portal, snapshot.kind, snapshot.taken_at, encode([dict(item) for item in snapshot.items]))


def snapshot_from(kind: str, row: Row) -> Snapshot:
    return Snapshot(kind, row[0], tuple(decode(row[1])))
