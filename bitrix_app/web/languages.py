"""Bitrix24's language codes and ours (pages-and-traps.md §4)."""

from __future__ import annotations

import re
from typing import Final

OURS: Final = {
    "ua": "uk", "la": "es", "br": "pt-BR", "sc": "zh-CN", "tc": "zh-TW", "vn": "vi", "kz": "kk", "in": "hi",
}  # fmt: skip
"""Codes of Bitrix24 that differ from BCP 47; the rest are as they are."""


def language_of(code: str) -> str:
    """The BCP 47 tag of a LANG that a frame or an event named; English for nonsense."""
    code = code.strip().lower()
    return OURS.get(code, code) if re.fullmatch(r"[a-z]{2}", code) else "en"
