from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from rerankd.compiler.calibrate import write_calibrated
from rerankd.compiler.decoder_graph import DecoderGraph
from rerankd.compiler.platt import Platt
from rerankd.errors import UnsupportedModelError
from rerankd.models.families.decoder import DecoderArchitecture
from rerankd.models.files import ModelFiles, load_model
from rerankd.scoring.torch.backend import TorchBackend
from tests.families.causal import write_model
from tests.unit.scoring.torch.test_decoder import random_pairs


@pytest.fixture(scope="module", params=["Qwen3ForCausalLM", "Qwen2ForCausalLM"])
def files(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, texts: list[str]) -> ModelFiles:
    made = tmp_path_factory.mktemp("graph") / "model"
    return load_model(str(write_model(made, texts, request.param, tie_word_embeddings=True)))


def architecture_of(files: ModelFiles) -> DecoderArchitecture:
    assert isinstance(files.manifest.architecture, DecoderArchitecture)
    return files.manifest.architecture


def computed(files: ModelFiles, *options: str) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
    """Return the logits of a padded batch by the graph, and those by torch."""
    import onnxruntime

    pairs = random_pairs(4, (0, 3, 30, 60))
    model = DecoderGraph(architecture_of(files), files.checkpoint().tensor, *options).build()
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    ids = np.full((len(pairs), max(map(len, pairs))), files.manifest.architecture.pad_id, dtype=np.int64)
    mask = np.zeros_like(ids)
    for row, pair in enumerate(pairs):
        ids[row, : len(pair)], mask[row, : len(pair)] = pair.ids, 1
    logits = session.run(None, {"input_ids": ids, "attention_mask": mask})[0][:, 0]
    return logits, TorchBackend(files, precision="fp32").logits(pairs)


def test_padded_rows_are_computed_as_packed_ones(files: ModelFiles) -> None:
    logits, expected = computed(files, "fp32")
    np.testing.assert_allclose(logits, expected, atol=1e-4)


@pytest.mark.parametrize("options", [("int8",), ("int8", "int4")])
def test_int8_is_close(files: ModelFiles, options: tuple[str, ...]) -> None:
    if options[1:] and files.manifest.architecture.hidden % 32:
        pytest.skip("4-bit word embeddings need a width that is a multiple of 32")
    logits, expected = computed(files, *options)
    assert not np.allclose(logits, expected, atol=1e-4)
    np.testing.assert_allclose(logits, expected, atol=0.5 * float(np.ptp(expected)))


def test_what_is_not_compiled(files: ModelFiles) -> None:
    architecture = architecture_of(files)
    with pytest.raises(UnsupportedModelError, match="up to 1 billion parameters are compiled"):
        DecoderGraph(replace(architecture, layers=800, hidden=8192), files.checkpoint().tensor, "fp32")
    with pytest.raises(UnsupportedModelError, match="no multiple of 8"):
        DecoderGraph(replace(architecture, head_width=12), files.checkpoint().tensor, "fp32")


def test_a_causal_checkpoint_is_calibrated_compiled(files: ModelFiles, tmp_path: Path) -> None:
    with pytest.raises(UnsupportedModelError, match="no bias that a calibration could be folded into"):
        write_calibrated(files, tmp_path / "out", Platt(1.0, 0.0), {})
