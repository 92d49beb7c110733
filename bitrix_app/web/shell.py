"""What every page of the frame shares: session, portal, navigation."""

from __future__ import annotations

from typing import Any, Final

from bitrix_app.web.deps import WebDeps
from bitrix_app.web.envelope import origin_of
from bitrix_app.web.languages import PAGE_TEXTS, script_texts
from bitrix_app.web.session import Visit
from bitrix_app.words import mark

NAVIGATION: Final = (
    ("home", "/bitrix/app", mark("Overview"), False),
    ("calls", "/calls", mark("Calls"), False),
    ("retries", "/retries", mark("Calls to make"), False),
    ("campaigns", "/campaigns", mark("Autodialer"), False),
    ("agents", "/agents", mark("Agents"), False),
    ("ledger", "/ledger", mark("Ledger"), True),
    ("settings", "/settings", mark("Settings"), True),
)
"""(name, address, words, administrators only)."""


def shell(deps: WebDeps, seen: Visit, here: str) -> dict[str, Any]:
    """Values of `page.html`. The session is the one that the visitor holds, never a fresh one:
    only a new proof by Bitrix24 makes a page live longer.
    """
    admin = seen.session.is_admin
    return {
        "session": seen.token,
        "language": seen.session.language,
        "zone": seen.session.timezone,
        "portal": seen.portal,
        "portal_origin": origin_of(seen.portal.client_endpoint),
        "is_admin": admin,
        "here": here,
        "navigation": [item for item in NAVIGATION if admin or not item[3]],
        "now": deps.clock.now(),
        "texts": script_texts(PAGE_TEXTS, seen.session.language),
    }
