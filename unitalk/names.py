"""Names of events: the vendor's own and the codes that our addresses carry (unitalk.md §3.1–3.2, §3.8). Pure.

The codes of the autodialer's events are unknown, so each handler of the cabinet gets an address with a
code of ours (`?ev=AUTODIAL_BUSY`): then the body needs neither a name nor a state.
"""

from __future__ import annotations

from typing import Final

from bitrix_app.core.events import Step
from unitalk import states

_STEPS: Final = {
    "NEW": Step.NEW,
    "REDIRECT": Step.OFFERED,
    "ANSWER": Step.ANSWERED,
    "END": Step.ENDED,
    "ENDED": Step.ENDED,
}
_DIALER: Final = "AUTODIAL_"
_DIALER_STEPS: Final = {
    "CLIENT_ANSWER": Step.ANSWERED,
    "OPERATOR_ANSWER": Step.ANSWERED,
    "TALKED": Step.ENDED,
    "ATTEMPTS_OVER": Step.ENDED,
}
_NOT_OF_A_CALL: Final = frozenset({"IVR_ACTION", "AUTODIAL_STATUS_CHANGED", "AUTODIAL_FINISH"})


def tidy(name: str | None) -> str:
    """One spelling for all: `call-end` is `CALL_END`."""
    return (name or "").upper().replace("-", "_").replace(" ", "_")


def step_of(name: str) -> Step | None:
    """What the event with this tidy name reports, `None` when the name does not tell."""
    short = name.removeprefix(_DIALER)
    if name != short and short in _DIALER_STEPS:
        return _DIALER_STEPS[short]
    if step := _STEPS.get(short.removeprefix("CALL_")):
        return step
    return Step.ENDED if state_in(name) else None


def state_in(name: str) -> str | None:
    """The state that the name of a dialer's handler already tells: one handler per outcome (§3.8)."""
    short = name.removeprefix(_DIALER)
    if short == name:
        return None
    if short == "TALKED":
        return "ANSWER"
    return short if states.is_final(short) else None


def is_dialers(name: str) -> bool:
    return "AUTODIAL" in name


def is_message(name: str) -> bool:
    """SMS received, message status changed: another section of the cabinet, codes unknown (§3.8)."""
    return "SMS" in name or "MESSAGE" in name


def is_of_no_call(name: str) -> bool:
    """Understood, but not about one call: keys pressed in an IVR, a dialer that starts or ends."""
    return name in _NOT_OF_A_CALL


def is_finish(name: str) -> bool:
    """The dialer has worked through its list."""
    return name == "AUTODIAL_FINISH"


def is_last_try(*names: str) -> bool:
    """The dialer will not try this number again."""
    return "AUTODIAL_ATTEMPTS_OVER" in names


def is_known(name: str) -> bool:
    """Whether we know what an event with this tidy name is about."""
    return step_of(name) is not None or is_of_no_call(name) or is_message(name)
