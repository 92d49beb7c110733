"""Who has which extension, and mending it (interface.md `GET /agents`, `PUT /agents/{user_id}`).

For administrators, but for one's own status (`web.agent_status`).
A repair is two steps: count, then confirm the count; it can be undone.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Final

from loguru import logger
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from bitrix_app.core import repair as repairs
from bitrix_app.core.call import Call
from bitrix_app.core.chores import DIRECTORY_LANE
from bitrix_app.core.commands import AcceptDirectory, Priority
from bitrix_app.core.matching import Match, match_extensions
from bitrix_app.core.portal import Agent, Portal, PortalSettings, PortalState
from bitrix_app.core.repair import Repair
from bitrix_app.core.store import Unit
from bitrix_app.core.transition import Owed, Transition
from bitrix_app.snapshots import KINDS, offered
from bitrix_app.web.agent_status import AgentStatuses, status_json, sync_json
from bitrix_app.web.agents_page import everybodys_page, own_page
from bitrix_app.web.bodies import read_json
from bitrix_app.web.deps import WebDeps
from bitrix_app.web.pages import iso, wants_html
from bitrix_app.web.problems import Problem
from bitrix_app.web.session import Visit, session_over, visit
from bitrix_app.web.settings_form import Faults, read_extension, read_user
from bitrix_app.web.settings_page import refused
from bitrix_app.words import Words, mark

STEP: Final = 100
"""Calls of one transaction: a big repair must not hold up a webhook."""
CANNOT: Final = (
    mark("The call statistics of Bitrix24 keep the default user: no method changes them."),
    mark("Clients that were in the CRM before the call keep their responsible person."),
    mark("What somebody has given to another person by hand meanwhile stays there."),
)


class Agents:
    """See the module."""

    def __init__(self, deps: WebDeps) -> None:
        self._deps = deps
        self._statuses = AgentStatuses(deps)

    # --- seeing --------------------------------------------------------------------------------------

    async def show(self, request: Request) -> Response:
        """`GET /agents`: every extension with its state, what is doubtful, what was repaired.
        For managers; as a page also for agents, who see themselves on it."""
        if wants_html(request):
            return await self._page(request)
        seen = await visit(request, self._deps, manager=True)
        return JSONResponse(await self._all(seen.portal, Words(seen.session.language)))

    async def _page(self, request: Request) -> Response:
        seen = await visit(request, self._deps)
        words = Words(seen.session.language)
        if not seen.manages:
            told = await self._statuses.of_user(seen.portal, seen.session.user_id, words)
            return own_page(self._deps, seen, told)
        seen = await visit(request, self._deps, manager=True)
        return everybodys_page(self._deps, seen, await self._all(seen.portal, words))

    async def _all(self, portal: Portal, words: Words) -> dict[str, Any]:
        store, member = self._deps.store, portal.member_id
        people = await self._people(member)
        pbx = await store.snapshot(member, "pbx_users")
        counts = await store.unmatched_counts(member)
        matches = match_extensions(people, pbx.items if pbx else (), portal.settings, counts)
        names = {agent.user_id: agent.name for agent in people}
        states = dict.fromkeys(("matched", "suggested", "unmatched"), 0)
        for match in matches:
            states[match.state.value] += 1
        kept = {one.extension: one for one in await store.agent_statuses(member)}
        snapshot = await store.snapshot(member, "agents")
        state = await store.snapshot(member, "pbx_state")
        return {
            "items": [
                _match_json(match, names, counts)
                | {
                    "status": status_json(kept[match.extension], portal, words)
                    if match.extension in kept
                    else None
                }
                for match in matches
            ],
            "status_sync": sync_json(portal, words),
            "next": None,
            "counts": states,
            "users": [
                {"user_id": a.user_id, "name": a.name, "extension": a.extension} for a in people if a.active
            ],
            "users_at": iso(snapshot.taken_at) if snapshot else None,
            "pbx_at": iso(pbx.taken_at) if pbx else None,
            "pbx_state": dict(state.items[0]) if state and state.items else None,
            "offers": await self._offers(member, names, words),
            "repairs": [_repair_json(one) for one in await store.repairs(member)],
        }

    async def _people(self, member: str) -> list[Agent]:
        snapshot = await self._deps.store.snapshot(member, "agents")
        return [Agent(**item) for item in snapshot.items] if snapshot else []

    async def _offers(self, member: str, names: Mapping[int, str], words: Words) -> list[dict[str, Any]]:
        """Lists that lost too much to be believed, with what they lack."""
        offers: list[dict[str, Any]] = []
        for kind, (_, title) in KINDS.items():
            snapshot = await self._deps.store.snapshot(member, offered(kind))
            if snapshot is None or not snapshot.items:
                continue
            head = dict(snapshot.items[0])
            if kind == "agents":
                for part in ("lost", "bare"):
                    head[part] = [{"user_id": int(u), "name": names.get(int(u), "")} for u in head[part]]
            head["reason"] = words.retell(str(head.get("reason") or ""))
            name, at = words.say(title), iso(snapshot.taken_at)
            offers.append({"directory": kind, "name": name, "at": at, **head})
        return offers

    # --- entering ------------------------------------------------------------------------------------

    async def assign(self, request: Request) -> Response:
        """`PUT /agents/{user_id}` `{"extension"}`: give the extension to this user in our own map;
        `null` takes away all that our map gave. Bitrix24's own inner numbers stay as they are.
        `{"status", "reason"}`: `available`, `pause` or `pause_after_call`, which everybody may do for
        himself and managers for anybody. Both may come together.
        """
        seen = await visit(request, self._deps)
        user_id = request.path_params["user_id"]
        data = await read_json(request)
        if "status" not in data or "extension" in data:
            seen = await visit(request, self._deps, admin=True)
        elif seen.session.user_id != user_id:
            seen = await visit(request, self._deps, manager=True)
        words, by = Words(seen.session.language), seen.session.user_id
        portal = seen.portal
        if not data or set(data) - {"extension", "status", "reason"} or set(data) == {"reason"}:
            fault = mark("Give an extension, or null to take them away, or a status with its reason.")
            raise refused(Faults({"extension": fault}))
        if "extension" in data:
            portal = await self._assign(seen, user_id, data["extension"])
        if "status" in data or "reason" in data:
            await self._statuses.change(portal, user_id, data, by)
        if not seen.session.is_admin:
            return JSONResponse(await self._statuses.of_user(portal, user_id, words))
        return JSONResponse(await self._all(portal, words))

    async def _assign(self, seen: Visit, user_id: int, extension: Any) -> Portal:
        users = frozenset(agent.user_id for agent in await self._people(seen.portal.member_id))
        _check({"user_id": lambda: read_user(user_id, users)})
        if extension is not None:
            _check({"extension": lambda: read_extension(extension)})

        async def work(unit: Unit) -> Portal:
            portal = await _portal(unit, seen)
            if extension is None:
                left = {e: u for e, u in portal.settings.extension_users.items() if u != user_id}
                settings = replace(portal.settings, extension_users=left)
            else:
                settings = repairs.with_extension(portal.settings, extension, user_id)
            return await self._save(unit, portal, settings)

        portal = await self._deps.store.transact(work)
        logger.bind(portal=portal.member_id, user=seen.session.user_id).info("an extension was assigned")
        self._deps.nudge(portal.member_id)
        return portal

    async def accept(self, request: Request) -> Response:
        """`POST /agents/accept` `{"directory", "confirm"}`: a shrunken list is right after all."""
        seen = await visit(request, self._deps, admin=True)
        data = await read_json(request)
        member, kind = seen.portal.member_id, data.get("directory", "agents")
        if kind not in KINDS:
            words = ", ".join(KINDS)
            raise refused(Faults({"directory": mark(f"It must be one of: {words}.")}))
        snapshot = await self._deps.store.snapshot(member, offered(kind))
        if snapshot is None or not snapshot.items:
            raise _conflict("nothing_offered", mark("There is no list that waits to be accepted."))
        lacks = snapshot.items[0]["confirm"]
        if isinstance(data.get("confirm"), bool) or data.get("confirm") != lacks:
            raise _conflict("changed", mark(f"The list lacks {lacks} entries now. Look at it again."), lacks)
        command = AcceptDirectory(directory=kind, confirm=lacks)
        owed = Owed(f"accept:{kind}:{snapshot.taken_at}", command, Priority.FINISH)
        now = self._deps.clock.now()
        await self._deps.store.transact(lambda unit: unit.owe(member, DIRECTORY_LANE, (owed,), now))
        logger.bind(portal=member, user=seen.session.user_id).info("the list {} was accepted", kind)
        self._deps.nudge(member)
        return JSONResponse({"directory": kind, "accepted": True}, 202)

    # --- repairing -----------------------------------------------------------------------------------

    async def repair(self, request: Request) -> Response:
        """`POST /agents/repair` `{"extension", "user_id"}` with `"dry_run": true` or `"confirm": N`."""
        seen = await visit(request, self._deps, admin=True)
        data = await read_json(request)
        people = await self._people(seen.portal.member_id)
        users = frozenset(agent.user_id for agent in people if agent.active)
        extension, user_id = data.get("extension"), data.get("user_id")
        words = Words(seen.session.language)
        _check({"extension": lambda: read_extension(extension), "user_id": lambda: read_user(user_id, users)})
        confirm = data.get("confirm")
        dry = data.get("dry_run") is True
        if not dry and (isinstance(confirm, bool) or not isinstance(confirm, int)):
            raise refused(
                Faults({"confirm": mark("Ask with dry_run first, then confirm the count it gives.")})
            )
        now = self._deps.clock.now()
        plain = Repair(
            id=f"{int(now * 1000):011x}{secrets.token_hex(4)}",
            portal=seen.portal.member_id,
            created_at=now,
            by_user=seen.session.user_id,
            extension=str(extension),
            user_id=int(user_id or 0),
        )
        has_it = any(a.active and (a.user_id, a.extension) == (user_id, extension) for a in people)

        async def work(unit: Unit) -> tuple[Repair, Sequence[Call], int]:
            portal = await _portal(unit, seen)
            calls = await unit.unmatched_calls(plain.portal, plain.extension, repairs.MOST)
            left = await unit.unmatched_count(plain.portal, plain.extension) - len(calls)
            if not dry and confirm != len(calls):
                count = len(calls)
                raise _conflict("changed", mark(f"There are {count} calls to move now."), count)
            before = portal.settings.extension_users.get(plain.extension)
            one = replace(
                plain,
                calls=tuple(call.id for call in calls),
                froms=tuple(call.user_id or 0 for call in calls),
                before=before,
                mapped=before != plain.user_id and not (has_it and before is None),
            )
            if not dry:
                await unit.save_repair(one)
                if one.mapped:
                    settings = repairs.with_extension(portal.settings, one.extension, one.user_id)
                    await self._save(unit, portal, settings)
            return one, calls, left

        one, calls, left = await self._deps.store.transact(work)
        if dry:
            return JSONResponse(_preview(one, calls, left, words))
        await self._in_steps(one, repairs.move)
        who = logger.bind(portal=one.portal, user=one.by_user)
        who.info("repair {}: {} calls are moved", one.id, len(calls))
        self._deps.nudge(one.portal)
        return JSONResponse({**_repair_json(one), "left": left, "cannot": _cannot(words)}, 202)

    async def progress(self, request: Request) -> Response:
        """`GET /agents/repair/{id}`."""
        seen = await visit(request, self._deps, admin=True)
        one, words = await self._one(seen, request), Words(seen.session.language)
        store = self._deps.store
        moved = await store.job_states(one.portal, one.calls, one.move_key)
        undone = await store.job_states(one.portal, one.calls, one.undo_key)
        progress = {
            "moves": {state.value: count for state, count in moved.items()},
            "undoes": {state.value: count for state, count in undone.items()},
        }
        return JSONResponse({**_repair_json(one), "progress": progress, "cannot": _cannot(words)})

    async def undo(self, request: Request) -> Response:
        """`POST /agents/repair/{id}/undo`: the calls go back, and so does the extension."""
        seen = await visit(request, self._deps, admin=True)
        found = await self._one(seen, request)
        now = self._deps.clock.now()

        async def work(unit: Unit) -> Repair:
            portal = await _portal(unit, seen)
            one = await unit.repair(found.portal, found.id) or found
            if one.undone_at is not None:
                return one
            if one.mapped and portal.settings.extension_users.get(one.extension) == one.user_id:
                await self._save(
                    unit, portal, repairs.with_extension(portal.settings, one.extension, one.before)
                )
            one = replace(one, undone_at=now)
            await unit.save_repair(one)
            return one

        one = await self._deps.store.transact(work)
        count = await self._in_steps(one, repairs.undo)
        if found.undone_at is not None and not count:
            raise _conflict("undone", mark("This repair was undone already."))
        logger.bind(portal=one.portal, user=seen.session.user_id).info("repair {} was undone", one.id)
        self._deps.nudge(one.portal)
        return JSONResponse(_repair_json(one), 202)

    async def _one(self, seen: Visit, request: Request) -> Repair:
        one = await self._deps.store.repair(seen.portal.member_id, request.path_params["id"])
        if one is None:
            raise Problem.not_found()
        return one

    async def _in_steps(self, one: Repair, what: Callable[[Repair, Call], Transition | None]) -> int:
        """Queue a step for each call as it is now; the number of steps. Cut short, it may be asked again."""
        count, now = 0, self._deps.clock.now()
        for start in range(0, len(one.calls), STEP):
            part = one.calls[start : start + STEP]

            async def work(unit: Unit, part: Sequence[str] = part) -> int:
                done = 0
                for call_id in part:
                    call = await unit.call(one.portal, call_id)
                    step = what(one, call) if call is not None else None
                    if step is not None:
                        await unit.apply(step, now)
                        done += 1
                return done

            count += await self._deps.store.transact(work)
        return count

    async def _save(self, unit: Unit, portal: Portal, settings: PortalSettings) -> Portal:
        saved = replace(portal, settings=settings, updated_at=self._deps.clock.now())
        await unit.save_portal(saved)
        return saved


async def _portal(unit: Unit, seen: Visit) -> Portal:
    portal = await unit.portal(seen.portal.member_id)
    if portal is None or portal.state is PortalState.UNINSTALLED:
        raise session_over()
    return portal


def _check(fields: Mapping[str, Callable[[], object]]) -> None:
    """Raises a `Problem` that names every faulty field."""
    faults: dict[str, str] = {}
    for name, read in fields.items():
        try:
            read()
        except ValueError as fault:
            faults[name] = str(fault)
    if faults:
        raise refused(Faults(faults))


def _conflict(code: str, detail: str, confirm: int | None = None) -> Problem:
    extra = {} if confirm is None else {"confirm": confirm}
    return Problem(409, code, "It cannot be done as asked", detail, extra=extra)


def _match_json(match: Match, names: Mapping[int, str], counts: Mapping[str, int]) -> dict[str, Any]:
    return {
        "extension": match.extension,
        "state": match.state.value,
        "user_id": match.user_id,
        "name": names.get(match.user_id) if match.user_id is not None else None,
        "by": match.by.value if match.by else None,
        "pbx_name": match.pbx_name or None,
        "known_to_pbx": match.known_to_pbx,
        "suggestions": [
            {"user_id": one.user_id, "name": one.name, "by": one.by} for one in match.suggestions
        ],
        "calls_on_default": counts.get(match.extension, 0),
    }


def _cannot(words: Words) -> list[str]:
    return [words.say(text) for text in CANNOT]


def _repair_json(one: Repair) -> dict[str, Any]:
    return {
        "id": one.id,
        "extension": one.extension,
        "user_id": one.user_id,
        "calls": len(one.calls),
        "by_user": one.by_user,
        "created_at": iso(one.created_at),
        "undone_at": iso(one.undone_at),
    }


def _preview(one: Repair, calls: Sequence[Call], left: int, words: Words) -> dict[str, Any]:
    """What a repair would do. `left` calls are too many for one repair and stay for the next."""
    return {
        "dry_run": True,
        "extension": one.extension,
        "user_id": one.user_id,
        "confirm": len(calls),
        "left": left,
        "changes": {
            "activities": sum(1 for call in calls if call.activity_id),
            "records": sum(len(call.created) for call in calls),
            "extension": {"from": one.before, "to": one.user_id} if one.mapped else None,
        },
        "from_users": sorted(set(one.froms)),
        "cannot": _cannot(words),
    }
