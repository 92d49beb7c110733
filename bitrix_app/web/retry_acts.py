"""What people do with an entry of the retry list (interface.md `POST /retries/{id}/…`).

Each act is one transaction: the entry as it is then, the rule of `core.intent`, its timers. An act that
would be wrong now is refused in words (409) and changes nothing.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from loguru import logger
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from bitrix_app.core import intent as entries
from bitrix_app.core.call import Call
from bitrix_app.core.intent import Intent, Kind, Wrong
from bitrix_app.core.mapping import extension_of
from bitrix_app.core.portal import Agent, Portal, PortalState
from bitrix_app.core.store import Unit
from bitrix_app.desk import Desk, new_call_id
from bitrix_app.numbers import read_number
from bitrix_app.retry_list import RetryList
from bitrix_app.web.bodies import read_json
from bitrix_app.web.call_start import WISHED, wait_for_start
from bitrix_app.web.calls import Calls
from bitrix_app.web.deps import WebDeps
from bitrix_app.web.envelope import envelope
from bitrix_app.web.pages import zone_of
from bitrix_app.web.problems import Problem
from bitrix_app.web.retries import Retries
from bitrix_app.web.retry_troubles import elsewhere, is_trouble, trouble
from bitrix_app.web.session import Visit, session_over, visit
from bitrix_app.web.settings_form import read_user
from bitrix_app.web.start_view import may_act
from bitrix_app.words import mark

FARTHEST: Final = 366 * 86_400.0
"""Seconds ahead to which a call can be put off."""
LONGEST_REASON: Final = 500


@dataclass(frozen=True, slots=True)
class Scene:
    """What an act finds inside its transaction."""

    unit: Unit
    portal: Portal
    entry: Intent
    now: float


Work = Callable[[Scene], Awaitable[Intent]]


class RetryActs:
    """See the module."""

    def __init__(self, deps: WebDeps, retries: Retries, calls: Calls) -> None:
        self._deps = deps
        self._retries = retries
        self._calls = calls
        self._list = RetryList()

    async def retry(self, request: Request) -> Response:
        """`POST /retries/{id}/retry`: call now. 202 with the entry and, under `call`, the call."""
        seen = await self._enter(request)
        by, made = seen.session.user_id, new_call_id(self._deps.clock.now())
        calls: list[Call] = []

        async def work(at: Scene) -> Intent:
            correlation = envelope(request).correlation_id
            desk = Desk(lambda _: made)
            calls.append(await desk.call_now(at.unit, at.portal, at.entry, by, at.now, correlation))
            return await at.unit.intent(at.portal.member_id, at.entry.id) or at.entry

        await self._do(request, seen, "retry", work, plans=False)
        call = await wait_for_start(self._deps, calls[-1])
        entry = await self._deps.store.intent(seen.portal.member_id, request.path_params["id"])
        reader = await self._retries.reader(seen)
        story = await self._retries.story(entry, reader) if entry else {}
        started = await self._calls.started(seen, call, joined=call.id != made)
        return JSONResponse(story | {"call": started}, 202)

    async def cancel(self, request: Request) -> Response:
        """`POST /retries/{id}/cancel` `{"reason"}`."""
        return await self._close(request, "cancel", entries.cancelled)

    async def done(self, request: Request) -> Response:
        """`POST /retries/{id}/done` `{"reason"}`."""
        return await self._close(request, "done", entries.done)

    async def undo(self, request: Request) -> Response:
        """`POST /retries/{id}/undo`, within ten seconds after cancel or done."""
        seen = await self._enter(request)

        async def work(at: Scene) -> Intent:
            later = entries.undone(at.entry, at.now, seen.session.user_id)
            await check_single(at.unit, later)
            return later

        return await self._answer(seen, await self._do(request, seen, "undo", work))

    async def reschedule(self, request: Request) -> Response:
        """`POST /retries/{id}/reschedule` `{"at"}`: RFC 3339, without a zone the viewer's clock."""
        seen = await self._enter(request)
        data = await _fields(request, "at")
        due = _moment(data.get("at"), seen, self._deps.clock.now())

        async def work(at: Scene) -> Intent:
            entry = at.entry
            if entry.is_open and entry.kind is Kind.CALL_START and entry.agent is None:
                raise Wrong("NOBODY", mark("Nobody is named who is to call. Choose the employee first."))
            return entries.rescheduled(entry, due, at.now, seen.session.user_id)

        return await self._answer(seen, await self._do(request, seen, "reschedule", work))

    async def edit(self, request: Request) -> Response:
        """`POST /retries/{id}/edit` `{"number"?, "agent"?}`; what is as it was already is no act."""
        seen = await self._enter(request)
        data = await _fields(request, "number", "agent")
        if not data:
            raise invalid({"number": mark("Name the new number, the new employee, or both.")})
        by = seen.session.user_id

        async def work(at: Scene) -> Intent:
            entry, now = at.entry, at.now
            entries.check_idle(entry)
            snapshot = await at.unit.snapshot(at.portal.member_id, "agents")
            agents = [Agent(**item) for item in snapshot.items] if snapshot else []
            number, agent = _wanted(data, at.portal, agents)
            if agent is not None and agent != entry.agent and agent != by and not seen.manages:
                said = mark("Only managers and administrators give an entry to somebody else.")
                raise Problem.forbidden(said, "managers_only")
            later = entry
            if number is not None and number != later.number:
                later = entries.edited(later, number, now, by)
            if agent is not None and agent != later.agent:
                later = entries.moved(later, agent, now, by)
            if later is not entry:
                await check_single(at.unit, later)
            return later

        return await self._answer(seen, await self._do(request, seen, "edit", work))

    # --- how an act goes ---------------------------------------------------------------------------

    async def _enter(self, request: Request) -> Visit:
        """Who acts. Raises 409 for an entry that is only shown here and settled elsewhere."""
        seen, entry_id = await visit(request, self._deps), request.path_params["id"]
        if is_trouble(entry_id):
            raise elsewhere(await trouble(self._deps.store, seen, entry_id))
        return seen

    async def _close(
        self, request: Request, name: str, act: Callable[[Intent, str, float, int], Intent]
    ) -> Response:
        seen = await self._enter(request)
        reason = (await _fields(request, "reason")).get("reason", "")
        if not isinstance(reason, str) or len(reason) > LONGEST_REASON:
            raise invalid({"reason": mark(f"The reason is a text of {LONGEST_REASON} characters at most.")})

        async def work(at: Scene) -> Intent:
            return act(at.entry, reason.strip(), at.now, seen.session.user_id)

        return await self._answer(seen, await self._do(request, seen, name, work))

    async def _do(self, request: Request, seen: Visit, name: str, act: Work, *, plans: bool = True) -> Intent:
        """Run the act. Raises 404 for an entry that the visitor may not see, 409 with the reason."""
        member, entry_id = seen.portal.member_id, request.path_params["id"]
        now = self._deps.clock.now()

        async def work(unit: Unit) -> Intent:
            portal = await unit.portal(member)
            if portal is None or portal.state is PortalState.UNINSTALLED:
                raise session_over()
            entry = await unit.intent(member, entry_id)
            if entry is None or not may_act(entry, seen):
                raise Problem.not_found()
            later = await act(Scene(unit, portal, entry, now))
            if plans and later is not entry:
                await self._list.replan(unit, later)
            return later

        try:
            entry = await self._deps.store.transact(work)
        except Wrong as wrong:
            raise conflict(wrong) from None
        logger.bind(portal=member, user=seen.session.user_id).info("retry list: {} of {}", name, entry_id)
        self._deps.nudge(member)
        return entry

    async def _answer(self, seen: Visit, entry: Intent) -> Response:
        return JSONResponse(await self._retries.story(entry, await self._retries.reader(seen)))


