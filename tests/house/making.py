"""What these tests are made of: the real store, a clock by hand, a portal that answers by script."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, cast
from urllib.parse import urlencode

from bitrix_app.bitrix.answers import Answer
from bitrix_app.bitrix.client import BitrixClient
from bitrix_app.bitrix.events import BitrixEvent, read_body
from bitrix_app.bitrix.wire import RestCall
from bitrix_app.clock import VirtualClock
from bitrix_app.core.advance import Owed, Transition
from bitrix_app.core.call import Call
from bitrix_app.core.commands import Command, Priority
from bitrix_app.core.errors import Trouble
from bitrix_app.core.events import Direction
from bitrix_app.core.jobs import Job, JobState
from bitrix_app.core.lifecycle import Phase
from bitrix_app.core.portal import Agent, Portal, PortalState, Snapshot, TokenPair
from bitrix_app.core.ports import Profile, Verified
from bitrix_app.core.store import Receipt, Store, StoreUnavailable, Unit
from bitrix_app.intake import Intake
from bitrix_app.portals import FrameTokens, Portals, Prefill

KEY = "a first key that is long enough: 0123456789"
MEMBER = "0f1e2d3c4b5a69788796a5b4c3d2e1f0"
OTHER = "ffffffffffffffffffffffffffffffff"
DOMAIN = "some-domain.bitrix24.com"
NOW = 1_788_333_300.0
CLIENT = "+380440000011"
LINE = "380440000001"
APP_TOKEN = "9c8b7a6d5e4f30211203f4e5d6a7b8c9"
ADMIN, AGENT = 1, 7


def portal(**more: Any) -> Portal:
    fields: dict[str, Any] = {
        "domain": DOMAIN,
        "client_endpoint": f"https://{DOMAIN}/rest/",
        "auth_server": "https://oauth.bitrix24.tech",
        "application_token": APP_TOKEN,
        "state": PortalState.ACTIVE,
        "installed_by": ADMIN,
    }
    return Portal(**{"member_id": MEMBER, **fields, **more})


def verified(**more: Any) -> Verified:
    fields: dict[str, Any] = {
        "member_id": MEMBER,
        "domain": DOMAIN,
        "client_endpoint": f"https://{DOMAIN}/rest/",
        "auth_server": "https://oauth.bitrix24.tech",
        "user_id": ADMIN,
        "scope": ("telephony", "crm"),
        "status": "L",
        "version": "1",
        "installed": True,
        "expires_at": None,
    }
    return Verified(**{**fields, **more})


def profile(user_id: int = ADMIN, *, is_admin: bool = True) -> Profile:
    return Profile(user_id, is_admin, "Ann Lee", "Europe/Kyiv")


def frame_tokens(name: str = "first") -> FrameTokens:
    return FrameTokens(f"access-{name}", f"refresh-{name}", 3600.0)


def pair(user_id: int = ADMIN, *, is_admin: bool = True, age: float = 0.0) -> TokenPair:
    return TokenPair(
        MEMBER,
        user_id,
        f"access-{user_id}",
        f"refresh-{user_id}",
        NOW + 3600,
        is_admin,
        refreshed_at=NOW - age,
    )


def call(id_: str = "c1", **more: Any) -> Call:
    fields: dict[str, Any] = {
        "portal": MEMBER,
        "first_seen_at": NOW,
        "started_at": NOW,
        "direction": Direction.IN,
        "number": CLIENT,
        "raw_number": CLIENT[1:],
        "line": LINE,
        "register_owed": True,
    }
    return Call(id=id_, **{**fields, **more})


def over(id_: str = "c1", **more: Any) -> Call:
    """A call that ended and that Bitrix24 knows."""
    fields: dict[str, Any] = {
        "phase": Phase.ENDED,
        "bitrix_call_id": f"externalCall.{id_}",
        "activity_id": 77,
        "crm_type": "LEAD",
        "crm_id": 5,
    }
    return call(id_, **{**fields, **more})


def job(command: Command, **more: Any) -> Job:
    """A job as it is claimed; it need not stand in a store."""
    from bitrix_app.core import commands

    fields: dict[str, Any] = {
        "id": 1,
        "portal": MEMBER,
        "lane": "c1",
        "key": command.kind,
        "kind": command.kind,
        "data": commands.pack(command),
        "priority": int(Priority.FINISH),
        "state": JobState.RUNNING,
        "due_at": NOW,
        "created_at": NOW,
    }
    return Job(**{**fields, **more})


def owed(command: Command, key: str = "", *needs: str, **more: Any) -> Owed:
    priority = more.pop("priority", Priority.FINISH)
    return Owed(key or command.kind, command, priority, tuple(needs), **more)


def webhook(event: str, **call_fields: Any) -> bytes:
    """A webhook of the PBX about one incoming call."""
    fields: dict[str, Any] = {
        "id": "1091001",
        "from": CLIENT[1:],
        "outerNumber": LINE,
        "direction": "IN",
        "date": "2026-09-02 10:35:00",
    }
    return json.dumps({"event": event, "call": {**fields, **call_fields}}).encode()


def end(dbid: str = "27501", **more: Any) -> bytes:
    fields: dict[str, Any] = {
        "dbid": dbid,
        "to": ["2001"],
        "state": "ANSWER",
        "secondsTalk": 83,
        "secondsFullTime": 95,
        "link": "https://api.unitalk.cloud:8443/tracking/rec/1.1/2026-02-10",
    }
    return webhook("CALL_END", **{**fields, **more})


def event_form(name: str, ts: str = "1788333302", **data: str) -> bytes:
    """An event of the portal as its queue server posts it."""
    pairs = [("event", name), ("event_handler_id", "1057"), ("ts", ts)]
    pairs += [(f"data[{key}]", value) for key, value in data.items()]
    pairs += [
        ("auth[access_token]", "canary-access-token"),
        ("auth[refresh_token]", "canary-refresh-token"),
        ("auth[application_token]", APP_TOKEN),
        ("auth[member_id]", MEMBER),
        ("auth[domain]", DOMAIN),
    ]
    return urlencode(pairs).encode()


def event_of(body: bytes) -> BitrixEvent:
    return read_body(body)


@dataclass
class Bench:
    """A portal in the real store, the two doors of the house, and who was told what."""

    store: Store
    clock: VirtualClock
    portal: Portal
    nudged: list[str] = field(default_factory=list)
    forgotten: list[str] = field(default_factory=list)
    prefill: Prefill = field(default_factory=Prefill)

    @property
    def now(self) -> float:
        return self.clock.now()

    def intake(self, store: Any = None) -> Intake:
        return Intake(store or self.store, self.clock, self.nudged.append, self.forgotten.append)

    def portals(self, store: Any = None) -> Portals:
        return Portals(
            store or self.store, self.clock, self.nudged.append, self.forgotten.append, self.prefill
        )

    async def do(self, work: Callable[[Unit], Awaitable[Any]]) -> Any:
        return await self.store.transact(work)

    async def hear(
        self, body: bytes, *, ev: str = "", method: str = "POST", store: Any = None, **query: str
    ) -> None:
        """A webhook of the PBX comes in."""
        known = await self.store.portal(MEMBER)
        assert known is not None
        await self.intake(store).pbx(
            known,
            body=body,
            content_type="application/json",
            query={**query, **({"ev": ev} if ev else {})},
            method=method,
            correlation_id="corr-1",
        )

    async def hear_portal(self, name: str, ts: str = "1788333302", **data: str) -> None:
        """An event of the portal comes in."""
        body = event_form(name, ts, **data)
        known = await self.current()
        await self.intake().bitrix(known, event_of(body), body, "corr-2")

    async def current(self) -> Portal:
        known = await self.store.portal(MEMBER)
        assert known is not None
        return known

    async def change(self, **fields: Any) -> Portal:
        """The stored portal with these fields changed."""
        changed = replace(await self.current(), **fields)
        await self.do(lambda unit: unit.save_portal(changed))
        return changed

    async def keep(self, *calls: Call, owes: Sequence[Owed] = (), **more: Any) -> None:
        """Store calls; what is owed goes to each of them."""
        for one in calls:
            transition = Transition(one, tuple(owes), **more)

            async def work(unit: Unit, transition: Transition = transition) -> int:
                return await unit.apply(transition, self.now, "corr-3")

            await self.do(work)

    async def owe(self, lane: str, *owes: Owed) -> None:
        await self.do(lambda unit: unit.owe(MEMBER, lane, owes, self.now))

    async def pairs(self) -> Sequence[TokenPair]:
        return cast(Sequence[TokenPair], await self.do(lambda unit: unit.pairs(MEMBER)))

    async def keep_pair(self, one: TokenPair) -> None:
        await self.do(lambda unit: unit.keep_pair(one, 3))

    async def the_call(self, id_: str = "c1") -> Call:
        found = await self.store.call(MEMBER, id_)
        assert found is not None
        return found

    async def only_call(self) -> Call:
        (found,) = await self.store.calls(MEMBER)
        return found

    async def lane(self, lane: str = "c1") -> dict[str, Job]:
        return {one.key: one for one in await self.store.lane(MEMBER, lane)}

    async def states(self, lane: str = "c1") -> dict[str, str]:
        return {key: str(one.state) for key, one in (await self.lane(lane)).items()}

    async def receipt(self) -> Receipt:
        (found,) = await self.store.receipts(MEMBER)
        return found

    async def last_attempt(self, key: str, lane: str = "c1") -> Any:
        one = (await self.lane(lane))[key]
        return (await self.store.attempts(MEMBER, one.id))[-1]

    async def know(self, *agents: Agent) -> None:
        """The snapshot of the portal's people."""
        from dataclasses import asdict

        items = tuple(asdict(agent) for agent in agents)
        await self.store.save_snapshot(MEMBER, Snapshot("agents", self.now, items))


