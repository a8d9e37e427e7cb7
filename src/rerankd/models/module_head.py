"""Head of a reranker that sentence-transformers saved as a chain of modules: pooling, Dense, LayerNorm, Dense."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from rerankd.errors import UnsupportedModelError
from rerankd.models.architecture import check_options
from rerankd.models.modules import Module, pooling_mode

CHAIN = ("Transformer", "Pooling", "Dense", "LayerNorm", "Dense")
ACTIVATIONS = ("gelu", "relu", "tanh")
NORM_EPS = 1e-5  # of torch's LayerNorm, which sentence-transformers does not change
_CLASSES = {"GELU": "gelu", "ReLU": "relu", "Tanh": "tanh"}
_VECTOR = "sentence_embedding"
_EXAMPLE = "cross-encoder/ettin-reranker-17m-v1"


@dataclass(frozen=True, slots=True)
class ModuleHead:
    """Head of a chain.

    Attributes:
        pooling: `cls` or `mean`.
        activation: activation of the first Dense layer, one of `ACTIVATIONS`.
        bias: True if the first Dense layer has a bias.
    """

    pooling: str
    activation: str
    bias: bool


def read_module_head(modules: Sequence[Module], where: str) -> ModuleHead:
    """Read the head of a chain.

    Args:
        modules: the chain.
        where: name of the model, for error messages.

    Raises:
        UnsupportedModelError: the modules, the number of labels or an option is not supported.
    """
    kinds = tuple(module.kind for module in modules)
    if kinds != CHAIN or modules[0].folder:
        raise UnsupportedModelError(
            f"{where}: the chain of modules {' -> '.join(kinds)} is not supported.",
            hint=f"Use a reranker with the chain {' -> '.join(CHAIN)}, such as {_EXAMPLE}.",
        )
    _, pooling, dense, _, last = modules
    check_options(pooling.config, f"{where}: {pooling.folder}", include_prompt=True)
    check_options(
        dense.config,
        f"{where}: {dense.folder}",
        module_input_name=_VECTOR,
        module_output_name=_VECTOR,
        use_residual=False,
    )
    check_options(last.config, f"{where}: {last.folder}", module_input_name=_VECTOR, use_residual=False, bias=True)
    if (labels := last.config.get("out_features")) != 1:
        raise UnsupportedModelError(
            f"{where}: the head has {labels} labels; a reranker has one.", hint="Use a cross-encoder with one label."
        )
    if _activation(last) != "Identity":
        raise UnsupportedModelError(
            f"{where}: the activation {_activation(last)} of the module {last.folder} is not supported.",
            hint="It must be Identity; the model's own activation is in config_sentence_transformers.json.",
        )
    if _activation(dense) not in _CLASSES:
        raise UnsupportedModelError(
            f"{where}: the activation {_activation(dense)} of the module {dense.folder} is not supported.",
            hint=f"It must be {', '.join(_CLASSES)}.",
        )
    if pooling_mode(pooling) not in ("cls", "mean"):
        raise UnsupportedModelError(
            f"{where}: the pooling {pooling_mode(pooling)} is not supported.", hint="It must be cls or mean."
        )
    return ModuleHead(pooling_mode(pooling), _CLASSES[_activation(dense)], bool(dense.config.get("bias", True)))


def _activation(module: Module) -> str:
    """Return the class of a Dense layer's activation; as sentence-transformers, Tanh for none and for foreign code."""
    name = str(module.config.get("activation_function", ""))
    return name.rpartition(".")[2] if name.startswith("torch.") else "Tanh"
