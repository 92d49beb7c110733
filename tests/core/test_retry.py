"""When a failed job is tried again."""

import pytest

from bitrix_app.core.errors import AnswerLost, NotSent, Refused, Throttled, Trouble, Verdict
from bitrix_app.core.retry import LATEST, PATIENT, GiveUp, RetryAt, decide

NOW = 1_000_000.0


def plan(trouble: Trouble, attempts: int = 1, kind: str = "finish", jitter: float = 0.0) -> RetryAt | GiveUp:
    return decide(kind, trouble, attempts, NOW, jitter)


@pytest.mark.parametrize(("attempt", "pause"), list(enumerate(PATIENT, start=1)))
def test_pauses_grow_by_the_table(attempt: int, pause: float) -> None:
    assert plan(NotSent("no route"), attempt) == RetryAt(NOW + pause, True, False, "NOT_SENT")


def test_after_the_last_pause_a_person_is_asked() -> None:
    given_up = plan(NotSent("no route"), len(PATIENT) + 1)
    assert isinstance(given_up, GiveUp)
    assert "no route" in given_up.reason


@pytest.mark.parametrize("jitter", [-1.0, 1.0])
def test_jitter_moves_a_pause_by_a_fifth_at_most(jitter: float) -> None:
    moved = plan(NotSent("x"), 3, jitter=jitter)
    assert isinstance(moved, RetryAt)
    assert moved.at == pytest.approx(NOW + 120 * (1 + 0.2 * jitter))


def test_a_refusal_goes_to_a_person_at_once() -> None:
    assert plan(Refused("Unknown TYPE")) == GiveUp("Unknown TYPE")


def test_a_limit_is_obeyed_and_does_not_count() -> None:
    assert plan(Throttled("slow", retry_at=NOW + 77)) == RetryAt(NOW + 77, False, False, "THROTTLED")


def test_no_vendor_can_send_us_away_for_years() -> None:
    far = plan(Throttled("slow", retry_at=NOW + 10 * 365 * 86_400))
    assert isinstance(far, RetryAt)
    assert far.at == NOW + LATEST


def test_doubt_matures_a_minute_unless_a_card_waits() -> None:
    assert plan(AnswerLost("reset")) == RetryAt(NOW + 60, True, True, "ANSWER_LOST")
    assert decide("register", AnswerLost("reset"), 1, NOW, 0.0, is_live=True) == RetryAt(
        NOW + 5, True, True, "ANSWER_LOST"
    )


def test_a_card_is_given_up_within_seconds() -> None:
    assert isinstance(plan(NotSent("x"), 4, kind="show"), GiveUp)


def test_every_branch_of_the_tree_has_a_verdict_and_a_category() -> None:
    def branches(cls: type[Trouble]) -> list[type[Trouble]]:
        subs = [sub for sub in cls.__subclasses__() if sub.__module__ == cls.__module__]
        return [cls, *(b for sub in subs for b in branches(sub))]

    tree = branches(Trouble)
    assert len(tree) > 15
    for branch in tree:
        assert branch.verdict in Verdict
        assert branch("x").category
        assert branch.__name__ in (__import__("bitrix_app.core.errors", fromlist=["x"]).__doc__ or "")
