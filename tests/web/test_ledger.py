"""The ledger for people, programs and spreadsheets."""

from __future__ import annotations

import csv
import io
from dataclasses import replace
from typing import Any

import pytest
from httpx import AsyncClient

from bitrix_app.core.comparison import compare, stranded, two_ends
from bitrix_app.core.history import How, SeenRow
from bitrix_app.core.jobs import JobState
from bitrix_app.core.ledger import Material, Step
from bitrix_app.core.lifecycle import Phase
from bitrix_app.core.outcome import Outcome
from bitrix_app.core.portal import PortalSettings, Snapshot
from bitrix_app.web.session import Role
from tests.web.fakes import AGENT, MEMBER, TROUBLE, Stage, call, portal
from tests.web.test_languages import english
from tests.words.catalogue import TRANSLATED

pytestmark = pytest.mark.anyio

NOW = 1_788_333_300.0
DAY = "2026-09-02"
UNREAD = "The event names no call: no id, no dbid, no number"
HTML = {"Accept": "text/html"}
CSV = {"Accept": "text/csv"}


def row(key: str, call_id: str | None, how: How = How.MATCHED, **more: Any) -> SeenRow:
    base: dict[str, Any] = {"started_at": NOW - 600, "ended_at": NOW - 500, "number": "+380440000012"}
    return SeenRow(MEMBER, key, "d", how=how, call_id=call_id, **{**base, **more})


@pytest.fixture
def day(st: Stage) -> Stage:
    """One call of each standing, and one that only webhooks told of."""
    over: dict[str, Any] = {"started_at": NOW - 600, "pbx_id": "1", "phase": Phase.ENDED}
    calls = [
        call("written", finished=True, pbx_dbid="1", outcome=Outcome.ANSWERED, **over),
        call("skipped", skipped="inner call", **over),
        call("buried", number=None, raw_number="=1+cmd", **over),
        call("lost", **over),
        call("heard", finished=True, **over),
    ]
    rows = (
        row("dbid:1", "written", How.CREATED),
        row("dbid:2", "skipped"),
        row("dbid:3", "buried"),
        row("dbid:4", "lost"),
        row("dbid:5", None, How.WAITING),
        row("dbid:6", None, started_at=NOW - 2 * 86_400, how=How.FAILED, note=UNREAD),
    )
    steps = {"buried": (Step("register", JobState.ATTENTION, 1.0, TROUBLE),)}
    st.store.material = Material(rows, {one.id: one for one in calls}, steps, {})
    st.store.differences_ = [replace(compare(calls[0], [])[0], found_at=NOW)]
    item = {"covered_until": NOW - 60, "trouble": None}
    st.store.snapshots["reconcile"] = Snapshot("reconcile", NOW, (item,))
    return st


async def test_the_days_balance_adds_up_and_names_what_is_not_written(web: AsyncClient, day: Stage) -> None:
    answer = await web.get("/ledger", params={"from": DAY, "to": DAY}, headers=day.session())
    assert answer.status_code == 200
    (one,) = answer.json()["items"]
    counts = {name: one[name] for name in ("total", "written", "skipped", "waiting", "needs_person")}
    assert counts == {"total": 6, "written": 2, "skipped": 1, "waiting": 1, "needs_person": 1}
    assert (one["difference"], one["history"], one["recovered"]) == (1, 5, 1)
    assert one["total"] == sum(list(counts.values())[1:]) + one["difference"]
    standings = {entry["call_id"]: (entry["standing"], entry["code"]) for entry in one["calls"]}
    assert standings == {
        "skipped": ("skipped", "RULE"),
        "buried": ("needs_person", "ACCESS_DENIED"),
        "lost": ("unexplained", "NOTHING_OWED"),
        None: ("waiting", "JUST_ENDED"),
    }
    assert all(entry["reason"] for entry in one["calls"])
    assert [entry["call_id"] for entry in one["webhook_only"]] == ["heard"]
    assert "canary" not in answer.text
    assert answer.json()["counts"]["difference"] == 1
    assert answer.json()["history"]["covered_until"] == "2026-09-02T07:14:00Z"
    (differs,) = answer.json()["differences"]
    assert (differs["call_id"], differs["kind"], differs["who"]) == ("written", "missing", "manager")


async def test_without_a_period_it_is_the_last_week_the_newest_day_first(
    web: AsyncClient, day: Stage
) -> None:
    answer = (await web.get("/ledger", headers=day.session())).json()
    assert [one["day"] for one in answer["items"]][:3] == [DAY, "2026-09-01", "2026-08-31"]
    assert len(answer["items"]) == 7
    assert answer["counts"]["total"] == 7
    assert answer["items"][2]["calls"][0]["code"] == "ROW_FAILED"


