"""Call starts on a clock by hand: the real store, intake, desk and settling; a PBX whose truth is known.

A schedule decides what happens between any two transactions: answers that are lost, webhooks that are late,
twice or lost, rows that the history has or has not, presses, and a process that dies with work in its hands.
"""

from __future__ import annotations

import json
import random
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from typing import Any, Final, cast
from zoneinfo import ZoneInfo

from bitrix_app.core import cards
from bitrix_app.core.call import Call
from bitrix_app.core.commands import Hide, Notify
from bitrix_app.core.dial import OPEN, DialState, Origin
from bitrix_app.core.errors import AnswerLost, Forbidden, NotSent, Refused, Trouble, Unavailable
from bitrix_app.core.events import CardsHidden, Done, Finished, Registered
from bitrix_app.core.intent import Intent, Wrong
from bitrix_app.core.intent_store import IntentFilter
from bitrix_app.core.jobs import Job, JobState, Moot
from bitrix_app.core.portal import Agent, Portal, PortalSettings, PortalState, Snapshot
from bitrix_app.core.store import DueWake, Store, Unit
from bitrix_app.desk import Desk, Press
from bitrix_app.directory import Directory
from bitrix_app.hearing import Calls, Hearers
from bitrix_app.intake import Intake, uninstall
from bitrix_app.lanes import PortalLanes
from bitrix_app.outbox import Outbox
from bitrix_app.owners import Owners
from bitrix_app.retry_list import LANE
from bitrix_app.starting import Starting
from tests.house.making import LINE, NOW, portal
from unitalk.client import Origin as LogOrigin
from unitalk.client import UnitalkClient

ZONE: Final = "Europe/Kyiv"
AGENTS: Final = {7: "2001", 8: "2002"}
CLIENTS: Final = ("380440000011", "380671234567")
NEVER: Final = 1e12


@dataclass(frozen=True)
class Fate:
    """What becomes of one call of the PBX and of the news of it."""

    after: float = 1.0
    """Seconds from the asking to the ring."""
    seconds: int = 20
    talks: bool = True
    lateness: tuple[float, float, float] = (0.5, 0.5, 0.5)
    """Seconds by which NEW, ANSWER and END are late."""
    lost: tuple[bool, bool, bool] = (False, False, False)
    twice: tuple[bool, bool, bool] = (False, False, False)
    meta: tuple[bool, bool, bool] = (True, True, True)
    """Which of the webhooks carry our meta."""
    row_after: float = 5.0
    """Seconds from the end to the row in the history; `NEVER` for none."""
    row_meta: bool = True
    row_id: bool = False
    """Whether the history repeats the lasting id where webhooks have the live one."""
    inner_leg: bool = False
    """Whether the leg to the agent's own phone is told as an inner call with the same meta."""
    behind: float = 0.0
    """Seconds by which the PBX's clock is behind ours."""


@dataclass
class Truth:
    """One call that the PBX really made."""

    id: str
    dbid: str
    extension: str
    number: str
    at: float
    fate: Fate
    meta: str | None = None
    incoming: bool = False
    told: bool = False
    """Whether a webhook of it reached us."""

    @property
    def ends(self) -> float:
        return self.at + self.fate.seconds

    def body(self, step: int, *, meta: bool) -> dict[str, Any]:
        fields: dict[str, Any] = {
            "id": self.id,
            "outerNumber": LINE,
            "direction": "IN" if self.incoming else "OUT",
            "date": f"{datetime.fromtimestamp(self.at - self.fate.behind, ZoneInfo(ZONE)):%Y-%m-%d %H:%M:%S}",
            "from": self.number if self.incoming else self.extension,
            "to": ([self.extension] if self.fate.talks else []) if self.incoming else [self.number],
        }
        if meta and self.meta:
            fields["meta"] = self.meta
        if step == 2:
            talk = self.fate.seconds - 5 if self.fate.talks else 0
            state = "ANSWER" if self.fate.talks else "NOANSWER"
            fields.update(dbid=self.dbid, state=state, secondsTalk=talk)
            fields.update(secondsFullTime=self.fate.seconds)
        return fields


@dataclass
class Clock:
    """A clock that only the schedule moves."""

    at: float = NOW

    def now(self) -> float:
        return self.at

    def monotonic(self) -> float:
        return self.at

    async def sleep(self, seconds: float) -> None:
        raise AssertionError(f"nobody may wait here, yet somebody wants {seconds} s")


