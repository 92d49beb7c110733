"""The working day against the contract's samples."""

from __future__ import annotations

import pytest

from bitrix_app.bitrix import timeman
from bitrix_app.bitrix.answers import read_answer
from bitrix_app.core.agents import Clock
from bitrix_app.core.errors import Forbidden, NotFound, Trouble, Unreadable, VendorBroken
from tests.bitrix.fakes import NOW, response, sample


def test_one_user_is_asked_about() -> None:
    said = timeman.status_of(7)
    asked = sample("timeman.status.request")["json"]
    assert said.params == {k: v for k, v in asked.items() if k != "auth"}
    assert said.reads


@pytest.mark.parametrize("state", Clock)
def test_each_state_of_the_working_day_is_read(state: Clock) -> None:
    answer = read_answer(response(f"timeman.status.{state.lower()}.response"), reads=True, now=NOW)
    assert timeman.read_status(answer.result) is state


@pytest.mark.parametrize("result", [None, [], {}, {"STATUS": "ASLEEP"}, {"STATUS": None}])
def test_an_unknown_state_is_nobodys(result: object) -> None:
    with pytest.raises(Unreadable):
        timeman.read_status(result)


def test_who_is_unknown_or_from_outside_has_no_working_day() -> None:
    with pytest.raises(Trouble) as met:
        read_answer(response("timeman.status.error.user"), reads=True, now=NOW)
    assert timeman.never_clocks(met.value)
    assert timeman.never_clocks(Forbidden("no", code="allowed_only_intranet_user"))


@pytest.mark.parametrize(
    "trouble",
    [
        NotFound("Method not found!", code="ERROR_METHOD_NOT_FOUND"),
        Forbidden("no scope", code="insufficient_scope"),
        VendorBroken("down"),
    ],
)
def test_a_question_that_failed_says_nothing_of_the_user(trouble: Trouble) -> None:
    assert not timeman.never_clocks(trouble)
