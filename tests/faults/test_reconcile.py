"""Nothing is lost: the PBX's history fills what webhooks did not tell, and the ledger proves it."""

from __future__ import annotations

import datetime as dt
from pathlib import Path
from typing import Any, Literal

import pytest

from bitrix_app.core.comparison import Kind, State
from bitrix_app.core.jobs import JobState
from bitrix_app.core.ledger import Balance, Standing
from bitrix_app.ledgers import ledger_of, today
from bitrix_app.sandbox.faults import Fault
from bitrix_app.sandbox.state import Notification
from tests.faults.house import APP, House, house
from tests.faults.table import FINISH
from unitalk.sandbox import Facts, Mishap, SandboxCall

pytestmark = pytest.mark.anyio

MINUTE = 60.0


async def ledger(up: House, day: dt.date | None = None) -> Balance:
    portal = await up.app.store.portal(up.member_id)
    assert portal is not None
    return await ledger_of(up.app.store, portal, day or today(portal, up.clock.now()))


async def closes(up: House, told: list[SandboxCall], **more: int) -> Balance:
    """Zero difference, each call of the PBX written once, and once in the portal."""
    balance = await ledger(up)
    odd = [entry for entry in balance.entries if entry.standing is not Standing.WRITTEN]
    assert odd == []
    assert (balance.difference, balance.total) == (0, len(told))
    assert len(up.portal.calls) == len(told)
    assert len({row.external_id for row in up.portal.calls}) == len(told)
    for name, count in more.items():
        assert getattr(balance, name) == count, name
    return balance


def outage_notices(up: House) -> list[Notification]:
    return [one for one in up.portal.notifications if one.tag.startswith("outage:")]


async def test_a_call_of_which_no_webhook_came_is_created_from_the_history_once(tmp_path: Path) -> None:
    async with house(tmp_path) as up:
        await up.run_for(400.0)
        up.pbx.disconnect()
        told = up.live_call(talk=30.0)
        await up.run_for(9 * MINUTE)
        assert await up.calls() == [], "its webhooks may still come"
        await up.run_for(10 * MINUTE)
        (call,) = await up.settle(calls=1)
        assert (call.talk_seconds, call.finished) == (30, True)
        await closes(up, [told], recovered=1, history=1)
        await up.run_for(3600.0)
        await closes(up, [told])


async def test_a_call_whose_end_was_lost_is_closed_by_the_history_within_minutes(tmp_path: Path) -> None:
    async with house(tmp_path) as up:
        await up.run_for(400.0)
        up.pbx.mishaps.append(Mishap("CALL_END", "drop"))
        told = up.live_call(talk=30.0)
        await up.run_for(8 * MINUTE)
        (call,) = await up.settle(calls=1)
        assert (call.talk_seconds, call.full_seconds) == (told.seconds_talk, told.seconds_full)
        assert up.portal.open_cards() == []
        await closes(up, [told], recovered=1)


async def test_the_webhook_that_comes_after_the_history_adds_nothing(tmp_path: Path) -> None:
    async with house(tmp_path) as up:
        await up.run_for(400.0)
        told = up.pbx.incoming(up.number(), ring=("2001",), answered_by="2001", facts=Facts(deliver=False))
        await up.run_for(20 * MINUTE)
        await up.settle(calls=1)
        for body in up.pbx.webhooks_for(told):
            assert await up.post(body) == 200
        await up.settle(calls=1)
        await closes(up, [told])


@pytest.mark.parametrize("ids", ["live", "dbid"])
async def test_history_ids_of_either_kind_join_their_calls(
    tmp_path: Path, ids: Literal["live", "dbid"]
) -> None:
    async with house(tmp_path) as up:
        up.pbx.options.history_id = ids
        await up.run_for(400.0)
        number = up.number()
        told = [up.live_call(number, talk=20.0)]
        await up.run_for(60.0)
        up.pbx.mishaps.append(Mishap("*", "drop", times=None))
        told.append(up.live_call(number, talk=40.0))
        await up.run_for(60.0)
        up.pbx.mishaps.clear()
        up.pbx.mishaps.append(Mishap("CALL_END", "drop"))
        told.append(up.live_call(number, talk=60.0))
        await up.run_for(25 * MINUTE)
        await up.settle(calls=3)
        await closes(up, told, recovered=2, history=3)
        assert sorted(call.talk_seconds or 0 for call in await up.calls()) == [20, 40, 60]


async def test_calls_of_the_dialer_that_the_history_lacks_are_listed_as_known_from_webhooks(
    tmp_path: Path,
) -> None:
    async with house(tmp_path) as up:
        up.pbx.options.autodial_in_history = False
        await up.run_for(400.0)
        told = [up.pbx.autodial(up.number(), talk=20.0), up.live_call()]
        await up.run_for(20 * MINUTE)
        await up.settle(calls=2)
        balance = await closes(up, told, history=1)
        (only,) = balance.webhook_only
        assert only.number == f"+{told[0].number}"


