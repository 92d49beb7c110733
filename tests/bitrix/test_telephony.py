"""The saga's requests and answers against the contract's samples."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from bitrix_app.bitrix import statistics, telephony
from bitrix_app.bitrix.answers import read_answer
from bitrix_app.core.errors import AnswerLost, Refused, Trouble
from bitrix_app.core.events import Direction, Finished, Registered
from tests.bitrix.fakes import NOW, call, response, sample

CALL_ID = "externalCall.3d5f0c1e9a7b42d68f10c2e4a6b8d0f1.1788333300"


def _request(name: str) -> dict[str, Any]:
    return {k: v for k, v in sample(name)["json"].items() if k != "auth"}


def _trouble(name: str) -> Trouble:
    with pytest.raises(Trouble) as met:
        read_answer(response(name), reads=False, now=NOW)
    return met.value


def _result(name: str) -> Any:
    return sample(name)["json"]["result"]


def test_register_incoming_and_outgoing() -> None:
    known = replace(call(), number="+442079460123", line="+442079460900", id="UT-2026-09-02-000123")
    said = telephony.register(known, user_id=7, show=True, crm_create=True, crm=None, timezone="Europe/Kyiv")
    wanted = _request("telephony.externalcall.register.incoming.request")
    del wanted["USER_PHONE_INNER"]
    assert said.params == {**wanted, "USER_ID": 7}
    assert not said.reads

    known = replace(known, direction=Direction.OUT, started_at=NOW + 600, id="UT-2026-09-02-000124")
    said = telephony.register(
        known, user_id=7, show=False, crm_create=False, crm=("CONTACT", 797), timezone="Europe/Kyiv"
    )
    assert said.params == _request("telephony.externalcall.register.outgoing.request")


def test_register_always_names_a_line_and_needs_a_number() -> None:
    def said(**more: Any) -> dict[str, Any]:
        return telephony.register(
            call(**more), user_id=1, show=False, crm_create=False, crm=None, timezone="Nowhere/Zone"
        ).params

    assert said(line=None)["LINE_NUMBER"] == telephony.FALLBACK_LINE
    assert len(said(line="9" * 80)["LINE_NUMBER"]) == 50
    assert said()["CALL_START_DATE"] == "2026-09-02T07:15:00+00:00"
    assert said(number=None, raw_number="1234")["PHONE_NUMBER"] == "1234"
    with pytest.raises(Refused) as met:
        said(number=None, raw_number=None)
    assert met.value.code == "NO_NUMBER"


def test_a_callback_has_its_own_type() -> None:
    said = telephony.register(
        call(), user_id=1, show=True, crm_create=True, crm=None, timezone="UTC", callback=True
    )
    assert said.params["TYPE"] == 4


@pytest.mark.parametrize(
    ("name", "crm", "created", "note"),
    [
        ("incoming", ("CONTACT", 797), (), None),
        ("lead-created", ("LEAD", 1205), ("LEAD:1205",), None),
        ("contact-deal-created", ("CONTACT", 812), ("CONTACT:812", "DEAL:341"), None),
        (
            "lead-error",
            (None, None),
            (),
            "Bitrix24 made no client for this call: Lead creation is disabled for local users",
        ),
    ],
)
def test_registered(name: str, crm: tuple[Any, Any], created: tuple[str, ...], note: str | None) -> None:
    result = _result(f"telephony.externalcall.register.{name}.response")
    assert telephony.read_registered(result, 7, "101", matched=False) == Registered(
        CALL_ID, 7, "101", matched=False, crm_type=crm[0], crm_id=crm[1], created=created, note=note
    )


def test_a_lead_that_was_not_made_is_told_inside_a_good_answer() -> None:
    result = _result("telephony.externalcall.register.lead-error.response")
    assert telephony.lead_error(result) == "Lead creation is disabled for local users"


@pytest.mark.parametrize("result", [None, [], {}, {"CALL_ID": ""}, True])
def test_a_register_without_a_call_id_is_doubt(result: Any) -> None:
    with pytest.raises(AnswerLost):
        telephony.read_registered(result, 7)


def test_finish() -> None:
    known = call(bitrix_call_id=CALL_ID)
    said = telephony.finish(known, user_id=7, duration=0, status_code="304", failed_reason="No answer")
    assert said.params == _request("telephony.externalcall.finish.missed.request")
    said = telephony.finish(known, user_id=7, duration=95, status_code="200", failed_reason="")
    assert "FAILED_REASON" not in said.params
    assert said.params["ADD_TO_CHAT"] == 0
    with pytest.raises(ValueError, match="CALL_ID"):
        telephony.finish(call(), user_id=7, duration=0, status_code="304", failed_reason="")


def test_finished() -> None:
    read = telephony.read_finished
    assert read(_result("telephony.externalcall.finish.answered.response")) == Finished(
        7943, "CONTACT", 797, 7, None
    )
    failed = read(_result("telephony.externalcall.finish.activity-error.response"))
    assert failed.activity_id is None
    assert failed.note == "Bitrix24 made no activity for this call: Responsible user is not found"
    as_text = read({"CRM_ACTIVITY_ID": "7943", "CRM_ENTITY_ID": "0", "CRM_ENTITY_TYPE": "", "ERRORS": []})
    assert as_text == Finished(7943, None, None, None, None)


def test_cards() -> None:
    assert telephony.show(CALL_ID, [7, 12]).params == _request("telephony.externalcall.show.request")
    assert telephony.hide(CALL_ID, [7, 12]).params == _request("telephony.externalcall.hide.request")


def test_attach_has_two_steps() -> None:
    said = telephony.attach(CALL_ID, "ut-2026-09-02-000123.MP3")
    assert said.params["FILENAME"] == "ut-2026-09-02-000123.mp3"
    place = telephony.read_upload(_result("telephony.externalcall.attachrecord.upload-step1.response"))
    assert place.field == "file"
    assert "token=telephony" in place.url
    assert "token" not in repr(place)
    drive = telephony.read_upload(_result("disk.folder.uploadfile.step1.response"))
    assert drive.field == "file"
    step2 = _result("telephony.externalcall.attachrecord.upload-step2.response")
    assert telephony.read_file_id(step2) == 9079
    nothing: list[Any] = [[], None, {"FILE_ID": 0}]
    for empty in nothing:
        with pytest.raises(AnswerLost):
            telephony.read_file_id(empty)
        with pytest.raises(AnswerLost):
            telephony.read_upload(empty)


def test_texts_that_mean_the_call_is_not_there() -> None:
    finish = _trouble("telephony.externalcall.finish.error.not-found")
    attach = _trouble("telephony.externalcall.attachrecord.error.not-finished")
    transcription = _trouble("telephony.call.attachtranscription.error.not-finished")
    other = _trouble("telephony.externalcall.register.error.user")
    assert [telephony.is_not_found(t) for t in (finish, attach, transcription, other)] == [
        True,
        True,
        True,
        False,
    ]
    assert not telephony.is_not_finished(finish)
    assert telephony.is_not_finished(attach)
    assert not telephony.is_not_found(ValueError("Call is not found"))


def test_search() -> None:
    assert telephony.search("+442079460123").params == _request(
        "telephony.externalcall.searchcrmentities.request"
    )
    found = _result("telephony.externalcall.searchcrmentities.response")
    assert telephony.read_search(found) == ("CONTACT", 797)
    assert [c.extension for c in telephony.read_clients(found)] == ["101", "102"]
    assert telephony.read_search([]) is None


def test_statistics() -> None:
    assert statistics.by_our_id("UT-2026-09-02-000123").params == _request("voximplant.statistic.get.request")
    row = telephony.read_statistic(_result("voximplant.statistic.get.response"))
    assert row is not None
    assert (row.call_id, row.record_file_id, row.duration) == (CALL_ID, 9079, 95)
    assert row.finished == Finished(7943, "CONTACT", 797, 7, None)
    assert telephony.read_statistic([]) is None


def test_lines() -> None:
    lines = statistics.read_lines(_result("telephony.externalline.get.response"))
    assert [(line.number, line.crm_create) for line in lines] == [
        ("+442079460900", False),
        ("+442079460901", True),
    ]
    said = statistics.add_line(statistics.Line("+442079460900", "Sales line", True))
    assert said.params == _request("telephony.externalline.add.request")
