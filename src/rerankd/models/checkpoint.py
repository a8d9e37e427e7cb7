"""Weights of a Hugging Face checkpoint: safetensors files, one or sharded, checked before use."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from rerankd._common.json_parsing import parse_json
from rerankd._common.optional import install_command
from rerankd.errors import CorruptModelError, MissingDependencyError
from rerankd.models.architecture import Architecture
from rerankd.models.families import StoredWeight, family
from rerankd.models.modules import weight_folders
from rerankd.models.refusals import layout_of
from rerankd.models.wrong_files import no_weights, unreadable_weights

INDEX = "model.safetensors.index.json"
Array = npt.NDArray[Any]
_DTYPES = {"F32": "fp32", "F16": "fp16", "BF16": "bf16"}


def weight_files(folder: Path) -> list[Path]:
    """Return the safetensors files of a checkpoint.

    Raises:
        CorruptModelError: there are none, or a shard listed in the index is missing.
    """
    if (folder / "model.safetensors").is_file():  # beside an index it wins, as in transformers: the index is left over
        return [folder / "model.safetensors"]
    index = folder / INDEX
    if index.exists():
        try:
            names = sorted({str(name) for name in parse_json(index.read_bytes())["weight_map"].values()})
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise CorruptModelError(f"{index} is not a valid index.", hint="Fetch the model again.") from error
        missing = [name for name in names if Path(name).name != name or not (folder / name).is_file()]
        if missing:
            raise CorruptModelError(f"{folder}: the shard {missing[0]} is missing.", hint="Fetch the model again.")
        return [folder / name for name in names]
    raise no_weights(folder, snapshot=folder.parent.name == "snapshots")


class Checkpoint:
    """Tensors of a checkpoint by name, read from disk on access.

    Every weight of the architecture must be present with its shape; other tensors are ignored. Names may carry the
    prefixes of a wrapper, such as `_orig_mod.` of `torch.compile` or `module.` of data-parallel training. Weights of a
    chain of modules that are in folders of their own are named after the module, such as `2_Dense.linear.weight`.

    Args:
        folder: folder of the files.
        architecture: expected architecture.
        head: False for an encoder without a head, whose weights may also be named without the encoder's prefix.

    Raises:
        CorruptModelError: a file is truncated, or a weight is missing or has another shape.
    """

    def __init__(self, folder: Path, architecture: Architecture, *, head: bool = True) -> None:
        stored = _open_files(folder)
        self._architecture, shapes = architecture, architecture.shapes()
        self._stored = _stored_names(stored, architecture, next(iter(shapes)), head=head)
        self._files = {name: stored[stored_name] for name, stored_name in self._stored.items()}
        for prefix, place in (weight_folders(folder) if head else {}).items():
            for stored_name, opened in _open_files(place).items():
                self._stored[f"{prefix}.{stored_name}"], self._files[f"{prefix}.{stored_name}"] = stored_name, opened
        self._places = dict(family(architecture.family).stored_weights(architecture, list(self._stored)))
        for name, shape in shapes.items():
            if not head and name.startswith(architecture.head_prefixes):
                continue
            self._check(folder, name, shape)

    def _check(self, folder: Path, name: str, shape: tuple[int, ...]) -> None:
        place = self._place(name)
        if place.name not in self._files:
            raise self._missing(folder, name, place.name)
        actual, merged = self._shape(place.name), ""
        if place.total is not None:
            name, shape, merged = place.name, (place.total, *shape[1:]), "merged "
        elif place.rows is not None and len(actual) == len(shape) and actual[0] >= place.rows[1]:
            actual = (place.rows[1] - place.rows[0], *actual[1:])
        if actual != shape:
            raise CorruptModelError(
                f"{folder}: the {merged}weight {name} has shape {actual}, but config.json says {shape}.",
                hint="Use weights and config.json from the same repository.",
            )

    def _shape(self, name: str) -> tuple[int, ...]:
        return tuple(self._files[name].get_slice(self._stored[name]).get_shape())

    def _missing(self, folder: Path, wanted: str, name: str) -> CorruptModelError:
        index = folder / INDEX
        sharded = index.is_file() and not (folder / "model.safetensors").is_file()
        if sharded and name in index.read_text(encoding="utf-8", errors="replace"):
            return CorruptModelError(
                f"{folder}: the weight {name} is missing from its shard.", hint="Fetch the model again."
            )
        layout = layout_of(self._files)
        if layout and layout != layout_of(self._place(weight).name for weight in self._architecture.shapes()):
            return CorruptModelError(
                f"{folder}: the weight {name} is missing; the names of the weights look like those of {layout}, not of "
                f"the family {self._architecture.family} that config.json names.",
                hint="Use weights and config.json from the same repository, and a supported family (rerankd models "
                "families).",
            )
        if wanted.startswith(self._architecture.head_prefixes):
            return CorruptModelError(
                f"{folder}: the ranking head is missing ({name}): these are the weights of a bi-encoder.",
                hint="Use a checkpoint trained as a cross-encoder; a missing head is never initialized at random.",
            )
        return CorruptModelError(
            f"{folder}: the weight {name} is missing, and the file is complete without it.",
            hint="Save the whole model again (transformers' save_pretrained), or use its original repository.",
        )

    @property
    def precision(self) -> str:
        """Data type of the stored weights: fp32, fp16 or bf16."""
        name, opened = next(iter(self._files.items()))
        stored = str(opened.get_slice(self._stored[name]).get_dtype())
        return _DTYPES.get(stored, stored)

    def _place(self, name: str) -> StoredWeight:
        return self._places.get(name, StoredWeight(name))

    def stored_name(self, name: str) -> str:
        """Return the name under which a weight is stored."""
        return self._stored[self._place(name).name]

    @property
    def own_layout(self) -> bool:
        """True if weights are merged, or stored under other names than transformers gives them."""
        return bool(self._places)

    def tensors(self) -> dict[str, np.ndarray[Any, Any]]:
        """Return all weights of the architecture by name, as float32 arrays that may be changed."""
        return {name: np.array(self.tensor(name)) for name in self._architecture.shapes()}

    @property
    def key_mapping(self) -> dict[str, str]:
        """Changes that turn stored names into the architecture's: regular expressions for transformers."""
        name, stored = next(iter(self._stored.items()))
        wrapper = stored.replace(_COMPILED, "").removesuffix(name)
        changes = {re.escape(_COMPILED): ""} if any(_COMPILED in stored for stored in self._stored.values()) else {}
        return changes | ({f"^{re.escape(wrapper)}": ""} if wrapper else {})

    def tensor(self, name: str) -> Array:
        """Return a weight as float32."""
        place = self._place(name)
        return self._read(place.name, place.rows)

    def _read(self, name: str, rows: tuple[int, int] | None) -> Array:
        """Return rows of a stored tensor, all for None, by its name without the prefixes of wrappers."""
        return read_tensor(self._files[name], self._stored[name], rows)


