"""Settings: what is not named stays, what is wrong is named, the key never comes out."""

from __future__ import annotations

import io
from dataclasses import replace
from typing import Any

import pytest
from httpx import AsyncClient

from bitrix_app.core.portal import PortalSettings, Snapshot
from tests.web.fakes import ADMIN, AGENT, APP_TOKEN, BASE, HOOK, MEMBER, PBX_KEY, Stage, portal

pytestmark = pytest.mark.anyio
HTML = {"Accept": "text/html"}


async def put(web: AsyncClient, st: Stage, **change: Any) -> Any:
    return await web.put("/settings", json=change, headers=st.session())


async def test_settings_show_the_addresses_and_hide_the_key(web: AsyncClient, st: Stage) -> None:
    data = (await web.get("/settings", headers=st.session())).json()
    assert data["unitalk_key"] == {"set": True, "last4": PBX_KEY[-4:]}
    assert [hook["address"] for hook in data["webhooks"]] == [
        f"{BASE}/unitalk/events/{HOOK}?ev={code}"
        for code in ("CALL_NEW", "CALL_REDIRECT", "CALL_ANSWER", "CALL_END")
    ]
    assert data["agents"][0] == {"user_id": AGENT, "name": "Petro", "extension": "201"}
    page = await web.get("/settings", headers=st.session() | HTML)
    assert page.status_code == 200
    for text in (str(data), page.text):
        assert PBX_KEY not in text
        assert APP_TOKEN not in text


async def test_what_is_not_named_stays(web: AsyncClient, st: Stage) -> None:
    before = PortalSettings(line_users={"380440000001": AGENT}, line_names={"380440000001": "Sales"})
    st.store.portals_[MEMBER] = portal(settings=before)
    answer = await put(web, st, crm_create_in=False)
    assert answer.status_code == 200
    saved = st.store.portals_[MEMBER]
    assert saved.settings == replace(before, crm_create_in=False)
    assert saved.unitalk_key == PBX_KEY
    assert st.nudged == [MEMBER]
    assert not st.store.owed


async def test_everything_can_be_changed(web: AsyncClient, st: Stage, log: io.StringIO) -> None:
    answer = await put(
        web,
        st,
        pbx_timezone="Europe/Warsaw",
        default_user=AGENT,
        line_users={"+380 (44) 000-00-01": AGENT},
        line_names={"380440000001": "Sales"},
        crm_create_out=False,
        drive=False,
        drive_recordings=False,
        layout=False,
        unitalk_key="new-canary-key-1234",
    )
    assert answer.status_code == 200
    saved = st.store.portals_[MEMBER]
    assert saved.settings == PortalSettings(
        pbx_timezone="Europe/Warsaw",
        default_user=AGENT,
        line_users={"380440000001": AGENT},
        line_names={"380440000001": "Sales"},
        crm_create_out=False,
        drive=False,
        drive_recordings=False,
        layout=False,
    )
    assert saved.unitalk_key == "new-canary-key-1234"
    assert st.store.owed == [("portal:bindings", "bindings:changed"), ("portal:directory", "directory:key")]
    assert answer.json()["unitalk_key"] == {"set": True, "last4": "1234"}
    assert "new-canary-key" not in answer.text + log.getvalue()
    assert "settings changed" in log.getvalue()


@pytest.mark.parametrize(("key", "kept"), [(None, PBX_KEY), ("", "")])
async def test_the_key_stays_for_null_and_goes_for_nothing(
    web: AsyncClient, st: Stage, key: str | None, kept: str
) -> None:
    assert (await put(web, st, unitalk_key=key)).status_code == 200
    assert st.store.portals_[MEMBER].unitalk_key == kept


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("pbx_timezone", "Mars/Olympus"),
        ("pbx_timezone", "../../etc/passwd"),
        ("pbx_timezone", 5),
        ("default_user", "7"),
        ("default_user", True),
        ("default_user", 12345),
        ("default_user", -1),
        ("line_users", []),
        ("line_users", {"sales": AGENT}),
        ("line_users", {"380440000001": 12345}),
        ("line_users", {"380440000001": AGENT, "+380440000001": AGENT}),
        ("line_users", {str(n): AGENT for n in range(380440000000, 380440001001)}),
        ("line_names", {"380440000001": ""}),
        ("line_names", {"380440000001": "a\nb"}),
        ("line_names", {"380440000001": "x" * 101}),
        ("crm_create_in", "yes"),
        ("drive", 1),
        ("unitalk_key", "short"),
        ("unitalk_key", "with a space inside"),
        ("unitalk_key", 12345678),
        ("concurrency", 50),
        ("application_token", "mine"),
    ],
)
async def test_a_wrong_value_is_named_by_its_field_and_nothing_is_saved(
    web: AsyncClient, st: Stage, name: str, value: Any
) -> None:
    before = st.store.portals_[MEMBER]
    answer = await put(web, st, **({"layout": False} | {name: value}))
    assert answer.status_code == 422
    problem = answer.json()
    assert problem["category"] == "validation"
    assert [error["field"] for error in problem["errors"]] == [name]
    assert st.store.portals_[MEMBER] is before
    assert not st.nudged


