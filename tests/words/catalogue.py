"""The catalogues beside the code: brought up to date and compiled with Babel, a tool of ours only.

`make words` runs this: new texts are added empty, texts that nobody says any more are dropped, both
`.mo` files are written, and what still wants a translation is listed.
"""

from __future__ import annotations

import io
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final

from babel.messages.catalog import Catalog, Message
from babel.messages.mofile import write_mo
from babel.messages.pofile import read_po, write_po

from bitrix_app.words import DOMAIN, ENGLISH, LANGUAGES, LOCALE
from tests.words.extract import Text, texts

TRANSLATED: Final = tuple(language for language in LANGUAGES if language != ENGLISH)


def po_path(language: str, locale: Path = LOCALE) -> Path:
    return locale / language / "LC_MESSAGES" / f"{DOMAIN}.po"


def load(path: Path) -> Catalog:
    """A catalogue as it stands. Raises what Babel finds wrong with its syntax."""
    with path.open("rb") as file:
        return read_po(file, locale=path.parts[-3], domain=DOMAIN, abort_invalid=True)


def messages(catalogue: Catalog) -> Iterator[Message]:
    """Its entries without the header."""
    return (message for message in catalogue if message.id)


def refreshed(known: Catalog, wanted: Iterable[Text]) -> Catalog:
    """`wanted` with the translations that are known; nothing is guessed, nothing obsolete stays."""
    fresh = Catalog(
        locale=known.locale,
        domain=DOMAIN,
        project="Unitalk for Bitrix24",
        version="1",
        msgid_bugs_address="see README.md",
        last_translator="the developers",
        language_team="the developers",
        header_comment="# Unitalk for Bitrix24. Texts and files are kept in step by `make words`.",
        creation_date=known.creation_date,
        revision_date=known.revision_date,
        fuzzy=False,
    )
    for text in wanted:
        before = known.get(text.msgid)
        kept = before.string if before is not None and bool(text.plural) == before.pluralizable else None
        fresh.add(
            (text.msgid, text.plural) if text.plural else text.msgid,
            kept,
            locations=[(text.file, 0)],
            flags=[flag for flag in (before.flags if before else ()) if flag == "fuzzy"],
        )
    return fresh


def as_po(catalogue: Catalog) -> bytes:
    stream = io.BytesIO()
    write_po(stream, catalogue, width=100, sort_output=True, include_lineno=False)
    lines = stream.getvalue().splitlines(keepends=True)
    return b"".join(line for line in lines if not line.startswith(b'"Generated-By:'))  # it only makes noise


def as_mo(catalogue: Catalog) -> bytes:
    stream = io.BytesIO()
    write_mo(stream, catalogue)
    return stream.getvalue()


def untranslated(catalogue: Catalog) -> list[str]:
    """Entries that a reader would see in English, or that nobody has looked at."""
    return [
        name_of(message)
        for message in messages(catalogue)
        if message.fuzzy
        or not (all(message.string) if isinstance(message.string, tuple | list) else message.string)
    ]


def name_of(message: Message) -> str:
    """The entry's msgid, its singular where there are two."""
    return str(message.id[0] if isinstance(message.id, tuple | list) else message.id)


def main() -> int:
    wanted = texts()
    missing = 0
    for language in TRANSLATED:
        path = po_path(language)
        fresh = refreshed(load(path), wanted)
        path.write_bytes(as_po(fresh))
        path.with_suffix(".mo").write_bytes(as_mo(fresh))
        for msgid in untranslated(fresh):
            missing += 1
            sys.stderr.write(f"{path}: no translation yet: {msgid}\n")
    return 1 if missing else 0
