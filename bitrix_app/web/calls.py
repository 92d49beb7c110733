"""The call log and one call's story (interface.md «Addresses»). Agents see their own calls only."""

from __future__ import annotations

import base64
import binascii
import json
import math
from collections.abc import Sequence
from typing import Any, Final

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from bitrix_app.core.call import Call
from bitrix_app.core.events import Direction
from bitrix_app.core.jobs import Job
from bitrix_app.core.mapping import is_missed
from bitrix_app.logs import redact_secrets
from bitrix_app.numbers import read_number
from bitrix_app.web import call_view
from bitrix_app.web.call_view import People, belongs_to, call_json, people_of
from bitrix_app.web.deps import WebDeps
from bitrix_app.web.pages import iso, render, wants_html
from bitrix_app.web.problems import Problem
from bitrix_app.web.retry_view import Reader
from bitrix_app.web.session import Visit, visit
from bitrix_app.web.shell import shell
from bitrix_app.web.start_view import entry_of, joined_json, start_json
from bitrix_app.words import Words

PAGE: Final = 50
MOST: Final = 100
SCANNED: Final = 500
"""Calls looked at for one page of an agent; the cursor goes on from there."""


class Calls:
    """See the module."""

    def __init__(self, deps: WebDeps) -> None:
        self._deps = deps

    async def list(self, request: Request) -> Response:
        """`GET /calls?cursor=&limit=`."""
        seen = await visit(request, self._deps)
        limit = read_limit(request.query_params.get("limit"))
        page = await self.page(seen, limit, read_cursor(request.query_params.get("cursor")))
        if wants_html(request):
            return render("calls.html", shell(self._deps, seen, "calls") | page)
        return JSONResponse({"items": page["items"], "next": page["next"], "counts": {}})

    async def page(self, seen: Visit, limit: int, before: tuple[float, str] | None = None) -> dict[str, Any]:
        """`items`, `next` and `people` for one page of what this visitor may see."""
        store, member = self._deps.store, seen.portal.member_id
        words = Words(seen.session.language)
        people = people_of(await store.snapshot(member, "agents"), words)
        found: list[Call] = []
        scanned, more = 0, True
        while more and len(found) < limit and scanned < SCANNED:
            batch = await store.calls(member, limit=limit, before=before)
            more = len(batch) == limit
            for call in batch:
                scanned += 1
                before = (call.first_seen_at, call.id)
                if may_see(call, seen, people):
                    found.append(call)
                    if len(found) == limit:
                        more = more or call is not batch[-1]
                        break
        items = [await self._json(seen, call, await store.lane(member, call.id), people) for call in found]
        return {
            "items": items,
            "next": write_cursor(before) if before is not None and more else None,
            "people": people,
        }

    async def one(self, request: Request) -> Response:
        """`GET /calls/{id}`; somebody else's call is not there."""
        seen = await visit(request, self._deps)
        story = await self.story(seen, request.path_params["id"])
        if wants_html(request):
            return self.page_of(seen, story)
        return JSONResponse(_told(story))

    async def started(self, seen: Visit, call: Call, *, joined: bool) -> dict[str, Any]:
        """The call for whoever pressed, with `start` as this press found it."""
        story = await self.story(seen, call.id)
        if joined:
            story["start"] = joined_json(story["start"], Words(seen.session.language))
        return _told(story)

    def page_of(self, seen: Visit, story: dict[str, Any]) -> Response:
        """The page of one call."""
        values = {"call": story, "people": story["people"]}
        return render("call.html", shell(self._deps, seen, "calls") | values)

    async def story(self, seen: Visit, call_id: str) -> dict[str, Any]:
        """The call, its steps with every attempt, its legs and what was odd. Raises 404."""
        store, member = self._deps.store, seen.portal.member_id
        words = Words(seen.session.language)
        people = people_of(await store.snapshot(member, "agents"), words)
        call = await store.call(member, call_id)
        if call is None or not may_open(call, seen, people):
            raise Problem.not_found()
        jobs = await store.lane(member, call.id)
        story = await self._json(seen, call, jobs, people)
        for step, job in zip(story["steps"], jobs, strict=True):
            attempts = await store.attempts(member, job.id)
            step["history"] = [call_view.attempt_json(attempt, words) for attempt in attempts]
        story["legs"] = [
            {"extension": leg.extension, "answered_at": iso(leg.answered_at)} for leg in call.legs
        ]
        story["notes"] = [words.retell(redact_secrets(note)) for note in call.notes]
        story["skipped"] = words.retell(call.skipped) if call.skipped else None
        story["raw_number"] = call.raw_number
        story["number_reason"] = _number_reason(call, seen)
        story["owner"] = call_view.owner_json(call, words)
        story["people"] = people
        return story

    async def _json(self, seen: Visit, call: Call, jobs: Sequence[Job], people: People) -> dict[str, Any]:
        entry = await entry_of(self._deps.store, call, seen)
        reader = Reader(seen, people, people.words, self._deps.clock.now())
        return call_json(call, jobs, people.words, start_json(call, entry, reader))


def may_see(call: Call, seen: Visit, people: People) -> bool:
    return seen.session.is_admin or belongs_to(call, seen.session.user_id, people)


def may_open(call: Call, seen: Visit, people: People) -> bool:
    """What stands on the list of calls to make can be opened by whoever manages that list."""
    listed = call.dial is not None or is_missed(call)
    return may_see(call, seen, people) or (seen.manages and listed)


def _told(story: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in story.items() if key != "people"}


def _number_reason(call: Call, seen: Visit) -> str | None:
    """Why the call has no number that could be searched, in words."""
    if call.number or call.direction is Direction.INNER:
        return None
    reason = read_number(call.raw_number, seen.portal.settings.country).reason
    return Words(seen.session.language).retell(reason) or None


def write_cursor(before: tuple[float, str]) -> str:
    return base64.urlsafe_b64encode(json.dumps(before).encode()).decode().rstrip("=")


def read_cursor(text: str | None) -> tuple[float, str] | None:
    """The place to go on from. Raises 400 for what we did not write."""
    if not text:
        return None
    try:
        at, call_id = json.loads(base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)))
        at = float(at)
    except (ValueError, TypeError, binascii.Error, RecursionError):
        at, call_id = math.nan, None
    if not isinstance(call_id, str) or not math.isfinite(at):
        raise Problem.malformed("The cursor is not one of ours.")
    return at, call_id


def read_limit(text: str | None) -> int:
    """How many are wanted. Raises 400."""
    if not text:
        return PAGE
    if not text.isascii() or not text.isdigit() or not 1 <= int(text[:6]) <= MOST:
        raise Problem.malformed(f"limit must be a number from 1 to {MOST}.")
    return int(text)
