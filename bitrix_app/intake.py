"""Receipt → meaning → commit: the one door through which events reach a call.

Everything that an event causes is one transaction: the raw receipt, the call, the jobs that are now
owed. The caller answers the sender only after it is durable.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import replace
from urllib.parse import urlencode

from loguru import logger

from bitrix_app import strays, tries
from bitrix_app.bitrix.events import (
    BitrixEvent,
    read_call_init,
    read_call_start,
    read_callback_start,
    read_clean,
)
from bitrix_app.core.advance import Transition, Wake
from bitrix_app.core.chores import portal_work
from bitrix_app.core.dial import Origin
from bitrix_app.core.events import Due, PbxReport
from bitrix_app.core.lifecycle import IllegalMove
from bitrix_app.core.portal import Portal, PortalState
from bitrix_app.core.ports import Clock
from bitrix_app.core.store import DueWake, Receipt, ReceiptState, Store, StoreUnavailable, Unit
from bitrix_app.desk import Desk, Press, new_call_id
from bitrix_app.finding import call_for
from bitrix_app.numbers import placed
from bitrix_app.retry_list import LANE
from unitalk.events import Ignorable, Readable, ReadEvent, UnreadableEvent, read_event
from unitalk.names import is_last_try

PUT_OFF = 3600.0
"""Seconds by which a call's timer is put off while its portal is uninstalled."""
FORGOTTEN = 30 * 86_400.0
"""Seconds after which Bitrix24 itself drops a call that was never finished (bitrix24.md §6.1)."""