async def until(true: Callable[[], Any], what: str, within: float = 5.0) -> None:
    """Wait in real time: the store works on threads, whatever our clock says."""
    deadline = asyncio.get_running_loop().time() + within
    while True:
        found = true()
        if asyncio.iscoroutine(found):
            found = await found
        if found:
            return
        assert asyncio.get_running_loop().time() < deadline, f"in {within} s it did not come to: {what}"
        await asyncio.sleep(0.002)


class Through:
    """The store with some verbs replaced; all others go through, and each verb is counted.

    `busy` is the number of verbs that somebody waits for now.
    """

    def __init__(self, store: Store, **verbs: Any) -> None:
        self._store = store
        self.verbs = verbs
        self.asked: dict[str, int] = {}
        self.busy = 0

    def __getattr__(self, name: str) -> Any:
        real = self.verbs.get(name) or getattr(self._store, name)

        async def counted(*args: Any, **kwargs: Any) -> Any:
            self.asked[name] = self.asked.get(name, 0) + 1
            self.busy += 1
            try:
                return await real(*args, **kwargs)
            finally:
                self.busy -= 1

        return counted


class HouseClock(VirtualClock):
    """Time that waits for the store: it moves on when nobody waits for an answer of the database."""

    def __init__(self) -> None:
        super().__init__(NOW)
        self.store: Through | None = None

    async def _drain(self) -> None:
        quiet = 0
        while quiet < 3:
            for _ in range(20):
                await asyncio.sleep(0)
            if self.store is not None and self.store.busy:
                quiet = 0
                await asyncio.sleep(0.0005)
            else:
                quiet += 1


