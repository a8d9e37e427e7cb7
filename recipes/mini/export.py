"""Step 6: the int8 file that ships, by the product's own compiler."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

from rerankd.compile import CompileOptions, compile_model
from rerankd.models.files import load_model
from rerankd.models.manifest import read_manifest, write_manifest

MAX_BYTES = 30_000_000


def export(start: Path, out: Path) -> None:
    """Compile the checkpoint in `start` to `out`."""
    compile_model(
        load_model(str(start)), out, CompileOptions("int8", name="mini", licence="Apache-2.0", force=True), print
    )
    # The manifest describes the network; transformers' own files would only add names and paths.
    for name in ("config.json", "tokenizer_config.json"):
        (out / name).unlink(missing_ok=True)
    manifest = read_manifest(out)
    if manifest is None:
        raise SystemExit(f"{out} has no manifest.")
    hashes = {name: digest for name, digest in manifest.files.items() if (out / name).exists()}
    calibration = json.loads((start / "calibration.json").read_text())
    write_manifest(out, dataclasses.replace(manifest, files=hashes, source="recipes/mini", calibration=calibration))
    size = sum(path.stat().st_size for path in out.iterdir())
    if size > MAX_BYTES:
        raise SystemExit(f"The model is {size / 1e6:.1f} MB, more than {MAX_BYTES / 1e6:.0f} MB.")
