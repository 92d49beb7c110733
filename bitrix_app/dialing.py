"""What is said to the PBX's autodialer, and how it is found out whether it arrived (design.md §5, doubt).

That a batch is about to be said is on disk before the request leaves. So whoever finds it said without
an answer (a lost answer, a crash) knows that it may be there: from then on it is only looked for.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import asdict, replace
from typing import Any, Final

from loguru import logger

from bitrix_app import campaign_book
from bitrix_app.core.call import Call
from bitrix_app.core.campaign_commands import (
    BatchArrived,
    BatchDenied,
    BatchDoubted,
    BatchTooOld,
    CheckDialer,
    DialerRead,
    GatherBatches,
    GatherNow,
    ReadDialers,
    SendBatch,
    SwitchDialer,
    Switched,
    SwitchFailed,
)
from bitrix_app.core.campaigns import (
    WAITS_FOR_AGENTS,
    Batch,
    BatchState,
    Phone,
    Reason,
    Step,
    matures_at,
    next_step,
    refused,
    said,
    standing,
    unsaid,
)
from bitrix_app.core.dialers import DialerNews as News
from bitrix_app.core.dialers import Running, heard, running
from bitrix_app.core.errors import AnswerLost, Refused, Throttled, Trouble, Unreadable, Verdict, Who
from bitrix_app.core.jobs import Job, Moot
from bitrix_app.core.portal import Portal, Snapshot
from bitrix_app.core.ports import Clock
from bitrix_app.core.store import Store, Unit
from bitrix_app.words import mark
from unitalk.autodial import Autodialer, SeenDialer, dialers_in, metas_in
from unitalk.client import Origin, UnitalkClient
from unitalk.structure import shape

DIALERS: Final = "dialers"
"""Snapshot of the account's dialers, the last good one."""
DIALERS_STATE: Final = "dialers_state"
"""How the last reading of them went, with the structure that came."""
LOOK_FOR_AGENTS: Final = 60.0

Available = Callable[[Portal], Awaitable[Sequence[str] | None]]
"""Extensions that the dialer may give calls to now; `None`: nobody keeps account of that."""


async def everybody(_portal: Portal) -> Sequence[str] | None:
    """Where nobody keeps account of the agents, nothing waits for them."""
    return None


