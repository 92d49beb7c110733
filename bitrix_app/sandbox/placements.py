"""Widgets: bind, unbind, get, list, with the refusals that come as HTTP 200 (bitrix24.md §10)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

from bitrix_app.sandbox.errors import RestError, core_error
from bitrix_app.sandbox.registry import METHODS
from bitrix_app.sandbox.state import PlacementRow
from bitrix_app.sandbox.wire import php_map, to_int
from bitrix_app.sandbox.world import Hit

CRM_CARDS = ("LEAD", "DEAL", "CONTACT", "COMPANY")
SCOPE_OF: dict[str, str] = {
    **{f"CRM_{kind}_{place}": "crm" for kind in CRM_CARDS for place in (
        "DETAIL_TAB", "DETAIL_TOOLBAR", "DETAIL_ACTIVITY", "LIST_MENU", "LIST_TOOLBAR")},
    "CRM_LEAD_ACTIVITY_TIMELINE_MENU": "crm",
    "CRM_DEAL_ACTIVITY_TIMELINE_MENU": "crm",
    "CRM_ANALYTICS_MENU": "crm",
    "CRM_ANALYTICS_TOOLBAR": "crm",
    "CALL_CARD": "telephony",
    "TELEPHONY_ANALYTICS_MENU": "telephony",
    "LEFT_MENU": "",
    "PAGE_BACKGROUND_WORKER": "",
    "REST_APP_URI": "",
}  # fmt: skip
_MAX_COUNT = {"PAGE_BACKGROUND_WORKER": 1, "REST_APP_URI": 1}
_PER_USER = frozenset({"PAGE_BACKGROUND_WORKER"})


def available(scopes: tuple[str, ...]) -> list[str]:
    """Codes that these scopes open."""
    return [code for code, scope in SCOPE_OF.items() if not scope or scope in scopes]


@METHODS.add("placement.list", "placement", app_only=True)
def placement_list(hit: Hit) -> list[str]:
    return available(hit.scopes)


@METHODS.add("placement.bind", "placement", app_only=True)
def bind(hit: Hit) -> bool:
    """Administrators only. Check the body, not the status."""
    code = str(hit.arg("PLACEMENT") or "").upper()
    handler = str(hit.arg("HANDLER") or "")
    for name, value in (("PLACEMENT", code), ("HANDLER", handler)):
        if not value:
            text = f"Argument '{name}' is null or empty"
            raise RestError("ERROR_ARGUMENT", text, status=200, argument=name)
    hit.need_admin()
    if code not in available(hit.scopes):
        raise RestError("ERROR_PLACEMENT_NOT_FOUND", "Placement not found", status=400)
    if urlsplit(handler).scheme not in ("http", "https") or not urlsplit(handler).hostname:
        raise RestError("ERROR_WRONG_HANDLER_URL", "Wrong handler URL", status=400)
    user_id = to_int(hit.arg("USER_ID"))
    if user_id and code not in _PER_USER:
        raise RestError("ERROR_PLACEMENT_USER_MODE", "User mode is not available", status=200)
    options = hit.arg("OPTIONS")
    options = dict(options) if isinstance(options, Mapping) else {}
    if code == "PAGE_BACKGROUND_WORKER" and not options.get("errorHandlerUrl"):
        raise RestError("EMPTY_ERROR_HANDLER_URL", "OPTIONS[errorHandlerUrl] is required", status=200)
    same = [one for one in hit.state.placements if (one.code, one.user_id) == (code, user_id)]
    if any(one.handler == handler for one in same):
        raise core_error("Unable to set placement handler: Handler already binded")
    if len(same) >= _MAX_COUNT.get(code, 1_000):
        raise RestError("ERROR_PLACEMENT_MAX_COUNT", "Placement max count was exceeded", status=200)
    hit.state.placements.append(
        PlacementRow(
            code=code,
            handler=handler,
            title=str(hit.arg("TITLE") or ""),
            description=str(hit.arg("DESCRIPTION") or ""),
            group=str(hit.arg("GROUP_NAME") or ""),
            lang_all=_languages(hit.arg("LANG_ALL")),
            options=options,
            user_id=user_id,
        )
    )
    return True


def _languages(raw: Any) -> dict[str, Any]:
    if not isinstance(raw, Mapping):
        return {}
    return {
        str(language): {name: str(texts.get(name, "")) for name in ("TITLE", "DESCRIPTION", "GROUP_NAME")}
        for language, texts in raw.items()
        if isinstance(texts, Mapping)
    }


@METHODS.add("placement.unbind", "placement", app_only=True)
def unbind(hit: Hit) -> dict[str, int]:
    """[src] counts two per handler."""
    hit.need_admin()
    code = str(hit.arg("PLACEMENT") or "").upper()
    if not code:
        raise RestError(
            "ERROR_ARGUMENT", "Argument 'PLACEMENT' is null or empty", status=200, argument="PLACEMENT"
        )
    handler = hit.arg("HANDLER")
    gone = [
        one
        for one in hit.state.placements
        if one.code == code and (not handler or one.handler == str(handler))
    ]
    hit.state.placements[:] = [one for one in hit.state.placements if one not in gone]
    return {"count": 2 * len(gone)}


@METHODS.add("placement.get", "placement", app_only=True)
def get(hit: Hit) -> list[dict[str, Any]]:
    hit.need_admin()
    return [
        {
            "placement": one.code,
            "userId": one.user_id,
            "handler": one.handler,
            "options": php_map(one.options),
            "title": one.title,
            "description": one.description,
            "langAll": php_map(one.lang_all),
        }
        for one in hit.state.placements
    ]
