"""What a REST method may touch: the portal's state, time, chance, its events and its address."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from bitrix_app.core.ports import Clock, Http
from bitrix_app.sandbox import phones
from bitrix_app.sandbox.errors import RestError
from bitrix_app.sandbox.oauth import AppCard, SandboxAuthServer, TokenPair
from bitrix_app.sandbox.options import Options
from bitrix_app.sandbox.state import State, User
from bitrix_app.sandbox.wire import iso, parse_iso

if TYPE_CHECKING:
    from collections.abc import Iterator

    from bitrix_app.sandbox.delivery import EventQueue

APP_ROW_ID = 3  # the app's row in the portal: REST_APP_ID, app.info ID


@dataclass
class UploadGrant:
    """What a signed upload or download address allows (§4.1)."""

    kind: str
    params: dict[str, Any]


@dataclass
class World:
    """One portal. Also what the auth server knows of it (`oauth.AuthClient`)."""

    clock: Clock
    http: Http
    rng: random.Random
    card: AppCard
    auth: SandboxAuthServer
    member_id: str
    base_url: str
    language: str
    timezone: str
    license_family: str
    crm_mode: int
    country: str = "UA"
    self_hosted: bool = False
    legacy_frames: bool = False
    status_letter: str = "L"
    version: int = 1
    installed: bool = False
    present: bool = True
    payment_expired: bool = False
    application_token: str = ""
    previous_version: int | None = None
    state: State = field(default_factory=State)
    grants: dict[str, UploadGrant] = field(default_factory=dict)
    confirmed_tokens: dict[tuple[str, str], bool] = field(default_factory=dict)
    webhooks: dict[str, tuple[int, tuple[str, ...]]] = field(default_factory=dict)
    activity_error: str = ""
    events: EventQueue | None = None
    options: Options = field(default_factory=Options)

    @property
    def domain(self) -> str:
        """Host of the portal, with a port only if it is not the usual one."""
        parts = urlsplit(self.base_url)
        usual = {"http": 80, "https": 443}.get(parts.scheme)
        return parts.hostname or "" if parts.port in (None, usual) else parts.netloc

    @property
    def client_endpoint(self) -> str:
        return f"{self.base_url}/rest/"

    @property
    def secure(self) -> bool:
        return self.base_url.startswith("https:")

    def user_active(self, user_id: int) -> bool:
        user = self.state.users.get(user_id)
        return user is not None and user.active

    def user(self, user_id: int) -> User:
        """That employee; a token without one cannot exist."""
        return self.state.users[user_id]

    def now(self) -> float:
        return self.clock.now()

    def iso(self, at: float) -> str:
        return iso(at, self.timezone)

    def now_iso(self) -> str:
        return self.iso(self.now())

    def parse_iso(self, text: Any) -> float | None:
        return parse_iso(text, self.timezone)

    def md5(self) -> str:
        """32 hex digits, the same in every run."""
        return f"{self.rng.getrandbits(128):032x}"

    def normalise(self, number: str) -> str | None:
        return phones.normalise(number, self.country)

    def same_number(self, left: str, right: str) -> bool:
        return phones.same(left, right, self.country)

    def issue(self, user_id: int) -> TokenPair:
        return self.auth.issue(self.member_id, user_id)

    def emit(self, event: str, data: Mapping[str, Any], user_id: int | None, **options: Any) -> None:
        """Tell the bound handlers; inside a request this waits for its end (findings §3)."""
        collected = _HIT.get()
        if collected is not None:
            collected.append(lambda: self._send(event, data, user_id, **options))
        else:
            self._send(event, data, user_id, **options)

    def _send(self, event: str, data: Mapping[str, Any], user_id: int | None, **options: Any) -> None:
        if self.events is not None:
            self.events.fire(event, data, user_id, **options)


_HIT: ContextVar[list[Callable[[], None]] | None] = ContextVar("sandbox_hit", default=None)


@contextmanager
def one_hit() -> Iterator[None]:
    """Events of one request are collected and leave together at its end."""
    collected: list[Callable[[], None]] = []
    token = _HIT.set(collected)
    try:
        yield
    finally:
        _HIT.reset(token)
        for send in collected:
            send()


@dataclass
class Hit:
    """One REST call as a method sees it."""

    world: World
    method: str
    params: dict[str, Any]
    user_id: int
    token: str
    scopes: tuple[str, ...]
    app: bool  # False for a webhook: no app context

    @property
    def state(self) -> State:
        return self.world.state

    @property
    def user(self) -> User:
        return self.world.user(self.user_id)

    def arg(self, name: str, default: Any = None) -> Any:
        """A parameter of the old families: their names ignore case at the top level."""
        if name in self.params:
            return self.params[name]
        wanted = name.upper()
        return next((value for key, value in self.params.items() if key.upper() == wanted), default)

    def has(self, name: str) -> bool:
        """PHP's isset."""
        return self.arg(name) is not None

    def need_admin(self, error: RestError | None = None) -> None:
        if not self.user.admin:
            raise error or RestError("ACCESS_DENIED")

    def need_app(self) -> None:
        if not self.app:
            raise RestError("WRONG_AUTH_TYPE")

    def emit(self, event: str, data: Mapping[str, Any]) -> None:
        self.world.emit(event, data, self.user_id)
