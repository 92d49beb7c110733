"""The leaky bucket's arithmetic."""

from bitrix_app.core.throttle import Bucket

EMPTY = Bucket(capacity=50, drain=2, level=0, at=100.0)


def test_a_burst_of_the_capacity_fits_and_the_next_waits_half_a_second() -> None:
    bucket = EMPTY
    for _ in range(50):
        assert bucket.wait(100.0) == 0
        bucket = bucket.take(100.0)
    assert bucket.wait(100.0) == 0.5
    assert bucket.wait(100.5) == 0


def test_reserved_places_are_kept_for_the_live() -> None:
    bucket = EMPTY.take(100.0, 40)
    assert bucket.wait(100.0) == 0
    assert bucket.wait(100.0, reserve=10) == 0.5


def test_a_clock_that_goes_back_refills_nothing() -> None:
    full = EMPTY.filled(200.0)
    assert full.level_at(100.0) == 50
    assert full.take(100.0).at == 200.0


def test_a_larger_tariff_keeps_the_fill() -> None:
    grown = EMPTY.take(100.0, 40).resized(250, 5, 101.0)
    assert (grown.capacity, grown.drain, grown.level) == (250, 5, 38)
