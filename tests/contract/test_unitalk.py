"""The PBX's API samples: each request said to the emulator, each answer given as in the sample and read
by our own reader; and webhooks of the emulator laid beside the vendor's (unitalk.md §1.1, §3, §4).

`tests/unitalk/test_samples.py` says what each webhook and history row means, `tests/unitalk/test_wire.py`
what our own requests and the answers' envelopes are.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import httpx
import pytest

from bitrix_app.clock import VirtualClock
from bitrix_app.core.errors import Forbidden, Refused, VendorBroken
from tests.contract.shape import differences
from tests.sandbox.conftest import Net
from tests.unitalk.test_samples import INDEX, MEANS
from unitalk import wire
from unitalk.sandbox import Facts, SandboxPbx
from unitalk.sandbox.faults import Fault
from unitalk.sandbox.model import DialerPhone, SandboxCall

pytestmark = pytest.mark.anyio

SAMPLES = Path(__file__).parents[1] / "samples" / "unitalk"
KEY = "AbCd1234EfGh"
CLIENT, OTHER = "380440000011", "380440000012"
DESK = "Sales desk"
PLAY_OF: dict[str, str] = {
    "api_audio_tts_request": "audio/tts",
    "api_autodial_add_phones_request_assumed": "autodial/action",
    "api_autodial_calls_history_request": "autodial/action",
    "api_autodial_delete_request_assumed": "autodial/action",
    "api_autodial_get_with_data_request": "autodial/action",
    "api_autodial_save_request_assumed": "autodial/action",
    "api_autodial_start_request_assumed": "autodial/action",
    "api_autodial_stop_request_assumed": "autodial/action",
    "api_direct_call_request": "phones/directCall",
    "api_history_get_request": "history/get",
    "api_history_get_request_filtered": "history/get",
    "api_inner_set_status_params": "phones/inner/setStatus",
    "api_message_send_request": "message/send",
    "api_originate_new_legacy_request": "calls/originateNew",
    "api_originate_new_request": "calls/originateNew",
    "api_originate_new_tts_request": "calls/originateNew",
    "api_users_list_request": "users/list",
}


def sample(name: str) -> Any:
    return json.loads((SAMPLES / f"{name}.json").read_bytes())


def kyiv(text: str) -> float:
    return datetime.fromisoformat(text).replace(tzinfo=ZoneInfo("Europe/Kyiv")).timestamp()


class Pbx:
    """The emulator on the afternoon of the samples' day."""

    def __init__(self) -> None:
        self.clock = VirtualClock(kyiv("2026-02-10 15:00:00"))
        self.pbx = SandboxPbx(self.clock, Net(), base_url="https://api.unitalk.cloud:8443", api_key=KEY)
        del self.pbx.operators[3:]
        self.pbx.operators[1].line = None

    async def say(self, name: str, key: str = KEY, **changes: Any) -> Any:
        """The sample request, its content type as the index says; the JSON of the answer."""
        parts: dict[str, Any] = {}
        body = sample(name) | changes
        match INDEX[f"{name}.json"]["content_type"]:
            case "application/x-www-form-urlencoded":
                parts["data"] = body
            case "query-string":
                parts["params"] = body
            case _:
                parts["json"] = body
        transport = httpx.ASGITransport(self.pbx.asgi)
        url = f"https://api.unitalk.cloud/api/{PLAY_OF[name]}"
        async with httpx.AsyncClient(transport=transport) as http:
            answer = await http.post(url, headers={"Authorization": key}, **parts)
        assert answer.status_code == 200
        return answer.json()

    def life(self, id: int, dbid: int, at: str, **more: Any) -> Facts:
        """A call that begins at `at` on the samples' day, or at a whole date, with the samples' ids."""
        self.pbx._book._next_dbid = dbid
        when = at if " " in at else f"2026-02-10 {at}"
        return Facts(at=kyiv(when), live_id=id, **more)

    def saved(self, call: SandboxCall, dbid: int) -> SandboxCall:
        call.dbid = dbid
        return call

    def answered_in(self) -> SandboxCall:
        call = self.pbx.incoming(
            CLIENT, ring=["2001", "2002"], answered_by="2002", talk=83, ring_seconds=11, group=DESK,
            facts=self.life(1091001, 27501, "10:00:12"),
        )  # fmt: skip
        return self.saved(call, 27501)

    def missed_in(self) -> SandboxCall:
        call = self.pbx.incoming(
            OTHER, ring=["2001", "2002"], ring_seconds=40, group=DESK,
            facts=self.life(1091002, 27502, "10:05:40"),
        )  # fmt: skip
        return self.saved(call, 27502)

    def answered_out(self) -> SandboxCall:
        call = self.pbx.outgoing(
            "2001", CLIENT, talk=60, ring_seconds=15,
            facts=self.life(1091010, 27510, "12:00:00", meta="b24:act:1001:5f1c"),
        )  # fmt: skip
        return self.saved(call, 27510)

    def morning(self) -> None:
        """The three calls of the history sample."""
        self.answered_in()
        self.missed_in()
        self.answered_out()


