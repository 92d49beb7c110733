"""Phone numbers as the portal compares them: normalised digits (bitrix24.md §6.1, §7.4)."""

from __future__ import annotations

import re
from functools import lru_cache

import phonenumbers

_EXTENSION = re.compile(r"[;,#x].*$")
_DIGITS = re.compile(r"\d+")


@lru_cache(maxsize=16_384)
def normalise(text: str, country: str) -> str | None:
    """Digits of the international number without `+`, or None when it is no phone number.

    An extension after `;`, `,`, `#` or `x` is ignored.
    """
    bare = _EXTENSION.sub("", text.strip().lower())
    if not re.fullmatch(r"\+?[\d\s()./-]+", bare):
        return None
    digits = re.sub(r"\D", "", bare)
    attempts = [(bare, country)] if bare.startswith("+") else [(bare, country), ("+" + digits, country)]
    for number, region in attempts:
        try:
            parsed = phonenumbers.parse(number, region)
        except phonenumbers.NumberParseException:
            continue
        if phonenumbers.is_possible_number(parsed):
            return f"{parsed.country_code}{phonenumbers.national_significant_number(parsed)}"
    # invented and local numbers are no reason to refuse a call: the portal only wants enough digits
    return digits if 6 <= len(digits) <= 18 else None


def extension(text: str) -> str:
    """The digits to be dialled after the number, which stand behind `;`, `,`, `#` or `x`."""
    behind = _EXTENSION.search(text.strip().lower())
    return "".join(_DIGITS.findall(behind[0])) if behind else ""


def same(left: str, right: str, country: str) -> bool:
    """Whether two notations mean one number."""
    one = normalise(left, country)
    return one is not None and one == normalise(right, country)
