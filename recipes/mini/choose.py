"""The small cut that choices are made on: neither trained on nor part of the held-out documents.

At most `QUERIES` validation queries a pack, BM25's top 50, nDCG@10 of the model alone and fused with the first stage
for some weights.
"""

from __future__ import annotations

import argparse
import json
import random
import time
from pathlib import Path

import ir_measures  # type: ignore[import-untyped]
import torch
from ir_measures import nDCG
from tokenizers import Tokenizer

from rerankd.training.late_interaction import load

from . import data, tokens

QUERIES = 12
WEIGHTS = (0.0, 0.25, 0.5, 1.0, 2.0)
PACKS = tuple(name for name in data.PACKS if name != "drcd-zhs")


@torch.inference_mode()
def choose(root: Path, folder: Path, queries: int = QUERIES, length: int = 384) -> dict[str, list[float]]:
    """Print and return nDCG@10 per pack: BM25, then the model plus each weight times BM25 (both standardised)."""
    model = load(folder).bfloat16()
    ids = tokens.Tokens(Tokenizer.from_file(str(folder / "tokenizer.json")))
    table: dict[str, list[float]] = {}
    started = time.time()
    for name in PACKS:
        pack = data.load_pack(root, name)
        chosen = pack.validation_queries
        chosen = sorted(random.Random(7).sample(chosen, min(queries, len(chosen))))
        runs: dict[str, dict[str, dict[str, float]]] = {"bm25": {}} | {str(w): {} for w in WEIGHTS}
        for query in chosen:
            found = pack.candidates.get(query, {})
            texts = [pack.corpus[d] for d in found]
            scores = tokens.score(model, ids, pack.queries[query], texts, length).tolist() if texts else []
            logits = data.standardised(scores)
            first = data.standardised(list(found.values()))
            runs["bm25"][query] = found
            for weight in WEIGHTS:
                runs[str(weight)][query] = {d: a + weight * b for d, a, b in zip(found, logits, first, strict=True)}
        qrels = {q: pack.qrels[q] for q in chosen}
        table[name] = [
            round(float(ir_measures.calc_aggregate([nDCG @ 10], qrels, run)[nDCG @ 10]), 4) for run in runs.values()
        ]
        print(f"{name:12} {len(chosen):3}", *(f"{value:.3f}" for value in table[name]), flush=True)
    means = [sum(row[i] for row in table.values()) / len(table) for i in range(1 + len(WEIGHTS))]
    print("mean            ", *(f"{m:.3f}" for m in means), f"{time.time() - started:.0f} s", flush=True)
    return table


def main() -> None:
    """Measure checkpoints on the validation cut."""
    parser = argparse.ArgumentParser(description="nDCG@10 on the validation cut: BM25, alone, fused.")
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--queries", type=int, default=QUERIES)
    parser.add_argument("--length", type=int, default=384)
    parser.add_argument("--out", type=Path, default=None)
    arguments = parser.parse_args()
    torch.set_num_threads(2)
    table = choose(arguments.data, arguments.model, arguments.queries, arguments.length)
    if arguments.out:
        arguments.out.write_text(json.dumps(table))


if __name__ == "__main__":
    main()
