"""The watch over the PBX's events: one notice per finding, few writes, never in a webhook's way."""

from __future__ import annotations

import json
from typing import Any

import pytest

from bitrix_app.core.portal import PortalSettings, PortalState
from bitrix_app.core.store import StoreUnavailable
from bitrix_app.intake import Intake
from bitrix_app.watch import MOST_FINDINGS, MOST_NOTICES, QUEUE, RECORDINGS, SAMPLED, WRITE_EVERY, Watch
from tests.house.making import MEMBER, Bench, Failing, Through, away, end, webhook
from unitalk.recordings import Fetched

pytestmark = pytest.mark.anyio


class Room:
    """An intake with a watch behind it; `writes` counts the watch's own transactions."""

    def __init__(self, bench: Bench) -> None:
        self.bench = bench
        self.store = Through(bench.store)
        self.watch = Watch(self.store, bench.clock, bench.nudged.append)
        self._intake = Intake(
            bench.store, bench.clock, bench.nudged.append, self.watch.forget, watch=self.watch.saw
        )
        self._count = 0

    @property
    def writes(self) -> int:
        return self.store.asked.get("transact", 0)

    async def hear(self, body: bytes, **query: str) -> None:
        await self._intake.pbx(
            await self.bench.current(),
            body=body,
            content_type="",
            query=query,
            method="POST",
            correlation_id="",
        )

    async def end(self, **more: Any) -> None:
        """The end of one more call, arriving now; `late` is how much later than its date says."""
        self._count += 1
        began = self.bench.now - 95 - more.pop("late", 0.0)
        date = _wall(began)
        await self.hear(end(dbid=str(self._count), id=str(1000 + self._count), date=date, **more))

    async def findings(self) -> list[dict[str, Any]]:
        found = await self.bench.store.snapshot(MEMBER, "drift")
        return [dict(item) for item in found.items] if found else []

    async def events(self) -> list[dict[str, Any]]:
        found = await self.bench.store.snapshot(MEMBER, "pbx_events")
        return [dict(item) for item in found.items] if found else []

    async def verdict(self) -> dict[str, Any] | None:
        found = await self.bench.store.snapshot(MEMBER, "timezone_check")
        return dict(found.items[0]) if found else None

    async def notices(self) -> list[str]:
        jobs = await self.bench.store.lane(MEMBER, "portal:notices")
        return [str(job.data["message"]) for job in jobs]


def _wall(at: float) -> str:
    from datetime import datetime
    from zoneinfo import ZoneInfo

    return datetime.fromtimestamp(at, ZoneInfo("Europe/Kyiv")).strftime("%Y-%m-%d %H:%M:%S")


@pytest.fixture
def room(bench: Bench) -> Room:
    return Room(bench)


async def test_a_finding_is_one_notice_and_is_counted(room: Room) -> None:
    began = room.bench.now
    for _ in range(4):
        await room.end(newField="canary value")
        await room.watch.turn()
        await room.bench.clock.advance(1.0)
    (told,) = await room.notices()
    assert "call.newField" in told
    assert "text(12)" in told
    assert "canary" not in told
    await room.bench.clock.advance(WRITE_EVERY)
    await room.watch.turn()
    (finding,) = await room.findings()
    assert (finding["key"], finding["count"]) == ("field:call.newField", 4)
    assert (finding["first_seen"], finding["last_seen"]) == (began, began + 3)
    assert "canary" not in json.dumps(finding)


async def test_counts_cost_one_write_a_minute_and_a_finding_one_at_once(room: Room) -> None:
    await room.end()
    await room.watch.turn()
    assert room.writes == 1, "the first counts"
    for _ in range(30):
        await room.end()
        await room.bench.clock.advance(1.0)
        await room.watch.turn()
    assert room.writes == 2, "the verdict that the zone is right came in between"
    await room.end(newField=1)
    await room.watch.turn()
    assert room.writes == 3
    await room.bench.clock.advance(WRITE_EVERY)
    await room.watch.turn()
    await room.watch.turn()
    assert room.writes <= 4


