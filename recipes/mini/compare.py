"""Comparison of teachers: how each orders BM25's first candidates, and the best mixture.

No trap is used. Teachers are chosen on the validation cut; `--cut held-out` says what they reach on the queries of the
student's evaluation, and chooses nothing. Scores are standardised per query; the weights of a mixture are fitted per
language by the cross-entropy of the judged candidates (ListNet, Cao et al. 2007) and evaluated by cross-validation over
queries. `python -m recipes.mini.compare --data DIR --teachers DIR --cache FILE --out FILE`; scores that the cache holds
are not computed again.
"""

from __future__ import annotations

import argparse
import json
import logging
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch

from . import data
from .evaluate import interval, sample, scorer
from .gguf_model import language_model_folder
from .prompts import PROMPTS, language
from .score_cache import Cache
from .teachers import LanguageModel, SentenceEncoder, judged
from .validation import ndcg, standardised

log = logging.getLogger("recipe")

FOLDS = 5
STEPS = 300
SHRINKAGE = 0.02  # of the weights, per query


@dataclass
class Candidates:
    """The first candidates of a query, their grades, and the scores of each system."""

    pack: str
    query: str
    texts: list[str]
    grades: list[int]
    all_grades: list[int]
    scores: dict[str, np.ndarray[Any, Any]] = field(default_factory=dict)

    def quality(self, scores: Sequence[float] | np.ndarray[Any, Any]) -> float:
        """Return nDCG@10 of an order of the candidates."""
        return ndcg(list(scores), self.grades, self.all_grades)


def first_candidates(root: Path, queries: int, depth: int, cut: str = "validation") -> list[Candidates]:
    """Return queries of all packs with their first candidates by BM25.

    Args:
        root: folder with dev/ and corpora/.
        queries: maximum number of queries of each pack.
        depth: candidates of each query.
        cut: "validation" or "held-out"; only documents of the cut count as answers.
    """
    chosen = []
    for name in data.PACKS:
        pack = data.load_pack(root, name)
        own = pack.validation if cut == "validation" else pack.held_out
        for query in sample(pack.validation_queries if cut == "validation" else pack.held_out_queries, queries):
            ranked = list(pack.candidates.get(query, {}).items())[:depth]
            judgements = {doc: grade for doc, grade in pack.qrels[query].items() if doc in own}
            one = Candidates(
                name,
                pack.queries[query],
                [pack.corpus[doc] for doc, _ in ranked],
                [judgements.get(doc, 0) for doc, _ in ranked],
                list(judgements.values()),
            )
            one.scores["BM25"] = np.array([score for _, score in ranked])
            if any(one.grades):
                chosen.append(one)
    return chosen


def add_language_model(
    rows: Sequence[Candidates], model: LanguageModel, teacher: str, cache: Cache, prompts: Sequence[str]
) -> None:
    """Add the scores of a language model with each prompt."""
    for name in prompts:
        for row in rows:
            prompt = PROMPTS[language(row.query)][name]
            row.scores[f"{teacher} {name}"] = judged(model, teacher, cache, prompt, row.query, row.texts)
        log.info("%s %s: %.3f", teacher, name, np.mean([row.quality(row.scores[f"{teacher} {name}"]) for row in rows]))


def add_encoder(rows: Sequence[Candidates], encoder: SentenceEncoder) -> None:
    """Add cosines of the English sentence encoder to English queries."""
    for row in rows:
        if language(row.query) == "en":
            vectors = encoder.encode([row.query, *row.texts])
            row.scores["mpnet"] = vectors[1:] @ vectors[0]


def fitted(rows: Sequence[Candidates], systems: Sequence[str]) -> np.ndarray[Any, Any]:
    """Return the weights of standardised scores, none negative, that give judged candidates the most probability."""
    features = [torch.tensor(np.stack([standardised(row.scores[s]) for s in systems], 1)).float() for row in rows]
    targets = [torch.tensor(row.grades).float() / sum(row.grades) for row in rows]
    raw = torch.zeros(len(systems), requires_grad=True)
    optimizer = torch.optim.Adam([raw], lr=0.05)
    for _ in range(STEPS):
        weights = torch.nn.functional.softplus(raw)
        losses = [-(t * (f @ weights).log_softmax(0)).sum() for f, t in zip(features, targets, strict=True)]
        loss = torch.stack(losses).mean() + SHRINKAGE * weights.square().sum()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return torch.nn.functional.softplus(raw).detach().double().numpy()


