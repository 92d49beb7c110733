"""The look at the PBX's real answers: what is asked, what is shown, what is no fault (unitalk.md §6)."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, cast

import pytest

from bitrix_app.core.errors import Forbidden, Refused, Trouble, VendorBroken
from unitalk.client import UnitalkClient
from unitalk.probe import DIALERS, DIALERS_CALLS, HISTORY, dialer_in, structure

pytestmark = pytest.mark.anyio

SAMPLES = Path(__file__).parents[1] / "samples" / "unitalk"
NOW = 1_770_710_500.0


def sample(name: str) -> Any:
    return json.loads((SAMPLES / f"{name}.json").read_bytes())


ANSWERS: dict[str, Any] = {
    "users/list": sample("api_users_list_response_wrapped"),
    HISTORY: sample("api_history_get_response"),
    DIALERS: sample("api_autodial_get_with_data_response_assumed"),
    DIALERS_CALLS: sample("api_autodial_calls_history_response"),
}


class Pbx:
    def __init__(self, **answers: Any) -> None:
        self.answers = ANSWERS | answers
        self.asked: list[tuple[str, Any]] = []

    async def request(self, _key: str, path: str, *, reads: bool, data: Any, **_more: Any) -> Any:
        assert reads, "nothing may be changed by looking"
        name = f"{path} {data['action']}" if "action" in data else path
        self.asked.append((name, data))
        if isinstance(self.answers[name], Trouble):
            raise self.answers[name]
        return self.answers[name]

    async def look(self) -> dict[str, Any]:
        return await structure(cast(UnitalkClient, self), "key", NOW, "Europe/Kyiv")


async def test_everything_that_can_be_read_and_is_unsure_is_asked_and_shown_without_values() -> None:
    pbx = Pbx()
    told = await pbx.look()
    assert [name for name, _ in pbx.asked] == list(told) == ["users/list", HISTORY, DIALERS, DIALERS_CALLS]
    assert told["users/list"]["users"]["each"]["line"]
    row = told[HISTORY]["calls"]["each"]
    assert row["direction"] == "word(OUT) | word(IN)"
    assert row["source"] == "word(REGULAR)"
    assert told[DIALERS]["autodials"]["each"]["status"] == "word(STOPPED)"
    assert told[DIALERS_CALLS]["items"]["each"]["secondsClientWaitOperator"] == "number(1)"
    text = json.dumps(told)
    for secret in ("380440000011", "Demo autodialer", "unitalk.cloud", "lead:501"):
        assert secret not in text


async def test_a_dialers_calls_are_asked_for_in_the_samples_words() -> None:
    pbx = Pbx()
    await pbx.look()
    wanted = sample("api_autodial_calls_history_request")
    rows = sample("api_history_get_response")["calls"]
    wanted["callHistoryRequest"]["filter"]["id"] = [row["id"] for row in rows]
    assert pbx.asked[-1] == (DIALERS_CALLS, wanted)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("api_history_get_response", "0 of 3"),
        ("api_history_get_response_id_equals_dbid", "1 of 1"),
        ("api_history_get_response_empty", "0 of 0"),
    ],
)
async def test_whether_the_historys_id_is_the_lasting_one_is_told(name: str, words: str) -> None:
    told = await Pbx(**{HISTORY: sample(name)}).look()
    assert told[HISTORY]["id_equals_dbid"] == words


@pytest.mark.parametrize(
    ("answer", "dialer"),
    [
        ({"autodials": [{"id": 77, "name": "x"}], "audios": [{"id": 1, "name": "a"}]}, 77),
        ({"audios": [{"id": 1, "name": "a"}], "groups": [{"id": "5", "name": "g"}]}, "5"),
        ({"users": [{"id": 3, "name": "u"}], "data": {"dialers": [{"id": 9, "name": "d"}]}}, 9),
        ({"audios": [{"id": 1, "name": "a"}]}, None),
        ([{"id": 4, "name": "bare"}], 4),
        ({"autodials": [{"name": "no id"}], "x": [{"id": 0, "name": "unset"}], "y": [1]}, None),
        ({}, None),
        ("Success", None),
    ],
)
async def test_a_dialer_is_found_whatever_its_lists_are_called(answer: Any, dialer: object) -> None:
    assert dialer_in(answer) == dialer
    pbx = Pbx(**{DIALERS: answer})
    assert (DIALERS_CALLS in await pbx.look()) == (dialer is not None)


async def test_a_method_that_the_contract_itself_doubts_may_be_unknown_there() -> None:
    told = await Pbx(**{DIALERS_CALLS: Refused("Unknown action")}).look()
    assert told[DIALERS_CALLS] == {"refused": "REFUSED", "message": "Unknown action"}


async def test_other_troubles_are_told_and_only_a_wrong_key_ends_the_asking() -> None:
    broken = await Pbx(**{"users/list": VendorBroken("a fault"), HISTORY: Refused("Wrong FROM date")}).look()
    assert broken["users/list"]["trouble"] == "VENDOR_ERROR"
    assert broken[HISTORY]["trouble"] == "REFUSED"
    assert DIALERS_CALLS in broken
    assert list(await Pbx(**{"users/list": Forbidden("wrong key")}).look()) == ["users/list"]
