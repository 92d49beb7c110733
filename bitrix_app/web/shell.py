"""What every page of the frame shares: session, portal, navigation."""

from __future__ import annotations

from typing import Any, Final

from bitrix_app.web.deps import WebDeps
from bitrix_app.web.envelope import origin_of
from bitrix_app.web.session import Visit

NAVIGATION: Final = (
    ("home", "/bitrix/app", "Overview", False),
    ("calls", "/calls", "Calls", False),
    ("settings", "/settings", "Settings", True),
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
    }
