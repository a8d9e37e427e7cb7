from __future__ import annotations

from rerankd.evaluation.case_dataset import candidate_index, case_dataset, case_number
from rerankd.feedback.cases import BadCase, CaseCandidate


def case(number: int, query: str | None, *candidates: CaseCandidate) -> BadCase:
    return BadCase(
        number, 0.0, 0.0, "acme", f"r{number}", "manual", -1, "labelled", "mini", "1", "", 0.0, query, candidates
    )


def candidate(index: int, text: str | None, before: int, grade: int | None = None) -> CaseCandidate:
    return CaseCandidate(index, f"doc {index}", text, before, before, 0.0, grade)


def test_cases_are_queries_and_their_candidates_documents() -> None:
    labelled = case(7, "red", candidate(0, "a", 2, 0), candidate(1, "b", 1, 2), candidate(2, "c", 3))
    dataset = case_dataset([labelled], "cases", depth=2)
    assert dataset.queries == {"case-7": "red"}
    assert dataset.candidates == {"case-7": ("7-1", "7-0")}
    assert dataset.documents == {"7-0": "a", "7-1": "b"}
    assert dataset.qrels == {"case-7": {"7-1": 2, "7-0": 0}}
    assert (case_number("case-7"), candidate_index("7-1")) == (7, 1)


def test_copies_of_a_text_are_one_document() -> None:
    same = case(1, "q", candidate(0, "a", 1, 0), candidate(1, "b", 2), candidate(2, "a", 3, 1))
    dataset = case_dataset([same], "cases", depth=10)
    assert dataset.candidates == {"case-1": ("1-0", "1-1")}
    assert dataset.qrels == {"case-1": {"1-0": 1}}


def test_what_was_erased_or_has_no_grade_is_left_out() -> None:
    cases = [
        case(1, None, candidate(0, "a", 1, 1)),
        case(2, "q", candidate(0, "a", 1)),
        case(3, "q", candidate(0, None, 1, 1)),
        case(4, "q", candidate(0, "a", 1, 1)),
        case(5, "q", candidate(0, "a", 1, 1)),
    ]
    assert list(case_dataset(cases, "cases", depth=10).queries) == ["case-4", "case-5"]
