"""What is known when a call is asked for: hours, the number, the PBX's connection. Reads no clock itself."""

from __future__ import annotations

from datetime import datetime
from typing import Final
from zoneinfo import ZoneInfo

from bitrix_app.core.dial import Failure, Origin
from bitrix_app.core.hours import Hours, every_day, is_open, opens, read_days, read_spans
from bitrix_app.core.permit import KEY_REFUSED, NOT_CONNECTED, PORTAL_WAITS, Asked, refusal
from bitrix_app.core.portal import Portal, PortalSettings, Snapshot
from bitrix_app.numbers import read_number, zones_of
from bitrix_app.words import mark

KEY_BELIEVED: Final = 60.0
"""Seconds for which the PBX's «wrong key» is believed: nobody hammers it, and a mended key works soon."""


def why_not(
    portal: Portal,
    origin: Origin,
    number: str,
    extension: str | None,
    pressed_at: float,
    now: float,
    pbx_state: Snapshot | None,
) -> Failure | None:
    """Why this call may not be started now; `None` when it may. `pbx_state` is the snapshot of that name."""
    settings = portal.settings
    reading = read_number(number, settings.country)
    hours = working_hours(settings)
    by_hand = origin is Origin.LIST
    opens_at = None if by_hand or is_open(hours, now) else opens(hours, now)
    fault = None
    if not (reading.callable and reading.digits):
        fault = reading.reason or mark("This is no number that can be dialled.")
    return refusal(
        Asked(
            origin=origin,
            age=now - pressed_at,
            extension=extension,
            number_fault=fault,
            opens_at=opens_at,
            opens=wall_time(opens_at, settings.pbx_timezone) if opens_at is not None else "",
            pbx=pbx_trouble(portal, pbx_state, now),
        )
    )


def pbx_trouble(portal: Portal, state: Snapshot | None, now: float) -> Failure | None:
    """What is known to be wrong with the connection, so that the PBX need not be asked. A refusal counts
    only for the key that it was said of: a new one is tried at once.
    """
    if not portal.works:
        return PORTAL_WAITS  # nothing of a portal is delivered then: the agent would wait for nothing
    if not portal.unitalk_key:
        return NOT_CONNECTED
    if state is None or not state.items or now - state.taken_at > KEY_BELIEVED:
        return None
    if state.items[0].get("key_last4") != portal.unitalk_key_last4:
        return None
    return KEY_REFUSED if state.items[0].get("code") == KEY_REFUSED.code else None


def working_hours(settings: PortalSettings) -> Hours:
    return read_days(settings.hours, settings.pbx_timezone)


def decent_hours(settings: PortalSettings, number: str) -> list[Hours]:
    """Hours in which this client may be called by itself: the portal's and his own, wherever he may be."""
    spans = read_spans(settings.client_hours)
    zones = zones_of(number) or (settings.pbx_timezone,)
    return [working_hours(settings), *(every_day(zone, *spans[0]) for zone in zones if spans)]


def wall_time(at: float, zone: str) -> str:
    """An instant for people, in a zone's wall clock."""
    return f"{datetime.fromtimestamp(at, ZoneInfo(zone)):%d.%m.%Y %H:%M}"
