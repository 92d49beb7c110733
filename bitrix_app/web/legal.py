"""The two public pages that the Market asks for (interface.md: `GET /legal/privacy`, `/legal/license`).

What stands here must be what the code does: the days come from the constants that rule them, and a
test holds the rest. Whoever runs an installation is named by its own address.
"""

from __future__ import annotations

from typing import Any, Final
from urllib.parse import urlsplit

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from bitrix_app.core.retention import LOG_DAYS, RECEIPT_DAYS, SPOOL_DAYS
from bitrix_app.web.deps import WebDeps
from bitrix_app.web.pages import HERE, render, wants_html

UPDATED: Final = "2026-11-22"
NAME: Final = "Unitalk for Bitrix24"
LICENSE: Final = HERE / "templates" / "license.txt"

WHAT: Final = (
    "About a call: the numbers of both sides, the external line, the extensions that rang and talked, "
    "times, duration, outcome, the PBX's ids and the ids of the records in Bitrix24.",
    "Recordings: on their way from Unitalk to Bitrix24 a copy lies on our disk.",
    "About employees of the portal: name, work e-mail, inner phone number, whether active.",
    "Keys: the portal's OAuth tokens of up to three administrators, the portal's event token, the "
    "Unitalk API key, the secret webhook address.",
    "The raw events of Unitalk and of Bitrix24 as they came (without tokens), and a log of our requests "
    "to both, with tokens, keys and links to recordings masked.",
    "No cookies, no trackers, nothing stored in the browser.",
)
WHY: Final = (
    "To write each call into the CRM of the portal exactly once, with its recording, and to show what "
    "became of it. Nothing is used for anything else: not for advertising, not for profiles, not for "
    "training of models.",
    "The company whose portal it is decides about calls and recordings and is the controller; whoever "
    "operates this installation processes them on that company's behalf.",
)
WHERE: Final = (
    "On the server of this installation, in one database file and one folder beside it. Tokens, the "
    "API key and the webhook address are encrypted there; call data and raw events are not encrypted "
    "by the application itself.",
    "Sent only to the portal's own Bitrix24 (calls, recordings, documents), to Bitrix24's auth server "
    "(tokens) and to Unitalk (requests with the API key); to nobody else. Logs carry no keys, and of "
    "phone numbers the last four digits.",
)
LONG: Final = (
    f"Raw events: {RECEIPT_DAYS} days. The request log: {LOG_DAYS} days.",
    f"The copy of a recording: until Bitrix24 has it, at most {SPOOL_DAYS} days.",
    "Calls: as long as the application is installed.",
    "On uninstallation all tokens are deleted at once and the webhook address is closed. If the "
    "administrator ticks “delete settings and data”, everything else in the database is deleted at once "
    "too, but for a note that the portal was here (a local application is always removed so); otherwise "
    "calls and settings, the encrypted API key among them, stay for a return.",
    "Backups that the operator keeps live as long as the operator decides.",
    "What the application wrote into Bitrix24 (calls, recordings, files on Drive) belongs to the portal "
    "and is deleted there.",
)
RIGHTS: Final = (
    "Whoever was called, called or works in the portal may ask for access, correction, deletion, "
    "restriction, a copy, and may object. Ask the company whose Bitrix24 it is: its administrator sees "
    "the calls in the application and in the CRM, and can delete all data by uninstalling with “delete "
    "settings and data”. For the data of a single number the administrator turns to the operator.",
    "Complaints go to the data protection authority of your country.",
)


class Legal:
    """See the module. Public: no session, no portal."""

    def __init__(self, deps: WebDeps) -> None:
        self._base = deps.settings.app_base_url or ""

    async def privacy(self, request: Request) -> Response:
        """`GET /legal/privacy`."""
        return self._answer(
            request,
            f"Privacy policy of {NAME}",
            (
                ("Who is responsible", self._who()),
                ("What data", WHAT),
                ("Why", WHY),
                ("Where, and who else gets it", WHERE),
                ("How long", LONG),
                ("Your rights", RIGHTS),
            ),
        )

    async def license(self, request: Request) -> Response:
        """`GET /legal/license`."""
        text = LICENSE.read_text(encoding="utf-8")
        return self._answer(
            request,
            f"Licence agreement of {NAME}",
            (("MIT licence", ("By installing the application you accept these terms.",)),),
            text,
        )

    def _who(self) -> tuple[str, ...]:
        host = urlsplit(self._base).hostname or "this address"
        return (
            f"This installation of {NAME} is operated by the owner of {host}, who is the contact for all "
            "questions about it; the administrator who installed the application in your Bitrix24 knows "
            "how to reach them.",
            "The makers of the software do not run it for you and receive no data from it.",
        )

    def _answer(
        self, request: Request, title: str, sections: tuple[tuple[str, tuple[str, ...]], ...], text: str = ""
    ) -> Response:
        if not wants_html(request):
            return JSONResponse(_document(title, sections, text))
        return render("legal.html", {"title": title, "updated": UPDATED, "sections": sections, "text": text})


def _document(title: str, sections: tuple[tuple[str, tuple[str, ...]], ...], text: str) -> dict[str, Any]:
    document: dict[str, Any] = {
        "title": title,
        "updated": UPDATED,
        "sections": [{"title": name, "paragraphs": list(lines)} for name, lines in sections],
    }
    return document | ({"text": text} if text else {})
