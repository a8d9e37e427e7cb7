from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rerankd.engine.cache import LayeredCache, MemoryCache, RedisCache, pair_keys
from rerankd.errors import InvalidRequestError
from rerankd.scoring.encoder import TruncationOptions
from rerankd.types import PairScore

SCORE = PairScore(1.0, 7, False)
TEXTS = st.text(max_size=8)


@given(st.tuples(TEXTS, TEXTS, TEXTS, TEXTS), st.tuples(TEXTS, TEXTS, TEXTS, TEXTS))
def test_keys_differ_exactly_when_something_differs(one: tuple[str, ...], other: tuple[str, ...]) -> None:
    (first,) = pair_keys(one[0], TruncationOptions(64), one[1], [one[2]], scope=one[3])
    (second,) = pair_keys(other[0], TruncationOptions(64), other[1], [other[2]], scope=other[3])
    assert (first == second) == (one == other)


def test_keys_depend_on_the_truncation_and_take_any_text() -> None:
    keys = {
        pair_keys("v", truncation, "q", ["d\ud800"])[0] for truncation in (TruncationOptions(64), TruncationOptions(65))
    }
    assert len(keys) == 2


def test_memory_cache_keeps_the_most_recently_used() -> None:
    cache = MemoryCache(2)
    cache.put({b"a": SCORE, b"b": SCORE})
    assert set(cache.get([b"a"])) == {b"a"}
    cache.put({b"c": SCORE})
    assert set(cache.get([b"a", b"b", b"c"])) == {b"a", b"c"}
    assert len(cache) == 2


def test_layers() -> None:
    near, far = MemoryCache(10), MemoryCache(10)
    both = LayeredCache(near, far)
    far.put({b"a": SCORE})
    assert both.get([b"a", b"b"]) == {b"a": SCORE}
    assert near.get([b"a"]) == {b"a": SCORE}
    both.put({b"b": SCORE})
    assert far.get([b"b"]) == {b"b": SCORE}


@pytest.mark.parametrize("url", ["redis://host?db=x", "redis://:hidden@host:port/0", "http://:hidden@host"])
def test_an_address_that_is_none_is_refused_and_not_repeated(url: str) -> None:
    with pytest.raises(InvalidRequestError, match="redis_url is not a Redis URL") as caught:
        RedisCache(url, 60)
    assert "hidden" not in str(caught.value)