class Dialing:
    """See the module."""

    kinds = frozenset(
        {ReadDialers.kind, GatherBatches.kind, SendBatch.kind, SwitchDialer.kind, CheckDialer.kind}
    )

    def __init__(
        self, store: Store, clock: Clock, pbx: UnitalkClient, available: Available = everybody
    ) -> None:
        self._store = store
        self._clock = clock
        self._pbx = pbx
        self._available = available

    async def deliver(self, portal: Portal, job: Job, call: Call | None) -> object:  # noqa: ARG002
        """See `bitrix_app.outbox.Room`."""
        origin = Origin(portal.member_id, job.correlation_id)
        adapter = Autodialer(self._pbx, portal.unitalk_key, portal.settings.dialer_templates, origin)
        match job.command:
            case GatherBatches():
                return GatherNow()
            case ReadDialers():
                await self._read(portal, adapter)
                return None
            case SendBatch(batch=batch):
                return await self._send(portal, adapter, batch)
            case SwitchDialer() as command:
                return await self._switch(portal, adapter, job, command)
            case CheckDialer(dialer=dialer):
                return DialerRead(await self._status(portal, adapter, dialer) or "")
        raise Unreadable(f"nobody delivers {job.kind}", code="NO_DELIVERY")

    # --- the account's dialers -----------------------------------------------------------------------

    async def _read(self, portal: Portal, adapter: Autodialer) -> None:
        """A fresh snapshot; what fails stands beside the last good one, so that nobody asks in a circle."""
        state: dict[str, Any] = {"ok": False}
        seen: list[SeenDialer] = []
        try:
            answer = await self._asked(portal, adapter)
            state["structure"] = shape(answer)
            seen = dialers_in(answer)
            state |= {"ok": True, "dialers": len(seen)}
        except Trouble as trouble:
            logger.warning("the autodialers of {} could not be read: {}", portal.domain, trouble.code)
            state |= {"code": trouble.code, "message": trouble.message, "hint": trouble.hint}
        now = self._clock.now()

        async def work(unit: Unit) -> None:
            await unit.save_snapshot(portal.member_id, Snapshot(DIALERS_STATE, now, (state,)))
            if not state["ok"]:
                return
            items = tuple(asdict(one) for one in seen)
            await unit.save_snapshot(portal.member_id, Snapshot(DIALERS, now, items))
            for one in seen:
                known = await unit.campaign(portal.member_id, one.key)
                if known is not None:
                    fresh = heard(replace(known, name=one.name), News(one.key, one.status), now)
                    await unit.save_campaign(portal.member_id, fresh)

        await self._store.transact(work)

    async def _asked(self, portal: Portal, adapter: Autodialer) -> Any:
        if not portal.unitalk_key:
            raise no_key()
        return await adapter.read()

    async def _status(self, portal: Portal, adapter: Autodialer, dialer: str) -> str | None:
        """The dialer's own word, `None` when the account does not show this dialer."""
        try:
            seen = dialers_in(await self._asked(portal, adapter))
        except Unreadable:
            return None
        return next((one.status for one in seen if one.key == dialer), None)

    async def _raw_id(self, portal: Portal, dialer: str) -> str | int:
        """The id in the type in which the PBX gave it."""
        snapshot = await self._store.snapshot(portal.member_id, DIALERS)
        for item in snapshot.items if snapshot else ():
            if str(item.get("id")) == dialer:
                return item["id"]  # type: ignore[no-any-return]
        return int(dialer) if dialer.isascii() and dialer.isdigit() and len(dialer) < 16 else dialer

    # --- batches -------------------------------------------------------------------------------------

    async def _send(self, portal: Portal, adapter: Autodialer, batch_id: str) -> object:
        now = self._clock.now()
        agents = await self._available(portal)
        batch, phones, step = await self._store.transact(
            lambda unit: self._prepare(unit, portal, batch_id, agents, now)
        )
        if batch is None or step is Step.NOTHING:
            raise Moot("the batch is settled")
        if step is Step.LATER:
            raise Throttled(
                "The batch was said and has no answer. It may still arrive, so it is looked for later.",
                code="DOUBT_MATURES",
                hint="It goes on by itself within a minute.",
                retry_at=matures_at(batch),
            )
        if step is Step.CHECK:
            return await self._look_for(portal, adapter, batch, phones)
        if batch.state is BatchState.WAITING:  # nobody is there to talk
            if now - batch.created_at > WAITS_FOR_AGENTS:
                return BatchTooOld()
            raise Throttled(
                "No agent is available, so nothing is given to the autodialer.",
                code="NO_AGENT",
                hint="It goes on by itself when an agent is available.",
                retry_at=now + LOOK_FOR_AGENTS,
            )
        if batch.state is BatchState.DROPPED:
            raise Moot("nothing of the batch is left to be sent")
        return await self._say(portal, adapter, batch, phones)

    async def _prepare(
        self, unit: Unit, portal: Portal, batch_id: str, agents: Sequence[str] | None, now: float
    ) -> tuple[Batch | None, Sequence[Phone], Step]:
        """Look at the batch; one that may be said is marked as said here, before anything leaves."""
        member = portal.member_id
        batch = await unit.batch(member, batch_id)
        if batch is None:
            return None, (), Step.NOTHING
        phones = await unit.batch_phones(member, batch_id)
        step = next_step(batch, now)
        if step is not Step.SAY or (agents is not None and not agents):
            return batch, phones, step
        forbidden = await unit.forbidden(member, [phone.number for phone in phones])
        out = [
            replace(refused(phone, Reason.DO_NOT_CALL), changed_at=now)
            for phone in phones
            if phone.number in forbidden
        ]
        await unit.save_phones(member, out)
        # whoever was called meanwhile is in the dialer's list already: a second turn leaves him out
        phones = [phone for phone in phones if phone.number not in forbidden and not phone.tries]
        if not phones:
            batch = replace(batch, state=BatchState.DROPPED, count=0)
            await unit.save_batch(member, batch)
            return batch, (), step
        batch = said(replace(batch, count=len(phones)), now)
        await unit.save_batch(member, batch)
        phones = [replace(standing(phone, batch), changed_at=now) for phone in phones]
        await unit.save_phones(member, phones)
        return batch, phones, step

    async def _say(
        self, portal: Portal, adapter: Autodialer, batch: Batch, phones: Sequence[Phone]
    ) -> object:
        try:
            if not portal.unitalk_key:
                raise no_key()
            await adapter.add(await self._raw_id(portal, batch.dialer), phones)
        except AnswerLost:
            raise
        except Trouble as trouble:
            if trouble.verdict is Verdict.PERSON:
                return BatchDenied(trouble.code, trouble.message, trouble.hint)
            await self._take_back(portal, batch)
            raise
        return BatchArrived("answer")

    async def _take_back(self, portal: Portal, batch: Batch) -> None:
        """Nothing was sent: the batch waits again, and may be said."""
        now = self._clock.now()

        async def work(unit: Unit) -> None:
            known = await unit.batch(portal.member_id, batch.id)
            if known is not None:
                await campaign_book.put(unit, portal.member_id, known, unsaid(known), now)

        await self._store.transact(work)

    async def _look_for(
        self, portal: Portal, adapter: Autodialer, batch: Batch, phones: Sequence[Phone]
    ) -> object:
        """Whether the account shows one of the batch's marks; not to find it proves nothing."""
        ours = {phone.meta for phone in phones}
        metas = metas_in(await self._asked(portal, adapter))
        if not metas & ours:
            try:
                called = metas_in(await adapter.calls(await self._raw_id(portal, batch.dialer)))
            except Refused as refusal:
                logger.info("the dialer's calls are not shown: {}", refusal.code)
                called = frozenset()
            metas |= called
        return BatchArrived("check") if metas & ours else BatchDoubted(shown=bool(metas))

    # --- start and stop ------------------------------------------------------------------------------

    async def _switch(self, portal: Portal, adapter: Autodialer, job: Job, command: SwitchDialer) -> object:
        campaign = await self._store.transact(lambda unit: unit.campaign(portal.member_id, command.dialer))
        if campaign is None or campaign.turn != command.turn:
            raise Moot("a later command took its place")
        goal = Running.YES if command.on else Running.NO
        try:
            if not portal.unitalk_key:
                raise no_key()
            if job.doubt:
                status = await self._status(portal, adapter, command.dialer) or ""
                if running(status) is goal:
                    return Switched(command.turn, status)
                if running(status) is Running.UNKNOWN:
                    return SwitchFailed(
                        command.turn,
                        "SWITCH_IN_DOUBT",
                        mark("The answer of the PBX was lost, and the dialer's status is not shown."),
                        mark("Look at the dialer in the Unitalk cabinet; press the button again if need be."),
                    )
            await adapter.switch(await self._raw_id(portal, command.dialer), on=command.on)
        except Trouble as trouble:
            if trouble.verdict is not Verdict.PERSON:
                raise
            return SwitchFailed(command.turn, trouble.code, trouble.message, trouble.hint)
        return Switched(command.turn)


def no_key() -> Refused:
    return Refused(
        "No API key of the PBX is stored.",
        code="NO_KEY",
        hint="Enter the key of the Unitalk cabinet in the settings.",
        who=Who.ADMIN,
    )
