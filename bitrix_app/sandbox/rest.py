"""The portal's REST: who calls, may he, how often; the envelope around the answer (bitrix24.md §4, §5)."""

from __future__ import annotations

import asyncio
import inspect
import json
from collections import Counter, deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from starlette.datastructures import UploadFile
from starlette.requests import Request
from starlette.responses import Response

from bitrix_app.sandbox import batch
from bitrix_app.sandbox.errors import RestError
from bitrix_app.sandbox.faults import Fault, Faults
from bitrix_app.sandbox.limits import Limits
from bitrix_app.sandbox.query import Page
from bitrix_app.sandbox.registry import METHODS, Method
from bitrix_app.sandbox.replies import DroppedReply, bad_reply, json_reply, spoil
from bitrix_app.sandbox.wire import php_map, php_true, unflatten
from bitrix_app.sandbox.world import Hit, World, one_hit

_LOG_SIZE = 100_000
_TIMEOUT_PAGE = (
    "<html><head><title>504 Gateway Time-out</title></head><body>504 Gateway Time-out</body></html>"
)


@dataclass
class RestCall:
    """One request as the log keeps it; the token is masked."""

    at: float
    method: str
    params: dict[str, Any]
    user_id: int | None = None
    status: int = 0
    error: str = ""
    seconds: float = 0.0
    inner: list[str] = field(default_factory=list)
    fault: str = ""


@dataclass(frozen=True)
class Caller:
    """Who a token speaks for."""

    user_id: int
    scopes: tuple[str, ...]
    token: str
    app: bool


class _Cut(Exception):
    """A fault inside a batch cuts the whole connection; `late` carries what is still to be done."""

    def __init__(self, fault: Fault) -> None:
        super().__init__(fault.kind)
        self.fault = fault


