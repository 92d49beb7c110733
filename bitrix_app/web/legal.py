"""The two public pages that the Market asks for (interface.md: `GET /legal/privacy`, `/legal/license`).

What stands here must be what the code does: the days come from the constants that rule them, and a
test holds the rest. Whoever runs an installation is named by its own address.
Both are told in the language that the browser or `?lang=` asks for; the licence itself stays as granted.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final
from urllib.parse import urlsplit

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from bitrix_app.core.retention import LEDGER_DAYS, LOG_DAYS, RECEIPT_DAYS, SPOOL_DAYS
from bitrix_app.web.deps import WebDeps
from bitrix_app.web.languages import asked_language
from bitrix_app.web.pages import HERE, render, wants_html
from bitrix_app.words import Words, mark

UPDATED: Final = "2026-11-22"
NAME: Final = "Unitalk for Bitrix24"
LICENSE: Final = HERE / "templates" / "license.txt"

WHAT: Final = (
    mark(
        "About a call: the numbers of both sides, the external line, the extensions that rang and talked, "
        "times, duration, outcome, the PBX's ids and the ids of the records in Bitrix24."
    ),
    mark("Recordings: on their way from Unitalk to Bitrix24 a copy lies on our disk."),
    mark("About employees of the portal: name, work e-mail, inner phone number, whether active."),
    mark(
        "Keys: the portal's OAuth tokens of up to three administrators, the portal's event token, the "
        "Unitalk API key, the secret webhook address."
    ),
    mark(
        "The raw events of Unitalk and of Bitrix24 as they came (without tokens), and a log of our requests "
        "to both, with tokens, keys and links to recordings masked."
    ),
    mark("No cookies, no trackers, nothing stored in the browser."),
)
WHY: Final = (
    mark(
        "To write each call into the CRM of the portal exactly once, with its recording, and to show what "
        "became of it. Nothing is used for anything else: not for advertising, not for profiles, not for "
        "training of models."
    ),
    mark(
        "The company whose portal it is decides about calls and recordings and is the controller; whoever "
        "operates this installation processes them on that company's behalf."
    ),
)
WHERE: Final = (
    mark(
        "On the server of this installation, in one database file and one folder beside it. Tokens, the "
        "API key and the webhook address are encrypted there; call data and raw events are not encrypted "
        "by the application itself."
    ),
    mark(
        "Sent only to the portal's own Bitrix24 (calls, recordings, documents), to Bitrix24's auth server "
        "(tokens) and to Unitalk (requests with the API key); to nobody else. Logs carry no keys, and of "
        "phone numbers the last four digits."
    ),
)
LONG: Final = (
    mark(f"Raw events: {RECEIPT_DAYS} days. The request log: {LOG_DAYS} days."),
    mark(f"What the PBX's history says of calls, for the ledger: {LEDGER_DAYS} days."),
    mark(f"The copy of a recording: until Bitrix24 has it, at most {SPOOL_DAYS} days."),
    mark("Calls: as long as the application is installed."),
    mark(
        "On uninstallation all tokens are deleted at once and the webhook address is closed. If the "
        "administrator ticks “delete settings and data”, everything else in the database is deleted at once "
        "too, but for a note that the portal was here (a local application is always removed so); otherwise "
        "calls and settings, the encrypted API key among them, stay for a return."
    ),
    mark("Backups that the operator keeps live as long as the operator decides."),
    mark(
        "What the application wrote into Bitrix24 (calls, recordings, files on Drive) belongs to the portal "
        "and is deleted there."
    ),
)
RIGHTS: Final = (
    mark(
        "Whoever was called, called or works in the portal may ask for access, correction, deletion, "
        "restriction, a copy, and may object. Ask the company whose Bitrix24 it is: its administrator sees "
        "the calls in the application and in the CRM, and can delete all data by uninstalling with “delete "
        "settings and data”. For the data of a single number the administrator turns to the operator."
    ),
    mark("Complaints go to the data protection authority of your country."),
)


class Legal:
    """See the module. Public: no session, no portal."""

    def __init__(self, deps: WebDeps) -> None:
        self._base = deps.settings.app_base_url or ""

    async def privacy(self, request: Request) -> Response:
        """`GET /legal/privacy`."""
        return self._answer(
            request,
            mark(f"Privacy policy of {NAME}"),
            (
                (mark("Who is responsible"), self._who()),
                (mark("What data"), WHAT),
                (mark("Why"), WHY),
                (mark("Where, and who else gets it"), WHERE),
                (mark("How long"), LONG),
                (mark("Your rights"), RIGHTS),
            ),
        )

    async def license(self, request: Request) -> Response:
        """`GET /legal/license`."""
        text = LICENSE.read_text(encoding="utf-8")
        return self._answer(
            request,
            mark(f"Licence agreement of {NAME}"),
            ((mark("MIT licence"), (mark("By installing the application you accept these terms."),)),),
            text,
        )

    def _who(self) -> tuple[str, ...]:
        host = urlsplit(self._base).hostname or mark("this address")
        return (
            mark(
                f"This installation of {NAME} is operated by the owner of {host}, who is the contact for "
                "all questions about it; the administrator who installed the application in your Bitrix24 "
                "knows how to reach them."
            ),
            mark("The makers of the software do not run it for you and receive no data from it."),
        )

    def _answer(
        self, request: Request, title: str, sections: tuple[tuple[str, tuple[str, ...]], ...], text: str = ""
    ) -> Response:
        language = asked_language(request)
        words = Words(language)
        title = words.retell(title)
        told = [(words.say(name), [words.retell(line) for line in lines]) for name, lines in sections]
        headers = {"Vary": "Accept, Accept-Language"}
        if not wants_html(request):
            document = _document(title, told, text)
            return JSONResponse(document, headers=headers | {"Content-Language": words.language})
        values = {"title": title, "updated": UPDATED, "sections": told, "text": text, "language": language}
        return render("legal.html", values, headers=headers)


def _document(title: str, sections: Sequence[tuple[str, Sequence[str]]], text: str) -> dict[str, Any]:
    document: dict[str, Any] = {
        "title": title,
        "updated": UPDATED,
        "sections": [{"title": name, "paragraphs": list(lines)} for name, lines in sections],
    }
    return document | ({"text": text} if text else {})
