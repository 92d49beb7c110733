"""Any webhooks lost, doubled, in any order, and the history: each call of the PBX once, difference zero.

The real intake, the real reconciliation and a real database; only the PBX's answer is made by its emulator
and the portal's is put in by hand.
"""

from __future__ import annotations

import asyncio
import datetime as dt
import json
import tempfile
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bitrix_app.clock import VirtualClock
from bitrix_app.core.events import CallEvent, Finished, Registered
from bitrix_app.core.history import Window
from bitrix_app.core.ledger import Standing
from bitrix_app.core.store import Store, Unit
from bitrix_app.desk import Desk, new_call_id
from bitrix_app.intake import Intake
from bitrix_app.ledgers import ledger_of
from bitrix_app.reconcile import Reconciler, Tally
from bitrix_app.vault import SecretVault
from storage import open_store
from tests.faults.conftest import MEMORY
from tests.house.making import KEY, MEMBER, portal
from tests.sandbox.conftest import Net
from unitalk.client import UnitalkClient
from unitalk.sandbox import Facts, SandboxCall, SandboxPbx
from unitalk.sandbox.bodies import history_row

START = 1_788_333_300.0
CLIENTS = ("380440000011", "380440000012")
ENDED = 3_600.0
"""Seconds after the start at which all calls are long over."""


class HistoryOnly:
    """The PBX's client whose history is the emulator's."""

    def __init__(self, pbx: SandboxPbx) -> None:
        self.pbx = pbx
        self.asked = 0

    async def history(self, *_: Any) -> AsyncIterator[dict[str, Any]]:
        self.asked += 1
        self.pbx._book.save_ended()
        for call in sorted(self.pbx.calls, key=lambda call: call.date, reverse=True):
            if call.in_history and call.dbid is not None:
                yield history_row(call, self.pbx.options)


@dataclass(frozen=True)
class Plan:
    """One call: who, when it begins (seconds after the start), how it goes, what of it arrives, and when."""

    client: int
    at: int
    kind: str
    arrives: tuple[int, ...]
    """Places of its webhooks in the order of arrival; some are missing, some come again."""
    late: bool
    """Whether its webhooks come only after the history was read."""
    in_history: bool


plans = st.builds(
    Plan,
    client=st.integers(0, 1),
    at=st.integers(0, 40).map(lambda n: n * 20),
    kind=st.sampled_from(("answered", "missed", "outgoing", "busy", "dialer", "inner", "hidden")),
    arrives=st.lists(st.integers(0, 5), max_size=8).map(tuple),
    late=st.booleans(),
    in_history=st.sampled_from((True, True, True, False)),
)


def ring(pbx: SandboxPbx, plan: Plan) -> SandboxCall:
    client = CLIENTS[plan.client]
    facts = Facts(at=START + plan.at, deliver=False, in_history=plan.in_history)
    match plan.kind:
        case "answered":
            return pbx.incoming(client, ring=["2001"], answered_by="2001", talk=30, facts=facts)
        case "missed":
            return pbx.incoming(client, ring=["2001", "2002"], facts=facts)
        case "outgoing":
            return pbx.outgoing("2001", client, talk=12, facts=facts)
        case "busy":
            return pbx.outgoing("2001", client, state="BUSY", facts=facts)
        case "hidden":
            return pbx.incoming("anonymous", ring=["2001"], answered_by="2001", facts=facts)
        case "dialer":
            return pbx.autodial(client, facts=facts)
    return pbx.inner("2001", "2002", facts=facts)


def apart(wanted: Sequence[Plan]) -> list[Plan]:
    """Without calls of one client at one moment: nothing in the contract tells those apart without ids."""
    return list({(plan.client, plan.at): plan for plan in wanted}.values())


