"""Agents' statuses with the whole house: a scripted day of 20 agents, outages, crashes, late answers.

The PBX emulator's own `statuses` are the truth; the app cannot read them.
"""

from __future__ import annotations

import asyncio
import random
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest

from bitrix_app.core.agents import AgentStatus, Want, Words
from bitrix_app.core.jobs import JobState
from bitrix_app.core.ports import HttpRequest, HttpResponse
from bitrix_app.core.retry import DOUBT_MATURES
from bitrix_app.core.store import Unit
from bitrix_app.sandbox.seed import ADMIN, MANAGER
from bitrix_app.sandbox.state import User
from tests.faults.house import APP, House, house
from unitalk.sandbox.faults import Fault
from unitalk.sandbox.model import Operator

pytestmark = pytest.mark.anyio
WORDS = Words()
SET = "/api/phones/inner/setStatus"
ROUND = 62.0
"""Seconds after which the minute's round has certainly asked the time clock."""
LEARNT = 75.0
"""Seconds until the app knows of a working day: its minute, and a portal that is busy with calls."""
BODY = {"Content-Type": "application/json"}


@dataclass
class Team:
    """The house with its agents, and what the script knows to be true of them."""

    up: House
    count: int
    rate: float = 1.0
    clocked: dict[str, tuple[str, float]] = field(default_factory=dict)
    """Extension → (state of the working day, since when)."""
    worst: float = 0.0

    @property
    def extensions(self) -> list[str]:
        return [str(2001 + n) for n in range(self.count)]

    @property
    def bound(self) -> float:
        return 5.0 + self.count / self.rate

    def user(self, extension: str) -> int:
        return int(extension) - 2001 + 11

    async def statuses(self) -> dict[str, AgentStatus]:
        found = await self.up.app.store.agent_statuses(self.up.member_id)
        return {one.extension: one for one in found}

    # --- doing -----------------------------------------------------------------------------------

    def clock(self, extension: str, state: str) -> None:
        clock = self.up.portal
        how = {"OPENED": clock.clock_in, "CLOSED": clock.clock_out, "PAUSED": clock.clock_pause}
        user = self.user(extension)
        now = clock.state.users[user].time_status
        if now == "CLOSED" and state == "PAUSED":
            clock.clock_in(user)  # nobody pauses a day that has not begun
        if now != state:
            how[state](user)
        self.clocked[extension] = (state, self.up.clock.now())

    async def say(self, request: HttpRequest) -> HttpResponse:
        sending = asyncio.ensure_future(self.up.http.send(request))
        await self.up.run_until(sending.done, 30.0, request.url)
        return sending.result()

    async def choose(self, extension: str, status: str, by: int | None = None) -> HttpResponse:
        """As the agent does it: he opens the page in Bitrix24 and presses the button."""
        user = self.user(extension)
        frame = self.up.portal.open_frame(by or user)
        assert frame is not None
        form = {"Content-Type": "application/x-www-form-urlencoded", "Accept": "text/html"}
        page = await self.say(
            HttpRequest("POST", frame.address, form, urlencode(frame.form).encode(), (), 15.0)
        )
        found = re.search(r'name="frame-session" content="([^"]+)"', page.body.decode())
        assert found is not None, page.body[:500]
        headers = {"Authorization": f"Bearer {found[1]}", **BODY}
        body = f'{{"status": "{status}", "reason": "by the script"}}'.encode()
        return await self.say(HttpRequest("PUT", f"{APP}/agents/{user}", headers, body, (), 15.0))

    async def settings(self, **changes: Any) -> None:
        async def work(unit: Unit) -> None:
            portal = await unit.portal(self.up.member_id)
            assert portal is not None
            await unit.save_portal(replace(portal, settings=replace(portal.settings, **changes)))

        await self.up.app.store.transact(work)

    # --- looking ---------------------------------------------------------------------------------

    async def check_offers(self) -> None:
        """No unavailable agent is offered to the dialer, by what is true and not by what we believe."""
        now = self.up.clock.now()
        talking = self.up.pbx.busy_lines()
        rows = await self.statuses()
        for one in await self.up.app.store.available_agents(self.up.member_id):
            assert self.up.pbx.statuses[one.extension] == "WORK", f"{one.extension} is offered, but paused"
            state, since = self.clocked.get(one.extension, ("OPENED", 0.0))
            assert state == "OPENED" or now - since < LEARNT, f"{one.extension} went home"
            assert rows[one.extension].desired is Want.WORK
            assert one.extension not in talking or rows[one.extension].calls == (), "on the phone"

    async def passes(self, seconds: float) -> None:
        """Time, with a look at the offers every few seconds."""
        end = self.up.clock.now() + seconds
        while self.up.clock.now() < end:
            await self.up.run_for(min(3.0, end - self.up.clock.now()))
            await self.check_offers()

    async def wrong(self) -> list[str]:
        """Agents whose true status is not the desired one, unless they changed their minds just now."""
        now = self.up.clock.now()
        return [
            f"{ext}: {one.desired}, PBX {self.up.pbx.statuses[ext]}, {one.error}"
            for ext, one in (await self.statuses()).items()
            if self.up.pbx.statuses[ext] != WORDS.of(one.desired) and now - one.since > self.bound
        ]

    async def converges(self) -> None:
        """The PBX is well from now on: what was desired is true within 5 s + agents ÷ PBX rate."""
        begin = self.up.clock.now()
        while True:
            now = self.up.clock.now()
            rows = await self.statuses()
            late = [
                (ext, str(one.desired), self.up.pbx.statuses[ext], one)
                for ext, one in rows.items()
                if self.up.pbx.statuses[ext] != WORDS.of(one.desired) and one.since <= begin
            ]
            if not late:
                break
            assert now - begin < self.bound, f"{now - begin:.1f} s after the PBX was well: {late}"
            await self.up.run_for(1.0)
            await self.check_offers()
        self.worst = max(self.worst, self.up.clock.now() - begin)

    async def one_open_job_each(self) -> None:
        for ext in self.extensions:
            jobs = await self.up.app.store.lane(self.up.member_id, f"agent:{ext}")
            alive = [job for job in jobs if job.state not in (JobState.DONE, JobState.CANCELLED)]
            assert len(alive) <= 1
            assert JobState.ATTENTION not in [job.state for job in alive]


