"""The catalogues: whole, looked at, in step with the code, and compiled as they stand."""

from __future__ import annotations

import io
import re
from collections.abc import Iterator
from datetime import UTC, datetime

import pytest
from babel.messages.catalog import Catalog, Message
from babel.messages.mofile import read_mo

from bitrix_app.words import LOCALE
from tests.words.catalogue import (
    TRANSLATED,
    as_mo,
    load,
    messages,
    name_of,
    po_path,
    refreshed,
    untranslated,
)
from tests.words.extract import ROOT, Text, texts

WHEN = datetime(2026, 1, 1, tzinfo=UTC)


def forms(message: Message) -> tuple[str, ...]:
    """Every form of the translation."""
    return tuple(message.string) if isinstance(message.string, tuple | list) else (str(message.string),)


def originals(message: Message) -> tuple[str, ...]:
    return tuple(message.id) if isinstance(message.id, tuple | list) else (str(message.id),)


def gaps(text: str) -> set[str]:
    return set(re.findall(r"\{(\w*)\}", text))


def entries(language: str) -> Iterator[Message]:
    return messages(load(po_path(language)))


@pytest.mark.parametrize("language", TRANSLATED)
def test_every_text_of_the_product_stands_in_the_catalogue_and_nothing_else(language: str) -> None:
    wanted = {(text.msgid, text.plural) for text in texts()}
    there = {(*originals(entry), "")[:2] for entry in entries(language)}
    assert there == wanted, "run `make words`, then translate what it lists"


@pytest.mark.parametrize("language", TRANSLATED)
def test_no_text_is_untranslated_or_fuzzy(language: str) -> None:
    assert untranslated(load(po_path(language))) == []


def test_what_is_missing_fuzzy_or_half_a_plural_is_found() -> None:
    catalogue = Catalog(locale="uk")
    catalogue.add("fine", "добре")
    catalogue.add("missing")
    catalogue.add("unsure", "певно", flags=["fuzzy"])
    catalogue.add(("{count} try", "{count} tries"), ("{count} спроба", "{count} спроби", ""))
    assert untranslated(catalogue) == ["missing", "unsure", "{count} try"]


@pytest.mark.parametrize("language", TRANSLATED)
def test_a_translation_fills_the_same_gaps(language: str) -> None:
    for entry in entries(language):
        for form in forms(entry):
            assert gaps(form) == gaps(name_of(entry)), form
            assert form.format(**dict.fromkeys(gaps(form), "1"))


@pytest.mark.parametrize("language", TRANSLATED)
def test_plurals_have_every_form_of_the_language(language: str) -> None:
    catalogue = load(po_path(language))
    counted = [entry for entry in messages(catalogue) if entry.pluralizable]
    assert counted
    for entry in counted:
        assert len(forms(entry)) == catalogue.num_plurals == 3
        assert len(set(forms(entry))) == 3, f"{name_of(entry)} says two numbers alike"


@pytest.mark.parametrize(("language", "foreign"), [("uk", "ыэъё"), ("ru", "іїєґ")])
def test_each_language_is_written_in_its_own_letters(language: str, foreign: str) -> None:
    for entry in entries(language):
        for form in forms(entry):
            assert not set(form.lower()) & set(foreign), form


@pytest.mark.parametrize("language", TRANSLATED)
def test_a_translation_ends_and_is_spaced_as_its_original(language: str) -> None:
    for entry in entries(language):
        for form in forms(entry):
            assert form == form.strip()
            for end in (".", ":"):
                assert form.endswith(end) == name_of(entry).endswith(end), form


@pytest.mark.parametrize("language", TRANSLATED)
def test_the_compiled_catalogue_is_what_the_written_one_compiles_to(language: str) -> None:
    def content(mo: bytes) -> dict[str, tuple[str, ...]]:
        return {name_of(entry): forms(entry) for entry in messages(read_mo(io.BytesIO(mo)))}

    path = po_path(language)
    shipped = path.with_suffix(".mo").read_bytes()
    assert content(shipped) == content(as_mo(load(path))), "run `make words`"


def test_the_compiled_catalogues_are_packed_and_lie_in_the_package() -> None:
    assert '"**/*.mo"' in (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    assert LOCALE.is_relative_to(ROOT / "bitrix_app")


def test_bringing_it_up_to_date_keeps_adds_and_drops_and_never_guesses() -> None:
    known = Catalog(locale="uk", creation_date=WHEN, revision_date=WHEN)
    known.add("Save", "Зберегти")
    known.add("Gone", "Пішло")
    known.add("Unsure", "Певно", flags=["fuzzy"])
    known.add("{count} try", "{count} спроба")
    wanted = [
        Text("Save", "", "a.html"),
        Text("Save", "", "b.html"),
        Text("Saved", "", "a.html"),
        Text("Unsure"),
        Text("{count} try", "{count} tries"),
    ]
    fresh = refreshed(known, wanted)
    assert [name_of(entry) for entry in messages(fresh)] == ["Save", "Saved", "Unsure", "{count} try"]
    save = fresh.get("Save")
    assert save is not None
    assert save.string == "Зберегти"
    assert [place for place, _ in save.locations] == ["a.html", "b.html"]
    assert untranslated(fresh) == ["Saved", "Unsure", "{count} try"]
