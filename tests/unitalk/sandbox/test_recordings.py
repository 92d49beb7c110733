"""Recordings over HTTP and their moods (unitalk.md §3.6)."""

from __future__ import annotations

import httpx
import pytest

from bitrix_app.clock import VirtualClock
from tests.unitalk.sandbox.conftest import KEY, Api
from tests.unitalk.sandbox.test_audio import frames
from unitalk.sandbox import Fault, SandboxCall, SandboxPbx

pytestmark = pytest.mark.anyio


async def talked(pbx: SandboxPbx, clock: VirtualClock, talk: float = 3) -> str:
    """A call that is over; its recording's path."""
    call: SandboxCall = pbx.incoming("380440000011", ring=["2001"], answered_by="2001", talk=talk)
    await clock.advance(talk + 5.5)
    assert call.link is not None
    return call.link.removeprefix("http://pbx.test")


async def get(api: Api, path: str, key: str | None = None) -> httpx.Response:
    return await api.http.get(path, headers={} if key is None else {"Authorization": key})


async def test_mp3_by_default(api: Api, pbx: SandboxPbx, clock: VirtualClock) -> None:
    answer = await get(api, await talked(pbx, clock))
    assert (answer.status_code, answer.headers["content-type"]) == (200, "audio/mpeg")
    assert len(frames(answer.content)) == 125
    assert pbx.counters["recording"] == 1
    long = await get(api, await talked(pbx, clock, talk=90))
    assert len(frames(long.content)) == 250  # capped at six seconds


async def test_wav_by_choice(api: Api, pbx: SandboxPbx, clock: VirtualClock) -> None:
    pbx.options.recording_format = "wav"
    answer = await get(api, await talked(pbx, clock))
    assert answer.headers["content-type"] == "audio/x-wav"
    assert answer.content[:4] == b"RIFF"


@pytest.mark.parametrize(
    ("mood", "status", "kind"),
    [
        ("404", 404, "text/html"),
        ("html", 200, "text/html"),
        ("json", 200, "application/json"),
        ("500", 500, "text/html"),
    ],
)
async def test_not_ready_yet(
    api: Api, pbx: SandboxPbx, clock: VirtualClock, mood: str, status: int, kind: str
) -> None:
    pbx.options.recording_ready_after = 20
    pbx.options.recording_before_ready = mood  # type: ignore[assignment]
    path = await talked(pbx, clock)
    answer = await get(api, path)
    assert answer.status_code == status
    assert answer.headers["content-type"].startswith(kind)
    await clock.advance(20)
    assert (await get(api, path)).headers["content-type"] == "audio/mpeg"


async def test_unknown_and_unanswered(api: Api, pbx: SandboxPbx, clock: VirtualClock) -> None:
    path = await talked(pbx, clock)
    missed = pbx.incoming("380440000012", ring_seconds=1)
    await clock.advance(5)
    day = path.rpartition("/")[2]
    assert (await get(api, f"/tracking/rec/{missed.unique_id}/{day}")).status_code == 404
    assert (await get(api, f"/tracking/rec/1.1/{day}")).status_code == 404
    assert (await get(api, path.replace(day, "2020-01-01"))).status_code == 404


async def test_needs_the_key(api: Api, pbx: SandboxPbx, clock: VirtualClock) -> None:
    pbx.options.recording_needs_key = True
    path = await talked(pbx, clock)
    assert (await get(api, path)).status_code == 401
    assert (await get(api, path, "wrong")).status_code == 401
    assert (await get(api, path, KEY)).status_code == 200


async def test_faults_of_a_file(api: Api, pbx: SandboxPbx, clock: VirtualClock) -> None:
    path = await talked(pbx, clock)
    pbx.faults.add(Fault("recording", "unauthorized"))
    assert (await get(api, path)).status_code == 401
    pbx.faults.add(Fault("recording", "unauthorized"))
    assert (await get(api, path, KEY)).status_code == 200
    pbx.faults.add(Fault("recording", "html"))
    answer = await get(api, path)
    assert (answer.status_code, answer.headers["content-type"]) == (200, "text/html; charset=utf-8")
    pbx.faults.add(Fault("recording", "empty"))
    answer = await get(api, path)
    assert (answer.status_code, answer.content) == (200, b"")
    pbx.faults.add(Fault("recording", "missing", content="json"))
    assert (await get(api, path)).status_code == 404
    pbx.faults.add(Fault("recording", "redirect", location="http://169.254.169.254/x"))
    answer = await get(api, path)
    assert (answer.status_code, answer.headers["location"]) == (302, "http://169.254.169.254/x")
    pbx.faults.add(Fault("recording", "too_big", size=1_000_000, announce=False))
    answer = await get(api, path)
    assert len(answer.content) == 1_000_000
    assert answer.content[:3] == b"ID3"
    assert "content-length" not in answer.headers
    assert (await get(api, path)).content[:3] == b"ID3"