def wrong(ours: Any, wanted: Any, vary: tuple[str, ...] = ()) -> list[str]:
    return [str(x) for x in differences(ours, wanted) if not (x.kind == "value" and x.path.endswith(vary))]


# --- requests and answers ---------------------------------------------------------------------------


@dataclass(frozen=True)
class Play:
    request: str
    response: str
    scene: Callable[[Pbx], object] = lambda _: None
    vary: tuple[str, ...] = ("~",)


def with_option(
    name: str, value: Any, then: Callable[[Pbx], object] = Pbx.morning
) -> Callable[[Pbx], object]:
    def scene(pbx: Pbx) -> None:
        setattr(pbx.pbx.options, name, value)
        then(pbx)

    return scene


def without_line(pbx: Pbx) -> None:
    pbx.pbx.operators[0].line = "2009"


def fault(text: str = "Internal error", data: Any = None) -> Callable[[Pbx], object]:
    return lambda pbx: pbx.pbx.faults.add(Fault("*", "error", text=text, data=data))


def dialled(pbx: Pbx) -> None:
    pbx.pbx.autodial(
        CLIENT, talk=50, ring_seconds=16, wait=4, facts=pbx.life(1092001, 28001, "14:00:00", meta="lead:501")
    )


def one_number(pbx: Pbx) -> None:
    pbx.pbx.dialers[77].phones.append(DialerPhone(CLIENT, "lead:501"))


_OK = "api_success"
PLAYS = [
    Play("api_audio_tts_request", "api_audio_tts_response", vary=("id",)),
    Play("api_autodial_add_phones_request_assumed", _OK),
    Play("api_autodial_calls_history_request", "api_autodial_calls_history_response", dialled),
    Play("api_autodial_delete_request_assumed", _OK),
    Play("api_autodial_get_with_data_request", "api_autodial_get_with_data_response_assumed", one_number),
    Play("api_autodial_start_request_assumed", _OK),
    Play("api_autodial_stop_request_assumed", _OK),
    Play("api_direct_call_request", "api_direct_call_response_success"),
    Play("api_direct_call_request", "api_direct_call_response_error", without_line),
    Play("api_history_get_request", "api_history_get_response", Pbx.morning, ("link",)),
    Play("api_history_get_request", "api_history_get_response_empty"),
    Play(
        "api_history_get_request",
        "api_history_get_response_id_equals_dbid",
        with_option("history_id", "dbid", Pbx.answered_in),
        ("link",),
    ),
    Play("api_inner_set_status_params", _OK),
    Play("api_message_send_request", _OK),
    Play("api_originate_new_legacy_request", "api_originate_new_response_success"),
    Play("api_originate_new_request", "api_originate_new_response_success"),
    Play("api_originate_new_tts_request", "api_originate_new_response_success"),
    Play(
        "api_users_list_request",
        "api_users_list_response_array",
        with_option("users_wrapper", None, lambda _: None),
    ),
    Play("api_users_list_request", "api_users_list_response_wrapped"),
    Play("api_users_list_request", "api_error_internal", fault()),
    Play("api_history_get_request", "api_error_with_data", fault("Wrong FROM date", "dateFrom")),
]


