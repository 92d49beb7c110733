"""What the retry list's entries ask of the store."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from bitrix_app.core.intent import Intent, Kind
from bitrix_app.core.jobs import JobState


@dataclass(frozen=True, slots=True)
class IntentFilter:
    """Which entries are wanted. `number`: digits that stand anywhere in it. `mine`: the user whose own
    entries and those of nobody are shown; `agent`: only this user's.
    """

    kind: Kind | None = None
    number: str | None = None
    mine: int | None = None
    agent: int | None = None


class IntentUnit(Protocol):
    """Verbs inside one transaction."""

    async def save_intent(self, intent: Intent) -> None: ...

    async def intent(self, portal: str, intent_id: str) -> Intent | None: ...

    async def open_intents_of(self, portal: str, number: str) -> Sequence[Intent]:
        """Open entries with this client's number (digits), the oldest first."""
        ...

    async def move_wakes(
        self, portal: str, lane: str, wakes: Mapping[str, float], unwake: Sequence[str] = ()
    ) -> None:
        """Set timers of a lane that is no call's (reason → unix seconds), and take others away."""
        ...


class IntentReader(Protocol):
    """Reading, for pages."""

    async def intents(
        self,
        portal: str,
        state: JobState,
        wanted: IntentFilter,
        *,
        limit: int = 50,
        before: tuple[float, str] | None = None,
    ) -> Sequence[Intent]:
        """The newest first; `before` is (created_at, id) of the last one shown."""
        ...

    async def intent(self, portal: str, intent_id: str) -> Intent | None: ...

    async def intent_counts(self, portal: str, mine: int | None = None) -> Mapping[JobState, int]: ...
