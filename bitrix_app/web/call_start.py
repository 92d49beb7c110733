"""Click-to-call of our own pages (interface.md `POST /calls`): within a second one knows what happens."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from loguru import logger
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from bitrix_app import vocabulary
from bitrix_app.core.call import Call
from bitrix_app.core.dial import DialState, Origin
from bitrix_app.core.portal import PortalState
from bitrix_app.core.store import Unit
from bitrix_app.desk import Desk, Press, new_call_id
from bitrix_app.web.bodies import read_json
from bitrix_app.web.calls import Calls
from bitrix_app.web.deps import WebDeps
from bitrix_app.web.envelope import envelope
from bitrix_app.web.problems import Problem
from bitrix_app.web.session import session_over, visit
from bitrix_app.words import mark

WAIT: Final = 0.9
"""Seconds for which an answer waits to tell how the start went: within a second, the way included."""
POLL: Final = 0.05
WISHED: Final = 60
"""Characters that a typed number may have."""


@dataclass(frozen=True, slots=True)
class Wish:
    """What was asked for, read."""

    number: str
    crm_type: str | None = None
    crm_id: int | None = None


class CallStart:
    """See the module."""

    def __init__(self, deps: WebDeps, calls: Calls) -> None:
        self._deps = deps
        self._calls = calls

    async def press(self, request: Request) -> Response:
        """`POST /calls` `{"number", "crm"?: {"type", "id"}}`: 202 with the call and its `start`."""
        seen = await visit(request, self._deps)
        wish = read_wish(await read_json(request))
        member, user = seen.portal.member_id, seen.session.user_id
        now = self._deps.clock.now()
        made = new_call_id(now)
        desk = Desk(lambda _: made)
        press = Press(Origin.PAGE, wish.number, user, now, crm_type=wish.crm_type, crm_id=wish.crm_id)

        async def work(unit: Unit) -> Call:
            portal = await unit.portal(member)
            if portal is None or portal.state is PortalState.UNINSTALLED:
                raise session_over()
            return await desk.press(unit, portal, press, now, envelope(request).correlation_id)

        call = await self._deps.store.transact(work)
        logger.bind(portal=member, user=user).info("call {} was asked for on our page", call.id)
        self._deps.nudge(member)
        call = await wait_for_start(self._deps, call)
        return JSONResponse(
            await self._calls.started(seen, call, joined=call.id != made),
            202,
            {"Location": f"/calls/{call.id}"},
        )


async def wait_for_start(deps: WebDeps, call: Call) -> Call:
    """The call once its start has left `asked`, or as it is after `WAIT` seconds."""
    ends = deps.clock.monotonic() + WAIT
    while call.dial is not None and call.dial.state is DialState.ASKED and deps.clock.monotonic() < ends:
        await deps.clock.sleep(POLL)
        call = await deps.store.call(call.portal, call.id) or call
    return call


def read_wish(data: Mapping[str, Any]) -> Wish:
    """Raises 422 that names every faulty field. Whether the number can be dialled, the start tells."""
    faults = {str(name)[:60]: mark("There is no such field here.") for name in data}
    faults = {name: fault for name, fault in faults.items() if name not in ("number", "crm")}
    number, crm = data.get("number"), data.get("crm")
    if not isinstance(number, str) or not number.strip() or len(number) > WISHED:
        faults["number"] = mark(f"Give the number to call as a text of {WISHED} characters at most.")
    kind, record = (crm.get("type"), crm.get("id")) if isinstance(crm, Mapping) else (None, None)
    if crm is not None:
        if not isinstance(kind, str) or kind.upper() not in vocabulary.RECORDS:
            words = ", ".join(vocabulary.RECORDS)
            faults["crm.type"] = mark(f"It must be one of: {words}.")
        if isinstance(record, bool) or not isinstance(record, int) or not 0 < record < 2**53:
            faults["crm.id"] = mark("A record is given by its number in the CRM.")
    if faults:
        errors = [{"field": name, "message": said} for name, said in faults.items()]
        raise Problem(
            422,
            "invalid_request",
            "Nothing was dialled",
            next(iter(faults.values())),
            extra={"errors": errors},
        )
    return Wish(str(number).strip(), kind.upper() if isinstance(kind, str) else None, record)
