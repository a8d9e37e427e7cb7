"""Answers about models: `/v1/models`, those of Infinity and Xinference, and `/info`."""

from __future__ import annotations

from typing import Literal, NotRequired

from pydantic import ConfigDict, with_config
from pydantic.config import JsonDict
from typing_extensions import TypedDict

CARD_EXAMPLE: JsonDict = {
    "id": "mini",
    "object": "model",
    "created": 1796083200,
    "owned_by": "rerankd",
    "model_type": "rerank",
    "model_name": "mini",
    "loaded": False,
}

INFINITY_CARD_EXAMPLE: JsonDict = {
    "id": "mini",
    "object": "model",
    "created": 1796083200,
    "owned_by": "rerankd",
    "backend": "onnx",
    "capabilities": ["rerank"],
    "stats": {"queue_fraction": 0.0, "queue_absolute": 0, "results_pending": 0, "batch_size": 1000},
}
INFO_EXAMPLE: JsonDict = {
    "model_id": "mini",
    "model_sha": "mini-3f9a",
    "model_dtype": "int8",
    "served_model_name": "mini",
    "model_type": {"reranker": {"id2label": {"0": "LABEL_0"}, "label2id": {"LABEL_0": 0}}},
    "max_concurrent_requests": 512,
    "max_input_length": 512,
    "max_batch_tokens": 16384,
    "max_batch_requests": None,
    "max_client_batch_size": 1000,
    "auto_truncate": True,
    "tokenization_workers": 1,
    "version": "1.0.0",
    "sha": None,
    "docker_label": None,
    "rerankd": {"backend": "onnx", "device": "cpu", "precision": "int8", "reason": "the fastest on this processor"},
}


class RegistryCard(TypedDict):
    """Version of a model in the registry.

    Attributes:
        name: registered name.
        version: number of the version; null before it is known.
        alias: alias that is followed; absent for a fixed version.
        stale: true if the alias cannot be resolved at present; absent for a fixed version.
    """

    name: str
    version: int | None
    alias: NotRequired[str | None]
    stale: NotRequired[bool]


class ModelFields(TypedDict):
    """A served model.

    Attributes:
        id: name that requests use.
        object: always `model`.
        created: start of the service, in seconds since 1970.
        owned_by: always `rerankd`.
        model_type: always `rerank`.
        model_name: name of the model in the service.
        loaded: true if the model is in memory.
        max_model_len: tokens that the architecture can read; only of a loaded model.
        max_length: tokens of a pair that are read; only of a loaded model.
        backend: runtime that computes; only of a loaded model.
        device: device that computes; only of a loaded model.
        precision: precision of the weights; only of a loaded model.
        reason: why it is computed so; only of a loaded model.
        version: exact version; only of a loaded model.
        bytes: size of its files; only of a loaded model.
        registry: version in the registry; only of a model from there.
    """

    id: str
    object: Literal["model"]
    created: int
    owned_by: str
    model_type: str
    model_name: str
    loaded: bool
    max_model_len: NotRequired[int]
    max_length: NotRequired[int]
    backend: NotRequired[str]
    device: NotRequired[str]
    precision: NotRequired[str]
    reason: NotRequired[str]
    version: NotRequired[str]
    bytes: NotRequired[int]
    registry: NotRequired[RegistryCard]


@with_config(ConfigDict(json_schema_extra={"examples": [CARD_EXAMPLE]}))
class ModelCard(ModelFields):
    """A served model."""


@with_config(ConfigDict(json_schema_extra={"examples": [{"object": "list", "data": [CARD_EXAMPLE]}]}))
class ModelList(TypedDict):
    """The served models.

    Attributes:
        object: always `list`.
        data: the models.
    """

    object: Literal["list"]
    data: list[ModelCard]


