from __future__ import annotations

import pytest

from rerankd.errors import InvalidRequestError
from rerankd.feedback.cases import MAX_NOTE, BadCase, CaseCandidate, pack_case, unpack_case, validate_note, with_grades

CANDIDATES = (
    CaseCandidate(0, "a", "first", 1, 2, -0.5, 1),
    CaseCandidate(1, None, None, 2, 1, 1.25),
)


def test_a_packed_case_is_read_back() -> None:
    assert unpack_case(pack_case("query", CANDIDATES)) == ("query", CANDIDATES)
    assert unpack_case(pack_case(None, ())) == (None, ())


def test_lone_surrogates_are_replaced() -> None:
    assert unpack_case(pack_case("a\ud800b", ()))[0] == "a\ufffd\ufffd\ufffdb"


def test_grades_replace_those_before() -> None:
    assert [candidate.grade for candidate in with_grades(CANDIDATES, {1: 2})] == [None, 2]


@pytest.mark.parametrize("note", ["x" * (MAX_NOTE + 1), "a\0b"])
def test_notes_that_cannot_be_stored(note: str) -> None:
    with pytest.raises(InvalidRequestError, match="The note"):
        validate_note(note)


def test_a_text_is_relevant_if_one_of_its_labels_says_so() -> None:
    candidates = (
        CaseCandidate(0, None, "twice", 1, 1, 2.0),
        CaseCandidate(1, None, "twice", 2, 2, 2.0, 1),
        CaseCandidate(2, None, "rejected", 3, 3, 1.0, 0),
        CaseCandidate(3, None, None, 4, 4, 0.5, 2),
        CaseCandidate(4, None, "", 5, 5, 0.0, 3),
    )
    case = BadCase(1, 0.0, 0.0, "", "r", "manual", -1, "labelled", "mini", "v", "", 0.0, "q", candidates)
    assert [candidate.is_relevant for candidate in candidates] == [False, True, False, True, True]
    assert case.relevant_texts == {"twice", ""}
