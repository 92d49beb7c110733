"""What people do with an entry: each act, each refusal in words, and no entry without its timer."""

from __future__ import annotations

import random
from datetime import UTC, datetime
from typing import Any

import pytest

from bitrix_app.core.dial import DialState
from bitrix_app.core.events import DialAccepted, DialFailed
from bitrix_app.core.intent import Intent, Kind
from bitrix_app.core.jobs import JobState
from bitrix_app.retry_list import OVERDUE, REDIAL
from tests.web.calling import BARE, CLIENT, MANAGER, REFUSED, UNREACHABLE, Office, json_of
from tests.web.fakes import ADMIN, AGENT, BASE, MEMBER, OTHER_AGENT

pytestmark = pytest.mark.anyio
ACTS: dict[str, dict[str, Any]] = {
    "retry": {},
    "cancel": {"reason": "No need"},
    "done": {"reason": "Spoke on the street"},
    "reschedule": {"at": "2026-09-02T12:00:00Z"},
    "edit": {"number": "+380440000022"},
}


def timer_of(entry: Intent) -> dict[str, float]:
    """What the timers of an entry must be."""
    reasons = {JobState.RETRYING: REDIAL, JobState.WAITING: OVERDUE}
    if entry.due_at is None or entry.state not in reasons:
        return {}
    return {reasons[entry.state]: entry.due_at}


# --- call now -----------------------------------------------------------------------------------------


async def test_call_now_starts_the_call_and_says_how_it_goes(here: Office) -> None:
    entry = await here.listed()
    here.settles(DialAccepted())
    told = json_of(await here.act(AGENT, entry, "retry"), 202)
    assert (told["state"], told["attempts"]) == ("running", 2)
    assert told["call"]["start"]["state"] == "accepted"
    assert told["call"]["start"]["origin"] == "list"
    assert told["call_id"] == told["call"]["id"]
    assert [one["state"] for one in told["tries"]] == ["accepted"]
    assert await here.dials() == [CLIENT]
    assert here.st.nudged == [MEMBER]


async def test_a_failed_call_now_stands_on_the_list_with_the_new_cause(here: Office) -> None:
    entry = await here.listed(failure=UNREACHABLE, state=JobState.RETRYING, due_at=here.clock.now() + 60)
    here.settles(DialFailed(REFUSED, certain=True))
    told = json_of(await here.act(AGENT, entry, "retry"), 202)
    assert (told["state"], told["error"]["code"]) == ("attention", "PBX_REFUSED")
    assert told["call"]["start"]["code"] == "PBX_REFUSED"
    assert await here.timers() == {}


async def test_a_double_press_on_call_now_rings_once(here: Office) -> None:
    entry = await here.listed()
    json_of(await here.act(AGENT, entry, "retry"), 202)
    problem = json_of(await here.act(ADMIN, entry, "retry"), 409)
    assert (problem["code"], problem["category"], problem["retryable"]) == ("running", "conflict", False)
    assert "just now" in problem["detail"]
    assert await here.dials() == [CLIENT]


async def test_a_manager_lets_the_employees_phone_ring(here: Office) -> None:
    entry = await here.listed()
    told = json_of(await here.act(MANAGER, entry, "retry"), 202)
    assert told["call"]["start"]["extension"] == "201"
    assert told["history"][-1]["name"] == "Marta", "the history names who pressed"


async def test_nobodys_entry_rings_whoever_takes_it(here: Office) -> None:
    entry = await here.listed(agent=None)
    told = json_of(await here.act(OTHER_AGENT, entry, "retry"), 202)
    assert told["call"]["start"]["extension"] == "202"
    bare = await here.listed("e2", agent=None, number="+380440000022")
    assert json_of(await here.act(BARE, bare, "retry"), 409)["code"] == "no_extension"
    assert await here.entry("e2") == bare


async def test_a_call_that_goes_on_already_is_joined(here: Office) -> None:
    here.settles(DialAccepted())
    going = json_of(await here.post(AGENT, "/calls", {"number": CLIENT}), 202)
    entry = await here.listed()
    told = json_of(await here.act(AGENT, entry, "retry"), 202)
    assert (told["call"]["id"], told["call"]["start"]["state"]) == (going["id"], "joined")
    assert await here.dials() == [CLIENT]


async def test_by_hand_one_may_call_outside_working_hours(here: Office) -> None:
    await here.set(hours={"sun": "09:00-18:00"})
    entry = await here.listed()
    assert json_of(await here.act(AGENT, entry, "retry"), 202)["call"]["start"]["state"] == "asked"


# --- cancel, done, undo -------------------------------------------------------------------------------