def cross_validated(rows: Sequence[Candidates], systems: Sequence[str]) -> list[float]:
    """Return nDCG@10 of a mixture for each query, its weights fitted without the query's fold."""
    quality = [0.0] * len(rows)
    for fold in range(FOLDS):
        kept = [row for number, row in enumerate(rows) if number % FOLDS != fold]
        weights = fitted(kept, systems)
        for number in range(fold, len(rows), FOLDS):
            mixed = np.stack([standardised(rows[number].scores[s]) for s in systems], 1) @ weights
            quality[number] = rows[number].quality(mixed)
    return quality


def report(rows: Sequence[Candidates], mixtures: Sequence[Sequence[str]]) -> dict[str, Any]:
    """Return nDCG@10 by pack of every system, and of mixtures by language with intervals of the gain over BM25."""
    result: dict[str, Any] = {"packs": {}, "mixtures": []}
    for pack in dict.fromkeys(row.pack for row in rows):
        own = [row for row in rows if row.pack == pack]
        systems = [s for s in own[0].scores if all(s in row.scores for row in own)]
        means = {s: round(float(np.mean([row.quality(row.scores[s]) for row in own])), 3) for s in systems}
        result["packs"][pack] = {"queries": len(own), **means}
    for lang in ("zh", "en"):
        own = [row for row in rows if language(row.query) == lang]
        for systems in mixtures:
            if not all(s in row.scores for row in own for s in systems):
                continue
            quality = np.array(cross_validated(own, systems))
            gain = quality - np.array([row.quality(row.scores["BM25"]) for row in own])
            result["mixtures"].append(
                {
                    "language": lang,
                    "queries": len(own),
                    "systems": dict(zip(systems, fitted(own, systems).round(2).tolist(), strict=True)),
                    "nDCG@10": round(float(quality.mean()), 3),
                    "gain": round(float(gain.mean()), 3),
                    "interval": interval(gain),
                }
            )
    return result


def main() -> None:
    """Score what is not scored yet, and write the comparison."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder with dev/ and corpora/")
    parser.add_argument("--teachers", type=Path, required=True, help="folder for the teachers' files")
    parser.add_argument("--cache", type=Path, required=True, help="JSON Lines file of scores")
    parser.add_argument("--out", type=Path, required=True, help="JSON file of the comparison")
    parser.add_argument("--models", nargs="*", default=["qwen-1.5b", "qwen-0.5b"], help="language models")
    parser.add_argument("--prompts", nargs="*", default=list(PROMPTS["en"]), help="names of prompts")
    parser.add_argument("--cut", choices=["validation", "held-out"], default="validation", help="queries compared on")
    parser.add_argument("--queries", type=int, default=8, help="queries of each pack")
    parser.add_argument("--depth", type=int, default=15, help="candidates of each query")
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    rows = first_candidates(arguments.data, arguments.queries, arguments.depth, arguments.cut)
    log.info("%d queries, %d pairs", len(rows), sum(len(row.texts) for row in rows))
    score = scorer("mini")
    for row in rows:
        row.scores["mini"] = np.array(score(row.query, row.texts))
    add_encoder(rows, SentenceEncoder(arguments.teachers))
    cache = Cache(arguments.cache)
    systems = []
    for name in arguments.models:
        model = LanguageModel(language_model_folder(name, arguments.teachers))
        add_language_model(rows, model, name, cache, arguments.prompts)
        systems += [f"{name} {prompt}" for prompt in arguments.prompts]
    basic = [["BM25", "mini"], ["BM25", "mini", "mpnet"]]
    mixtures = [*basic, *([*before, system] for system in systems for before in basic)]
    arguments.out.write_text(json.dumps(report(rows, mixtures), indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