@with_config(
    ConfigDict(
        json_schema_extra={
            "examples": [{**CARD_EXAMPLE, "persistent": False, "warnings": ["Set model to this source to keep it."]}]
        }
    )
)
class SwapResponse(ModelFields):
    """A model that was swapped.

    Attributes:
        persistent: always false: the swap lasts until the service restarts.
        warnings: how to keep it.
    """

    persistent: bool
    warnings: list[str]


@with_config(ConfigDict(json_schema_extra={"examples": [{"id": "mini", "unloaded": True}]}))
class UnloadResponse(TypedDict):
    """A model that was unloaded.

    Attributes:
        id: name of the model.
        unloaded: true if it was loaded.
    """

    id: str
    unloaded: bool


class InfinityModelStats(TypedDict):
    """State of the queue of a model, as Infinity writes it.

    Attributes:
        queue_fraction: share of the queue that is filled.
        queue_absolute: number of waiting requests.
        results_pending: the same number.
        batch_size: documents of a request at most.
    """

    queue_fraction: float
    queue_absolute: int
    results_pending: int
    batch_size: int


class InfinityModelCard(TypedDict):
    """A served model, as Infinity writes it.

    Attributes:
        id: name that requests use.
        object: always `model`.
        created: start of the service, in seconds since 1970.
        owned_by: always `rerankd`.
        backend: runtime that computes; empty for a model that is not loaded.
        capabilities: always `rerank`.
        stats: state of its queue.
    """

    id: str
    object: Literal["model"]
    created: int
    owned_by: str
    backend: str
    capabilities: list[str]
    stats: InfinityModelStats


@with_config(ConfigDict(json_schema_extra={"examples": [{"object": "list", "data": [INFINITY_CARD_EXAMPLE]}]}))
class InfinityModelList(TypedDict):
    """The served models, as Infinity writes them.

    Attributes:
        object: always `list`.
        data: the models.
    """

    object: Literal["list"]
    data: list[InfinityModelCard]


@with_config(ConfigDict(json_schema_extra={"examples": [{"auth": False}]}))
class ClusterAuth(TypedDict):
    """Need of a key, as Xinference's clients ask for it.

    Attributes:
        auth: true if an API key is required.
    """

    auth: bool


class TeiReranker(TypedDict):
    """Labels of a reranker.

    Attributes:
        id2label: label by number.
        label2id: number by label.
    """

    id2label: dict[str, str]
    label2id: dict[str, int]


class TeiModelType(TypedDict):
    """Type of a model, as text-embeddings-inference writes it.

    Attributes:
        reranker: labels; its presence says that the model is a reranker.
    """

    reranker: TeiReranker


class Computation(TypedDict):
    """How a model is computed.

    Attributes:
        backend: runtime.
        device: device.
        precision: precision of the weights.
        reason: why it is computed so.
    """

    backend: str
    device: str
    precision: str
    reason: str


@with_config(ConfigDict(json_schema_extra={"examples": [INFO_EXAMPLE]}))
class InfoResponse(TypedDict):
    """The default model, as text-embeddings-inference describes it.

    Attributes:
        model_id: reference of the model.
        model_sha: revision or version of the model.
        model_dtype: precision of the weights.
        served_model_name: name that requests use.
        model_type: type of the model.
        max_concurrent_requests: always 512.
        max_input_length: tokens of a pair that are read.
        max_batch_tokens: tokens of a batch.
        max_batch_requests: always null.
        max_client_batch_size: documents of a request at most.
        auto_truncate: always true.
        tokenization_workers: always 1.
        version: version of rerankd.
        sha: always null.
        docker_label: always null.
        rerankd: how the model is computed.
    """

    model_id: str
    model_sha: str
    model_dtype: str
    served_model_name: str
    model_type: TeiModelType
    max_concurrent_requests: int
    max_input_length: int
    max_batch_tokens: int
    max_batch_requests: None
    max_client_batch_size: int
    auto_truncate: bool
    tokenization_workers: int
    version: str
    sha: None
    docker_label: None
    rerankd: Computation