async def test_all_faults_are_named_at_once(web: AsyncClient, st: Stage) -> None:
    answer = await put(web, st, pbx_timezone="x", drive=1, unitalk_key="y")
    assert {error["field"] for error in answer.json()["errors"]} == {"pbx_timezone", "drive", "unitalk_key"}


LEAD_STAGES = (
    {"STATUS_ID": "NEW", "NAME": "New", "SORT": "10", "SEMANTICS": None},
    {"STATUS_ID": "IN_PROCESS", "NAME": "In progress", "SORT": "20", "SEMANTICS": None},
    {"STATUS_ID": "JUNK", "NAME": "Junk", "SORT": "70", "SEMANTICS": "F"},
)


async def test_dispositions_are_proposed_taken_over_and_kept(web: AsyncClient, st: Stage) -> None:
    st.store.snapshots["lead_stages"] = Snapshot("lead_stages", 1_788_000_000.0, LEAD_STAGES)
    data = (await web.get("/settings", headers=st.session())).json()
    assert data["dispositions"] == []
    assert [stage["id"] for stage in data["dispositions_choices"]["lead_stages"]] == [
        "NEW",
        "IN_PROCESS",
        "JUNK",
    ]
    offered = data["dispositions_proposal"]
    assert not any(rule["on"] for rule in offered)
    rules = [rule | {"on": rule["id"] == "answered"} for rule in offered]
    answer = await put(web, st, dispositions=rules)
    assert answer.status_code == 200
    assert answer.json()["dispositions"] == rules, "what is read can be written back"
    (answered, *others) = st.store.portals_[MEMBER].settings.dispositions
    assert (answered.on, answered.stage, answered.from_stages) == (True, "IN_PROCESS", ("NEW",))
    assert not any(rule.on for rule in others)


async def test_faults_of_dispositions_are_named_by_rule_and_field(web: AsyncClient, st: Stage) -> None:
    st.store.snapshots["lead_stages"] = Snapshot("lead_stages", 1_788_000_000.0, LEAD_STAGES)
    rule = {"outcomes": ["answered"], "record": "LEAD", "stage": "GONE", "from": ["JUNK"]}
    before = st.store.portals_[MEMBER]
    answer = await put(web, st, dispositions=[rule, {"outcomes": []}], layout=False)
    assert answer.status_code == 422
    assert {error["field"] for error in answer.json()["errors"]} == {
        "dispositions[0].stage",
        "dispositions[0].from",
        "dispositions[1].outcomes",
    }
    assert st.store.portals_[MEMBER] is before


async def test_users_are_not_checked_before_the_directory_was_read(web: AsyncClient, st: Stage) -> None:
    st.store.snapshots.clear()
    assert (await put(web, st, default_user=12345)).status_code == 200


@pytest.mark.parametrize("body", [b"", b"[]", b"null", b"{", b"\xff"])
async def test_what_is_no_json_object_is_400(web: AsyncClient, st: Stage, body: bytes) -> None:
    assert (await web.put("/settings", content=body, headers=st.session())).status_code == 400


async def test_a_body_has_a_sane_limit(web: AsyncClient, st: Stage) -> None:
    body = b'{"x": "' + b"a" * (256 * 1024) + b'"}'
    assert (await web.put("/settings", content=body, headers=st.session())).status_code == 413


async def test_new_addresses_leave_the_old_ones_a_day(web: AsyncClient, st: Stage) -> None:
    answer = await web.post("/settings/webhook-token", headers=st.session())
    assert answer.status_code == 200
    old, new = st.store.tokens
    assert old.expires_at == st.clock.now() + 86_400
    assert new.expires_at is None
    assert len(new.token) >= 22
    assert all(new.token in hook["address"] for hook in answer.json()["webhooks"])
    assert HOOK not in answer.text
    assert [t["last4"] for t in answer.json()["webhook_tokens"]] == [HOOK[-4:], new.token[-4:]]


async def test_without_an_address_the_page_says_what_to_do(web: AsyncClient, st: Stage) -> None:
    st.store.tokens.clear()
    assert (await web.get("/settings", headers=st.session())).json()["webhooks"] == []
    assert "There is no address yet" in (await web.get("/settings", headers=st.session() | HTML)).text


# --- people, lines and numbers ---------------------------------------------------------------------

