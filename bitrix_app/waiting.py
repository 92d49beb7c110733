"""Waiting for a moment or for a nudge, whichever comes first, on the house's clock."""

from __future__ import annotations

import asyncio
import contextlib

from bitrix_app.core.ports import Clock


async def sleep_or_nudge(clock: Clock, seconds: float, nudged: asyncio.Event) -> None:
    """Return after `seconds`, or as soon as `nudged` is set; leaves no task behind when cancelled."""
    if nudged.is_set():
        return
    nap = asyncio.ensure_future(clock.sleep(seconds))
    nudge = asyncio.ensure_future(nudged.wait())
    try:
        await asyncio.wait({nap, nudge}, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in (nap, nudge):
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task
