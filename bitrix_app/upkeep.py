"""The portal's own work: bindings, snapshots, tokens before they age out, notices to people."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

from loguru import logger

from bitrix_app.bitrix import abilities, bindings, records
from bitrix_app.bitrix.answers import Answer
from bitrix_app.bitrix.auth import TokenRefresher
from bitrix_app.bitrix.client import BitrixClient
from bitrix_app.bitrix.users import app_info, directories, notify
from bitrix_app.bitrix.values import as_int, as_rows, as_text
from bitrix_app.core.abilities import USERS, missing
from bitrix_app.core.commands import (
    AcceptDirectory,
    EnsureBindings,
    Notify,
    Priority,
    RefreshDirectory,
    RefreshTokens,
)
from bitrix_app.core.dispositions import category_of
from bitrix_app.core.errors import Trouble, Unreadable
from bitrix_app.core.jobs import Job, Moot
from bitrix_app.core.portal import Portal, Snapshot
from bitrix_app.core.ports import Clock
from bitrix_app.core.shrink import compare_keys
from bitrix_app.core.store import Store, Unit
from bitrix_app.directory import Directory
from bitrix_app.lines import Lines
from bitrix_app.snapshots import KINDS, Snapshots
from bitrix_app.words import Words
from unitalk.client import UnitalkClient
from unitalk.probe import structure

IDLE_PAIR: Final = 150 * 86_400.0
"""Seconds after which an unused pair is refreshed once; a refresh token lives 180 days."""
STRUCTURE_EVERY: Final = 86_400.0 - 1_800.0
"""Seconds; a little less than a day, so that an hourly round meets it at the same hour."""
STRUCTURE_AGAIN: Final = 3_000.0
"""Seconds after which a question that got no answer is asked anew."""


def pipeline_of(row: Mapping[str, Any]) -> int:
    """The pipeline of deals that a row of `crm.status.list` is a stage of."""
    return category_of(as_text(row.get("STATUS_ID")))


@dataclass(frozen=True, slots=True)
class Addresses:
    """Where Bitrix24 reaches us."""

    events: str
    app: str


class Upkeep:
    """See the module."""

    def __init__(
        self,
        store: Store,
        clock: Clock,
        client: BitrixClient,
        refresher: TokenRefresher,
        directory: Directory,
        lines: Lines,
        pbx: UnitalkClient,
        addresses: Addresses,
    ) -> None:
        self._store = store
        self._clock = clock
        self._client = client
        self._refresher = refresher
        self._directory = directory
        self._lines = lines
        self._snapshots = Snapshots(store, clock)
        self._pbx = pbx
        self._addresses = addresses

    async def deliver(self, portal: Portal, job: Job) -> None:
        """Do one piece of the portal's own work. Raises a `Trouble` branch."""
        match job.command:
            case EnsureBindings():
                await self._bind(portal)
            case RefreshDirectory():
                await self._refresh(portal)
            case AcceptDirectory() as command:
                await self._accept(portal, command)
            case RefreshTokens():
                await self._keep_alive(portal)
            case Notify() as command:
                await self._notify(portal, command)
            case other:
                raise Unreadable(f"nobody delivers {other.kind}", code="NO_DELIVERY")

    async def _bind(self, portal: Portal) -> None:
        wanted = bindings.wanted(
            events_url=self._addresses.events,
            app_url=self._addresses.app,
            lines=await self._lines.wanted(portal),
            dialers=bool(portal.settings.dialers),
        )
        report = await bindings.ensure(self._client, portal, wanted)
        logger.info("bindings of {}: {} changed", portal.domain, report.changed)
        refused = {name: trouble.message for name, trouble in report.refused.items()}
        for name, reason in refused.items():
            logger.warning("bindings of {}: {} was refused: {}", portal.domain, name, reason)
        await self._stamp(portal, "bindings", {"changed": report.changed, "refused": refused})

    async def _stamp(self, portal: Portal, kind: str, *items: dict[str, object]) -> None:
        await self._store.save_snapshot(portal.member_id, Snapshot(kind, self._clock.now(), items))

    async def _refresh(self, portal: Portal) -> None:
        info = await self._client.call(portal, app_info(), Priority.BACKFILL)
        await self._remember_app(portal, info.result)
        portal = await self._abilities(portal, info.result)
        count = 0
        if portal.can(*USERS):
            count = await self._directory.refresh(portal)
            logger.info("directory of {}: {} users", portal.domain, count)
        else:
            logger.warning("{} did not grant the list of employees; the last snapshot stays", portal.domain)
        await self._lists(portal)
        await self._pipelines(portal)
        if portal.unitalk_key:
            await self._pbx_lines(portal)
            await self._pbx_structure(portal)
        await self._stamp(portal, "directory", {"named": count})

    async def _abilities(self, portal: Portal, info: object) -> Portal:
        """Remember what the portal can; the portal with the scopes that it grants now."""
        answers = await self._client.batch(portal, abilities.READS, Priority.BACKFILL)
        last = await self._store.snapshot(portal.member_id, abilities.KIND)
        item = abilities.read_abilities(answers, info, last.items[0] if last and last.items else {})
        await self._stamp(portal, abilities.KIND, item)
        scope = tuple(item["scopes"] or portal.scope)
        lost = missing(scope)
        if lost and lost != missing(portal.scope):
            logger.warning("{} does not grant us {}", portal.domain, ", ".join(lost))

        async def work(unit: Unit) -> None:
            known = await unit.portal(portal.member_id)
            if known is not None and known.scope != scope:
                await unit.save_portal(replace(known, scope=scope))

        await self._store.transact(work)
        return replace(portal, scope=scope)

    async def _accept(self, portal: Portal, command: AcceptDirectory) -> None:
        if command.directory == "agents":
            taken = await self._directory.accept(portal, command.confirm)
        else:
            items = await self._snapshots.accept(portal.member_id, command.directory, command.confirm)
            taken = items is not None
        if not taken:
            raise Moot("the list changed after it was looked at")

    async def _take(
        self,
        portal: Portal,
        kind: str,
        rows: list[dict[str, object]],
        counts: Callable[[Mapping[str, Any]], bool] | None = None,
    ) -> bool:
        """Whether the list is believed; one that lost too much stays beside the last good one. Of that
        one only entries that `counts` can be missed; without it an empty list is never believed.
        """
        old = await self._snapshots.items(portal.member_id, kind)
        missed = [row for row in old if counts is None or counts(row)]
        difference = compare_keys(missed, rows, KINDS[kind][0])
        if (rows or counts is not None) and difference.reason is None:
            await self._snapshots.take(portal.member_id, kind, rows)
            return True
        if missed:
            await self._snapshots.offer(portal, kind, rows, difference)
        return False

    async def _lists(self, portal: Portal) -> None:
        """Lines and stages; a part that fails or comes back empty keeps its last good snapshot."""
        answers = await self._client.batch(portal, directories(), Priority.BACKFILL)
        for kind, answer in answers.items():
            if isinstance(answer, Trouble):
                logger.warning("{} of {} were not told: {}", kind, portal.domain, answer.code)
                continue
            await self._take(portal, kind, [dict(row) for row in as_rows(answer.result)])

    async def _pipelines(self, portal: Portal) -> None:
        """The CRM mode, pipelines of deals and the stages of all but the first, for the dispositions.

        What is refused or empty keeps its last good snapshot; an old portal simply lacks it.
        """
        answers = await self._client.batch(portal, records.pipelines(), Priority.BACKFILL)
        mode, listed = answers["crm_mode"], answers["deal_categories"]
        if isinstance(mode, Answer) and as_int(mode.result) in abilities.CRM_MODES:
            await self._stamp(portal, "crm_mode", {"mode": as_int(mode.result)})
        if isinstance(listed, Trouble):
            logger.info("{} does not tell its pipelines: {}", portal.domain, listed.code)
            return
        categories = records.read_categories(listed.result)
        if not await self._take(portal, "deal_categories", [dict(one) for one in categories]):
            return  # the stages of a doubtful list would be as doubtful
        rows: list[dict[str, object]] = []
        wanted = records.stages_of(categories)
        for answer in (
            await self._client.batch(portal, wanted, Priority.BACKFILL) if wanted else {}
        ).values():
            if isinstance(answer, Trouble) or not as_rows(answer.result):
                return  # half of the pipelines would read as if the others had lost their stages
            rows += [dict(row) for row in as_rows(answer.result)]
        living = {one["id"] for one in categories}
        await self._take(portal, "category_stages", rows, lambda row: pipeline_of(row) in living)

    async def _remember_app(self, portal: Portal, info: object) -> None:
        if not isinstance(info, dict):
            return
        family = str(info.get("LICENSE_FAMILY") or "")
        app_id, code = str(info.get("ID") or ""), str(info.get("CODE") or "")

        async def work(unit: Unit) -> Portal | None:
            known = await unit.portal(portal.member_id)
            if known is None:
                return None
            fresh = replace(known, license_family=family, rest_app_id=app_id, app_code=code)
            if fresh != known:
                await unit.save_portal(fresh)
            return fresh

        fresh = await self._store.transact(work)
        if fresh is not None:
            self._client.tariff(fresh)

    async def _pbx_lines(self, portal: Portal) -> None:
        """The PBX's operators, for matching and to prove that the key works. A failing PBX must not
        cost the portal its own directory, so its trouble is kept beside the last good snapshot.
        """
        try:
            users = await self._pbx.users(portal.unitalk_key)
        except Trouble as trouble:
            logger.warning("the PBX did not name its operators: {}", trouble.code)
            state = {"ok": False, "code": trouble.code, "message": trouble.message, "hint": trouble.hint}
        else:
            state = {"ok": True, "operators": len(users)}
            await self._take(portal, "pbx_users", [dict(user) for user in users])
        proof = {**state, "key_last4": portal.unitalk_key_last4}  # of which key it speaks
        await self._store.save_snapshot(portal.member_id, Snapshot("pbx_state", self._clock.now(), (proof,)))

    async def _pbx_structure(self, portal: Portal) -> None:
        """Once a day: what the PBX really answers where the contract is unsure, values masked."""
        now = self._clock.now()
        last = await self._store.snapshot(portal.member_id, "pbx_structure")
        whole = last is not None and not any("trouble" in told for told in last.items[0].values())
        if last is not None and now - last.taken_at < (STRUCTURE_EVERY if whole else STRUCTURE_AGAIN):
            return
        told = await structure(self._pbx, portal.unitalk_key, now, portal.settings.pbx_timezone)
        await self._stamp(portal, "pbx_structure", told)

    async def _keep_alive(self, portal: Portal) -> None:
        now = self._clock.now()
        for pair in await self._refresher.pairs(portal):
            if now - pair.refreshed_at >= IDLE_PAIR:
                await self._refresher.refresh(portal, pair)
        await self._stamp(portal, "tokens")

    async def _notify(self, portal: Portal, command: Notify) -> None:
        if command.user_id is not None:
            people = [command.user_id]
        else:
            people = [p.user_id for p in await self._refresher.pairs(portal) if p.is_admin]
        said = Words(portal.language).retell(command.message)
        for user_id in people:
            request = notify(user_id, said, command.tag)
            await self._client.call(portal, request, Priority.CRM)
