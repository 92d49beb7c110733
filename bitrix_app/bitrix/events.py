"""What a portal tells us by its queue servers. Pure (bitrix24.md §1.4, §6.8, §11.1).

Nothing of an event may be believed before `token_matches`; its tokens are never used for writing.
"""

from __future__ import annotations

import hashlib
import hmac
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qsl, urlencode

from bitrix_app.bitrix.forms import MAX_FIELDS, BadForm, unfold
from bitrix_app.bitrix.frames import FrameRequest as FrameRequest
from bitrix_app.bitrix.frames import read_frame as read_frame
from bitrix_app.bitrix.servers import host_name, member_id_of, scopes
from bitrix_app.bitrix.values import as_bool, as_id, as_mapping, as_text

SECRET_FIELDS = frozenset(
    {
        "auth[access_token]",
        "auth[refresh_token]",
        "auth[application_token]",
        "data[TOKEN]",
        "AUTH_ID",
        "REFRESH_ID",
        "APPLICATION_TOKEN",
    }
)


@dataclass(frozen=True, slots=True)
class EventAuth:
    """The `auth` block; every field may be missing (empty or `None`). Tokens stay out of `repr`."""

    member_id: str = ""
    domain: str = ""
    application_token: str = field(default="", repr=False)
    access_token: str | None = field(default=None, repr=False)
    refresh_token: str | None = field(default=None, repr=False)
    server_endpoint: str = ""
    client_endpoint: str = ""
    user_id: int | None = None
    expires_in: int | None = None
    expires: int | None = None
    scope: tuple[str, ...] = ()
    status: str = ""


@dataclass(frozen=True, slots=True)
class BitrixEvent:
    """An event as it came. `name` is upper case; `data` has text leaves; `ts` is unix seconds, text."""

    name: str
    handler_id: str
    data: Mapping[str, Any]
    ts: str
    auth: EventAuth

    @property
    def digest(self) -> str:
        """The same for every delivery of one happening: handlers and tokens do not count."""
        told = json.dumps([self.auth.member_id, self.name, self.data, self.ts], sort_keys=True)
        return hashlib.sha256(told.encode("utf-8", "replace")).hexdigest()

    def token_matches(self, application_token: str) -> bool:
        """Whether the event carries this application_token; compared in constant time (§1.5)."""
        return same_token(self.auth.application_token, application_token)

    @staticmethod
    def without_secrets(body: bytes) -> bytes:
        """The raw form with every token replaced, for keeping; unreadable forms are dropped whole."""
        try:
            pairs = parse_qsl(body.decode("utf-8", "replace"), True, max_num_fields=MAX_FIELDS)
        except ValueError:
            return b""
        return urlencode([(k, "***" if _is_secret(k) else v) for k, v in pairs]).encode()


def same_token(offered: str, known: str) -> bool:
    """Constant-time comparison; an empty token matches nothing."""
    return bool(known) and hmac.compare_digest(
        offered.encode("utf-8", "replace"), known.encode("utf-8", "replace")
    )


def read_event(pairs: Iterable[tuple[str, str]]) -> BitrixEvent:
    """A form of the queue server. Raises `BadForm` when it is none."""
    form = unfold(pairs)
    name = as_text(form.get("event")).upper()
    if not name or len(name) > 100:
        raise BadForm("the form names no event")
    auth = as_mapping(form.get("auth"))
    member_id = member_id_of(auth.get("member_id"))
    if not member_id:
        raise BadForm("the event names no portal")
    return BitrixEvent(
        name=name,
        handler_id=as_text(form.get("event_handler_id"))[:50],
        data=as_mapping(form.get("data")),
        ts=as_text(form.get("ts"))[:20],
        auth=EventAuth(
            member_id=member_id,
            domain=host_name(auth.get("domain")),
            application_token=as_text(auth.get("application_token"))[:200],
            access_token=as_text(auth.get("access_token")) or None,
            refresh_token=as_text(auth.get("refresh_token")) or None,
            server_endpoint=as_text(auth.get("server_endpoint") or auth.get("server_andpoint")),
            client_endpoint=as_text(auth.get("client_endpoint")),
            user_id=as_id(auth.get("user_id")),
            expires_in=as_id(auth.get("expires_in")),
            expires=as_id(auth.get("expires")),
            scope=scopes(auth.get("scope")),
            status=as_text(auth.get("status")),
        ),
    )


