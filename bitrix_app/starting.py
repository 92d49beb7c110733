"""Starts calls at the PBX, reads its history for those that nobody heard of, finds whose a callback is.

The PBX is asked once for one wish. What it answers is an event, a failure too: a start is never queued
for later, because by then nobody waits at the phone (unitalk.md §1.1 no. 5, §4.1).
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Final

from loguru import logger

from bitrix_app.core.call import Call
from bitrix_app.core.commands import AssignCallback, Dial, Notify, Priority, TraceDial
from bitrix_app.core.correlate import CLAIM_WITHIN, SAME_START
from bitrix_app.core.dial import OPEN, DialState, Failure, Origin
from bitrix_app.core.dialling import STALE_AFTER
from bitrix_app.core.errors import Forbidden, NotSent, Refused, Trouble, Verdict
from bitrix_app.core.events import (
    CallbackAssigned,
    DialAccepted,
    DialFailed,
    Direction,
    PbxReport,
    Traced,
)
from bitrix_app.core.jobs import Job, Moot
from bitrix_app.core.mapping import choose, extension_of
from bitrix_app.core.permit import KEY_REFUSED
from bitrix_app.core.portal import Portal, Snapshot
from bitrix_app.core.ports import Clock
from bitrix_app.core.store import Store, StoreUnavailable, Unit
from bitrix_app.core.transition import Owed
from bitrix_app.directory import Directory
from bitrix_app.numbers import placed
from bitrix_app.owners import Owners
from bitrix_app.permits import why_not
from unitalk.client import Origin as LogOrigin
from unitalk.client import UnitalkClient
from unitalk.events import UnreadableEvent, read_history_row

NOTICES_LANE: Final = "portal:notices"
TOLD: Final = "pbx_key_told"
"""The snapshot that remembers whether the administrators were told of a key that is refused."""
BEFORE: Final = 60.0
"""Seconds before the asking from which the history is read: the PBX's clock may be behind ours."""

LOST: Final = Failure(
    "ANSWER_LOST",
    "timeout",
    "Unitalk's answer was lost, so we do not know yet whether the phone rings.",
    "We ask the PBX's events and history before anybody dials again.",
    "nobody",
    "OTHER",
)
STALE: Final = Failure(
    "STALE",
    "timeout",
    "The PBX could not be asked in time, so nothing was dialled.",
    "Call again, or from the list.",
    "agent",
    "503",
)
UNREACHABLE: Final = Failure(
    "PBX_UNREACHABLE",
    "connection",
    "Unitalk could not be reached, so nothing rang.",
    "It is tried again by itself where the rules allow it.",
    "nobody",
    "503",
)