PEOPLE = {
    "country": "pl",
    "missed_owner": "last_agent",
    "transfer_owner": "first",
    "queue_user": AGENT,
    "group_users": {"Sales desk": AGENT},
    "extension_users": {"299": AGENT},
    "line_zones": {"380 44 000-00-01": "Europe/Warsaw"},
}


async def test_the_rules_for_people_lines_and_numbers_are_kept(web: AsyncClient, st: Stage) -> None:
    answer = await web.put("/settings", headers=st.session(), json=PEOPLE)
    assert answer.status_code == 200
    told = answer.json()
    stored = st.store.portals_[MEMBER].settings
    for name, value in PEOPLE.items():
        value = {"country": "PL", "line_zones": {"380440000001": "Europe/Warsaw"}}.get(name, value)
        assert told[name] == value
        assert getattr(stored, name) == value
    assert told["lines"] == ["380440000001"]
    assert stored.zone_of("380440000001") == "Europe/Warsaw"
    assert stored.zone_of("380440000002") == stored.zone_of(None) == stored.pbx_timezone
    assert ("portal:bindings", "bindings:changed") in st.store.owed, "a new line is to stand in Bitrix24"


async def test_lines_that_calls_came_by_are_offered_for_names(web: AsyncClient, st: Stage) -> None:
    st.store.snapshots["seen_lines"] = Snapshot("seen_lines", 1.0, ({"line": "380440000009"},))
    assert (await web.get("/settings", headers=st.session())).json()["lines"] == ["380440000009"]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("country", "XX"),
        ("country", 380),
        ("missed_owner", "nobody"),
        ("transfer_owner", None),
        ("queue_user", 4242),
        ("group_users", {"": AGENT}),
        ("group_users", {"Sales": AGENT, " sales ": ADMIN}),
        ("group_users", {"Sales": 4242}),
        ("group_users", []),
        ("extension_users", {"29a": AGENT}),
        ("extension_users", {"299": 4242}),
        ("extension_users", []),
        ("line_zones", {"380440000001": "Mars/Base"}),
        ("line_zones", {"x": "Europe/Kyiv"}),
    ],
)
async def test_a_wrong_rule_is_refused_by_its_name(
    web: AsyncClient, st: Stage, name: str, value: Any
) -> None:
    before = st.store.portals_[MEMBER].settings
    answer = await web.put("/settings", headers=st.session(), json={name: value})
    assert answer.status_code == 422
    assert [one["field"] for one in answer.json()["errors"]] == [name]
    assert st.store.portals_[MEMBER].settings == before


# --- what the PBX sends and answers ----------------------------------------------------------------

FINDING = {
    "key": "field:call.x",
    "kind": "field",
    "name": "call.x",
    "event": "CALL_END",
    "finding": "The PBX sends a field that we do not know: call.x (event CALL_END).",
    "first_seen": 1_788_333_000.0,
    "last_seen": 1_788_333_300.0,
    "count": 4,
    "sample": {"call": {"x": "text(5)"}},
}
VERDICT = {
    "zone": "Europe/Kyiv",
    "hours_off": 2,
    "proposed": "UTC",
    "calls": 5,
    "checked_at": 1_788_333_000.0,
}


async def test_news_of_the_pbx_are_listed_with_a_masked_sample(web: AsyncClient, st: Stage) -> None:
    older = FINDING | {"name": "older", "first_seen": 1.0}
    st.store.snapshots["drift"] = Snapshot("drift", 1_788_333_300.0, (older, FINDING))
    data = (await web.get("/settings", headers=st.session())).json()
    assert [item["name"] for item in data["drift"]] == ["call.x", "older"]
    assert data["drift"][0] == {
        "finding": FINDING["finding"],
        "kind": "field",
        "name": "call.x",
        "event": "CALL_END",
        "first_seen": "2026-09-02T07:10:00Z",
        "last_seen": "2026-09-02T07:15:00Z",
        "count": 4,
        "sample": {"call": {"x": "text(5)"}},
    }
    page = await web.get("/settings", headers=st.session() | HTML)
    assert "a field that we do not know: call.x" in page.text


async def test_before_anything_was_seen_there_is_nothing_to_show(web: AsyncClient, st: Stage) -> None:
    data = (await web.get("/settings", headers=st.session())).json()
    assert (data["drift"], data["pbx_structure"], data["pbx_events"]) == ([], None, [])
    assert "<pre>" not in (await web.get("/settings", headers=st.session() | HTML)).text
    assert data["timezone_check"]["state"] == "unknown"


@pytest.mark.parametrize(
    ("more", "state"), [({}, "wrong"), ({"hours_off": 0}, "ok"), ({"zone": "UTC"}, "unknown")]
)
async def test_the_check_of_the_time_zone_is_about_the_zone_that_is_set(
    web: AsyncClient, st: Stage, more: dict[str, Any], state: str
) -> None:
    st.store.snapshots["timezone_check"] = Snapshot("timezone_check", 1.0, (VERDICT | more,))
    data = (await web.get("/settings", headers=st.session())).json()
    assert (data["timezone_check"]["state"], data["timezone_check"]["zone"]) == (state, "Europe/Kyiv")
    page = await web.get("/settings", headers=st.session() | HTML)
    assert ("probably not in the time zone" in page.text) == (state == "wrong")


