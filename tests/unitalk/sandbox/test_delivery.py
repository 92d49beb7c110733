"""How webhooks travel: shapes, codes, mishaps, and the log that hides the token (unitalk.md §3.1, §3.7)."""

from __future__ import annotations

import json
from urllib.parse import parse_qsl

import pytest

from bitrix_app.clock import VirtualClock
from tests.unitalk.sandbox.conftest import HOOK, Receiver
from unitalk.sandbox import Mishap, SandboxPbx

pytestmark = pytest.mark.anyio

TEMPLATE_KEYS = {
    "call_id",
    "call_from",
    "call_to_0",
    "call_outernumber",
    "call_direction",
    "call_date",
    "call_state",
    "call_link",
    "call_secondstalk",
    "call_secondsfulltime",
}


async def live(pbx: SandboxPbx, clock: VirtualClock, seconds: float = 60) -> None:
    """One answered call of four events, lived to its end."""
    async with pbx.running():
        pbx.incoming("380440000011", ring=["2002"], answered_by="2002", talk=5, ring_seconds=3)
        await clock.advance(seconds)


async def test_standard_json(pbx: SandboxPbx, clock: VirtualClock, receiver: Receiver) -> None:
    await live(pbx, clock)
    assert [request.method for request in receiver.requests] == ["POST"] * 4
    assert {request.url for request in receiver.requests} == {HOOK}
    assert {request.headers["Content-Type"] for request in receiver.requests} == {"application/json"}


async def test_chosen_events_and_codes(pbx: SandboxPbx, clock: VirtualClock, receiver: Receiver) -> None:
    pbx.connect(HOOK, events=["CALL_END", "AUTODIAL_*"], with_ev=True, headers={"X-Ours": "1"})
    async with pbx.running():
        pbx.incoming("380440000011", ring_seconds=3)
        await clock.advance(10)
        pbx.autodial("380440000012")
        await clock.advance(60)
    assert [receiver.query(n)["ev"] for n in range(len(receiver.requests))] == [
        "CALL_END",
        "AUTODIAL_CALL_NEW",
        "AUTODIAL_CLIENT_ANSWER",
        "AUTODIAL_OPERATOR_ANSWER",
        "AUTODIAL_CALL_END",
    ]
    assert receiver.requests[0].headers["X-Ours"] == "1"


async def test_several_handlers(pbx: SandboxPbx, clock: VirtualClock, receiver: Receiver) -> None:
    pbx.connect("http://a.test/x/1", events=["CALL_NEW"])
    pbx.connect("http://b.test/x/2", events=["CALL_NEW", "CALL_END"], keep=True)
    await live(pbx, clock)
    assert [request.url for request in receiver.requests] == [
        "http://a.test/x/1",
        "http://b.test/x/2",
        "http://b.test/x/2",
    ]


async def test_form_template(pbx: SandboxPbx, clock: VirtualClock, receiver: Receiver) -> None:
    pbx.connect(HOOK, shape="form")
    await live(pbx, clock)
    first, last = receiver.requests[0], receiver.requests[-1]
    assert last.headers["Content-Type"] == "application/x-www-form-urlencoded"
    new = dict(parse_qsl(first.body.decode(), keep_blank_values=True))
    end = dict(parse_qsl(last.body.decode(), keep_blank_values=True))
    assert set(new) == set(end) == TEMPLATE_KEYS
    assert (new["call_to_0"], new["call_state"], new["call_secondstalk"], new["call_link"]) == (
        "",
        "",
        "",
        "",
    )
    assert (end["call_to_0"], end["call_state"], end["call_secondstalk"]) == ("2002", "ANSWER", "5")
    assert end["call_from"] == "380440000011"


