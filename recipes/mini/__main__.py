"""Run the recipe: `python -m recipes.mini --data DIR --work DIR`. A step whose output exists is not run again."""

from __future__ import annotations

import argparse
import logging
from pathlib import Path

import torch

from . import adapt, distil, train, vocabulary

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("--data", type=Path, required=True, help="folder with dev/ and corpora/")
parser.add_argument("--work", type=Path, required=True, help="folder for checkpoints and results")
parser.add_argument(
    "--minutes",
    type=float,
    nargs=3,
    default=(5, 26, 42),
    metavar=("ADAPT", "DISTIL", "TRAIN"),
    help="compute budget of each training step",
)
parser.add_argument("--threads", type=int, default=2)
arguments = parser.parse_args()
logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
torch.set_num_threads(arguments.threads)
torch.manual_seed(0)
data, work = arguments.data, arguments.work
work.mkdir(parents=True, exist_ok=True)
for_adapt, for_distil, for_train = arguments.minutes

if not (work / "1-extended" / "config.json").exists():
    vocabulary.extend(data, work / "1-extended")
if not (work / "2-adapted" / "config.json").exists():
    adapt.adapt(data, work / "1-extended", work / "2-adapted", work, for_adapt)
if not (work / "3-distilled" / "config.json").exists():
    distil.distil(data, work / "2-adapted", work / "3-distilled", work, for_distil)
if not (work / "4-cross-encoder" / "config.json").exists():
    train.train(data, work / "3-distilled", work / "4-cross-encoder", work, for_train)
