"""Whose request goes next: the pace of a key, the urgent first, nobody for ever."""

from __future__ import annotations

import asyncio

import pytest

from bitrix_app.clock import VirtualClock
from unitalk.turns import AGING, Turn, Turns

pytestmark = pytest.mark.anyio


class Queue:
    """Asks for turns and notes who got his when."""

    def __init__(self, rate: float = 1.0) -> None:
        self.clock = VirtualClock()
        self.turns = Turns(self.clock, rate)
        self.got: list[tuple[str, float]] = []
        self.tasks: dict[str, asyncio.Task[None]] = {}

    async def ask(self, name: str, turn: Turn = Turn.REST, key: str = "k") -> None:
        async def wait() -> None:
            await self.turns.take(key, turn)
            self.got.append((name, self.clock.monotonic()))

        self.tasks[name] = asyncio.create_task(wait())
        await self.clock.advance(0.0)

    @property
    def order(self) -> list[str]:
        return [name for name, _ in self.got]


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


async def test_a_call_goes_before_a_status_and_a_status_before_a_read() -> None:
    queue = Queue()
    await queue.ask("first")
    for name, turn in [("r1", Turn.REST), ("s1", Turn.STATUS), ("r2", Turn.REST), ("call", Turn.LIVE)]:
        await queue.ask(name, turn)
    await queue.ask("s2", Turn.STATUS)
    await queue.clock.advance(10.0)
    assert queue.order == ["first", "call", "s1", "s2", "r1", "r2"]
    assert [at for _, at in queue.got] == pytest.approx([0, 1, 2, 3, 4, 5])


async def test_a_call_that_comes_while_others_wait_gets_the_very_next_turn() -> None:
    queue = Queue()
    for n in range(10):
        await queue.ask(f"s{n}", Turn.STATUS)
    await queue.clock.advance(3.5)
    await queue.ask("call", Turn.LIVE)
    await queue.clock.advance(1.0)
    assert dict(queue.got)["call"] == pytest.approx(4.0)


async def test_a_read_is_not_starved_by_ever_new_calls() -> None:
    queue = Queue()
    await queue.ask("first")
    await queue.ask("read")
    for n in range(200):
        await queue.ask(f"c{n}", Turn.LIVE)
        await queue.ask(f"d{n}", Turn.LIVE)
        await queue.clock.advance(1.0)
        if "read" in queue.order:
            break
    waited = dict(queue.got)["read"]
    assert waited > AGING, "calls went first"
    assert waited < 6 * AGING, "two calls a second ask for twice what there is, and still it came"


async def test_keys_do_not_wait_for_each_other_and_have_their_own_pace() -> None:
    queue = Queue()
    queue.turns.pace("fast", 10.0)
    queue.turns.pace("slow", 0.1)
    for n in range(3):
        await queue.ask(f"f{n}", key="fast")
        await queue.ask(f"s{n}", key="slow")
    await queue.clock.advance(30.0)
    got = dict(queue.got)
    assert [got[f"f{n}"] for n in range(3)] == pytest.approx([0.0, 0.1, 0.2])
    assert [got[f"s{n}"] for n in range(3)] == pytest.approx([0.0, 10.0, 20.0])


async def test_a_new_pace_counts_from_the_next_turn() -> None:
    queue = Queue()
    for n in range(4):
        await queue.ask(f"r{n}")
    await queue.clock.advance(0.5)
    queue.turns.pace("k", 4.0)
    await queue.clock.advance(5.0)
    assert [at for _, at in queue.got] == pytest.approx([0, 1, 1.25, 1.5])


async def test_whoever_is_cancelled_leaves_his_turn_to_the_next() -> None:
    queue = Queue()
    for name in ("first", "gone", "next"):
        await queue.ask(name)
    queue.tasks["gone"].cancel()
    await queue.clock.advance(1.0)
    assert queue.order == ["first", "next"]


async def test_a_turn_that_was_given_back_goes_to_the_next_at_once() -> None:
    queue = Queue(rate=0.1)
    await queue.ask("first")
    await queue.ask("second")
    await queue.clock.advance(2.0)
    assert queue.order == ["first"]
    queue.turns.give_back("k")
    await queue.clock.advance(0.0)
    assert dict(queue.got)["second"] == pytest.approx(2.0)
    await queue.ask("third")
    await queue.clock.advance(9.0)
    assert queue.order == ["first", "second"], "the next pause is whole"
    await queue.clock.advance(1.0)
    assert queue.order[-1] == "third"
