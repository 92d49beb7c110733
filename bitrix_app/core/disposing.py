"""What one finished call does to one CRM record, given what stands there now and what we remember.

Pure. The order of calls is that of their ends, never that of their jobs: whatever a newer call wrote
stays, and what adds up (counters) is added in any order. A write is one request and so one effect:
after a lost answer the record itself tells whether it happened (design.md §5, disposition and doubt).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from bitrix_app.core.dispositions import Rule, applying, matches
from bitrix_app.core.record_memory import STAGE, Effect, Past, Stand

MOST: Final = 10**9
"""A counter beyond this is no counter of ours."""


@dataclass(frozen=True, slots=True)
class Record:
    """A CRM record as it was just read. `semantics`: P in process, S won, F lost, empty when unsaid."""

    type: str
    stage: str = ""
    semantics: str = ""
    category: int = 0
    values: Mapping[str, Any] | None = None

    @property
    def is_final(self) -> bool:
        return self.semantics in ("S", "F")

    def now(self, name: str) -> Any:
        """What stands in a field; names are compared without case and signs, for portals that do
        not know original names answer `ufCrm_1` for `UF_CRM_1` (bitrix24.md §7.2)."""
        if name == STAGE:
            return self.stage
        wanted = plain_name(name)
        return next((v for k, v in (self.values or {}).items() if plain_name(k) == wanted), None)


@dataclass(frozen=True, slots=True)
class Write:
    """Write `fields`; `past` is what has to be remembered before the request leaves."""

    past: Past
    fields: Mapping[str, str]
    note: str = ""


@dataclass(frozen=True, slots=True)
class Superseded:
    """A newer call had written all of it already."""

    past: Past
    note: str


@dataclass(frozen=True, slots=True)
class NeedsPerson:
    """Nothing is written until somebody looks. `wait`: an older call's write is still to come and
    may change the picture, so it is looked at again before anybody is asked."""

    past: Past
    code: str
    reason: str
    hint: str
    wait: bool = False


@dataclass(frozen=True, slots=True)
class Nothing:
    """Nothing is to be written (any more)."""

    past: Past
    note: str = ""


Decision = Write | Superseded | NeedsPerson | Nothing


def decide(me: Past, record: Record, rules: Sequence[Rule], history: Sequence[Past]) -> Decision:
    """What follows for `record` from the call `me`.

    `history` are all calls of this record that we remember, `me` among them or not. Asked again after
    a lost answer or a crash it first finds out whether the write that was planned has happened.
    """
    mine = next((past for past in history if past.call_id == me.call_id), me)
    others = [past for past in history if past.call_id != me.call_id]
    if mine.stand in (Stand.WRITTEN, Stand.SUPERSEDED):
        return Nothing(mine)
    if mine.stand is Stand.PLANNED:
        happened, note = _happened(mine, record, others)
        if happened:
            return Nothing(replace(mine, stand=Stand.WRITTEN), note)
    mine = replace(me, stand=Stand.KNOWN, effects=(), turn=0, reached=())
    due = [rule for rule in applying(rules, mine) if _in_pipeline(rule, record)]
    return _Deciding(mine, record, due, others, 1 + max((past.turn for past in history), default=0)).result()


def same(one: Any, other: Any) -> bool:
    """Whether two values of a field are the same: `3`, `"3"` and `"3.0"` are, and so are all empties."""
    return _plain(one) == _plain(other)


def plain_name(name: str) -> str:
    return "".join(c for c in name.lower() if c.isalnum())


def _plain(value: Any) -> str:
    """A value as text; whole numbers without their notation, every empty alike."""
    if value is None or value == [] or value == {}:
        return ""
    if isinstance(value, bool):
        return str(int(value))
    text = str(value).strip()
    head, dot, tail = text.partition(".")
    whole = head.isascii() and head.isdigit() and (head == "0" or head[0] != "0") and not tail.strip("0")
    return head if whole and (tail or not dot) else text


def _count_of(value: Any) -> int | None:
    """A counter's value, nought when empty; `None` for what is no counter of ours."""
    text = _plain(value) or "0"
    number = int(text) if text.isascii() and text.isdigit() and len(text) < 12 else MOST
    return number if number < MOST else None


def _happened(mine: Past, record: Record, others: Sequence[Past]) -> tuple[bool, str]:
    """Whether the planned write took effect, with a note where only a guess is possible.

    Each field speaks by the first value that was seen after the plan: what a later plan of another
    call read there, else what stands there now.
    """
    later = sorted((past for past in others if past.turn > mine.turn), key=lambda past: past.turn)
    untouched = False
    for effect in mine.effects:
        readings = (e.before for past in later for e in past.effects if e.field == effect.field)
        seen = next(readings, record.now(effect.field))
        if same(seen, effect.value):
            return True, ""
        untouched = untouched or same(seen, effect.before)
    if untouched or not mine.effects:
        return False, ""
    note = (
        "The answer of Bitrix24 was lost and somebody changed the record meanwhile; "
        "it was taken as written and left as it is."
    )
    return True, note


def _in_pipeline(rule: Rule, record: Record) -> bool:
    """A rule of another pipeline of deals has nothing to say about this one."""
    return rule.category is None or rule.category == record.category


