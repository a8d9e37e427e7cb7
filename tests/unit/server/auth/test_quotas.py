from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from rerankd.errors import PermissionDeniedError, RateLimitedError
from rerankd.server.auth.keys import LIMITS, ApiKey
from rerankd.server.auth.quotas import DAY, MemoryQuotas, Quotas

NOON = 20_000 * DAY + DAY / 2
SLACK = 1e-3  # of a token or request; times are rounded to 0.24 µs


def key_with(name: str = "team", /, **limits: Any) -> ApiKey:
    return ApiKey(name, name, "ab" * 32, **limits)


def refused(quotas: Quotas, key: ApiKey, tokens: int, now: float) -> RateLimitedError | None:
    try:
        quotas.charge(key, tokens, now)
    except RateLimitedError as error:
        return error
    return None


limits = st.fixed_dictionaries(
    {},
    optional={
        "requests_per_minute": st.integers(1, 20),
        "tokens_per_minute": st.integers(1, 1000),
        "requests_per_day": st.integers(1, 40),
        "tokens_per_day": st.integers(500, 5000),
    },
)
charges = st.lists(
    st.tuples(st.one_of(st.floats(0, 90), st.sampled_from([0.0, 3600.0, DAY / 2])), st.integers(0, 500)),
    min_size=1,
    max_size=60,
)


