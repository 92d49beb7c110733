"""The app's page and every placement; the overview (interface.md: `POST /bitrix/app`)."""

from __future__ import annotations

from typing import Any, Final

from starlette.requests import Request
from starlette.responses import Response

from bitrix_app.bitrix.frames import record_of
from bitrix_app.core.portal import Portal, PortalState
from bitrix_app.web.abilities_view import abilities_json
from bitrix_app.web.calls import Calls
from bitrix_app.web.campaigns import Campaigns
from bitrix_app.web.deps import WebDeps
from bitrix_app.web.frames import Opened, open_frame
from bitrix_app.web.install import install, not_admin
from bitrix_app.web.languages import asked_language
from bitrix_app.web.pages import render
from bitrix_app.web.problems import Problem
from bitrix_app.web.session import Role, Session, Visit, bearer, visit
from bitrix_app.web.settings_page import webhook_addresses
from bitrix_app.web.shell import shell
from bitrix_app.words import Words, mark

RECENT: Final = 10
STATE_WORDS: Final = {
    PortalState.ACTIVE: ("done", mark("Connected")),
    PortalState.INSTALLING: ("waiting", mark("The installation is not finished yet")),
    PortalState.NEEDS_REAUTH: ("attention", mark("An administrator has to open this application once")),
    PortalState.SUSPENDED: ("attention", mark("Paused: the Bitrix24 plan or the trial is over")),
    PortalState.UNINSTALLED: ("attention", mark("Not installed")),
}


class AppPage:
    """See the module."""

    def __init__(self, deps: WebDeps, calls: Calls, campaigns: Campaigns) -> None:
        self._deps = deps
        self._calls = calls
        self._campaigns = campaigns

    async def open(self, request: Request) -> Response:
        """A frame: believe it, heal what an administrator can heal, show what was asked for."""
        opened = await open_frame(request, self._deps)
        known = await self._deps.store.portal(opened.verified.member_id)
        here = known is not None and known.state is not PortalState.UNINSTALLED
        if not here and not opened.profile.is_admin:
            return not_admin(opened)
        if known is None or not here:
            portal = await install(self._deps, opened)
        elif opened.profile.is_admin:
            portal = await self._heal(opened)
        else:
            portal = known
        seen = self._visit(opened, portal)
        if call_id := opened.frame.option("call"):
            try:
                return self._calls.page_of(seen, await self._calls.story(seen, call_id))
            except Problem as problem:
                if problem.status != 404:
                    raise
                return await self._home(seen, missing=True)
        if record := record_of(opened.frame):
            return await self._campaigns.put_page(seen, record)
        return await self._home(seen)

    async def look(self, request: Request) -> Response:
        """`GET`: the overview for a page that holds a session, else the hint (bitrix24.md §2.2)."""
        if request.method == "GET" and bearer(request):
            return await self._home(await visit(request, self._deps))
        return await self.hint(request)

    async def hint(self, request: Request) -> Response:
        """Opened outside Bitrix24: say so, with 200 (the Market checks it by HEAD)."""
        return render("hint.html", {"language": asked_language(request)})

    async def _heal(self, opened: Opened) -> Portal:
        return await self._deps.portals.heal(
            opened.verified,
            opened.profile,
            opened.tokens,
            application_token=opened.frame.application_token,
            language=opened.frame.language,
        )

    def _visit(self, opened: Opened, portal: Portal) -> Visit:
        role = Role.ADMIN if opened.profile.is_admin else Role.AGENT
        language, zone = opened.frame.language, opened.profile.timezone
        token = self._deps.signer.issue(portal, opened.verified.user_id, role, language, zone)
        session = self._deps.signer.read(token)
        if not isinstance(session, Session):
            raise TypeError("a session that was just issued cannot be read")
        return Visit(session, portal, token)

    async def _home(self, seen: Visit, *, missing: bool = False) -> Response:
        page = await self._calls.page(seen, RECENT)
        values = shell(self._deps, seen, "home") | page | {"missing": missing}
        values |= await self._connections(seen) if seen.session.is_admin else {"connections": []}
        return render("home.html", values)

    async def _connections(self, seen: Visit) -> dict[str, Any]:
        """Is everything joined up? Three rows with a sign, words and what to do."""
        portal, words = seen.portal, Words(seen.session.language)
        state, text = STATE_WORDS[portal.state]
        said = words.say(text)
        if portal.state_reason and not portal.works:
            said = f"{said} ({portal.state_reason})"
        tokens = await self._deps.store.webhook_tokens(portal.member_id)
        heard = max((t.last_used_at for t in tokens if t.last_used_at is not None), default=None)
        return {
            "connections": [
                {"name": words.say("Bitrix24"), "state": state, "words": said, "at": None},
                await self._key(portal, words),
                {
                    "name": words.say("Unitalk events"),
                    "state": "done" if heard else "waiting",
                    "words": words.say("Last received")
                    if heard
                    else words.say("None received yet: copy the addresses below"),
                    "at": heard,
                },
            ],
            "webhooks": await webhook_addresses(self._deps, portal, words),
            "abilities": abilities_json(
                portal, await self._deps.store.snapshot(portal.member_id, "abilities"), words
            ),
        }

    async def _key(self, portal: Portal, words: Words) -> dict[str, Any]:
        """The PBX's key and what Unitalk last said to it; what it said to an earlier key does not count."""
        row: dict[str, Any] = {"name": words.say("Unitalk API key"), "at": None}
        if not portal.unitalk_key:
            return row | {"state": "waiting", "words": words.say("Not entered yet: see Settings")}
        found = await self._deps.store.snapshot(portal.member_id, "pbx_state")
        told = found.items[0] if found and found.items else {}
        if found is None or told.get("key_last4") != portal.unitalk_key_last4:
            return row | {"state": "waiting", "words": words.say("Stored; Unitalk was not asked yet")}
        if told["ok"]:
            return row | {"state": "done", "words": words.say("Accepted by Unitalk"), "at": found.taken_at}
        said = [words.retell(str(told.get(part) or "")).rstrip(".") for part in ("message", "hint")]
        reason = ". ".join(part for part in said if part)
        return row | {"state": "attention", "words": reason, "at": found.taken_at}
