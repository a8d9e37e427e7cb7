from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from recipes.mini import calibrate, data, evaluate
from recipes.mini.loop import one_cycle
from rerankd.models.manifest import sha256
from tests.conftest import shared


@pytest.mark.parametrize("name", ["cmrc-zh", "tatqa-en", "dureader-zh"])
def test_training_sees_no_held_out_document(name: str) -> None:
    pack = data.load_pack(shared("data"), name)
    hidden = {pack.corpus[doc_id] for doc_id in pack.held_out}
    seen = data.pack_examples(pack)
    for example in seen:
        assert hidden.isdisjoint(example.positives)
        assert hidden.isdisjoint(example.negatives)
    assert pack.validation.isdisjoint(pack.held_out)
    for query in pack.validation_queries:
        assert pack.held_out.isdisjoint(pack.qrels[query])
    held_out = {pack.queries[query] for query in pack.held_out_queries}
    assert held_out.isdisjoint(example.query for example in seen)
    assert 0.05 < len(pack.held_out_queries) / len(pack.qrels) < 0.3


@pytest.mark.slow
def test_two_scripts_of_a_pack_are_split_alike() -> None:
    root = shared("data")
    assert data.load_pack(root, "drcd-zh").held_out == data.load_pack(root, "drcd-zhs").held_out


def test_groups_join_titles_and_queries() -> None:
    groups = data._groups({"a": "t", "b": "t", "c": "", "d": ""}, {"q": {"b": 1, "c": 1}})
    assert groups["a"] == groups["b"] == groups["c"] != groups["d"]


def testbm25_tokens() -> None:
    assert data.bm25_tokens("大熊猫 eats Bamboo2!") == ["大", "大熊", "熊猫", "eats", "bamboo2"]


def test_platt_finds_scale_and_offset() -> None:
    draw = np.random.default_rng(0)
    labels = (np.arange(4000) % 5 == 0).astype(float)
    # Two normals, 2 apart, centred on 5: the balanced log-odds are 2 (x - 5).
    logits = draw.normal(np.where(labels == 1, 6.0, 4.0), 1.0)
    scale, offset = calibrate.platt(logits, labels)
    assert scale == pytest.approx(2.0, abs=0.2)
    assert -offset / scale == pytest.approx(5.0, abs=0.1)


def test_standardised() -> None:
    assert data.standardised([1.0, 3.0]) == [-1.0, 1.0]
    assert data.standardised([2.0, 2.0]) == [0.0, 0.0]
    assert data.standardised([]) == []


def test_packs_of_a_language_are_drawn_from_apart() -> None:
    draw = np.random.default_rng(1)
    scores = {
        name: {"alone": draw.normal(mean, 0.1, size), "fused": np.zeros(size)}
        for name, mean, size in (("toyhom-zh", 0.1, 200), ("dureader-zh", -0.1, 50))
    }
    alone, fused = evaluate.together(scores)
    assert (alone["language"], alone["kind"], alone["queries"]) == ("zh", "alone", 250)
    assert alone["delta"] == pytest.approx(0.06, abs=0.02)
    assert alone["interval"][0] < alone["delta"] < alone["interval"][1]
    assert alone["interval"][1] - alone["interval"][0] == pytest.approx(2 * 1.96 * 0.1 / 250**0.5, rel=0.2)
    assert fused["interval"] == [0.0, 0.0]


def test_traps_are_the_ones_that_were_written_before_any_result() -> None:
    path = Path(evaluate.__file__).parent / "traps.jsonl"
    assert sha256(path) == "a80caf5a242e5b00ba007938f89412f8584170cc20fd0cd6c5e0d23c7b478c02"
    rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    assert Counter(row["language"] for row in rows) == {"zh": 30, "en": 30}
    assert all(0 <= row["answer"] < len(row["documents"]) >= 4 for row in rows)


def test_one_cycle() -> None:
    assert [round(one_cycle(x), 3) for x in (0.0, 0.03, 0.06, 0.53, 1.0)] == [0.0, 0.5, 1.0, 0.5, 0.0]
