"""The entries of the retry list: what calls, time and people do to them, inside one transaction.

The rules of one entry are `core.intent`'s; here stands whom it concerns, when it is due and who is told.
Whoever calls awaits only the unit.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from bitrix_app.core import intent as entries
from bitrix_app.core.call import Call
from bitrix_app.core.commands import Notify, Priority
from bitrix_app.core.correlate import LIVE_SPAN, SAME_START
from bitrix_app.core.dial import Origin
from bitrix_app.core.dialling import start_notice
from bitrix_app.core.hours import LOOK, after_open, all_open
from bitrix_app.core.intent import Act, Intent, Kind
from bitrix_app.core.jobs import JobState
from bitrix_app.core.news import Given, Missed, News, Rang, Spoke, StartFailed, Unreached
from bitrix_app.core.outcome import Outcome
from bitrix_app.core.portal import Portal
from bitrix_app.core.store import Unit
from bitrix_app.core.transition import Owed
from bitrix_app.permits import decent_hours, working_hours
from bitrix_app.words import mark

LANE: Final = "intent:"
REDIAL: Final = "redial"
OVERDUE: Final = "overdue"
TIMERS: Final = (REDIAL, OVERDUE)
JOINED_AGAIN: Final = 60.0
"""Seconds after which a try by itself looks again, when another call to the client was going on."""


NEVER_OPEN: Final = (LOOK - 1) * 86_400.0
"""A time that is so far away was not found: the portal's hours and the client's never meet."""


def over_at(call: Call) -> float:
    """When a conversation was over, by the PBX's own times; when we heard of it proves nothing."""
    if call.full_seconds is None and call.started_at is not None:
        return call.started_at + (call.talk_seconds or 0)
    return call.ended_at if call.ended_at is not None else call.start


def lane_of(entry: Intent) -> str:
    return LANE + entry.id


