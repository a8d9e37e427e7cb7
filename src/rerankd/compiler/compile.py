"""Compile a checkpoint to one ONNX file and verify that it ranks like its source.

The model folder appears only when the verification has passed, so it is either complete or absent. The reference is the
checkpoint run by transformers in float32.
"""

from __future__ import annotations

import dataclasses
import shutil
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from rerankd._common.files import atomic_folder
from rerankd._common.lines import split_lines
from rerankd._common.optional import require
from rerankd._common.rank_correlation import Agreement, agreement
from rerankd.compiler.causal_reference import causal_score
from rerankd.compiler.families import GRAPHS
from rerankd.errors import InvalidInputFileError, InvalidRequestError, VerificationError
from rerankd.models.compiled_weights import BLOCK
from rerankd.models.families.decoder import DecoderArchitecture
from rerankd.models.files import ONNX, ModelFiles
from rerankd.models.manifest import FILE_NAME, Manifest, sha256, write_manifest
from rerankd.models.saved_options import OPTION_FILES
from rerankd.scoring.encoder import EncodedPair, PairEncoder, TruncationOptions
from rerankd.scoring.onnx_backend import OnnxBackend

PRECISIONS = ("fp32", "int8")
EMBEDDING_PRECISIONS = ("int8", "int4")
MIN_KENDALL_TAU = {"fp32": 0.999, "int8": 0.9}
EXTERNAL_DATA_BYTES = 1_500_000_000  # protobuf holds at most 2 GiB
VERIFY_LENGTH = 256
DEFAULT_PAIRS = Path(__file__).with_name("verification.tsv")

