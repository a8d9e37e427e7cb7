"""A trained network as a model folder that is served: compiled, checked against the network, calibrated."""

from __future__ import annotations

import dataclasses
import os
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from rerankd._common.rank_correlation import agreement
from rerankd.compiler.compile import DEFAULT_PAIRS, MIN_KENDALL_TAU, CompileOptions, compile_model, read_pairs
from rerankd.compiler.late_interaction_graph import LateInteractionGraph, named
from rerankd.errors import VerificationError
from rerankd.models.architecture import Architecture
from rerankd.models.files import ONNX, ModelFiles, load_model
from rerankd.models.manifest import FILE_NAME, Manifest, sha256, write_manifest
from rerankd.models.template import PairTemplate
from rerankd.reranker import Reranker
from rerankd.training.gptq import outlying, rounded_layers, rounded_weights
from rerankd.training.late_interaction import Ranker
from rerankd.training.network import Network, logits_of
from rerankd.training.weights import words_of

Say = Callable[[str], None]
WATCHED = 12


def write_candidate(
    network: Network,
    files: ModelFiles,
    out: Path,
    precision: str,
    name: str,
    say: Say,
    texts: Sequence[tuple[str, str]] = (),
) -> Path:
    """Write the model folder of a trained network that has no adapters any more.

    Args:
        network: it.
        files: of what it was before.
        out: folder of the run; the model is `model` in it, a checkpoint's weights also `merged`.
        precision: `int8` or `fp32`.
        name: what the model is called.
        say: told each step.
        texts: pairs of the domain, which int8 weights are rounded by.

    Raises:
        VerificationError: the compiled model does not rank as the network does.
    """
    network.eval().cpu()
    target = out / "model"
    if isinstance(network.model, Ranker):
        say("Compiling and checking")
        write_late_interaction(network, files, target, precision, name, texts)
        return target
    merged = out / "merged"
    shutil.rmtree(merged, ignore_errors=True)
    network.model.save_pretrained(merged)  # type: ignore[operator]  # of transformers' models
    for path in files.folder.iterdir():
        known = path.suffix in (".json", ".model", ".txt") and not path.name.endswith(".index.json")
        if (known or path.name == "LICENSE") and path.name != FILE_NAME and not (merged / path.name).exists():
            shutil.copyfile(path, merged / path.name)
    written = load_model(str(merged))
    own = dataclasses.replace(
        written.manifest,
        max_length=files.manifest.max_length,
        source=files.manifest.name,
        revision=files.manifest.revision,
        licence=files.manifest.licence,
    )
    written = dataclasses.replace(written, manifest=own)
    options = CompileOptions(precision, embedding_precision=words_of(files, precision), name=name, force=True)
    rounded = {}
    if precision == "int8" and texts:
        say("Rounding by texts of the domain")
        rounded = rounded_layers(network.model, network.body, lambda: logits_of(network, texts))
    compile_model(written, target, options, say, rounded)
    return target


def write_late_interaction(
    network: Network, files: ModelFiles, out: Path, precision: str, name: str, texts: Sequence[tuple[str, str]] = ()
) -> Manifest:
    """Compile a late-interaction network, and prove that the file ranks as it does.

    The network keeps its own weights; int8 ones are rounded by what `texts` need, or each to the nearest without.

    Raises:
        VerificationError: it does not; nothing is left.
    """
    ranker = network.model
    assert isinstance(ranker, Ranker)  # noqa: S101  the caller's choice
    groups = read_pairs(DEFAULT_PAIRS)
    careful = frozenset[str]()
    if precision == "int8":
        careful = outlying(ranker, lambda: logits_of(network, texts_of(groups, WATCHED)))
    weights = {key: value.detach().float().clone().numpy() for key, value in ranker.state_dict().items()}
    if precision == "int8" and texts:
        weights |= rounded_weights(ranker, lambda: logits_of(network, texts))
    working = out.parent / f".{out.name}.{os.getpid()}.partial"
    shutil.rmtree(working, ignore_errors=True)
    try:
        working.mkdir(parents=True)
        template = files.manifest.template
        save_graph(weights, files.manifest.architecture, template, working / ONNX, precision, careful)
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
        report = _report(network, working, groups, MIN_KENDALL_TAU[precision])
        if not report["passed"]:
            raise VerificationError(
                f"The compiled model does not rank like the network: Kendall tau {report['kendall_tau']:.3f}.",
                hint="Compile with --precision fp32.",
            )
        manifest = dataclasses.replace(manifest, parity=report)
        write_manifest(working, manifest)
        shutil.rmtree(out, ignore_errors=True)
        working.rename(out)
    finally:
        shutil.rmtree(working, ignore_errors=True)
    return manifest


def save_graph(
    weights: dict[str, Any],
    architecture: Architecture,
    template: PairTemplate,
    path: Path,
    precision: str,
    careful: frozenset[str],
) -> None:
    """Write the ONNX file of late-interaction weights."""
    import onnx

    held = weights | {"mix": weights["mix"].reshape(1, -1)}
    builder = LateInteractionGraph(architecture, lambda key: held[named(key)], precision, embedding_precision="int4")
    builder.prefix, builder.outlier_layers = len(template.start) - 1, careful
    onnx.save(builder.build(), str(path))


def _report(network: Network, out: Path, groups: dict[str, list[str]], limit: float) -> dict[str, Any]:
    reranker = Reranker(str(out), max_length=network.max_length, device="cpu")
    expected, found = [], []
    for query, documents in groups.items():
        pairs = [(query, text) for text in documents]
        expected.append(logits_of(network, pairs).numpy())
        found.append(np.asarray(reranker.score(pairs, activation="none")))
    report = agreement(expected, found)
    said = {key: round(float(value), 6) for key, value in dataclasses.asdict(report).items()}
    passed = report.kendall_tau >= limit
    return said | {"reference": "torch fp32", "min_kendall_tau": limit, "passed": passed, "waived": False}


def texts_of(groups: dict[str, list[str]], count: int) -> list[tuple[str, str]]:
    """The first pairs of some groups."""
    return [(query, text) for query, texts in groups.items() for text in texts][:count]


def verification_pairs(more: Sequence[tuple[str, str]], count: int = 64) -> list[tuple[str, str]]:
    """Pairs to compare networks on: some of one's own first, then those that come with the package."""
    return [*more[: count // 2], *texts_of(read_pairs(DEFAULT_PAIRS), count)][:count]
