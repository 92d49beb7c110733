"""The life of each kind of call, compared with the vendor's samples (contracts/unitalk/webhook_*.json)."""

from __future__ import annotations

from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from bitrix_app.clock import VirtualClock
from tests.unitalk.sandbox.conftest import Receiver
from unitalk.sandbox import Facts, SandboxPbx

pytestmark = pytest.mark.anyio

LIVE_KEYS = [
    "id",
    "dbid",
    "from",
    "to",
    "lastGroupName",
    "outerNumber",
    "direction",
    "date",
    "callback",
    "state",
    "source",
    "link",
    "cause",
    "meta",
]
END_KEYS = [*LIVE_KEYS[:8], "secondsFullTime", "secondsTalk", *LIVE_KEYS[8:]]
TRACKING_KEYS = [
    "comment",
    "hasSeparateRecords",
    "utmSource",
    "utmMedium",
    "utmCampaign",
    "utmTerm",
    "utmContent",
    "googleId",
    "facebookClientId",
    "gclid",
    "cdid",
    "referer",
    "ip",
    "lastUrl",
]


def at(text: str) -> float:
    """A Kyiv wall-clock time as an instant."""
    return datetime.fromisoformat(text).replace(tzinfo=ZoneInfo("Europe/Kyiv")).timestamp()


def course(bodies: list[dict[str, Any]]) -> list[tuple[str, str, list[str], str | None]]:
    return [(b["event"], b["call"]["from"], b["call"]["to"], b["call"]["lastGroupName"]) for b in bodies]


async def test_answered_incoming_call_tells_the_samples_words(pbx: SandboxPbx) -> None:
    call = pbx.incoming(
        "380440000011",
        ring=["2001", "2002"],
        answered_by="2002",
        ring_seconds=11,
        talk=83,
        group="Sales desk",
        facts=Facts(at=at("2026-02-10 10:00:12"), live_id=1091001),
    )
    new, redirect, answer, end = pbx.webhooks_for(call)
    assert course([new, redirect, answer, end]) == [
        ("CALL_NEW", "380440000011", [], None),
        ("CALL_REDIRECT", "380440000011", ["2001", "2002"], "Sales desk"),
        ("CALL_ANSWER", "380440000011", ["2002"], "Sales desk"),
        ("CALL_END", "380440000011", ["2002"], "Sales desk"),
    ]
    for body in (new, redirect, answer):
        assert list(body) == ["event", "call"]
        assert list(body["call"]) == LIVE_KEYS
        assert [body["call"][name] for name in ("dbid", "state", "link", "cause")] == [None] * 4
    # webhook_call_end_answered_in.json, but for the host and the serial number of the recording
    assert end["call"] == {
        "id": 1091001,
        "dbid": 27501,
        "from": "380440000011",
        "to": ["2002"],
        "lastGroupName": "Sales desk",
        "outerNumber": "380440000001",
        "direction": "IN",
        "date": "2026-02-10 10:00:12",
        "secondsFullTime": 95,
        "secondsTalk": 83,
        "callback": False,
        "state": "ANSWER",
        "source": "REGULAR",
        "link": "http://pbx.test/tracking/rec/1770710412.101/2026-02-10",
        "cause": 16,
        "meta": None,
    }
    assert list(end["call"]) == END_KEYS


async def test_missed_calls(pbx: SandboxPbx) -> None:
    rung = pbx.incoming("380440000012", ring=["2001", "2002"], ring_seconds=40, group="Sales desk")
    greeted = pbx.incoming("380440000013", ring_seconds=12)
    end = pbx.webhooks_for(rung)[-1]["call"]
    assert (end["state"], end["cause"], end["link"], end["to"]) == ("NOANSWER", 19, None, ["2001", "2002"])
    assert (end["secondsFullTime"], end["secondsTalk"]) == (41, 0)
    bodies = pbx.webhooks_for(greeted)
    assert [body["event"] for body in bodies] == ["CALL_NEW", "CALL_END"]
    end = bodies[-1]["call"]
    assert (end["to"], end["lastGroupName"], end["cause"], end["secondsFullTime"]) == ([], None, 16, 12)


