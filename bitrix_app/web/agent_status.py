"""An agent's status on the page: seen and changed by everybody for himself, by managers for anybody.

Part of `GET /agents` and `PUT /agents/{user_id}` (interface.md). «Actual» is what the PBX acknowledged
last, and says so: the PBX cannot be asked (unitalk.md §4.3).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from loguru import logger
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from bitrix_app import agents
from bitrix_app.core.agents import AgentStatus, Page, Why
from bitrix_app.core.call import Call
from bitrix_app.core.portal import Portal
from bitrix_app.core.store import Unit
from bitrix_app.web.deps import WebDeps
from bitrix_app.web.pages import iso
from bitrix_app.web.problems import Problem
from bitrix_app.web.session import visit
from bitrix_app.web.settings_form import Faults
from bitrix_app.web.settings_page import refused
from bitrix_app.words import Words, mark

REASON: Final = 200
"""Characters of a reason."""
LIVE_CALLS: Final = 200
WHY: Final = {
    Why.AVAILABLE: mark("Available"),
    Why.CLOCKED_OUT: mark("Not clocked in"),
    Why.BREAK: mark("On a break of the working day"),
    Why.PAUSED: mark("Pause"),
    Why.ON_CALL: mark("On a call"),
    Why.PAUSE_AFTER_CALL: mark("Pause after this call"),
}
CHANGES: Final = {
    "out": mark("Unitalk does not take the status"),
    "back": mark("Unitalk takes the status again"),
}
ACTUAL: Final = mark("Last acknowledged by the PBX")
OFF: Final = mark(
    "Statuses are not told to Unitalk: this is switched off in the settings. The autodialer asks nobody then."
)


def status_json(status: AgentStatus, portal: Portal, words: Words) -> dict[str, Any]:
    """The public shape of one agent's status."""
    told = portal.tells_statuses
    meaning = portal.settings.status_words.meaning(status.acknowledged) if told else None
    error = status.error
    return {
        "desired": status.desired.value,
        "why": status.why.value,
        "why_text": words.say(WHY[status.why]),
        "reason": status.page_reason,
        "since": iso(status.since),
        "actual": meaning.value if meaning else None,
        "actual_label": words.say(ACTUAL),
        "actual_word": status.acknowledged if told else None,
        "actual_at": iso(status.acknowledged_at) if told else None,
        "actual_is_certain": bool(meaning) and not status.doubtful and status.confirm_at is None,
        "chosen": status.page.value,
        "working_day": status.clock.value if status.clock else None,
        "working_day_at": iso(status.clock_at),
        "on_call": status.on_call,
        "out": status.out,
        "error": (
            {
                "code": error.code,
                "category": error.category,
                "message": words.retell(error.message),
                "hint": words.retell(error.hint),
                "who": error.who,
            }
            if error
            else None
        ),
        "attempts": status.tries,
        "next_attempt_at": iso(status.next_at),
        "history": [
            {
                "at": iso(one.at),
                "what": one.what,
                "text": words.say(CHANGES.get(one.what) or WHY[Why(one.what)]),
                "by": one.by,
                "note": words.retell(one.note),
            }
            for one in reversed(status.history)
        ],
    }


def sync_json(portal: Portal, words: Words) -> dict[str, Any]:
    """Whether statuses are told at all, and what they follow."""
    return {
        "on": portal.tells_statuses,
        "sources": list(portal.status_sources),
        "note": "" if portal.tells_statuses else words.say(OFF),
    }


class AgentStatuses:
    """See the module."""

    def __init__(self, deps: WebDeps) -> None:
        self._deps = deps

    async def show(self, request: Request) -> Response:
        """`GET /agents/{user_id}`: one's own status; anybody's for managers."""
        user_id = request.path_params["user_id"]
        seen = await visit(request, self._deps)
        if seen.session.user_id != user_id:
            seen = await visit(request, self._deps, manager=True)
        return JSONResponse(await self.of_user(seen.portal, user_id, Words(seen.session.language)))

    async def of_user(self, portal: Portal, user_id: int, words: Words) -> dict[str, Any]:
        """The statuses of a user's extensions; an extension that was not met yet has none."""
        kept = {one.extension: one for one in await self._deps.store.agent_statuses(portal.member_id)}
        extensions = await self._extensions(portal, user_id)
        return {
            "user_id": user_id,
            "items": [
                {
                    "extension": extension,
                    "status": status_json(kept[extension], portal, words) if extension in kept else None,
                }
                for extension in extensions
            ],
            "status_sync": sync_json(portal, words),
        }

    async def change(self, portal: Portal, user_id: int, data: Mapping[str, Any], by: int) -> None:
        """Take `status` and `reason` of a body for all extensions of this user. Raises `Problem`."""
        page, reason = _read(data)
        extensions = await self._extensions(portal, user_id)
        if not extensions:
            raise Problem(
                409,
                "no_extension",
                "It cannot be done as asked",
                mark("This user has no extension of the PBX, so there is no status to set."),
            )
        live = await self._live(portal)
        now = self._deps.clock.now()

        async def work(unit: Unit) -> None:
            known = await unit.portal(portal.member_id) or portal
            await agents.choose(unit, known, extensions, user_id, page, reason, by, live, now)

        await self._deps.store.transact(work)
        logger.bind(portal=portal.member_id, user=by).info("the status of user {} is {}", user_id, page)
        self._deps.nudge(portal.member_id)

    async def _extensions(self, portal: Portal, user_id: int) -> list[str]:
        store, member = self._deps.store, portal.member_id
        people, pbx = await store.snapshot(member, "agents"), await store.snapshot(member, "pbx_users")
        mapped = agents.mapped_agents(people, pbx, portal) or {}
        return sorted(extension for extension, user in mapped.items() if user == user_id)

    async def _live(self, portal: Portal) -> list[Call]:
        newest = await self._deps.store.calls(portal.member_id, limit=LIVE_CALLS)
        return [call for call in newest if call.is_live]


def _read(data: Mapping[str, Any]) -> tuple[Page, str]:
    faults: dict[str, str] = {}
    words = ", ".join(page.value for page in Page)
    status, reason = data.get("status"), data.get("reason", "")
    if status not in tuple(Page):
        faults["status"] = mark(f"It must be one of: {words}.")
    if not isinstance(reason, str) or len(reason) > REASON or not reason.isprintable():
        faults["reason"] = mark(f"A reason is one line of {REASON} characters at most.")
    if faults:
        raise refused(Faults(faults))
    return Page(str(status)), str(reason).strip()
