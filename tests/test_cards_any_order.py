"""Whatever the order of reports, answers, lost answers and timers: a talk's card is the talker's alone, and
in the end nobody's card is open, whether or not Finish ever comes through (design.md §5).

The real transitions and the real requests of `bitrix_app.cards`; the portal's screens are a set.
"""

from __future__ import annotations

import heapq
from collections.abc import Coroutine, Sequence
from dataclasses import replace
from typing import Any, TypeVar, cast

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bitrix_app.cards import Cards, card_request
from bitrix_app.core.advance import advance
from bitrix_app.core.call import pack, unpack
from bitrix_app.core.commands import FindResponsible, Finish, Hide, Register, Show
from bitrix_app.core.events import CallEvent, Done, Due, Finished, GivenUp, Registered, Step
from bitrix_app.core.jobs import Job, JobState, Moot
from bitrix_app.core.lifecycle import IllegalMove
from bitrix_app.core.transition import Owed
from tests.core.calls import NOW, RULES, ended, new_call, report
from tests.house.making import job, portal

T = TypeVar("T")
USERS = {"2001": 11, "2002": 12, "2003": 13}
"""2099 has no user; whoever has none falls to the default user."""
DEFAULT, RESPONSIBLE = 1, 13
CALL_ID = "externalCall.1"
CARDS = (Register, Show, Hide, FindResponsible, Finish)
KNOWN: dict[str, Any] = {"crm_type": "CONTACT", "crm_id": 7}


class Directory:
    async def users_of(self, _portal: Any, extensions: Sequence[str]) -> list[int]:
        return [USERS[x] for x in extensions if x in USERS]


class Owners:
    async def responsible(self, *_: Any) -> int:
        return RESPONSIBLE


def at_once(work: Coroutine[Any, Any, T]) -> T:
    try:
        work.send(None)
    except StopIteration as end:
        return cast(T, end.value)
    raise AssertionError("nothing here has to wait")


