"""What an administrator may change, read from JSON; every fault is named by its field. Pure."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final
from zoneinfo import ZoneInfo

from bitrix_app.core.agents import SOURCES
from bitrix_app.core.dialer_templates import read_templates
from bitrix_app.core.disposition_form import RuleFaults, read_rules
from bitrix_app.core.hours import DAYS, read_days, read_spans
from bitrix_app.core.mapping import MISSED_OWNERS, TRANSFER_OWNERS, group_key
from bitrix_app.core.portal import PortalSettings
from bitrix_app.core.stages import Stages
from bitrix_app.numbers import COUNTRIES
from bitrix_app.words import mark

CALL_SWITCHES: Final = ("missed_callbacks", "repeat_starts")
SWITCHES: Final = (
    "crm_create_in",
    "crm_create_out",
    "drive",
    "drive_recordings",
    "layout",
    "card_to_responsible",
    "status_sync",
    "fold_unanswered_dials",
    *CALL_SWITCHES,
)
LINES: Final = 1000
"""External lines that a portal may name."""
MANAGERS: Final = 100
PACE: Final = (0.1, 20.0)
"""Requests per second that a portal may ask of its PBX (unitalk.md §1.2 asks for few)."""
CALLBACK_MINUTES: Final = 7 * 24 * 60


@dataclass(frozen=True, slots=True)
class Change:
    """A change that is wholly valid. `unitalk_key` is `None` when it stays as it is."""

    settings: PortalSettings
    unitalk_key: str | None = None


class Faults(Exception):
    """The change is refused as a whole; `fields` maps a field to its fault in words."""

    def __init__(self, fields: Mapping[str, str]) -> None:
        super().__init__(", ".join(sorted(fields)))
        self.fields = dict(fields)


def read_change(
    data: Mapping[str, Any], now: PortalSettings, users: frozenset[int], stages: Stages | None = None
) -> Change:
    """The settings after `data`: what is not named stays. `users` are the portal's known users;
    empty means that the directory was not read yet, then any id is taken; likewise `stages`, which
    the dispositions' rules may name. Raises `Faults`.
    """
    faults: dict[str, str] = {}
    values: dict[str, Any] = {}
    key: str | None = None
    for name, value in data.items():
        try:
            if name == "unitalk_key":
                key = None if value is None else _key(value)
            elif name == "dispositions":
                values[name] = read_rules(value, stages or Stages())
            elif name in _READERS:
                values[name] = _READERS[name](value, users)
            else:
                faults[str(name)[:60]] = mark("There is no such setting.")
        except ValueError as fault:
            faults[name] = str(fault)
        except RuleFaults as wrong:
            faults |= wrong.fields
    settings = replace(now, **values) if not faults else now
    if settings.status_work == settings.status_pause:
        faults["status_pause"] = mark("The words for working and for a pause must differ.")
    if faults:
        raise Faults(faults)
    if {"hours", "client_hours"} & set(values) and not _ever_open(settings):
        said = "No call could ever be made: the working hours and the clients' hours never meet."
        raise Faults({"hours" if "hours" in values else "client_hours": said})
    return Change(settings, key)


def _key(value: Any) -> str:
    if value == "":
        return ""
    if not isinstance(value, str) or not re.fullmatch(r"[\x21-\x7e]{8,512}", value.strip()):
        raise ValueError("This does not look like an API key: 8 to 512 characters without spaces.")
    return value.strip()


def _switch(value: Any, _: frozenset[int]) -> bool:
    if not isinstance(value, bool):
        raise ValueError("It must be true or false.")  # noqa: TRY004 - a fault of the form, not of ours
    return value


def _zone(value: Any, _: frozenset[int]) -> str:
    try:
        if isinstance(value, str) and re.fullmatch(r"[A-Za-z0-9_+/-]{1,64}", value):
            return ZoneInfo(value).key
    except (ValueError, OSError, KeyError):
        pass
    raise ValueError("This time zone is not known. Use a name such as Europe/Kyiv.")


def _user(value: Any, users: frozenset[int]) -> int | None:
    return None if value is None else read_user(value, users)


def _users(value: Any, users: frozenset[int]) -> tuple[int, ...]:
    if not isinstance(value, list) or len(value) > MANAGERS:
        raise ValueError(f"It must be a list of {MANAGERS} users at most.")
    return tuple(dict.fromkeys(read_user(one, users) for one in value))


def read_user(value: Any, users: frozenset[int]) -> int:
    """A user's id. Raises `ValueError` with the fault in words; no known `users`: any id is taken."""
    if isinstance(value, bool) or not isinstance(value, int) or not 0 < value < 2**53:
        raise ValueError("A user is given by the number of the Bitrix24 user.")
    if users and value not in users:
        raise ValueError(f"There is no user {value} in this portal.")
    return value