class Starting:
    """See the module."""

    kinds: frozenset[str] = frozenset({Dial.kind, TraceDial.kind, AssignCallback.kind})

    def __init__(
        self, store: Store, clock: Clock, pbx: UnitalkClient, directory: Directory, owners: Owners
    ) -> None:
        self._store = store
        self._clock = clock
        self._pbx = pbx
        self._directory = directory
        self._owners = owners

    async def deliver(self, portal: Portal, job: Job, call: Call | None) -> object:
        """See `outbox.Room`."""
        if call is None or call.dial is None:
            raise Moot("the call was erased")
        match job.command:
            case Dial() as command:
                return await self._dial(portal, job, call, command)
            case TraceDial():
                return await self._trace(portal, job, call)
            case AssignCallback():
                return await self._assign(portal, job, call)
        raise Moot(f"nobody delivers {job.kind}")

    # --- asking the PBX ----------------------------------------------------------------------------

    async def _dial(self, portal: Portal, job: Job, call: Call, command: Dial) -> DialAccepted | DialFailed:
        if job.doubt:
            # an earlier process may have asked already: only webhooks and the history can tell
            return DialFailed(LOST, certain=False)
        if call.dial is None or call.dial.state is not DialState.ASKED:
            raise Moot("the call goes on already, or was given up")
        if self._clock.now() - call.dial.asked_at > STALE_AFTER:
            if call.dial.origin is Origin.RULE:  # nobody waits at the phone, so a later try is as good
                return DialFailed(replace(STALE, category="availability"), certain=True)
            return DialFailed(STALE, certain=True)
        origin = LogOrigin(portal.member_id, job.correlation_id)
        try:
            await self._pbx.direct_call(
                portal.unitalk_key, command.extension, command.number, call.id, origin
            )
        except Forbidden as refused:
            if refused.code == KEY_REFUSED.code:
                await self._key_refused(portal)
                return DialFailed(KEY_REFUSED, certain=True)
            return DialFailed(_refused(refused), certain=True)
        except Refused as refused:
            return DialFailed(_refused(refused), certain=True)
        except NotSent:
            return DialFailed(UNREACHABLE, certain=True)
        except Trouble as trouble:
            if trouble.verdict is Verdict.LATER:  # a limit: the request was not taken
                return DialFailed(UNREACHABLE, certain=True)
            logger.warning("the answer to a call start was lost: {}", trouble.code)
            return DialFailed(LOST, certain=False)
        await self._key_accepted(portal)
        return DialAccepted()

    async def _key_refused(self, portal: Portal) -> None:
        """Remember it, so that nobody hammers the PBX, and tell the administrators once."""
        state = Snapshot(
            "pbx_state",
            self._clock.now(),
            (
                {
                    "ok": False,
                    "code": KEY_REFUSED.code,
                    "message": KEY_REFUSED.message,
                    "hint": KEY_REFUSED.hint,
                    "key_last4": portal.unitalk_key_last4,
                },
            ),
        )
        notice = Notify(tag="pbx-key", message=f"{KEY_REFUSED.message}\n{KEY_REFUSED.hint}")

        async def work(unit: Unit) -> None:
            before = await unit.snapshot(portal.member_id, "pbx_state")
            known = await unit.portal(portal.member_id)
            if known is not None and known.unitalk_key != portal.unitalk_key:
                return  # somebody entered another key meanwhile: what was said of this one is of no use
            told = await unit.snapshot(portal.member_id, TOLD)
            await unit.save_snapshot(portal.member_id, state)
            # the daily look at the PBX finds a wrong key too, and tells nobody of it
            if told is not None and told.items and before is not None and _says_refused(before):
                return
            await unit.save_snapshot(portal.member_id, Snapshot(TOLD, self._clock.now(), ({"told": True},)))
            owed = Owed("notify:pbx_key", notice, Priority.CRM)
            await unit.owe(portal.member_id, NOTICES_LANE, (owed,), self._clock.now())

        await self._quietly(work)

    async def _key_accepted(self, portal: Portal) -> None:
        """The key works again: the next refusal is news."""

        async def work(unit: Unit) -> None:
            before = await unit.snapshot(portal.member_id, "pbx_state")
            if before is not None and _says_refused(before):
                fresh = Snapshot("pbx_state", self._clock.now(), ({"ok": True},))
                await unit.save_snapshot(portal.member_id, fresh)
            if await unit.snapshot(portal.member_id, TOLD) is not None:
                await unit.save_snapshot(portal.member_id, Snapshot(TOLD, self._clock.now(), ()))

        try:
            before = await self._store.snapshot(portal.member_id, "pbx_state")
        except StoreUnavailable:
            return
        if before is not None and _says_refused(before):
            await self._quietly(work)

    async def _quietly(self, work: Callable[[Unit], Awaitable[None]]) -> None:
        """Keep what is only good to know: the PBX has answered, and that answer counts, stored or not."""
        try:
            await self._store.transact(work)
        except StoreUnavailable as away:
            logger.warning("what the PBX thinks of the key was not kept: {}", away.reason)

    # --- finding out -------------------------------------------------------------------------------

    async def _trace(self, portal: Portal, job: Job, call: Call) -> Traced:
        """Raises a `Trouble` branch when the history cannot be read: it is read again later."""
        dial = call.dial
        if dial is None or dial.state not in (*OPEN, DialState.UNTRACED):
            raise Moot("the call was found meanwhile")
        zone, now = portal.settings.pbx_timezone, self._clock.now()
        rows = self._pbx.history(
            portal.unitalk_key,
            dial.asked_at - BEFORE,
            min(now, dial.asked_at + CLAIM_WITHIN) + BEFORE,
            zone,
            LogOrigin(portal.member_id, job.correlation_id),
        )
        found: list[PbxReport] = []
        async for row in rows:
            try:
                report = placed(read_history_row(row, now, zone), portal.settings.country)
            except UnreadableEvent:
                continue  # a row of somebody else's call, or of one that goes on
            if _fits(report, call):
                found.append(report)
        own = [report for report in found if report.facts.meta == call.id]
        fitting = sorted(own or found, key=lambda report: report.facts.started_at or 0.0)
        return Traced(fitting[0], tuple(fitting[1:])) if fitting else Traced(None)

    # --- whose callback ----------------------------------------------------------------------------

    async def _assign(self, portal: Portal, job: Job, call: Call) -> CallbackAssigned:
        """The client's responsible person, else by rule (bitrix24.md §6.6). Raises a `Trouble` branch."""
        if call.register_owed or call.dial is None:
            raise Moot("the callback has its owner")
        agents = await self._directory.agents(portal.member_id)
        user: int | None = None
        for client in await self._owners.clients(portal, call, Priority(job.priority)):
            if client.responsible and await self._directory.works(portal, client.responsible):
                user = client.responsible
                break
        if user is None:
            choice = choose(None, call.line, agents, portal.settings, portal.installed_by)
            if choice is None:
                raise Refused("Nobody can be given this callback.", code="NO_USER")
            user = choice.user_id
        extension = extension_of(user, agents, portal.settings)
        state = await self._store.snapshot(portal.member_id, "pbx_state")
        refusal = why_not(
            portal,
            Origin.FORM,
            call.number or call.raw_number or "",
            extension,
            call.dial.asked_at,
            self._clock.now(),
            state,
        )
        return CallbackAssigned(user, extension, refusal)


def _says_refused(state: Snapshot) -> bool:
    return bool(state.items) and state.items[0].get("code") == KEY_REFUSED.code


def _refused(refused: Refused) -> Failure:
    return Failure(
        "PBX_REFUSED",
        refused.category,
        f"Unitalk refused to start the call: {refused.message}",
        "See whether the phone of this extension is on, then call again from the list.",
        "agent",
        "503",
    )


def _fits(report: PbxReport, call: Call) -> bool:
    """Whether a row of the history is the call that was asked for: by `meta`, else by line and number."""
    facts, dial = report.facts, call.dial
    if dial is None or facts.direction is Direction.IN:
        return False
    if facts.meta is not None:
        return facts.meta == call.id
    at = facts.started_at
    near = at is not None and -SAME_START <= at - dial.asked_at <= CLAIM_WITHIN
    return near and facts.number == call.number and dial.extension in facts.extensions
