"""The registry of models: register, resolve, promote, roll back, look back, compare, fetch."""

from __future__ import annotations

import contextlib
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from rerankd.errors import (
    ConflictError,
    CorruptModelError,
    InvalidRequestError,
    ModelNotFoundError,
    PromotionRefusedError,
)
from rerankd.models.files import load_model
from rerankd.models.reference import CHAMPION
from rerankd.registry import evidence
from rerankd.registry.cache import Cache
from rerankd.registry.diff import Difference, differences
from rerankd.registry.store import EVIDENCE_FOLDER, MODEL_FOLDER, Store
from rerankd.registry.verification import check_copy
from rerankd.registry.version import APPROVED_TAG, CHALLENGER, MOVE_TAG, PREVIOUS, ModelVersion, Move

MAX_REASON = 2000


@dataclass(frozen=True, slots=True)
class History:
    """What happened to a registered model, newest first.

    Attributes:
        moves: decisions about the champion.
        versions: all that can be read.
    """

    moves: tuple[Move, ...]
    versions: tuple[ModelVersion, ...]


class Registry:
    """Versions of models on MLflow, with copies of their files here. Thread-safe.

    Args:
        store: MLflow.
        cache: the copies.
        gate_key: what records of gates have to be signed with; None if that is not asked.

    Example:
        >>> registry = Registry(Store(\"sqlite:///mlflow.sqlite\"), Cache(Path(\"cache\")))  # doctest: +SKIP
        >>> registry.resolve("medical", "champion").version  # doctest: +SKIP
        7
    """

    def __init__(self, store: Store, cache: Cache, gate_key: str | None = None) -> None:
        self.store, self.cache, self._gate_key = store, cache, gate_key

    def register(
        self,
        model: str | Path,
        name: str,
        *,
        metrics: Mapping[str, float] | None = None,
        gate: Path | None = None,
        data: Sequence[Path] = (),
        tags: Mapping[str, str] | None = None,
        alias: str | None = None,
        parent: int | None = None,
        allow_unverified: bool = False,
        cache_dir: str | None = None,
    ) -> ModelVersion:
        """Put a model in. The same files again are the same version; evidence that is new is added to it.

        Args:
            model: folder or reference.
            name: to register it under.
            metrics: what an evaluation measured.
            gate: record of `rerankd gate` about this model.
            data: files and folders whose hashes are kept.
            tags: of one's own.
            alias: to point at it, such as challenger.
            parent: version that it was made from; None for the champion.
            allow_unverified: also if it is compiled and does not rank like its source.
            cache_dir: the hub's cache folder.

        Raises:
            RerankdError: as `rerankd.registry.registration.register`.
        """
        from rerankd.registry import registration as registering
        from rerankd.registry.version import validate_alias

        if alias is not None:
            validate_alias(alias)
        given = registering.Evidence(metrics or {}, gate, data, tags or {}, parent)
        files = load_model(str(model), cache_dir=cache_dir, registry=self.store.uri)
        version = registering.register(self.store, files, name, given, allow_unverified)
        if alias is not None:
            registering.set_alias(self.store, version, alias)
            version = replace(version, aliases=tuple(sorted({*version.aliases, alias})))
        return version

    def resolve(self, name: str, revision: str | int = CHAMPION) -> ModelVersion:
        """The version that an alias or a number means now.

        Raises:
            ModelNotFoundError: there is none.
            CorruptModelError: rerankd did not register it.
            UnavailableError: MLflow cannot be reached.
        """
        text = str(revision)
        return ModelVersion.from_row(
            self.store.version(name, int(text)) if text.isdecimal() else self.store.by_alias(name, text)
        )

    def fetch(self, version: ModelVersion, *, anew: bool = False) -> Path:
        """A folder with a version's files, checked; `anew` asks the registry for them also if there is a copy.

        Raises:
            CorruptModelError: the registry's files are not what was registered.
            UnavailableError: they cannot be fetched now.
        """
        if not anew and self.cache.holds(version):
            return self.cache.folder(version)
        there = self.store.sizes(version.run_id, MODEL_FOLDER)
        for name, size in version.sizes.items():
            found = there.get(f"{MODEL_FOLDER}/{name}")
            if found != size:
                said = f"{name} is missing" if found is None else f"{name} has {found:,} bytes instead of {size:,}"
                raise CorruptModelError(f"{version}: {said}.", hint="Register the model again.")
        return self.cache.fetch(
            version, lambda name, folder: self.store.get(version.run_id, f"{MODEL_FOLDER}/{name}", folder), anew=anew
        )

    def promote(self, name: str, target: str | int = CHALLENGER, reason: str = "", *, force: bool = False) -> Move:
        """Make a version champion; the one that was is `previous`. Nothing is changed if it is champion already.

        Args:
            name: of the registered model.
            target: alias or number.
            reason: kept with the decision.
            force: also without a gate's consent, or unverified; needs a reason.

        Raises:
            PromotionRefusedError: no gate let it pass, or it was not verified.
            ModelError: there is no such version, or its files do not check.
            InvalidRequestError: `force` without a reason.
            UnavailableError: MLflow cannot be reached.
        """
        reason = _checked_reason(reason, force)
        version = self.resolve(name, target)
        if self.store.aliases(name).get(CHAMPION) == version.version:
            return self._unchanged("promote", name, version.version, reason)
        gate = self._gate(version, force)
        if not version.trusted and not force:
            raise PromotionRefusedError(
                f"{version} is not verified: it may not rank like its source.", hint="Use --force and a --reason."
            )
        check_copy(self.fetch(version, anew=True), version)
        with self.store.writing():
            before = self.store.aliases(name).get(CHAMPION)
            if before == version.version:
                return self._unchanged("promote", name, version.version, reason)
            move = Move("promote", name, before, version.version, evidence.user(), time.time(), reason, gate, force)
            if not version.trusted:
                self.store.tag_version(name, version.version, APPROVED_TAG, reason)
            return self._moved(move, before)

    def rollback(self, name: str, reason: str = "", *, force: bool = False) -> Move:
        """Make the previous version champion again. Doing it twice does it once.

        Args:
            name: of the registered model.
            reason: kept with the decision.
            force: also if the previous version's files cannot be checked; needs a reason.

        Raises:
            PromotionRefusedError: there is no previous version.
            ModelError: there is no such model, or the files of the previous version do not check.
            UnavailableError: MLflow cannot be reached.
        """
        reason = _checked_reason(reason, force)
        aliases = self.store.aliases(name)
        before, after = aliases.get(CHAMPION), aliases.get(PREVIOUS)
        if after is None:
            raise PromotionRefusedError(
                f"{name} has no previous version.", hint="Promote a version by its number instead."
            )
        if before == after:
            return self._unchanged("rollback", name, after, reason)
        if not force:
            version = self.resolve(name, after)
            check_copy(self.fetch(version, anew=True), version)
        with self.store.writing():
            aliases = self.store.aliases(name)
            if (aliases.get(CHAMPION), aliases.get(PREVIOUS)) != (before, after):
                raise PromotionRefusedError(
                    f"{name} was promoted or rolled back just now.", hint="See: rerankd models history"
                )
            move = Move("rollback", name, before, after, evidence.user(), time.time(), reason, "", force)
            return self._moved(move, None)

    def names(self) -> list[str]:
        """Registered models."""
        return self.store.names()

    def history(self, name: str) -> History:
        """Decisions and versions of a model, newest first.

        Raises:
            ModelNotFoundError: there is no such model.
            UnavailableError: MLflow cannot be reached.
        """
        moves = []
        for key, text in sorted(self.store.model_tags(name).items(), reverse=True):
            with contextlib.suppress(ValueError, TypeError):  # a tag of somebody else
                if key.startswith(MOVE_TAG):
                    moves.append(Move.from_record(text))
        by_number: dict[int, list[str]] = {}
        for alias, number in self.store.aliases(name).items():
            by_number.setdefault(number, []).append(alias)
        versions = []
        for row in self.store.versions(name):
            with contextlib.suppress(CorruptModelError):
                made = ModelVersion.from_row(row)
                versions.append(replace(made, aliases=tuple(sorted(by_number.get(made.version, ())))))
        return History(tuple(moves), tuple(sorted(versions, key=lambda one: one.version, reverse=True)))

    def diff(self, name: str, a: str | int, b: str | int) -> list[Difference]:
        """In what two versions differ; errors as `resolve`."""
        return differences(self.resolve(name, a), self.resolve(name, b))

    def _gate(self, version: ModelVersion, force: bool) -> str:
        """What the gate says, as a word; errors as `promote`."""
        from rerankd.registry import gates

        with tempfile.TemporaryDirectory(prefix="rerankd-gate-") as work:
            path: Path | None = None
            if version.gate:
                with contextlib.suppress(ModelNotFoundError):
                    path = self._gate_record(version, Path(work))
            try:
                gates.check_gate(version, path, self._gate_key)
            except PromotionRefusedError:
                if not force:
                    raise
                return "refused" if version.gate.get("passed") is False else "unproven" if version.gate else "missing"
        return "passed"

    def _gate_record(self, version: ModelVersion, work: Path) -> Path | None:
        from rerankd.registry import gates

        path = f"{EVIDENCE_FOLDER}/{gates.FILE_NAME}"
        size = self.store.sizes(version.run_id, EVIDENCE_FOLDER).get(path)
        if size is None or size > gates.MAX_BYTES:
            return None
        return self.store.get(version.run_id, path, work)

    def _moved(self, move: Move, previous: int | None) -> Move:
        """Write the decision, point the aliases, write that it is done. The champion is pointed last, in one step."""
        key = f"{MOVE_TAG}{time.time_ns():020d}"
        self.store.tag_model(move.name, key, move.record())
        if previous is not None:
            self.store.set_alias(move.name, PREVIOUS, previous)
        self.store.set_alias(move.name, CHAMPION, move.after)
        if self.store.aliases(move.name).get(CHAMPION) != move.after:
            raise ConflictError(f"Another moved {move.name} at the same time.", hint="See: rerankd models history")
        done = replace(move, done=True)
        self.store.tag_model(move.name, key, done.record())
        return done

    def _unchanged(self, action: str, name: str, version: int, reason: str) -> Move:
        make = partial(Move, "promote") if action == "promote" else partial(Move, "rollback")
        return make(name, version, version, evidence.user(), time.time(), reason, done=True, changed=False)


def _checked_reason(reason: str, force: bool) -> str:
    reason = " ".join(reason.split())
    if force and not reason:
        raise InvalidRequestError("Checks are overruled without a reason.", hint="Say why: --reason TEXT.")
    if len(reason) > MAX_REASON:
        raise InvalidRequestError(f"The reason has {len(reason)} characters.", hint=f"Use {MAX_REASON} at most.")
    return reason
