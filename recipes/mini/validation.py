"""Quality during training: nDCG@10 on held-out queries, and keyword traps solved."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from rerankd.training.late_interaction import LateInteractionRanker

from .bank import WIDTH, Bank, JudgedQuery
from .train import autocast, encoded

log = logging.getLogger("recipe")

PAIRS = 200  # scored at once


@torch.inference_mode()
def scores(
    ranker: LateInteractionRanker,
    bank: Bank,
    asked: Sequence[JudgedQuery],
    length: int,
    device: torch.device,
    texts: int = 1500,
) -> list[np.ndarray[Any, Any]]:
    """Return the logits of the candidates of queries, truncated like the product truncates pairs of `length` tokens."""
    results: list[np.ndarray[Any, Any]] = []
    at = 0
    while at < len(asked):
        end, count = at, 0
        while end < len(asked) and (end == at or count + len(asked[end].candidates) <= texts):
            count += len(asked[end].candidates)
            end += 1
        part = asked[at:end]
        queries = [bank[one.query][: length * 3 // 4] for one in part]
        rows = [len(one.candidates) for one in part]
        passages = [
            bank[number][: max(1, length - len(query) - 9)]
            for one, query in zip(part, queries, strict=True)
            for number in one.candidates
        ]
        with autocast(device):
            one_side = encoded(ranker, bank.framed(queries, "query", 1), len(bank.prefixes["query"]), device)
            other = encoded(ranker, bank.framed(passages, "passage", 6), len(bank.prefixes["passage"]), device)
            back = torch.arange(len(part), device=device).repeat_interleave(torch.tensor(rows, device=device))
            order = other.mask.sum(1).argsort()  # pairs of similar length together: less padding
            logits = torch.cat(
                [
                    ranker(one_side.rows(back[pairs]).trimmed(WIDTH), other.rows(pairs).trimmed(WIDTH))
                    for pairs in order.split(PAIRS)
                ]
            )[order.argsort()]
        results += np.split(logits.float().cpu().numpy(), np.cumsum(rows)[:-1])
        at = end
    return results


def ndcg(ranked: Sequence[float], grades: Sequence[int], all_grades: Sequence[int], depth: int = 10) -> float:
    """Return nDCG with linear gain and ties by first-stage order, the definition of trec_eval."""
    order = np.argsort(-np.asarray(ranked), kind="stable")[:depth]
    discounts = 1 / np.log2(np.arange(2, depth + 2))
    best = float((np.sort(np.asarray(all_grades))[::-1][:depth] * discounts[: min(depth, len(all_grades))]).sum())
    gained = float((np.asarray(grades)[order] * discounts[: len(order)]).sum())
    return gained / best if best > 0 else 0.0


def standardised(values: Sequence[float]) -> np.ndarray[Any, Any]:
    """Return values with mean 0 and standard deviation 1."""
    array = np.asarray(values, float)
    spread = array.std()
    result: np.ndarray[Any, Any] = (array - array.mean()) / spread if spread > 0 else array * 0
    return result


def measured(
    ranker: LateInteractionRanker,
    bank: Bank,
    packs: dict[str, list[JudgedQuery]],
    device: torch.device,
    *,
    limit: int = 100,
    length: int = 400,
    weight: float = 0.5,
) -> dict[str, dict[str, Any]]:
    """Return nDCG@10 per query of BM25, of a ranker alone, and fused with BM25."""
    report = {}
    for name, listed in packs.items():
        asked = [one for one in listed[:limit] if one.candidates]
        if not asked:
            continue
        rows = []
        for one, logits in zip(asked, scores(ranker, bank, asked, length, device), strict=True):
            both = standardised(logits.tolist()) + weight * standardised(one.first)
            rows.append([ndcg(values, one.grades, one.all_grades) for values in (one.first, logits, both)])
        bm25, alone, fused = (round(float(value), 4) for value in np.mean(rows, 0))
        report[name] = {"bm25": bm25, "alone": alone, "fused": fused, "queries": len(rows), "rows": rows}
        log.info("%s: BM25 %.3f, alone %+.3f, fused %+.3f", name, bm25, alone - bm25, fused - bm25)
    return report


def solved(ranker: LateInteractionRanker, bank: Bank, device: torch.device) -> dict[str, int]:
    """Return the number of keyword traps with the answer ranked first, by language."""
    counts = {"zh": 0, "en": 0}
    asked = [JudgedQuery(query, texts, [0.0] * len(texts), [], []) for _, query, texts, _ in bank.traps]
    for (language, _, _, answer), logits in zip(bank.traps, scores(ranker, bank, asked, 256, device), strict=True):
        counts[language] += int(int(logits.argmax()) == answer)
    return counts
