"""Suggesting whose an extension is."""

from typing import Any

import pytest

from bitrix_app.core.mapping import By
from bitrix_app.core.matching import Match, State, Suggestion, match_extensions, name_key, suggest
from bitrix_app.core.portal import Agent, PortalSettings

ANDRII = Agent(11, "Андрій Бондар", "2001", "andrii@example.com")
OLENA = Agent(12, "Olena Hrytsenko", None, "olena@example.com")
SERHII = Agent(13, "Serhii Tkach", None, "serhii@example.com")
STAFF = [ANDRII, OLENA, SERHII]


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("Андрій Бондар", "Andrii Bondar"),
        ("Андрей Бондарь", "Bondar Andriy"),
        ("Сергій Ткач", "Serhii Tkach"),
        ("Сергей Ткач", "Sergey Tkach"),
        ("Ірина Мельник", "IRYNA MELNYK"),
        ("Олена Гриценко", "Елена Гриценко"),
        ("Жанна Чорна", "Zhanna Chorna"),
        ("Михайло Хоменко", "Mykhailo Khomenko"),
        ("Наталія Їжак", "Наталья Ижак"),
        ("Мар’яна О'Коннор", "Маряна ОКоннор"),
        ("Zoë Müller", "Zoe Muller"),
        ("Дмитро Савченко", "Дмитрий Савченко"),
        ("Щербак Юлія", "Yuliia Shcherbak"),
        ("Андрій Бондар", "Андрій Бондар"),
    ],
)
def test_one_name_in_two_spellings(one: str, other: str) -> None:
    assert name_key(one) == name_key(other)


@pytest.mark.parametrize(
    ("one", "other"),
    [("Андрій Бондар", "Андрій Ткач"), ("Anna Lee", "Anne Li"), ("Ірина Мельник", "Ірина Мельниченко")],
)
def test_other_people_have_other_names(one: str, other: str) -> None:
    assert suggest(one, "", [Agent(1, other)]) == ()


def test_an_e_mail_suggests_before_a_name() -> None:
    found = suggest("Сергій Ткач", "OLENA@example.com", STAFF)
    assert found == (Suggestion(12, OLENA.name, "email"), Suggestion(13, SERHII.name, "name"))


def test_a_patronymic_does_not_part_a_name_and_one_word_is_too_little() -> None:
    assert [s.user_id for s in suggest("Гриценко Олена Петрівна", "", STAFF)] == [12]
    assert suggest("Олена", "", STAFF) == ()
    assert suggest("", "", STAFF) == ()


def test_the_inner_number_and_our_map_match_and_the_rest_is_suggested_or_not() -> None:
    pbx: list[dict[str, Any]] = [
        {"line": "2001", "name": "Whoever"},
        {"line": "2002", "name": "Олена Гриценко"},
        {"line": "2003", "name": "Nobody Known"},
        {"line": None, "name": "Manager"},
    ]
    settings = PortalSettings(extension_users={"2004": 13, "2001": 12})
    found = match_extensions(STAFF, pbx, settings, ["2099"])
    assert [(m.extension, m.state, m.user_id, m.by) for m in found] == [
        ("2001", State.MATCHED, 12, By.OVERRIDE),
        ("2002", State.SUGGESTED, None, None),
        ("2003", State.UNMATCHED, None, None),
        ("2004", State.MATCHED, 13, By.OVERRIDE),
        ("2099", State.UNMATCHED, None, None),
    ]
    assert found[1].suggestions == (Suggestion(12, OLENA.name, "name"),)
    assert [m.known_to_pbx for m in found] == [True, True, True, False, False]


def test_without_the_pbxs_list_nobody_says_what_it_knows() -> None:
    (found,) = match_extensions([ANDRII], [], PortalSettings())
    assert found == Match("2001", State.MATCHED, 11, By.EXTENSION)


def test_whoever_left_has_no_extension() -> None:
    left = Agent(14, "Left", "2005", active=False)
    found = match_extensions([ANDRII, left], [], PortalSettings(extension_users={"2006": 14}), ["2005"])
    assert {m.extension: m.state for m in found} == {
        "2001": State.MATCHED,
        "2005": State.UNMATCHED,
        "2006": State.UNMATCHED,
    }
