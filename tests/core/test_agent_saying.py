"""How a status gets to the PBX: answers, lost answers, outages, crashes; it always comes right in the end."""

from __future__ import annotations

import json
from dataclasses import dataclass, field, replace
from itertools import pairwise
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from bitrix_app.core import agent_saying as saying
from bitrix_app.core.agent_saying import (
    ALARM,
    ALONE,
    PAUSES,
    SCOUT,
    SLOW,
    Acknowledged,
    Failed,
    due,
    lane_of,
    to_say,
)
from bitrix_app.core.agents import (
    SOURCES,
    AgentStatus,
    Page,
    Want,
    Words,
    chosen,
    is_available,
    pack,
    settled,
    unpack,
)
from bitrix_app.core.commands import Priority, SetStatus
from bitrix_app.core.jobs import JobError

WORDS = Words()
DOWN = JobError("HTTP_502", "server", "Unitalk's server answered with HTTP 502", "", "nobody")


def agent(extension: str = "2001", **known: Any) -> AgentStatus:
    one = settled(AgentStatus("p", extension, 11), SOURCES, WORDS, 0.0, "settings")
    return replace(one, **known)


def acked(extension: str = "2001", at: float = 0.0, **known: Any) -> AgentStatus:
    return saying.acknowledged(agent(extension, **known), Acknowledged("WORK"), WORDS, at)


def fault(word: str = "PAUS", **known: Any) -> Failed:
    return Failed(word, DOWN, **({"undone": False, "refused": False} | known))


def paused(one: AgentStatus, now: float = 1.0) -> AgentStatus:
    return settled(chosen(one, Page.PAUSE, ""), SOURCES, WORDS, now, "user:11")


def failing(
    one: AgentStatus, times: int, *others: AgentStatus, at: float = 100.0, **known: Any
) -> AgentStatus:
    for n in range(times):
        said = saying.saying(one, "PAUS", at + n)
        one = saying.failed(said, fault(**known), others, WORDS, at + n)
    return one


# --- what is said ---------------------------------------------------------------------------------


def test_an_acknowledged_status_is_not_said_again() -> None:
    assert to_say(agent(), WORDS, 1.0) == "WORK"
    assert to_say(acked(), WORDS, 1.0) is None
    assert due(acked(), WORDS, 1.0) == ()
    assert not saying.hurries(acked(), WORDS, 1.0)
    assert saying.hurries(agent(), WORDS, 1.0)
    assert not saying.hurries(replace(agent(), next_at=7.0), WORDS, 1.0), "a failing one has his own time"


def test_the_job_is_one_and_waits_for_the_next_try() -> None:
    (owed,) = due(replace(agent(), next_at=7.0), WORDS, 1.0)
    assert (owed.key, owed.command, owed.priority, owed.not_before) == (
        "status",
        SetStatus("2001"),
        Priority.FINISH,
        7.0,
    )
    assert lane_of("2001") == "agent:2001"


def test_other_words_of_the_settings_are_said_though_the_old_ones_were_taken() -> None:
    assert to_say(acked(), Words("READY", "PAUS"), 1.0) == "READY"


def test_a_wish_that_came_and_went_unsaid_says_nothing() -> None:
    one = settled(chosen(paused(acked()), Page.AVAILABLE, ""), SOURCES, WORDS, 2.0, "user:11")
    assert to_say(one, WORDS, 2.0) is None


def test_after_a_lost_answer_even_the_old_status_is_said_again() -> None:
    one = failing(paused(acked()), 1)
    one = settled(chosen(one, Page.AVAILABLE, ""), SOURCES, WORDS, 101.0, "user:11")
    assert one.acknowledged == "WORK"
    assert to_say(one, WORDS, 101.0) == "WORK"
    assert not is_available(one, WORDS)


def test_a_request_that_never_left_casts_no_doubt() -> None:
    one = failing(paused(acked()), 1, undone=True)
    one = settled(chosen(one, Page.AVAILABLE, ""), SOURCES, WORDS, 101.0, "user:11")
    assert to_say(one, WORDS, 101.0) is None
    healed = saying.unneeded(one, WORDS, 101.0)
    assert (healed.error, healed.tries, healed.next_at) == (None, 0, None)
    assert is_available(healed, WORDS)


def test_a_request_that_never_left_does_not_take_an_older_doubt_away() -> None:
    one = failing(paused(acked()), 1)
    one = failing(one, 1, undone=True, fresh=False, at=105.0)
    assert one.doubtful == ("PAUS",)


def test_another_word_that_may_land_late_is_answered_by_saying_it_once_more() -> None:
    one = failing(paused(acked()), 1, at=100.0)
    one = settled(chosen(one, Page.AVAILABLE, ""), SOURCES, WORDS, 101.0, "user:11")
    one = saying.acknowledged(saying.saying(one, "WORK", 102.0), Acknowledged("WORK"), WORDS, 103.0)
    assert one.confirm_at == 160.0
    assert not is_available(one, WORDS)
    assert to_say(one, WORDS, 159.0) is None
    assert to_say(one, WORDS, 160.0) == "WORK"
    assert [owed.not_before for owed in due(one, WORDS, 103.0)] == [160.0]
    one = saying.acknowledged(saying.saying(one, "WORK", 160.0), Acknowledged("WORK"), WORDS, 161.0)
    assert is_available(one, WORDS)