def read_tensor(opened: Any, name: str, rows: tuple[int, int] | None = None) -> Array:
    """Return a tensor of an opened safetensors file as float32.

    Args:
        opened: the file.
        name: name of the tensor.
        rows: first and last row (exclusive) to read; None for all.

    Raises:
        MissingDependencyError: it is bfloat16, and the package that numpy needs for it is not installed.
    """
    if str(opened.get_slice(name).get_dtype()) == "BF16":
        try:
            import ml_dtypes  # noqa: F401  numpy learns bfloat16 from it
        except ImportError as error:
            raise MissingDependencyError(
                "Reading bfloat16 weights needs the package 'ml_dtypes', which is not installed.",
                hint=f"Run: {install_command('torch')}",
            ) from error
    if rows is not None:
        return np.asarray(opened.get_slice(name)[rows[0] : rows[1]], dtype=np.float32)
    return np.asarray(opened.get_tensor(name), dtype=np.float32)


_COMPILED = "_orig_mod."


def _open_files(folder: Path) -> dict[str, Any]:
    """Return the open safetensors file of each stored tensor of a folder."""
    from safetensors import SafetensorError, safe_open

    stored: dict[str, Any] = {}
    for path in weight_files(folder):
        try:
            opened = safe_open(str(path), framework="np")
        except (SafetensorError, OSError) as error:
            raise unreadable_weights(path, error) from error
        stored |= dict.fromkeys(opened.keys(), opened)  # type: ignore[no-untyped-call]
    return stored


def _stored_names(stored: Iterable[str], architecture: Architecture, first: str, *, head: bool) -> dict[str, str]:
    """Return the names under which weights are stored, without the prefixes of wrappers.

    Args:
        stored: names of all stored tensors.
        architecture: expected architecture.
        first: name of the word embeddings, by which a wrapper's prefix is recognised.
        head: False for an encoder, whose weights may lack the encoder's prefix.
    """
    names = {name.replace(_COMPILED, ""): name for name in stored}
    prefix = f"{architecture.prefix}."
    bare = first.removeprefix(prefix)
    wrapped = [name for name in names if name.endswith(f".{first}") or (not head and name.endswith(bare))]
    if len(wrapped) != 1 or first in names:
        return names
    inner = first if wrapped[0].endswith(f".{first}") else bare
    wrapper, added = wrapped[0].removesuffix(inner), prefix if inner == bare else ""
    return {added + name.removeprefix(wrapper): stored_name for name, stored_name in names.items()}