class Rest:
    """Answers /rest/<method>; keeps the log and the counters."""

    def __init__(self, world: World, limits: Limits, faults: Faults) -> None:
        self.world = world
        self.limits = limits
        self.faults = faults
        self.log: deque[RestCall] = deque(maxlen=_LOG_SIZE)
        self.counts: Counter[str] = Counter()
        self._late: set[asyncio.Task[None]] = set()

    # -- HTTP ------------------------------------------------------------------------------------

    async def handle(self, request: Request, path: str) -> Response:
        """One HTTP request to /rest/…"""
        name, webhook = _split_path(path)
        params = await read_params(request)
        bearer = request.headers.get("authorization", "")
        if bearer.lower().startswith("bearer ") and "auth" not in params:
            params["auth"] = bearer[7:].strip()
        entry = RestCall(self.world.now(), name, _masked(params))
        self.log.append(entry)
        source = request.client.host if request.client else "unknown"
        began = self.world.clock.monotonic()
        try:
            self.limits.admit(source)
            reply = await self._serve(name, params, webhook, entry)
        except RestError as error:
            entry.error = error.code or error.text
            reply = json_reply(error.body(), error.status)
        entry.status = 0 if isinstance(reply, DroppedReply) else reply.status_code
        entry.seconds = self.world.clock.monotonic() - began
        return reply

    async def _serve(
        self, name: str, params: dict[str, Any], webhook: str | None, entry: RestCall
    ) -> Response:
        fault = self.faults.take(name, params)
        if fault is None:
            return await self._answer(name, params, webhook, entry)
        entry.fault = fault.kind
        if fault.kind == "refused_before":
            return DroppedReply()
        if fault.kind == "late":
            self._later(fault.seconds, name, params, webhook, entry)
            return DroppedReply()
        if not fault.has_effect:
            return bad_reply(fault)
        if fault.kind == "slow":
            await self.world.clock.sleep(fault.seconds)
        return spoil(fault, await self._answer(name, params, webhook, entry))

    def _later(
        self, seconds: float, name: str, params: dict[str, Any], webhook: str | None, entry: RestCall
    ) -> None:
        async def land() -> None:
            await self.world.clock.sleep(seconds)
            await self._answer(name, params, webhook, entry)

        self._keep(asyncio.create_task(land()))

    def _keep(self, task: asyncio.Task[None]) -> None:
        self._late.add(task)
        task.add_done_callback(self._late.discard)

    async def close(self) -> None:
        """Drop what was to land late."""
        for task in list(self._late):
            task.cancel()
        await asyncio.gather(*self._late, return_exceptions=True)

    async def _answer(
        self, name: str, params: dict[str, Any], webhook: str | None, entry: RestCall
    ) -> Response:
        started = self.world.now()
        try:
            caller = self._caller(params, webhook)
            entry.user_id = caller.user_id
            with one_hit():
                if name == "batch":
                    return await self._batch(caller, params, entry, started)
                page = await self._one(name, caller, _bare(params))
        except RestError as error:
            entry.error = error.code or error.text
            return json_reply(error.body(), error.status)
        return json_reply({**_body(page), "time": self._time(name, started)})

    # -- one method ------------------------------------------------------------------------------

    def _caller(self, params: Mapping[str, Any], webhook: str | None) -> Caller:
        """Who calls: `auth`, `access_token`, Bearer, or a webhook's path."""
        world = self.world
        if webhook is not None:
            if webhook not in world.webhooks:
                raise RestError("INVALID_CREDENTIALS")
            user_id, scopes = world.webhooks[webhook]
            return Caller(user_id, scopes, "", app=False)
        token = str(params.get("auth") or params.get("access_token") or "")
        if not token:
            raise RestError("NO_AUTH_FOUND")
        if not world.present:
            raise RestError("APPLICATION_NOT_FOUND")
        pair = world.auth.find(token)
        if pair is None or pair.member_id != world.member_id:
            raise RestError("invalid_token")
        if world.auth.expired(pair):
            raise RestError("expired_token")
        if not world.user_active(pair.user_id):
            raise RestError("authorization_error")
        if not world.user(pair.user_id).allowed_in_app:
            raise RestError("user_access_error")
        if world.payment_expired:
            raise RestError("PAYMENT_REQUIRED")
        return Caller(pair.user_id, tuple(pair.scope.split(",")), token, app=True)

    def _method(self, name: str, caller: Caller) -> Method:
        method = METHODS.find(name)
        if method is None:
            raise RestError("ERROR_METHOD_NOT_FOUND")
        if method.scopes and not set(method.scopes) & set(caller.scopes):
            raise RestError("insufficient_scope")
        if method.app_only and not caller.app:
            raise RestError("WRONG_AUTH_TYPE")
        return method

    async def _one(self, name: str, caller: Caller, params: dict[str, Any]) -> Page:
        self.counts[name] += 1
        method = self._method(name, caller)
        self.limits.check(name)
        seconds = self.limits.duration(name)
        if seconds > 0:
            await self.world.clock.sleep(seconds)
        hit = Hit(self.world, name, params, caller.user_id, caller.token, caller.scopes, caller.app)
        result = method.work(hit)
        if inspect.isawaitable(result):
            result = await result
        self.limits.charge(name)
        return result if isinstance(result, Page) else Page(result)

    def _time(self, name: str, started: float) -> dict[str, Any]:
        """The envelope's `time`; `operating` exists in the cloud only (§4.2)."""
        finished = self.world.now()
        time: dict[str, Any] = {
            "start": started,
            "finish": finished,
            "duration": finished - started,
            "processing": finished - started,
            "date_start": self.world.iso(started),
            "date_finish": self.world.iso(finished),
        }
        if not self.world.self_hosted:
            time["operating_reset_at"] = self.limits.reset_at(name)
            time["operating"] = self.limits.spent(name)
        return time

    # -- batch -----------------------------------------------------------------------------------

    async def _batch(
        self, caller: Caller, params: dict[str, Any], entry: RestCall, started: float
    ) -> Response:
        self.counts["batch"] += 1
        run = _BatchRun(self, caller, php_true(params.get("halt", 0)))
        cmd = batch.commands(params.get("cmd"))
        entry.inner = [command for _, command in cmd]
        for index, (key, command) in enumerate(cmd):
            if index >= batch.MAX_COMMANDS:
                run.errors[key] = RestError("ERROR_BATCH_LENGTH_EXCEEDED").body()
                continue
            if run.halted:
                break
            limit = self.limits.request_seconds
            if limit is not None and self.world.now() - started > limit:
                # the whole batch shares the request's time: the server kills it, what is done is done
                entry.error = "request time is over"
                return Response(_TIMEOUT_PAGE, 504, media_type="text/html; charset=utf-8")
            try:
                await run.command(key, command)
            except _Cut as cut:
                entry.fault = cut.fault.kind
                if cut.fault.kind == "late":
                    self._rest_later(cut.fault, run, cmd[index:])
                return DroppedReply()
        good = json_reply({"result": run.result(), "time": self._time("batch", started)})
        if run.spoiled is None:
            return good
        entry.fault = run.spoiled.kind
        return spoil(run.spoiled, good)

    def _rest_later(self, fault: Fault, run: _BatchRun, cmd: list[tuple[str, str]]) -> None:
        async def land() -> None:
            await self.world.clock.sleep(fault.seconds)
            with one_hit():
                for key, command in cmd:
                    await run.execute(key, *batch.split(command))

        self._keep(asyncio.create_task(land()))


