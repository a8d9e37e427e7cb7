"""A trace as a row of JSON, under the same names as in Python and HTTP: for export, and for people who read it."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from rerankd.traces.store import FullTrace
from rerankd.traces.trace import STORED_NAMES


def exported_trace(trace: FullTrace, *, only_shown: bool) -> dict[str, Any]:
    """Return a trace with its texts.

    Args:
        trace: the trace.
        only_shown: True to leave out documents that rules hid, for those from whom they were hidden.
    """
    rows = exported_candidates(trace, only_shown=only_shown)
    summary = {STORED_NAMES.get(name, name): value for name, value in asdict(trace.trace).items()}
    if only_shown:
        summary["documents"] = len(rows)
    return summary | {"query": trace.query, "parameters": trace.parameters, "candidates": rows}


def exported_candidates(trace: FullTrace, *, only_shown: bool) -> list[dict[str, Any]]:
    """Return the candidates of a trace, in the order of the request.

    Args:
        trace: the trace.
        only_shown: True to leave out documents that rules hid, for those from whom they were hidden.
    """
    candidates, count, shown = trace.candidates, len(trace.candidates), trace.candidates.shown
    before = candidates.scores_before.tolist() if len(candidates.scores_before) else [None] * count
    return [
        {
            "index": index,
            "id": candidates.ids[index] if candidates.ids else None,
            "text": trace.texts[index],
            "rank_before": index + 1,
            "score_before": before[index] if before[index] == before[index] else None,
            "rank_after": int(candidates.ranks[index]),
            "raw_score": float(candidates.raw_scores[index]),
            "score": float(candidates.final_scores[index]),
            "truncated": bool(candidates.truncated[index]) if len(candidates.truncated) else False,
            "chunks": int(candidates.chunks[index]) if len(candidates.chunks) else 1,
            "rules": list(candidates.rules.get(index, ())),
            "metadata": dict(candidates.metadata[index]) if candidates.metadata else {},
            "filtered": not shown[index],
        }
        for index in range(count)
        if shown[index] or not only_shown
    ]
