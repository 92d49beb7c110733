"""Phone numbers as the PBX, the portal and people write them, read with the portal's country. Pure.

The PBX says digits with country code and no plus (unitalk.md §2), but hidden callers, short and inner
numbers, local notations and extensions come too. Nothing is lost: the raw text stays, and what cannot
be a number says why. `unitalk.values.to_e164` is the vendor's convention alone and stands in where no
numbering plan knows the digits.
"""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass, replace
from enum import StrEnum
from functools import lru_cache
from typing import Final
from zoneinfo import available_timezones

import phonenumbers
from phonenumbers import NumberParseException, PhoneNumber, ValidationResult
from phonenumbers.timezone import time_zones_for_number

from bitrix_app.core.events import Direction, PbxReport, Step
from bitrix_app.words import mark

COUNTRY: Final = "UA"
COUNTRIES: Final = frozenset(phonenumbers.SUPPORTED_REGIONS)
"""Countries whose numbering plan is known, by ISO 3166 code."""
SHORT: Final = 7
"""An inner line has up to seven digits (unitalk.md §2), and so has a local number without its area."""
LONGEST: Final = 15
"""Digits of an international number (E.164)."""


class Kind(StrEnum):
    """What a text is, when it is read as a number."""

    FULL = "full"
    """A whole number of a known numbering plan: only this has an E.164 form."""
    UNPLACED = "unplaced"
    """As long as a number, but of no plan that we know: the PBX's own convention decides."""
    SHORT = "short"
    """An inner, service or local number without its area code."""
    HIDDEN = "hidden"
    NONSENSE = "nonsense"
    ABSENT = "absent"


@dataclass(frozen=True, slots=True)
class Reading:
    """`raw` as it came; `e164` with plus, only for `FULL`; `digits` what can be dialled or searched;
    `reason` in words why there is no E.164 form, empty when there is one.
    """

    raw: str
    kind: Kind
    e164: str | None = None
    digits: str = ""
    extension: str | None = None
    reason: str = ""

    @property
    def callable(self) -> bool:
        """Whether Bitrix24 could be told this number at all (bitrix24.md §6.1)."""
        return self.kind in (Kind.FULL, Kind.UNPLACED, Kind.SHORT)


@lru_cache(maxsize=4096)
def read_number(raw: str | None, country: str = COUNTRY) -> Reading:
    """The meaning of `raw` for a portal of `country` (ISO 3166; an unknown one counts as `COUNTRY`)."""
    text = unicodedata.normalize("NFKC", raw or "").strip()
    if not text:
        return Reading(raw or "", Kind.ABSENT, reason=mark("The PBX gave no number."))
    if _is_hidden(text):
        return Reading(
            text, Kind.HIDDEN, reason=mark(f"The caller's number is hidden (the PBX says «{text}»).")
        )
    main, extension = _without_extension(_ADDRESS.sub(r"\1", text))
    plus = main.startswith("+")
    if plus:
        main = re.sub(r"\(\s*0\s*\)", "", main)  # +44 (0) 20 …: the trunk zero of people's cards
    digits = _FILLING.sub("", main).removeprefix("+")
    if not re.fullmatch(r"[0-9]+", digits):
        return Reading(text, Kind.NONSENSE, reason=mark(f"«{text}» is not a phone number."))
    region = country if country in COUNTRIES else COUNTRY
    return replace(_placed(text, digits, region, plus=plus), extension=extension)


def search_forms(raw: str | None, country: str = COUNTRY) -> tuple[str, ...]:
    """Notations under which a record may hold the number, the likeliest first; none for a hidden one.

    The portal compares digits and ignores signs (bitrix24.md §7.4), so only notations with other digits
    are worth asking for: records that people typed hold the national form, too.
    """
    reading = read_number(raw, country)
    if reading.e164 is None:
        return (reading.digits,) if reading.callable else ()
    number = phonenumbers.parse(reading.e164)
    national = phonenumbers.format_number(number, phonenumbers.PhoneNumberFormat.NATIONAL)
    forms = [reading.e164, re.sub(r"[^0-9]", "", national)]
    return tuple(dict.fromkeys(forms))


def zones_of(number: str | None) -> tuple[str, ...]:
    """IANA zones in which a number may be at home; empty when its plan does not say."""
    try:
        parsed = phonenumbers.parse(number or "", None)
    except NumberParseException:
        return ()
    return tuple(zone for zone in time_zones_for_number(parsed) if zone in _ZONES)


_ZONES: Final = frozenset(available_timezones())


