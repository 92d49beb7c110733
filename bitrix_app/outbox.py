"""Commands → vendor calls. Says each command, reads the answer, returns what it means as an event.

The outbox never decides what a call means: it resolves names to ids, follows each vendor's «already
done» answers, and looks before it repeats what may have happened (design.md §5, doubt).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final, Protocol

from loguru import logger

from bitrix_app.bitrix import telephony
from bitrix_app.bitrix.client import BitrixClient
from bitrix_app.bitrix.documents import layout_blocks
from bitrix_app.bitrix.wire import RestCall
from bitrix_app.core.abilities import OPTIONAL, absent_for
from bitrix_app.core.call import Call
from bitrix_app.core.commands import Finish, Hide, LayoutBlocks, Priority, Register, Show
from bitrix_app.core.errors import Refused, Throttled, Trouble, Who
from bitrix_app.core.events import CallEvent, Done, Finished, Registered
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
from bitrix_app.numbers import Kind, read_number
from bitrix_app.owners import Owned, Owners, no_client_note
from bitrix_app.records import Records
from bitrix_app.upkeep import Upkeep
from bitrix_app.words import Words

MATCHED_FOR: Final = 29 * 60.0
"""Seconds after its start for which Bitrix24 matches a repeated register (30 min, bitrix24.md §6.1)."""

EXPECTED_SECONDS: Final = {
    "register": 1.2,
    "finish": 2.4,
    "layout": 0.6,
    "show": 0.3,
    "hide": 0.3,
}
"""How long the portal works on a command, from the vendor's own samples (reliability.md §2, C3)."""


STORE_AGAIN: Final = 1.0
NO_LAYOUT: Final = ("ERROR_METHOD_NOT_FOUND", "UNSUITABLE_ACTIVITY_TYPE_ERROR")
"""A portal too old for our blocks is no failure of the call."""


@dataclass(frozen=True, slots=True)
class Prepared:
    """A command that is one request: it may travel in a batch."""

    request: RestCall
    read: Callable[[Any], CallEvent]
    owned: Owned | None = None
    """For a finish: whose the call is, and by which rule."""


def our_fault(bug: Exception) -> Trouble:
    """A fault of our own as a job for a person: the code's words stay in our log."""
    logger.opt(exception=bug).error("a delivery failed by our own fault")
    return Trouble(
        f"{type(bug).__name__} in our own code",
        code="INTERNAL",
        hint="The details are in the application's log under this correlation id.",
    )


def store_away(away: StoreUnavailable, now: float) -> Trouble:
    """Nothing was said that the store had to know first: a pair that is not stored is not used."""
    return Throttled(
        f"Our own store was away: {away.reason}",
        code="STORE_AWAY",
        hint="It is tried again by itself.",
        retry_at=now + STORE_AGAIN,
    )


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
        self._lines = lines
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
        return await self._register_late(portal, job, call)

    async def prepare(self, portal: Portal, job: Job, call: Call) -> Prepared | CallEvent | None:
        """The job as one request; an event when nothing needs to be said; `None` when it takes more.

        Raises `Moot` and, where a name cannot be resolved, `Refused`.
        """
        match job.command:
            case Register() as command:
                return await self._register(portal, job, call, command)
            case Finish() as command:
                self._wait_for_a_late_register(call)
                priority = Priority(job.priority)
                owned = await self._owners.closing(portal, call, command.extension, priority, job.attempts)
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
            case Show(extensions=extensions):
                if not call.is_live:
                    raise Moot("the call is over")
                return await self._card(portal, job, call, extensions, telephony.show)
            case Hide(extensions=extensions):
                return await self._card(portal, job, call, extensions, telephony.hide)
            case LayoutBlocks():
                if not (call.activity_id and call.crm_type and call.crm_id):
                    raise Moot("the call has no activity on a CRM record")
                request = layout_blocks(call, portal.settings.zone_of(call.line), portal.language)
                return Prepared(request, lambda _: Done(job.key))
        raise Moot(f"nobody delivers {job.kind}")

    async def _card(
        self,
        portal: Portal,
        job: Job,
        call: Call,
        extensions: tuple[str, ...],
        say: Callable[[str, list[int]], RestCall],
    ) -> Prepared:
        users = await self._directory.users_of(portal, extensions)
        if not users:
            raise Moot("none of the extensions has a user in Bitrix24")
        return Prepared(say(call.bitrix_call_id or "", users), lambda _: Done(job.key))

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

    async def _opener(self, portal: Portal, call: Call, command: Register) -> Choice:
        """Whose card it is. Not the closing rules: a repeat must name the same user, or Bitrix24
        makes a second call (§6.1).
        """
        choice = await self._directory.user_for(portal, command.extension, call.line, command.group)
        if choice is None:
            raise nobody()
        return choice

    async def _register(
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
            crm=None,
            timezone=portal.settings.zone_of(call.line),
        )
        return Prepared(request, lambda result: _registered(result, choice, command, call, portal))

    async def _register_late(self, portal: Portal, job: Job, call: Call) -> CallEvent:
        """Older than Bitrix24's matching window: look first, never let it make a second record."""
        command = job.command
        if not isinstance(command, Register):
            raise Moot(f"{job.kind} cannot be said late")
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
        )
        answer = await self._client.call(portal, request, priority)
        return _registered(answer.result, choice, command, call, portal)

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
            return Done(job.key)
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


def nobody() -> Refused:
    return Refused(
        "Nobody can be given this call: no default user is set and no administrator is known.",
        code="NO_USER",
        hint="Set a default user in Settings.",
    )


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
    return replace(read, note=note or read.note)


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
