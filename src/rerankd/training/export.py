"""Export of a trained network: compiled to a model folder and verified against the network."""

from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from rerankd._common.files import atomic_folder
from rerankd._common.rank_correlation import agreement
from rerankd.compiler.compile import DEFAULT_PAIRS, MIN_KENDALL_TAU, CompileOptions, compile_model, read_pairs
from rerankd.compiler.late_interaction_graph import LateInteractionGraph, named
from rerankd.errors import VerificationError
from rerankd.models.families.bert import BertArchitecture, as_bert
from rerankd.models.files import ONNX, ModelFiles, load_model
from rerankd.models.manifest import Manifest, sha256, write_manifest
from rerankd.models.merged import settings_of
from rerankd.models.template import PairTemplate, as_pair_template
from rerankd.reranker import Reranker
from rerankd.training.gptq import gptq_quantize, gptq_quantize_ranker, outlier_layers
from rerankd.training.late_interaction import LateInteractionRanker, joint_layers
from rerankd.training.network import Network, logits_of
from rerankd.training.weights import embedding_precision

OUTLIER_PAIRS = 12  # pairs that outlier layers are detected on


def write_candidate(
    network: Network,
    files: ModelFiles,
    out: Path,
    *,
    precision: str,
    name: str,
    report: Callable[[str], None],
    gptq_pairs: Sequence[tuple[str, str]] = (),
) -> Path:
    """Write the model folder of a trained network without adapters.

    Args:
        network: trained network.
        files: files of the base model.
        out: folder of the run; the candidate is written to `model` in it, a checkpoint's merged weights to `merged`.
        precision: `int8` or `fp32`.
        name: name of the candidate.
        report: called with a sentence before each step.
        gptq_pairs: pairs of the domain that int8 weights are quantized with.

    Returns:
        The candidate's folder.

    Raises:
        VerificationError: the compiled model does not rank like the network.
    """
    network.eval().cpu()
    target = out / "model"
    if isinstance(network.model, LateInteractionRanker):
        write_late_interaction(network, files, target, precision, name, gptq_pairs, report)
        return target
    merged = out / "merged"
    _write_checkpoint(network, files, merged)
    checkpoint = load_model(str(merged))
    manifest = dataclasses.replace(
        checkpoint.manifest,
        max_length=files.manifest.max_length,
        source=files.manifest.name,
        revision=files.manifest.revision,
        licence=files.manifest.licence,
    )
    checkpoint = dataclasses.replace(checkpoint, manifest=manifest)
    quantized = {}
    if precision == "int8" and gptq_pairs:
        report("Quantizing with texts of the domain")
        quantized = gptq_quantize(network.model, network.adapted_layers, lambda: logits_of(network, gptq_pairs))
    options = CompileOptions(
        precision, embedding_precision=embedding_precision(files, precision), name=name, force=True
    )
    compile_model(checkpoint, target, options, report, quantized)
    return target


def _write_checkpoint(network: Network, files: ModelFiles, folder: Path) -> None:
    """Save a transformers model with the tokenizer and licence of its base."""
    shutil.rmtree(folder, ignore_errors=True)
    network.model.save_pretrained(folder)  # type: ignore[operator]  # a transformers model
    for path in settings_of(files):
        if not (folder / path.name).exists():
            shutil.copyfile(path, folder / path.name)


