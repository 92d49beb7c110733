"""The kinds of calls and how each runs: who rings when, who answers, how it ends (unitalk.md §5, samples).

Seconds given by the caller are what the PBX will tell: `ring_seconds` until somebody picks up or nobody
does, `talk` after that.
"""

from __future__ import annotations

from collections.abc import Sequence

from unitalk.sandbox.book import GREETING_SECONDS, TRANSFER_RING_SECONDS, CallBook, Facts, cause_of
from unitalk.sandbox.model import TERMINAL, SandboxCall

Ring = Sequence[str | Sequence[str]]
Transfers = Sequence[tuple[str, float]]

# Outcomes of dialer calls in which a person picked up, but no operator came (§3.5).
REACHED_WITHOUT_OPERATOR = frozenset({"ANSW_NF_OP", "ANSW_RJCT", "ANSW_OP_NA"})
# Outcomes that are told without the number having rung at all.
NEVER_RANG = frozenset({"CLIENT_CALLED", "AUDIO_ERR", "WRONG_DIR", "WRONGDIR", "CANCEL", "AUTOCANCEL"})
# Outcomes of a plain call in which the client's phone made a sound (§3.4).
CLIENT_RANG = frozenset({"ANSWER", "NOANSWER"})


def waves(ring: Ring) -> list[tuple[str, ...]]:
    """`["2001", "2002"]` rings both at once; `[["2001"], ["2002"]]` one after the other."""
    together = tuple(part for part in ring if isinstance(part, str))
    if len(together) == len(ring):
        return [together] if together else []
    return [(part,) if isinstance(part, str) else tuple(part) for part in ring]


def incoming(
    book: CallBook,
    facts: Facts,
    number: str,
    *,
    line: str,
    ring: Ring,
    answered_by: str | None,
    talk: float,
    ring_seconds: float,
    group: str | None,
    state: str | None,
    cause: int | None,
    transfers: Transfers,
) -> SandboxCall:
    """A client calls. Without `answered_by` he is missed; with no `ring` he hung up in the greeting."""
    draft = book.draft(facts)
    draft.step("CALL_NEW", number, [])
    rung: list[str] = []
    for wave in waves(ring):
        draft.at += GREETING_SECONDS if not rung else ring_seconds
        rung += [extension for extension in wave if extension not in rung]
        draft.step("CALL_REDIRECT", number, wave, group)
    draft.at += ring_seconds
    told_group = group if rung or answered_by else None
    if answered_by is None:
        outcome = state or "NOANSWER"
        told_cause = cause if cause is not None else (16 if not rung else cause_of(outcome))
        draft.step(TERMINAL, number, rung, told_group)
    else:
        outcome, told_cause = state or "ANSWER", 16 if cause is None else cause
        draft.step("CALL_ANSWER", number, [answered_by], told_group)
        draft.talks(answered_by, talk)
        for extension, seconds in transfers:
            draft.step("CALL_REDIRECT", number, [extension], told_group)
            draft.at += TRANSFER_RING_SECONDS
            draft.step("CALL_ANSWER", number, [extension], told_group)
            draft.talks(extension, seconds)
        draft.step(TERMINAL, number, [draft.answered_by[-1]], told_group)
    return book.add(
        draft,
        facts,
        kind="incoming",
        direction="IN",
        number=number,
        line=line,
        state=outcome,
        cause=told_cause,
        group=told_group,
    )


def outgoing(
    book: CallBook,
    facts: Facts,
    extension: str,
    number: str,
    *,
    line: str | None,
    state: str,
    talk: float,
    ring_seconds: float,
    cause: int | None,
) -> SandboxCall:
    """An operator calls a client: `from` is the inner line, `to[0]` the client (§3.3)."""
    draft = book.draft(facts)
    draft.step("CALL_NEW", extension, [number])
    draft.at += ring_seconds
    if state == "ANSWER":
        draft.step("CALL_ANSWER", extension, [number])
        draft.talks(extension, talk)
    draft.step(TERMINAL, extension, [number])
    return book.add(
        draft,
        facts,
        kind="outgoing",
        direction="OUT",
        number=number,
        line=line,
        state=state,
        cause=cause_of(state) if cause is None else cause,
    )


def inner(
    book: CallBook, facts: Facts, extension: str, to: str, *, state: str, talk: float, ring_seconds: float
) -> SandboxCall:
    """Two inner lines; `outerNumber` and `link` are null in the sample. Never a customer's call."""
    draft = book.draft(facts)
    draft.step("CALL_NEW", extension, [to])
    draft.at += ring_seconds
    if state == "ANSWER":
        draft.step("CALL_ANSWER", extension, [to])
        draft.talks(to, talk)
    draft.step(TERMINAL, extension, [to])
    return book.add(
        draft,
        facts,
        kind="inner",
        direction="INNER",
        number=to,
        line=None,
        state=state,
        cause=cause_of(state),
    )


def originate(
    book: CallBook, facts: Facts, number: str, *, line: str, state: str, talk: float, ring_seconds: float
) -> SandboxCall:
    """A call that plays audio or an IVR; no operator is in it (§4.2)."""
    draft = book.draft(facts)
    draft.step("CALL_NEW", line, [number])
    draft.at += ring_seconds
    if state == "ANSWER":
        draft.step("CALL_ANSWER", line, [number])
        draft.talk += talk
        draft.at += talk
        if facts.pressed_digit is not None:
            draft.step("IVR_ACTION", line, [number])
    draft.step(TERMINAL, line, [number])
    return book.add(
        draft,
        facts,
        kind="originate",
        direction="OUT",
        number=number,
        line=line,
        state=state,
        cause=cause_of(state),
    )


def autodial(
    book: CallBook,
    facts: Facts,
    number: str,
    *,
    line: str,
    outcome: str,
    operator: str,
    talk: float,
    ring_seconds: float,
    wait: float,
) -> SandboxCall:
    """A dialer's call (§3.5, §3.8 assumed): the callee and the operator answer apart."""
    draft = book.draft(facts)
    told_by = line
    if outcome not in NEVER_RANG:
        draft.step("CALL_NEW", line, [number])
        draft.at += ring_seconds
    if outcome == "ANSWER" or outcome in REACHED_WITHOUT_OPERATOR:
        draft.step("CALL_ANSWER", line, [number])
        draft.at += wait
    if outcome == "ANSWER":
        draft.step("CALL_ANSWER", operator, [number])
        draft.talks(operator, talk)
        told_by = operator
    draft.step(TERMINAL, told_by, [number])
    return book.add(
        draft,
        facts,
        kind="autodial",
        direction="OUT",
        number=number,
        line=line,
        state=outcome,
        cause=16 if outcome == "ANSWER" else None,
    )
