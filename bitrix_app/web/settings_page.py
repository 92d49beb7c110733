"""The portal's settings, for administrators (interface.md `GET|PUT /settings`).

The PBX's key goes in and never comes out: only its last four characters are shown.
"""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Final

from loguru import logger
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from bitrix_app import agents
from bitrix_app.core.chores import BIND_ANEW, BINDINGS_LANE, DIRECTORY_LANE, PROVE_KEY, agents_work
from bitrix_app.core.dialer_templates import DEFAULTS
from bitrix_app.core.portal import Portal, PortalSettings, PortalState, Snapshot
from bitrix_app.core.store import Unit, WebhookToken
from bitrix_app.lines import SEEN
from bitrix_app.web.abilities_view import abilities_json
from bitrix_app.web.bodies import read_json
from bitrix_app.web.call_view import people_of
from bitrix_app.web.deps import WebDeps
from bitrix_app.web.disposition_view import dispositions_json, stages_of
from bitrix_app.web.pages import iso, render, wants_html
from bitrix_app.web.pbx_view import pbx_json
from bitrix_app.web.problems import Problem
from bitrix_app.web.session import Visit, session_over, visit
from bitrix_app.web.settings_form import SWITCHES, Change, Faults, read_change
from bitrix_app.web.shell import shell
from bitrix_app.words import Words, mark

OVERLAP: Final = 24 * 3600.0
"""How long the earlier webhook address still works after a rotation."""
HANDLERS: Final = (
    ("CALL_NEW", mark("New call")),
    ("CALL_REDIRECT", mark("Call offered to a line or group")),
    ("CALL_ANSWER", mark("Call answered")),
    ("CALL_END", mark("Call ended")),
)
"""Handlers to make in the PBX's cabinet, one each (unitalk.md §3.1)."""
DIALER_HANDLERS: Final = (
    ("AUTODIAL_NEW", mark("New dialer call")),
    ("AUTODIAL_CLIENT_ANSWER", mark("Callee answered")),
    ("AUTODIAL_OPERATOR_ANSWER", mark("Operator answered")),
    ("AUTODIAL_END", mark("Dialer call completed")),
    ("AUTODIAL_ATTEMPTS_OVER", mark("Completed without success, attempts used up")),
    ("AUTODIAL_TALKED", mark("Callee and operator talked")),
    ("AUTODIAL_ANSW_OP_NA", mark("Callee answered, operators were not called")),
    ("AUTODIAL_ANSW_NF_OP", mark("Callee answered, no available operator")),
    ("AUTODIAL_ANSW_RJCT", mark("Callee answered, operators did not accept")),
    ("AUTODIAL_NOANSWER", mark("No answer")),
    ("AUTODIAL_BUSY", mark("Busy, reset, or the callee is talking")),
    ("AUTODIAL_FAIL", mark("Connection failure")),
    ("AUTODIAL_UNREACHABLE", mark("Callee unavailable")),
    ("AUTODIAL_ANSWERING_MACHINE", mark("Voice mail")),
    ("AUTODIAL_NOT_EXIST", mark("Number does not exist")),
    ("AUTODIAL_BUSYOUT", mark("Not enough lines")),
    ("AUTODIAL_WRONG_DIR", mark("Wrong direction")),
    ("AUTODIAL_AUDIO_ERR", mark("Audio error")),
    ("AUTODIAL_CLIENT_CALLED", mark("Callee called by himself or was called")),
    ("AUTODIAL_BLOCKED", mark("Number blocked by project settings")),
    ("AUTODIAL_STATUS_CHANGED", mark("Dialer's status changed")),
    ("AUTODIAL_FINISH", mark("Dialer finished")),
)
"""The same for whoever uses the autodialer: its own event codes are unknown, so ours tell the outcome
(unitalk.md §3.8)."""
SWITCH_WORDS: Final = {
    "crm_create_in": mark("Create CRM records for unknown callers"),
    "crm_create_out": mark("Create CRM records for unknown numbers that were called"),
    "drive": mark("File every call on Bitrix24 Drive"),
    "drive_recordings": mark("Copy recordings to Bitrix24 Drive"),
    "layout": mark("Show our summary on the call's record"),
    "card_to_responsible": mark("Show a known client's call to the responsible person too"),
    "status_sync": mark(
        "Tell Unitalk the agents' status (the method is not confirmed by the vendor, so it is off until you "
        "switch it on)"
    ),
    "fold_unanswered_dials": mark(
        "Do not register the autodialer's unanswered calls, write only their outcome"
    ),
}
STATUS_NOTE: Final = mark(
    "Unitalk's documentation does not confirm how a status is set: the method was seen in one integration "
    "only, and the status cannot be read back. It is off by default. Switching it off leaves every status "
    "as it is in Unitalk."
)
CALL_SWITCH_WORDS: Final = {
    "missed_callbacks": mark("Put clients who reached nobody on the list of calls to make"),
    "repeat_starts": mark("Call again by itself when a call certainly did not ring"),
}


