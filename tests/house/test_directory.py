"""The portal's people: the last good snapshot serves, a miss is asked for, a bad answer costs nothing."""

from __future__ import annotations

from typing import Any

import pytest

from bitrix_app.bitrix.answers import Answer
from bitrix_app.core.commands import Priority
from bitrix_app.core.errors import Forbidden, NeedsReauth, Throttled, Trouble, VendorBroken
from bitrix_app.core.portal import Agent, PortalSettings
from bitrix_app.directory import MISS_TTL, PAGES, Directory
from tests.house.making import LINE, MEMBER, NOW, OTHER, Bench, FakePortal, portal

pytestmark = pytest.mark.anyio

ANN = Agent(11, "Ann Lee", "2001")
BEN = Agent(12, "Ben Fox", "2002")


def row(user_id: int, extension: str = "", **more: Any) -> dict[str, Any]:
    return {"ID": str(user_id), "NAME": "N", "ACTIVE": True, "UF_PHONE_INNER": extension, **more}


def people(bench: Bench, **answers: Any) -> tuple[Directory, FakePortal]:
    far = FakePortal(**answers)
    return Directory(bench.store, far.client, bench.clock), far


async def test_a_known_extension_costs_no_request(bench: Bench) -> None:
    await bench.know(ANN, BEN)
    directory, far = people(bench)
    choice = await directory.user_for(bench.portal, "2002", None)
    assert choice is not None
    assert (choice.user_id, choice.matched) == (12, True)
    assert far.said == []


async def test_a_call_without_an_extension_costs_no_request(bench: Bench) -> None:
    await bench.know(ANN)
    directory, far = people(bench)
    settings = PortalSettings(line_users={LINE: 11})
    choice = await directory.user_for(portal(settings=settings), None, LINE)
    assert choice is not None
    assert (choice.user_id, choice.matched) == (11, True)
    assert far.said == []


async def test_the_snapshot_is_read_once(bench: Bench) -> None:
    await bench.know(ANN)
    directory, _ = people(bench)
    assert list(await directory.agents(MEMBER)) == [ANN]
    await bench.know(BEN)
    assert list(await directory.agents(MEMBER)) == [ANN]
    directory.forget(MEMBER)
    assert list(await directory.agents(MEMBER)) == [BEN]
    assert list(await directory.agents(OTHER)) == []


async def test_an_unknown_extension_is_asked_for_before_a_default_stands_in(bench: Bench) -> None:
    await bench.know(ANN)
    directory, far = people(bench, user__get=[row(30, "2050")])
    choice = await directory.user_for(bench.portal, "2050", None)
    assert choice is not None
    assert (choice.user_id, choice.matched) == (30, True)
    assert far.params("user.get")["FILTER"]["UF_PHONE_INNER"] == "2050"
    assert far.priorities == [Priority.LIVE]


async def test_a_miss_is_believed_for_a_minute(bench: Bench) -> None:
    await bench.know(ANN, Agent(1, "Admin"))
    directory, far = people(bench)
    far.on("user.get", [])
    for _ in range(3):
        choice = await directory.user_for(bench.portal, "2099", None)
        assert choice is not None
        assert (choice.user_id, choice.matched) == (1, False)
    assert len(far.said) == 1
    await bench.clock.advance(MISS_TTL)
    await directory.user_for(bench.portal, "2099", None)
    assert len(far.said) == 2


async def test_a_miss_is_forgotten_with_its_portal_only(bench: Bench) -> None:
    directory, far = people(bench)
    far.on("user.get", [])
    elsewhere = portal(member_id=OTHER)
    for one in (bench.portal, elsewhere):
        await directory.user_for(one, "2099", None)
    directory.forget(MEMBER)
    for one in (bench.portal, elsewhere):
        await directory.user_for(one, "2099", None)
    assert len(far.said) == 3


async def test_a_refused_look_up_gives_the_call_to_the_default(bench: Bench) -> None:
    directory, far = people(bench)
    far.on("user.get", Forbidden("no right to read users"))
    choice = await directory.user_for(bench.portal, "2099", None)
    assert choice is not None
    assert (choice.user_id, choice.matched) == (1, False)
    await directory.user_for(bench.portal, "2099", None)
    assert len(far.said) == 2, "a refusal is no answer: nobody said that the extension is free"


