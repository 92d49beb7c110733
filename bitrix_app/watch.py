"""Watches what the PBX sends for what nobody told us: new fields, events, states; a wrong time zone.

Never in a webhook's way: `saw` only puts the event into a short queue, all looking happens about once
a second beside the work. What is counted lives in memory and is written at most once a minute; a
finding is written at once, together with the notice that it causes.

Beside the news it keeps the real structure of each sort of event and how recordings came, values masked:
the contract leaves both open (unitalk.md §6), and an administrator can read them in the settings.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Final

from loguru import logger

from bitrix_app.core.advance import Owed
from bitrix_app.core.events import Step
from bitrix_app.core.portal import Portal, PortalState, Snapshot
from bitrix_app.core.ports import Clock
from bitrix_app.core.store import Store, StoreUnavailable, Unit
from bitrix_app.core.zone_check import RECENT, hours_off, proposed
from bitrix_app.findings import NOTICES_LANE, notice_of_finding, notice_of_more, notice_of_zone, sentence
from unitalk.drift import Finding, Presence, look, sort_of
from unitalk.events import Readable, ReadEvent
from unitalk.recordings import Fetched
from unitalk.structure import merged, shape
from unitalk.zones import offsets

EVERY: Final = 1.0
WRITE_EVERY: Final = 60.0
"""Seconds between two writes that only bring counts up to date."""
QUEUE: Final = 256
"""Events that wait to be looked at; of a flood only a part is looked at, which is enough."""
MOST_FINDINGS: Final = 50
"""Findings kept per portal: a stranger with the address must not fill the store."""
MOST_SORTS: Final = 80
SAMPLED: Final = 20
"""Events of a sort whose structure is looked at, the first ones; what is new later is a finding."""
MOST_NOTICES: Final = 5
"""Notices of one moment; more are told in one sentence."""

DRIFT: Final = "drift"
MEMORY: Final = "drift_memory"
TIMEZONE: Final = "timezone_check"
EVENTS: Final = "pbx_events"
RECORDINGS: Final = "recording, when it was fetched"
_DELAYS: Final = ((60.0, "within a minute"), (600.0, "within ten minutes"), (3600.0, "within an hour"))
Item = dict[str, Any]


@dataclass(slots=True)
class _Portal:
    """What is remembered of one portal. `fresh` are keys of findings that nobody was told of yet."""

    member_id: str
    zone: str
    fields: dict[str, Presence] = field(default_factory=dict)
    samples: dict[str, Item] = field(default_factory=dict)
    """Sort of event → how many were looked at, and their structure."""
    differences: list[tuple[str, float]] = field(default_factory=list)
    """(call, seconds) of the last closing events: arrival against the call's end as we read it."""
    findings: dict[str, Item] = field(default_factory=dict)
    fresh: list[str] = field(default_factory=list)
    verdict: Item = field(default_factory=dict)
    changed: bool = False
    judged_anew: bool = False
    written_at: float = float("-inf")