class SettingsPage:
    """See the module."""

    def __init__(self, deps: WebDeps) -> None:
        self._deps = deps

    async def show(self, request: Request) -> Response:
        """`GET /settings`."""
        seen = await visit(request, self._deps, admin=True)
        return await self._answer(request, seen, seen.portal)

    async def change(self, request: Request) -> Response:
        """`PUT /settings`: all or nothing; what is not named stays."""
        seen = await visit(request, self._deps, admin=True)
        data = await read_json(request)
        member = seen.portal.member_id
        people = people_of(await self._deps.store.snapshot(member, "agents"))
        users = frozenset(people.names)
        stages = await stages_of(self._deps.store, member)

        async def work(unit: Unit) -> Portal:
            portal = await unit.portal(member)
            if portal is None or portal.state is PortalState.UNINSTALLED:
                raise session_over()
            return await self._save(unit, portal, read_change(data, portal.settings, users, stages))

        try:
            portal = await self._deps.store.transact(work)
        except Faults as faults:
            raise refused(faults) from None
        logger.bind(portal=member, user=seen.session.user_id).info("settings changed")
        self._deps.nudge(member)
        return await self._answer(request, seen, portal)

    async def rotate(self, request: Request) -> Response:
        """`POST /settings/webhook-token`: a new address; the earlier one works 24 h more."""
        seen = await visit(request, self._deps, admin=True)
        now = self._deps.clock.now()
        token = WebhookToken(seen.portal.member_id, secrets.token_urlsafe(24), created_at=now)
        await self._deps.store.add_webhook_token(token, overlap_until=now + OVERLAP)
        logger.bind(portal=token.portal, user=seen.session.user_id).info("webhook address changed")
        return await self._answer(request, seen, seen.portal)

    async def _save(self, unit: Unit, portal: Portal, change: Change) -> Portal:
        now = self._deps.clock.now()
        key = portal.unitalk_key if change.unitalk_key is None else change.unitalk_key
        saved = replace(portal, settings=change.settings, unitalk_key=key, updated_at=now)
        await unit.save_portal(saved)
        if _bound(change.settings) != _bound(portal.settings):
            # the lines' names and the dialer's places are in Bitrix24
            await unit.owe(portal.member_id, BINDINGS_LANE, (BIND_ANEW,), now)
        if key != portal.unitalk_key:  # what Unitalk said of the earlier key must not hold up this one
            await unit.save_snapshot(portal.member_id, Snapshot("pbx_state", now, ()))
        if key and key != portal.unitalk_key:
            await unit.owe(portal.member_id, DIRECTORY_LANE, (PROVE_KEY,), now)
        if saved.tells_statuses and _statuses_of(saved) != _statuses_of(portal):
            await agents.forget_acknowledged(unit, saved, now)
            lane, owed = agents_work()
            await unit.owe(portal.member_id, lane, (owed,), now)
        return saved

    async def _answer(self, request: Request, seen: Visit, portal: Portal) -> Response:
        values = await settings_json(self._deps, portal, Words(seen.session.language))
        if not wants_html(request):
            return JSONResponse(values)
        texts = {"switch_words": SWITCH_WORDS, "call_switch_words": CALL_SWITCH_WORDS, "settings": values}
        return render("settings.html", shell(self._deps, replace(seen, portal=portal), "settings") | texts)


