"""Who hears what became of a job: its call, or whoever else has lanes of his own.

A lane without a colon in its name is a call's. Others begin with a word, as `agent:2001`: that word
names the hearer.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Protocol

from loguru import logger

from bitrix_app.core.commands import Show
from bitrix_app.core.events import CallEvent, Done, Registered, Traced
from bitrix_app.core.jobs import Job
from bitrix_app.core.lifecycle import IllegalMove
from bitrix_app.core.portal import Portal
from bitrix_app.core.store import Unit
from bitrix_app.desk import Desk
from bitrix_app.strays import unhear


class Hearer(Protocol):
    """Settles an event of a job in the very transaction that closes the job (or gives it up)."""

    async def told(self, unit: Unit, portal: Portal, job: Job, event: object, now: float) -> None:
        """`event` is what the delivery returned, or a `core.events.GivenUp`. Awaits only `unit`."""
        ...


class Calls:
    """Hands a vendor's answer to the call; an impossible one is logged and changes nothing."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    async def told(self, unit: Unit, portal: Portal, job: Job, event: object, now: float) -> None:
        call = await unit.call(job.portal, job.lane)
        if call is None:
            return
        if isinstance(event, Registered) or (isinstance(event, Done) and job.kind == Show.kind):
            event = replace(event, doubted_at=job.doubted_at)
        if not isinstance(event, CallEvent):
            raise TypeError(f"{type(event).__name__} is no event of a call")
        try:
            if isinstance(event, Traced):
                await self._desk.traced(unit, portal, call, event, now, job.correlation_id)
                return
            _, moved = await self._desk.move(unit, portal, call, event, now, job.correlation_id)
        except IllegalMove as illegal:
            logger.error("call {}: {}", call.id, illegal)
            return
        if isinstance(event, Registered):
            await unhear(unit, portal, moved.call, now)


class Hearers:
    """All hearers of the house by their lanes' first word; calls have none."""

    def __init__(self, calls: Hearer, others: Mapping[str, Hearer] | None = None) -> None:
        self._calls = calls
        self._others = dict(others or {})

    async def told(self, unit: Unit, portal: Portal, job: Job, event: object, now: float) -> None:
        word, colon, _ = job.lane.partition(":")
        if not colon:
            await self._calls.told(unit, portal, job, event, now)
        elif word in self._others:
            await self._others[word].told(unit, portal, job, event, now)
