"""Step 5: make 0.5 mean something.

Group training fixes differences of logits, not their level. A logistic regression (Platt 1999) on training queries,
positives and hard negatives weighing the same, gives scale and offset; both are folded into the last linear layer, so
the order stays as it is and the model needs no extra step at run time.
"""

from __future__ import annotations

import json
import random
from pathlib import Path

import numpy as np
import torch
from transformers import BertForSequenceClassification, BertTokenizerFast

from rerankd import Reranker

from . import train

PER_SOURCE = 40
NEGATIVES = 4


def platt(logits: np.ndarray, labels: np.ndarray) -> tuple[float, float]:
    """Scale and offset of a logistic regression in which both labels weigh the same."""
    from sklearn.linear_model import LogisticRegression

    model = LogisticRegression(C=1e6, class_weight="balanced").fit(logits.reshape(-1, 1), labels)
    return float(model.coef_[0, 0]), float(model.intercept_[0])


def calibrate(root: Path, start: Path, out: Path) -> None:
    """Fold the calibration into the head of the model in `start` and write it to `out`."""
    draw = random.Random(17)
    reranker = Reranker(str(start), device="cpu", max_length=256)
    pairs, labels = [], []
    for source in train.examples(root).values():
        for example in draw.sample(source, min(PER_SOURCE, len(source))):
            texts = [example.positives[0], *draw.sample(example.negatives, min(NEGATIVES, len(example.negatives)))]
            pairs += [(example.query, text) for text in texts]
            labels += [1, *[0] * (len(texts) - 1)]
    scale, offset = platt(reranker.score(pairs, activation="none"), np.array(labels))
    model = BertForSequenceClassification.from_pretrained(start)
    with torch.no_grad():
        model.classifier.weight.mul_(scale)
        model.classifier.bias.mul_(scale).add_(offset)
    model.save_pretrained(out)
    BertTokenizerFast.from_pretrained(start).save_pretrained(out)
    (out / "calibration.json").write_text(json.dumps({"scale": scale, "offset": offset, "pairs": len(pairs)}))
