"""Step 6: export the int8 file that ships, in the product's format, verified against the float ranker."""

from __future__ import annotations

import argparse
import dataclasses
import json
import shutil
from pathlib import Path

import numpy as np
import torch
from tokenizers import Tokenizer

from rerankd._common.rank_correlation import agreement
from rerankd.compiler.compile import DEFAULT_PAIRS, read_pairs
from rerankd.compiler.late_interaction_graph import LateInteractionGraph, named
from rerankd.models.families.bert import BertArchitecture
from rerankd.models.manifest import Manifest, sha256, write_manifest
from rerankd.models.template import PairTemplate
from rerankd.reranker import Reranker
from rerankd.training import gptq
from rerankd.training.late_interaction import LateInteractionRanker, joint_layers, load

from . import data, tokens
from .tokens import CLS, SEP, Tokens
from .vocabulary import SPECIAL

MAX_BYTES = {"mini": 30_000_000, "nano": 8_000_000}
MIN_KENDALL_TAU = 0.9
CHECKED_LENGTH = 256
PAIRS_WATCHED = 12
QUERIES_ROUNDED = 12  # of each pack
NEVER = -1000.0  # score of a piece that no text is cut into


def architecture_of(folder: Path) -> BertArchitecture:
    """Return the architecture of the ranker in `folder`."""
    config = json.loads((folder / "config.json").read_text())
    return BertArchitecture(
        family="bert",
        layers=config["num_hidden_layers"],
        hidden=config["hidden_size"],
        heads=config["num_attention_heads"],
        intermediate=config["intermediate_size"],
        vocabulary=config["vocab_size"],
        positions=config["max_position_embeddings"],
        segment_types=config["type_vocab_size"],
        layer_norm_eps=config["layer_norm_eps"],
        pad_id=0,
    )


def write_tokenizer(source: Path, target: Path) -> None:
    """Write the tokenizer so that special tokens in texts are plain text: `[CLS]` in a document is five characters."""
    content = json.loads(source.read_text(encoding="utf-8"))
    content["added_tokens"] = []
    pieces = content["model"]["vocab"]
    for piece in pieces if isinstance(pieces, list) else ():  # of a unigram model: names and scores
        # Seven digits are those of float32, which the scores were made in.
        piece[1] = NEVER if piece[0] in SPECIAL else float(f"{piece[1]:.7g}")
    target.write_text(json.dumps(content, ensure_ascii=False, separators=(",", ":")), encoding="utf-8")


def texts(root: Path) -> list[tuple[str, list[str]]]:
    """Return training queries of each pack with their first candidates, the calibration texts of int8 weights."""
    collected = []
    for name in data.PACKS:
        pack = data.load_pack(root, name)
        held_out = set(pack.held_out_queries)
        queries = [query for query in sorted(pack.qrels) if query not in held_out and pack.candidates.get(query)]
        for query in queries[:QUERIES_ROUNDED]:
            documents = [pack.corpus[doc] for doc in list(pack.candidates[query])[:2]]
            collected.append((pack.queries[query], documents))
    return collected