async def settings_json(deps: WebDeps, portal: Portal, words: Words) -> dict[str, Any]:
    """The public shape of the settings."""
    settings = portal.settings
    snapshot = await deps.store.snapshot(portal.member_id, "agents")
    people = people_of(snapshot, words)
    return {
        "pbx_timezone": settings.pbx_timezone,
        "default_user": settings.default_user,
        "drive_managers": list(settings.drive_managers),
        "line_users": dict(settings.line_users),
        "line_names": dict(settings.line_names),
        "line_zones": dict(settings.line_zones),
        "lines": await _known_lines(deps, portal),
        "country": settings.country,
        "extension_users": dict(settings.extension_users),
        "missed_owner": settings.missed_owner,
        "transfer_owner": settings.transfer_owner,
        "dialers": list(settings.dialers),
        "dialer_templates": {**DEFAULTS, **settings.dialer_templates},
        "queue_user": settings.queue_user,
        "group_users": dict(settings.group_users),
        "status_work": settings.status_work,
        "status_pause": settings.status_pause,
        "status_sources": list(settings.status_sources),
        "status_note": words.say(STATUS_NOTE),
        "pbx_requests_per_second": settings.pbx_requests_per_second,
        "hours": dict(settings.hours),
        "client_hours": settings.client_hours,
        "callback_minutes": settings.callback_minutes,
        "managers": list(settings.managers),
        **{name: getattr(settings, name) for name in SWITCHES},
        **await dispositions_json(deps.store, portal, words),
        "unitalk_key": {"set": bool(portal.unitalk_key), "last4": portal.unitalk_key_last4},
        "webhooks": await webhook_addresses(deps, portal, words),
        "dialer_webhooks": await webhook_addresses(deps, portal, words, DIALER_HANDLERS),
        "webhook_tokens": await _tokens(deps, portal),
        "agents": [
            {"user_id": user, "name": people.name(user), "extension": people.extensions.get(user)}
            for user in people.names
        ],
        "agents_at": iso(snapshot.taken_at) if snapshot else None,
        "abilities": abilities_json(portal, await deps.store.snapshot(portal.member_id, "abilities"), words),
        **await pbx_json(deps.store, portal, words),
    }


async def webhook_addresses(
    deps: WebDeps, portal: Portal, words: Words, handlers: Sequence[tuple[str, str]] = HANDLERS
) -> list[dict[str, str]]:
    """One address for each handler of the PBX's cabinet, with the newest living token."""
    now = deps.clock.now()
    tokens = [t for t in await deps.store.webhook_tokens(portal.member_id) if _lives(t, now)]
    if not tokens:
        return []
    newest = max(tokens, key=lambda t: (t.expires_at is None, t.created_at))
    base = f"{deps.settings.app_base_url or ''}/unitalk/events/{newest.token}"
    return [
        {"event": code, "name": words.say(name), "address": f"{base}?ev={code}"} for code, name in handlers
    ]


def last4(secret: str) -> str:
    return secret[-4:] if len(secret) >= 12 else ""


async def _tokens(deps: WebDeps, portal: Portal) -> list[dict[str, Any]]:
    now = deps.clock.now()
    return [
        {
            "last4": last4(t.token),
            "created_at": iso(t.created_at),
            "expires_at": iso(t.expires_at),
            "last_used_at": iso(t.last_used_at),
            "uses": t.uses,
        }
        for t in await deps.store.webhook_tokens(portal.member_id)
        if _lives(t, now)
    ]


def _lives(token: WebhookToken, now: float) -> bool:
    return token.expires_at is None or token.expires_at > now


def _statuses_of(portal: Portal) -> tuple[object, ...]:
    """What decides which statuses are said, with what words, by which key."""
    return portal.tells_statuses, portal.status_sources, portal.settings.status_words, portal.unitalk_key


def _bound(settings: PortalSettings) -> object:
    """What of the settings stands in Bitrix24 too."""
    return _lines_of(settings), bool(settings.dialers)


def _lines_of(settings: PortalSettings) -> tuple[dict[str, str], set[str]]:
    return dict(settings.line_names), {*settings.line_users, *settings.line_zones}


async def _known_lines(deps: WebDeps, portal: Portal) -> list[str]:
    """Lines that calls came by and lines of the settings: what one may set for each of them."""
    snapshot = await deps.store.snapshot(portal.member_id, SEEN)
    seen = {str(item["line"]) for item in (snapshot.items if snapshot else ())}
    names, others = _lines_of(portal.settings)
    return sorted({*seen, *names, *others})


def refused(faults: Faults) -> Problem:
    """422 that names every faulty field."""
    return Problem(
        422,
        "invalid_settings",
        "Nothing was changed",
        "Some of the settings cannot be as they were given.",
        extra={"errors": [{"field": name, "message": said} for name, said in faults.fields.items()]},
    )
