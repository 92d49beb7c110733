"""The web side over a real store, with a worker that does what the test says whenever time passes."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any, cast

from httpx import ASGITransport, AsyncClient, Response

from bitrix_app.clock import VirtualClock
from bitrix_app.core import intent as entries
from bitrix_app.core.call import Call
from bitrix_app.core.dial import Failure
from bitrix_app.core.events import DialAccepted, DialFailed
from bitrix_app.core.intent import Intent, Kind
from bitrix_app.core.jobs import JobState
from bitrix_app.core.portal import Portal, PortalSettings, Snapshot
from bitrix_app.core.store import Store, Unit
from bitrix_app.desk import Desk, new_call_id
from bitrix_app.retry_list import RetryList
from bitrix_app.vault import SecretVault
from bitrix_app.web.routes import asgi
from bitrix_app.web.session import Role
from storage import open_store
from tests.web.fakes import ADMIN, AGENT, BASE, KEY, MEMBER, OTHER_AGENT, Stage, portal, stage

MANAGER, BARE = 11, 12
"""A manager without being an administrator; an employee without an extension."""
CLIENT = "+380440000011"
UNREACHABLE = Failure("PBX_UNREACHABLE", "connection", "Unitalk could not be reached.", "It is tried again.")
REFUSED = Failure("PBX_REFUSED", "validation", "Unitalk refused to start the call: no", "See the phone.")
PEOPLE = (
    {"user_id": ADMIN, "name": "Olena", "extension": "200", "admin": True},
    {"user_id": AGENT, "name": "Petro", "extension": "201"},
    {"user_id": OTHER_AGENT, "name": "Iryna", "extension": "202"},
    {"user_id": MANAGER, "name": "Marta", "extension": "203"},
    {"user_id": BARE, "name": "Bohdan"},
)


class PassingClock(VirtualClock):
    """Whoever sleeps lets the time pass; then the worker has its turn."""

    turn: Callable[[], Awaitable[None]] | None = None
    slept: float = 0.0

    async def sleep(self, seconds: float) -> None:
        self._now += seconds
        self.slept += seconds
        if self.turn is not None:
            await self.turn()

    def to(self, at: float) -> None:
        self._now = at


@dataclass
class Office:
    """A portal with people, its store, and the pages of each of them."""

    st: Stage
    store: Store
    clock: PassingClock
    web: AsyncClient
    settings: PortalSettings = field(default_factory=lambda: PortalSettings(managers=(MANAGER,)))

    def heads(self, user: int, language: str = "en") -> dict[str, str]:
        role = Role.ADMIN if user == ADMIN else Role.AGENT
        return self.st.session(role, user, language)

    async def post(self, user: int, address: str, body: Any = None, language: str = "en") -> Response:
        return await self.web.post(address, json=body or {}, headers=self.heads(user, language))

    async def get(self, user: int, address: str, **headers: str) -> Response:
        return await self.web.get(address, headers=self.heads(user) | headers)

    async def act(self, user: int, entry: Intent, name: str, **body: Any) -> Response:
        return await self.post(user, f"/retries/{entry.id}/{name}", body)

    async def set(self, **changes: Any) -> None:
        """Other settings of the portal."""
        self.settings = replace(self.settings, **changes)
        await self.keep(portal(settings=self.settings))

    async def keep(self, one: Portal) -> None:
        self.st.store.portals_[MEMBER] = one
        await self.store.transact(lambda unit: unit.save_portal(one))

    async def snapshot(self, kind: str, *items: Mapping[str, Any]) -> None:
        await self.store.save_snapshot(MEMBER, Snapshot(kind, self.clock.now(), items))

    async def listed(self, entry_id: str = "e1", **changes: Any) -> Intent:
        """An entry as the list itself would have it, its timers too."""
        now = self.clock.now()
        plain = Intent(
            id=entry_id,
            portal=MEMBER,
            kind=Kind.CALL_START,
            state=JobState.ATTENTION,
            number=CLIENT,
            created_at=now,
            updated_at=now,
            agent=AGENT,
            attempts=1,
            failure=REFUSED,
            since=now,
        )
        entry = replace(entries.noted(plain, now, entries.Act.LISTED, AGENT), **changes)
        await self.store.transact(lambda unit: RetryList().replan(unit, entry))
        return entry

    async def entry(self, entry_id: str = "e1") -> Intent:
        found = await self.store.intent(MEMBER, entry_id)
        assert found is not None
        return found

    async def timers(self, entry_id: str = "e1") -> dict[str, float]:
        wakes = await self.store.due_wakes(self.clock.now() + 10 * 366 * 86_400.0, 1000)
        return {wake.reason: wake.at for wake in wakes if wake.lane == f"intent:{entry_id}"}

    def settles(self, event: DialAccepted | DialFailed) -> None:
        """From now on the worker hands this answer of the PBX to every call that was asked for."""
        desk = Desk(new_call_id)

        async def turn() -> None:
            for call in await self.store.calls(MEMBER, limit=100):
                if call.dial is not None and call.dial.state.value == "asked":
                    await self.store.transact(partial(told, call))

        async def told(call: Call, unit: Unit) -> None:
            found = await unit.portal(MEMBER)
            assert found is not None
            await desk.move(unit, found, call, event, self.clock.now())

        self.clock.turn = turn

    async def dials(self) -> list[str]:
        """Numbers that the PBX is to be asked for."""
        asked = []
        for call in await self.store.calls(MEMBER, limit=100):
            asked += [
                job.data["number"] for job in await self.store.lane(MEMBER, call.id) if job.kind == "dial"
            ]
        return asked


@asynccontextmanager
async def office(folder: Path) -> AsyncIterator[Office]:
    """One portal with an administrator, two agents, a manager and somebody without a phone."""
    clock = PassingClock()
    store = await open_store(f"sqlite:///{folder}/unitalk.db", SecretVault(KEY), clock)
    st = stage()
    st.clock, st.signer = clock, type(st.signer)([KEY], clock)
    deps = replace(st.deps, store=store, clock=clock)
    async with AsyncClient(transport=ASGITransport(asgi(deps)), base_url=BASE) as web:
        here = Office(st, store, clock, web)
        await here.set()
        await here.snapshot("agents", *PEOPLE)
        yield here
    await store.close()


def json_of(answer: Response, status: int = 200) -> dict[str, Any]:
    assert answer.status_code == status, answer.text
    return cast("dict[str, Any]", answer.json())