def write_late_interaction(
    network: Network,
    files: ModelFiles,
    out: Path,
    precision: str,
    name: str,
    gptq_pairs: Sequence[tuple[str, str]] = (),
    report: Callable[[str], None] = lambda sentence: None,
) -> Manifest:
    """Compile a late-interaction network, and verify that the file ranks like the network.

    Args:
        network: trained network; its own weights are not changed.
        files: files of the base model.
        out: model folder to write.
        precision: `int8` or `fp32`.
        name: name of the model.
        gptq_pairs: pairs that int8 weights are quantized with; without any, weights are rounded to the nearest step.
        report: called with a sentence before each step.

    Raises:
        VerificationError: the file does not rank like the network; nothing is written.
    """
    ranker = network.model
    assert isinstance(ranker, LateInteractionRanker)  # noqa: S101  a programming error, not an input error
    groups = read_pairs(DEFAULT_PAIRS)
    outliers = frozenset[str]()
    if precision == "int8":
        report("Looking for layers with outliers")
        outliers = outlier_layers(ranker, lambda: logits_of(network, first_pairs(groups, OUTLIER_PAIRS)))
    weights = {key: value.detach().float().clone().numpy() for key, value in ranker.state_dict().items()}
    if precision == "int8" and gptq_pairs:
        report("Quantizing with texts of the domain")
        weights |= gptq_quantize_ranker(ranker, lambda: logits_of(network, gptq_pairs))
    with atomic_folder(out) as working:
        report("Writing the graph")
        save_graph(
            weights,
            as_bert(files.manifest.architecture, "Late interaction"),
            as_pair_template(files.manifest.template),
            working / ONNX,
            precision=precision,
            outlier_layers=outliers,
        )
        for other in ("tokenizer.json", "LICENSE"):
            if (files.folder / other).is_file():
                shutil.copyfile(files.folder / other, working / other)
        manifest = dataclasses.replace(
            files.manifest,
            name=name,
            precision=precision,
            source=files.manifest.name,
            files={path.name: sha256(path) for path in sorted(working.iterdir())},
            calibration=None,
            parity=None,
        )
        write_manifest(working, manifest)
        report("Verifying the compiled model against the network")
        parity = _verify(network, working, groups, MIN_KENDALL_TAU[precision])
        if not parity["passed"]:
            raise VerificationError(
                f"The compiled model does not rank like the network: Kendall's tau {parity['kendall_tau']:.3f}.",
                hint="Compile with --precision fp32.",
            )
        manifest = dataclasses.replace(manifest, parity=parity)
        write_manifest(working, manifest)
    return manifest


def save_graph(
    weights: dict[str, Any],
    architecture: BertArchitecture,
    template: PairTemplate,
    path: Path,
    *,
    precision: str,
    outlier_layers: frozenset[str],
) -> None:
    """Write the ONNX file of late-interaction weights.

    Args:
        weights: by the names of the network.
        architecture: of the encoder.
        template: of pairs.
        path: file to write.
        precision: `int8` or `fp32`.
        outlier_layers: layers whose special tokens stay in float32.
    """
    import onnx

    constants = weights | {"mix": weights["mix"].reshape(1, -1)}
    builder = LateInteractionGraph(
        architecture, lambda key: constants[named(key)], precision, embedding_precision="int4"
    )
    builder.prefix, builder.outlier_layers = len(template.start) - 1, outlier_layers
    builder.joint_layers = joint_layers(weights)
    onnx.save(builder.build(), str(path))


def _verify(network: Network, folder: Path, groups: dict[str, list[str]], limit: float) -> dict[str, Any]:
    """Compare the logits of a model folder with the network's."""
    reranker = Reranker(str(folder), max_length=network.max_length, device="cpu")
    expected, actual = [], []
    for query, documents in groups.items():
        pairs = [(query, text) for text in documents]
        expected.append(logits_of(network, pairs).numpy())
        actual.append(np.asarray(reranker.score(pairs, activation="none")))
    comparison = agreement(expected, actual)
    figures = {key: round(float(value), 6) for key, value in dataclasses.asdict(comparison).items()}
    passed = comparison.kendall_tau >= limit
    return figures | {"reference": "torch fp32", "min_kendall_tau": limit, "passed": passed, "waived": False}


def first_pairs(groups: dict[str, list[str]], count: int) -> list[tuple[str, str]]:
    """Return the first pairs of groups of documents by query."""
    return [(query, text) for query, texts in groups.items() for text in texts][:count]


def verification_pairs(pairs: Sequence[tuple[str, str]], count: int = 64) -> list[tuple[str, str]]:
    """Return pairs to compare networks on: half from `pairs`, the rest from the package's verification pairs."""
    return [*pairs[: count // 2], *first_pairs(read_pairs(DEFAULT_PAIRS), count)][:count]
