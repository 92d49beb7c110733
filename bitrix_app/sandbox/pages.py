"""The portal as people see it: one page, its feed, and the acts behind its buttons."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from starlette.requests import Request
from starlette.responses import FileResponse, Response
from starlette.routing import BaseRoute, Mount, Route
from starlette.staticfiles import StaticFiles

from bitrix_app.sandbox import crm, drive
from bitrix_app.sandbox.cards import viewers
from bitrix_app.sandbox.crm_fields import CONTACT, DEAL, LEAD, TYPE_NAMES
from bitrix_app.sandbox.people import CALLBACK_TEXT
from bitrix_app.sandbox.replies import json_reply
from bitrix_app.sandbox.state import Activity, Call, CrmItem, PlacementRow
from bitrix_app.sandbox.widgets import record_options
from bitrix_app.sandbox.wire import to_int

if TYPE_CHECKING:
    from bitrix_app.sandbox.portal import SandboxPortal

_HERE = Path(__file__).parent
_ROWS = 100


class FaultButtons(Protocol):
    """Fault buttons that whoever put up the portal gives to its page (`portal.fault_buttons`)."""

    def rows(self) -> list[dict[str, Any]]: ...

    def press(self, code: str) -> bool: ...


class Pages:
    """Routes for people. None of this exists for the app: it only sees frames, events and REST."""

    def __init__(self, portal: SandboxPortal) -> None:
        self._portal = portal

    def routes(self) -> list[BaseRoute]:
        return [
            Route("/", self._index),
            Route("/events-feed", self._feed),
            Route("/bx24.js", self._bx24),
            Route("/sandbox/frame", self._frame, methods=["POST"]),
            Route("/sandbox/refresh-auth", self._refresh, methods=["POST"]),
            Route("/sandbox/install-finish", self._finish_install, methods=["POST"]),
            Route("/sandbox/call", self._call, methods=["POST"]),
            Route("/sandbox/callback", self._callback, methods=["POST"]),
            Route("/sandbox/clock", self._clock, methods=["POST"]),
            Route("/sandbox/fault", self._fault, methods=["POST"]),
            Route("/sandbox/options", self._options, methods=["POST"]),
            Route("/sandbox/file/{number:int}", self._file),
            Mount("/sandbox/static", StaticFiles(directory=_HERE / "static")),
        ]

    async def _index(self, request: Request) -> Response:
        del request
        return FileResponse(_HERE / "templates" / "portal.html", media_type="text/html; charset=utf-8")

    async def _bx24(self, request: Request) -> Response:
        del request
        return FileResponse(_HERE / "static" / "bx24.js", media_type="text/javascript; charset=utf-8")

    # -- what is on the screen -------------------------------------------------------------------

    async def _feed(self, request: Request) -> Response:
        user_id = to_int(request.query_params.get("user")) or 1
        return json_reply(self.feed(user_id))

    def feed(self, user_id: int) -> dict[str, Any]:
        """Everything the page shows to that user."""
        portal = self._portal
        state = portal.state
        return {
            "now": portal.world.now_iso(),
            "portal": {"domain": portal.world.domain, "app": portal.world.card.name,
            "installed": portal.world.installed,
                       "present": portal.world.present, "version": portal.world.version},
            "users": [
                {"id": one.id, "name": one.full_name, "inner": one.inner, "admin": one.admin,
                "position": one.position, "time_status": one.time_status}
                for one in state.users.values() if one.active
            ],
            "bound": sorted({one.event for one in state.handlers if portal.world.installed}),
            "cards": self._cards(user_id),
            "ended": self._ended(user_id),
            "calls": [self._call_row(one) for one in reversed(portal.calls[-_ROWS:])],
            "pending": [self._call_row(one) for one in portal.pending_calls],
            "records": [self._record(item) for item in self._records()],
            "drive": [self._folder(one.name, one.root_id) for one in state.storages.values()],
            "notices": [
                {"id": one.id, "text": one.message, "at": portal.world.iso(one.created)}
                for one in reversed(state.notifications) if one.user_id == user_id
            ],
            "placements": [
                {"code": one.code, "title": self._placement_title(one), "handler": one.handler}
                for one in state.placements if portal.world.installed
            ],
            "faults": portal.fault_buttons.rows() if portal.fault_buttons else [],
        }  # fmt: skip

    def _records(self) -> list[CrmItem]:
        items = self._portal.state.items
        rows = [*items[LEAD].values(), *items[CONTACT].values(), *items[DEAL].values()]
        return sorted(rows, key=lambda one: str(one.fields["updatedTime"]), reverse=True)[:_ROWS]

    def _cards(self, user_id: int) -> list[dict[str, Any]]:
        """The cards on that user's screen; an administrator watches everybody's, one row a call."""
        state = self._portal.state
        viewer = state.users.get(user_id)
        screens: dict[str, list[int]] = {}
        for call_id, owner in state.cards:
            if owner == user_id or (viewer and viewer.admin):
                screens.setdefault(call_id, []).append(owner)
        return [self._card(state.calls[call_id], owners, user_id) for call_id, owners in screens.items()]

    def _card(self, call: Call, owners: list[int], user_id: int) -> dict[str, Any]:
        users = self._portal.state.users
        screens = [users[one].full_name for one in owners if one != user_id and one in users]
        direction = {1: "outgoing", 4: "callback"}.get(call.type, "incoming")
        return {**self._call_row(call), "direction": direction, "screens": screens}

    def _ended(self, user_id: int) -> list[dict[str, Any]]:
        """Calls of that user that were not made, shown for some seconds after their card has closed."""
        portal = self._portal
        since = portal.world.now() - portal.options.ended_card_seconds
        return [
            self._card(call, [], user_id)
            for call in reversed(portal.calls[-_ROWS:])
            if call.type in (1, 4) and call.status_code != "200" and (call.finished or 0.0) >= since
            and user_id in viewers(portal.world, call.call_id)
        ]  # fmt: skip

    def _placement_title(self, one: PlacementRow) -> str:
        told = one.lang_all.get(self._portal.world.language, {})
        return str(told.get("TITLE") or one.title or self._portal.world.card.name)

    def _client(self, call: Call) -> str:
        if not call.entity_type:
            return ""
        item = crm.get(self._portal.world, crm.TYPE_IDS[call.entity_type], call.entity_id)
        return crm.title_of(item) if item else ""

    def _call_row(self, call: Call) -> dict[str, Any]:
        user = self._portal.state.users.get(call.user_id)
        return {
            "call_id": call.call_id, "number": f"+{call.number}" if not call.internal else call.number,
            "client": self._client(call), "type": call.type, "user": user.full_name if user else "",
            "line": call.line, "started": self._portal.world.iso(call.started), "duration": call.duration,
            "code": call.status_code, "reason": call.failed_reason, "record": call.record_file_id,
            "entity_type": call.entity_type, "entity_id": call.entity_id, "external_id": call.external_id,
        }  # fmt: skip

    def _record(self, item: CrmItem) -> dict[str, Any]:
        state = self._portal.state
        responsible = state.users.get(item.assigned_by)
        rows = [one for one in state.activities.values() if (item.type_id, item.id) in one.bindings]
        notes = [one for one in state.notes if (one.type_id, one.entity_id) == (item.type_id, item.id)]
        return {
            "kind": TYPE_NAMES[item.type_id], "id": item.id, "title": crm.title_of(item),
            "phones": self._phones(item),
            "stage": self._stage(item), "responsible": responsible.full_name if responsible else "",
            "activities": [self._activity(one) for one in reversed(rows)],
            "notes": [{"title": one.title, "text": one.text} for one in reversed(notes)],
        }  # fmt: skip

    def _phones(self, item: CrmItem) -> list[str]:
        """A deal has none of its own: its page shows the client's."""
        clients = self._portal.state.items
        contact = clients[CONTACT].get(to_int(item.fields.get("contactId")))
        return contact.phones() if item.type_id == DEAL and contact else item.phones()

    def _stage(self, item: CrmItem) -> str:
        stage = str(item.fields.get("stageId") or "")
        row = crm.stage_row(self._portal.world, item.type_id, stage, to_int(item.fields.get("categoryId")))
        return str(row["NAME"]) if row else stage

    def _activity(self, one: Activity) -> dict[str, Any]:
        return {
            "id": one.id, "subject": one.fields["SUBJECT"], "provider": one.fields["PROVIDER_ID"],
            "started": one.fields["START_TIME"], "completed": one.fields["COMPLETED"] == "Y",
            "files": one.files,
            "blocks": one.blocks or (one.layout or {}).get("body", {}).get("blocks") or {},
            "entity_type": one.fields["OWNER_TYPE_ID"], "entity_id": one.fields["OWNER_ID"],
        }  # fmt: skip

    def _folder(self, name: str, folder_id: int) -> dict[str, Any]:
        rows = drive.children(self._portal.world, folder_id)
        return {
            "name": name,
            "folders": [self._folder(one.name, one.id) for one in rows if one.is_folder],
            "files": [
                {"id": one.id, "name": one.name, "size": len(one.content)}
                for one in rows
                if not one.is_folder
            ],
        }

    # -- what the buttons do ---------------------------------------------------------------------

    async def _frame(self, request: Request) -> Response:
        """The form that opens the app in an iframe, as the portal's own page would fill it."""
        asked = await _body(request)
        options = asked.get("options")
        placement = str(asked.get("placement") or "DEFAULT")
        user_id = to_int(asked.get("user"))
        record = to_int(asked.get("record"))
        if user_id not in self._portal.state.users:
            return json_reply({"error": "no such user"}, 404)
        if record:
            try:
                options = record_options(placement, record)
            except ValueError as error:
                return json_reply({"error": str(error)}, 400)
        elif placement != "DEFAULT":
            options = {
                **(options if isinstance(options, Mapping) else {}),
                "URI": str(asked.get("uri") or "/"),
            }
        handler = asked.get("handler")
        frame = self._portal.open_frame(
            user_id,
            placement,
            options if isinstance(options, Mapping) else None,
            str(handler) if handler else None,
        )
        if frame is None:
            return json_reply({"missing": True})
        sid = frame.query["APP_SID"]
        facts = {
            "action": frame.address,
            "fields": frame.form,
            "name": frame.name,
            "sid": sid,
            "title": frame.title,
        }
        return json_reply({**facts, "init": self._init_data(user_id, frame.query, frame.form)})

    def _init_data(self, user_id: int, query: dict[str, str], form: dict[str, str]) -> dict[str, Any]:
        """What `getInitData` answers."""
        portal = self._portal
        return {
            "DOMAIN": query["DOMAIN"], "PROTOCOL": int(query["PROTOCOL"]), "LANG": query["LANG"],
            "PATH": "/rest",
            "MEMBER_ID": form["member_id"], "AUTH_ID": form["AUTH_ID"], "REFRESH_ID": form["REFRESH_ID"],
            "AUTH_EXPIRES": int(form["AUTH_EXPIRES"]), "IS_ADMIN": portal.state.users[user_id].admin,
            "APP_OPTIONS": dict(portal.state.app_options),
            "USER_OPTIONS": dict(portal.state.user_options.get(user_id, {})),
            "PLACEMENT": form["PLACEMENT"], "PLACEMENT_OPTIONS": form.get("PLACEMENT_OPTIONS", "{}"),
            "INSTALL": not portal.world.installed, "FIRST_RUN": False,
        }  # fmt: skip

    async def _refresh(self, request: Request) -> Response:
        user_id = to_int((await _body(request)).get("user"))
        if user_id not in self._portal.state.users:
            return json_reply({"error": "no such user"}, 404)
        access, refresh = self._portal.issue_tokens(user_id)
        return json_reply({"AUTH_ID": access, "REFRESH_ID": refresh, "AUTH_EXPIRES": 3600})

    async def _finish_install(self, request: Request) -> Response:
        user_id = to_int((await _body(request)).get("user"))
        known = user_id in self._portal.state.users
        return json_reply({"installed": known and self._portal.finish_install(user_id)})

    async def _call(self, request: Request) -> Response:
        asked = await _body(request)
        user_id, number = to_int(asked.get("user")), str(asked.get("number") or "")
        if user_id not in self._portal.state.users or not number:
            return json_reply({"error": "user and number are needed"}, 400)
        entity = (str(asked.get("entity_type") or ""), to_int(asked.get("entity_id")))
        return json_reply({"call_id": self._portal.press_call(user_id, number, entity)})

    async def _callback(self, request: Request) -> Response:
        asked = await _body(request)
        number = str(asked.get("number") or "")
        if not number:
            return json_reply({"error": "number is needed"}, 400)
        self._portal.request_callback(number, str(asked.get("text") or CALLBACK_TEXT))
        return json_reply({"ok": True})

    async def _clock(self, request: Request) -> Response:
        """Clock in, pause or clock out; what the user's day does not allow is told."""
        asked = await _body(request)
        user_id = to_int(asked.get("user"))
        acts = {
            "in": self._portal.clock_in,
            "pause": self._portal.clock_pause,
            "out": self._portal.clock_out,
        }
        act = acts.get(str(asked.get("act") or ""))
        if act is None or user_id not in self._portal.state.users:
            return json_reply({"error": "user and act (in, pause, out) are needed"}, 400)
        try:
            act(user_id)
        except ValueError as error:
            return json_reply({"error": str(error)}, 409)
        return json_reply({"time_status": self._portal.state.users[user_id].time_status})

    async def _fault(self, request: Request) -> Response:
        """A fault button; the new state comes back."""
        panel, code = self._portal.fault_buttons, str((await _body(request)).get("code") or "")
        if panel is None or not panel.press(code):
            return json_reply({"error": "no such fault"}, 404)
        return json_reply({"faults": panel.rows()})

    async def _options(self, request: Request) -> Response:
        """`setAppOption` and `setUserOption` of the frame."""
        asked = await _body(request)
        user_id = to_int(asked.get("user"))
        state = self._portal.state
        personal = asked.get("kind") == "user"
        user = state.users.get(user_id)
        if user is None or (not personal and not user.admin):
            return json_reply({"error": "not allowed"}, 403)
        table = state.user_options.setdefault(user_id, {}) if personal else state.app_options
        table[str(asked.get("name") or "")] = str(asked.get("value") or "")
        return json_reply(dict(table))

    async def _file(self, request: Request) -> Response:
        stored = self._portal.state.objects.get(request.path_params["number"])
        if stored is None or stored.is_folder:
            return Response("not found", 404)
        kind = {"mp3": "audio/mpeg", "wav": "audio/wav", "json": "application/json"}
        return Response(
            stored.content, media_type=kind.get(stored.name.rpartition(".")[2], "application/octet-stream")
        )


async def _body(request: Request) -> dict[str, Any]:
    try:
        body = await request.json()
    except ValueError:
        return {}
    return body if isinstance(body, dict) else {}