@pytest.mark.parametrize(("name", "state"), [("cancel", "cancelled"), ("done", "done")])
async def test_closing_wants_a_reason_and_takes_the_timer_away(here: Office, name: str, state: str) -> None:
    entry = await here.listed(state=JobState.RETRYING, due_at=here.clock.now() + 60)
    assert await here.timers() == {REDIAL: entry.due_at}
    for body in ({}, {"reason": "   "}):
        problem = json_of(await here.act(AGENT, entry, name, **body), 409)
        assert problem["code"] == "no_reason"
    assert json_of(await here.act(AGENT, entry, name, reason=5), 422)["errors"][0]["field"] == "reason"
    assert json_of(await here.act(AGENT, entry, name, reason="x" * 501), 422)
    assert await here.entry() == entry
    told = json_of(await here.act(AGENT, entry, name, reason=" Client is away "))
    assert (told["state"], told["closed"]["reason"]) == (state, "Client is away")
    assert told["closed"]["undo_until"] == "2026-09-02T07:15:10Z"
    assert told["history"][-1] | {"at": ""} == {
        "at": "",
        "act": "cancelled" if name == "cancel" else "done",
        "words": "Cancelled" if name == "cancel" else "Marked as done",
        "by": AGENT,
        "name": "Petro",
        "detail": "Client is away",
    }
    assert await here.timers() == {}
    again = json_of(await here.act(AGENT, entry, name, reason="Again"), 409)
    assert again["code"] == ("cancelled" if name == "cancel" else "settled")
    assert again["detail"]


async def test_undo_brings_state_and_timer_back_for_ten_seconds(here: Office) -> None:
    entry = await here.listed(state=JobState.RETRYING, due_at=here.clock.now() + 5)
    await here.act(AGENT, entry, "cancel", reason="Oops")
    here.clock.to(here.clock.now() + 10)
    told = json_of(await here.act(AGENT, entry, "undo"))
    assert (told["state"], told["closed"]) == ("retrying", None)
    assert await here.timers() == {REDIAL: entry.due_at}
    assert json_of(await here.act(AGENT, entry, "undo"), 409)["code"] == "nothing_to_undo"
    await here.act(AGENT, entry, "done", reason="Oops")
    here.clock.to(here.clock.now() + 10.5)
    assert json_of(await here.act(AGENT, entry, "undo"), 409)["code"] == "too_late"
    assert (await here.entry()).state is JobState.DONE


async def test_undo_never_makes_two_entries_of_one_client(here: Office) -> None:
    missed: dict[str, Any] = {
        "kind": Kind.MISSED,
        "state": JobState.WAITING,
        "due_at": here.clock.now() + 900,
    }
    entry = await here.listed(**missed)
    await here.act(AGENT, entry, "cancel", reason="Oops")
    await here.listed("newer", **missed)
    problem = json_of(await here.act(AGENT, entry, "undo"), 409)
    assert (problem["code"], problem["title"]) == ("same_client", "It cannot be done as asked")
    assert (await here.entry()).state is JobState.CANCELLED


# --- another time -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("at", "meant"),
    [
        ("2026-09-02T12:00:00Z", "2026-09-02T12:00:00Z"),
        ("2026-09-02T15:00:00+03:00", "2026-09-02T12:00:00Z"),
        ("2026-09-02T15:00", "2026-09-02T12:00:00Z"),  # the wall clock of whoever looks, Kyiv
    ],
)
async def test_a_call_is_put_off_to_a_time(here: Office, at: str, meant: str) -> None:
    entry = await here.listed()
    told = json_of(await here.act(AGENT, entry, "reschedule", at=at))
    assert (told["state"], told["next_attempt_at"]) == ("retrying", meant)
    assert told["plan"]["reason"] == "Chosen by Petro."
    assert await here.timers() == {REDIAL: datetime.fromisoformat(meant).timestamp()}


async def test_a_missed_client_put_off_is_due_then(here: Office) -> None:
    entry = await here.listed(kind=Kind.MISSED, state=JobState.ATTENTION, escalation=2)
    told = json_of(await here.act(AGENT, entry, "reschedule", at="2026-09-02T12:00:00Z"))
    assert (told["state"], told["due_at"], told["escalation"]) == ("waiting", "2026-09-02T12:00:00Z", 0)
    assert list(await here.timers()) == [OVERDUE]


async def test_a_time_outside_the_clients_day_is_taken_and_says_what_comes_of_it(here: Office) -> None:
    entry = await here.listed()
    told = json_of(await here.act(AGENT, entry, "reschedule", at="2026-09-03T02:00"))
    assert told["due_at"] == "2026-09-02T23:00:00Z"
    assert told["next_attempt_at"] == "2026-09-03T05:00:00Z", "08:00 in Kyiv"
    assert "for the client" in told["plan"]["reason"]


