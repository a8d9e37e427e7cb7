from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks import tables, workload
from benchmarks.model import SHAPES, executed_flops
from tests.conftest import shared


def test_workload_is_seeded_and_mixed() -> None:
    shared("bench", "workload.py")
    (made, texts), (again, _) = workload.requests(2, 50), workload.requests(2, 50)
    assert made == again
    assert texts == "passages of four data packs"
    documents = [document for _, own in made for document in own]
    assert len(documents) == 100
    han = sum(any("一" <= char <= "鿿" for char in document) for document in documents)
    assert 20 < han < 80


def test_workload_without_shared(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(workload, "SHARED", tmp_path / "gone")
    made, texts = workload.requests(1, 10)
    assert len(made[0][1]) == 10
    assert "bundled" in texts


def test_flops_of_a_known_shape() -> None:
    hidden, inner, layers = 384, 1536, 6
    dense = 2 * 100 * (4 * hidden * hidden + 2 * hidden * inner) + 4 * 100 * 100 * hidden
    found = executed_flops("mini", [100])
    assert SHAPES["mini"]["num_hidden_layers"] == layers
    assert 5 * dense < found < 6 * dense


def test_fill() -> None:
    text = "a\n<!-- x -->\nold\n<!-- /x -->\nb"
    assert tables.fill(text, "x", "new\nlines") == "a\n<!-- x -->\nnew\nlines\n<!-- /x -->\nb"
    with pytest.raises(ValueError, match="no markers for 'y'"):
        tables.fill(text, "y", "")
