"""Step 7: evaluate the finished file on documents that training never saw, against the first stage.

Each pack's BM25 top 50 is reranked for a fixed sample of its held-out queries: by the model alone, and fused, which is
the model's score plus `FUSION` times BM25's, both standardised per query. nDCG@10 (gain = grade) and RR@10 by
ir_measures; intervals are paired bootstraps over queries of the difference to BM25.

Besides: keyword traps (`traps.jsonl`, never trained on), plain questions whose passages differ by the word that is
asked for (`plain_questions.jsonl`, never trained on), cross-lingual ranking among 50, and what int8 costs.
"""

from __future__ import annotations

import argparse
import json
import random
from collections import defaultdict
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import ir_measures  # type: ignore[import-untyped]
import numpy as np
from ir_measures import RR, nDCG

from rerankd import Reranker
from rerankd.types import Fusion

from . import data

AGAINST = "against "
QUERIES = 200
FUSION = Fusion().weight  # the product's default
OTHER_WEIGHTS = (0.25, 1.0, 2.0)
MEASURES = (nDCG @ 10, RR @ 10)
WORTH = {"zh": ("toyhom-zh", "dureader-zh"), "en": ("medquad-en", "tatqa-en", "covidqa-en")}
TRAPS = Path(__file__).parent / "traps.jsonl"
PLAIN_QUESTIONS = Path(__file__).parent / "plain_questions.jsonl"  # passages that differ by the word asked for
CROSSLINGUAL_CANDIDATES = 50

Scorer = Callable[[str, Sequence[str]], list[float]]


def scorer(model: str, threads: int = 0) -> Scorer:
    """Return a function that computes the logits of a query's texts with the product itself."""
    reranker = Reranker(model, device="cpu", threads=threads)

    def score(query: str, texts: Sequence[str]) -> list[float]:
        return [float(s) for s in reranker.score([(query, text) for text in texts], activation="none")]

    return score


def _run(ranked: list[str]) -> dict[str, float]:
    """Return strictly decreasing scores, because evaluators break ties by document id."""
    return {doc_id: float(len(ranked) - position) for position, doc_id in enumerate(ranked)}


def _per_query(qrels: dict[str, dict[str, int]], run: dict[str, dict[str, float]]) -> dict[Any, np.ndarray]:
    by_query: dict[Any, dict[str, float]] = {measure: dict.fromkeys(qrels, 0.0) for measure in MEASURES}
    for metric in ir_measures.iter_calc(list(MEASURES), qrels, run):
        by_query[metric.measure][metric.query_id] = metric.value
    return {measure: np.array([values[query] for query in qrels]) for measure, values in by_query.items()}


def interval(*parts: np.ndarray, draws: int = 2000) -> list[float]:
    """Return the 95 % bootstrap interval of the mean over all queries; each part (a pack) is resampled separately."""
    generator = np.random.default_rng(3)
    sums = [part[generator.integers(0, len(part), (draws, len(part)))].sum(axis=1) for part in parts]
    means = sum(sums) / sum(map(len, parts))
    return [round(float(np.quantile(means, q)), 4) for q in (0.025, 0.975)]


def fused(scores: Sequence[float], first: Sequence[float], weight: float = FUSION) -> list[float]:
    """Standardise model and first-stage scores within the request and add them, the latter times `weight`."""
    pairs = zip(data.standardised(scores), data.standardised(first), strict=True)
    return [a + weight * b for a, b in pairs]


def logits_of(pack: data.Pack, chosen: Sequence[str], score: Scorer) -> dict[str, list[float]]:
    """Return the logits of every candidate of the chosen queries."""
    return {q: score(pack.queries[q], [pack.corpus[d] for d in pack.candidates.get(q, {})]) for q in chosen}


def nested(
    pack: data.Pack, chosen: Sequence[str], scores: dict[str, list[float]], unseen: bool = False
) -> dict[Any, np.ndarray]:
    """Return the measures per query of candidates ordered by `scores`."""
    # A query may have further answers on the training side; only documents of the query's own side count as found.
    qrels = {q: {d: g for d, g in pack.qrels[q].items() if unseen or d in pack.held_out} for q in chosen}
    runs = {}
    for query in chosen:
        candidates = list(pack.candidates.get(query, {}))
        order = sorted(range(len(candidates)), key=lambda i: -scores[query][i])
        runs[query] = _run([candidates[i] for i in order])
    return _per_query(qrels, runs)


