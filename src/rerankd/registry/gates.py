"""Gate records of registered versions: read at registration, checked before a promotion."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rerankd.errors import InvalidInputFileError, PromotionRefusedError
from rerankd.evaluation.gate_record import GateDecision, read_decision
from rerankd.models.digest import content_digest
from rerankd.models.files import ModelFiles
from rerankd.models.manifest import sha256
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
    try:
        decision = read_decision(record)
    except InvalidInputFileError as error:
        raise PromotionRefusedError(f"The gate record of {version} cannot be read.", hint=_HINT) from error
    if sha256(record) != version.gate.get("sha256"):
        raise PromotionRefusedError(f"The gate record of {version} was changed.", hint=_HINT)
    if key and not _signed(decision, key):
        raise PromotionRefusedError(
            f"The gate record of {version} is not signed with RERANKD_GATE_KEY.",
            hint="Run `rerankd gate` where the key is set and register the model again, or use --force and a --reason.",
        )
    if decision.passed is not True or not all(check.passed for check in decision.checks):
        failed = next((check.message for check in decision.checks if not check.passed), "")
        raise PromotionRefusedError(f"The gate refused {version}. {failed}".strip(), hint=_HINT)


def _signed(decision: GateDecision, key: str) -> bool:
    return bool(decision.signature) and decision.valid(key)
