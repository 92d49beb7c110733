"""Believable traffic for the demo: a small call centre's day, minute by minute.

It opens with an overture, so that within thirty seconds a viewer has seen an answered call with its
recording, a missed one, an outgoing one, an answering machine and a transfer; then a weighted mix goes on.
All numbers are invented.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from unitalk.sandbox.book import Facts
from unitalk.sandbox.model import SandboxCall
from unitalk.sandbox.pbx import SandboxPbx

GROUPS = ("Sales desk", "Support")
AGENTS = ("2001", "2002", "2003", "2004", "2005")
CLIENTS: tuple[tuple[str, str], ...] = tuple(
    (f"{prefix}{n:02d}", name)
    for prefix, names in (
        ("3804400000", ("Olena", "Taras", "Iryna", "Bohdan", "Sofia", "Marko")),
        ("3806700000", ("Daryna", "Ostap", "Yulia", "Andrii", "Nadia", "Petro")),
    )
    for n, name in enumerate(names, 11)
)


class Traffic:
    """Makes calls on a `SandboxPbx`. Randomness is the PBX's own, so a seed repeats the whole day."""

    def __init__(
        self,
        pbx: SandboxPbx,
        agents: Sequence[str] = AGENTS,
        clients: Sequence[tuple[str, str]] = CLIENTS,
        lines: Sequence[str] = (),
    ) -> None:
        self._pbx = pbx
        self._random = pbx.random
        self._agents = list(agents)
        self._clients = list(clients)
        self._lines = list(lines) or list(pbx.outer_lines)
        self._lead = 500
        self.names = dict(clients)
        """Who stands behind a number, for a demo that fills the CRM."""
        self.calls: list[SandboxCall] = []

    async def run(self, rate_per_minute: float = 12.0, *, overture: bool = True) -> None:
        """Make calls until cancelled, on average so many a minute."""
        if rate_per_minute <= 0:
            raise ValueError("rate_per_minute must be above zero")
        if overture:
            for seconds, act in self._overture():
                await self._pbx.clock.sleep(seconds)
                self.calls.append(act())
        acts, weights = zip(*self._mix(), strict=True)
        while True:
            await self._pbx.clock.sleep(self._random.expovariate(rate_per_minute / 60))
            self.calls.append(self._random.choices(acts, weights)[0]())

    def _overture(self) -> list[tuple[float, Callable[[], SandboxCall]]]:
        """Pauses and acts; over before the thirtieth second. Timed so that five free agents suffice."""
        return [
            (0.5, lambda: self.answered(talk=5, phones=2)),
            (1.5, lambda: self.machine(ring=3)),
            (2.0, lambda: self.missed(ring=4)),
            (2.0, lambda: self.dialled(state="ANSWER", talk=5, ring=3)),
            (3.5, lambda: self.transferred(talk=4)),
            (2.0, lambda: self.reached(talk=5)),
            (2.0, lambda: self.dialled(state="BUSY", ring=3)),
        ]

    def _mix(self) -> list[tuple[Callable[[], SandboxCall], int]]:
        return [
            (self.answered, 30),
            (self.missed, 10),
            (self.abandoned, 8),
            (self.transferred, 6),
            (lambda: self.dialled(state="ANSWER"), 16),
            (lambda: self.dialled(state="BUSY"), 5),
            (lambda: self.dialled(state="NOANSWER"), 6),
            (self.reached, 7),
            (self.machine, 6),
            (lambda: self.dialler_failed("NOANSWER"), 4),
            (lambda: self.dialler_failed("ANSW_NF_OP"), 2),
        ]

    # -- acts: each makes one call and returns it ---------------------------------------------------------

    def answered(self, talk: float | None = None, phones: int = 3) -> SandboxCall:
        """A client calls a group, several phones ring, one operator picks up."""
        ring = self._free(phones)
        if not ring:
            return self.abandoned()
        return self._pbx.incoming(
            self._client(),
            line=self._line(),
            ring=ring,
            answered_by=self._random.choice(ring),
            talk=self._talk(talk),
            ring_seconds=self._ring(),
            group=self._random.choice(GROUPS),
        )

    def transferred(self, talk: float | None = None) -> SandboxCall:
        """The first operator hands the client over to a second."""
        free = self._free(3)
        if len(free) < 2:
            return self.abandoned()
        first, second, *_ = free
        return self._pbx.incoming(
            self._client(),
            line=self._line(),
            ring=[first],
            answered_by=first,
            talk=self._talk(talk),
            ring_seconds=2.0,
            group=self._random.choice(GROUPS),
            transfers=[(second, self._talk(talk))],
        )

    def missed(self, ring: float | None = None) -> SandboxCall:
        """Phones ring and nobody comes."""
        lines = self._free(2)
        seconds = ring or self._random.uniform(6, 12)
        return self._pbx.incoming(
            self._client(), line=self._line(), ring=lines, ring_seconds=seconds, group=GROUPS[0]
        )

    def abandoned(self) -> SandboxCall:
        """The client waits in a queue, phones ring in two waves (if any is free), he gives up."""
        free = self._free(4)
        half = (len(free) + 1) // 2
        return self._pbx.incoming(
            self._client(),
            line=self._line(),
            ring=[wave for wave in (free[:half], free[half:]) if wave],
            ring_seconds=self._random.uniform(3, 6),
            group=self._random.choice(GROUPS),
            cause=16,
        )

    def dialled(self, state: str, talk: float | None = None, ring: float | None = None) -> SandboxCall:
        """An operator calls a client from his phone."""
        agent = next(iter(self._free(1)), None)
        if agent is None:
            return self.abandoned()
        return self._pbx.outgoing(
            agent,
            self._client(),
            line=self._line(),
            state=state,
            talk=self._talk(talk),
            ring_seconds=ring or self._ring(),
        )

    def reached(self, talk: float | None = None) -> SandboxCall:
        """The dialer reaches a person and an operator takes him."""
        operator = next(iter(self._free(1)), None)
        if operator is None:
            return self.dialler_failed("ANSW_NF_OP")
        return self._pbx.autodial(
            self._client(),
            outcome="ANSWER",
            operator=operator,
            line=self._line(),
            talk=self._talk(talk),
            ring_seconds=3.0,
            wait=self._random.choice((1.0, 2.0, 3.0)),
            facts=self._lead_facts(),
        )

    def machine(self, ring: float | None = None) -> SandboxCall:
        """The dialer meets a voice mail."""
        return self.dialler_failed("ANSWERING_MACHINE", ring)

    def dialler_failed(self, outcome: str, ring: float | None = None) -> SandboxCall:
        """The dialer's attempt ends without a talk."""
        return self._pbx.autodial(
            self._client(),
            outcome=outcome,
            line=self._line(),
            ring_seconds=ring or self._ring(),
            facts=self._lead_facts(),
        )

    # -- choices ------------------------------------------------------------------------------------------

    def _free(self, most: int) -> list[str]:
        """Lines that work and neither ring nor talk, at most so many, in random order."""
        busy = self._pbx.busy_lines()
        free = [
            agent for agent in self._agents if agent not in busy and self._pbx.statuses.get(agent) == "WORK"
        ]
        return self._random.sample(free, min(most, len(free)))

    def _client(self) -> str:
        """A client who is not on the line already."""
        busy = self._pbx.busy_lines()
        free = [number for number, _ in self._clients if number not in busy]
        return self._random.choice(free or [number for number, _ in self._clients])

    def _line(self) -> str:
        return self._random.choice(self._lines)

    def _talk(self, given: float | None) -> float:
        return float(self._random.randint(4, 12)) if given is None else given

    def _ring(self) -> float:
        return float(self._random.randint(2, 5))

    def _lead_facts(self) -> Facts:
        self._lead += 1
        return Facts(meta=f"lead:{self._lead}")