def sample(queries: Sequence[str], limit: int) -> list[str]:
    """Return a fixed sample in a fixed order."""
    return sorted(random.Random(23).sample(list(queries), limit)) if len(queries) > limit else list(queries)


def evaluate_pack(
    pack: data.Pack,
    score: Scorer,
    limit: int = QUERIES,
    unseen: bool = False,
    others: dict[str, Scorer] | None = None,
    compare: int = QUERIES,
) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """Return the measures of one pack, and its differences to BM25 per query (alone, fused).

    Args:
        pack: queries, documents, and the first stage's candidates.
        score: scoring function of the model.
        limit: maximum number of queries.
        unseen: True if the model never saw the pack, so that all its queries count.
        others: other files of the same model, to compare with.
        compare: maximum number of queries of that comparison.
    """
    chosen = sample(sorted(pack.qrels) if unseen else pack.held_out_queries, limit)
    logits = logits_of(pack, chosen, score)
    first = {q: list(pack.candidates.get(q, {}).values()) for q in chosen}
    orders = {"bm25": first, "mini": logits, "fused": {q: fused(logits[q], first[q]) for q in chosen}}
    results = {name: nested(pack, chosen, scores, unseen) for name, scores in orders.items()}
    row: dict[str, Any] = {"pack": pack.name, "queries": len(chosen)}
    for measure in MEASURES:
        row |= {f"{name} {measure}": round(float(values[measure].mean()), 4) for name, values in results.items()}
    row["fused nDCG@10 at"] = {}
    for weight in OTHER_WEIGHTS:
        both = nested(pack, chosen, {q: fused(logits[q], first[q], weight) for q in chosen}, unseen)
        row["fused nDCG@10 at"][str(weight)] = round(float(both[nDCG @ 10].mean()), 4)
    before = results["bm25"][nDCG @ 10]
    differences = {"alone": results["mini"][nDCG @ 10] - before, "fused": results["fused"][nDCG @ 10] - before}
    for prefix, difference in (("", differences["alone"]), ("fused ", differences["fused"])):
        row |= {f"{prefix}delta": round(float(difference.mean()), 4), f"{prefix}interval": interval(difference)}
    if others:
        against = compared(pack, {q: logits[q] for q in sample(chosen, compare)}, others, unseen)
        row["against"] = {name: summarised([difference]) for name, difference in against.items()}
        differences |= {f"{AGAINST}{name}": difference for name, difference in against.items()}
    return row, differences


def evaluate(
    root: Path,
    model: str,
    out: Path | None,
    limit: int = QUERIES,
    packs: Sequence[str] = data.PACKS,
    unseen: bool = False,
    threads: int = 0,
    against: Sequence[str] = (),
    compare: int = QUERIES,
) -> dict[str, Any]:
    """Evaluate a model on packs; print a row for each, and write all rows and those per language to `out`."""
    score = scorer(model, threads)
    others = {name: scorer(name, threads) for name in against}
    summary: dict[str, Any] = {"packs": [], "together": []}
    differences: dict[str, dict[str, np.ndarray]] = {}
    for name in packs:
        row, differences[name] = evaluate_pack(data.load_pack(root, name), score, limit, unseen, others, compare)
        summary["packs"].append(row)
        print(json.dumps(row), flush=True)
        summary["together"] = together(differences)
        if others:
            summary["against"] = {
                other: summarised([by_kind[f"{AGAINST}{other}"] for by_kind in differences.values()])
                for other in others
            }
        if out is not None:
            out.write_text(json.dumps(summary, indent=1) + "\n")
    for row in summary["together"]:
        print(json.dumps(row), flush=True)
    return summary


def together(differences: dict[str, dict[str, np.ndarray]]) -> list[dict[str, Any]]:
    """Return mean difference to BM25 and interval over the packs of each language, each pack resampled separately."""
    rows: list[dict[str, Any]] = []
    for language, names in WORTH.items():
        for kind in ("alone", "fused"):
            parts = [differences[name][kind] for name in names if name in differences]
            if parts:
                rows.append({"language": language, "kind": kind, **summarised(parts)})
    return rows


