"""Each webhook of the contract means what the contract says (tests/samples/unitalk, index.json)."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest

from bitrix_app.core.events import Direction, Facts, Step
from bitrix_app.core.outcome import Outcome
from unitalk.events import Ignorable, Readable, read_event, read_history_row

SAMPLES = Path(__file__).parents[1] / "samples" / "unitalk"
INDEX: dict[str, dict[str, Any]] = {
    x["file"]: x for x in json.loads((SAMPLES / "index.json").read_bytes())["files"]
}
RECEIVED = 1_770_745_000.0
ZONE = "Europe/Kyiv"
LINE = "380440000001"
REC = "https://api.unitalk.cloud:8443/tracking/rec/"


def read(name: str, **changes: str) -> Readable | Ignorable:
    body = (SAMPLES / f"webhook_{name}.json").read_bytes()
    content_type = INDEX[f"webhook_{name}.json"]["content_type"]
    if content_type == "application/x-www-form-urlencoded":
        body = urlencode(json.loads(body)).encode()
    return read_event(body, content_type, changes, "POST", RECEIVED, ZONE)


def day(seconds: int) -> float:
    """Seconds after 2026-02-10 00:00 in Kyiv (UTC+2 in winter)."""
    return 1_770_674_400.0 + seconds


def end_out(n: int, at: int, state: str, outcome: Outcome, cause: int | None) -> Facts:
    return Facts(
        pbx_id=f"10910{n}",
        pbx_dbid=f"275{n}",
        direction=Direction.OUT,
        number="+380440000012",
        raw_number="380440000012",
        line=LINE,
        extensions=("2001",),
        started_at=day(at),
        full_seconds=20,
        talk_seconds=0,
        state=state,
        outcome=outcome,
        cause=cause,
        source="REGULAR",
    )


def dialer(n: int, state: str | None, outcome: Outcome | None, full: int | None, **more: Any) -> Facts:
    facts: dict[str, Any] = {
        "pbx_id": f"10920{n:02}",
        "pbx_dbid": f"280{n:02}" if outcome else None,
        "direction": Direction.OUT,
        "number": "+380440000011",
        "raw_number": "380440000011",
        "line": LINE,
        "started_at": day(14 * 3600),
        "full_seconds": full,
        "talk_seconds": None if full is None else 0,
        "state": state,
        "outcome": outcome,
        "meta": f"lead:5{n:02}",
        "source": "AUTODIAL",
        "dialer_id": "77",
    }
    return Facts(**(facts | more))


def live_in(**more: Any) -> Facts:
    facts: dict[str, Any] = {
        "pbx_id": "1091001",
        "direction": Direction.IN,
        "number": "+380440000011",
        "raw_number": "380440000011",
        "line": LINE,
        "started_at": day(36012),
        "source": "REGULAR",
    }
    return Facts(**(facts | more))


def live_out(**more: Any) -> Facts:
    facts: dict[str, Any] = {
        "pbx_id": "1091010",
        "direction": Direction.OUT,
        "number": "+380440000011",
        "raw_number": "380440000011",
        "line": LINE,
        "extensions": ("2001",),
        "started_at": day(43200),
        "meta": "b24:act:1001:5f1c",
        "source": "REGULAR",
    }
    return Facts(**(facts | more))


def end_in(n: int, **more: Any) -> Facts:
    facts: dict[str, Any] = {
        "pbx_id": f"10910{n:02}",
        "pbx_dbid": f"275{n:02}",
        "extensions": ("2001",),
        "full_seconds": 30,
        "talk_seconds": 20,
        "state": "ANSWER",
        "outcome": Outcome.ANSWERED,
        "cause": 16,
    }
    return live_in(**(facts | more))


ANSWERED_IN = end_in(
    1,
    extensions=("2002",),
    group="Sales desk",
    full_seconds=95,
    talk_seconds=83,
    link=REC + "1770710412.101/2026-02-10",
)
ANSWERED_OUT = live_out(
    pbx_dbid="27510",
    full_seconds=75,
    talk_seconds=60,
    state="ANSWER",
    outcome=Outcome.ANSWERED,
    cause=16,
    link=REC + "1770717600.104/2026-02-10",
)
MISSED_IN = end_in(
    2,
    number="+380440000012",
    raw_number="380440000012",
    extensions=("2001", "2002"),
    group="Sales desk",
    started_at=day(36340),
    full_seconds=41,
    talk_seconds=0,
    state="NOANSWER",
    outcome=Outcome.MISSED,
    cause=19,
)

MEANS: dict[str, tuple[Step, Facts] | str] = {
    "call_new_in": (Step.NEW, live_in()),
    "call_redirect_in": (Step.OFFERED, live_in(extensions=("2001", "2002"), group="Sales desk")),
    "call_answer_in": (Step.ANSWERED, live_in(extensions=("2002",), group="Sales desk")),
    "call_end_answered_in": (Step.ENDED, ANSWERED_IN),
    "call_end_answered_in_tracking": (
        Step.ENDED,
        end_in(
            5,
            group="Sales desk",
            started_at=1_783_664_100.0,  # 09:15 of Kyiv's summer is 06:15 UTC
            full_seconds=60,
            talk_seconds=45,
            link=REC + "1783664100.103/2026-07-10",
        ),
    ),
    "call_end_missed_in": (Step.ENDED, MISSED_IN),
    "call_end_missed_in_no_lines": (
        Step.ENDED,
        end_in(
            3,
            number="+380440000013",
            raw_number="380440000013",
            extensions=(),
            started_at=day(70205),
            full_seconds=12,
            talk_seconds=0,
            state="NOANSWER",
            outcome=Outcome.MISSED,
        ),
    ),
    "call_end_site_callback": (
        Step.ENDED,
        end_in(
            4,
            number="+380440000014",
            raw_number="380440000014",
            line=None,  # a site's name would become a line of that name in Bitrix24
            site="shop.example",
            group="Sales desk",
            started_at=day(40320),
            full_seconds=48,
            talk_seconds=30,
            link=REC + "1770714720.102/2026-02-10",
        ),
    ),
    "call_new_out": (Step.NEW, live_out()),
    "call_answer_out": (Step.ANSWERED, live_out()),
    "call_end_answered_out": (Step.ENDED, ANSWERED_OUT),
    "call_end_busy_out": (Step.ENDED, end_out(11, 43860, "BUSY", Outcome.BUSY, 17)),
    "call_end_noanswer_out": (Step.ENDED, end_out(12, 43920, "NOANSWER", Outcome.NO_ANSWER, 19)),
    "call_end_nomoney_out": (Step.ENDED, end_out(13, 43980, "NOMONEY", Outcome.NO_MONEY, None)),
    "call_end_unreachable_out": (Step.ENDED, end_out(14, 44040, "UNREACHABLE", Outcome.UNAVAILABLE, 20)),
    "call_end_blocked_out": (Step.ENDED, end_out(15, 44100, "BLOCKED", Outcome.BLOCKED, 21)),
    "call_end_not_exist_out": (Step.ENDED, end_out(16, 44160, "NOT_EXIST", Outcome.INVALID_NUMBER, 1)),
    "call_end_inner": (
        Step.ENDED,
        Facts(
            pbx_id="1091020",
            pbx_dbid="27520",
            direction=Direction.INNER,
            extensions=("2001", "2002"),
            started_at=day(46800),
            full_seconds=22,
            talk_seconds=15,
            state="ANSWER",
            outcome=Outcome.ANSWERED,
            cause=16,
            source="REGULAR",
        ),
    ),
    "autodial_new_assumed": (Step.NEW, dialer(1, None, None, None)),
    "autodial_subscriber_answer_assumed": (Step.ANSWERED, dialer(1, None, None, None)),
    "autodial_operator_answer_assumed": (Step.ANSWERED, dialer(1, None, None, None, extensions=("2001",))),
    "autodial_end_answered_assumed": (
        Step.ENDED,
        dialer(
            1,
            "ANSWER",
            Outcome.ANSWERED,
            70,
            talk_seconds=50,
            extensions=("2001",),
            cause=16,
            link=REC + "1770724800.201/2026-02-10",
            wait_seconds=4,
        ),
    ),
    "autodial_end_answering_machine_assumed": (
        Step.ENDED,
        dialer(2, "ANSWERING_MACHINE", Outcome.MACHINE, 9),
    ),
    "autodial_end_answ_nf_op_assumed": (Step.ENDED, dialer(3, "ANSW_NF_OP", Outcome.LOST_BY_US, 15)),
    "autodial_end_answ_rjct_assumed": (Step.ENDED, dialer(4, "ANSW_RJCT", Outcome.LOST_BY_US, 25)),
    "autodial_end_answ_op_na_assumed": (Step.ENDED, dialer(5, "ANSW_OP_NA", Outcome.LOST_BY_US, 25)),
    "autodial_end_noanswer_assumed": (Step.ENDED, dialer(6, "NOANSWER", Outcome.NO_ANSWER, 30)),
    "autodial_end_busy_assumed": (Step.ENDED, dialer(7, "BUSY", Outcome.BUSY, 5)),
    "autodial_end_not_exist_assumed": (Step.ENDED, dialer(8, "NOT_EXIST", Outcome.INVALID_NUMBER, 2)),
    "autodial_end_client_called_assumed": (
        Step.ENDED,
        dialer(9, "CLIENT_CALLED", Outcome.CALLED_ELSEWHERE, 0),
    ),
    "autodial_end_wrong_dir_assumed": (Step.ENDED, dialer(10, "WRONG_DIR", Outcome.BAD_DIRECTION, 0)),
    "autodial_end_audio_err_assumed": (Step.ENDED, dialer(11, "AUDIO_ERR", Outcome.FAILED, 0)),
    "autodial_end_flat_callstate_assumed": (
        Step.ENDED,
        Facts(
            pbx_id="1092020",  # and not 77, which is the dialer's
            direction=Direction.OUT,
            number="+380440000012",
            raw_number="380440000012",
            started_at=day(14 * 3600 + 2400),
            state="ANSWERING_MACHINE",
            outcome=Outcome.MACHINE,
            meta="lead:520",
            source="AUTODIAL",  # told by `ev` and the dialer's id, not by a field of its own
            dialer_id="77",
            dial_attempts=2,
        ),
    ),
    "autodial_finish_assumed": "AUTODIAL_FINISH",
    "autodial_status_changed_assumed": "AUTODIAL_STATUS_CHANGED",
    "ivr_action": "IVR_ACTION",
    "tolerance_unknown_event": "CALL_SOMETHING_NEW",
    "custom_template_form": (
        Step.ENDED,
        end_in(
            40,
            pbx_dbid=None,
            started_at=day(37800),
            full_seconds=95,
            talk_seconds=83,
            link=REC + "1770710412.101/2026-02-10",
            cause=None,
            source=None,
        ),
    ),
    "tolerance_ended_alias": (Step.ENDED, end_in(30, meta='{"ref":42}')),
    "tolerance_flat": (Step.ENDED, end_in(35)),
    "tolerance_unknown_state": (
        Step.ENDED,
        end_in(31, talk_seconds=0, state="SOME_NEW_STATE", outcome=Outcome.MISSED, cause=127),
    ),
    "tolerance_legacy_phone": (
        Step.ENDED,
        end_in(
            36,
            raw_number="0440000011",
            extensions=("2000001",),
            link="https://cstat.nextel.com.ua:8443/tracking/history/record/1770710412.106/2026-02-10",
        ),
    ),
    "tolerance_minimal": (
        Step.ENDED,
        Facts(
            pbx_id="1091034",
            direction=Direction.IN,
            number="+380440000011",
            raw_number="380440000011",
            state="NOANSWER",
            outcome=Outcome.MISSED,
        ),
    ),
    "tolerance_string_numbers": (
        Step.ENDED,
        end_in(33, raw_number="+380440000011", started_at=day(37200), talk_seconds=None, meta="1001"),
    ),
}


def test_no_sample_is_left_out() -> None:
    webhooks = {f.name.removeprefix("webhook_").removesuffix(".json") for f in SAMPLES.glob("webhook_*.json")}
    assert webhooks == set(MEANS)
    on_disk = {f.name for f in SAMPLES.glob("*.json")} - {"index.json"}
    assert on_disk == set(INDEX)
    assert all(entry["confidence"] for entry in INDEX.values())


@pytest.mark.parametrize("name", sorted(MEANS))
def test_a_webhook_sample_means_what_the_contract_says(name: str) -> None:
    told, means = read(name), MEANS[name]
    assert len(told.digest) == 64
    if isinstance(means, str):
        assert isinstance(told, Ignorable)
        assert told.event_name == means
        assert told.reason
    else:
        assert isinstance(told, Readable)
        assert (told.report.step, told.report.facts) == means


def rows(name: str) -> list[dict[str, Any]]:
    return list(json.loads((SAMPLES / f"api_history_get_response{name}.json").read_bytes())["calls"])


def test_history_rows_mean_the_same_as_the_closing_webhooks() -> None:
    told = [read_history_row(row, RECEIVED, ZONE) for row in rows("")]
    assert [x.step for x in told] == [Step.ENDED] * 3
    assert [x.facts for x in told] == [ANSWERED_OUT, MISSED_IN, ANSWERED_IN]
    assert read_history_row(rows("_legacy")[0], RECEIVED, ZONE).facts == MISSED_IN
    assert read_history_row(rows("_warning")[0], RECEIVED, ZONE).facts == ANSWERED_OUT


def test_a_history_id_that_repeats_the_dbid_is_no_live_id() -> None:
    facts = read_history_row(rows("_id_equals_dbid")[0], RECEIVED, ZONE).facts
    assert (facts.pbx_id, facts.pbx_dbid) == (None, "27501")
    assert facts.talk_seconds == 83
