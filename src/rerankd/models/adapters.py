"""LoRA adapters (Hu et al. 2021) in peft's format, merged into the weights of their base model as these are read."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from rerankd._common.json_parsing import parse_json
from rerankd.errors import CorruptModelError, ModelNotFoundError, UnsupportedModelError
from rerankd.models.architecture import Architecture
from rerankd.models.checkpoint import Array, Checkpoint, read_tensor
from rerankd.models.reference import parse_reference
from rerankd.models.wrong_files import unreadable_weights

CONFIG, WEIGHTS = "adapter_config.json", "adapter_model.safetensors"
MERGE = "Merge it with peft: model.merge_and_unload().save_pretrained(FOLDER), with the tokenizer, and pass FOLDER."
_WRAPPER = "base_model.model."
_MATRIX = re.compile(r"(?P<module>.+)\.lora_(?P<embedding>embedding_)?(?P<part>[AB])(\.default)?(\.weight)?")
_NO_PARTS = re.compile(r"\.(modules_to_save|base_layer)(\.default)?(?=\.)")
# Options that change how weights are merged; with these values they do not.
_PLAIN: Mapping[str, tuple[Any, ...]] = {
    "use_dora": (None, False),
    "use_qalora": (None, False),
    "use_bdlora": (None,),
    "lora_bias": (None, False),
    "bias": (None, "none"),
    "layer_replication": (None,),
    "alora_invocation_tokens": (None,),
    "trainable_token_indices": (None,),
    "target_parameters": (None, []),
    "arrow_config": (None,),
    "kasa_config": (None,),
    "velora_config": (None,),
    "monteclora_config": (None,),
}
_CHANGED_BASE = ("pissa", "olora", "corda", "loftq", "lora_ga")  # values of init_lora_weights


@dataclass(frozen=True, slots=True)
class LoraConfig:
    """Settings of an adapter, from `adapter_config.json`.

    Attributes:
        base: folder or repository of the base model.
        revision: revision of the repository; None for the main one.
        rank: rank of the matrices.
        alpha: numerator of the scale.
        rank_stabilized: True if the scale is alpha / sqrt(rank), otherwise it is alpha / rank (Kalajdzievski 2023).
        rank_pattern: other ranks, by regular expressions for the names of modules.
        alpha_pattern: other alphas, likewise.
    """

    base: str
    revision: str | None
    rank: int
    alpha: float
    rank_stabilized: bool = False
    rank_pattern: Mapping[str, int] = field(default_factory=dict)
    alpha_pattern: Mapping[str, float] = field(default_factory=dict)

    def rank_of(self, module: str) -> int:
        """Return the rank of a module's matrices."""
        return int(_matching(self.rank_pattern, module, self.rank))

    def scale_of(self, module: str) -> float:
        """Return the factor of a module's change.

        Example:
            >>> LoraConfig("org/base", None, rank=8, alpha=16).scale_of("bert.pooler.dense")
            2.0
        """
        rank = self.rank_of(module)
        return float(_matching(self.alpha_pattern, module, self.alpha)) / (
            math.sqrt(rank) if self.rank_stabilized else rank
        )


def _matching(patterns: Mapping[str, float], module: str, default: float) -> float:
    """Return the value of the first pattern that matches the end of a module's name, as peft does."""
    return next((value for key, value in patterns.items() if re.match(rf"(.*\.)?({key})$", module)), default)