async def play(folder: Path, wanted: Sequence[Plan], ids: str) -> None:
    clock = VirtualClock(START)
    pbx = SandboxPbx(clock, Net(), base_url="https://api.unitalk.cloud:8443")
    pbx.options.history_id = cast(Any, ids)
    store = await open_store(f"sqlite:///{folder}/unitalk.db", SecretVault(KEY), clock)
    try:
        await store.transact(lambda unit: unit.save_portal(portal(unitalk_key="key-of-the-pbx")))
        history = HistoryOnly(pbx)
        reconciler = Reconciler(store, clock, cast(UnitalkClient, history), Desk(new_call_id))
        intake = Intake(store, clock, lambda _: None, lambda _: None)
        calls = [(plan, ring(pbx, plan)) for plan in wanted]

        async def read() -> Tally:
            known = await store.portal(MEMBER)
            assert known is not None
            return await reconciler.read(known, Window(START, clock.now()))

        async def hear(*, late: bool) -> None:
            for plan, call in calls:
                if plan.late is late:
                    bodies = pbx.webhooks_for(call)
                    for place in plan.arrives:
                        if place < len(bodies):
                            await tell(intake, store, bodies[place])

        await clock.advance(1_000.0)  # nobody hears of a call before it begins
        await hear(late=False)
        await clock.advance(ENDED - 1_000.0)
        await read()
        await hear(late=True)
        await read()
        again = await read()
        assert (again.counts, again.changes) == (Counter(), []), "the third reading finds nothing to do"
        assert again.known == sum(plan.in_history for plan in wanted)
        await deliver(store)
        await closes(store, calls, clock)
    finally:
        await store.close()


async def tell(intake: Intake, store: Store, body: dict[str, Any]) -> None:
    known = await store.portal(MEMBER)
    assert known is not None
    raw = json.dumps(body).encode()
    await intake.pbx(known, body=raw, content_type="", query={}, method="POST", correlation_id="")


async def deliver(store: Store) -> None:
    """The portal takes every call that ended."""
    for call in await store.calls(MEMBER):
        if call.is_live or call.skipped:
            continue
        answers: tuple[CallEvent, ...] = (Registered(f"b.{call.id}", 1), Finished(7, "LEAD", 5, 1))
        for event in answers:

            async def work(unit: Unit, event: CallEvent = event, call_id: str = call.id) -> None:
                known, whose = await unit.call(MEMBER, call_id), await unit.portal(MEMBER)
                assert known is not None
                assert whose is not None
                await Desk(new_call_id).move(unit, whose, known, event, START + ENDED)

            await store.transact(work)


async def closes(store: Store, calls: Sequence[tuple[Plan, SandboxCall]], clock: VirtualClock) -> None:
    known = await store.portal(MEMBER)
    assert known is not None
    heard = {call.live_id: call for plan, call in calls if told(plan, call, store)}
    there = [call for plan, call in calls if plan.in_history or call.live_id in heard]
    balance = await ledger_of(store, known, dt.date(2026, 9, 2))
    assert balance.difference == 0, [e for e in balance.entries if e.standing is Standing.UNEXPLAINED]
    assert balance.total == len(there) == len(await store.calls(MEMBER))
    assert balance.history == sum(plan.in_history for plan, _ in calls)
    assert len(balance.webhook_only) == len(there) - balance.history
    ids = [entry.pbx_dbid for entry in balance.entries if entry.pbx_dbid]
    assert set(Counter(ids).values()) <= {1}, "no call of the PBX stands twice"
    wanted = {str(call.dbid) for plan, call in calls if plan.in_history}
    assert wanted <= set(ids), "each call of the history is there"
    for call in await store.calls(MEMBER):
        if call.pbx_dbid in wanted:
            assert not call.is_live
            (row,) = [one for _, one in calls if str(one.dbid) == call.pbx_dbid]
            assert (call.talk_seconds, call.full_seconds) == (row.seconds_talk, row.seconds_full)


def told(plan: Plan, call: SandboxCall, _: Store) -> bool:
    """Whether any webhook of the call arrived."""
    return any(place < len(call.steps) for place in plan.arrives)


@given(st.lists(plans, min_size=1, max_size=5).map(apart), st.sampled_from(("live", "dbid")))
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_each_call_once_and_the_ledger_closes(wanted: list[Plan], ids: str) -> None:
    place = MEMORY if MEMORY.is_dir() else None
    with tempfile.TemporaryDirectory(prefix="unitalk-ledger-", dir=place) as folder:
        asyncio.run(play(Path(folder), wanted, ids))
