"""A call as programs and people see it (interface.md «A call»). Never the recording's link."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from bitrix_app.core.call import Call
from bitrix_app.core.jobs import Attempt, Job, JobError
from bitrix_app.core.portal import Snapshot
from bitrix_app.logs import redact_secrets
from bitrix_app.web.pages import iso
from bitrix_app.words import Words, mark

ENGLISH: Final = Words()


@dataclass(frozen=True, slots=True)
class People:
    """Names and extensions of the portal's users, by the last good directory snapshot."""

    names: Mapping[int, str]
    extensions: Mapping[int, str]
    words: Words = ENGLISH

    def name(self, user_id: int | None) -> str:
        if user_id is None:
            return "–"
        return self.names.get(user_id) or self.words.say("User {user_id}", user_id=user_id)


def people_of(snapshot: Snapshot | None, words: Words = ENGLISH) -> People:
    """Reads the snapshot `agents`; without one every user is a number."""
    items = [item for item in (snapshot.items if snapshot else ()) if isinstance(item.get("user_id"), int)]
    return People(
        {item["user_id"]: str(item.get("name") or "") for item in items},
        {item["user_id"]: str(item["extension"]) for item in items if item.get("extension")},
        words,
    )


def belongs_to(call: Call, user_id: int, people: People) -> bool:
    """Whether an agent may see it: theirs in the CRM, or on their extension before it is there."""
    if call.user_id is not None:
        return call.user_id == user_id
    mine = people.extensions.get(user_id)
    return mine is not None and (mine == call.owner or (call.is_live and mine in call.ringing))


def call_json(
    call: Call, jobs: Sequence[Job], words: Words, start: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """The public shape of a call; codes are the same in every language, texts are the reader's. `start`
    is how the start of a call stands that somebody asked us for (`start_view`).
    """
    document = next((job for job in jobs if job.kind == "drive_document"), None)
    return {
        "id": call.id,
        "pbx_id": call.pbx_id,
        "pbx_dbid": call.pbx_dbid,
        "bitrix_call_id": call.bitrix_call_id,
        "direction": call.direction.value if call.direction else None,
        "number": call.number or call.raw_number,
        "line": call.line,
        "site": call.site,
        "dialer_id": call.dialer_id,
        "agent_user_id": call.user_id,
        "state": call.phase.value,
        "outcome": call.outcome.value if call.outcome else None,
        "started_at": iso(call.start),
        "talk_seconds": call.talk_seconds,
        "full_seconds": call.full_seconds,
        "crm": {"type": call.crm_type, "id": call.crm_id} if call.crm_id is not None else None,
        "recording": {
            "state": call.recording.value,
            "size": call.recording_size,
            "media": call.recording_media,
        },
        "drive": {
            "state": "done" if call.document_id else (document.state.value if document else "none"),
            "document": call.document_name,
            "recording": call.drive_copy_name,
        },
        "start": start,
        "steps": [step_json(job, words) for job in jobs],
    }


OWNER_WORDS: Final[Mapping[str, str]] = {
    "override": mark("the extension is given to this person in our settings"),
    "extension": mark("the extension is this person's inner number in Bitrix24"),
    "responsible": mark("this person is responsible for the client"),
    "group": mark("default of the PBX group"),
    "line": mark("default of the line"),
    "default": mark("default of the portal"),
    "installer": mark("nobody else is set: whoever installed the application"),
}


def owner_json(call: Call, words: Words) -> dict[str, Any]:
    """Whose the call is and why; `unmatched` is the extension that nobody had."""
    by = OWNER_WORDS.get(call.owner_by or "")
    return {
        "user_id": call.user_id,
        "by": call.owner_by,
        "words": words.say(by) if by else None,
        "unmatched": call.unmatched,
        "moved": call.repair is not None and call.moved is not None,
    }


def step_json(job: Job, words: Words) -> dict[str, Any]:
    """One job as a step of the story; `at` is when it is due while it waits."""
    return {
        "name": job.kind,
        "key": job.key,
        "state": job.state.value,
        "at": iso(job.due_at),
        "attempts": job.attempts,
        "error": error_json(job.error, words),
    }


def error_json(error: JobError | None, words: Words) -> dict[str, str] | None:
    if error is None:
        return None
    return {
        "code": error.code,
        "category": error.category,
        "message": words.retell(redact_secrets(error.message)),
        "hint": words.retell(error.hint),
        "who": error.who,
    }


def attempt_json(attempt: Attempt, words: Words) -> dict[str, Any]:
    return {
        "started_at": iso(attempt.started_at),
        "seconds": round(attempt.seconds, 3),
        "result": attempt.result,
        "code": attempt.code,
        "category": attempt.category,
        "message": words.retell(redact_secrets(attempt.message)),
        "next_at": iso(attempt.next_at),
    }
