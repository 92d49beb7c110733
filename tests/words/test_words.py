"""Saying and retelling."""

from __future__ import annotations

import io
import re
from pathlib import Path

import pytest
from loguru import logger

from bitrix_app import findings, vocabulary, words
from bitrix_app.core import campaigns, commands, dialers, errors
from bitrix_app.core.call import Recording
from bitrix_app.core.dialling import NOBODY, UNTRACED
from bitrix_app.core.events import Direction
from bitrix_app.core.intent import OVERDUE
from bitrix_app.core.jobs import JobState
from bitrix_app.core.lifecycle import Phase
from bitrix_app.core.outcome import FAILED_REASON, Outcome
from bitrix_app.core.permit import KEY_REFUSED, NOT_CONNECTED, PORTAL_WAITS
from bitrix_app.starting import LOST, STALE, UNREACHABLE
from bitrix_app.words import LANGUAGES, Words, spoken
from tests.words.extract import texts

GAP = re.compile(r"\{(\w+)\}")


@pytest.mark.parametrize(
    ("wanted", "ours"),
    [
        ("uk", "uk"),
        ("ru", "ru"),
        ("en", "en"),
        ("uk-UA", "uk"),
        ("RU_ru", "ru"),
        ("de", "en"),
        ("", "en"),
        ("ukr", "en"),
    ],
)
def test_other_languages_are_answered_in_english(wanted: str, ours: str) -> None:
    assert spoken(wanted) == Words(wanted).language == ours


def test_a_text_is_said_with_its_values() -> None:
    assert Words("uk").say("User {user_id}", user_id=7) == "Користувач 7"
    assert Words("ru").say("Save") == "Сохранить"
    assert Words("de").say("User {user_id}", user_id="{x}") == "User {x}"
    assert Words("uk").say("") == ""


@pytest.mark.parametrize(
    ("language", "said"),
    [
        ("en", {0: "0 tries", 1: "1 try", 2: "2 tries", 21: "21 tries"}),
        ("uk", {0: "0 спроб", 1: "1 спроба", 3: "3 спроби", 5: "5 спроб", 11: "11 спроб", 121: "121 спроба"}),
        ("ru", {0: "0 попыток", 1: "1 попытка", 4: "4 попытки", 12: "12 попыток", 22: "22 попытки"}),
    ],
)
def test_counting_follows_the_language(language: str, said: dict[int, str]) -> None:
    for count, text in said.items():
        assert Words(language).say("{count} try", "{count} tries", count=count) == text


@pytest.mark.parametrize("language", LANGUAGES)
def test_every_text_is_retold_as_it_would_have_been_said(language: str) -> None:
    """However many texts look alike, a stored one finds its own translation."""
    reader = Words(language)
    for text in texts():
        if text.plural:
            continue
        values = {gap: f"q{place}" for place, gap in enumerate(dict.fromkeys(GAP.findall(text.msgid)))}
        told = text.msgid.format(**values)
        assert reader.retell(told) == reader.say(text.msgid, **values)


def test_what_a_text_quotes_is_retold_too() -> None:
    stored = "9 tries failed, the last one: The recording is not there yet: the server answered with HTTP 404"
    assert Words("uk").retell(stored) == (
        "Невдалих спроб: 9, остання: Запису ще немає: сервер відповів HTTP 404"
    )


def test_a_text_that_begins_with_a_gap_does_not_swallow_the_beginning_of_another() -> None:
    stored = "Recording: 9 tries failed, the last one: The answer took too long"
    assert Words("uk").retell(stored) == "Запис: Невдалих спроб: 9, остання: Відповідь надходила надто довго"


def test_two_sentences_of_one_note_are_both_retold() -> None:
    newer = "A newer call had already written stageId of LEAD:7: superseded."
    for first in ("LEAD:7 stays in stage NEW.", "LEAD:7 is closed (JUNK) and was left alone."):
        told = Words("uk").retell(f"{first} {newer}")
        assert told == f"{Words('uk').retell(first)} {Words('uk').retell(newer)}"
        assert not re.search("[a-z]{3}", told.replace("stageId", ""))


def test_a_notice_of_several_lines_is_retold_line_by_line() -> None:
    notice = f"{KEY_REFUSED.message}\n{KEY_REFUSED.hint}\n(sample 1)"
    told = Words("uk").retell(notice).split("\n")
    assert told == [
        Words("uk").retell(KEY_REFUSED.message),
        Words("uk").retell(KEY_REFUSED.hint),
        "(sample 1)",
    ]
    assert told[0] != KEY_REFUSED.message


