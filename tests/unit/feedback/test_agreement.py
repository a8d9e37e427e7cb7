from __future__ import annotations

import random
from collections import Counter

import pytest

from rerankd.feedback.agreement import cohen_kappa, most_common_pair, read_agreement
from rerankd.feedback.case_store import flag_request, list_cases
from rerankd.feedback.case_update import update_case
from rerankd.traces.store import TraceStore
from tests.unit.feedback.written import write


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("weighted", [False, True])
def test_kappa_is_that_of_scikit_learn(seed: int, weighted: bool) -> None:
    from sklearn.metrics import cohen_kappa_score  # type: ignore[import-untyped]

    choose = random.Random(seed)
    first = [choose.choice((0, 1, 3, 7) if seed == 4 else (0, 1, 2, 3)) for _ in range(60)]
    second = [grade if choose.random() < 0.6 else choose.randrange(4) for grade in first]
    expected = cohen_kappa_score(first, second, labels=range(8), weights="quadratic" if weighted else None)
    assert cohen_kappa(Counter(zip(first, second, strict=True)), weighted=weighted) == pytest.approx(expected)


def test_kappa_of_known_tables() -> None:
    """A textbook's table has kappa 0.4; full agreement is 1, and full disagreement on two grades -1."""
    assert cohen_kappa({(1, 1): 20, (1, 0): 5, (0, 1): 10, (0, 0): 15}) == pytest.approx(0.4)
    assert cohen_kappa({(0, 0): 1, (3, 3): 1}, weighted=True) == 1
    assert cohen_kappa({(0, 1): 1, (1, 0): 1}) == -1
    assert cohen_kappa({}) is None
    assert cohen_kappa({(2, 2): 5}) is None


def test_agreement_over_the_documents_that_both_graded(store: TraceStore) -> None:
    for name, tenant in (("r1", "search"), ("r2", "shop")):
        write(store, name, 5, 4, 3, 2, tenant=tenant)
        flag_request(store, name, tenant)
    ids = {case.request_id: case.id for case in list_cases(store)}
    update_case(store, ids["r1"], grades={0: 3, 1: 0, 2: 1, 3: 2}, labeller="Ann")
    update_case(store, ids["r1"], grades={0: 0}, labeller="Bo")
    update_case(store, ids["r1"], grades={0: 3, 1: 2, 2: 2}, labeller="Bo")
    update_case(store, ids["r1"], grades={3: 2}, labeller="Bo")
    update_case(store, ids["r1"], grades={3: None}, labeller="Bo")
    update_case(store, ids["r1"], grades={0: 0, 1: 0, 2: 0, 3: 0})
    update_case(store, ids["r2"], grades={0: 1}, labeller="Ann")
    update_case(store, ids["r2"], grades={0: 1}, labeller="Bo")
    update_case(store, ids["r2"], grades={1: 1}, labeller="Cy")
    assert most_common_pair(store) == ("Ann", "Bo")
    assert most_common_pair(store, "nobody") is None
    both = read_agreement(store, "Ann", "Bo")
    assert (both.pairs, both.same) == (4, 2)
    assert [(each.position, each.first, each.second) for each in both.disagreements] == [(1, 0, 2), (2, 1, 2)]
    assert both.weighted_kappa == cohen_kappa({(3, 3): 1, (0, 2): 1, (1, 2): 1, (1, 1): 1}, weighted=True)
    assert both.binary_kappa == cohen_kappa({(1, 1): 3, (0, 1): 1})
    assert read_agreement(store, "Ann", "Bo", limit=1).disagreements == both.disagreements[:1]
    assert read_agreement(store, "Ann", "Bo", "shop").pairs == 1
    assert read_agreement(store, "Ann", "Cy").pairs == 0
