"""Every event is kept before anybody answers, and means what it means once."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from bitrix_app.core.advance import Wake
from bitrix_app.core.call import Call
from bitrix_app.core.commands import Finish, Register
from bitrix_app.core.events import Direction
from bitrix_app.core.lifecycle import Phase
from bitrix_app.core.portal import PortalSettings, PortalState
from bitrix_app.core.store import DueWake, ReceiptState, StoreUnavailable
from bitrix_app.desk import new_call_id
from bitrix_app.intake import PUT_OFF
from bitrix_app.strays import WINDOW
from tests.house.making import (
    APP_TOKEN,
    CLIENT,
    MEMBER,
    NOW,
    Bench,
    Failing,
    Through,
    away,
    call,
    end,
    over,
    owed,
    pair,
    webhook,
)

pytestmark = pytest.mark.anyio

DUE = "register"
INIT = {"CALL_ID": "externalCall.x.1", "CALL_TYPE": "2", "CALLER_ID": CLIENT}


# --- the PBX ---------------------------------------------------------------------------------------


async def test_an_end_becomes_a_call_with_all_that_it_owes(bench: Bench) -> None:
    await bench.hear(end())
    known = await bench.only_call()
    assert known.phase is Phase.ENDED
    assert known.portal == MEMBER
    assert set(await bench.lane(known.id)) >= {"register", "finish", "fetch_recording"}
    kept = await bench.receipt()
    assert (kept.state, kept.call_id, kept.source) == (ReceiptState.APPLIED, known.id, "unitalk")
    assert kept.body == end()
    assert bench.nudged == [MEMBER]


async def test_the_correlation_id_follows_from_the_receipt_to_the_jobs(bench: Bench) -> None:
    await bench.hear(end())
    kept = await bench.receipt()
    assert kept.correlation_id == "corr-1"
    jobs = await bench.lane(kept.call_id or "")
    assert {one.correlation_id for one in jobs.values()} == {"corr-1"}


@pytest.mark.parametrize("body", [b"{", b"\xff\xfe", b"hello", b'["a"]', b""])
async def test_an_unreadable_body_is_kept_as_it_came(bench: Bench, body: bytes) -> None:
    await bench.hear(body)
    kept = await bench.receipt()
    assert kept.state is ReceiptState.UNREADABLE
    assert kept.body == body
    assert kept.error
    assert kept.digest
    assert await bench.store.calls(MEMBER) == []
    assert bench.nudged == []


async def test_an_unreadable_body_that_comes_again_is_counted(bench: Bench) -> None:
    for _ in range(3):
        await bench.hear(b"{")
    assert (await bench.receipt()).repeats == 2


async def test_two_unreadable_bodies_are_two_receipts(bench: Bench) -> None:
    await bench.hear(b"{")
    await bench.hear(b"[")
    assert {kept.body for kept in await bench.store.receipts(MEMBER)} == {b"{", b"["}


async def test_a_get_keeps_its_query_because_it_has_no_body(bench: Bench) -> None:
    await bench.hear(b"", method="GET", call_state="nonsense")
    kept = await bench.receipt()
    assert b"nonsense" in kept.body


async def test_variables_in_the_address_are_kept_when_there_is_no_body(bench: Bench) -> None:
    await bench.hear(b"", ev="CALL_END", call_id="5", call_state="NOANSWER", call_from="380440000011")
    assert (await bench.receipt()).body == b"call_id=5&call_state=NOANSWER&call_from=380440000011&ev=CALL_END"
    assert (await bench.only_call()).phase is Phase.ENDED


async def test_an_event_that_means_nothing_for_a_call_is_ignored_with_its_reason(bench: Bench) -> None:
    await bench.hear(webhook("IVR_ACTION"))
    kept = await bench.receipt()
    assert kept.state is ReceiptState.IGNORED
    assert "IVR_ACTION" in (kept.error or "")
    assert await bench.store.calls(MEMBER) == []


async def test_a_repeat_is_counted_and_owes_nothing_new(bench: Bench) -> None:
    for _ in range(4):
        await bench.hear(end())
    assert (await bench.receipt()).repeats == 3
    known = await bench.only_call()
    jobs = await bench.store.lane(MEMBER, known.id)
    assert len(jobs) == len({one.key for one in jobs})
    assert bench.nudged == [MEMBER], "only the first delivery has something to do"


async def test_new_offered_and_end_are_one_call(bench: Bench) -> None:
    await bench.hear(webhook("CALL_NEW"))
    await bench.hear(webhook("CALL_REDIRECT", to=["2001"]))
    await bench.hear(end())
    assert (await bench.only_call()).phase is Phase.ENDED


async def test_an_id_used_again_is_a_second_call(bench: Bench) -> None:
    await bench.hear(end())
    await bench.hear(end(dbid="28501", date="2026-09-02 09:00:00"))
    calls = await bench.store.calls(MEMBER)
    assert {one.pbx_dbid for one in calls} == {"27501", "28501"}
    assert len({one.id for one in calls}) == 2


async def test_our_own_fault_keeps_the_receipt_as_failed_and_raises_nothing(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: Any) -> None:
        raise KeyError("a fault of ours")

    monkeypatch.setattr("bitrix_app.desk.advance", broken)
    await bench.hear(end())
    kept = await bench.receipt()
    assert kept.state is ReceiptState.FAILED
    assert kept.error == "KeyError: 'a fault of ours'"
    assert kept.body == end()
    assert await bench.store.calls(MEMBER) == [], "nothing of the failed work stays"


async def test_our_own_fault_while_reading_keeps_the_receipt_too(bench: Bench) -> None:
    await bench.change(settings=PortalSettings(pbx_timezone="Nowhere/City"))
    await bench.hear(end())
    kept = await bench.receipt()
    assert kept.state is ReceiptState.FAILED
    assert kept.body == end()
    await bench.hear(end(dbid="28501"))
    assert len(await bench.store.receipts(MEMBER)) == 2, "another event is another receipt"


async def test_an_illegal_move_is_kept_and_changes_nothing(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    from bitrix_app.core.lifecycle import IllegalMove, Move

    def refusing(known: Call, *_: Any) -> None:
        raise IllegalMove(known.phase, Move.ANSWER)

    monkeypatch.setattr("bitrix_app.desk.advance", refusing)
    await bench.hear(end())
    kept = await bench.receipt()
    assert kept.state is ReceiptState.IGNORED
    assert kept.error == "a call that is announced cannot answer"
    assert await bench.store.calls(MEMBER) == []
    assert bench.nudged == []


@pytest.mark.parametrize("body", [end(), b"{", webhook("IVR_ACTION")])
async def test_a_store_that_is_away_is_told_to_the_sender(bench: Bench, body: bytes) -> None:
    store = Through(bench.store, transact=Failing(bench.store.transact, away()))
    with pytest.raises(StoreUnavailable):
        await bench.hear(body, store=store)
    assert list(await bench.store.receipts(MEMBER)) == []
    assert bench.nudged == []


async def test_what_follows_from_an_event_is_one_commit_with_its_receipt(bench: Bench) -> None:
    store = Through(bench.store)
    await bench.hear(end(), store=store)
    assert store.asked == {"transact": 1}


async def test_a_new_call_that_only_sets_its_timer_wakes_the_worker_too(bench: Bench) -> None:
    await bench.hear(webhook("CALL_NEW"))
    assert bench.nudged == [MEMBER]


def test_ids_are_in_order_of_time_and_never_the_same() -> None:
    ids = [new_call_id(NOW + n) for n in range(50)]
    assert ids == sorted(ids)
    assert len({new_call_id(NOW) for _ in range(1000)}) == 1000


# --- timers ----------------------------------------------------------------------------------------


async def test_a_timer_lets_the_call_say_what_follows(bench: Bench) -> None:
    await bench.hear(webhook("CALL_NEW"))
    bench.nudged.clear()
    (wake,) = await bench.store.due_wakes(NOW + 5)
    assert wake.reason == "register"
    await bench.clock.advance(3.5)
    await bench.intake().due(wake)
    known = await bench.only_call()
    assert set(await bench.lane(known.id)) == {"register"}
    assert bench.nudged == [MEMBER]


async def test_a_timer_is_taken_once(bench: Bench) -> None:
    await bench.hear(webhook("CALL_NEW"))
    bench.nudged.clear()
    (wake,) = await bench.store.due_wakes(NOW + 5)
    for _ in range(3):
        await bench.intake().due(wake)
    assert bench.nudged == [MEMBER]
    assert [w.reason for w in await bench.store.due_wakes(NOW + 1e6)] == ["no_end"]


async def test_a_timer_that_was_moved_meanwhile_is_not_taken(bench: Bench) -> None:
    await bench.hear(webhook("CALL_NEW"))
    bench.nudged.clear()
    (wake,) = await bench.store.due_wakes(NOW + 5)
    await bench.intake().due(replace(wake, at=wake.at - 1))
    assert bench.nudged == []
    assert wake in await bench.store.due_wakes(NOW + 5)


async def test_a_timer_of_an_uninstalled_portal_is_put_off_until_it_returns(bench: Bench) -> None:
    await bench.keep(call(register_owed=False), wakes=(Wake(NOW, DUE),))
    await bench.change(state=PortalState.UNINSTALLED)
    wake = DueWake(MEMBER, "c1", DUE, NOW)
    await bench.intake().due(wake)
    assert await bench.store.due_wakes(NOW + 1e6) == [replace(wake, at=NOW + PUT_OFF)]
    assert await bench.states() == {}
    assert bench.nudged == []
    await bench.change(state=PortalState.ACTIVE)
    await bench.clock.advance(PUT_OFF)
    await bench.intake().due(replace(wake, at=NOW + PUT_OFF))
    assert await bench.states() == {"register": "waiting"}


async def test_a_timer_of_a_call_that_is_gone_does_nothing_and_goes(bench: Bench) -> None:
    await bench.keep(call(register_owed=False), wakes=(Wake(NOW, DUE),))
    wake = DueWake(MEMBER, "c1", DUE, NOW)

    class Gone:
        def __init__(self, unit: Any) -> None:
            self._unit = unit

        async def call(self, *_: str) -> None:
            return None

        def __getattr__(self, name: str) -> Any:
            return getattr(self._unit, name)

    async def transact(work: Any) -> Any:
        return await bench.store.transact(lambda unit: work(Gone(unit)))

    await bench.intake(Through(bench.store, transact=transact)).due(wake)
    assert await bench.store.due_wakes(NOW + 1e6) == []
    assert bench.nudged == []


# --- the portal's events ---------------------------------------------------------------------------


async def test_the_stored_event_of_the_portal_holds_no_token(bench: Bench) -> None:
    await bench.hear_portal("ONAPPUPDATE", VERSION="2")
    kept = await bench.receipt()
    assert (kept.source, kept.ev, kept.state) == ("bitrix24", "ONAPPUPDATE", ReceiptState.APPLIED)
    assert b"ONAPPUPDATE" in kept.body
    assert b"canary" not in kept.body
    assert APP_TOKEN.encode() not in kept.body
    assert kept.correlation_id == "corr-2"


@pytest.mark.parametrize("name", ["ONAPPUPDATE", "ONAPPPAYMENT", "ONAPPINSTALL"])
async def test_an_update_owes_the_portal_its_bindings_and_people_anew(bench: Bench, name: str) -> None:
    await bench.hear_portal(name)
    assert await bench.states("portal:bindings") == {"bindings": "waiting"}
    assert await bench.states("portal:directory") == {"directory": "waiting"}
    assert bench.nudged == [MEMBER]


async def test_the_end_of_an_installation_makes_the_portal_active(bench: Bench) -> None:
    await bench.change(state=PortalState.INSTALLING)
    await bench.hear_portal("ONAPPINSTALL")
    assert (await bench.current()).state is PortalState.ACTIVE


async def test_an_event_of_the_portal_that_nobody_reads_is_kept_and_ignored(bench: Bench) -> None:
    await bench.hear_portal("ONCRMLEADADD", FIELDS="x")
    assert (await bench.receipt()).state is ReceiptState.IGNORED
    assert await bench.states("portal:bindings") == {}


async def test_an_event_of_the_portal_delivered_twice_counts_once(bench: Bench) -> None:
    await bench.hear_portal("ONAPPUPDATE")
    first = (await bench.lane("portal:bindings"))["bindings"]
    await bench.hear_portal("ONAPPUPDATE")
    assert (await bench.receipt()).repeats == 1
    assert (await bench.lane("portal:bindings"))["bindings"] == first


async def test_an_event_of_a_portal_that_was_erased_meanwhile_is_ignored(bench: Bench) -> None:
    store = Through(bench.store)
    body_portal = replace(bench.portal, member_id=MEMBER)
    from tests.house.making import event_form, event_of

    body = event_form("ONAPPUPDATE")
    event = replace(event_of(body))

    class Gone:
        def __init__(self, unit: Any) -> None:
            self._unit = unit

        async def portal(self, _: str) -> None:
            return None

        def __getattr__(self, name: str) -> Any:
            return getattr(self._unit, name)

    async def transact(work: Any) -> Any:
        return await bench.store.transact(lambda unit: work(Gone(unit)))

    store.verbs["transact"] = transact
    await bench.intake(store).bitrix(body_portal, event, body, "")
    assert (await bench.receipt()).state is ReceiptState.IGNORED


async def test_a_store_that_is_away_is_told_to_the_portal_as_well(bench: Bench) -> None:
    from tests.house.making import event_form, event_of

    body = event_form("ONAPPUNINSTALL")
    store = Through(bench.store, transact=Failing(bench.store.transact, away()))
    with pytest.raises(StoreUnavailable):
        await bench.intake(store).bitrix(bench.portal, event_of(body), body, "")
    assert (bench.nudged, bench.forgotten) == ([], [])
    assert (await bench.current()).state is PortalState.ACTIVE


# --- uninstalling ----------------------------------------------------------------------------------


async def furnished(bench: Bench) -> None:
    """A portal with tokens, a call, open jobs and a timer."""
    await bench.keep_pair(pair())
    await bench.change(unitalk_key="key", settings=PortalSettings(default_user=7))
    await bench.hear(webhook("CALL_NEW"))
    await bench.keep(over(), owes=[owed(Finish())])


async def test_an_uninstall_deletes_tokens_and_stops_jobs_and_keeps_the_rest(bench: Bench) -> None:
    await furnished(bench)
    await bench.hear_portal("ONAPPUNINSTALL", CLEAN="0")
    gone = await bench.current()
    assert (gone.state, gone.state_since, gone.application_token) == (PortalState.UNINSTALLED, NOW, "")
    assert gone.settings.default_user == 7
    assert await bench.pairs() == []
    assert await bench.states() == {"finish": "cancelled"}
    assert len(await bench.store.due_wakes(NOW + 1e6)) == 2, "timers stay for the portal's return"
    assert len(await bench.store.calls(MEMBER)) == 2
    assert bench.forgotten == [MEMBER], "what is kept in memory of it does not count any more"


async def test_an_uninstall_with_clean_leaves_a_tombstone_and_nothing_else(bench: Bench) -> None:
    await furnished(bench)
    await bench.hear_portal("ONAPPUNINSTALL", CLEAN="1")
    gone = await bench.current()
    assert gone.state is PortalState.UNINSTALLED
    assert (gone.unitalk_key, gone.application_token, gone.domain) == ("", "", "")
    assert list(await bench.store.calls(MEMBER)) == []
    assert list(await bench.store.receipts(MEMBER)) == []
    assert list(await bench.store.webhook_tokens(MEMBER)) == []
    assert await bench.pairs() == []
    assert bench.forgotten == [MEMBER]


# --- CALLINIT --------------------------------------------------------------------------------------


async def heard(bench: Bench, id_: str = "c1") -> str | None:
    return (await bench.the_call(id_)).heard_bitrix_id


async def test_callinit_is_bound_to_the_only_waiting_call_of_that_number(bench: Bench) -> None:
    await bench.keep(call(), call("c2", number="+380440000012"))
    await bench.hear_portal("ONVOXIMPLANTCALLINIT", **INIT)
    assert await heard(bench) == INIT["CALL_ID"]
    assert await heard(bench, "c2") is None
    kept = await bench.receipt()
    assert (kept.state, kept.call_id) == (ReceiptState.APPLIED, "c1")


async def test_callinit_knows_the_number_in_any_notation(bench: Bench) -> None:
    await bench.keep(call())
    await bench.hear_portal("ONVOXIMPLANTCALLINIT", **{**INIT, "CALLER_ID": "+38 (044) 000-00-11"})
    assert await heard(bench) == INIT["CALL_ID"]


async def test_callinit_of_another_app_is_not_ours(bench: Bench) -> None:
    await bench.change(rest_app_id="3")
    await bench.keep(call())
    await bench.hear_portal("ONVOXIMPLANTCALLINIT", **INIT, REST_APP_ID="4")
    await bench.hear_portal("ONVOXIMPLANTCALLINIT", ts="2", **INIT)
    assert await heard(bench) is None
    assert {r.state for r in await bench.store.receipts(MEMBER)} == {ReceiptState.IGNORED}
    await bench.hear_portal("ONVOXIMPLANTCALLINIT", ts="3", **INIT, REST_APP_ID="3")
    assert await heard(bench) == INIT["CALL_ID"]


async def test_callinit_is_nobodys_when_two_calls_wait(bench: Bench) -> None:
    await bench.keep(call(), call("c2"))
    await bench.hear_portal("ONVOXIMPLANTCALLINIT", **INIT)
    assert [await heard(bench), await heard(bench, "c2")] == [None, None]
    assert (await bench.receipt()).state is ReceiptState.IGNORED


async def test_callinit_is_not_bound_when_its_id_is_another_calls(bench: Bench) -> None:
    await bench.keep(over("c0", bitrix_call_id=INIT["CALL_ID"], number="+380440000012"), call())
    await bench.hear_portal("ONVOXIMPLANTCALLINIT", **INIT)
    assert await heard(bench) is None


async def test_callinit_of_an_old_call_that_we_just_heard_of_is_bound(bench: Bench) -> None:
    await bench.keep(call(started_at=NOW - 86_400))
    await bench.hear_portal("ONVOXIMPLANTCALLINIT", **INIT)
    assert await heard(bench) == INIT["CALL_ID"]


@pytest.mark.parametrize(
    ("direction", "call_type", "is_ours"),
    [("in", "2", True), ("in", "3", True), ("in", "1", False), ("out", "1", True), ("out", "2", False)],
)
async def test_callinit_tells_the_direction_of_its_call(
    bench: Bench, direction: str, call_type: str, is_ours: bool
) -> None:
    await bench.keep(call(direction=Direction(direction)))
    await bench.hear_portal("ONVOXIMPLANTCALLINIT", **{**INIT, "CALL_TYPE": call_type})
    assert (await heard(bench) is not None) is is_ours


async def test_callinit_passes_a_call_whose_register_nobody_owes(bench: Bench) -> None:
    await bench.keep(call(register_owed=False))
    await bench.hear_portal("ONVOXIMPLANTCALLINIT", **INIT)
    assert await heard(bench) is None


async def test_callinit_passes_a_call_that_is_too_old(bench: Bench) -> None:
    await bench.keep(call(first_seen_at=NOW - WINDOW - 1))
    await bench.hear_portal("ONVOXIMPLANTCALLINIT", **INIT)
    assert await heard(bench) is None


async def test_callinit_finds_a_call_that_is_registered_hours_late(bench: Bench) -> None:
    late = call(started_at=NOW - 5 * 3600, first_seen_at=NOW - 5 * 3600)
    await bench.keep(late, owes=[owed(Register())])
    await bench.store.claim(MEMBER, NOW, 1, NOW + 900)
    await bench.hear_portal("ONVOXIMPLANTCALLINIT", **INIT)
    assert await heard(bench) == INIT["CALL_ID"]


async def test_callinit_passes_a_call_that_has_its_id(bench: Bench) -> None:
    await bench.keep(over("c0"), call())
    await bench.hear_portal("ONVOXIMPLANTCALLINIT", **INIT)
    assert await heard(bench) == INIT["CALL_ID"], "the other one does not wait any more"


async def test_callinit_of_bitrix24s_own_line_names_nobody(bench: Bench) -> None:
    await bench.keep(call())
    await bench.hear_portal("ONVOXIMPLANTCALLINIT", CALL_ID="1", CALL_TYPE="2")
    assert await heard(bench) is None
    assert (await bench.receipt()).state is ReceiptState.IGNORED


async def test_what_was_heard_settles_nothing_by_itself(bench: Bench) -> None:
    await bench.hear(end())
    known = await bench.only_call()
    before = await bench.states(known.id)
    await bench.hear_portal("ONVOXIMPLANTCALLINIT", **INIT)
    after = await bench.only_call()
    assert after.bitrix_call_id is None
    assert after == replace(known, heard_bitrix_id=INIT["CALL_ID"])
    assert await bench.states(known.id) == before


# --- numbers ---------------------------------------------------------------------------------------


async def test_a_local_number_is_read_with_the_portals_country(bench: Bench) -> None:
    await bench.change(settings=PortalSettings(country="PL"))
    await bench.hear(webhook("CALL_NEW", **{"from": "221234567"}))
    found = await bench.only_call()
    assert (found.number, found.raw_number) == ("+48221234567", "221234567")


async def test_a_hidden_number_is_kept_as_it_came_with_the_reason(bench: Bench) -> None:
    await bench.hear(end(**{"from": "anonymous"}))
    found = await bench.only_call()
    assert (found.number, found.raw_number) == (None, "anonymous")
    assert ["hidden" in note for note in found.notes] == [True]
    assert "register" in await bench.lane(found.id), "the register tells on the list why it cannot be"
