"""The model registry: register, resolve, promote, roll back, compare and fetch versions."""

from __future__ import annotations

import contextlib
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from rerankd._common.user import current_user
from rerankd.errors import (
    ConflictError,
    CorruptModelError,
    InvalidRequestError,
    ModelNotFoundError,
    PromotionRefusedError,
)
from rerankd.models.files import load_model
from rerankd.models.reference import CHAMPION
from rerankd.registry.cache import Cache
from rerankd.registry.diff import Difference, differences
from rerankd.registry.store import EVIDENCE_FOLDER, MODEL_FOLDER, Store
from rerankd.registry.verification import check_copy
from rerankd.registry.version import APPROVED_TAG, CHALLENGER, MOVE_TAG, PREVIOUS, AliasMove, ModelVersion

MAX_REASON = 2000


@dataclass(frozen=True, slots=True)
class History:
    """History of a registered model, newest first.

    Attributes:
        moves: promotions and rollbacks of the champion.
        versions: all readable versions.
    """

    moves: tuple[AliasMove, ...]
    versions: tuple[ModelVersion, ...]


class Registry:
    """Versions of models on MLflow, with local copies of their files. Thread-safe.

    Args:
        store: client of MLflow.
        cache: local copies.
        gate_key: key that gate records must be signed with; None if no signature is required.

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
        """Register a model. The same files again are the same version; new evidence is added to it.

        Args:
            model: folder or reference.
            name: name of the registered model.
            metrics: metrics of an evaluation.
            gate: record of `rerankd gate` about this model.
            data: files and folders of data whose hashes are stored.
            tags: tags of the user.
            alias: alias to point at the version, such as `challenger`.
            parent: number of the version that the model was made from; None for the champion.
            allow_unverified: True to register a compiled model that did not pass its order check.
            cache_dir: cache folder of the hub.

        Raises:
            RerankdError: as `rerankd.registry.registration.register`.
        """
        from rerankd.registry import registration
        from rerankd.registry.version import validate_alias

        if alias is not None:
            validate_alias(alias)
        supplied = registration.SuppliedEvidence(metrics or {}, gate, data, tags or {}, parent)
        files = load_model(str(model), cache_dir=cache_dir, registry=self.store.uri)
        version = registration.register(self.store, files, name, supplied, allow_unverified)
        if alias is not None:
            registration.set_alias(self.store, version, alias)
            version = replace(version, aliases=tuple(sorted({*version.aliases, alias})))
        return version

    def resolve(self, name: str, revision: str | int = CHAMPION) -> ModelVersion:
        """Return the version of a number, or the one that an alias points to now.

        Raises:
            ModelNotFoundError: there is no such version.
            CorruptModelError: rerankd did not register it.
            UnavailableError: MLflow cannot be reached.
        """
        text = str(revision)
        return ModelVersion.from_row(
            self.store.version(name, int(text)) if text.isdecimal() else self.store.by_alias(name, text)
        )

    def fetch(self, version: ModelVersion, *, anew: bool = False) -> Path:
        """Return a checked folder with the files of a version.

        Args:
            version: version to fetch.
            anew: True to download the files even if there is a copy.

        Raises:
            CorruptModelError: the files in the registry are not the registered ones.
            UnavailableError: the files cannot be downloaded now.
        """
        if not anew and self.cache.holds(version):
            return self.cache.folder(version)
        stored_sizes = self.store.sizes(version.run_id, MODEL_FOLDER)
        for name, size in version.sizes.items():
            stored = stored_sizes.get(f"{MODEL_FOLDER}/{name}")
            if stored != size:
                fault = f"{name} is missing" if stored is None else f"{name} has {stored:,} bytes instead of {size:,}"
                raise CorruptModelError(f"{version}: {fault}.", hint="Register the model again.")
        return self.cache.fetch(
            version, lambda name, folder: self.store.get(version.run_id, f"{MODEL_FOLDER}/{name}", folder), anew=anew
        )

    def promote(self, name: str, target: str | int = CHALLENGER, reason: str = "", *, force: bool = False) -> AliasMove:
        """Make a version the champion; the one before becomes `previous`. Idempotent.

        Args:
            name: name of the registered model.
            target: alias or number of the version.
            reason: reason, for the history.
            force: True to override the gate and the verification; needs a reason.

        Raises:
            PromotionRefusedError: the version did not pass a gate, or is not verified.
            ModelError: there is no such version, or its files are damaged.
            InvalidRequestError: `force` without a reason.
            UnavailableError: MLflow cannot be reached.
        """
        reason = _validate_reason(reason, force)
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
            move = AliasMove("promote", name, before, version.version, current_user(), time.time(), reason, gate, force)
            if not version.trusted:
                self.store.tag_version(name, version.version, APPROVED_TAG, reason)
            return self._moved(move, before)

    def rollback(self, name: str, reason: str = "", *, force: bool = False) -> AliasMove:
        """Make the previous version the champion again. Idempotent.

        Args:
            name: name of the registered model.
            reason: reason, for the history.
            force: True to skip the check of the previous version's files; needs a reason.

        Raises:
            PromotionRefusedError: there is no previous version.
            ModelError: there is no such model, or the files of the previous version are damaged.
            UnavailableError: MLflow cannot be reached.
        """
        reason = _validate_reason(reason, force)
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
            move = AliasMove("rollback", name, before, after, current_user(), time.time(), reason, "", force)
            return self._moved(move, None)

    def names(self) -> list[str]:
        """Return the names of registered models."""
        return self.store.names()

    def history(self, name: str) -> History:
        """Return the history of a registered model.

        Raises:
            ModelNotFoundError: there is no such model.
            UnavailableError: MLflow cannot be reached.
        """
        moves = []
        for key, text in sorted(self.store.model_tags(name).items(), reverse=True):
            with contextlib.suppress(ValueError, TypeError):  # a tag of somebody else
                if key.startswith(MOVE_TAG):
                    moves.append(AliasMove.from_record(text))
        by_number: dict[int, list[str]] = {}
        for alias, number in self.store.aliases(name).items():
            by_number.setdefault(number, []).append(alias)
        versions = []
        for row in self.store.versions(name):
            with contextlib.suppress(CorruptModelError):
                version = ModelVersion.from_row(row)
                versions.append(replace(version, aliases=tuple(sorted(by_number.get(version.version, ())))))
        return History(tuple(moves), tuple(sorted(versions, key=lambda version: version.version, reverse=True)))

    def diff(self, name: str, a: str | int, b: str | int) -> list[Difference]:
        """Return the differences between two versions; errors as `resolve`."""
        return differences(self.resolve(name, a), self.resolve(name, b))

    def _gate(self, version: ModelVersion, force: bool) -> str:
        """Return the result of the gate as a word; errors as `promote`."""
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

    def _moved(self, move: AliasMove, previous: int | None) -> AliasMove:
        """Write the move, point the aliases, and mark the move as done. The champion is pointed last, in one step."""
        key = f"{MOVE_TAG}{time.time_ns():020d}"
        self.store.tag_model(move.name, key, move.record())
        if previous is not None:
            self.store.set_alias(move.name, PREVIOUS, previous)
        self.store.set_alias(move.name, CHAMPION, move.after)
        if self.store.aliases(move.name).get(CHAMPION) != move.after:
            raise ConflictError(
                f"Somebody else moved the champion of {move.name} at the same time.", hint="See: rerankd models history"
            )
        completed = replace(move, done=True)
        self.store.tag_model(move.name, key, completed.record())
        return completed

    def _unchanged(self, action: str, name: str, version: int, reason: str) -> AliasMove:
        make = partial(AliasMove, "promote") if action == "promote" else partial(AliasMove, "rollback")
        return make(name, version, version, current_user(), time.time(), reason, done=True, changed=False)


def _validate_reason(reason: str, force: bool) -> str:
    reason = " ".join(reason.split())
    if force and not reason:
        raise InvalidRequestError("Overriding the checks requires a reason.", hint="Pass --reason TEXT.")
    if len(reason) > MAX_REASON:
        raise InvalidRequestError(f"The reason has {len(reason)} characters.", hint=f"Use {MAX_REASON} at most.")
    return reason
