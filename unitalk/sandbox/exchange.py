"""The exchange: every way a call comes into being, and what may happen to it while it lives.

The base of `SandboxPbx`: it knows clock, book, player and outcomes, but neither HTTP nor the API.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from random import Random
from zoneinfo import ZoneInfo

from bitrix_app.core.ports import Clock, Http
from unitalk.sandbox import lives
from unitalk.sandbox.bodies import Body
from unitalk.sandbox.book import TRANSFER_RING_SECONDS, CallBook, Facts
from unitalk.sandbox.delivery import Deliveries
from unitalk.sandbox.envelope import ApiError
from unitalk.sandbox.model import Dialer, DialerPhone, DialOutcome, Operator, SandboxCall
from unitalk.sandbox.operators import Operators
from unitalk.sandbox.options import Options
from unitalk.sandbox.outcomes import Outcomes
from unitalk.sandbox.player import Player
from unitalk.sandbox.tasks import Tasks
from unitalk.sandbox.walltime import wall

LINES = ("380440000001", "380440000002")
DIALER = 77
LEAST_WAIT = 0.05
"""Seconds that a callee waits at least before he is lost: time to find him an operator."""


@dataclass(frozen=True, slots=True)
class Ring:
    """One `directCall` that made a phone ring: the truth about "was it dialled twice?"."""

    at: float
    sip: str
    number: str
    meta: str | None
    call: SandboxCall | None
    """None when the operator did not pick up and neither events nor history know of it."""
    client_rang: bool = True
    """False when only the operator's phone made a sound: the client was busy, did not exist, …"""


