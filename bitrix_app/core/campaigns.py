"""A campaign: our list of phones for one dialer of the PBX. Pure (unitalk.md §4.6, design.md §5).

Phones travel in batches, one `ADD_PHONES` each. What the PBX does with them it tells by the calls that
it makes: each call is one try of a phone with exactly one outcome. A phone's state follows from its
batch's state and its tries alone, so the order in which answers, webhooks and crashes come does not
matter. No batch is said twice unless a person said so.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from types import MappingProxyType
from typing import Any, Final

from bitrix_app.core.outcome import Outcome
from bitrix_app.core.packing import known
from bitrix_app.core.retry import DOUBT_MATURES

BATCH_MOST: Final = 1000
"""Phones of one `ADD_PHONES` (unitalk.md §1.2)."""
WAITS_FOR_AGENTS: Final = 86_400.0
"""Seconds after which a batch that no agent was there for is given back: old lists annoy clients."""


class PhoneState(StrEnum):
    WAITING = "waiting"
    """Taken, not said to the PBX yet."""
    SENDING = "sending"
    """Its batch was said and has no answer yet."""
    SENT = "sent"
    """The PBX has it; tries may have happened, more may come."""
    FINISHED = "finished"
    """No more tries are expected."""
    ATTENTION = "attention"
    """A person has to look; `reason` says why."""
    REFUSED = "refused"
    """Not taken; `reason` says why."""


OPEN: Final = (PhoneState.WAITING, PhoneState.SENDING, PhoneState.SENT, PhoneState.ATTENTION)
"""While a phone is in one of these, its number is not taken into the same campaign again."""


class Reason(StrEnum):
    """Why a phone was refused or needs a person."""

    DUPLICATE = "duplicate"
    DO_NOT_CALL = "do_not_call"
    NOT_A_NUMBER = "not_a_number"
    NO_NUMBER = "no_number"
    NOT_FOUND = "not_found"
    NO_AGENT = "no_agent"
    BATCH_IN_DOUBT = "batch_in_doubt"
    BATCH_REFUSED = "batch_refused"
    NO_OUTCOME = "no_outcome"


LAST_WORDS: Final = frozenset(
    {
        Outcome.ANSWERED,
        Outcome.INVALID_NUMBER,
        Outcome.CALLED_ELSEWHERE,
        Outcome.CANCELLED,
        Outcome.BLOCKED,
        Outcome.BAD_DIRECTION,
    }
)
"""Outcomes after which a dialer has no reason to try the number again (unitalk.md §3.5)."""


@dataclass(frozen=True, slots=True)
class Phone:
    """One entry of a campaign. `number` is E.164 with plus; of a refused one it may be the raw text.

    `record` is `LEAD:1205` or empty. `tries` counts calls that ended, `outcome` is the latest one's.
    Times are unix seconds.
    """

    id: str
    dialer: str
    number: str
    record: str = ""
    state: PhoneState = PhoneState.WAITING
    reason: str = ""
    batch: str = ""
    tries: int = 0
    outcome: Outcome | None = None
    over: bool = False
    """The dialer said that it is done with it."""
    added_at: float = 0.0
    added_by: int = 0
    changed_at: float = 0.0

    @property
    def meta(self) -> str:
        """Our own text beside the number: names the record for the dispositions, and this entry."""
        kind, _, number = self.record.partition(":")
        return f"b24:{kind.lower()}:{number}:{self.id}" if number else f"b24:phone:{self.id}"

    @property
    def meta_by_number(self) -> str:
        """What a call without our mark is given when dialer and number tell the phone: no proof of
        anything that we said."""
        return f"{self.meta}{BY_NUMBER}"


def phone_ids(stem: str, count: int) -> list[str]:
    """So many ids in order; `stem` is unique among all stems and begins with the time."""
    return [f"p{stem}{number:04x}" for number in range(count)]


BY_NUMBER: Final = ":by-number"
_META: Final = re.compile(
    r"b24:(?:phone|(?:lead|deal|contact|company):[0-9]{1,15}):(p[0-9a-f]{8,40})(?:" + BY_NUMBER + ")?", re.I
)


def phone_in(meta: str | None) -> str | None:
    """The phone's id in a call's meta, `None` when the meta is not one of ours."""
    found = _META.fullmatch((meta or "").strip())
    return found[1].lower() if found else None


def is_proof(meta: str | None) -> bool:
    """Whether the PBX itself said our mark: then it has what we sent with it."""
    return phone_in(meta) is not None and not (meta or "").strip().lower().endswith(BY_NUMBER)


@dataclass(frozen=True, slots=True)
class Try:
    """One call of a dialer that ended. `phone` is empty for a number that we did not give it."""

    call_id: str
    dialer: str
    phone: str
    outcome: Outcome
    ended_at: float


# --- taking phones in --------------------------------------------------------------------------------


def admitted(
    phones: Iterable[Phone], open_numbers: Collection[str], forbidden: Collection[str]
) -> list[Phone]:
    """The phones as they are taken or refused, in order; one that came refused stays so."""
    seen = set(open_numbers)
    judged: list[Phone] = []
    for phone in phones:
        if phone.state is PhoneState.REFUSED:
            judged.append(phone)
        elif phone.number in forbidden:
            judged.append(refused(phone, Reason.DO_NOT_CALL))
        elif phone.number in seen:
            judged.append(refused(phone, Reason.DUPLICATE))
        else:
            seen.add(phone.number)
            judged.append(phone)
    return judged


def refused(phone: Phone, reason: Reason) -> Phone:
    return replace(phone, state=PhoneState.REFUSED, reason=reason.value, batch="")


# --- batches -----------------------------------------------------------------------------------------


class BatchState(StrEnum):
    WAITING = "waiting"
    SENDING = "sending"
    """It was said, or is about to be: whoever finds it so has to find out first."""
    SENT = "sent"
    DOUBT = "doubt"
    """The answer was lost and nothing proves either way: a person decides."""
    REFUSED = "refused"
    """The PBX said no."""
    DROPPED = "dropped"
    """Nothing of it is left to be said."""


class NotSettled(Exception):
    """A person may settle only a batch in doubt or a refused one."""


@dataclass(frozen=True, slots=True)
class Batch:
    """Up to 1,000 phones of one request. `requests` counts how often it left for the PBX, `turn` how
    often a person had it sent anew. `message` and `hint` are words for people.
    """

    id: str
    dialer: str
    count: int
    created_at: float
    state: BatchState = BatchState.WAITING
    said_at: float | None = None
    accepted_at: float | None = None
    proof: str = ""
    """What proved that it arrived: `answer`, `check`, `call`, `person`."""
    requests: int = 0
    turn: int = 0
    code: str = ""
    message: str = ""
    hint: str = ""
    settled_by: int | None = None

    @property
    def key(self) -> str:
        """Its job's key: another one for each turn."""
        return f"send:{self.turn}"


