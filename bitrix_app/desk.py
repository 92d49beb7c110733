"""Starts the calls that somebody wants, and moves every call so that the retry list hears of it.

Everything happens inside one transaction of the store; whoever calls awaits only the unit. The rules are
`core.dialling`'s (one call), `core.permit`'s (may it start) and `core.intent`'s (one entry of the list).
"""

from __future__ import annotations

import secrets
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Final

from bitrix_app.core import intent as entries
from bitrix_app.core.advance import advance
from bitrix_app.core.call import Call
from bitrix_app.core.dial import OPEN, Dialling, DialState, Origin
from bitrix_app.core.dialling import begin, begin_callback, join
from bitrix_app.core.events import CallEvent, Direction, Traced
from bitrix_app.core.intent import Intent, Kind, Wrong
from bitrix_app.core.jobs import JobState
from bitrix_app.core.mapping import extension_of
from bitrix_app.core.portal import Agent, Portal
from bitrix_app.core.store import DueWake, Unit
from bitrix_app.core.transition import Transition
from bitrix_app.finding import call_for
from bitrix_app.numbers import read_number
from bitrix_app.permits import why_not
from bitrix_app.retry_list import JOINED_AGAIN, LANE, REDIAL, RetryList
from bitrix_app.words import mark

JOIN_WITHIN: Final = 3 * 3600.0
"""Seconds for which a call that goes on is the one that a second press means."""


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
        self, unit: Unit, portal: Portal, call: Call, event: CallEvent, now: float, correlation_id: str = ""
    ) -> tuple[int, Transition]:
        """Hand the event to the call, store what follows, let the list hear of it. The number of new
        jobs, and the transition. Raises `IllegalMove`.
        """
        transition = advance(call, event, now, portal.rules)
        return await self._commit(unit, portal, transition, now, correlation_id), transition

    async def traced(
        self, unit: Unit, portal: Portal, call: Call, event: Traced, now: float, correlation_id: str = ""
    ) -> None:
        """The history was read for a call that was asked for: what stands there goes the way of a webhook."""
        if event.report is None:
            return
        found = await call_for(unit, portal.member_id, event.report.facts, now, self._make_id, call)
        await self.move(unit, portal, found, event.report, now, correlation_id)

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
            if known is not None:
                return known
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
        if entry.state is not JobState.RETRYING or await self.list.put_off(unit, portal, entry, now):
            return 0
        await self.press(unit, portal, _press_of(entry, Origin.RULE, entry.agent, now), now)
        left = await unit.intent(wake.portal, entry.id)
        if left is not None and left.state is JobState.RETRYING and left.due_at == entry.due_at:
            # another call to the client goes on just now: its end decides
            await self.list.replan(unit, replace(left, due_at=now + JOINED_AGAIN))
        return 1

    def _call(self, portal: Portal, press: Press, now: float) -> Call:
        reading = read_number(press.number, portal.settings.country)
        given = press.bitrix_call_id is not None
        state, by = DialState.ASKED, press.user_id
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
            if press.origin is Origin.FORM and other.callback:
                return other
            same_phone = press.extension is not None and other.dial.extension == press.extension
            if same_phone and other.dial.state in (*OPEN, DialState.RANG):
                return other
        return None

    async def _entry_for(self, unit: Unit, portal: Portal, call: Call, press: Press) -> Intent | None:
        """The open entry that this call is a try of."""
        if press.intent is not None:
            return await unit.intent(portal.member_id, press.intent)
        if not call.number:
            return None
        for entry in await unit.open_intents_of(portal.member_id, call.number):
            if entry.kind is Kind.CALL_START and entry.agent == press.user_id:
                return entry
        return None

    async def _agents(self, unit: Unit, portal: Portal) -> list[Agent]:
        snapshot = await unit.snapshot(portal.member_id, "agents")
        return [Agent(**item) for item in snapshot.items] if snapshot else []


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
