from __future__ import annotations

from pathlib import Path

import pytest

from rerankd.compiler.reference import open_reference
from rerankd.models.files import load_model
from rerankd.scoring.encoder import PairEncoder, TruncationOptions
from rerankd.scoring.torch.backend import TorchBackend
from tests.families.modernbert import write_reranker


@pytest.mark.parametrize("form", ["bert", "mean", "chain"])
def test_transformers_comes_first(form: str, request: pytest.FixtureRequest, tmp_path: Path, texts: list[str]) -> None:
    folder = (
        request.getfixturevalue("bert")
        if form == "bert"
        else write_reranker(tmp_path / form, texts, form, by_library=False)
    )
    files = load_model(str(folder))
    reference = open_reference(files)
    assert reference.name.split()[0] == ("torch" if form == "chain" else "transformers")
    encoder = PairEncoder(files.tokenizer(), files.manifest.template)
    pair = encoder.encode(texts[0], [" ".join(texts[1:4])], TruncationOptions(64))[0][0]
    logit = float(TorchBackend(files, precision="fp32").logits([pair])[0])
    assert reference.score(pair) == pytest.approx(logit, abs=1e-4)
