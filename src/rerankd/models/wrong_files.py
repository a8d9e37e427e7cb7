"""What a folder holds instead of the files of a model, and what to do about it."""

from __future__ import annotations

import re
from pathlib import Path

from rerankd.errors import CorruptModelError, ModelError

_FORMATS = (
    ("pytorch_model*.bin", "a pickle ({name}), which can run code and is never loaded"),
    ("*.gguf", "GGUF ({name}), which llama.cpp reads"),
    ("onnx/*.onnx", "an ONNX export of another tool ({name})"),
    ("*.onnx", "an ONNX export of another tool ({name})"),
    ("openvino/*.xml", "an OpenVINO export ({name})"),
    ("openvino_model.xml", "an OpenVINO export ({name})"),
    ("tf_model.h5", "TensorFlow's ({name})"),
    ("flax_model.msgpack", "Flax's ({name})"),
    ("*.bin", "a pickle ({name}), which can run code and is never loaded"),
    ("*.pt", "a pickle ({name}), which can run code and is never loaded"),
    ("*.ckpt", "a pickle ({name}), which can run code and is never loaded"),
)
_CONVERT = "Use a revision with model.safetensors, or convert it with transformers' save_pretrained."
_ONNX = "Use the folder with model.safetensors that it was exported from; rerankd models compile makes its own ONNX."
_GGUF = "Use the repository with model.safetensors that it was converted from."


def other_weights(folder: Path) -> ModelError | None:
    """Return the error for a folder whose weights have a format that is not read; None if it has no weights."""
    for pattern, what in _FORMATS:
        path = next(iter(sorted(folder.glob(pattern))), None)
        if path is None:
            continue
        name = path.relative_to(folder).as_posix()
        hint = _GGUF if path.suffix == ".gguf" else _ONNX if "export" in what else _CONVERT
        return CorruptModelError(f"{folder}: the weights are {what.format(name=name)}.", hint=hint)
    return None


def no_config(folder: Path) -> ModelError:
    """Return the error for a folder without `config.json`."""
    empty = not folder.is_dir() or not any(folder.iterdir())
    if empty and folder.parent.name == "snapshots":
        return CorruptModelError(
            f"{folder}: the repository has no config.json and no safetensors, so it is no checkpoint (perhaps GGUF).",
            hint="Use the repository with config.json and model.safetensors that it was converted from.",
        )
    if empty:
        return CorruptModelError(f"{folder} is empty.", hint="Pass the folder with config.json and model.safetensors.")
    below = sorted(path.parent for path in folder.glob("*/config.json") if _has_weights(path.parent))
    if below:
        return CorruptModelError(
            f"{folder} is not a model folder: config.json is missing, and {len(below)} of its folders have one.",
            hint=f"Pass one of them, such as {below[-1]}.",
        )
    if (found := other_weights(folder)) is not None:
        return found
    weights = next(iter(sorted(folder.glob("*.safetensors"))), None)
    hint = "Pass the folder that contains it."
    if weights is not None:
        hint = f"Copy it from the repository that {weights.name} comes from, with tokenizer.json."
    elif (folder / "tokenizer.json").is_file():
        hint = "This folder has a tokenizer only; pass the one with config.json and model.safetensors."
    return CorruptModelError(f"{folder} is not a model folder: config.json is missing.", hint=hint)


def _has_weights(folder: Path) -> bool:
    return any(folder.glob("*.safetensors"))


def no_weights(folder: Path, *, snapshot: bool) -> ModelError:
    """Return the error for a folder without `model.safetensors`.

    Args:
        folder: the folder.
        snapshot: True if it is a snapshot in the hub's cache, into which only safetensors are fetched.
    """
    if (found := other_weights(folder)) is not None:
        return found
    others = [path.name for path in sorted(folder.glob("*.safetensors"))]
    if others:
        sharded = bool(re.fullmatch(r"model-\d+-of-\d+\.safetensors", others[0]))
        return CorruptModelError(
            f"{folder}: there is no model.safetensors, but {others[0]}"
            + (" without model.safetensors.index.json." if sharded else "."),
            hint="Copy model.safetensors.index.json from the model's repository."
            if sharded
            else "Rename it if it holds the whole model.",
        )
    if snapshot:
        return CorruptModelError(
            f"{folder}: there is no model.safetensors.",
            hint="If the repository has one, fetch the model again; if its weights have another format, use a revision "
            "with model.safetensors, or convert them with transformers' save_pretrained.",
        )
    return CorruptModelError(
        f"{folder}: there is no model.safetensors.",
        hint="Copy it from the model's repository, or pass another folder.",
    )


_SLOW = ("sentencepiece.bpe.model", "tokenizer.model", "spiece.model", "spm.model", "vocab.txt", "vocab.json")


def no_tokenizer(folder: Path) -> ModelError:
    """Return the error for a folder without `tokenizer.json`."""
    slow = next((name for name in _SLOW if (folder / name).is_file()), None)
    if slow is None:
        return CorruptModelError(
            f"{folder}: tokenizer.json is missing.",
            hint="Fetch it, or create it with transformers: AutoTokenizer.from_pretrained(...).save_pretrained(...).",
        )
    return CorruptModelError(
        f"{folder}: tokenizer.json is missing; {slow} is the older form of a tokenizer.",
        hint=f"Convert it with transformers: AutoTokenizer.from_pretrained({str(folder)!r}).save_pretrained("
        f"{str(folder)!r}).",
    )


def unreadable_weights(path: Path, error: Exception) -> ModelError:
    """Return the error for a file that is not in the safetensors format.

    Args:
        path: the file.
        error: what the reader says.
    """
    with path.open("rb") as file:
        start = file.read(64)
    if start.startswith(b"version https://git-lfs"):
        return CorruptModelError(
            f"{path} is a Git LFS pointer, not the weights.", hint=f"Run git lfs pull in {path.parent}."
        )
    kinds = {b"GGUF": "a GGUF file", b"PK\x03\x04": "a pickle", b"\x80": "a pickle", b"<": "a web page"}
    if kind := next((name for magic, name in kinds.items() if start.startswith(magic)), ""):
        return CorruptModelError(
            f"{path} is {kind}, not a safetensors file.", hint="Use model.safetensors of the model's repository."
        )
    return CorruptModelError(f"{path} is truncated or not a safetensors file ({error}).", hint="Fetch the model again.")