async def test_queue_rings_in_waves(pbx: SandboxPbx) -> None:
    call = pbx.incoming("380440000012", ring=[["2001"], ["2002", "2003"]], ring_seconds=5)
    bodies = pbx.webhooks_for(call)
    assert [body["call"]["to"] for body in bodies] == [
        [],
        ["2001"],
        ["2002", "2003"],
        ["2001", "2002", "2003"],
    ]
    assert bodies[-1]["call"]["secondsFullTime"] == 11


@pytest.mark.parametrize(
    ("state", "cause"),
    [
        ("BUSY", 17),
        ("NOANSWER", 19),
        ("NOMONEY", None),
        ("UNREACHABLE", 20),
        ("BLOCKED", 21),
        ("NOT_EXIST", 1),
    ],
)
async def test_failed_outgoing_calls(pbx: SandboxPbx, state: str, cause: int | None) -> None:
    call = pbx.outgoing("2001", "380440000012", state=state, ring_seconds=20)
    new, end = pbx.webhooks_for(call)
    assert course([new]) == [("CALL_NEW", "2001", ["380440000012"], None)]
    words = end["call"]
    assert list(words) == END_KEYS
    assert (words["state"], words["cause"], words["direction"]) == (state, cause, "OUT")
    assert (words["secondsFullTime"], words["secondsTalk"], words["link"]) == (20, 0, None)


async def test_answered_outgoing_call(pbx: SandboxPbx) -> None:
    facts = Facts(meta="b24:act:1001:5f1c")
    bodies = pbx.webhooks_for(pbx.outgoing("2001", "380440000011", ring_seconds=15, talk=60, facts=facts))
    assert course(bodies) == [
        (event, "2001", ["380440000011"], None) for event in ("CALL_NEW", "CALL_ANSWER", "CALL_END")
    ]
    assert {body["call"]["meta"] for body in bodies} == {"b24:act:1001:5f1c"}
    end = bodies[-1]["call"]
    assert (end["secondsFullTime"], end["secondsTalk"], end["cause"]) == (75, 60, 16)
    assert end["link"].startswith("http://pbx.test/tracking/rec/")


async def test_inner_call_has_no_outer_number_and_no_link(pbx: SandboxPbx) -> None:
    end = pbx.webhooks_for(pbx.inner("2001", "2002", ring_seconds=7, talk=15))[-1]["call"]
    assert list(end) == END_KEYS
    assert (end["from"], end["to"], end["direction"]) == ("2001", ["2002"], "INNER")
    assert (end["outerNumber"], end["link"], end["state"], end["cause"]) == (None, None, "ANSWER", 16)
    assert (end["secondsFullTime"], end["secondsTalk"]) == (22, 15)


async def test_dialer_call_with_operator(pbx: SandboxPbx) -> None:
    call = pbx.autodial(
        "380440000011", ring_seconds=16, wait=4, talk=50, facts=Facts(meta="lead:501", live_id=1092001)
    )
    bodies = pbx.webhooks_for(call)
    assert [list(body) for body in bodies] == [["event", "autodialerId", "call"]] * 4
    assert course(bodies) == [
        ("CALL_NEW", "380440000001", ["380440000011"], None),
        ("CALL_ANSWER", "380440000001", ["380440000011"], None),
        ("CALL_ANSWER", "2001", ["380440000011"], None),
        ("CALL_END", "2001", ["380440000011"], None),
    ]
    end = bodies[-1]["call"]
    assert list(end) == [*END_KEYS, "secondsClientWaitOperator"]
    assert (end["secondsFullTime"], end["secondsTalk"], end["secondsClientWaitOperator"]) == (70, 50, 4)
    assert (end["source"], end["meta"], bodies[-1]["autodialerId"]) == ("AUTODIAL", "lead:501", 77)