class _BatchRun:
    """The commands of one batch, one after the other."""

    def __init__(self, rest: Rest, caller: Caller, halt: bool) -> None:
        self._rest = rest
        self._caller = caller
        self._halt = halt
        self.halted = False
        self.spoiled: Fault | None = None
        self.results: dict[str, Any] = {}
        self.errors: dict[str, Any] = {}
        self.totals: dict[str, Any] = {}
        self.nexts: dict[str, Any] = {}
        self.times: dict[str, Any] = {}

    async def command(self, key: str, command: str) -> None:
        """One command, with the faults that match it."""
        name, params = batch.split(command)
        name = name.removesuffix(".json")
        fault = self._rest.faults.take(name, params)
        if fault is None:
            await self.execute(key, name, params)
        elif fault.kind in ("refused_before", "late"):
            raise _Cut(fault)
        elif fault.kind == "slow":
            await self._rest.world.clock.sleep(fault.seconds)
            await self.execute(key, name, params)
        elif fault.kind in ("lost", "truncated", "empty", "html"):
            self.spoiled = fault
            if fault.has_effect:
                await self.execute(key, name, params)
        else:
            _, body = fault.error()
            text = (
                body
                if isinstance(body, dict)
                else {"error": "INTERNAL_SERVER_ERROR", "error_description": body}
            )
            self._refuse(key, text)

    async def execute(self, key: str, name: str, params: dict[str, Any]) -> None:
        """Do it and note the outcome under the key."""
        started = self._rest.world.now()
        if name in ("batch", "upload", "download"):
            self._refuse(key, RestError("ERROR_BATCH_METHOD_NOT_ALLOWED").body())
            return
        try:
            page = await self._rest._one(name, self._caller, batch.resolve(params, self.results))
        except RestError as error:
            self._refuse(key, error.body())
            return
        self.results[key] = page.result
        if page.total is not None:
            self.totals[key] = page.total
        if page.next is not None:
            self.nexts[key] = page.next
        self.times[key] = self._rest._time(name, started)

    def _refuse(self, key: str, body: dict[str, Any]) -> None:
        self.errors[key] = body
        self.halted = self.halted or self._halt

    def result(self) -> dict[str, Any]:
        """Five maps by command key, each `[]` when empty."""
        return {
            "result": php_map(self.results),
            "result_error": php_map(self.errors),
            "result_total": php_map(self.totals),
            "result_next": php_map(self.nexts),
            "result_time": php_map(self.times),
        }


def _body(page: Page) -> dict[str, Any]:
    body: dict[str, Any] = {"result": page.result}
    if page.next is not None:
        body["next"] = page.next
    if page.total is not None:
        body["total"] = page.total
    return body


def _bare(params: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in params.items() if key not in ("auth", "access_token")}


def _masked(params: Mapping[str, Any]) -> dict[str, Any]:
    masked = {key: ("***" if key in ("auth", "access_token") else value) for key, value in params.items()}
    if isinstance(masked.get("FILE_CONTENT"), str):
        masked["FILE_CONTENT"] = f"<{len(masked['FILE_CONTENT'])} characters>"
    return masked


def _split_path(path: str) -> tuple[str, str | None]:
    """Method name, and the webhook's `user/secret` if the path has one."""
    parts = [part for part in path.strip("/").split("/") if part]
    webhook = None
    if len(parts) >= 2 and parts[0].isdigit():
        webhook = "/".join(parts[:2])
        parts = parts[2:]
    return "/".join(parts).lower().removesuffix(".json"), webhook


async def read_params(request: Request) -> dict[str, Any]:
    """Parameters of a call: query below, form or JSON above (§4.1).

    JSON is read only with its content type; a form wins over JSON.
    """
    params = unflatten(request.query_params.multi_items())
    kind = request.headers.get("content-type", "").lower()
    if kind.startswith("application/json"):
        raw = await request.body()
        if raw:
            try:
                body = json.loads(raw)
            except ValueError:
                body = None  # PHP's json_decode gives null: the call goes on without parameters
            if isinstance(body, dict):
                params |= body
    elif kind.startswith(("application/x-www-form-urlencoded", "multipart/form-data")):
        async with request.form() as form:
            params |= unflatten(
                (key, value) for key, value in form.multi_items() if not isinstance(value, UploadFile)
            )
    return params
