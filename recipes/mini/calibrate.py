"""Step 5: calibrate the ranker, so that a score of 0.5 has a meaning.

Group training fixes differences of logits, not their level. A logistic regression (Platt 1999) on queries of the
validation cut and on written groups that are kept apart, which training never sees, positives and other candidates
weighing the same, gives scale and offset; both are folded into the last step, so the order stays as it is and the model
needs no extra step at run time. So 0.5 is where a passage is as likely an answer as a candidate that keyword search
found by mistake. Passages of the packs are long and many of their labels are missing: without written groups, whose
passages are short, a plain answer in one sentence scored 0.1.
"""

from __future__ import annotations

import argparse
import json
import random
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from tokenizers import Tokenizer

from rerankd.training.late_interaction import load

from . import data, tokens, written

PER_PACK = 25
NEGATIVES = 4
WRITTEN = 100  # groups in each language
LENGTH = 384


def platt(logits: np.ndarray, labels: np.ndarray) -> tuple[float, float]:
    """Return scale and offset of a logistic regression that gives both labels equal weight."""
    from sklearn.linear_model import LogisticRegression

    model = LogisticRegression(C=1e6, class_weight="balanced").fit(logits.reshape(-1, 1), labels)
    return float(model.coef_[0, 0]), float(model.intercept_[0])


def labelled_pairs(root: Path) -> list[tuple[str, str, int]]:
    """Return (query, passage, label) rows: validation queries of every pack with an answer and some candidates."""
    draw = random.Random(17)
    rows = []
    for name in data.PACKS:
        pack = data.load_pack(root, name)
        queries = pack.validation_queries
        for query in draw.sample(queries, min(PER_PACK, len(queries))):
            judged, text = pack.qrels[query], pack.queries[query]
            others = [doc for doc in pack.candidates.get(query, {}) if doc not in judged]
            rows.append((text, pack.corpus[next(iter(judged))], 1))
            rows += [(text, pack.corpus[doc], 0) for doc in draw.sample(others, min(NEGATIVES, len(others)))]
    return rows


def written_pairs(groups: Sequence[written.WrittenGroup]) -> list[tuple[str, str, int]]:
    """Return (query, passage, label) rows of groups that are kept apart from training."""
    _, held_out = written.split(groups)
    rows = []
    for language in ("zh", "en"):
        for group in [one for one in held_out if one.language == language][:WRITTEN]:
            rows.append((group.query, group.answer, 1))
            rows += [(group.query, other, 0) for other in group.others[:NEGATIVES]]
    return rows


def calibrate(root: Path, start: Path, out: Path) -> None:
    """Fold the calibration into the head of the ranker in `start` and write it to `out`."""
    model, quick = load(start).eval(), load(start).eval().bfloat16()
    ids = tokens.Tokens(Tokenizer.from_file(str(start / "tokenizer.json")))
    pairs = [*labelled_pairs(root), *written_pairs(written.read())]
    by_query: dict[str, list[int]] = {}
    for position, (query, _, _) in enumerate(pairs):
        by_query.setdefault(query, []).append(position)
    logits = torch.zeros(len(pairs))
    with torch.inference_mode():
        for query, positions in by_query.items():
            logits[positions] = tokens.score(quick, ids, query, [pairs[position][1] for position in positions], LENGTH)
    scale, offset = platt(logits.numpy(), np.array([label for *_, label in pairs]))
    with torch.no_grad():
        model.mix.mul_(scale)
        model.bias.mul_(scale).add_(offset)
        if model.encoder.joint_layers:
            model.joint_output.weight.mul_(scale)
            model.joint_output.bias.mul_(scale)
    model.save(out, start / "tokenizer.json")
    (out / "calibration.json").write_text(json.dumps({"scale": scale, "offset": offset, "pairs": len(pairs)}))


def main() -> None:
    """Run the step from the command line."""
    parser = argparse.ArgumentParser(description="Fold a logistic calibration into a ranker.")
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--start", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args()
    torch.set_num_threads(2)
    calibrate(arguments.data, arguments.start, arguments.out)


if __name__ == "__main__":
    main()
