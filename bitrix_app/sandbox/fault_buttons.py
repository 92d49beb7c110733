"""The demo's fault buttons: what goes wrong at the two emulators at the press of a button.

Everything that they do happens on the vendors' side; the application is not told. Each fault is
bounded or can be taken back, and each says what to watch while the application heals it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from bitrix_app.sandbox.faults import Fault as PortalFault
from bitrix_app.sandbox.people import CALL_START
from bitrix_app.sandbox.portal import SandboxPortal
from unitalk.sandbox import Fault, Mishap, SandboxPbx

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
    shown: Callable[[], bool] = lambda: True
    """False while nothing could come of a press."""


class FaultPanel:
    """The buttons and their state, for the portal's page."""

    def __init__(self, buttons: Sequence[Button]) -> None:
        self._buttons = {button.code: button for button in buttons}

    def rows(self) -> list[dict[str, Any]]:
        """What the page draws."""
        return [
            {"code": b.code, "title": b.title, "does": b.does, "watch": b.watch, "left": b.left()}
            for b in self._buttons.values()
            if b.shown()
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
    """The demo's buttons over these two emulators; those for outgoing calls once the app makes such."""
    return FaultPanel(
        (
            _twice(pbx),
            _portal_fault(
                portal,
                PortalFault(PORTAL_ONLY, "throttled", REFUSALS),
                code="503",
                title="503",
                does=f"Bitrix24 refuses its next {REFUSALS} requests as too many.",
                watch="calls come up to half a minute later, and all of them come.",
            ),
            _expired(portal),
            _portal_fault(
                portal,
                PortalFault(OUTCOMES, "lost", LOST),
                code="lost",
                title="Answer lost",
                does=f"Bitrix24 does what it is told, but {LOST} of its answers are lost.",
                watch="a call may be “in progress” for a minute or two more, then it is written once.",
            ),
            _late(pbx),
            _dial_fault(
                portal,
                pbx,
                Fault("phones/directCall", "error", text="Sip is offline"),
                code="refused",
                title="Call refused",
                does="Unitalk refuses the next call that somebody starts here.",
                watch="the card says why at once, and nobody's phone rings.",
            ),
            _dial_fault(
                portal,
                pbx,
                Fault("phones/directCall", "lost"),
                code="rang",
                title="Rings unheard",
                does="Unitalk makes the next started call, but its answer is lost.",
                watch="the phone rings once, and the call is written once.",
            ),
            _nobody(portal, pbx),
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
    portal: SandboxPortal, pattern: PortalFault, *, code: str, title: str, does: str, watch: str
) -> Button:
    fault = PortalFault(pattern.match, pattern.kind, times=0)

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


def calls_out(portal: SandboxPortal) -> bool:
    """Whether the app listens for the portal's Call buttons."""
    return any(one.event == CALL_START for one in portal.state.handlers)


def _dial_fault(
    portal: SandboxPortal, pbx: SandboxPbx, fault: Fault, *, code: str, title: str, does: str, watch: str
) -> Button:
    times = fault.times
    fault.times = 0

    def press() -> None:
        fault.times = times
        pbx.faults.active.insert(0, fault)

    def calm() -> None:
        fault.times = 0
        pbx.faults.active[:] = [one for one in pbx.faults.active if one is not fault]

    return Button(
        code, title, does, watch, press, calm, lambda: _more(fault.times), lambda: calls_out(portal)
    )


def _nobody(portal: SandboxPortal, pbx: SandboxPbx) -> Button:
    """The employee himself does not pick up: the client is never rung."""
    usual = pbx.outcomes.default
    silent = replace(usual, operator="silent")

    def press() -> None:
        pbx.outcomes.default = silent

    def calm() -> None:
        pbx.outcomes.default = usual

    return Button(
        "silent",
        "Nobody picks up",
        "Employees do not pick up when Unitalk rings them first, and no event tells it.",
        "the call is ended after a while as not made.",
        press,
        calm,
        lambda: "on" if pbx.outcomes.default is silent else "",
        lambda: calls_out(portal),
    )


def _more(times: int | None) -> str:
    return f"{times} left" if times else ""