@asynccontextmanager
async def team(folder: Path, count: int, rate: float = 1.0, **settings: Any) -> AsyncIterator[Team]:
    """So many agents, clocked in, at work and acknowledged."""
    async with house(folder, install_app=False) as up:
        for n in range(count):
            user, extension = 11 + n, str(2001 + n)
            if user not in up.portal.state.users:
                up.portal.add_user(
                    User(user, f"Agent{n}", "Of the day", f"a{n}@example.com", inner=extension)
                )
            if extension not in up.pbx.statuses:
                up.pbx.operators.append(Operator(100 + n, f"Agent{n}", "Of the day", extension))
                up.pbx.statuses[extension] = "WORK"
        for other in list(up.portal.state.users.values()):
            if other.id >= 11 + count or other.id == MANAGER:  # the demo's own people
                other.inner = ""
        await up.installed()
        mine = Team(up, count, rate)
        await mine.settings(status_sync=True, pbx_requests_per_second=rate, **settings)
        await mine.up.run_for(ROUND + count / rate)
        assert sorted(await mine.statuses()) == mine.extensions
        assert len(await up.app.store.available_agents(up.member_id)) == count
        yield mine


def pbx_requests(up: House) -> int:
    return sum(1 for trip in up.http.trips if trip.name == SET)


async def test_an_agent_who_pauses_is_paused_in_the_pbx_within_a_second(tmp_path: Path) -> None:
    async with team(tmp_path, 2) as mine:
        await mine.up.run_for(5.0)
        assert (await mine.choose("2001", "pause")).status == 200
        assert [one.extension for one in await mine.up.app.store.available_agents(mine.up.member_id)] == [
            "2002"
        ]
        await mine.up.run_for(1.0)
        assert mine.up.pbx.statuses["2001"] == "PAUS"
        assert mine.up.pbx.statuses["2002"] == "WORK"
        await mine.choose("2001", "available")
        await mine.up.run_for(1.0)
        assert mine.up.pbx.statuses["2001"] == "WORK"
        assert len(await mine.up.app.store.available_agents(mine.up.member_id)) == 2
        assert (await mine.choose("2001", "pause", by=12)).status == 403, "a colleague may not"
        assert (await mine.choose("2001", "pause", by=ADMIN)).status == 200


async def test_a_pause_after_this_call_begins_when_the_client_hangs_up(tmp_path: Path) -> None:
    async with team(tmp_path, 2, status_sources=("timeman", "page")) as mine:
        mine.up.live_call(ring=("2001",), answered_by="2001", talk=40.0)
        await mine.up.run_for(10.0)
        assert (await mine.choose("2001", "pause_after_call")).status == 200
        await mine.up.run_for(20.0)
        assert mine.up.pbx.statuses["2001"] == "WORK"
        await mine.up.run_for(16.0)
        assert mine.up.pbx.statuses["2001"] == "PAUS"
        row = (await mine.statuses())["2001"]
        assert [line.what for line in row.history][-2:] == ["pause_after_call", "paused"]