@pytest.mark.parametrize("play", PLAYS, ids=lambda play: f"{play.request} → {play.response}")
async def test_the_pbx_answers_a_sample_request_as_the_sample_response(play: Play) -> None:
    pbx = Pbx()
    play.scene(pbx)
    assert wrong(await pbx.say(play.request), sample(play.response), play.vary) == []


async def test_a_wrong_key_is_told_with_200() -> None:
    told = await Pbx().say("api_users_list_request", key="wrong")
    assert told == sample("api_error_authorization")
    with pytest.raises(Forbidden):
        wire.read_answer(200, {}, json.dumps(told).encode(), reads=True)


async def test_an_older_server_takes_300_rows_and_says_so() -> None:
    pbx = Pbx()
    with_option("history_max", 300)(pbx)
    told = await pbx.say("api_history_get_request")  # it asks for 1000
    assert told == sample("api_error_limit_range")
    with pytest.raises(Refused) as met:
        wire.read_answer(200, {}, json.dumps(told).encode(), reads=True)
    assert met.value.code == "LIMIT_RANGE"
    with_option("history_legacy", True, lambda _: None)(pbx)
    legacy = await pbx.say(
        "api_history_get_request", limit=300, filter={"direction": "IN", "answered": False}
    )
    assert wrong(legacy, sample("api_history_get_response_legacy")) == []


async def test_a_bound_of_the_period_that_cannot_be_read_is_named() -> None:
    told = await Pbx().say("api_history_get_request", dateFrom="10.02.2026")
    assert told == sample("api_error_with_data")


async def test_the_filters_of_the_second_page_are_all_obeyed() -> None:
    pbx = Pbx()
    pbx.morning()
    assert await pbx.say("api_history_get_request_filtered") == {"count": 1, "calls": [], "warning": None}
    first = await pbx.say("api_history_get_request_filtered", offset=0)
    assert [row["dbid"] for row in first["calls"]] == [27502]  # of three only the lost one of that client


async def test_a_warning_comes_beside_good_rows() -> None:
    pbx = Pbx()
    pbx.answered_out()
    pbx.pbx.options.history_warning = "Demo warning text"
    told = await pbx.say("api_history_get_request")
    assert wrong(told, sample("api_history_get_response_warning"), ("link", "count")) == []
    page = wire.read_history(told)
    assert (page.taken, page.warning) == (1, "Demo warning text")


async def test_a_dialer_cannot_be_made_by_the_api() -> None:
    """SAVE is assumed, and a client must never try (unitalk.md §4.6): the emulator refuses it."""
    pbx = Pbx()
    told = await pbx.say("api_autodial_save_request_assumed")
    with pytest.raises(Refused):
        wire.read_answer(200, {}, json.dumps(told).encode(), reads=False)
    assert list(pbx.pbx.dialers) == [77]


async def test_a_request_does_what_it_says() -> None:
    pbx = Pbx()
    await pbx.say("api_direct_call_request")
    await pbx.say("api_inner_set_status_params")
    await pbx.say("api_message_send_request")
    await pbx.say("api_autodial_add_phones_request_assumed")
    asked = sample("api_direct_call_request")
    (ring,) = pbx.pbx.rings
    assert (ring.sip, ring.number, ring.meta) == (asked["sip"], asked["number"], asked["meta"])
    assert pbx.pbx.statuses["2001"] == "PAUS"
    assert [(one.to, one.text) for one in pbx.pbx.messages] == [(CLIENT, "Demo")]
    assert [(one.number, one.meta) for one in pbx.pbx.dialers[77].phones] == [
        (CLIENT, "lead:501"),
        (OTHER, "lead:502"),
    ]
    await pbx.say("api_autodial_delete_request_assumed")
    assert pbx.pbx.dialers == {}


def test_a_success_with_a_text_is_as_good_as_one_without() -> None:
    for name in ("api_success", "api_success_with_message"):
        data = sample(name)
        assert wire.read_answer(200, {}, json.dumps(data).encode(), reads=False) == data