class _Deciding:
    """One decision in the making."""

    def __init__(
        self, mine: Past, record: Record, due: Sequence[Rule], others: Sequence[Past], turn: int
    ) -> None:
        self.mine = mine
        self.record = record
        self.due = due
        self.others = others
        self.turn = turn
        self.effects: dict[str, Effect] = {}
        self.by: set[str] = set()
        """Fields that a newer call had already written."""
        self.closed = False
        """It is final and was left alone, though a field or a counter was to be written."""
        self.stays = False
        """It stands in a stage that no rule moves it from."""
        self.newer = [past for past in others if past.order > mine.order]

    def result(self) -> Decision:
        ripe = [rule for rule in self.due if self._is_ripe(rule)]
        reached = tuple(rule.id for rule in ripe if rule.after > 1)
        self.mine = replace(self.mine, reached=reached)
        asked = self._stage([rule for rule in ripe if rule.stage])
        if asked is not None:
            return asked
        if self.record.is_final:
            self.closed = any(rule.fields or rule.counter for rule in self.due)
            return self._settled()
        for rule in ripe:
            self._fields(rule)
        for counter in dict.fromkeys(rule.counter for rule in self.due if rule.counter):
            asked = self._count(counter)
            if asked is not None:
                return asked
        return self._settled()

    @property
    def _name(self) -> str:
        return self.mine.record

    def _settled(self) -> Decision:
        note = self._note()
        if self.effects:
            effects = tuple(self.effects.values())
            planned = replace(self.mine, stand=Stand.PLANNED, effects=effects, turn=self.turn)
            return Write(planned, {effect.field: effect.value for effect in effects}, note)
        if self.by:
            return Superseded(replace(self.mine, stand=Stand.SUPERSEDED), note)
        return Nothing(replace(self.mine, stand=Stand.NOTHING), note)

    def _note(self) -> str:
        """What a person may want to know, each sentence whole, so that it can be translated."""
        name, here, fields = self._name, self.record.stage, ", ".join(sorted(self.by))
        note = newer = ""
        if self.by:
            note = newer = f"A newer call had already written {fields} of {name}: superseded."
        if self.closed:
            note = f"{name} is closed ({here}) and was left alone."
            if newer:
                note = f"{name} is closed ({here}) and was left alone. {newer}"
        elif self.stays:
            note = f"{name} stays in stage {here}."
            if newer:
                note = f"{name} stays in stage {here}. {newer}"
        return note

    # --- thresholds ------------------------------------------------------------------------------

    def _is_ripe(self, rule: Rule) -> bool:
        """Whether so many such calls stand in a row, and none of the row reached it already.

        The whole row counts, also calls that ended after this one: then this one came late.
        """
        if rule.after <= 1:
            return True
        row = sorted([*self.others, self.mine], key=lambda past: past.order)
        here = row.index(self.mine)
        first = here
        while first > 0 and matches(rule, row[first - 1]):
            first -= 1
        last = here
        while last + 1 < len(row) and matches(rule, row[last + 1]):
            last += 1
        calls = row[first : last + 1]
        return len(calls) >= rule.after and not any(rule.id in past.reached for past in calls)

    # --- stages ----------------------------------------------------------------------------------

    def _stage(self, rules: Sequence[Rule]) -> NeedsPerson | None:
        """Move the record, or say why a person has to look."""
        here = self.record.stage
        if not rules:
            return None
        if self._was_written(STAGE):
            self.by.add(STAGE)
            return None
        if any(rule.stage == here for rule in rules):
            return None  # it is there already
        if self.record.is_final:
            said = "won" if self.record.semantics == "S" else "lost"
            return self._ask(
                "STAGE_FINAL",
                f"{self._name} is already {said} (stage {here}), so it was not moved to {rules[0].stage}.",
                "Look at the record; retry after reopening it, or mark this as done.",
            )
        for rule in rules:
            if here in rule.from_stages and rule.stage:
                self.effects[STAGE] = Effect(STAGE, here, rule.stage)
                return None
        asking = next((rule for rule in rules if rule.outside == "ask"), None)
        if asking is None:
            self.stays = True
            return None
        return self._ask(
            "STAGE_OUTSIDE",
            f"{self._name} is in stage {here}, and the rule {asking.name or asking.id!r} moves records to "
            f"{asking.stage} only from {', '.join(asking.from_stages)}.",
            "Move the record by hand and mark this as done, or change the rule in Settings and retry.",
        )

    def _ask(self, code: str, reason: str, hint: str) -> NeedsPerson:
        wait = any(past.owed and past.order < self.mine.order for past in self.others)
        return NeedsPerson(self.mine, code, reason, hint, wait)

    def _was_written(self, name: str, *, counted: bool = True) -> bool:
        """Whether a newer call wrote this field or is about to; without `counted`, only by setting it."""
        return any(
            effect.field == name and (counted or not effect.counted)
            for past in self.newer
            for effect in past.effects
        )

    # --- fields ----------------------------------------------------------------------------------

    def _fields(self, rule: Rule) -> None:
        for name, value in rule.fields.items():
            if name in self.effects:
                continue
            before = self.record.now(name)
            if self._was_written(name):
                self.by.add(name)
            elif not same(before, value):
                self.effects[name] = Effect(name, _plain(before), value)

    def _count(self, name: str) -> NeedsPerson | None:
        """One more, as an absolute value. An older call counts too, unless a newer one has set the
        field anew."""
        if name in self.effects:
            return None
        if self._was_written(name, counted=False):
            self.by.add(name)
            return None
        seen = self.record.now(name)
        before = _count_of(seen)
        if before is None:
            return self._ask(
                "NOT_A_COUNTER",
                f"The field {name} of {self._name} holds no whole number, so the call was not counted.",
                "Choose a field of type number for the counter in Settings, or mend its value, then retry.",
            )
        self.effects[name] = Effect(name, _plain(seen), str(before + 1), counted=True)
        return None
