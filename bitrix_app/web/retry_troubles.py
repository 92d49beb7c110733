"""What the retry list shows beside calls to make: batches of the autodialer and agents' statuses that
need somebody (interface.md «A retry entry», kinds `campaign` and `agent_status`).

They are read from their own tables and are only shown here: they are settled where they belong.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import quote

from bitrix_app.core.agents import AgentTrouble
from bitrix_app.core.campaigns import Batch, BatchState
from bitrix_app.core.errors import Who
from bitrix_app.core.jobs import JobState
from bitrix_app.core.store import Store
from bitrix_app.logs import redact_secrets
from bitrix_app.web.pages import iso
from bitrix_app.web.problems import Problem
from bitrix_app.web.retry_plan import sentence
from bitrix_app.web.retry_view import Reader
from bitrix_app.web.session import Visit
from bitrix_app.words import mark

CAMPAIGN: Final = "campaign"
AGENT_STATUS: Final = "agent_status"
KINDS: Final = (CAMPAIGN, AGENT_STATUS)
MOST: Final = 1000
"""Batches in attention that are listed; each holds up to a thousand phones."""
_BATCH: Final = "batch:"
_AGENT: Final = "agent:"
ELSEWHERE: Final[Mapping[str, str]] = {
    CAMPAIGN: mark("Say on the page Autodialer whether the batch was sent. Nothing is done with it here."),
    AGENT_STATUS: mark(
        "The status is tried again by itself until Unitalk takes it. It is set among the agents, not here."
    ),
}
"""Where one acts, by kind."""


@dataclass(frozen=True, slots=True)
class Shown:
    """One such entry. `agent` is the user whom it concerns, `extension` his."""

    id: str
    kind: str
    state: JobState
    created_at: float
    agent: int | None
    source: Batch | AgentTrouble

    @property
    def place(self) -> tuple[float, str]:
        return self.created_at, self.id


def is_trouble(entry_id: str) -> bool:
    """Whether the id is one of these, not a call's to make."""
    return entry_id.startswith((_BATCH, _AGENT))


async def troubles(store: Store, seen: Visit) -> list[Shown]:
    """All that the visitor may see, the newest first: managers all, an agent what concerns himself."""
    member = seen.portal.member_id
    found = [
        Shown(one.id, AGENT_STATUS, JobState(one.state), one.created_at, one.user_id, one)
        for one in await store.agent_troubles(member)
        if seen.manages or one.user_id == seen.session.user_id
    ]
    if seen.manages:
        found += [
            Shown(f"{_BATCH}{one.id}", CAMPAIGN, JobState.ATTENTION, one.created_at, None, one)
            for one in await store.batches_in_attention(member, limit=MOST)
        ]
    return sorted(found, key=lambda one: one.place, reverse=True)


async def trouble(store: Store, seen: Visit, entry_id: str) -> Shown:
    """One of them. Raises 404 for what is mended meanwhile or does not concern the visitor."""
    for one in await troubles(store, seen):
        if one.id == entry_id:
            return one
    raise Problem.not_found()


def counts_of(found: Sequence[Shown]) -> Mapping[JobState, int]:
    return Counter(one.state for one in found)


def elsewhere(one: Shown) -> Problem:
    """409: where to act instead."""
    return Problem(409, "acts_elsewhere", "It cannot be done as asked", ELSEWHERE[one.kind])


def told_of(one: Shown, reader: Reader) -> str:
    """Everything of it that can be searched in words."""
    shown = trouble_json(one, reader)
    error = shown["error"]
    name = reader.people.name(one.agent) if one.agent is not None else ""
    return "\n".join(
        [shown["subject"], name, error["code"], shown["cause"], error["hint"], one.id]
    ).casefold()


def trouble_json(one: Shown, reader: Reader) -> dict[str, Any]:
    """The public shape of an entry; `read_only`, with `page` where it is settled."""
    source, words = one.source, reader.words
    if isinstance(source, Batch):
        refused = source.state is BatchState.REFUSED
        code, category, who = source.code, "validation" if refused else "timeout", Who.MANAGER.value
        attempts, at, updated = source.requests, None, source.said_at or source.created_at
        subject = words.say(
            "{count} phone for the autodialer {dialer}",
            "{count} phones for the autodialer {dialer}",
            count=source.count,
            dialer=source.dialer,
        )
        message, hint = source.message, source.hint
        text = words.say("Nothing happens by itself: somebody has to decide.")
        reason, page = "", f"/campaigns/{quote(source.dialer, safe='')}"
    else:
        error = source.error
        code, category, who = error.code, error.category, error.who
        attempts, at, updated = source.attempts, source.next_attempt_at, source.updated_at
        subject = words.say("Extension {extension}", extension=source.extension)
        message, hint = error.message, error.hint
        text = words.say("The status is told to Unitalk again by itself.")
        out = one.state is JobState.ATTENTION
        reason = words.say("Until Unitalk takes it, the autodialer counts without this agent.") if out else ""
        page = None
    said = sentence(words.retell(redact_secrets(message)))
    return {
        "id": one.id,
        "kind": one.kind,
        "state": one.state.value,
        "call_id": None,
        "number": None,
        "subject": subject,
        "agent_user_id": one.agent,
        "crm": None,
        "attempts": attempts,
        "max_attempts": None,
        "next_attempt_at": iso(at),
        "due_at": None,
        "error": {
            "code": code,
            "category": category,
            "message": said,
            "hint": words.retell(redact_secrets(hint)),
            "who": who,
        },
        "cause": said,
        "plan": {"text": text, "reason": reason, "at": iso(at), "who": who},
        "read_only": True,
        "acts": words.say(ELSEWHERE[one.kind]),
        "page": page,
        "closed": None,
        "created_at": iso(one.created_at),
        "updated_at": iso(updated),
    }
