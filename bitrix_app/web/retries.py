"""The retry list and one entry's story (interface.md `GET /retries`). Agents see their own and nobody's."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import urlencode

import phonenumbers
from starlette.datastructures import QueryParams
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from bitrix_app import vocabulary
from bitrix_app.core.intent import Intent, Kind
from bitrix_app.core.intent_store import IntentFilter
from bitrix_app.core.jobs import JobState
from bitrix_app.numbers import read_number
from bitrix_app.web.call_view import People, people_of
from bitrix_app.web.calls import may_open, read_cursor, read_limit, write_cursor
from bitrix_app.web.deps import WebDeps
from bitrix_app.web.pages import render, wants_html
from bitrix_app.web.problems import Problem
from bitrix_app.web.retry_troubles import (
    KINDS,
    Shown,
    counts_of,
    is_trouble,
    told_of,
    trouble,
    trouble_json,
    troubles,
)
from bitrix_app.web.retry_view import OPEN_STATES, STATES, Reader, deed_json, entry_json, try_json
from bitrix_app.web.session import Visit, visit
from bitrix_app.web.shell import shell
from bitrix_app.web.start_view import may_act
from bitrix_app.words import Words

SCANNED: Final = 500
"""Entries looked at for one page of a search in words; the cursor goes on from there."""
TRIES: Final = 20
"""Calls of an entry that are shown, the newest."""
LONGEST_Q: Final = 100


@dataclass(frozen=True, slots=True)
class Asked:
    """What a visitor wants to see. `state` is one state or `open`; `q` as it was typed."""

    state: str
    states: tuple[JobState, ...]
    kind: str
    wanted: IntentFilter
    q: str
    words: str = ""
    """What an entry's names and texts must hold, casefolded; empty for a search by number."""

    def query(self, **changes: str) -> str:
        """The address's query for this view with something changed."""
        values = {
            "state": self.state,
            "kind": self.kind,
            "q": self.q,
            "agent": str(self.wanted.agent or ""),
        }
        return urlencode({name: value for name, value in (values | changes).items() if value})


class Retries:
    """See the module."""

    def __init__(self, deps: WebDeps) -> None:
        self._deps = deps

    async def list(self, request: Request) -> Response:
        """`GET /retries?state=&kind=&q=&agent=&cursor=&limit=`; without a state all that are open."""
        seen = await visit(request, self._deps)
        asked = read_asked(request.query_params, seen)
        reader = await self.reader(seen)
        limit = read_limit(request.query_params.get("limit"))
        before = read_cursor(request.query_params.get("cursor"))
        entries, after = await self._page(seen, asked, reader.people, limit, before)
        others = await troubles(self._deps.store, seen)
        found, after = merged(entries, after, _wanted(others, asked, reader, before), limit)
        mine = None if seen.manages else seen.session.user_id
        counts = await self._deps.store.intent_counts(seen.portal.member_id, mine)
        more = counts_of(others)
        page: dict[str, Any] = {
            "items": [
                trouble_json(one, reader) if isinstance(one, Shown) else entry_json(one, reader)
                for one in found
            ],
            "next": write_cursor(after) if after is not None else None,
            "counts": {state.value: counts.get(state, 0) + more.get(state, 0) for state in STATES},
        }
        if not wants_html(request):
            return JSONResponse(page)
        values = {"asked": asked, "people": reader.people, "manages": seen.manages} | page
        return render(
            "retries.html", shell(self._deps, seen, "retries") | values | tabs(asked, page["counts"])
        )

    async def one(self, request: Request) -> Response:
        """`GET /retries/{id}`; somebody else's entry is not there."""
        seen = await visit(request, self._deps)
        reader = await self.reader(seen)
        story = await self._story_of(seen, request.path_params["id"], reader)
        if not wants_html(request):
            return JSONResponse(story)
        manages = seen.manages
        agents = sorted(reader.people.extensions, key=lambda user: reader.people.name(user).casefold())
        values = {
            "entry": story,
            "people": reader.people,
            "manages": manages,
            "agents": agents if manages else [user for user in agents if user == seen.session.user_id],
        }
        return render("retry.html", shell(self._deps, seen, "retries") | values)

    async def _story_of(self, seen: Visit, entry_id: str, reader: Reader) -> dict[str, Any]:
        """Raises 404."""
        if is_trouble(entry_id):
            one = await trouble(self._deps.store, seen, entry_id)
            return trouble_json(one, reader) | {"tries": [], "history": []}
        entry = await self._deps.store.intent(seen.portal.member_id, entry_id)
        if entry is None or not may_act(entry, seen):
            raise Problem.not_found()
        return await self.story(entry, reader)

    async def reader(self, seen: Visit) -> Reader:
        """Who reads, with the names of the last good directory."""
        words = Words(seen.session.language)
        snapshot = await self._deps.store.snapshot(seen.portal.member_id, "agents")
        return Reader(seen, people_of(snapshot, words), words, self._deps.clock.now())

    async def story(self, entry: Intent, reader: Reader) -> dict[str, Any]:
        """The entry with its calls (`tries`, the oldest first) and what was done with it (`history`)."""
        calls = [await self._deps.store.call(entry.portal, call_id) for call_id in entry.calls[-TRIES:]]
        return entry_json(entry, reader) | {
            "tries": [
                try_json(call, reader.words) | {"opens": may_open(call, reader.seen, reader.people)}
                for call in calls
                if call is not None
            ],
            "history": [deed_json(deed, reader) for deed in entry.deeds],
        }

    async def _page(
        self, seen: Visit, asked: Asked, people: People, limit: int, before: tuple[float, str] | None
    ) -> tuple[Sequence[Intent], tuple[float, str] | None]:
        """One page and the place to go on from, `None` at the end."""
        found: list[Intent] = []
        scanned = 0
        while scanned < SCANNED:
            batch = await self._newest(seen, asked, limit + 1, before)
            more = len(batch) > limit
            for entry in batch[:limit]:
                scanned += 1
                before = (entry.created_at, entry.id)
                if asked.words and asked.words not in _told(entry, people):
                    continue
                found.append(entry)
                if len(found) == limit:
                    return found, before if more or entry is not batch[-1] else None
            if not more:
                return found, None
        return found, before

    async def _newest(
        self, seen: Visit, asked: Asked, limit: int, before: tuple[float, str] | None
    ) -> Sequence[Intent]:
        """The newest of all wanted states together."""
        member, store = seen.portal.member_id, self._deps.store
        found: list[Intent] = []
        for state in asked.states if asked.kind not in KINDS else ():
            found += await store.intents(member, state, asked.wanted, limit=limit, before=before)
        return sorted(found, key=lambda entry: (entry.created_at, entry.id), reverse=True)[:limit]


