"""The auth servers that may see a token or our secret, and what they say of a token.

bitrix24.md §2.3 and §3: nothing that a browser or a portal posts may choose where a secret goes.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from ipaddress import ip_address
from typing import Any, Final
from urllib.parse import urlsplit

from bitrix_app.bitrix.values import as_bool, as_id, as_mapping, as_text
from bitrix_app.bitrix.wire import host_of, origin
from bitrix_app.core.errors import Forbidden
from bitrix_app.core.ports import Verified

DEFAULT_SERVERS: Final = ("https://oauth.bitrix24.tech", "https://oauth.bitrix.info")

_MEMBER = re.compile(r"[0-9a-f]{32}")
_HOST = re.compile(
    r"(?=.{1,253}(?::|$))[a-z0-9](?:[a-z0-9-]*[a-z0-9])?(?:\.[a-z0-9](?:[a-z0-9-]*[a-z0-9])?)*"
)


class AuthServers:
    """The allow-list: exact hosts, https, no port; loopback of any form only in tests and the demo."""

    def __init__(self, allowed: Sequence[str] = DEFAULT_SERVERS, allow_loopback: bool = False) -> None:
        self.allow_loopback = allow_loopback
        bases = [self._base(address) for address in allowed]
        if not bases or not all(bases):
            raise ValueError("an auth server is a bare https host")
        self._bases = tuple(dict.fromkeys(bases))

    def allows(self, url: str) -> bool:
        return self._base(url) in self._bases

    def order(self, hint: str = "") -> tuple[str, ...]:
        """Bases to ask, without a trailing slash: the hint when it is allow-listed, then the rest."""
        hinted = self._base(hint)
        first = hinted if hinted in self._bases else self._bases[0]
        return (first, *(base for base in self._bases if base != first))

    def _base(self, address: str) -> str:
        if not address:
            return ""
        base = origin(address if "://" in address else f"https://{address}")
        return base if base and self.fits(base) else ""

    def fits(self, base: str) -> bool:
        """Whether an origin is one that we may speak to at all: https, or loopback in tests."""
        parts = urlsplit(base)
        if is_loopback(parts.hostname or ""):
            return self.allow_loopback and parts.scheme in ("http", "https")
        return parts.scheme == "https"


def is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False


def member_id_of(value: Any) -> str:
    """A portal's id in its one form, 32 lower-case hex digits; empty for anything else."""
    text = as_text(value).lower()
    return text if _MEMBER.fullmatch(text) else ""


def host_name(value: Any) -> str:
    """A host name with an optional port, lower case; empty for anything else (userinfo, path …)."""
    text = as_text(value).lower()
    host, colon, port = text.partition(":")
    if colon and not (port.isascii() and port.isdigit() and 0 < int(port[:6]) < 65536):
        return ""
    return text if _HOST.fullmatch(host) else ""


def read_app_info(result: Any, client_id: str, server: str, servers: AuthServers) -> Verified:
    """`app.info` of the auth server. Raises `Forbidden` unless the token is of our app and the
    portal's address can be trusted.
    """
    row = as_mapping(result)
    install = as_mapping(row.get("install"))
    if as_text(row.get("client_id")) != client_id:
        raise Forbidden("The token was issued to another application.", code="FOREIGN_TOKEN")
    member_id = member_id_of(install.get("member_id"))
    endpoint = as_text(install.get("client_endpoint"))
    base = origin(endpoint)
    domain = host_name(install.get("domain"))
    user_id = as_id(row.get("user_id"))
    if not member_id or user_id is None:
        raise Forbidden("The auth server names no portal or no user for this token.", code="NO_PORTAL")
    if base.startswith("http://") and not servers.fits(base):
        raise Forbidden(
            "The portal's REST address is not encrypted (http).",
            code="INSECURE_PORTAL",
            hint="Give the portal a certificate and an https address; tokens are not sent in the clear.",
        )
    if not base or not servers.fits(base) or urlsplit(endpoint).path.rstrip("/") != "/rest":
        raise Forbidden("The portal's REST address is not acceptable.", code="BAD_ENDPOINT")
    if domain and domain != host_of(base):
        raise Forbidden("The portal's domain and REST address differ.", code="BAD_ENDPOINT")
    return Verified(
        member_id=member_id,
        domain=host_of(base),
        client_endpoint=f"{base}/rest/",
        auth_server=server,
        user_id=user_id,
        scope=scopes(install.get("scope") or row.get("scope")),
        status=as_text(install.get("status")),
        version=as_text(install.get("version")),
        installed=as_bool(install.get("installed")),
        expires_at=_instant(row.get("expires")),
    )


def scopes(value: Any) -> tuple[str, ...]:
    """A comma list (or a real list) as a tuple."""
    words = value if isinstance(value, (list, tuple)) else as_text(value).split(",")
    return tuple(word for w in words if (word := as_text(w)))


def read_pair_fields(body: Mapping[str, Any], now: float) -> tuple[str, str, float] | None:
    """(access, refresh, expires_at) of a token answer; `None` when it is not one."""
    access, refresh = as_text(body.get("access_token")), as_text(body.get("refresh_token"))
    if not access or not refresh:
        return None
    seconds = as_id(body.get("expires_in")) or 3600
    return access, refresh, now + min(seconds, 86_400)


def _instant(value: Any) -> float | None:
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return float(value) if 0 < value < 1e11 else None
    try:
        when = datetime.fromisoformat(as_text(value))
    except ValueError:
        return None
    return (when if when.tzinfo else when.replace(tzinfo=UTC)).timestamp()