async def test_an_older_server_that_gives_300_rows_at_most_is_read_whole(tmp_path: Path) -> None:
    async with house(tmp_path, threads=False) as up:
        up.pbx.options.history_max = 300
        up.pbx.options.history_grows = 1
        await up.run_for(400.0)
        begin = up.clock.now()
        inner = [
            up.pbx.inner("2001", "2002", talk=3.0, facts=Facts(at=begin + n, deliver=False))
            for n in range(620)
        ]
        await up.run_for(30 * MINUTE)
        await up.settle(calls=620)
        balance = await ledger(up)
        assert balance.difference == 0
        assert {str(call.dbid) for call in inner} <= {entry.pbx_dbid for entry in balance.entries}


async def test_forty_minutes_without_the_app_are_filled_and_told_in_one_message(tmp_path: Path) -> None:
    async with house(tmp_path) as up:
        told = [up.live_call()]
        await up.run_for(20 * MINUTE)
        talking = up.live_call(talk=300.0)
        await up.run_for(30.0)
        await up.crash()
        up.http.unplug(APP)
        missed = []
        for _ in range(6):
            missed.append(up.live_call(talk=30.0))
            await up.run_for(400.0)
        await up.start()
        await up.run_for(2.0)
        told += [talking, *missed]
        await up.run_for(25 * MINUTE)
        await up.settle(calls=8)
        await closes(up, told, recovered=7)
        (notice,) = outage_notices(up)
        assert notice.message.startswith("Calls from ")
        assert notice.message.endswith(" recovered: 7. Nobody has to do anything.")
        await up.run_for(3_600.0)
        assert len(outage_notices(up)) == 1


async def test_of_recovered_calls_those_that_need_a_person_are_counted(tmp_path: Path) -> None:
    async with house(tmp_path) as up:
        await up.run_for(20 * MINUTE)
        await up.crash()
        up.http.unplug(APP)
        up.live_call()
        up.live_call("anonymous")
        await up.run_for(20 * MINUTE)
        await up.start()
        await up.run_for(40 * MINUTE)
        (notice,) = outage_notices(up)
        assert notice.message.startswith("2 calls from ")
        assert "recovered, 1 need you." in notice.message
        balance = await ledger(up)
        assert (balance.difference, balance.count(Standing.NEEDS_PERSON)) == (0, 1)


async def test_a_short_restart_and_one_without_calls_are_not_spoken_of(tmp_path: Path) -> None:
    async with house(tmp_path) as up:
        await up.run_for(20 * MINUTE)
        await up.crash()
        await up.run_for(100.0)
        await up.start()
        await up.run_for(20 * MINUTE)
        await up.crash()
        await up.run_for(30 * MINUTE)
        await up.start()
        await up.run_for(60 * MINUTE)
        assert outage_notices(up) == []


async def test_a_silent_pbx_is_noticed_and_its_calls_are_written_all_the_same(tmp_path: Path) -> None:
    async with house(tmp_path) as up:
        told = [up.live_call()]
        await up.run_for(20 * MINUTE)
        up.pbx.disconnect()
        for _ in range(6):
            told.append(up.live_call(talk=60.0))
            await up.run_for(10 * MINUTE)
        (notice,) = outage_notices(up)
        assert "Unitalk has sent no events since" in notice.message
        assert "Check the event handlers" in notice.message
        up.pbx.connect(up.webhook)
        told.append(up.live_call())
        await up.run_for(60 * MINUTE)
        await up.settle(calls=8)
        await closes(up, told, recovered=6)
        said = [one.message for one in outage_notices(up)]
        assert "recovered: 6" in said[-1]
        assert len({one.tag for one in outage_notices(up)}) == 1, "the same notice, told anew"


async def test_webhooks_lost_here_and_there_are_mended_without_a_word(tmp_path: Path) -> None:
    async with house(tmp_path) as up:
        await up.run_for(400.0)
        told = []
        for number in range(20):
            if number % 5 == 0:
                up.pbx.mishaps.append(Mishap("*", "drop", times=4))
            told.append(up.live_call(talk=20.0))
            await up.run_for(120.0)
        await up.run_for(25 * MINUTE)
        await up.settle(calls=20)
        balance = await closes(up, told)
        assert balance.recovered >= 4
        assert outage_notices(up) == []


async def test_a_pbx_that_does_not_answer_is_left_alone_and_the_gap_is_read_afterwards(
    tmp_path: Path,
) -> None:
    async with house(tmp_path) as up:
        await up.run_for(400.0)
        up.pbx.disconnect()
        told = [up.live_call()]
        up.http.refuse = lambda name: "history" in name
        await up.run_for(5 * 3_600.0)
        snapshot = await up.app.store.snapshot(up.member_id, "reconcile")
        assert snapshot is not None
        assert snapshot.items[0]["trouble"]["code"]
        assert (await up.app.store.job_counts(up.member_id)).get(JobState.ATTENTION, 0) == 0
        up.http.refuse = None
        await up.run_for(20 * MINUTE)
        await up.settle(calls=1)
        await closes(up, told)
        snapshot = await up.app.store.snapshot(up.member_id, "reconcile")
        assert snapshot is not None
        assert snapshot.items[0]["trouble"] is None


