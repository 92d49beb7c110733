"""Each fault button of the demo, pressed over HTTP while calls are made: the product heals it.

The clock runs faster than the wall once all is up, so that a doubt of a minute takes seconds.
"""

import json
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import anyio
import pytest

from bitrix_app.clock import SystemClock
from bitrix_app.core.call import Call, Recording
from bitrix_app.core.jobs import Attempt, JobState
from bitrix_app.core.ports import HttpRequest
from bitrix_app.gateway import HttpGateway
from bitrix_app.sandbox.demo import stage
from bitrix_app.sandbox.fault_buttons import LOST, REFUSALS
from tests.journeys.test_calls import assert_once
from tests.journeys.world import CLIENT, World

pytestmark = pytest.mark.anyio
FASTER = 10.0


class FastClock(SystemClock):
    """The machine's clock until `hurry`; from then on every second is ten."""

    def __init__(self) -> None:
        self._from = 0.0
        self._speed = 1.0

    def hurry(self) -> None:
        self._from, self._speed = time.monotonic(), FASTER

    @property
    def _gained(self) -> float:
        return (time.monotonic() - self._from) * (self._speed - 1.0) if self._from else 0.0

    def now(self) -> float:
        return super().now() + self._gained

    def monotonic(self) -> float:
        return super().monotonic() + self._gained

    async def sleep(self, seconds: float) -> None:
        await anyio.sleep(max(0.0, seconds / self._speed))


@pytest.fixture
async def world(tmp_path: Path, anyio_backend: str) -> AsyncIterator[World]:
    http = HttpGateway(allow_loopback=True)
    clock = FastClock()
    async with stage(0, tmp_path, clock=clock) as up:
        clock.hurry()
        yield World(up, http)
    await http.close()


async def feed(world: World) -> dict[str, dict[str, Any]]:
    """The buttons as the page draws them."""
    answer = await world.http.send(HttpRequest("GET", f"{world.stage.portal_url}/events-feed"))
    return {row["code"]: row for row in json.loads(answer.body)["faults"]}


async def press(world: World, code: str) -> int:
    answer = await world.http.send(
        HttpRequest(
            "POST",
            f"{world.stage.portal_url}/sandbox/fault",
            {"Content-Type": "application/json"},
            json.dumps({"code": code}).encode(),
        )
    )
    return answer.status


async def two_live_calls(world: World) -> list[Call]:
    """An incoming and an outgoing call, lived by the PBX; both settled in the end."""
    world.stage.pbx.incoming(CLIENT, ring=("2001", "2002"), answered_by="2002", talk=6, ring_seconds=3.0)
    world.stage.pbx.outgoing("2003", "380670000078", talk=5, ring_seconds=2.0)
    await world.until(
        lambda: all(c.ended(world.stage.house.clock.now()) for c in world.stage.pbx.calls), "both ends"
    )
    await world.until(lambda: len(world.stage.portal.calls) == 2, "both calls in the portal", within=40)
    return await world.settled(2, within=60)


async def assert_healed(world: World, calls: list[Call]) -> None:
    assert len(world.stage.portal.calls) == 2
    for call in calls:
        assert_once(world, call, recordings=1)
        assert call.recording is Recording.COPIED
    counts = await world.stage.house.store.job_counts(world.member_id)
    assert counts.get(JobState.ATTENTION, 0) == 0


async def attempts(world: World, calls: list[Call], kind: str = "") -> list[Attempt]:
    """All tries of these calls' jobs, or of those of one kind."""
    store = world.stage.house.store
    return [
        attempt
        for call in calls
        for job in await world.jobs(call)
        if job.kind == kind or not kind
        for attempt in await store.attempts(world.member_id, job.id)
    ]


async def test_the_page_says_of_each_fault_what_it_does_and_what_to_watch(world: World) -> None:
    rows = await feed(world)
    assert list(rows)[:5] == ["twice", "503", "token", "lost", "late"]
    for row in rows.values():
        assert row["title"]
        assert row["does"].endswith(".")
        assert row["watch"].endswith(".")
        assert row["left"] == ""
    assert await press(world, "earthquake") == 404


async def test_everything_back_to_normal_takes_all_of_them_back(world: World) -> None:
    for code in ("twice", "503", "lost", "late", "twice"):
        assert await press(world, code) == 200
    assert {code for code, row in (await feed(world)).items() if row["left"]} == {
        "twice", "503", "lost", "late",
    }  # fmt: skip
    assert [m.times for m in world.stage.pbx.mishaps] == [40], "pressed twice it does not add up"
    assert await press(world, "calm") == 200
    assert not any(row["left"] for row in (await feed(world)).values())
    assert world.stage.portal.faults.active == []
    assert world.stage.pbx.mishaps == []
    await assert_healed(world, await two_live_calls(world))


async def test_webhooks_twice_make_each_call_once(world: World) -> None:
    await press(world, "twice")
    calls = await two_live_calls(world)
    told = [d for d in world.stage.pbx.deliveries if d.note == "duplicate"]
    assert len(told) >= 2 * 2 * 3, "each of them came twice"
    await assert_healed(world, calls)
    repeats = [r.repeats for r in await world.stage.house.store.receipts(world.member_id)]
    assert sum(repeats) == len(told) / 2


async def test_503_delays_and_loses_nothing(world: World) -> None:
    await press(world, "503")
    calls = await two_live_calls(world)
    assert sum(fault.kind == "throttled" for _, fault in world.stage.portal.faults.happened) == REFUSALS
    await assert_healed(world, calls)
    met = [a.result for a in await attempts(world, calls) if a.code == "QUERY_LIMIT_EXCEEDED"]
    assert met
    assert set(met) == {"later"}, "a limit uses up no try"


async def test_an_expired_token_costs_one_refresh(world: World) -> None:
    await world.settled(0)
    before = world.stage.portal.auth.refreshes
    await press(world, "token")
    assert (await feed(world))["token"]["left"]
    calls = await two_live_calls(world)
    assert world.stage.portal.auth.refreshes == before + 1
    assert (await feed(world))["token"]["left"] == ""
    await assert_healed(world, calls)


async def test_lost_answers_are_looked_into_before_anything_is_said_again(world: World) -> None:
    await press(world, "lost")
    calls = await two_live_calls(world)
    assert sum(fault.kind == "lost" for _, fault in world.stage.portal.faults.happened) == LOST
    await assert_healed(world, calls)


async def test_a_late_recording_follows_its_call(world: World) -> None:
    await press(world, "late")
    calls = await two_live_calls(world)
    early = [a.result for a in await attempts(world, calls, "fetch_recording") if a.result != "done"]
    assert len(early) >= 2, "the first try of each came too early"
    assert set(early) == {"retry"}
    await assert_healed(world, calls)