_COPIED = (
    *("config.json", "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "README.md", "LICENSE"),
    *OPTION_FILES,
)
Step = Callable[[str], None]
Array = npt.NDArray[Any]


@dataclass(frozen=True, slots=True)
class CompileOptions:
    """Options of `compile_model`.

    Attributes:
        precision: `fp32` or `int8` (dynamic, per output channel; embeddings per row).
        embedding_precision: with `int8`, word embeddings in `int8`, or in `int4`: 4-bit blocks of 32, half the size.
        pairs: file of `query<TAB>document` lines to verify on; several lines share a query.
        min_kendall_tau: rank correlation below which compiling fails; None for the precision's default.
        name: name of the compiled model; empty for the source's name.
        licence: SPDX name of the weights' licence; empty for the source's, if it is known.
        waive: True keeps a model that fails the verification; the manifest records it.
        force: True replaces a model folder that exists.
    """

    precision: str = "int8"
    embedding_precision: str = "int8"
    pairs: Path = DEFAULT_PAIRS
    min_kendall_tau: float | None = None
    name: str = ""
    licence: str = ""
    waive: bool = False
    force: bool = False


def compile_model(
    files: ModelFiles,
    out: Path,
    options: CompileOptions | None = None,
    step: Step | None = None,
    weights: Mapping[str, Array] | None = None,
) -> Manifest:
    """Compile a checkpoint into `out`.

    Args:
        files: a checked checkpoint folder.
        out: model folder to make.
        options: precision and verification.
        step: function called with a sentence at the beginning of each step.
        weights: arrays that replace the checkpoint's weights, by name, such as weights that were quantized already; the
            reference is the checkpoint all the same.

    Returns:
        The manifest that was written, with the report of the verification.

    Raises:
        InvalidRequestError: not a checkpoint, an unknown precision, or `out` is in the way.
        VerificationError: the compiled model does not rank like its source; nothing is written then.
        MissingDependencyError: torch, transformers or onnx is not installed.
    """
    options, say = options or CompileOptions(), step or (lambda sentence: None)
    _check(files, out, options)
    for package in ("torch", "transformers", "onnx"):
        require(package, "torch", "Compiling a model")
    groups = read_pairs(options.pairs)
    with atomic_folder(out) as working:
        say("Writing the graph")
        _write_graph(files, working / ONNX, options, weights or {})
        for name in _COPIED:
            if (files.folder / name).is_file():
                shutil.copyfile(files.folder / name, working / name)
        manifest = _manifest(files, working, options)
        say("Scoring with the source (transformers, fp32)")
        encoded = verification_pairs(files, groups)
        expected, reference_seconds = _reference(files, encoded)
        say(f"Scoring with the compiled model ({options.precision})")
        scores, seconds = _compiled(replace(files, folder=working, manifest=manifest), encoded)
        report = agreement(expected, scores)
        manifest = replace(manifest, parity=_parity(report, reference_seconds / seconds, options))
        if not manifest.parity["passed"] and not options.waive:  # type: ignore[index]  # just set
            raise VerificationError(
                f"The compiled model does not rank like its source: Kendall tau {report.kendall_tau:.3f} "
                f"over {report.pairs} pairs, at least {_threshold(options)} is required.",
                hint="Compile with --precision fp32, or keep the model with --waive-verification.",
            )
        write_manifest(working, manifest)
        say("Moving it into place")
    return manifest


def read_pairs(path: Path) -> dict[str, list[str]]:
    """Read `query<TAB>document` lines, grouped by query; a line without a tab that begins with # is a comment.

    Raises:
        InvalidInputFileError: not readable, a line without a tab, or no query with two documents.
    """
    try:
        lines = split_lines(path.read_bytes().decode("utf-8-sig"))
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidInputFileError(f"{path} cannot be read ({error}).", hint="Pass a UTF-8 text file.") from error
    groups: dict[str, list[str]] = {}
    for number, line in enumerate(lines, start=1):
        query, tab, document = line.partition("\t")
        if not line.strip() or (line.startswith("#") and not tab):
            continue
        if not tab or not query.strip():
            raise InvalidInputFileError(f"{path}, line {number}: no tab.", hint="Write query<TAB>document.")
        groups.setdefault(query, []).append(document)
    if not any(len(documents) > 1 for documents in groups.values()):
        raise InvalidInputFileError(
            f"{path}: no query has two documents, so there is no order to compare.",
            hint="Write several lines with the same query.",
        )
    return groups


def _check(files: ModelFiles, out: Path, options: CompileOptions) -> None:
    if options.precision not in PRECISIONS:
        raise InvalidRequestError(f"Cannot compile to {options.precision!r}.", hint=f"Use {' or '.join(PRECISIONS)}.")
    if options.embedding_precision not in EMBEDDING_PRECISIONS:
        raise InvalidRequestError(
            f"Cannot store word embeddings as {options.embedding_precision!r}.",
            hint=f"Use {' or '.join(EMBEDDING_PRECISIONS)}.",
        )
    in_blocks = options.embedding_precision == "int4"
    if in_blocks and (options.precision != "int8" or files.manifest.architecture.hidden % BLOCK):
        raise InvalidRequestError(
            f"4-bit word embeddings need precision int8 and a hidden size that is a multiple of {BLOCK}.",
            hint="Use int8 word embeddings.",
        )
    if files.compiled:
        raise InvalidRequestError(
            f"{files.reference} is compiled already.", hint="Pass the checkpoint it was compiled from."
        )
    if out.resolve() == files.folder.resolve():
        raise InvalidRequestError("--out is the source folder.", hint="Pass another folder.")
    if not out.exists() or (out.is_dir() and not any(out.iterdir())):
        return
    if not (out / FILE_NAME).is_file():
        raise InvalidRequestError(f"{out} exists and is not a model folder.", hint="Pass a folder that does not exist.")
    if not options.force:
        raise InvalidRequestError(f"{out} exists.", hint="Use --force to replace it.")


def _write_graph(files: ModelFiles, path: Path, options: CompileOptions, weights: Mapping[str, Array]) -> None:
    import onnx

    architecture, checkpoint = files.manifest.architecture, files.checkpoint()

    def weight(name: str) -> Array:
        return weights[name] if name in weights else checkpoint.tensor(name)

    model = GRAPHS[type(architecture)](architecture, weight, options.precision, options.embedding_precision).build()
    size = architecture.parameters * (1 if options.precision == "int8" else 4)
    onnx.save(model, str(path), save_as_external_data=size > EXTERNAL_DATA_BYTES, location=f"{path.name}.data")


def _manifest(files: ModelFiles, folder: Path, options: CompileOptions) -> Manifest:
    source = "" if files.reference.kind != "hub" else str(files.reference)
    hashes = {path.name: sha256(path) for path in sorted(folder.iterdir())}
    return replace(
        files.manifest,
        name=options.name or files.manifest.name,
        licence=options.licence or files.manifest.licence,
        precision=options.precision,
        source=source or files.manifest.source or files.folder.resolve().name,
        files=hashes,
    )


def verification_pairs(files: ModelFiles, groups: dict[str, list[str]]) -> list[list[EncodedPair]]:
    """Encode the pairs of `read_pairs`, cut to `VERIFY_LENGTH` tokens; one list per query."""
    encoder = PairEncoder(files.tokenizer(), files.manifest.template)
    truncation = TruncationOptions(min(VERIFY_LENGTH, files.manifest.max_length))
    return [
        [pair for chunks in encoder.encode(query, documents, truncation) for pair in chunks]
        for query, documents in groups.items()
    ]


def _timed(
    encoded: list[list[EncodedPair]], score: Callable[[EncodedPair], float]
) -> tuple[list[npt.NDArray[np.float32]], float]:
    score(encoded[0][0])  # the first run allocates
    started = time.perf_counter()
    scores = [np.array([score(pair) for pair in group], dtype=np.float32) for group in encoded]
    return scores, time.perf_counter() - started


def _reference(files: ModelFiles, encoded: list[list[EncodedPair]]) -> tuple[list[npt.NDArray[np.float32]], float]:
    if isinstance(architecture := files.manifest.architecture, DecoderArchitecture):
        return _timed(encoded, causal_score(files, architecture))
    import torch
    from transformers import AutoModelForSequenceClassification

    model = AutoModelForSequenceClassification.from_pretrained(
        files.folder,
        dtype=torch.float32,
        trust_remote_code=False,
        use_safetensors=True,
        **({"key_mapping": renamed} if (renamed := files.checkpoint().key_mapping) else {}),
    ).eval()
    segmented = model.config.model_type == "bert"

    def score(pair: EncodedPair) -> float:
        ids = torch.from_numpy(pair.ids)[None]
        feed = {"input_ids": ids, "attention_mask": torch.ones_like(ids)}
        if segmented:
            feed["token_type_ids"] = (torch.arange(len(pair)) >= pair.document_start).long()[None]
        with torch.inference_mode():
            return float(model(**feed).logits[0, 0])

    return _timed(encoded, score)


def _compiled(files: ModelFiles, encoded: list[list[EncodedPair]]) -> tuple[list[npt.NDArray[np.float32]], float]:
    backend = OnnxBackend(files)
    return _timed(encoded, lambda pair: float(backend.logits([pair])[0]))


def _threshold(options: CompileOptions) -> float:
    return MIN_KENDALL_TAU[options.precision] if options.min_kendall_tau is None else options.min_kendall_tau


def _parity(report: Agreement, speedup: float, options: CompileOptions) -> dict[str, Any]:
    passed = report.kendall_tau >= _threshold(options)
    rounded = {
        key: round(value, 6) if isinstance(value, float) else value for key, value in dataclasses.asdict(report).items()
    }
    return rounded | {
        "reference": f"transformers {version('transformers')} fp32",
        "speedup": round(speedup, 2),
        "min_kendall_tau": _threshold(options),
        "passed": passed,
        "waived": bool(options.waive and not passed),
    }
