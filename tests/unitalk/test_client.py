"""Pace, retries within seconds, paging and the request log; all on the virtual clock."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Coroutine
from typing import Any, TypeVar

import pytest

from bitrix_app.clock import VirtualClock
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
from bitrix_app.core.ports import HttpRequest, HttpResponse
from bitrix_app.core.store import VendorRequest
from tests.unitalk.fakes import FakeHttp, Scripted, json_answer
from unitalk.client import Origin, UnitalkClient

pytestmark = pytest.mark.anyio
T = TypeVar("T")
KEY = "AbCd1234EfGh"
BASE = "https://api.unitalk.cloud/api"
OK = json_answer({"status": "Success", "message": None})
BROKEN = HttpResponse(502, {}, b"<html>")
THROTTLED = HttpResponse(429, {}, b"")


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


class Bench:
    """A client on a clock that is turned until the work is done."""

    def __init__(self, *answers: Scripted, jitter: float = 1.0, rate: float = 1.0) -> None:
        self.http = FakeHttp(*answers)
        self.clock = VirtualClock()
        self.log: list[VendorRequest] = []
        self.sent_at: list[float] = []
        self.pauses: list[float] = []
        self.client = UnitalkClient(
            self.http,
            self.clock,
            BASE,
            requests_per_second=rate,
            on_request=self.log.append,
            jitter=lambda value: self.pauses.append(value) or value * jitter,  # type: ignore[func-returns-value]
        )
        plain = self.http.send

        async def noted(request: HttpRequest) -> HttpResponse:
            self.sent_at.append(self.clock.monotonic())
            return await plain(request)

        self.http.send = noted  # type: ignore[method-assign]

    async def run(self, work: Coroutine[Any, Any, T]) -> T:
        task = asyncio.create_task(work)
        for _ in range(2000):
            await self.clock.advance(0.1)
            if task.done():
                break
        return await task


@pytest.mark.parametrize(
    "trouble", [NotSent("x"), AnswerLost("x"), BROKEN, Unavailable("x"), json_answer([], 500)]
)
async def test_a_read_is_tried_three_times(trouble: Scripted) -> None:
    bench = Bench(trouble, trouble, json_answer([]))
    assert await bench.run(bench.client.users(KEY)) == []
    assert bench.pauses == [1.0, 2.0]
    assert bench.sent_at == pytest.approx([0, 1, 3])


async def test_full_jitter_and_the_pace_both_hold() -> None:
    bench = Bench(BROKEN, BROKEN, json_answer([]), jitter=0.0)
    await bench.run(bench.client.users(KEY))
    assert bench.sent_at == pytest.approx([0, 1, 2])  # no pause, but one request a second


@pytest.mark.parametrize(
    ("trouble", "branch"),
    [
        (NotSent("x"), NotSent),
        (AnswerLost("x"), Unavailable),
        (BROKEN, VendorBroken),
        (Unavailable("x"), Unavailable),
    ],
)
async def test_a_read_gives_up_without_doubt(trouble: Scripted, branch: type[Trouble]) -> None:
    bench = Bench(*[trouble] * 4)
    with pytest.raises(branch) as given_up:
        await bench.run(bench.client.users(KEY))
    assert type(given_up.value) is branch
    assert len(bench.sent_at) == 3


@pytest.mark.parametrize(
    ("trouble", "branch"),
    [
        (THROTTLED, Throttled),
        (json_answer({"status": "Error", "message": "Authorization invalid"}), Forbidden),
        (json_answer({"status": "Error", "message": "Wrong FROM date"}), Refused),
    ],
)
async def test_a_verdict_is_not_asked_for_twice(trouble: Scripted, branch: type[Trouble]) -> None:
    bench = Bench(trouble, json_answer([]))
    with pytest.raises(branch):
        await bench.run(bench.client.users(KEY))
    assert len(bench.sent_at) == 1


async def test_a_write_is_said_again_only_when_nothing_was_sent() -> None:
    bench = Bench(NotSent("x"), NotSent("x"), OK)
    await bench.run(bench.client.direct_call(KEY, "2001", "+380440000011", "m"))
    assert len(bench.sent_at) == 3
    for doubtful in (
        AnswerLost("x"),
        BROKEN,
        THROTTLED,
        json_answer({"status": "Error", "message": "Internal error"}),
    ):
        bench = Bench(doubtful, OK)
        with pytest.raises(AnswerLost):
            await bench.run(bench.client.direct_call(KEY, "2001", "+380440000011", "m"))
        assert len(bench.sent_at) == 1
    bench = Bench(*[NotSent("x")] * 4)
    with pytest.raises(NotSent):
        await bench.run(bench.client.set_status(KEY, "2001", "PAUS"))
    assert len(bench.sent_at) == 3


async def test_one_key_asks_once_a_second_and_keys_do_not_wait_for_each_other() -> None:
    bench = Bench(*[json_answer([]) for _ in range(5)])
    asks = [bench.client.users(KEY) for _ in range(3)] + [bench.client.users("other") for _ in range(2)]
    await bench.run(asyncio.wait_for(asyncio.gather(*asks), None))
    assert sorted(bench.sent_at) == pytest.approx([0, 0, 1, 1, 2])


async def test_a_call_goes_before_statuses_and_a_status_before_reads() -> None:
    bench = Bench(*[json_answer([]) for _ in range(5)])
    asks = [
        bench.client.users(KEY),
        bench.client.users(KEY),
        bench.client.set_status(KEY, "2001", "PAUS"),
        bench.client.direct_call(KEY, "2001", "+380440000011"),
    ]
    await bench.run(asyncio.wait_for(asyncio.gather(*asks), None))
    assert [line.operation for line in bench.log] == [
        "users/list",
        "phones/directCall",
        "phones/inner/setStatus",
        "users/list",
    ]


async def test_a_status_is_chosen_when_its_turn_has_come() -> None:
    bench = Bench(json_answer([]), OK)
    wish = ["PAUS"]

    async def choose() -> str | None:
        return wish[-1]

    asks = [bench.client.users(KEY), bench.client.set_status_in_turn(KEY, "2001", choose)]
    waiting = asyncio.gather(*asks)
    await bench.clock.advance(0.5)
    wish.append("WORK")
    await bench.run(asyncio.wait_for(waiting, None))
    assert bench.http.asked[-1].url.endswith("number=2001&status=WORK")
    assert bench.http.asked[-1].timeout == 10.0


async def test_a_status_that_is_not_needed_any_more_costs_nothing() -> None:
    bench = Bench(json_answer([]))

    async def nothing() -> str | None:
        return None

    async def broken() -> str | None:
        raise ValueError("the store")

    await bench.run(bench.client.set_status_in_turn(KEY, "2001", nothing))
    with pytest.raises(ValueError, match="the store"):
        await bench.run(bench.client.set_status_in_turn(KEY, "2001", broken))
    began = bench.clock.monotonic()
    await bench.run(bench.client.users(KEY))
    assert bench.sent_at == [pytest.approx(began)]


async def test_a_status_is_tried_once_because_its_agent_has_his_own_plan() -> None:
    bench = Bench(NotSent("x"), OK)

    async def choose() -> str | None:
        return "WORK"

    with pytest.raises(NotSent):
        await bench.run(bench.client.set_status_in_turn(KEY, "2001", choose))
    assert len(bench.sent_at) == 1


async def test_a_key_asks_as_often_as_its_portal_says() -> None:
    bench = Bench(*[json_answer([]) for _ in range(3)])
    bench.client.pace(KEY, 2.0)
    await bench.run(asyncio.wait_for(asyncio.gather(*(bench.client.users(KEY) for _ in range(3))), None))
    assert bench.sent_at == pytest.approx([0, 0.5, 1.0])


# --- history -------------------------------------------------------------------------------------


class Archive:
    """`history/get` over a list of rows, newest first; a row may appear between two pages."""

    def __init__(self, count: int, *, most: int = 1000, tells_count: bool = True) -> None:
        self.rows = [{"id": n, "dbid": n, "from": "380440000011"} for n in range(count, 0, -1)]
        self.most = most
        self.tells_count = tells_count
        self.asked: list[dict[str, Any]] = []

    def __call__(self, request: HttpRequest) -> HttpResponse:
        asked = json.loads(request.body)
        self.asked.append(asked)
        if asked["limit"] > self.most:
            return json_answer({"status": "Error", "message": f"Limit range is 1-{self.most}"})
        page = self.rows[asked["offset"] :][: asked["limit"]]
        count = {"count": len(self.rows)} if self.tells_count else {}
        self.rows.insert(0, {"id": 0, "dbid": len(self.rows) + 1})  # saved late: everything shifts by one
        return json_answer({"calls": page} | count)


async def collected(bench: Bench) -> list[dict[str, Any]]:
    async def gather() -> list[dict[str, Any]]:
        return [
            row async for row in bench.client.history(KEY, 1_770_674_400.0, 1_770_760_799.0, "Europe/Kyiv")
        ]

    return await bench.run(gather())


@pytest.mark.parametrize("tells_count", [True, False])
async def test_history_gives_each_row_once_though_pages_shift(tells_count: bool) -> None:
    archive = Archive(2500, tells_count=tells_count)
    rows = await collected(Bench(*[archive] * 9))
    assert [row["dbid"] for row in rows] == list(range(2500, 0, -1))
    assert [x["offset"] for x in archive.asked][:3] == [0, 1000, 2000]
    assert {(x["dateFrom"], x["dateTo"]) for x in archive.asked} == {
        ("2026-02-10 00:00:00", "2026-02-10 23:59:59")
    }


async def test_history_falls_back_to_the_old_limit_and_remembers_it() -> None:
    archive = Archive(700, most=300)
    bench = Bench(*[archive] * 12)
    assert [row["dbid"] for row in await collected(bench)] == list(range(700, 0, -1))
    assert [x["limit"] for x in archive.asked][:3] == [1000, 300, 300]
    before = len(archive.asked)
    await collected(bench)
    assert archive.asked[before]["limit"] == 300


async def test_history_does_not_hide_a_refusal_at_the_old_limit() -> None:
    with pytest.raises(Refused):
        await collected(Bench(*[Archive(700, most=10)] * 9))


async def test_history_ends_at_a_server_that_knows_no_offset() -> None:
    page = json_answer({"calls": [{"dbid": 1}]})
    assert len(await collected(Bench(*[page] * 9))) == 1


async def test_an_empty_period() -> None:
    assert await collected(Bench(json_answer({"count": 0, "calls": [], "warning": None}))) == []


# --- the log -------------------------------------------------------------------------------------


async def test_every_try_is_logged_and_nothing_secret_is() -> None:
    bench = Bench(
        NotSent("no way"), json_answer({"status": "Error", "message": f"{KEY} for 380440000011 is bad"})
    )
    origin = Origin("portal-1", "c-1")
    with pytest.raises(Refused):
        await bench.run(bench.client.direct_call(KEY, "2001", "+380440000011", "b24:1", origin))
    first, second = bench.log
    assert (first.status, first.code, first.answer) == (None, "NOT_SENT", "no way")
    assert (second.status, second.code) == (200, "UNITALK_REFUSED")
    assert second.answer == "[key] for …0011 is bad"
    assert second.operation == "phones/directCall"
    assert (second.portal, second.platform, second.correlation_id) == ("portal-1", "unitalk", "c-1")
    assert "…0011" in second.request
    assert "38044" not in repr(bench.log)
    assert KEY not in repr(bench.log)


async def test_a_good_answer_is_logged_by_its_shape() -> None:
    bench = Bench(Archive(2))
    await collected(bench)
    assert bench.log[0].answer == "calls=[2] count=2"
    assert bench.log[0].code == ""


async def test_any_method_can_be_asked() -> None:
    bench = Bench(OK, json_answer({"items": []}))
    data = {"messageType": "SMS"}
    assert await bench.run(bench.client.request(KEY, "message/send", reads=False, data=data)) == json.loads(
        OK.body
    )
    assert await bench.run(bench.client.autodial(KEY, {"action": "GET_CALLS_HISTORY", "id": 77})) == {
        "items": []
    }
    assert bench.log[1].operation == "autodial/action GET_CALLS_HISTORY"
