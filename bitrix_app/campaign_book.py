"""Keeping campaigns: taking phones in, and what follows when a batch changes. Inside a transaction.

Both sides use it: the web for numbers that people enter, the worker for numbers read from the CRM and
for what the PBX answers.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Final

from bitrix_app.core.campaign_commands import CheckDialer, GatherBatches, SendBatch, batch_lane, campaign_lane
from bitrix_app.core.campaigns import (
    BATCH_MOST,
    Batch,
    BatchState,
    Phone,
    PhoneState,
    Reason,
    admitted,
    phone_ids,
    refused,
    standing,
)
from bitrix_app.core.command import Priority
from bitrix_app.core.commands import Notify
from bitrix_app.core.dialers import Campaign
from bitrix_app.core.store import Unit
from bitrix_app.core.transition import Owed
from bitrix_app.findings import NOTICES_LANE
from bitrix_app.numbers import Kind, read_number

GATHER_AFTER: Final = 5.0
"""Seconds that phones wait for others to travel with: one request of 1,000 is cheaper than many."""
CHECK_EVERY: Final = 600.0
"""Seconds between looks at a dialer that works for us."""


def new_stem(now: float) -> str:
    """Time first, so that ids stay in the order of adding."""
    return f"{int(now * 1000):011x}{secrets.token_hex(3)}"


def entry(raw: Sequence[str], country: str, dialer: str, record: str = "") -> Phone:
    """A phone by the first of these texts that is a whole number of a known plan, or refused; without id."""
    readings = [read_number(text, country) for text in raw if text.strip()]
    good = next((reading for reading in readings if reading.kind is Kind.FULL and reading.e164), None)
    if good is not None and good.e164:
        return Phone("", dialer, good.e164, record)
    if not readings:
        return refused(Phone("", dialer, "", record), Reason.NO_NUMBER)
    return refused(Phone("", dialer, readings[0].raw[:100], record), Reason.NOT_A_NUMBER)


async def enlist(
    unit: Unit, portal: str, dialer: str, phones: Sequence[Phone], user_id: int, now: float
) -> list[Phone]:
    """Take phones into the campaign; each comes back as it was taken or refused."""
    if await unit.campaign(portal, dialer) is None:
        await unit.save_campaign(portal, Campaign(dialer))
    ids = phone_ids(new_stem(now), len(phones))
    known = [
        replace(phone, id=id_, added_at=now, added_by=user_id, changed_at=now)
        for id_, phone in zip(ids, phones, strict=True)
    ]
    numbers = [phone.number for phone in known if phone.state is not PhoneState.REFUSED]
    taken = admitted(
        known,
        await unit.open_numbers(portal, dialer, numbers),
        await unit.forbidden(portal, numbers),
    )
    await unit.save_phones(portal, taken)
    if any(phone.state is PhoneState.WAITING for phone in taken):
        await owe_gathering(unit, portal, dialer, now)
    return taken


async def owe_gathering(unit: Unit, portal: str, dialer: str, now: float) -> None:
    owed = Owed("gather", GatherBatches(dialer), Priority.CRM, not_before=now + GATHER_AFTER)
    await unit.owe(portal, campaign_lane(dialer), (owed,), now)


async def gather(unit: Unit, portal: str, dialer: str, now: float) -> int:
    """Put waiting phones into batches; a part of one waits for records that are still being read."""
    made = 0
    while waiting := await unit.unbatched(portal, dialer):
        if waiting < BATCH_MOST and await unit.open_wishes(portal, dialer):
            break
        batch = f"b{new_stem(now)}"
        count = await unit.fill_batch(portal, dialer, batch, BATCH_MOST)
        await unit.save_batch(portal, Batch(batch, dialer, count, now))
        await owe_sending(unit, portal, Batch(batch, dialer, count, now), now)
        made += 1
    return made


async def owe_sending(unit: Unit, portal: str, batch: Batch, now: float) -> None:
    owed = Owed(batch.key, SendBatch(batch.id), Priority.CRM)
    await unit.owe(portal, batch_lane(batch.id), (owed,), now)


async def owe_check(unit: Unit, portal: str, dialer: str, now: float, after: float = CHECK_EVERY) -> None:
    """Look at the dialer so many seconds from now; one look at a time for each reason."""
    key = "check" if after == CHECK_EVERY else "check:finish"
    owed = Owed(key, CheckDialer(dialer), Priority.BACKFILL, not_before=now + after)
    await unit.owe(portal, campaign_lane(dialer), (owed,), now)


async def put(unit: Unit, portal: str, before: Batch, after: Batch, now: float) -> None:
    """Keep a batch that may have changed, and its phones in the states that follow from it."""
    if after == before:
        return
    await unit.save_batch(portal, after)
    if after.state is not before.state:
        phones = await unit.batch_phones(portal, after.id)
        moved = [
            replace(fresh, changed_at=now) for phone in phones if (fresh := standing(phone, after)) != phone
        ]
        await unit.save_phones(portal, moved)
    if after.state is BatchState.SENT and before.state is not BatchState.SENT:
        await owe_check(unit, portal, after.dialer, now)


async def tell(
    unit: Unit, portal: str, tag: str, message: str, now: float, managers: Iterable[int] = ()
) -> None:
    """A notice to the portal's administrators, and to these managers; the same tag is one notice."""
    plain = message.replace("[", "(").replace("]", ")")  # the vendor's words must not become markup
    owed = [Owed(f"notify:{tag}", Notify(tag=tag, message=plain), Priority.CRM)]
    owed += [
        Owed(f"notify:{tag}:{user}", Notify(tag=tag, message=plain, user_id=user), Priority.CRM)
        for user in managers
    ]
    await unit.owe(portal, NOTICES_LANE, owed, now)
