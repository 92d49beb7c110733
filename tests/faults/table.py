"""The table of faults: what goes wrong × at which step, for both emulators."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from bitrix_app.sandbox.faults import Fault
from tests.faults.house import House
from unitalk.sandbox.faults import Fault as PbxFault

RECORDING: Final = "recording"

STEPS: Final = (
    "telephony.externalcall.register",
    "telephony.externalcall.show",
    "telephony.externalcall.hide",
    "telephony.externalcall.finish",
    "telephony.externalcall.attachrecord",
    "upload",
    "crm.activity.layout.blocks.set",
    "disk.storage.getlist",
    "disk.storage.addfolder",
    "disk.folder.getchildren",
    "disk.folder.addsubfolder",
    "disk.folder.uploadfile",
    "disk.file.copyto",
    RECORDING,
)
REGISTER: Final = "telephony.externalcall.register"
FINISH: Final = "telephony.externalcall.finish"
ATTACH: Final = "telephony.externalcall.attachrecord"
LAYOUT: Final = "crm.activity.layout.blocks.set"
LIVE_ONLY: Final = ("telephony.externalcall.show", "telephony.externalcall.hide")


@dataclass(frozen=True)
class Bad:
    """One way to fail; `pbx` is the same at the PBX's recordings."""

    name: str
    portal: dict[str, Any]
    pbx: dict[str, Any]


def _code(status: int, code: str) -> dict[str, Any]:
    return {"kind": "status", "status": status, "body": {"error": code, "error_description": code}}


BAD: Final = (
    Bad(
        "500-json", _code(500, "INTERNAL_SERVER_ERROR"), {"kind": "status", "status": 500, "content": "json"}
    ),
    Bad(
        "500-json-done",
        _code(500, "INTERNAL_SERVER_ERROR") | {"effect": True},
        {"kind": "status", "status": 500, "content": "json", "effect": True},
    ),
    Bad("502-html", {"kind": "html"}, {"kind": "status", "status": 502}),
    Bad("502-html-done", {"kind": "html", "effect": True}, {"kind": "html"}),
    Bad("503-limit", {"kind": "throttled"}, {"kind": "status", "status": 503}),
    Bad("429-operating", _code(429, "OPERATION_TIME_LIMIT"), {"kind": "status", "status": 429}),
    Bad("lost-done", {"kind": "lost"}, {"kind": "lost"}),
    Bad("lost-before", {"kind": "refused_before"}, {"kind": "refused_before"}),
    Bad("late-20", {"kind": "late", "seconds": 20.0}, {"kind": "late", "seconds": 20.0}),
    Bad("late-90", {"kind": "late", "seconds": 90.0}, {"kind": "late", "seconds": 90.0}),
    Bad("slow-30", {"kind": "slow", "seconds": 30.0}, {"kind": "slow", "seconds": 30.0}),
    Bad("slow-70", {"kind": "slow", "seconds": 70.0}, {"kind": "slow", "seconds": 70.0}),
    Bad("expired-token", {"kind": "expired_token"}, {"kind": "unauthorized"}),
    Bad("truncated", {"kind": "truncated"}, {"kind": "truncated"}),
    Bad("empty-200", {"kind": "empty"}, {"kind": "empty"}),
    Bad("not-sent", {}, {}),
)


def arm(up: House, bad: Bad, step: str, times: int = 1) -> Callable[[], int]:
    """Let the next `times` requests of that step fail; what comes back tells how often it struck."""
    if bad.name == "not-sent":
        left = [times]

        def refuse(name: str) -> bool:
            if name != step or not left[0]:
                return False
            left[0] -= 1
            return True

        up.http.refuse = refuse
        return lambda: times - left[0]
    if step == RECORDING:
        at_pbx = up.pbx.faults.add(PbxFault(RECORDING, times=times, **bad.pbx))
        return lambda: at_pbx.hits
    if step == "upload" and bad.portal["kind"] == "late":
        # the emulator does a late upload at once; so the wire is what is slow
        up.http.later = [(step, float(bad.portal["seconds"]))] * times
        return lambda: times - len(up.http.later)
    fault = up.portal.faults.add(Fault(step, times=times, **bad.portal))
    return lambda: fault.hits


def bad(name: str) -> Bad:
    return next(one for one in BAD if one.name == name)