@pytest.mark.parametrize(
    "at", [None, 5, "", "tomorrow", "2026-09-02", "2026-13-01T00:00", "9999-01-01T00:00"]
)
async def test_a_time_that_cannot_be_is_refused(here: Office, at: object) -> None:
    entry = await here.listed()
    problem = json_of(await here.act(AGENT, entry, "reschedule", at=at), 422)
    assert problem["errors"][0]["field"] == "at"
    assert await here.entry() == entry


async def test_a_time_that_is_over_is_refused_in_words(here: Office) -> None:
    entry = await here.listed()
    problem = json_of(await here.act(AGENT, entry, "reschedule", at="2026-09-02T07:15:00Z"), 409)
    assert (problem["code"], problem["detail"]) == ("past", "This time is over. Choose a later one.")


async def test_what_nobody_is_to_call_cannot_call_by_itself(here: Office) -> None:
    entry = await here.listed(agent=None)
    problem = json_of(await here.act(AGENT, entry, "reschedule", at="2026-09-02T12:00:00Z"), 409)
    assert problem["code"] == "nobody"
    assert await here.timers() == {}


# --- another number, another person ---------------------------------------------------------------------


async def test_a_number_is_read_with_the_portals_country(here: Office) -> None:
    entry = await here.listed()
    told = json_of(await here.act(AGENT, entry, "edit", number="044 000-00-22"))
    assert told["number"] == "+380440000022"
    assert told["history"][-1]["detail"] == f"{CLIENT} → +380440000022"
    await here.set(country="PL")
    told = json_of(await here.act(AGENT, entry, "edit", number="22 000 00 22"))
    assert told["number"] == "+48220000022"


@pytest.mark.parametrize(
    "number", ["", "   ", "anonymous", "call me", None, 380440000022, "9" * 61, "9" * 30]
)
async def test_an_unreadable_number_is_refused_with_the_reason(here: Office, number: object) -> None:
    entry = await here.listed()
    problem = json_of(await here.act(AGENT, entry, "edit", number=number), 422)
    assert problem["errors"][0]["field"] == "number"
    assert problem["errors"][0]["message"]
    assert await here.entry() == entry


async def test_managers_give_an_entry_to_somebody_with_a_phone(here: Office) -> None:
    entry = await here.listed()
    told = json_of(await here.act(MANAGER, entry, "edit", agent=OTHER_AGENT, number="0440000022"))
    assert (told["agent_user_id"], told["number"]) == (OTHER_AGENT, "+380440000022")
    assert [deed["act"] for deed in told["history"]] == ["listed", "edited", "moved"]
    for agent, words in (
        (BARE, "no phone"),
        (999, "no user 999"),
        ("9", "number"),
        (None, "number"),
        (True, ""),
    ):
        problem = json_of(await here.act(MANAGER, entry, "edit", agent=agent), 422)
        assert problem["errors"][0]["field"] == "agent"
        assert words in problem["errors"][0]["message"]
    assert (await here.entry()).agent == OTHER_AGENT


async def test_a_missed_client_is_given_to_somebody_and_keeps_the_due_time(here: Office) -> None:
    entry = await here.listed(
        kind=Kind.MISSED, state=JobState.WAITING, due_at=here.clock.now() + 900, agent=None
    )
    told = json_of(await here.act(MANAGER, entry, "edit", agent=OTHER_AGENT))
    assert (told["agent_user_id"], told["state"]) == (OTHER_AGENT, "waiting")
    assert await here.timers() == {OVERDUE: entry.due_at}


async def test_agents_take_over_but_do_not_give_away(here: Office) -> None:
    entry = await here.listed(agent=None)
    problem = json_of(await here.act(AGENT, entry, "edit", agent=OTHER_AGENT), 403)
    assert problem["code"] == "managers_only"
    assert json_of(await here.act(AGENT, entry, "edit", agent=AGENT))["agent_user_id"] == AGENT
    assert json_of(await here.act(AGENT, entry, "edit", agent=OTHER_AGENT), 403)
    assert (await here.act(OTHER_AGENT, entry, "edit", agent=OTHER_AGENT)).status_code == 404


async def test_an_edit_that_changes_nothing_is_no_deed(here: Office) -> None:
    entry = await here.listed()
    assert (
        json_of(await here.act(AGENT, entry, "edit", number="0440000011", agent=AGENT))["state"]
        == "attention"
    )
    assert await here.entry() == entry
    assert json_of(await here.act(AGENT, entry, "edit"), 422)
    assert json_of(await here.act(AGENT, entry, "edit", colour="red"), 422)["errors"][0]["field"] == "colour"


async def test_an_edit_never_makes_two_entries_of_one_client(here: Office) -> None:
    await here.listed("other", number="+380440000022")
    entry = await here.listed()
    assert json_of(await here.act(AGENT, entry, "edit", number="0440000022"), 409)["code"] == "same_client"
    theirs = await here.listed("theirs", agent=OTHER_AGENT)
    assert json_of(await here.act(ADMIN, theirs, "edit", agent=AGENT), 409)["code"] == "same_client"