async def test_the_working_day_is_asked_in_one_batch_a_minute(tmp_path: Path) -> None:
    async with team(tmp_path, 20, rate=5.0) as mine:
        before = len(mine.up.portal.rest_log)
        for ext in mine.extensions[:3]:
            mine.clock(ext, "CLOSED")
        mine.clock("2004", "PAUSED")
        mine.up.portal.state.users[mine.user("2005")].time_status = "EXPIRED"
        await mine.up.run_for(3 * 60.0 + 5.0)
        asked = [one for one in mine.up.portal.rest_log[before:] if "timeman" in str(one.method)]
        batches = [one for one in mine.up.portal.rest_log[before:] if one.method == "batch"]
        assert asked == [] or all(one.method != "timeman.status" for one in asked)
        assert len(batches) == 3
        paused = [ext for ext, word in mine.up.pbx.statuses.items() if word == "PAUS"]
        assert paused == ["2001", "2002", "2003", "2004", "2005"]
        for ext in mine.extensions[:5]:
            mine.clock(ext, "OPENED")
        await mine.up.run_for(ROUND + 5.0)
        assert "PAUS" not in mine.up.pbx.statuses.values()


@pytest.mark.parametrize("seconds", [20.0, 90.0, pytest.param(900.0, marks=pytest.mark.slow)])
@pytest.mark.parametrize("kind", ["status", "refused_before", "error", "lost", "html", "slow"])
async def test_after_an_outage_everybody_is_right_within_the_bound(
    tmp_path: Path, kind: Any, seconds: float
) -> None:
    async with team(tmp_path, 20) as mine:
        before = pbx_requests(mine.up)
        down = mine.up.pbx.faults.add(Fault("*", kind, times=None, seconds=12.0))
        for n, ext in enumerate(mine.extensions):
            if n % 3:
                assert (await mine.choose(ext, "pause")).status == 200
        await mine.passes(seconds)
        asked = pbx_requests(mine.up) - before
        assert asked <= 20 + seconds / 2.0, "a PBX that is down is not hammered"
        if seconds > 60.0 and kind != "lost" and kind != "slow":
            out = [ext for ext, one in (await mine.statuses()).items() if one.out]
            assert out, "after their retries agents are out"
        mine.up.pbx.faults.active.remove(down)
        if kind == "slow":
            await mine.passes(12.0)  # what it was working on when it recovered
        await mine.converges()
        await mine.one_open_job_each()
        await mine.up.run_for(130.0)
        offered = await mine.up.app.store.available_agents(mine.up.member_id)
        assert [one.extension for one in offered] == mine.extensions[::3], "who was out came back by himself"


async def test_a_line_that_the_pbx_refuses_is_out_told_and_comes_back(tmp_path: Path) -> None:
    async with team(tmp_path, 3) as mine:
        fault = Fault("phones/*", "error", times=None, text="Number not found")
        fault.where = lambda params: params.get("number") == "2002"
        mine.up.pbx.faults.add(fault)
        await mine.choose("2002", "pause")
        await mine.choose("2001", "pause")
        await mine.up.run_for(30.0)
        assert mine.up.pbx.statuses["2001"] == "PAUS", "the others go on"
        row = (await mine.statuses())["2002"]
        assert row.out
        (entry,) = await mine.up.app.store.agent_troubles(mine.up.member_id)
        assert (entry.extension, entry.state, entry.error.message) == (
            "2002",
            "attention",
            "Number not found",
        )
        assert (entry.error.code, entry.error.who) == ("UNITALK_REFUSED", "manager")
        told = {(one.user_id, one.tag): one.message for one in mine.up.portal.notifications}
        assert "Number not found" in told[12, "unitalk:agent:2002"]
        assert "some agents" in told[ADMIN, "unitalk:agents"]
        before = pbx_requests(mine.up)
        await mine.up.run_for(600.0)
        assert pbx_requests(mine.up) - before <= 11, "a slow probe, once a minute"
        mine.up.pbx.faults.clear()
        await mine.up.run_for(65.0)
        assert mine.up.pbx.statuses["2002"] == "PAUS"
        told = {(one.user_id, one.tag): one.message for one in mine.up.portal.notifications}
        assert "takes your status again" in told[12, "unitalk:agent:2002"]
        assert "all agents again" in told[ADMIN, "unitalk:agents"]
        assert await mine.up.app.store.agent_troubles(mine.up.member_id) == []


async def test_a_refused_key_is_asked_about_once_a_minute_and_told_once(tmp_path: Path) -> None:
    async with team(tmp_path, 10) as mine:
        mine.up.pbx.faults.add(Fault("*", "auth", times=None))
        for ext in mine.extensions:
            await mine.choose(ext, "pause")
        await mine.up.run_for(60.0)
        before = pbx_requests(mine.up)
        await mine.up.run_for(600.0)
        assert pbx_requests(mine.up) - before <= 11
        told = [one for one in mine.up.portal.notifications if one.user_id == ADMIN]
        assert [one.tag for one in told].count("unitalk:agents") == 1
        mine.up.pbx.faults.clear()
        await mine.up.run_for(60.0 + mine.bound)
        assert set(mine.up.pbx.statuses.values()) == {"PAUS"}


