"""Other runtimes on the same weights and requests, as their users run them."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

MAX_LENGTH = 512
PLAIN_BATCH, OPENVINO_BATCH, CAUSAL_BATCH = 32, 8, 8
OPENVINO = ("openvino==2026.4.1", "nncf==3.4.0")
FOLDER = Path("build/peers/openvino")
CALIBRATION_PAIRS = 34

Score = Callable[[str, list[str]], int]
Ids = list[int]
Run = Callable[[npt.NDArray[np.int64], npt.NDArray[np.int64]], object]


def install_openvino() -> bool:
    """Install OpenVINO and NNCF into a folder of their own, since their pins differ; return False if that fails."""
    if FOLDER.is_dir():
        return True
    print(f"  installing {' and '.join(OPENVINO)} into {FOLDER}", file=sys.stderr)
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--target", str(FOLDER), *OPENVINO]
    try:
        subprocess.run(command, check=True, stdout=sys.stderr)
    except (OSError, subprocess.CalledProcessError) as error:
        print(f"  OpenVINO is left out: {error}", file=sys.stderr)
        return False
    return True


def openvino(checkpoint: Path, precision: str, threads: int) -> Score:
    """Return a scorer that runs a checkpoint in OpenVINO, in batches of 8 of similar length.

    Args:
        checkpoint: folder of the checkpoint.
        precision: `fp32`, `bf16`, or `int8` (static, calibrated by NNCF).
        threads: CPU threads.
    """
    sys.path.append(str(FOLDER))
    import openvino as ov

    tokenizer, core = _tokenizer(checkpoint), ov.Core()
    kept = checkpoint.parent / f"{checkpoint.name}-openvino-{'int8' if precision == 'int8' else 'float'}" / "model.xml"
    if not kept.exists():
        ov.save_model(_converted(checkpoint, precision, tokenizer), str(kept), compress_to_fp16=False)
    options = {"PERFORMANCE_HINT": "LATENCY", "INFERENCE_NUM_THREADS": threads}
    if precision != "int8":
        options["INFERENCE_PRECISION_HINT"] = {"fp32": "f32", "bf16": "bf16"}[precision]
    request = core.compile_model(str(kept), "CPU", options).create_infer_request()

    def run(ids: npt.NDArray[np.int64], mask: npt.NDArray[np.int64]) -> object:
        return request.infer({"input_ids": ids, "attention_mask": mask})

    return lambda query, documents: _run_sorted(run, _ids(tokenizer, query, documents), OPENVINO_BATCH)


def _converted(checkpoint: Path, precision: str, tokenizer: Any) -> Any:
    import openvino as ov
    import torch
    from transformers import AutoModelForSequenceClassification

    network = AutoModelForSequenceClassification.from_pretrained(checkpoint).eval()
    example = {"input_ids": torch.full((2, 16), 5), "attention_mask": torch.ones(2, 16, dtype=torch.long)}
    model = ov.convert_model(network, example_input=example)
    if precision != "int8":
        return model
    import nncf

    from benchmarks import workload

    made, _ = workload.requests(4, 50)
    ids = [own for query, documents in made[2:] for own in _ids(tokenizer, query, documents)[::3]][:CALIBRATION_PAIRS]
    rows = [{"input_ids": np.array([own]), "attention_mask": np.ones((1, len(own)), np.int64)} for own in ids]
    return nncf.quantize(
        model,
        nncf.Dataset(rows),
        model_type=nncf.ModelType.TRANSFORMER,
        subset_size=len(rows),
        preset=nncf.QuantizationPreset.MIXED,
    )


def onnxruntime(compiled: Path, threads: int) -> Score:
    """Return a scorer that runs an ONNX file in batches of 32 padded to the longest, as fastembed and FlashRank do."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    session = onnxruntime.InferenceSession(str(compiled / "model.onnx"), options, providers=["CPUExecutionProvider"])
    tokenizer = _tokenizer(compiled)

    def run(ids: npt.NDArray[np.int64], mask: npt.NDArray[np.int64]) -> object:
        return session.run(None, {"input_ids": ids, "attention_mask": mask})

    def score(query: str, documents: list[str]) -> int:
        ids = _ids(tokenizer, query, documents)
        for start in range(0, len(ids), PLAIN_BATCH):
            _run(run, ids[start : start + PLAIN_BATCH])
        return 0

    return score


def _tokenizer(folder: Path) -> Any:
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(folder)


def _ids(tokenizer: Any, query: str, documents: Sequence[str]) -> list[Ids]:
    pairs = ([query] * len(documents), list(documents))
    ids: list[Ids] = tokenizer(*pairs, truncation="longest_first", max_length=MAX_LENGTH)["input_ids"]
    return ids


def _run_sorted(run: Run, ids: list[Ids], batch: int) -> int:
    ordered = sorted(ids, key=len, reverse=True)
    for start in range(0, len(ordered), batch):
        _run(run, ordered[start : start + batch])
    return 0


def _run(run: Run, ids: list[Ids]) -> None:
    shape = (len(ids), max(map(len, ids)))
    tokens, mask = np.ones(shape, np.int64), np.zeros(shape, np.int64)
    for row, own in enumerate(ids):
        tokens[row, : len(own)], mask[row, : len(own)] = own, 1
    run(tokens, mask)


def transformers_causal(checkpoint: Path, precision: str, threads: int) -> Score:
    """Return a scorer that asks a causal model of transformers, in batches of 8 of similar length, padded on the left.

    The prompts are those of rerankd, token by token.

    Args:
        checkpoint: folder of the checkpoint.
        precision: `fp32` or `bf16`.
        threads: CPU threads.
    """
    import torch
    from transformers import AutoModelForCausalLM

    from rerankd.models.families.decoder import DecoderArchitecture
    from rerankd.models.files import load_model
    from rerankd.scoring.encoder import PairEncoder, TruncationOptions

    torch.set_num_threads(threads)
    files = load_model(str(checkpoint))
    architecture = files.manifest.architecture
    if not isinstance(architecture, DecoderArchitecture):
        raise TypeError(f"{checkpoint} is no causal model.")
    answers = [number for number in (architecture.true_id, architecture.false_id) if number is not None]
    encoder = PairEncoder(files.tokenizer(), files.manifest.template)
    truncation = TruncationOptions(MAX_LENGTH, "longest_first")
    dtype = {"fp32": torch.float32, "bf16": torch.bfloat16}[precision]
    model: Any = AutoModelForCausalLM.from_pretrained(checkpoint, dtype=dtype)
    model.eval()

    def score(query: str, documents: list[str]) -> int:
        rows = sorted((chunks[0].ids for chunks in encoder.encode(query, documents, truncation)), key=len)
        for start in range(0, len(rows), CAUSAL_BATCH):
            batch = rows[start : start + CAUSAL_BATCH]
            longest = max(map(len, batch))
            ids = np.zeros((len(batch), longest), np.int64)
            mask = np.zeros_like(ids)
            for row, own in enumerate(batch):
                ids[row, longest - len(own) :], mask[row, longest - len(own) :] = own, 1
            with torch.inference_mode():
                made = model(torch.from_numpy(ids), attention_mask=torch.from_numpy(mask), logits_to_keep=1)
                made.logits[:, -1, answers].float().numpy()
        return 0

    return score
