"""A page of ours opened inside the portal: the shape of its request. Pure (bitrix24.md §2.1, §2.3).

Shapes are checked, nothing is believed: who it is says `PortalVerifier.verify`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Final

from bitrix_app.bitrix.forms import BadForm
from bitrix_app.bitrix.servers import host_name, member_id_of, scopes
from bitrix_app.bitrix.values import as_id, as_text

LANGUAGES: Final = MappingProxyType(
    {
        "ua": "uk",
        "la": "es",
        "br": "pt-BR",
        "sc": "zh-CN",
        "tc": "zh-TW",
        "vn": "vi",
        "kz": "kk",
        "in": "hi",
    }
)
"""Bitrix24's codes that are not the world's (bitrix24.md §2.1)."""
MAX_OPTIONS: Final = 16 * 1024
MAX_TOKEN: Final = 4096

_LANG = re.compile(r"[a-z]{2,3}(?:[-_][a-z0-9]{2,4})?")
_PLACEMENT = re.compile(r"[A-Z0-9_]{1,100}")


@dataclass(frozen=True, slots=True)
class FrameRequest:
    """A frame's POST. `language` is ours (`uk`, not `ua`); `options` is the decoded JSON object."""

    domain: str
    member_id: str
    access_token: str = field(repr=False)
    refresh_token: str = field(default="", repr=False)
    expires_in: int = 3600
    application_token: str = field(default="", repr=False)
    server_endpoint: str = ""
    scope: tuple[str, ...] = ()
    status: str = ""
    is_https: bool = True
    language: str = "en"
    app_sid: str = field(default="", repr=False)
    placement: str = "DEFAULT"
    options: Mapping[str, Any] = field(default_factory=dict)

    def option(self, key: str) -> str:
        """An option as text; the portal casts them to text on its way (§7.6)."""
        return as_text(self.options.get(key))


_OF_RECORD: Final = re.compile(r"CRM_(LEAD|DEAL|CONTACT)_(?:LIST_MENU|DETAIL_TOOLBAR)")


def record_of(frame: FrameRequest) -> str | None:
    """`LEAD:1205` where the page was opened from a record's menu or toolbar (bitrix24.md §10)."""
    place, number = _OF_RECORD.fullmatch(frame.placement), as_id(frame.options.get("ID"))
    return f"{place[1]}:{number}" if place and number else None


def read_frame(query: Mapping[str, str], form: Mapping[str, str]) -> FrameRequest:
    """Raises `BadForm` for a shape that no portal sends; older portals may leave fields out."""
    domain = host_name(query.get("DOMAIN"))
    member_id = member_id_of(form.get("member_id"))
    token = as_text(form.get("AUTH_ID"))
    if not domain:
        raise BadForm("DOMAIN is not a host name")
    if not member_id:
        raise BadForm("member_id is not a portal's id")
    if not token or len(token) > MAX_TOKEN:
        raise BadForm("AUTH_ID is missing")
    placement = as_text(form.get("PLACEMENT")).upper() or "DEFAULT"
    if not _PLACEMENT.fullmatch(placement):
        raise BadForm("PLACEMENT is not a placement's code")
    return FrameRequest(
        domain=domain,
        member_id=member_id,
        access_token=token,
        refresh_token=as_text(form.get("REFRESH_ID"))[:MAX_TOKEN],
        expires_in=min(as_id(form.get("AUTH_EXPIRES")) or 3600, 86_400),
        application_token=as_text(form.get("APPLICATION_TOKEN"))[:200],
        server_endpoint=as_text(form.get("SERVER_ENDPOINT"))[:300],
        scope=scopes(form.get("APPLICATION_SCOPE")),
        status=as_text(form.get("status"))[:10],
        is_https=as_text(query.get("PROTOCOL")) != "0",
        language=language_of(query.get("LANG")),
        app_sid=as_text(query.get("APP_SID"))[:100],
        placement=placement,
        options=_options(as_text(form.get("PLACEMENT_OPTIONS"))),
    )


def language_of(value: object) -> str:
    """A portal's language code as the world's; `en` for what is no code."""
    text = as_text(value).lower()
    if not _LANG.fullmatch(text):
        return "en"
    return LANGUAGES.get(text, text)


def portal_code(language: str) -> str:
    """The world's language code as a portal writes it: `uk` is `ua` there."""
    return next((theirs for theirs, ours in LANGUAGES.items() if ours == language), language)


def _options(text: str) -> Mapping[str, Any]:
    if not text:
        return {}
    if len(text) > MAX_OPTIONS:
        raise BadForm("PLACEMENT_OPTIONS is too long")
    try:
        options = json.loads(text)
    except (ValueError, RecursionError):
        raise BadForm("PLACEMENT_OPTIONS is not JSON") from None
    if isinstance(options, dict):
        return options
    if options in ([], None, ""):  # PHP's empty map
        return {}
    raise BadForm("PLACEMENT_OPTIONS is not an object")