class Failing:
    """A verb that fails with these troubles first and then works."""

    def __init__(self, real: Callable[..., Awaitable[Any]], *troubles: Exception) -> None:
        self._real = real
        self.troubles = list(troubles)

    async def __call__(self, *args: Any, **kwargs: Any) -> Any:
        if self.troubles:
            raise self.troubles.pop(0)
        return await self._real(*args, **kwargs)


def away() -> StoreUnavailable:
    return StoreUnavailable("the disk is full")


class FakePortal:
    """A `BitrixClient` that answers by script: method → results or troubles in order, the last stays.

    A function gets the request.
    """

    def __init__(self, **answers: Any) -> None:
        self.answers: dict[str, list[Any]] = {n.lower().replace("__", "."): [a] for n, a in answers.items()}
        self.said: list[RestCall] = []
        self.priorities: list[Priority] = []
        self.batches: list[list[str]] = []
        self.batch_fault: Exception | None = None
        self.uploads: list[tuple[str, str, str, bytes]] = []
        self.uploaded: Any = {"FILE_ID": 901}
        self.tariffs: list[str] = []

    @property
    def client(self) -> BitrixClient:
        return cast(BitrixClient, self)

    def on(self, method: str, *answers: Any) -> None:
        self.answers[method.lower()] = list(answers)

    @property
    def methods(self) -> list[str]:
        return [request.method for request in self.said]

    def params(self, method: str) -> dict[str, Any]:
        """What was said with the last request of the method."""
        return next(r.params for r in reversed(self.said) if r.method.lower() == method.lower())

    async def call(self, portal: Portal, request: RestCall, priority: Priority = Priority.CRM) -> Answer:
        self.priorities.append(priority)
        return self._answer(request)

    async def batch(
        self, portal: Portal, requests: Mapping[str, RestCall], priority: Priority = Priority.CRM
    ) -> dict[str, Answer | Trouble]:
        if self.batch_fault is not None:
            raise self.batch_fault
        self.priorities.append(priority)
        self.batches.append([request.method for request in requests.values()])
        settled: dict[str, Answer | Trouble] = {}
        for key, request in requests.items():
            try:
                settled[key] = self._answer(request)
            except Trouble as trouble:
                settled[key] = trouble
        return settled

    async def upload(
        self,
        portal: Portal,
        upload_url: str,
        field: str,
        path: Path,
        filename: str,
        content_type: str,
        priority: Priority = Priority.RECORDING,
    ) -> Any:
        self.uploads.append((upload_url, filename, content_type, path.read_bytes()))  # noqa: ASYNC240
        return self.uploaded

    def tariff(self, portal: Portal) -> None:
        self.tariffs.append(portal.license_family)

    def _answer(self, request: RestCall) -> Answer:
        self.said.append(request)
        if request.method.lower() not in self.answers:
            raise AssertionError(f"nobody expected {request.method}")
        left = self.answers[request.method.lower()]
        found = left.pop(0) if len(left) > 1 else left[0]
        if callable(found):
            found = found(request)
        if isinstance(found, Exception):
            raise found
        return found if isinstance(found, Answer) else Answer(found)