def _lines(value: Any) -> dict[str, Any]:
    if not isinstance(value, dict) or len(value) > LINES:
        raise ValueError(f"It must be an object with {LINES} lines at most.")
    lines: dict[str, Any] = {}
    for line, item in value.items():
        digits = re.sub(r"[\s()+-]", "", str(line))
        if not re.fullmatch(r"\d{3,20}", digits):
            raise ValueError("A line is a phone number of 3 to 20 digits.")
        if digits in lines:
            raise ValueError(f"Line {digits} is named twice.")
        lines[digits] = item
    return lines


def _line_users(value: Any, users: frozenset[int]) -> dict[str, int]:
    return {line: read_user(user, users) for line, user in _lines(value).items()}


def _line_names(value: Any, _: frozenset[int]) -> dict[str, str]:
    names: dict[str, str] = {}
    for line, name in _lines(value).items():
        if not isinstance(name, str) or not name.strip() or len(name) > 100 or not name.isprintable():
            raise ValueError(f"The name of line {line} must have 1 to 100 characters.")
        names[line] = name.strip()
    return names


def _line_zones(value: Any, users: frozenset[int]) -> dict[str, str]:
    return {line: _zone(zone, users) for line, zone in _lines(value).items()}


def read_extension(value: Any) -> str:
    """A PBX inner line: digits (unitalk.md §2). Raises `ValueError` with the fault in words."""
    text = value.strip() if isinstance(value, str) else ""
    if not re.fullmatch(r"[0-9]{1,10}", text):
        raise ValueError("An extension is 1 to 10 digits, as text.")
    return text


def _extension_users(value: Any, users: frozenset[int]) -> dict[str, int]:
    if not isinstance(value, dict) or len(value) > LINES:
        raise ValueError(f"It must be an object with {LINES} extensions at most.")
    return {read_extension(extension): read_user(user, users) for extension, user in value.items()}


def _group_users(value: Any, users: frozenset[int]) -> dict[str, int]:
    if not isinstance(value, dict) or len(value) > LINES:
        raise ValueError(f"It must be an object with {LINES} groups at most.")
    groups: dict[str, int] = {}
    for name, user in value.items():
        if not name.strip() or len(name) > 255 or not name.isprintable():
            raise ValueError("A group's name has 1 to 255 characters.")
        if group_key(name) in map(group_key, groups):
            raise ValueError(f"Group {name} is named twice.")
        groups[name.strip()] = read_user(user, users)
    return groups


def _dialers(value: Any, _: frozenset[int]) -> tuple[str, ...]:
    if not isinstance(value, list) or len(value) > MANAGERS:
        raise ValueError(f"It must be a list of {MANAGERS} dialers at most.")
    for one in value:
        if not isinstance(one, str) or not re.fullmatch(r"[A-Za-z0-9_-]{1,64}", one):
            raise ValueError("A dialer is given by its id, as text.")
    return tuple(dict.fromkeys(value))