def test_a_success_is_told_apart_from_an_error_by_its_status_word_alone() -> None:
    for text in ("Internal error", "Overloaded"):
        data = json.dumps(sample("api_success") | {"status": "Error", "message": text}).encode()
        with pytest.raises((VendorBroken, Refused)):
            wire.read_answer(200, {}, data, reads=True)


# --- webhooks ---------------------------------------------------------------------------------------


def _out(state: str, id: int, dbid: int, at: str, **more: Any) -> Callable[[Pbx], SandboxCall]:
    def make(pbx: Pbx) -> SandboxCall:
        facts = pbx.life(id, dbid, at)
        call = pbx.pbx.outgoing("2001", OTHER, state=state, ring_seconds=20, facts=facts, **more)
        return pbx.saved(call, dbid)

    return make


def _dialled(outcome: str, n: int, **more: Any) -> Callable[[Pbx], SandboxCall]:
    def make(pbx: Pbx) -> SandboxCall:
        facts = pbx.life(1092000 + n, 28000 + n, "14:00:00", meta=f"lead:{500 + n}")
        return pbx.saved(pbx.pbx.autodial(CLIENT, outcome=outcome, facts=facts, **more), 28000 + n)

    return make


def _talked(pbx: Pbx) -> SandboxCall:
    return _dialled("ANSWER", 1, talk=50, ring_seconds=16, wait=4)(pbx)


def _tracked(pbx: Pbx) -> SandboxCall:
    tracking = {
        key: value
        for key, value in sample("webhook_call_end_answered_in_tracking")["call"].items()
        if key not in sample("webhook_call_end_answered_in")["call"] and isinstance(value, str)
    }
    facts = pbx.life(1091005, 27505, "2026-07-10 09:15:00", tracking=tracking)
    pbx.clock._now = kyiv("2026-07-10 12:00:00")
    call = pbx.pbx.incoming(
        CLIENT, ring=["2001"], answered_by="2001", talk=45, ring_seconds=14, group=DESK, facts=facts
    )
    return pbx.saved(call, 27505)


def _greeted(pbx: Pbx) -> SandboxCall:
    facts = pbx.life(1091003, 27503, "19:30:05")
    pbx.clock._now = kyiv("2026-02-10 23:00:00")
    return pbx.saved(pbx.pbx.incoming("380440000013", ring_seconds=12, cause=16, facts=facts), 27503)


def _inner(pbx: Pbx) -> SandboxCall:
    call = pbx.pbx.inner("2001", "2002", talk=15, ring_seconds=7, facts=pbx.life(1091020, 27520, "13:00:00"))
    return pbx.saved(call, 27520)


def _from_site(pbx: Pbx) -> SandboxCall:
    call = pbx.pbx.incoming(
        "380440000014", line="shop.example", ring=["2001"], answered_by="2001", talk=30, ring_seconds=17,
        group=DESK, facts=pbx.life(1091004, 27504, "11:12:00", callback=True),
    )  # fmt: skip
    return pbx.saved(call, 27504)


def _flat(pbx: Pbx) -> SandboxCall:
    pbx.pbx.options.autodial_flat = True
    facts = pbx.life(1092020, 28020, "14:40:00", meta="lead:520")
    return pbx.pbx.autodial(OTHER, outcome="ANSWERING_MACHINE", facts=facts)


