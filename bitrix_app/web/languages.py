"""Whose language an answer speaks, and the texts that the pages' scripts say.

A page speaks the language of its session, which is the portal's; an answer without a session that of
the frame's address (`LANG`, or `lang` where people
write it), else what the browser asks for; English where nobody says anything.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from starlette.requests import Request

from bitrix_app.bitrix.frames import language_of
from bitrix_app.words import ENGLISH, LANGUAGES, Words, mark

PAGE_TEXTS: Final[Mapping[str, str]] = MappingProxyType(
    {
        "reload": mark("This page has been open too long. Reload it in Bitrix24 to go on; nothing is lost."),
        "offline": mark("The server cannot be reached at the moment. What you see may be out of date."),
        "outside": mark("This page is not inside Bitrix24: links into the portal open in a new tab."),
        "copied": mark("Copied"),
        "select": mark("Copying is not allowed here: select the text and copy it yourself."),
        "saved": mark("Saved"),
        "asked": mark("Done. It is being carried out; this page shows how it goes."),
        "refused": mark("Nothing was changed. Please look at the fields marked in red."),
        "calling": mark("Asking Unitalk to start the call…"),
        "closed": mark("Closed. For ten seconds this can be undone."),
        "undo": mark("Undo"),
        "listed": mark("On the list of calls to make"),
        "changed": mark("Changed."),
    }
)
"""What page.js says."""
INSTALLER_TEXTS: Final[Mapping[str, str]] = MappingProxyType(
    {
        "finishing": mark("Done. Bitrix24 opens the application now."),
        "attention": mark("Something needs you: see the line in red, then open this page again."),
        "outside": mark(
            "The installation is prepared, but this page is not inside Bitrix24. Open it there to finish."
        ),
        "library": mark(
            "The installation is prepared, but the browser could not load Bitrix24's own script. Check what "
            "blocks it, then open this page again. Its address:"
        ),
        "over": mark("This page has been open too long. Please open it again in Bitrix24."),
        "away": mark("The server cannot be reached at the moment. We keep trying."),
    }
)
"""What installer.js says."""


def script_texts(texts: Mapping[str, str], language: str) -> dict[str, str]:
    """A script's texts in the reader's language; the page carries them as JSON."""
    words = Words(language)
    return {name: words.say(text) for name, text in texts.items()}


def asked_language(request: Request) -> str:
    """The language of whoever asks without a session."""
    if named := request.query_params.get("LANG") or request.query_params.get("lang"):
        return language_of(named)
    return preferred(request.headers.get("accept-language", ""))


def preferred(header: str) -> str:
    """The first of our languages in the order of an `Accept-Language` header (RFC 9110 §12.5.4).

    A language that we do not speak is passed over for the next one; unreadable weights count as none.
    """
    wishes: list[tuple[float, int, str]] = []
    for place, part in enumerate(header[:1000].split(",")):
        tag, _, parameters = part.strip().partition(";")
        language = tag.strip().lower().partition("-")[0]
        if language in LANGUAGES and (weight := _weight(parameters)) > 0:
            wishes.append((-weight, place, language))
    return min(wishes)[2] if wishes else ENGLISH


def _weight(parameters: str) -> float:
    name, _, value = parameters.strip().partition("=")
    if not parameters.strip():
        return 1.0
    try:
        weight = float(value) if name.strip().lower() == "q" else 0.0
    except ValueError:
        return 0.0
    return weight if 0.0 <= weight <= 1.0 else 0.0