@pytest.mark.parametrize("trouble", [Throttled("slow"), NeedsReauth("nobody"), VendorBroken("500")])
async def test_a_trouble_that_passes_makes_the_call_wait_for_the_right_user(
    bench: Bench, trouble: Trouble
) -> None:
    directory, far = people(bench)
    far.on("user.get", trouble)
    with pytest.raises(type(trouble)):
        await directory.user_for(bench.portal, "2099", None)


async def test_an_extension_that_moved_is_taken_from_whoever_had_it(bench: Bench) -> None:
    await bench.know(Agent(11, "Ann Lee", "2001", active=False), BEN)
    directory, _ = people(bench, user__get=[row(30, "2001"), {"NAME": "without id"}])
    await directory.user_for(bench.portal, "2001", None)
    agents = await directory.agents(MEMBER)
    assert [a.user_id for a in agents] == [12, 30]


async def test_a_dismissed_user_is_asked_for_anew(bench: Bench) -> None:
    await bench.know(ANN, BEN)
    directory, far = people(bench, user__get=[row(30, "2001")])
    await directory.distrust(bench.portal, 11)
    assert [a.user_id for a in await directory.agents(MEMBER)] == [12]
    choice = await directory.user_for(bench.portal, "2001", None)
    assert choice is not None
    assert choice.user_id == 30
    assert far.methods == ["user.get"]


async def test_distrust_does_not_wait_for_an_old_miss_to_end(bench: Bench) -> None:
    directory, far = people(bench)
    far.on("user.get", [], [row(30, "2001")])
    await directory.user_for(bench.portal, "2001", None)
    directory._agents[MEMBER] = [ANN]
    await directory.distrust(bench.portal, 11)
    choice = await directory.user_for(bench.portal, "2001", None)
    assert choice is not None
    assert choice.user_id == 30


async def test_cards_are_shown_to_matched_users_only_and_once_each(bench: Bench) -> None:
    await bench.know(ANN, BEN, Agent(1, "Admin"))
    directory, _ = people(bench, user__get=[])
    assert await directory.users_of(bench.portal, ("2001", "2099", "2001", "2002")) == [11, 12]


async def test_a_refresh_takes_all_pages_and_survives_a_restart(bench: Bench) -> None:
    directory, far = people(bench)
    far.on(
        "user.get", Answer([row(1), row(2, "2002")], next=50), Answer([row(3, "2003"), {"x": 1}], next=None)
    )
    assert await directory.refresh(bench.portal) == 3
    assert [r.params["start"] for r in far.said] == [0, 50]
    again, _ = people(bench)
    assert [a.user_id for a in await again.agents(MEMBER)] == [1, 2, 3]
    assert set(far.priorities) == {Priority.BACKFILL}
    snapshot = await bench.store.snapshot(MEMBER, "agents")
    assert snapshot is not None
    assert snapshot.taken_at == NOW


async def test_a_refresh_forgets_misses(bench: Bench) -> None:
    directory, far = people(bench)
    far.on("user.get", [], [row(1)], [row(30, "2099")])
    await directory.user_for(bench.portal, "2099", None)
    await directory.refresh(bench.portal)
    choice = await directory.user_for(bench.portal, "2099", None)
    assert choice is not None
    assert choice.user_id == 30


async def test_a_list_with_gaps_comes_as_a_map_and_is_a_list_all_the_same(bench: Bench) -> None:
    directory, far = people(bench)
    far.on("user.get", {"0": row(1), "2": row(3, "2003")}, {"1": row(30, "2099")})
    assert await directory.refresh(bench.portal) == 2
    choice = await directory.user_for(bench.portal, "2099", None)
    assert choice is not None
    assert choice.user_id == 30


@pytest.mark.parametrize("empty", [[], {}, None, False, 7, "no", [{"NAME": "without id"}]])
async def test_an_empty_answer_keeps_the_last_snapshot(bench: Bench, empty: Any) -> None:
    await bench.know(ANN)
    directory, far = people(bench)
    far.on("user.get", empty)
    assert await directory.refresh(bench.portal) == 0
    assert list(await directory.agents(MEMBER)) == [ANN]