class Screens:
    """A portal, a lane of jobs and the timers of one call."""

    def __init__(self, *, finishes: bool = True, known: bool = True) -> None:
        self.call = new_call()
        self.now = NOW
        self.open: set[int] = set()
        self.finishes = finishes
        self.known = known
        self.finished = False
        self.owed: dict[str, Owed] = {}
        self.jobs: dict[str, Job] = {}
        self.wakes: dict[str, float] = {}
        self.landings: list[tuple[float, int, tuple[int, ...]]] = []
        self.rooms = Cards(*cast(Any, (None, None, Directory(), Owners(), None)))

    # --- what happens -----------------------------------------------------------------------------

    def tell(self, event: CallEvent) -> None:
        try:
            went = advance(self.call, event, self.now, RULES)
        except IllegalMove:
            return
        self.call = unpack(pack(went.call))
        for kind in went.cancel:
            for key, one in list(self.jobs.items()):
                if one.kind == kind and not one.doubt:
                    del self.jobs[key]
        for reason in went.unwake:
            self.wakes.pop(reason, None)
        self.wakes |= {wake.reason: wake.at for wake in went.wakes}
        for owed in went.owed:
            if isinstance(owed.command, CARDS) and owed.key not in self.owed:
                self.owed[owed.key] = owed
                self.jobs[owed.key] = job(owed.command, key=owed.key, state=JobState.WAITING)

    def pass_time(self, seconds: float, *, work: bool = True) -> None:
        """Timers and late effects as they come round; the worker works in between, or is away."""
        until = self.now + seconds
        while True:
            if work:
                self.work()
            reason = min(self.wakes, key=self.wakes.__getitem__, default=None)
            landing = self.landings[0][0] if self.landings else until + 1
            due = self.wakes[reason] if reason else until + 1
            if min(due, landing) > until:
                break
            self.now = max(self.now, min(due, landing))
            if landing <= due:
                self._open(heapq.heappop(self.landings)[2])
            elif reason:
                del self.wakes[reason]
                self.tell(Due(reason))
        self.now = until

    def work(self) -> None:
        while self.say("done"):
            pass

    def say(self, how: str) -> bool:
        """The first job that may go is said. `lost`: it had its effect. `late`: it will have. `refused`:
        it is given up without one."""
        for key in list(self.jobs):
            owed, one = self.owed[key], self.jobs[key]
            if owed.expires_at is not None and self.now >= owed.expires_at:
                del self.jobs[key]
            elif not any(need in self.jobs for need in owed.needs) and self._may(one):
                self._say(key, one, how)
                return True
        return False

    def _may(self, one: Job) -> bool:
        if one.kind != Finish.kind:
            return True
        doubt = self.call.register_doubted_at
        return self.finishes and (doubt is None or self.now >= doubt + 60)

    def _say(self, key: str, one: Job, how: str) -> None:
        if one.kind == Register.kind:
            self._register(key, one, how)
            return
        if one.kind == Finish.kind:
            del self.jobs[key]
            self.finished = True
            self.open.clear()
            self.tell(Finished(activity_id=9, **KNOWN))
            return
        if one.kind == FindResponsible.kind:
            del self.jobs[key]
            try:
                self.tell(cast(CallEvent, at_once(self.rooms.deliver(portal(), one, self.call))))
                return
            except Moot:
                return
        try:
            request, told = at_once(card_request(cast(Any, Directory()), portal(), one, self.call))
        except Moot:
            del self.jobs[key]
            return
        if how == "refused":
            del self.jobs[key]
            self.tell(GivenUp(one.kind, key, "X", "refused"))
            return
        users = tuple(request.params["USER_ID"]) if request else ()
        if one.kind == Hide.kind:
            self.open -= set(users)
            if how == "lost":
                self._doubt(key, one)
                return
        elif how == "late":
            heapq.heappush(self.landings, (self.now + 59, len(self.landings), users))
            self._doubt(key, one)
            return
        else:
            self._open(users)
            if how == "lost":
                self._doubt(key, one)
                return
        del self.jobs[key]
        if isinstance(told, Done):
            told = replace(told, doubted_at=one.doubted_at)
        self.tell(told)

    def _register(self, key: str, one: Job, how: str) -> None:
        command = one.command
        assert isinstance(command, Register)
        user = USERS.get(command.extension or "", DEFAULT)
        if command.show and self.call.is_live:
            if how == "late":
                heapq.heappush(self.landings, (self.now + 59, len(self.landings), (user,)))
                self._doubt(key, one)
                return
            self._open((user,))
        if how == "lost":
            self._doubt(key, one)
            return
        del self.jobs[key]
        crm = KNOWN if self.known else {}
        self.tell(Registered(CALL_ID, user, command.extension, doubted_at=one.doubted_at, **crm))

    def _doubt(self, key: str, one: Job) -> None:
        """It is tried again, after whatever is owed by then."""
        del self.jobs[key]
        self.jobs[key] = replace(one, doubt=True, doubted_at=self.now)

    def _open(self, users: tuple[int, ...]) -> None:
        if not self.finished:
            self.open |= set(users)

    # --- what must be so --------------------------------------------------------------------------

    def settle(self) -> None:
        """Long enough for every timer but the one of a call that never ends."""
        self.pass_time(400)

    def assert_the_talkers_alone(self) -> None:
        talker = self.call.legs[-1].extension
        alone = {USERS[talker]} if talker in USERS else set()
        if talker not in USERS and self.call.register_extension == talker:
            alone = {DEFAULT}  # who stands in for an extension without a user
        assert self.open == alone


LIVE = st.one_of(
    st.just(("new",)),
    st.tuples(st.just("offered"), st.lists(st.sampled_from(["2001", "2002", "2003", "2099"]), max_size=3)),
    st.tuples(st.just("answered"), st.sampled_from(["2001", "2002", "2003", "2099"])),
    st.tuples(st.just("say"), st.sampled_from(["done", "done", "lost", "late", "refused"])),
    st.tuples(st.just("pass"), st.sampled_from([0.5, 4.0, 12.0, 61.0]), st.booleans()),
)


def play(screens: Screens, acts: Sequence[Any]) -> None:
    for act in acts:
        screens.now += 0.1
        match act:
            case ("new",):
                screens.tell(report(Step.NEW))
            case ("offered", extensions):
                screens.tell(report(Step.OFFERED, *extensions))
            case ("answered", extension):
                screens.tell(report(Step.ANSWERED, extension))
            case ("say", how):
                screens.say(how)
            case ("pass", seconds, work):
                screens.pass_time(seconds, work=work)