class Step(StrEnum):
    """What is to be done with a batch now."""

    SAY = "say"
    CHECK = "check"
    LATER = "later"
    """A request that was said may still land: nothing can be proved before the doubt matured."""
    NOTHING = "nothing"


def next_step(batch: Batch, now: float) -> Step:
    """Only a batch that waits may be said; one that was said is only ever looked for."""
    if batch.state is BatchState.WAITING:
        return Step.SAY
    if batch.state is not BatchState.SENDING:
        return Step.NOTHING
    return Step.CHECK if now >= matures_at(batch) else Step.LATER


def matures_at(batch: Batch) -> float:
    return (batch.said_at or 0.0) + DOUBT_MATURES


def said(batch: Batch, now: float) -> Batch:
    """To be stored before the request leaves. Raises `ValueError` for a batch that may not be said."""
    if next_step(batch, now) is not Step.SAY:
        raise ValueError(f"batch {batch.id} is {batch.state} and must not be said")
    return _plain(replace(batch, state=BatchState.SENDING, said_at=now, requests=batch.requests + 1))


def unsaid(batch: Batch) -> Batch:
    """Nothing left the process after all."""
    if batch.state is not BatchState.SENDING:
        return batch
    return replace(batch, state=BatchState.WAITING, said_at=None, requests=batch.requests - 1)


