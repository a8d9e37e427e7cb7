"""What bf16 and row-wise int8 of the native kernels cost the trained float32 network: order and nDCG@10.

    python -m recipes.mini.precision --data DIR --model FOLDER

FOLDER holds the bundled model compiled to fp32 (`python -m recipes.mini.export ... --precision fp32`). ONNX Runtime
computes it in float32; the native kernels compute the same weights, rounded once from float32, without calibration
texts.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from rerankd._common.rank_correlation import agreement
from rerankd.models.files import ONNX, ModelFiles, load_model
from rerankd.models.onnx_constants import onnx_constants
from rerankd.scoring.backend import Backend
from rerankd.scoring.encoder import PairEncoder, TruncationOptions
from rerankd.scoring.native.backend import NativeBackend
from rerankd.scoring.native.bert import bert_layers
from rerankd.scoring.native.compiled import comparison_arrays
from rerankd.scoring.native.weights import PackedWeights
from rerankd.scoring.onnx_backend import OnnxBackend
from rerankd.scoring.scorer import Scorer
from rerankd.training.weights import read_weights

from . import data, evaluate

PRECISIONS = ("bf16", "int8")


def native_backend(files: ModelFiles, precision: str) -> Backend:
    """Return the native kernels on the weights of a late-interaction model that is compiled to fp32."""
    shape, template = files.manifest.architecture, files.manifest.template
    weights, constants = read_weights(files), onnx_constants(files.folder / ONNX)
    arrays = dict(bert_layers(shape, lambda name: weights[f"encoder.{name}"], precision))
    arrays |= dict(comparison_arrays(constants))
    packed = PackedWeights(shape, arrays, precision, len(template.start) - 1, template.end[-1])
    return NativeBackend(files, weights=packed)


def scorer_of(files: ModelFiles, backend: Backend) -> evaluate.Scorer:
    """Return a function that computes the logits of a query's texts on a backend."""
    scorer = Scorer(PairEncoder(files.tokenizer(), files.manifest.template), backend)
    truncation = TruncationOptions(files.manifest.max_length)

    def score(query: str, texts: Sequence[str]) -> list[float]:
        (scores,) = scorer.score([(query, list(texts))], truncation, max_batch_tokens=16384)
        return [score.raw_score for score in scores]

    return score


def main() -> None:
    """Print a row for each precision."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder with dev/")
    parser.add_argument("--model", required=True, help="the model compiled to fp32")
    parser.add_argument("--packs", nargs="+", choices=data.PACKS, default=data.PACKS)
    parser.add_argument("--queries", type=int, default=25, help="held-out queries of each pack")
    arguments = parser.parse_args()
    files = load_model(arguments.model)
    whole = scorer_of(files, OnnxBackend(files))
    others = {precision: scorer_of(files, native_backend(files, precision)) for precision in PRECISIONS}
    logits: dict[str, list[Any]] = {name: [] for name in ("fp32", *PRECISIONS)}
    losses: dict[str, list[Any]] = {precision: [] for precision in PRECISIONS}
    for name in arguments.packs:
        pack = data.load_pack(arguments.data, name)
        chosen = evaluate.sample(pack.held_out_queries, arguments.queries)
        scores = {kind: evaluate.logits_of(pack, chosen, score) for kind, score in (("fp32", whole), *others.items())}
        before = evaluate.nested(pack, chosen, scores["fp32"])[evaluate.MEASURES[0]]
        for precision in PRECISIONS:
            losses[precision].append(evaluate.nested(pack, chosen, scores[precision])[evaluate.MEASURES[0]] - before)
        for kind, rows in scores.items():
            logits[kind] += [np.array(row, np.float32) for row in rows.values()]
        print(name, len(chosen), {precision: round(float(rows[-1].mean()), 4) for precision, rows in losses.items()})
    for precision in PRECISIONS:
        report = agreement(logits["fp32"], logits[precision])
        row = {"precision": precision, "kendall_tau": round(report.kendall_tau, 4)}
        row["largest difference"] = round(
            max(float(abs(a - b).max()) for a, b in zip(logits["fp32"], logits[precision], strict=True)), 4
        )
        print(json.dumps(row | {"nDCG@10": evaluate.summarised(losses[precision])}), flush=True)


if __name__ == "__main__":
    main()
