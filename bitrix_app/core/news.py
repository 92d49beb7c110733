"""What a call has to say to the retry list, told in the transaction that moved the call. Values only."""

from __future__ import annotations

from dataclasses import dataclass

from bitrix_app.core.dial import Failure


@dataclass(frozen=True, slots=True)
class StartFailed:
    """The call could not be started. `certain`: nothing rang, so it may be tried again by itself."""

    failure: Failure
    certain: bool


@dataclass(frozen=True, slots=True)
class Rang:
    """The call that was asked for goes on at the PBX, or an agent has dialled the client by hand."""


@dataclass(frozen=True, slots=True)
class Spoke:
    """Somebody of us and the client talked."""


@dataclass(frozen=True, slots=True)
class Missed:
    """The client wanted us and reached nobody."""


@dataclass(frozen=True, slots=True)
class Given:
    """A missed call has got its owner in Bitrix24."""

    user_id: int


@dataclass(frozen=True, slots=True)
class Unreached:
    """A call that was asked for came about, but the client was not reached."""


News = StartFailed | Rang | Unreached | Spoke | Missed | Given
