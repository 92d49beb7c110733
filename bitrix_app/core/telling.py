"""What a step of a call means for the retry list: told by comparing the call before and after. Pure."""

from __future__ import annotations

from bitrix_app.core.call import Call
from bitrix_app.core.dial import OPEN, DialState
from bitrix_app.core.events import Direction
from bitrix_app.core.mapping import is_missed
from bitrix_app.core.news import Given, Missed, News, Rang, Spoke, Unreached
from bitrix_app.core.outcome import Outcome


def told(before: Call, after: Call) -> tuple[News, ...]:
    """News of one step; a step that is repeated tells nothing again."""
    news: list[News] = []
    if before.dial and after.dial and before.dial.state in OPEN and after.dial.state is DialState.RANG:
        news.append(Rang())
    if after.direction is Direction.INNER or not (after.number or after.raw_number):
        return tuple(news)
    if after.outcome is not before.outcome:
        if after.outcome is Outcome.ANSWERED:
            news.append(Spoke())
        elif is_missed(after) and not is_missed(before):
            news.append(Missed())
        if before.outcome is None and after.outcome not in (Outcome.ANSWERED, Outcome.NOT_STARTED):
            if after.dial:
                news.append(Unreached())
            elif after.direction is Direction.OUT and after.owner:
                news.append(Rang())  # dialled by hand; a dialer's call is nobody's
    if after.finished and not before.finished and is_missed(after) and after.user_id is not None:
        news.append(Given(after.user_id))
    return tuple(news)
