"""The autodialer's addresses: who may do what, what is taken and why not, what a person settles."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

import pytest
from httpx import ASGITransport, AsyncClient, Response

from bitrix_app.core.campaigns import Batch, BatchState, Phone, PhoneState, Try, denied, doubted, said
from bitrix_app.core.dialer_templates import DEFAULTS
from bitrix_app.core.outcome import Outcome
from bitrix_app.core.portal import PortalSettings, Snapshot
from bitrix_app.core.store import Store, Unit
from bitrix_app.vault import SecretVault
from bitrix_app.web.routes import asgi
from bitrix_app.web.session import ROLE_FRESH, Role
from storage import open_store
from tests.web.fakes import ADMIN, AGENT, BASE, KEY, MEMBER, Stage, portal, sample

pytestmark = pytest.mark.anyio
MANAGER = 5
NUMBER = "+380440000011"


@dataclass
class Desk:
    """The web side on a real store, so that what it writes is what the worker finds."""

    st: Stage
    store: Store
    web: AsyncClient

    @property
    def now(self) -> float:
        return self.st.clock.now()

    async def ask(
        self, method: str, path: str, data: Any = None, *, user: int = ADMIN, html: bool = False
    ) -> Response:
        role = Role.ADMIN if user == ADMIN else Role.AGENT
        headers = self.st.session(role, user) | ({"Accept": "text/html"} if html else {})
        return await self.web.request(method, path, headers=headers, json=data)

    async def lane(self, lane: str) -> dict[str, Any]:
        return {job.key: job for job in await self.store.lane(MEMBER, lane)}

    async def keep(self, batch: Batch, *phones: Phone) -> None:
        async def work(unit: Unit) -> None:
            await unit.save_batch(MEMBER, batch)
            await unit.save_phones(MEMBER, phones)

        await self.store.transact(work)


@pytest.fixture
async def desk(st: Stage, tmp_path: Path) -> AsyncIterator[Desk]:
    store = await open_store(f"sqlite:///{tmp_path}/unitalk.db", SecretVault(KEY), st.clock)
    settings = PortalSettings(dialers=("77",), managers=(MANAGER,))
    known = replace(portal(), settings=settings)
    st.store.portals_[MEMBER] = known
    await store.transact(lambda unit: unit.save_portal(known))
    items = ({"id": 77, "name": "Demo", "status": "STOPPED"}, {"id": 78, "name": "Other", "status": ""})
    await store.save_snapshot(MEMBER, Snapshot("dialers", st.clock.now(), items))
    state = {"ok": True, "dialers": 2, "structure": {"autodials": {"list_of": 2}}}
    await store.save_snapshot(MEMBER, Snapshot("dialers_state", st.clock.now(), (state,)))
    deps = replace(st.deps, store=store)
    async with AsyncClient(transport=ASGITransport(asgi(deps)), base_url=BASE) as web:
        yield Desk(st, store, web)
    await store.close()


def batch(desk: Desk, state: BatchState = BatchState.DOUBT) -> Batch:
    one = said(Batch("b1", "77", 1, desk.now), desk.now)
    if state is BatchState.REFUSED:
        return denied(one, "X", "Autodial not found", "")
    return doubted(one, "The answer was lost.", "Look.") if state is BatchState.DOUBT else one


def phone(**more: Any) -> Phone:
    base = {"record": "LEAD:5", "batch": "b1", "state": PhoneState.ATTENTION, "reason": "batch_in_doubt"}
    return Phone("p0190ab12cd01", "77", NUMBER, **{**base, **more})


# --- seeing ----------------------------------------------------------------------------------------


async def test_the_list_shows_what_may_be_used_and_to_administrators_what_there_is(desk: Desk) -> None:
    told = (await desk.ask("GET", "/campaigns")).json()
    assert [(one["id"], one["name"], one["usable"]) for one in told["items"]] == [
        ("77", "Demo", True),
        ("78", "Other", False),
    ]
    assert told["items"][0]["running"] == "stopped"
    assert told["account"]["ok"]
    assert told["account"]["structure"] == {"autodials": {"list_of": 2}}
    assert told["confirmed"]["GET_WITH_DATA"]
    assert not told["confirmed"]["ADD_PHONES"]
    agents = (await desk.ask("GET", "/campaigns", user=AGENT)).json()
    assert [one["id"] for one in agents["items"]] == ["77"]
    assert (agents["may_manage"], told["may_manage"]) == (False, True)


async def test_progress_counts_states_outcomes_and_calls(desk: Desk) -> None:
    done = phone(state=PhoneState.FINISHED, outcome=Outcome.BUSY, tries=1, reason="")
    await desk.keep(batch(desk), done, replace(phone(), id="p0190ab12cd02"))
    one = Try("c1", "77", done.id, Outcome.BUSY, desk.now)
    await desk.store.transact(lambda unit: unit.save_try(MEMBER, one, desk.now))
    told = (await desk.ask("GET", "/campaigns/77")).json()
    assert (told["phones"]["finished"], told["phones"]["attention"], told["phones"]["waiting"]) == (1, 1, 0)
    assert (told["outcomes"], told["tries"]) == ({"busy": 1}, {"busy": 1})
    assert told["batches"][0]["error"]["code"] == "BATCH_IN_DOUBT"
    (first, second) = told["items"]
    assert first["history"] == [
        {"call_id": "c1", "outcome": "busy", "ended_at": "2026-09-02T07:15:00Z"},
    ]
    assert second["reason"]["code"] == "batch_in_doubt"
    assert first["crm"] == {"type": "LEAD", "id": 5}


async def test_phones_come_in_pages_and_by_state_for_managers_only(desk: Desk) -> None:
    phones = [replace(phone(), id=f"p0190ab12cd0{n}") for n in range(5)]
    await desk.keep(batch(desk), *phones, replace(phone(), id="p1", state=PhoneState.SENT))
    seen: list[str] = []
    cursor = ""
    while True:
        page = (
            await desk.ask("GET", f"/campaigns/77/phones?state=attention&limit=2&cursor={cursor}", user=5)
        ).json()
        seen += [one["id"] for one in page["items"]]
        cursor = page["next"]
        if not cursor:
            break
    assert seen == [one.id for one in phones]
    assert (await desk.ask("GET", "/campaigns/77/phones", user=AGENT)).status_code == 403
    for wrong in ("state=odd", "limit=0", "limit=501", "limit=x", "cursor=%22"):
        assert (await desk.ask("GET", f"/campaigns/77/phones?{wrong}")).status_code == 400


async def test_an_unknown_dialer_is_not_there(desk: Desk) -> None:
    assert (await desk.ask("GET", "/campaigns/99")).status_code == 404
    assert (await desk.ask("GET", "/campaigns/78", user=AGENT)).status_code == 404


@pytest.mark.parametrize("user", [ADMIN, AGENT])
async def test_the_pages_say_what_is_not_confirmed(desk: Desk, user: int) -> None:
    await desk.keep(batch(desk), phone())
    for path in ("/campaigns", "/campaigns/77"):
        answer = await desk.ask("GET", path, user=user, html=True)
        assert answer.status_code == 200
        assert "not confirmed" in answer.text
        assert ("/campaigns/77/start" in answer.text) == (user == ADMIN)
    listed = await desk.ask("GET", "/campaigns", user=user, html=True)
    assert "The answer was lost." in listed.text
    assert ("/batches/b1/settle" in listed.text) == (user == ADMIN)


# --- putting in ------------------------------------------------------------------------------------


async def test_numbers_are_taken_or_refused_each_with_its_reason(desk: Desk) -> None:
    await desk.ask("POST", "/do-not-call", {"number": "(044) 000-00-12", "reason": "asked"})
    numbers = ["044 000 00 11", NUMBER, "0440000012", "call me", "101", ""]
    answer = await desk.ask("POST", "/campaigns/77/phones", {"numbers": numbers}, user=MANAGER)
    assert answer.status_code == 200
    told = answer.json()
    assert told["taken"] == 1
    assert [(one["number"], one["reason"]) for one in told["refused"]] == [
        (NUMBER, "duplicate"),
        ("+380440000012", "do_not_call"),
        ("call me", "not_a_number"),
        ("101", "not_a_number"),
        (None, "no_number"),
    ]
    assert all(one["message"] for one in told["refused"])
    assert set(await desk.lane("campaign:77")) == {"gather"}
    assert desk.st.nudged == [MEMBER]


async def test_records_are_read_by_the_worker_and_the_request_can_be_followed(desk: Desk) -> None:
    answer = await desk.ask("POST", "/campaigns/77/phones", {"records": ["LEAD:5", "LEAD:5", "DEAL:301"]})
    assert answer.status_code == 202
    wish = answer.json()["request"]
    assert (wish["state"], wish["records"]) == ("pending", 2)
    followed = (await desk.ask("GET", f"/campaigns/77/requests/{wish['id']}")).json()
    assert followed == wish
    assert set(await desk.lane("campaign:77")) == {f"records:{wish['id']}"}
    assert (await desk.ask("GET", f"/campaigns/77/requests/{wish['id']}", user=AGENT)).status_code == 404


async def test_an_agent_may_add_one_record_and_nothing_else(desk: Desk) -> None:
    path = "/campaigns/77/phones"
    one = await desk.ask("POST", path, {"records": ["LEAD:5"]}, user=AGENT)
    assert one.status_code == 202
    request = f"/campaigns/77/requests/{one.json()['request']['id']}"
    assert (await desk.ask("GET", request, user=AGENT)).status_code == 200
    for data in (
        {"records": ["LEAD:5", "LEAD:6"]},
        {"numbers": [NUMBER]},
        {"filter": {"type": "LEAD", "stage": "NEW"}},
    ):
        refused = await desk.ask("POST", path, data, user=AGENT)
        assert (refused.status_code, refused.json()["code"]) == (403, "manager_only")


async def test_a_filter_is_a_type_and_a_stage(desk: Desk) -> None:
    wanted = {"filter": {"type": "LEAD", "stage": "NEW"}}
    answer = await desk.ask("POST", "/campaigns/77/phones", wanted, user=MANAGER)
    assert answer.json()["request"]["filter"] == wanted["filter"]


@pytest.mark.parametrize(
    "data",
    [
        {},
        {"records": [], "numbers": []},
        {"records": []},
        {"records": ["LEAD:x"]},
        {"records": ["SPA:1"]},
        {"records": [5]},
        {"numbers": "044"},
        {"numbers": ["1" * 101]},
        {"filter": {"type": "LEAD"}},
        {"filter": {"type": "CONTACT", "stage": "NEW"}},
        {"filter": {"type": "LEAD", "stage": "' OR 1"}},
        {"filter": "NEW"},
        {"more": 1},
    ],
)
async def test_what_cannot_be_read_is_refused_and_nothing_is_kept(desk: Desk, data: Any) -> None:
    answer = await desk.ask("POST", "/campaigns/77/phones", data)
    assert answer.status_code == 400
    assert answer.json()["detail"]
    assert await desk.lane("campaign:77") == {}


async def test_a_dialer_that_was_not_chosen_takes_nothing(desk: Desk) -> None:
    for path, data in (("phones", {"numbers": [NUMBER]}), ("start", None), ("stop", None)):
        answer = await desk.ask("POST", f"/campaigns/78/{path}", data)
        assert (answer.status_code, answer.json()["code"]) == (409, "dialer_not_chosen")


# --- commands --------------------------------------------------------------------------------------


@pytest.mark.parametrize("wanted", ["start", "stop"])
async def test_managers_start_and_stop(desk: Desk, wanted: str) -> None:
    assert (await desk.ask("POST", f"/campaigns/77/{wanted}", user=AGENT)).status_code == 403
    assert await desk.lane("campaign:77") == {}
    answer = await desk.ask("POST", f"/campaigns/77/{wanted}", user=MANAGER)
    assert (answer.status_code, answer.json()["wanted"]) == (202, wanted)
    (job,) = (await desk.lane("campaign:77")).values()
    assert (job.key, job.data["on"], job.data["turn"]) == ("switch:1", wanted == "start", 1)
    (item, *_) = (await desk.ask("GET", "/campaigns")).json()["items"]
    assert (item["wanted"], item["settled"]) == (wanted, False)


async def test_commands_want_a_fresh_proof_of_who_it_is(desk: Desk) -> None:
    headers = desk.st.session(Role.AGENT, MANAGER)
    await desk.st.clock.advance(ROLE_FRESH + 1)
    answer = await desk.web.post("/campaigns/77/start", headers=headers)
    assert answer.status_code == 401


async def test_the_accounts_dialers_are_read_on_demand_by_administrators(desk: Desk) -> None:
    assert (await desk.ask("POST", "/campaigns/read", user=MANAGER)).status_code == 403
    assert (await desk.ask("POST", "/campaigns/read")).status_code == 202
    assert set(await desk.lane("portal:dialers")) == {"dialers"}


@pytest.mark.parametrize("state", [BatchState.DOUBT, BatchState.REFUSED])
async def test_a_person_says_that_it_was_not_sent_and_it_is_sent_once_more(
    desk: Desk, state: BatchState
) -> None:
    await desk.keep(batch(desk, state), phone())
    path = "/campaigns/77/batches/b1/settle"
    assert (await desk.ask("POST", path, {"sent": False}, user=AGENT)).status_code == 403
    answer = await desk.ask("POST", path, {"sent": False}, user=MANAGER)
    assert (answer.json()["state"], answer.json()["settled_by"]) == ("waiting", MANAGER)
    assert set(await desk.lane("batch:b1")) == {"send:1"}
    (one,) = await desk.store.campaign_phones(MEMBER, "77")
    assert (one.state, one.reason) == (PhoneState.WAITING, "")
    again = await desk.ask("POST", path, {"sent": False}, user=MANAGER)
    assert (again.status_code, again.json()["code"]) == (409, "not_in_doubt")
    assert set(await desk.lane("batch:b1")) == {"send:1"}


async def test_a_person_says_that_it_was_sent(desk: Desk) -> None:
    await desk.keep(batch(desk), phone())
    answer = await desk.ask("POST", "/campaigns/77/batches/b1/settle", {"sent": True})
    assert (answer.json()["state"], answer.json()["proof"]) == ("sent", "person")
    assert await desk.lane("batch:b1") == {}
    (one,) = await desk.store.campaign_phones(MEMBER, "77")
    assert one.state is PhoneState.SENT


@pytest.mark.parametrize("data", [{}, {"sent": 1}, {"sent": True, "x": 1}])
async def test_settling_wants_a_plain_answer(desk: Desk, data: Any) -> None:
    await desk.keep(batch(desk), phone())
    assert (await desk.ask("POST", "/campaigns/77/batches/b1/settle", data)).status_code == 400
    for path in ("77/batches/b9", "78/batches/b1"):
        answer = await desk.ask("POST", f"/campaigns/{path}/settle", {"sent": True})
        assert answer.status_code == 404


# --- whom nobody may call --------------------------------------------------------------------------


async def test_agents_add_to_the_do_not_call_list_and_managers_take_off(desk: Desk) -> None:
    added = await desk.ask(
        "POST", "/do-not-call", {"number": "044 000 00 11", "reason": " asked "}, user=AGENT
    )
    assert added.status_code == 201
    assert added.json() | {"added_at": ""} == {
        "number": NUMBER,
        "reason": "asked",
        "by_user": AGENT,
        "added_at": "",
    }
    assert [one["number"] for one in (await desk.ask("GET", "/do-not-call", user=AGENT)).json()["items"]] == [
        NUMBER
    ]
    gone = {"number": "+38 (044) 000-00-11"}
    assert (await desk.ask("DELETE", "/do-not-call", gone, user=AGENT)).status_code == 403
    assert (await desk.ask("DELETE", "/do-not-call", gone, user=MANAGER)).status_code == 204
    assert (await desk.ask("DELETE", "/do-not-call", gone, user=MANAGER)).status_code == 404


@pytest.mark.parametrize(
    ("data", "status"),
    [({}, 400), ({"number": 5}, 400), ({"number": "x"}, 422), ({"number": NUMBER, "reason": 5}, 400)],
)
async def test_what_is_no_number_is_not_listed(desk: Desk, data: Any, status: int) -> None:
    assert (await desk.ask("POST", "/do-not-call", data)).status_code == status
    assert (await desk.ask("GET", "/do-not-call")).json()["items"] == []


async def test_a_long_list_comes_in_pages(desk: Desk) -> None:
    from bitrix_app.core.wishes import Forbidden

    async def fill(unit: Unit) -> None:
        for n in range(103):
            await unit.forbid(MEMBER, Forbidden(f"+38044{n:07}", "", 1, 0.0))

    await desk.store.transact(fill)
    first = (await desk.ask("GET", "/do-not-call")).json()
    second = await desk.web.get("/do-not-call", params={"cursor": first["next"]}, headers=desk.st.session())
    assert (len(first["items"]), len(second.json()["items"]), second.json()["next"]) == (100, 3, None)


# --- settings and places ---------------------------------------------------------------------------


async def test_dialers_and_templates_are_settings(desk: Desk) -> None:
    own = {"action": "LAUNCH", "id": "{dialer}"}
    data = {"dialers": ["78", "77"], "dialer_templates": {"start": own}, "fold_unanswered_dials": True}
    told = (await desk.ask("PUT", "/settings", data)).json()
    assert told["dialers"] == ["78", "77"]
    assert told["dialer_templates"] == {**DEFAULTS, "start": own}
    assert told["fold_unanswered_dials"] is True
    known = await desk.store.portal(MEMBER)
    assert known is not None
    assert known.settings.dialer_templates == {"start": own}
    assert await desk.lane("portal:bindings") == {}


async def test_the_first_dialer_brings_its_places_in_bitrix24(desk: Desk) -> None:
    await desk.ask("PUT", "/settings", {"dialers": []})
    assert set(await desk.lane("portal:bindings")) == {"bindings:changed"}


@pytest.mark.parametrize(
    ("data", "field"),
    [
        ({"dialers": ["a b"]}, "dialers"),
        ({"dialers": "77"}, "dialers"),
        ({"dialer_templates": {"start": {"action": "START"}}}, "dialer_templates"),
        ({"fold_unanswered_dials": 1}, "fold_unanswered_dials"),
    ],
)
async def test_a_bad_template_is_refused_at_saving_with_words(desk: Desk, data: Any, field: str) -> None:
    answer = await desk.ask("PUT", "/settings", data)
    assert answer.status_code == 422
    (error,) = answer.json()["errors"]
    assert error["field"] == field
    assert error["message"].endswith(".")
    known = cast(Any, await desk.store.portal(MEMBER))
    assert known.settings.dialer_templates == {}


@pytest.mark.parametrize("name", ["crm-deal-list-menu", "crm-deal-detail-toolbar"])
async def test_a_records_menu_asks_into_which_dialer(desk: Desk, name: str) -> None:
    frame = sample(f"frame.placement.{name}")
    desk.st.verifier.known[frame["form"]["AUTH_ID"]] = next(iter(desk.st.verifier.known.values()))
    answer = await desk.web.post(
        "/bitrix/app", params=frame["query"], data=frame["form"], headers={"Accept": "text/html"}
    )
    assert answer.status_code == 200
    assert '/campaigns/77/phones"' in answer.text
    record = f"DEAL:{frame['placement_options_decoded']['ID']}"
    assert f"&#34;{record}&#34;" in answer.text
    assert "/campaigns/78/" not in answer.text
