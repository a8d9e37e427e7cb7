from __future__ import annotations

import random
from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rerankd.experiments.sequential_tests import Sums, difference, sign_evidence
from rerankd.ranking.team_draft import interleave, seed_of

RANKINGS = st.integers(0, 12).flatmap(lambda n: st.tuples(st.permutations(range(n)), st.permutations(range(n))))


@pytest.mark.slow
@given(RANKINGS, st.integers(0, 2**64 - 1), st.none() | st.integers(1, 12))
def test_a_list_holds_each_document_once_and_teams_are_even(
    rankings: tuple[list[int], list[int]], seed: int, top_n: int | None
) -> None:
    first, second = rankings
    made = interleave(first, second, seed, top_n)
    assert len(made.order) == min(len(first), len(first) if top_n is None else top_n)
    assert len(set(made.order)) == len(made.order)
    counts = Counter(made.teams)
    assert abs(counts[0] - counts[1]) <= 1
    common = [
        a
        for a, b, same in zip(
            first, second, np.cumprod([a == b for a, b in zip(first, second, strict=True)]), strict=True
        )
        if same
    ]
    assert list(made.order[: len(common)]) == common[: len(made.order)]
    assert made == interleave(first, second, seed, top_n)


def test_coins_are_fair_and_of_the_request() -> None:
    firsts = [interleave([1, 2], [2, 1], seed_of("e", f"r{i}")).order[0] for i in range(2000)]
    assert 900 < firsts.count(1) < 1100
    assert seed_of("e", "r1") != seed_of("f", "r1")


def test_rankings_of_other_documents_are_joined() -> None:
    made = interleave([1, 2, 3], [4, 5], 3)
    assert sorted(made.order) == [1, 2, 3, 4, 5]
    assert interleave([], [], 1).order == ()
    assert interleave([1], [], 1).order == (1,)


def test_the_common_beginning_gives_no_credit() -> None:
    made = interleave([1, 2, 3], [1, 3, 2], 5)
    assert made.credit([1]) == (0, 0)
    assert sum(made.credit([2, 3])) == 2
    assert made.credit([99]) == (0, 0)


@pytest.mark.slow
def test_interleaving_needs_a_tenth_of_the_impressions_of_a_split() -> None:
    """A ranking that puts the answer higher more often: impressions until each method is sure, medians of 30 runs."""
    interleaved, split = [], []
    for run in range(30):
        draw = random.Random(run)
        interleaved.append(_interleaved_until_sure(draw))
        split.append(_split_until_sure(np.random.default_rng(run)))
    assert np.median(interleaved) * 10 <= np.median(split)


PLACES = (0.45, 0.25, 0.17, 0.13)  # of the answer in the champion's ranking, among four
RAISED = 0.25  # share of requests for which the challenger has it one place higher
LOOKED_AT = (0.9, 0.5, 0.3, 0.2)
CLICKED = 0.4  # of those who look at it


def _rankings(draw: random.Random) -> tuple[list[int], list[int]]:
    """Return both rankings of one request, which differ only in the position of the answer, document 0."""
    position = draw.choices(range(4), PLACES)[0]
    others = [1, 2, 3]
    draw.shuffle(others)
    higher = max(0, position - (draw.random() < RAISED))
    return [*others[:position], 0, *others[position:]], [*others[:higher], 0, *others[higher:]]


def _interleaved_until_sure(draw: random.Random) -> int:
    wins = losses = 0
    for impression in range(1, 200_000):
        made = interleave(*_rankings(draw), draw.getrandbits(64))
        if draw.random() < LOOKED_AT[made.order.index(0)] * CLICKED:
            old, new = made.credit([0])
            wins, losses = wins + (new > old), losses + (old > new)
            if sign_evidence(wins, losses) >= 20 and wins > losses:
                return impression
    return 200_000


def _split_until_sure(draw: np.random.Generator) -> int:
    size = 400_000
    totals = []
    for raised in (0.0, RAISED):
        position = draw.choice(4, size, p=np.array(PLACES))
        position = np.maximum(0, position - (draw.random(size) < raised))
        totals.append((draw.random(size) < np.array(LOOKED_AT)[position] * CLICKED).cumsum())
    for n in range(200, size, 200):
        control, treated = (Sums(n, float(total[n - 1]), float(total[n - 1])) for total in totals)
        if difference(control, treated, 0.05).low > 0:
            return 2 * n
    return 2 * size