@settings(deadline=None)
@given(limits, charges, st.floats(1e9, 3e9))
def test_no_window_holds_more_than_the_limits(limits: dict[str, Any], charges: Any, now: float) -> None:
    quotas, key = Quotas(), key_with(**limits)
    admitted: list[tuple[float, int]] = []
    for pause, tokens in charges:
        now += pause
        if not refused(quotas, key, tokens, now):
            admitted.append((now, tokens))
    for first, (start, _) in enumerate(admitted):
        requests, spent = 0, 0
        for moment, tokens in admitted[first:]:
            requests, spent = requests + 1, spent + tokens
            minutes = (moment - start) / 60
            if limit := key.requests_per_minute:
                assert requests <= limit * (1 + minutes) + SLACK
            if limit := key.tokens_per_minute:
                debt = max(0, tokens - limit)  # a request larger than the bucket passes when it is full
                assert spent <= limit * (1 + minutes) + debt + SLACK
    for day in {moment // DAY for moment, _ in admitted}:
        today = [tokens for moment, tokens in admitted if moment // DAY == day]
        assert len(today) <= (key.requests_per_day or math.inf)
        assert sum(today) <= (key.tokens_per_day or math.inf)


@settings(deadline=None)
@given(limits, charges, st.floats(1e9, 3e9))
def test_retry_after_is_true(limits: dict[str, Any], charges: Any, now: float) -> None:
    quotas, key = Quotas(), key_with(**limits)
    for pause, tokens in charges:
        now += pause
        error = refused(quotas, key, tokens, now)
        if not error:
            continue
        if error.retry_after > 0.01:
            assert refused(quotas, key, tokens, now + error.retry_after - 0.005), "and no longer than needed"
        now += error.retry_after
        assert refused(quotas, key, tokens, now) is None


@settings(deadline=None)
@given(
    st.lists(st.tuples(st.floats(0, 30), st.integers(0, 400), st.integers(0, 400)), min_size=1, max_size=20),
    st.integers(400, 1000),
)
def test_correcting_an_estimate_is_charging_what_was_real(charges: Any, limit: int) -> None:
    corrected, real = Quotas(), Quotas()
    key = key_with(tokens_per_minute=limit, tokens_per_day=3000)
    now = NOON
    for pause, estimate, spent in charges:
        now += pause
        if refused(corrected, key, estimate, now):
            continue
        corrected.correct(key, spent - estimate, now)
        real.correct(key, spent, now)
    left = refused(corrected, key, limit, now), refused(real, key, limit, now)
    assert (left[0] is None) == (left[1] is None)
    if left[0] and left[1]:
        assert left[0].retry_after == pytest.approx(left[1].retry_after, abs=1e-3)


def test_a_limit_that_is_used_up_is_named() -> None:
    quotas, key = Quotas(), key_with(requests_per_minute=2, requests_per_day=3)
    quotas.charge(key, 1, NOON)
    quotas.charge(key, 1, NOON)
    error = refused(quotas, key, 1, NOON)
    assert error
    assert error.message == "Key team has used up its requests_per_minute (2)."
    assert error.hint == "Wait 30.0 seconds."
    assert error.retry_after == pytest.approx(30, abs=0.01)
    quotas.charge(key, 1, NOON + 30.001)
    error = refused(quotas, key, 1, NOON + 40)
    assert error
    assert "requests_per_day (3)" in error.message, "the limit that lasts longest is named"
    assert error.retry_after == pytest.approx(DAY / 2 - 40, abs=0.01)


def test_a_refused_request_costs_nothing() -> None:
    quotas, key = Quotas(), key_with(requests_per_minute=5, tokens_per_minute=100)
    quotas.charge(key, 100, NOON)
    for _ in range(10):
        assert refused(quotas, key, 50, NOON)
    for _ in range(4):
        quotas.charge(key, 0, NOON)


def test_a_request_larger_than_the_bucket_waits_for_a_full_one_and_leaves_a_debt() -> None:
    quotas, key = Quotas(), key_with(tokens_per_minute=60)
    quotas.charge(key, 180, NOON)
    error = refused(quotas, key, 1, NOON)
    assert error
    assert error.retry_after == pytest.approx(121, abs=0.01)
    error = refused(quotas, key, 180, NOON)
    assert error
    assert error.retry_after == pytest.approx(180, abs=0.01)
    quotas.charge(key, 180, NOON + 180)


def test_a_request_larger_than_the_day_never_passes() -> None:
    quotas, key = Quotas(), key_with(tokens_per_day=100)
    with pytest.raises(PermissionDeniedError, match="about 101 tokens; tokens_per_day of key team is 100"):
        quotas.charge(key, 101, NOON)
    quotas.charge(key, 1, NOON)
    error = refused(quotas, key, 100, NOON)
    assert error
    quotas.charge(key, 100, NOON + error.retry_after)


def test_a_correction_can_pass_the_limits() -> None:
    quotas, key = Quotas(), key_with(tokens_per_minute=60, tokens_per_day=1000)
    quotas.charge(key, 10, NOON)
    quotas.correct(key, 80, NOON)
    error = refused(quotas, key, 0, NOON)
    assert error
    assert error.retry_after == pytest.approx(30, abs=0.01)
    quotas.correct(key, 2000, NOON)
    error = refused(quotas, key, 0, NOON)
    assert error
    assert "tokens_per_minute" in error.message or "tokens_per_day" in error.message


def test_yesterdays_correction_is_no_credit_today() -> None:
    quotas, key = Quotas(), key_with(tokens_per_day=100)
    quotas.charge(key, 100, NOON)
    quotas.correct(key, -60, NOON + DAY)
    quotas.charge(key, 100, NOON + DAY)
    assert refused(quotas, key, 1, NOON + DAY)


@pytest.mark.parametrize("limit", LIMITS)
def test_a_clock_set_back_gives_nothing_away(limit: str) -> None:
    quotas, key = Quotas(), key_with(**{limit: 1})
    quotas.charge(key, 1, NOON)
    earlier = NOON - 2 * DAY
    error = refused(quotas, key, 1, earlier)
    assert error
    assert refused(quotas, key, 1, earlier + error.retry_after - 0.01)
    quotas.charge(key, 1, earlier + error.retry_after)


def test_keys_do_not_share_and_unlimited_ones_are_not_counted() -> None:
    quotas = Quotas()
    for name in ("a", "b"):
        quotas.charge(key_with(name, requests_per_day=1), 1, NOON)
    for _ in range(100):
        quotas.charge(key_with("c"), 10**9, NOON)
        quotas.correct(key_with("c"), 10**9, NOON)
    assert set(quotas._uses) == {"a", "b"}


@settings(deadline=None)
@given(st.lists(st.integers(0, 9), max_size=50))
def test_memory_is_bounded_and_the_longest_unused_is_forgotten(names: list[int]) -> None:
    assume(names)
    quotas = Quotas(max_keys=3)
    for name in names:
        quotas.correct(key_with(str(name), tokens_per_day=1), 1, NOON)
    latest = list(dict.fromkeys(reversed(names)))[:3]
    assert list(quotas._uses) == [str(name) for name in reversed(latest)]


async def test_memory_quotas() -> None:
    quotas, key = MemoryQuotas(), key_with(tokens_per_day=10)
    await quotas.charge(key, 6, NOON)
    await quotas.correct(key, -4, NOON)
    await quotas.charge(key, 8, NOON)
    with pytest.raises(RateLimitedError):
        await quotas.charge(key, 1, NOON)
    await quotas.close()


def test_rankings_of_one_call_count_each_and_no_more_than_a_day_has() -> None:
    quotas, key = Quotas(), key_with(requests_per_day=10)
    quotas.charge(key, 1, 0.0, requests=8)
    with pytest.raises(RateLimitedError):
        quotas.charge(key, 1, 0.0, requests=3)
    quotas.charge(key, 1, 0.0, requests=2)
    with pytest.raises(PermissionDeniedError, match="counts as 11 requests; requests_per_day of key team is 10"):
        quotas.charge(key, 1, 0.0, requests=11)
