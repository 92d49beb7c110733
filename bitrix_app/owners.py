"""Whose a finished call is, and which client a number belongs to: asked of the portal where rules need it.

`searchCrmEntities` (bitrix24.md §6.6) tells a client and the one responsible. It is asked only when a
rule wants it, and a backlog's questions travel together.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from loguru import logger

from bitrix_app.bitrix import telephony
from bitrix_app.bitrix.answers import Answer
from bitrix_app.bitrix.client import BitrixClient
from bitrix_app.bitrix.telephony import Client
from bitrix_app.bitrix.wire import BATCH_LIMIT
from bitrix_app.core.call import Call
from bitrix_app.core.commands import Priority
from bitrix_app.core.errors import PortalPaused, Throttled, Trouble, Verdict
from bitrix_app.core.events import Registered
from bitrix_app.core.mapping import By, Choice, Wish, closing_plan, group_user
from bitrix_app.core.portal import Portal
from bitrix_app.core.ports import Clock
from bitrix_app.directory import Directory
from bitrix_app.numbers import search_forms
from bitrix_app.words import mark

FRESH: Final = 60.0
"""Seconds for which a client's answer serves the other calls of the same number."""
FRESH_FOR_CALL: Final = 900.0
"""Seconds for which it serves the very call that it was asked for: one question a call is enough."""
PATIENCE: Final = 2
"""Tries of a job that wait for the responsible person; after them the call goes on without."""


@dataclass(frozen=True, slots=True)
class Owned:
    """`extension` is the one that was looked for; `note` says what was odd on the way."""

    choice: Choice
    extension: str | None = None
    note: str | None = None