class Intake:
    """See the module. `nudge` tells the worker that a portal has something to do, `forget` tells
    whoever keeps a portal's tokens or people in memory that they no longer count. `watch` is shown each
    new event of the PBX after it is durable; it must return at once.
    """

    def __init__(
        self,
        store: Store,
        clock: Clock,
        nudge: Callable[[str], None],
        forget: Callable[[str], None],
        make_id: Callable[[float], str] = new_call_id,
        watch: Callable[[Portal, ReadEvent, float], None] = lambda _portal, _event, _now: None,
        desk: Desk | None = None,
    ) -> None:
        self._store = store
        self._clock = clock
        self._nudge = nudge
        self._forget = forget
        self._make_id = make_id
        self._desk = desk or Desk(make_id)
        self._watch = watch

    async def pbx(
        self,
        portal: Portal,
        *,
        body: bytes,
        content_type: str,
        query: Mapping[str, str],
        method: str,
        correlation_id: str,
    ) -> None:
        """Take in a webhook of the PBX; returns when it is durable.

        Raises `StoreUnavailable` when it could not be stored: then the sender must hear so.
        """
        now = self._clock.now()
        receipt = Receipt(
            portal=portal.member_id,
            source="unitalk",
            digest="",
            body=body or urlencode(query).encode(),
            received_at=now,
            content_type=content_type[:200],
            ev=str(query.get("ev", ""))[:100],
            correlation_id=correlation_id,
        )
        zone = portal.settings.pbx_timezone
        try:
            event = read_event(body, content_type, query, method, now, zone)
        except UnreadableEvent as reason:
            await self._keep(replace(receipt, digest=reason.digest), ReceiptState.UNREADABLE, str(reason))
            logger.warning("webhook kept unread: {}", reason)
            return
        except Exception as bug:  # noqa: BLE001 - our own fault must not cost the sender's event
            digest = hashlib.sha256(receipt.body + b"\0" + urlencode(query).encode()).hexdigest()
            await self._keep_failed(replace(receipt, digest=digest), bug)
            return
        receipt = replace(receipt, digest=event.digest)
        if isinstance(event, Ignorable):
            fresh = await self._ignored(portal, receipt, event, now)
        else:
            fresh = await self._apply(portal, receipt, event, now)
        if fresh:
            self._watch(portal, event, now)

    async def _apply(self, portal: Portal, receipt: Receipt, event: Readable, now: float) -> bool:
        """Whether the event was new and could be taken in."""

        async def work(unit: Unit) -> tuple[bool, bool]:
            receipt_id = await unit.receive(receipt)
            if receipt_id is None:
                return False, False
            report = placed(event.report, portal.settings.country)
            if tries.may_be_dialers(report.facts):
                report = await tries.introduced(unit, portal, report)
            last = is_last_try(event.event_name, event.ev)
            return True, await self._report(unit, portal, report, now, receipt, receipt_id, last=last)

        try:
            fresh, busy = await self._store.transact(work)
        except StoreUnavailable:
            raise
        except Exception as bug:  # noqa: BLE001 - our own fault must not cost the sender's event
            await self._keep_failed(receipt, bug)
            return False
        if busy:
            self._nudge(portal.member_id)
        return fresh

    async def _ignored(self, portal: Portal, receipt: Receipt, event: Ignorable, now: float) -> bool:
        """An event of no call: kept, and what it tells of a dialer is heard. Whether it was new."""

        async def work(unit: Unit) -> tuple[bool, bool]:
            receipt_id = await unit.receive(replace(receipt, state=ReceiptState.IGNORED, error=event.reason))
            if receipt_id is None:
                return False, False
            await unit.mark_receipt(receipt_id, ReceiptState.IGNORED, error=event.reason)
            if event.news is None:
                return True, False
            return True, await tries.told_of_dialer(unit, portal, event.news, now)

        fresh, busy = await self._store.transact(work)
        if busy:
            self._nudge(portal.member_id)
        return fresh

    async def _report(
        self,
        unit: Unit,
        portal: Portal,
        report: PbxReport,
        now: float,
        receipt: Receipt,
        receipt_id: int,
        *,
        last: bool = False,
    ) -> bool:
        """Whether the worker has something to do now or, by a timer, later."""
        call = await call_for(unit, portal.member_id, report.facts, now, self._make_id)
        try:
            added, moved = await self._desk.move(
                unit, portal, call, report, now, receipt.correlation_id, last_try=last
            )
        except IllegalMove as illegal:
            await unit.mark_receipt(receipt_id, ReceiptState.IGNORED, call_id=call.id, error=str(illegal))
            return False
        await unit.mark_receipt(receipt_id, ReceiptState.APPLIED, call_id=call.id)
        return added > 0 or bool(moved.wakes)

    async def _keep(self, receipt: Receipt, state: ReceiptState, error: str) -> bool:
        """Store a receipt that no call follows from; false for a repeat."""

        async def work(unit: Unit) -> bool:
            receipt_id = await unit.receive(replace(receipt, state=state, error=error))
            if receipt_id is not None:
                await unit.mark_receipt(receipt_id, state, error=error)
            return receipt_id is not None

        return await self._store.transact(work)

    async def _keep_failed(self, receipt: Receipt, bug: Exception) -> None:
        logger.opt(exception=bug).error("webhook kept unapplied")
        await self._keep(receipt, ReceiptState.FAILED, f"{type(bug).__name__}: {bug}")

    async def due(self, wake: DueWake) -> None:
        """A call's timer came: let the call say what follows."""
        now = self._clock.now()

        async def work(unit: Unit) -> int:
            if not await unit.take_wake(wake):
                return 0
            portal = await unit.portal(wake.portal)
            if portal is not None and wake.lane.startswith(LANE):
                if portal.state is PortalState.UNINSTALLED:
                    await unit.move_wakes(wake.portal, wake.lane, {wake.reason: now + PUT_OFF})
                    return 0
                return await self._desk.due(unit, portal, wake, now)
            call = await unit.call(wake.portal, wake.lane)
            if call is None or portal is None:
                return 0
            if portal.state is PortalState.UNINSTALLED:
                if now - call.first_seen_at > FORGOTTEN:
                    return 0
                # the portal may come back, and its calls must not be left open then
                return await unit.apply(Transition(call, wakes=(Wake(now + PUT_OFF, wake.reason),)), now)
            return (await self._desk.move(unit, portal, call, Due(wake.reason), now))[0]

        if await self._store.transact(work):
            self._nudge(wake.portal)

    async def bitrix(self, portal: Portal, event: BitrixEvent, body: bytes, correlation_id: str) -> None:
        """Take in an event of the portal whose application_token was right; durable on return."""
        now = self._clock.now()
        receipt = Receipt(
            portal=portal.member_id,
            source="bitrix24",
            digest=event.digest,
            body=event.without_secrets(body),
            received_at=now,
            content_type="application/x-www-form-urlencoded",
            ev=event.name,
            correlation_id=correlation_id,
        )

        async def work(unit: Unit) -> None:
            receipt_id = await unit.receive(receipt)
            if receipt_id is None:
                return
            state, call_id = await self._portal_event(unit, portal.member_id, event, now)
            await unit.mark_receipt(receipt_id, state, call_id=call_id)

        await self._store.transact(work)
        if event.name == "ONAPPUNINSTALL":
            self._forget(portal.member_id)
        self._nudge(portal.member_id)

    async def _portal_event(
        self, unit: Unit, member_id: str, event: BitrixEvent, now: float
    ) -> tuple[ReceiptState, str | None]:
        portal = await unit.portal(member_id)
        if portal is None:
            return ReceiptState.IGNORED, None
        match event.name:
            case "ONVOXIMPLANTCALLINIT":
                return await strays.heard(unit, portal, read_call_init(event), now)
            case "ONEXTERNALCALLSTART":
                return await self._clicked(unit, portal, event, now)
            case "ONEXTERNALCALLBACKSTART":
                return await self._asked_back(unit, portal, event, now)
            case "ONAPPUNINSTALL":
                await uninstall(unit, portal, now, clean=read_clean(event))
                return ReceiptState.APPLIED, None
            case "ONAPPINSTALL":
                await unit.save_portal(replace(portal, state=PortalState.ACTIVE, updated_at=now))
            case "ONAPPUPDATE" | "ONAPPPAYMENT":
                pass
            case _:
                return ReceiptState.IGNORED, None
        for lane, owed in portal_work():
            await unit.owe(member_id, lane, (owed,), now)
        return ReceiptState.APPLIED, None

    async def _clicked(
        self, unit: Unit, portal: Portal, event: BitrixEvent, now: float
    ) -> tuple[ReceiptState, str | None]:
        """A click in Bitrix24; the call has its CALL_ID and is never registered by us (bitrix24.md §6.8)."""
        start = read_call_start(event)
        if start is None:
            return ReceiptState.IGNORED, None
        press = Press(
            Origin.CLICK,
            start.number,
            start.user_id,
            _sent_at(event, now),
            line=start.line or None,
            crm_type=start.crm_type,
            crm_id=start.crm_id,
            bitrix_call_id=start.call_id,
        )
        call = await self._desk.press(unit, portal, press, now)
        await strays.unhear(unit, portal, call, now)  # the click's CALLINIT may have been taken for another's
        return ReceiptState.APPLIED, call.id

    async def _asked_back(
        self, unit: Unit, portal: Portal, event: BitrixEvent, now: float
    ) -> tuple[ReceiptState, str | None]:
        """A client asks by a form to be called: nobody's call yet, so it is ours to register."""
        start = read_callback_start(event)
        if start is None:
            return ReceiptState.IGNORED, None
        press = Press(
            Origin.FORM,
            start.number,
            None,
            _sent_at(event, now),
            line=start.line or None,
            crm_type=start.crm_type,
            crm_id=start.crm_id,
            text=start.text or None,
        )
        return ReceiptState.APPLIED, (await self._desk.press(unit, portal, press, now)).id


def _sent_at(event: BitrixEvent, now: float) -> float:
    """When the portal made the event; a clock that is ahead of ours counts as now."""
    return min(float(event.ts), now) if event.ts.isascii() and event.ts.isdigit() else now


async def uninstall(unit: Unit, portal: Portal, now: float, *, clean: bool) -> None:
    """Tokens go at once, jobs stop; with `clean` everything goes (bitrix24.md §1.3)."""
    await unit.delete_pairs(portal.member_id)
    await unit.stop_jobs(portal.member_id, "the application was uninstalled")
    if clean:
        await unit.erase_portal(portal.member_id)
        return
    gone = replace(
        portal,
        state=PortalState.UNINSTALLED,
        state_reason="uninstalled",
        state_since=now,
        application_token="",
        updated_at=now,
    )
    await unit.save_portal(gone)