def read_config(folder: Path) -> LoraConfig:
    """Read `adapter_config.json`.

    Raises:
        CorruptModelError: it is not valid.
        UnsupportedModelError: the adapter is not a LoRA adapter, or has an option that is not merged.
    """
    path = folder / CONFIG
    try:
        values = parse_json(path.read_text(encoding="utf-8"))
        kind = str(values.get("peft_type"))
        if kind != "LORA":
            raise UnsupportedModelError(
                f"{folder} holds an adapter of type {kind}; only LORA is merged.", hint="Train a LoRA adapter."
            )
        _check_plain(folder, values)
        config = LoraConfig(
            base=str(values["base_model_name_or_path"] or ""),
            revision=values.get("revision") or None,
            rank=int(values["r"]),
            alpha=float(values["lora_alpha"]),
            rank_stabilized=bool(values.get("use_rslora")),
            rank_pattern={str(key): int(value) for key, value in (values.get("rank_pattern") or {}).items()},
            alpha_pattern={str(key): float(value) for key, value in (values.get("alpha_pattern") or {}).items()},
        )
        if min([config.rank, *config.rank_pattern.values()]) < 1:
            raise ValueError("a rank below 1")
        config.scale_of("")  # compiles the patterns
    except (ValueError, TypeError, KeyError, AttributeError, OverflowError, re.error) as error:
        raise CorruptModelError(
            f"{path} is not a valid adapter configuration ({error}).", hint="Save the adapter again with peft."
        ) from error
    return config


def _check_plain(folder: Path, values: Mapping[str, Any]) -> None:
    name = next((name for name, plain in _PLAIN.items() if values.get(name) not in plain), None)
    start = values.get("init_lora_weights")
    if name is None and isinstance(start, str) and start.lower().startswith(_CHANGED_BASE):
        name = "init_lora_weights"
    if name is not None:
        what = "DoRA" if name == "use_dora" else f"{name} {values[name]!r}"
        raise UnsupportedModelError(f"{folder} holds an adapter with {what}, which is not merged.", hint=MERGE)


def base_reference(folder: Path) -> str:
    """Return the reference of the base model that an adapter names: a folder, or a repository with its revision.

    A relative path is looked up in the working directory, then beside the adapter's files.

    Raises:
        ModelNotFoundError: it names none, or a folder that is not there.
        CorruptModelError: `adapter_config.json` is not valid.
        UnsupportedModelError: the adapter is not a LoRA adapter, or has an option that is not merged.
    """
    config = read_config(folder)
    if not config.base:
        raise ModelNotFoundError(
            f"{folder} holds an adapter that names no base model.",
            hint=f"Write the base model's folder or org/name into base_model_name_or_path of {CONFIG}.",
        )
    for path in (Path(config.base).expanduser(), folder / config.base):
        if path.is_dir():
            return str(path.resolve())
    try:
        parsed = parse_reference(config.base)
    except ModelNotFoundError as error:
        raise ModelNotFoundError(
            f"{folder} holds an adapter for {config.base}, which is not on this machine.",
            hint=f"Write the base model's folder or org/name into base_model_name_or_path of {CONFIG}.",
        ) from error
    return f"{config.base}@{config.revision}" if parsed.kind == "hub" and config.revision else config.base


def wrong_base(folder: Path, kind: str) -> UnsupportedModelError:
    """Return the error for a base model that an adapter cannot be merged into, and what it is instead."""
    return UnsupportedModelError(
        f"{folder} holds an adapter for {read_config(folder).base}, which is {kind}.",
        hint=f"Name the checkpoint that it was trained on in base_model_name_or_path of {CONFIG}.",
    )


