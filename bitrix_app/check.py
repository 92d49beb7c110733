"""`unitalk-bitrix24 check`: is everything as it must be, and if not, whose turn is it?

Every question is asked even when an earlier one found a fault. Nothing is written, no token is used,
nothing is dialled: it may run beside the server at any time.
"""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from email.utils import parsedate_to_datetime
from typing import Any, Final
from urllib.parse import urlsplit

from bitrix_app.core.addresses import is_loopback_host
from bitrix_app.core.errors import Trouble
from bitrix_app.core.portal import Portal, PortalState, Snapshot
from bitrix_app.core.ports import Clock, Http, HttpRequest
from bitrix_app.settings import Settings
from storage.looking import Looked
from unitalk.client import UnitalkClient
from unitalk.probe import structure

PATIENCE: Final = 10.0
FREE_BYTES: Final = 200 * 1024 * 1024
SKEW: Final = 60.0
"""Seconds by which this machine's clock may differ from the vendors'."""
RECORDINGS_PORT: Final = 8443
TIMEZONE: Final = "timezone_check"
DRIFT: Final = "drift"
EVENTS: Final = "pbx_events"
KINDS: Final = (TIMEZONE, DRIFT, EVENTS)
"""Snapshots that `check` reads."""

OUTWARD: Final = "Check the network: names must resolve, and connections to port {port} must be let out."
_STATES: Final[Mapping[PortalState, tuple[str, str]]] = {
    PortalState.INSTALLING: (
        "the installation was not finished",
        "Open the application in Bitrix24 as an administrator.",
    ),
    PortalState.NEEDS_REAUTH: (
        "all access was withdrawn, its work waits",
        "Open the application in Bitrix24 as an administrator.",
    ),
    PortalState.SUSPENDED: (
        "the portal is paused",
        "Renew the plan of Bitrix24 or the trial of the application.",
    ),
}


@dataclass(frozen=True, slots=True)
class Line:
    """One answer. A `mend` makes it a fault."""

    about: str
    said: str
    mend: str = ""

    @property
    def ok(self) -> bool:
        return not self.mend

    def __str__(self) -> str:
        told = f"{'ok   ' if self.ok else 'FAULT'} {self.about}: {self.said}"
        return told if self.ok else f"{told} → {self.mend}"


@dataclass(slots=True)
class Report:
    lines: list[Line] = field(default_factory=list)
    structures: dict[str, Any] = field(default_factory=dict)
    """Portal's domain → the structure of the PBX's answers and of its events, values masked."""

    @property
    def ok(self) -> bool:
        return all(line.ok for line in self.lines)

    def note(self, about: str, said: str, mend: str = "") -> None:
        self.lines.append(Line(about, said, mend))


