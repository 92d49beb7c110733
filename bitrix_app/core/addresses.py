"""Where we may connect to: strict reading of addresses and the ranges that are nobody's public server.

Pure rules against requests that an outsider steers inwards (reliability.md §4.2). The gateway resolves
a name once, asks `forbidden` for every answer and connects to that very answer; who knows which hosts
and ports are right for a link says so with `host_matches`.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from typing import Final

DEFAULT_PORTS: Final = {"http": 80, "https": 443}

_URL: Final = re.compile(
    r"(?P<scheme>https?)://"
    r"(?P<host>[A-Za-z0-9](?:[A-Za-z0-9.-]{0,252}[A-Za-z0-9])?\.?|\[[0-9A-Fa-f:.]{2,45}\])"
    r"(?::(?P<port>[0-9]{1,5}))?"
    r"(?P<rest>[/?][\x21-\x5b\x5d-\x7e]*)?",
    re.ASCII | re.IGNORECASE,
)
"""Plain ASCII without userinfo, blanks or backslashes: no two readers can differ about its host."""

_V4: Final = tuple(
    (ip_network(net), why)
    for net, why in (
        ("0.0.0.0/8", "this network"),
        ("10.0.0.0/8", "private"),
        ("100.64.0.0/10", "carrier's shared range"),
        ("127.0.0.0/8", "loopback"),
        ("168.63.129.16/32", "a cloud's own host service"),
        ("169.254.0.0/16", "link-local"),
        ("172.16.0.0/12", "private"),
        ("192.0.0.0/24", "protocol assignments"),
        ("192.0.2.0/24", "documentation"),
        ("192.88.99.0/24", "6to4 relay"),
        ("192.168.0.0/16", "private"),
        ("198.18.0.0/15", "benchmarking"),
        ("198.51.100.0/24", "documentation"),
        ("203.0.113.0/24", "documentation"),
        ("224.0.0.0/4", "multicast"),
        ("240.0.0.0/4", "reserved"),
    )
)
_V6: Final = tuple(
    (ip_network(net), why)
    for net, why in (
        ("::/128", "unspecified"),
        ("::1/128", "loopback"),
        ("::ffff:0:0/96", "IPv4 in IPv6 clothes"),
        ("::/96", "IPv4 in IPv6 clothes"),
        ("64:ff9b::/96", "NAT64"),
        ("64:ff9b:1::/48", "NAT64"),
        ("2001::/32", "Teredo"),
        ("2001::/23", "protocol assignments"),
        ("2001:db8::/32", "documentation"),
        ("2002::/16", "6to4"),
        ("3ffe::/16", "6bone"),
        ("3fff::/20", "documentation"),
        ("fc00::/7", "private"),
        ("fe80::/10", "link-local"),
        ("fec0::/10", "site-local"),
        ("ff00::/8", "multicast"),
    )
)
_V6_GLOBAL: Final = ip_network("2000::/3")
"""Everything outside is not given to anyone: refused without a list."""


@dataclass(frozen=True, slots=True)
class Url:
    """A read address. `host` is lower case without brackets or a trailing dot; `port` is never missing."""

    scheme: str
    host: str
    port: int


def read_url(text: str) -> Url:
    """Scheme, host and port of `text`.

    Raises `ValueError`, never quoting the text (it may be a secret), for anything but plain http and
    https: other schemes, userinfo, blanks, backslashes, non-ASCII names, ports out of range.
    """
    found = _URL.fullmatch(text)
    if found is None:
        raise ValueError("this is not a plain http or https address")
    scheme = found["scheme"].lower()
    port = int(found["port"]) if found["port"] else DEFAULT_PORTS[scheme]
    if not 0 < port < 65536:
        raise ValueError("the port of the address is out of range")
    host = found["host"].lower().rstrip(".")
    if host.startswith("["):
        host = host[1:-1]
        try:
            ip_address(host)
        except ValueError:
            raise ValueError("the address holds no valid IPv6 host") from None
    if not host or ".." in host:
        raise ValueError("the address has no valid host")
    return Url(scheme, host, port)


def host_matches(host: str, patterns: Sequence[str]) -> bool:
    """True for an exact name, or for `*.name` and any name below it (the name itself is not below)."""
    host = host.lower().rstrip(".")
    for pattern in patterns:
        wanted = pattern.strip().lower()
        if wanted.startswith("*."):
            if host.endswith(wanted[1:]) and len(host) > len(wanted) - 1:
                return True
        elif wanted and host == wanted:
            return True
    return False


def is_loopback_host(host: str) -> bool:
    """True for `localhost` and for literal loopback addresses; names are not resolved here."""
    if host.lower().rstrip(".") == "localhost":
        return True
    try:
        return _is_loopback(ip_address(host))
    except ValueError:
        return False


def forbidden(address: str, *, allow_loopback: bool = False) -> str | None:
    """Why no connection may go to this numeric address, in words; `None` when it is public.

    What is not a numeric address is forbidden too. `allow_loopback` opens 127/8 and ::1, nothing else.
    """
    try:
        ip = ip_address(address)
    except ValueError:
        return "not a numeric address"
    if allow_loopback and _is_loopback(ip):
        return None
    if isinstance(ip, IPv4Address):
        return next((why for net, why in _V4 if ip in net), None)
    if ip.scope_id is not None:
        return "an address with a zone"
    reason = next((why for net, why in _V6 if ip in net), None)
    if reason is None and ip not in _V6_GLOBAL:
        return "not a public range"
    return reason


def _is_loopback(ip: IPv4Address | IPv6Address) -> bool:
    # `ip.is_loopback` also says yes to mapped forms in newer Pythons; those stay forbidden.
    return ip in ip_network("127.0.0.0/8") if isinstance(ip, IPv4Address) else ip == IPv6Address("::1")
