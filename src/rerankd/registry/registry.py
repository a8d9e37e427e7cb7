"""The model registry: register, resolve, promote, roll back, compare and fetch versions."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from rerankd._common.user import current_user
from rerankd.errors import (
    CorruptModelError,
    InvalidRequestError,
    ModelNotFoundError,
    PromotionRefusedError,
)
from rerankd.models.files import load_model
from rerankd.models.reference import CHAMPION
from rerankd.registry.cache import Cache
from rerankd.registry.diff import Difference, differences
from rerankd.registry.moves import apply_move, check_seen, read_moves, unchanged_move
from rerankd.registry.store import MODEL_FOLDER, Store
from rerankd.registry.verification import check_copy
from rerankd.registry.version import APPROVED_TAG, CHALLENGER, PREVIOUS, AliasMove, ModelVersion

if TYPE_CHECKING:
    from rerankd.registry.gates import GateRecord

MAX_REASON = 2000
MAX_DIGITS = 18  # of a version's number


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
        if text.isdecimal() and len(text) > MAX_DIGITS:
            raise ModelNotFoundError(f"{name} has no version {text[:MAX_DIGITS]}… in the registry {self.store.where}.")
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

    def promote(
        self,
        name: str,
        target: str | int = CHALLENGER,
        reason: str = "",
        *,
        force: bool = False,
        user: str | None = None,
        seen: int | None = None,
    ) -> AliasMove:
        """Make a version the champion; the one before becomes `previous`. Idempotent.

        Args:
            name: name of the registered model.
            target: alias or number of the version.
            reason: reason, for the history.
            force: True to override the gate and the verification; needs a reason.
            user: person who decides; None for the user of the operating system.
            seen: number of the champion that the person looked at, 0 if there was none; None for the present one.

        Raises:
            PromotionRefusedError: the version did not pass a gate, or is not verified.
            ConflictError: the champion was moved since `seen`.
            ModelError: there is no such version, or its files are damaged.
            InvalidRequestError: `force` without a reason.
            UnavailableError: MLflow cannot be reached.
        """
        reason = _validate_reason(reason, force)
        version = self.resolve(name, target)
        before = self.store.aliases(name).get(CHAMPION)
        if before == version.version:
            return unchanged_move("promote", name, version.version, reason, user)
        check_seen(name, seen, before)
        gate = self._gate(version, force)
        if not version.trusted and not force:
            raise PromotionRefusedError(
                f"{version} is not verified: it may not rank like its source.", hint="Use --force and a --reason."
            )
        check_copy(self.fetch(version, anew=True), version)
        with self.store.writing():
            before = self.store.aliases(name).get(CHAMPION)
            if before == version.version:
                return unchanged_move("promote", name, version.version, reason, user)
            check_seen(name, seen, before)
            user = user or current_user()
            move = AliasMove("promote", name, before, version.version, user, time.time(), reason, gate, force)
            if not version.trusted:
                self.store.tag_version(name, version.version, APPROVED_TAG, reason)
            return apply_move(self.store, move, before)

    def rollback(
        self,
        name: str,
        reason: str = "",
        *,
        force: bool = False,
        user: str | None = None,
        seen: int | None = None,
    ) -> AliasMove:
        """Make the previous version the champion again. Idempotent.

        Args:
            name: name of the registered model.
            reason: reason, for the history.
            force: True to skip the check of the previous version's files; needs a reason.
            user: person who decides; None for the user of the operating system.
            seen: number of the champion that the person looked at; None for the present one.

        Raises:
            PromotionRefusedError: there is no previous version.
            ConflictError: the champion was moved since `seen`.
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
            return unchanged_move("rollback", name, after, reason, user)
        check_seen(name, seen, before)
        if not force:
            version = self.resolve(name, after)
            check_copy(self.fetch(version, anew=True), version)
        with self.store.writing():
            aliases = self.store.aliases(name)
            if (aliases.get(CHAMPION), aliases.get(PREVIOUS)) != (before, after):
                raise PromotionRefusedError(
                    f"{name} was promoted or rolled back just now.", hint="See: rerankd models history"
                )
            move = AliasMove("rollback", name, before, after, user or current_user(), time.time(), reason, "", force)
            return apply_move(self.store, move, None)

    def models(self) -> Mapping[str, Mapping[str, int]]:
        """Return the names of registered models, each with the version number of its aliases.

        Raises:
            UnavailableError: MLflow cannot be reached.
        """
        return self.store.models()

    def history(self, name: str) -> History:
        """Return the history of a registered model.

        Raises:
            ModelNotFoundError: there is no such model.
            UnavailableError: MLflow cannot be reached.
        """
        moves = read_moves(self.store.model_tags(name))
        by_number: dict[int, list[str]] = {}
        for alias, number in self.store.aliases(name).items():
            by_number.setdefault(number, []).append(alias)
        versions = []
        for row in self.store.versions(name):
            with contextlib.suppress(CorruptModelError):
                version = ModelVersion.from_row(row)
                versions.append(replace(version, aliases=tuple(sorted(by_number.get(version.version, ())))))
        return History(tuple(moves), tuple(sorted(versions, key=lambda version: version.version, reverse=True)))

    def moves(self) -> list[AliasMove]:
        """Return the moves of all champions, newest first.

        Raises:
            UnavailableError: MLflow cannot be reached.
        """
        moves = [move for tags in self.store.tags_of_models().values() for move in read_moves(tags)]
        return sorted(moves, key=lambda move: move.when, reverse=True)

    def diff(self, name: str, a: str | int, b: str | int) -> list[Difference]:
        """Return the differences between two versions; errors as `resolve`."""
        return differences(self.resolve(name, a), self.resolve(name, b))

    def gate_record(self, version: ModelVersion) -> GateRecord | None:
        """Return the gate record of a version; None if it has none, or none that can be read.

        Raises:
            UnavailableError: MLflow cannot be reached.
        """
        from rerankd.registry import gates

        with gates.stored_record(self.store, version) as path:
            return None if path is None else gates.read_record(version, path, self._gate_key)

    def _gate(self, version: ModelVersion, force: bool) -> str:
        """Return the result of the gate as a word; errors as `promote`."""
        from rerankd.registry import gates

        with gates.stored_record(self.store, version) as path:
            try:
                gates.check_gate(version, path, self._gate_key)
            except PromotionRefusedError:
                if not force:
                    raise
                return "refused" if version.gate.get("passed") is False else "unproven" if version.gate else "missing"
        return "passed"


def _validate_reason(reason: str, force: bool) -> str:
    reason = " ".join(reason.split())
    if force and not reason:
        raise InvalidRequestError("Overriding the checks requires a reason.", hint="Pass --reason TEXT.")
    if len(reason) > MAX_REASON:
        raise InvalidRequestError(f"The reason has {len(reason)} characters.", hint=f"Use {MAX_REASON} at most.")
    return reason
