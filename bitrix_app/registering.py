"""Says Register: within Bitrix24's matching window as it is, later only after looking (bitrix24.md §6.1)."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Final

from bitrix_app.bitrix import telephony
from bitrix_app.bitrix.client import BitrixClient
from bitrix_app.core.call import Call
from bitrix_app.core.commands import Priority, Register
from bitrix_app.core.errors import Refused, Who
from bitrix_app.core.events import CallEvent, Done, Registered
from bitrix_app.core.jobs import Job
from bitrix_app.core.mapping import Choice
from bitrix_app.core.portal import Portal
from bitrix_app.core.ports import Clock
from bitrix_app.directory import Directory
from bitrix_app.lines import Lines
from bitrix_app.numbers import Kind, read_number
from bitrix_app.owners import Owners, no_client_note
from bitrix_app.prepared import Prepared, nobody

MATCHED_FOR: Final = 29 * 60.0
"""Seconds after its start for which Bitrix24 matches a repeated register (30 min, bitrix24.md §6.1)."""


class Registering:
    """See the module."""

    def __init__(
        self, client: BitrixClient, directory: Directory, owners: Owners, lines: Lines, clock: Clock
    ) -> None:
        self._client = client
        self._directory = directory
        self._owners = owners
        self._lines = lines
        self._clock = clock

    async def _opener(self, portal: Portal, call: Call, command: Register) -> Choice:
        """Whose card it is. Not the closing rules: a repeat must name the same user, or Bitrix24
        makes a second call (§6.1).
        """
        if command.user_id is not None:
            return Choice(command.user_id, True)
        choice = await self._directory.user_for(portal, command.extension, call.line, command.group)
        if choice is None:
            raise nobody()
        return choice

    async def prepare(
        self, portal: Portal, job: Job, call: Call, command: Register
    ) -> Prepared | CallEvent | None:
        if call.bitrix_call_id:
            return Done(job.key)
        check_number(call, portal)
        choice = await self._opener(portal, call, command)
        await self._lines.seen(portal, call.line)
        if self._clock.now() - call.start > MATCHED_FOR:
            if job.doubt and call.heard_bitrix_id:
                # only beyond the window: within it the portal itself knows better which call it is
                return Registered(call.heard_bitrix_id, choice.user_id, command.extension, choice.matched)
            return None
        request = telephony.register(
            call,
            user_id=choice.user_id,
            show=command.show and call.is_live,
            crm_create=command.crm_create,
            crm=_client_of(call),
            timezone=portal.settings.zone_of(call.line),
            callback=call.callback,
        )
        return Prepared(request, lambda result: _registered(result, choice, command, call, portal))

    async def late(self, portal: Portal, job: Job, call: Call, command: Register) -> CallEvent:
        """Older than Bitrix24's matching window: look first, never let it make a second record."""
        priority = Priority(job.priority)
        if job.doubt:
            found = await self._client.call(
                portal, telephony.statistic({"EXTERNAL_CALL_ID": call.id}), priority
            )
            row = telephony.read_statistic(found.result)
            if row is not None:
                choice = await self._opener(portal, call, command)
                return Registered(row.call_id, choice.user_id, command.extension)
        clients = await self._owners.clients(portal, call, priority)
        crm = (clients[0].crm_type, clients[0].crm_id) if clients else None
        choice = await self._opener(portal, call, command)
        request = telephony.register(
            call,
            user_id=choice.user_id,
            show=False,
            crm_create=command.crm_create and crm is None,
            crm=crm,
            timezone=portal.settings.zone_of(call.line),
            callback=call.callback,
        )
        answer = await self._client.call(portal, request, priority)
        return _registered(answer.result, choice, command, call, portal)


CLIENTS: Final = ("CONTACT", "COMPANY", "LEAD")
"""Records that a call may be registered on by name (bitrix24.md §6.1)."""


def _client_of(call: Call) -> tuple[str, int] | None:
    """The record from which somebody asked for this call: it need not be searched for."""
    if call.dial is None or call.crm_type not in CLIENTS or not call.crm_id:
        return None
    return call.crm_type, call.crm_id


def check_number(call: Call, portal: Portal) -> None:
    """Bitrix24 takes no call without a number (bitrix24.md §6.1), though its card knows hidden ones
    (§10): inventing one would give all hidden callers to one client. Raises `Refused` with the reason.
    """
    reading = read_number(call.number or call.raw_number, portal.settings.country)
    if call.number or reading.callable:
        return
    hidden = reading.kind is Kind.HIDDEN
    raise Refused(
        reading.reason,
        code="HIDDEN_NUMBER" if hidden else "NO_NUMBER",
        hint=(
            "Bitrix24 registers no call without a number, so this one stays on the list. "
            "Whoever spoke with the client may know it."
            if hidden
            else "Bitrix24 registers no call without a number, so this one stays on the list. "
            "See what the PBX sent."
        ),
        who=Who.MANAGER,
    )


def _registered(result: Any, choice: Choice, command: Register, call: Call, portal: Portal) -> Registered:
    read = telephony.read_registered(result, choice.user_id, command.extension, choice.matched)
    country = portal.settings.country
    note = no_client_note(read, call, country, crm_create=command.crm_create, answer=result)
    return replace(read, note=note or read.note, shown=command.show)
