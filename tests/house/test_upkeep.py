"""The portal's own work: bindings, snapshots, tokens, notices."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, cast

import pytest

from bitrix_app.bitrix.auth import TokenRefresher
from bitrix_app.bitrix.bindings import EVENTS
from bitrix_app.core.advance import advance
from bitrix_app.core.commands import (
    AcceptDirectory,
    Command,
    EnsureBindings,
    Finish,
    Notify,
    Priority,
    RefreshDirectory,
    RefreshTokens,
)
from bitrix_app.core.errors import Forbidden, NotFound, Throttled, Unavailable, Unreadable, VendorBroken
from bitrix_app.core.events import Registered
from bitrix_app.core.jobs import Moot
from bitrix_app.core.lifecycle import Phase
from bitrix_app.core.portal import Agent, Portal, PortalSettings, Snapshot, TokenPair
from bitrix_app.directory import Directory
from bitrix_app.lines import Lines
from bitrix_app.upkeep import IDLE_PAIR, Addresses, Upkeep
from tests.house.making import LINE, MEMBER, NOW, Bench, FakePortal, call, job, pair, portal
from unitalk.client import UnitalkClient

pytestmark = pytest.mark.anyio

HERE = Addresses(events="https://calls.example.com/bitrix/events", app="https://calls.example.com/bitrix/app")
NOTIFY = "im.notify.system.add"


class FakeRefresher:
    def __init__(self, bench: Bench) -> None:
        self._bench = bench
        self.refreshed: list[int] = []

    async def pairs(self, _portal: Portal) -> Sequence[TokenPair]:
        return await self._bench.pairs()

    async def refresh(self, _portal: Portal, used: TokenPair) -> TokenPair:
        self.refreshed.append(used.user_id)
        return used


class FakePbx:
    def __init__(self) -> None:
        self.answer: Any = [{"line": "2001", "name": "Ann"}]
        self.keys: list[str] = []
        self.asked: list[str] = []
        self.raw: Any = {"users": [{"line": "2001", "firstName": "Ann", "secret": "canary"}]}

    async def request(self, key: str, path: str, **_more: Any) -> Any:
        self.asked.append(path)
        if isinstance(self.raw, Exception):
            raise self.raw
        return self.raw

    async def users(self, key: str) -> Any:
        self.keys.append(key)
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer


class Room:
    def __init__(self, bench: Bench) -> None:
        self.bench = bench
        self.far = FakePortal(
            event__get=[],
            placement__get=[],
            placement__list=["REST_APP_URI", "TELEPHONY_ANALYTICS_MENU"],
            event__bind=True,
            placement__bind=True,
            app__info={"LICENSE_FAMILY": "ent", "ID": "3", "CODE": "unitalk.calls"},
            user__get=[{"ID": "11", "ACTIVE": True, "UF_PHONE_INNER": "2001"}],
        )
        self.far.on("telephony.externalLine.get", [{"NUMBER": LINE, "NAME": "Sales"}])
        self.far.on("telephony.externalLine.add", {"ID": 1})
        self.far.on("crm.status.list", [{"STATUS_ID": "NEW"}])
        self.far.on("crm.settings.mode.get", 1)
        self.far.on("crm.category.list", {"categories": [{"id": 0, "name": "General"}]})
        self.far.on("scope", ["telephony", "crm", "placement", "user_basic", "im", "disk"])
        self.far.on("events", list(EVENTS))
        self.far.on("crm.settings.mode.get", 1)
        self.far.on(NOTIFY, 1)
        self.refresher = FakeRefresher(bench)
        self.pbx = FakePbx()
        self.portal = bench.portal
        self.directory = Directory(bench.store, self.far.client, bench.clock)
        self.upkeep = Upkeep(
            bench.store,
            bench.clock,
            self.far.client,
            cast(TokenRefresher, self.refresher),
            self.directory,
            Lines(bench.store, bench.clock),
            cast(UnitalkClient, self.pbx),
            HERE,
        )

    async def say(self, command: Command) -> None:
        await self.upkeep.deliver(self.portal, job(command))

    async def snapshot(self, kind: str) -> Snapshot | None:
        return await self.bench.store.snapshot(MEMBER, kind)

    async def items(self, kind: str) -> list[dict[str, Any]]:
        found = await self.snapshot(kind)
        assert found is not None, kind
        assert found.taken_at == NOW
        return [dict(item) for item in found.items]


@pytest.fixture
def room(bench: Bench) -> Room:
    return Room(bench)


async def test_a_command_that_is_not_the_portals_own_is_not_understood(room: Room) -> None:
    with pytest.raises(Unreadable, match="nobody delivers finish"):
        await room.say(Finish())


# --- bindings --------------------------------------------------------------------------------------


async def test_handlers_places_and_lines_are_made_what_they_should_be(room: Room) -> None:
    room.portal = portal(settings=PortalSettings(line_names={"380440000002": "Help"}))
    await room.say(EnsureBindings())
    bound = [r.params for r in room.far.said if r.method == "event.bind"]
    assert {p["event"] for p in bound} == set(EVENTS)
    assert {p["handler"] for p in bound} == {HERE.events}
    assert room.far.params("placement.bind")["HANDLER"] == HERE.app
    assert room.far.params("telephony.externalLine.add")["NUMBER"] == "380440000002"
    (told,) = await room.items("bindings")
    assert told == {"changed": len(EVENTS) + 3, "refused": {}}


async def test_a_refused_place_is_kept_for_people_and_does_not_fail_the_rest(room: Room) -> None:
    room.far.on("placement.bind", NotFound("no such place"))
    await room.say(EnsureBindings())
    (told,) = await room.items("bindings")
    assert told["changed"] == len(EVENTS)
    assert set(told["refused"].values()) == {"no such place"}


@pytest.mark.parametrize("trouble", [Throttled("slow"), Forbidden("no scope")])
async def test_bindings_that_failed_are_not_stamped_as_done(room: Room, trouble: Exception) -> None:
    room.far.on("event.bind", trouble)
    with pytest.raises(type(trouble)):
        await room.say(EnsureBindings())
    assert await room.snapshot("bindings") is None


# --- pipelines -------------------------------------------------------------------------------------


def stages_by_pipeline(request: Any) -> Any:
    code = request.params["filter"]["ENTITY_ID"]
    if code == "DEAL_STAGE_4":
        return Forbidden("no right to that pipeline")
    number = code.removeprefix("DEAL_STAGE_")
    return [{"STATUS_ID": f"C{number}:NEW" if number.isdigit() else "NEW"}]


async def test_a_refresh_takes_the_crm_mode_and_every_pipeline_s_stages(room: Room) -> None:
    room.far.on("crm.settings.mode.get", 2)
    room.far.on("crm.category.list", {"categories": [{"id": 0, "name": "A"}, {"id": "9", "name": "B"}]})
    room.far.on("crm.status.list", stages_by_pipeline)
    await room.say(RefreshDirectory())
    assert await room.items("crm_mode") == [{"mode": 2}]
    assert await room.items("deal_categories") == [{"id": 0, "name": "A"}, {"id": 9, "name": "B"}]
    assert await room.items("category_stages") == [{"STATUS_ID": "C9:NEW"}]
    assert room.far.batches[-2:] == [["crm.settings.mode.get", "crm.category.list"], ["crm.status.list"]]


@pytest.mark.parametrize(
    "listed", [NotFound("an old portal"), [], {"categories": []}, {"categories": [{"id": 9}, {"id": 4}]}]
)
async def test_pipelines_that_are_not_told_leave_what_was_known(room: Room, listed: Any) -> None:
    room.far.on("crm.status.list", stages_by_pipeline)
    room.far.on("crm.category.list", {"categories": [{"id": 9, "name": "B"}]})
    await room.say(RefreshDirectory())
    before = await room.items("category_stages")
    room.far.on("crm.category.list", listed)
    await room.say(RefreshDirectory())
    assert await room.items("category_stages") == before
    assert await room.items("deal_categories")


@pytest.mark.parametrize("said", [None, [], {}, "", 7, NotFound("an old portal")])
async def test_a_crm_mode_that_says_nothing_leaves_what_was_known(room: Room, said: Any) -> None:
    room.far.on("crm.settings.mode.get", "2")
    await room.say(RefreshDirectory())
    room.far.on("crm.settings.mode.get", said)
    await room.say(RefreshDirectory())
    assert await room.items("crm_mode") == [{"mode": 2}]


async def test_pipelines_that_shrank_wait_for_a_person_and_their_stages_stay(room: Room) -> None:
    everything = [{"id": n, "name": f"P{n}"} for n in (0, 5, 6, 7)]
    room.far.on("crm.status.list", stages_by_pipeline)
    room.far.on("crm.category.list", {"categories": everything})
    await room.say(RefreshDirectory())
    stages = await room.items("category_stages")
    assert len(stages) == 3
    room.far.on("crm.category.list", {"categories": everything[:1]})
    await room.say(RefreshDirectory())
    assert await room.items("deal_categories") == everything
    assert await room.items("category_stages") == stages
    head, *_ = await room.items("deal_categories:offered")
    assert (head["lost"], head["confirm"]) == (["5", "6", "7"], 3)
    await room.say(AcceptDirectory(directory="deal_categories", confirm=3))
    await room.say(RefreshDirectory())
    assert await room.items("deal_categories") == everything[:1]
    assert await room.items("category_stages") == [], "who accepted the pipelines' end accepted their stages'"


async def test_stages_of_a_living_pipeline_that_vanish_wait_for_a_person(room: Room) -> None:
    def stages(count: int) -> Any:
        return lambda request: [
            {"STATUS_ID": f"C9:S{n}"}
            for n in range(count if request.params["filter"]["ENTITY_ID"] == "DEAL_STAGE_9" else 1)
        ]

    room.far.on("crm.category.list", {"categories": [{"id": 0, "name": "A"}, {"id": 9, "name": "B"}]})
    room.far.on("crm.status.list", stages(6))
    await room.say(RefreshDirectory())
    room.far.on("crm.status.list", stages(2))
    await room.say(RefreshDirectory())
    assert len(await room.items("category_stages")) == 6
    assert (await room.items("category_stages:offered"))[0]["confirm"] == 4


# --- the directory ---------------------------------------------------------------------------------


async def test_a_refresh_takes_people_lines_and_stages(room: Room) -> None:
    await room.say(RefreshDirectory())
    assert [a.user_id for a in await room.directory.agents(MEMBER)] == [11]
    assert await room.items("lines") == [{"NUMBER": LINE, "NAME": "Sales"}]
    assert await room.items("lead_stages") == [{"STATUS_ID": "NEW"}]
    assert await room.items("deal_stages") == [{"STATUS_ID": "NEW"}]
    assert room.pbx.keys == [], "without a key there is nobody to ask"


async def test_the_app_and_the_tariff_of_the_portal_are_remembered(room: Room) -> None:
    await room.say(RefreshDirectory())
    known = await room.bench.current()
    assert (known.license_family, known.rest_app_id, known.app_code) == ("ent", "3", "unitalk.calls")
    assert room.far.tariffs == ["ent"], "the limiter follows"
    before = known
    await room.say(RefreshDirectory())
    assert await room.bench.current() == before


async def test_an_app_info_that_says_nothing_changes_nothing(room: Room) -> None:
    room.far.on("app.info", ["odd"])
    room.far.on("scope", [])
    await room.say(RefreshDirectory())
    assert await room.bench.current() == room.bench.portal
    assert room.far.tariffs == []


async def test_the_app_of_a_portal_that_is_gone_is_not_remembered(room: Room) -> None:
    room.portal = replace(room.portal, member_id="e" * 32)
    await room.say(RefreshDirectory())
    assert await room.bench.store.portal("e" * 32) is None
    assert room.far.tariffs == []


@pytest.mark.parametrize("answer", [[], None, VendorBroken("a fault"), ["odd"]])
async def test_a_part_that_fails_or_is_empty_keeps_its_last_snapshot(room: Room, answer: Any) -> None:
    old = Snapshot("lines", NOW - 9, ({"NUMBER": "1"},))
    await room.bench.store.save_snapshot(MEMBER, old)
    room.far.on("telephony.externalLine.get", answer)
    await room.say(RefreshDirectory())
    assert await room.snapshot("lines") == old
    assert await room.items("lead_stages")


async def test_the_pbxs_operators_prove_its_key(room: Room) -> None:
    room.portal = portal(unitalk_key="pbx-key")
    await room.say(RefreshDirectory())
    assert room.pbx.keys == ["pbx-key"]
    assert await room.items("pbx_users") == [{"line": "2001", "name": "Ann"}]
    assert await room.items("pbx_state") == [{"ok": True, "operators": 1, "key_last4": ""}]


async def test_a_pbx_without_operators_keeps_the_last_ones(room: Room) -> None:
    room.portal = portal(unitalk_key="pbx-key")
    room.pbx.answer = []
    await room.say(RefreshDirectory())
    assert await room.snapshot("pbx_users") is None
    assert await room.items("pbx_state") == [{"ok": True, "operators": 0, "key_last4": ""}]


async def test_a_failing_pbx_does_not_cost_the_portal_its_directory(room: Room) -> None:
    room.portal = portal(unitalk_key="pbx-key")
    room.pbx.answer = Unavailable("down", code="HTTP_502", hint="wait")
    await room.say(RefreshDirectory())
    assert await room.items("lines")
    assert await room.items("pbx_state") == [
        {"ok": False, "code": "HTTP_502", "message": "down", "hint": "wait", "key_last4": ""}
    ]


async def test_a_shrunken_list_of_any_kind_waits_for_a_person(room: Room) -> None:
    room.portal = portal(unitalk_key="pbx-key")
    operators = [{"line": f"20{n:02}", "name": "Ann"} for n in range(6)]
    await room.bench.store.save_snapshot(MEMBER, Snapshot("pbx_users", NOW - 9, tuple(operators)))
    room.pbx.answer = operators[:3]
    await room.say(RefreshDirectory())
    kept = await room.snapshot("pbx_users")
    assert kept is not None
    assert len(kept.items) == 6
    offer = await room.items("pbx_users:offered")
    assert (offer[0]["confirm"], offer[1:]) == (3, operators[:3])
    with pytest.raises(Moot, match="changed"):
        await room.say(AcceptDirectory("pbx_users", 2))
    await room.say(AcceptDirectory("pbx_users", 3))
    assert await room.items("pbx_users") == operators[:3]


async def test_an_accepted_list_of_people_serves_at_once(room: Room) -> None:
    await room.bench.know(*(Agent(u, "N", f"20{u}") for u in range(11, 17)))
    await room.say(RefreshDirectory())
    assert len(await room.directory.agents(MEMBER)) == 6
    await room.say(AcceptDirectory("agents", 5))
    assert [a.user_id for a in await room.directory.agents(MEMBER)] == [11]
    with pytest.raises(Moot):
        await room.say(AcceptDirectory("agents", 5))


async def test_each_look_is_stamped_also_when_it_is_not_believed(room: Room) -> None:
    room.far.on("user.get", [])
    await room.say(RefreshDirectory())
    assert await room.items("directory") == [{"named": 0}]


async def test_lines_of_the_settings_and_of_calls_are_made(room: Room) -> None:
    room.portal = portal(
        settings=PortalSettings(line_users={"380440000003": 1}, line_names={"380440000002": "Help"})
    )
    await room.bench.store.save_snapshot(
        MEMBER, Snapshot("seen_lines", NOW, ({"line": "380440000004"}, {"line": LINE}))
    )
    await room.say(EnsureBindings())
    made = [r.params for r in room.far.said if r.method == "telephony.externalLine.add"]
    assert [(p["NUMBER"], p["NAME"]) for p in made] == [
        ("380440000002", "Help"),
        ("380440000003", "380440000003"),
        ("380440000004", "380440000004"),
    ]
    assert "telephony.externalLine.update" not in room.far.methods, "a name given there stays"


# --- abilities -------------------------------------------------------------------------------------


async def test_what_the_portal_can_is_remembered(room: Room) -> None:
    room.far.on("placement.list", ["REST_APP_URI"])
    room.far.on("events", [name for name in EVENTS if name != "ONVOXIMPLANTCALLINIT"])
    room.far.on("crm.settings.mode.get", "2")
    await room.say(RefreshDirectory())
    (item,) = await room.items("abilities")
    assert item["scopes"] == ["telephony", "crm", "placement", "user_basic", "im", "disk"]
    assert item["crm_mode"] == "simple"
    assert item["missing_placements"] == ["TELEPHONY_ANALYTICS_MENU"]
    assert item["missing_events"] == ["ONVOXIMPLANTCALLINIT"]
    assert item["license_family"] == "ent"
    assert (await room.bench.current()).scope == tuple(item["scopes"])


@pytest.mark.parametrize("answer", [[], None, {}, "disk", ["odd"], [7], VendorBroken("a fault")])
async def test_an_odd_list_of_scopes_takes_nothing_away(room: Room, answer: Any) -> None:
    await room.say(RefreshDirectory())
    before = await room.bench.current()
    room.far.on("scope", answer)
    room.far.on("placement.list", answer if answer != ["odd"] else [])
    await room.say(RefreshDirectory())
    assert (await room.bench.current()).scope == before.scope
    (item,) = await room.items("abilities")
    assert item["scopes"] == list(before.scope)
    if answer not in ("disk", [7]):
        assert item["missing_placements"] == []


async def test_without_the_right_to_see_users_nobody_is_asked_for_and_the_last_ones_stay(room: Room) -> None:
    await room.say(RefreshDirectory())
    before = await room.snapshot("agents")
    room.far.on("scope", ["telephony", "crm", "placement", "im", "disk"])
    room.far.on("user.get", Forbidden("no right", code="insufficient_scope"))
    room.far.said.clear()
    await room.say(RefreshDirectory())
    assert "user.get" not in room.far.methods
    assert await room.snapshot("agents") == before
    assert await room.items("lines"), "the rest of the directory is refreshed all the same"


async def test_the_structure_of_the_pbxs_answers_is_kept_once_a_day_without_values(room: Room) -> None:
    room.portal = portal(unitalk_key="pbx-key")
    await room.say(RefreshDirectory())
    (told,) = await room.items("pbx_structure")
    assert set(told) == {"users/list", "history/get", "autodial/action GET_WITH_DATA"}
    each = {"line": "digits(4)", "firstName": "text(3)", "secret": "text(6)"}
    assert told["users/list"] == {"users": {"list_of": 1, "each": each}}
    assert "canary" not in str(told)
    await room.say(RefreshDirectory())
    assert len(room.pbx.asked) == 3, "three reads a day, whatever the rounds do"
    await room.bench.clock.advance(86_400)
    await room.say(RefreshDirectory())
    assert len(room.pbx.asked) == 6


async def test_a_refused_key_is_told_in_the_structure_and_asked_again_soon(room: Room) -> None:
    room.portal = portal(unitalk_key="pbx-key")
    room.pbx.raw = Forbidden("no", code="AUTHORIZATION_INVALID", hint="mend")
    await room.say(RefreshDirectory())
    assert await room.items("pbx_structure") == [
        {"users/list": {"trouble": "AUTHORIZATION_INVALID", "message": "no", "hint": "mend"}}
    ]
    assert len(room.pbx.asked) == 1
    await room.bench.clock.advance(3_600)
    room.pbx.raw = []
    await room.say(RefreshDirectory())
    assert len(room.pbx.asked) == 4


# --- tokens ----------------------------------------------------------------------------------------


async def test_only_pairs_that_nobody_used_for_long_are_refreshed(room: Room) -> None:
    await room.bench.keep_pair(pair(1, age=IDLE_PAIR))
    await room.bench.keep_pair(pair(2, age=IDLE_PAIR - 1))
    await room.bench.keep_pair(pair(7, is_admin=False, age=IDLE_PAIR + 5))
    await room.say(RefreshTokens())
    assert sorted(room.refresher.refreshed) == [1, 7]
    assert await room.snapshot("tokens") is not None
    assert IDLE_PAIR < 180 * 86_400


# --- notices ---------------------------------------------------------------------------------------


async def test_a_notice_goes_to_the_one_it_names(room: Room) -> None:
    await room.say(Notify("tag", "text", 12))
    assert [r.params for r in room.far.said] == [{"USER_ID": 12, "MESSAGE": "text", "TAG": "tag"}]
    assert room.far.priorities == [Priority.CRM]


async def test_a_notice_for_nobody_in_particular_goes_to_all_administrators(room: Room) -> None:
    for user_id, is_admin in ((1, True), (4, True), (7, False)):
        await room.bench.keep_pair(pair(user_id, is_admin=is_admin))
    await room.say(Notify("tag", "text"))
    assert sorted(r.params["USER_ID"] for r in room.far.said) == [1, 4]


async def test_a_notice_of_ours_is_told_in_the_portals_language(room: Room) -> None:
    await room.bench.keep_pair(pair(1, is_admin=True))
    event = Registered("externalCall.1", 5, "2009", matched=False)
    notices = advance(call(phase=Phase.RINGING), event, NOW, PortalSettings().rules).owed
    (message,) = [owed.command.message for owed in notices if isinstance(owed.command, Notify)]
    room.portal = replace(room.portal, language="uk")
    await room.say(Notify("tag", message))
    assert room.far.params(NOTIFY)["MESSAGE"].startswith("Дзвінки внутрішнього номера АТС 2009 не мають")