class Watch:
    """See the module. `nudge` tells the worker that a notice is owed."""

    def __init__(self, store: Store, clock: Clock, nudge: Callable[[str], None]) -> None:
        self._store = store
        self._clock = clock
        self._nudge = nudge
        self._queue: list[tuple[Portal, ReadEvent, float]] = []
        self._fetched: list[tuple[Portal, Fetched, float | None]] = []
        self._known: dict[str, _Portal] = {}

    def saw(self, portal: Portal, event: ReadEvent, now: float) -> None:
        """A new event of the PBX that is durable already; `now` is its arrival."""
        if len(self._queue) < QUEUE:
            self._queue.append((portal, event, now))

    def fetched(self, portal: Portal, recording: Fetched, seconds: float | None) -> None:
        """A recording came `seconds` after its call's end; `None` where nobody knows."""
        if len(self._fetched) < QUEUE:
            self._fetched.append((portal, recording, seconds))

    def forget(self, member_id: str) -> None:
        """The portal went away or was installed anew."""
        self._known.pop(member_id, None)

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            await self._clock.sleep(EVERY)
            try:
                await self.turn()
            except StoreUnavailable as away:
                logger.warning("the watch waits: {}", away.reason)
            except Exception:  # noqa: BLE001 - watching must not end with one odd event
                logger.opt(exception=True).error("the watch over the PBX's events failed")

    async def turn(self, *, last: bool = False) -> None:
        """Look at what came, write what is due; with `last` write everything that changed."""
        queue, self._queue = self._queue, []
        for portal, event, at in queue:
            known = await self._of(portal)
            self._look(known, event, at)
        came, self._fetched = self._fetched, []
        for portal, recording, seconds in came:
            self._sample(await self._of(portal), RECORDINGS, partial(_came, recording, seconds))
        for known in list(self._known.values()):
            due = last or self._clock.now() - known.written_at >= WRITE_EVERY
            if known.fresh or known.judged_anew or (known.changed and due):
                await self._write(known)

    async def _of(self, portal: Portal) -> _Portal:
        zone = portal.settings.pbx_timezone
        known = self._known.get(portal.member_id)
        if known is None:
            known = await self._remembered(portal.member_id, zone)
            self._known[portal.member_id] = known
        if known.zone != zone:  # what the old zone made wrong says nothing of the new one
            known.zone, known.differences, known.changed = zone, [], True
        return known

    async def _remembered(self, member_id: str, zone: str) -> _Portal:
        kinds = (DRIFT, MEMORY, TIMEZONE, EVENTS)
        drift, memory, verdict, samples = [await self._store.snapshot(member_id, kind) for kind in kinds]
        known = _Portal(member_id, zone)
        known.findings = {str(item["key"]): dict(item) for item in (drift.items if drift else ())}
        known.samples = {str(item["event"]): dict(item) for item in (samples.items if samples else ())}
        known.verdict = dict(verdict.items[0]) if verdict and verdict.items else {}
        if memory and memory.items:
            kept = memory.items[0]
            known.fields = dict(kept.get("fields", {}))
            known.zone = str(kept.get("zone", zone))
            known.differences = [(str(call), float(gap)) for call, gap in kept.get("differences", ())]
        return known

    # --- looking -----------------------------------------------------------------------------------

    def _look(self, known: _Portal, event: ReadEvent, at: float) -> None:
        sort = sort_of(event)
        before = known.fields.get(sort, {})
        found, after = look(event, before)
        if after != before and (sort in known.fields or len(known.fields) < MOST_SORTS):
            known.fields[sort] = after
            known.changed = True
        for finding in found:
            self._note(known, finding, at)
        self._sample(known, sort, partial(shape, event.fields))
        if isinstance(event, Readable):
            self._time(known, event, at)

    def _sample(self, known: _Portal, sort: str, told: Callable[[], Any]) -> None:
        item = known.samples.get(sort)
        count = item["seen"] if item else 0
        if count >= SAMPLED or (item is None and len(known.samples) >= MOST_SORTS):
            return
        structure = merged(item["structure"], told()) if item else told()
        known.samples[sort] = {"event": sort, "seen": count + 1, "structure": structure}
        known.changed = True

    def _note(self, known: _Portal, finding: Finding, at: float) -> None:
        item = known.findings.get(finding.key)
        if item is not None:
            item["count"] += 1
            item["last_seen"] = at
            known.changed = True
        elif len(known.findings) < MOST_FINDINGS:
            known.findings[finding.key] = {
                "key": finding.key,
                "kind": str(finding.kind),
                "name": finding.name,
                "event": finding.event,
                "finding": sentence(finding.kind, finding.name, finding.event),
                "first_seen": at,
                "last_seen": at,
                "count": 1,
                "sample": finding.sample,
            }
            known.fresh.append(finding.key)

    def _time(self, known: _Portal, event: Readable, at: float) -> None:
        facts = event.report.facts
        call = facts.pbx_dbid or facts.pbx_id
        if event.report.step is not Step.ENDED or call is None:
            return
        if facts.started_at is None or facts.full_seconds is None:
            return
        if any(call == earlier for earlier, _ in known.differences):
            return  # a dialer's call may end twice, by its own event and by the plain one
        gap = round(at - facts.started_at - facts.full_seconds)
        known.differences = [*known.differences, (call, float(gap))][-RECENT:]
        known.changed = True
        self._judge(known, at)

    def _judge(self, known: _Portal, at: float) -> None:
        hours = hours_off([gap for _, gap in known.differences])
        if hours is None or (known.verdict.get("zone"), known.verdict.get("hours_off")) == (
            known.zone,
            hours,
        ):
            return
        known.verdict = {
            "zone": known.zone,
            "hours_off": hours,
            "proposed": proposed(offsets(known.zone, at), known.zone, hours) if hours else None,
            "calls": len(known.differences),
            "checked_at": at,
        }
        known.judged_anew = True

    # --- writing -----------------------------------------------------------------------------------

    async def _write(self, known: _Portal) -> None:
        now = self._clock.now()
        notices = _notices(known, now)
        memory: Item = {
            "zone": known.zone,
            "fields": {sort: dict(fields) for sort, fields in known.fields.items()},
            "differences": known.differences,
        }
        snapshots = [Snapshot(MEMORY, now, (memory,))]
        if known.findings:
            snapshots.append(Snapshot(DRIFT, now, tuple(dict(item) for item in known.findings.values())))
        if known.samples:
            snapshots.append(Snapshot(EVENTS, now, tuple(dict(item) for item in known.samples.values())))
        if known.verdict:
            snapshots.append(Snapshot(TIMEZONE, now, (dict(known.verdict),)))

        async def work(unit: Unit) -> bool:
            portal = await unit.portal(known.member_id)
            if portal is None or portal.state is PortalState.UNINSTALLED:
                return False  # nothing of ours may come back after an uninstall
            for snapshot in snapshots:
                await unit.save_snapshot(known.member_id, snapshot)
            await unit.owe(known.member_id, NOTICES_LANE, notices, now)
            return True

        if not await self._store.transact(work):
            self.forget(known.member_id)
            return
        for key in known.fresh:
            logger.warning("{}", known.findings[key]["finding"])
        known.fresh, known.judged_anew, known.changed = [], False, False
        known.written_at = now
        if notices:
            self._nudge(known.member_id)


def _came(recording: Fetched, seconds: float | None) -> dict[str, str]:
    """How a recording came (unitalk.md §3.6): words of ours, nothing of the call."""
    slow = next((words for most, words in _DELAYS if seconds is not None and seconds <= most), "later")
    return {
        "media": recording.media,
        "key": "asked for" if recording.with_key else "not asked for",
        "after_the_end": "nobody knows" if seconds is None else slow,
    }


def _notices(known: _Portal, now: float) -> list[Owed]:
    owed = [notice_of_finding(known.findings[key]) for key in known.fresh[:MOST_NOTICES]]
    if (more := len(known.fresh) - MOST_NOTICES) > 0:
        owed.append(notice_of_more(more, now))
    verdict: Mapping[str, Any] = known.verdict
    if known.judged_anew and verdict["hours_off"]:
        owed.append(
            notice_of_zone(verdict["zone"], verdict["hours_off"], verdict["proposed"], verdict["calls"])
        )
    return owed