class Exchange:
    """Makes calls. Those made while the emulator runs are told by webhooks, the others only remembered."""

    def __init__(
        self,
        clock: Clock,
        http: Http,
        base_url: str,
        zone: ZoneInfo,
        random: Random,
        operators: list[Operator],
    ) -> None:
        self.clock = clock
        self.random = random
        self.zone = zone
        self.options = Options()
        self.outcomes = Outcomes()
        self.outer_lines = list(LINES)
        self.operators = operators
        self.rings: list[Ring] = []
        self._tasks = Tasks()
        self._book = CallBook(clock, random, zone, base_url)
        self._deliveries = Deliveries(clock, http, self.options, self._tasks)
        self._player = Player(clock, self._book, self.options, self._deliveries, self._tasks)
        self.desk = Operators(clock, self._book, operators, random)

    @property
    def calls(self) -> list[SandboxCall]:
        """Every call, in the order made: the truth. Ask `call.ended(now)` which are over."""
        return self._book.calls

    def busy_lines(self) -> set[str]:
        """Numbers that ring or talk at this moment."""
        return self._book.busy_lines()

    @property
    def statuses(self) -> dict[str, str]:
        """Inner line → WORK or PAUS, as the PBX has it now."""
        return self.desk.statuses

    # -- calls ------------------------------------------------------------------------------------------

    def incoming(
        self,
        number: str,
        *,
        line: str | None = None,
        ring: lives.Ring = (),
        answered_by: str | None = None,
        talk: float = 8.0,
        ring_seconds: float = 4.0,
        group: str | None = None,
        state: str | None = None,
        cause: int | None = None,
        transfers: lives.Transfers = (),
        facts: Facts | None = None,
    ) -> SandboxCall:
        """A client calls in; see `lives.incoming`."""
        return self._lived(
            lives.incoming(
                self._book,
                facts or Facts(),
                number,
                line=line or self.outer_lines[0],
                ring=ring,
                answered_by=answered_by,
                talk=talk,
                ring_seconds=ring_seconds,
                group=group,
                state=state,
                cause=cause,
                transfers=transfers,
            )
        )

    def outgoing(
        self,
        extension: str,
        number: str,
        *,
        line: str | None = None,
        state: str = "ANSWER",
        talk: float = 8.0,
        ring_seconds: float = 4.0,
        cause: int | None = None,
        facts: Facts | None = None,
    ) -> SandboxCall:
        """An operator calls a client from his phone."""
        return self._lived(
            lives.outgoing(
                self._book,
                facts or Facts(),
                extension,
                number,
                line=line or self.outer_lines[0],
                state=state,
                talk=talk,
                ring_seconds=ring_seconds,
                cause=cause,
            )
        )

    def inner(
        self,
        extension: str,
        to: str,
        *,
        state: str = "ANSWER",
        talk: float = 8.0,
        ring_seconds: float = 4.0,
        facts: Facts | None = None,
    ) -> SandboxCall:
        """One operator calls another."""
        call = lives.inner(
            self._book, facts or Facts(), extension, to, state=state, talk=talk, ring_seconds=ring_seconds
        )
        return self._lived(call)

    def autodial(
        self,
        number: str,
        *,
        outcome: str = "ANSWER",
        operator: str = "2001",
        line: str | None = None,
        talk: float = 8.0,
        ring_seconds: float = 4.0,
        wait: float = 1.0,
        dialer: int = DIALER,
        facts: Facts | None = None,
    ) -> SandboxCall:
        """One attempt of a dialer."""
        known = replace(
            facts or Facts(),
            source="AUTODIAL",
            dialer_id=dialer,
            wait_operator=round(wait) if outcome == "ANSWER" else None,
        )
        call = lives.autodial(
            self._book,
            known,
            number,
            line=line or self.outer_lines[0],
            outcome=outcome,
            operator=operator,
            talk=talk,
            ring_seconds=ring_seconds,
            wait=wait,
        )
        return self._lived(call)

    def transfer(
        self, call: SandboxCall, to: str, *, talk: float = 8.0, ring_seconds: float = TRANSFER_RING_SECONDS
    ) -> None:
        """Hand a call that is talking now over to another line."""
        self._book.transfer(call, to, talk, ring_seconds)
        self._player.replay(call)

    def hang_up(self, call: SandboxCall) -> None:
        """End a call that is talking now."""
        self._book.hang_up(call)
        self._player.replay(call)

    def rings_for(self, meta: str) -> list[Ring]:
        """The rings that carried this `meta`: more than one is a client rung twice."""
        return [ring for ring in self.rings if ring.meta == meta]

    def webhooks_for(self, call: SandboxCall) -> list[Body]:
        """The Standard JSON bodies of the whole call, in order, for posting by hand."""
        return self._player.bodies(call)

    def _lived(self, call: SandboxCall) -> SandboxCall:
        self._player.play(call)
        return call

    # -- what the API starts ------------------------------------------------------------------------------

    def _direct_call(self, sip: str, number: str, meta: str | None) -> None:
        outcome = self.outcomes.pick(number)
        if outcome.error is not None:
            raise ApiError(outcome.error)
        answers = outcome.operator == "answers"
        call = None
        if answers or outcome.operator_events or outcome.operator_history:
            call = self.outgoing(
                sip,
                number,
                state=outcome.state if answers else "NOANSWER",
                talk=outcome.talk,
                ring_seconds=outcome.ring_seconds,
                facts=Facts(
                    at=self.clock.now() + outcome.operator_seconds,
                    meta=meta,
                    deliver=answers or outcome.operator_events,
                ),
            )
        rang = answers and outcome.state in lives.CLIENT_RANG
        self.rings.append(Ring(self.clock.now(), sip, number, meta, call, rang))

    def _originate_call(self, number: str, line: str | None, meta: str | int | None) -> None:
        outcome = self.outcomes.pick(number)
        if outcome.error is not None:
            raise ApiError(outcome.error)
        self._lived(
            lives.originate(
                self._book,
                Facts(meta=meta, pressed_digit=outcome.pressed_digit),
                number,
                line=line or self.outer_lines[0],
                state=outcome.state,
                talk=outcome.talk,
                ring_seconds=outcome.ring_seconds,
            )
        )

    def _dial_phone(self, dialer: Dialer, phone: DialerPhone) -> tuple[SandboxCall, DialOutcome]:
        """One attempt. A callee who picks up is nobody's until `_connect` finds an operator."""
        outcome = self.outcomes.pick(phone.number)
        answered = outcome.state == "ANSWER"
        call = self.autodial(
            phone.number,
            outcome="ANSW_NF_OP" if answered else outcome.state,
            operator="",
            talk=outcome.talk,
            ring_seconds=outcome.ring_seconds,
            wait=max(outcome.wait, LEAST_WAIT) if answered else outcome.wait,
            dialer=dialer.id,
            facts=Facts(meta=phone.meta),
        )
        return call, outcome

    def _connect(self, call: SandboxCall, outcome: DialOutcome) -> None:
        operator = self.desk.take(call.number, outcome.operator_line)
        if operator is not None:
            self._book.connect(call, operator, outcome.wait, outcome.talk)
            self._player.replay(call)

    def _one_more_call(self, date_to: str) -> None:
        """A missed call that began within the window somebody is reading, so that his pages shift."""
        latest = min(wall(self.clock.now(), self.zone), date_to)
        behind = 0.0
        while wall(self.clock.now() - behind, self.zone) > latest:
            behind += 60.0
        at = self.clock.now() - behind - 1.0
        self.incoming("380440000099", ring_seconds=1.0, facts=Facts(at=at, deliver=False))