async def test_nothing_new_writes_nothing(room: Room) -> None:
    for _ in range(25):
        await room.hear(webhook("CALL_NEW", id=str(room.bench.now)))
        await room.bench.clock.advance(WRITE_EVERY)
        await room.watch.turn()
    before = room.writes
    for _ in range(5):
        await room.hear(webhook("CALL_NEW", id=str(room.bench.now)))
        await room.bench.clock.advance(WRITE_EVERY)
        await room.watch.turn()
    assert room.writes == before


async def test_a_repeat_is_not_an_event_more(room: Room) -> None:
    body = end(newField=1)
    for _ in range(5):
        await room.hear(body)
    await room.watch.turn()
    (finding,) = await room.findings()
    assert finding["count"] == 1


async def test_what_was_known_survives_a_restart_and_is_not_told_twice(room: Room) -> None:
    for _ in range(20):
        await room.end(newField=1)
    await room.watch.turn(last=True)
    again = Room(room.bench)
    again._count = 50
    await again.end(newField=1)
    await again.watch.turn()
    assert len(await again.notices()) == 1
    body = json.loads(end(dbid="99"))
    del body["call"]["outerNumber"]
    body["call"]["newField"] = 1
    await again.hear(json.dumps(body).encode())
    await again.watch.turn()
    assert [f["key"] for f in await again.findings()] == [
        "field:call.newField",
        "vanished:CALL_END:call.outerNumber",
    ]


async def test_a_flood_of_findings_is_bounded_in_store_and_notices(room: Room) -> None:
    for n in range(MOST_FINDINGS + 30):
        await room.end(**{f"field_{chr(97 + n % 26)}{chr(97 + n // 26)}": 1})
    await room.watch.turn()
    assert len(await room.findings()) == MOST_FINDINGS
    told = await room.notices()
    assert len(told) == MOST_NOTICES + 1
    assert f"{MOST_FINDINGS - MOST_NOTICES} more things" in told[-1]


async def test_a_flood_of_events_is_looked_at_in_part(room: Room) -> None:
    portal = await room.bench.current()
    from unitalk.events import read_event

    event = read_event(end(), "", {}, "POST", room.bench.now, "Europe/Kyiv")
    for _ in range(QUEUE * 3):
        room.watch.saw(portal, event, room.bench.now)
    assert len(room.watch._queue) == QUEUE


async def test_the_structure_of_each_sort_of_event_is_kept_without_values(room: Room) -> None:
    await room.end(meta="lead:canary", source="REGULAR")
    await room.end(meta=None, source="REGULAR")
    await room.hear(webhook("CALL_NEW", id="77", state=None))
    await room.hear(b'{"event": "IVR_ACTION", "meta": "canary", "pressedDigit": 3}')
    await room.watch.turn(last=True)
    kept = {item["event"]: item for item in await room.events()}
    assert sorted(kept) == ["CALL_END in", "CALL_NEW in", "IVR_ACTION flat"]
    assert kept["CALL_END in"]["seen"] == 2
    assert kept["CALL_END in"]["structure"]["call"]["meta"] == "text(11) | null"
    assert kept["CALL_END in"]["structure"]["call"]["source"] == "word(REGULAR)"
    assert kept["IVR_ACTION flat"]["structure"]["pressedDigit"] == "number(1)"
    assert "canary" not in json.dumps(list(kept.values()))


async def test_only_the_first_of_each_sort_are_looked_at_also_after_a_restart(room: Room) -> None:
    for _ in range(SAMPLED - 1):
        await room.end(source="REGULAR")
    await room.watch.turn(last=True)
    room.watch.forget(MEMBER)
    await room.end(source="WIDGET")
    await room.end(source="LATER")
    await room.watch.turn(last=True)
    (kept,) = await room.events()
    assert kept["seen"] == SAMPLED
    assert kept["structure"]["call"]["source"] == "word(REGULAR) | word(WIDGET)"