class Pbx:
    """The vendor, by script: how it answers the next asking, and what it truly does."""

    def __init__(self, clock: Clock, fates: list[Fate]) -> None:
        self.clock = clock
        self.fates = fates
        self.calls: list[Truth] = []
        self.asked: list[tuple[float, str]] = []
        """(instant, our call's id) of each asking, whatever came of it."""
        self.mode = "yes"
        self.deaf = False
        """Whether the history cannot be read."""
        self.was_deaf = False
        self.posts: list[tuple[float, int, dict[str, Any], Truth]] = []
        """(due, number, body, call) of webhooks on their way."""
        self._posted = 0

    def rings(self, meta: str) -> int:
        return sum(one.meta == meta and not one.incoming for one in self.calls)

    def make(self, extension: str, number: str, at: float, meta: str | None, *, incoming: bool) -> Truth:
        fate = self.fates[len(self.calls) % len(self.fates)]
        place = len(self.calls) + 1
        held = [one.ends for one in self.calls if one.extension == extension and one.ends > at - 10.0]
        at = max(at, *(end + 10.0 for end in held), at)  # a phone makes one call at a time
        call = Truth(f"10{place:05}", f"50{place:05}", extension, number, at, fate, meta, incoming)
        self.calls.append(call)
        if fate.inner_leg and meta:
            self._leg(call)
        instants = (call.at, call.at + 5.0, call.ends)
        for step, name in enumerate(("CALL_NEW", "CALL_ANSWER", "CALL_END")):
            if fate.lost[step] or (step == 1 and not fate.talks):
                continue
            for repeat in range(2 if fate.twice[step] else 1):
                body: dict[str, Any] = {"event": name, "call": call.body(step, meta=fate.meta[step])}
                if repeat:
                    body["again"] = repeat  # another digest: no repeat of the receipt
                self._posted += 1
                due = instants[step] + fate.lateness[step] + repeat * 3.0
                self.posts.append((due, self._posted, body, call))
        return call

    def _leg(self, call: Truth) -> None:
        """The operator's own leg, as a call of its own."""
        for step, name, at in ((0, "CALL_NEW", call.at - 0.1), (2, "CALL_END", call.ends)):
            fields = call.body(step, meta=True) | {"id": f"3{call.id}", "direction": "INNER"}
            fields |= {"to": [call.extension]} | ({"dbid": f"3{call.dbid}"} if step else {})
            self._posted += 1
            self.posts.append((at, self._posted, {"event": name, "call": fields}, call))

    async def direct_call(
        self, key: str, line: str, number: str, meta: str | None = None, origin: LogOrigin | None = None
    ) -> None:
        now = self.clock.now()
        assert meta is not None
        self.asked.append((now, meta))
        fate = self.fates[len(self.calls) % len(self.fates)]
        match self.mode:
            case "refused":
                raise Refused("The line is offline", code="UNITALK_REFUSED")
            case "not sent":
                raise NotSent("no route")
            case "key":
                raise Forbidden("no", code="AUTHORIZATION_INVALID")
            case "lost, not done":
                raise AnswerLost("the answer is lost")
        late = 150.0 if self.mode == "lost, done late" else 0.0
        self.make(line, number.lstrip("+"), now + fate.after + late, meta, incoming=False)
        if self.mode.startswith("lost"):
            raise AnswerLost("the answer is lost")

    async def history(
        self, key: str, begin: float, end: float, zone: str, origin: LogOrigin | None = None
    ) -> AsyncIterator[dict[str, Any]]:
        if self.deaf:
            self.was_deaf = True
            raise Unavailable("the PBX does not answer")
        for call in reversed(self.calls):
            if begin - 1 <= call.at <= end and self.clock.now() >= call.ends + call.fate.row_after:
                row = call.body(2, meta=call.fate.row_meta)
                yield row | {"id": call.dbid} if call.fate.row_id else row


class People:
    """Directory and owners for callbacks: nobody is known, so the rule decides."""

    async def agents(self, member_id: str) -> list[Agent]:
        return [Agent(user, f"Agent {user}", extension) for user, extension in AGENTS.items()]

    async def works(self, portal: Portal, user: int) -> bool:
        return True

    async def clients(self, portal: Portal, call: Call, priority: object) -> list[Any]:
        return []


