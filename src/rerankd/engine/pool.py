"""Model pool: one engine per model, loaded on demand, evicted when memory is short, swapped without downtime."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from typing import Protocol

from rerankd._common.logging import logger
from rerankd.engine.engine import Engine
from rerankd.errors import ConflictError, InvalidRequestError, ModelNotFoundError, UnavailableError
from rerankd.models.files import ModelFiles
from rerankd.scoring.encoder import TruncationOptions

_log = logger(__name__)
MEGABYTE = 1_000_000


@dataclass(eq=False, slots=True)
class ServedModel:
    """A model that is loaded.

    Attributes:
        name: name in requests.
        reference: model reference.
        files: verified model folder.
        engine: running engine.
        truncation: default truncation.
    """

    name: str
    reference: str
    files: ModelFiles
    engine: Engine
    truncation: TruncationOptions
    leases: int = 0
    last_used: float = 0.0
    idle: asyncio.Event = field(default_factory=asyncio.Event)

    def __post_init__(self) -> None:
        self.idle.set()

    @contextmanager
    def in_use(self) -> Iterator[None]:
        """Keep the model loaded while it is in use, beyond the lease that it is used under now."""
        self.leases += 1
        self.idle.clear()
        try:
            yield
        finally:
            self.leases -= 1
            if not self.leases:
                self.idle.set()

    @property
    def takes_instruction(self) -> bool:
        """True if the model reads an instruction with each pair."""
        return self.files.manifest.template.takes_instruction


class ModelLoader(Protocol):
    """Loader of engines from references; both methods block and run in a thread."""

    def find(self, reference: str) -> ModelFiles:
        """Find and verify the files of a model."""
        ...

    def open(self, name: str, files: ModelFiles) -> tuple[Engine, TruncationOptions]:
        """Load a model and warm its engine up."""
        ...


class ModelPool:
    """The models of a service; belongs to one event loop.

    Args:
        default: name of the model for requests that name none.
        references: reference of each name; only these are ever loaded.
        loader: loader of engines.
        strict: True if an unknown name is an error; False if it means the default model.
        max_loaded_bytes: weights in memory at most, in bytes; 0 for no limit. A swap holds both models for a moment.
        pinned: names that are never evicted, besides the default.
        encoders: references of the embedding models, by name; rankings cannot use these names.
        encoder_loader: loader of their engines; None where there are none.
        close_seconds: seconds that a model gets to finish its requests when it is unloaded.
        clock: monotonic seconds.

    Example:
        >>> pool = ModelPool("mini", {"mini": "mini"}, loader)  # doctest: +SKIP
        >>> async with pool.lease("mini") as model:  # doctest: +SKIP
        ...     job = model.engine.submit(request)
    """

    def __init__(
        self,
        default: str,
        references: Mapping[str, str],
        loader: ModelLoader,
        *,
        strict: bool = False,
        max_loaded_bytes: int = 0,
        pinned: Iterable[str] = (),
        encoders: Mapping[str, str] | None = None,
        encoder_loader: ModelLoader | None = None,
        close_seconds: float = 60.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        if default not in references:
            raise InvalidRequestError(f"The default model {default!r} is not among the models.")
        self.default, self.strict = default, strict
        self._references = dict(references)
        self._initial = dict(references)  # a swap changes where a model comes from, not what requests may call it
        self._unlisted: dict[str, str] = {}
        self._encoders, self._encoder_loader = dict(encoders or {}), encoder_loader
        self._loader, self._limit, self._close_seconds, self._clock = loader, max_loaded_bytes, close_seconds, clock
        self._loaded: dict[str, ServedModel] = {}
        self._loading = asyncio.Lock()
        self._loads: dict[str, asyncio.Task[ServedModel]] = {}
        self._pinned = {default, *pinned}
        self._closing: set[asyncio.Task[None]] = set()
        self._closed = False

    @property
    def names(self) -> list[str]:
        """Names that requests may use, the default first."""
        return [self.default, *(name for name in self._references if name != self.default)]

    def reference(self, name: str) -> str:
        """Return the reference of a model."""
        return self._references[name]

    @property
    def encoders(self) -> dict[str, str]:
        """References of the embedding models, by name."""
        return dict(self._encoders)

    @property
    def unlisted(self) -> dict[str, str]:
        """References of the models that `add` loaded, by name; requests cannot use these names."""
        return dict(self._unlisted)

    @property
    def loaded(self) -> dict[str, ServedModel]:
        """Models that are in memory, by name."""
        return dict(self._loaded)

    def resolve(self, name: str | None) -> str:
        """Return the name of the model that answers to a name or a reference; the default for an unknown one.

        Raises:
            ModelNotFoundError: an unknown name, where the pool is strict.
        """
        if not name or name in self._references:
            return name or self.default
        try:
            return self.find(name)
        except ModelNotFoundError:
            if self.strict:
                raise
        return self.default

    def find(self, name: str) -> str:
        """Return the name of the model that has a name or a reference.

        Raises:
            ModelNotFoundError: no model has it.
        """
        if name in self._references:
            return name
        called = [*self._references.items(), *self._initial.items()]
        by_reference = [alias for alias, reference in called if reference == name]
        if by_reference:
            return by_reference[0]
        raise ModelNotFoundError(f"There is no model {name[:100]!r}.", hint=f"Use one of: {', '.join(self.names)}.")

    def find_encoder(self, name: str | None) -> str:
        """Return the name of the embedding model that has a name or a reference; of the first one for no name.

        An unknown name is an error even where an unknown reranker is not: vectors of two models do not mix.

        Raises:
            ModelNotFoundError: no embedding model has it, or there is none.
        """
        if not self._encoders:
            raise ModelNotFoundError(
                "This service has no embedding model.", hint="Set embedding_models, as name = reference."
            )
        for known, reference in self._encoders.items():
            if not name or name in (known, reference):
                return known
        raise ModelNotFoundError(
            f"There is no embedding model {str(name)[:100]!r}.", hint=f"Use one of: {', '.join(self._encoders)}."
        )

    @asynccontextmanager
    async def lease(self, name: str) -> AsyncIterator[ServedModel]:
        """Use a model in a `with` block; it is loaded if needed, and not closed while it is in use.

        Raises:
            ModelError: it cannot be loaded.
            UnavailableError: the pool is closed, or there is no memory for it.
        """
        model = self._loaded.get(name) or await self._load(name)
        model.leases += 1
        model.idle.clear()
        model.last_used = self._clock()
        try:
            yield model
        finally:
            model.leases -= 1
            if not model.leases:
                model.idle.set()

    def set_reference(self, name: str, reference: str) -> None:
        """Set the reference that a name loads next; a loaded model stays."""
        self._references[name] = reference

    async def swap(self, name: str, reference: str) -> ServedModel:
        """Replace the model of a name without downtime: requests use the old one until the new one is warm.

        Raises:
            ModelError: the new one cannot be loaded; the old one stays.
        """
        async with self._loading:
            new = await self._open(name, reference)
            old = self._loaded.get(name)
            self._references[name] = reference
            self._loaded[name] = new
        _log.info("%s is %s now", name, reference)
        if old is not None:
            self._close_later(old)
        return new

    async def add(self, name: str, reference: str) -> ServedModel:
        """Load one more model under a name that requests cannot use; it stays loaded until it is removed.

        Raises:
            ConflictError: the name is taken by another model.
            ModelError: it cannot be loaded; nothing is changed then.
            UnavailableError: the pool is closed, or there is no memory for it.
        """
        if name in (*self._references, *self._encoders) or self._unlisted.get(name, reference) != reference:
            raise ConflictError(f"There is a model {name[:100]!r} already.", hint="Use another name.")
        self._unlisted[name] = reference
        self._pinned.add(name)
        try:
            async with self.lease(name) as model:
                return model
        except BaseException:
            await self.remove(name)
            raise

    async def remove(self, name: str) -> bool:
        """Undo `add`, after the requests that use the model; returns True if it was loaded."""
        if self._unlisted.pop(name, None) is None:
            return False
        self._pinned.discard(name)
        return await self.unload(name)

    async def unload(self, name: str) -> bool:
        """Unload a model, after the requests that use it; returns True if it was loaded."""
        model = self._loaded.pop(name, None)
        if model is not None:
            await self._finish(model)
        return model is not None

    async def close(self) -> None:
        """Close all models, after the requests that were accepted."""
        self._closed = True
        async with self._loading:
            models, self._loaded = list(self._loaded.values()), {}
        await asyncio.gather(*(self._finish(model) for model in models), *self._closing)

    async def _load(self, name: str) -> ServedModel:
        """Load a model once for all who wait for it; cancelling one waiter does not cancel the load."""
        task = self._loads.get(name)
        if task is None:
            task = self._loads[name] = asyncio.create_task(self._load_once(name))
            task.add_done_callback(lambda done: self._loaded_one(name, done))
        return await asyncio.shield(task)

    def _loaded_one(self, name: str, task: asyncio.Task[ServedModel]) -> None:
        self._loads.pop(name, None)
        if not task.cancelled():
            task.exception()  # marks it as retrieved: those who wait have it, and there may be none

    async def _load_once(self, name: str) -> ServedModel:
        async with self._loading:
            if (model := self._loaded.get(name)) is None:
                reference = self._references.get(name) or self._encoders.get(name) or self._unlisted.get(name)
                if reference is None:
                    raise ModelNotFoundError(f"There is no model {name[:100]!r} any more.")
                model = self._loaded[name] = await self._open(name, reference)
            return model

    async def _open(self, name: str, reference: str) -> ServedModel:
        if self._closed:
            raise UnavailableError("The service is being closed.", hint="Send the request again.")
        started, loader = self._clock(), self._loader
        if name in self._encoders and self._encoder_loader is not None:
            loader = self._encoder_loader
        files = await asyncio.to_thread(loader.find, reference)
        await self._make_room(name, files.size)
        engine, truncation = await asyncio.to_thread(loader.open, name, files)
        _log.info("%s (%s) is loaded after %.1f s", name, reference, self._clock() - started)
        return ServedModel(name, reference, files, engine, truncation, last_used=self._clock())

    async def _make_room(self, name: str, size: int) -> None:
        """Evict idle models, least recently used first, until the new one fits."""
        if not self._limit:
            return
        if size > self._limit:
            raise UnavailableError(
                f"Model {name} needs {size / MEGABYTE:.0f} MB, and models may take {self._limit / MEGABYTE:.0f} MB.",
                hint="Raise max_loaded_mb.",
                retry_after=60,
            )
        others = [model for model in self._loaded.values() if model.name != name]
        used = sum(model.files.size for model in others)
        for model in sorted(others, key=lambda model: model.last_used):
            if used + size <= self._limit:
                return
            if not model.leases and model.name not in self._pinned:
                _log.info("%s is unloaded to make room for %s", model.name, name)
                await self._finish(self._loaded.pop(model.name))
                used -= model.files.size
        if used + size > self._limit:
            raise UnavailableError(
                f"There is no memory for model {name}: the others are in use.", hint="Send the request again."
            )

    def _close_later(self, model: ServedModel) -> None:
        task = asyncio.create_task(self._finish(model))
        self._closing.add(task)
        task.add_done_callback(self._closing.discard)

    async def _finish(self, model: ServedModel) -> None:
        try:
            await asyncio.wait_for(model.idle.wait(), self._close_seconds)
        except TimeoutError:
            _log.warning("%s is closed although %d requests still use it", model.name, model.leases)
        try:
            await asyncio.to_thread(model.engine.close, self._close_seconds)
        except Exception:
            _log.exception("%s could not be closed", model.name)
