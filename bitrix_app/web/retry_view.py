"""An entry of the retry list as programs and people see it (interface.md «A retry entry»)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from bitrix_app import vocabulary
from bitrix_app.core.call import Call
from bitrix_app.core.dial import Failure
from bitrix_app.core.intent import UNDO_WITHIN, Act, Deed, Intent
from bitrix_app.core.jobs import JobState
from bitrix_app.core.portal import PortalSettings
from bitrix_app.logs import redact_secrets
from bitrix_app.numbers import zones_of
from bitrix_app.web.call_view import People
from bitrix_app.web.pages import iso
from bitrix_app.web.retry_plan import cause_of, plan_of, sentence
from bitrix_app.web.session import Visit
from bitrix_app.words import Words

OPEN_STATES: Final = (JobState.ATTENTION, JobState.RETRYING, JobState.WAITING, JobState.RUNNING)
STATES: Final = (*OPEN_STATES, JobState.DONE, JobState.CANCELLED)


@dataclass(frozen=True, slots=True)
class Reader:
    """Who reads: the visitor, names, the language, the time."""

    seen: Visit
    people: People
    words: Words
    now: float

    @property
    def settings(self) -> PortalSettings:
        return self.seen.portal.settings


def entry_json(entry: Intent, reader: Reader) -> dict[str, Any]:
    """The public shape of an entry; codes are the same in every language, texts are the reader's."""
    plan = plan_of(entry, reader.settings, reader.people, reader.words)
    zones = zones_of(entry.number)
    return {
        "id": entry.id,
        "kind": entry.kind.value,
        "state": entry.state.value,
        "call_id": entry.calls[-1] if entry.calls else None,
        "number": entry.number,
        "agent_user_id": entry.agent,
        "crm": {"type": entry.crm_type, "id": entry.crm_id} if entry.crm_id is not None else None,
        "attempts": entry.attempts,
        "max_attempts": entry.max_attempts,
        "next_attempt_at": iso(plan.at) if entry.state is JobState.RETRYING else None,
        "due_at": iso(entry.due_at) if entry.is_open else None,
        "error": failure_json(entry.failure, reader.words),
        "cause": cause_of(entry, reader.words),
        "plan": {"text": plan.text, "reason": plan.reason, "at": iso(plan.at), "who": plan.who},
        "line": entry.line,
        "missed": entry.missed,
        "certain": entry.certain,
        "escalation": entry.escalation,
        "text": entry.text,
        "client_zone": zones[0] if len(zones) == 1 else None,
        "closed": _closed(entry, reader),
        "created_at": iso(entry.created_at),
        "updated_at": iso(entry.updated_at),
    }


def failure_json(failure: Failure | None, words: Words) -> dict[str, str] | None:
    """Why a call could not be started, in the reader's language."""
    if failure is None:
        return None
    return {
        "code": failure.code,
        "category": failure.category,
        "message": sentence(words.retell(redact_secrets(failure.message))),
        "hint": words.retell(failure.hint),
        "who": failure.who,
    }


def _closed(entry: Intent, reader: Reader) -> dict[str, Any] | None:
    if entry.is_open or entry.closed_at is None:
        return None
    until = entry.closed_at + UNDO_WITHIN
    can_undo = entry.before is not None and reader.now <= until
    return {
        "at": iso(entry.closed_at),
        "call_id": entry.closed_by,
        "reason": entry.reason,
        "undo_until": iso(until) if can_undo else None,
    }


def deed_json(deed: Deed, reader: Reader) -> dict[str, Any]:
    """One line of an entry's history, with names."""
    words, people = reader.words, reader.people
    whom = int(deed.detail) if deed.act in (Act.MOVED, Act.GIVEN) and deed.detail.isdigit() else None
    text = words.say(vocabulary.ACTS[deed.act.value], name=people.name(whom))
    return {
        "at": iso(deed.at),
        "act": deed.act.value,
        "words": text,
        "by": deed.by,
        "name": people.name(deed.by) if deed.by is not None else None,
        "detail": deed.detail if deed.act in (Act.EDITED, Act.DONE, Act.CANCELLED, Act.FAILED) else "",
    }


def try_json(call: Call, words: Words) -> dict[str, Any]:
    """One call of an entry: when it was started and what became of it."""
    dial = call.dial
    return {
        "call_id": call.id,
        "direction": call.direction.value if call.direction else None,
        "at": iso(dial.asked_at if dial else call.start),
        "by": dial.by if dial else None,
        "extension": dial.extension if dial else None,
        "origin": dial.origin.value if dial else None,
        "state": dial.state.value if dial else None,
        "outcome": call.outcome.value if call.outcome else None,
        "error": failure_json(dial.failure if dial else None, words),
    }