def traps(score: Scorer, path: Path = TRAPS) -> dict[str, Any]:
    """Return the share of questions with the answer ranked first, per language, and the missed ones."""
    solved: dict[str, list[bool]] = defaultdict(list)
    missed: dict[str, list[str]] = defaultdict(list)
    for line in path.read_text(encoding="utf-8").splitlines():
        trap = json.loads(line)
        scores = score(trap["query"], trap["documents"])
        right = max(range(len(scores)), key=scores.__getitem__) == trap["answer"]
        solved[trap["language"]].append(right)
        if not right:
            missed[trap["language"]].append(trap["query"])
    return {lang: {"solved": sum(flags), "of": len(flags), "missed": missed[lang]} for lang, flags in solved.items()}


def crosslingual(root: Path, score: Scorer, limit: int = 60) -> dict[str, Any]:
    """Return RR@10 of queries in one language among 50 passages of the other, sampled from the query's own source."""
    rows = data.crosslingual_test(root)
    ranks: dict[str, list[float]] = defaultdict(list)
    for direction, items in rows.items():
        draw = random.Random(29)
        for query, positive, source in draw.sample(items, min(limit, len(items))):
            others = sorted({p for _, p, s in items if s == source and p != positive})
            if len(others) < CROSSLINGUAL_CANDIDATES - 1:
                others = sorted({p for _, p, _ in items if p != positive})
            texts = [positive, *draw.sample(others, min(CROSSLINGUAL_CANDIDATES - 1, len(others)))]
            scores = score(query, texts)
            position = 1 + sum(s >= scores[0] for s in scores[1:])
            ranks[direction].append(1 / position if position <= 10 else 0.0)
    return {
        direction: {
            "RR@10": round(float(np.mean(values)), 4),
            "interval": interval(np.array(values)),
            "queries": len(values),
        }
        for direction, values in ranks.items()
    }


def compared(
    pack: data.Pack, logits: dict[str, list[float]], others: dict[str, Scorer], unseen: bool
) -> dict[str, np.ndarray]:
    """Return nDCG@10 of the model minus that of its other files (float32 against int8, say), for the same queries."""
    own = nested(pack, list(logits), logits, unseen)[nDCG @ 10]
    return {
        name: own - nested(pack, list(logits), logits_of(pack, list(logits), score), unseen)[nDCG @ 10]
        for name, score in others.items()
    }


def summarised(parts: Sequence[np.ndarray]) -> dict[str, Any]:
    """Return number, mean and interval of differences, each part resampled separately."""
    joined = np.concatenate(parts)
    return {"queries": len(joined), "delta": round(float(joined.mean()), 4), "interval": interval(*parts)}


def main() -> None:
    """Evaluate a model, the bundled one by default."""
    parser = argparse.ArgumentParser(description="Measure a model on held-out documents against BM25.")
    parser.add_argument("--data", type=Path, required=True, help="folder with dev/")
    parser.add_argument("--model", default="mini")
    parser.add_argument("--packs", nargs="+", choices=data.PACKS, default=data.PACKS)
    parser.add_argument("--queries", type=int, default=QUERIES, help="held-out queries per pack")
    parser.add_argument("--unseen", action="store_true", help="evaluate all queries: the model never saw these packs")
    parser.add_argument(
        "--checks",
        action="store_true",
        help="run only the keyword traps, the plain questions and cross-lingual ranking",
    )
    parser.add_argument(
        "--against", nargs="+", default=[], help="other files of the same model to compare nDCG@10 with"
    )
    parser.add_argument("--compare", type=int, default=QUERIES, help="queries per pack of that comparison")
    parser.add_argument("--threads", type=int, default=0, help="0 for one per core")
    parser.add_argument("--out", type=Path, default=None)
    arguments = parser.parse_args()
    if arguments.checks:
        score = scorer(arguments.model, arguments.threads)
        report: Any = {
            "traps": traps(score),
            "plain questions": traps(score, PLAIN_QUESTIONS),
            "cross-lingual": crosslingual(arguments.data, score),
        }
        print(json.dumps(report, ensure_ascii=False, indent=1), flush=True)
    else:
        evaluate(
            arguments.data,
            arguments.model,
            arguments.out,
            arguments.queries,
            arguments.packs,
            arguments.unseen,
            arguments.threads,
            arguments.against,
            arguments.compare,
        )
        return
    if arguments.out is not None:
        arguments.out.write_text(json.dumps(report, ensure_ascii=False, indent=1) + "\n")


if __name__ == "__main__":
    main()