@pytest.mark.parametrize(
    ("outcome", "events"),
    [
        ("ANSWERING_MACHINE", ["CALL_NEW", "CALL_END"]),
        ("NOANSWER", ["CALL_NEW", "CALL_END"]),
        ("NOT_EXIST", ["CALL_NEW", "CALL_END"]),
        ("ANSW_NF_OP", ["CALL_NEW", "CALL_ANSWER", "CALL_END"]),
        ("ANSW_RJCT", ["CALL_NEW", "CALL_ANSWER", "CALL_END"]),
        ("CLIENT_CALLED", ["CALL_END"]),
        ("AUDIO_ERR", ["CALL_END"]),
    ],
)
async def test_dialer_call_without_operator(pbx: SandboxPbx, outcome: str, events: list[str]) -> None:
    bodies = pbx.webhooks_for(pbx.autodial("380440000011", outcome=outcome))
    assert [body["event"] for body in bodies] == events
    end = bodies[-1]["call"]
    assert list(end) == END_KEYS
    assert (end["from"], end["state"], end["cause"], end["link"]) == ("380440000001", outcome, None, None)
    assert end["secondsTalk"] == 0


async def test_dialer_call_in_its_other_readings(pbx: SandboxPbx) -> None:
    pbx.options.autodial_flat = True
    flat = pbx.webhooks_for(pbx.autodial("380440000012", outcome="ANSWERING_MACHINE"))[-1]
    assert list(flat) == [
        "event",
        "id",
        "callId",
        "phone",
        "meta",
        "callState",
        "realCalledCount",
        "date",
    ]
    assert (flat["id"], flat["phone"], flat["callState"]) == (77, "380440000012", "ANSWERING_MACHINE")
    pbx.options.autodial_flat = False
    pbx.options.autodial_also_plain = True
    bodies = pbx.webhooks_for(pbx.autodial("380440000012", outcome="NOANSWER"))
    assert ["autodialerId" in body for body in bodies] == [True, False, True, False]
    assert bodies[2]["call"] == bodies[3]["call"]


async def test_site_callback_and_tracking(pbx: SandboxPbx) -> None:
    facts = Facts(
        at=at("2026-07-10 09:15:00"), callback=True, tracking={"utmSource": "ads", "ip": "192.0.2.10"}
    )
    call = pbx.incoming("380440000014", line="shop.example", ring=["2001"], answered_by="2001", facts=facts)
    bodies = pbx.webhooks_for(call)
    end = bodies[-1]["call"]
    assert list(end) == [*END_KEYS, *TRACKING_KEYS]
    assert (end["outerNumber"], end["callback"], end["date"]) == ("shop.example", True, "2026-07-10 09:15:00")
    assert (end["utmSource"], end["ip"], end["gclid"], end["hasSeparateRecords"]) == (
        "ads",
        "192.0.2.10",
        None,
        False,
    )
    assert list(bodies[0]["call"]) == LIVE_KEYS
    # 09:15 in Kyiv is 06:15 UTC in summer: the recording's unique id is that instant
    assert "/1783664100." in end["link"]


async def test_planned_transfer(pbx: SandboxPbx) -> None:
    call = pbx.incoming(
        "380440000011",
        ring=["2001"],
        answered_by="2001",
        talk=10,
        ring_seconds=4,
        transfers=[("2003", 20)],
        group="Support",
    )
    bodies = pbx.webhooks_for(call)
    assert [(body["event"], body["call"]["to"]) for body in bodies] == [
        ("CALL_NEW", []),
        ("CALL_REDIRECT", ["2001"]),
        ("CALL_ANSWER", ["2001"]),
        ("CALL_REDIRECT", ["2003"]),
        ("CALL_ANSWER", ["2003"]),
        ("CALL_END", ["2001", "2003"]),
    ]
    end = bodies[-1]["call"]
    assert (end["secondsTalk"], end["secondsFullTime"]) == (30, 37)
    pbx.options.transfer_to = "last"
    assert pbx.webhooks_for(call)[-1]["call"]["to"] == ["2003"]