async def test_a_request_that_lands_late_is_put_right_and_nobody_is_offered_meanwhile(tmp_path: Path) -> None:
    async with team(tmp_path, 2) as mine:
        mine.up.http.later.append((SET, 30.0))
        await mine.choose("2001", "pause")
        await mine.choose("2001", "available")
        await mine.passes(200.0)
        assert mine.up.pbx.statuses["2001"] == "WORK"
        assert len(await mine.up.app.store.available_agents(mine.up.member_id)) == 2


@pytest.mark.parametrize("where", ["crash_before", "crash_after"])
async def test_a_crash_on_the_way_changes_nothing(tmp_path: Path, where: str) -> None:
    async with team(tmp_path, 3) as mine:
        http = mine.up.http

        def plan(name: str) -> bool:
            if name == SET:
                setattr(http, where, len(http.trips) - 1)
            return False

        http.refuse = plan
        await mine.choose("2001", "pause")
        await mine.up.run_for(1.0)
        assert http.crashed.is_set()
        assert mine.up.pbx.statuses["2001"] == ("WORK" if where == "crash_before" else "PAUS")
        http.refuse = None
        await mine.up.crash()
        await mine.up.start()
        await mine.choose("2001", "available")  # just as the row says that it was
        await mine.passes(5.0)
        assert mine.up.pbx.statuses["2001"] == "WORK"
        await mine.one_open_job_each()
        await mine.passes(130.0)
        assert len(await mine.up.app.store.available_agents(mine.up.member_id)) == 3


DAY = 90 * 60.0


@pytest.mark.parametrize("seed", [1, *(pytest.param(n, marks=pytest.mark.slow) for n in range(2, 8))])
async def test_a_scripted_day_of_twenty_agents(tmp_path: Path, seed: int) -> None:
    """Clock in, calls, pauses, PBX errors, an outage, a crash: actual equals desired within the bound."""
    chance = random.Random(seed)
    async with team(tmp_path, 20) as mine:
        up = mine.up
        for ext in mine.extensions:
            mine.clock(ext, "CLOSED")
        await mine.passes(ROUND + 20.0)
        assert await up.app.store.available_agents(up.member_id) == [], "before the shift nobody is"
        for ext in mine.extensions:
            mine.clock(ext, "OPENED")
            await mine.passes(chance.choice([0.0, 3.0, 9.0]))
        end = up.clock.now() + DAY
        episode = 0
        while up.clock.now() < end:
            episode += 1
            fault = _trouble(chance, episode)
            if fault is not None:
                up.pbx.faults.add(fault)
            for _ in range(chance.randrange(4, 14)):
                await _something(mine, chance)
                await mine.passes(chance.choice([0.0, 2.0, 7.0, 20.0]))
            if episode == 4:
                await up.crash()
                await up.start()
            up.pbx.faults.clear()
            if fault is not None and fault.kind == "late":
                await mine.passes(DOUBT_MATURES)  # an old request may still land: it is not well yet
            await mine.converges()
            assert await mine.wrong() == []
            await mine.one_open_job_each()
        for ext in mine.extensions:
            mine.clock(ext, "CLOSED")
        await mine.passes(ROUND + mine.bound)
        assert set(up.pbx.statuses.values()) == {"PAUS"}, "the shift is over"
        assert await up.app.store.available_agents(up.member_id) == []
        await up.settle(most_seconds=20_000.0)
        assert up.portal.open_cards() == []
        assert up.troubles == []
        print(f"worst convergence {mine.worst:.1f} s of {mine.bound:.0f} s")  # noqa: T201


def _trouble(chance: random.Random, episode: int) -> Fault | None:
    if episode in (3, 7):  # outages
        return Fault("*", chance.choice(["status", "refused_before"]), times=None)
    kind: Any = chance.choice(["status", "error", "lost", "late", "html", "refused_before", None])
    return Fault("phones/*", kind, times=chance.randrange(1, 6), seconds=20.0) if kind else None


async def _something(mine: Team, chance: random.Random) -> None:
    ext = chance.choice(mine.extensions)
    match chance.choice(["call", "call", "pause", "available", "available", "after", "clock"]):
        case "call":
            if ext not in mine.up.pbx.busy_lines():
                mine.up.live_call(ring=(ext,), answered_by=ext, talk=float(chance.randrange(5, 120)))
        case "pause":
            assert (await mine.choose(ext, "pause")).status == 200
        case "available":
            await mine.choose(ext, "available", by=chance.choice([None, ADMIN]))
        case "after":
            await mine.choose(ext, "pause_after_call")
        case "clock":
            mine.clock(ext, chance.choice(["OPENED", "OPENED", "PAUSED", "CLOSED"]))