async def test_how_recordings_came_is_kept(room: Room) -> None:
    portal = await room.bench.current()
    for fetched, seconds in (
        (Fetched(100, "mp3"), 20.0),
        (Fetched(100, "wav", with_key=True), 300.0),
        (Fetched(100, "mp3"), 90_000.0),
        (Fetched(100, "mp3"), None),
    ):
        room.watch.fetched(portal, fetched, seconds)
    await room.watch.turn(last=True)
    (kept,) = await room.events()
    assert (kept["event"], kept["seen"]) == (RECORDINGS, 4)
    assert kept["structure"] == {
        "media": "mp3 | wav",
        "key": "not asked for | asked for",
        "after_the_end": "within a minute | within ten minutes | later | nobody knows",
    }


async def test_a_webhook_does_not_wait_for_the_watch(room: Room) -> None:
    room.store.verbs["snapshot"] = Failing(room.bench.store.snapshot, *[away()] * 3)
    room.store.verbs["transact"] = Failing(room.bench.store.transact, *[away()] * 3)
    await room.end(newField=1)
    assert (await room.bench.only_call()).outcome is not None
    with pytest.raises(StoreUnavailable):
        await room.watch.turn()


async def test_a_finding_that_could_not_be_written_is_written_later(room: Room) -> None:
    room.store.verbs["transact"] = Failing(room.bench.store.transact, away())
    await room.end(newField=1)
    with pytest.raises(StoreUnavailable):
        await room.watch.turn()
    assert await room.findings() == []
    await room.watch.turn()
    assert len(await room.findings()) == 1
    assert len(await room.notices()) == 1


async def test_nothing_comes_back_after_an_uninstall(room: Room) -> None:
    await room.end(newField=1)
    await room.bench.change(state=PortalState.UNINSTALLED)
    await room.watch.turn()
    assert await room.findings() == []
    assert await room.notices() == []


# --- the time zone ---------------------------------------------------------------------------------


async def test_a_zone_that_is_hours_off_is_one_notice_with_a_proposal(room: Room) -> None:
    for _ in range(4):
        await room.end(late=3 * 3600.0)
        await room.watch.turn()
    assert await room.verdict() is None, "four calls prove nothing"
    for _ in range(10):
        await room.end(late=3 * 3600.0)
        await room.watch.turn()
    assert await room.verdict() == {
        "zone": "Europe/Kyiv",
        "hours_off": 3,
        "proposed": "UTC",
        "calls": 5,
        "checked_at": room.bench.now,
    }
    (told,) = await room.notices()
    assert "Set the time zone of the PBX to UTC" in told


async def test_a_zone_that_is_right_is_known_to_be_right_without_a_word(room: Room) -> None:
    for _ in range(6):
        await room.end(late=4.0)
    await room.watch.turn()
    assert (await room.verdict() or {})["hours_off"] == 0
    assert await room.notices() == []


async def test_a_new_zone_is_judged_by_new_calls_only(room: Room) -> None:
    for _ in range(6):
        await room.end(late=3 * 3600.0)
    await room.watch.turn()
    await room.bench.change(settings=PortalSettings(pbx_timezone="UTC"))
    for _ in range(5):
        await room.end(late=3 * 3600.0)  # the same wall clock, now read as UTC
    await room.watch.turn()
    verdict = await room.verdict() or {}
    assert (verdict["zone"], verdict["hours_off"]) == ("UTC", 0)
    assert len(await room.notices()) == 1


async def test_the_two_ends_of_one_dialers_call_count_once(room: Room) -> None:
    for n in range(4):
        await room.end(late=3 * 3600.0)
        room._count = n  # the same call again, in other words
        await room.end(late=3 * 3600.0, source="AUTODIAL")
    await room.watch.turn()
    assert await room.verdict() is None