async def check_single(unit: Unit, entry: Intent) -> None:
    """One entry for a client (missed), one for a client and an agent (call start). Raises `Wrong`."""
    for other in await unit.open_intents_of(entry.portal, entry.number):
        same = other.kind is entry.kind and other.id != entry.id
        if same and (entry.kind is Kind.MISSED or other.agent == entry.agent):
            raise Wrong(
                "SAME_CLIENT", mark("Another entry of this client is open already. Go on with that one.")
            )


def conflict(wrong: Wrong) -> Problem:
    """409 in the words of the rule."""
    return Problem(409, wrong.code.lower(), "It cannot be done as asked", wrong.reason)


def invalid(fields: Mapping[str, str]) -> Problem:
    """422 that names every faulty field."""
    errors = [{"field": name, "message": said} for name, said in fields.items()]
    first = next(iter(fields.values()))
    return Problem(422, "invalid_request", "Nothing was changed", first, extra={"errors": errors})


async def _fields(request: Request, *known: str) -> dict[str, Any]:
    data = await read_json(request)
    if unknown := [name for name in data if name not in known]:
        raise invalid({str(unknown[0])[:60]: mark("There is no such field here.")})
    return data


def _moment(value: Any, seen: Visit, now: float) -> float:
    """Unix seconds of a time that was typed. Raises 422."""
    text = value.strip() if isinstance(value, str) and len(value) <= 40 else ""
    try:
        read = datetime.fromisoformat(text if "T" in text.upper() else "")
        moment = (read if read.tzinfo else read.replace(tzinfo=zone_of(seen.session.timezone))).timestamp()
    except (ValueError, OverflowError):
        raise invalid({"at": mark("Give a time such as 2026-09-02T15:30.")}) from None
    if moment - now > FARTHEST:
        raise invalid({"at": mark("Choose a time within a year.")})
    return moment


def _wanted(data: Mapping[str, Any], portal: Portal, agents: list[Agent]) -> tuple[str | None, int | None]:
    """The number as it is kept and the employee. Raises 422 with every fault."""
    faults: dict[str, str] = {}
    number: str | None = None
    agent: int | None = None
    if "number" in data:
        try:
            number = read_wished(data["number"], portal.settings.country)
        except ValueError as fault:
            faults["number"] = str(fault)
    if "agent" in data:
        try:
            agent = read_user(data["agent"], frozenset(one.user_id for one in agents))
            if extension_of(agent, agents, portal.settings) is None:
                faults["agent"] = mark(
                    "No PBX extension belongs to this employee, so there is no phone to ring."
                )
        except ValueError as fault:
            faults["agent"] = str(fault)
    if faults:
        raise invalid(faults)
    return number, agent


def read_wished(value: Any, country: str) -> str:
    """A number that can be dialled, E.164 where its plan is known. Raises `ValueError` with the reason."""
    if not isinstance(value, str) or not value.strip() or len(value) > WISHED:
        raise ValueError("Enter the number to call.")
    reading = read_number(value, country)
    if not (reading.callable and reading.digits):
        raise ValueError(reading.reason)
    return reading.e164 or reading.digits
