"""The autodialer's adapter: dialers found by their structure, answers read tolerantly."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from bitrix_app.clock import VirtualClock
from bitrix_app.core.campaigns import Phone
from bitrix_app.core.dialers import DialerNews
from bitrix_app.core.errors import AnswerLost, NotSent, Refused, Unreadable
from tests.unitalk.fakes import FakeHttp, json_answer
from unitalk.autodial import Autodialer, SeenDialer, dialers_in, metas_in
from unitalk.client import UnitalkClient
from unitalk.events import Ignorable, read_event

pytestmark = pytest.mark.anyio
SAMPLES = Path(__file__).parents[1] / "samples" / "unitalk"
PHONE = Phone("p0190ab12cd01", "77", "+380440000011", "LEAD:501")


def sample(name: str) -> Any:
    return json.loads((SAMPLES / f"{name}.json").read_text("utf-8"))


WITH_DATA = sample("api_autodial_get_with_data_response_assumed")


def test_the_assumed_answer_shows_its_dialers_and_no_audios() -> None:
    assert dialers_in(WITH_DATA) == [SeenDialer(77, "Demo autodialer", "autodials", "STOPPED", 1)]


@pytest.mark.parametrize(
    "answer",
    [
        [{"id": "9", "name": "A"}],
        {"status": "Success", "data": {"list": [{"id": "9", "name": "A"}]}},
        {"things": [{"ID": "9", "Name": " A "}], "audios": [{"id": 1, "name": "x"}]},
        {"things": [{"id": "9", "name": "A", "phones": [{"id": 4, "name": "no dialer"}]}]},
    ],
)
def test_a_dialer_is_whatever_has_an_id_and_a_name(answer: Any) -> None:
    assert [(one.id, one.name) for one in dialers_in(answer)] == [("9", "A")]


def test_lists_that_are_named_after_dialers_come_first_and_an_id_counts_once() -> None:
    answer = {
        "groups": [{"id": 1, "name": "Sales"}, {"id": 2, "name": "Support"}],
        "myDialers": [{"id": 1, "name": "Winter", "active": True}],
    }
    found = dialers_in(answer)
    assert [(one.key, one.name, one.path) for one in found] == [
        ("1", "Winter", "myDialers"),
        ("2", "Support", "groups"),
    ]
    assert found[0].status == "true"


@pytest.mark.parametrize("answer", [{}, {"audios": []}, "text", None, {"status": "Success"}])
def test_an_answer_without_any_list_is_not_read_as_no_dialers(answer: Any) -> None:
    with pytest.raises(Unreadable):
        dialers_in(answer)


@pytest.mark.parametrize(
    "element", [{"id": True, "name": "A"}, {"id": 1.5, "name": "A"}, {"id": "a b", "name": "A"}, {"id": 1}, 7]
)
def test_odd_elements_are_no_dialers(element: Any) -> None:
    assert dialers_in({"autodials": [element]}) == []


def test_marks_are_found_wherever_they_stand() -> None:
    assert metas_in(WITH_DATA) == {"lead:501"}
    assert metas_in({"items": [{"phone": "1", "META": 5}, {"deep": {"meta": " x "}}, {"meta": None}]}) == {
        "5",
        "x",
    }
    assert metas_in(sample("api_autodial_calls_history_response")) == {"lead:501"}


class Hasty(VirtualClock):
    """Nobody waits: the time is over at once."""

    async def sleep(self, seconds: float) -> None:
        self._now += max(0.0, seconds)


def adapter(http: FakeHttp, **templates: Any) -> Autodialer:
    client = UnitalkClient(http, Hasty(), "https://api.example.com/api", jitter=lambda _: 0.0)
    return Autodialer(client, "key", templates)


async def test_phones_leave_as_the_template_says() -> None:
    http = FakeHttp(json_answer({"status": "Success", "message": None}), json_answer({"anything": 1}))
    own = {"action": "ADD_NUMBERS", "d": "{dialer}", "x": [{"n": "{number}", "m": "{meta}"}]}
    dialer = adapter(http, add_phones=own)
    await dialer.add(77, [PHONE])
    await dialer.switch(77, on=True)
    bodies = [json.loads(asked.body) for asked in http.asked]
    assert bodies[0] == {"action": "ADD_NUMBERS", "d": 77, "x": [{"n": "380440000011", "m": PHONE.meta}]}
    assert bodies[1] == {"action": "START", "id": 77}


async def test_a_lost_answer_of_the_phones_is_doubt_and_is_not_said_again() -> None:
    http = FakeHttp(AnswerLost("gone"))
    with pytest.raises(AnswerLost):
        await adapter(http).add(77, [PHONE])
    assert len(http.asked) == 1


async def test_what_was_not_sent_is_said_again_and_a_refusal_is_the_vendors_word() -> None:
    http = FakeHttp(NotSent("no"), json_answer({"status": "Error", "message": "Autodial not found"}))
    with pytest.raises(Refused, match="Autodial not found"):
        await adapter(http).add(77, [PHONE])
    assert len(http.asked) == 2


@pytest.mark.parametrize(
    ("body", "query", "news"),
    [
        (sample("webhook_autodial_finish_assumed"), {}, DialerNews("77", finished=True)),
        (sample("webhook_autodial_status_changed_assumed"), {}, DialerNews("77", "STOPPED")),
        ({"autodialId": 5}, {"ev": "AUTODIAL_FINISH"}, DialerNews("5", finished=True)),
        (
            {"autodial": {"id": 5}, "status": "RUNNING"},
            {"ev": "AUTODIAL_STATUS_CHANGED"},
            DialerNews("5", "RUNNING"),
        ),
        ({"event": "AUTODIAL_FINISH"}, {}, None),
        ({"event": "IVR_ACTION", "id": 5, "pressedDigit": 1}, {}, None),
    ],
)
def test_news_of_a_dialer_are_read(body: Any, query: dict[str, str], news: DialerNews | None) -> None:
    event = read_event(json.dumps(body).encode(), "", query, "POST", 1_788_333_300.0, "Europe/Kyiv")
    assert isinstance(event, Ignorable)
    assert event.news == news
