"""What happens next with an entry of the retry list, when, why then, and who must act. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from bitrix_app.core.errors import Who
from bitrix_app.core.hours import all_open, is_open
from bitrix_app.core.intent import BY_ITSELF, PAUSES, Act, Deed, Intent, Kind
from bitrix_app.core.jobs import JobState
from bitrix_app.core.portal import PortalSettings
from bitrix_app.logs import redact_secrets
from bitrix_app.permits import decent_hours, working_hours
from bitrix_app.web.call_view import People
from bitrix_app.words import Words

SLACK: Final = 1.0
"""Seconds by which a planned time may differ from a pause and still be that pause's."""


@dataclass(frozen=True, slots=True)
class Plan:
    """`text` says what happens, `reason` why so; `at` is unix seconds; `who` a word of `errors.Who`."""

    text: str
    reason: str = ""
    at: float | None = None
    who: str = Who.NOBODY.value


def plan_of(entry: Intent, settings: PortalSettings, people: People, words: Words) -> Plan:
    """The plan of an entry as it is now, in the reader's language."""
    match entry.state:
        case JobState.RUNNING:
            return Plan(words.say("A call is being made just now."))
        case JobState.RETRYING:
            return _by_itself(entry, settings, people, words)
        case JobState.WAITING:
            return _by_a_person(entry, settings, people, words)
        case JobState.ATTENTION:
            text = words.say("Nothing happens by itself: somebody has to decide.")
            return Plan(text, _why_not(entry, settings, words), None, _who(entry))
    return Plan(_over(entry, people, words))


def sentence(text: str) -> str:
    """With its full stop: a vendor's words may lack it, and others follow."""
    return text if not text or text[-1] in ".!?…:" else f"{text}."


def cause_of(entry: Intent, words: Words) -> str:
    """Why the entry stands there, in words."""
    said = sentence(words.retell(redact_secrets(entry.failure.message))) if entry.failure else ""
    if entry.kind is not Kind.MISSED:
        return said or words.say("The call was not started.")
    called = words.say("The client called and reached nobody.")
    if entry.missed > 1:
        called = words.say(
            "The client called {count} time and reached nobody.",
            "The client called {count} times and reached nobody.",
            count=entry.missed,
        )
    return f"{called} {said}".strip()


def _by_itself(entry: Intent, settings: PortalSettings, people: People, words: Words) -> Plan:
    due = entry.due_at or entry.updated_at
    hours = decent_hours(settings, entry.number)
    at = all_open(hours, due)
    text = words.say("It is called again by itself.")
    if at > due:
        return Plan(text, _closed(settings, due, words), at)
    chosen = _last(entry, Act.RESCHEDULED, Act.FAILED, Act.TRIED)
    if chosen is not None and chosen.act is Act.RESCHEDULED:
        return Plan(text, words.say("Chosen by {name}.", name=people.name(chosen.by)), at)
    if chosen is None or chosen.act is not Act.FAILED:
        return Plan(text, "", at)
    pause = PAUSES[min(max(0, entry.attempts - 1), len(PAUSES) - 1)]
    planned = chosen.at + pause
    if due > planned + SLACK and all_open(hours, planned) > planned:
        return Plan(text, _closed(settings, planned, words), at)
    if due > planned + SLACK:
        return Plan(text, words.say("Another call to this client goes on; its end decides."), at)
    count = round(pause / 60)
    after = words.say(
        "{count} minute after the last try; nothing rang then.",
        "{count} minutes after the last try; nothing rang then.",
        count=count,
    )
    return Plan(text, after, at)


def _closed(settings: PortalSettings, at: float, words: Words) -> str:
    if not is_open(working_hours(settings), at):
        return words.say("Before that it is outside working hours.")
    return words.say("Before that it is too early or too late in the day for the client.")


def _by_a_person(entry: Intent, settings: PortalSettings, people: People, words: Words) -> Plan:
    if entry.agent is None:
        text = words.say("Whoever is free calls the client by then; after that it goes on to a manager.")
    else:
        name = people.name(entry.agent)
        text = words.say("By then {name} calls the client; after that anybody may.", name=name)
    if entry.escalation:
        text = words.say("It is overdue: anybody calls the client by then, after that a manager is told.")
    chosen = _last(entry, Act.RESCHEDULED, Act.OVERDUE, Act.FAILED, Act.LISTED)
    if chosen is not None and chosen.act is Act.RESCHEDULED:
        reason = words.say("Chosen by {name}.", name=people.name(chosen.by))
    else:
        reason = words.say(
            "{count} working minute is the time for it in the settings.",
            "{count} working minutes are the time for it in the settings.",
            count=settings.callback_minutes,
        )
    return Plan(text, reason, entry.due_at, Who.AGENT.value)


def _why_not(entry: Intent, settings: PortalSettings, words: Words) -> str:
    """Why it is not called again by itself."""
    if entry.kind is Kind.MISSED:
        return words.say("The time to call this client back is over.")
    if not entry.certain:
        return words.say("The phone may have rung, so nothing is dialled again on a guess.")
    if entry.failure is not None and entry.failure.category not in BY_ITSELF:
        return words.say("Waiting alone does not mend this.")
    if entry.agent is None:
        return words.say("It is not known who is to call.")
    if not settings.repeat_starts:
        return words.say("Calling again by itself is switched off in the settings.")
    return words.say("All tries that are made by themselves are used up.")


def _who(entry: Intent) -> str:
    who = entry.failure.who if entry.failure else Who.MANAGER.value
    if who != Who.NOBODY.value:
        return who
    return Who.AGENT.value if entry.agent is not None else Who.MANAGER.value


def _over(entry: Intent, people: People, words: Words) -> str:
    if entry.before is None:
        return words.say("A later call with the client settled it.")
    closing = _last(entry, Act.DONE, Act.CANCELLED)
    name = people.name(closing.by if closing else None)
    if entry.state is JobState.CANCELLED:
        return words.say("Cancelled by {name}: {reason}", name=name, reason=entry.reason)
    return words.say("Marked as done by {name}: {reason}", name=name, reason=entry.reason)


def _last(entry: Intent, *acts: Act) -> Deed | None:
    return next((deed for deed in reversed(entry.deeds) if deed.act in acts), None)