class AdaptedCheckpoint(Checkpoint):
    """Tensors of a base model with an adapter merged into them: W + scale * B A.

    Args:
        folder: folder of the base model.
        architecture: architecture of the base model.
        adapter: folder of the adapter.

    Raises:
        CorruptModelError: the base model's weights are not valid, or the adapter does not fit them.
        UnsupportedModelError: the adapter changes weights in a way that is not merged.
    """

    def __init__(self, folder: Path, architecture: Architecture, adapter: Path) -> None:
        super().__init__(folder, architecture)
        self._adapter, self._config = adapter, read_config(adapter)
        self._whole: dict[str, Array] = {}
        self._matrices: dict[str, tuple[Array, Array]] = {}
        matrices: dict[tuple[str, str], Array] = {}
        for name, tensor in _tensors(adapter):
            match = _MATRIX.fullmatch(name)
            if match is not None:
                # An embedding's matrices are stored the other way round: the change is (B A) transposed.
                part = match["part"] if not match["embedding"] else {"A": "B", "B": "A"}[match["part"]]
                matrices[match["module"], part] = tensor.T if match["embedding"] else tensor
            elif "lora_" in name:
                what = "DoRA" if "magnitude" in name else name
                raise UnsupportedModelError(f"{adapter} holds an adapter with {what}, which is not merged.", hint=MERGE)
            elif ".original_module." not in name:
                self._whole[_NO_PARTS.sub("", name)] = tensor
        for name, tensor in self._whole.items():
            self._check_shape(name, tensor.shape)
        for module in {module for module, _ in matrices}:
            self._add(module, matrices.get((module, "B")), matrices.get((module, "A")))

    def _add(self, module: str, outer: Array | None, inner: Array | None) -> None:
        if outer is None or inner is None or outer.ndim != 2 or inner.ndim != 2:
            raise self._foreign(f"{module} has only one matrix of two dimensions")
        rank = self._config.rank_of(module)
        if not outer.shape[1] == inner.shape[0] == rank:
            raise self._foreign(f"{module} has rank {inner.shape[0]}, but {CONFIG} says {rank}")
        self._check_shape(f"{module}.weight", (outer.shape[0], inner.shape[1]))
        self._matrices[f"{module}.weight"] = outer * np.float32(self._config.scale_of(module)), inner

    def _check_shape(self, name: str, shape: tuple[int, ...]) -> None:
        if name not in self._files:
            raise self._foreign(f"{name} is no weight of the base model")
        if (expected := self._shape(name)) != shape:
            raise self._foreign(f"{name} has shape {shape}, the base model's {expected}")

    def _foreign(self, reason: str) -> CorruptModelError:
        return CorruptModelError(
            f"{self._adapter}: the adapter does not fit its base model {self._config.base}: {reason}.",
            hint=f"Name the model that it was trained on in base_model_name_or_path of {CONFIG}.",
        )

    def _read(self, name: str, rows: tuple[int, int] | None) -> Array:
        part = slice(*rows) if rows else slice(None)
        weight = self._whole[name][part] if name in self._whole else super()._read(name, rows)
        if name not in self._matrices:
            return weight
        outer, inner = self._matrices[name]
        return np.asarray(weight + outer[part] @ inner, dtype=np.float32)

    def changed(self) -> Iterator[tuple[str, Array]]:
        """Yield the name and the merged values of each stored tensor that the adapter changes."""
        for name in sorted({*self._whole, *self._matrices}):
            yield name, self._read(name, None)

    def merged(self) -> Iterator[tuple[str, Array]]:
        """Yield the stored name and the values of each tensor, float32."""
        for name in sorted(self._files):
            yield self._stored[name], self._read(name, None)


def _tensors(folder: Path) -> Iterator[tuple[str, Array]]:
    """Yield the adapter's tensors by their names in the model, as float32."""
    from safetensors import SafetensorError, safe_open

    path = folder / WEIGHTS
    if not path.is_file():
        pickled = (folder / "adapter_model.bin").is_file()
        what = f"{WEIGHTS} is missing"
        if pickled:
            what = "its weights are a pickle (adapter_model.bin), which is never loaded"
        hint = "Save the adapter again with peft, as safetensors." if pickled else f"Copy {WEIGHTS} beside {CONFIG}."
        raise CorruptModelError(f"{folder} holds an adapter, but {what}.", hint=hint)
    try:
        opened = safe_open(str(path), framework="np")
    except (SafetensorError, OSError) as error:
        raise unreadable_weights(path, error) from error
    for name in opened.keys():  # type: ignore[no-untyped-call]  # noqa: SIM118  not a mapping
        yield name.removeprefix(_WRAPPER), read_tensor(opened, name)
