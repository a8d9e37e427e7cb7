"""Cards of the served models: whether they are loaded, how they are computed, and their version in the registry."""

from __future__ import annotations

import time
from typing import Any

from rerankd.engine.pool import ServedModel
from rerankd.scoring.backend import Backend
from rerankd.server.service import Service

STARTED = int(time.time())


def model_card(service: Service, name: str) -> dict[str, Any]:
    """Return the card of a model of the service, loaded or not.

    Args:
        service: the instance.
        name: name of the model in its pool.
    """
    card = _card(name, "rerank", service.pool.loaded.get(name))
    follower = service.follower
    if follower is not None and (registry_card := follower.card(name)) is not None:
        card["registry"] = registry_card
    return card


def encoder_card(service: Service, name: str) -> dict[str, Any]:
    """Return the card of an embedding model, loaded or not; Xinference's clients read `model_type`."""
    model = service.pool.loaded.get(name)
    dimensions = {} if model is None else {"dimensions": model.files.manifest.architecture.hidden}
    return _card(name, "embedding", model) | dimensions


def _card(name: str, kind: str, model: ServedModel | None) -> dict[str, Any]:
    card: dict[str, Any] = {
        "id": name,
        "object": "model",
        "created": STARTED,
        "owned_by": "rerankd",
        "model_type": kind,
        "model_name": name,
        "loaded": model is not None,
    }
    if model is not None:
        card |= {
            "max_model_len": model.files.manifest.architecture.max_length,
            "max_length": model.truncation.max_length,
            **computation(model.engine.scorer.backend),
            "version": model.engine.version,
            "bytes": model.files.size,
        }
    return card


def computation(backend: Backend) -> dict[str, str]:
    """Return how a model is computed, and why so."""
    return {
        "backend": backend.name,
        "device": backend.device,
        "precision": backend.precision,
        "reason": backend.reason,
    }
