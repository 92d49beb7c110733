"""Texts for people in their language: the one place that translates (design.md §9).

The code speaks English, and an English text is its own key. Ukrainian and Russian come from the
gettext catalogues in `locale/`. Two ways lead in: `say` for a text that is at hand, `retell` for one
that was written in English where nobody knew who would read it – a stored error, a note of the core,
a refusal. So the core, the database and the log stay English, and each reader is told in their own
language at the rim.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache, lru_cache
from gettext import GNUTranslations, NullTranslations
from pathlib import Path
from typing import Final

from loguru import logger

LANGUAGES: Final = ("en", "uk", "ru")
ENGLISH: Final = LANGUAGES[0]
LOCALE: Final = Path(__file__).parent / "locale"
DOMAIN: Final = "unitalk"
DEPTH: Final = 3
"""How deep a text that quotes another text is retold."""

_GAP = re.compile(r"\{(\w+)\}")
_MAGIC: Final = 0x950412DE


def mark(text: str) -> str:
    """The text itself: says that it stands in the catalogue and is translated where it is shown."""
    return text


def spoken(language: str) -> str:
    """The language that we speak with whoever wants `language` (`uk`, `uk-UA`); English for others."""
    wanted = language.lower().replace("_", "-").partition("-")[0]
    return wanted if wanted in LANGUAGES else ENGLISH


class Words:
    """One reader's language. Cheap to make; the catalogues are read once."""

    __slots__ = ("language",)

    def __init__(self, language: str = ENGLISH) -> None:
        self.language: Final = spoken(language)

    def say(self, text: str, many: str = "", /, **values: object) -> str:
        """`text` in this language, its gaps filled with `values`.

        With `many`, the text for several, the value `count` chooses the form. Both stand in the
        catalogue; what comes from outside goes to `retell`.
        """
        if not text:
            return ""
        book = _book(self.language).translations
        said = book.ngettext(text, many, int(str(values["count"]))) if many else book.gettext(text)
        return said.format(**values)

    def retell(self, text: str) -> str:
        """A finished English text in this language; what no text of ours fits stays as it is, for
        then it is somebody else's words: a vendor's message, a name.
        """
        return text if self.language == ENGLISH or not text else _retold(self.language, text, DEPTH)


@dataclass(frozen=True, slots=True)
class _Pattern:
    """A text with gaps, as it looks when the gaps are filled. `core` is its longest part without."""

    msgid: str
    core: str
    shape: re.Pattern[str]


@dataclass(frozen=True, slots=True)
class _Book:
    """One language's catalogue. `patterns` are tried in order: first those that begin with words of
    their own, because a gap in front would swallow any beginning; among these the longer ones first.
    """

    translations: NullTranslations
    plain: frozenset[str] = frozenset()
    patterns: tuple[_Pattern, ...] = ()


@cache
def _book(language: str) -> _Book:
    """The catalogue, read once. A missing one costs the translation and never the call."""
    if language == ENGLISH:
        return _Book(NullTranslations())
    path = LOCALE / language / "LC_MESSAGES" / f"{DOMAIN}.mo"
    try:
        with path.open("rb") as file:
            translations = GNUTranslations(file)
        texts = tuple(msgids(path.read_bytes()))
    except (OSError, struct.error, UnicodeDecodeError) as reason:
        logger.error("the catalogue {} cannot be read, English is spoken instead: {}", path, reason)
        return _Book(NullTranslations())
    patterns = sorted(
        (_pattern(text) for text in texts if _GAP.search(text)),
        key=lambda pattern: (pattern.msgid.startswith("{"), -len(_GAP.sub("", pattern.msgid))),
    )
    return _Book(translations, frozenset(texts), tuple(patterns))


def msgids(mo: bytes) -> Iterator[str]:
    """The texts of a compiled catalogue, singular forms only (gettext's own format)."""
    order = "<" if struct.unpack_from("<I", mo)[0] == _MAGIC else ">"
    count, table = struct.unpack_from(f"{order}2I", mo, 8)
    for place in range(count):
        length, start = struct.unpack_from(f"{order}2I", mo, table + 8 * place)
        text = mo[start : start + length].decode("utf-8").split("\0")[0]
        if text:
            yield text


def _pattern(msgid: str) -> _Pattern:
    shape = ""
    seen: set[str] = set()
    for place, part in enumerate(_GAP.split(msgid)):
        if place % 2 == 0:
            shape += re.escape(part)
        else:
            shape += f"(?P={part})" if part in seen else f"(?P<{part}>.+?)"
            seen.add(part)
    core = max((part for part in _GAP.split(msgid)[::2]), key=len)
    return _Pattern(msgid, core, re.compile(shape, re.DOTALL))


@lru_cache(maxsize=4096)
def _retold(language: str, text: str, depth: int) -> str:
    book = _book(language)
    if text in book.plain and not _GAP.search(text):
        return book.translations.gettext(text)
    if depth == 0:
        return text
    for pattern in book.patterns:
        if pattern.core in text and (found := pattern.shape.fullmatch(text)):
            values = {gap: _retold(language, value, depth - 1) for gap, value in found.groupdict().items()}
            return book.translations.gettext(pattern.msgid).format(**values)
    if "\n" in text:  # several texts of ours below one another: a notice and what to do about it
        return "\n".join(_retold(language, line, depth) for line in text.split("\n"))
    return text
