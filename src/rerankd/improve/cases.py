"""Bad cases in an improvement run: exported for training, and marked as fixed if the new model ranks them correctly."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import orjson

from rerankd._common.files import write_atomic
from rerankd.errors import NotFoundError
from rerankd.feedback.case_export import graded_cases, request_times, training_lines
from rerankd.feedback.case_store import CaseFilter, get_case
from rerankd.feedback.case_update import set_state
from rerankd.feedback.cases import BadCase
from rerankd.traces.store import TraceStore

ScoreTexts = Callable[[str, Sequence[str]], Sequence[float]]
"""From a query and its texts to a score of each."""


def export_cases(store: TraceStore, path: Path) -> list[int]:
    """Write labelled cases as training examples and mark them as `in_training`.

    Cases without a relevant document, or whose texts were erased, are left as they are. No file is written if nothing
    is left.

    Args:
        store: database of traces and cases.
        path: file of examples, one JSON object per line.

    Returns:
        Ids of the cases that were exported.

    Raises:
        UnavailableError: the database cannot be reached.
    """
    exported, lines = [], []
    for state in ("labelled", "in_training"):
        cases = graded_cases(store, CaseFilter(state=state))
        times = request_times(store, cases)
        for case in cases:
            for line in training_lines([case], times):
                exported.append(case.id)
                lines.append(orjson.dumps(line) + b"\n")
    if exported:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomic(path, b"".join(lines))
        set_state(store, exported, "in_training")
    return exported


def mark_fixed_cases(store: TraceStore, case_ids: Sequence[int], score: ScoreTexts) -> list[int]:
    """Rank cases again and mark those as `fixed` that the new model ranks correctly.

    Cases that are no longer `in_training` (somebody closed or reopened them) are left as they are.

    Args:
        store: database of traces and cases.
        case_ids: cases that the model was trained on.
        score: scores texts with the new model.

    Returns:
        Ids of the cases that were marked.

    Raises:
        UnavailableError: the database cannot be reached.
    """
    fixed = []
    for case_id in case_ids:
        try:
            case = get_case(store, case_id)
        except NotFoundError:
            continue  # erased since it was exported
        if case.state == "in_training" and _is_ranked_correctly(case, score):
            fixed.append(case.id)
    if fixed:
        set_state(store, fixed, "fixed")
    return fixed


def _is_ranked_correctly(case: BadCase, score: ScoreTexts) -> bool:
    """Return whether a relevant document is first, and no labelled document is above one with a higher grade.

    Documents without a label count as not relevant in first place, as they do in training.
    """
    candidates = [candidate for candidate in case.candidates if candidate.text is not None]
    if case.query is None or not case.relevant_texts:
        return False
    scores = score(case.query, [candidate.text or "" for candidate in candidates])
    order = sorted(range(len(candidates)), key=lambda index: -scores[index])
    ranked = [candidates[index] for index in order]
    grades = [candidate.grade for candidate in ranked if candidate.grade is not None]
    return ranked[0].text in case.relevant_texts and grades == sorted(grades, reverse=True)