@pytest.mark.parametrize("language", ["uk", "ru"])
def test_the_reason_why_a_call_was_not_started_reaches_the_agent_in_his_language(language: str) -> None:
    failures = [UNTRACED, NOBODY, NOT_CONNECTED, PORTAL_WAITS, KEY_REFUSED, OVERDUE, LOST, STALE, UNREACHABLE]
    for failure in failures:
        notice = f"The call to +380671112233 was not started.\n{failure.message}\n{failure.hint}"
        told = Words(language).retell(notice)
        assert "+380671112233" in told
        assert not re.search("[A-Za-z]", told.replace("Unitalk", "").replace("API", "").replace("CRM", ""))


def test_what_the_watch_over_the_pbx_finds_is_told_in_the_portals_language() -> None:
    found = {
        "finding": findings.sentence("field", "x1", "y2"),
        "kind": "field",
        "key": "k",
        "sample": {"x1": 1},
    }
    zones = [findings.notice_of_zone("Europe/Kyiv", hours, None, 9) for hours in (3, -3)]
    for owed in (findings.notice_of_finding(found), findings.notice_of_more(4, 0.0), *zones):
        assert isinstance(owed.command, commands.Notify)
        told = Words("uk").retell(owed.command.message)
        assert not re.search("[A-Za-z]{3}", told.replace("Unitalk", "").replace("Europe/Kyiv", "")), told


def test_a_vendors_own_words_stay_as_they_came() -> None:
    for said in ("Access denied!", "Call is not found", "", "{0.__class__} {x}", "%(x)s", "User"[:3]):
        assert Words("uk").retell(said) == said
    quoted = "Bitrix24 made no activity for this call: {0.__class__} odd\nthing"
    assert (
        Words("uk").retell(quoted)
        == "Бітрікс24 не створив справу для цього дзвінка: {0.__class__} odd\nthing"
    )


def test_a_catalogue_that_is_gone_costs_the_translation_and_never_the_call(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = io.StringIO()
    handler = logger.add(log, format="{level} {message}")
    monkeypatch.setattr(words, "LOCALE", tmp_path)
    words._book.cache_clear()
    try:
        assert Words("uk").say("User {user_id}", user_id=7) == "User 7"
        broken = tmp_path / "ru" / "LC_MESSAGES" / "unitalk.mo"
        broken.parent.mkdir(parents=True)
        broken.write_bytes(b"not a catalogue")
        assert Words("ru").say("Save") == "Save"
    finally:
        logger.remove(handler)
        words._book.cache_clear()
        words._retold.cache_clear()
    assert log.getvalue().count("ERROR the catalogue") == 2


@pytest.mark.parametrize("language", ["uk", "ru"])
def test_the_portal_is_told_why_a_call_failed_in_its_language(language: str) -> None:
    for outcome in Outcome:
        reason = FAILED_REASON[outcome]
        told = Words(language).retell(reason)
        assert bool(told) == (outcome is not Outcome.ANSWERED)
        assert not re.search("[A-Za-z]", told)


def test_no_code_of_ours_is_without_a_word() -> None:
    kinds = {*commands.kinds_for("bitrix24"), *commands.kinds_for("unitalk")}
    assert set(vocabulary.STEPS) == kinds
    assert set(vocabulary.STATES) == set(vocabulary.STATE_SIGNS) == set(JobState)
    assert set(vocabulary.OUTCOMES) == set(Outcome)
    assert set(vocabulary.PHONE_STATES) == set(campaigns.PhoneState)
    assert set(vocabulary.PHONE_REASONS) == set(campaigns.Reason)
    assert set(vocabulary.BATCH_STATES) == set(campaigns.BatchState)
    assert set(vocabulary.DIALER_STATES) == set(dialers.Running)
    assert set(vocabulary.PHASES) == set(Phase)
    assert set(vocabulary.RECORDINGS) == set(Recording)
    assert set(vocabulary.DIRECTIONS) == set(vocabulary.DIRECTION_SIGNS) == set(Direction)
    assert set(vocabulary.HELPERS) == set(errors.Who) - {errors.Who.NOBODY}
