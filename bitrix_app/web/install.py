"""The installer frame: verify, store, show the progress, finish once (bitrix24.md §1.2)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from bitrix_app.core.jobs import Job, JobState
from bitrix_app.core.portal import Portal
from bitrix_app.logs import redact_secrets
from bitrix_app.web.deps import WebDeps
from bitrix_app.web.envelope import envelope, origin_of
from bitrix_app.web.frames import Opened, open_frame
from bitrix_app.web.languages import INSTALLER_TEXTS, script_texts
from bitrix_app.web.pages import render
from bitrix_app.web.session import Role, visit
from bitrix_app.words import Words, mark

STEPS: Final = (
    ("bindings", "portal:bindings", mark("Connecting events and pages to your Bitrix24")),
    ("directory", "portal:directory", mark("Reading the list of employees")),
)
"""(name, lane, words) of what an installation owes the portal."""
VERIFIED: Final = mark("Your Bitrix24 is confirmed and stored")
FINISHING: Final = ("bindings",)
"""Steps without which the application would not work: `installFinish` waits for them."""

_OVER: Final = {JobState.DONE: "done", JobState.ATTENTION: "attention", JobState.CANCELLED: "attention"}


class Installer:
    """See the module."""

    def __init__(self, deps: WebDeps) -> None:
        self._deps = deps

    async def open(self, request: Request) -> Response:
        """`POST /bitrix/install`; opened again it is a reinstallation, which is the same."""
        opened = await open_frame(request, self._deps)
        if not opened.profile.is_admin:
            return not_admin(opened)
        portal = await install(self._deps, opened)
        envelope(request).script_sources = (origin_of(self._deps.settings.bx24_js_url),)
        language = opened.frame.language
        session = self._deps.signer.issue(
            portal, opened.verified.user_id, Role.ADMIN, language, opened.profile.timezone
        )
        steps = await self._steps(portal, Words(language))
        values = {
            "session": session,
            "language": language,
            "portal_origin": origin_of(portal.client_endpoint),
            "bx24_js": self._deps.settings.bx24_js_url,
            "steps": steps,
            "texts": script_texts(INSTALLER_TEXTS, language),
        }
        return render("installer.html", values)

    async def status(self, request: Request) -> Response:
        """`GET /bitrix/install/status`: the steps, and whether the page may finish."""
        seen = await visit(request, self._deps, admin=True)
        steps = await self._steps(seen.portal, Words(seen.session.language))
        ready = all(step["state"] == "done" for step in steps if step["name"] in FINISHING)
        return JSONResponse({"steps": steps, "ready": ready})

    async def _steps(self, portal: Portal, words: Words) -> list[dict[str, Any]]:
        steps: list[dict[str, Any]] = [step_of("verified", words.say(VERIFIED), "done")]
        for name, lane, label in STEPS:
            jobs = await self._deps.store.lane(portal.member_id, lane)
            steps.append(_state(name, words.say(label), jobs, words))
        return steps


async def install(deps: WebDeps, opened: Opened) -> Portal:
    """Hand the verified portal over."""
    return await deps.portals.installed(
        opened.verified,
        opened.profile,
        opened.tokens,
        application_token=opened.frame.application_token,
        language=opened.frame.language,
    )


def not_admin(opened: Opened) -> Response:
    """An honest page for a user who cannot install."""
    values = {"language": opened.frame.language, "name": opened.profile.name}
    return render("not_admin.html", values, 403)


def step_of(name: str, label: str, state: str, reason: str = "", hint: str = "") -> dict[str, Any]:
    return {"name": name, "label": label, "state": state, "reason": reason, "hint": hint}


def _state(name: str, label: str, jobs: Sequence[Job], words: Words) -> dict[str, Any]:
    """One step out of its lane: done when all of it is, attention as soon as one needs a person."""
    states = [_OVER.get(job.state, "waiting") for job in jobs]
    state = "attention" if "attention" in states else "waiting"
    if states and set(states) == {"done"}:
        return step_of(name, label, "done")
    errors = [job.error for job in jobs if job.error and job.state is not JobState.DONE]
    if not errors:
        return step_of(name, label, state)
    reason, hint = redact_secrets(errors[0].message), errors[0].hint
    return step_of(name, label, state, words.retell(reason), words.retell(hint))