# --- for every act --------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ACTS)
async def test_somebody_elses_entry_is_not_there(here: Office, name: str) -> None:
    entry = await here.listed(agent=OTHER_AGENT, state=JobState.RETRYING, due_at=here.clock.now() + 60)
    assert (await here.act(AGENT, entry, name, **ACTS[name])).status_code == 404
    assert (await here.act(AGENT, entry, "undo")).status_code == 404
    assert await here.entry() == entry
    assert not here.st.nudged
    assert (await here.post(ADMIN, f"/retries/none/{name}", ACTS[name])).status_code == 404
    assert (await here.act(MANAGER, entry, name, **ACTS[name])).is_success


@pytest.mark.parametrize("name", ACTS)
@pytest.mark.parametrize(
    ("state", "code"),
    [(JobState.RUNNING, "running"), (JobState.DONE, "settled"), (JobState.CANCELLED, "cancelled")],
)
async def test_an_act_that_would_be_wrong_now_is_refused_in_words(
    here: Office, name: str, state: JobState, code: str
) -> None:
    entry = await here.listed(state=state)
    problem = json_of(await here.act(ADMIN, entry, name, **ACTS[name]), 409)
    assert (problem["code"], problem["category"]) == (code, "conflict")
    assert problem["detail"].endswith(".")
    assert await here.entry() == entry
    assert await here.dials() == []


@pytest.mark.parametrize("name", [*ACTS, "undo"])
async def test_an_act_wants_a_session_of_our_own_page(here: Office, name: str) -> None:
    entry = await here.listed()
    body = ACTS.get(name, {})
    address = f"/retries/{entry.id}/{name}"
    assert (await here.web.post(address, json=body)).status_code == 401
    foreign = here.heads(ADMIN) | {"Origin": "https://evil.example", "Sec-Fetch-Site": "cross-site"}
    assert (await here.web.post(address, json=body, headers=foreign)).status_code == 403
    assert await here.entry() == entry
    own = here.heads(ADMIN) | {"Origin": BASE, "Sec-Fetch-Site": "same-origin"}
    assert (await here.web.post(address, json=body, headers=own)).status_code not in (401, 403)


@pytest.mark.parametrize("seed", range(25))
async def test_no_act_leaves_an_entry_without_its_timer_or_a_timer_without_its_entry(
    here: Office, seed: int
) -> None:
    chance = random.Random(seed)
    now = here.clock.now()
    kind = chance.choice(list(Kind))
    state = {Kind.CALL_START: JobState.RETRYING, Kind.MISSED: JobState.WAITING}[kind]
    await here.listed(kind=kind, state=state, due_at=now + 600, failure=UNREACHABLE)
    answers = [None, DialAccepted(), DialFailed(UNREACHABLE, certain=True), DialFailed(REFUSED, certain=True)]
    for _ in range(14):
        here.clock.turn = None
        if (answer := chance.choice(answers)) is not None:
            here.settles(answer)
        name = chance.choice([*ACTS, "undo", "undo"])
        body = dict(ACTS.get(name, {}))
        if name == "reschedule":
            body["at"] = datetime.fromtimestamp(here.clock.now() + chance.uniform(1, 9000), UTC).isoformat()
        if name == "edit":
            digits = chance.choice(("11", "22", "33"))
            body = {"number": f"+3804400000{digits}", "agent": chance.choice((AGENT, OTHER_AGENT))}
        sent = await here.post(chance.choice((ADMIN, MANAGER)), f"/retries/e1/{name}", body)
        assert sent.status_code in (200, 202, 409), sent.text
        entry = await here.entry()
        assert await here.timers() == timer_of(entry), (name, entry.state)
        assert entry.due_at is None or not entry.is_open or timer_of(entry), (name, entry.state)
        here.clock.to(here.clock.now() + chance.choice((0.5, 6.0)))
    rings = [
        c for c in await here.store.calls(MEMBER, limit=100) if c.dial and c.dial.state is DialState.ACCEPTED
    ]
    assert len(rings) <= 1, "an accepted call keeps the entry until its end"


async def test_a_manager_may_open_the_calls_of_the_list_and_no_others(here: Office) -> None:
    entry = await here.listed()
    call = json_of(await here.act(MANAGER, entry, "retry"), 202)["call"]
    assert (await here.get(MANAGER, f"/calls/{call['id']}")).status_code == 200
    assert (await here.get(OTHER_AGENT, f"/calls/{call['id']}")).status_code == 404
    assert json_of(await here.get(MANAGER, "/calls"))["items"] == [], "the log holds one's own calls"
