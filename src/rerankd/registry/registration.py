"""Registration of a model: verify it, upload its files and evidence to a run, create a version."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from rerankd.errors import InvalidRequestError, RerankdError, VerificationError
from rerankd.models.digest import content_of
from rerankd.models.files import ModelFiles, load_model
from rerankd.models.manifest import FILE_NAME, sha256, write_manifest
from rerankd.models.merged import write_merged
from rerankd.models.modules import check_one_folder
from rerankd.registry import evidence, gates
from rerankd.registry.store import EVIDENCE_FOLDER, MODEL_FOLDER, Store
from rerankd.registry.verification import is_verified, probe
from rerankd.registry.version import (
    CONTENT_TAG,
    MAX_FILES,
    RECORD_TAG,
    ModelVersion,
    check_files,
    plain_file_name,
    validate_alias,
    validate_name,
)

# Files of a model; checkpoints in other formats, and other files in the folder, are not uploaded.
_SUFFIXES = (".json", ".md", ".onnx", ".data", ".safetensors", ".txt", ".model")
_PLAIN = ("LICENSE", "NOTICE")


@dataclass(frozen=True, slots=True)
class SuppliedEvidence:
    """Evidence that is registered beside the files.

    Attributes:
        metrics: metrics by name.
        gate: record of `rerankd gate`.
        data: files and folders of training and evaluation data; only their hashes are stored.
        tags: tags of the user.
        parent: number of the version that the model was made from; None for the champion.
    """

    metrics: Mapping[str, float] = field(default_factory=dict)
    gate: Path | None = None
    data: Sequence[Path] = ()
    tags: Mapping[str, str] = field(default_factory=dict)
    parent: int | None = None


def register(
    store: Store, files: ModelFiles, name: str, supplied: SuppliedEvidence, allow_unverified: bool
) -> ModelVersion:
    """Create a version, or return the one with the same files after adding new evidence to it.

    Raises:
        InvalidRequestError: the name or the parent is invalid.
        InvalidInputFileError: evidence cannot be read.
        ModelError: the model is damaged or not supported.
        VerificationError: the model is compiled and not verified.
        ScoringError: the model gives no finite scores.
        UnavailableError: MLflow cannot be reached.
    """
    validate_name(name)
    good = is_verified(files)
    if not good and not allow_unverified:
        raise VerificationError(
            f"{files.reference} is not verified: its order check failed, was waived or is missing.",
            hint="Compile it again without --waive-verification, or register it with --allow-unverified.",
        )
    gate = gates.read_gate(supplied.gate, files) if supplied.gate else {}
    hashes = evidence.data_hashes(supplied.data)
    probe(files)
    with tempfile.TemporaryDirectory(prefix="rerankd-register-") as work:
        folder = _own_copy(files, Path(work))
        copy = load_model(str(folder))
        paths = sorted(folder.iterdir())
        digests = {path.name: sha256(path) for path in paths}
        with store.writing():
            store.create_model(name)
        parent = _parent(store, name, supplied.parent)
        made = ModelVersion(
            name=name,
            version=0,
            content=content_of(digests),
            files=digests,
            sizes={path.name: path.stat().st_size for path in paths},
            run_id="",
            created=0.0,
            params=evidence.params_of(copy),
            metrics=supplied.metrics,
            data=hashes,
            git=evidence.git_state(),
            parent=parent,
            calibration=copy.manifest.calibration,
            parity=copy.manifest.parity,
            gate=gate,
            tags=dict(supplied.tags),
            verified=good,
        )
        _check(made)
        known = same_content(store, made)
        return _add_evidence(store, known, made, supplied) if known else _upload(store, made, folder, supplied)


def _check(made: ModelVersion) -> None:
    """Refuse a version that cannot be stored, before anything is uploaded."""
    made.record()
    try:
        check_files(made)
    except ValueError as error:
        raise InvalidRequestError(
            f"The folder cannot be registered: {error}.", hint="Use plain file names and one model a folder."
        ) from error


def set_alias(store: Store, version: ModelVersion, alias: str) -> None:
    """Point an alias other than the champion's at a version."""
    with store.writing():
        store.set_alias(version.name, validate_alias(alias), version.version)