class Owners:
    """See the module."""

    def __init__(self, client: BitrixClient, directory: Directory, clock: Clock) -> None:
        self._client = client
        self._directory = directory
        self._clock = clock
        self._known: dict[tuple[str, str], tuple[float, list[Client]]] = {}
        self._of_call: dict[tuple[str, str], tuple[float, list[Client]]] = {}

    async def closing(
        self, portal: Portal, call: Call, extension: str | None, priority: Priority, attempts: int = 0
    ) -> Owned | None:
        """Who gets the call for good; `None` when there is nobody at all. `extension` is the one that
        the call was ended for; the portal's rules may name another.

        Raises a `Trouble` that time heals while the job is still patient.
        """
        plan = closing_plan(call, portal.settings, extension)
        note = None
        for wish in plan.wishes:
            match wish:
                case Wish.RESPONSIBLE:
                    found, note = await self._responsible(portal, call, priority, attempts)
                    if found is not None:
                        return Owned(Choice(found, True, By.RESPONSIBLE))
                case Wish.GROUP:
                    user = group_user(call.group, portal.settings)
                    if user is not None and await self._directory.works(portal, user):
                        return Owned(Choice(user, True, By.GROUP), note=note)
                case Wish.AGENT:
                    choice = await self._directory.user_for(portal, plan.extension, call.line, call.group)
                    return Owned(choice, plan.extension, note) if choice else None
        return None

    async def clients(self, portal: Portal, call: Call, priority: Priority) -> list[Client]:
        """The records that have the call's number, asked for in each notation until one answers.

        Raises a `Trouble` branch.
        """
        mine = (portal.member_id, call.id)
        until, known = self._of_call.get(mine, (0.0, []))
        if until > self._clock.now():
            return known
        found = await self._search(portal, call, priority)
        self._of_call.pop(mine, None)
        self._of_call[mine] = (self._clock.now() + FRESH_FOR_CALL, found)
        while self._of_call[oldest := next(iter(self._of_call))][0] <= self._clock.now():
            del self._of_call[oldest]  # in the order in which they were asked
        return found

    async def responsible(self, portal: Portal, call: Call, priority: Priority) -> int | None:
        """Who is responsible for the call's client and works here. Raises a `Trouble` branch."""
        for client in _by_record(call, await self.clients(portal, call, priority)):
            if client.responsible and await self._directory.works(portal, client.responsible):
                return client.responsible
        return None

    async def _search(self, portal: Portal, call: Call, priority: Priority) -> list[Client]:
        forms = search_forms(call.number or call.raw_number, portal.settings.country)
        if not forms:
            return []
        key = (portal.member_id, forms[0])
        until, known = self._known.get(key, (0.0, []))
        if until > self._clock.now():
            return known
        found: list[Client] = []
        for form in forms:
            answer = await self._client.call(portal, telephony.search(form), priority)
            found = telephony.read_clients(answer.result)
            if found:
                break
        self._remember(key, found)
        return found

    async def look_up(self, portal: Portal, calls: Sequence[Call], priority: Priority) -> None:
        """Ask for the clients of a backlog together; what fails is asked alone when its turn comes."""
        wanted: dict[str, tuple[str, str]] = {}
        for call in calls:
            if Wish.RESPONSIBLE not in closing_plan(call, portal.settings).wishes:
                continue
            if self._of_call.get((portal.member_id, call.id), (0.0,))[0] > self._clock.now():
                continue
            forms = search_forms(call.number or call.raw_number, portal.settings.country)
            key = (portal.member_id, forms[0]) if forms else None
            if key and key not in wanted.values() and self._known.get(key, (0.0,))[0] <= self._clock.now():
                wanted[f"n{len(wanted)}"] = key
        if len(wanted) < 2:
            return
        asked = {name: telephony.search(key[1]) for name, key in list(wanted.items())[:BATCH_LIMIT]}
        try:
            answers = await self._client.batch(portal, asked, priority)
        except (Throttled, PortalPaused):
            raise
        except Trouble as trouble:
            # a question whose answer was lost must not make a doubt of the finishes that come after it
            logger.warning("clients of a backlog were not told: {}", trouble.code)
            return
        for name, answer in answers.items():
            # nobody found by the first notation proves nothing about the others
            if isinstance(answer, Answer) and (found := telephony.read_clients(answer.result)):
                self._remember(wanted[name], found)

    def _remember(self, key: tuple[str, str], found: list[Client]) -> None:
        now = self._clock.now()
        self._known = {k: v for k, v in self._known.items() if v[0] > now}
        self._known[key] = (now + FRESH, found)

    async def _responsible(
        self, portal: Portal, call: Call, priority: Priority, attempts: int
    ) -> tuple[int | None, str | None]:
        """The user, or `None` and why not, in words."""
        try:
            found = await self.responsible(portal, call, priority)
            ordered = _by_record(call, await self.clients(portal, call, priority))
        except (Throttled, PortalPaused):
            raise
        except Trouble as trouble:
            if trouble.verdict is not Verdict.PERSON and attempts < PATIENCE:
                raise
            logger.warning("the responsible person was not told: {}", trouble.code)
            why = trouble.message
            return None, mark(f"The client's responsible person could not be asked for: {why}")
        if found is not None:
            return found, None
        if ordered and ordered[0].responsible:
            gone = ordered[0].responsible
            return None, mark(f"The client's responsible person (user {gone}) does not work here any more.")
        return None, None


def _by_record(call: Call, clients: Sequence[Client]) -> list[Client]:
    """The call's own record first, then the portal's own order."""
    record = (call.crm_type, call.crm_id)
    return sorted(clients, key=lambda c: (c.crm_type, c.crm_id) != record)


def no_client_note(
    event: Registered, call: Call, country: str, *, crm_create: bool, answer: Any
) -> str | None:
    """Why the call stands on a new record or on none, in words; `None` for a client that was known."""
    if event.crm_id is not None and not event.created:
        return None
    forms = search_forms(call.number or call.raw_number, country)
    number = call.number or call.raw_number or "–"
    sought = ", ".join((number, *forms[1:]))
    if event.created:
        made = ", ".join(event.created)
        return mark(f"No record in the CRM had the number {sought}; Bitrix24 made {made} for it.")
    refusal = telephony.lead_error(answer)
    if refusal:
        return mark(f"No record in the CRM had the number {sought}, and Bitrix24 made none: {refusal}")
    if crm_create:
        return mark(f"No record in the CRM had the number {sought}; Bitrix24 did not say why it made none.")
    return mark(f"No record in the CRM had the number {sought}; Bitrix24 makes none by your settings.")