async def test_calls_from_before_the_application_was_there_are_not_ours(tmp_path: Path) -> None:
    async with house(tmp_path, install_app=False) as up:
        up.live_call()
        await up.run_for(30 * MINUTE)
        await up.installed()
        await up.run_for(30 * MINUTE)
        assert await up.calls() == []
        assert (await ledger(up)).total == 0


async def test_the_history_is_asked_at_its_pace(tmp_path: Path) -> None:
    async with house(tmp_path) as up:
        await up.run_for(400.0)
        before = up.pbx.counters["history/get"]
        await up.run_for(3_600.0)
        assert 10 <= up.pbx.counters["history/get"] - before <= 13


async def test_the_ledger_is_filed_each_night_and_anew_when_it_changed(tmp_path: Path) -> None:
    async with house(tmp_path) as up:
        up.live_call()
        day = (await ledger(up)).day
        await up.run_for(26 * 3_600.0)
        assert up.ledgers() == {f"ledger_{day}.csv": 1}
        filed = await up.app.store.filed(up.member_id, day)
        assert filed is not None
        assert up.portal.state.objects[filed[1]].content.decode("utf-8-sig").count("\r\n") == 2
        await up.run_for(24 * 3_600.0)
        assert await up.app.store.filed(up.member_id, day) == filed, "nothing changed, nothing was said"
        assert up.portal.state.objects[filed[1]].version == 1


# --- Bitrix24's statistics ------------------------------------------------------------------------


async def differing(up: House, state: State = State.OPEN) -> list[tuple[Kind, str]]:
    return [(one.kind, one.who) for one in await up.app.store.differences(up.member_id, state=state)]


async def test_a_call_that_vanished_from_bitrix24_is_found_and_needs_a_person(tmp_path: Path) -> None:
    async with house(tmp_path) as up:
        told = [up.live_call(), up.live_call()]
        await up.run_for(60.0)
        await up.settle(calls=2)
        up.portal.state.finished.pop(0)
        await up.run_for(30 * MINUTE)
        assert await differing(up) == [(Kind.MISSING, "manager")]
        balance = await ledger(up)
        assert (balance.total, balance.difference) == (len(told), 0)
        assert balance.count(Standing.NEEDS_PERSON) == 1
        (bad,) = [entry for entry in balance.entries if entry.standing is not Standing.WRITTEN]
        assert (bad.code, bad.who) == ("BITRIX24_MISSING", "manager")


async def test_a_recording_that_vanished_is_attached_anew_once(tmp_path: Path) -> None:
    async with house(tmp_path) as up:
        up.live_call()
        await up.run_for(60.0)
        (call,) = await up.settle(calls=1)
        lost = up.portal.calls[0].record_file_id
        setattr(up.portal.calls[0], "record_file_id", None)  # noqa: B010 - the checker would believe it
        await up.run_for(30 * MINUTE)
        await up.settle(calls=1)
        assert up.portal.calls[0].record_file_id not in (None, lost)
        assert await differing(up, State.MENDED) == [(Kind.RECORDING, "nobody")]
        await up.run_for(26 * 3_600.0)
        assert await differing(up, State.MENDED) == []
        assert await differing(up, State.GONE) == [(Kind.RECORDING, "nobody")]
        assert len(up.files()) == 2, "the copy and the document, once each"
        assert (await up.calls())[0].id == call.id


async def test_a_difference_that_people_made_is_listed_and_left_alone(tmp_path: Path) -> None:
    async with house(tmp_path) as up:
        up.live_call()
        await up.run_for(60.0)
        await up.settle(calls=1)
        (row,) = up.portal.calls
        row.user_id, row.duration = 13, 1
        before = len(up.portal.rest_log)
        await up.run_for(30 * MINUTE)
        assert set(await differing(up)) == {(Kind.PERSON, "manager"), (Kind.DURATION, "nobody")}
        said = {one.method for one in up.portal.rest_log[before:]}
        assert not any(name.startswith("telephony.") for name in said), said


async def test_a_finish_that_needed_a_person_counts_when_the_statistics_have_the_call(tmp_path: Path) -> None:
    async with house(tmp_path) as up:
        up.portal.faults.add(
            Fault(FINISH, "status", effect=True, status=403, body={"error": "ACCESS_DENIED"})
        )
        up.live_call()
        await up.run_for(60.0)
        (call,) = await up.calls()
        jobs: dict[str, Any] = {job.key: job.state for job in await up.jobs(call)}
        assert jobs["finish"] is JobState.ATTENTION
        await up.run_for(50 * MINUTE)
        (call,) = await up.settle(calls=1)
        assert call.finished
        assert {str(job.state) for job in await up.jobs(call)} <= {"done", "cancelled"}
        assert (await ledger(up)).count(Standing.WRITTEN) == 1
        assert len(up.portal.calls) == 1
