"""The card of a fine-tuned model: what it is made of, and what is known of it."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rerankd.models.files import load_model
from rerankd.models.manifest import sha256, write_manifest

NAME = "README.md"


def write_card(model: Path, record: Mapping[str, Any]) -> None:
    """Write `README.md` into a model folder and its hash into the manifest."""
    manifest = load_model(str(model)).manifest
    (model / NAME).write_text(card(record, manifest.licence), encoding="utf-8")
    hashes = {**manifest.files, NAME: sha256(model / NAME)}
    write_manifest(model, dataclasses.replace(manifest, files=hashes))


def card(record: Mapping[str, Any], licence: str = "") -> str:
    """The card's text."""
    options, parity = record["options"], record["compiled"]
    lora = record.get("lora")
    dropped = ", ".join(f"{count} {why}" for why, count in record["examples"]["dropped"].items()) or "nothing"
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
        f"- **Data**: {record['training']} queries to train on, {record['validation']} to watch, {record['general']}"
        f" general ones to replay; left out: {dropped}, {record['examples']['leaked']} that evaluation sets ask."
        f" SHA-256 {record['data'][:16]}.",
        f"- **Method**: {options['method']}, loss {options['loss']}, {record['steps']} steps of {options['groups']}"
        f" groups of {options['size']}, {record['learning_parameters']:,} weights that learn, at most"
        f" {options['max_length']} tokens a pair.",
        *_watched(record["watched"]),
        f"- **Cost**: {record['seconds']:.0f} s, {record['peak_memory_mb']:,} MB of memory at most.",
        f"- **Compiled**: {options['precision']}, Kendall tau {parity.get('kendall_tau', 0):.3f} to the trained network"
        f" over {parity.get('pairs', 0):.0f} pairs.",
    ]
    if lora:
        lines.append(f"- **Merged**: differs from its adapter by {lora['largest']:.1e} at most; head unchanged.")
    lines += ["", "What it gains and what it loses is in the gate's record; it says nothing here about quality.", ""]
    return "\n".join(lines)


def _watched(losses: Mapping[str, float | None]) -> list[str]:
    before, after = losses["before"], losses["after"]
    if before is None or after is None:
        return []
    return [f"- **Watched**: a loss of {before:.3f} before training, {after:.3f} after."]
