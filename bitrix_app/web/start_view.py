"""How the start of a call stands, for whoever pressed: state, why it failed, what happens next."""

from __future__ import annotations

from typing import Any, Final

from bitrix_app import vocabulary
from bitrix_app.core.call import Call
from bitrix_app.core.dial import DialState
from bitrix_app.core.errors import Who
from bitrix_app.core.intent import Intent
from bitrix_app.core.mapping import is_missed
from bitrix_app.core.store import Store
from bitrix_app.web.pages import iso
from bitrix_app.web.retry_plan import plan_of
from bitrix_app.web.retry_view import Reader, failure_json
from bitrix_app.web.session import Visit
from bitrix_app.words import Words

NOT_STARTED: Final = (DialState.FAILED, DialState.UNTRACED)
JOINED: Final = DialState.JOINED.value


def may_act(entry: Intent, seen: Visit) -> bool:
    """Managers on all; an agent on what is his or nobody's."""
    return seen.manages or entry.agent in (None, seen.session.user_id)


async def entry_of(store: Store, call: Call, seen: Visit) -> Intent | None:
    """The entry of the retry list that a call belongs to, when the visitor may see it."""
    entry_id = call.dial.intent if call.dial else None
    if entry_id is None and (is_missed(call) or (call.dial and call.dial.state in NOT_STARTED)):
        entry_id = call.id
    entry = await store.intent(call.portal, entry_id) if entry_id else None
    return entry if entry is not None and may_act(entry, seen) else None


def start_json(call: Call, entry: Intent | None, reader: Reader) -> dict[str, Any] | None:
    """`start` of a call; `None` for one that nobody asked us for and that is on no list."""
    dial, words = call.dial, reader.words
    if dial is None and entry is None:
        return None
    failure = failure_json(dial.failure if dial else None, words) or {}
    plan = plan_of(entry, reader.settings, reader.people, words) if entry else None
    state = dial.state.value if dial else None
    return {
        "state": state,
        "origin": dial.origin.value if dial else None,
        "asked_at": iso(dial.asked_at) if dial else None,
        "by": dial.by if dial else None,
        "extension": dial.extension if dial else None,
        "joined": dial.joined if dial else None,
        "code": failure.get("code") or (JOINED.upper() if state == JOINED else None),
        "message": failure.get("message") or (words.say(vocabulary.STARTS[state]) if state else ""),
        "hint": failure.get("hint", ""),
        "who": failure.get("who", Who.NOBODY.value),
        "entry": entry.id if entry else None,
        "next": {"text": plan.text, "reason": plan.reason, "at": iso(plan.at)} if plan else None,
    }


def joined_json(start: dict[str, Any] | None, words: Words) -> dict[str, Any]:
    """The same for a press that found the call going on."""
    return (start or {}) | {
        "state": JOINED,
        "code": JOINED.upper(),
        "message": words.say(vocabulary.STARTS[JOINED]),
        "hint": words.say("Look at your phone."),
        "who": Who.NOBODY.value,
    }