class World:
    """Everything that a schedule acts upon."""

    def __init__(self, store: Store, member: str, fates: list[Fate]) -> None:
        self.store = store
        self.member = member
        self.clock = Clock()
        self.pbx = Pbx(self.clock, fates)
        self.ids = 0
        self.clicks: list[str] = []
        self.finished: set[str] = set()
        self.hidden: set[str] = set()
        self.notices: list[tuple[int | None, str]] = []
        self.flying: list[tuple[Job, Any]] = []
        self.pressed: list[tuple[float, Call, bool]] = []
        """(instant, the call, whether it was joined to one that goes on) of each press of a person."""
        self.presses = 0
        self.down_until = 0.0
        self.log: list[str] = []

    async def begin(self) -> None:
        settings = PortalSettings(drive=False, layout=False, default_user=7, client_hours="00:00-24:00")
        known = portal(member_id=self.member, unitalk_key="a key of many letters", settings=settings)
        await self.store.transact(lambda unit: unit.save_portal(known))
        people = tuple(asdict(one) for one in await People().agents(self.member))
        await self.store.save_snapshot(self.member, Snapshot("agents", NOW, people))
        self.live()

    def live(self) -> None:
        """A new process on the same store."""
        people = People()
        self.desk = Desk(self._make_id)
        self.starting = Starting(
            self.store,
            self.clock,
            cast(UnitalkClient, self.pbx),
            cast(Directory, people),
            cast(Owners, people),
        )
        self.intake = Intake(
            self.store, self.clock, lambda _: None, lambda _: None, self._make_id, desk=self.desk
        )
        self.lanes = PortalLanes(
            self.member,
            self.store,
            cast(Outbox, None),
            self.clock,
            random.Random(1),
            Hearers(Calls(self.desk)),
        )

    def _make_id(self, now: float) -> str:
        self.ids += 1
        return f"{int(now * 1000):011x}{self.ids:016x}"

    @property
    def now(self) -> float:
        return self.clock.at

    async def portal(self) -> Portal:
        known = await self.store.portal(self.member)
        assert known is not None
        return known

    # --- people ------------------------------------------------------------------------------------

    async def press(self, agent: int, number: str, *, click: bool) -> Call:
        self.presses += 1
        click_id = f"click.{self.presses}" if click else None
        if click_id:
            self.clicks.append(click_id)
        wish = Press(
            Origin.CLICK if click else Origin.PAGE,
            f"+{number}",
            agent,
            self.now,
            bitrix_call_id=click_id,
        )
        known, going = await self.portal(), await self._going(agent, number)
        before = len(await self.calls())
        call = await self.store.transact(lambda unit: self.desk.press(unit, known, wish, self.now))
        assert call.dial is not None
        joined = call.dial.state is DialState.JOINED or len(await self.calls()) == before
        assert joined == bool(going), f"pressed while {going} went on: {call.dial}"
        self.pressed.append((self.now, call, joined))
        return call

    async def _going(self, agent: int, number: str) -> list[str]:
        return [
            call.id
            for call in await self.calls()
            if call.dial
            and call.is_live
            and call.number == f"+{number}"
            and call.dial.extension == AGENTS[agent]
            and (
                call.dial.state in OPEN
                or (call.dial.state is DialState.RANG and self.now - call.dial.asked_at <= 180.0)
            )
        ]

    async def call_now(self, place: int, by: int) -> None:
        open_ = [entry for entry in await self.entries() if entry.is_open]
        if not open_:
            return
        entry, known = open_[place % len(open_)], await self.portal()
        before = len(await self.calls())
        try:
            call = await self.store.transact(
                lambda unit: self.desk.call_now(unit, known, entry, by, self.now)
            )
        except Wrong as wrong:
            if wrong.code != "RUNNING":
                raise
            return
        self.pressed.append((self.now, call, len(await self.calls()) == before))

    # --- the worker --------------------------------------------------------------------------------

    async def take(self, mode: str) -> bool:
        """Claim one due job and say it; its answer stays in hand."""
        jobs = await self.store.claim(self.member, self.now, 1, self.now + 3600.0)
        if not jobs:
            return False
        self.pbx.mode = mode
        job = jobs[0]
        call = None if ":" in job.lane else await self.store.call(self.member, job.lane)
        result: Any
        try:
            result = await self._deliver(job, call)
        except (Trouble, Moot) as reason:
            result = reason
        self.flying.append((job, result))
        return True

    async def _deliver(self, job: Job, call: Call | None) -> object:
        if job.kind in Starting.kinds:
            return await self.starting.deliver(await self.portal(), job, call)
        match job.command:
            case Notify() as notice:
                self.notices.append((notice.user_id, notice.tag))
                return Done(job.key) if call else None
        assert call is not None
        match job.kind:
            case "register":
                return Registered(f"ours.{call.id}", 7, matched=True)
            case "finish":
                assert call.bitrix_call_id is not None
                self.finished.add(call.bitrix_call_id)
                return Finished(1, "LEAD", 5, call.user_id or 7)
            case "hide":
                assert isinstance(job.command, Hide)
                if call.finished or call.bitrix_call_id is None:
                    raise Moot("Bitrix24 shows no card of this call")
                extensions, users = cards.to_hide(call, job.command)
                if users:
                    self.hidden.add(call.bitrix_call_id)
                return CardsHidden(extensions, users)
            case "show":
                return Done(job.key)
        raise AssertionError(f"nobody expected {job.kind}")

    async def settle(self, place: int) -> None:
        if self.flying:
            job, result = self.flying.pop(place % len(self.flying))
            await self.lanes._settle(await self.portal(), job, result, self.now, 0.0)

    async def work(self, mode: str = "yes") -> None:
        """Everything that is due, said and settled at once."""
        while self.flying:
            await self.settle(0)
        for _ in range(200):
            if not await self.take(mode):
                return
            await self.settle(0)
        raise AssertionError("the work never ends")

    async def crash(self, down: float) -> None:
        """Nothing that was in hand is written down; nobody hears for `down` seconds."""
        self.flying.clear()
        self.down_until = self.now + down
        await self.advance(down)
        self.live()
        await self.store.rescue(float("inf"))

    async def leave(self, seconds: float) -> None:
        """The application is uninstalled, and installed again later."""
        await self.store.transact(self._uninstall)
        await self.advance(seconds)
        known = replace(await self.portal(), state=PortalState.ACTIVE)

        async def back(unit: Unit) -> None:
            await unit.save_portal(known)
            await unit.revive_stopped(self.member, self.now)

        await self.store.transact(back)

    async def _uninstall(self, unit: Unit) -> None:
        known = await unit.portal(self.member)
        assert known is not None
        await uninstall(unit, known, self.now, clean=False)

    # --- time --------------------------------------------------------------------------------------

    async def wakes(self) -> list[DueWake]:
        return [wake for wake in await self.store.due_wakes(NEVER, 100_000) if wake.portal == self.member]

    async def next_thing(self) -> float | None:
        due = [post[0] for post in self.pbx.posts] + [wake.at for wake in await self.wakes()]
        return min(due, default=None)

    async def advance(self, seconds: float, *, work: bool = False, mode: str = "yes") -> None:
        """Let time pass; webhooks and timers come at their time, whatever the worker does."""
        end = self.now + seconds
        while True:
            due = await self.next_thing()
            if due is None or due > end:
                break
            if self.now < self.down_until and due < self.down_until:
                # the process is dead: its timers wait, webhooks find nobody
                self.pbx.posts = [post for post in self.pbx.posts if post[0] >= self.down_until]
                if min((post[0] for post in self.pbx.posts), default=NEVER) > end:
                    break
                self.clock.at = min(end, self.down_until)
                continue
            self.clock.at = max(self.now, due)
            await self._happen()
            if work:
                await self.work(mode)
        self.clock.at = max(self.now, end)

    async def _happen(self) -> None:
        for post in sorted(post for post in self.pbx.posts if post[0] <= self.now):
            self.pbx.posts.remove(post)
            await self.hear(post[2])
            if post[2]["call"]["direction"] != "INNER":
                post[3].told = True
        for wake in await self.wakes():
            if wake.at <= self.now:
                await self.intake.due(wake)

    async def hear(self, body: Mapping[str, Any]) -> None:
        await self.intake.pbx(
            await self.portal(),
            body=json.dumps(body).encode(),
            content_type="application/json",
            query={},
            method="POST",
            correlation_id="",
        )

    async def quiet(self) -> None:
        """Until nothing more can come."""
        self.pbx.deaf = False
        for _ in range(500):
            await self.work()
            due = await self.next_thing()
            soonest = await self._next_job()
            if due is None and soonest is None:
                return
            self.clock.at = max(self.now, min(x for x in (due, soonest) if x is not None))
            await self._happen()
        raise AssertionError("it never becomes quiet")

    async def _next_job(self) -> float | None:
        open_ = (JobState.WAITING, JobState.RETRYING)
        lanes = [call.id for call in await self.calls()]
        jobs = [job for lane in lanes for job in await self.store.lane(self.member, lane)]
        due = [job.due_at for job in jobs if job.state in open_]
        return min(due, default=None)

    # --- looking -----------------------------------------------------------------------------------

    async def calls(self) -> list[Call]:
        return list(await self.store.calls(self.member, limit=1000))

    async def entries(self) -> list[Intent]:
        found: list[Intent] = []
        for state in JobState:
            found += await self.store.intents(self.member, state, IntentFilter(), limit=1000)
        return sorted(found, key=lambda entry: entry.id)

    # --- what must hold ----------------------------------------------------------------------------

    async def check(self) -> None:
        """At every moment: one asking for one wish, and no entry that nobody and nothing moves."""
        asked = [meta for _, meta in self.pbx.asked]
        assert len(asked) == len(set(asked)), "the PBX was asked twice for one wish"
        timers = {(wake.lane, wake.reason): wake.at for wake in await self.wakes()}
        calls = {call.id: call for call in await self.calls()}
        for entry in await self.entries():
            mine = {reason: at for (lane, reason), at in timers.items() if lane == LANE + entry.id}
            match entry.state:
                case JobState.RETRYING:
                    assert mine.keys() == {"redial"}, (entry, mine)
                    assert entry.due_at is not None
                    assert mine["redial"] >= entry.due_at  # later, where the portal was away
                    assert entry.certain, f"by itself, though it may have rang: {entry}"
                case JobState.WAITING:
                    assert mine.keys() == {"overdue"}, (entry, mine)
                    assert entry.due_at is not None
                    assert mine["overdue"] >= entry.due_at
                case JobState.RUNNING:
                    assert mine == {}
                    assert any(calls[one].is_live for one in entry.calls if one in calls), entry
                case JobState.ATTENTION:
                    assert mine == {}
                    assert entry.failure is not None, entry
                case _:
                    assert mine == {}
        await self._check_repeats(calls)

    async def _check_repeats(self, calls: Mapping[str, Call]) -> None:
        """Nothing is asked by itself after anything of the same wish rang or may still ring."""
        asked = {meta: at for at, meta in self.pbx.asked}
        for entry in await self.entries():
            for place, one in enumerate(entry.calls):
                call = calls.get(one)
                if not (call and call.dial and call.dial.origin is Origin.RULE and one in asked):
                    continue
                for earlier in entry.calls[:place]:
                    rang = [t for t in self.pbx.calls if t.meta == earlier and not t.incoming]
                    assert not rang, f"{one} was dialled by itself although {earlier} rang at {rang[0].at}"

    def _traceable(self, truth: Truth, calls: Sequence[Call]) -> bool:
        """Whether the row stood in the history, under our mark, when it was read for the last time."""
        fate, asked = truth.fate, {meta: at for at, meta in self.pbx.asked}
        at = asked.get(truth.meta or "")
        if at is None or not fate.row_meta or self.pbx.was_deaf or truth.at > at + 170.0:
            return False
        if truth.ends + fate.row_after >= at + 3 * 3600.0:
            return False
        # one that was dialled by hand in the same two minutes may have been taken for it
        return not any(call.id == truth.meta and (call.pbx_id or call.pbx_dbid) for call in calls)

    async def check_end(self) -> None:
        """When nothing more can come."""
        await self.check()
        calls = await self.calls()
        for truth in self.pbx.calls:
            assert truth.meta is None or self.pbx.rings(truth.meta) == 1, "two rings for one wish"
            found = [call for call in calls if truth.id == call.pbx_id or truth.dbid == call.pbx_dbid]
            assert len(found) <= 1, f"one call of the PBX became {len(found)} of ours: {found}"
            assert found or not truth.told, f"nobody wrote the call {truth}"
            assert found or not self._traceable(truth, calls), (
                f"the history has it, and nobody found it: {truth}"
            )
            for call in found:
                assert call.pbx_id in (None, truth.id), "two calls of the PBX became one of ours"
                assert call.pbx_dbid in (None, truth.dbid), "two calls of the PBX became one of ours"
        for call in calls:
            assert call.skipped or not call.is_live, f"it never ended: {call}"
            if call.bitrix_call_id in self.clicks and not (call.dial and call.dial.state is DialState.JOINED):
                assert call.bitrix_call_id in self.finished, f"a card stayed open: {call}"
            if call.dial and call.dial.state is DialState.JOINED:
                assert call.bitrix_call_id not in self.finished, "two records of one conversation"
                assert call.bitrix_call_id in self.hidden, f"a joined card was not hidden: {call}"
            if call.register_owed and not call.given_id:
                assert call.bitrix_call_id in self.finished, f"registered and never finished: {call}"
        assert set(self.clicks) == {c.bitrix_call_id for c in calls if c.given_id}, "a click was lost"
        for entry in await self.entries():
            assert entry.state in (JobState.DONE, JobState.ATTENTION), entry
        decided = {call.id for _, call, joined in self.pressed if not joined}
        by_rule = {c.id for c in calls if c.dial and c.dial.origin is Origin.RULE}
        assert {meta for _, meta in self.pbx.asked} <= decided | by_rule, "nobody wanted this call"
