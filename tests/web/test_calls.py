"""The call log and a call's story: public shapes, cursors, and whose they are."""

from __future__ import annotations

import pytest
from httpx import AsyncClient

from bitrix_app.core.call import Recording
from bitrix_app.core.events import Direction
from bitrix_app.core.jobs import Attempt, JobState
from bitrix_app.core.lifecycle import Phase
from bitrix_app.core.outcome import Outcome
from bitrix_app.web.session import Role
from tests.web.fakes import AGENT, OTHER, OTHER_AGENT, TROUBLE, Stage, call, job

pytestmark = pytest.mark.anyio
LINK = "https://api.unitalk.cloud:8443/tracking/rec/canary-recording/2026-02-10"
HTML = {"Accept": "text/html"}


async def test_a_call_has_the_public_shape(web: AsyncClient, st: Stage) -> None:
    st.store.calls_ = [
        call(
            phase=Phase.ENDED,
            pbx_id="1091001",
            pbx_dbid="27501",
            bitrix_call_id="externalCall.1",
            direction=Direction.IN,
            line="380440000001",
            started_at=1_788_333_001.0,
            outcome=Outcome.ANSWERED,
            talk_seconds=83,
            full_seconds=95,
            link=LINK,
            crm_type="LEAD",
            crm_id=1205,
            recording=Recording.EXPECTED,
        )
    ]
    st.store.lanes["c1"] = [job(1, "c1", "register"), job(2, "c1", "finish", JobState.BLOCKED)]
    answer = await web.get("/calls", headers=st.session())
    assert answer.json() == {
        "items": [
            {
                "id": "c1",
                "pbx_id": "1091001",
                "pbx_dbid": "27501",
                "bitrix_call_id": "externalCall.1",
                "direction": "in",
                "number": "+380440000011",
                "line": "380440000001",
                "site": None,
                "dialer_id": None,
                "agent_user_id": AGENT,
                "state": "ended",
                "outcome": "answered",
                "started_at": "2026-09-02T07:10:01Z",
                "talk_seconds": 83,
                "full_seconds": 95,
                "crm": {"type": "LEAD", "id": 1205},
                "recording": {"state": "expected", "size": None, "media": None},
                "drive": {"state": "none", "document": None, "recording": None},
                "start": None,
                "steps": [
                    {
                        "name": "register",
                        "key": "register",
                        "state": "done",
                        "at": "2026-09-02T07:10:10Z",
                        "attempts": 0,
                        "error": None,
                    },
                    {
                        "name": "finish",
                        "key": "finish",
                        "state": "blocked",
                        "at": "2026-09-02T07:10:10Z",
                        "attempts": 0,
                        "error": None,
                    },
                ],
            }
        ],
        "next": None,
        "counts": {},
    }
    for headers in ({}, HTML):
        for path in ("/calls", "/calls/c1"):
            text = (await web.get(path, headers=st.session() | headers)).text
            assert "canary-recording" not in text


async def test_a_story_has_every_attempt_and_no_secret(web: AsyncClient, st: Stage) -> None:
    st.store.calls_ = [call(notes=("odd: access_token=canary-note",))]
    st.store.lanes["c1"] = [job(5, "c1", "finish", JobState.ATTENTION, attempts=2, error=TROUBLE)]
    st.store.attempts_[5] = [
        Attempt(1_788_333_011.0, 0.25, "retry", "VENDOR_ERROR", "server", "auth=canary-try", 1_788_333_016.0),
        Attempt(1_788_333_016.0, 0.5, "attention", "ACCESS_DENIED", "authorization", "no right"),
    ]
    story = (await web.get("/calls/c1", headers=st.session())).json()
    (step,) = story["steps"]
    assert [(a["result"], a["next_at"]) for a in step["history"]] == [
        ("retry", "2026-09-02T07:10:16Z"),
        ("attention", None),
    ]
    assert step["error"]["who"] == "admin"
    page = await web.get("/calls/c1", headers=st.session() | HTML)
    assert "2 tries" in page.text
    assert "canary" not in page.text + str(story)


