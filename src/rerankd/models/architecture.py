"""Shape of a network: what every family of models has, and checks of the values in `config.json`."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from rerankd.errors import UnsupportedModelError

MAX_SIZE = 10_000_000
OWN_CONFIG = "Use the model's own config.json."

Shapes = dict[str, tuple[int, ...]]


@dataclass(frozen=True, slots=True)
class Architecture(ABC):
    """Shape of a reranker's network; each family has a class of its own.

    Attributes:
        family: name of the family, a key of `rerankd.models.families.FAMILIES`.
        layers: number of transformer layers.
        hidden: width of a token's state.
        heads: attention heads per layer.
        intermediate: width of the feed-forward layer.
        vocabulary: rows of the word embedding table.
        pad_id: id of the padding token.
    """

    family: str
    layers: int
    hidden: int
    heads: int
    intermediate: int
    vocabulary: int
    pad_id: int

    @property
    @abstractmethod
    def max_length(self) -> int:
        """Longest input in tokens, special tokens included."""

    @abstractmethod
    def shapes(self) -> Shapes:
        """Return the shape of each required weight by name; the word embeddings come first."""

    @property
    @abstractmethod
    def prefix(self) -> str:
        """Prefix of the names of the encoder's weights, without the dot."""

    @property
    @abstractmethod
    def head_prefixes(self) -> tuple[str, ...]:
        """Prefixes of the names of the ranking head's weights."""

    @property
    def segments(self) -> bool:
        """True if the model reads segment ids: 0 for the query, 1 for the document."""
        return False

    @property
    def position_offset(self) -> int:
        """Offset of the first position; XLM-RoBERTa counts positions from the padding id."""
        return 0

    @property
    def parameters(self) -> int:
        """Number of parameters."""
        return sum(math.prod(shape) for shape in self.shapes().values())


def linear_shapes(name: str, inputs: int, outputs: int, *, bias: bool = True) -> Shapes:
    """Return the shapes of a linear layer's weights by name."""
    return {f"{name}.weight": (outputs, inputs)} | ({f"{name}.bias": (outputs,)} if bias else {})


def norm_shapes(name: str, size: int, *, bias: bool = True) -> Shapes:
    """Return the shapes of a normalization's weights by name."""
    names = [f"{name}.weight", *([f"{name}.bias"] if bias else [])]
    return dict.fromkeys(names, (size,))


def check_sizes(sizes: Mapping[str, int], where: str) -> None:
    """Check that all sizes are positive, and none is larger than that of any model.

    Args:
        sizes: values by their names in config.json.
        where: name of the model, for error messages.

    Raises:
        UnsupportedModelError: one is not.
    """
    if (wrong := next((name for name, size in sizes.items() if not 0 < size <= MAX_SIZE), None)) is not None:
        raise UnsupportedModelError(f"{where}: {wrong} of config.json is {sizes[wrong]}.", hint=OWN_CONFIG)


def check_heads(architecture: Architecture, where: str) -> None:
    """Check that the width divides into the attention heads.

    Raises:
        UnsupportedModelError: it does not.
    """
    if architecture.hidden % architecture.heads:
        raise UnsupportedModelError(
            f"{where}: hidden_size {architecture.hidden} is not a multiple of "
            f"num_attention_heads {architecture.heads}.",
            hint=OWN_CONFIG,
        )


def check_options(config: Mapping[str, Any], where: str, **allowed: Any) -> None:
    """Check that options of config.json, if they are given, have the only value that is supported.

    Args:
        config: the parsed file.
        where: name of the model, for error messages.
        **allowed: the value by the option's name.

    Raises:
        UnsupportedModelError: one has another value.
    """
    for name, value in allowed.items():
        if config.get(name, value) != value:
            raise UnsupportedModelError(
                f"{where}: {name} {config[name]!r} is not supported.", hint=f"It must be {value!r}."
            )