def write(
    start: Path,
    out: Path,
    precision: str = "int8",
    name: str = "mini",
    root: Path | None = None,
    outlier_layers: frozenset[str] | None = None,
) -> Manifest:
    """Write the ranker in `start` as a model folder, not yet verified.

    Args:
        start: folder of the ranker, or of the encoder that it begins from.
        out: folder to write.
        precision: `int8` or `fp32`.
        name: name of the model.
        root: folder of packs whose texts calibrate the rounding (GPTQ); None to round to nearest.
        outlier_layers: layers in which int8 quantizes special tokens separately; None to detect them.
    """
    import onnx

    shutil.rmtree(out, ignore_errors=True)
    out.mkdir(parents=True)
    write_tokenizer(start / "tokenizer.json", out / "tokenizer.json")
    tokenizer = Tokens(Tokenizer.from_file(str(out / "tokenizer.json")))
    ranker = load(start).eval()
    if precision == "int8":
        pairs = [(query, documents[:1]) for query, documents in read_pairs(DEFAULT_PAIRS).items()]
        if outlier_layers is None:
            outlier_layers = gptq.outlier_layers(ranker, lambda: _score(ranker, tokenizer, pairs[:PAIRS_WATCHED]))
        names = ", ".join(sorted(outlier_layers))
        print(f"Special tokens are quantized separately in {len(outlier_layers)} layers: {names}")
    weights = {key: value.detach().numpy() for key, value in ranker.state_dict().items()}
    if precision == "int8" and root is not None:
        calibration_texts = texts(root)
        weights |= gptq.gptq_quantize_ranker(ranker, lambda: _score(ranker, tokenizer, calibration_texts))
    architecture = architecture_of(start)
    builder = LateInteractionGraph(architecture, lambda key: weights[named(key)], precision, embedding_precision="int4")
    builder.prefix, builder.outlier_layers = len(tokenizer.prefixes["query"]), outlier_layers or frozenset()
    builder.joint_layers = joint_layers(weights)
    weights["mix"] = weights["mix"][None]
    calibration = start / "calibration.json"
    onnx.save(builder.build(), str(out / "model.onnx"))
    manifest = Manifest(
        name=name,
        architecture=architecture,
        template=PairTemplate((CLS, *tokenizer.prefixes["query"]), (SEP, CLS, *tokenizer.prefixes["passage"]), (SEP,)),
        max_length=512,
        precision=precision,
        source="recipes/mini",
        files={path.name: sha256(path) for path in sorted(out.iterdir())},
        calibration=json.loads(calibration.read_text()) if calibration.exists() else None,
        licence="Apache-2.0",
    )
    write_manifest(out, manifest)
    return manifest


def _score(ranker: LateInteractionRanker, tokenizer: Tokens, groups: list[tuple[str, list[str]]]) -> None:
    for query, documents in groups:
        tokens.score(ranker, tokenizer, query, documents, CHECKED_LENGTH)


def export(start: Path, out: Path, name: str = "mini", precision: str = "int8", root: Path | None = None) -> None:
    """Write the model to `out`, and its agreement with the float ranker into the manifest."""
    manifest = write(start, out, precision, name, root)
    ranker = load(start).eval()
    tokenizer = tokens.Tokens(Tokenizer.from_file(str(out / "tokenizer.json")))
    reranker = Reranker(str(out), max_length=CHECKED_LENGTH)
    expected, actual = [], []
    for query, documents in read_pairs(DEFAULT_PAIRS).items():
        with torch.inference_mode():
            expected.append(tokens.score(ranker, tokenizer, query, documents, CHECKED_LENGTH).numpy())
        actual.append(np.asarray(reranker.score([(query, text) for text in documents], activation="none")))
    report = agreement(expected, actual)
    parity = {key: round(float(value), 6) for key, value in dataclasses.asdict(report).items()} | {
        "reference": "recipes/mini fp32",
        "min_kendall_tau": MIN_KENDALL_TAU,
        "passed": report.kendall_tau >= MIN_KENDALL_TAU,
        "waived": False,
    }
    write_manifest(out, dataclasses.replace(manifest, parity=parity))
    size = sum(path.stat().st_size for path in out.iterdir())
    print(
        f"{out}: {size / 1e6:.1f} MB, Kendall tau {report.kendall_tau:.3f}, largest difference {report.max_delta:.3f}"
    )
    if precision == "int8" and size > MAX_BYTES[name]:
        raise SystemExit(f"The model is {size / 1e6:.1f} MB, more than {MAX_BYTES[name] / 1e6:.0f} MB.")


def main() -> None:
    """Run the step from the command line."""
    parser = argparse.ArgumentParser(
        description="Write a ranker, or the encoder that it begins from, as a model folder."
    )
    parser.add_argument("--start", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--name", choices=tuple(MAX_BYTES), default="mini")
    parser.add_argument("--precision", choices=("int8", "fp32"), default="int8")
    parser.add_argument("--data", type=Path, help="folder with dev/; its texts calibrate the rounding of int8 weights")
    arguments = parser.parse_args()
    export(arguments.start, arguments.out, arguments.name, arguments.precision, arguments.data)


if __name__ == "__main__":
    main()
