"""`history/get`: rows, filters, paging, what shifts and what lags (unitalk.md §4.4)."""

from __future__ import annotations

from typing import Any

import pytest

from bitrix_app.clock import VirtualClock
from tests.unitalk.sandbox.conftest import Api
from tests.unitalk.sandbox.test_calls import END_KEYS, TRACKING_KEYS, at
from unitalk.sandbox import Facts, SandboxPbx

pytestmark = pytest.mark.anyio

DAY = ("2026-09-01 00:00:00", "2026-09-01 23:59:59")


async def test_rows_have_the_keys_of_the_sample(api: Api, pbx: SandboxPbx, clock: VirtualClock) -> None:
    assert await api.history(*DAY) == {"count": 0, "calls": [], "warning": None}
    call = pbx.incoming("380440000011", ring=["2002"], answered_by="2002", facts=Facts(meta="m"))
    pbx.autodial("380440000012")
    await clock.advance(60)
    answer = await api.history(*DAY)
    assert list(answer) == ["count", "calls", "warning"]
    assert answer["count"] == 2
    assert [list(row) for row in answer["calls"]] == [[*END_KEYS, *TRACKING_KEYS]] * 2
    row = next(row for row in answer["calls"] if row["dbid"] == call.dbid)
    webhook = pbx.webhooks_for(call)[-1]["call"]
    assert {name: row[name] for name in END_KEYS} == webhook


async def test_other_readings_of_the_answer(api: Api, pbx: SandboxPbx, clock: VirtualClock) -> None:
    pbx.incoming("380440000011", ring_seconds=1)
    pbx.autodial("380440000012", outcome="BUSY", ring_seconds=1)
    await clock.advance(10)
    pbx.options.history_id = "dbid"
    pbx.options.history_warning = "Demo warning text"
    pbx.options.autodial_in_history = False
    answer = await api.history(*DAY)
    assert answer["warning"] == "Demo warning text"
    assert answer["count"] == 1
    assert answer["calls"][0]["id"] == answer["calls"][0]["dbid"] == 27501
    pbx.options.history_legacy = True
    assert list(await api.history(*DAY)) == ["limit", "offset", "count", "calls"]


async def test_saved_at_the_end_sorted_by_the_start(api: Api, pbx: SandboxPbx, clock: VirtualClock) -> None:
    pbx.options.history_delay = 5
    pbx.incoming("380440000011", ring=["2001"], answered_by="2001", talk=100)
    await clock.advance(10)
    pbx.incoming("380440000012", ring_seconds=10)
    await clock.advance(14)
    assert (await api.history(*DAY))["count"] == 0
    await clock.advance(2)
    assert [row["from"] for row in (await api.history(*DAY))["calls"]] == ["380440000012"]
    await clock.advance(200)
    rows = (await api.history(*DAY))["calls"]
    assert [row["from"] for row in rows] == ["380440000012", "380440000011"]  # the long one comes in behind
    assert [row["dbid"] for row in rows] == [27501, 27502]


async def test_window_ends_are_inclusive_and_local(api: Api, pbx: SandboxPbx) -> None:
    for text in ("2026-08-31 23:59:59", "2026-09-01 00:00:00", "2026-09-01 00:00:01"):
        pbx.incoming("380440000011", ring_seconds=1, facts=Facts(at=at(text)))
    assert (await api.history("2026-09-01 00:00:00", "2026-09-01 00:00:00"))["count"] == 1
    assert (await api.history("2026-08-31 23:59:59", "2026-09-01 00:00:01"))["count"] == 3


async def test_hour_that_occurs_twice(api: Api, pbx: SandboxPbx, clock: VirtualClock) -> None:
    first = at("2025-10-26 03:30:00")  # summer time still
    pbx.incoming("380440000011", ring_seconds=1, facts=Facts(at=first))
    pbx.incoming("380440000012", ring_seconds=1, facts=Facts(at=first + 3600))
    rows = (await api.history("2025-10-26 03:30:00", "2025-10-26 03:30:00"))["calls"]
    assert [row["date"] for row in rows] == ["2025-10-26 03:30:00"] * 2


