"""The demo's fault buttons: what goes wrong at the two emulators at the press of a button.

Everything that they do happens on the vendors' side; the application is not told. Each fault is
bounded or can be taken back, and each says what to watch while the application heals it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

from bitrix_app.sandbox.faults import Fault
from bitrix_app.sandbox.portal import SandboxPortal
from unitalk.sandbox import Mishap, SandboxPbx

TWICE: Final = 40
"""Webhooks, about ten calls."""
REFUSALS: Final = 4
"""Each doubles the pause that follows it: 1, 2, 4 and 8 s."""
LOST: Final = 2
"""Each is looked into after a minute, so a call that meets both takes two."""
LATE_SECONDS: Final = 25.0
PORTAL_ONLY: Final = "[!o]*"
"""Every request to the portal, none to the auth server (`oauth.…`), which has no such limit."""
OUTCOMES: Final = "telephony.externalcall.[rf]*"
"""Register and finish: the two writes of which a second one would be a second call."""


@dataclass(frozen=True, slots=True)
class Button:
    """One fault. `left` says in a few words what is still to come; empty when nothing is."""

    code: str
    title: str
    does: str
    watch: str
    press: Callable[[], None]
    calm: Callable[[], None]
    left: Callable[[], str]


class FaultPanel:
    """The buttons and their state, for the portal's page."""

    def __init__(self, buttons: Sequence[Button]) -> None:
        self._buttons = {button.code: button for button in buttons}

    def rows(self) -> list[dict[str, Any]]:
        """What the page draws."""
        return [
            {"code": b.code, "title": b.title, "does": b.does, "watch": b.watch, "left": b.left()}
            for b in self._buttons.values()
        ]

    def press(self, code: str) -> bool:
        """Arm this fault, or `calm` all of them; false for a code that no button has. Pressed again
        while it is on, a fault starts over: it never adds up.
        """
        if code == "calm":
            for button in self._buttons.values():
                button.calm()
            return True
        known = self._buttons.get(code)
        if known is None:
            return False
        known.calm()
        known.press()
        return True


def fault_panel(portal: SandboxPortal, pbx: SandboxPbx) -> FaultPanel:
    """The demo's five buttons over these two emulators."""
    return FaultPanel(
        (
            _twice(pbx),
            _portal_fault(
                portal,
                Fault(PORTAL_ONLY, "throttled", REFUSALS),
                code="503",
                title="503",
                does=f"Bitrix24 refuses its next {REFUSALS} requests as too many.",
                watch="calls come up to half a minute later, and all of them come.",
            ),
            _expired(portal),
            _portal_fault(
                portal,
                Fault(OUTCOMES, "lost", LOST),
                code="lost",
                title="Answer lost",
                does=f"Bitrix24 does what it is told, but {LOST} of its answers are lost.",
                watch="a call may be “in progress” for a minute or two more, then it is written once.",
            ),
            _late(pbx),
        )
    )


def _twice(pbx: SandboxPbx) -> Button:
    mishap = Mishap("*", "duplicate", times=0)

    def press() -> None:
        mishap.times = TWICE
        pbx.mishaps.insert(0, mishap)

    def calm() -> None:
        mishap.times = 0
        pbx.mishaps[:] = [one for one in pbx.mishaps if one is not mishap]

    return Button(
        "twice",
        "Webhooks twice",
        f"Unitalk sends its next {TWICE} webhooks twice.",
        "each call still stands here once, with one recording.",
        press,
        calm,
        lambda: _more(mishap.times),
    )


def _portal_fault(
    portal: SandboxPortal, pattern: Fault, *, code: str, title: str, does: str, watch: str
) -> Button:
    fault = Fault(pattern.match, pattern.kind, times=0)

    def press() -> None:
        fault.times = pattern.times
        portal.faults.add(fault)

    def calm() -> None:
        fault.times = 0
        portal.faults.remove(fault)

    return Button(code, title, does, watch, press, calm, lambda: _more(fault.times))


def _expired(portal: SandboxPortal) -> Button:
    waits: list[int] = []
    """The number of refreshes at the press; empty when nothing is expected."""

    def press() -> None:
        portal.expire_tokens()
        waits[:] = [portal.auth.refreshes]

    def left() -> str:
        return "waits" if waits and portal.auth.refreshes == waits[0] else ""

    return Button(
        "token",
        "Token expires",
        "The application's access tokens are over at once.",
        "one refresh follows and calls go on.",
        press,
        waits.clear,
        left,
    )


def _late(pbx: SandboxPbx) -> Button:
    def press() -> None:
        pbx.options.recording_ready_after = LATE_SECONDS

    def calm() -> None:
        pbx.options.recording_ready_after = 0.0

    return Button(
        "late",
        "Recording late",
        f"Recordings are not there until {LATE_SECONDS:.0f} s after the call.",
        "the call is written at once, its recording follows within a minute.",
        press,
        calm,
        lambda: "on" if pbx.options.recording_ready_after else "",
    )


def _more(times: int | None) -> str:
    return f"{times} left" if times else ""
