from __future__ import annotations

from rerankd.jobs.bulk.eta import Meter, Pace


def test_speed_is_that_of_the_last_minute() -> None:
    meter = Meter()
    assert meter.seen(0.0, 100, 0.1) == Pace(None, None)
    assert meter.seen(10.0, 1100, 0.2) == Pace(100.0, 80.0)
    for second in range(20, 200, 10):
        pace = meter.seen(second, 1100 + second, 0.2 + second / 1000)
    assert pace.pairs_per_second == 1.0
    assert pace.seconds_left is not None
    assert round(pace.seconds_left) == round((1 - 0.2 - 0.19) * 1000)


def test_what_cannot_be_told_is_not_told() -> None:
    meter = Meter()
    meter.seen(0.0, 0, None)
    assert meter.seen(1.0, 5, None) == Pace(5.0, None)
    meter = Meter()
    meter.seen(0.0, 0, 0.5)
    assert meter.seen(1.0, 5, 0.5) == Pace(5.0, None)
