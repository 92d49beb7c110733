"""event.*: handlers and the offline queue (bitrix24.md §11)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

from bitrix_app.sandbox.errors import RestError, core_error
from bitrix_app.sandbox.query import Page, matches, page_of, sort_rows
from bitrix_app.sandbox.registry import METHODS
from bitrix_app.sandbox.state import Handler, OfflineEvent
from bitrix_app.sandbox.wire import as_list, to_int
from bitrix_app.sandbox.world import Hit

_LIFE = [
    "ONAPPINSTALL", "ONAPPUPDATE", "ONAPPUNINSTALL", "ONAPPPAYMENT", "ONAPPMETHODCONFIRM", "ONAPPTEST",
    "ONOFFLINEEVENT",
]  # fmt: skip
_CRM = [
    *(f"ONCRM{kind}{what}" for kind in ("LEAD", "DEAL", "CONTACT", "COMPANY", "ACTIVITY", "TIMELINECOMMENT",
      "DYNAMICITEM") for what in ("ADD", "UPDATE", "DELETE")),
    "ONCRMDEALMOVETOCATEGORY", "ONCRMTIMELINEITEMACTION",
]  # fmt: skip
EVENTS: dict[str, list[str]] = {
    "": _LIFE,
    "telephony": [
        "ONVOXIMPLANTCALLINIT", "ONVOXIMPLANTCALLSTART", "ONVOXIMPLANTCALLEND", "ONEXTERNALCALLSTART",
        "ONEXTERNALCALLBACKSTART",
    ],
    "crm": _CRM,
    "user": ["ONUSERADD"],
}  # fmt: skip


def names(scopes: tuple[str, ...]) -> list[str]:
    """Events that these scopes open."""
    return [name for scope, group in EVENTS.items() if not scope or scope in scopes for name in group]


@METHODS.add("events")
def events(hit: Hit) -> list[str]:
    scope = hit.arg("SCOPE")
    if scope:
        return EVENTS.get(str(scope), [])
    return names(hit.scopes)


@METHODS.add("event.bind", app_only=True)
def bind(hit: Hit) -> bool:
    """Ordinary users may bind for themselves only."""
    name = str(hit.arg("EVENT") or "").upper()
    if not name:
        raise RestError("ERROR_ARGUMENT", "Argument 'EVENT' is null or empty", status=400, argument="EVENT")
    if name not in names(hit.scopes):
        raise RestError("ERROR_EVENT_NOT_FOUND", "Event not found", status=400)
    offline = str(hit.arg("EVENT_TYPE") or "online").lower() == "offline"
    auth_type = to_int(hit.arg("AUTH_TYPE"))
    if not hit.user.admin:
        if offline or (auth_type and auth_type != hit.user_id):
            raise RestError("ACCESS_DENIED")
        auth_type = hit.user_id
    url = "" if offline else str(hit.arg("HANDLER") or "")
    if not offline:
        _check_url(url)
    connector = str(hit.arg("AUTH_CONNECTOR") or "")
    options = hit.arg("OPTIONS")
    for one in hit.state.handlers:
        if (one.event, one.url, one.auth_type, one.connector, one.offline) == (
            name,
            url,
            auth_type,
            connector,
            offline,
        ):
            raise core_error("Unable to set event handler: Handler already binded")
    hit.state.handlers.append(
        Handler(
            hit.state.next_id("handler"),
            name,
            url,
            auth_type,
            offline,
            connector,
            dict(options) if isinstance(options, Mapping) else {},
        )
    )
    return True


def _check_url(url: str) -> None:
    parts = urlsplit(url)
    if not parts.hostname:
        raise RestError("ERROR_WRONG_HANDLER_URL", "Wrong handler URL", status=400)
    if parts.scheme not in ("http", "https"):
        raise RestError("ERROR_UNSUPPORTED_PROTOCOL", "Unsupported event handler protocol", status=400)


@METHODS.add("event.get", app_only=True)
def get(hit: Hit) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = []
    for one in hit.state.handlers:
        if one.offline:
            row = {
                "event": one.event,
                "auth_type": str(one.auth_type),
                "offline": 1,
                "connector_id": one.connector,
            }
            rows.append({**row, "handler": ""})
        else:
            rows.append(
                {"event": one.event, "handler": one.url, "auth_type": str(one.auth_type), "offline": 0}
            )
    return rows


@METHODS.add("event.unbind", app_only=True)
def unbind(hit: Hit) -> dict[str, int]:
    name = str(hit.arg("EVENT") or "").upper()
    url = str(hit.arg("HANDLER") or "")
    offline = str(hit.arg("EVENT_TYPE") or "online").lower() == "offline"
    auth_type = hit.arg("AUTH_TYPE")
    gone = [
        one
        for one in hit.state.handlers
        if one.event == name
        and one.offline is offline
        and (offline or one.url == url)
        and (auth_type is None or one.auth_type == to_int(auth_type))
        and (hit.user.admin or one.auth_type == hit.user_id)
    ]
    hit.state.handlers[:] = [one for one in hit.state.handlers if one not in gone]
    return {"count": len(gone)}


@METHODS.add("event.test", app_only=True)
def test(hit: Hit) -> bool:
    """The portal sends ONAPPTEST with whatever was given."""
    hit.emit("ONAPPTEST", {"QUERY": hit.params})
    return True


# -- offline (§11.2) -----------------------------------------------------------------------------


def _offline(hit: Hit) -> list[OfflineEvent]:
    hit.need_admin()
    connector = str(hit.arg("AUTH_CONNECTOR") or "")
    return [one for one in hit.state.offline_events if one.connector == connector]


@METHODS.add("event.offline.get", app_only=True)
def offline_get(hit: Hit) -> dict[str, Any]:
    """clear=1 deletes at once, clear=0 reserves under a process id."""
    process_id = str(hit.arg("PROCESS_ID") or "") or hit.world.md5()
    limit = to_int(hit.arg("LIMIT", 50)) or 50
    wanted_errors = bool(to_int(hit.arg("ERROR", 0)))
    found = [
        one
        for one in _offline(hit)
        if one.process_id in ("", process_id)
        and one.error is wanted_errors
        and matches(_row(hit, one).get, hit.arg("FILTER") or {})
    ][:limit]
    for one in found:
        one.process_id = process_id
    if to_int(hit.arg("CLEAR", 1)):
        hit.state.offline_events[:] = [one for one in hit.state.offline_events if one not in found]
    rows = [_row(hit, one) for one in found]
    return {"process_id": process_id, "events": rows}


def _row(hit: Hit, one: OfflineEvent) -> dict[str, Any]:
    return {
        "ID": str(one.id),
        "TIMESTAMP_X": hit.world.iso(one.at),
        "EVENT_NAME": one.event,
        "EVENT_DATA": one.data or False,
        "EVENT_ADDITIONAL": False,
        "MESSAGE_ID": one.message_id,
    }


@METHODS.add("event.offline.list", app_only=True)
def offline_list(hit: Hit) -> Page:
    rows = [  # the sample lists without the data
        {
            **_row(hit, one),
            "EVENT_DATA": False,
            "PROCESS_ID": one.process_id,
            "ERROR": "1" if one.error else "0",
        }
        for one in _offline(hit)
    ]
    found = [row for row in rows if matches(row.get, hit.arg("FILTER") or {})]
    order = hit.arg("ORDER")
    found = sort_rows(
        found, lambda row, name: row.get(name), order if isinstance(order, Mapping) else {"ID": "ASC"}
    )
    return page_of(found, hit.arg("START", 0), lambda row: row)


def _reserved(hit: Hit) -> list[OfflineEvent]:
    hit.need_admin()
    process_id = str(hit.arg("PROCESS_ID") or "")
    ids = {to_int(one) for one in as_list(hit.arg("ID"))}
    messages = {str(one) for one in as_list(hit.arg("MESSAGE_ID"))}
    return [
        one
        for one in hit.state.offline_events
        if one.process_id == process_id
        and (not (ids or messages) or one.id in ids or one.message_id in messages)
    ]


@METHODS.add("event.offline.clear", app_only=True)
def offline_clear(hit: Hit) -> bool:
    gone = _reserved(hit)
    hit.state.offline_events[:] = [one for one in hit.state.offline_events if one not in gone]
    return True


@METHODS.add("event.offline.error", app_only=True)
def offline_error(hit: Hit) -> bool:
    for one in _reserved(hit):
        one.error, one.process_id = True, ""
    return True
