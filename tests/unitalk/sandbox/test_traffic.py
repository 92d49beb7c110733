"""The demo's traffic: the overture shows everything within thirty seconds, then a mix goes on."""

from __future__ import annotations

import asyncio
import itertools
from collections import Counter

import httpx
import pytest

from bitrix_app.clock import VirtualClock
from tests.unitalk.sandbox.conftest import Receiver
from unitalk.sandbox import SandboxPbx, Traffic

pytestmark = pytest.mark.anyio


async def play(pbx: SandboxPbx, clock: VirtualClock, seconds: float, rate: float = 12.0) -> Traffic:
    traffic = Traffic(pbx)
    task = asyncio.ensure_future(traffic.run(rate))
    await clock.advance(seconds)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    return traffic


@pytest.mark.parametrize("seed", range(5))
async def test_thirty_seconds_show_everything(clock: VirtualClock, receiver: Receiver, seed: int) -> None:
    pbx = SandboxPbx(clock, receiver, base_url="http://pbx.test", seed=seed)
    pbx.connect("http://app.test/hook/token")
    async with pbx.running():
        await play(pbx, clock, 30)
        ends = [body["call"] for body in receiver.bodies if body["event"] == "CALL_END"]
        seen = {(end["source"], end["direction"], end["state"]) for end in ends}
        assert {
            ("REGULAR", "IN", "ANSWER"),
            ("REGULAR", "IN", "NOANSWER"),
            ("REGULAR", "OUT", "ANSWER"),
            ("REGULAR", "OUT", "BUSY"),
            ("AUTODIAL", "OUT", "ANSWERING_MACHINE"),
            ("AUTODIAL", "OUT", "ANSWER"),
        } <= seen
        assert any(len(end["to"]) == 2 and end["state"] == "ANSWER" for end in ends)  # a transfer
        link = next(end["link"] for end in ends if end["direction"] == "IN" and end["link"])
        transport = httpx.ASGITransport(app=pbx.asgi)
        async with httpx.AsyncClient(transport=transport) as client:
            assert (await client.get(link)).content[:3] == b"ID3"


async def test_mix_of_a_long_run(pbx: SandboxPbx, clock: VirtualClock, receiver: Receiver) -> None:
    async with pbx.running():
        traffic = await play(pbx, clock, 3600)
        await clock.advance(120)
    kinds = Counter((call.kind, call.state) for call in traffic.calls)
    assert 550 < len(traffic.calls) < 900
    assert len(kinds) >= 9
    assert kinds.most_common(1)[0][0] == ("incoming", "ANSWER")
    assert all(4 <= call.seconds_talk <= 24 for call in traffic.calls if call.answered)
    assert {call.number[:10] for call in traffic.calls} == {"3804400000", "3806700000"}
    assert any(body["event"] == "CALL_REDIRECT" and len(body["call"]["to"]) > 1 for body in receiver.bodies)
    told = Counter(body["call"]["dbid"] for body in receiver.bodies if body["event"] == "CALL_END")
    assert told == Counter(call.dbid for call in traffic.calls)  # each call ended exactly once


async def test_nobody_talks_twice_at_a_time(pbx: SandboxPbx, clock: VirtualClock) -> None:
    async with pbx.running():
        traffic = await play(pbx, clock, 900, rate=40)
    talks: list[tuple[str, float, float]] = []
    for call in traffic.calls:
        if call.answered and len(call.answered_by) == 1:
            answer = [step.at for step in call.steps if step.event == "CALL_ANSWER"][-1]
            talks.append((call.answered_by[0], answer, call.ended_at))
    talks.sort()
    pairs = list(itertools.pairwise(talks))
    assert len(talks) > 100
    assert all(one[2] <= two[1] for one, two in pairs if one[0] == two[0])


async def test_paused_agents_do_not_ring(pbx: SandboxPbx, clock: VirtualClock) -> None:
    pbx.statuses["2001"] = "PAUS"
    async with pbx.running():
        traffic = await play(pbx, clock, 600)
    assert all("2001" not in call.answered_by for call in traffic.calls)


async def test_rate_must_be_positive(pbx: SandboxPbx) -> None:
    with pytest.raises(ValueError, match="rate"):
        await Traffic(pbx).run(0)