TOLD: dict[str, tuple[Callable[[Pbx], SandboxCall], int]] = {
    # sample: the call, and which of its webhooks
    "call_new_in": (Pbx.answered_in, 0),
    "call_redirect_in": (Pbx.answered_in, 1),
    "call_answer_in": (Pbx.answered_in, 2),
    "call_end_answered_in": (Pbx.answered_in, -1),
    "call_end_answered_in_tracking": (_tracked, -1),
    "call_end_missed_in": (Pbx.missed_in, -1),
    "call_end_missed_in_no_lines": (_greeted, -1),
    "call_end_site_callback": (_from_site, -1),
    "call_new_out": (Pbx.answered_out, 0),
    "call_answer_out": (Pbx.answered_out, 1),
    "call_end_answered_out": (Pbx.answered_out, -1),
    "call_end_busy_out": (_out("BUSY", 1091011, 27511, "12:11:00"), -1),
    "call_end_noanswer_out": (_out("NOANSWER", 1091012, 27512, "12:12:00"), -1),
    "call_end_nomoney_out": (_out("NOMONEY", 1091013, 27513, "12:13:00"), -1),
    "call_end_unreachable_out": (_out("UNREACHABLE", 1091014, 27514, "12:14:00"), -1),
    "call_end_blocked_out": (_out("BLOCKED", 1091015, 27515, "12:15:00"), -1),
    "call_end_not_exist_out": (_out("NOT_EXIST", 1091016, 27516, "12:16:00"), -1),
    "call_end_inner": (_inner, -1),
    "autodial_new_assumed": (_talked, 0),
    "autodial_subscriber_answer_assumed": (_talked, 1),
    "autodial_operator_answer_assumed": (_talked, 2),
    "autodial_end_answered_assumed": (_talked, -1),
    "autodial_end_answering_machine_assumed": (_dialled("ANSWERING_MACHINE", 2, ring_seconds=9), -1),
    "autodial_end_answ_nf_op_assumed": (_dialled("ANSW_NF_OP", 3, ring_seconds=14, wait=1), -1),
    "autodial_end_answ_rjct_assumed": (_dialled("ANSW_RJCT", 4, ring_seconds=15, wait=10), -1),
    "autodial_end_answ_op_na_assumed": (_dialled("ANSW_OP_NA", 5, ring_seconds=15, wait=10), -1),
    "autodial_end_noanswer_assumed": (_dialled("NOANSWER", 6, ring_seconds=30), -1),
    "autodial_end_busy_assumed": (_dialled("BUSY", 7, ring_seconds=5), -1),
    "autodial_end_not_exist_assumed": (_dialled("NOT_EXIST", 8, ring_seconds=2), -1),
    "autodial_end_client_called_assumed": (_dialled("CLIENT_CALLED", 9), -1),
    "autodial_end_wrong_dir_assumed": (_dialled("WRONG_DIR", 10), -1),
    "autodial_end_audio_err_assumed": (_dialled("AUDIO_ERR", 11), -1),
    "autodial_end_flat_callstate_assumed": (_flat, -1),
}
NOT_TOLD = {
    "autodial_finish_assumed": "of the dialer, not of a call: tests/unitalk/sandbox/test_autodial.py",
    "autodial_status_changed_assumed": "of the dialer, not of a call",
    "ivr_action": "tests/unitalk/sandbox/test_calls.py",
    "custom_template_form": "a customer's own template: tests/unitalk/sandbox/test_delivery.py",
    **{name: "how another PBX might say it" for name in MEANS if name.startswith("tolerance_")},
}


def test_every_webhook_is_told_or_has_a_reason() -> None:
    assert TOLD.keys() | NOT_TOLD.keys() == MEANS.keys()


@pytest.mark.parametrize("name", sorted(TOLD))
def test_the_pbx_posts_the_samples_body(name: str) -> None:
    make, which = TOLD[name]
    pbx = Pbx()
    body = pbx.pbx.webhooks_for(make(pbx))[which]
    wanted = sample(f"webhook_{name}")
    assert wrong(body, wanted, ("call.link", "realCalledCount")) == []
    assert list(body) == list(wanted)
    if "call" in wanted and not isinstance(wanted.get("call"), str):
        assert list(body["call"]) == list(wanted["call"])  # in the vendor's own order


COVERS = (
    {f"webhook_{name}" for name in MEANS}
    | {name for play in PLAYS for name in (play.request, play.response)}
    | {
        "api_autodial_save_request_assumed",
        "api_error_authorization",
        "api_error_limit_range",
        "api_history_get_request_filtered",
        "api_history_get_response_legacy",
        "api_history_get_response_warning",
        "api_success_with_message",
    }
)
"""The samples that this module and `tests/unitalk/test_samples.py` assert; `test_coverage` counts them."""
