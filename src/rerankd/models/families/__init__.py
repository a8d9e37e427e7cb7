"""Families of models. Adding one takes a module here, and a network for each backend that computes it.

Example:
    >>> family("bert").classes
    ('BertForSequenceClassification',)
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rerankd.errors import UnsupportedModelError
from rerankd.models.architecture import Architecture
from rerankd.models.families.bert import BERT, XLM_ROBERTA
from rerankd.models.families.deberta import DEBERTA
from rerankd.models.families.decoder import QWEN2, QWEN3
from rerankd.models.families.family import Family, ModelConfig, StoredWeight
from rerankd.models.families.gte import GTE
from rerankd.models.families.modernbert import MODERNBERT
from rerankd.models.refusals import unsupported

FAMILIES: Mapping[str, Family] = {
    member.name: member for member in (XLM_ROBERTA, BERT, QWEN3, QWEN2, MODERNBERT, DEBERTA, GTE)
}

__all__ = [
    "FAMILIES",
    "Family",
    "ModelConfig",
    "StoredWeight",
    "check_compiled",
    "check_trained",
    "family",
    "read_architecture",
    "recognise",
]


def family(name: str) -> Family:
    """Return a family by its name.

    Raises:
        KeyError: there is no such family.
    """
    return FAMILIES[name]


def recognise(config: ModelConfig) -> Family:
    """Return the family of a model.

    Raises:
        UnsupportedModelError: it belongs to none.
    """
    for member in FAMILIES.values():
        if member.recognises(config):
            return member
    supported = dict.fromkeys(name for member in FAMILIES.values() for name in member.classes)
    raise unsupported(config.values, config.where, config.folder, list(supported))


def check_trained(architecture: Architecture, where: str) -> None:
    """Check that models of a family can be fine-tuned.

    Args:
        architecture: architecture of the model.
        where: name of the model, for the error message.

    Raises:
        UnsupportedModelError: they cannot.
    """
    if not family(architecture.family).trained:
        raise UnsupportedModelError(
            f"{where} belongs to the family {architecture.family}, which rerankd does not train.",
            hint=f"Train a model of the family {_named('trained')}; or train this one with sentence-transformers or "
            "peft, and pass the folder, which may be a LoRA adapter.",
        )


def check_compiled(architecture: Architecture, where: str) -> None:
    """Check that models of a family can be compiled.

    Args:
        architecture: architecture of the model.
        where: name of the model, for the error message.

    Raises:
        UnsupportedModelError: they cannot.
    """
    if not family(architecture.family).compiled:
        raise UnsupportedModelError(
            f"{where} belongs to the family {architecture.family}, which is not compiled to ONNX.",
            hint=f"Pass the checkpoint itself, which torch computes; or compile a model of the family "
            f"{_named('compiled')}.",
        )


def _named(flag: str) -> str:
    return " or ".join(name for name, member in FAMILIES.items() if getattr(member, flag))


def read_architecture(config: Mapping[str, Any], where: str, folder: Path | None = None) -> Architecture:
    """Read the shape of a model from a parsed `config.json`.

    Args:
        config: the parsed file.
        where: name of the model, for error messages.
        folder: folder of the model's other files, such as `modules.json`; None if there are none.

    Raises:
        UnsupportedModelError: the architecture, its head, the number of labels or an option is not supported.

    Example:
        >>> read_architecture({"model_type": "opt", "architectures": ["OPTModel"]}, "some/model")
        Traceback (most recent call last):
        rerankd.errors.UnsupportedModelError: some/model: model type 'opt' is not supported (OPTModel). ...
    """
    given = ModelConfig(config, where, folder)
    return recognise(given).read(given)