async def test_the_cursor_walks_through_all_of_them_once(web: AsyncClient, st: Stage) -> None:
    st.store.calls_ = [call(f"c{n:02}", first_seen_at=1_788_333_000.0 + n // 2) for n in range(7)]
    seen: list[str] = []
    cursor = ""
    for _ in range(10):
        page = (await web.get("/calls", params={"limit": 3, "cursor": cursor}, headers=st.session())).json()
        seen += [item["id"] for item in page["items"]]
        cursor = page["next"]
        if cursor is None:
            break
    assert seen == sorted(seen, reverse=True)
    assert len(seen) == 7


async def test_an_agent_walks_through_their_own_only(web: AsyncClient, st: Stage) -> None:
    st.store.calls_ = [
        call(f"c{n:03}", first_seen_at=1_788_333_000.0 + n, user_id=AGENT if n % 40 == 0 else OTHER_AGENT)
        for n in range(200)
    ]
    seen: list[str] = []
    cursor = ""
    for _ in range(300):
        page = (
            await web.get("/calls", params={"limit": 2, "cursor": cursor}, headers=st.session(Role.AGENT))
        ).json()
        seen += [item["id"] for item in page["items"]]
        cursor = page["next"]
        if cursor is None:
            break
    assert seen == ["c160", "c120", "c080", "c040", "c000"]


async def test_others_calls_are_not_there(web: AsyncClient, st: Stage) -> None:
    st.store.calls_ = [
        call("theirs", user_id=OTHER_AGENT),
        call("mine"),
        call("ringing-mine", user_id=None, ringing=("200", "201")),
        call("ended-theirs", user_id=None, phase=Phase.ENDED, ringing=("200", "201")),
        call("other-portal", portal=OTHER),
    ]
    agent, admin = st.session(Role.AGENT), st.session()
    shown = {item["id"] for item in (await web.get("/calls", headers=agent)).json()["items"]}
    assert shown == {"mine", "ringing-mine"}
    assert (await web.get("/calls/mine", headers=agent)).status_code == 200
    hidden = await web.get("/calls/theirs", headers=agent | {"X-Request-ID": "r"})
    missing = await web.get("/calls/nothing", headers=agent | {"X-Request-ID": "r"})
    assert hidden.status_code == 404
    assert hidden.content == missing.content
    assert (await web.get("/calls/theirs", headers=admin)).status_code == 200
    assert (await web.get("/calls/other-portal", headers=admin)).status_code == 404


@pytest.mark.parametrize(
    "query",
    ["cursor=x", "cursor=W10", "cursor=WzEsMl0", "cursor=W05hTiwieCJd", "limit=0", "limit=101", "limit=x"],
)
async def test_a_bad_cursor_or_limit_is_400(web: AsyncClient, st: Stage, query: str) -> None:
    answer = await web.get(f"/calls?{query}", headers=st.session())
    assert answer.status_code == 400
    assert answer.json()["code"] == "malformed_request"


async def test_pages_escape_what_the_pbx_sent(web: AsyncClient, st: Stage) -> None:
    st.store.calls_ = [call(number=None, raw_number="<script>alert(1)</script>")]
    for path in ("/calls", "/calls/c1"):
        text = (await web.get(path, headers=st.session() | HTML)).text
        assert "<script>alert" not in text
        assert "&lt;script&gt;alert" in text


async def test_an_empty_log_says_so(web: AsyncClient, st: Stage) -> None:
    assert "There are no calls here" in (await web.get("/calls", headers=st.session() | HTML)).text


async def test_the_overview_can_be_reached_again_with_a_session(web: AsyncClient, st: Stage) -> None:
    page = await web.get("/bitrix/app", headers=st.session() | HTML)
    assert "<h1>Overview</h1>" in page.text
    agents = await web.get("/bitrix/app", headers=st.session(Role.AGENT) | HTML)
    assert "<h1>My calls</h1>" in agents.text
    assert 'href="/settings"' not in agents.text


async def test_a_call_says_whose_it_is_by_which_rule_and_why_it_has_no_number(
    web: AsyncClient, st: Stage
) -> None:
    st.store.calls_ = [
        call("c1", owner_by="responsible", notes=("No record in the CRM had the number +380440000011",)),
        call("c2", number=None, raw_number="anonymous", unmatched="299", moved=(), repair="r1"),
    ]
    one = (await web.get("/calls/c1", headers=st.session())).json()
    assert one["owner"]["by"] == "responsible"
    assert "responsible" in one["owner"]["words"]
    assert (one["number_reason"], one["owner"]["moved"]) == (None, False)
    assert one["notes"][0].startswith("No record")
    two = (await web.get("/calls/c2", headers=st.session())).json()
    assert "hidden" in two["number_reason"]
    assert (two["raw_number"], two["owner"]["unmatched"], two["owner"]["moved"]) == ("anonymous", "299", True)
