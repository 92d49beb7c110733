"""Is a fresh directory to be believed? Judged against the last good one. Pure.

A vendor's list can come back empty, cut short, or with fields left out because a scope went missing
(bitrix24-findings §2, no. 36). People are hired and leave one by one; when many vanish at once, it is
the answer that is wrong until a person says otherwise.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from bitrix_app.core.portal import Agent

SHARE: Final = 0.2
"""Of the known entries this part may vanish at once, and one in any case."""


@dataclass(frozen=True, slots=True)
class Difference:
    """What a fresh list lacks and has more than the last one. `bare` lost their extension."""

    known: int
    lost: tuple[str, ...] = ()
    bare: tuple[str, ...] = ()
    bare_of: int = 0
    added: tuple[str, ...] = ()

    @property
    def missing(self) -> int:
        return len(self.lost) + len(self.bare)

    @property
    def reason(self) -> str | None:
        """Why the fresh list is not believed, in words; `None` when it is."""
        note = None
        lost, bare = len(self.lost), len(self.bare)
        if lost > allowed(self.known) or (self.known and lost == self.known):
            note = f"{lost} of {self.known} known entries are missing in the answer."
        elif bare > allowed(self.bare_of):
            note = f"{bare} of {self.bare_of} entries came without their inner number."
        return note


def allowed(known: int) -> int:
    """How many of so many may vanish between two looks."""
    return max(1, int(known * SHARE))


def compare_agents(old: Sequence[Agent], new: Sequence[Agent]) -> Difference:
    """Active people of both lists; somebody who is now said to be dismissed counts as missing."""
    before = {a.user_id: a for a in old if a.active}
    after = {a.user_id: a for a in new if a.active}
    with_extension = {u for u, a in before.items() if a.extension}
    # an extension that somebody else has now was moved, not left out
    taken = {a.extension for a in after.values() if a.extension}
    bare = [
        u
        for u in with_extension
        if u in after and not after[u].extension and before[u].extension not in taken
    ]
    return Difference(
        known=len(before),
        lost=_names(u for u in before if u not in after),
        bare=_names(bare),
        bare_of=len(with_extension),
        added=_names(u for u in after if u not in before),
    )


def merge_agents(old: Sequence[Agent], new: Sequence[Agent]) -> list[Agent]:
    """What can be taken from a list that is not believed: who is new or changed, nobody's absence."""
    fresh = {a.user_id: a for a in new if a.active}
    taken = {a.extension for a in fresh.values() if a.extension}
    merged: list[Agent] = []
    for agent in old:
        said = fresh.pop(agent.user_id, None)
        kept = agent.extension if agent.extension not in taken else None
        if said is None:
            merged.append(replace(agent, extension=kept))
        else:
            merged.append(said if said.extension else replace(said, extension=kept))
    return [*merged, *fresh.values()]


def compare_keys(old: Iterable[Mapping[str, Any]], new: Iterable[Mapping[str, Any]], key: str) -> Difference:
    """Any other list, by the field that names its entries; entries without it do not count."""
    before = {str(item[key]) for item in old if item.get(key) not in (None, "")}
    after = {str(item[key]) for item in new if item.get(key) not in (None, "")}
    return Difference(len(before), lost=_names(before - after), added=_names(after - before))


def _names(values: Iterable[object]) -> tuple[str, ...]:
    return tuple(sorted((str(v) for v in values), key=lambda text: (len(text), text)))
