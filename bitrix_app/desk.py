"""Starts the calls that somebody wants, and moves every call so that the retry list hears of it.

Everything happens inside one transaction of the store; whoever calls awaits only the unit. The rules are
`core.dialling`'s (one call), `core.permit`'s (may it start) and `core.intent`'s (one entry of the list).
"""

from __future__ import annotations

import secrets
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Final

from bitrix_app import tries
from bitrix_app.agents import call_settled
from bitrix_app.core import intent as entries
from bitrix_app.core.advance import advance
from bitrix_app.core.call import Call
from bitrix_app.core.dial import OPEN, Dialling, DialState, Origin
from bitrix_app.core.dialling import begin, begin_callback, join
from bitrix_app.core.events import CallEvent, Direction, PbxReport, Traced
from bitrix_app.core.intent import Intent, Wrong
from bitrix_app.core.jobs import JobState
from bitrix_app.core.mapping import extension_of
from bitrix_app.core.portal import Agent, Portal, Snapshot
from bitrix_app.core.store import DueWake, Unit
from bitrix_app.core.transition import Transition
from bitrix_app.finding import call_for
from bitrix_app.numbers import read_number
from bitrix_app.permits import why_not
from bitrix_app.retry_list import JOINED_AGAIN, LANE, REDIAL, RetryList
from bitrix_app.words import mark

JOIN_WITHIN: Final = 3 * 3600.0
"""Seconds for which a call whose start is still open is the one that a second press means."""
JOIN_RANG: Final = 180.0
"""Seconds after the asking for which that holds of a call that rang: its end may have been lost, and then
nobody could call this client for hours."""


TALKS_AT_MOST: Final = 1_800.0
"""Seconds for which an agent's call holds back the next one that is begun by itself; its end may be lost."""
PORTAL_LATER: Final = 900.0
"""Seconds after which a try by itself looks again whether its portal works."""


def new_call_id(now: float) -> str:
    """Ours for life and EXTERNAL_CALL_ID in Bitrix24: time first, so that rows stay in order."""
    return f"{int(now * 1000):011x}{secrets.token_hex(8)}"


@dataclass(frozen=True, slots=True)
class Press:
    """Somebody asks for a call. `number` as he gave it; `pressed_at` unix seconds; `intent` the entry of
    the list that this is a try of.
    """

    origin: Origin
    number: str
    user_id: int | None
    pressed_at: float
    extension: str | None = None
    line: str | None = None
    crm_type: str | None = None
    crm_id: int | None = None
    bitrix_call_id: str | None = None
    intent: str | None = None
    text: str | None = None
    asked_by: int | None = None
    """Who asked, where it is not the employee whose phone rings."""


