"""A whole day with everything going wrong: the ledger closes to zero, the portal has each call once."""

from __future__ import annotations

import datetime as dt
import random
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest

from bitrix_app.core.call import Call
from bitrix_app.core.jobs import JobState
from bitrix_app.core.ledger import Standing
from bitrix_app.core.portal import PortalState
from tests.faults.house import APP, House, house
from tests.faults.test_reconcile import ledger
from unitalk.sandbox import Mishap, SandboxCall

pytestmark = pytest.mark.anyio

KYIV = ZoneInfo("Europe/Kyiv")
HOUR = 3600.0
RUN_SECONDS = 120.0
"""Seconds of one processor that the day may take, whatever else the machine does meanwhile."""


class Weather(list[Mishap]):
    """What happens to each webhook on its way, by chance: 5 % lost, 10 % doubled, 10 % overtaken."""

    def __init__(self, chance: random.Random) -> None:
        super().__init__()
        self._chance = chance
        self.happened: Counter[str] = Counter()

    def __iter__(self) -> Iterator[Mishap]:
        dice = self._chance.random()
        if dice < 0.05:
            self.happened["drop"] += 1
            yield Mishap("*", "drop")
        elif dice < 0.15:
            self.happened["duplicate"] += 1
            yield Mishap("*", "duplicate")
        elif dice < 0.25:
            self.happened["reorder"] += 1
            yield Mishap("*", "reorder", seconds=8.0)


def ring(up: House, chance: random.Random, clients: list[str]) -> SandboxCall:
    """Some call of a usual day."""
    client, talk = chance.choice(clients), float(chance.randrange(5, 400))
    lines = ("2001", "2002", "2003")
    kind, state = chance.random(), "ANSWER" if chance.random() < 0.7 else "NOANSWER"
    if kind < 0.2:
        return up.pbx.incoming(client, ring=lines[:2], ring_seconds=12.0)
    if kind < 0.5:
        return up.pbx.outgoing(chance.choice(lines), client, state=state, talk=talk)
    answerer = chance.choice(lines)
    return up.pbx.incoming(client, ring=(answerer, "2005"), answered_by=answerer, ring_seconds=5.0, talk=talk)


async def buried(up: House) -> list[tuple[str, str, str]]:
    """Jobs of calls that need a person."""
    counts = await up.app.store.job_counts(up.member_id)
    found = []
    if counts.get(JobState.ATTENTION):
        async for call in every_call(up):
            for job in await up.jobs(call):
                # a card that could not be shown or hidden while Bitrix24 was away is nobody's to mend
                if job.state is JobState.ATTENTION and job.error and job.kind not in ("show", "hide"):
                    found.append((call.id, job.key, f"{job.error.code}: {job.error.message}"))
    return found


async def every_call(up: House) -> AsyncIterator[Call]:
    before: tuple[float, str] | None = None
    while page := await up.app.store.calls(up.member_id, limit=500, before=before):
        for call in page:
            yield call
        before = (page[-1].first_seen_at, page[-1].id)


async def to_midnight(up: House) -> dt.date:
    """To the first minutes of a day on the PBX's clock; that day."""
    now = dt.datetime.fromtimestamp(up.clock.now(), KYIV)
    day = now.date() + dt.timedelta(days=1)
    await up.run_for(dt.datetime.combine(day, dt.time(0, 5), KYIV).timestamp() - up.clock.now())
    return day


@pytest.mark.parametrize(
    "count", [100, pytest.param(500, marks=pytest.mark.slow), pytest.param(5_000, marks=pytest.mark.slow)]
)
async def test_a_day_of_faults_closes_to_zero(tmp_path: Path, count: int) -> None:
    began, busy = time.monotonic(), time.process_time()
    chance = random.Random(count)
    async with house(tmp_path, threads=False) as up:
        day = await to_midnight(up)
        before = len(up.portal.notifications)
        clients = [up.number() for _ in range(max(10, count // 25))]
        weather = Weather(chance)
        up.pbx._deliveries.mishaps = weather
        first = up.clock.now()
        at = sorted(chance.uniform(0.0, 22.5 * HOUR) for _ in range(count))
        told: list[SandboxCall] = []

        async def live(until: float) -> None:
            while len(told) < count and first + at[len(told)] <= until:
                await up.run_for(first + at[len(told)] - up.clock.now())
                told.append(ring(up, chance, clients))
            await up.run_for(max(0.0, until - up.clock.now()))

        await live(first + 7 * HOUR)
        await up.crash()
        up.http.unplug(APP)
        await live(first + 7 * HOUR + 2_400.0)
        await up.start()
        await live(first + 11 * HOUR)
        up.http.refuse = lambda name: not name.startswith("/") and name != "recording"
        await live(first + 11 * HOUR + 1_800.0)
        up.http.refuse = None
        await live(first + 15 * HOUR)
        up.portal.expire_tokens()
        up.portal.revoke()
        await live(first + 15 * HOUR + 1_200.0)
        portal = await up.app.store.portal(up.member_id)
        assert portal is not None
        assert portal.state is PortalState.NEEDS_REAUTH
        assert await up.open_app() == 200
        await live(first + 23 * HOUR)
        await up.settle(calls=1, most_seconds=5 * HOUR)

        balance = await ledger(up, day)
        odd = [entry for entry in balance.entries if entry.standing is not Standing.WRITTEN]
        assert odd == []
        assert (balance.total, balance.count(Standing.WRITTEN), balance.difference) == (count, count, 0)
        dbids = Counter(entry.pbx_dbid for entry in balance.entries)
        assert dbids == Counter(str(call.dbid) for call in told), "each call of the PBX once"
        ids = Counter(row.external_id for row in up.portal.calls)
        assert set(ids.values()) == {1}
        assert len(ids) == count, "each call once in the portal"
        durations = Counter((row.number.removeprefix("+"), row.duration) for row in up.portal.calls)
        assert durations == Counter(
            (call.number, call.seconds_talk if call.state == "ANSWER" else 0) for call in told
        )
        assert await up.app.store.differences(up.member_id) == []
        assert await buried(up) == []
        # reminders of clients who reached nobody are the retry list's, one for each; these are of faults
        notices = [one for one in up.portal.notifications[before:] if not one.tag.startswith("overdue:")]
        assert len(notices) < 10, [one.message for one in notices]
        assert sum("recovered" in one.message for one in notices) == 1
        assert min(weather.happened[kind] for kind in ("drop", "duplicate", "reorder")) > 0
        took, worked = time.monotonic() - began, time.process_time() - busy
        sys.stderr.write(
            f"\n{count} calls in {took:.0f} s ({worked:.0f} s of work): {dict(weather.happened)},"
            f" {balance.recovered} recovered, {len(notices)} notices\n"
        )
        assert worked <= RUN_SECONDS
