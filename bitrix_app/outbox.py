"""Commands → vendor calls. Says each command, reads the answer, returns what it means as an event.

The outbox never decides what a call means: it resolves names to ids, follows each vendor's «already
done» answers, and looks before it repeats what may have happened (design.md §5, doubt).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Final, Protocol

from bitrix_app.bitrix import telephony
from bitrix_app.bitrix.client import BitrixClient
from bitrix_app.bitrix.documents import layout_blocks
from bitrix_app.cards import card_request
from bitrix_app.core.abilities import OPTIONAL, absent_for
from bitrix_app.core.call import Call
from bitrix_app.core.commands import Finish, Hide, LayoutBlocks, Priority, Register, Show
from bitrix_app.core.errors import Refused, Throttled, Trouble
from bitrix_app.core.events import CallEvent, Done, Finished
from bitrix_app.core.jobs import Job
from bitrix_app.core.jobs import Moot as Moot
from bitrix_app.core.mapping import Choice
from bitrix_app.core.portal import Portal
from bitrix_app.core.ports import Clock
from bitrix_app.core.retry import DOUBT_MATURES
from bitrix_app.core.store import StoreUnavailable
from bitrix_app.directory import Directory
from bitrix_app.filing import Filing
from bitrix_app.lines import Lines
from bitrix_app.moving import Moving
from bitrix_app.owners import Owned, Owners
from bitrix_app.prepared import Prepared, nobody, our_fault, store_away
from bitrix_app.records import Records
from bitrix_app.registering import Registering
from bitrix_app.upkeep import Upkeep
from bitrix_app.words import Words

EXPECTED_SECONDS: Final = {
    "register": 1.2,
    "finish": 2.4,
    "layout": 0.6,
    "show": 0.3,
    "hide": 0.3,
}
"""How long the portal works on a command, from the vendor's own samples (reliability.md §2, C3)."""


NO_LAYOUT: Final = ("ERROR_METHOD_NOT_FOUND", "UNSUITABLE_ACTIVITY_TYPE_ERROR")
"""A portal too old for our blocks is no failure of the call."""


class Room(Protocol):
    """Whoever delivers some kinds of commands by himself."""

    kinds: frozenset[str]

    async def deliver(self, portal: Portal, job: Job, call: Call | None) -> object:
        """Say it; the event for the job's hearer, `None` for nothing to hear. `call` is the lane's, if the
        lane is a call's. Raises a `Trouble` branch or `Moot`.
        """
        ...