class RetryList:
    """See the module."""

    async def hear(self, unit: Unit, portal: Portal, call: Call, news: News, now: float) -> None:
        """What a call tells (design.md §5)."""
        match news:
            case StartFailed():
                await self._start_failed(unit, portal, call, news, now)
            case Rang():
                await self._settle(unit, call, now, spoke=False)
            case Spoke():
                await self._settle(unit, call, now, spoke=True)
            case Unreached():
                await self._unreached(unit, portal, call, now)
            case Missed():
                await self._missed(unit, portal, call, now)
            case Given():
                await self._given(unit, call, news.user_id, now)

    async def replan(self, unit: Unit, entry: Intent) -> None:
        """Store an entry and set its timers by what it is now."""
        await unit.save_intent(entry)
        wakes: dict[str, float] = {}
        if entry.due_at is not None and entry.state is JobState.RETRYING:
            wakes[REDIAL] = entry.due_at
        if entry.due_at is not None and entry.state is JobState.WAITING:
            wakes[OVERDUE] = entry.due_at
        gone = [reason for reason in TIMERS if reason not in wakes]
        await unit.move_wakes(entry.portal, lane_of(entry), wakes, gone)

    async def overdue(self, unit: Unit, portal: Portal, entry: Intent, now: float) -> int:
        """Nobody called in time: anybody may now, then a manager has to look. The number of jobs added."""
        level = entry.escalation + 1
        later = entries.overdue(entry, now, self._due(portal, now) if level == 1 else None)
        if later is entry:
            return 0
        await self.replan(unit, later)
        if level == 1:
            people: tuple[int | None, ...] = (entry.agent,) if entry.agent is not None else ()
            text = mark(
                f"The client {entry.number} called and was not called back in time. Anybody may call now."
            )
        else:
            people = portal.settings.managers or (None,)
            text = mark(
                f"The client {entry.number} called and nobody has called back. A manager has to look."
            )
        owed = [
            Owed(
                f"notify:overdue:{level}:{user or 'admins'}",
                Notify(tag=f"overdue:{entry.id}:{level}", message=text, user_id=user),
                Priority.CRM,
            )
            for user in people
        ]
        return await unit.owe(portal.member_id, lane_of(entry), owed, now)

    async def put_off(self, unit: Unit, portal: Portal, entry: Intent, now: float) -> bool:
        """Whether a try by itself must wait: the hours changed, or we slept through them."""
        at = all_open(decent_hours(portal.settings, entry.number), now)
        if at > now:
            await self.replan(unit, replace(entry, due_at=at))
        return at > now

    # --- what calls tell ---------------------------------------------------------------------------

    async def _settle(self, unit: Unit, call: Call, now: float, *, spoke: bool) -> None:
        """A newer call settles what could not be started, a conversation everything (both directions)."""
        number = call.number or call.raw_number
        mine = call.dial.intent if call.dial else None
        found = list(await unit.open_intents_of(call.portal, number)) if number else []
        if mine and all(entry.id != mine for entry in found):  # its number was edited meanwhile
            own = await unit.intent(call.portal, mine)
            found += [own] if own is not None and own.is_open else []
        at = over_at(call) if spoke else call.start
        for entry in found:
            if not spoke and entry.kind is not Kind.CALL_START:
                continue
            # a start is wanted by our clock, and the PBX's need not agree to the second
            slack = SAME_START if entry.kind is Kind.CALL_START else 0.0
            if entry.id == mine or at >= entry.since - slack:
                await self.replan(unit, entries.settled(entry, call.id, now))

    async def _start_failed(
        self, unit: Unit, portal: Portal, call: Call, news: StartFailed, now: float
    ) -> None:
        dial = call.dial
        if dial is None:
            return
        entry = await unit.intent(portal.member_id, dial.intent) if dial.intent else None
        if entry is None and dial.intent is None and (entry := await self.start_of(unit, call, dial.by)):
            entry = entries.tried(entry, call.id, now, dial.by)  # a callback form's: it had nobody before
        if entry is None:
            entry = Intent(
                id=call.id,
                portal=portal.member_id,
                kind=Kind.CALL_START,
                state=JobState.RUNNING,
                number=call.number or call.raw_number or "",
                created_at=now,
                updated_at=now,
                agent=dial.by,
                line=call.line,
                crm_type=call.crm_type,
                crm_id=call.crm_id,
                calls=(call.id,),
                attempts=1,
                since=dial.asked_at,
                text=call.text or "",
            )
            entry = entries.noted(entry, now, Act.LISTED, dial.by)
        if not entry.is_open:
            return
        if entry.state is JobState.RUNNING and call.id in entry.calls[:-1]:
            # a later try goes on: what becomes of that one counts
            await self.replan(unit, entries.noted(entry, now, Act.FAILED, None, news.failure.code))
            return
        if entry.kind is Kind.MISSED:  # still a client to be called back
            back = entries.not_reached(
                entry, news.failure, now, certain=news.certain, due_at=self._due(portal, now)
            )
            await self.replan(unit, back)
            return
        next_at = None
        pause = entries.may_repeat(entry, news.failure, certain=news.certain)
        if pause is not None and portal.settings.repeat_starts and entry.agent is not None:
            next_at = all_open(decent_hours(portal.settings, entry.number), now + pause)
            if next_at - now >= NEVER_OPEN:  # a person has to choose a time
                next_at = None
        await self.replan(
            unit, entries.failed(entry, news.failure, now, certain=news.certain, next_at=next_at)
        )
        if dial.origin is Origin.RULE and next_at is None and dial.by is not None:
            # the tries between were nobody's business; the last one is
            told = Owed("notify:start", start_notice(call, news.failure, dial.by), Priority.FINISH)
            await unit.owe(portal.member_id, lane_of(entry), (told,), now)

    async def start_of(self, unit: Unit, call: Call, agent: int | None) -> Intent | None:
        """The open entry of this client and this agent whose start this call is a try of."""
        number = call.number or call.raw_number or ""
        if not any(c.isdigit() for c in number):
            return None
        for entry in await unit.open_intents_of(call.portal, number):
            if entry.kind is Kind.CALL_START and entry.agent == agent:
                return entry
        return None

    async def _unreached(self, unit: Unit, portal: Portal, call: Call, now: float) -> None:
        mine = call.dial.intent if call.dial else None
        entry = await unit.intent(portal.member_id, mine) if mine else None
        if entry is not None and entry.is_open and entry.kind is Kind.MISSED:
            due = self._due(portal, now)
            await self.replan(unit, entries.not_reached(entry, None, now, certain=True, due_at=due))

    async def _missed(self, unit: Unit, portal: Portal, call: Call, now: float) -> None:
        number = call.number
        if not portal.settings.missed_callbacks or number is None:
            return
        for other in await unit.calls_of_client(portal.member_id, number, call.start - LIVE_SPAN):
            if other.id != call.id and other.outcome is Outcome.ANSWERED and over_at(other) >= call.start:
                return  # the report came after somebody had talked with the client
        for entry in await unit.open_intents_of(portal.member_id, number):
            if entry.kind is Kind.MISSED:
                await unit.save_intent(entries.missed_again(entry, call.id, call.start, now))
                return
        entry = Intent(
            id=call.id,
            portal=portal.member_id,
            kind=Kind.MISSED,
            state=JobState.WAITING,
            number=number,
            created_at=now,
            updated_at=now,
            line=call.line,
            crm_type=call.crm_type,
            crm_id=call.crm_id,
            calls=(call.id,),
            due_at=self._due(portal, now),
            since=call.start,
            missed=1,
        )
        await self.replan(unit, entries.noted(entry, now, Act.LISTED))

    async def _given(self, unit: Unit, call: Call, user_id: int, now: float) -> None:
        number = call.number or call.raw_number
        for entry in await unit.open_intents_of(call.portal, number) if number else ():
            if entry.kind is Kind.MISSED and call.id in entry.calls:
                record = (call.crm_type or entry.crm_type, call.crm_id or entry.crm_id)
                known = replace(entry, crm_type=record[0], crm_id=record[1])
                await unit.save_intent(entries.given(known, user_id, now))

    def _due(self, portal: Portal, now: float) -> float:
        settings = portal.settings
        return after_open(working_hours(settings), now, settings.callback_minutes * 60.0)
