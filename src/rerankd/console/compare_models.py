"""Models that comparisons score with: those that the service serves, and for admins any other, loaded on demand."""

from __future__ import annotations

import asyncio
import hashlib
from dataclasses import dataclass

from rerankd._common.logging import logger
from rerankd.console.visitor import Visitor
from rerankd.engine.pool import ModelPool
from rerankd.errors import ModelNotFoundError, PermissionDeniedError
from rerankd.pipeline.scores import ModelScores
from rerankd.server.auth.usage import UsageMeter
from rerankd.server.context import current_request
from rerankd.server.service import Service
from rerankd.types import RerankRequest

PREFIX = "console:"
IDLE_SECONDS = 600.0
MOST = 2
_log = logger(__name__)


@dataclass(frozen=True, slots=True)
class ChosenModel:
    """A model of a comparison.

    Attributes:
        name: name in the pool.
        label: name or reference as the visitor gave it.
        is_served: True if requests may use it.
    """

    name: str
    label: str
    is_served: bool


class ComparedModels:
    """Scores on the models that a visitor may compare; what is computed is charged to their key.

    Args:
        service: the instance.
    """

    def __init__(self, service: Service) -> None:
        self._service, self._meter = service, UsageMeter(service.quotas)
        self._references = ReferenceModels(service.pool)

    async def choose(self, name: str, visitor: Visitor) -> ChosenModel:
        """Return the model of a name, loaded if it is a reference that the service does not serve.

        Args:
            name: name or reference; empty for the service's default.
            visitor: who asks for it.

        Raises:
            ModelNotFoundError: there is no such model.
            PermissionDeniedError: it is not served, and the visitor's key is not an admin key.
            ModelError: it cannot be loaded.
        """
        pool = self._service.pool
        if not name:
            return ChosenModel(pool.default, pool.default, is_served=True)
        try:
            served = pool.find(name)
        except ModelNotFoundError:
            if not visitor.is_admin:
                raise PermissionDeniedError(
                    f"This service does not serve the model {name[:100]!r}.",
                    hint=f"Choose one of {', '.join(pool.names)}, or sign in with an admin key to compare any other.",
                ) from None
            return ChosenModel(await self._references.load(name), name, is_served=False)
        return ChosenModel(served, served, is_served=True)

    async def score(self, model: ChosenModel, query: str, request: RerankRequest) -> ModelScores:
        """Score the documents of a request, outside of experiments and traces.

        Args:
            model: the model.
            query: the query that the model reads, with the synonyms of rules.
            request: documents, truncation, time limit and tenant.

        Raises:
            RerankdError: the documents cannot be scored, or a quota is used up.
        """
        self._service.check_started()
        texts = [document.text for document in request.documents]
        async with self._meter.refund_on_error():
            scores = await self._service.pipeline.score_on(model.name, [(query, texts)], request, self._meter.charge())
            tokens = scores.result.computed_tokens
            await self._meter.settle(tokens)
        fields = current_request.get().fields
        fields |= {"model": model.label[:200], "documents": len(texts), "tokens": fields.get("tokens", 0) + tokens}
        return scores


class ReferenceModels:
    """Models of the pool that no request can name: the last two, which may be compared, stay loaded while in use.

    Args:
        pool: the pool.
        seconds: seconds without a use after which it is unloaded.
    """

    def __init__(self, pool: ModelPool, seconds: float = IDLE_SECONDS) -> None:
        self._pool, self._seconds = pool, seconds
        self._loading = asyncio.Lock()
        self._timers: dict[str, asyncio.TimerHandle] = {}
        self._tasks: set[asyncio.Task[bool]] = set()

    async def load(self, reference: str) -> str:
        """Load a model and return its name in the pool.

        Args:
            reference: hub reference or folder.

        Raises:
            ModelError: it cannot be loaded.
        """
        name = f"{PREFIX}{hashlib.sha256(reference.encode(errors='replace')).hexdigest()[:12]}"
        async with self._loading:
            await self._pool.add(name, reference)
            if name in self._timers:
                self._timers.pop(name).cancel()
            for other in list(self._timers)[: -MOST + 1]:
                self._release(other)
            self._timers[name] = asyncio.get_running_loop().call_later(self._seconds, self._release, name)
        return name

    def _release(self, name: str) -> None:
        """Unload a model after the requests that use it."""
        self._timers.pop(name).cancel()
        _log.info("%s is unloaded: no comparison uses it", name)
        task = asyncio.get_running_loop().create_task(self._pool.remove(name))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
