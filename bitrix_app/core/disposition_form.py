"""Rules of dispositions as an administrator gives them: read from JSON, every fault named by its field.

Pure. `stages` are the portal's own (`crm.status.list`, bitrix24.md §7.5); while they are not known yet,
a stage is taken as it is given, and Bitrix24 has the last word.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any, Final

from bitrix_app.core.dispositions import GROUPS, Rule, category_of, outcomes_of
from bitrix_app.core.outcome import OF_CALLS, Outcome
from bitrix_app.core.record_memory import RECORD_TYPES
from bitrix_app.core.stages import Stages

RULES: Final = 50
AFTER: Final = 20
MACHINES: Final = 3
"""Answering machines in a row below which no record is closed: the PBX can be wrong (unitalk.md §3.5)."""
USER_FIELD: Final = re.compile(r"UF_CRM_[A-Z0-9_]{1,40}")
STATUS_CODES: Final[Mapping[str, str]] = {
    "200": "answered",
    "304": "missed",
    "603": "declined",
    "603-S": "cancelled by the caller",
    "486": "busy",
    "404": "wrong number",
    "480": "temporarily unavailable",
    "484": "direction unavailable",
    "503": "direction unavailable",
    "402": "insufficient funds",
    "423": "blocked",
    "403": "forbidden",
    "OTHER": "unknown",
}
"""STATUS_CODEs of `externalcall.finish` with their meaning (bitrix24.md §6.2)."""
PICKED_UP: Final = frozenset({Outcome.ANSWERED, Outcome.MACHINE, Outcome.LOST_BY_US})
"""Outcomes with somebody or something on the other end: only these may be called answered."""


class RuleFaults(Exception):
    """The rules are refused as a whole; `fields` maps `dispositions[0].stage` to its fault in words."""

    def __init__(self, fields: Mapping[str, str]) -> None:
        super().__init__(", ".join(sorted(fields)))
        self.fields = dict(fields)


def read_rules(data: Any, stages: Stages) -> tuple[Rule, ...]:
    """The whole list of rules. Raises `RuleFaults` with all faults at once."""
    if not isinstance(data, list) or len(data) > RULES:
        raise RuleFaults({"dispositions": f"It must be a list of {RULES} rules at most."})
    faults: dict[str, str] = {}
    rules: list[Rule] = []
    for place, item in enumerate(data):
        where = f"dispositions[{place}]"
        if not isinstance(item, dict):
            faults[where] = "A rule is an object."
            continue
        values, wrong = _read(item, place)
        if not wrong:
            rule = Rule(**values)
            wrong = _judged(rule, stages)
            rules.append(rule)
        faults |= {f"{where}.{name}": said for name, said in wrong.items()}
    ids = [rule.id for rule in rules]
    for id_ in {one for one in ids if ids.count(one) > 1}:
        faults["dispositions"] = f"Two rules have the id {id_!r}; each needs its own."
    if faults:
        raise RuleFaults(faults)
    return tuple(rules)


def _read(item: Mapping[str, Any], place: int) -> tuple[dict[str, Any], dict[str, str]]:
    """Each field alone."""
    values: dict[str, Any] = {"id": f"rule-{place + 1}"}
    faults: dict[str, str] = {}
    if "outcomes" not in item:
        faults["outcomes"] = "Say for which outcomes the rule is."
    for name, value in item.items():
        if name not in _FIELDS:
            faults[str(name)[:60]] = "A rule has no such field."
            continue
        attribute, read = _FIELDS[name]
        try:
            if value is not None:
                values[attribute] = read(value)
        except ValueError as fault:
            faults[name] = str(fault)
    return values, faults


def _judged(rule: Rule, stages: Stages) -> dict[str, str]:
    """Faults of the fields together, and against the portal's own stages."""
    faults: dict[str, str] = {}
    outcomes = outcomes_of(rule.outcomes)
    if rule.status_code and (said := _status_fault(rule.status_code, outcomes)):
        faults["status_code"] = said
    if not rule.writes and not rule.status_code:
        faults["record"] = "The rule does nothing: give a stage, fields or a counter with their record."
    if rule.record is None:
        for name, value in (("stage", rule.stage), ("fields", rule.fields), ("counter", rule.counter)):
            if value:
                faults[name] = "Say of which record: LEAD, DEAL, CONTACT or COMPANY."
                faults.pop("record", None)
    if rule.after > 1 and not (rule.stage or rule.fields):
        faults["after"] = "A number of calls in a row needs a stage or fields that wait for it."
    if rule.counter and rule.counter in rule.fields:
        faults["counter"] = "The same field cannot be set and counted by one rule."
    if rule.record is not None:
        faults |= _stage_faults(rule, stages, outcomes)
    return faults


