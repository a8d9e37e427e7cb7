"""Run the recipe: `make mini DATA=...`, or `python -m recipes.mini --data DIR --work DIR`.

A step whose output exists is not run again; a training step that was interrupted goes on from its checkpoint.
"""

from __future__ import annotations

import argparse
import json
import logging
import shutil
from pathlib import Path
from typing import Any

import torch

from docs import generate
from rerankd.models.reference import bundled_folder

from . import calibrate, evaluate, export, train, vocabulary
from .groups import Groups

RESULTS = Path(__file__).parents[2] / "benchmarks" / "results" / "mini.json"


def main() -> None:
    """Run every step that is not done."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder with dev/ and corpora/")
    parser.add_argument("--work", type=Path, required=True, help="folder for checkpoints and results")
    parser.add_argument(
        "--minutes", type=float, nargs=2, default=(7, 22), metavar=("TRANSFER", "TRAIN"),
        help="compute budget of each training step",
    )  # fmt: skip
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--queries", type=int, default=evaluate.QUERIES, help="held-out queries measured per pack")
    parser.add_argument("--install", action="store_true", help="replace the bundled model, its card and its figures")
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    torch.set_num_threads(arguments.threads)
    torch.manual_seed(0)
    data, work = arguments.data, arguments.work
    work.mkdir(parents=True, exist_ok=True)
    for_transfer, for_train = arguments.minutes
    names = ("1-pruned", "2-transfer", "2-trained", "3-calibrated", "mini")
    pruned, transfer, trained, calibrated, exported = (work / name for name in names)

    if not (pruned / "tokenizer.json").exists():
        vocabulary.prune(data, pruned, range(12))
    if not (trained / "tokenizer.json").exists():
        if not (transfer / "tokenizer.json").exists():
            others, mix = Groups(data, train.LEFT_OUT), train.START_MIX
            train.train(others, pruned, transfer, work, for_transfer, name="ptransfer", mix=mix)
        train.train(Groups(data), transfer, trained, work, for_train, name="pall")
    if not (calibrated / "calibration.json").exists():
        calibrate.calibrate(data, trained, calibrated)
    if not (exported / "rerankd.json").exists():
        export.export(calibrated, exported)
    if not (work / "mini.json").exists():
        measured = evaluate.evaluate(data, str(exported), None, arguments.queries)
        measured["transfer"] = _transfer(data, work, transfer, arguments.queries)
        (work / "mini.json").write_text(json.dumps(measured, indent=1) + "\n")
    if arguments.install:
        measured = json.loads((work / "mini.json").read_text())
        RESULTS.write_text(json.dumps(measured, indent=1) + "\n")
        target = bundled_folder("mini")
        shutil.rmtree(target, ignore_errors=True)
        shutil.copytree(exported, target)
        generate.write()


def _transfer(data: Path, work: Path, transfer: Path, queries: int) -> dict[str, Any]:
    """What the ranker gives on packs that it has not seen yet."""
    calibrated, exported = work / "transfer-calibrated", work / "transfer-int8"
    calibrate.calibrate(data, transfer, calibrated)
    export.export(calibrated, exported)
    return evaluate.evaluate(data, str(exported), None, queries, sorted(train.LEFT_OUT), unseen=True)


if __name__ == "__main__":
    main()
