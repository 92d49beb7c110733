"""kill -9 directly after the 200 of a webhook: what was acknowledged arrives, once."""

import asyncio
import json
import random
import signal
from pathlib import Path

import pytest

from bitrix_app.core.ports import HttpRequest
from tests.journeys.killable import Killable, killable
from unitalk.sandbox import Facts, SandboxCall

pytestmark = pytest.mark.anyio

KILLS = 50


def one_call(app: Killable, number: int) -> SandboxCall:
    now = app.portal.world.clock.now()
    return app.pbx.incoming(
        f"3806700{number:05}",
        ring=("2001",),
        answered_by="2001",
        talk=3,
        facts=Facts(at=now - 20, deliver=False),
    )


async def post_end(app: Killable, call: SandboxCall) -> int:
    body = json.dumps(app.pbx.webhooks_for(call)[-1]).encode()
    request = HttpRequest("POST", app.webhook_url, {"Content-Type": "application/json"}, body)
    return (await app.http.send(request)).status


async def arrived(app: Killable, count: int, within: float) -> None:
    """Wait until so many calls are finished with their recording."""
    for _ in range(int(within / 0.05)):
        if sum(1 for call in app.portal.calls if call.record_file_id) >= count:
            return
        await asyncio.sleep(0.05)
    log = (app.folder / "app.log").read_text()[-3000:]
    raise AssertionError(f"{len(app.portal.calls)} of {count} calls arrived: {log}")


async def test_fifty_kills_after_the_acknowledgement_lose_and_double_nothing(tmp_path: Path) -> None:
    async with killable(tmp_path) as app:
        await app.start()
        await app.install()
        for number in range(KILLS):
            assert await post_end(app, one_call(app, number)) == 200
            await app.kill()
            await app.start()
        await arrived(app, KILLS, within=180)
        await asyncio.sleep(1)
        numbers = sorted(call.number for call in app.portal.calls)
        assert numbers == sorted({call.number for call in app.portal.calls}), "a call was written twice"
        assert len(numbers) == KILLS
        assert app.portal.open_cards() == []
        assert len(app.portal.activities) == KILLS


async def test_sigterm_finishes_what_is_in_flight(tmp_path: Path) -> None:
    async with killable(tmp_path) as app:
        await app.start()
        await app.install()
        assert await post_end(app, one_call(app, 1)) == 200
        await app.kill(signal.SIGTERM)
        assert app.process is not None
        assert app.process.returncode == 0
        await app.start()
        await arrived(app, 1, within=30)
        assert len(app.portal.calls) == 1


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(10))
async def test_kills_at_random_moments_lose_and_double_nothing(tmp_path: Path, seed: int) -> None:
    """Twenty kills a run, each at a random moment while calls are being written to the portal."""
    chance = random.Random(seed)
    async with killable(tmp_path) as app:
        await app.start()
        await app.install()
        acknowledged = 0
        for number in range(20):
            for again in range(3):
                call = one_call(app, number * 3 + again)
                assert await post_end(app, call) == 200
                acknowledged += 1
            await asyncio.sleep(chance.random() * 0.6)
            await app.kill()
            await app.start()
        await arrived(app, acknowledged, within=300)
        await asyncio.sleep(1)
        numbers = [call.number for call in app.portal.calls]
        assert sorted(numbers) == sorted(set(numbers)), "a call was written twice"
        assert len(numbers) == acknowledged
        assert app.portal.open_cards() == []
        assert len(app.portal.activities) == acknowledged
