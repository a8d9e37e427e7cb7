"""Full collections that look at new objects alone."""

from __future__ import annotations

import gc
from collections.abc import Iterator

import pytest

from rerankd.server.garbage import keep_collections_short


@pytest.fixture(autouse=True)
def unfrozen() -> Iterator[None]:
    gc.unfreeze()
    yield
    gc.unfreeze()


def test_what_survives_a_full_collection_is_moved_aside() -> None:
    end = keep_collections_short()
    try:
        gc.collect(1)
        assert gc.get_freeze_count() == 0
        gc.collect()
        assert gc.get_freeze_count() > 1000
    finally:
        end()


def test_it_ends_after_some_collections_and_when_it_is_told() -> None:
    before = list(gc.callbacks)
    end = keep_collections_short(times=2)
    gc.collect()
    assert len(gc.callbacks) == len(before) + 1
    gc.collect()
    assert gc.callbacks == before
    end()
    keep_collections_short()()
    assert gc.callbacks == before


def test_garbage_that_comes_later_is_collected() -> None:
    end = keep_collections_short()
    try:
        gc.collect()
        cycle: list[object] = []
        cycle.append(cycle)
        del cycle
        assert gc.collect() > 0
    finally:
        end()
