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
        "find_responsible": mark("Responsible person looked up"),
        "sweep_card": mark("Left-over card closed"),
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
        "set_status": mark("Agent's status"),
        "look_at_agents": mark("Look at the agents"),
        "accept_directory": mark("Changed list accepted"),
        "read_dialers": mark("Autodialers read"),
        "gather_batches": mark("Phones put into batches"),
        "send_batch": mark("Phones given to the autodialer"),
        "switch_dialer": mark("Autodialer started or stopped"),
        "check_dialer": mark("Autodialer looked at"),
        "read_records": mark("Phone numbers of records read"),
        "dial": mark("Unitalk asked to start the call"),
        "trace_dial": mark("History of the PBX searched"),
        "assign_callback": mark("Person found who calls back"),
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

STARTS: Final[Mapping[str, str]] = MappingProxyType(
    {
        "asked": mark("Unitalk is being asked to start the call."),
        "accepted": mark("Unitalk makes the call: the employee's phone rings first, then the client's."),
        "doubted": mark("Unitalk's answer was lost: it is not known yet whether the phone rings."),
        "rang": mark("The phone rang."),
        "failed": mark("The call was not started."),
        "untraced": mark("Nothing shows that the phone rang."),
        "joined": mark("A call to this client goes on already, so no second one was started."),
    }
)
"""How far the start of a call came (core/dial.py `DialState`)."""
START_SIGNS: Final[Mapping[str, str]] = {
    "asked": "…", "accepted": "▶", "doubted": "?", "rang": "✓", "failed": "!", "untraced": "!", "joined": "=",
}  # fmt: skip
START_BADGES: Final[Mapping[str, str]] = {
    "asked": "waiting", "accepted": "running", "doubted": "waiting", "rang": "done", "failed": "attention",
    "untraced": "attention", "joined": "cancelled",
}  # fmt: skip

ORIGINS: Final[Mapping[str, str]] = MappingProxyType(
    {
        "click": mark("a click in Bitrix24"),
        "page": mark("a button of this application"),
        "form": mark("a callback form"),
        "list": mark("by hand from the list"),
        "rule": mark("by itself, as planned"),
    }
)
"""Who asked for a call (core/dial.py `Origin`)."""

ENTRY_KINDS: Final[Mapping[str, str]] = MappingProxyType(
    {
        "call_start": mark("Call not started"),
        "missed_call": mark("Client to be called back"),
        "campaign": mark("Phones for the autodialer"),
        "agent_status": mark("Agent's status"),
    }
)
"""Kinds of entries of the retry list (core/intent.py `Kind`, web/retry_troubles.py)."""

ACTS: Final[Mapping[str, str]] = MappingProxyType(
    {
        "listed": mark("Put on the list"),
        "tried": mark("A call was started"),
        "failed": mark("It did not come about"),
        "missed_again": mark("The client called in vain once more"),
        "given": mark("Given to {name} by rule"),
        "moved": mark("Given to {name}"),
        "edited": mark("Number changed"),
        "rescheduled": mark("Put off to another time"),
        "overdue": mark("Nobody called in time"),
        "closed": mark("Settled by a later call"),
        "done": mark("Marked as done"),
        "cancelled": mark("Cancelled"),
        "undone": mark("Opened again"),
    }
)
"""What was done with an entry (core/intent.py `Act`)."""

STATE_SIGNS: Final[Mapping[str, str]] = {
    "blocked": "⏸", "waiting": "…", "running": "▶", "retrying": "↻",
    "attention": "!", "done": "✓", "cancelled": "×",
}  # fmt: skip
DIRECTION_SIGNS: Final[Mapping[str, str]] = {"in": "↙", "out": "↗", "inner": "↔"}

PHONE_STATES: Final[Mapping[str, str]] = MappingProxyType(
    {
        "waiting": mark("waits to be sent"),
        "sending": mark("being sent"),
        "sent": mark("at the autodialer"),
        "finished": mark("finished"),
        "attention": mark("needs a person"),
        "refused": mark("not taken"),
    }
)
"""States of a campaign's phone (core/campaigns.py)."""

PHONE_REASONS: Final[Mapping[str, str]] = MappingProxyType(
    {
        "duplicate": mark("This number is already open in this campaign."),
        "do_not_call": mark("This number is on the do-not-call list."),
        "not_a_number": mark("This is not a whole phone number."),
        "no_number": mark("The record has no phone number."),
        "not_found": mark("The record is not in the CRM, or nobody may read it."),
        "no_agent": mark("No agent was available for a day, so it was not sent."),
        "batch_in_doubt": mark("It is not known whether its batch reached the PBX."),
        "batch_refused": mark("The PBX did not take its batch."),
        "no_outcome": mark("The autodialer finished and told nothing of this number."),
    }
)
"""Why a phone was refused or needs a person (core/campaigns.py `Reason`)."""

BATCH_STATES: Final[Mapping[str, str]] = MappingProxyType(
    {
        "waiting": mark("waits to be sent"),
        "sending": mark("being sent"),
        "sent": mark("at the autodialer"),
        "doubt": mark("in doubt"),
        "refused": mark("refused by the PBX"),
        "dropped": mark("nothing left to send"),
    }
)
"""States of a batch of phones (core/campaigns.py)."""

DIALER_STATES: Final[Mapping[str, str]] = MappingProxyType(
    {
        "running": mark("running"),
        "stopped": mark("stopped"),
        "finished": mark("finished"),
        "unknown": mark("not known"),
    }
)
"""What a dialer's own word for its status means (core/dialers.py)."""
