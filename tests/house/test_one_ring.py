"""No schedule makes two rings for one wish, and nobody's call is lost on the way (issue: calling out).

Presses, answers, webhooks, the history, timers and crashes come in any order between any two transactions.
"""

from __future__ import annotations

import asyncio
import itertools
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from bitrix_app.core.store import Store
from bitrix_app.vault import SecretVault
from storage import open_store
from tests.house.making import KEY
from tests.house.starts import AGENTS, CLIENTS, NEVER, Clock, Fate, World

MEMORY = Path("/dev/shm")
MODES = ("yes", "refused", "not sent", "lost, done", "lost, not done", "lost, done late", "key")
PASSES = (0.0, 1.0, 4.0, 20.0, 31.0, 65.0, 121.0, 400.0, 4_000.0)
BITS = st.tuples(st.booleans(), st.booleans(), st.booleans())
SELDOM = st.sampled_from((False, False, False, True))
LATE = st.sampled_from((0.1, 0.1, 2.0, 40.0, 130.0, 300.0, 2_000.0))

FATES = st.lists(
    st.builds(
        Fate,
        after=st.sampled_from((0.2, 1.0, 6.0, 30.0)),
        seconds=st.sampled_from((8, 20, 90, 400)),
        talks=st.booleans(),
        lateness=st.tuples(LATE, LATE, LATE),
        lost=st.one_of(st.just((False, False, False)), BITS, st.just((True, True, True))),
        twice=st.tuples(SELDOM, SELDOM, SELDOM),
        meta=st.one_of(st.just((True, True, True)), st.just((False, False, False)), BITS),
        row_after=st.sampled_from((1.0, 60.0, 900.0, NEVER)),
        row_meta=st.booleans(),
        row_id=st.booleans(),
        inner_leg=SELDOM,
        behind=st.sampled_from((0.0, 0.0, 3.0, -3.0)),
    ),
    min_size=1,
    max_size=5,
)
DEEDS: tuple[str, ...] = (
    "click",
    "click",
    "page",
    "now",
    "by_hand",
    "incoming",
    "take",
    "take",
    "settle",
    "work",
    "work",
)
DEEDS += ("pass", "pass", "pass", "crash", "deaf", "leave")
ACTS = st.lists(
    st.tuples(
        st.sampled_from(DEEDS),
        st.integers(0, 8),
        st.integers(0, 6),
    ),
    min_size=1,
    max_size=24,
)


@dataclass
class Place:
    """A store for all examples, each of which has a portal of its own."""

    store: Store
    runner: asyncio.Runner
    numbers: Iterator[int]


@pytest.fixture(scope="module")
def place() -> Iterator[Place]:
    folder = Path(tempfile.mkdtemp(prefix="unitalk-rings-", dir=MEMORY if MEMORY.is_dir() else None))
    with asyncio.Runner() as runner:
        store = runner.run(open_store(f"sqlite:///{folder}/unitalk.db", SecretVault(KEY), Clock()))
        yield Place(store, runner, itertools.count(1))
        runner.run(store.close())
    shutil.rmtree(folder)


async def lived(store: Store, number: int, fates: list[Fate], acts: list[tuple[str, int, int]]) -> None:
    world = World(store, f"{number:032x}", fates)
    await world.begin()
    users = sorted(AGENTS)
    for act, a, b in acts:
        user, client = users[a % 2], CLIENTS[b % 2]
        match act:
            case "click" | "page":
                await world.press(user, client, click=act == "click")
            case "now":
                await world.call_now(a, user)
            case "by_hand":
                world.pbx.make(AGENTS[user], client, world.now, None, incoming=False)
            case "incoming":
                world.pbx.make(AGENTS[user], client, world.now, None, incoming=True)
            case "take":
                await world.take(MODES[b])
            case "settle":
                await world.settle(a)
            case "work":
                await world.work(MODES[b])
            case "pass":
                await world.advance(PASSES[a], work=b > 2)
            case "crash":
                await world.crash(PASSES[a])
            case "leave":
                await world.leave(PASSES[a])
            case "deaf":
                world.pbx.deaf = not world.pbx.deaf
        await world.check()
    await world.quiet()
    await world.check_end()
    await store.transact(lambda unit: unit.erase_portal(world.member))


def check(place: Place, fates: list[Fate], acts: list[tuple[str, int, int]]) -> None:
    place.runner.run(lived(place.store, next(place.numbers), fates, acts))


ANY: Any = {"deadline": None, "suppress_health_check": list(HealthCheck)}


SILENT = Fate(lost=(True, True, True), row_after=NEVER)
BARE = Fate(
    talks=False,
    lateness=(40.0, 0.1, 40.0),
    meta=(False, False, False),
    row_after=1.0,
    row_meta=False,
    row_id=True,
)
OWN_ROW = Fate(lost=(False, False, True), meta=(False, False, False), row_after=1.0, row_id=True)


@settings(max_examples=150, **ANY)
@given(fates=FATES, acts=ACTS)
@example(fates=[SILENT], acts=[("click", 0, 0), ("take", 0, 0), ("crash", 0, 0)])
@example(fates=[Fate()], acts=[("click", 0, 0), ("take", 0, 3), ("crash", 2, 0)])
@example(fates=[SILENT], acts=[("click", 0, 0), ("work", 0, 4), ("pass", 6, 6), ("now", 0, 0)])
@example(fates=[BARE], acts=[("click", 0, 0)])
@example(fates=[Fate(inner_leg=True)], acts=[("click", 0, 0)])
@example(
    fates=[Fate(), OWN_ROW, Fate()],
    acts=[("click", 0, 0), ("click", 0, 1), ("work", 0, 5), ("leave", 6, 0)],
)
def test_one_wish_is_one_ring_whatever_happens_in_between(
    place: Place, fates: list[Fate], acts: list[tuple[str, int, int]]
) -> None:
    check(place, fates, acts)


@pytest.mark.slow
@settings(max_examples=3_000, **ANY)
@given(fates=FATES, acts=ACTS)
def test_one_wish_is_one_ring_in_thousands_of_schedules(
    place: Place, fates: list[Fate], acts: list[tuple[str, int, int]]
) -> None:
    check(place, fates, acts)
