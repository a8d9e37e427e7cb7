from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from rerankd import Reranker
from rerankd.errors import VerificationError
from rerankd.models.files import load_model
from rerankd.training import export
from rerankd.training.export import verification_pairs, write_candidate
from rerankd.training.network import logits_of, open_network
from tests.unit.training.material import files_of, late_interaction_model

pytestmark = pytest.mark.slow


def silent(sentence: str) -> None:
    """Say nothing."""


@pytest.fixture(scope="module", params=["bert", "late"])
def base(request: pytest.FixtureRequest, bert: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    if request.param == "late":
        return late_interaction_model(bert, tmp_path_factory.mktemp("late") / "model")
    folder = tmp_path_factory.mktemp("licensed") / "zoo-base"
    shutil.copytree(bert, folder)
    (folder / "LICENSE").write_text("MIT", encoding="utf-8")
    return folder


def test_a_candidate_scores_as_the_network(base: Path, tmp_path: Path) -> None:
    files = files_of(base)
    network = open_network(files, 40)  # shorter than what a check reads: both are cut alike
    messages: list[str] = []
    model = write_candidate(network, files, tmp_path, precision="fp32", name="zoo", report=messages.append)
    assert model == tmp_path / "model"
    pairs = verification_pairs([], 16)
    served = Reranker(str(model), device="cpu", max_length=40).score(pairs, activation="none")
    np.testing.assert_allclose(served, logits_of(network, pairs).numpy(), atol=1e-3)
    manifest = load_model(str(model)).manifest
    assert manifest.name == "zoo"
    assert manifest.source == files.manifest.name
    assert manifest.max_length == files.manifest.max_length
    assert manifest.licence == files.manifest.licence
    assert manifest.parity is not None
    assert manifest.parity["passed"]
    assert messages
    assert (model / "LICENSE").is_file() == (base / "LICENSE").is_file()
    assert not [path for path in tmp_path.iterdir() if path.name.startswith(".")]


def test_a_candidate_that_ranks_otherwise_is_refused_and_leaves_nothing(
    base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(export, "MIN_KENDALL_TAU", {"fp32": 1.1})
    monkeypatch.setattr("rerankd.compiler.compile.MIN_KENDALL_TAU", {"fp32": 1.1})
    with pytest.raises(VerificationError, match="Kendall's? tau|Kendall tau"):
        write_candidate(
            open_network(files_of(base), 40), files_of(base), tmp_path, precision="fp32", name="zoo", report=silent
        )
    assert not (tmp_path / "model").exists()
    assert not [path for path in tmp_path.iterdir() if path.name.startswith(".")]


def test_own_pairs_are_compared_first() -> None:
    own_pairs = [(f"q{n}", "t") for n in range(50)]
    pairs = verification_pairs(own_pairs, 20)
    assert pairs[:10] == own_pairs[:10]
    assert len(pairs) == 20
    assert own_pairs[10] not in pairs