async def test_get_and_json_template(pbx: SandboxPbx, clock: VirtualClock, receiver: Receiver) -> None:
    pbx.connect(HOOK, events=["CALL_END"], with_ev=True, shape="get")
    pbx.connect(HOOK, events=["CALL_END"], shape="template_json", keep=True)
    await live(pbx, clock)
    get, post = receiver.requests
    assert (get.method, get.body, post.method) == ("GET", b"", "POST")
    assert set(receiver.query(0)) == TEMPLATE_KEYS | {"ev"}
    assert set(json.loads(post.body)) == TEMPLATE_KEYS


async def test_dropped_and_doubled(pbx: SandboxPbx, clock: VirtualClock, receiver: Receiver) -> None:
    pbx.mishaps.append(Mishap("CALL_END", "drop"))
    pbx.mishaps.append(Mishap("CALL_NEW", "duplicate", count=2))
    await live(pbx, clock)
    assert receiver.events == ["CALL_NEW", "CALL_NEW", "CALL_NEW", "CALL_REDIRECT", "CALL_ANSWER"]
    assert [(line.code, line.status, line.note) for line in pbx.deliveries][-1] == ("CALL_END", None, "drop")
    await live(pbx, clock)
    assert receiver.events[5:] == ["CALL_NEW", "CALL_REDIRECT", "CALL_ANSWER", "CALL_END"]


async def test_delayed_event_is_overtaken(pbx: SandboxPbx, clock: VirtualClock, receiver: Receiver) -> None:
    pbx.mishaps.append(Mishap("CALL_ANSWER", "delay", seconds=30))
    await live(pbx, clock)
    assert receiver.events == ["CALL_NEW", "CALL_REDIRECT", "CALL_END", "CALL_ANSWER"]
    assert pbx.deliveries[-1].at - pbx.deliveries[0].at == 34  # 4 s until the answer, 30 s late


async def test_reordered(pbx: SandboxPbx, clock: VirtualClock, receiver: Receiver) -> None:
    pbx.mishaps.append(Mishap("CALL_NEW", "reorder"))
    pbx.mishaps.append(Mishap("CALL_END", "reorder", seconds=3))
    await live(pbx, clock)
    assert receiver.events == ["CALL_REDIRECT", "CALL_NEW", "CALL_ANSWER", "CALL_END"]
    assert pbx.deliveries[-1].at - pbx.deliveries[0].at == 11  # nothing came after END: it went out alone


async def test_failures_are_logged_and_not_said_again(
    pbx: SandboxPbx, clock: VirtualClock, receiver: Receiver
) -> None:
    receiver.status = 503
    await live(pbx, clock)
    assert [line.status for line in pbx.deliveries] == [503] * 4
    receiver.status = OSError("no route")
    await live(pbx, clock)
    assert [(line.status, line.note) for line in pbx.deliveries][4:] == [(None, "OSError")] * 4
    assert len(receiver.requests) == 8


async def test_slow_receiver_delays_the_telling_not_the_call(
    pbx: SandboxPbx, clock: VirtualClock, receiver: Receiver
) -> None:
    receiver.hold = lambda: clock.sleep(20)
    await live(pbx, clock, 100)
    assert receiver.events == ["CALL_NEW", "CALL_REDIRECT", "CALL_ANSWER", "CALL_END"]
    began = pbx.calls[0].started_at
    assert [round(line.at - began) for line in pbx.deliveries] == [20, 40, 60, 80]
    assert pbx.calls[0].seconds_full == 9


async def test_optional_retry(pbx: SandboxPbx, clock: VirtualClock, receiver: Receiver) -> None:
    pbx.options.webhook_retries = 2
    pbx.connect(HOOK, events=["CALL_END"])
    receiver.status = 500
    await live(pbx, clock)
    assert len(receiver.requests) == 3


async def test_log_hides_the_token(pbx: SandboxPbx, clock: VirtualClock) -> None:
    pbx.connect(HOOK + "?secret=abc", with_ev=True)
    await live(pbx, clock)
    assert {line.url for line in pbx.deliveries} == {"http://app.test/unitalk/events/***"}
    assert "secret" not in repr(pbx.deliveries)
