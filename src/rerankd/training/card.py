"""Model card of a fine-tuned model: data, method, cost and verification."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rerankd._common.plural import counted
from rerankd.models.files import load_model
from rerankd.models.manifest import sha256, write_manifest

NAME = "README.md"


def write_card(model: Path, record: Mapping[str, Any]) -> None:
    """Write `README.md` into a model folder, and its hash into the manifest."""
    manifest = load_model(str(model)).manifest
    (model / NAME).write_text(card(record, manifest.licence), encoding="utf-8")
    hashes = {**manifest.files, NAME: sha256(model / NAME)}
    write_manifest(model, dataclasses.replace(manifest, files=hashes))


def card(record: Mapping[str, Any], licence: str = "") -> str:
    """Return the text of the card."""
    options, parity = record["options"], record["compiled"]
    lora = record.get("lora")
    dropped = ", ".join(f"{count} {reason}" for reason, count in record["examples"]["dropped"].items()) or "nothing"
    lines = [
        "---",
        "library_name: rerankd",
        "pipeline_tag: text-ranking",
        *([f"license: {licence.lower()}"] if licence else []),
        "---",
        "",
        f"# {record['name']}",
        "",
        f"Fine-tuned from {record['base']} ({record['base_version']}) with rerankd.",
        "",
        f"- **Data**: {record['training']} training queries, {record['validation']} for validation,"
        f" {record['general']} general ones for replay; excluded: {dropped},"
        f" {counted(record['examples']['leaked'], 'evaluation query', 'evaluation queries')}."
        f" SHA-256 {record['data'][:16]}.",
        f"- **Method**: {options['method']}, loss {options['loss']}, {record['steps']} steps of"
        f" {options['groups_per_step']} groups of {options['group_size']},"
        f" {record['learning_parameters']:,} trainable weights, at most"
        f" {options['max_length']} tokens per pair.",
        *_validation_loss(record["validation_loss"]),
        f"- **Cost**: {record['seconds']:.0f} s, {record['peak_memory_mb']:,} MB peak memory.",
        f"- **Compiled**: {options['precision']}, Kendall's tau {parity.get('kendall_tau', 0):.3f}"
        f" to the trained network over {parity.get('pairs', 0):.0f} pairs.",
    ]
    if lora:
        lines.append(f"- **Merged**: differs from the adapter by at most {lora['largest']:.1e}; head unchanged.")
    lines += ["", "Gains and losses on evaluation sets are in the gate's record.", ""]
    return "\n".join(lines)


def _validation_loss(losses: Mapping[str, float | None]) -> list[str]:
    before, after = losses["before"], losses["after"]
    if before is None or after is None:
        return []
    return [f"- **Validation loss**: {before:.3f} before training, {after:.3f} after."]
