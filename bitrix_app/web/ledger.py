"""The ledger's page: closing balances per day as HTML, JSON and CSV (interface.md «Addresses»).

It names other people's calls, so it is for administrators and the managers chosen in the settings.
"""

from __future__ import annotations

import datetime as dt
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from bitrix_app.core.chores import RECONCILED
from bitrix_app.core.comparison import Difference
from bitrix_app.core.ledger import Balance, Entry, Standing
from bitrix_app.ledgers import MOST_DAYS, as_csv, days_between, ledger_of, today
from bitrix_app.logs import redact_secrets
from bitrix_app.web.deps import WebDeps
from bitrix_app.web.pages import iso, render, wants_html
from bitrix_app.web.problems import Problem
from bitrix_app.web.session import Visit, visit
from bitrix_app.web.shell import shell
from bitrix_app.words import Words

WEEK = 7
CSV = "text/csv"


class LedgerPage:
    """See the module."""

    def __init__(self, deps: WebDeps) -> None:
        self._deps = deps

    async def show(self, request: Request) -> Response:
        """`GET /ledger?from=&to=`: days of the PBX's zone, both inclusive; the last week without them."""
        seen = await visit(request, self._deps)
        if not seen.session.is_admin and seen.session.user_id not in seen.portal.settings.managers:
            raise Problem.forbidden("The ledger is for administrators and managers.", "managers_only")
        first, last = _period(request, today(seen.portal, self._deps.clock.now()))
        balances = [await ledger_of(self._deps.store, seen.portal, day) for day in days_between(first, last)]
        words = Words(seen.session.language)
        if _wants_csv(request):
            name = f"ledger_{first.isoformat()}_{last.isoformat()}.csv"
            headers = {"Content-Disposition": f'attachment; filename="{name}"', "Vary": "Accept"}
            return Response(
                as_csv(balances, words).encode("utf-8-sig"), 200, headers, f"{CSV}; charset=utf-8"
            )
        balances.reverse()  # people look at the newest day first
        differences = [
            difference_json(one, words) for one in await self._deps.store.differences(seen.portal.member_id)
        ]
        answer = {
            "items": [balance_json(one, words) for one in balances],
            "next": None,
            "counts": _sum(balances),
            "differences": differences,
            "history": await self._reading(seen, words),
        }
        if wants_html(request):
            period = {"first": first.isoformat(), "last": last.isoformat()}
            return render("ledger.html", shell(self._deps, seen, "ledger") | answer | period)
        return JSONResponse(answer, headers={"Vary": "Accept"})

    async def _reading(self, seen: Visit, words: Words) -> dict[str, Any]:
        """How far the PBX's history was read, and why not further."""
        mark = await self._deps.store.snapshot(seen.portal.member_id, RECONCILED)
        item = mark.items[0] if mark and mark.items else {}
        trouble = item.get("trouble")
        return {
            "covered_until": iso(item.get("covered_until")),
            "read_at": iso(mark.taken_at) if mark else None,
            "trouble": {
                "code": trouble.get("code", ""),
                "message": words.retell(redact_secrets(str(trouble.get("message", "")))),
                "hint": words.retell(str(trouble.get("hint", ""))),
            }
            if trouble
            else None,
        }


def balance_json(one: Balance, words: Words) -> dict[str, Any]:
    """A day's closing balance. `calls` are those that are not simply written, each with its reason."""
    return {
        "day": one.day,
        "zone": one.zone,
        "total": one.total,
        "history": one.history,
        "written": one.count(Standing.WRITTEN),
        "skipped": one.count(Standing.SKIPPED),
        "waiting": one.count(Standing.WAITING),
        "needs_person": one.count(Standing.NEEDS_PERSON),
        "difference": one.difference,
        "recovered": one.recovered,
        "read_whole": one.read_whole,
        "webhook_only": [entry_json(entry, words) for entry in one.webhook_only],
        "calls": [
            entry_json(entry, words) for entry in one.entries if entry.standing is not Standing.WRITTEN
        ],
    }


def entry_json(entry: Entry, words: Words) -> dict[str, Any]:
    return {
        "started_at": iso(entry.started_at),
        "number": entry.number,
        "line": entry.line,
        "direction": entry.direction,
        "outcome": entry.outcome,
        "talk_seconds": entry.talk_seconds,
        "source": entry.source.value,
        "recovered": entry.recovered,
        "standing": entry.standing.value,
        "code": entry.code,
        "reason": words.retell(redact_secrets(entry.reason)),
        "hint": words.retell(entry.hint),
        "who": entry.who,
        "next_at": iso(entry.next_at),
        "pbx_dbid": entry.pbx_dbid,
        "call_id": entry.call_id,
        "bitrix_call_id": entry.bitrix_call_id,
    }


def difference_json(one: Difference, words: Words) -> dict[str, Any]:
    return {
        "call_id": one.call_id,
        "kind": one.kind.value,
        "state": one.state.value,
        "message": words.retell(one.message),
        "hint": words.retell(one.hint),
        "who": one.who,
        "found_at": iso(one.found_at),
    }


def _sum(balances: list[Balance]) -> dict[str, int]:
    counts = {standing.value: sum(b.count(standing) for b in balances) for standing in Standing}
    counts["difference"] = counts.pop(Standing.UNEXPLAINED.value)
    return {"total": sum(b.total for b in balances), **counts}


def _period(request: Request, now: dt.date) -> tuple[dt.date, dt.date]:
    """Raises 400 with what would be right."""
    last = _day(request.query_params.get("to"), now, "to")
    first = _day(request.query_params.get("from"), last - dt.timedelta(days=WEEK - 1), "from")
    if not first <= last or (last - first).days >= MOST_DAYS:
        raise Problem.malformed(f"from must not be after to, and at most {MOST_DAYS} days are told at once.")
    return first, last


def _day(text: str | None, otherwise: dt.date, name: str) -> dt.date:
    if not text:
        return otherwise
    try:
        day = dt.date.fromisoformat(text)
    except ValueError:
        day = dt.date.min
    if not 2000 <= day.year <= 2100:
        raise Problem.malformed(f"{name} must be a day like 2026-11-20.")
    return day


def _wants_csv(request: Request) -> bool:
    """A spreadsheet was asked for before anything else."""
    first = request.headers.get("accept", "").split(",")[0].split(";")[0].strip().lower()
    return first == CSV
