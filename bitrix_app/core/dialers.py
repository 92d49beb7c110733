"""A dialer of the PBX as we know it, and what people want of it. Pure (unitalk.md §3.8, §4.6)."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any, Final

from bitrix_app.core.packing import known


class Running(StrEnum):
    """What a dialer's own word for its status means."""

    YES = "running"
    NO = "stopped"
    FINISHED = "finished"
    UNKNOWN = "unknown"


_WORDS: Final = {
    Running.YES: "running run started start working work active enabled on inprogress launched",
    Running.NO: "stopped stop paused pause inactive disabled off idle new draft created",
    Running.FINISHED: "finished finish completed complete done ended end",
}


def running(word: object) -> Running:
    """By words that such systems use; the vendor's own list is unknown (unitalk.md §4.6)."""
    if isinstance(word, bool):
        return Running.YES if word else Running.NO
    plain = re.sub(r"[^a-z]", "", str(word or "").lower())
    return next((state for state, words in _WORDS.items() if plain in words.split()), Running.UNKNOWN)


@dataclass(frozen=True, slots=True)
class Campaign:
    """What we know and want of one dialer. `wanted` is the last command of a person, `start` or `stop`,
    numbered by `turn`: an older one must not overtake it. `code`, `message`, `hint`: why it did not work.
    """

    dialer: str
    name: str = ""
    status: str = ""
    """The dialer's own word, as last told."""
    status_at: float | None = None
    finished_at: float | None = None
    wanted: str = ""
    wanted_by: int = 0
    wanted_at: float | None = None
    turn: int = 0
    settled: bool = True
    """The PBX took the last command."""
    code: str = ""
    message: str = ""
    hint: str = ""

    @property
    def running(self) -> Running:
        return running(self.status) if self.status else Running.UNKNOWN


@dataclass(frozen=True, slots=True)
class DialerNews:
    """The PBX told about a dialer as a whole (unitalk.md §3.8): its status word, or that it finished."""

    dialer: str
    status: str = ""
    finished: bool = False


def heard(campaign: Campaign, news: DialerNews, now: float) -> Campaign:
    """The campaign after news of its dialer."""
    if news.finished:
        campaign = replace(campaign, finished_at=now)
    if news.status:
        campaign = replace(campaign, status=news.status, status_at=now)
    return campaign


def switched(campaign: Campaign, *, on: bool, user_id: int, now: float) -> Campaign:
    """A person wants it started or stopped."""
    return replace(
        campaign,
        wanted="start" if on else "stop",
        wanted_by=user_id,
        wanted_at=now,
        turn=campaign.turn + 1,
        settled=False,
        finished_at=None if on else campaign.finished_at,
        code="",
        message="",
        hint="",
    )


def unpack_campaign(data: Mapping[str, Any]) -> Campaign:
    """The campaign back from `packing.pack`."""
    return Campaign(**known(Campaign, data))