def arrived(batch: Batch, now: float, proof: str) -> Batch:
    """The PBX has it. Holds from every state: a proof beats what was believed before it."""
    if batch.state is BatchState.SENT:
        return batch
    return _plain(replace(batch, state=BatchState.SENT, accepted_at=now, proof=proof))


def doubted(batch: Batch, message: str, hint: str) -> Batch:
    """Looked for and not found: that proves nothing."""
    if batch.state is not BatchState.SENDING:
        return batch
    return replace(batch, state=BatchState.DOUBT, code="BATCH_IN_DOUBT", message=message, hint=hint)


def denied(batch: Batch, code: str, message: str, hint: str) -> Batch:
    """The PBX refused the request as a whole, or it could never be said."""
    if batch.state not in (BatchState.SENDING, BatchState.WAITING):
        return batch
    return replace(batch, state=BatchState.REFUSED, code=code, message=message, hint=hint)


def by_hand(batch: Batch, *, sent: bool, user_id: int, now: float) -> Batch:
    """A person says whether it was sent; what was not is said once more. Raises `NotSettled`."""
    if batch.state not in (BatchState.DOUBT, BatchState.REFUSED):
        raise NotSettled
    settled = replace(batch, settled_by=user_id)
    if sent:
        return arrived(settled, now, "person")
    return _plain(replace(settled, state=BatchState.WAITING, said_at=None, turn=batch.turn + 1))


def _plain(batch: Batch) -> Batch:
    return replace(batch, code="", message="", hint="")


# --- a phone's state ---------------------------------------------------------------------------------


def standing(phone: Phone, batch: Batch | None) -> Phone:
    """The phone in the state that follows from its batch and its tries."""
    if phone.state is PhoneState.REFUSED:
        return phone
    if phone.tries:
        done = phone.over or phone.outcome in LAST_WORDS
        return replace(phone, state=PhoneState.FINISHED if done else PhoneState.SENT, reason="")
    state, reason = _BY_BATCH[batch.state if batch else BatchState.WAITING]
    if state is PhoneState.SENT and phone.over:
        state, reason = PhoneState.ATTENTION, Reason.NO_OUTCOME
    return replace(phone, state=state, reason=reason.value if reason else "")


_BY_BATCH: Final[Mapping[BatchState, tuple[PhoneState, Reason | None]]] = MappingProxyType(
    {
        BatchState.WAITING: (PhoneState.WAITING, None),
        BatchState.SENDING: (PhoneState.SENDING, None),
        BatchState.SENT: (PhoneState.SENT, None),
        BatchState.DOUBT: (PhoneState.ATTENTION, Reason.BATCH_IN_DOUBT),
        BatchState.REFUSED: (PhoneState.ATTENTION, Reason.BATCH_REFUSED),
        BatchState.DROPPED: (PhoneState.WAITING, None),
    }
)


def tried(phone: Phone, tries: Sequence[Try]) -> Phone:
    """The phone with its tries counted; the last to end names the outcome. Follow with `standing`."""
    last = max(tries, key=lambda one: (one.ended_at, one.call_id), default=None)
    return replace(phone, tries=len(tries), outcome=last.outcome if last else None)


def unpack_batch(data: Mapping[str, Any]) -> Batch:
    """The batch back from `packing.pack`."""
    values = known(Batch, data)
    return Batch(**{**values, "state": BatchState(values.get("state", BatchState.WAITING))})