def _stage_faults(rule: Rule, stages: Stages, outcomes: frozenset[Outcome]) -> dict[str, str]:
    faults: dict[str, str] = {}
    if rule.record not in ("LEAD", "DEAL"):
        if rule.stage or rule.from_stages:
            faults["stage"] = "Only leads and deals have stages."
        return faults
    if not rule.stage:
        if rule.from_stages:
            faults["from"] = "Without a stage to move to there is nothing to move from."
        return faults
    if not rule.from_stages:
        faults["from"] = "Name the stages from which the record may be moved; from others it never is."
        return faults
    known = {
        code: stage
        for code, stage in stages.of(rule.record).items()
        if category_of(code) == category_of(rule.stage)  # a pipeline that nobody told is not known
    }
    one_pipeline = all(category_of(name) == category_of(rule.stage) for name in rule.from_stages)
    missing = [name for name in rule.from_stages if known and name not in known]
    if known and rule.stage not in known:
        faults["stage"] = f"There is no stage {rule.stage} in this portal."
    if missing:
        faults["from"] = f"There is no stage {missing[0]} in this portal."
    final = [name for name in rule.from_stages if name in known and known[name].is_final]
    if final:
        faults["from"] = f"{final[0]} is a final stage; a rule never moves a record out of it."
    if rule.stage in rule.from_stages:
        faults["from"] = "The stage to move to is among those to move from."
    if rule.record == "DEAL" and not one_pipeline:
        faults["from"] = "All stages must be of one pipeline: a rule never moves a deal to another one."
    closes = rule.stage in known and known[rule.stage].is_final
    if closes and Outcome.MACHINE in outcomes and rule.after < MACHINES:
        faults["after"] = (
            f"An answering machine can be recognised wrongly: ask for {MACHINES} in a row at least "
            "before a record is closed."
        )
    return faults


def _status_fault(code: str, outcomes: frozenset[Outcome]) -> str | None:
    said = None
    if code == "200" and not outcomes <= PICKED_UP:
        said = "Only calls that were picked up may be called answered (200)."
    if code != "200" and Outcome.ANSWERED in outcomes:
        said = "An answered call stays answered (200): Bitrix24 would treat it as missed."
    return said


# --- fields alone ----------------------------------------------------------------------------------


def _id(value: Any) -> str:
    if not isinstance(value, str) or not re.fullmatch(r"[a-z0-9_-]{1,40}", value):
        raise ValueError("An id has 1 to 40 small letters, digits, hyphens or underscores.")
    return value


def _name(value: Any) -> str:
    if not isinstance(value, str) or len(value) > 100 or not (value.isprintable() or not value):
        raise ValueError("A name has 100 characters at most.")
    return value.strip()


def _switch(value: Any) -> bool:
    if not isinstance(value, bool):
        raise ValueError("It must be true or false.")  # noqa: TRY004 - a fault of the form, not of ours
    return value


def _outcomes(value: Any) -> tuple[str, ...]:
    known = [*GROUPS, *sorted(str(outcome) for outcome in OF_CALLS)]
    if not isinstance(value, list) or not value or not all(one in known for one in value):
        raise ValueError(f"It must be a list of outcomes or groups: {', '.join(known)}.")
    return tuple(dict.fromkeys(value))


def _one_of(*allowed: str) -> Callable[[Any], str]:
    def read(value: Any) -> str:
        if value not in allowed:
            raise ValueError(f"It must be one of {', '.join(allowed)}.")
        return str(value)

    return read


def _stage(value: Any) -> str:
    if not isinstance(value, str) or not re.fullmatch(r"[A-Za-z0-9_:.-]{1,50}", value):
        raise ValueError("A stage is given by its code, such as IN_PROCESS or C9:PREPARATION.")
    return value


def _stages(value: Any) -> tuple[str, ...]:
    if not isinstance(value, list) or len(value) > 100:
        raise ValueError("It must be a list of 100 stages at most.")
    return tuple(dict.fromkeys(_stage(one) for one in value))


def _after(value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= AFTER:
        raise ValueError(f"It must be a whole number from 1 to {AFTER}.")
    return value


def _user_field(value: Any) -> str:
    if not isinstance(value, str) or not USER_FIELD.fullmatch(value):
        raise ValueError(
            "A field is given by its code in the CRM, such as UF_CRM_1720019876534; "
            "Bitrix24's own fields are left to people."
        )
    return value


def _fields(value: Any) -> dict[str, str]:
    if not isinstance(value, dict) or len(value) > 10:
        raise ValueError("It must be an object with 10 fields at most.")
    fields: dict[str, str] = {}
    for name, text in value.items():
        if isinstance(text, bool) or not isinstance(text, (str, int)) or len(str(text)) > 255:
            raise ValueError(f"The value of {str(name)[:60]} must be a text of 255 characters at most.")
        fields[_user_field(name)] = str(text)
    return fields


_FIELDS: Final[Mapping[str, tuple[str, Callable[[Any], Any]]]] = {
    "id": ("id", _id),
    "name": ("name", _name),
    "on": ("on", _switch),
    "outcomes": ("outcomes", _outcomes),
    "direction": ("direction", _one_of("in", "out")),
    "source": ("source", _one_of("regular", "autodial")),
    "status_code": ("status_code", _one_of(*STATUS_CODES)),
    "record": ("record", _one_of(*RECORD_TYPES)),
    "stage": ("stage", _stage),
    "from": ("from_stages", _stages),
    "after": ("after", _after),
    "outside": ("outside", _one_of("ask", "leave")),
    "fields": ("fields", _fields),
    "counter": ("counter", _user_field),
}
"""Name in JSON → (name in `Rule`, reader)."""
