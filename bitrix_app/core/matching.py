"""Which employee may an extension of the PBX belong to? Suggestions for a person to confirm. Pure.

Only an inner number or our own map decides; e-mail and name suggest (unitalk.md §4.5 gives names, and
e-mails where the PBX has them). Names are compared as Ukrainian, Russian and Latin spellings of one.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

from bitrix_app.core.mapping import By
from bitrix_app.core.portal import Agent, PortalSettings


class State(StrEnum):
    MATCHED = "matched"
    SUGGESTED = "suggested"
    UNMATCHED = "unmatched"


@dataclass(frozen=True, slots=True)
class Suggestion:
    """`by` is `email` or `name`."""

    user_id: int
    name: str
    by: str


@dataclass(frozen=True, slots=True)
class Match:
    """One extension. `pbx_name` as the PBX has it; `known_to_pbx` is `None` when its list is not here."""

    extension: str
    state: State
    user_id: int | None = None
    by: By | None = None
    pbx_name: str = ""
    known_to_pbx: bool | None = None
    suggestions: tuple[Suggestion, ...] = ()


def match_extensions(
    agents: Sequence[Agent],
    pbx_users: Sequence[Mapping[str, Any]],
    settings: PortalSettings,
    heard: Iterable[str] = (),
) -> list[Match]:
    """Every extension that the PBX, the portal, our map or calls (`heard`) know, in order of numbers."""
    active = {a.user_id: a for a in agents if a.active}
    by_extension: dict[str, Agent] = {}
    for agent in active.values():
        if agent.extension:
            by_extension.setdefault(agent.extension, agent)
    pbx = {str(user["line"]): user for user in pbx_users if user.get("line")}
    names = {*pbx, *by_extension, *settings.extension_users, *heard}
    found: list[Match] = []
    for extension in sorted(names, key=lambda text: (len(text), text)):
        user = pbx.get(extension, {})
        pbx_name, email = str(user.get("name") or ""), str(user.get("email") or "")
        listed = extension in pbx if pbx_users else None
        own = settings.extension_users.get(extension)
        if own is not None and (own in active or not active):
            found.append(Match(extension, State.MATCHED, own, By.OVERRIDE, pbx_name, listed))
        elif extension in by_extension:
            owner = by_extension[extension].user_id
            found.append(Match(extension, State.MATCHED, owner, By.EXTENSION, pbx_name, listed))
        else:
            offers = suggest(pbx_name, email, active.values())
            state = State.SUGGESTED if offers else State.UNMATCHED
            found.append(Match(extension, state, pbx_name=pbx_name, known_to_pbx=listed, suggestions=offers))
    return found


def suggest(pbx_name: str, email: str, agents: Iterable[Agent]) -> tuple[Suggestion, ...]:
    """Employees with this e-mail, then those with this name; several when the name is not enough."""
    wanted, address = name_key(pbx_name), email.strip().casefold()
    by_email: list[Suggestion] = []
    by_name: list[Suggestion] = []
    for agent in agents:
        if address and (agent.email or "").strip().casefold() == address:
            by_email.append(Suggestion(agent.user_id, agent.name, "email"))
        elif _same_name(wanted, name_key(agent.name)):
            by_name.append(Suggestion(agent.user_id, agent.name, "name"))
    return (*by_email, *by_name)


def _same_name(one: frozenset[str], other: frozenset[str]) -> bool:
    """A patronymic or a second name that one side leaves out does not part them; one word is too little."""
    return min(len(one), len(other)) >= 2 and (one <= other or other <= one)


def name_key(name: str) -> frozenset[str]:
    """The words of a name, without order, case, accents, alphabet and the usual spellings' differences."""
    words = re.findall(r"[^\W\d_]+", re.sub(r"[’'`ʼ´]", "", unicodedata.normalize("NFC", name)))
    folded = (_folded(word) for word in words)
    return frozenset(_PAIRS.get(word, word) for word in folded if len(word) > 1)


def _folded(word: str) -> str:
    latin = "".join(_LETTERS.get(letter, letter) for letter in word.casefold())
    plain = "".join(c for c in unicodedata.normalize("NFKD", latin) if not unicodedata.combining(c))
    for one, other in _SPELLINGS:
        plain = plain.replace(one, other)
    plain = re.sub(r"(.)\1+", r"\1", plain)  # Anna, Hanna; Kyryll
    return re.sub(r"(?<=.)[ei]+$", "i", plain)  # Andrii, Andriy, Andrey, Andrei


_LETTERS: Final = dict(
    zip(
        "абвгґдеєёжзиіїйклмнопрстуфхцчшщъыьэюя",
        re.split(" ", "a b v g g d e ie e zh z i i i i k l m n o p r s t u f g ts ch sh shch  i  e iu ia"),
        strict=True,
    )
)
"""Ukrainian and Russian letters; г and х both are «h» in somebody's passport, so they fall together."""
_SPELLINGS: Final = (
    ("kh", "g"),
    ("h", "g"),
    ("sg", "sh"),  # the «h» of sh, ch, zh was no letter of its own
    ("cg", "ch"),
    ("zg", "zh"),
    ("y", "i"),
    ("j", "i"),
    ("w", "v"),
    ("x", "ks"),
    ("tz", "ts"),
)
_SAME_NAMES: Final = (
    "Олена Елена Helen, Олександр Александр, Олексій Алексей, Микола Николай, Дмитро Дмитрий,"
    " Тетяна Татьяна, Володимир Владимир, Євген Евгений Eugene, Ганна Анна Hanna, Михайло Михаил,"
    " Павло Павел, Петро Пётр, Катерина Екатерина, Данило Даниил, Кирило Кирилл, Світлана Светлана,"
    " Костянтин Константин, Олеся Алеся, Олександра Александра, Надія Надежда, Любов Любовь,"
    " Пилип Филипп, Семен Семён, Людмила Людмила, Лідія Лидия, Антон Антон, Єлизавета Елизавета"
)
_PAIRS: Final = {
    _folded(other): _folded(group.split()[0]) for group in _SAME_NAMES.split(",") for other in group.split()
}
"""Given names that have a Ukrainian and a Russian form which letters alone do not join."""
