from __future__ import annotations

import threading
from collections import defaultdict

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rerankd.experiments import counters as module
from rerankd.experiments.counters import Counters
from rerankd.experiments.sequential_tests import Sums

KEYS = st.tuples(st.integers(1, 2), st.integers(0, 1), st.sampled_from(["champion", "challenger"]))
VALUES = st.dictionaries(st.sampled_from(["errors", "latency"]), st.integers(-3, 3).map(float), max_size=2)


@pytest.mark.slow
@given(st.lists(st.tuples(KEYS, VALUES, st.booleans(), st.booleans())))
def test_nothing_is_lost_or_counted_twice(
    requests: list[tuple[tuple[int, int, str], dict[str, float], bool, bool]],
) -> None:
    counters = Counters()
    expected: dict[tuple[int, int, str, str], Sums] = defaultdict(Sums)
    totals: dict[tuple[int, int, str, str], Sums] = defaultdict(Sums)
    for key, values, drain, away in requests:
        counters.add(*key, values)
        for metric, value in values.items():
            expected[*key, metric] += Sums(1, value, value * value)
        if drain:
            snapshot = counters.drain()
            if away:
                counters.restore(snapshot)
            else:
                for position, sums in snapshot.sums.items():
                    totals[position] += sums
    for position, sums in counters.drain().sums.items():
        totals[position] += sums
    assert totals == expected


def test_a_unit_is_told_once_a_step() -> None:
    counters = Counters()
    for step in (0, 0, 1):
        counters.add(1, step, "challenger", {}, "u")
    assert counters.drain().units == {(1, 0, "u"): "challenger", (1, 1, "u"): "challenger"}
    counters.add(1, 1, "challenger", {}, "u")
    assert not counters.drain()
    counters.forget({(1, 0)})
    counters.add(1, 1, "challenger", {}, "u")
    assert counters.drain()


def test_units_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_UNITS", 10)
    counters = Counters()
    for number in range(100):
        counters.add(1, 0, "challenger", {"errors": 0.0}, f"u{number}")
    snapshot = counters.drain()
    assert len(snapshot.units) == 10
    assert snapshot.sums[1, 0, "challenger", "errors"].count == 100


def test_many_threads() -> None:
    counters = Counters()

    def work() -> None:
        for _ in range(2000):
            counters.add(1, 0, "champion", {"errors": 1.0})

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert counters.drain().sums[1, 0, "champion", "errors"].total == 8000
