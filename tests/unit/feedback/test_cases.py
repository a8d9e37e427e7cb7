from __future__ import annotations

import pytest

from rerankd.errors import InvalidRequestError
from rerankd.feedback.cases import MAX_NOTE, CaseCandidate, pack_case, unpack_case, validate_note, with_grades

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