def placed(report: PbxReport, country: str) -> PbxReport:
    """The PBX's report with its client's number read for the portal's country, or why it has none."""
    facts = report.facts
    if facts.direction is Direction.INNER:
        return report
    reading = read_number(facts.raw_number, country)
    if reading.kind is Kind.UNPLACED and facts.number is not None:
        return replace(report, facts=replace(facts, number_note=reading.reason))
    # an event may leave the number out because another has told it: only the last one proves a lack
    silent = reading.kind is Kind.ABSENT and report.step is not Step.ENDED
    note = None if silent or not reading.reason else reading.reason
    return replace(report, facts=replace(facts, number=reading.e164, number_note=note))


# --- reading -------------------------------------------------------------------------------------

_ADDRESS: Final = re.compile(r"^(?:sips?|tel):([^@;]*).*$", re.IGNORECASE)
_FILLING: Final = re.compile(r"[\s\-‐-―−()\[\]./\\]")
_EXTENSION: Final = re.compile(
    r"^(?P<main>.*[0-9)])\s*(?:[;,]?\s*ext(?:ension|n)?\b\s*[.:=]?|[;,]?\s*доб\w*\s*[.:]?|[;,]?\s*вн\w*\s*[.:]?"
    r"|x|#|,+|;)\s*(?P<extension>[0-9]{1,7})\s*#?$",
    re.IGNORECASE,
)
_HIDDEN: Final = frozenset(
    re.findall(
        r"\w+",
        "hidden anonymous anonym anon unknown private withheld restricted unavailable undisclosed"
        " noid nonumber nocallerid callerunknown unknowncaller privatenumber numberwithheld clir"
        " анонім анонімний аноним анонимный приховано прихований прихованийномер невідомо невідомий"
        " скрыт скрыто скрытый скрытыйномер неизвестно неизвестный",
    )
)
"""How switches and templates say that the caller hid the number; compared without signs and case."""


def _is_hidden(text: str) -> bool:
    bare = _ADDRESS.sub(r"\1", text).strip("<>\"' ").partition("@")[0]
    word = re.sub(r"[^\w]|_", "", bare).casefold()
    return word in _HIDDEN


def _without_extension(text: str) -> tuple[str, str | None]:
    text = text.rstrip("# ")
    found = _EXTENSION.match(text)
    return (found["main"].strip(), found["extension"]) if found else (text, None)


def _placed(text: str, digits: str, region: str, *, plus: bool) -> Reading:
    attempts = _attempts(digits, region, plus=plus)
    for number in attempts:
        if phonenumbers.is_valid_number(number):
            return Reading(text, Kind.FULL, _e164(number), digits)
    if not digits.strip("0"):
        return Reading(text, Kind.NONSENSE, reason=mark(f"«{text}» is not a phone number."))
    if len(digits) <= SHORT:
        why = mark(
            f"«{text}» is a short or inner number: it has no area code, so no record can be found by it."
        )
        return Reading(text, Kind.SHORT, digits=digits, reason=why)
    for number in attempts:
        if phonenumbers.is_possible_number_with_reason(number) == ValidationResult.IS_POSSIBLE:
            # a range newer than our tables, or a carrier's test number: it fits the plan's length
            return Reading(text, Kind.FULL, _e164(number), digits)
    if len(digits) <= LONGEST:
        why = mark(
            f"«{text}» fits no numbering plan that is known for {region}; it is taken as the PBX says it."
        )
        return Reading(text, Kind.UNPLACED, digits=digits, reason=why)
    why = mark(f"«{text}» has more digits than any phone number.")
    return Reading(text, Kind.NONSENSE, reason=why)


def _attempts(digits: str, region: str, *, plus: bool) -> list[PhoneNumber]:
    """How the digits may be meant, the likeliest first."""
    if plus:
        forms = ["+" + digits.removeprefix("00")]
    elif digits.startswith("00"):
        forms = ["+" + digits[2:], digits]
    else:
        trunk = _trunk(region)
        local_first = bool(trunk) and digits.startswith(trunk)
        forms = [digits, "+" + digits] if local_first else ["+" + digits, digits]
    found: list[PhoneNumber] = []
    for form in forms:
        try:
            found.append(phonenumbers.parse(form, region))
        except NumberParseException:
            continue
    return found


def _trunk(region: str) -> str:
    """What people dial before a national number: 0 in Ukraine, 8 in Kazakhstan, nothing in Poland."""
    return phonenumbers.ndd_prefix_for_region(region, True) or ""


def _e164(number: PhoneNumber) -> str:
    return phonenumbers.format_number(number, phonenumbers.PhoneNumberFormat.E164)