def test_the_same_word_may_land_as_late_as_it_likes() -> None:
    one = failing(paused(acked()), 1)
    one = saying.acknowledged(saying.saying(one, "PAUS", 102.0), Acknowledged("PAUS"), WORDS, 103.0)
    assert one.confirm_at is None
    assert to_say(one, WORDS, 103.0) is None


def test_a_try_that_nobody_came_back_from_counts_as_lost_when_it_is_found() -> None:
    died = saying.saying(paused(acked()), "PAUS", 100.0)
    one = settled(chosen(died, Page.AVAILABLE, ""), SOURCES, WORDS, 500.0, "user:11")
    one = saying.acknowledged(saying.saying(one, "WORK", 500.0), Acknowledged("WORK"), WORDS, 501.0)
    assert one.confirm_at == 560.0


# --- when it is tried again -----------------------------------------------------------------------


def test_an_agent_alone_in_trouble_is_tried_quickly_and_then_ever_more_slowly() -> None:
    one = paused(acked())
    pauses = []
    now = 100.0
    for _ in range(40):
        one = saying.failed(saying.saying(one, "PAUS", now), fault(), (acked("2002"),), WORDS, now)
        assert one.next_at is not None
        pauses.append(one.next_at - now)
        now = one.next_at
    assert pauses[:2] == [PAUSES[0], PAUSES[1]]
    assert pauses[2:5] == [SCOUT] * 3
    assert pauses == sorted(pauses)
    while now < 100.0 + SLOW / saying.GROWTH + SLOW:
        one = saying.failed(one, fault(), (), WORDS, now)
        assert one.next_at is not None
        pauses.append(one.next_at - now)
        now = one.next_at
    assert pauses[-1] == SLOW


def test_while_the_whole_pbx_is_down_it_hears_one_question_at_a_time() -> None:
    team = [paused(acked(f"20{n:02}")) for n in range(20)]
    tries: list[float] = []
    now, end = 100.0, 1000.0
    for n, one in enumerate(team):
        others = [x for x in team if x is not one]
        team[n] = saying.failed(saying.saying(one, "PAUS", now), fault(), others, WORDS, now)
        now += 1.0
    while now < end:
        n = min(range(20), key=lambda n: team[n].next_at or 0.0)
        now = max(now, team[n].next_at or 0.0)
        tries.append(now)
        others = [x for x in team if x is not team[n]]
        team[n] = saying.failed(saying.saying(team[n], "PAUS", now), fault(), others, WORDS, now)
    gaps = [b - a for a, b in pairwise(tries)]
    assert max(gaps[5:]) <= SCOUT, "the end of the outage is met within one pause"
    assert len(tries) <= (end - 100.0) / SCOUT + 25, "and it costs no more than one try in that time"
    assert all(one.out for one in team)


def test_an_agent_whom_the_pbx_fails_while_it_serves_others_is_tried_slowly() -> None:
    one = failing(paused(acked()), 1, acked("2002", at=50.0))
    assert one.wide
    for n in range(ALONE):
        served = acked("2002", at=101.0 + 10 * n)
        one = failing(one, 1, served, at=105.0 + 10 * n)
    assert not one.wide
    one = failing(one, 3, acked("2002", at=131.0), at=140.0)
    assert one.next_at == 142.0 + SLOW


def test_a_refused_agent_is_out_at_once_and_probed_slowly() -> None:
    one = failing(paused(acked()), 1, refused=True, undone=True)
    assert (one.out, one.wide, one.next_at) == (True, False, 100.0 + SLOW)
    assert one.doubtful == ()
    assert one.history[-1].what == "out"


def test_a_refused_key_is_asked_about_once_a_minute_for_all_agents_together() -> None:
    team: list[AgentStatus] = []
    for n in range(5):
        one = failing(paused(acked(f"200{n}")), 1, *team, refused=True, undone=True, key=True)
        team.append(one)
    assert [one.next_at for one in team] == [100.0 + SLOW * (n + 1) for n in range(5)]
    assert all(saying.waits_for_the_pbx(one) for one in team)


def test_he_is_out_when_his_tries_are_used_up_and_back_by_himself() -> None:
    one = failing(paused(acked()), len(PAUSES))
    assert not one.out
    one = failing(one, 1, at=110.0)
    assert one.out
    one = saying.acknowledged(one, Acknowledged("PAUS"), WORDS, 200.0)
    assert (one.out, one.tries, one.error, one.next_at, one.diverged_at) == (False, 0, None, None, None)
    assert [line.what for line in one.history][-2:] == ["out", "back"]


def test_patience_ends_by_time_as_well() -> None:
    assert failing(failing(paused(acked()), 1), 1, at=100.0 + saying.PATIENCE).out


