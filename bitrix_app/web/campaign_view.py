"""Campaigns, their batches and phones in their public shapes (interface.md `GET /campaigns`)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, Final

from bitrix_app import vocabulary
from bitrix_app.core.campaign_store import Progress
from bitrix_app.core.campaigns import Batch, Phone, PhoneState, Try
from bitrix_app.core.dialers import Campaign
from bitrix_app.core.jobs import Job
from bitrix_app.core.portal import Portal, Snapshot
from bitrix_app.core.wishes import Forbidden, Wish
from bitrix_app.web.pages import iso
from bitrix_app.words import Words, mark

CONFIRMED: Final = {
    "GET_WITH_DATA": True,
    "ADD_PHONES": False,
    "START": False,
    "STOP": False,
    "GET_CALLS_HISTORY": False,
    "status": False,
    "AUTODIAL_FINISH": False,
    "meta": False,
}
"""What of the dialer the vendor itself documents (unitalk.md §4.6); the rest is assumed."""
UNCONFIRMED: Final = mark(
    "The vendor does not publish the autodialer's requests and statuses. What is marked “not confirmed” is"
    " assumed; if the PBX refuses it, an administrator can correct the templates in the settings."
)


def campaign_json(
    portal: Portal,
    campaign: Campaign,
    seen: Mapping[str, Any] | None,
    progress: Progress,
    tries: Mapping[str, int],
    words: Words,
) -> dict[str, Any]:
    """One dialer with its progress; `seen` is the dialer in the last snapshot of the account."""
    states = dict.fromkeys((state.value for state in PhoneState), 0)
    outcomes: Counter[str] = Counter()
    for (state, outcome), count in progress.items():
        states[state] += count
        if outcome:
            outcomes[outcome] += count
    trouble = {
        "code": campaign.code,
        "message": words.retell(campaign.message),
        "hint": words.retell(campaign.hint),
    }
    return {
        "id": campaign.dialer,
        "name": campaign.name or str((seen or {}).get("name") or campaign.dialer),
        "usable": campaign.dialer in portal.settings.dialers,
        "seen": seen is not None,
        "running": campaign.running.value,
        "status": campaign.status or None,
        "status_at": iso(campaign.status_at),
        "finished_at": iso(campaign.finished_at),
        "wanted": campaign.wanted or None,
        "settled": campaign.settled,
        "error": trouble if campaign.code else None,
        "phones": states,
        "outcomes": dict(outcomes),
        "tries": dict(tries),
    }


def batch_json(batch: Batch, jobs: Sequence[Job], words: Words) -> dict[str, Any]:
    """`waits_for`: why an open job of it is put off, such as that no agent is there."""
    waiting = next((job.error for job in jobs if job.key == batch.key and job.error), None)
    held = waiting if batch.state.value in ("waiting", "sending") else None
    return {
        "id": batch.id,
        "state": batch.state.value,
        "count": batch.count,
        "requests": batch.requests,
        "created_at": iso(batch.created_at),
        "said_at": iso(batch.said_at),
        "accepted_at": iso(batch.accepted_at),
        "proof": batch.proof or None,
        "waits_for": {"code": held.code, "message": words.retell(held.message)} if held else None,
        "error": {
            "code": batch.code,
            "message": words.retell(batch.message),
            "hint": words.retell(batch.hint),
        }
        if batch.code
        else None,
        "settled_by": batch.settled_by,
    }


def phone_json(phone: Phone, words: Words, tries: Sequence[Try]) -> dict[str, Any]:
    """`history` is every call that the dialer made to it."""
    kind, _, number = phone.record.partition(":")
    return {
        "id": phone.id,
        "number": phone.number or None,
        "crm": {"type": kind, "id": int(number)} if number else None,
        "state": phone.state.value,
        "reason": reason_json(phone, words),
        "tries": phone.tries,
        "outcome": phone.outcome.value if phone.outcome else None,
        "batch": phone.batch or None,
        "added_at": iso(phone.added_at),
        "added_by": phone.added_by,
        "changed_at": iso(phone.changed_at),
        "history": [
            {"call_id": one.call_id, "outcome": one.outcome.value, "ended_at": iso(one.ended_at)}
            for one in tries
        ],
    }


def reason_json(phone: Phone, words: Words) -> dict[str, str] | None:
    if not phone.reason:
        return None
    return {
        "code": phone.reason,
        "message": words.say(vocabulary.PHONE_REASONS.get(phone.reason, phone.reason)),
    }


def refusal_json(phone: Phone, words: Words) -> dict[str, Any]:
    """A phone that was not taken: what was asked for, and why not."""
    return {
        "number": phone.number or None,
        "record": phone.record or None,
        "reason": phone.reason,
        "message": words.say(vocabulary.PHONE_REASONS[phone.reason]),
    }


def wish_json(wish: Wish, words: Words) -> dict[str, Any]:
    return {
        "id": wish.id,
        "state": wish.state.value,
        "records": len(wish.records) or None,
        "filter": {"type": wish.type, "stage": wish.stage} if wish.type else None,
        "read": wish.done,
        "taken": wish.taken,
        "refused": wish.refused,
        "reasons": [
            {"reason": reason, "count": count, "message": words.say(vocabulary.PHONE_REASONS[reason])}
            for reason, count in wish.reasons.items()
        ],
        "message": words.retell(wish.message) or None,
        "created_at": iso(wish.created_at),
        "by_user": wish.by_user,
    }


def forbidden_json(entry: Forbidden) -> dict[str, Any]:
    return {
        "number": entry.number,
        "reason": entry.reason,
        "by_user": entry.by_user,
        "added_at": iso(entry.added_at),
    }


def account_json(dialers: Snapshot | None, state: Snapshot | None, words: Words) -> dict[str, Any]:
    """How the account's dialers were read: when, whether it went well, the structure that came."""
    told = dict(state.items[0]) if state and state.items else {}
    trouble = {"code": told["code"], "message": words.retell(told["message"])} if told.get("code") else None
    return {
        "read_at": iso(dialers.taken_at) if dialers else None,
        "asked_at": iso(state.taken_at) if state else None,
        "ok": bool(told.get("ok")),
        "error": trouble,
        "structure": told.get("structure"),
    }
