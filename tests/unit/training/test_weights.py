from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest

from rerankd import Reranker
from rerankd.compiler.calibrate import write_calibrated
from rerankd.compiler.compile import CompileOptions, compile_model
from rerankd.compiler.platt import Platt
from rerankd.errors import CorruptModelError, InvalidRequestError
from rerankd.models.manifest import sha256, write_manifest
from rerankd.training.export import verification_pairs, write_late_interaction
from rerankd.training.network import logits_of, open_network
from rerankd.training.weights import embedding_precision, is_late_interaction, read_weights
from tests.unit.training.material import files_of, late_interaction_model

pytestmark = pytest.mark.slow

TOLERANCE = {"fp32": 1e-3, "int8": 0.7}  # of a logit; int8 files also round what passes between layers


@pytest.mark.parametrize("joint_layers", [0, 2])
@pytest.mark.parametrize("precision", ["fp32", "int8"])
def test_weights_are_read_back(bert: Path, tmp_path: Path, precision: str, joint_layers: int) -> None:
    folder = late_interaction_model(bert, tmp_path / "model", precision, joint_layers=joint_layers)
    assert is_late_interaction(files_of(folder))
    pairs = verification_pairs([], 20)
    served = Reranker(str(folder), device="cpu", max_length=100).score(pairs, activation="none")
    logits = logits_of(open_network(files_of(folder), 100), pairs).numpy()
    np.testing.assert_allclose(logits, served, atol=TOLERANCE[precision])
    assert np.corrcoef(logits, served)[0, 1] > 0.98


def test_a_model_that_is_written_again_is_the_same(bert: Path, tmp_path: Path) -> None:
    folder = late_interaction_model(bert, tmp_path / "model", "int8")
    network = open_network(files_of(folder), 100)
    steps: list[str] = []
    write_late_interaction(network, files_of(folder), tmp_path / "again", "int8", "again", report=steps.append)
    assert steps == [
        "Looking for layers with outliers",
        "Writing the graph",
        "Verifying the compiled model against the network",
    ]
    before, after = (read_weights(files_of(path)) for path in (folder, tmp_path / "again"))
    assert before.keys() == after.keys()
    for name, value in before.items():
        np.testing.assert_allclose(after[name], value, atol=1e-6, err_msg=name)


def test_a_late_interaction_model_of_another_shape(bert: Path, tmp_path: Path) -> None:
    folder = late_interaction_model(bert, tmp_path / "model")
    manifest = files_of(folder).manifest
    write_manifest(folder, replace(manifest, architecture=replace(manifest.architecture, intermediate=96)))
    with pytest.raises(CorruptModelError, match="the weights do not match rerankd.json"):
        open_network(files_of(folder), 100)


@pytest.mark.parametrize("joint_layers", [0, 1])
def test_a_calibration_is_read_back_with_them(bert: Path, tmp_path: Path, joint_layers: int) -> None:
    folder = late_interaction_model(bert, tmp_path / "model", joint_layers=joint_layers)
    write_calibrated(files_of(folder), tmp_path / "calibrated", Platt(0.5, -1.25), {})
    pairs = verification_pairs([], 8)
    plain = logits_of(open_network(files_of(folder), 100), pairs)
    logits = logits_of(open_network(files_of(tmp_path / "calibrated"), 100), pairs)
    np.testing.assert_allclose(logits.numpy(), 0.5 * plain.numpy() - 1.25, atol=1e-4)
    served = Reranker(str(tmp_path / "calibrated"), device="cpu", max_length=100).score(pairs, activation="none")
    np.testing.assert_allclose(logits.numpy(), served, atol=1e-3)


