"""A dialer's calls and the phones that they are tries of: called by intake, inside its transaction.

A phone is known by our own mark in the call's `meta`, else by dialer and number. A call that ended is
one try with one outcome, however often and in whatever order the PBX tells of it.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from bitrix_app.campaign_book import owe_check, put, tell
from bitrix_app.core.call import Call
from bitrix_app.core.campaigns import (
    OPEN,
    Batch,
    Phone,
    PhoneState,
    Try,
    arrived,
    is_proof,
    phone_in,
    standing,
    tried,
)
from bitrix_app.core.dialers import DialerNews, heard
from bitrix_app.core.dispositions import is_autodial
from bitrix_app.core.events import Facts, PbxReport
from bitrix_app.core.portal import Portal
from bitrix_app.core.record_memory import named_in
from bitrix_app.core.store import Unit
from bitrix_app.words import mark

FINISH_SETTLES: Final = 60.0
"""Seconds after a dialer's end in which its last calls' events may still come."""
RATE_WINDOW: Final = 300.0
RATE_MOST: Final = 150
"""Calls of dialers in the window: half a call a second is about what a portal can take in full."""
DAY: Final = 86_400.0
TOO_FAST: Final = mark(
    "The autodialer makes more calls than this Bitrix24 can take in: they are written with a growing delay."
    " Switch on in the settings that unanswered calls of the autodialer are not registered, or let it dial"
    " fewer at once."
)


async def introduced(unit: Unit, portal: Portal, report: PbxReport) -> PbxReport:
    """The report with what the campaign knows of the phone: whose dialer's call it is, for which record."""
    facts = report.facts
    phone = await _phone_of(unit, portal.member_id, facts.meta, facts.dialer_id, facts.number)
    if phone is None:
        return report
    marked = phone_in(facts.meta) is not None or named_in(facts.meta) is not None
    told = replace(
        facts,
        meta=facts.meta if marked else phone.meta_by_number,
        dialer_id=facts.dialer_id or phone.dialer,
        source=facts.source or "AUTODIAL",
    )
    return replace(report, facts=told)


def may_be_dialers(facts: Facts) -> bool:
    """Whether asking the store for a phone is worth it."""
    return phone_in(facts.meta) is not None or facts.dialer_id is not None


async def counted(unit: Unit, portal: Portal, call: Call, now: float, *, last: bool = False) -> bool:
    """Count a call that ended as a try of its phone; `last`: the dialer will not try again. Whether the
    campaigns owe something now. Repeating it changes nothing."""
    member = portal.member_id
    if call.is_live or call.outcome is None or not (is_autodial(call) or phone_in(call.meta)):
        return False
    phone = await _phone_of(unit, member, call.meta, call.dialer_id, call.number)
    dialer = phone.dialer if phone else call.dialer_id or ""
    ended_at = call.ended_at if call.ended_at is not None else call.start
    await unit.save_try(member, Try(call.id, dialer, phone.id if phone else "", call.outcome, ended_at), now)
    warned = await _warned(unit, portal, call, now)
    if phone is None:
        return warned
    batch = await unit.batch(member, phone.batch) if phone.batch else None
    if batch is not None and is_proof(call.meta):
        batch = await _proved(unit, member, batch, now)
    phone = await unit.phone(member, phone.id) or phone
    fresh = tried(phone, await unit.tries_of(member, phone.id))
    fresh = standing(replace(fresh, over=fresh.over or last), batch)
    if fresh != phone:
        await unit.save_phones(member, [replace(fresh, changed_at=now)])
    return True


async def _proved(unit: Unit, member: str, batch: Batch, now: float) -> Batch:
    """A call with one phone's mark proves that its whole batch arrived: it was one request."""
    sent = arrived(batch, now, "call")
    await put(unit, member, batch, sent, now)
    return sent


async def _phone_of(
    unit: Unit, member: str, meta: str | None, dialer: str | None, number: str | None
) -> Phone | None:
    if phone_id := phone_in(meta):
        return await unit.phone(member, phone_id)
    if dialer is None or number is None:
        return None
    entries = await unit.phones_by_number(member, dialer, number)
    said = [entry for entry in entries if entry.state is not PhoneState.WAITING]
    return next((entry for entry in said if entry.state in OPEN), said[0] if said else None)


async def _warned(unit: Unit, portal: Portal, call: Call, now: float) -> bool:
    """Tell the administrators, at most once a day, that the portal cannot keep up."""
    if portal.settings.fold_unanswered_dials or call.skipped:
        return False
    if await unit.tries_since(portal.member_id, now - RATE_WINDOW) <= RATE_MOST:
        return False
    await tell(unit, portal.member_id, f"dialer_rate:{int(now // DAY)}", TOO_FAST, now)
    return True


async def told_of_dialer(unit: Unit, portal: Portal, news: DialerNews, now: float) -> bool:
    """The PBX told of a dialer as a whole; of dialers that nobody uses here nothing is kept."""
    campaign = await unit.campaign(portal.member_id, news.dialer)
    if campaign is None:
        return False
    await unit.save_campaign(portal.member_id, heard(campaign, news, now))
    if news.finished:
        await owe_check(unit, portal.member_id, news.dialer, now, after=FINISH_SETTLES)
    return news.finished
