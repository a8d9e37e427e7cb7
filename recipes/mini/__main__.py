"""Run the recipe: `make mini DATA=...`, or `python -m recipes.mini --data DIR --work DIR`. CUDA is used where it is.

A step whose output exists is not run again.
"""

from __future__ import annotations

import argparse
import json
import logging
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tokenizers import Tokenizer

from docs import generate
from rerankd.models.reference import bundled_folder
from rerankd.training.late_interaction import LateInteractionRanker, load

from . import calibrate, evaluate, export, joint, train, validation, vocabulary, written
from .bank import Bank
from .collector import build

RESULTS = Path(__file__).parents[2] / "benchmarks" / "results" / "mini.json"
SHARE = 0.7  # of the trained weights; the rest are those before training
LOWERED = 1.0  # by hand, of the weight of repeated pieces, against keyword traps
JOINT_SHARE = 0.65  # of the trained joint layers; the rest are those before: plain questions need them
SLOWER = 0.8  # factor of the rates in the second training of the joint layers
FOLDS = (
    frozenset({"toyhom-zh", "medquad-en"}),
    frozenset({"dureader-zh", "tatqa-en"}),
    frozenset({"covidqa-en"}),
)


def main() -> None:
    """Run every step that is not done yet."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder with dev/ and corpora/")
    parser.add_argument("--work", type=Path, required=True, help="folder for results")
    parser.add_argument(
        "--seconds", type=float, nargs=2, default=(15, 48), metavar=("FOLD", "ALL"),
        help="seconds of training without the packs of a fold, and with all packs, on one H100",
    )  # fmt: skip
    parser.add_argument(
        "--joint-seconds", type=float, nargs=2, default=(1200, 3300), metavar=("JOINT", "MORE"),
        help="seconds of training the last layers to read both texts, first at the full rate and then at less of it, "
        "the end in the products of the int8 file; on two cores with AMX",
    )  # fmt: skip
    parser.add_argument("--tokens", type=int, default=train.STEP_TOKENS, help="tokens of a training step")
    parser.add_argument("--workers", type=int, default=train.WORKERS, help="processes that draw steps")
    parser.add_argument("--queries", type=int, default=evaluate.QUERIES, help="held-out queries measured per pack")
    parser.add_argument("--install", action="store_true", help="replace the bundled model, its card and its figures")
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    torch.manual_seed(0)
    data, work = arguments.data, arguments.work
    work.mkdir(parents=True, exist_ok=True)
    for_fold, for_all = arguments.seconds
    pruned, trained, joined = (work / name for name in ("1-pruned", "2-trained", "3-joint"))
    calibrated, exported = work / "4-calibrated", work / "mini"

    if not (pruned / "tokenizer.json").exists():
        vocabulary.prune(data, pruned, range(12))
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    how: dict[str, Any] = {"tokens": arguments.tokens, "workers": arguments.workers}
    if not (trained / "tokenizer.json").exists() or not (work / "transfer.json").exists():
        bank = Bank(build(data, pruned / "tokenizer.json", 100))
        start = begun(pruned, device)
        unseen = transfer(bank, pruned, start, for_fold, device, how)
        (work / "transfer.json").write_text(json.dumps(unseen, indent=1) + "\n")
        ranker = begun(pruned, device)
        train.train("all", bank, ranker, {}, for_all, device, start=start, **how)
        kept = train.between(start, ranker, SHARE).cpu()
        kept.mix.data[2] -= LOWERED
        kept.save(trained, pruned / "tokenizer.json")
    if not (joined / "tokenizer.json").exists():
        bank = Bank(build(data, trained / "tokenizer.json", 100))
        join(bank, load(trained).to(device), *arguments.joint_seconds, device, trained / "tokenizer.json", joined)
    if not (calibrated / "calibration.json").exists():
        calibrate.calibrate(data, joined, calibrated)
    if not (exported / "rerankd.json").exists():
        export.export(calibrated, exported, root=data)
    if not (work / "mini.json").exists():
        measured = evaluate.evaluate(data, str(exported), None, arguments.queries)
        measured["transfer"] = json.loads((work / "transfer.json").read_text())
        (work / "mini.json").write_text(json.dumps(measured, indent=1) + "\n")
    if arguments.install:
        measured = json.loads((work / "mini.json").read_text())
        RESULTS.write_text(json.dumps(measured, indent=1) + "\n")
        target = bundled_folder("mini")
        shutil.rmtree(target, ignore_errors=True)
        shutil.copytree(exported, target)
        generate.write()


def begun(pruned: Path, device: torch.device) -> LateInteractionRanker:
    """Return the ranker before it learned from labels."""
    ranker = load(pruned)
    ranker.mix.data = torch.tensor(train.START_MIX)
    return ranker.to(device)


def join(
    bank: Bank,
    teacher: LateInteractionRanker,
    to_join: float,
    to_go_on: float,
    device: torch.device,
    tokenizer: Path,
    out: Path,
) -> None:
    """Make the network that ships from its teacher of twelve layers, and save it.

    Args:
        bank: source of the training steps.
        teacher: network of twelve layers.
        to_join: seconds of training the joint layers at the full rate.
        to_go_on: seconds of training them at `SLOWER` of it, the end in the products of the int8 file.
        device: device to train on.
        tokenizer: file of the tokenizer.
        out: folder to save to.
    """
    groups, _ = written.split(written.read())
    bank.add_written(
        [*groups, *written.plain(groups), *written.translated(groups)], Tokenizer.from_file(str(tokenizer))
    )
    student = joint.with_joint_layers(teacher, joint.JOINT_LAYERS).to(device)
    student.encoder.compute_dtype = torch.bfloat16
    joint.freeze_separate_layers(student)
    joint.train_joint("joint", bank, teacher, student, to_join, device, quantised_from=1.0)
    joint.train_joint("more", bank, teacher, student, to_go_on, device, rate=SLOWER)
    start = joint.with_joint_layers(teacher, joint.JOINT_LAYERS)
    train.between(start.to(device), student, JOINT_SHARE).cpu().save(out, tokenizer)


def transfer(
    bank: Bank, pruned: Path, start: LateInteractionRanker, seconds: float, device: torch.device, how: dict[str, Any]
) -> dict[str, Any]:
    """Evaluate training on held-out packs, one fold at a time; in torch, not with the int8 file."""
    rows = {}
    for number, fold in enumerate(FOLDS):
        ranker = begun(pruned, device)
        train.train(f"fold{number}", bank, ranker, {}, seconds, device, start=start, leave_out=fold, **how)
        packs = {name: bank.asked["any"][name] for name in sorted(fold)}
        rows |= validation.measured(train.between(start, ranker, SHARE), bank, packs, device)
    return summarised(rows)


def summarised(rows: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """Return the rows of all packs, and of each language together, in the layout of `evaluate`."""
    summary: dict[str, Any] = {"packs": [], "together": []}
    differences = {}
    for name, row in rows.items():
        bm25, alone, fused = np.array(row["rows"]).T
        differences[name] = {"alone": alone - bm25, "fused": fused - bm25}
        summary["packs"].append(
            {"pack": name, "queries": row["queries"], "bm25 nDCG@10": row["bm25"], "mini nDCG@10": row["alone"]}
        )
        for prefix, kind in (("", "alone"), ("fused ", "fused")):
            difference = differences[name][kind]
            summary["packs"][-1] |= {
                f"{prefix}delta": round(float(difference.mean()), 4),
                f"{prefix}interval": evaluate.interval(difference),
            }
    summary["together"] = evaluate.together(differences)
    return summary


if __name__ == "__main__":
    main()
