"""Step 6: the int8 file that ships, in the product's format, checked against the float model."""

from __future__ import annotations

import argparse
import dataclasses
import json
import random
import shutil
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file
from tokenizers import Tokenizer
from transformers import BertTokenizerFast

from rerankd.agreement import agreement
from rerankd.compile import DEFAULT_PAIRS, read_pairs
from rerankd.models.architecture import Architecture
from rerankd.models.manifest import Manifest, sha256, write_manifest
from rerankd.models.template import pair_template
from rerankd.reranker import Reranker
from rerankd.scoring.encoder import EncodingPolicy, PairEncoder

from . import data, tokens
from .graph import RankerGraph
from .model import LEVELS, SPLIT, load

MAX_BYTES = {"mini": 30_000_000, "nano": 8_000_000}
MIN_KENDALL_TAU = 0.9


def architecture_of(folder: Path) -> Architecture:
    """Shape of the ranker in `folder`."""
    config = json.loads((folder / "config.json").read_text())
    return Architecture(
        family="bert",
        layers=config["num_hidden_layers"],
        hidden=config["hidden_size"],
        heads=config["num_attention_heads"],
        intermediate=config["intermediate_size"],
        vocabulary=config["vocab_size"],
        positions=config["max_position_embeddings"],
        segment_types=2 * LEVELS,
        layer_norm_eps=config["layer_norm_eps"],
        pad_id=0,
    )


def ranges(start: Path, pairs: Iterable[tuple[str, str]]) -> dict[str, np.ndarray[Any, Any]]:
    """Largest absolute input of each channel of each linear layer while scoring `pairs`."""
    model = load(start).eval()
    ids = tokens.Tokens(BertTokenizerFast.from_pretrained(start))
    found: dict[str, np.ndarray[Any, Any]] = {}

    def watch(name: str) -> Callable[..., None]:
        def hook(module: torch.nn.Module, inputs: tuple[torch.Tensor, ...]) -> None:
            largest = inputs[0].abs().amax(tuple(range(inputs[0].dim() - 1))).numpy()
            found[name] = np.maximum(found[name], largest) if name in found else largest

        return hook

    for name, module in model.named_modules():
        if isinstance(module, torch.nn.Linear) and ".layer." in name:
            module.register_forward_pre_hook(watch(name))
    with torch.inference_mode():
        tokens.score_rows(model, [tokens.encode(ids(query), ids(text), 256) for query, text in pairs])
    return found


def calibration_pairs(root: Path) -> list[tuple[str, str]]:
    """Training queries of four packs with four of their candidates each."""
    draw = random.Random(19)
    pairs = []
    for name in ("toyhom-zh", "cmrc-zh", "medquad-en", "covidqa-en"):
        for example in draw.sample(data.pack_examples(data.load_pack(root, name)), 6):
            pairs += [(example.query, text) for text in [example.positives[0], *example.negatives[:3]]]
    return pairs


def write(
    start: Path,
    out: Path,
    precision: str = "int8",
    name: str = "mini",
    smooth: dict[str, np.ndarray[Any, Any]] | None = None,
) -> Manifest:
    """Write the ranker in `start` as a model folder, not yet checked."""
    import onnx

    shutil.rmtree(out, ignore_errors=True)
    out.mkdir(parents=True)
    weights = {key: value.numpy() for key, value in load_file(start / "ranker.safetensors").items()}
    architecture = architecture_of(start)
    builder = RankerGraph(architecture, weights.__getitem__, precision)
    config = json.loads((start / "config.json").read_text())
    builder.split, builder.rank = config.get("split", SPLIT), config.get("rank", 0)
    builder.ranges = smooth or {}
    onnx.save(builder.build(), str(out / "model.onnx"))
    tokenizer = Tokenizer.from_file(str(start / "tokenizer.json"))
    tokenizer.no_truncation()
    tokenizer.no_padding()
    tokenizer.save(str(out / "tokenizer.json"))
    calibration = start / "calibration.json"
    manifest = Manifest(
        name=name,
        architecture=architecture,
        template=pair_template("bert", tokenizer.token_to_id),
        max_length=512,
        precision=precision,
        source="recipes/mini",
        files={path.name: sha256(path) for path in sorted(out.iterdir())},
        calibration=json.loads(calibration.read_text()) if calibration.exists() else None,
        licence="Apache-2.0",
    )
    write_manifest(out, manifest)
    return manifest


def export(root: Path, start: Path, out: Path, name: str = "mini") -> None:
    """Write the int8 model to `out` and its agreement with the float ranker into the manifest."""
    manifest = write(start, out, name=name, smooth=ranges(start, calibration_pairs(root)))
    ranker = load(start).eval()
    encoder = PairEncoder(Tokenizer.from_file(str(out / "tokenizer.json")), manifest.template)
    reranker = Reranker(str(out), max_length=256)
    expected, found = [], []
    for query, documents in read_pairs(DEFAULT_PAIRS).items():
        encoded = [windows[0] for windows in encoder.encode(query, documents, EncodingPolicy(256))]
        with torch.inference_mode():
            rows = [(pair.ids.tolist(), pair.document_start) for pair in encoded]
            expected.append(tokens.score_rows(ranker, rows).numpy())
        found.append(np.asarray(reranker.score([(query, text) for text in documents], activation="none")))
    report = agreement(expected, found)
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
    if size > MAX_BYTES[name]:
        raise SystemExit(f"The model is {size / 1e6:.1f} MB, more than {MAX_BYTES[name] / 1e6:.0f} MB.")


def main() -> None:
    """Export one ranker."""
    parser = argparse.ArgumentParser(description="Write a ranker as an int8 (or fp32) model folder.")
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--start", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--name", choices=tuple(MAX_BYTES), default="mini")
    parser.add_argument("--precision", choices=("int8", "fp32"), default="int8")
    arguments = parser.parse_args()
    if arguments.precision == "int8":
        export(arguments.data, arguments.start, arguments.out, arguments.name)
    else:
        write(arguments.start, arguments.out, "fp32", name=arguments.name)


if __name__ == "__main__":
    main()