async def test_a_spreadsheet_gets_a_line_for_each_call_and_no_formula(web: AsyncClient, day: Stage) -> None:
    answer = await web.get("/ledger", params={"from": DAY, "to": DAY}, headers=day.session() | CSV)
    assert answer.headers["content-type"].startswith("text/csv")
    assert f'filename="ledger_{DAY}_{DAY}.csv"' in answer.headers["content-disposition"]
    lines = list(csv.DictReader(io.StringIO(answer.content.decode("utf-8-sig"))))
    assert [line["standing"] for line in lines].count("written") == 2
    assert len(lines) == 6
    assert {line["day"] for line in lines} == {DAY}
    assert "canary" not in answer.text
    buried = next(line for line in lines if line["call_id"] == "buried")
    assert buried["number"] == "'=1+cmd"
    written = next(line for line in lines if line["call_id"] == "written")
    assert written["number"] == "+380440000011"
    assert written["started_at"] == "2026-09-02T10:05:00+03:00"


async def test_the_page_shows_the_same_and_hides_nothing(web: AsyncClient, day: Stage) -> None:
    text = (await web.get("/ledger", headers=day.session() | HTML)).text
    assert "Ledger" in text
    assert "/calls/lost" in text
    assert "nothing is going to write it" in text
    assert "Calls that only webhooks told of" in text
    assert "Bitrix24&#39;s call statistics do not have this call" in text


@pytest.mark.parametrize("language", TRANSLATED)
async def test_the_whole_page_speaks_the_readers_language(
    web: AsyncClient, day: Stage, language: str
) -> None:
    found = day.store.differences_
    more = (stranded(call()), two_ends(call(), ["1 / 2"]))
    day.store.differences_ = [replace(one, call_id=one.kind) for one in (*found, *more)]
    text = (await web.get("/ledger", headers=day.session(language=language) | HTML)).text
    assert english(text) <= {"cmd", "Bitrix", "auth", "refused", "Ask", "an", "admin"}, "a vendor's own words"
    answer = await web.get("/ledger", headers=day.session(language=language) | CSV)
    reasons = {line["reason"] for line in csv.DictReader(io.StringIO(answer.content.decode("utf-8-sig")))}
    assert not any("Nothing" in one or "The " in one for one in reasons)


async def test_an_unread_history_is_said_with_its_reason(web: AsyncClient, day: Stage) -> None:
    said = "Unitalk does not accept the API key"
    item = {"covered_until": None, "trouble": {"code": "X", "message": said, "hint": "Make one."}}
    day.store.snapshots["reconcile"] = Snapshot("reconcile", NOW, (item,))
    answer = await web.get("/ledger", headers=day.session())
    assert answer.json()["history"]["trouble"]["message"] == said
    assert "newest calls may be missing" in (await web.get("/ledger", headers=day.session() | HTML)).text


async def test_agents_are_turned_away_and_managers_are_not(web: AsyncClient, day: Stage) -> None:
    mine = day.session(Role.AGENT)
    refused = await web.get("/ledger", headers=mine)
    assert (refused.status_code, refused.json()["code"]) == (403, "managers_only")
    day.store.portals_[MEMBER] = portal(settings=PortalSettings(managers=(AGENT,)))
    assert (await web.get("/ledger", headers=mine)).status_code == 200
    assert (await web.get("/ledger")).status_code == 401


@pytest.mark.parametrize(
    "asked",
    [
        {"from": "yesterday"},
        {"to": "2026-13-01"},
        {"from": "1026-09-01"},
        {"from": DAY, "to": "2026-09-01"},
        {"from": "2026-01-01", "to": DAY},
        {"from": "2026-09-02T10:00"},
    ],
)
async def test_a_period_that_cannot_be_meant_is_refused_in_words(
    web: AsyncClient, day: Stage, asked: dict[str, str]
) -> None:
    answer = await web.get("/ledger", params=asked, headers=day.session())
    assert answer.status_code == 400
    assert "from" in answer.json()["detail"] or "to must be a day" in answer.json()["detail"]


async def test_without_calls_and_without_a_reading_the_page_is_empty_and_whole(
    web: AsyncClient, st: Stage
) -> None:
    answer = (await web.get("/ledger", headers=st.session())).json()
    assert {one["total"] for one in answer["items"]} == {0}
    assert answer["history"] == {"covered_until": None, "read_at": None, "trouble": None}
    assert (await web.get("/ledger", headers=st.session() | HTML)).status_code == 200
