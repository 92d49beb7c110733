"""What the PBX's answers mean for a start, what is asked of its history, and whose a callback is."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import pytest

from bitrix_app.core.call import Call
from bitrix_app.core.commands import Dial, TraceDial
from bitrix_app.core.dial import DialState, Origin
from bitrix_app.core.errors import (
    AnswerLost,
    Forbidden,
    NotSent,
    Refused,
    Throttled,
    Trouble,
    Unavailable,
    VendorBroken,
)
from bitrix_app.core.events import CallbackAssigned, DialAccepted, DialFailed, Direction, Traced
from bitrix_app.core.jobs import Moot
from bitrix_app.core.permit import KEY_REFUSED
from bitrix_app.core.portal import Agent, Snapshot
from bitrix_app.desk import Press
from bitrix_app.owners import Owners
from bitrix_app.starting import LOST, TOLD, Starting
from bitrix_app.vault import SecretVault
from storage import open_store
from tests.house.making import KEY, NOW, Through, away, job
from tests.house.starts import CLIENTS, Clock, Fate, People, World
from unitalk.client import UnitalkClient

pytestmark = pytest.mark.anyio

CLIENT = CLIENTS[0]


@pytest.fixture
async def world(tmp_path: Path, anyio_backend: str) -> AsyncIterator[World]:
    store = await open_store(f"sqlite:///{tmp_path}/unitalk.db", SecretVault(KEY), Clock())
    made = World(store, "0" * 32, [Fate()])
    await made.begin()
    yield made
    await store.close()


class Answers:
    """A PBX that answers every asking with this trouble, or with yes."""

    def __init__(self, trouble: Exception | None) -> None:
        self.trouble = trouble
        self.asked: list[tuple[Any, ...]] = []

    async def direct_call(self, *asked: Any) -> None:
        self.asked.append(asked)
        if self.trouble is not None:
            raise self.trouble


async def said(world: World, trouble: Exception | None, **more: Any) -> tuple[object, Answers]:
    """What becomes of one asking; `more` changes the job."""
    client = f"38044000{world.presses:04}"
    call = await world.press(7, client, click=True)
    pbx = Answers(trouble)
    store: Any = more.pop("store", world.store)
    starting = Starting(store, world.clock, cast(UnitalkClient, pbx), cast(Any, None), cast(Any, None))
    asked = job(Dial("2001", f"+{client}"), lane=call.id, portal=world.member, **more)
    return await starting.deliver(await world.portal(), asked, call), pbx


@pytest.mark.parametrize(
    ("trouble", "code", "certain", "category"),
    [
        (Refused("The line is offline", code="UNITALK_REFUSED"), "PBX_REFUSED", True, "validation"),
        (Forbidden("Not for you", code="OTHER"), "PBX_REFUSED", True, "authorization"),
        (Forbidden("The key", code=KEY_REFUSED.code), KEY_REFUSED.code, True, "authentication"),
        (NotSent("no route"), "PBX_UNREACHABLE", True, "connection"),
        (Throttled("too many"), "PBX_UNREACHABLE", True, "connection"),
        (AnswerLost("reset"), "ANSWER_LOST", False, "timeout"),
        (AnswerLost("Internal error", code="INTERNAL_ERROR"), "ANSWER_LOST", False, "timeout"),
        (VendorBroken("502"), "ANSWER_LOST", False, "timeout"),
        (Unavailable("maintenance"), "ANSWER_LOST", False, "timeout"),
        (Trouble("who knows"), "ANSWER_LOST", False, "timeout"),
    ],
)
async def test_what_an_answer_means(
    world: World, trouble: Trouble, code: str, certain: bool, category: str
) -> None:
    event, pbx = await said(world, trouble)
    assert isinstance(event, DialFailed)
    assert (event.failure.code, event.certain, event.failure.category) == (code, certain, category)
    assert len(pbx.asked) == 1


async def test_a_yes_is_a_yes_and_our_id_went_with_it(world: World) -> None:
    event, pbx = await said(world, None)
    (call,) = await world.calls()
    assert event == DialAccepted()
    assert pbx.asked[0][:4] == ("a key of many letters", "2001", call.number, call.id)


async def test_a_job_in_doubt_never_asks(world: World) -> None:
    event, pbx = await said(world, None, doubt=True)
    assert (event, pbx.asked) == (DialFailed(LOST, certain=False), [])


@pytest.mark.parametrize("state", [s for s in DialState if s is not DialState.ASKED])
async def test_a_start_that_is_no_longer_asked_for_asks_nobody(world: World, state: DialState) -> None:
    call = await world.press(7, CLIENT, click=True)
    assert call.dial is not None
    settled = replace(call, dial=replace(call.dial, state=state))
    pbx = Answers(None)
    starting = Starting(world.store, world.clock, cast(Any, pbx), cast(Any, None), cast(Any, None))
    with pytest.raises(Moot):
        await starting.deliver(await world.portal(), job(Dial("2001", CLIENT), lane=call.id), settled)
    assert pbx.asked == []


@pytest.mark.parametrize(("origin", "category"), [(Origin.CLICK, "timeout"), (Origin.RULE, "availability")])
async def test_who_could_not_be_asked_in_time_is_not_asked(
    world: World, origin: Origin, category: str
) -> None:
    call = await world.press(7, CLIENT, click=True)
    assert call.dial is not None
    call = replace(call, dial=replace(call.dial, origin=origin))
    pbx = Answers(None)
    starting = Starting(world.store, world.clock, cast(Any, pbx), cast(Any, None), cast(Any, None))
    world.clock.at += 20.1
    fresh = job(Dial("2001", CLIENT), lane=call.id, created_at=world.now)
    event = await starting.deliver(await world.portal(), fresh, call)
    assert isinstance(event, DialFailed)
    assert (event.failure.code, event.failure.category, event.certain) == ("STALE", category, True)
    assert pbx.asked == []


# --- the key -----------------------------------------------------------------------------------------

WRONG_KEY = Forbidden("The key", code=KEY_REFUSED.code)


async def notices(world: World) -> int:
    await world.work()
    return [tag for _, tag in world.notices].count("pbx-key")


async def test_a_refused_key_is_told_once_until_it_has_worked_again(world: World) -> None:
    for _ in range(2):
        await said(world, WRONG_KEY)
        world.clock.at += 61.0
    assert await notices(world) == 1
    await said(world, None)
    world.clock.at += 200.0
    await said(world, WRONG_KEY)
    assert await notices(world) == 2


async def test_a_refused_key_that_the_daily_look_found_first_is_told_all_the_same(world: World) -> None:
    found = Snapshot("pbx_state", NOW - 600.0, ({"ok": False, "code": KEY_REFUSED.code},))
    await world.store.save_snapshot(world.member, found)
    await said(world, WRONG_KEY)
    assert await notices(world) == 1


async def test_what_is_believed_of_a_key_asks_nobody_for_a_minute_and_no_longer(world: World) -> None:
    await said(world, WRONG_KEY)
    await world.press(8, CLIENT, click=True)
    entry = next(entry for entry in await world.entries() if entry.agent == 8)
    assert entry.failure == KEY_REFUSED
    world.clock.at += 61.0
    call = await world.press(8, CLIENT, click=True)
    assert call.dial is not None
    assert call.dial.state is DialState.ASKED


@pytest.mark.parametrize("trouble", [WRONG_KEY, None])
async def test_the_answer_counts_though_the_store_is_away(world: World, trouble: Exception | None) -> None:
    """Else the job came back a second later and asked again."""
    found = Snapshot("pbx_state", NOW - 600.0, ({"ok": False, "code": KEY_REFUSED.code},))
    await world.store.save_snapshot(world.member, found)

    async def gone(*_: Any) -> None:
        raise away()

    store = Through(world.store, transact=gone)
    event, _ = await said(world, trouble, store=store)
    assert isinstance(event, DialFailed if trouble else DialAccepted)
    assert await world.store.snapshot(world.member, TOLD) is None


# --- the history -------------------------------------------------------------------------------------


async def traced(world: World, call: Call) -> Traced:
    event = await world.starting.deliver(await world.portal(), job(TraceDial(), lane=call.id), call)
    assert isinstance(event, Traced)
    return event


@pytest.mark.parametrize(
    ("fate", "extension", "found"),
    [
        (Fate(row_after=1.0), "2001", True),
        (Fate(row_after=1.0, row_meta=False), "2001", True),
        (Fate(row_after=1.0, row_meta=False), "2002", False),
        (Fate(row_after=1.0), "2002", True),
        (Fate(row_after=900.0), "2001", False),
        (Fate(after=130.0, row_after=1.0, row_meta=False), "2001", False),
    ],
)
async def test_which_row_is_the_call(world: World, fate: Fate, extension: str, found: bool) -> None:
    call = await world.press(7, CLIENT, click=True)
    world.pbx.fates = [fate]
    world.pbx.make(extension, CLIENT, NOW + fate.after, call.id, incoming=False)
    world.clock.at += 200.0
    assert ((await traced(world, call)).report is not None) is found


async def test_a_row_with_another_mark_is_somebody_elses(world: World) -> None:
    call = await world.press(7, CLIENT, click=True)
    world.pbx.make("2001", CLIENT, NOW + 1.0, "f" * 27, incoming=False)
    world.clock.at += 60.0
    assert await traced(world, call) == Traced(None)


async def test_a_row_that_cannot_be_read_yet_is_asked_for_again(world: World) -> None:
    call = await world.press(7, CLIENT, click=True)
    world.pbx.deaf = True
    with pytest.raises(Unavailable):
        await traced(world, call)


@pytest.mark.parametrize("state", [DialState.RANG, DialState.FAILED, DialState.JOINED])
async def test_who_is_known_is_not_looked_for(world: World, state: DialState) -> None:
    call = await world.press(7, CLIENT, click=True)
    assert call.dial is not None
    with pytest.raises(Moot):
        await traced(world, replace(call, dial=replace(call.dial, state=state)))


# --- whose callback ----------------------------------------------------------------------------------


class Known(People):
    """The client has a responsible person; who is `gone` works no more."""

    def __init__(self, responsible: int | None, gone: int | None = None) -> None:
        self.responsible, self.gone = responsible, gone

    async def works(self, portal: Any, user: int) -> bool:
        return user != self.gone

    async def clients(self, portal: Any, call: Call, priority: object) -> list[Any]:
        class Client:
            responsible = self.responsible

        return [Client()] if self.responsible else []

    async def agents(self, member_id: str) -> list[Agent]:
        return [*await super().agents(member_id), Agent(9, "Nine", None)]


@pytest.mark.parametrize(
    ("people", "user", "extension", "code"),
    [
        (Known(8), 8, "2002", None),
        (Known(None), 7, "2001", None),
        (Known(8, gone=8), 7, "2001", None),
        (Known(9), 9, None, "NO_EXTENSION"),
    ],
)
async def test_a_callback_goes_to_the_responsible_person_else_by_rule(
    world: World, people: Known, user: int, extension: str | None, code: str | None
) -> None:
    portal = await world.portal()
    wish = Press(Origin.FORM, f"+{CLIENT}", None, NOW)
    call = await world.store.transact(lambda unit: world.desk.press(unit, portal, wish, NOW))
    world.starting = Starting(
        world.store, world.clock, cast(Any, world.pbx), cast(Any, people), cast(Owners, people)
    )
    jobs = await world.store.lane(world.member, call.id)
    event = await world.starting.deliver(portal, jobs[0], call)
    assert isinstance(event, CallbackAssigned)
    assert (event.user_id, event.extension) == (user, extension)
    assert (event.failure.code if event.failure else None) == code
    assert call.direction is Direction.OUT


async def test_a_callback_that_nobody_at_all_can_take_is_refused(world: World) -> None:
    portal = replace(
        await world.portal(),
        installed_by=None,
        settings=replace((await world.portal()).settings, default_user=None),
    )
    wish = Press(Origin.FORM, f"+{CLIENT}", None, NOW)
    call = await world.store.transact(lambda unit: world.desk.press(unit, portal, wish, NOW))
    jobs = await world.store.lane(world.member, call.id)
    with pytest.raises(Refused) as refused:
        await world.starting.deliver(portal, jobs[0], call)
    assert refused.value.code == "NO_USER"
