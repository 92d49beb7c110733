"""What a call's outcome means in the CRM: the portal's rules as data, and which of them apply.

A rule says *when* (outcomes, direction, source) and *what*: another STATUS_CODE, a stage, fields, an
attempt counter. Nothing is written unless an administrator switched a rule on. `core.disposing`
decides what follows for one record.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Final

from bitrix_app.core.call import Call
from bitrix_app.core.outcome import OF_CALLS, Outcome
from bitrix_app.core.record_memory import Past, concerned

GROUPS: Final[Mapping[str, frozenset[Outcome]]] = MappingProxyType(
    {
        "any": OF_CALLS,
        "not_reached": frozenset(
            {
                Outcome.MISSED,
                Outcome.NO_ANSWER,
                Outcome.BUSY,
                Outcome.DECLINED,
                Outcome.CANCELLED,
                Outcome.UNAVAILABLE,
                Outcome.MACHINE,
            }
        ),
        "technical": frozenset(
            {
                Outcome.BAD_DIRECTION,
                Outcome.BLOCKED,
                Outcome.NO_MONEY,
                Outcome.NO_CAPACITY,
                Outcome.FAILED,
                Outcome.UNKNOWN,
            }
        ),
    }
)
"""Outcomes that are often meant together; a rule may name a group in place of outcomes."""

AUTODIAL_ONLY: Final = frozenset({Outcome.MACHINE, Outcome.LOST_BY_US, Outcome.CALLED_ELSEWHERE})
"""Only the autodialer reports these (unitalk.md §3.5)."""


@dataclass(frozen=True, slots=True)
class Rule:
    """See the module. `after`: the stage and the fields wait for so many such calls in a row.

    `outside` says what follows when the record is in none of the stages `from_stages`: `ask` puts it
    on the retry list with the reason, `leave` lets it be. A final stage is never left by a rule.
    """

    id: str
    outcomes: tuple[str, ...]
    on: bool = False
    name: str = ""
    direction: str | None = None
    source: str | None = None
    status_code: str | None = None
    record: str | None = None
    stage: str | None = None
    from_stages: tuple[str, ...] = ()
    after: int = 1
    outside: str = "ask"
    fields: Mapping[str, str] = field(default_factory=dict)
    counter: str | None = None

    @property
    def writes(self) -> bool:
        return bool(self.record and (self.stage or self.fields or self.counter))

    @property
    def category(self) -> int | None:
        """The deals' pipeline that its stages belong to; `None` when it names none."""
        named = self.stage or next(iter(self.from_stages), None)
        return category_of(named) if named and self.record == "DEAL" else None


def category_of(stage: str) -> int:
    """`C9:NEW` → 9; stages of the first pipeline have no prefix (bitrix24.md §7.5)."""
    head, colon, _ = stage.partition(":")
    number = head[1:]
    return int(number) if colon and head[:1] == "C" and number.isascii() and number.isdigit() else 0


def outcomes_of(names: Iterable[str]) -> frozenset[Outcome]:
    """Outcomes and groups as outcomes; a name of a newer version matches nothing."""
    found: set[Outcome] = set()
    for name in names:
        found |= GROUPS.get(name, frozenset())
        if name in _OUTCOMES:
            found.add(Outcome(name))
    return frozenset(found)


_OUTCOMES: Final = frozenset(str(outcome) for outcome in OF_CALLS)


def is_autodial(call: Call) -> bool:
    """Whether the PBX's autodialer made the call: by its source or its dialer, else by an outcome of its
    own."""
    told = "AUTODIAL" in (call.source or "").upper() or call.dialer_id is not None
    return told or call.outcome in AUTODIAL_ONLY


def matches(rule: Rule, past: Past) -> bool:
    """Whether the rule speaks of such a call, switched on or not."""
    if rule.direction and past.direction != rule.direction:
        return False
    if rule.source and past.autodial != (rule.source == "autodial"):
        return False
    return past.outcome in outcomes_of(rule.outcomes)


def pasts_of(call: Call) -> tuple[Past, ...]:
    """The call as each record that it concerns will remember it."""
    return tuple(
        Past(
            record=record,
            call_id=call.id,
            ended_at=call.ended_at if call.ended_at is not None else call.start,
            outcome=call.outcome or Outcome.UNKNOWN,
            direction=str(call.direction) if call.direction else None,
            autodial=is_autodial(call),
        )
        for record in concerned(call.meta, call.crm_type, call.crm_id, call.created)
    )


def records_owed(call: Call, rules: Sequence[Rule]) -> tuple[str, ...]:
    """Records for which some rule has something to say; without one the portal is not even asked."""
    return tuple(past.record for past in pasts_of(call) if applying(rules, past))


def applying(rules: Sequence[Rule], past: Past) -> tuple[Rule, ...]:
    """Rules that are switched on for such a call on such a record, in the administrator's order."""
    kind = past.record.partition(":")[0]
    return tuple(r for r in rules if r.on and r.writes and r.record == kind and matches(r, past))


def status_code(call: Call, rules: Sequence[Rule]) -> str | None:
    """The first rule's STATUS_CODE for `externalcall.finish` (bitrix24.md §6.2), or `None`.

    It is said before the record is known, so the rule's record plays no part.
    """
    seen = Past(
        "",
        call.id,
        0.0,
        call.outcome or Outcome.UNKNOWN,
        str(call.direction) if call.direction else None,
        is_autodial(call),
    )
    return next((r.status_code for r in rules if r.on and r.status_code and matches(r, seen)), None)


def pack(rule: Rule) -> dict[str, Any]:
    """The rule in its public shape, as `/settings` and the store hold it."""
    return {
        "id": rule.id,
        "name": rule.name,
        "on": rule.on,
        "outcomes": list(rule.outcomes),
        "direction": rule.direction,
        "source": rule.source,
        "status_code": rule.status_code,
        "record": rule.record,
        "stage": rule.stage,
        "from": list(rule.from_stages),
        "after": rule.after,
        "outside": rule.outside,
        "fields": dict(rule.fields),
        "counter": rule.counter,
    }


def unpack(data: Mapping[str, Any]) -> Rule:
    """The rule back from `pack`; what a newer version added is ignored."""
    return Rule(
        id=data["id"],
        name=data.get("name", ""),
        on=data.get("on", False),
        outcomes=tuple(data.get("outcomes", ())),
        direction=data.get("direction"),
        source=data.get("source"),
        status_code=data.get("status_code"),
        record=data.get("record"),
        stage=data.get("stage"),
        from_stages=tuple(data.get("from", ())),
        after=data.get("after", 1),
        outside=data.get("outside", "ask"),
        fields=dict(data.get("fields", {})),
        counter=data.get("counter"),
    )
