"""What the answers of the autodialer mean for campaigns, in the transaction that closes the job."""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from bitrix_app import campaign_book
from bitrix_app.campaign_book import owe_check, put, tell
from bitrix_app.core.campaign_commands import (
    BatchArrived,
    BatchDenied,
    BatchDoubted,
    BatchTooOld,
    DialerRead,
    GatherNow,
    ReadRecords,
    SendBatch,
    SwitchDialer,
    Switched,
    SwitchFailed,
)
from bitrix_app.core.campaigns import (
    Batch,
    BatchState,
    Reason,
    arrived,
    denied,
    doubted,
    refused,
    standing,
)
from bitrix_app.core.dialers import Campaign, DialerNews, Running, heard
from bitrix_app.core.events import GivenUp
from bitrix_app.core.jobs import Job
from bitrix_app.core.portal import Portal
from bitrix_app.core.store import Unit
from bitrix_app.core.wishes import WishState
from bitrix_app.words import mark

STEP: Final = 2000
"""Phones of one transaction when a dialer finished."""
DOUBTED: Final = mark(
    "The answer of the PBX was lost, and neither the dialer's list nor its calls show this batch."
)
DOUBT_HINT: Final = mark(
    "Look into the dialer's list in the Unitalk cabinet, then say whether the batch was sent or not. It is"
    " never sent again by itself."
)
SHOWN_HINT: Final = mark(
    "The dialer shows other numbers with their marks and none of this batch, so it was probably not sent."
    " Look into the cabinet, then say so. It is never sent again by itself."
)
BROKEN: Final = mark("It is not known whether the batch was sent: our own work on it failed.")


class BatchLanes:
    """Hearer of the lanes `batch:<id>`."""

    async def told(self, unit: Unit, portal: Portal, job: Job, event: object, now: float) -> None:
        """See `bitrix_app.hearing.Hearer`."""
        member = portal.member_id
        batch = await unit.batch(member, job.lane.partition(":")[2])
        if batch is None:
            return
        match event:
            case BatchArrived(proof=proof):
                after = arrived(batch, now, proof)
            case BatchDoubted(shown=shown):
                after = doubted(batch, DOUBTED, SHOWN_HINT if shown else DOUBT_HINT)
            case BatchDenied(code=code, message=message, hint=hint):
                after = denied(batch, code, message, hint)
            case BatchTooOld():
                await self._give_back(unit, member, batch, now)
                return
            case GivenUp(kind=SendBatch.kind) if batch.state is BatchState.SENDING:
                after = doubted(batch, BROKEN, DOUBT_HINT)
            case GivenUp(kind=SendBatch.kind) as given:
                after = denied(batch, given.code, given.message, "")
            case _:
                return
        await put(unit, member, batch, after, now)
        if after.state is not batch.state and after.state in (BatchState.DOUBT, BatchState.REFUSED):
            managers = portal.settings.managers
            await tell(unit, member, f"batch:{batch.id}", _notice(after), now, managers)

    async def _give_back(self, unit: Unit, member: str, batch: Batch, now: float) -> None:
        """Nobody was there to talk for a day: the phones are free to be added again."""
        if batch.state is not BatchState.WAITING:
            return
        phones = [
            replace(refused(phone, Reason.NO_AGENT), changed_at=now)
            for phone in await unit.batch_phones(member, batch.id)
        ]
        await unit.save_phones(member, phones)
        await unit.save_batch(member, replace(batch, state=BatchState.DROPPED, count=0))


def _notice(batch: Batch) -> str:
    count, dialer, reason = batch.count, batch.dialer, batch.message
    if batch.state is BatchState.DOUBT:
        return mark(
            f"{count} phones for the autodialer {dialer} are in doubt: {reason} Say on the page Autodialer"
            " whether they were sent."
        )
    return mark(
        f"The PBX did not take {count} phones for the autodialer {dialer}: {reason} See the page Autodialer."
    )


class CampaignLanes:
    """Hearer of the lanes `campaign:<dialer>`."""

    async def told(self, unit: Unit, portal: Portal, job: Job, event: object, now: float) -> None:
        """See `bitrix_app.hearing.Hearer`."""
        member, dialer = portal.member_id, job.lane.partition(":")[2]
        campaign = await unit.campaign(member, dialer) or Campaign(dialer)
        match event:
            case GatherNow():
                await campaign_book.gather(unit, member, dialer, now)
            case DialerRead(status=status):
                await self._read(unit, member, campaign, status, now)
            case Switched(turn=turn, status=status) if turn == campaign.turn:
                word = status or ("RUNNING" if campaign.wanted == "start" else "STOPPED")
                done = heard(campaign, DialerNews(dialer, word), now)
                await unit.save_campaign(member, replace(done, settled=True, code="", message="", hint=""))
                await owe_check(unit, member, dialer, now)
            case SwitchFailed(turn=turn) as failed if turn == campaign.turn:
                await self._failed(unit, member, campaign, failed.code, failed.message, failed.hint)
            case GivenUp(kind=SwitchDialer.kind) as given if f"switch:{campaign.turn}" == given.key:
                await self._failed(unit, member, campaign, given.code, given.message, "")
            case GivenUp(kind=ReadRecords.kind) as given:
                await self._unread(unit, member, dialer, given, now)
            case _:
                pass

    async def _failed(
        self, unit: Unit, member: str, campaign: Campaign, code: str, message: str, hint: str
    ) -> None:
        await unit.save_campaign(
            member, replace(campaign, settled=True, code=code, message=message, hint=hint)
        )

    async def _read(self, unit: Unit, member: str, campaign: Campaign, status: str, now: float) -> None:
        """The dialer's status as it was read; what it finished with gets no further tries."""
        campaign = heard(campaign, DialerNews(campaign.dialer, status), now)
        if campaign.running is Running.FINISHED and campaign.finished_at is None:
            campaign = replace(campaign, finished_at=now)
        await unit.save_campaign(member, campaign)
        if campaign.running is Running.YES:
            await owe_check(unit, member, campaign.dialer, now)
        elif campaign.finished_at is not None:
            await self._finish(unit, member, campaign, campaign.finished_at, now)

    async def _finish(self, unit: Unit, member: str, campaign: Campaign, at: float, now: float) -> None:
        phones = await unit.sent_before(member, campaign.dialer, at, STEP)
        over = []
        for phone in phones:
            batch = await unit.batch(member, phone.batch)
            over.append(replace(standing(replace(phone, over=True), batch), changed_at=now))
        await unit.save_phones(member, over)
        if len(phones) == STEP:
            await owe_check(unit, member, campaign.dialer, now, after=1.0)

    async def _unread(self, unit: Unit, member: str, dialer: str, given: GivenUp, now: float) -> None:
        """Records that cannot be read hold up nobody else's phones."""
        wish = await unit.wish(member, given.key.partition(":")[2])
        if wish is not None and wish.state is WishState.PENDING:
            await unit.save_wish(member, replace(wish, state=WishState.FAILED, message=given.message))
            await campaign_book.owe_gathering(unit, member, dialer, now)
