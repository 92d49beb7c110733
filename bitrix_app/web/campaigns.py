"""The autodialer's page and its JSON (interface.md `GET /campaigns` …).

Nothing here waits for a vendor: phones are taken into our own book, and the worker sends them. Records'
numbers are read by the worker, too; the answer names the request by which one can follow it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Final

from loguru import logger
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from bitrix_app import campaign_book
from bitrix_app.core import campaigns as book
from bitrix_app.core.campaign_commands import (
    DIALERS_LANE,
    ReadDialers,
    ReadRecords,
    SwitchDialer,
    batch_lane,
    campaign_lane,
)
from bitrix_app.core.campaigns import Batch, NotSettled, Phone, PhoneState
from bitrix_app.core.command import Priority
from bitrix_app.core.dialers import Campaign, switched
from bitrix_app.core.record_memory import reference
from bitrix_app.core.store import Unit
from bitrix_app.core.transition import Owed
from bitrix_app.core.wishes import Wish
from bitrix_app.web import campaign_view as view
from bitrix_app.web.bodies import read_json
from bitrix_app.web.deps import WebDeps
from bitrix_app.web.pages import render, wants_html
from bitrix_app.web.problems import Problem
from bitrix_app.web.session import Visit, visit
from bitrix_app.web.shell import shell
from bitrix_app.words import Words

NUMBERS: Final = 5000
"""Numbers or records of one request."""
STEP: Final = 500
"""Phones of one transaction: a long list must not hold up a webhook."""
PAGE: Final = 50
MOST: Final = 500
_STAGE: Final = re.compile(r"[A-Za-z0-9_:-]{1,60}")


class Campaigns:
    """See the module."""

    def __init__(self, deps: WebDeps) -> None:
        self._deps = deps

    # --- seeing --------------------------------------------------------------------------------------

    async def show(self, request: Request) -> Response:
        """`GET /campaigns`."""
        seen = await visit(request, self._deps)
        if not wants_html(request):
            return JSONResponse(await self.all(seen))
        attention = [
            view.batch_json(batch, (), Words(seen.session.language)) | {"dialer": batch.dialer}
            for batch in await self._deps.store.batches_in_attention(seen.portal.member_id)
        ]
        values = {"campaigns": await self.all(seen), "attention": attention, "unconfirmed": view.UNCONFIRMED}
        return render("campaigns.html", shell(self._deps, seen, "campaigns") | values)

    async def all(self, seen: Visit) -> dict[str, Any]:
        """Every dialer that this visitor may use; administrators see those that could be chosen, too."""
        store, member = self._deps.store, seen.portal.member_id
        words = Words(seen.session.language)
        snapshot = await store.snapshot(member, "dialers")
        account = {str(item["id"]): item for item in (snapshot.items if snapshot else ())}
        known = {campaign.dialer: campaign for campaign in await store.campaigns(member)}
        ids = list(dict.fromkeys([*seen.portal.settings.dialers, *known]))
        if seen.session.is_admin:
            ids = list(dict.fromkeys([*ids, *account]))
        items = []
        for id_ in ids:
            campaign = known.get(id_) or _shown(id_, account.get(id_))
            progress = await store.campaign_progress(member, id_)
            tries = await store.campaign_tries(member, id_)
            items.append(view.campaign_json(seen.portal, campaign, account.get(id_), progress, tries, words))
        counts = {state.value: sum(item["phones"][state.value] for item in items) for state in PhoneState}
        return {
            "items": items,
            "next": None,
            "counts": counts,
            "account": view.account_json(snapshot, await store.snapshot(member, "dialers_state"), words),
            "confirmed": dict(view.CONFIRMED),
            "may_manage": seen.manages,
        }

    async def one(self, request: Request) -> Response:
        """`GET /campaigns/{id}`: progress, batches, requests and, for managers, the first phones."""
        seen, dialer = await self._at(request)
        words = Words(seen.session.language)
        store, member = self._deps.store, seen.portal.member_id
        item = next((one for one in (await self.all(seen))["items"] if one["id"] == dialer), None)
        if item is None:
            raise Problem.not_found()
        batches = [
            view.batch_json(batch, tuple(await store.lane(member, batch_lane(batch.id))), words)
            for batch in await store.campaign_batches(member, dialer)
        ]
        wishes = [view.wish_json(wish, words) for wish in await store.campaign_wishes(member, dialer)]
        told = {**item, "batches": batches, "requests": wishes}
        if seen.manages:
            told["items"], told["next"] = await self._phones(seen, dialer, None, "", PAGE)
        if not wants_html(request):
            return JSONResponse(told)
        values = {"campaign": told, "manage": seen.manages, "unconfirmed": view.UNCONFIRMED}
        return render("campaign.html", shell(self._deps, seen, "campaigns") | values)

    async def phones(self, request: Request) -> Response:
        """`GET /campaigns/{id}/phones?state=&cursor=&limit=`, for managers."""
        seen, dialer = await self._at(request, manager=True)
        query = request.query_params
        state = query.get("state") or None
        if state is not None and state not in tuple(PhoneState):
            raise Problem.malformed(f"state must be one of: {', '.join(PhoneState)}.")
        text = query.get("limit") or str(PAGE)
        if not re.fullmatch(r"[0-9]{1,4}", text) or not 1 <= int(text) <= MOST:
            raise Problem.malformed(f"limit must be a number from 1 to {MOST}.")
        cursor = query.get("cursor") or ""
        if not re.fullmatch(r"[0-9a-zA-Z]{0,60}", cursor):
            raise Problem.malformed("The cursor is not one of ours.")
        wanted = PhoneState(state) if state else None
        items, onward = await self._phones(seen, dialer, wanted, cursor, int(text))
        return JSONResponse({"items": items, "next": onward, "counts": {}})

    async def _phones(
        self, seen: Visit, dialer: str, state: PhoneState | None, after: str, limit: int
    ) -> tuple[list[dict[str, Any]], str | None]:
        store, member = self._deps.store, seen.portal.member_id
        words = Words(seen.session.language)
        found = await store.campaign_phones(member, dialer, state=state, after=after, limit=limit + 1)
        items = [
            view.phone_json(one, words, await store.phone_tries(member, one.id) if one.tries else ())
            for one in found[:limit]
        ]
        return items, found[limit - 1].id if len(found) > limit else None

    async def request(self, request: Request) -> Response:
        """`GET /campaigns/{id}/requests/{request}`: how the reading of records goes."""
        seen, dialer = await self._at(request)
        wish = await self._deps.store.campaign_wish(seen.portal.member_id, request.path_params["request"])
        own = wish is not None and (seen.manages or wish.by_user == seen.session.user_id)
        if wish is None or wish.dialer != dialer or not own:
            raise Problem.not_found()
        return JSONResponse(view.wish_json(wish, Words(seen.session.language)))

    async def put_page(self, seen: Visit, record: str) -> Response:
        """Opened from a record's menu or toolbar: into which dialer?"""
        items = [item for item in (await self.all(seen))["items"] if item["usable"]]
        values = {"record": record, "dialers": items, "unconfirmed": view.UNCONFIRMED}
        return render("campaign_record.html", shell(self._deps, seen, "campaigns") | values)

    # --- putting in ----------------------------------------------------------------------------------

    async def add(self, request: Request) -> Response:
        """`POST /campaigns/{id}/phones` with `records`, `filter` or `numbers`."""
        seen, dialer = await self._at(request, usable=True)
        data = await read_json(request)
        if len(data) != 1 or not set(data) <= {"records", "filter", "numbers"}:
            raise Problem.malformed("Give exactly one of: records, filter, numbers.")
        one_record = isinstance(data.get("records"), list) and len(data["records"]) == 1
        if not seen.manages and not one_record:
            raise _manager_only()
        if "numbers" in data:
            return await self._numbers(seen, dialer, _texts(data["numbers"], "numbers"))
        wish = self._wish(seen, dialer, data)
        owed = Owed(wish.key, ReadRecords(wish.id), Priority.CRM)

        async def work(unit: Unit) -> None:
            if await unit.campaign(seen.portal.member_id, dialer) is None:
                await unit.save_campaign(seen.portal.member_id, Campaign(dialer))
            await unit.save_wish(seen.portal.member_id, wish)
            await unit.owe(seen.portal.member_id, campaign_lane(dialer), (owed,), wish.created_at)

        await self._deps.store.transact(work)
        self._log(seen, "records were put into the dialer {}", dialer)
        told = view.wish_json(wish, Words(seen.session.language))
        return JSONResponse({"request": told, "taken": 0, "refused": []}, 202)

    def _wish(self, seen: Visit, dialer: str, data: Mapping[str, Any]) -> Wish:
        now = self._deps.clock.now()
        wish = Wish(f"w{campaign_book.new_stem(now)}", dialer, now, seen.session.user_id)
        if "records" in data:
            records = tuple(dict.fromkeys(_texts(data["records"], "records")))
            for record in records:
                _check_record(record)
            return replace(wish, records=records)
        wanted = data["filter"]
        if not isinstance(wanted, Mapping) or set(wanted) != {"type", "stage"}:
            raise Problem.malformed("A filter has a type and a stage.")
        kind, stage = wanted["type"], wanted["stage"]
        if kind not in ("LEAD", "DEAL") or not isinstance(stage, str) or not _STAGE.fullmatch(stage):
            raise Problem.malformed("A filter is for LEAD or DEAL and names the code of a stage.")
        return replace(wish, type=kind, stage=stage)

    async def _numbers(self, seen: Visit, dialer: str, texts: Sequence[str]) -> Response:
        country = seen.portal.settings.country
        words = Words(seen.session.language)
        entries = [campaign_book.entry([text], country, dialer) for text in texts]
        taken: list[Phone] = []
        for start in range(0, len(entries), STEP):
            part = entries[start : start + STEP]
            now = self._deps.clock.now()

            async def work(unit: Unit, part: Sequence[Phone] = part, now: float = now) -> list[Phone]:
                member, user = seen.portal.member_id, seen.session.user_id
                return await campaign_book.enlist(unit, member, dialer, part, user, now)

            taken += await self._deps.store.transact(work)
        out = [view.refusal_json(one, words) for one in taken if one.state is PhoneState.REFUSED]
        self._log(seen, "numbers were put into the dialer {}", dialer)
        return JSONResponse({"request": None, "taken": len(taken) - len(out), "refused": out})

    # --- commands ------------------------------------------------------------------------------------

    async def start(self, request: Request) -> Response:
        """`POST /campaigns/{id}/start`."""
        return await self._switch(request, on=True)

    async def stop(self, request: Request) -> Response:
        """`POST /campaigns/{id}/stop`."""
        return await self._switch(request, on=False)

    async def _switch(self, request: Request, *, on: bool) -> Response:
        seen, dialer = await self._at(request, manager=True, usable=True)
        member, now = seen.portal.member_id, self._deps.clock.now()

        async def work(unit: Unit) -> Campaign:
            known = await unit.campaign(member, dialer) or Campaign(dialer)
            after = switched(known, on=on, user_id=seen.session.user_id, now=now)
            await unit.save_campaign(member, after)
            command = SwitchDialer(dialer, on=on, turn=after.turn)
            owed = Owed(f"switch:{after.turn}", command, Priority.LIVE)
            await unit.owe(member, campaign_lane(dialer), (owed,), now)
            return after

        after = await self._deps.store.transact(work)
        self._log(seen, "the dialer {} is to " + after.wanted, dialer)
        return JSONResponse({"id": dialer, "wanted": after.wanted, "settled": False}, 202)

    async def settle(self, request: Request) -> Response:
        """`POST /campaigns/{id}/batches/{batch}/settle` `{"sent"}`: a person knows what we cannot."""
        seen, dialer = await self._at(request, manager=True)
        data = await read_json(request)
        sent = data.get("sent")
        if set(data) != {"sent"} or not isinstance(sent, bool):
            raise Problem.malformed("Say with sent whether the batch was sent: true or false.")
        member, now = seen.portal.member_id, self._deps.clock.now()
        batch_id = request.path_params["batch"]

        async def work(unit: Unit) -> Batch:
            batch = await unit.batch(member, batch_id)
            if batch is None or batch.dialer != dialer:
                raise Problem.not_found()
            after = book.by_hand(batch, sent=sent, user_id=seen.session.user_id, now=now)
            await campaign_book.put(unit, member, batch, after, now)
            if not sent:
                await campaign_book.owe_sending(unit, member, after, now)
            return after

        try:
            after = await self._deps.store.transact(work)
        except NotSettled:
            raise Problem(
                409,
                "not_in_doubt",
                "There is nothing to settle",
                "This batch is neither in doubt nor refused. Look at it again.",
            ) from None
        self._log(seen, "the batch {} was settled by hand", batch_id)
        return JSONResponse(view.batch_json(after, (), Words(seen.session.language)))

    async def read(self, request: Request) -> Response:
        """`POST /campaigns/read`: read the account's dialers now, for administrators."""
        seen = await visit(request, self._deps, admin=True)
        owed = Owed("dialers", ReadDialers(), Priority.FINISH)
        member, now = seen.portal.member_id, self._deps.clock.now()
        await self._deps.store.transact(lambda unit: unit.owe(member, DIALERS_LANE, (owed,), now))
        self._deps.nudge(member)
        return JSONResponse({"asked": True}, 202)

    # --- who and where -------------------------------------------------------------------------------

    async def _at(
        self, request: Request, *, manager: bool = False, usable: bool = False
    ) -> tuple[Visit, str]:
        seen = await visit(request, self._deps, manager=manager)
        dialer: str = request.path_params["id"]
        if usable and dialer not in seen.portal.settings.dialers:
            raise Problem(
                409,
                "dialer_not_chosen",
                "This dialer cannot be used",
                "An administrator has to choose it on the page Autodialer first.",
            )
        return seen, dialer

    def _log(self, seen: Visit, text: str, what: str) -> None:
        logger.bind(portal=seen.portal.member_id, user=seen.session.user_id).info(text, what)
        self._deps.nudge(seen.portal.member_id)


def _shown(dialer: str, item: Mapping[str, Any] | None) -> Campaign:
    """A dialer of the account that nothing was put into yet."""
    return Campaign(
        dialer, name=str((item or {}).get("name") or ""), status=str((item or {}).get("status") or "")
    )


def _manager_only() -> Problem:
    return Problem.forbidden("Only managers and administrators of the portal may do this.", "manager_only")


def _texts(value: Any, name: str) -> list[str]:
    if not isinstance(value, list) or not 1 <= len(value) <= NUMBERS:
        raise Problem.malformed(f"{name} must be a list of 1 to {NUMBERS} texts.")
    if not all(isinstance(text, str) and len(text) <= 100 for text in value):
        raise Problem.malformed(f"{name} must be a list of 1 to {NUMBERS} texts.")
    return value


def _check_record(record: str) -> None:
    try:
        reference(record)
    except ValueError:
        raise Problem.malformed(f"«{record}» is no record: write LEAD:1205, DEAL:301 and so on.") from None