class Check:
    """See the module. `wanted` is a member_id or domain, empty for the only portal."""

    def __init__(self, settings: Settings, http: Http, clock: Clock, pbx: UnitalkClient) -> None:
        self._settings = settings
        self._http = http
        self._clock = clock
        self._pbx = pbx
        self._skews: list[float] = []
        self._report = Report()

    async def run(self, looked: Looked | str, wanted: str = "") -> Report:
        """`looked` is the database, or why it cannot be read, in words."""
        note = self._report.note
        note("settings", "complete and valid")
        if self._settings.idle:
            note("settings", f"not used by this version yet: {', '.join(self._settings.idle)}")
        if self._settings.allow_loopback:
            note("settings", "ALLOW_LOOPBACK is on: for tests and the demo only")
        if isinstance(looked, str):
            said, has_mend, mend = looked.rpartition("; ")  # refusals of the store say both
            mend = f"{mend[:1].upper()}{mend[1:]}." if has_mend else "Correct DATABASE_URL."
            note("database", said or looked, mend)
        else:
            self._database(looked)
        for server in self._settings.bitrix_auth_servers:
            await self._reach("Bitrix24 authorization", server)
        await self._reach("Unitalk", self._settings.unitalk_api_url)
        host = urlsplit(self._settings.unitalk_api_url).hostname or ""
        if host and not is_loopback_host(host):
            await self._reach("Unitalk recordings", f"https://{host}:{RECORDINGS_PORT}/")
        if not isinstance(looked, str) and looked.schema in (0, looked.wanted):
            for portal in self._chosen(looked.portals, wanted):
                await self._portal(portal, looked.snapshots)
        self._own_clock()
        return self._report

    def _database(self, looked: Looked) -> None:
        note = self._report.note
        if not looked.exists:
            note("database", f"{looked.path} does not exist yet; serve makes it")
        elif looked.schema < looked.wanted:
            note(
                "database",
                f"its schema is {looked.schema}, this program works with {looked.wanted}",
                "Stop the server, then run: unitalk-bitrix24 migrate",
            )
        else:
            holder = f"open in process {looked.server}" if looked.server else "no server is running"
            note("database", f"{looked.path} is readable and whole, schema {looked.schema}; {holder}")
        if looked.free_bytes < FREE_BYTES:
            note(
                "database",
                f"only {looked.free_bytes // 1_048_576} MiB are free on its disk",
                "Free some space: a full disk stops the intake of calls.",
            )

    def _chosen(self, portals: Sequence[Portal], wanted: str) -> list[Portal]:
        note = self._report.note
        living = [p for p in portals if p.state is not PortalState.UNINSTALLED]
        names = ", ".join(p.domain for p in living) or "none"
        if wanted:
            found = [p for p in living if wanted.lower() in (p.member_id.lower(), p.domain.lower())]
            if not found:
                note("portal", f"{wanted} is not installed", f"Use one of: {names}.")
            return found
        if not living:
            note("portal", "none is installed yet")
        elif len(living) > 1:
            note("portal", f"{len(living)} are installed ({names}); name one with --portal to look closer")
        return living if len(living) == 1 else []

    async def _portal(self, portal: Portal, snapshots: Mapping[tuple[str, str], Snapshot]) -> None:
        note = self._report.note
        about = f"portal {portal.domain}"
        if portal.state in _STATES:
            note(about, *_STATES[portal.state])
        await self._reach(about, portal.client_endpoint)
        drift = snapshots.get((portal.member_id, DRIFT))
        for item in drift.items if drift else ():
            note(f"{about}: news of the PBX", f"{item['finding']} Seen {item['count']} times.")
        self._zone(about, portal, snapshots.get((portal.member_id, TIMEZONE)))
        sent = snapshots.get((portal.member_id, EVENTS))
        events = {item["event"]: item["structure"] for item in (sent.items if sent else ())}
        if events:
            self._report.structures[portal.domain] = {"events": dict(sorted(events.items()))}
        if not portal.unitalk_key:
            note(
                f"{about}: Unitalk",
                "no API key is entered",
                "Make a key on the API page of the Unitalk cabinet and enter it in the settings.",
            )
            return
        told = await structure(self._pbx, portal.unitalk_key, self._clock.now(), portal.settings.pbx_timezone)
        self._report.structures.setdefault(portal.domain, {}).update(told)
        for question, answer in told.items():
            if "trouble" in answer:
                mend = answer["hint"] or "Try again later; if it stays, ask the support of Unitalk."
                note(f"{about}: Unitalk", f"{question}: {answer['message']} ({answer['trouble']})", mend)
            elif "refused" in answer:
                note(f"{about}: Unitalk", f"{question} is not known there: {answer['message']}")
            else:
                note(f"{about}: Unitalk", f"{question} answers")

    def _zone(self, about: str, portal: Portal, found: Snapshot | None) -> None:
        verdict = found.items[0] if found and found.items else {}
        if verdict.get("zone") != portal.settings.pbx_timezone or not verdict.get("hours_off"):
            return
        self._report.note(
            f"{about}: time zone",
            f"the PBX's clock is {abs(verdict['hours_off'])} h away from {verdict['zone']}",
            f"Set the time zone of the PBX to {verdict['proposed'] or 'its own'} in the settings.",
        )

    async def _reach(self, about: str, url: str) -> None:
        """Any answer at all proves that the other side is there; what it says does not matter."""
        parts = urlsplit(url)
        place = f"{parts.scheme}://{parts.netloc}"
        began = self._clock.now()
        try:
            answer = await self._http.send(HttpRequest("GET", url, timeout=PATIENCE))
        except Trouble as trouble:
            port = parts.port or (80 if parts.scheme == "http" else 443)
            self._report.note(
                about, f"{place}: {trouble.message} ({trouble.code})", OUTWARD.format(port=port)
            )
            return
        self._report.note(about, f"{place} answers")
        if (theirs := _date(answer.headers.get("date", ""))) is not None:
            middle = (began + self._clock.now()) / 2
            self._skews.append(middle - theirs)

    def _own_clock(self) -> None:
        if not self._skews:
            self._report.note("clock", "nobody answered with a time to compare with")
            return
        skew = statistics.median(self._skews)
        if abs(skew) <= SKEW:
            self._report.note("clock", "agrees with the vendors' clocks")
            return
        side = "ahead of" if skew > 0 else "behind"
        self._report.note(
            "clock",
            f"this machine's clock is {abs(round(skew))} s {side} the vendors'",
            "Switch on time synchronisation (NTP) on this machine.",
        )


def _date(text: str) -> float | None:
    try:
        return parsedate_to_datetime(text).timestamp()
    except (ValueError, TypeError):
        return None
