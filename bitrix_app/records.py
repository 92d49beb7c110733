"""Dispositions: read the record, decide, remember, write. One read and at most one write.

The plan is on disk before the request leaves. So after a lost answer or a crash the next try reads the
record, compares it with the plan, and knows whether the write has happened (design.md §5, doubt).
"""

from __future__ import annotations

from dataclasses import replace

from bitrix_app.bitrix import records
from bitrix_app.bitrix.client import BitrixClient
from bitrix_app.core.call import Call
from bitrix_app.core.commands import Priority, UpdateRecord
from bitrix_app.core.disposing import Decision, NeedsPerson, Record, Write, decide
from bitrix_app.core.dispositions import pasts_of
from bitrix_app.core.errors import NotFound, Refused, Unavailable, Unreadable, Who
from bitrix_app.core.events import CallEvent, Disposed
from bitrix_app.core.jobs import Job
from bitrix_app.core.portal import Portal
from bitrix_app.core.record_memory import Past, Stand
from bitrix_app.core.store import Store, Unit


class Records:
    """See the module."""

    def __init__(self, store: Store, client: BitrixClient) -> None:
        self._store = store
        self._client = client

    async def deliver(self, portal: Portal, job: Job, call: Call) -> CallEvent:
        """Settle the call's disposition on one record. Raises a `Trouble` branch: `Refused` with
        `STAGE_FINAL`, `STAGE_OUTSIDE`, `NOT_A_COUNTER` or `FIELD_UNKNOWN` needs a person.
        """
        command = job.command
        me = next((p for p in pasts_of(call) if p.record == getattr(command, "record", None)), None)
        if not isinstance(command, UpdateRecord) or me is None:
            raise Unreadable(f"{job.key} is no disposition of call {call.id}", code="NO_DELIVERY")
        priority = Priority(job.priority)
        try:
            answer = await self._client.call(portal, records.read(me.record), priority)
        except NotFound as gone:
            if gone.code.upper() != "NOT_FOUND":
                raise  # a portal without crm.item.*: not a record that was deleted
            note = f"{me.record} no longer exists in the CRM, so nothing was written to it."
            return Disposed(replace(me, stand=Stand.NOTHING), note)
        decision = await self._decide(portal, me, records.read_record(me.record, answer.result))
        if isinstance(decision, NeedsPerson):
            if decision.wait:
                raise Unavailable(
                    f"An older call of {me.record} is not written yet. {decision.reason}", code=decision.code
                )
            raise Refused(decision.reason, code=decision.code, hint=decision.hint, who=Who.MANAGER)
        if isinstance(decision, Write):
            await self._write(portal, decision, priority)
            return Disposed(replace(decision.past, stand=Stand.WRITTEN), decision.note)
        return Disposed(decision.past, decision.note)

    async def _decide(self, portal: Portal, me: Past, record: Record) -> Decision:
        """Decide with the rules of this moment, and keep what has to be remembered of it."""

        async def work(unit: Unit) -> Decision:
            known = await unit.portal(portal.member_id) or portal
            history = await unit.record_history(portal.member_id, me.record)
            rules = known.settings.dispositions
            decision = decide(me, record, rules, history)
            if isinstance(decision, Write) or (isinstance(decision, NeedsPerson) and not decision.wait):
                await unit.remember(portal.member_id, decision.past)
            return decision

        return await self._store.transact(work)

    async def _write(self, portal: Portal, decision: Write, priority: Priority) -> None:
        past = decision.past
        try:
            answer = await self._client.call(portal, records.update(past.record, decision.fields), priority)
        except Refused:
            nothing = replace(past, stand=Stand.KNOWN, effects=(), turn=0)
            await self._store.transact(lambda unit: unit.remember(portal.member_id, nothing))
            raise
        dropped = records.not_taken(decision.fields, answer.result)
        if dropped:
            raise Refused(
                f"Bitrix24 does not know the field {', '.join(dropped)} on {past.record}.",
                code="FIELD_UNKNOWN",
                hint="Create the field in the CRM or name another one in Settings, then retry.",
                who=Who.ADMIN,
            )