def test_a_status_that_differs_too_long_is_an_alarm() -> None:
    one = paused(acked(), 10.0)
    assert not saying.overdue(one, 20, 1.0, 10.0 + ALARM + 20.0)
    assert saying.overdue(one, 20, 1.0, 10.1 + ALARM + 20.0)
    assert not saying.overdue(acked(), 20, 1.0, 1e9)
    late = saying.alarmed(one, 99.0)
    assert late.out
    assert late.error is not None
    assert late.error.code == "DIVERGED"
    assert not saying.overdue(late, 20, 1.0, 1e9)


def test_a_switch_forgets_what_was_taken_but_not_what_may_still_land() -> None:
    one = saying.doubted(failing(paused(acked()), 1))
    assert (one.acknowledged, one.doubtful) == (None, ())
    assert one.lost == (("PAUS", 160.0),)


# --- any order of things --------------------------------------------------------------------------


@dataclass
class Model:
    """One agent, its only job and the PBX, with everything that may go wrong between them."""

    status: AgentStatus = field(default_factory=agent)
    pbx: str = "WORK"
    job: float | None = None
    """When the only open job is due; `None` without one."""
    now: float = 0.0
    late: list[tuple[float, str]] = field(default_factory=list)

    def keep(self, status: AgentStatus) -> None:
        """As stored: whatever is owed while a job is open adds none."""
        self.status = unpack(json.loads(json.dumps(pack(status))))
        owed = due(self.status, WORDS, self.now)
        if owed and self.job is None:
            self.job = max(self.now, owed[0].not_before or 0.0)
        elif self.job is not None and saying.hurries(self.status, WORDS, self.now):
            self.job = min(self.job, self.now)

    def wish(self, page: Page) -> None:
        status = chosen(self.status, page, "")
        self.keep(settled(status, SOURCES, WORDS, self.now, "user:11"))

    def passes(self, seconds: float) -> None:
        end = self.now + seconds
        while self.late and min(self.late)[0] <= end:
            first = min(self.late)
            self.late.remove(first)
            self.now, self.pbx = max(self.now, first[0]), first[1]
            self.check()
        self.now = end
        self.keep(self.status)  # the minute's round

    def try_(self, how: str, delay: float, wish: Page | None) -> None:
        if self.job is None or self.job > self.now:
            return
        word = to_say(self.status, WORDS, self.now)
        fresh = word not in self.status.doubtful
        if word is not None:
            self.status = saying.saying(self.status, word, self.now)
        if wish is not None:
            self.wish(wish)  # while the job is in flight
        if how == "crash":  # the job is found again after the start, due at once
            if word is not None and delay < 20:
                self.pbx = word
            elif word is not None and delay < 50:
                self.late.append((self.now + delay, word))
            self.check()
            return
        self.job = None
        self.heard(word, how, delay, fresh=fresh)
        self.check()

    def heard(self, word: str | None, how: str, delay: float, *, fresh: bool) -> None:
        if word is None:
            self.keep(saying.unneeded(self.status, WORDS, self.now))
            return
        if how == "ok":
            self.pbx = word
            self.keep(saying.acknowledged(self.status, Acknowledged(word), WORDS, self.now))
            return
        if how == "lost_done":
            self.pbx = word
        elif how == "late":
            self.late.append((self.now + delay, word))
        undone = how in ("refused", "not_sent")
        event = Failed(word, DOWN, undone=undone, refused=how == "refused", fresh=fresh)
        self.keep(saying.failed(self.status, event, (), WORDS, self.now))

    def check(self) -> None:
        if is_available(self.status, WORDS):
            assert self.pbx == "WORK", "an agent was offered whom the PBX does not have at work"


PAGES = st.sampled_from([Page.AVAILABLE, Page.PAUSE])
HOW = st.sampled_from(["ok", "ok", "lost_done", "lost", "late", "not_sent", "refused", "crash"])
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("wish"), PAGES),
        st.tuples(st.just("passes"), st.sampled_from([0.5, 1.0, 3.0, 10.0, 59.0, 61.0])),
        st.tuples(st.just("try"), HOW, st.floats(1, 58), st.none() | PAGES),
    ),
    max_size=40,
)


@settings(max_examples=400, deadline=None)
@given(STEPS)
def test_any_interleaving_converges_and_nobody_is_offered_who_does_not_work(steps: list[Any]) -> None:
    model = Model()
    model.keep(model.status)
    for step in steps:
        match step:
            case ("wish", page):
                model.wish(page)
                model.check()
            case ("passes", seconds):
                model.passes(seconds)
            case ("try", how, delay, wish):
                model.try_(how, delay, wish)
    for _ in range(60):  # the PBX is well again: a minute's round and a try, as often as it takes
        model.passes(10.0)
        model.try_("ok", 0.0, None)
    assert model.pbx == WORDS.of(model.status.desired)
    assert model.status.acknowledged == model.pbx
    assert (model.status.out, model.status.error, model.job) == (False, None, None)
    assert is_available(model.status, WORDS) is (model.status.desired is Want.WORK)
