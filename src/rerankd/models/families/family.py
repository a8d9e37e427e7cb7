"""Description of a family of models: how it is recognised, its weights, its input and its limits."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rerankd.models.architecture import Architecture
from rerankd.models.template import Template

if TYPE_CHECKING:
    from tokenizers import Tokenizer


@dataclass(frozen=True, slots=True)
class ModelConfig:
    """Configuration of a model folder.

    Attributes:
        values: the parsed `config.json`.
        where: name of the model, for error messages.
        folder: folder of the other files, such as `modules.json`; None before they are fetched.
    """

    values: Mapping[str, Any]
    where: str
    folder: Path | None = None

    @property
    def model_type(self) -> str:
        """Name of the architecture in transformers."""
        return str(self.values.get("model_type", ""))

    @property
    def classes(self) -> list[str]:
        """Names of the classes that the model was saved from."""
        named = self.values.get("architectures")
        return [str(name) for name in named] if isinstance(named, list) else []


@dataclass(frozen=True, slots=True)
class StoredWeight:
    """Place of a weight in a checkpoint.

    Attributes:
        name: name of the stored tensor.
        rows: first and last row (exclusive) that belong to the weight; None for all.
        total: rows of the stored tensor; None if they are not checked.
    """

    name: str
    rows: tuple[int, int] | None = None
    total: int | None = None


def merged_weights(stored: str, parts: Sequence[str], rows: int, kinds: Sequence[str]) -> dict[str, StoredWeight]:
    """Return the places of layers that are stored as one, such as query, key and value.

    Args:
        stored: name of the stored layer.
        parts: names of the layers, in the order of their rows.
        rows: rows of each layer.
        kinds: what is stored: `weight`, `bias`.

    Example:
        >>> merged_weights("qkv", ("q", "k"), 8, ("weight",))["k.weight"]
        StoredWeight(name='qkv.weight', rows=(8, 16), total=16)
    """
    return {
        f"{part}.{kind}": StoredWeight(f"{stored}.{kind}", (rows * n, rows * (n + 1)), rows * len(parts))
        for n, part in enumerate(parts)
        for kind in kinds
    }


@dataclass(frozen=True, slots=True)
class Family:
    """Description of a family of models.

    Attributes:
        name: name of the family, as manifests store it.
        classes: names in `architectures` of config.json.
        examples: repositories on the hub.
        languages: languages of the examples, for people.
        licence: licences of the examples, for people.
        architecture: class of the family's architectures.
        recognises: function that returns True for the configuration of a member.
        read: function that reads the architecture, and raises `UnsupportedModelError` for what is not supported.
        template: function that returns how a query and a document become one sequence.
        stored_weights: function that returns where a checkpoint with these tensor names stores each weight; weights
            that it leaves out are stored under their own names.
        instruction: True if the input has a place for an instruction.
        compiled: True if `rerankd models compile` supports the family.
        trained: True if `rerankd train` supports the family.
        adapted_layers: regular expression for the names of the linear layers that training gives LoRA adapters, never
            those of the head; empty where training does not support the family.
        length: longest pair of the examples in tokens, for people.
        made_to_rank: function that returns False for a member that is no reranker by its files and name, such as a chat
            model, which can be used as one all the same.
    """

    name: str
    classes: tuple[str, ...]
    examples: tuple[str, ...]
    languages: str
    licence: str
    architecture: type[Architecture]
    recognises: Callable[[ModelConfig], bool]
    read: Callable[[ModelConfig], Architecture]
    template: Callable[[Architecture, Tokenizer, Path], Template]
    stored_weights: Callable[[Architecture, Sequence[str]], Mapping[str, StoredWeight]] = lambda *_: {}
    instruction: bool = False
    compiled: bool = True
    trained: bool = False
    adapted_layers: str = ""
    length: str = ""
    made_to_rank: Callable[[ModelConfig], bool] = lambda _: True
