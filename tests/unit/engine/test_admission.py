from __future__ import annotations

import heapq
import itertools
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rerankd.engine.admission import GRACE_SECONDS, Admission, TokenEstimate, make_retry_key, size
from rerankd.errors import DeadlineExceededError, OverloadedError


def admission(speed: int = 1000, seconds: float = 10.0) -> Admission:
    control = Admission(seconds)
    control.rate.observe(speed, 1.0)
    return control


def test_takes_what_fits_and_refuses_the_rest() -> None:
    control = admission()
    control.admit(5000, "a", queued=0, now=0.0)
    with pytest.raises(OverloadedError) as refused:
        control.admit(1000, "b", queued=4500, now=0.0)
    # 500 tokens too many, at 1000 a second.
    assert refused.value.retry_after == pytest.approx(0.5)


def test_an_empty_queue_takes_anything() -> None:
    admission().admit(10**9, "a", queued=0, now=0.0)
    Admission(10.0).admit(5, "a", queued=0, now=0.0)


def test_a_request_larger_than_the_queue_comes_in_when_half_of_it_is_free() -> None:
    control = admission()
    control.admit(10**6, "large", queued=2500, now=0.0)
    with pytest.raises(OverloadedError):
        control.admit(10**6, "larger", queued=2600, now=0.0)


def test_a_request_that_cannot_meet_its_deadline_is_told_at_once() -> None:
    control = admission()
    with pytest.raises(DeadlineExceededError, match=r"needs about 3\.0 s and its time limit is 2\.0 s"):
        control.admit(3000, "a", queued=0, now=1.0, deadline=3.0)


def test_refused_callers_get_places_one_after_the_other() -> None:
    control = admission()
    waits = []
    for caller in range(5):
        with pytest.raises(OverloadedError) as refused:
            control.admit(1000, str(caller), queued=5000, now=0.0)
        waits.append(refused.value.retry_after)
    assert waits == sorted(waits)
    assert all(later - earlier >= 1.0 for earlier, later in itertools.pairwise(waits))


def test_coming_early_keeps_the_place() -> None:
    control = admission()
    for caller in "ab":
        with pytest.raises(OverloadedError) as first:
            control.admit(3000, caller, queued=5000, now=0.0)
    with pytest.raises(OverloadedError) as again:
        control.admit(3000, "b", queued=5000, now=2.0)
    assert again.value.retry_after == pytest.approx(first.value.retry_after - 2.0)


def test_newcomers_leave_half_the_queue_to_those_who_waited() -> None:
    control = admission()
    with pytest.raises(OverloadedError) as refused:
        control.admit(1000, "waited", queued=5000, now=0.0)
    wait = refused.value.retry_after
    with pytest.raises(OverloadedError):
        control.admit(1000, "newcomer", queued=2000, now=wait)
    control.admit(1000, "waited", queued=4000, now=wait)


def test_who_came_when_told_and_finds_no_place_does_not_queue_up_again() -> None:
    control = admission()
    waits = []
    for caller in range(50):
        with pytest.raises(OverloadedError) as refused:
            control.admit(1000, str(caller), queued=5000, now=0.0)
        waits.append(refused.value.retry_after)
    with pytest.raises(OverloadedError) as again:
        control.admit(1000, "0", queued=5500, now=waits[0])
    assert again.value.retry_after == pytest.approx(1.5)
    assert waits[-1] > 50


def test_the_line_grows_slower_when_few_come_back() -> None:
    def last_wait(control: Admission, now: float) -> float:
        waits = []
        for caller in range(100):
            with pytest.raises(OverloadedError) as refused:
                control.admit(1000, f"{now} {caller}", queued=5000, now=now)
            waits.append(refused.value.retry_after)
        return max(waits)

    control = admission()
    first = last_wait(control, 0.0)
    later = last_wait(control, first + GRACE_SECONDS + 1)
    assert control.return_rate < 0.3
    assert later < first / 2


def test_places_of_those_who_never_came_are_given_up() -> None:
    control = admission()
    with pytest.raises(OverloadedError) as refused:
        control.admit(1000, "gone", queued=5000, now=0.0)
    control.admit(1000, "newcomer", queued=4000, now=refused.value.retry_after + GRACE_SECONDS + 0.1)


@pytest.mark.slow
@settings(max_examples=20, deadline=None)
@given(
    st.integers(0, 10**6),
    st.floats(1.5, 10.0),
    st.sampled_from([5.0, 10.0, 30.0]),
    st.sampled_from([1.0, 0.5, 0.1]),
    st.sampled_from([1.0, 0.7]),
)
def test_waiting_as_told_succeeds_under_lasting_overload(
    seed: int, load: float, seconds: float, return_rate: float, slowed: float
) -> None:
    """A simulated model at 10,000 tokens a second that slows down after 20 s, offered `load` times that.

    Of those who are refused some come again, once.
    """
    draw = random.Random(seed)
    control, speed, queued, clock = admission(10_000, seconds), 10_000.0, 0.0, 0.0
    events: list[tuple[float, int, int, bool]] = []
    moment = 0.0
    for number in range(int(60 * load * speed / 2000)):
        moment += draw.expovariate(load * speed / 2000)
        heapq.heappush(events, (moment, number, draw.randint(200, 3800), False))
    again = {True: 0, False: 0}
    busy = 0.0
    while events:
        now, number, tokens, retry = heapq.heappop(events)
        if now > 20 and speed == 10_000:
            speed *= slowed
            control.rate.observe(int(speed * 20), 20.0)
        busy += min(queued, (now - clock) * speed)
        queued, clock = max(0.0, queued - (now - clock) * speed), now
        try:
            control.admit(tokens, str(number), queued=int(queued), now=now)
        except OverloadedError as refused:
            if retry:
                again[False] += 1
            elif draw.random() < return_rate:
                wait = -(-refused.retry_after // 1)  # the header holds whole seconds
                heapq.heappush(events, (now + wait, number, tokens, True))
            continue
        again[True] += retry
        queued += tokens
        assert queued <= control.capacity / slowed + 3800
    assert again[True] >= 0.9 * sum(again.values())
    if clock < 100:  # while newcomers still come
        assert busy >= 0.7 * clock * 10_000 * slowed  # places are not kept at the price of idling


def test_retry_keys_tell_clients_and_bodies_apart() -> None:
    names = {make_retry_key(who, body) for who in ("a", "b") for body in (b"1", b"2")}
    assert len(names) == 4
    assert make_retry_key("", b"") == make_retry_key("", b"")


def test_estimate_learns() -> None:
    control = TokenEstimate()
    texts = ["word " * 50, "汉字" * 20]
    for _ in range(200):
        control.update(control(texts, "query", 512, 4), 150)
    assert control(texts, "query", 512, 4) == pytest.approx(150, rel=0.1)
    assert control(["x" * 10**6], "query", 512, 4) == 512
    control.update(0, 5)


def test_size_is_about_the_bytes() -> None:
    assert size("abc") == 3
    assert size("汉字") == 6


def test_who_sends_much_waits_behind_itself() -> None:
    control = admission()
    waits: dict[str, float] = {}
    for turn in range(200):
        with pytest.raises(OverloadedError) as refused:
            control.admit(1000, f"greedy {turn}", "greedy", queued=5000, now=0.0)
        waits["greedy"] = refused.value.retry_after
    with pytest.raises(OverloadedError) as refused:
        control.admit(1000, "honest", "honest", queued=5000, now=0.0)
    assert refused.value.retry_after == pytest.approx(1.0)
    assert waits["greedy"] > 200