async def test_a_failing_refresh_keeps_the_last_snapshot(bench: Bench) -> None:
    await bench.know(ANN)
    directory, far = people(bench)
    far.on("user.get", Answer([row(1)], next=50), VendorBroken("a fault"))
    with pytest.raises(VendorBroken):
        await directory.refresh(bench.portal)
    assert list(await directory.agents(MEMBER)) == [ANN]


async def test_a_portal_without_end_is_cut(bench: Bench) -> None:
    directory, far = people(bench)
    far.on("user.get", Answer([row(1)], next=50))
    assert await directory.refresh(bench.portal) == PAGES
    assert len(far.said) == PAGES


# --- a list that lost too much -----------------------------------------------------------------------

OFFICE = [Agent(u, f"N {u}", f"20{u}") for u in range(11, 17)]


def rows(*users: int, bare: bool = False) -> list[dict[str, Any]]:
    return [row(u, "" if bare else f"20{u}", NAME=f"N {u}") for u in users]


async def offered(bench: Bench) -> dict[str, Any]:
    snapshot = await bench.store.snapshot(MEMBER, "agents:offered")
    assert snapshot is not None
    return dict(snapshot.items[0])


async def test_a_shrunken_list_is_kept_aside_told_once_and_nobody_is_lost(bench: Bench) -> None:
    await bench.know(*OFFICE)
    directory, _ = people(bench, user__get=[*rows(11, 12, 13), row(30, "2030")])
    for told in ("waiting", "cancelled"):
        assert await directory.refresh(bench.portal) == 4
        assert await bench.states("portal:directory") == {"notify:agents": told}
        await bench.do(lambda unit: unit.stop_jobs(MEMBER, "as if it were done"))
    assert [a.user_id for a in await directory.agents(MEMBER)] == [11, 12, 13, 14, 15, 16, 30]
    head = await offered(bench)
    assert (head["lost"], head["added"], head["confirm"]) == (["14", "15", "16"], [], 3)
    lane = await bench.lane("portal:directory")
    assert "3 of 6 known entries" in lane["notify:agents"].data["message"]
    again, _ = people(bench)
    assert len(await again.agents(MEMBER)) == 7, "it survives a restart"


async def test_inner_numbers_that_a_scope_left_out_stay(bench: Bench) -> None:
    await bench.know(*OFFICE)
    directory, _ = people(bench, user__get=rows(*range(11, 17), bare=True))
    await directory.refresh(bench.portal)
    assert [a.extension for a in await directory.agents(MEMBER)] == [a.extension for a in OFFICE]
    assert (await offered(bench))["confirm"] == 6


async def test_an_accepted_list_is_the_good_one(bench: Bench) -> None:
    await bench.know(*OFFICE)
    directory, _ = people(bench, user__get=rows(11, 12, 13))
    await directory.refresh(bench.portal)
    assert not await directory.accept(bench.portal, 2)
    assert len(await directory.agents(MEMBER)) == 6
    assert await directory.accept(bench.portal, 3)
    assert [a.user_id for a in await directory.agents(MEMBER)] == [11, 12, 13]
    snapshot = await bench.store.snapshot(MEMBER, "agents:offered")
    assert snapshot is not None
    assert snapshot.items == ()
    assert not await directory.accept(bench.portal, 3), "there is nothing to accept any more"


async def test_a_list_that_is_whole_again_ends_the_offer(bench: Bench) -> None:
    await bench.know(*OFFICE)
    directory, far = people(bench)
    far.on("user.get", rows(11, 12), rows(*range(11, 16)))
    await directory.refresh(bench.portal)
    await directory.refresh(bench.portal)
    assert [a.user_id for a in await directory.agents(MEMBER)] == list(range(11, 16))
    assert not await directory.accept(bench.portal, 4)


async def test_a_user_whose_activity_is_not_told_counts_as_active(bench: Bench) -> None:
    directory, _ = people(bench, user__get=[{"ID": "11", "UF_PHONE_INNER": "2001"}])
    await directory.refresh(bench.portal)
    assert (await directory.agents(MEMBER))[0].active


async def test_who_can_be_given_a_call(bench: Bench) -> None:
    directory, _ = people(bench)
    assert await directory.works(bench.portal, 99), "before the first snapshot everybody can"
    await bench.know(ANN, Agent(12, "Left", active=False))
    directory.forget(MEMBER)
    assert [await directory.works(bench.portal, u) for u in (11, 12, 99)] == [True, False, False]
