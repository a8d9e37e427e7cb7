from __future__ import annotations

import random
import sys

import pytest

from rerankd.demo import load_traps
from rerankd.errors import MissingDependencyError
from rerankd.retrieval.bm25 import BM25Index, rank_by_bm25


def test_rare_words_count_more() -> None:
    documents = ["apple pear", "apple plum", "apple fig"]
    assert rank_by_bm25("apple fig", documents)[0] == 2
    assert BM25Index(documents).rank("apple fig")[0] == 2


def test_documents_without_a_common_term_are_not_ranked() -> None:
    assert BM25Index(["x", "y"]).scores("nothing").tolist() == [0.0, 0.0]
    assert BM25Index(["x", "y"]).rank("y nothing") == [1]
    for documents in ([], ["", "。"]):
        assert BM25Index(documents).rank("a") == []
        assert BM25Index(documents).rank("") == []
    assert rank_by_bm25("a", []) == []
    assert rank_by_bm25("a", ["", "b"]) == [0, 1]


def test_every_trap_fools_keywords() -> None:
    traps = load_traps()
    assert len(traps) >= 12
    assert sum(trap.language == "zh" for trap in traps) * 2 == len(traps)
    for trap in traps:
        assert rank_by_bm25(trap.query, trap.documents)[0] != trap.answer, trap.query


def test_index_and_function_rank_alike_ties_in_order() -> None:
    for seed in range(200):
        draw = random.Random(seed)
        documents = [" ".join(draw.choices(["a", "b", "cd", "手机", "壳"], k=draw.randint(0, 6))) for _ in range(15)]
        query = " ".join(draw.choices(["a", "b", "cd", "手", "壳", "x"], k=4))
        index = BM25Index(documents)
        scores = index.scores(query)
        expected = [position for position in rank_by_bm25(query, documents) if scores[position] > 0]
        assert index.rank(query) == expected
        for k in (1, 3, 20):
            assert index.rank(query, k) == expected[:k]


def test_scores_are_those_of_the_formula() -> None:
    documents = ["a a b", "b c"]
    # idf(a) = ln(1 + 1.5 / 1.5), tf = 2, |d| = 3, avgdl = 2.5; a occurs twice in the query.
    norm = 1 - 0.75 + 0.75 * 3 / 2.5
    expected = 2 * 0.6931471805599453 * (2 * 2.2 / (2 + 1.2 * norm))
    assert BM25Index(documents).scores("a a").tolist() == pytest.approx([expected, 0.0])


def test_without_the_extra_the_error_names_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "bm25s", None)
    with pytest.raises(MissingDependencyError, match=r"bm25s.*\[eval\]"):
        BM25Index(["a"])
    assert rank_by_bm25("a", ["b", "a"]) == [1, 0]
