"""Families of models. Adding one takes a module here, and a network for each backend that computes it.

Example:
    >>> family("bert").classes
    ('BertForSequenceClassification',)
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rerankd.errors import UnsupportedModelError
from rerankd.models.architecture import Architecture
from rerankd.models.families.bert import BERT, XLM_ROBERTA
from rerankd.models.families.decoder import QWEN2, QWEN3
from rerankd.models.families.family import Family, ModelConfig, StoredWeight

FAMILIES: Mapping[str, Family] = {member.name: member for member in (XLM_ROBERTA, BERT, QWEN3, QWEN2)}

__all__ = ["FAMILIES", "Family", "ModelConfig", "StoredWeight", "family", "read_architecture", "recognise"]


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
    supported = " or ".join(dict.fromkeys(name for member in FAMILIES.values() for name in member.classes))
    hint = f"Use {supported} with one label."
    known = {name.split("For")[0] for member in FAMILIES.values() for name in member.classes}
    if any(name.removesuffix("Model") in known for name in config.classes) or not config.classes:
        raise UnsupportedModelError(
            f"{config.where}: {', '.join(config.classes) or 'no architecture named'}: this is an encoder without a "
            "ranking head (a bi-encoder or a base model); it cannot score pairs.",
            hint=hint,
        )
    raise UnsupportedModelError(f"{config.where}: model type {config.model_type!r} is not supported.", hint=hint)


def read_architecture(config: Mapping[str, Any], where: str) -> Architecture:
    """Read the shape of a model from a parsed `config.json`.

    Args:
        config: the parsed file.
        where: name of the model, for error messages.

    Raises:
        UnsupportedModelError: the architecture, its head, the number of labels or an option is not supported.

    Example:
        >>> read_architecture({"model_type": "t5", "architectures": ["T5Model"]}, "some/model")
        Traceback (most recent call last):
        rerankd.errors.UnsupportedModelError: some/model: model type 't5' is not supported. ...
    """
    given = ModelConfig(config, where)
    return recognise(given).read(given)
