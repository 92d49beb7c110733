"""The emulator's HTTP face: `POST /api/<method>` and the recordings (unitalk.md §1, §3.6)."""

from __future__ import annotations

import hmac
import json
from collections import Counter
from collections.abc import Callable
from typing import Any

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from bitrix_app.core.ports import Clock
from unitalk.sandbox.envelope import ApiError, ApiRequest, RequestLine, bare_key, masked_key
from unitalk.sandbox.faults import RECORDING, Faults, respond
from unitalk.sandbox.methods import Methods
from unitalk.sandbox.recordings import Recordings
from unitalk.sandbox.tasks import Tasks


class Server:
    """Reads, checks the key, lets faults strike, answers, and keeps the log."""

    def __init__(
        self,
        clock: Clock,
        key: Callable[[], str],
        methods: Methods,
        recordings: Recordings,
        faults: Faults,
        tasks: Tasks,
    ) -> None:
        self._clock = clock
        self._key = key
        self._methods = methods
        self._recordings = recordings
        self._faults = faults
        self._tasks = tasks
        self.requests: list[RequestLine] = []
        self.counters: Counter[str] = Counter()
        self.asgi = Starlette(
            routes=[
                Route("/api/{method:path}", self._api, methods=["POST"]),
                Route("/tracking/rec/{unique_id}/{date}", self._recording, methods=["GET"]),
            ],
        )

    async def _api(self, request: Request) -> Response:
        call = await read(request)
        line = self._noted(request, call.method, call.params)

        def work() -> Response:
            try:
                answer = self._answer(call, self._authorized(request))
            except ApiError as error:
                answer, told = error.envelope(), error.text
            else:
                told = "ok"
            line.outcome = f"{line.outcome}, done: {told}" if line.outcome else told
            return JSONResponse(answer)

        fault = self._faults.take(call.names, call.params)
        if fault is not None:
            line.outcome = f"fault {fault.kind}"
        return await respond(fault, work, self._clock, self._later)

    def _answer(self, call: ApiRequest, authorized: bool) -> Any:
        if not authorized:
            raise ApiError("Authorization invalid")
        return self._methods.call(call)

    async def _recording(self, request: Request) -> Response:
        unique_id, date = request.path_params["unique_id"], request.path_params["date"]
        params = {"unique_id": unique_id, "date": date}
        line = self._noted(request, RECORDING, params)

        def work() -> Response:
            answer = self._recordings.answer(unique_id, date, self._authorized(request))
            line.outcome = line.outcome or str(answer.status_code)
            return answer

        fault = self._faults.take((RECORDING,), params)
        if fault is not None:
            line.outcome = f"fault {fault.kind}"
            # "401 without key" is a mood of the file, not of everybody: a second try with the key gets it.
            if fault.kind == "unauthorized" and self._authorized(request):
                return work()
        return await respond(fault, work, self._clock, self._later)

    def _later(self, seconds: float, work: Callable[[], Response]) -> None:
        async def wait() -> None:
            await self._clock.sleep(seconds)
            work()

        self._tasks.spawn(wait())

    def _noted(self, request: Request, method: str, params: dict[str, Any]) -> RequestLine:
        line = RequestLine(
            self._clock.now(), method, params, masked_key(request.headers.get("authorization", ""))
        )
        self.requests.append(line)
        self.counters[method] += 1
        return line

    def _authorized(self, request: Request) -> bool:
        key = bare_key(request.headers.get("authorization", ""))
        return hmac.compare_digest(key.encode(), self._key().encode())


async def read(request: Request) -> ApiRequest:
    """Form, query and JSON kept apart; a body that is neither is no parameters at all."""
    method, query = request.path_params["method"].strip("/"), dict(request.query_params)
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind in {"application/x-www-form-urlencoded", "multipart/form-data"}:
        async with request.form() as form:
            fields = {
                name: value if isinstance(value, str) else value.filename or "file"
                for name, value in form.items()
            }
        return ApiRequest(method, form=fields, query=query)
    body = await request.body()
    try:
        return ApiRequest(method, query=query, json=json.loads(body) if body else None)
    except ValueError:
        return ApiRequest(method, query=query)
