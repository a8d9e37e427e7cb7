from __future__ import annotations

import ir_measures
import numpy as np
import pytest
from ir_measures import AP, RR, Judged, P, R, nDCG

from rerankd.errors import InvalidRequestError
from rerankd.evaluation.measures import DEFAULT_MEASURES, check_measures, measure_queries
from rerankd.evaluation.trec import decreasing_scores
from tests.unit.evaluation.folders import made_up, shaken


def test_measures_are_those_of_ir_measures() -> None:
    qrels, rankings = made_up(50, 20, seed=1)
    qrels["q3"] |= {"d1": 2, "d7": 0, "d99": 3}
    rankings = dict(shaken(rankings, 3, seed=2))
    del rankings["q5"]
    queries = sorted(qrels)
    measured = measure_queries(DEFAULT_MEASURES, qrels, rankings, queries)
    wanted = [nDCG @ 10, RR @ 10, AP, R @ 10, P @ 1, Judged @ 10]
    run = {query: decreasing_scores(ranking) for query, ranking in rankings.items()}
    by_hand = ir_measures.calc_aggregate(wanted, qrels, run)
    assert measured.mean(axis=0).tolist() == pytest.approx([by_hand[one] for one in wanted], abs=1e-12)
    assert measured[queries.index("q5")].tolist() == [0.0] * 6
    for value in ir_measures.iter_calc([nDCG @ 10], qrels, run):
        assert measured[queries.index(value.query_id), 0] == value.value


def test_the_gain_is_the_grade() -> None:
    value = measure_queries(["nDCG@10"], {"q": {"a": 2, "b": 1}}, {"q": ("b", "a")}, ["q"])[0, 0]
    assert value == pytest.approx((1 + 2 / np.log2(3)) / (2 + 1 / np.log2(3)))


def test_names() -> None:
    assert check_measures(["MAP", "MRR@10", "nDCG(gains={1:1,2:3})@10"])[:2] == ("AP", "RR@10")
    assert check_measures(["AP", "MAP"]) == ("AP",)
    for name in ("magic", "nDCG@", "P@1, R@2", "__import__('os')"):
        with pytest.raises(InvalidRequestError, match="Unknown measure"):
            check_measures([name])
    with pytest.raises(InvalidRequestError, match="no measure"):
        check_measures([])


def test_nothing_ranked_counts_nothing() -> None:
    assert measure_queries(["nDCG@10"], {"q": {"a": 1}}, {}, ["q"]).tolist() == [[0.0]]
    assert measure_queries(["nDCG@10"], {"q": {"a": -1, "b": 1}}, {"q": ("b", "a")}, ["q"]).tolist() == [[1.0]]


def test_measures_that_cannot_be_computed_are_named() -> None:
    with pytest.raises(InvalidRequestError, match="ir_measures cannot compute alpha_nDCG"):
        measure_queries(["alpha_nDCG@10"], {"q": {"a": 1}}, {"q": ("a",)}, ["q"])
