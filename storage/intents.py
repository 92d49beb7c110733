"""The retry list's entries on SQLite (`core.intent_store`)."""

from __future__ import annotations

import math
import sqlite3
from collections.abc import Mapping, Sequence
from typing import Final

from bitrix_app.core import intent as intents
from bitrix_app.core.intent import Intent
from bitrix_app.core.intent_store import IntentFilter
from bitrix_app.core.jobs import JobState
from storage import rows
from storage.queries import load

_I: Final = load("intents")
_J: Final = load("jobs")


class IntentRows:
    """Verbs inside one transaction; `_db` is the writer's connection."""

    _db: sqlite3.Connection

    async def save_intent(self, intent: Intent) -> None:
        self._db.execute(
            _I["save"],
            (
                intent.portal,
                intent.id,
                intent.kind.value,
                intent.state.value,
                rows.digits(intent.number),
                intent.agent,
                intent.due_at,
                intent.created_at,
                intent.updated_at,
                rows.encode(intents.pack(intent)),
            ),
        )

    async def intent(self, portal: str, intent_id: str) -> Intent | None:
        return one(self._db, portal, intent_id)

    async def open_intents_of(self, portal: str, number: str) -> Sequence[Intent]:
        found = self._db.execute(_I["open_of"], (portal, rows.digits(number)))
        return [intents.unpack(rows.decode(row[0])) for row in found]

    async def move_wakes(
        self, portal: str, lane: str, wakes: Mapping[str, float], unwake: Sequence[str] = ()
    ) -> None:
        self._db.executemany(_J["unwake"], [(portal, lane, reason) for reason in unwake])
        self._db.executemany(_J["wake"], [(portal, lane, reason, at) for reason, at in wakes.items()])


def one(db: sqlite3.Connection, portal: str, intent_id: str) -> Intent | None:
    row = db.execute(_I["one"], (portal, rows.clean(intent_id))).fetchone()
    return intents.unpack(rows.decode(row[0])) if row else None


def page(
    db: sqlite3.Connection,
    portal: str,
    state: JobState,
    wanted: IntentFilter,
    limit: int,
    before: tuple[float, str] | None,
) -> Sequence[Intent]:
    at, id_ = before or (math.inf, "")
    values = {
        "portal": portal,
        "state": state.value,
        "at": min(at, 1e12),
        "id": rows.clean(id_),
        "kind": wanted.kind.value if wanted.kind else None,
        "number": rows.digits(wanted.number),
        "mine": wanted.mine,
        "agent": wanted.agent,
        "limit": limit,
    }
    return [intents.unpack(rows.decode(row[0])) for row in db.execute(_I["page"], values)]


def counts(db: sqlite3.Connection, portal: str, mine: int | None) -> Mapping[JobState, int]:
    found = db.execute(_I["counts"], {"portal": portal, "mine": mine})
    return {JobState(state): count for state, count in found}