def _templates(value: Any, _: frozenset[int]) -> dict[str, Any]:
    return dict(read_templates(value))


def _hours(value: Any, _: frozenset[int]) -> dict[str, str]:
    """Working hours by day; a closed day is left out."""
    if not isinstance(value, dict) or not all(isinstance(text, str) for text in value.values()):
        raise ValueError('It must be an object of days, as "mon": "09:00-18:00"; an empty one means always.')
    days = {str(day).strip().lower(): text.strip()[:200] for day, text in value.items()}
    read_days(days, "UTC")
    return {day: days[day] for day in DAYS if days.get(day)}


def _client_hours(value: Any, _: frozenset[int]) -> str:
    """One span of each day, or nothing for the whole day."""
    if not isinstance(value, str):
        raise ValueError("It must be a text such as 08:00-21:00; an empty one means the whole day.")  # noqa: TRY004
    if len(read_spans(value[:200])) > 1:
        raise ValueError("Clients have one span of hours a day, such as 08:00-21:00.")
    return value.strip()


def _ever_open(settings: PortalSettings) -> bool:
    """Whether the portal's hours and the clients' meet on any day, in one and the same zone."""
    days = [read_spans(text) for text in settings.hours.values()]
    clients = read_spans(settings.client_hours)
    if not any(days) or not clients:
        return True
    return any(max(a, c) < min(b, d) for spans in days for a, b in spans for c, d in clients)


def _minutes(value: Any, _: frozenset[int]) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= CALLBACK_MINUTES:
        raise ValueError(f"It must be a number of minutes from 1 to {CALLBACK_MINUTES}.")
    return value


def _country(value: Any, _: frozenset[int]) -> str:
    if not isinstance(value, str) or value.upper() not in COUNTRIES:
        raise ValueError("This country is not known. Use two letters such as UA.")
    return value.upper()


def _word(words: tuple[str, ...]) -> Callable[[Any, frozenset[int]], str]:
    def read(value: Any, _: frozenset[int]) -> str:
        if value not in words:
            raise ValueError(f"It must be one of: {', '.join(words)}.")
        return str(value)

    return read


def _status_word(value: Any, _: frozenset[int]) -> str:
    if not isinstance(value, str) or not re.fullmatch(r"[A-Za-z0-9_-]{1,20}", value.strip()):
        raise ValueError("A status is a word of 1 to 20 letters and digits, such as PAUS.")
    return value.strip()


def _sources(value: Any, _: frozenset[int]) -> tuple[str, ...]:
    if not isinstance(value, list) or any(one not in SOURCES for one in value):
        raise ValueError(f"It must be a list of: {', '.join(SOURCES)}.")
    return tuple(one for one in SOURCES if one in value)


def _pace(value: Any, _: frozenset[int]) -> float:
    least, most = PACE
    if isinstance(value, bool) or not isinstance(value, int | float) or not least <= value <= most:
        raise ValueError(f"Requests per second are a number from {least} to {most}.")
    return float(value)


_READERS: Final[Mapping[str, Callable[[Any, frozenset[int]], Any]]] = {
    "pbx_timezone": _zone,
    "default_user": _user,
    "drive_managers": _users,
    "line_users": _line_users,
    "line_names": _line_names,
    "line_zones": _line_zones,
    "country": _country,
    "extension_users": _extension_users,
    "missed_owner": _word(MISSED_OWNERS),
    "transfer_owner": _word(TRANSFER_OWNERS),
    "queue_user": _user,
    "group_users": _group_users,
    "status_work": _status_word,
    "status_pause": _status_word,
    "status_sources": _sources,
    "pbx_requests_per_second": _pace,
    "dialers": _dialers,
    "dialer_templates": _templates,
    "hours": _hours,
    "client_hours": _client_hours,
    "callback_minutes": _minutes,
    "managers": _users,
    **dict.fromkeys(SWITCHES, _switch),
}