@pytest.mark.parametrize(
    ("change", "text", "data"),
    [
        ({"dateFrom": "2026-09-01"}, "Wrong FROM date", "dateFrom"),
        ({"dateFrom": "2026-9-1 0:00:00"}, "Wrong FROM date", "dateFrom"),
        ({"dateFrom": None}, "Wrong FROM date", "dateFrom"),
        ({"dateTo": "2026-09-01T00:00:00"}, "Wrong TO date", "dateTo"),
        ({"limit": 0}, "Limit range is 1-1000", None),
        ({"limit": 1001}, "Limit range is 1-1000", None),
        ({"limit": "5"}, "Limit range is 1-1000", None),
        ({"offset": -1}, "Offset is less than 0", None),
        ({"filter": None}, "Query null", None),
    ],
)
async def test_refusals(api: Api, change: dict[str, Any], text: str, data: str | None) -> None:
    expected = {"status": "Error", "message": text} | ({} if data is None else {"data": data})
    assert await api.history(*DAY, **change) == expected


async def test_older_limit(api: Api, pbx: SandboxPbx) -> None:
    pbx.options.history_max = 300
    assert (await api.history(*DAY))["message"] == "Limit range is 1-300"
    assert (await api.history(*DAY, limit=300))["count"] == 0


async def test_paging_and_shifting(api: Api, pbx: SandboxPbx, clock: VirtualClock) -> None:
    for n in range(5):
        pbx.incoming("380440000011", ring_seconds=1, facts=Facts(at=clock.now() - 1000 + n * 10))
    first = await api.history(*DAY, limit=2, offset=0)
    second = await api.history(*DAY, limit=2, offset=2)
    last = await api.history(*DAY, limit=2, offset=4)
    assert [len(page["calls"]) for page in (first, second, last)] == [2, 2, 1]
    seen = [row["dbid"] for page in (first, second, last) for row in page["calls"]]
    assert seen == [27505, 27504, 27503, 27502, 27501]
    pbx.options.history_grows = 1
    shifted = await api.history(*DAY, limit=2, offset=2)
    assert shifted["count"] == 6
    assert shifted["calls"][0]["dbid"] == first["calls"][1]["dbid"]  # seen twice: the page has moved


async def test_filters(api: Api, pbx: SandboxPbx, clock: VirtualClock) -> None:
    past = clock.now() - 5000
    missed = {"ring_seconds": 1.0}
    pbx.incoming("380440000011", **missed, facts=Facts(at=past))  # type: ignore[arg-type]
    pbx.incoming("380440000012", **missed, line="380440000002", facts=Facts(at=past))  # type: ignore[arg-type]
    pbx.incoming("380440000013", ring=["2001"], answered_by="2001", facts=Facts(at=past))
    pbx.outgoing("2002", "380440000011", facts=Facts(at=past + 60))
    pbx.outgoing("2002", "380440000012", state="BUSY", facts=Facts(at=past + 60))

    async def count(**conditions: Any) -> int:
        return int((await api.history(*DAY, filter=conditions))["count"])

    assert await count() == 5
    assert await count(direction="IN") == 3
    assert await count(direction="OUT") == 2
    assert await count(answered=True) == 2
    assert await count(answered=False) == 3
    assert await count(lost=True) == 1  # …12 was called back in vain, …11 with success
    assert await count(calledFrom=["380440000011", "2002"]) == 3
    assert await count(calledTo=["2001"]) == 1
    assert await count(outerNum=["380440000002"]) == 1
    assert await count(direction="IN", answered=False, calledFrom=["380440000012"]) == 1


async def test_comment(api: Api, pbx: SandboxPbx, clock: VirtualClock) -> None:
    call = pbx.incoming("380440000011", ring_seconds=1)
    await clock.advance(5)
    await api.history(*DAY)
    refused = [{}, {"id": call.dbid, "comment": " "}, {"id": call.dbid, "comment": "x" * 101}]
    texts = [(await api("history/setComment", body))["message"] for body in refused]
    assert texts == ["Id is null", "Comment is blank", "Comment limit"]
    assert (await api("history/setComment", {"id": call.dbid, "comment": "ok"}))["status"] == "Success"
    assert (await api.history(*DAY))["calls"][0]["comment"] == "ok"
    assert (await api("history/setComment", {"id": 1, "comment": "ok"}))["message"] == "Call not found"
