"""Two ranked lists of the same documents, compared: what `templates/components/comparison.html` shows.

    compare_lists(query, documents, left, right, controls) -> JSON that the component, the page and its JSON share

A list need not hold every document. `rankings` builds lists from scores; a page with ranks of its own builds them here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

from rerankd._common.characters import is_blank
from rerankd.retrieval.matched_words import QueryWords
from rerankd.types import Fusion

Judged = Literal["chosen", "rejected"]
MARKED_CHARACTERS = 2_000
"""Characters of a document in which words of the query are marked."""


@dataclass(frozen=True, slots=True)
class ComparedDocument:
    """A document of a comparison.

    Attributes:
        text: its text; None if it was erased.
        id: its id; None for none.
        first_score: score of the first stage; None for none.
        grade: grade that somebody gave it; None for none.
        title: its title; None for none.
        feedback: `chosen` or `rejected` by users; None for neither.
    """

    text: str | None
    id: str | None = None
    first_score: float | None = None
    grade: int | None = None
    title: str | None = None
    feedback: Judged | None = None


@dataclass(frozen=True, slots=True)
class Marks:
    """Place and marks of a document in one list.

    Attributes:
        truncated: True if the model did not read all of it.
        chunks: number of chunks in which it was read.
        rules: labels of the rules that acted on it.
        boost: logits that rules added to its score.
        pin_to: rank that a rule pinned it to; 0 for none.
        filtered: True if a rule filtered it out.
    """

    truncated: bool = False
    chunks: int = 1
    rules: tuple[str, ...] = ()
    boost: float = 0.0
    pin_to: int = 0
    filtered: bool = False


@dataclass(frozen=True, slots=True)
class RankedList:
    """A ranked list of the compared documents; each sequence has one element for each document, or is empty.

    Attributes:
        name: name of the list, such as that of the model.
        ranks: ranks from 1, without gaps; None for documents that are not in the list.
        scores: scores from 0 to 1, shown as bars.
        raw_scores: scores as the model, or the first stage, gave them.
        marks: what befell each document.
        returned: False for documents that are ranked and yet not returned, below the threshold or the cut.
        note: what else to say of the list, such as the version of the model.
        sortable: True if the order follows from raw scores and marks, so that a browser can sort it anew.
    """

    name: str
    ranks: Sequence[int | None]
    scores: Sequence[float | None] = ()
    raw_scores: Sequence[float | None] = ()
    marks: Sequence[Marks] = ()
    returned: Sequence[bool] = ()
    note: str = ""
    sortable: bool = False


@dataclass(frozen=True, slots=True)
class Controls:
    """Options of a ranking that the page lets its reader change, with their values.

    Attributes:
        threshold: lowest score of a document that is returned; None for none.
        top_n: number of documents that are returned; None for all.
        fusion: fusion with the first stage's order; None for none.
    """

    threshold: float | None = None
    top_n: int | None = None
    fusion: Fusion | None = None


def compare_lists(
    query: str,
    documents: Sequence[ComparedDocument],
    left: RankedList,
    right: RankedList,
    controls: Controls | None = None,
) -> dict[str, Any]:
    """Compare two ranked lists of the same documents.

    Args:
        query: the query; its words are marked in the documents.
        documents: the documents, in the order of the request.
        left: the list on the left.
        right: the list on the right.
        controls: options that can be changed on the page; None for lists that cannot be sorted anew.

    Returns:
        Content for the component `comparison`. Positions of marked words count code points.

    Example:
        >>> documents = [ComparedDocument("A car."), ComparedDocument("A panda.")]
        >>> comparison = compare_lists("panda", documents, RankedList("old", [1, 2]), RankedList("new", [2, 1]))
        >>> comparison["documents"][1]["moved"], comparison["documents"][1]["highlights"], comparison["counts"]["up"]
        (1, [(2, 7)], 1)
    """
    words = QueryWords(query)
    lists = [_entries(left, len(documents)), _entries(right, len(documents))]
    rows = []
    for index, document in enumerate(documents):
        first, second = (entries[index] for entries in lists)
        ranks = [None if entry is None else entry["rank"] for entry in (first, second)]
        rows.append(
            {
                "index": index,
                **asdict(document),
                "blank": document.text is not None and is_blank(document.text),
                "highlights": words.spans((document.text or "")[:MARKED_CHARACTERS]),
                "left": first,
                "right": second,
                "moved": None if ranks[0] is None or ranks[1] is None else ranks[0] - ranks[1],
            }
        )
    return {
        "query": query,
        "documents": rows,
        "left": _summary(left, lists[0]),
        "right": _summary(right, lists[1]),
        "counts": _counts(rows),
        "controls": None if controls is None else _controls(controls, documents),
    }


def _entries(ranked: RankedList, count: int) -> list[dict[str, Any] | None]:
    """Return what a list says of each document; None for those that are not in it and that no rule filtered out."""
    marks = ranked.marks or (Marks(),) * count
    returned = ranked.returned or (True,) * count
    scores, raw_scores = (values or (None,) * count for values in (ranked.scores, ranked.raw_scores))
    return [
        {
            "rank": rank,
            "returned": rank is not None and returned[position],
            "score": scores[position],
            "raw_score": raw_scores[position],
            **asdict(marks[position]),
        }
        if rank is not None or marks[position].filtered
        else None
        for position, rank in enumerate(ranked.ranks)
    ]


def _summary(ranked: RankedList, entries: Sequence[Mapping[str, Any] | None]) -> dict[str, Any]:
    """Return name and order of a list; documents that a rule filtered out come last."""
    listed = [(entry["rank"] is None, entry["rank"], index) for index, entry in enumerate(entries) if entry is not None]
    order = [index for _, _, index in sorted(listed)]
    return {"name": ranked.name, "note": ranked.note, "sortable": ranked.sortable, "order": order}


def _counts(rows: Sequence[Mapping[str, Any]]) -> dict[str, int]:
    """Count the documents that both lists return, that one alone does, and that moved."""
    sides = [[row[side] is not None and row[side]["returned"] for side in ("left", "right")] for row in rows]
    moves = [row["moved"] for row in rows if row["moved"]]
    return {
        "documents": len(rows),
        "common": sides.count([True, True]),
        "only_left": sides.count([True, False]),
        "only_right": sides.count([False, True]),
        "up": sum(move > 0 for move in moves),
        "down": sum(move < 0 for move in moves),
    }


def _controls(controls: Controls, documents: Sequence[ComparedDocument]) -> dict[str, Any]:
    return {
        "threshold": controls.threshold,
        "top_n": controls.top_n,
        "fusion": controls.fusion.method if controls.fusion else None,
        "fusion_weight": controls.fusion.weight if controls.fusion else None,
        "first_scores": bool(documents) and all(document.first_score is not None for document in documents),
    }
