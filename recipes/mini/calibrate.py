"""Step 5: make 0.5 mean something.

Group training fixes differences of logits, not their level. A logistic regression (Platt 1999) on training queries,
positives and hard negatives weighing the same, gives scale and offset; both are folded into the last linear layer, so
the order stays as it is and the model needs no extra step at run time.
"""

from __future__ import annotations

import argparse
import json
import random
from pathlib import Path

import numpy as np
import torch
from transformers import BertTokenizerFast

from . import groups, tokens
from .model import load

PER_SOURCE = 30
NEGATIVES = 4
LENGTH = 256


def platt(logits: np.ndarray, labels: np.ndarray) -> tuple[float, float]:
    """Scale and offset of a logistic regression in which both labels weigh the same."""
    from sklearn.linear_model import LogisticRegression

    model = LogisticRegression(C=1e6, class_weight="balanced").fit(logits.reshape(-1, 1), labels)
    return float(model.coef_[0, 0]), float(model.intercept_[0])


def calibrate(root: Path, start: Path, out: Path) -> None:
    """Fold the calibration into the heads of the ranker in `start` and write it to `out`."""
    draw = random.Random(17)
    model = load(start).eval()
    tokenizer = BertTokenizerFast.from_pretrained(start)
    ids = tokens.Tokens(tokenizer)
    rows, labels = [], []
    for source in groups.examples(root).values():
        for example in draw.sample(source, min(PER_SOURCE, len(source))):
            texts = [example.positives[0], *draw.sample(example.negatives, min(NEGATIVES, len(example.negatives)))]
            rows += [tokens.encode(ids(example.query), ids(text), LENGTH) for text in texts]
            labels += [1, *[0] * (len(texts) - 1)]
    with torch.inference_mode():
        logits = tokens.score_rows(model, rows)
    scale, offset = platt(logits.numpy(), np.array(labels))
    with torch.no_grad():
        model.cosine.mul_(scale)
        model.classifier.weight.mul_(scale)
        model.classifier.bias.mul_(scale).add_(offset)
    model.save(out, tokenizer)
    (out / "calibration.json").write_text(json.dumps({"scale": scale, "offset": offset, "pairs": len(rows)}))


def main() -> None:
    """Calibrate one ranker."""
    parser = argparse.ArgumentParser(description="Fold a logistic calibration into a ranker.")
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--start", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args()
    torch.set_num_threads(2)
    calibrate(arguments.data, arguments.start, arguments.out)


if __name__ == "__main__":
    main()
