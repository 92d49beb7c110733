"""CALL_IDs that the portal names before we know them: ours, another's, or nobody's.

ONVOXIMPLANTCALLINIT tells a CALL_ID and a number, not our own id (bitrix24.md §6.8). Most often it is of
a Register whose answer is on its way. It can also be of a Register that took effect when nobody waited
for it any more, or of a click whose own event got lost: then nobody would ever close the card.
"""

from __future__ import annotations

from typing import Final

from bitrix_app.bitrix.events import CallInit
from bitrix_app.core import cards
from bitrix_app.core.advance import advance
from bitrix_app.core.call import Call
from bitrix_app.core.chores import CARDS_LANE
from bitrix_app.core.events import Direction, Heard, Unheard
from bitrix_app.core.portal import Portal
from bitrix_app.core.store import ReceiptState, Unit

WINDOW: Final = 7 * 86_400.0
"""Seconds for which a call of ours may wait for its Register, and a CALLINIT may be about it."""


def call_types(call: Call) -> tuple[str, ...]:
    """CALL_TYPE values under which our Register of this call can be told (bitrix24.md §6.1)."""
    if call.callback:
        return ("4",)
    return ("1",) if call.direction is Direction.OUT else ("2", "3")


async def could_be(unit: Unit, member_id: str, number: str, since: float) -> list[Call]:
    """Calls of this number that wait for their CALL_ID."""
    digits = "".join(c for c in number if c.isdigit())
    calls = await unit.calls_without_bitrix_id(member_id, digits, since)
    return [call for call in calls if call.register_owed]


async def heard(
    unit: Unit, portal: Portal, init: CallInit | None, now: float
) -> tuple[ReceiptState, str | None]:
    """Remember the CALL_ID when it can only be that of one call of ours; else look at it later.

    What became of the receipt, and the call that it was for.
    """
    if init is None or (portal.rest_app_id and init.rest_app_id != portal.rest_app_id):
        return ReceiptState.IGNORED, None
    if await unit.call_by_bitrix_id(portal.member_id, init.call_id):
        return ReceiptState.IGNORED, None
    waiting = [
        call
        for call in await could_be(unit, portal.member_id, init.number, now - WINDOW)
        if init.call_type in call_types(call)
    ]
    if len(waiting) == 1 and waiting[0].heard_bitrix_id in (None, init.call_id):
        await unit.apply(advance(waiting[0], Heard(init.call_id), now, portal.rules), now)
        return ReceiptState.APPLIED, waiting[0].id
    if not portal.rest_app_id:
        return ReceiptState.IGNORED, None  # it may be another application's
    await unit.owe(portal.member_id, CARDS_LANE, (cards.sweep(init.call_id, init.number, now),), now)
    return ReceiptState.APPLIED, None


async def unhear(unit: Unit, portal: Portal, owner: Call, now: float) -> None:
    """`owner` turned out to be the call of its CALL_ID: no other call of the number is taken for it."""
    number = owner.number or owner.raw_number
    if not owner.bitrix_call_id or not number:
        return
    for call in await could_be(unit, portal.member_id, number, now - WINDOW):
        if call.id != owner.id and call.heard_bitrix_id == owner.bitrix_call_id:
            transition = advance(call, Unheard(owner.bitrix_call_id), now, portal.rules)
            await unit.apply(transition, now)
