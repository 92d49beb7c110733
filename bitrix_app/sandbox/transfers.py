"""/rest/upload.json and /rest/download.json: signed addresses that die with the token (bitrix24.md §4.1)."""

from __future__ import annotations

from starlette.datastructures import UploadFile
from starlette.requests import Request
from starlette.responses import Response

from bitrix_app.sandbox import disk, recordings
from bitrix_app.sandbox.errors import RestError
from bitrix_app.sandbox.faults import Faults
from bitrix_app.sandbox.limits import Limits
from bitrix_app.sandbox.replies import DroppedReply, bad_reply, json_reply, spoil
from bitrix_app.sandbox.rest import Rest, RestCall
from bitrix_app.sandbox.world import UploadGrant, World, one_hit


class Transfers:
    """Moves files behind signed addresses."""

    def __init__(self, world: World, limits: Limits, faults: Faults, rest: Rest) -> None:
        self._world = world
        self._limits = limits
        self._faults = faults
        self._rest = rest

    async def handle(self, request: Request, name: str) -> Response:
        """One upload or download, with its faults."""
        entry = RestCall(self._world.now(), name, {"token": request.query_params.get("token", "")})
        self._rest.log.append(entry)
        self._rest.counts[name] += 1
        reply = await self._serve(request, name, entry)
        entry.status = 0 if isinstance(reply, DroppedReply) else reply.status_code
        return reply

    async def _serve(self, request: Request, name: str, entry: RestCall) -> Response:
        fault = self._faults.take(name, entry.params)
        if fault is not None:
            entry.fault = fault.kind
            if fault.kind == "refused_before":
                return DroppedReply()
            if fault.kind == "slow":
                await self._world.clock.sleep(fault.seconds)
            elif not fault.has_effect:
                return bad_reply(fault)
        try:
            self._limits.admit(request.client.host if request.client else "unknown")
            grant, user_id = self._grant(request, name)
            entry.user_id = user_id
            with one_hit():
                good = await (self._upload(request, grant) if name == "upload" else self._download(grant))
        except RestError as error:
            entry.error = error.code
            good = json_reply(error.body(), error.status)
        return good if fault is None else spoil(fault, good)

    def _grant(self, request: Request, name: str) -> tuple[UploadGrant, int]:
        pair = self._world.auth.find(request.query_params.get("auth", ""))
        if pair is None or not self._world.present:
            raise RestError("NO_AUTH_FOUND")
        if self._world.auth.expired(pair):
            raise RestError("expired_token")
        grant = self._world.grants.get(request.query_params.get("token", ""))
        if grant is None or not grant.kind.startswith(name + "."):
            raise RestError("ACCESS_DENIED", "Link check failed")
        return grant, pair.user_id

    async def _upload(self, request: Request, grant: UploadGrant) -> Response:
        async with request.form(max_part_size=512 * 1024 * 1024) as form:
            part = form.get("file")
            if not isinstance(part, UploadFile):
                raise RestError("ERROR_CORE", "File content is empty.")
            content = await part.read()
            name = part.filename or ""
        if grant.kind == "upload.telephony":
            result: object = recordings.finish_upload(self._world, grant.params, name, content)
        else:
            token = request.query_params.get("auth", "")
            result = disk.finish_upload(self._world, grant.params, name, content, token)
        return json_reply({"result": result, "time": self._rest._time("upload", self._world.now())})

    async def _download(self, grant: UploadGrant) -> Response:
        stored = self._world.state.objects.get(grant.params["id"])
        if stored is None:
            raise RestError(
                "ERROR_NOT_FOUND", f"Could not find entity with id `{grant.params['id']}`", status=400
            )
        content = stored.content
        if grant.params.get("version"):
            content = next(row[2] for row in stored.versions if row[0] == grant.params["version"])
        headers = {"Content-Disposition": f'attachment; filename="{stored.name}"'}
        return Response(content, headers=headers, media_type="application/octet-stream")
