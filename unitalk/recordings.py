"""Bringing a recording into our spool (unitalk.md §3.6, reliability.md §4.2 and R1).

The link comes from outside and is a capability: it decides where we connect to, and whoever knows it
hears the call. So it is checked before it is used and never repeated in a text of ours.
"""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

from bitrix_app.core.addresses import host_matches, is_loopback_host, read_url
from bitrix_app.core.errors import AnswerLost, Forbidden, Refused, Unavailable, Who
from bitrix_app.core.ports import Clock, Download, Http, HttpRequest

MAX_BYTES: Final = 200 * 1024 * 1024
MAX_SECONDS: Final = 600.0
READ_TIMEOUT: Final = 60.0
PORTS: Final = (443, 8443)
MAX_WISH: Final = 3600.0
"""Seconds of `Retry-After` that we believe."""

Media = Literal["mp3", "wav"]


@dataclass(frozen=True, slots=True)
class Fetched:
    """The recording stands in the target, whole: `size` bytes, `media` by its first bytes. `with_key`:
    the PBX gave it out only for our key."""

    size: int
    media: Media
    with_key: bool = False


async def fetch(
    http: Http,
    clock: Clock,
    link: str,
    target: Path,
    *,
    hosts: Sequence[str],
    key: str,
    allow_loopback: bool,
) -> Fetched:
    """Bring the recording behind `link` to `target`; on any trouble neither it nor a part of it stays.

    `hosts` are names or `*.` patterns. The key is said only when the PBX asks for it, in the header.
    Raises `Refused` for a link that we must not follow or a file over 200 MB, `Forbidden` when the key
    does not open it either, `NotSent` and `Unavailable` when it may come later.
    """
    check_link(link, hosts, allow_loopback=allow_loopback)
    part = target.with_name(target.name + ".part")
    try:
        ends = clock.monotonic() + MAX_SECONDS
        came = await _download(http, link, part, {}, MAX_SECONDS)
        with_key = bool(_wants_key(came) and key)
        if with_key:
            left = max(1.0, ends - clock.monotonic())
            came = await _download(http, link, part, {"Authorization": key}, left)
        media = _judge(came, clock)
        await asyncio.to_thread(_keep, part, target)
    finally:
        await asyncio.to_thread(part.unlink, missing_ok=True)
    return Fetched(came.size, media, with_key)


def check_link(link: str, hosts: Sequence[str], *, allow_loopback: bool) -> None:
    """Raises `Refused` unless `link` is https to one of `hosts` at port 443 or 8443.

    With `allow_loopback` (tests, the demo) a loopback host may use any port and plain http.
    """
    try:
        url = read_url(link)
    except ValueError:
        raise _refused("it is not a plain web address") from None
    if allow_loopback and is_loopback_host(url.host):
        return
    if url.scheme != "https":
        raise _refused("it is not https")
    if not host_matches(url.host, hosts):
        raise _refused("its host is not one of the PBX's")
    if url.port not in PORTS:
        raise _refused("its port is not one of the PBX's")


def media_of(head: bytes) -> Media | None:
    """What the first bytes say: MP3 (an ID3 tag or an MPEG audio frame), WAV, or neither."""
    if head[:4] == b"RIFF" and head[8:12] == b"WAVE":
        return "wav"
    if head[:3] == b"ID3":
        return "mp3"
    if len(head) >= 3 and head[0] == 0xFF and head[1] & 0xE0 == 0xE0:
        version, layer = head[1] >> 3 & 3, head[1] >> 1 & 3
        # Reserved values and Layer I are no MP3, but FF FE and FF FF begin texts and empty flash pages.
        if version != 1 and layer in (1, 2) and head[2] >> 4 != 15 and head[2] >> 2 & 3 != 3:
            return "mp3"
    return None


async def _download(
    http: Http, link: str, part: Path, headers: dict[str, str], max_seconds: float
) -> Download:
    request = HttpRequest("GET", link, {"Accept": "audio/*, */*", **headers}, timeout=READ_TIMEOUT)
    try:
        return await http.download(request, part, max_bytes=MAX_BYTES, max_seconds=max_seconds)
    except AnswerLost as lost:  # a read leaves no doubt behind
        raise Unavailable(lost.message, code=lost.code) from None


def _wants_key(came: Download) -> bool:
    return came.status in (401, 403) or _envelope(came) == "authorization invalid"


def _judge(came: Download, clock: Clock) -> Media:
    """The kind of audio that came whole. Raises what else it was."""
    if _wants_key(came):
        raise Forbidden(
            "Unitalk does not give out the recording with our API key",
            code="RECORDING_FORBIDDEN",
            hint="Check the API key in the settings; it must be of the same Unitalk project.",
            who=Who.ADMIN,
        )
    if came.status != 200:
        code = "REDIRECTED" if 300 <= came.status < 400 else f"HTTP_{came.status}"
        wish = _retry_after(came)
        raise _not_there(
            f"the server answered with HTTP {came.status}", code, None if wish is None else clock.now() + wish
        )
    announced = came.headers.get("content-length", "").strip()
    if announced.isascii() and announced.isdigit() and int(announced[:20]) != came.size:
        raise _not_there("the file came with another length than announced", "WRONG_LENGTH")
    if not came.size:
        raise _not_there("the file is empty", "EMPTY")
    media = media_of(came.head)
    if media is None:
        raise _not_there("what came is not audio", "NOT_AUDIO")
    return media


def _envelope(came: Download) -> str | None:
    """The text of an error envelope (§1.1), lower case."""
    if not came.head.lstrip().startswith(b"{"):
        return None
    try:
        data = json.loads(came.head)
    except (ValueError, RecursionError):
        return None
    if not isinstance(data, dict) or str(data.get("status")).lower() != "error":
        return None
    return str(data.get("message")).strip().rstrip(".").lower()


def _retry_after(came: Download) -> float | None:
    said = came.headers.get("retry-after", "")
    if not (said.isascii() and said.isdigit() and len(said) < 10):
        return None
    return min(float(said), MAX_WISH)


def _keep(part: Path, target: Path) -> None:
    """On disk before its name is: a fact in the database must not outlive the file that it names."""
    with part.open("rb") as file:
        os.fsync(file.fileno())
    part.replace(target)
    folder = os.open(target.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def _refused(reason: str) -> Refused:
    return Refused(
        f"The recording's link is not followed: {reason}",
        code="FORBIDDEN_LINK",
        hint="If the PBX really keeps recordings there, an administrator of the server can allow that host.",
        who=Who.ADMIN,
    )


def _not_there(reason: str, code: str, retry_at: float | None = None) -> Unavailable:
    return Unavailable(f"The recording is not there yet: {reason}", code=code, retry_at=retry_at)