async def test_events_leave_at_their_own_times(
    pbx: SandboxPbx, clock: VirtualClock, receiver: Receiver
) -> None:
    async with pbx.running():
        call = pbx.incoming("380440000011", ring=["2001"], answered_by="2001", ring_seconds=5, talk=10)
        await clock.advance(0)
        assert receiver.events == ["CALL_NEW"]
        await clock.advance(5.9)
        assert receiver.events[1:] == ["CALL_REDIRECT"]
        await clock.advance(0.2)
        assert receiver.events[2:] == ["CALL_ANSWER"]
        await clock.advance(9.8)
        assert len(receiver.events) == 3
        await clock.advance(0.2)
        assert receiver.events[3:] == ["CALL_END"]
        assert receiver.bodies == pbx.webhooks_for(call)
        assert {body["call"]["date"] for body in receiver.bodies} == {"2026-09-01 17:55:00"}
        assert call.ended(clock.now())


async def test_live_transfer_and_hang_up(pbx: SandboxPbx, clock: VirtualClock, receiver: Receiver) -> None:
    async with pbx.running():
        first = pbx.incoming("380440000011", ring=["2001"], answered_by="2001", ring_seconds=4, talk=600)
        await clock.advance(15)  # 5 s of ringing, 10 s of talk
        pbx.transfer(first, "2004", talk=7)
        with pytest.raises(ValueError, match="talking"):
            pbx.transfer(first, "2005")
        await clock.advance(5)
        await clock.advance(60)
        assert [(b["event"], b["call"]["to"]) for b in receiver.bodies][3:] == [
            ("CALL_REDIRECT", ["2004"]),
            ("CALL_ANSWER", ["2004"]),
            ("CALL_END", ["2001", "2004"]),
        ]
        assert (first.seconds_talk, first.seconds_full) == (17, 24)
        second = pbx.outgoing("2001", "380440000012", ring_seconds=3, talk=600)
        await clock.advance(10)
        pbx.hang_up(second)
        await clock.advance(0)
        assert receiver.bodies[-1]["event"] == "CALL_END"
        assert (second.seconds_talk, second.seconds_full) == (7, 10)
        await clock.advance(1000)
        assert len(receiver.bodies) == 9


async def test_lasting_ids_follow_the_ends(pbx: SandboxPbx, clock: VirtualClock) -> None:
    async with pbx.running():
        long = pbx.incoming("380440000011", ring=["2001"], answered_by="2001", talk=100)
        short = pbx.incoming("380440000012", ring_seconds=3)
        untold = pbx.incoming("380440000013", ring_seconds=50, facts=Facts(deliver=False))
        await clock.advance(20)
        assert long.dbid is None
        await clock.advance(100)
    assert [call.dbid for call in (short, untold, long)] == [27501, 27502, 27503]


async def test_calls_made_at_rest_are_never_told(
    pbx: SandboxPbx, clock: VirtualClock, receiver: Receiver
) -> None:
    pbx.incoming("380440000011", ring_seconds=3)
    async with pbx.running():
        silent = pbx.incoming("380440000012", ring_seconds=3, facts=Facts(deliver=False))
        await clock.advance(10)
    assert receiver.events == []
    assert silent in pbx.calls


async def test_seed_repeats_live_ids(clock: VirtualClock, receiver: Receiver) -> None:
    def ids(seed: int) -> list[int]:
        pbx = SandboxPbx(clock, receiver, base_url="http://pbx.test", seed=seed)
        return [pbx.incoming("380440000011").live_id for _ in range(5)]

    assert ids(1) == ids(1)
    assert ids(1) != ids(2)
    assert len(set(ids(1))) == 5
