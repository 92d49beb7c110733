"""Who has which extension, entering it, and repairing what was written meanwhile."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from httpx import AsyncClient

from bitrix_app.core.commands import AcceptDirectory, MoveCall
from bitrix_app.core.jobs import JobState
from bitrix_app.core.portal import PortalSettings, Snapshot
from bitrix_app.core.repair import Repair
from tests.web.fakes import ADMIN, AGENT, MEMBER, OTHER, Stage, call, job, portal

pytestmark = pytest.mark.anyio


def written(call_id: str = "c1", **more: Any) -> Any:
    base: dict[str, Any] = {
        "finished": True,
        "unmatched": "299",
        "user_id": ADMIN,
        "activity_id": 77,
        "created": ("LEAD:5",),
    }
    return call(call_id, **{**base, **more})


async def ask(web: AsyncClient, st: Stage, method: str, path: str, data: Any = None) -> Any:
    return await web.request(method, path, headers=st.session(), json=data)


async def item(web: AsyncClient, st: Stage, extension: str) -> dict[str, Any]:
    items = (await ask(web, st, "GET", "/agents")).json()["items"]
    return dict(next(one for one in items if one["extension"] == extension))


def settings(st: Stage) -> PortalSettings:
    return st.store.portals_[MEMBER].settings


# --- seeing ----------------------------------------------------------------------------------------


async def test_the_list_says_state_suggestions_and_calls_on_the_default_user(
    web: AsyncClient, st: Stage
) -> None:
    people = (
        {"user_id": AGENT, "name": "Петро Коваль", "extension": "201"},
        {"user_id": 8, "name": "Андрій Бондар"},
    )
    st.store.snapshots["agents"] = Snapshot("agents", 1.0, people)
    pbx = (
        {"line": "201", "name": "Petro"},
        {"line": "202", "name": "Andrii Bondar"},
        {"line": "203", "name": "X"},
    )
    st.store.snapshots["pbx_users"] = Snapshot("pbx_users", 2.0, pbx)
    st.store.calls_ = [written(), written("c2"), written("c3", portal=OTHER), written("c4", finished=False)]
    answer = (await ask(web, st, "GET", "/agents")).json()
    assert answer["counts"] == {"matched": 1, "suggested": 1, "unmatched": 2}
    states = {one["extension"]: (one["state"], one["calls_on_default"]) for one in answer["items"]}
    assert states == {
        "201": ("matched", 0),
        "202": ("suggested", 0),
        "203": ("unmatched", 0),
        "299": ("unmatched", 2),
    }
    assert answer["items"][1]["suggestions"] == [{"user_id": 8, "name": "Андрій Бондар", "by": "name"}]
    first = answer["items"][0]
    assert (first["user_id"], first["name"], first["by"], first["pbx_name"]) == (
        AGENT,
        "Петро Коваль",
        "extension",
        "Petro",
    )
    assert answer["users_at"] == "1970-01-01T00:00:01Z"
    assert (answer["offers"], answer["repairs"], answer["next"]) == ([], [], None)


async def test_a_portal_without_any_list_has_an_empty_page(web: AsyncClient, st: Stage) -> None:
    st.store.snapshots.clear()
    answer = (await ask(web, st, "GET", "/agents")).json()
    assert (answer["items"], answer["users_at"], answer["pbx_at"]) == ([], None, None)


# --- entering --------------------------------------------------------------------------------------


async def test_an_extension_is_given_and_taken_away_in_our_own_map(web: AsyncClient, st: Stage) -> None:
    answer = await ask(web, st, "PUT", f"/agents/{AGENT}", {"extension": "299"})
    assert answer.status_code == 200
    assert settings(st).extension_users == {"299": AGENT}
    assert (await item(web, st, "299"))["by"] == "override"
    assert st.nudged == [MEMBER]
    await ask(web, st, "PUT", f"/agents/{AGENT}", {"extension": "298"})
    assert settings(st).extension_users == {"299": AGENT, "298": AGENT}, "nothing is dropped silently"
    await ask(web, st, "PUT", f"/agents/{ADMIN}", {"extension": "299"})
    assert settings(st).extension_users == {"299": ADMIN, "298": AGENT}
    await ask(web, st, "PUT", f"/agents/{AGENT}", {"extension": None})
    assert settings(st).extension_users == {"299": ADMIN}


@pytest.mark.parametrize(
    ("user", "data", "field"),
    [
        (AGENT, {"extension": "a"}, "extension"),
        (AGENT, {"extension": 299}, "extension"),
        (AGENT, {"extension": "1" * 11}, "extension"),
        (AGENT, {}, "extension"),
        (AGENT, {"extension": "299", "more": 1}, "extension"),
        (4242, {"extension": "299"}, "user_id"),
    ],
)
async def test_a_wrong_entry_is_refused_by_its_field(
    web: AsyncClient, st: Stage, user: int, data: Any, field: str
) -> None:
    answer = await ask(web, st, "PUT", f"/agents/{user}", data)
    assert answer.status_code == 422
    assert [one["field"] for one in answer.json()["errors"]] == [field]
    assert settings(st).extension_users == {}


# --- a list that lost too much ---------------------------------------------------------------------


def offer(st: Stage) -> None:
    head = {"reason": "1 of 2", "known": 2, "lost": [str(AGENT)], "bare": [], "added": [], "confirm": 1}
    st.store.snapshots["agents:offered"] = Snapshot("agents:offered", 5.0, (head, {"user_id": ADMIN}))


async def test_a_doubtful_list_is_shown_with_names_and_accepted_by_its_count(
    web: AsyncClient, st: Stage
) -> None:
    offer(st)
    (shown,) = (await ask(web, st, "GET", "/agents")).json()["offers"]
    assert (shown["directory"], shown["confirm"]) == ("agents", 1)
    assert shown["lost"] == [{"user_id": AGENT, "name": "Petro"}]
    answer = await ask(web, st, "POST", "/agents/accept", {"confirm": 2})
    assert (answer.status_code, answer.json()["confirm"]) == (409, 1)
    assert st.store.owed == []
    answer = await ask(web, st, "POST", "/agents/accept", {"directory": "agents", "confirm": 1})
    assert answer.status_code == 202
    assert st.store.owed == [("portal:directory", "accept:agents:5.0")]
    assert st.store.owed_commands[0].command == AcceptDirectory("agents", 1)


@pytest.mark.parametrize("data", [{"confirm": True}, {}, {"confirm": "1"}])
async def test_an_acceptance_needs_the_count(web: AsyncClient, st: Stage, data: Any) -> None:
    offer(st)
    assert (await ask(web, st, "POST", "/agents/accept", data)).status_code == 409


async def test_nothing_offered_and_an_unknown_list_are_told_apart(web: AsyncClient, st: Stage) -> None:
    assert (await ask(web, st, "POST", "/agents/accept", {"confirm": 1})).json()["code"] == "nothing_offered"
    st.store.snapshots["lines:offered"] = Snapshot("lines:offered", 5.0, ())
    again = await ask(web, st, "POST", "/agents/accept", {"directory": "lines", "confirm": 0})
    assert again.json()["code"] == "nothing_offered"
    assert (await ask(web, st, "POST", "/agents/accept", {"directory": "tokens"})).status_code == 422


# --- repairing -------------------------------------------------------------------------------------

WISH = {"extension": "299", "user_id": AGENT}


async def test_a_dry_run_counts_and_changes_nothing(web: AsyncClient, st: Stage) -> None:
    st.store.calls_ = [written(), written("c2", activity_id=None, created=()), written("c3", unmatched="298")]
    plan = (await ask(web, st, "POST", "/agents/repair", {**WISH, "dry_run": True})).json()
    assert (plan["confirm"], plan["left"], plan["from_users"]) == (2, 0, [ADMIN])
    assert plan["changes"] == {"activities": 1, "records": 1, "extension": {"from": None, "to": AGENT}}
    assert len(plan["cannot"]) == 3
    assert (st.store.repairs_, st.store.applied, settings(st).extension_users) == ({}, [], {})


async def test_a_confirmed_repair_enters_the_extension_and_queues_the_moves(
    web: AsyncClient, st: Stage
) -> None:
    st.store.calls_ = [written(), written("c2", user_id=None)]
    answer = await ask(web, st, "POST", "/agents/repair", {**WISH, "confirm": 2})
    assert answer.status_code == 202
    assert settings(st).extension_users == {"299": AGENT}
    (one,) = st.store.repairs_.values()
    assert (one.calls, one.froms, one.by_user, one.mapped) == (("c1", "c2"), (ADMIN, 0), ADMIN, True)
    first, second = (step.owed[0].command for step in st.store.applied)
    assert first == MoveCall(one.id, from_user=ADMIN, to_user=AGENT, extension="299")
    assert second == MoveCall(one.id, from_user=0, to_user=AGENT, extension="299")
    assert st.nudged == [MEMBER]


@pytest.mark.parametrize("confirm", [0, 1, 3])
async def test_another_count_is_refused_with_the_true_one(web: AsyncClient, st: Stage, confirm: int) -> None:
    st.store.calls_ = [written(), written("c2")]
    answer = await ask(web, st, "POST", "/agents/repair", {**WISH, "confirm": confirm})
    assert (answer.status_code, answer.json()["confirm"]) == (409, 2)
    assert (st.store.repairs_, settings(st).extension_users) == ({}, {})


async def test_a_repair_without_calls_still_enters_the_extension(web: AsyncClient, st: Stage) -> None:
    assert (await ask(web, st, "POST", "/agents/repair", {**WISH, "confirm": 0})).status_code == 202
    assert settings(st).extension_users == {"299": AGENT}


async def test_an_inner_number_of_bitrix24_needs_no_entry_of_ours(web: AsyncClient, st: Stage) -> None:
    st.store.calls_ = [written(unmatched="201")]
    wish = {"extension": "201", "user_id": AGENT}
    plan = (await ask(web, st, "POST", "/agents/repair", {**wish, "dry_run": True})).json()
    assert plan["changes"]["extension"] is None
    await ask(web, st, "POST", "/agents/repair", {**wish, "confirm": 1})
    assert settings(st).extension_users == {}
    assert len(st.store.applied) == 1


@pytest.mark.parametrize(
    ("data", "fields"),
    [
        (WISH, ["confirm"]),
        ({**WISH, "confirm": True}, ["confirm"]),
        ({**WISH, "confirm": "2"}, ["confirm"]),
        ({"dry_run": True}, ["extension", "user_id"]),
        ({**WISH, "user_id": 4242, "dry_run": True}, ["user_id"]),
        ({**WISH, "extension": "2 9", "dry_run": True}, ["extension"]),
    ],
)
async def test_a_wrong_repair_is_refused_by_its_fields(
    web: AsyncClient, st: Stage, data: Any, fields: list[str]
) -> None:
    answer = await ask(web, st, "POST", "/agents/repair", data)
    assert answer.status_code == 422
    assert [one["field"] for one in answer.json()["errors"]] == fields


async def repaired(web: AsyncClient, st: Stage) -> str:
    st.store.calls_ = [written(), written("c2")]
    answer = await ask(web, st, "POST", "/agents/repair", {**WISH, "confirm": 2})
    st.store.applied.clear()
    return str(answer.json()["id"])


async def test_an_undo_takes_the_entry_back_and_queues_the_way_back(web: AsyncClient, st: Stage) -> None:
    id_ = await repaired(web, st)
    answer = await ask(web, st, "POST", f"/agents/repair/{id_}/undo")
    assert answer.status_code == 202
    assert answer.json()["undone_at"] is not None
    assert settings(st).extension_users == {}
    commands = [step.owed[0].command for step in st.store.applied]
    assert commands[0] == MoveCall(id_, from_user=AGENT, to_user=ADMIN, extension="299", undo=True)
    assert len(commands) == 2
    again = await ask(web, st, "POST", f"/agents/repair/{id_}/undo")
    assert (again.status_code, again.json()["code"]) == (409, "undone")


async def test_an_undo_that_was_cut_short_may_be_asked_again(web: AsyncClient, st: Stage) -> None:
    id_ = await repaired(web, st)
    half = st.store.calls_
    await ask(web, st, "POST", f"/agents/repair/{id_}/undo")
    st.store.calls_ = [st.store.calls_[0], half[1]]
    st.store.applied.clear()
    assert (await ask(web, st, "POST", f"/agents/repair/{id_}/undo")).status_code == 202
    assert [step.call.id for step in st.store.applied] == ["c2"]


async def test_an_undo_gives_back_the_entry_that_was_there(web: AsyncClient, st: Stage) -> None:
    st.store.portals_[MEMBER] = portal(settings=PortalSettings(extension_users={"299": 8}))
    id_ = await repaired(web, st)
    assert settings(st).extension_users == {"299": AGENT}
    await ask(web, st, "POST", f"/agents/repair/{id_}/undo")
    assert settings(st).extension_users == {"299": 8}


async def test_an_undo_leaves_an_entry_that_was_changed_since(web: AsyncClient, st: Stage) -> None:
    id_ = await repaired(web, st)
    await ask(web, st, "PUT", f"/agents/{ADMIN}", {"extension": "299"})
    await ask(web, st, "POST", f"/agents/repair/{id_}/undo")
    assert settings(st).extension_users == {"299": ADMIN}


async def test_progress_counts_moves_and_undoes(web: AsyncClient, st: Stage) -> None:
    id_ = await repaired(web, st)
    st.store.lanes = {
        "c1": [replace(job(1, "c1", "move_call"), key=f"move:{id_}")],
        "c2": [replace(job(2, "c2", "move_call", JobState.ATTENTION), key=f"move:{id_}")],
    }
    told = (await ask(web, st, "GET", f"/agents/repair/{id_}")).json()
    assert told["progress"] == {"moves": {"done": 1, "attention": 1}, "undoes": {}}
    listed = (await ask(web, st, "GET", "/agents")).json()["repairs"]
    assert [(one["id"], one["calls"]) for one in listed] == [(id_, 2)]


async def test_another_portals_repair_is_not_there(web: AsyncClient, st: Stage) -> None:
    st.store.repairs_["r9"] = Repair("r9", OTHER, 1.0, 1, "299", 7)
    assert (await ask(web, st, "GET", "/agents/repair/r9")).status_code == 404
    assert (await ask(web, st, "POST", "/agents/repair/r9/undo")).status_code == 404
