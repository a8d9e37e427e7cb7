"""Step 5: the int8 file that ships, compiled and checked by the product itself."""

from __future__ import annotations

import argparse
import dataclasses
import json
from pathlib import Path

from rerankd.compile import CompileOptions, compile_model
from rerankd.models.files import load_model
from rerankd.models.manifest import sha256, write_manifest

MAX_BYTES = {"mini": 30_000_000, "nano": 8_000_000}
UNUSED = ("config.json",)  # of use to transformers alone


def export(start: Path, out: Path, name: str = "mini", precision: str = "int8") -> None:
    """Compile the calibrated ranker in `start` to `out`; the manifest gets its calibration."""
    options = CompileOptions(precision, name=name, licence="Apache-2.0", force=True)
    manifest = compile_model(load_model(str(start)), out, options)
    for unused in UNUSED:
        (out / unused).unlink(missing_ok=True)
    manifest = dataclasses.replace(
        manifest,
        source="recipes/mini",
        calibration=json.loads((start / "calibration.json").read_text()),
        files={path.name: sha256(path) for path in sorted(out.iterdir()) if path.name != "rerankd.json"},
    )
    write_manifest(out, manifest)
    size = sum(path.stat().st_size for path in out.iterdir())
    tau = manifest.parity["kendall_tau"] if manifest.parity else 1.0
    print(f"{out}: {size / 1e6:.1f} MB, Kendall tau {tau:.3f}")
    if precision == "int8" and size > MAX_BYTES[name]:
        raise SystemExit(f"The model is {size / 1e6:.1f} MB, more than {MAX_BYTES[name] / 1e6:.0f} MB.")


def main() -> None:
    """Export one ranker."""
    parser = argparse.ArgumentParser(description="Write a calibrated ranker as a model folder.")
    parser.add_argument("--start", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--name", choices=tuple(MAX_BYTES), default="mini")
    parser.add_argument("--precision", choices=("int8", "fp32"), default="int8")
    arguments = parser.parse_args()
    export(arguments.start, arguments.out, arguments.name, arguments.precision)


if __name__ == "__main__":
    main()
