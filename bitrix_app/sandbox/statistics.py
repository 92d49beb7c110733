"""Statistics of finished calls, and the extension list that needs approval (bitrix24.md §6.9)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from bitrix_app.sandbox.errors import RestError
from bitrix_app.sandbox.query import Page, matches, page_of, sort_rows
from bitrix_app.sandbox.registry import METHODS
from bitrix_app.sandbox.state import Call
from bitrix_app.sandbox.wire import as_list, to_int
from bitrix_app.sandbox.world import Hit, World


def _text(value: Any) -> str | None:
    return None if value is None else str(value)


def row(world: World, call: Call) -> dict[str, Any]:
    """All strings but RECORD_FILE_ID."""
    return {
        "ID": str(call.statistic_id),
        "PORTAL_USER_ID": str(call.user_id),
        "PORTAL_NUMBER": call.line or f"REST_APP:{call.app_id}",
        "PHONE_NUMBER": call.number,
        "CALL_ID": call.call_id,
        "EXTERNAL_CALL_ID": call.external_id or None,
        "CALL_CATEGORY": "external",
        "CALL_LOG": None,
        "CALL_DURATION": str(call.duration),
        "CALL_START_DATE": world.iso(call.started),
        "CALL_RECORD_URL": call.record_url,
        "CALL_VOTE": _text(call.vote),
        "COST": f"{call.cost:.4f}",
        "COST_CURRENCY": call.cost_currency,
        "CALL_FAILED_CODE": call.status_code,
        "CALL_FAILED_REASON": call.failed_reason,
        "CRM_ENTITY_TYPE": call.entity_type or None,
        "CRM_ENTITY_ID": _text(call.entity_id or None),
        "CRM_ACTIVITY_ID": _text(call.activity_id),
        "REST_APP_ID": call.app_id,
        "REST_APP_NAME": world.card.name,
        "TRANSCRIPT_ID": _text(call.transcript_id),
        "TRANSCRIPT_PENDING": "N",
        "SESSION_ID": None,
        "REDIAL_ATTEMPT": None,
        "COMMENT": None,
        "RECORD_DURATION": None,
        "RECORD_FILE_ID": call.record_file_id,
        "CALL_TYPE": str(call.type),
    }


@METHODS.add("voximplant.statistic.get", "telephony")
def statistic_get(hit: Hit) -> Page:
    """Needs the right "call statistics – view"; sorts by any field but CALL_TYPE."""
    if not hit.user.sees_statistics and not hit.user.admin:
        raise RestError("ACCESS_DENIED")
    conditions = hit.arg("FILTER") or {}
    rows = [row(hit.world, call) for call in _near(hit.state.finished_calls(), conditions)]
    found = [one for one in rows if matches(one.get, conditions, hit.world.timezone)]
    sort = str(hit.arg("SORT") or "ID").upper()
    if sort == "CALL_TYPE" or sort not in (rows[0] if rows else {sort: None}):
        sort = "ID"
    found = sort_rows(found, lambda one, name: one.get(name), {sort: str(hit.arg("ORDER") or "ASC")})
    return page_of(found, hit.arg("start", 0), lambda one: one)


def _near(calls: list[Call], conditions: Any) -> list[Call]:
    """Those that an id in the filter leaves: all rows need not be written out to find one."""
    wanted = conditions if isinstance(conditions, Mapping) else {}
    ours, theirs = wanted.get("EXTERNAL_CALL_ID"), wanted.get("CALL_ID")
    if isinstance(ours, str) and not ours.isdecimal():
        calls = [call for call in calls if call.external_id == ours]
    if isinstance(theirs, str) and not theirs.isdecimal():
        calls = [call for call in calls if call.call_id == theirs]
    return calls


@METHODS.add("voximplant.user.get", "telephony")
def user_get(hit: Hit) -> list[dict[str, Any]]:
    """Waits for an administrator's approval of this very token (§4.3, METHOD_CONFIRM)."""
    verdict = hit.world.confirmed_tokens.get((hit.token, hit.method))
    if verdict is None:
        raise RestError("METHOD_CONFIRM_WAITING")
    if not verdict:
        raise RestError("METHOD_CONFIRM_DENIED")
    asked = [to_int(one) for one in as_list(hit.arg("USER_ID"))]
    return [
        {
            "ID": str(user.id),
            "DEFAULT_LINE": None,
            "PHONE_ENABLED": "Y",
            "SIP_SERVER": "ip.b24-0000-1500000000.bitrixphone.com",
            "SIP_LOGIN": f"phone{user.id}",
            "SIP_PASSWORD": "fictional",
            "INNER_NUMBER": user.inner,
        }
        for user in hit.state.users.values()
        if user.id in asked
    ]
