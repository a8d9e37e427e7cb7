"""Routes of models: list, get, swap, unload."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Request, Response

from rerankd._common.logging import logger
from rerankd._common.version import __version__
from rerankd.errors import (
    CorruptModelError,
    InvalidRequestError,
    ModelNotFoundError,
    PermissionDeniedError,
    UnsupportedModelError,
)
from rerankd.server.context import current_request
from rerankd.server.model_cards import STARTED, computation, encoder_card, model_card
from rerankd.server.request_parsing import read_body
from rerankd.server.responses import json_response
from rerankd.server.schemas.models import SwapRequestBody
from rerankd.server.schemas.openapi import operation
from rerankd.server.schemas.openapi_errors import ADMIN, LOADING
from rerankd.server.schemas.responses.models import (
    ClusterAuth,
    InfinityModelList,
    InfoResponse,
    ModelCard,
    ModelList,
    SwapResponse,
    UnloadResponse,
)
from rerankd.server.service import Service

_log = logger(__name__)


class ModelRoutes:
    """Handlers of models."""

    def __init__(self, service: Service) -> None:
        self._service, self._pool = service, service.pool

    async def list(self) -> Response:
        """List all models, loaded or not."""
        cards = [model_card(self._service, name) for name in self._pool.names]
        cards += [encoder_card(self._service, name) for name in self._pool.encoders]
        return json_response({"object": "list", "data": cards})

    async def list_for_infinity(self) -> Response:
        """List all models as Infinity does, with the state of their queues."""
        cards = [self._infinity_card(name) for name in self._pool.names]
        cards += [self._infinity_card(name) | {"capabilities": ["embed"]} for name in self._pool.encoders]
        return json_response({"object": "list", "data": cards})

    def _infinity_card(self, name: str) -> dict[str, Any]:
        model = self._pool.loaded.get(name)
        engine = model.engine if model is not None else None
        waiting = engine.queued_requests if engine is not None else 0
        filled = engine.queued_tokens / max(1.0, engine.admission.capacity) if engine is not None else 0.0
        return {
            "id": name,
            "object": "model",
            "created": STARTED,
            "owned_by": "rerankd",
            "backend": engine.scorer.backend.name if engine is not None else "",
            "capabilities": ["rerank"],
            "stats": {
                "queue_fraction": round(filled, 4),
                "queue_absolute": waiting,
                "results_pending": waiting,
                "batch_size": self._service.settings.max_documents,
            },
        }

    async def get(self, name: str) -> Response:
        """Return one model, by its name or its reference."""
        if not name:  # /v1/models/ is the list
            return await self.list()
        if name in (*self._pool.encoders, *self._pool.encoders.values()):
            return json_response(encoder_card(self._service, self._pool.find_encoder(name)) | {"id": name})
        return json_response(model_card(self._service, self._pool.find(name)) | {"id": name})

    async def cluster_auth(self) -> Response:
        """Return true if an API key is required; Xinference's clients ask first."""
        return json_response({"auth": self._service.keys.required})

    async def info(self) -> Response:
        """Return the default model's description, as text-embeddings-inference does."""
        settings = self._service.settings
        async with self._pool.lease(self._pool.default) as model:
            manifest = model.files.manifest
            return json_response(
                {
                    "model_id": str(model.files.reference),
                    "model_sha": manifest.revision or model.engine.version,
                    "model_dtype": model.engine.scorer.backend.precision,
                    "served_model_name": model.name,
                    "model_type": {"reranker": {"id2label": {"0": "LABEL_0"}, "label2id": {"LABEL_0": 0}}},
                    **({"embedding_models": list(self._pool.encoders)} if self._pool.encoders else {}),
                    "max_concurrent_requests": 512,
                    "max_input_length": model.truncation.max_length,
                    "max_batch_tokens": settings.max_batch_tokens,
                    "max_batch_requests": None,
                    "max_client_batch_size": settings.max_documents,
                    "auto_truncate": True,
                    "tokenization_workers": 1,
                    "version": __version__,
                    "sha": None,
                    "docker_label": None,
                    "rerankd": computation(model.engine.scorer.backend),
                }
            )

    async def swap(self, request: Request, name: str) -> Response:
        """Serve another model under a name: a zero-downtime model swap. Requires an admin key."""
        self._check_admin()
        if name in self._pool.encoders:
            raise InvalidRequestError(
                f"{name} is an embedding model, and vectors of two models do not mix.",
                hint="Serve the other model under a name of its own: add it to embedding_models.",
            )
        self._check_exists(name)
        body = await read_body(request, SwapRequestBody, self._service.settings)
        try:
            await self._pool.swap(name, body.source)
        except (CorruptModelError, UnsupportedModelError) as error:  # the client's choice, not a fault of the service
            raise InvalidRequestError(f"source: {error.message}", hint=error.hint) from error
        setting = "model" if name == self._pool.default else f"models.{name}"
        warning = (
            f"This instance serves it until it restarts. To keep it, set {setting} to this source in its settings."
        )
        _log.warning("%s was replaced by %s through the API. %s", name, body.source, warning)
        return json_response(model_card(self._service, name) | {"persistent": False, "warnings": [warning]})

    async def unload(self, name: str) -> Response:
        """Unload a model; the next request for it loads it again. Requires an admin key."""
        self._check_admin()
        if name not in self._pool.encoders:
            self._check_exists(name)
        return json_response({"id": name, "unloaded": await self._pool.unload(name)})

    def _check_admin(self) -> None:
        key = current_request.get().key
        if key is None or not key.admin:
            raise PermissionDeniedError("This needs an admin key.", hint="Make one: rerankd keys add NAME --admin.")

    def _check_exists(self, name: str) -> None:
        if name not in self._pool.names:
            raise ModelNotFoundError(
                f"There is no model {name[:100]!r}.", hint=f"Use one of: {', '.join(self._pool.names)}."
            )


def model_router(service: Service) -> APIRouter:
    """Return the routes of models."""
    router, routes = APIRouter(tags=["models"]), ModelRoutes(service)
    swap = operation("swap_model", "Swap a model", SwapResponse, bodies=[SwapRequestBody], errors=ADMIN)
    unload = operation("unload_model", "Unload a model", UnloadResponse, errors=ADMIN)
    auth = operation("get_cluster_auth", "Tell whether a key is required", ClusterAuth, is_open=True)
    info = operation("get_info", "Describe the default model", InfoResponse, errors=LOADING)
    for prefix, suffix in (("/v1/models", ""), ("/models", "_unversioned")):
        listed = operation(f"list_models{suffix}", "List models", ModelList)
        one = operation(f"get_model{suffix}", "Get a model", ModelCard, errors=[ModelNotFoundError])
        router.add_api_route(prefix, routes.list, methods=["GET"], **listed)
        router.add_api_route(f"{prefix}/{{name:path}}", routes.get, methods=["GET"], **one)
    for path, suffix in (("/infinity/models", ""), ("/infinity/v1/models", "_v1")):
        listed = operation(f"list_infinity_models{suffix}", "List models for clients of Infinity", InfinityModelList)
        router.add_api_route(path, routes.list_for_infinity, methods=["GET"], **listed)
    router.add_api_route("/v1/models/{name:path}", routes.swap, methods=["PUT"], **swap)
    router.add_api_route("/v1/models/{name:path}", routes.unload, methods=["DELETE"], **unload)
    router.add_api_route("/v1/cluster/auth", routes.cluster_auth, methods=["GET"], **auth)
    router.add_api_route("/info", routes.info, methods=["GET"], **info)
    return router
