"""Whom no autodialer may call (interface.md `GET|POST|DELETE /do-not-call`). Any agent may add a number,
because clients ask agents; only managers take one off.
"""

from __future__ import annotations

from typing import Any, Final

from loguru import logger
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from bitrix_app.core.store import Unit
from bitrix_app.core.wishes import Forbidden
from bitrix_app.numbers import Kind, read_number
from bitrix_app.web.bodies import read_json
from bitrix_app.web.campaign_view import forbidden_json
from bitrix_app.web.deps import WebDeps
from bitrix_app.web.problems import Problem
from bitrix_app.web.session import Visit, visit

PAGE: Final = 100
REASON: Final = 300


class DoNotCall:
    """See the module."""

    def __init__(self, deps: WebDeps) -> None:
        self._deps = deps

    async def show(self, request: Request) -> Response:
        """`GET /do-not-call?cursor=`."""
        seen = await visit(request, self._deps)
        after = (request.query_params.get("cursor") or "")[:40]
        found = await self._deps.store.do_not_call(seen.portal.member_id, after=after, limit=PAGE + 1)
        items = [forbidden_json(entry) for entry in found[:PAGE]]
        onward = found[PAGE - 1].number if len(found) > PAGE else None
        return JSONResponse({"items": items, "next": onward, "counts": {}})

    async def add(self, request: Request) -> Response:
        """`POST /do-not-call` `{"number", "reason"}`; a number that is there gets the new reason."""
        seen = await visit(request, self._deps)
        data = await read_json(request)
        number = _number(seen, data.get("number"))
        reason = data.get("reason", "")
        if not isinstance(reason, str) or len(reason) > REASON:
            raise Problem.malformed(f"The reason is a text of at most {REASON} characters.")
        entry = Forbidden(number, reason.strip(), seen.session.user_id, self._deps.clock.now())
        await self._deps.store.transact(lambda unit: unit.forbid(seen.portal.member_id, entry))
        logger.bind(portal=seen.portal.member_id, user=seen.session.user_id).info("do not call: one more")
        return JSONResponse(forbidden_json(entry), 201)

    async def remove(self, request: Request) -> Response:
        """`DELETE /do-not-call` `{"number"}`, for managers."""
        seen = await visit(request, self._deps)
        if not seen.manages:
            raise Problem.forbidden(
                "Only managers and administrators of the portal may do this.", "manager_only"
            )
        number = _number(seen, (await read_json(request)).get("number"))

        async def work(unit: Unit) -> bool:
            return await unit.allow(seen.portal.member_id, number)

        if not await self._deps.store.transact(work):
            raise Problem(404, "not_listed", "Not found", "This number is not on the do-not-call list.")
        logger.bind(portal=seen.portal.member_id, user=seen.session.user_id).info("do not call: one less")
        return Response(status_code=204)


def _number(seen: Visit, value: Any) -> str:
    """The number in any notation, as E.164."""
    if not isinstance(value, str):
        raise Problem.malformed("Give the number as a text.")
    reading = read_number(value[:100], seen.portal.settings.country)
    if reading.kind is not Kind.FULL or reading.e164 is None:
        raise Problem(
            422, "not_a_number", "This is not a phone number", reading.reason or "Give a whole phone number."
        )
    return reading.e164
