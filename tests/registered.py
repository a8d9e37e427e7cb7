"""Models to register, and records of gates about them."""

from __future__ import annotations

import itertools
import json
import time
from pathlib import Path

from rerankd import Reranker
from rerankd.compiler.calibrate import write_calibrated
from rerankd.compiler.platt import Platt
from rerankd.evaluation.gate_record import GateCheck, GateDecision, GateLimits, write_decision
from rerankd.models.digest import content_digest
from rerankd.models.files import load_model
from rerankd.models.manifest import FILE_NAME, sha256

KEY = "a key of more than sixteen characters"
_names = itertools.count(1)


def fresh_name() -> str:
    """Return a name that no other test uses."""
    return f"med{next(_names)}"


def variant(tiny: Path, out: Path, scale: float) -> Path:
    """Return the tiny model with logits of another scale: the same order, other files and scores."""
    write_calibrated(load_model(str(tiny)), out, Platt(scale, 0.0), {})
    return out


def broken(tiny: Path, out: Path) -> Path:
    """Return a model that loads and gives no number for any pair."""
    return variant(tiny, out, float("nan"))


def with_parity(folder: Path, **changes: object) -> Path:
    """Change what the manifest says of the order check."""
    path = folder / FILE_NAME
    record = json.loads(path.read_text())
    record["parity"] = {**record["parity"], **changes} if changes else None
    path.write_text(json.dumps(record))
    return folder


def gate_record(
    model: Path, out: Path, passed: bool = True, key: str | None = None, *, with_digest: bool = True
) -> Path:
    """Write a gate record about a model, and return its path; without a digest it is one of an older release."""
    reranker = Reranker(str(model))
    decision = GateDecision(
        f"candidate@{reranker.model}-{reranker.version}",
        "champion@mini-0",
        passed,
        (GateCheck("gain on domain", passed, 0.02 if passed else -0.02, 0.0, "nDCG@10 moved."),),
        GateLimits(),
        {"domain": "0" * 64},
        time.time(),
        digest=content_digest(reranker.files) if with_digest else "",
    )
    write_decision(out, decision.signed(key) if key else decision)
    return out


def files_of(folder: Path) -> dict[str, str]:
    """SHA-256 by file name."""
    return {path.name: sha256(path) for path in folder.iterdir()}