def merged(
    entries: Sequence[Intent], after: tuple[float, str] | None, others: Sequence[Shown], limit: int
) -> tuple[Sequence[Intent | Shown], tuple[float, str] | None]:
    """One page of both, the newest first, and where to go on. `after` is how far the entries were read:
    what is older comes with a later page."""
    both: list[tuple[tuple[float, str], Intent | Shown]] = [
        *(((one.created_at, one.id), one) for one in entries),
        *((one.place, one) for one in others if after is None or one.place > after),
    ]
    both.sort(key=lambda one: one[0], reverse=True)
    if len(both) > limit:
        after = both[limit - 1][0]
    return [one for _, one in both[:limit]], after


def _wanted(
    others: Sequence[Shown], asked: Asked, reader: Reader, before: tuple[float, str] | None
) -> list[Shown]:
    """Those that the filters let through, from the cursor on."""
    digits = asked.wanted.number
    return [
        one
        for one in others
        if one.state in asked.states
        and asked.kind in ("", one.kind)
        and (before is None or one.place < before)
        and asked.wanted.agent in (None, one.agent)
        and (digits is None or digits in one.id.partition(":")[2])
        and (not asked.words or asked.words in told_of(one, reader))
    ]


def tabs(asked: Asked, counts: Mapping[str, int]) -> dict[str, Any]:
    """The tabs with their counts; a tab keeps the other filters."""
    names = ("open", *(state.value for state in STATES))
    sums = {**counts, "open": sum(counts[state.value] for state in OPEN_STATES)}
    tabs_ = [{"name": name, "query": asked.query(state=name), "count": sums[name]} for name in names]
    return {"tabs": tabs_, "kinds": vocabulary.ENTRY_KINDS}


def read_asked(params: QueryParams, seen: Visit) -> Asked:
    """The filters of an address. Raises 400 for what cannot be meant."""
    state = params.get("state") or "open"
    known = {"open": OPEN_STATES} | {one.value: (one,) for one in STATES}
    if state not in known:
        raise Problem.malformed(f"state must be one of: {', '.join(known)}.")
    kind = params.get("kind") or None
    if kind is not None and kind not in vocabulary.ENTRY_KINDS:
        raise Problem.malformed(f"kind must be one of: {', '.join(vocabulary.ENTRY_KINDS)}.")
    agent = params.get("agent") or None
    if agent is not None and not re.fullmatch(r"[0-9]{1,15}", agent):
        raise Problem.malformed("agent must be the number of a Bitrix24 user.")
    q = (params.get("q") or "").strip()
    if len(q) > LONGEST_Q:
        raise Problem.malformed(f"q may have {LONGEST_Q} characters at most.")
    number = needle(q, seen.portal.settings.country)
    wanted = IntentFilter(
        kind=Kind(kind) if kind and kind not in KINDS else None,
        number=number,
        mine=None if seen.manages else seen.session.user_id,
        agent=int(agent) if agent else None,
    )
    return Asked(state, known[state], kind or "", wanted, q, "" if number else q.casefold())


def needle(q: str, country: str) -> str | None:
    """The digits that every notation of a number shares; `None` when `q` is no number or part of one."""
    text = unicodedata.normalize("NFKC", q)
    digits = re.sub(r"[^0-9]", "", text)
    if len(digits) < 2 or re.search(r"[^\W\d_]", text):
        return None
    reading = read_number(text, country)
    if reading.e164 is not None:
        return str(phonenumbers.parse(reading.e164).national_number)
    return digits.lstrip("0") or digits


def _records(entry: Intent, people: People) -> tuple[str, ...]:
    """What the kind of its CRM record is called, in the CRM's code and in the reader's language."""
    kind = entry.crm_type or ""
    return (kind, people.words.say(vocabulary.RECORDS.get(kind, "")))


def _told(entry: Intent, people: People) -> str:
    """Everything of an entry that can be searched in words."""
    failure = entry.failure
    parts = [
        people.name(entry.agent) if entry.agent is not None else "",
        *((failure.code, failure.message, people.words.retell(failure.message)) if failure else ()),
        entry.reason,
        entry.text,
        *(f"{kind} {entry.crm_id}" for kind in _records(entry, people)),
        entry.number,
        entry.id,
        *entry.calls,
    ]
    return "\n".join(parts).casefold()
