"""When events did not come, and when that can be told."""

from __future__ import annotations

import pytest

from bitrix_app.core.outage import (
    DOWN_AFTER,
    SILENT_AFTER,
    TELL_AFTER,
    TELL_LATEST,
    Kind,
    Outage,
    downtime,
    may_tell,
    pack,
    silent_since,
    unpack,
)

NOW = 1_788_333_300.0


@pytest.mark.parametrize(
    ("beat", "gap"),
    [
        (None, None),
        (NOW - DOWN_AFTER + 1, None),
        (NOW - DOWN_AFTER, (NOW - DOWN_AFTER, NOW)),
        (NOW - 2_400, (NOW - 2_400, NOW)),
    ],
)
def test_downtime_is_what_lies_after_the_last_heartbeat(
    beat: float | None, gap: tuple[float, float] | None
) -> None:
    assert downtime(beat, NOW) == gap


MISSED = [(NOW - 800, NOW - 700)]
LONG_UP = NOW - 86_400


@pytest.mark.parametrize(
    ("heard", "up_since", "missed", "since"),
    [
        (NOW - SILENT_AFTER, LONG_UP, MISSED, NOW - 800),
        (NOW - SILENT_AFTER + 1, LONG_UP, MISSED, None),
        (NOW - 5_000, LONG_UP, [], None),
        (NOW - 5_000, NOW - 100, MISSED, None),
        (NOW - 5_000, NOW - 1_000, [(NOW - 4_000, NOW - 3_000)], None),
        (NOW - 750, NOW - 5_000, MISSED, None),
        (None, LONG_UP, MISSED, NOW - 800),
        (NOW - 5_000, LONG_UP, [(NOW - 6_000, NOW - 800), *MISSED], NOW - 5_000),
    ],
    ids=[
        "silent for a quarter of an hour with a call",
        "not yet a quarter of an hour",
        "nobody called",
        "we started a moment ago",
        "the call was over before we started",
        "a webhook came a moment ago",
        "no webhook ever",
        "a long call that began before the last webhook",
    ],
)
def test_silence_needs_a_call_that_ended_while_we_listened(
    heard: float | None, up_since: float, missed: list[tuple[float, float]], since: float | None
) -> None:
    assert silent_since(heard, up_since, missed, NOW) == since


OVER = Outage("p", Kind.DOWN, NOW - 5_000, NOW - 3_000)


@pytest.mark.parametrize(
    ("outage", "covered", "waiting", "now", "told"),
    [
        (OVER, NOW, 0, NOW, True),
        (OVER, OVER.ended_at or 0, 0, NOW, False),
        (OVER, (OVER.ended_at or 0) + TELL_AFTER, 0, NOW, True),
        (OVER, NOW, 1, NOW, False),
        (OVER, NOW + TELL_LATEST, 1, NOW + TELL_LATEST, True),
        (Outage("p", Kind.SILENT, NOW - 5_000), NOW, 0, NOW, False),
        (Outage("p", Kind.DOWN, NOW - 5_000, NOW - 3_000, told=True), NOW, 0, NOW, False),
    ],
)
def test_an_outage_is_told_once_when_its_calls_are_settled(
    outage: Outage, covered: float, waiting: int, now: float, told: bool
) -> None:
    assert may_tell(outage, covered, waiting, now) is told


def test_an_outage_comes_back_from_the_store_as_it_was() -> None:
    assert unpack({**pack(OVER), "of a newer version": 1}) == OVER