class Outbox:
    """See the module."""

    def __init__(
        self,
        client: BitrixClient,
        directory: Directory,
        owners: Owners,
        lines: Lines,
        filing: Filing,
        moving: Moving,
        upkeep: Upkeep,
        clock: Clock,
        records: Records,
        rooms: Sequence[Room] = (),
        pace: Callable[[Portal], None] = lambda _: None,
    ) -> None:
        """`pace` is told the portal before each delivery: its settings may say how often to ask."""
        self._client = client
        self._owners = owners
        self._registering = Registering(client, directory, owners, lines, clock)
        self._moving = moving
        self._directory = directory
        self._filing = filing
        self._records = records
        self._rooms = {kind: room for room in rooms for kind in room.kinds}
        self._upkeep = upkeep
        self._clock = clock
        self._pace = pace

    async def deliver(self, portal: Portal, job: Job, call: Call | None) -> object:
        """Say the job's command. Returns its event; raises a `Trouble` branch or `Moot`."""
        _granted(portal, job)
        self._pace(portal)
        try:
            return await self._deliver(portal, job, call)
        except Refused as refused:
            raise _without_scope(job, refused) from refused

    async def _deliver(self, portal: Portal, job: Job, call: Call | None) -> object:
        if room := self._rooms.get(job.kind):
            return await room.deliver(portal, job, call)
        if call is None:
            if ":" in job.lane:
                await self._upkeep.deliver(portal, job)
                return None
            raise Moot("the call was erased")
        if self._filing.takes(job.kind):
            return await self._filing.deliver(portal, job, call)
        if job.kind == "move_call":
            return await self._moving.deliver(portal, job, call)
        if job.kind == "update_record":
            return await self._records.deliver(portal, job, call)
        if job.kind == "notify":
            await self._upkeep.deliver(portal, job)
            return Done(job.key)
        prepared = await self.prepare(portal, job, call)
        if isinstance(prepared, Prepared):
            try:
                answer = await self._client.call(portal, prepared.request, Priority(job.priority))
            except Refused as refused:
                return await self._after_refusal(portal, job, call, prepared, refused)
            return prepared.read(answer.result)
        if prepared is not None:
            return prepared
        command = job.command
        if not isinstance(command, Register):
            raise Moot(f"{job.kind} takes one request and was said")
        return await self._registering.late(portal, job, call, command)

    async def prepare(self, portal: Portal, job: Job, call: Call) -> Prepared | CallEvent | None:
        """The job as one request; an event when nothing needs to be said; `None` when it takes more.

        Raises `Moot` and, where a name cannot be resolved, `Refused`.
        """
        match job.command:
            case Register() as command:
                return await self._registering.prepare(portal, job, call, command)
            case Finish() as command:
                self._wait_for_a_late_register(call)
                priority = Priority(job.priority)
                if command.user_id is not None:  # it never came about: whoever asked for it has it
                    owned: Owned | None = Owned(Choice(command.user_id, True), command.extension)
                else:
                    owned = await self._owners.closing(
                        portal, call, command.extension, priority, job.attempts
                    )
                if owned is None:
                    raise nobody()
                request = telephony.finish(
                    call,
                    user_id=owned.choice.user_id,
                    duration=command.duration,
                    status_code=command.status_code,
                    failed_reason=Words(portal.language).retell(command.failed_reason),
                )
                return Prepared(
                    request, lambda said: _with_owner(telephony.read_finished(said), owned), owned
                )
            case Show() | Hide():
                said, told = await card_request(self._directory, portal, job, call)
                return told if said is None else Prepared(said, lambda _: told)
            case LayoutBlocks():
                if not (call.activity_id and call.crm_type and call.crm_id):
                    raise Moot("the call has no activity on a CRM record")
                request = layout_blocks(call, portal.settings.zone_of(call.line), portal.language)
                return Prepared(request, lambda _: Done(job.key))
        raise Moot(f"nobody delivers {job.kind}")

    def _wait_for_a_late_register(self, call: Call) -> None:
        """A lost Register that lands now still finds its call unfinished and becomes the same one; after
        Finish it would become a second call with a card that nobody closes (bitrix24.md §6.1).
        """
        if call.register_doubted_at is None:
            return
        matured = call.register_doubted_at + DOUBT_MATURES
        if self._clock.now() < matured:
            raise Throttled(
                "An earlier registration of this call may still arrive; it is finished after that.",
                code="DOUBT_MATURES",
                hint="It goes on by itself within a minute.",
                retry_at=matured,
            )

    async def _after_refusal(
        self, portal: Portal, job: Job, call: Call, said: Prepared, refused: Refused
    ) -> CallEvent:
        """Some refusals say that it was done before (bitrix24.md §6.2, §16.4), one that our snapshot
        of the people is old: then the extension is asked for anew, once.
        """
        user_id = said.request.params.get("USER_ID")
        if telephony.is_user_gone(refused) and isinstance(user_id, int):
            await self._directory.distrust(portal, user_id)
            again = await self.prepare(portal, job, call)
            if isinstance(again, Prepared) and again.request.params.get("USER_ID") != user_id:
                answer = await self._client.call(portal, again.request, Priority(job.priority))
                return again.read(answer.result)
        if job.kind == "finish" and telephony.is_not_found(refused):
            answer = await self._client.call(
                portal, telephony.statistic({"CALL_ID": call.bitrix_call_id}), Priority(job.priority)
            )
            row = telephony.read_statistic(answer.result)
            if row is not None:
                return _with_owner(row.finished, said.owned)
        if job.kind in ("show", "hide") and telephony.is_not_found(refused):
            return said.read(None)
        if job.kind == "layout" and refused.code in NO_LAYOUT:
            raise Moot("this portal cannot show our blocks on a call")
        raise _without_scope(job, refused)

    def batchable(self, job: Job) -> bool:
        """Whether the job is one request as a rule; doubt is always looked into alone."""
        return job.kind in EXPECTED_SECONDS and not job.doubt

    async def deliver_batch(
        self, portal: Portal, work: list[tuple[Job, Call]]
    ) -> tuple[dict[int, CallEvent | Trouble | Moot], list[Job]]:
        """Say several jobs of different lanes in one request; each is settled alone, by its job's id.

        Comes with the jobs that turned out to take more than one request: nothing was said of them.
        A trouble of the batch as a whole is the trouble of each job in it.
        """
        finishing = [call for job, call in work if job.kind == Finish.kind]
        first = Priority(min(job.priority for job, _ in work)) if work else Priority.FINISH
        try:
            await self._owners.look_up(portal, finishing, first)
        except Trouble as trouble:
            return {job.id: trouble for job, _ in work}, []
        except StoreUnavailable:
            raise
        except Exception as bug:  # noqa: BLE001 - each finish asks for itself then
            our_fault(bug)
        settled: dict[int, CallEvent | Trouble | Moot] = {}
        prepared: dict[str, tuple[Job, Call, Prepared]] = {}
        alone: list[Job] = []
        for job, call in work:
            try:
                _granted(portal, job)
                ready = await self.prepare(portal, job, call)
            except (Trouble, Moot) as reason:
                settled[job.id] = reason
                continue
            except StoreUnavailable:
                raise
            except Exception as bug:  # noqa: BLE001 - one job's fault must not take the others with it
                settled[job.id] = our_fault(bug)
                continue
            if ready is None:
                alone.append(job)
            elif isinstance(ready, Prepared):
                prepared[f"j{job.id}"] = (job, call, ready)
            else:
                settled[job.id] = ready
        if prepared:
            settled |= await self._say_together(portal, prepared)
        return settled, alone

    async def _say_together(
        self, portal: Portal, prepared: dict[str, tuple[Job, Call, Prepared]]
    ) -> dict[int, CallEvent | Trouble | Moot]:
        settled: dict[int, CallEvent | Trouble | Moot] = {}
        priority = Priority(min(job.priority for job, _, _ in prepared.values()))
        requests = {key: ready.request for key, (_, _, ready) in prepared.items()}
        try:
            answers = await self._client.batch(portal, requests, priority)
        except Trouble as trouble:
            return {job.id: trouble for job, _, _ in prepared.values()}
        for key, (job, call, ready) in prepared.items():
            answer = answers[key]
            try:
                if isinstance(answer, Refused):
                    settled[job.id] = await self._after_refusal(portal, job, call, ready, answer)
                elif isinstance(answer, Trouble):
                    settled[job.id] = answer
                else:
                    settled[job.id] = ready.read(answer.result)
            except (Trouble, Moot) as reason:
                settled[job.id] = reason
            except StoreUnavailable as away:
                settled[job.id] = store_away(away, self._clock.now())
            except Exception as bug:  # noqa: BLE001 - as above
                settled[job.id] = our_fault(bug)
        return settled


def _with_owner(finished: Finished, owned: Owned | None) -> Finished:
    """What Bitrix24 says of the owner decides: an earlier finish may have named somebody else."""
    if owned is None or finished.user_id not in (None, owned.choice.user_id):
        return finished
    choice = owned.choice
    return replace(
        finished,
        user_id=choice.user_id,
        extension=owned.extension,
        matched=choice.matched,
        by=choice.by,
        owner_note=owned.note,
    )


def _granted(portal: Portal, job: Job) -> None:
    """Raises `Moot` for what the portal's rights make pointless: no retry grants a scope."""
    scope = absent_for(job.kind, portal.scope)
    if scope is not None:
        raise _no_scope(scope)


def _no_scope(scope: str) -> Moot:
    return Moot(f"this portal did not grant us the right {scope}, so this step is left out")


def _without_scope(job: Job, refused: Refused) -> Moot | Refused:
    """The refusal as it counts: a scope that was taken away a moment ago is no failure either."""
    if job.kind in OPTIONAL and refused.code.lower() == "insufficient_scope":
        return _no_scope(OPTIONAL[job.kind])
    return refused