def same_content(store: Store, made: ModelVersion) -> ModelVersion | None:
    """Return the oldest version with the same files, or None."""
    rows = [row for row in store.versions(made.name) if row.tags.get(CONTENT_TAG) == made.content]
    return ModelVersion.from_row(min(rows, key=lambda row: int(row.version))) if rows else None


def _own_copy(files: ModelFiles, work: Path) -> Path:
    """Return a folder with the files of the model and a manifest with their hashes; links become files."""
    check_one_folder(files.folder, "The registry")
    folder = work / MODEL_FOLDER
    folder.mkdir()
    if files.base is not None:
        return _with_manifest(write_merged(files, folder), folder)
    paths = [path for path in sorted(files.folder.iterdir()) if path.is_file() and _belongs(path, files)]
    if len(paths) >= MAX_FILES:
        raise InvalidRequestError(f"{files.folder} has {len(paths)} files.", hint="Pass a folder with one model.")
    for path in paths:
        try:
            os.link(path.resolve(), folder / path.name)
        except OSError:  # another file system
            shutil.copyfile(path, folder / path.name)
    return _with_manifest(files, folder)


def _with_manifest(files: ModelFiles, folder: Path) -> Path:
    """Write a manifest with the hashes of a folder's files, unless it has one; return the folder."""
    if not files.manifest.files:
        hashes = {path.name: sha256(path) for path in sorted(folder.iterdir()) if path.name != FILE_NAME}
        (folder / FILE_NAME).unlink(missing_ok=True)
        write_manifest(folder, replace(files.manifest, files=hashes))
    return folder


def _belongs(path: Path, files: ModelFiles) -> bool:
    in_manifest = path.name in files.manifest.files or path.name == FILE_NAME
    weights = path.suffix == ".safetensors" and files.compiled
    return in_manifest or (plain_file_name(path.name) and not weights and _known_kind(path))


def _known_kind(path: Path) -> bool:
    return path.suffix in _SUFFIXES or path.name in _PLAIN


def _parent(store: Store, name: str, parent: int | None) -> int | None:
    if parent is not None:
        return int(store.version(name, parent).version)
    return store.aliases(name).get("champion")


def _upload(store: Store, made: ModelVersion, folder: Path, supplied: SuppliedEvidence) -> ModelVersion:
    metrics = {evidence.mlflow_key(key): value for key, value in made.metrics.items()}
    run_id = store.create_run(made.name, made.params, metrics)
    try:
        for path in sorted(folder.iterdir()):
            store.put(run_id, path, MODEL_FOLDER)
        _put_gate(store, run_id, supplied.gate)
        tags = {RECORD_TAG: made.record(), CONTENT_TAG: made.content}
        with store.writing():
            known = same_content(store, made)
            row = None if known else store.create_version(made.name, run_id, tags)
        store.end_run(run_id, row is not None)
    except BaseException:
        _abandon_run(store, run_id)
        raise
    if row is None:  # another was faster
        return known  # type: ignore[return-value]  # row is None only if known is not
    version = ModelVersion.from_row(row)
    first = same_content(store, made)
    if first is not None and first.version < version.version:
        store.delete_version(version.name, version.version)
        return first
    return version


def _abandon_run(store: Store, run_id: str) -> None:
    try:
        store.end_run(run_id, False)
    except RerankdError:
        return  # the first error is the one to report


def _add_evidence(store: Store, known: ModelVersion, made: ModelVersion, supplied: SuppliedEvidence) -> ModelVersion:
    """Add new evidence to an existing version."""
    richer = replace(
        known,
        metrics={**known.metrics, **made.metrics},
        data={**known.data, **made.data},
        tags={**known.tags, **made.tags},
        gate=made.gate or known.gate,
        parent=made.parent if supplied.parent is not None else known.parent,
    )
    if richer.record() == known.record():
        return known
    if made.gate and made.gate != known.gate:
        _put_gate(store, known.run_id, supplied.gate)
    with store.writing():
        store.tag_version(known.name, known.version, RECORD_TAG, richer.record())
    return richer


def _put_gate(store: Store, run_id: str, gate: Path | None) -> None:
    if gate is None:
        return
    with tempfile.TemporaryDirectory(prefix="rerankd-gate-") as work:
        path = Path(work) / gates.FILE_NAME
        shutil.copyfile(gate, path)
        store.put(run_id, path, EVIDENCE_FOLDER)
