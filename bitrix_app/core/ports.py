"""What the house asks of the outside: time, HTTP, secrets.

Only shapes stand here. The implementations are chosen in one place, `bitrix_app/app.py`, so that
the app and both emulators can run a whole day in one process on a virtual clock.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol


class Clock(Protocol):
    """Where time comes from. All instants in the house are unix seconds (UTC) as `float`."""

    def now(self) -> float:
        """The wall clock, unix seconds."""
        ...

    def monotonic(self) -> float:
        """Seconds that never jump; for leases, limits and durations."""
        ...

    async def sleep(self, seconds: float) -> None:
        """Wait; returns at once for zero or less."""
        ...


@dataclass(frozen=True, slots=True)
class FilePart:
    """One file of a multipart request, streamed from disk."""

    field: str
    path: Path
    filename: str
    content_type: str


@dataclass(frozen=True, slots=True)
class HttpRequest:
    """A request as the gateway sends it: redirects are never followed.

    `body` is the raw body; `files` makes it multipart instead (then `body` must be empty).
    `timeout` is the limit in seconds for connecting, for each write and for each read.
    """

    method: str
    url: str
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""
    files: tuple[FilePart, ...] = ()
    timeout: float = 60.0


@dataclass(frozen=True, slots=True)
class HttpResponse:
    """An answer, read to its end. Header names are lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes


class Http(Protocol):
    """The only way out of the process.

    Raises `core.errors.NotSent` when the request certainly did not leave (so it may be said again)
    and `core.errors.AnswerLost` when it may have arrived: that is doubt, not failure.
    """

    async def send(self, request: HttpRequest) -> HttpResponse: ...

    async def download(
        self, request: HttpRequest, target: Path, *, max_bytes: int, max_seconds: float
    ) -> Download:
        """Stream the body of a 200 to `target`; other answers' bodies are kept short in `head`.

        The host is resolved once, every address checked to be public (loopback only where the
        settings allow it), and the connection made to that very address. Raises `core.errors.Refused`
        for a forbidden address or a body over `max_bytes`, `core.errors.Unavailable` when the body
        is cut short or takes longer than `max_seconds`; the target is then removed.
        """
        ...


@dataclass(frozen=True, slots=True)
class Download:
    """What a download brought: `size` bytes in the target, `head` the first 512 of them."""

    status: int
    headers: Mapping[str, str]
    size: int
    head: bytes


@dataclass(frozen=True, slots=True)
class Verified:
    """What the auth server's `app.info` says of an access token (bitrix24.md §2.3)."""

    member_id: str
    domain: str
    client_endpoint: str
    auth_server: str
    user_id: int
    scope: tuple[str, ...]
    status: str
    version: str
    installed: bool
    expires_at: float | None


@dataclass(frozen=True, slots=True)
class Profile:
    """The user behind a frame, by the portal's `profile`; scope-free."""

    user_id: int
    is_admin: bool
    name: str
    timezone: str


class Verifier(Protocol):
    """The one vendor question that the web side may ask; both answer or fail within 3 s."""

    async def verify(self, access_token: str, auth_server_hint: str = "") -> Verified:
        """Who this token belongs to. `auth_server_hint` (SERVER_ENDPOINT) is used only when its host
        is allow-listed. Raises `core.errors.Forbidden` for a token that is not ours or not valid,
        `core.errors.Unavailable` when no auth server answered.
        """
        ...

    async def profile(self, verified: Verified, access_token: str) -> Profile:
        """The user's rights. Raises as `verify`."""
        ...
