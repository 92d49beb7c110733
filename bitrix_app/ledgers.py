"""The ledger of days: made from the store, written as CSV. What a day's ledger is, `core.ledger` says."""

from __future__ import annotations

import csv
import datetime as dt
import io
from collections.abc import Iterable
from typing import Final
from zoneinfo import ZoneInfo

from bitrix_app.core.chores import RECONCILED
from bitrix_app.core.ledger import Balance, Entry, balance, day_bounds
from bitrix_app.core.portal import Portal
from bitrix_app.core.store import Store
from bitrix_app.logs import redact_secrets
from bitrix_app.words import Words

MOST_DAYS: Final = 62
"""Days of one answer: two months."""
COLUMNS: Final = (
    "day",
    "started_at",
    "number",
    "line",
    "direction",
    "outcome",
    "talk_seconds",
    "source",
    "recovered",
    "standing",
    "code",
    "reason",
    "hint",
    "who",
    "pbx_dbid",
    "call_id",
    "bitrix_call_id",
)


async def ledger_of(store: Store, portal: Portal, day: dt.date) -> Balance:
    """One day in the PBX's zone, as it stands now."""
    zone = portal.settings.pbx_timezone
    mark = await store.snapshot(portal.member_id, RECONCILED)
    covered = mark.items[0].get("covered_until") if mark and mark.items else None
    material = await store.ledger_material(portal.member_id, *day_bounds(day, zone))
    return balance(day, zone, material, covered)


def today(portal: Portal, now: float) -> dt.date:
    """The day on the PBX's clock."""
    return dt.datetime.fromtimestamp(now, ZoneInfo(portal.settings.pbx_timezone)).date()


def days_between(first: dt.date, last: dt.date) -> list[dt.date]:
    return [first + dt.timedelta(days=n) for n in range((last - first).days + 1)]


def as_csv(balances: Iterable[Balance], words: Words) -> str:
    """One line per call of the PBX; reasons in the reader's language, times on the PBX's clock."""
    page = io.StringIO(newline="")
    writer = csv.writer(page, lineterminator="\r\n")
    writer.writerow(COLUMNS)
    for one in balances:
        zone = ZoneInfo(one.zone)
        for entry in one.entries:
            writer.writerow([_cell(value) for value in _line(one.day, zone, entry, words)])
    return page.getvalue()


def _line(day: str, zone: ZoneInfo, entry: Entry, words: Words) -> list[object]:
    start = dt.datetime.fromtimestamp(entry.started_at, zone).isoformat(timespec="seconds")
    return [
        day,
        start,
        entry.number,
        entry.line,
        entry.direction,
        entry.outcome,
        entry.talk_seconds,
        entry.source.value,
        "yes" if entry.recovered else "no",
        entry.standing.value,
        entry.code,
        words.retell(redact_secrets(entry.reason)),
        words.retell(entry.hint),
        entry.who,
        entry.pbx_dbid,
        entry.call_id,
        entry.bitrix_call_id,
    ]


def _cell(value: object) -> str:
    """Text that a spreadsheet takes for text: nothing from outside may become a formula."""
    text = "" if value is None else " ".join(str(value).split())
    plain_number = text.removeprefix("+").isdigit()
    return f"'{text}" if text[:1] in ("=", "+", "-", "@") and not plain_number else text
