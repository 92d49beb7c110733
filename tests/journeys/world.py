"""The whole house on sockets: sandbox portal, sandbox PBX and the app, as the demo puts them up."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from bitrix_app.core.call import Call
from bitrix_app.core.chores import CARDS_LANE
from bitrix_app.core.jobs import Job, JobState
from bitrix_app.core.ports import HttpRequest, HttpResponse
from bitrix_app.gateway import HttpGateway
from bitrix_app.sandbox.demo import Stage
from unitalk.sandbox import Facts, SandboxCall

OPEN = (JobState.BLOCKED, JobState.WAITING, JobState.RUNNING, JobState.RETRYING)
CLIENT = "380670000077"
"""A stranger: nobody in the sandbox CRM has this number."""


@dataclass
class World:
    """What a journey needs: the stage, a way to post webhooks, and patience."""

    stage: Stage
    http: HttpGateway

    @property
    def member_id(self) -> str:
        return self.stage.portal.world.member_id

    def call(self, kind: str = "incoming", *args: Any, deliver: bool = False, **more: Any) -> SandboxCall:
        """A call that already happened at the PBX; its webhooks are the test's to post."""
        now = self.stage.house.clock.now()
        make: Callable[..., SandboxCall] = getattr(self.stage.pbx, kind)
        return make(*args, facts=Facts(at=now - 20, deliver=deliver), **more)

    def bodies(self, call: SandboxCall) -> list[dict[str, Any]]:
        return self.stage.pbx.webhooks_for(call)

    async def post(self, body: dict[str, Any] | bytes, url: str | None = None) -> HttpResponse:
        raw = body if isinstance(body, bytes) else json.dumps(body).encode()
        request = HttpRequest(
            "POST", url or self.stage.webhook_url, {"Content-Type": "application/json"}, raw, timeout=15.0
        )
        return await self.http.send(request)

    async def post_all(self, bodies: Sequence[dict[str, Any]]) -> None:
        for body in bodies:
            assert (await self.post(body)).status == 200

    async def until(self, true: Callable[[], bool], what: str, within: float = 20.0) -> None:
        deadline = asyncio.get_running_loop().time() + within
        while not true():
            assert asyncio.get_running_loop().time() < deadline, f"in {within} s it did not come to: {what}"
            await asyncio.sleep(0.02)

    async def no_card_is_open(self) -> None:
        """«No card stays open at the end of any journey»: the fixture asks it of each."""
        await self.until(lambda: not self.stage.portal.open_cards(), "no card left open")

    async def people_are_known(self) -> None:
        """The first list of employees is read a moment after the installation."""
        for _ in range(1000):
            if await self.stage.house.store.snapshot(self.member_id, "agents") is not None:
                return
            await asyncio.sleep(0.02)
        raise AssertionError("the list of employees was never read")

    async def calls(self) -> list[Call]:
        return list(await self.stage.house.store.calls(self.member_id))

    async def only_call(self) -> Call:
        (call,) = await self.calls()
        return call

    async def jobs(self, call: Call) -> list[Job]:
        return list(await self.stage.house.store.lane(self.member_id, call.id))

    async def settled(self, count: int = 1, within: float = 30.0) -> list[Call]:
        """Wait until `count` calls are known and nothing is owed; the calls, newest first."""
        deadline = asyncio.get_running_loop().time() + within
        counts: Counter[JobState] = Counter()
        calls: list[Call] = []
        while asyncio.get_running_loop().time() < deadline:
            calls = await self.calls()
            counts = Counter(await self.stage.house.store.job_counts(self.member_id))
            # a CALL_ID that we did not know at once is looked at again minutes later
            counts.subtract(
                job.state for job in await self.stage.house.store.lane(self.member_id, CARDS_LANE)
            )
            if len(calls) >= count and not any(counts[state] for state in OPEN):
                return calls
            await asyncio.sleep(0.05)
        stuck = [(j.key, str(j.state), j.error) for c in calls for j in await self.jobs(c) if j.state in OPEN]
        raise AssertionError(f"{len(calls)} calls, still owed after {within} s: {dict(counts)} {stuck}")
