"""Files each day's ledger on Drive, at night and anew when it changed (bitrix24.md §8)."""

from __future__ import annotations

import datetime as dt
import hashlib

from loguru import logger

from bitrix_app.bitrix.drive import Drive
from bitrix_app.core.call import Call
from bitrix_app.core.commands import FileLedger
from bitrix_app.core.errors import NotFound
from bitrix_app.core.jobs import Job, Moot
from bitrix_app.core.portal import Portal
from bitrix_app.core.ports import Clock
from bitrix_app.core.store import Store, Unit
from bitrix_app.ledgers import as_csv, ledger_of
from bitrix_app.words import Words


class LedgerFiling:
    """A room of the outbox: puts a day's ledger on Drive, as a new version when it changed."""

    kinds: frozenset[str] = frozenset({FileLedger.kind})

    def __init__(self, store: Store, clock: Clock, drive: Drive) -> None:
        self._store = store
        self._clock = clock
        self._drive = drive

    async def deliver(self, portal: Portal, job: Job, _call: Call | None) -> None:
        """Raises a `Trouble` branch; `Moot` where the portal has no Drive for us."""
        if not isinstance(job.command, FileLedger):
            raise Moot(f"nobody delivers {job.kind}")
        if not portal.rules.drive:
            raise Moot("Drive is switched off, or this portal did not grant it")
        day = dt.date.fromisoformat(job.command.day)
        made = await ledger_of(self._store, portal, day)
        if not made.entries:
            raise Moot("the day had no calls")
        content = as_csv([made], Words(portal.language)).encode("utf-8-sig")
        digest = hashlib.sha256(content).hexdigest()
        known = await self._store.filed(portal.member_id, made.day)
        if known is not None and known[0] == digest:
            raise Moot("the ledger did not change since it was filed")
        name, month = f"ledger_{made.day}.csv", made.day[:7]
        known_id = known[1] if known else None
        try:
            folder = await self._drive.folder(portal, month)
            filed = await self._drive.put_document(portal, folder, name, content, known_id=known_id)
        except NotFound:
            self._drive.forget(portal)  # somebody deleted our folder: once more in a new one
            folder = await self._drive.folder(portal, month)
            filed = await self._drive.put_document(portal, folder, name, content)
        now = self._clock.now()

        async def work(unit: Unit) -> None:
            await unit.save_filed(portal.member_id, made.day, digest, filed.id, now)

        await self._store.transact(work)
        logger.info("the ledger of {} is on the Drive of {}", made.day, portal.domain)