def read_body(body: bytes) -> BitrixEvent:
    """`read_event` of a raw urlencoded body. Raises `BadForm`."""
    try:
        pairs = parse_qsl(
            body.decode("utf-8"), keep_blank_values=True, max_num_fields=MAX_FIELDS, errors="strict"
        )
    except ValueError as wrong:
        raise BadForm("the body is not a form") from wrong
    return read_event(pairs)


def _is_secret(key: str) -> bool:
    return key in SECRET_FIELDS or "token" in key.lower()


# --- what single events say --------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class CallInit:
    """ONVOXIMPLANTCALLINIT: a call was registered by any telephony app of the portal."""

    call_id: str
    call_type: str
    number: str
    rest_app_id: str


def read_call_init(event: BitrixEvent) -> CallInit | None:
    """`None` for Bitrix24's own lines, which name no caller and no app."""
    row = event.data
    call_id = as_text(row.get("CALL_ID"))
    number = as_text(row.get("CALLER_ID"))
    if not call_id or not number:
        return None
    return CallInit(call_id, as_text(row.get("CALL_TYPE")), number, as_text(row.get("REST_APP_ID")))


def read_clean(event: BitrixEvent) -> bool:
    """ONAPPUNINSTALL: whether the administrator asked to delete our data too."""
    return as_bool(event.data.get("CLEAN"))


@dataclass(frozen=True, slots=True)
class AppVersion:
    """ONAPPINSTALL, ONAPPUPDATE. `installed` is false while an installer page is unfinished."""

    version: str
    previous: str
    installed: bool
    language: str


def read_app_version(event: BitrixEvent) -> AppVersion:
    row = event.data
    return AppVersion(
        as_text(row.get("VERSION")),
        as_text(row.get("PREVIOUS_VERSION")),
        as_bool(row.get("INSTALLED", "Y")),
        as_text(row.get("LANGUAGE_ID")),
    )


@dataclass(frozen=True, slots=True)
class CallStart:
    """ONEXTERNALCALLSTART: click-to-call; `call_id` is registered already (§6.8)."""

    call_id: str
    number: str
    user_id: int | None
    line: str
    extension: str
    crm_type: str | None
    crm_id: int | None
    is_mobile: bool


def read_call_start(event: BitrixEvent) -> CallStart | None:
    """`None` without a CALL_ID or a number: there is nothing to dial or to finish."""
    row = event.data
    call_id = as_text(row.get("CALL_ID"))
    number = as_text(row.get("PHONE_NUMBER_INTERNATIONAL")) or as_text(row.get("PHONE_NUMBER"))
    if not call_id or not number:
        return None
    return CallStart(
        call_id,
        number,
        as_id(row.get("USER_ID")),
        as_text(row.get("LINE_NUMBER")),
        as_text(row.get("EXTENSION")),
        as_text(row.get("CRM_ENTITY_TYPE")) or None,
        as_id(row.get("CRM_ENTITY_ID")),
        as_bool(row.get("IS_MOBILE")),
    )


@dataclass(frozen=True, slots=True)
class CallbackStart:
    """ONEXTERNALCALLBACKSTART: a web form asks to be called back; we register it (TYPE 4)."""

    number: str
    text: str
    line: str
    crm_type: str | None
    crm_id: int | None


def read_callback_start(event: BitrixEvent) -> CallbackStart | None:
    row = event.data
    number = as_text(row.get("PHONE_NUMBER"))
    if not number:
        return None
    return CallbackStart(
        number,
        as_text(row.get("TEXT"))[:1000],
        as_text(row.get("LINE_NUMBER")),
        as_text(row.get("CRM_ENTITY_TYPE")) or None,
        as_id(row.get("CRM_ENTITY_ID")),
    )
