"""Comparison of teachers: which documents count as answers, and how weights of a mixture are fitted."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from recipes.mini import data
from recipes.mini.compare import Candidates, cross_validated, first_candidates, fitted

CORPUS = {"v1": "a validated answer", "h1": "a held-out answer", "t1": "an answer of the training cut", "x": "else"}
PACK = data.Pack(
    name="tiny",
    queries={"q-v": "of validation", "q-h": "held out"},
    corpus=CORPUS,
    qrels={"q-v": {"v1": 2, "t1": 1}, "q-h": {"h1": 1, "t1": 1}},
    candidates={"q-v": {"t1": 3.0, "v1": 2.0, "x": 1.0}, "q-h": {"h1": 3.0, "t1": 2.0, "x": 1.0}},
    held_out=frozenset({"h1"}),
    validation=frozenset({"v1"}),
)


@pytest.fixture(autouse=True)
def packs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(data, "PACKS", ("tiny",))
    monkeypatch.setattr(data, "load_pack", lambda root, name: PACK)


@pytest.mark.parametrize(("cut", "query", "grades"), [("validation", "q-v", [0, 2, 0]), ("held-out", "q-h", [1, 0, 0])])
def test_only_documents_of_the_cut_are_answers(cut: str, query: str, grades: list[int]) -> None:
    (row,) = first_candidates(Path(), queries=5, depth=3, cut=cut)
    assert row.query == PACK.queries[query]
    assert row.grades == grades
    assert list(row.scores["BM25"]) == [3.0, 2.0, 1.0]


def test_the_system_that_knows_gets_the_weight() -> None:
    draw = np.random.default_rng(0)
    rows = []
    for number in range(20):
        grades = [0] * 10
        grades[number % 10] = 1
        row = Candidates("tiny", "q", [""] * 10, grades, [1])
        row.scores = {"knows": np.array(grades) + draw.normal(0, 0.2, 10), "noise": draw.normal(0, 1, 10)}
        rows.append(row)
    knows, noise = fitted(rows, ["knows", "noise"])
    assert knows > 5 * noise
    assert np.mean(cross_validated(rows, ["knows", "noise"])) > 0.95
