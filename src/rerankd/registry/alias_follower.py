"""An instance that follows aliases: it sees that one moved, fetches and checks the version, and swaps to it.

Does: everything beside requests, in a task and in threads that hold nobody up. A version that cannot be fetched now is
tried again; one that is bad is refused until the alias moves, and what was served before goes on. Without MLflow the
last known state goes on too, also after a restart. Does not: move aliases.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from rerankd._common.logging import logger
from rerankd.engine.pool import ModelPool
from rerankd.errors import MissingDependencyError, RerankdError, UnavailableError
from rerankd.models.reference import REGISTRY, ModelReference, parse_reference
from rerankd.registry.cache import LastKnown
from rerankd.registry.daemon import in_daemon
from rerankd.registry.registry import Registry
from rerankd.registry.verification import check_copy, check_trusted, probe
from rerankd.registry.version import ModelVersion

# A look comes after a share of the interval between these, so that instances do not ask at the same moment and a move
# is seen, fetched and swapped to within the interval.
SOONEST, LATEST = 0.5, 0.8

_log = logger(__name__)
VersionKey = tuple[int, str, str]


@dataclass(slots=True)
class FollowedAlias:
    """A name of the pool whose reference is an alias.

    Attributes:
        reference: the alias.
        version: that is served; None for none yet.
        fault: why that is not, or not surely, what the alias means now; empty if it is.
        refused: version that the alias means and that is not served, and why.
        refusals: versions refused so far.
        swaps: versions taken over so far.
    """

    reference: ModelReference
    version: ModelVersion | None = None
    fault: str = ""
    refused: tuple[VersionKey, str] | None = None
    refusals: int = 0
    swaps: int = 0

    @property
    def pinned(self) -> str:
        """Reference that the pool has for it: a number, so that what is loaded again is the same."""
        return f"{REGISTRY}{self.reference.name}@{self.version.version}" if self.version else str(self.reference)


class AliasFollower:
    """Keeps a pool at what its aliases mean. Belongs to the pool's event loop.

    Args:
        pool: whose references to `registry:NAME@ALIAS` are followed.
        registry: that is asked.
        seconds: within which a move is seen.
    """

    def __init__(self, pool: ModelPool, registry: Registry, seconds: float) -> None:
        self._pool, self.registry, self.seconds = pool, registry, seconds
        self._known = LastKnown(registry.cache.root, registry.store.where)
        self._followed: dict[str, FollowedAlias] = {}
        self._task: asyncio.Task[None] | None = None
        self.up = True

    @property
    def followed(self) -> dict[str, FollowedAlias]:
        """What is followed, by the pool's names."""
        return dict(self._followed)

    async def begin(self, eager: Iterable[str]) -> None:
        """Find out what each alias means, and load those that have to be there from the start.

        Raises:
            RerankdError: one of them has no version that can be served, now or as last known.
        """
        needed = set(eager)
        for name in self._pool.names:
            followed = self._adopted(name)
            if followed is None:
                continue
            try:
                await self._take_first(name, followed, name in needed)
            except MissingDependencyError:
                raise
            except RerankdError as error:
                if name in needed:
                    raise
                _log.warning("%s cannot be served yet: %s", name, error)
                followed.fault = error.message

    def start(self) -> None:
        """Begin to look."""
        if self._task is None:
            self._task = asyncio.create_task(self._look_on())

    async def close(self) -> None:
        """Stop looking."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def poll(self) -> None:
        """Ask once for every alias, and swap where one moved."""
        for name in self._pool.names:
            if (followed := self._adopted(name)) is not None:
                await self._follow(name, followed)

    def details(self) -> list[dict[str, Any]]:
        """What is served of each alias, for people; `reason` only where something is wrong."""
        return [
            {
                "model": name,
                "reference": str(one.reference),
                "version": one.version.version if one.version else None,
                "stale": bool(one.fault),
            }
            | ({"reason": one.fault} if one.fault else {})
            for name, one in self._followed.items()
        ]

    def card(self, name: str) -> dict[str, Any] | None:
        """Registered name, version and alias of a model of the pool; None if it is not from the registry."""
        followed = self._followed.get(name)
        if not self._pool.reference(name).startswith(REGISTRY):
            return None
        parsed = parse_reference(self._pool.reference(name))
        number = None if parsed.alias else int(parsed.revision or 0)
        alias = {"alias": followed.reference.alias, "stale": bool(followed.fault)} if followed else {}
        return {"name": parsed.name, "version": number, **alias}

    async def _look_on(self) -> None:
        while True:
            await asyncio.sleep(self.seconds * random.uniform(SOONEST, LATEST))  # noqa: S311  spread, not secret
            try:
                await self.poll()
            except Exception as error:  # a follower that dies would leave old models in place for ever
                _log.exception("the registry could not be followed", exc_info=error)

    def _adopted(self, name: str) -> FollowedAlias | None:
        """What is followed under a name; a swap by hand to something else ends that, one to an alias begins it."""
        current = self._pool.reference(name)
        followed = self._followed.get(name)
        parsed = parse_reference(current) if current.startswith(REGISTRY) else None
        if followed is not None and (current == followed.pinned or parsed == followed.reference):
            return followed
        if parsed is None or parsed.alias is None:
            self._followed.pop(name, None)
            return None
        made = self._followed[name] = FollowedAlias(parsed)
        return made

    async def _take_first(self, name: str, followed: FollowedAlias, load: bool) -> None:
        alias = followed.reference
        found: ModelVersion | None = None
        try:
            found = await self._resolved(followed)
            await self._take(name, followed, found, load)
            return
        except MissingDependencyError:
            raise
        except _TRANSIENT as error:
            first: Exception = error
            followed.fault = _said(error)
        except Exception as error:  # as in _follow: a bad version
            first = error
            self._refuse(name, followed, found, error)
        version = self._known.load(alias.name, str(alias.revision))
        if version is None or not await in_daemon(lambda: self.registry.cache.holds(version)):
            raise _without_known(alias, first)
        _log.warning("%s is served as last known, %s: %s", alias, version, followed.fault)
        fault = followed.fault
        await self._take(name, followed, version, load, offline=True)
        followed.fault = fault

    async def _follow(self, name: str, followed: FollowedAlias) -> None:
        found: ModelVersion | None = None
        try:
            found = await self._resolved(followed)
            if self._serves(name, followed, found):
                followed.fault, followed.refused = "", None
            elif followed.refused is not None and followed.refused[0] == version_key(found):
                followed.fault = followed.refused[1]
            else:
                await self._take(name, followed, found, name in self._pool.loaded)
                followed.swaps += 1
        except _TRANSIENT as error:
            said = _said(error)
            if followed.fault != said:
                _log.warning("%s stays at %s: %s", followed.reference, followed.version, said)
            followed.fault = said
        except Exception as error:  # whatever a bad version makes a library raise: the old one goes on
            self._refuse(name, followed, found, error)

    def _serves(self, name: str, followed: FollowedAlias, found: ModelVersion) -> bool:
        """Whether a version is what the pool has; a request may have begun to load another before it was pinned."""
        loaded = self._pool.loaded.get(name)
        if followed.version is None or (loaded is not None and loaded.reference != followed.pinned):
            return False
        return version_key(found)[:2] == version_key(followed.version)[:2]

    async def _resolved(self, followed: FollowedAlias) -> ModelVersion:
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

    async def _take(
        self, name: str, followed: FollowedAlias, version: ModelVersion, load: bool, *, offline: bool = False
    ) -> None:
        """Fetch and check a version, then put it under a name; raises whatever speaks against it."""
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
        said = _said(error)
        if version is None and followed.fault == said:  # the alias itself is at fault, still
            return
        followed.fault = said
        if version is not None:
            followed.refused = (version_key(version), said)
            followed.refusals += 1
        stays = f"{followed.version} is served on" if followed.version else "nothing is served"
        _log.error("%s: %s, since %s is refused: %s", name, stays, followed.reference, said)


_TRANSIENT = (UnavailableError, TimeoutError)


def _said(error: Exception) -> str:
    return error.message if isinstance(error, RerankdError) else f"It fails with {type(error).__name__}."


def _without_known(alias: ModelReference, error: Exception) -> RerankdError:
    """What is said if there is nothing to fall back to."""
    if isinstance(error, RerankdError) and not isinstance(error, UnavailableError):
        return error
    said = f"{_said(error)} No version of {alias} is known on this machine."
    return UnavailableError(said, hint=getattr(error, "hint", ""))


def version_key(version: ModelVersion) -> VersionKey:
    """Return what tells one served version from another: number, content and approval."""
    return version.version, version.content, version.approved
