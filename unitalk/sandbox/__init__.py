"""A Unitalk PBX emulator: the vendor's API, the life of calls, webhooks, recordings and all their faults."""

from __future__ import annotations

from unitalk.sandbox.book import Facts
from unitalk.sandbox.delivery import Delivery, Mishap
from unitalk.sandbox.drop import ConnectionDropped
from unitalk.sandbox.envelope import RequestLine
from unitalk.sandbox.exchange import Ring
from unitalk.sandbox.faults import Fault
from unitalk.sandbox.model import Dialer, DialerPhone, DialOutcome, Operator, SandboxCall
from unitalk.sandbox.operators import Offer, StatusChange
from unitalk.sandbox.options import Options
from unitalk.sandbox.pbx import SandboxPbx
from unitalk.sandbox.traffic import Traffic

__all__ = [
    "ConnectionDropped",
    "Delivery",
    "DialOutcome",
    "Dialer",
    "DialerPhone",
    "Facts",
    "Fault",
    "Mishap",
    "Offer",
    "Operator",
    "Options",
    "RequestLine",
    "Ring",
    "SandboxCall",
    "SandboxPbx",
    "StatusChange",
    "Traffic",
]
