"""What our codes are called in words that people see; translated where they are shown.

Each table is complete for its codes, so that a page never shows a code of ours.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from bitrix_app.words import mark

STEPS: Final[Mapping[str, str]] = MappingProxyType(
    {
        "register": mark("Call opened in Bitrix24"),
        "show": mark("Card shown"),
        "hide": mark("Card closed"),
        "finish": mark("Call written to the CRM"),
        "fetch_recording": mark("Recording fetched"),
        "attach_recording": mark("Recording attached"),
        "layout": mark("Summary put on the record"),
        "update_record": mark("Outcome written to the CRM record"),
        "move_call": mark("Given to another person"),
        "drive_copy": mark("Recording copied to Drive"),
        "drive_document": mark("Document filed on Drive"),
        "notify": mark("Notice sent"),
        "ensure_bindings": mark("Events and pages connected"),
        "refresh_directory": mark("List of employees read"),
        "refresh_tokens": mark("Access renewed"),
        "accept_directory": mark("Changed list accepted"),
        "reconcile_history": mark("The PBX's history compared with our calls"),
        "compare_calls": mark("Calls compared with Bitrix24's statistics"),
        "file_ledger": mark("Ledger filed on Drive"),
    }
)
"""Kinds of commands (core/commands.py)."""

STATES: Final[Mapping[str, str]] = MappingProxyType(
    {
        "blocked": mark("waits for an earlier step"),
        "waiting": mark("waiting"),
        "running": mark("running"),
        "retrying": mark("will be tried again"),
        "attention": mark("needs a person"),
        "done": mark("done"),
        "cancelled": mark("cancelled"),
    }
)
"""States of a step (core/jobs.py)."""

RESULTS: Final[Mapping[str, str]] = MappingProxyType(
    {
        "done": mark("done"),
        "retry": mark("did not work"),
        "later": mark("put off"),
        "doubt": mark("the answer was lost"),
        "attention": mark("needs a person"),
        "expired": mark("no longer needed"),
    }
)
"""Results of one try (core/jobs.py `Attempt`)."""

OUTCOMES: Final[Mapping[str, str]] = MappingProxyType(
    {
        "answered": mark("answered"),
        "missed": mark("missed"),
        "no_answer": mark("no answer"),
        "busy": mark("busy"),
        "declined": mark("declined"),
        "cancelled": mark("the caller hung up"),
        "unavailable": mark("not available"),
        "invalid_number": mark("no such number"),
        "bad_direction": mark("direction not allowed"),
        "blocked": mark("blocked by the PBX"),
        "no_money": mark("no money on the PBX account"),
        "no_capacity": mark("no free line"),
        "failed": mark("technical failure"),
        "machine": mark("answering machine"),
        "lost_by_us": mark("no agent was free"),
        "called_elsewhere": mark("reached by another call"),
        "unknown": mark("outcome not known"),
        "not_started": mark("not started"),
    }
)
"""How a call ended (core/outcome.py)."""

PHASES: Final[Mapping[str, str]] = MappingProxyType(
    {
        "announced": mark("announced"),
        "ringing": mark("ringing"),
        "talking": mark("talking"),
        "ended": mark("ended"),
        "recorded": mark("recorded"),
        "closed": mark("closed"),
    }
)
"""Where a call stands (core/lifecycle.py)."""

RECORDINGS: Final[Mapping[str, str]] = MappingProxyType(
    {
        "none": mark("none"),
        "expected": mark("on its way"),
        "fetched": mark("on its way"),
        "attached": mark("attached"),
        "copied": mark("attached and on Drive"),
        "missing": mark("could not be brought"),
    }
)
"""Where a recording stands (core/call.py)."""

DIRECTIONS: Final[Mapping[str, str]] = MappingProxyType(
    {"in": mark("Incoming"), "out": mark("Outgoing"), "inner": mark("Internal")}
)

RECORDS: Final[Mapping[str, str]] = MappingProxyType(
    {
        "LEAD": mark("Lead"),
        "DEAL": mark("Deal"),
        "CONTACT": mark("Contact"),
        "COMPANY": mark("Company"),
        "QUOTE": mark("Quote"),
        "ORDER": mark("Order"),
        "SMART_INVOICE": mark("Invoice"),
    }
)
"""CRM records (bitrix24.md §7)."""

STANDINGS: Final[Mapping[str, str]] = MappingProxyType(
    {
        "written": mark("written"),
        "skipped": mark("left out by a rule"),
        "waiting": mark("waiting"),
        "needs_person": mark("needs a person"),
        "unexplained": mark("difference"),
    }
)
"""Where a call stands in the ledger (core/ledger.py)."""

HELPERS: Final[Mapping[str, str]] = MappingProxyType(
    {
        "agent": mark("the employee"),
        "manager": mark("the manager"),
        "admin": mark("an administrator of the portal"),
        "bitrix24": mark("the support of Bitrix24"),
        "unitalk": mark("the support of Unitalk"),
        "developer": mark("the developers of this application"),
    }
)
"""Who can mend something (core/errors.py `Who`)."""

STATE_SIGNS: Final[Mapping[str, str]] = {
    "blocked": "⏸", "waiting": "…", "running": "▶", "retrying": "↻",
    "attention": "!", "done": "✓", "cancelled": "×",
}  # fmt: skip
DIRECTION_SIGNS: Final[Mapping[str, str]] = {"in": "↙", "out": "↗", "inner": "↔"}