BEGIN = st.sampled_from(
    [
        [],
        [("new",), ("offered", ["2001", "2002"]), ("pass", 0.5, True)],
        [("new",), ("offered", ["2001", "2002"]), ("say", "done")],
        [("new",), ("pass", 4.0, True), ("offered", ["2003"])],
    ]
)
EVERY = settings(max_examples=400, deadline=None)


@EVERY
@given(
    acts=st.lists(LIVE, max_size=14),
    last=st.sampled_from(["2001", "2002", "2003", "2099"]),
    known=st.booleans(),
    transfer=st.lists(st.sampled_from(["2001", "2002", "2003"]), max_size=2),
    begin=BEGIN,
)
def test_a_talk_has_the_talkers_card_and_no_other(
    begin: list[Any], acts: list[Any], last: str, known: bool, transfer: list[str]
) -> None:
    """`transfer` rings after the last answer and nobody takes it."""
    screens = Screens(known=known)
    play(screens, [*begin, *acts, ("answered", last), ("pass", 12.0, True), ("offered", transfer)])
    screens.settle()
    if "show" in {one.kind for one in screens.jobs.values()}:
        raise AssertionError("a card waits for ever")
    if not _refused(acts):
        screens.assert_the_talkers_alone()
    assert screens.open <= {USERS.get(last, DEFAULT)}


def _refused(acts: list[Any]) -> bool:
    """A Show that was refused or ran out may leave the talker without a card, never others with one."""
    return any(act == ("say", "refused") or (act[0] == "pass" and not act[2]) for act in acts)


@pytest.mark.parametrize("finishes", [True, False])
@EVERY
@given(begin=BEGIN, acts=st.lists(LIVE, max_size=14), after=st.lists(LIVE, max_size=5))
def test_in_the_end_no_card_is_open(
    finishes: bool, begin: list[Any], acts: list[Any], after: list[Any]
) -> None:
    screens = Screens(finishes=finishes)
    play(screens, [*begin, *acts])
    screens.tell(ended("2001"))
    play(screens, after)
    screens.settle()
    assert screens.open == set()
    if finishes:
        assert screens.call.cards_unsure_until is None
        assert "cards" not in screens.wakes


@EVERY
@given(begin=BEGIN, acts=st.lists(LIVE, max_size=14))
def test_a_hide_is_repeated_until_the_portal_takes_it(begin: list[Any], acts: list[Any]) -> None:
    """The portal is away for an hour after the end, and Finish is refused for good."""
    screens = Screens(finishes=False)
    play(screens, [*begin, *acts])
    screens.tell(ended("2001"))
    screens.pass_time(3600, work=False)
    screens.pass_time(2 * 3600)
    assert screens.open == set()


def test_a_lost_show_that_ran_out_before_it_was_tried_again_leaves_nothing() -> None:
    screens = Screens()
    play(screens, [("offered", ["2001", "2002"]), ("say", "done"), ("say", "late"), ("answered", "2001")])
    while screens.jobs.get("hide:1"):
        screens.jobs["show:2002"] = screens.jobs.pop("show:2002")  # throttled: everything else goes first
        screens.say("done")
    screens.pass_time(61, work=False)
    assert screens.open == {11, 12}, "it has landed"
    screens.settle()
    screens.assert_the_talkers_alone()


def test_what_is_asked_of_the_portal_for_one_call_stays_little() -> None:
    screens = Screens()
    play(screens, [("new",), ("offered", ["2001", "2002"]), ("pass", 4.0, True), ("answered", "2002")])
    screens.settle()
    play(screens, [("offered", ["2003"]), ("pass", 4.0, True), ("answered", "2003")])
    screens.settle()
    screens.tell(ended("2003"))
    screens.settle()
    assert list(screens.owed) == [
        "register",
        "show:2002",
        "find_responsible",
        "show:responsible",
        "hide:1",
        "show:2003:1",
        "hide:2",
        "finish",
    ]
