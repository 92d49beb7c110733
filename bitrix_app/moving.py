"""Moving a finished call to the right person in Bitrix24, and back.

Each record is read before it is written: what somebody changed by hand meanwhile is theirs to keep. The
call's row in the statistics cannot be changed by any method, so it stays with the default user.
"""

from __future__ import annotations

from bitrix_app.bitrix.answers import Answer
from bitrix_app.bitrix.client import BitrixClient
from bitrix_app.bitrix.handover import Record, named, records
from bitrix_app.core.call import Call
from bitrix_app.core.commands import MoveCall, Priority
from bitrix_app.core.errors import NotFound, Trouble
from bitrix_app.core.events import Moved
from bitrix_app.core.jobs import Job, Moot
from bitrix_app.core.mapping import By
from bitrix_app.core.portal import Portal
from bitrix_app.words import mark


class Moving:
    """See the module."""

    def __init__(self, client: BitrixClient) -> None:
        self._client = client

    async def deliver(self, portal: Portal, job: Job, call: Call) -> Moved:
        """Give the call's records to the other user. Raises a `Trouble` branch or `Moot`."""
        command = job.command
        if not isinstance(command, MoveCall):
            raise Moot(f"{job.kind} moves nothing")
        if not command.undo and call.repair != command.repair:
            raise Moot("the repair was undone")
        if command.undo and call.repair is not None:
            raise Moot("a later repair moved the call")
        wanted = records(call) if call.moved is None else named(call.moved)
        given, notes = await self._give(portal, job, command, wanted)
        # what was given by hand to somebody else meanwhile keeps its person, and so does the call
        changes_hands = bool(given) or not wanted or (command.undo and call.moved is not None)
        return Moved(
            user_id=command.to_user if changes_hands else call.user_id or command.from_user,
            records=tuple(given),
            extension=command.extension if command.undo else None,
            by=None if command.undo else By.OVERRIDE,
            undo=command.undo,
            notes=tuple(notes),
        )

    async def _give(
        self, portal: Portal, job: Job, command: MoveCall, wanted: list[Record]
    ) -> tuple[list[str], list[str]]:
        """Names of what is the new user's now through us, and what was odd."""
        if not wanted:
            return [], []
        priority = Priority(job.priority)
        asked = await self._client.batch(portal, {r.name: r.read() for r in wanted}, priority)
        said_before = job.doubt or job.attempts > 0
        given: list[str] = []
        notes: list[str] = []
        writes: dict[str, Record] = {}
        for record in wanted:
            answer = asked[record.name]
            if isinstance(answer, Trouble):
                if not is_gone(answer):
                    raise answer
                notes.append(_gone(record.name))
                continue
            holder = record.responsible(answer.result)
            if holder == command.from_user:
                writes[record.name] = record
            elif holder == command.to_user and said_before:
                given.append(record.name)  # an earlier try of ours did it
            else:
                name = record.name
                notes.append(mark(f"{name} was left with user {holder}, who is responsible for it now"))
        if writes:
            said = {name: record.give(command.to_user) for name, record in writes.items()}
            for name, outcome in (await self._client.batch(portal, said, priority)).items():
                if isinstance(outcome, Answer):
                    given.append(name)
                elif is_gone(outcome):
                    notes.append(_gone(name))
                else:
                    raise outcome
        return given, notes


def _gone(name: str) -> str:
    return mark(f"{name} is not in the CRM any more")


def is_gone(trouble: Trouble) -> bool:
    """The record was deleted; a portal that lacks the method is another matter."""
    return isinstance(trouble, NotFound) and trouble.code != "ERROR_METHOD_NOT_FOUND"
