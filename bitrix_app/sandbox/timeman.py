"""Clocking in and out by hand; `timeman.status` (users.py) answers what stands here (bitrix24.md §12)."""

from __future__ import annotations

from bitrix_app.sandbox.world import World


class TimeClock:
    """The part of `SandboxPortal` by which a test or the demo moves the working day of an employee."""

    world: World

    def clock_in(self, user_id: int) -> None:
        self.world.user(user_id).time_status = "OPENED"

    def clock_out(self, user_id: int) -> None:
        self.world.user(user_id).time_status = "CLOSED"

    def clock_pause(self, user_id: int) -> None:
        self.world.user(user_id).time_status = "PAUSED"