@pytest.mark.parametrize("precision", ["fp32", "int8"])
def test_a_cross_encoder_is_read_back(checkpoint: Path, compiled: dict[str, Path], precision: str) -> None:
    files = files_of(compiled[precision])
    assert not is_late_interaction(files)
    weights, source = read_weights(files), files_of(checkpoint).checkpoint()
    assert weights.keys() == files.manifest.architecture.shapes().keys()
    for name, value in weights.items():
        expected = source.tensor(name)
        if precision == "fp32":
            np.testing.assert_array_equal(value, expected, err_msg=name)
        else:  # a step is the largest of a channel or row over 63 or 127; half of it is lost at most
            np.testing.assert_allclose(value, expected, atol=np.abs(expected).max() / 63 / 1.9, err_msg=name)


def test_a_cross_encoder_with_words_in_blocks_is_read_back(bert: Path, tmp_path: Path) -> None:
    options = CompileOptions("int8", embedding_precision="int4", waive=True)
    compile_model(files_of(bert), tmp_path / "model", options)
    name = "bert.embeddings.word_embeddings.weight"
    files = files_of(tmp_path / "model")
    weight, expected = read_weights(files)[name], files_of(bert).checkpoint().tensor(name)
    np.testing.assert_allclose(weight, expected, atol=np.abs(expected).max() / 8)
    assert (
        embedding_precision(files, "int8"),
        embedding_precision(files, "fp32"),
        embedding_precision(files_of(bert), "int8"),
    ) == (
        "int4",
        "int8",
        "int8",
    )


def test_a_calibrated_cross_encoder_is_read_back(compiled: dict[str, Path], tmp_path: Path) -> None:
    files = files_of(compiled["fp32"])
    write_calibrated(files, tmp_path / "calibrated", Platt(2.0, 0.75), {})
    pairs = verification_pairs([], 8)
    plain = logits_of(open_network(files, 100), pairs)
    logits = logits_of(open_network(files_of(tmp_path / "calibrated"), 100), pairs)
    np.testing.assert_allclose(logits.numpy(), 2 * plain.numpy() + 0.75, atol=1e-4)


@pytest.mark.parametrize("change", ["name", "shape", "layer"])
def test_a_graph_that_something_else_wrote(tiny: Path, tmp_path: Path, change: str) -> None:
    folder = tmp_path / "model"
    shutil.copytree(tiny, folder)
    graph = onnx.load(str(folder / "model.onnx"))
    dense = next(one for one in graph.graph.initializer if one.name == "classifier.weight")
    if change == "name":
        dense.name = "onnx::MatMul_12"
        for node in graph.graph.node:
            node.input[:] = ["onnx::MatMul_12" if name == "classifier.weight" else name for name in node.input]
    elif change == "layer":
        more = onnx.numpy_helper.from_array(np.zeros((64, 64), np.float32), "bert.encoder.layer.9.output.dense.weight")
        graph.graph.initializer.append(more)
    else:
        dense.CopyFrom(onnx.numpy_helper.from_array(np.zeros((2, 64), np.float32), "classifier.weight"))
    onnx.save(graph, str(folder / "model.onnx"))
    hashes = dict(files_of(tiny).manifest.files) | {"model.onnx": sha256(folder / "model.onnx")}
    write_manifest(folder, replace(files_of(tiny).manifest, files=hashes))
    with pytest.raises(InvalidRequestError, match="cannot be read back") as raised:
        read_weights(files_of(folder))
    assert raised.value.hint == "Pass the checkpoint it was compiled from."


@pytest.mark.slow
def test_the_bundled_model_is_read_back() -> None:
    """Float against the int8 file: activations that the file rounds to 8 bits move a logit by less than 0.7."""
    reranker = Reranker("mini", device="cpu")
    pairs = [
        ("what do pandas eat?", "A giant panda eats bamboo for most of the day."),
        ("what do pandas eat?", "The stock market fell on Monday."),
        ("熊猫吃什么?", "大熊猫主要吃竹子。"),
        ("熊猫吃什么?", "Paris is the capital of France."),
    ]
    served = reranker.score(pairs, activation="none")
    logits = logits_of(open_network(reranker.files, 128), pairs).numpy()
    np.testing.assert_allclose(logits, served, atol=0.7)
    assert (logits[0] > logits[1], logits[2] > logits[3]) == (True, True)
