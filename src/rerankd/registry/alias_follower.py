"""Alias follower: polls the registry's aliases and swaps to a version when its alias moves, with zero downtime.

Does: fetch, verify and swap beside the traffic, in a task and in threads. A version that cannot be fetched now is
retried; a bad one is refused until the alias moves, and the version before stays in service. Without MLflow the last
known versions stay in service too, also after a restart. Does not: move aliases.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from rerankd._common.error_text import public_message
from rerankd._common.logging import logger
from rerankd.engine.pool import ModelPool
from rerankd.errors import MissingDependencyError, RerankdError, UnavailableError
from rerankd.models.reference import REGISTRY, ModelReference, parse_reference
from rerankd.registry.cache import LastKnown
from rerankd.registry.daemon import in_daemon
from rerankd.registry.registry import Registry
from rerankd.registry.verification import check_copy, check_trusted, probe
from rerankd.registry.version import ModelVersion

# A poll comes after a random share of the interval between these: instances do not poll at the same moment, and a move
# is seen, fetched and swapped to within the interval.
SOONEST, LATEST = 0.5, 0.8

_log = logger(__name__)
VersionKey = tuple[int, str, str]


@dataclass(slots=True)
class FollowedAlias:
    """A name of the pool whose reference is an alias.

    Attributes:
        reference: reference with the alias.
        version: version in service; None before the first one.
        fault: reason why the version in service may not be the one that the alias points to; empty if it is.
        refused: key of the refused version that the alias points to, and the reason.
        refusals: number of refused versions.
        swaps: number of swaps.
    """

    reference: ModelReference
    version: ModelVersion | None = None
    fault: str = ""
    refused: tuple[VersionKey, str] | None = None
    refusals: int = 0
    swaps: int = 0

    @property
    def pinned(self) -> str:
        """Reference by number, for the pool: a model that is loaded again is the same version."""
        return f"{REGISTRY}{self.reference.name}@{self.version.version}" if self.version else str(self.reference)


class AliasFollower:
    """Keeps a pool at the versions that its aliases point to. Belongs to the pool's event loop.

    Args:
        pool: models of the instance; references of the form `registry:NAME@ALIAS` are followed.
        registry: model registry.
        seconds: interval within which a move is seen.

    Attributes:
        up: False while MLflow cannot be reached.
    """

    def __init__(self, pool: ModelPool, registry: Registry, seconds: float) -> None:
        self._pool, self.registry, self.seconds = pool, registry, seconds
        self._known = LastKnown(registry.cache.root, registry.store.where)
        self._followed: dict[str, FollowedAlias] = {}
        self._task: asyncio.Task[None] | None = None
        self.up = True

    @property
    def followed(self) -> dict[str, FollowedAlias]:
        """Followed aliases, by the pool's names."""
        return dict(self._followed)

    async def begin(self, eager: Iterable[str]) -> None:
        """Resolve each alias, and load the models that must be loaded from the start.

        Args:
            eager: names of these models.

        Raises:
            RerankdError: one of them has no version that can be served, neither now nor as last known.
        """
        needed = set(eager)
        for name in self._pool.names:
            followed = self._adopted(name)
            if followed is None:
                continue
            try:
                await self._initialize(name, followed, name in needed)
            except MissingDependencyError:
                raise
            except RerankdError as error:
                if name in needed:
                    raise
                _log.warning("%s cannot be served yet: %s", name, error)
                followed.fault = error.message

    def start(self) -> None:
        """Start polling."""
        if self._task is None:
            self._task = asyncio.create_task(self._poll_forever())

    async def close(self) -> None:
        """Stop polling."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def poll(self) -> None:
        """Resolve every alias once, and swap if it moved."""
        for name in self._pool.names:
            if (followed := self._adopted(name)) is not None:
                await self._follow(name, followed)

    def details(self) -> list[dict[str, Any]]:
        """Return the version in service of each alias, for readiness; `reason` only if there is a fault."""
        return [
            {
                "model": name,
                "reference": str(followed.reference),
                "version": followed.version.version if followed.version else None,
                "stale": bool(followed.fault),
            }
            | ({"reason": followed.fault} if followed.fault else {})
            for name, followed in self._followed.items()
        ]

    def card(self, name: str) -> dict[str, Any] | None:
        """Return registered name, version and alias of a model of the pool; None if it is not from the registry."""
        followed = self._followed.get(name)
        if not self._pool.reference(name).startswith(REGISTRY):
            return None
        parsed = parse_reference(self._pool.reference(name))
        number = None if parsed.alias else int(parsed.revision or 0)
        alias = {"alias": followed.reference.alias, "stale": bool(followed.fault)} if followed else {}
        return {"name": parsed.name, "version": number, **alias}

    async def _poll_forever(self) -> None:
        while True:
            await asyncio.sleep(self.seconds * random.uniform(SOONEST, LATEST))  # noqa: S311  spread, not secret
            try:
                await self.poll()
            except Exception as error:  # without a follower, old models would be served for ever
                _log.exception("following the registry failed", exc_info=error)

    def _adopted(self, name: str) -> FollowedAlias | None:
        """Return the alias that a name follows; a manual swap to a version ends that, one to an alias starts it."""
        current = self._pool.reference(name)
        followed = self._followed.get(name)
        parsed = parse_reference(current) if current.startswith(REGISTRY) else None
        if followed is not None and (current == followed.pinned or parsed == followed.reference):
            return followed
        if parsed is None or parsed.alias is None:
            self._followed.pop(name, None)
            return None
        self._followed[name] = FollowedAlias(parsed)
        return self._followed[name]

    async def _initialize(self, name: str, followed: FollowedAlias, load: bool) -> None:
        alias = followed.reference
        resolved: ModelVersion | None = None
        try:
            resolved = await self._resolve(followed)
            await self._swap(name, followed, resolved, load=load)
            return
        except MissingDependencyError:
            raise
        except _TRANSIENT as error:
            first: Exception = error
            followed.fault = _message(error)
        except Exception as error:  # a bad version, as in _follow
            first = error
            self._refuse(name, followed, resolved, error)
        version = self._known.load(alias.name, str(alias.revision))
        if version is None or not await in_daemon(lambda: self.registry.cache.holds(version)):
            raise _without_known(alias, first)
        _log.warning("%s is served as last known, %s: %s", alias, version, followed.fault)
        fault = followed.fault
        await self._swap(name, followed, version, load=load, offline=True)
        followed.fault = fault

    async def _follow(self, name: str, followed: FollowedAlias) -> None:
        resolved: ModelVersion | None = None
        try:
            resolved = await self._resolve(followed)
            if self._serves(name, followed, resolved):
                followed.fault, followed.refused = "", None
            elif followed.refused is not None and followed.refused[0] == version_key(resolved):
                followed.fault = followed.refused[1]
            else:
                await self._swap(name, followed, resolved, load=name in self._pool.loaded)
                followed.swaps += 1
        except _TRANSIENT as error:
            message = _message(error)
            if followed.fault != message:
                _log.warning("%s stays at %s: %s", followed.reference, followed.version, message)
            followed.fault = message
        except Exception as error:  # a bad version may make a library raise anything; the old one stays
            self._refuse(name, followed, resolved, error)

    def _serves(self, name: str, followed: FollowedAlias, version: ModelVersion) -> bool:
        """Return whether the pool has a version; a request may have loaded another one before it was pinned."""
        loaded = self._pool.loaded.get(name)
        if followed.version is None or (loaded is not None and loaded.reference != followed.pinned):
            return False
        return version_key(version)[:2] == version_key(followed.version)[:2]

    async def _resolve(self, followed: FollowedAlias) -> ModelVersion:
        alias = followed.reference
        try:
            version = await in_daemon(lambda: self.registry.resolve(alias.name, str(alias.revision)))
        except UnavailableError:
            self.up = False
            raise
        except RerankdError:
            self.up = True
            raise
        self.up = True
        return version

    async def _swap(
        self, name: str, followed: FollowedAlias, version: ModelVersion, *, load: bool, offline: bool = False
    ) -> None:
        """Fetch and check a version, then serve it under a name; raises if it cannot be served."""
        await in_daemon(lambda: self._check(version, offline, run=not load))
        pinned = f"{REGISTRY}{version.name}@{version.version}"
        if load or name in self._pool.loaded:
            await self._pool.swap(name, pinned)
        else:
            self._pool.set_reference(name, pinned)
        followed.version, followed.fault = version, ""
        if not offline:
            followed.refused = None
        self._known.save(version, str(followed.reference.revision))

    def _check(self, version: ModelVersion, offline: bool, run: bool) -> None:
        check_trusted(version)
        folder = self.registry.cache.folder(version) if offline else self.registry.fetch(version)
        files = check_copy(folder, version)
        self._known.save(version, str(version.version))
        if run:
            probe(files)

    def _refuse(self, name: str, followed: FollowedAlias, version: ModelVersion | None, error: Exception) -> None:
        message = _message(error)
        if version is None and followed.fault == message:  # still the same fault of the alias itself
            return
        followed.fault = message
        if version is not None:
            followed.refused = (version_key(version), message)
            followed.refusals += 1
        served = f"{followed.version} stays in service" if followed.version else "nothing is served"
        _log.error("%s: %s, since %s is refused: %s", name, served, followed.reference, message)


_TRANSIENT = (UnavailableError, TimeoutError)


def _message(error: Exception) -> str:
    return public_message(error, f"It fails with {type(error).__name__}.")


def _without_known(alias: ModelReference, error: Exception) -> RerankdError:
    """Return the error for an alias without a last known version."""
    if isinstance(error, RerankdError) and not isinstance(error, UnavailableError):
        return error
    message = f"{_message(error)} No version of {alias} is known on this machine."
    return UnavailableError(message, hint=getattr(error, "hint", ""))


def version_key(version: ModelVersion) -> VersionKey:
    """Return the identity of a version: number, content and approval."""
    return version.version, version.content, version.approved
