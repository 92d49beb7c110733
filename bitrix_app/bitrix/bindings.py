"""Event handlers, placements and lines: what the portal has against what we want.

bitrix24.md §10, §11, §6.7. Installer, update and the nightly check all run `ensure`; repeating it
changes nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Any, Final

from loguru import logger

from bitrix_app.bitrix import statistics
from bitrix_app.bitrix.answers import Answer
from bitrix_app.bitrix.client import BitrixClient
from bitrix_app.bitrix.frames import portal_code
from bitrix_app.bitrix.statistics import Line
from bitrix_app.bitrix.values import as_bool, as_rows, as_text, same_digits
from bitrix_app.bitrix.wire import BATCH_LIMIT, RestCall
from bitrix_app.core.commands import Priority
from bitrix_app.core.errors import Conflict, Forbidden, NotFound, Trouble, Verdict
from bitrix_app.core.portal import Portal
from bitrix_app.words import LANGUAGES, Words, mark

EVENTS: Final = (
    "ONAPPINSTALL",
    "ONAPPUPDATE",
    "ONAPPUNINSTALL",
    "ONAPPPAYMENT",
    "ONVOXIMPLANTCALLINIT",
    "ONEXTERNALCALLSTART",
    "ONEXTERNALCALLBACKSTART",
)
"""Only what we act on: a click-to-call that nobody answers would leave a card open."""
GROUP: Final = "Unitalk"
"""Our name, which is the same in every language."""
ALWAYS: Final = MappingProxyType({"TELEPHONY_ANALYTICS_MENU": mark("Unitalk calls"), "REST_APP_URI": GROUP})
INTO_DIALER: Final = mark("Put into the autodialer")
FOR_DIALERS: Final = tuple(
    f"CRM_{kind}_{place}" for place in ("LIST_MENU", "DETAIL_TOOLBAR") for kind in ("LEAD", "DEAL", "CONTACT")
)
"""Wanted only where an administrator chose a dialer."""
TITLES: Final = MappingProxyType({**ALWAYS, **dict.fromkeys(FOR_DIALERS, INTO_DIALER)})
"""Placements with their titles."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """What should be bound. `lines` are kept, never deleted: an administrator may have chosen one."""

    events_url: str
    app_url: str
    events: tuple[str, ...] = EVENTS
    placements: tuple[str, ...] = tuple(ALWAYS)
    lines: tuple[Line, ...] = ()


def wanted(*, events_url: str, app_url: str, lines: Mapping[str, str], dialers: bool = False) -> Wanted:
    """`lines`: number → name, as LINE_NUMBER says them. `dialers`: some may be used from records."""
    placements = tuple(ALWAYS) + (FOR_DIALERS if dialers else ())
    known = tuple(Line(n, name) for n, name in lines.items())
    return Wanted(events_url, app_url, placements=placements, lines=known)


@dataclass(frozen=True, slots=True)
class Current:
    """What the portal has; `None` for a part that could not be read and is therefore left alone."""

    events: Sequence[Mapping[str, Any]] | None = ()
    placements: Sequence[Mapping[str, Any]] | None = ()
    available: frozenset[str] | None = None
    """Placement codes that this portal knows; `None`: unknown, everything is tried."""
    lines: Sequence[Line] | None = ()


@dataclass(frozen=True, slots=True)
class Report:
    """How it went: `changed` requests took effect (or had before), `refused` are the portal's noes."""

    changed: int = 0
    refused: Mapping[str, Trouble] = field(default_factory=dict)

    def __str__(self) -> str:
        return f"{self.changed} ({len(self.refused)} refused)" if self.refused else str(self.changed)


def plan(current: Current, want: Wanted) -> list[RestCall]:
    """What has to be said, in this order. Our old handlers go; nobody else's can be seen here."""
    return [*_events(current, want), *_placements(current, want), *_lines(current, want)]


def _events(current: Current, want: Wanted) -> list[RestCall]:
    if current.events is None:
        return []
    bound: set[str] = set()
    calls: list[RestCall] = []
    old: list[RestCall] = []
    for row in current.events:
        handler, name = as_text(row.get("handler")), as_text(row.get("event")).upper()
        if as_bool(row.get("offline")) or not handler:
            continue
        auth_type = as_text(row.get("auth_type")) or "0"
        if handler == want.events_url and name in want.events and auth_type == "0" and name not in bound:
            bound.add(name)
        else:
            # a second handler, or the same with another user's token, would tell us everything twice
            params = {"event": name, "handler": handler, "auth_type": auth_type}
            old.append(RestCall("event.unbind", params))
    for name in want.events:
        if name not in bound:
            calls.append(RestCall("event.bind", {"event": name, "handler": want.events_url}))
    return calls + old  # first the new, so that no event falls between


