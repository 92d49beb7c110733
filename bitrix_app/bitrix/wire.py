"""How we say things to a portal: one REST call, many in a batch. Pure (bitrix24.md §4.1, §4.4)."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final
from urllib.parse import quote, urlsplit

from bitrix_app.core.ports import FilePart, HttpRequest

USER_AGENT: Final = "UnitalkForBitrix24/1.0"
REQUEST_SECONDS: Final = 60.0
"""The vendor's own limit for a request or a batch (bitrix24.md §5)."""
BATCH_LIMIT: Final = 50


@dataclass(frozen=True, slots=True)
class RestCall:
    """One method with its parameters. `reads`: repeating it can change nothing on the portal."""

    method: str
    params: dict[str, Any] = field(default_factory=dict)
    reads: bool = False


def encode(call: RestCall, access_token: str) -> bytes:
    """The JSON body of `POST /rest/<method>.json`."""
    body = {**call.params, "auth": access_token}
    return json.dumps(body, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "replace")


def encode_batch(calls: Mapping[str, RestCall], halt: int = 0) -> RestCall:
    """The calls as one `batch`; it reads only when all of them read.

    Raises `ValueError` for more than 50 calls, none at all, a nested batch, or a call for which
    `batchable` is false.
    """
    if not 0 < len(calls) <= BATCH_LIMIT:
        raise ValueError(f"a batch holds 1 to {BATCH_LIMIT} calls, not {len(calls)}")
    for key, call in calls.items():
        if not batchable(call):
            raise ValueError(f"{call.method} ({key}) cannot be said inside a batch")
    cmd = {key: command(call) for key, call in calls.items()}
    return RestCall("batch", {"halt": halt, "cmd": cmd}, reads=all(c.reads for c in calls.values()))


def command(call: RestCall) -> str:
    """`method?a[b][0]=c`, as PHP's `parse_str` reads it."""
    query = "&".join(
        f"{quote(key, safe='[]')}={quote(value, safe='')}" for key, value in _flat(call.params, "")
    )
    return f"{call.method}?{query}" if query else call.method


_REFERENCE = re.compile(r"\$result\s*\[", re.IGNORECASE)


def batchable(call: RestCall) -> bool:
    """False for `batch` itself and for values that the portal would take for a reference.

    A batch substitutes `$result[…]` in values; a name or a reason that comes from outside must not
    be able to pull another call's result into ours (bitrix24.md §4.4).
    """
    if call.method.lower() == "batch":
        return False
    return not any(
        _REFERENCE.search(key) or _REFERENCE.search(value) for key, value in _flat(call.params, "")
    )


def _flat(value: Any, prefix: str) -> Iterator[tuple[str, str]]:
    if isinstance(value, Mapping):
        for key, inner in value.items():
            yield from _flat(inner, f"{prefix}[{key}]" if prefix else str(key))
    elif isinstance(value, (list, tuple)):
        for index, inner in enumerate(value):
            yield from _flat(inner, f"{prefix}[{index}]")
    elif isinstance(value, bool):
        yield prefix, "1" if value else "0"  # "false" would be true for PHP
    elif value is not None:
        yield prefix, str(value)


def rest_request(endpoint: str, call: RestCall, access_token: str) -> HttpRequest:
    """The HTTP request; `endpoint` is the verified REST root, ending in `/rest/`."""
    return HttpRequest(
        "POST",
        f"{endpoint}{call.method}.json",
        headers={
            "Content-Type": "application/json",
            "Accept": "application/json",
            "User-Agent": USER_AGENT,
        },
        body=encode(call, access_token),
        timeout=REQUEST_SECONDS,
    )


def upload_request(endpoint: str, upload_url: str, part: FilePart) -> HttpRequest:
    """Step two of an upload, with the headers that signed addresses ask for (bitrix24.md §4.1)."""
    return HttpRequest(
        "POST",
        upload_url,
        headers={
            "Accept": "*/*",
            "Accept-Language": "en",
            "User-Agent": USER_AGENT,
            "Referer": origin(endpoint) + "/",
        },
        files=(part,),
        timeout=REQUEST_SECONDS,
    )


def origin(url: str) -> str:
    """Scheme, host and port of an address, lower case; empty when it has none or is malformed."""
    try:
        parts = urlsplit(url)
        if not parts.hostname or parts.username is not None or parts.password is not None:
            return ""
        standard = {"https": 443, "http": 80}.get(parts.scheme)
        port = "" if parts.port in (None, standard) else f":{parts.port}"
    except ValueError:
        return ""
    return f"{parts.scheme}://{parts.hostname}{port}"


def host_of(url: str) -> str:
    """Host, with the port when it is not the scheme's own: what a portal's `DOMAIN` looks like."""
    return origin(url).partition("://")[2]
