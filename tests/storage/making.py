"""Values for the storage tests, short to write."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any

from bitrix_app.clock import VirtualClock
from bitrix_app.core.advance import Owed, Transition, Wake
from bitrix_app.core.call import Call
from bitrix_app.core.commands import Command, FetchRecording, Finish, Priority, Register, Show
from bitrix_app.core.jobs import Attempt, Job, JobError, JobState
from bitrix_app.core.portal import Portal, PortalState, TokenPair
from bitrix_app.core.store import Receipt, Store, Unit

KEY = "a first key that is long enough: 0123456789"
PORTAL = "portal-a"
OTHER = "portal-b"
SICK = JobError("SICK", "server", "It failed", "Wait", "nobody")


def call(id_: str = "c1", portal: str = PORTAL, at: float = 1000.0, **known: Any) -> Call:
    return Call(id=id_, portal=portal, first_seen_at=at, **known)


def receipt(digest: str = "d1", portal: str = PORTAL, at: float = 1000.0, **known: Any) -> Receipt:
    return Receipt(portal, "unitalk", digest, known.pop("body", b"{}"), at, **known)


def owed(key: str, *needs: str, command: Command | None = None, **known: Any) -> Owed:
    priority = known.pop("priority", Priority.CRM)
    return Owed(key, command or Finish(), priority, tuple(needs), **known)


def pair(user_id: int, portal: str = PORTAL, at: float = 0.0, **known: Any) -> TokenPair:
    values: dict[str, Any] = {
        "access": f"access-{user_id}",
        "refresh": f"refresh-{user_id}",
        "expires_at": 3600.0,
        "is_admin": True,
        "refreshed_at": at,
    }
    return TokenPair(portal=portal, user_id=user_id, **(values | known))


def portal(member_id: str = PORTAL, **known: Any) -> Portal:
    values: dict[str, Any] = {
        "domain": f"{member_id}.bitrix24.com",
        "client_endpoint": f"https://{member_id}.bitrix24.com/rest/",
        "auth_server": "https://oauth.bitrix.info",
        "state": PortalState.ACTIVE,
    }
    return Portal(member_id=member_id, **(values | known))


def attempt(at: float, result: str = "done") -> Attempt:
    return Attempt(at, 0.5, result)


@dataclass
class Bench:
    """A store with its clock, and the handful of moves that most tests make."""

    store: Store
    clock: VirtualClock

    @property
    def now(self) -> float:
        return self.clock.now()

    async def do(self, work: Callable[[Unit], Awaitable[Any]]) -> Any:
        return await self.store.transact(work)

    async def owe(
        self,
        *jobs: Owed,
        lane: str = "c1",
        of: str = PORTAL,
        wakes: tuple[Wake, ...] = (),
        unwake: tuple[str, ...] = (),
        cancel: tuple[str, ...] = (),
    ) -> int:
        transition = Transition(call(lane, of), jobs, wakes, unwake, cancel)
        added: int = await self.do(lambda unit: unit.apply(transition, self.now, "corr"))
        return added

    async def claim(
        self, limit: int = 50, *, of: str = PORTAL, lease: float = 60.0, max_priority: int = 99
    ) -> Sequence[Job]:
        return await self.store.claim(of, self.now, limit, self.now + lease, max_priority)

    async def claim_keys(self, limit: int = 50, **how: Any) -> list[str]:
        return [job.key for job in await self.claim(limit, **how)]

    async def complete(self, job: Job) -> None:
        await self.do(lambda unit: unit.complete(job, attempt(self.now)))

    async def fail(self, job: Job, pause: float = 5.0, *, counted: bool = True, doubt: bool = False) -> None:
        await self.do(
            lambda unit: unit.reschedule(
                job, attempt(self.now, "retry"), self.now + pause, counted=counted, doubt=doubt, error=SICK
            )
        )

    async def states(self, lane: str = "c1", of: str = PORTAL) -> dict[str, JobState]:
        return {job.key: job.state for job in await self.store.lane(of, lane)}

    async def job(self, key: str, lane: str = "c1", of: str = PORTAL) -> Job:
        return next(job for job in await self.store.lane(of, lane) if job.key == key)


__all__ = [
    "KEY",
    "OTHER",
    "PORTAL",
    "SICK",
    "Bench",
    "FetchRecording",
    "Finish",
    "Register",
    "Show",
    "attempt",
    "call",
    "owed",
    "pair",
    "portal",
    "receipt",
]
