"""Users and the app itself: requests and readers (bitrix24.md §12)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from bitrix_app.bitrix.wire import RestCall
from bitrix_app.core.portal import Agent

FIELDS: Final = ("ID", "ACTIVE", "NAME", "LAST_NAME", "EMAIL", "UF_PHONE_INNER")


def users_page(start: int = 0) -> RestCall:
    """A page of 50 employees; robots and mail users are left out by Bitrix24 itself."""
    return RestCall(
        "user.get",
        {"FILTER": {"USER_TYPE": "employee"}, "sort": "ID", "order": "ASC", "start": start},
        reads=True,
    )


def users_by_extension(extension: str) -> RestCall:
    """Exact match of the inner number; whoever was dismissed may have passed it on."""
    return RestCall("user.get", {"FILTER": {"UF_PHONE_INNER": extension, "ACTIVE": True}}, reads=True)


def agent_of(item: Any) -> Agent | None:
    """A user of `user.get`, or `None` for something without an id. ACTIVE may be bool or `Y`."""
    if not isinstance(item, Mapping):
        return None
    try:
        user_id = int(item["ID"])
    except (KeyError, TypeError, ValueError):
        return None
    name = " ".join(str(item.get(k) or "") for k in ("NAME", "LAST_NAME")).strip()
    return Agent(
        user_id=user_id,
        name=name or f"#{user_id}",
        extension=str(item.get("UF_PHONE_INNER") or "").strip() or None,
        email=str(item.get("EMAIL") or "").strip() or None,
        # a field that is not there was left out (findings §2, no. 36); only a «no» dismisses somebody
        active=item.get("ACTIVE", True) in (True, "Y", "true", 1, "1"),
    )


def app_info() -> RestCall:
    return RestCall("app.info", {}, reads=True)


def notify(user_id: int, message: str, tag: str) -> RestCall:
    """`im.notify.system.add`: a later notice of the same TAG replaces it (bitrix24.md §9.1)."""
    return RestCall("im.notify.system.add", {"USER_ID": user_id, "MESSAGE": message, "TAG": tag}, reads=False)


def directories() -> dict[str, RestCall]:
    """Lines of our app and stages of leads and deals, as one batch (bitrix24.md §6.7, §7.5)."""
    return {
        "lines": RestCall("telephony.externalLine.get", {}, reads=True),
        "lead_stages": RestCall("crm.status.list", {"filter": {"ENTITY_ID": "STATUS"}}, reads=True),
        "deal_stages": RestCall("crm.status.list", {"filter": {"ENTITY_ID": "DEAL_STAGE"}}, reads=True),
    }