class Desk:
    """See the module. `make_id` makes the id of a new call."""

    def __init__(self, make_id: Callable[[float], str]) -> None:
        self._make_id = make_id
        self.list = RetryList()

    # --- moving calls ------------------------------------------------------------------------------

    async def move(
        self,
        unit: Unit,
        portal: Portal,
        call: Call,
        event: CallEvent,
        now: float,
        correlation_id: str = "",
        *,
        last_try: bool = False,
    ) -> tuple[int, Transition]:
        """Hand the event to the call, store what follows, let the list hear of it. The number of new
        jobs, and the transition. Raises `IllegalMove`.
        """
        transition = advance(call, event, now, portal.rules)
        added = await self._commit(unit, portal, transition, now, correlation_id)
        added += await call_settled(unit, portal, call, transition.call, now)
        if call.is_live or isinstance(event, PbxReport):
            added += await tries.counted(unit, portal, transition.call, now, last=last_try)
        return added, transition

    async def traced(
        self, unit: Unit, portal: Portal, call: Call, event: Traced, now: float, correlation_id: str = ""
    ) -> None:
        """The history was read for a call that was asked for: what stands there goes the way of a webhook."""
        for report in (event.report, *event.others):
            if report is None:
                return
            known = await unit.call(portal.member_id, call.id) or call
            found = await call_for(unit, portal.member_id, report.facts, now, self._make_id, known)
            is_new = found.id == call.id or await unit.call(portal.member_id, found.id) is None
            await self.move(unit, portal, found, report, now, correlation_id)
            if is_new:
                return  # this one it was; the others are calls that were made by hand

    async def _commit(
        self, unit: Unit, portal: Portal, transition: Transition, now: float, correlation_id: str = ""
    ) -> int:
        added = await unit.apply(transition, now, correlation_id)
        for news in transition.news:
            await self.list.hear(unit, portal, transition.call, news, now)
        return added

    # --- asking for a call -------------------------------------------------------------------------

    async def press(
        self, unit: Unit, portal: Portal, press: Press, now: float, correlation_id: str = ""
    ) -> Call:
        """Start the call, or join the one that goes on, or say why not: the call as it is then."""
        if press.bitrix_call_id:
            known = await unit.call_by_bitrix_id(portal.member_id, press.bitrix_call_id)
            if known is not None and not _pressed_anew(known, press):
                return known
            if known is not None:  # Bitrix24 gives the same CALL_ID until it is finished (bitrix24.md §6.1)
                press = replace(press, bitrix_call_id=None)
        if press.extension is None and press.user_id is not None:
            agents = await self._agents(unit, portal)
            press = replace(press, extension=extension_of(press.user_id, agents, portal.settings))
        call = self._call(portal, press, now)
        first = await self._goes_on(unit, call, press, now)
        if first is not None:
            if not press.bitrix_call_id:
                return first
            joined = join(call, first, now)
            await self._commit(unit, portal, joined, now, correlation_id)
            return joined.call
        entry = await self._entry_for(unit, portal, call, press)
        if entry is not None and call.dial is not None:
            call = replace(call, dial=replace(call.dial, intent=entry.id))
            await self.list.replan(unit, entries.tried(entry, call.id, now, _asker(press)))
        if press.origin is Origin.FORM:
            begun = begin_callback(call, now)
        else:
            state = await unit.snapshot(portal.member_id, "pbx_state")
            asked_at = press.pressed_at
            refusal = why_not(portal, press.origin, press.number, press.extension, asked_at, now, state)
            begun = begin(call, refusal, now)
        await self._commit(unit, portal, begun, now, correlation_id)
        return begun.call

    async def call_now(
        self, unit: Unit, portal: Portal, entry: Intent, by: int, now: float, correlation_id: str = ""
    ) -> Call:
        """A person wants the entry called at once. Raises `Wrong` with the reason."""
        entries.check_idle(entry)
        user = entry.agent if entry.agent is not None else by
        agents = await self._agents(unit, portal)
        if extension_of(user, agents, portal.settings) is None:
            raise Wrong(
                "NO_EXTENSION",
                mark("No PBX extension belongs to this employee, so there is no phone to ring."),
            )
        press = replace(_press_of(entry, Origin.LIST, user, now), asked_by=by)
        return await self.press(unit, portal, press, now, correlation_id)

    async def due(self, unit: Unit, portal: Portal, wake: DueWake, now: float) -> int:
        """A timer of an entry of the list came. The number of jobs added."""
        entry = await unit.intent(wake.portal, wake.lane.removeprefix(LANE))
        if entry is None or not entry.is_open:
            return 0
        if wake.reason != REDIAL:
            return await self.list.overdue(unit, portal, entry, now)
        if entry.state is not JobState.RETRYING:
            return 0
        if not portal.works:  # nothing of the portal is delivered now: this try would fail for nothing
            await self.list.replan(unit, replace(entry, due_at=now + PORTAL_LATER))
            return 0
        if await self.list.put_off(unit, portal, entry, now):
            return 0
        if await self._rings_already(unit, entry, now):
            await self.list.replan(unit, replace(entry, due_at=now + JOINED_AGAIN))
            return 0
        call = await self.press(unit, portal, _press_of(entry, Origin.RULE, entry.agent, now), now)
        memory = Snapshot(f"{REDIAL}:{entry.agent}", now, ({"call": call.id},))
        await unit.save_snapshot(portal.member_id, memory)
        left = await unit.intent(wake.portal, entry.id)
        if left is not None and left.state is JobState.RETRYING and left.due_at == entry.due_at:
            # another call to the client goes on just now: its end decides
            await self.list.replan(unit, replace(left, due_at=now + JOINED_AGAIN))
        return 1

    async def _rings_already(self, unit: Unit, entry: Intent, now: float) -> bool:
        """Whether the agent has the last call that the list began by itself still on his phone: what was put
        off to the same opening hour comes one after the other.
        """
        last = await unit.snapshot(entry.portal, f"{REDIAL}:{entry.agent}")
        call = await unit.call(entry.portal, str(last.items[0].get("call"))) if last and last.items else None
        fresh = last is not None and now - last.taken_at < TALKS_AT_MOST
        return fresh and call is not None and call.is_live

    def _call(self, portal: Portal, press: Press, now: float) -> Call:
        reading = read_number(press.number, portal.settings.country)
        given = press.bitrix_call_id is not None
        state, by = DialState.ASKED, press.user_id
        mine = (press.user_id,) if given and press.user_id is not None else ()
        return Call(
            id=self._make_id(now),
            portal=portal.member_id,
            first_seen_at=now,
            direction=Direction.OUT,
            number=reading.e164 or (f"+{reading.digits}" if reading.callable and reading.digits else None),
            raw_number=press.number,
            line=press.line,
            bitrix_call_id=press.bitrix_call_id,
            given_id=given,
            register_owed=given,
            register_extension=press.extension,
            user_id=press.user_id,
            crm_type=press.crm_type,
            crm_id=press.crm_id,
            shown=(press.extension,) if given and press.extension else (),
            shown_users=mine,
            carded=(press.extension,) if given and press.extension else (),
            carded_users=mine,
            callback=press.origin is Origin.FORM,
            text=press.text,
            dial=Dialling(state, press.origin, press.pressed_at, press.extension, by, press.intent),
        )

    async def _goes_on(self, unit: Unit, call: Call, press: Press, now: float) -> Call | None:
        """The call that this press means already: the same client and phone, asked for and not over."""
        if not call.number:
            return None
        for other in await unit.calls_of_client(call.portal, call.number, now - JOIN_WITHIN):
            if other.dial is None or not other.is_live or other.number != call.number:
                continue
            rings = other.dial.state is DialState.RANG and now - other.dial.asked_at <= JOIN_RANG
            if not (rings or other.dial.state in OPEN):
                continue
            if press.origin is Origin.FORM and other.callback:
                return other
            if press.extension is not None and other.dial.extension == press.extension:
                return other
        return None

    async def _entry_for(self, unit: Unit, portal: Portal, call: Call, press: Press) -> Intent | None:
        """The open entry that this call is a try of."""
        if press.intent is not None:
            return await unit.intent(portal.member_id, press.intent)
        return await self.list.start_of(unit, call, press.user_id)

    async def _agents(self, unit: Unit, portal: Portal) -> list[Agent]:
        snapshot = await unit.snapshot(portal.member_id, "agents")
        return [Agent(**item) for item in snapshot.items] if snapshot else []


def _pressed_anew(known: Call, press: Press) -> bool:
    """Whether the agent presses again because the first start failed, before Bitrix24 heard of that."""
    dial = known.dial
    over = dial is not None and dial.state in (DialState.FAILED, DialState.UNTRACED)
    return over and dial is not None and press.pressed_at > dial.asked_at


def _asker(press: Press) -> int | None:
    """The person for an entry's history; nobody when the list calls by itself."""
    if press.origin is Origin.RULE:
        return None
    return press.user_id if press.asked_by is None else press.asked_by


def _press_of(entry: Intent, origin: Origin, user_id: int | None, now: float) -> Press:
    return Press(
        origin,
        entry.number,
        user_id,
        now,
        line=entry.line,
        crm_type=entry.crm_type,
        crm_id=entry.crm_id,
        intent=entry.id,
    )
