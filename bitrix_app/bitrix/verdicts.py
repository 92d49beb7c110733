"""What each error of the portal or the auth server means for the work, as a table.

bitrix24.md §3.4 (auth server) and §4.3 (portal). Codes are compared without case; texts only where
the vendor gives no code (`ERROR_CORE`, an empty code, a sentence in the code's place).
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC
from email.utils import parsedate_to_datetime
from types import MappingProxyType
from typing import Any, Final

from bitrix_app.bitrix.masking import scrub
from bitrix_app.bitrix.wire import host_of
from bitrix_app.core.errors import (
    AnswerLost,
    Conflict,
    ExpiredToken,
    Forbidden,
    NotFound,
    PaymentNeeded,
    PortalGone,
    Refused,
    Throttled,
    Trouble,
    Unavailable,
    UserRevoked,
    VendorBroken,
    Who,
)
from bitrix_app.core.ports import HttpResponse

HOUR: Final = 3600.0
LONGEST: Final = 24 * HOUR
"""No «come back later» is believed beyond this."""


class PortalMoved(Unavailable):
    """A redirect: the portal was renamed. Nothing was done there; `host` is where it points to."""

    default_code = "PORTAL_MOVED"
    default_hint = "The portal has a new address. It is checked and used by itself."

    def __init__(self, location: str) -> None:
        self.host = host_of(location)
        super().__init__(f"The portal redirects to {self.host or 'an unreadable address'}.")


BY_CODE: Final[Mapping[str, type[Trouble]]] = MappingProxyType(
    {
        "EXPIRED_TOKEN": ExpiredToken,
        # doc: no retry; but a refresh settles cheaply whether only this access token is foreign
        "INVALID_TOKEN": ExpiredToken,
        "NO_AUTH_FOUND": ExpiredToken,
        "AUTHORIZATION_ERROR": UserRevoked,
        "INVALID_GRANT": UserRevoked,
        "APPLICATION_NOT_FOUND": PortalGone,
        "ERROR_OAUTH": PortalGone,
        "NOT_INSTALLED": PortalGone,
        "PORTAL_DELETED": PortalGone,
        "PAYMENT_REQUIRED": PaymentNeeded,
        "QUERY_LIMIT_EXCEEDED": Throttled,
        "OPERATION_TIME_LIMIT": Throttled,
        "OVERLOAD_LIMIT": Throttled,
        "CONNECTION_ERROR": VendorBroken,  # said before the method ran: nothing was done
        "INSUFFICIENT_SCOPE": Forbidden,
        "INVALID_SCOPE": Forbidden,
        "INVALID_CREDENTIALS": Forbidden,
        "USER_ACCESS_ERROR": Forbidden,
        "USER_ID_ACCESS_ERROR": Forbidden,
        "ACCESS_DENIED": Forbidden,
        "ACCESSEXCEPTION": Forbidden,
        "WRONG_AUTH_TYPE": Forbidden,
        "ERROR_WRONG_CONTEXT": Forbidden,
        "ERROR_WRONG_APPLICATION": Forbidden,
        "METHOD_CONFIRM_WAITING": Forbidden,
        "METHOD_CONFIRM_DENIED": Forbidden,
        "ALLOWED_ONLY_INTRANET_USER": Forbidden,
        "INVALID_CLIENT": Forbidden,
        "WRONG_CLIENT": Forbidden,
        "NOT_FOUND": NotFound,
        "ERROR_NOT_FOUND": NotFound,
        "OWNER_NOT_FOUND": NotFound,
        "ERROR_METHOD_NOT_FOUND": NotFound,
        "ERROR_EVENT_NOT_FOUND": NotFound,
        "ERROR_PLACEMENT_NOT_FOUND": NotFound,
        "DISK_OBJ_22000": Conflict,
        "DISK_FILE_22007": Unavailable,  # locked by somebody for now
        # judged before anything was done, whatever status an old portal sends along
        "INVALID_REQUEST": Refused,
        "ERROR_ARGUMENT": Refused,
        "INVALID_ARG_VALUE": Refused,
        "ERROR_BATCH_METHOD_NOT_ALLOWED": Refused,
        "ERROR_BATCH_LENGTH_EXCEEDED": Refused,
        "ERROR_MANIFEST_IS_NOT_AVAILABLE": Refused,
        "INTERNAL_WRONG_TRANSPORT": Refused,
        "WRONG_ENCODING": Refused,
    }
)
BROKEN: Final = frozenset({"INTERNAL_SERVER_ERROR", "ERROR_UNEXPECTED_ANSWER"})
TEXT_CODES: Final = frozenset({"", "ERROR_CORE", "100"})
"""Codes that say nothing: the text decides."""
BY_TEXT: Final[tuple[tuple[str, type[Trouble] | None], ...]] = (
    ("already binded", Conflict),
    ("already exists", Conflict),
    ("access denied", Forbidden),
    ("unexpected database error", None),
    ("db error", None),
    ("not found", NotFound),
    ("could not find", NotFound),
)
"""`None`: the vendor itself does not know what happened."""
PLAN_TEXT: Final = "commercial plans"
OVERLOADED: Final = HOUR
"""Seconds of a manual block by Bitrix24 before we ask again."""

_HINTS: Final = MappingProxyType(
    {
        "insufficient_scope": "The application lacks a scope. Update or reinstall it in the portal.",
        "user_access_error": "An administrator restricted the application to some users. Allow this one.",
        "invalid_client": "The application's id or secret is wrong in our settings.",
        "wrong_client": "The application's id is wrong in our settings.",
        "OVERLOAD_LIMIT": "Bitrix24 blocked this portal's REST by hand. Ask Bitrix24's support.",
    }
)
_WHO: Final = MappingProxyType(
    {"invalid_client": Who.US, "wrong_client": Who.US, "OVERLOAD_LIMIT": Who.BITRIX24}
)


def read_error(body: Mapping[str, Any], response: HttpResponse, *, reads: bool, now: float) -> Trouble:
    """The trouble that an error body means; the status only decides where the body is silent."""
    code, text = _code_and_text(body)
    key = code.upper()
    said = text or code or "an error without a name"
    if key in BROKEN:
        return lost(said, response, reads=reads, now=now, code=code)
    if PLAN_TEXT in text.lower() and key in ("ACCESS_DENIED", ""):
        return PaymentNeeded(said, code="PAYMENT_REQUIRED")
    kind = BY_CODE.get(key)
    if kind is None and key in TEXT_CODES:
        lowered = text.lower()
        for needle, meaning in BY_TEXT:
            if needle in lowered:
                if meaning is None:
                    return lost(said, response, reads=reads, now=now, code=code)
                kind = meaning
                break
    if kind is None and response.status >= 500:
        return lost(said, response, reads=reads, now=now, code=code)
    if kind is None and response.status == 429:
        return Throttled(
            said, code=code or "HTTP_429", retry_at=retry_after(response.headers, now) or now + 60
        )
    kind = kind or Refused
    retry_at = _retry_at(key, body, response, now) if issubclass(kind, (Throttled, PortalGone)) else None
    return kind(said, code=code, hint=_HINTS.get(code, ""), who=_WHO.get(code), retry_at=retry_at)


def lost(message: str, response: HttpResponse, *, reads: bool, now: float, code: str = "") -> Trouble:
    """No verdict: doubt for a write, a fault for a read."""
    kind = VendorBroken if reads else AnswerLost
    return kind(message, code=code, retry_at=retry_after(response.headers, now))


def _code_and_text(body: Mapping[str, Any]) -> tuple[str, str]:
    error = body.get("error")
    text = body.get("error_description") or ""
    if isinstance(error, Mapping):  # v3, or a field's own error
        text = error.get("message") or text
        error = error.get("code")
    code = str(error or "").strip()
    if " " in code:  # a sentence in the code's place (crm.duplicate.findbycomm)
        code, text = "", text or code
    return scrub(code)[:100], scrub(str(text).strip())[:500]


def _retry_at(key: str, body: Mapping[str, Any], response: HttpResponse, now: float) -> float | None:
    asked = retry_after(response.headers, now)
    if key == "OPERATION_TIME_LIMIT":
        time = body.get("time")
        reset = time.get("operating_reset_at") if isinstance(time, Mapping) else None
        if isinstance(reset, (int, float)) and now < reset <= now + LONGEST:
            return float(reset)
        return asked or now + 60.0
    if key == "OVERLOAD_LIMIT":
        return asked or now + OVERLOADED
    if key == "QUERY_LIMIT_EXCEEDED":
        return asked or now + 1.0
    return now + HOUR


def retry_after(headers: Mapping[str, str], now: float) -> float | None:
    """`Retry-After` as unix seconds, at most a day ahead; `None` when absent, past or nonsense."""
    value = headers.get("retry-after", "").strip()
    if not value:
        return None
    if value.isascii() and value.isdigit():
        return now + min(float(value[:9]), LONGEST)
    try:
        when = parsedate_to_datetime(value)
        at = (when if when.tzinfo else when.replace(tzinfo=UTC)).timestamp()
    except (ValueError, TypeError, OverflowError):
        return None
    return min(at, now + LONGEST) if at > now else None