async def test_the_structure_of_the_pbxs_answers_is_shown(web: AsyncClient, st: Stage) -> None:
    answers = {"users/list": {"users": {"list_of": 3}}}
    st.store.snapshots["pbx_structure"] = Snapshot("pbx_structure", 1_788_333_000.0, (answers,))
    data = (await web.get("/settings", headers=st.session())).json()
    assert data["pbx_structure"] == {"checked_at": "2026-09-02T07:10:00Z", "answers": answers}
    assert "list_of" in (await web.get("/settings", headers=st.session() | HTML)).text


async def test_the_structure_of_the_pbxs_events_is_shown_by_their_names(web: AsyncClient, st: Stage) -> None:
    items = tuple({"event": name, "seen": 2, "structure": {"call": {"id": "number(7)"}}} for name in "ba")
    st.store.snapshots["pbx_events"] = Snapshot("pbx_events", 1.0, items)
    data = (await web.get("/settings", headers=st.session())).json()
    assert data["pbx_events"] == [items[1], items[0]]
    page = await web.get("/settings", headers=st.session() | HTML)
    assert "What the PBX really sends" in page.text


async def test_every_address_of_the_autodialer_carries_a_code_that_the_reader_knows(
    web: AsyncClient, st: Stage
) -> None:
    from unitalk import names

    data = (await web.get("/settings", headers=st.session())).json()
    assert len({hook["address"] for hook in data["dialer_webhooks"]}) == len(data["dialer_webhooks"]) == 22
    for hook in data["webhooks"] + data["dialer_webhooks"]:
        assert names.is_known(hook["event"]), hook["event"]
        assert hook["address"].endswith(f"?ev={hook['event']}")


# --- the PBX's key ------------------------------------------------------------------------------------


async def test_a_new_key_is_tried_at_once(web: AsyncClient, st: Stage) -> None:
    assert (await put(web, st, unitalk_key=PBX_KEY)).status_code == 200
    assert st.store.owed == [], "the same key needs no second proof"
    assert (await put(web, st, unitalk_key="another-key-of-the-pbx")).status_code == 200
    assert st.store.owed == [("portal:directory", "directory:key")]


@pytest.mark.parametrize(
    ("proof", "shown"),
    [
        (None, "Stored; Unitalk was not asked yet"),
        ({"ok": True, "operators": 3}, "Accepted by Unitalk"),
        (
            {"ok": False, "code": "X", "message": "It is not accepted", "hint": "Make a new one."},
            "It is not accepted. Make a new one",
        ),
        ({"ok": True, "operators": 3, "key_last4": "0000"}, "Stored; Unitalk was not asked yet"),
    ],
)
async def test_the_overview_says_what_unitalk_said_to_this_very_key(
    web: AsyncClient, st: Stage, proof: dict[str, Any] | None, shown: str
) -> None:
    if proof is not None:
        item = {"key_last4": PBX_KEY[-4:], **proof}
        st.store.snapshots["pbx_state"] = Snapshot("pbx_state", 1.0, (item,))
    page = await web.get("/bitrix/app", headers=st.session() | HTML)
    assert shown in page.text


async def test_the_overview_asks_for_a_key_that_is_not_there(web: AsyncClient, st: Stage) -> None:
    st.store.portals_[MEMBER] = portal(unitalk_key="")
    page = await web.get("/bitrix/app", headers=st.session() | HTML)
    assert "Not entered yet: see Settings" in page.text


async def test_a_line_that_calls_came_by_has_a_row_and_only_named_ones_can_be_removed(
    web: AsyncClient, st: Stage
) -> None:
    named = PortalSettings(line_names={"380440000001": "Sales"})
    st.store.portals_[MEMBER] = portal(settings=named)
    st.store.snapshots["seen_lines"] = Snapshot("seen_lines", 1.0, ({"line": "380440000009"},))
    page = (await web.get("/settings", headers=st.session() | HTML)).text
    table = page.split("<tbody data-lines>")[1].split("</tbody>")[0]
    assert [
        row.split('"')[0]
        for row in table.split('name="line" inputmode="tel" aria-label="External line" value="')[1:]
    ] == [
        "380440000001",
        "380440000009",
    ]
    assert table.count("data-remove-row") == 1


async def test_the_bare_address_says_where_the_application_is(web: AsyncClient) -> None:
    answer = await web.get("/", headers=HTML)
    assert answer.status_code == 200
    assert "works inside Bitrix24" in answer.text
