"""The command `reconcile`: a period by hand, through the running server or without one.

What it was asked and what it found are plain JSON, so that both ways are one (interface.md «Commands»).
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final
from zoneinfo import ZoneInfo

from bitrix_app.control import CommandRefused, Say
from bitrix_app.core.errors import Trouble
from bitrix_app.core.history import STEP, How, Window
from bitrix_app.core.ledger import Standing
from bitrix_app.core.portal import Portal, PortalState
from bitrix_app.core.ports import Clock
from bitrix_app.core.store import Store
from bitrix_app.ledgers import days_between, ledger_of
from bitrix_app.reconcile import Reconciler, Tally

MOST_DAYS: Final = 366


class BadPeriod(ValueError):
    """The period was typed wrong; the words say what would be right."""


@dataclass(frozen=True, slots=True)
class Wish:
    """What was typed. `first` and `last` are days or moments on the PBX's clock; a day as `last` is whole."""

    first: str
    last: str
    portal: str = ""
    dry_run: bool = False

    def request(self) -> dict[str, Any]:
        return {
            "command": "reconcile",
            "from": self.first,
            "to": self.last,
            "portal": self.portal,
            "dry_run": self.dry_run,
        }


def wish_of(request: Mapping[str, Any]) -> Wish:
    return Wish(
        str(request.get("from", "")),
        str(request.get("to", "")),
        str(request.get("portal", "")),
        bool(request.get("dry_run")),
    )


def check(wish: Wish) -> None:
    """Raises `BadPeriod` before anybody is asked."""
    span(wish, "UTC", dt.datetime.max.replace(tzinfo=dt.UTC).timestamp())


def span(wish: Wish, zone: str, now: float) -> Window:
    """The period as instants, at most until now. Raises `BadPeriod`."""
    first, last = _moment(wish.first, zone, "--from"), _moment(wish.last, zone, "--to", end=True)
    if first > last:
        raise BadPeriod("--from must not be after --to.")
    if last - first > MOST_DAYS * 86_400:
        raise BadPeriod(f"At most {MOST_DAYS} days are compared at once.")
    if first > now:
        raise BadPeriod("The period has not begun yet.")
    return Window(first, min(last, now))


def _moment(text: str, zone: str, name: str, *, end: bool = False) -> float:
    try:
        at = dt.datetime.fromisoformat(text)
    except ValueError:
        raise BadPeriod(f"{name} must be a day (2026-11-20) or a moment (2026-11-20T10:05).") from None
    if not 2000 <= at.year <= 2100:
        raise BadPeriod(f"{name}: the year {at.year} cannot be meant.")
    place = ZoneInfo(zone)
    if end and "T" not in text and " " not in text:
        next_day = dt.datetime.combine(at.date() + dt.timedelta(days=1), dt.time(), place)
        return next_day.timestamp() - 1
    return (at if at.tzinfo else at.replace(tzinfo=place)).timestamp()


class ReconcileCommand:
    """See the module."""

    def __init__(self, store: Store, clock: Clock, reconciler: Reconciler) -> None:
        self._store = store
        self._clock = clock
        self._reconciler = reconciler

    async def run(self, request: Mapping[str, Any], say: Say) -> Mapping[str, Any]:
        """A `control.Handler`: each portal in turn. Raises `CommandRefused` with what to do."""
        wish = wish_of(request)
        portals = await self._portals(wish.portal)
        return {
            "dry_run": wish.dry_run,
            "portals": [await self._portal(portal, wish, say) for portal in portals],
        }

    async def _portals(self, wanted: str) -> Sequence[Portal]:
        living = [p for p in await self._store.portals() if p.state is not PortalState.UNINSTALLED]
        chosen = [
            p for p in living if not wanted or wanted.lower() in (p.member_id.lower(), p.domain.lower())
        ]
        if not chosen:
            known = ", ".join(p.domain for p in living) or "none"
            raise CommandRefused(f"No such portal is installed here. Installed: {known}.")
        with_key = [p for p in chosen if p.unitalk_key]
        if not with_key:
            raise CommandRefused(
                "There is no key of the PBX yet: enter it in the settings of the application."
            )
        return with_key

    async def _portal(self, portal: Portal, wish: Wish, say: Say) -> dict[str, Any]:
        zone = portal.settings.pbx_timezone
        try:
            whole = span(wish, zone, self._clock.now())
        except BadPeriod as bad:
            raise CommandRefused(str(bad)) from bad
        total, since = Tally(), whole.since
        while True:
            until = min(since + STEP, whole.until)

            def progress(tally: Tally, at: float = since) -> None:
                done = (at - whole.since) / max(1.0, whole.until - whole.since)
                say({"portal": portal.domain, "done": done, "rows": total.rows + tally.rows})

            try:
                tally = await self._reconciler.read(
                    portal, Window(since, until), dry_run=wish.dry_run, progress=progress
                )
            except Trouble as trouble:
                raise CommandRefused(
                    f"The PBX of {portal.domain} did not answer: {trouble.message} {trouble.hint} "
                    "What was read until then is kept; ask again later."
                ) from trouble
            total.add(tally)
            if until >= whole.until:
                break
            since = until + 1  # both ends count, and starts are whole seconds
        say({"portal": portal.domain, "done": 1.0, "rows": total.rows})
        return {"portal": portal.domain, **_told(total), "ledger": await self._ledger(portal, whole)}

    async def _ledger(self, portal: Portal, whole: Window) -> list[dict[str, Any]]:
        zone = ZoneInfo(portal.settings.pbx_timezone)
        first, last = (dt.datetime.fromtimestamp(at, zone).date() for at in (whole.since, whole.until))
        lines = []
        for day in days_between(first, last):
            one = await ledger_of(self._store, portal, day)
            counts = {standing.value: one.count(standing) for standing in Standing}
            lines.append({"day": one.day, "total": one.total, **counts, "difference": one.difference})
        return lines


def _told(tally: Tally) -> dict[str, Any]:
    changes = [
        {
            "how": change.how.value,
            "started_at": change.started_at,
            "number": change.number,
            "call_id": change.call_id,
            "adds": list(change.adds),
            "note": change.note,
        }
        for change in tally.changes
    ]
    counts = {how.value: tally.counts[how] for how in How}
    counts["matched"] += tally.known
    return {"rows": tally.rows, "ignored": tally.ignored, **counts, "changes": changes}
