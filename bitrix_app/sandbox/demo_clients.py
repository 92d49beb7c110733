"""Clients of the demo whose names say what happens when somebody calls them."""

from __future__ import annotations

from typing import Final

from bitrix_app.sandbox.portal import SandboxPortal
from unitalk.sandbox import DialOutcome, SandboxPbx

CLIENTS: Final[tuple[tuple[str, str, DialOutcome], ...]] = (
    ("Call me: I answer", "380670000041", DialOutcome(talk=12.0)),
    ("Call me: my line is busy", "380670000042", DialOutcome(state="BUSY")),
    ("Call me: I do not hear it", "380670000043", DialOutcome(state="NOANSWER", ring_seconds=12.0)),
    ("Call me: Unitalk refuses", "380670000044", DialOutcome(error="Direction is not allowed")),
)
"""Title of the lead, number, and what the PBX makes of each call to it."""


def add_demo_clients(portal: SandboxPortal, pbx: SandboxPbx, responsible: int) -> None:
    """A lead for each, and the PBX's plan for its number, for ever."""
    for title, number, outcome in CLIENTS:
        phone = {"typeId": "PHONE", "valueType": "WORK", "value": f"+{number}"}
        fields = {"title": title, "assignedById": responsible, "sourceId": "WEB", "fm": [phone]}
        portal.add_item("LEAD", fields)
        pbx.outcomes.plan(outcome, number, times=None)
