"""A dialer's calls as tries of a campaign's phones: once each, whatever comes how often and when."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable
from typing import Any

import pytest

from bitrix_app import tries
from bitrix_app.campaign_book import enlist, entry, gather, put
from bitrix_app.core.campaigns import Batch, BatchState, Phone, PhoneState, arrived, doubted, said
from bitrix_app.core.dispositions import Rule
from bitrix_app.core.outcome import Outcome
from bitrix_app.core.portal import PortalSettings
from bitrix_app.core.store import Unit
from tests.house.making import CLIENT, MEMBER, Bench

pytestmark = pytest.mark.anyio
RULE = Rule("tries", ("any",), on=True, record="LEAD", counter="UF_CRM_TRIES")


async def listed(bench: Bench, *numbers: str, record: str = "LEAD:1205", said_: bool = True) -> list[Phone]:
    """Phones of one batch that was said and has no answer yet."""

    async def work(unit: Unit) -> None:
        entries = [entry([number], "UA", "77", record) for number in numbers or (CLIENT,)]
        await enlist(unit, MEMBER, "77", entries, 1, bench.now)
        await gather(unit, MEMBER, "77", bench.now)

    await bench.do(work)
    if said_:
        await turned(bench, lambda batch: said(batch, bench.now))
    return await phones(bench)


async def turned(bench: Bench, move: Callable[[Batch], Batch]) -> None:
    """The only batch after `move`."""
    before = await batch(bench)
    await bench.do(lambda unit: put(unit, MEMBER, before, move(before), bench.now))


async def phones(bench: Bench) -> list[Phone]:
    return list(await bench.store.campaign_phones(MEMBER, "77"))


async def batch(bench: Bench) -> Batch:
    (one,) = await bench.store.campaign_batches(MEMBER, "77")
    return one


def dial(event: str = "CALL_END", state: str = "BUSY", live: int = 1, **more: Any) -> bytes:
    call = {
        "id": live,
        "dbid": 27000 + live if event == "CALL_END" else None,
        "from": "380440000001",
        "to": [CLIENT[1:]],
        "outerNumber": "380440000001",
        "direction": "OUT",
        "date": f"2026-09-02 10:{20 + live}:00",
        "source": "AUTODIAL",
        "state": state if event == "CALL_END" else None,
        **({"secondsFullTime": 20, "secondsTalk": 0} if event == "CALL_END" else {}),
        **{name: value for name, value in more.items() if name != "dialer"},
    }
    return json.dumps({"event": event, "autodialerId": more.get("dialer", 77), "call": call}).encode()


async def test_a_calls_end_is_one_try_and_proves_that_the_batch_arrived(bench: Bench) -> None:
    one, other = await listed(bench, CLIENT, "+380440000012")
    await bench.hear(dial(meta=one.meta))
    one, other = await phones(bench)
    assert (one.state, one.tries, one.outcome) == (PhoneState.SENT, 1, Outcome.BUSY)
    assert (other.state, other.tries) == (PhoneState.SENT, 0)
    assert ((await batch(bench)).state, (await batch(bench)).proof) == (BatchState.SENT, "call")


@pytest.mark.parametrize("order", list(itertools.permutations(range(4))))
async def test_in_any_order_and_repeated_each_call_counts_once(bench: Bench, order: tuple[int, ...]) -> None:
    (one,) = await listed(bench)
    events = [
        dial("CALL_NEW", meta=one.meta),
        dial(state="NOANSWER", meta=one.meta),
        dial("CALL_NEW", live=2, meta=one.meta),
        dial(state="ANSWER", live=2, secondsTalk=9, meta=one.meta),
    ]
    for place in (*order, *order):
        await bench.hear(events[place])
    (one,) = await phones(bench)
    told = await bench.store.phone_tries(MEMBER, one.id)
    assert [known.outcome for known in told] == [Outcome.NO_ANSWER, Outcome.ANSWERED]
    assert (one.state, one.tries, one.outcome) == (PhoneState.FINISHED, 2, Outcome.ANSWERED)


async def test_without_our_mark_the_dialer_and_the_number_tell_the_phone(bench: Bench) -> None:
    await bench.change(settings=PortalSettings(dispositions=(RULE,)))
    await listed(bench)
    await bench.hear(dial())
    (one,) = await phones(bench)
    assert (one.tries, one.outcome) == (1, Outcome.BUSY)
    call = await bench.only_call()
    assert call.meta == one.meta_by_number
    assert (await batch(bench)).state is BatchState.SENDING, "a number alone proves no batch"


@pytest.mark.parametrize("more", [{"dialer": 78}, {"to": ["380440000099"]}])
async def test_another_dialers_call_or_number_is_nobodys_try(bench: Bench, more: dict[str, Any]) -> None:
    await listed(bench)
    await bench.hear(dial(**more))
    (one,) = await phones(bench)
    assert one.tries == 0
    assert (await bench.only_call()).meta is None


async def test_a_batch_that_was_never_said_is_not_proved_by_its_number(bench: Bench) -> None:
    await listed(bench, said_=False)
    await bench.hear(dial())
    (one,) = await phones(bench)
    assert (one.state, one.tries) == (PhoneState.WAITING, 0)


async def test_a_call_settles_the_doubt_of_its_batch(bench: Bench) -> None:
    (one,) = await listed(bench)
    await turned(bench, lambda known: doubted(known, "lost", "look"))
    assert (await phones(bench))[0].state is PhoneState.ATTENTION
    await bench.hear(dial(meta=one.meta))
    assert (await batch(bench)).state is BatchState.SENT
    assert (await phones(bench))[0].state is PhoneState.SENT
    assert await bench.store.batches_in_attention(MEMBER) == []


async def test_the_handler_of_used_up_attempts_ends_the_phone(bench: Bench) -> None:
    (one,) = await listed(bench)
    await bench.hear(dial(meta=one.meta), ev="AUTODIAL_ATTEMPTS_OVER")
    assert (await phones(bench))[0].state is PhoneState.FINISHED


async def test_the_dialers_news_are_kept_and_its_end_is_looked_at_a_minute_later(bench: Bench) -> None:
    await listed(bench)
    await turned(bench, lambda known: arrived(known, bench.now, "answer"))
    await bench.hear(b'{"event": "AUTODIAL_STATUS_CHANGED", "id": 77, "status": "RUNNING"}')
    (campaign,) = await bench.store.campaigns(MEMBER)
    assert (campaign.status, campaign.status_at) == ("RUNNING", bench.now)
    for _ in range(2):
        await bench.hear(b'{"event": "AUTODIAL_FINISH", "id": 77}')
    (campaign,) = await bench.store.campaigns(MEMBER)
    assert campaign.finished_at == bench.now
    job = (await bench.lane("campaign:77"))["check:finish"]
    assert job.due_at == bench.now + tries.FINISH_SETTLES


async def test_news_of_a_dialer_that_nobody_uses_are_only_kept_as_they_came(bench: Bench) -> None:
    await bench.hear(b'{"event": "AUTODIAL_FINISH", "id": 5}')
    assert await bench.store.campaigns(MEMBER) == []
    assert (await bench.receipt()).state == "ignored"


async def test_an_unanswered_dial_is_folded_only_where_the_portal_wants_it(bench: Bench) -> None:
    await bench.change(settings=PortalSettings(dispositions=(RULE,), fold_unanswered_dials=True))
    (one,) = await listed(bench)
    await bench.hear(dial("CALL_NEW", meta=one.meta))
    call = await bench.only_call()
    assert await bench.lane(call.id) == {}
    assert {wake.reason for wake in await bench.store.due_wakes(bench.now + 1e6)} == {"no_end"}
    await bench.hear(dial(meta=one.meta))
    call = await bench.only_call()
    assert (call.skipped or "").startswith("skipped by rule")
    assert set(await bench.lane(call.id)) == {"record:LEAD:1205"}
    assert (await bench.lane(call.id))["record:LEAD:1205"].needs == ()
    assert (await phones(bench))[0].tries == 1


async def test_a_dial_that_reached_somebody_is_registered_all_the_same(bench: Bench) -> None:
    await bench.change(settings=PortalSettings(fold_unanswered_dials=True))
    (one,) = await listed(bench)
    await bench.hear(dial(state="ANSW_NF_OP", meta=one.meta))
    call = await bench.only_call()
    assert call.skipped is None
    assert {"register", "finish"} <= set(await bench.lane(call.id))


async def test_too_many_calls_of_dialers_are_told_once_a_day(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tries, "RATE_MOST", 3)
    for live in range(1, 7):
        await bench.hear(dial(live=live))
    notices = [key for key in await bench.lane("portal:notices") if "dialer_rate" in key]
    assert len(notices) == 1


async def test_a_call_that_never_ended_is_a_try_without_outcome_until_it_is_known(bench: Bench) -> None:
    (one,) = await listed(bench)
    await bench.hear(dial("CALL_NEW", meta=one.meta))
    await bench.clock.advance(4 * 3600.0)
    for wake in await bench.store.due_wakes(bench.now):
        await bench.intake().due(wake)
    (one,) = await phones(bench)
    assert (one.tries, one.outcome) == (1, Outcome.UNKNOWN)
    await bench.hear(dial(state="ANSWER", secondsTalk=9, meta=one.meta))
    (one,) = await phones(bench)
    assert (one.tries, one.outcome) == (1, Outcome.ANSWERED)
