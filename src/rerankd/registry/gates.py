"""Gate records of registered versions: read at registration, checked before a promotion."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from rerankd.errors import InvalidInputFileError, ModelNotFoundError, PromotionRefusedError
from rerankd.evaluation.gate_record import GateDecision, read_decision
from rerankd.models.digest import content_digest
from rerankd.models.files import ModelFiles
from rerankd.models.manifest import sha256
from rerankd.registry.store import EVIDENCE_FOLDER, Store
from rerankd.registry.version import ModelVersion

FILE_NAME = "gate.json"
MAX_BYTES = 1_000_000
_HINT = "Run `rerankd gate` and register the model again with --gate, or promote it with --force and a --reason."


def read_gate(path: Path, files: ModelFiles) -> Mapping[str, Any]:
    """Return the summary of a gate record, which must be about this model.

    The record names the digest of the candidate's files. A record of an older release has none, so it cannot be
    registered any more; versions that were registered with one keep it, and its signature stays valid.

    Args:
        path: record that `rerankd gate` wrote.
        files: model that is being registered.

    Raises:
        InvalidInputFileError: the file is not a gate record, has no digest, or is about another model.
    """
    if path.is_file() and path.stat().st_size > MAX_BYTES:
        raise InvalidInputFileError(f"{path} is too large for a gate record.", hint="Write one: rerankd gate --out")
    decision = read_decision(path)
    if not decision.digest:
        raise InvalidInputFileError(
            f"{path} was written by an older release and does not name the files of its model.",
            hint="Run `rerankd gate` again with this model.",
        )
    if decision.digest != content_digest(files):
        raise InvalidInputFileError(
            f"{path} is about another model, {decision.candidate[:100]}.", hint="Run `rerankd gate` with this model."
        )
    return {
        "passed": decision.passed,
        "candidate": decision.candidate,
        "champion": decision.champion,
        "signed": bool(decision.signature),
        "sha256": sha256(path),
    }


SignatureState = Literal["valid", "invalid", "unsigned", "unchecked"]


@dataclass(frozen=True, slots=True)
class GateRecord:
    """A gate record in the registry, and whether it is the one that was registered.

    Attributes:
        decision: what the gate decided.
        unchanged: True if the file is the registered one.
        signature: `valid` or `invalid` under our key; `unsigned`; `unchecked` if we have no key.
    """

    decision: GateDecision
    unchanged: bool
    signature: SignatureState


@contextlib.contextmanager
def stored_record(store: Store, version: ModelVersion) -> Iterator[Path | None]:
    """Download the gate record of a version, and yield its path while it exists; None if the registry has none.

    Raises:
        UnavailableError: MLflow cannot be reached.
    """
    with tempfile.TemporaryDirectory(prefix="rerankd-gate-") as work:
        path: Path | None = None
        if version.gate:
            with contextlib.suppress(ModelNotFoundError):
                path = _download(store, version, Path(work))
        yield path


def _download(store: Store, version: ModelVersion, work: Path) -> Path | None:
    path = f"{EVIDENCE_FOLDER}/{FILE_NAME}"
    size = store.sizes(version.run_id, EVIDENCE_FOLDER).get(path)
    return None if size is None or size > MAX_BYTES else store.get(version.run_id, path, work)


def read_record(version: ModelVersion, record: Path, key: str | None) -> GateRecord | None:
    """Return the gate record of a version; None if it cannot be read.

    Args:
        version: version that the record belongs to.
        record: file from the registry.
        key: key that signs records; None if there is none.
    """
    try:
        decision = read_decision(record)
    except InvalidInputFileError:
        return None
    return GateRecord(decision, sha256(record) == version.gate.get("sha256"), _signature_state(decision, key))


def _signature_state(decision: GateDecision, key: str | None) -> SignatureState:
    if not decision.signature:
        return "unsigned"
    if not key:
        return "unchecked"
    return "valid" if decision.valid(key) else "invalid"


def check_gate(version: ModelVersion, record: Path | None, key: str | None) -> None:
    """Refuse a version that has not passed a gate.

    Args:
        version: version to promote.
        record: gate record in the registry; None if there is none.
        key: key that the record must be signed with; None if no signature is required.

    Raises:
        PromotionRefusedError: the record is missing, changed, not signed, or the gate refused the model.
    """
    if not version.gate or record is None:
        raise PromotionRefusedError(f"{version} has no gate record.", hint=_HINT)
    gate = read_record(version, record, key)
    if gate is None:
        raise PromotionRefusedError(f"The gate record of {version} cannot be read.", hint=_HINT)
    decision = gate.decision
    if not gate.unchanged:
        raise PromotionRefusedError(f"The gate record of {version} was changed.", hint=_HINT)
    if key and gate.signature != "valid":
        raise PromotionRefusedError(
            f"The gate record of {version} is not signed with RERANKD_GATE_KEY.",
            hint="Run `rerankd gate` where the key is set and register the model again, or use --force and a --reason.",
        )
    if decision.passed is not True or not all(check.passed for check in decision.checks):
        failed = next((check.message for check in decision.checks if not check.passed), "")
        raise PromotionRefusedError(f"The gate refused {version}. {failed}".strip(), hint=_HINT)