def _placements(current: Current, want: Wanted) -> list[RestCall]:
    if current.placements is None:
        return []
    bound: set[str] = set()
    calls: list[RestCall] = []
    for row in current.placements:
        code, handler = as_text(row.get("placement")), as_text(row.get("handler"))
        if code in want.placements and handler == want.app_url:
            bound.add(code)
        else:
            # first the old ones: some places take one handler per app only
            calls.append(RestCall("placement.unbind", {"PLACEMENT": code, "HANDLER": handler}))
    for code in want.placements:
        if code in bound or (current.available is not None and code not in current.available):
            continue
        title = TITLES.get(code, GROUP)
        params: dict[str, Any] = {
            "PLACEMENT": code,
            "HANDLER": want.app_url,
            "TITLE": title,
            "LANG_ALL": {
                portal_code(language): {"TITLE": Words(language).say(title), "GROUP_NAME": GROUP}
                for language in LANGUAGES
            },
        }
        if code.endswith("_ANALYTICS_MENU"):
            params["GROUP_NAME"] = GROUP
        calls.append(RestCall("placement.bind", params))
    return calls


def _lines(current: Current, want: Wanted) -> list[RestCall]:
    if current.lines is None:
        return []
    calls: list[RestCall] = []
    for line in want.lines:
        known = next((have for have in current.lines if same_digits(have.number, line.number)), None)
        if known is None:
            calls.append(statistics.add_line(replace(line, name=line.name or line.number)))
        elif line.name and line.name != known.name:
            calls.append(statistics.update_line(Line(known.number, line.name, line.crm_create)))
    return calls


READS: Final = MappingProxyType(
    {
        "events": RestCall("event.get", reads=True),
        "placements": RestCall("placement.get", reads=True),
        "available": RestCall("placement.list", reads=True),
        "lines": statistics.lines(),
    }
)


def read_current(answers: Mapping[str, Answer | Trouble]) -> Current:
    def result(key: str) -> Any:
        answer = answers.get(key)
        return answer.result if isinstance(answer, Answer) else None

    def rows(key: str) -> Sequence[Mapping[str, Any]] | None:
        return as_rows(result(key)) if result(key) is not None else None

    line_rows, codes = result("lines"), result("available")
    if isinstance(codes, Mapping):
        codes = list(codes.values())
    return Current(
        events=rows("events"),
        placements=rows("placements"),
        available=frozenset(map(as_text, codes)) if isinstance(codes, list) and codes else None,
        lines=statistics.read_lines(line_rows) if line_rows is not None else None,
    )


async def ensure(client: BitrixClient, portal: Portal, want: Wanted) -> Report:
    """Read, compare, change. «Already there» counts as done, an unknown place or event as refused.

    Raises the first trouble that time can heal, so that the job comes back; `Forbidden` when the
    portal refuses our event handlers, because then an administrator has to act.
    """
    answers = await client.batch(portal, READS, Priority.FINISH)
    for answer in answers.values():
        _raise_transient(answer)
    if isinstance(unread := answers["events"], Trouble):
        raise unread
    calls = plan(read_current(answers), want)
    changed, refused = 0, {k: a for k, a in answers.items() if isinstance(a, Trouble)}
    for start in range(0, len(calls), BATCH_LIMIT):
        part = {f"b{start + i}": call for i, call in enumerate(calls[start : start + BATCH_LIMIT])}
        for key, outcome in (await client.batch(portal, part, Priority.FINISH)).items():
            call = part[key]
            gone = call.method.endswith("unbind") and isinstance(outcome, NotFound)
            if isinstance(outcome, (Answer, Conflict)) or gone:
                changed += 1
                continue
            _raise_transient(outcome)
            if call.method == "event.bind" and isinstance(outcome, Forbidden):
                raise outcome
            name = call.params.get("event") or call.params.get("PLACEMENT") or "line"
            refused[f"{call.method} {name}"] = outcome
            logger.warning("portal {} refuses {} {}: {}", portal.domain, call.method, name, outcome.code)
    return Report(changed, refused)


def _raise_transient(outcome: Answer | Trouble) -> None:
    if isinstance(outcome, Trouble) and outcome.verdict is not Verdict.PERSON:
        raise outcome
